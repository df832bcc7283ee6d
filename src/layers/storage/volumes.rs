//! Which volumes have failed, cannot be deleted or are kept by nobody?

use std::collections::BTreeMap;

use jiff::SignedDuration;

use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::reading::{Labels, Readings};
use crate::model::record::{Reclaim, Time, Uid, Volume, VolumePhase};
use crate::model::signal::{Direction, Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::view::{STILL_SPEAKS, View};

pub(super) static UNHEALTHY: Signal = Signal {
    block: "S1.5",
    name: "storage_pv_unhealthy",
    layer: Layer::Storage,
    help: "Volumes that failed, that were released and cannot be deleted, or that are bound to a claim that was \
           replaced; healthy is none.",
    unit: Unit::Count,
    labels: &["storageclass", "driver", "reason"],
    reasons: &["failed", "release_stuck", "uid_mismatch"],
    bound: "storage classes × drivers × 3 reasons",
    needs: &[Kind::PersistentVolume],
    uses: &[Kind::PersistentVolumeClaim, Kind::Event],
    profile: Profile::None,
    read: Read::Rule(unhealthy),
};

pub(super) static RETAINED: Signal = Signal {
    block: "S1.5",
    name: "storage_pv_retained",
    layer: Layer::Storage,
    help: "Released volumes that are kept because their reclaim policy is Retain; each is paid for until somebody \
           deletes it.",
    unit: Unit::Count,
    labels: &["storageclass", "driver"],
    reasons: &[],
    bound: "storage classes × drivers",
    needs: &[Kind::PersistentVolume],
    uses: &[],
    profile: Profile::None,
    read: Read::Gauge(retained),
};

pub(super) static RETAINED_BYTES: Signal = Signal {
    block: "S1.5",
    name: "storage_pv_retained_bytes",
    layer: Layer::Storage,
    help: "Capacity of the released volumes that are kept because their reclaim policy is Retain; one that grows is a \
           leak of cost.",
    unit: Unit::Bytes,
    labels: &["storageclass", "driver"],
    reasons: &[],
    bound: "storage classes × drivers",
    needs: &[Kind::PersistentVolume],
    uses: &[],
    profile: Profile::Level { bad: Direction::High, floor: (1_u64 << 30) as f64 },
    read: Read::Gauge(retained_bytes),
};

/// What is wrong with a volume.
struct Fault {
    reason: &'static str,
    since: Option<Time>,
    dwell: SignedDuration,
    message: String,
}

fn unhealthy(view: &View<'_>, verdicts: &mut Verdicts) {
    for volume in view.world.volumes.iter().filter(|v| v.meta.deleting.is_none()) {
        let fault = match volume.phase {
            VolumePhase::Failed => Some(failed(volume)),
            VolumePhase::Released if volume.reclaim == Reclaim::Delete => {
                Some(release_stuck(view, volume))
            }
            VolumePhase::Bound => uid_mismatch(view, volume),
            _ => None,
        };
        let Some(Fault { reason, since, dwell, message }) = fault else { continue };
        verdicts.push(Verdict {
            subject: Subject::new(
                Kind::PersistentVolume,
                &volume.meta.namespace,
                &volume.meta.name,
            ),
            labels: labels![&volume.class, &volume.driver, reason],
            reason,
            severity: Severity::Warning,
            since,
            dwell,
            message: format!("volume {} {message}", volume.meta.name),
        });
    }
}

fn failed(volume: &Volume) -> Fault {
    let told = if volume.message.is_empty() { &volume.reason } else { &volume.message };
    Fault {
        reason: "failed",
        since: volume.phase_since,
        dwell: SignedDuration::from_mins(1),
        message: format!("has failed: \"{told}\""),
    }
}

fn release_stuck(view: &View<'_>, volume: &Volume) -> Fault {
    let told = view
        .recent_events(Kind::PersistentVolume, &volume.meta, STILL_SPEAKS)
        .filter(|event| event.reason == "VolumeFailedDelete")
        .last();
    let told = told.map_or_else(
        || format!("; {} says nothing", volume.driver),
        |event| format!("; {} says \"{}\"", event.actor, event.note),
    );
    Fault {
        reason: "release_stuck",
        since: volume.phase_since,
        dwell: SignedDuration::from_mins(15),
        message: format!("is released and to be deleted, but still there{told}"),
    }
}

/// The claim was deleted and made again under its name: the volume belongs to the old one.
fn uid_mismatch(view: &View<'_>, volume: &Volume) -> Option<Fault> {
    let of = volume.claim.as_ref().filter(|of| of.uid != Uid::default())?;
    let claim = view.world.claims.get(&of.namespace, &of.name)?;
    if claim.meta.uid == of.uid {
        return None;
    }
    let (namespace, name) = (&of.namespace, &of.name);
    Some(Fault {
        reason: "uid_mismatch",
        since: Some(claim.meta.created),
        dwell: SignedDuration::from_mins(2),
        message: format!(
            "is bound to an earlier claim {namespace}/{name}, which was deleted and made again"
        ),
    })
}

fn sum_retained(view: &View<'_>, readings: &mut Readings, value: fn(&Volume) -> u64) {
    let mut sums: BTreeMap<Labels, u64> = BTreeMap::new();
    let kept = |v: &&Volume| v.phase == VolumePhase::Released && v.reclaim == Reclaim::Retain;
    for volume in view.world.volumes.iter().filter(kept) {
        *sums.entry(labels![&volume.class, &volume.driver]).or_default() += value(volume);
    }
    for (labels, sum) in sums {
        readings.push(labels, sum as f64);
    }
}

fn retained(view: &View<'_>, readings: &mut Readings) {
    sum_retained(view, readings, |_| 1);
}

fn retained_bytes(view: &View<'_>, readings: &mut Readings) {
    sum_retained(view, readings, |volume| volume.capacity);
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{
        ago, bound, event, judge, meta, objects, readings, reasons, uid, volume, world,
    };
    use super::*;
    use crate::model::record::{ClaimRef, Meta, Object};

    fn released(reclaim: Reclaim) -> Volume {
        Volume { phase: VolumePhase::Released, reclaim, ..volume("data") }
    }

    #[test]
    fn a_volume_says_what_is_wrong_with_it() {
        let earlier = ClaimRef { uid: uid("shop", "earlier"), ..volume("data").claim.unwrap() };
        let reserved = ClaimRef { uid: Uid::default(), ..earlier.clone() };
        let cases: Vec<(&str, Vec<Object>, &[&str])> = vec![
            (
                "failed",
                objects![Volume { phase: VolumePhase::Failed, ..volume("data") }],
                &["failed"],
            ),
            ("released, to be deleted", objects![released(Reclaim::Delete)], &["release_stuck"]),
            ("released, to be kept", objects![released(Reclaim::Retain)], &[]),
            (
                "of an earlier claim",
                objects![Volume { claim: Some(earlier.clone()), ..volume("data") }, bound("data")],
                &["uid_mismatch"],
            ),
            (
                "of a claim that is gone",
                objects![Volume { claim: Some(earlier), ..volume("data") }],
                &[],
            ),
            (
                "reserved by name",
                objects![Volume { claim: Some(reserved), ..volume("data") }, bound("data")],
                &[],
            ),
            ("bound", objects![volume("data"), bound("data")], &[]),
            (
                "available",
                objects![Volume { phase: VolumePhase::Available, claim: None, ..volume("data") }],
                &[],
            ),
            (
                "released and being deleted: that is another signal's",
                objects![Volume {
                    meta: Meta { deleting: Some(ago(9000)), ..meta("", "pv-data", 9000) },
                    ..released(Reclaim::Delete)
                }],
                &[],
            ),
        ];
        for (name, objects, expected) in cases {
            assert_eq!(reasons(&UNHEALTHY, objects), expected, "{name}");
        }
    }

    #[test]
    fn a_volume_that_cannot_be_deleted_quotes_who_failed() {
        let said = "persistentvolume pv-data is still attached to node n1";
        let report =
            event((Kind::PersistentVolume, "pv-data"), "VolumeFailedDelete", said, 900, 60);
        let world = world(&[], objects![released(Reclaim::Delete), report]);
        let verdict = &judge(&UNHEALTHY, &world)[0];
        assert!(verdict.message.contains(said), "{}", verdict.message);
        assert_eq!(verdict.since, Some(ago(3500)));
    }

    #[test]
    fn kept_volumes_are_counted_and_weighed_by_class_and_driver() {
        let other = || Volume { meta: meta("", "pv-b", 9), ..released(Reclaim::Retain) };
        let objects = || {
            objects![
                released(Reclaim::Retain),
                other(),
                volume("c"),
                Volume { meta: meta("", "pv-d", 9), ..released(Reclaim::Delete) }
            ]
        };
        let counts = readings(&RETAINED, objects());
        assert_eq!(counts.len(), 1);
        assert_eq!(
            (counts[0].value, counts[0].labels.get(1).unwrap().as_str()),
            (2.0, "csi.example")
        );
        assert_eq!(readings(&RETAINED_BYTES, objects())[0].value, 2.0 * f64::from(1 << 30));
    }
}
