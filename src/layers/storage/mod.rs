//! Can workloads get their volumes, reach them and keep them?

mod attachments;
mod classes;
mod controllers;
mod csi;
mod deletion;
mod detach;
mod drivers;
mod faults;
#[cfg(test)]
mod fixtures;
mod health;
mod lost;
mod mounts;
mod pending;
mod provisioning;
mod resize;
mod room;
mod snapshots;
mod volumes;
mod zones;

use crate::model::layer::Layer;
use crate::model::record::Object;
use crate::model::signal::{Lasted, LayerSignals, Observation};
use crate::model::tally::Tallies;
use crate::model::view::View;

/// The storage layer.
pub(super) static LAYER: LayerSignals = LayerSignals {
    layer: Layer::Storage,
    signals: &[
        &pending::PENDING,
        &provisioning::TIME_TO_BOUND,
        &lost::LOST,
        &provisioning::FAILURES,
        &volumes::UNHEALTHY,
        &volumes::RETAINED,
        &volumes::RETAINED_BYTES,
        &attachments::ERROR,
        &attachments::FAILURES,
        &attachments::SECONDS,
        &mounts::FAILING,
        &mounts::FAILURES,
        &detach::BLOCKED,
        &csi::COVERAGE,
        &csi::UNREGISTERED,
        &controllers::LEASE,
        &csi::HEADROOM,
        &csi::FULL,
        &classes::SANITY,
        &resize::STUCK,
        &deletion::STUCK,
        &snapshots::UNHEALTHY,
        &snapshots::AGE,
        &room::FILL,
        &room::FULL,
        &zones::UNSCHEDULABLE,
        &zones::SPREAD,
        &zones::SHARE,
        &room::POOL,
        &room::POOL_LOW,
        &health::HEALTH,
    ],
    observe,
    lasted,
};

fn observe(o: &Observation<'_>, tallies: &mut Tallies) {
    match o.object {
        Object::Claim(claim) => provisioning::observe_claim(o, claim, tallies),
        Object::VolumeAttachment(attachment) => attachments::observe(o, attachment, tallies),
        Object::Event(event) => {
            provisioning::observe_event(o, event, tallies);
            mounts::observe(o, event, tallies);
        }
        _ => {}
    }
}

fn lasted(view: &View<'_>) -> Vec<Lasted> {
    attachments::lasted(view).chain(provisioning::lasted(view)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::fixtures::{
        attachment, bound, claim, csi_node, event, judge, node, objects, pod, volume,
        waiting_class, world,
    };
    use super::*;
    use crate::model::finding::Verdict;
    use crate::model::kind::Kind;
    use crate::model::record::{
        AttachError, Claim, ClaimPhase, Event, Node, Volume, VolumeAttachment, VolumePhase,
    };
    use crate::model::signal::Read;

    /// A cluster in which much is wrong at once.
    fn troubled() -> Vec<Object> {
        let claims = Kind::PersistentVolumeClaim;
        let failing = |note| event((claims, "new"), "ProvisioningFailed", note, 600, 60);
        let error = AttachError { message: "quota".into(), ..AttachError::default() };
        let mut leaving = bound("left");
        leaving.meta.deleting = Some(super::fixtures::ago(900));
        leaving.meta.finalizers = ["kubernetes.io/pvc-protection".into()].into();
        objects![
            Claim { selected_node: "n1".into(), ..claim("new", ClaimPhase::Pending) },
            Claim { class: Some("gone".into()), ..claim("odd", ClaimPhase::Pending) },
            Claim { phase: ClaimPhase::Lost, ..bound("lost") },
            leaving,
            waiting_class("fast", "csi.example"),
            failing("rpc error: code = ResourceExhausted"),
            failing("rpc error: code = DeadlineExceeded desc"),
            Volume { phase: VolumePhase::Failed, ..volume("failed") },
            bound("data"),
            volume("data"),
            VolumeAttachment {
                attached: false,
                attach_error: Some(error),
                ..attachment("data", "n1")
            },
            attachment("data", "n2"),
            node("n1", "a"),
            node("n2", "b"),
            node("n4", "b"),
            attachment("one", "n4"),
            attachment("two", "n4"),
            Claim { class: None, ..claim("first", ClaimPhase::Pending) },
            Claim { class: None, ..claim("second", ClaimPhase::Pending) },
            Node { conditions: Box::default(), ..node("n3", "c") },
            pod("far-0", "n3", &["far", "off"]),
            bound("far"),
            Volume { zones: ["c".into()].into(), ..volume("far") },
            Claim { resize: "NodeResizeInfeasible".into(), ..bound("off") },
            Volume { zones: ["c".into()].into(), ..volume("off") },
            csi_node("n1", &[]),
            csi_node("n2", &[("csi.example", Some(1))]),
            pod("db-0", "n1", &["data", "left"]),
            pod("db-1", "n1", &["data", "left", "new"]),
            event(
                (Kind::Pod, "db-0"),
                "FailedMount",
                "timed out waiting for the condition",
                500,
                9
            ),
            event(
                (Kind::Pod, "db-0"),
                "FailedMount",
                "driver name csi.example not found in",
                500,
                9
            ),
            Event {
                count: 9,
                ..event((Kind::Pod, "db-1"), "FailedAttachVolume", "internal", 500, 9)
            },
        ]
    }

    fn verdicts(objects: Vec<Object>) -> Vec<Vec<Verdict>> {
        let world = world(&[], objects);
        let rules = LAYER.signals.iter().filter(|s| matches!(s.read, Read::Rule(_)));
        rules.map(|signal| judge(signal, &world)).collect()
    }

    proptest! {
        #[test]
        fn the_order_of_objects_does_not_matter(shuffled in Just(troubled()).prop_shuffle()) {
            let expected = verdicts(troubled());
            prop_assert!(expected.iter().filter(|v| !v.is_empty()).count() > 9);
            prop_assert_eq!(verdicts(shuffled), expected);
        }
    }

    #[test]
    fn every_signal_is_named_after_its_layer_and_unit() {
        for signal in LAYER.signals {
            let suffix = match (signal.unit, signal.is_counter()) {
                (_, true) => "_total",
                (crate::model::signal::Unit::Count, _) => "",
                (crate::model::signal::Unit::Ratio, _) => "_ratio",
                (crate::model::signal::Unit::Seconds, _) => "_seconds",
                (crate::model::signal::Unit::Bytes, _) => "_bytes",
            };
            assert!(signal.name.starts_with("storage_") && signal.name.ends_with(suffix));
            assert_eq!(signal.labels.contains(&"reason"), !signal.reasons.is_empty());
        }
    }
}
