//! Which claims have lost their volume?

use jiff::SignedDuration;

use super::drivers::{class_name, volume_of};
use super::pending::latest;
use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::ClaimPhase;
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::view::View;

pub(super) static LOST: Signal = Signal {
    block: "S1.3",
    name: "storage_pvc_lost",
    layer: Layer::Storage,
    help: "Claims that were bound and whose volume is gone or bound to another claim; healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "storageclass", "reason"],
    reasons: &["volume_gone", "misbound"],
    bound: "namespaces × storage classes × 2 reasons",
    needs: &[Kind::PersistentVolumeClaim],
    uses: &[Kind::PersistentVolume, Kind::Event],
    profile: Profile::None,
    read: Read::Rule(lost),
};

fn lost(view: &View<'_>, verdicts: &mut Verdicts) {
    for claim in view.world.claims.iter().filter(|c| c.phase == ClaimPhase::Lost) {
        let meta = &claim.meta;
        if meta.deleting.is_some() || view.is_terminating(&meta.namespace) {
            continue;
        }
        let volume = volume_of(view.world, claim);
        let misbound = match volume {
            Some(_) => true,
            None if view.sees(Kind::PersistentVolume) => false,
            None => latest(view, claim, "ClaimMisbound").is_some(),
        };
        let holder = volume.and_then(|v| v.claim.as_ref());
        let (reason, dwell, told) = match (misbound, holder) {
            // Importers of disk images hand volumes from claim to claim and leave one misbound for a moment.
            (true, Some(other)) => (
                "misbound",
                SignedDuration::from_mins(1),
                format!(
                    "names volume {}, which is bound to claim {}/{}",
                    claim.volume, other.namespace, other.name
                ),
            ),
            (true, None) => (
                "misbound",
                SignedDuration::from_mins(1),
                format!("names volume {}, which is not bound to it", claim.volume),
            ),
            (false, _) => (
                "volume_gone",
                SignedDuration::ZERO,
                format!(
                    "has lost volume {}: its data is gone or orphaned at the provider",
                    claim.volume
                ),
            ),
        };
        let event =
            latest(view, claim, "ClaimLost").or_else(|| latest(view, claim, "ClaimMisbound"));
        verdicts.push(Verdict {
            subject: Subject::new(Kind::PersistentVolumeClaim, &meta.namespace, &meta.name),
            labels: labels![&meta.namespace, &class_name(claim), reason],
            reason,
            severity: Severity::Critical,
            since: event.map(|e| e.first),
            dwell,
            message: format!("claim {}/{} {told}", meta.namespace, meta.name),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{ago, bound, event, judge, objects, reasons, volume, world};
    use super::*;
    use crate::model::record::{Claim, Object};

    const PVC: Kind = Kind::PersistentVolumeClaim;

    #[test]
    fn a_lost_claim_says_whether_its_volume_is_gone_or_anothers() {
        let lost = || Claim { phase: ClaimPhase::Lost, ..bound("data") };
        let misbound = Claim { volume: "pv-other".into(), ..lost() };
        let cases: Vec<(Vec<Object>, &[&str])> = vec![
            (objects![lost()], &["volume_gone"]),
            (objects![misbound, volume("other")], &["misbound"]),
            (objects![bound("data"), volume("data")], &[]),
            (objects![bound("data")], &[]),
        ];
        for (objects, expected) in cases {
            assert_eq!(reasons(&LOST, objects), expected);
        }
    }

    #[test]
    fn where_volumes_cannot_be_seen_the_event_tells_how_a_claim_was_lost() {
        let lost = || Claim { phase: ClaimPhase::Lost, ..bound("data") };
        let misbound = event((PVC, "data"), "ClaimMisbound", "Two claims are bound", 9, 9);
        for (objects, expected) in
            [(objects![lost()], "volume_gone"), (objects![lost(), misbound], "misbound")]
        {
            let verdicts = judge(&LOST, &world(&[Kind::PersistentVolume], objects));
            assert_eq!(verdicts[0].reason, expected);
        }
    }

    #[test]
    fn a_lost_claim_counts_at_once_and_since_the_event() {
        let objects = objects![
            Claim { phase: ClaimPhase::Lost, ..bound("data") },
            event((PVC, "data"), "ClaimLost", "Data on the volume is lost!", 40, 40),
        ];
        let verdict = &judge(&LOST, &world(&[], objects))[0];
        assert_eq!((verdict.since, verdict.dwell), (Some(ago(40)), SignedDuration::ZERO));
        assert_eq!(verdict.labels.get(1), Some(&"fast".into()));
    }
}
