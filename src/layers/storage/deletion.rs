//! Which claims, volumes and attachments should be gone and are not?

use jiff::SignedDuration;

use super::drivers::{name_some, users};
use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Claim, ClaimPhase, Meta, Volume, VolumeAttachment, VolumePhase};
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::view::View;

pub(super) static STUCK: Signal = Signal {
    block: "S1.14",
    name: "storage_delete_stuck",
    layer: Layer::Storage,
    help: "Claims, volumes and attachments that were to be deleted more than ten minutes ago, by the finalizer that \
           holds them; healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "finalizer", "reason"],
    reasons: &["in_use", "bound", "unanswered"],
    bound: "namespaces × 7 finalizers × 3 reasons",
    needs: &[Kind::PersistentVolumeClaim, Kind::PersistentVolume, Kind::Pod],
    uses: &[Kind::VolumeAttachment],
    profile: Profile::None,
    read: Read::Rule(stuck),
};

const CLAIM_PROTECTION: &str = "kubernetes.io/pvc-protection";
const VOLUME_PROTECTION: &str = "kubernetes.io/pv-protection";

/// Finalizers that have a name of their own in the label, by how they begin.
const FINALIZERS: &[(&str, &str)] = &[
    ("external-provisioner.volume.kubernetes.io/", "external-provisioner"),
    ("kubernetes.io/pv-controller", "pv-controller"),
    ("external-attacher/", "external-attacher"),
    ("snapshot.storage.kubernetes.io/", "snapshot"),
    (CLAIM_PROTECTION, "pvc-protection"),
    (VOLUME_PROTECTION, "pv-protection"),
];

/// The finalizer to name: a driver's rather than the protection that goes last.
fn finalizer(meta: &Meta) -> (&'static str, &str) {
    let known = |f: &str| FINALIZERS.iter().position(|(start, _)| f.starts_with(start));
    let held = meta.finalizers.iter().map(|f| (known(f), f.as_str()));
    // Unknown ones first: `None` is less than any position.
    match held.min() {
        Some((Some(index), name)) => (FINALIZERS[index].1, name),
        Some((None, name)) => ("other", name),
        None => ("other", "none"),
    }
}

/// Why an object is still there.
struct Hold {
    finalizer: &'static str,
    reason: &'static str,
    severity: Severity,
    message: String,
}

fn unanswered(meta: &Meta) -> Hold {
    let (finalizer, name) = finalizer(meta);
    Hold {
        finalizer,
        reason: "unanswered",
        severity: Severity::Warning,
        message: format!(
            "its finalizer {name} was not taken away: look at the controller that set it"
        ),
    }
}

fn stuck(view: &View<'_>, verdicts: &mut Verdicts) {
    let world = view.world;
    for claim in world.claims.iter() {
        push(verdicts, Kind::PersistentVolumeClaim, &claim.meta, || claim_hold(view, claim));
    }
    for volume in world.volumes.iter() {
        push(verdicts, Kind::PersistentVolume, &volume.meta, || volume_hold(view, volume));
    }
    // One that fails with words is told by `storage_attach_error`.
    let silent = |a: &&VolumeAttachment| a.detach_error.is_none();
    for attachment in world.volume_attachments.iter().filter(silent) {
        push(verdicts, Kind::VolumeAttachment, &attachment.meta, || Hold {
            message: format!(
                "{} did not detach it from node {}",
                attachment.driver, attachment.node
            ),
            ..unanswered(&attachment.meta)
        });
    }
}

fn push(verdicts: &mut Verdicts, kind: Kind, meta: &Meta, hold: impl FnOnce() -> Hold) {
    let Some(deleting) = meta.deleting else { return };
    let Hold { finalizer, reason, severity, message } = hold();
    let subject = Subject::new(kind, &meta.namespace, &meta.name);
    verdicts.push(Verdict {
        message: format!("{subject} should have been deleted, but {message}"),
        subject,
        labels: labels![&meta.namespace, finalizer, reason],
        reason,
        severity,
        since: Some(deleting),
        dwell: SignedDuration::from_mins(10),
    });
}

fn claim_hold(view: &View<'_>, claim: &Claim) -> Hold {
    let used = name_some("pod", users(view, claim).map(|pod| &pod.meta.name));
    if used.is_empty() || !claim.meta.finalizers.iter().any(|f| f == CLAIM_PROTECTION) {
        return unanswered(&claim.meta);
    }
    Hold {
        finalizer: "pvc-protection",
        reason: "in_use",
        severity: Severity::Info,
        message: format!("it is still used by {used}"),
    }
}

fn volume_hold(view: &View<'_>, volume: &Volume) -> Hold {
    let of = volume.claim.as_ref().filter(|_| volume.phase == VolumePhase::Bound);
    let claim = of.and_then(|of| view.world.claims.get(&of.namespace, &of.name));
    match claim.filter(|claim| claim.phase == ClaimPhase::Bound) {
        Some(claim) => Hold {
            finalizer: "pv-protection",
            reason: "bound",
            severity: Severity::Warning,
            message: format!(
                "claim {}/{} is still bound to it and will lose its data with it",
                claim.meta.namespace, claim.meta.name
            ),
        },
        None => unanswered(&volume.meta),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{
        ago, attachment, bound, judge, objects, pod, reasons, volume, world,
    };
    use super::*;
    use crate::model::record::{AttachError, Object, Phase, Pod};

    fn leaving(meta: Meta, finalizers: &[&str]) -> Meta {
        let finalizers = finalizers.iter().map(|f| (*f).into()).collect();
        Meta { deleting: Some(ago(700)), finalizers, ..meta }
    }

    fn claim(finalizers: &[&str]) -> Claim {
        Claim { meta: leaving(bound("data").meta, finalizers), ..bound("data") }
    }

    fn held(finalizers: &[&str], phase: VolumePhase) -> Volume {
        Volume { meta: leaving(volume("data").meta, finalizers), phase, ..volume("data") }
    }

    #[test]
    fn what_should_be_gone_says_what_holds_it() {
        let attached = || VolumeAttachment {
            meta: leaving(attachment("data", "n1").meta, &["external-attacher/csi-example"]),
            ..attachment("data", "n1")
        };
        let failing = VolumeAttachment { detach_error: Some(AttachError::default()), ..attached() };
        let ended = Pod { phase: Phase::Succeeded, ..pod("job", "n1", &["data"]) };
        let provisioner = "external-provisioner.volume.kubernetes.io/finalizer";
        let user = || pod("db-0", "n1", &["data"]);
        let in_use = held(&[VOLUME_PROTECTION], VolumePhase::Bound);
        let released = held(&[VOLUME_PROTECTION, provisioner], VolumePhase::Released);
        let cases = [
            ("used", objects![claim(&[CLAIM_PROTECTION]), user()], "pvc-protection in_use"),
            (
                "its pod has ended",
                objects![claim(&[CLAIM_PROTECTION]), ended],
                "pvc-protection unanswered",
            ),
            ("somebody's", objects![claim(&["backup.example/wait"]), user()], "other unanswered"),
            ("a volume in use", objects![in_use, bound("data")], "pv-protection bound"),
            ("a released volume", objects![released], "external-provisioner unanswered"),
            ("an attachment", objects![attached()], "external-attacher unanswered"),
            ("one that fails with words", objects![failing], ""),
            ("nothing is leaving", objects![bound("data"), volume("data")], ""),
        ];
        for (name, objects, expected) in cases {
            let verdicts = judge(&STUCK, &world(&[], objects));
            let told: Vec<_> = verdicts
                .iter()
                .map(|v| format!("{} {}", v.labels.get(1).unwrap(), v.reason))
                .collect();
            assert_eq!(told.join(""), expected, "{name}");
        }
    }

    #[test]
    fn overdue_counts_from_the_deletion_time_even_where_that_lies_ahead() {
        let mut ahead = claim(&[CLAIM_PROTECTION]);
        ahead.meta.deleting = Some(ago(-30));
        let verdict = &judge(&STUCK, &world(&[], objects![ahead]))[0];
        assert_eq!(verdict.since, Some(ago(-30)));
        assert_eq!(verdict.dwell.as_mins(), 10);
    }

    #[test]
    fn a_claim_in_use_is_a_users_business_and_names_the_pods() {
        let objects = objects![
            claim(&[CLAIM_PROTECTION]),
            pod("db-1", "n1", &["data"]),
            pod("db-0", "n1", &["data"]),
        ];
        let verdict = &judge(&STUCK, &world(&[], objects))[0];
        assert_eq!(verdict.severity, Severity::Info);
        assert!(verdict.message.contains("pod db-0 and 1 more"), "{}", verdict.message);
    }

    #[test]
    fn claims_of_a_terminating_namespace_count_too_for_they_hold_it() {
        let namespace = crate::model::record::Namespace {
            meta: super::super::fixtures::meta("", "shop", 60),
            terminating: true,
        };
        let objects = vec![claim(&["backup.example/wait"]).into(), Object::Namespace(namespace)];
        assert_eq!(reasons(&STUCK, objects), ["unanswered"]);
    }
}
