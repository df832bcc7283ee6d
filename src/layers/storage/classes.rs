//! Are storage classes what claims expect?

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::drivers::{count_of, default_class, is_absent, name_some};
use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Claim, ClaimPhase};
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::text::Text;
use crate::model::view::View;

pub(super) static SANITY: Signal = Signal {
    block: "S1.12",
    name: "storage_class_sanity",
    layer: Layer::Storage,
    help: "Storage classes that will fail the claims that name them: no default though claims count on one, several \
           defaults, a driver that is not installed, a class that was deleted under its claims. Healthy is none.",
    unit: Unit::Count,
    labels: &["storageclass", "reason"],
    reasons: &["no_default", "many_defaults", "driver_missing", "class_deleted"],
    bound: "storage classes × 4 reasons",
    needs: &[Kind::StorageClass],
    uses: &[
        Kind::PersistentVolumeClaim,
        Kind::PersistentVolume,
        Kind::CsiDriver,
        Kind::CsiNode,
        Kind::Namespace,
    ],
    profile: Profile::None,
    read: Read::Rule(sanity),
};

fn sanity(view: &View<'_>, verdicts: &mut Verdicts) {
    defaults(view, verdicts);
    missing_drivers(view, verdicts);
    deleted_classes(view, verdicts);
}

fn about(class: &Text, reason: &'static str, minutes: i64, message: String) -> Verdict {
    Verdict {
        subject: Subject::new(Kind::StorageClass, &Text::default(), class),
        labels: labels![class, reason],
        reason,
        severity: Severity::Info,
        since: None,
        dwell: SignedDuration::from_mins(minutes),
        message,
    }
}

fn defaults(view: &View<'_>, verdicts: &mut Verdicts) {
    let Some(winner) = default_class(view.world) else { return no_default(view, verdicts) };
    let mut others: Vec<&Text> = (view.world.storage_classes.iter())
        .filter(|class| class.default && class.meta.uid != winner.meta.uid)
        .map(|class| &class.meta.name)
        .collect();
    others.sort_unstable();
    if !others.is_empty() {
        let (winner, others) = (&winner.meta.name, name_some("class", others.into_iter()));
        let message = format!(
            "class {winner} is the default because it is the newest; marked as default too: {others}"
        );
        verdicts.push(about(winner, "many_defaults", 5, message));
    }
}

/// No default is a choice until a claim counts on one.
fn no_default(view: &View<'_>, verdicts: &mut Verdicts) {
    let counts_on_one = |c: &&Claim| {
        c.phase == ClaimPhase::Pending
            && c.class.is_none()
            && c.volume.is_empty()
            && c.meta.deleting.is_none()
            && !view.is_terminating(&c.meta.namespace)
    };
    let mut claims: Vec<&Claim> = view.world.claims.iter().filter(counts_on_one).collect();
    claims.sort_unstable_by_key(|c| (&c.meta.namespace, &c.meta.name));
    let Some(first) = claims.first() else { return };
    let namespace = &first.meta.namespace;
    verdicts.push(Verdict {
        subject: Subject::cluster(),
        severity: Severity::Warning,
        ..about(
            &Text::default(),
            "no_default",
            1,
            format!(
                "no storage class is the default, but {} counted on one, such as {namespace}/{}",
                count_of(claims.len(), "claim"),
                first.meta.name
            ),
        )
    });
}

fn missing_drivers(view: &View<'_>, verdicts: &mut Verdicts) {
    for class in view.world.storage_classes.iter() {
        if is_absent(view, &class.provisioner) {
            let (name, provisioner) = (&class.meta.name, &class.provisioner);
            let message = format!(
                "class {name} names driver {provisioner}, which no CSIDriver and no node knows"
            );
            verdicts.push(about(name, "driver_missing", 5, message));
        }
    }
}

/// Claims that were provisioned by a class that is gone: theirs cannot be made again nor grow. A class name without
/// a class is fine where volumes are made by hand.
fn deleted_classes(view: &View<'_>, verdicts: &mut Verdicts) {
    let mut orphans: BTreeMap<&Text, usize> = BTreeMap::new();
    let provisioned = |c: &&Claim| c.phase == ClaimPhase::Bound && !c.provisioner.is_empty();
    for claim in view.world.claims.iter().filter(provisioned) {
        let Some(class) = claim.class.as_ref().filter(|class| !class.is_empty()) else { continue };
        if view.world.storage_classes.get("", class).is_none() {
            *orphans.entry(class).or_default() += 1;
        }
    }
    for (class, count) in orphans {
        let message = format!(
            "class {class} was deleted under {}: no volume of it can grow or be made again",
            count_of(count, "claim")
        );
        verdicts.push(about(class, "class_deleted", 1, message));
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{
        bound, claim, class, csi_driver, judge, meta, objects, reasons, waiting_class, world,
    };
    use super::*;
    use crate::model::record::{Object, StorageClass};

    fn default(name: &str) -> StorageClass {
        StorageClass { default: true, ..class(name, "rancher.io/local-path") }
    }

    #[test]
    fn classes_that_will_fail_claims_are_told() {
        let classless = || Claim { class: None, ..claim("data", ClaimPhase::Pending) };
        let provisioned = || Claim { provisioner: "csi.example".into(), ..bound("data") };
        let cases: Vec<(&str, Vec<Object>, &str)> = vec![
            ("one default", objects![default("a"), classless()], ""),
            ("two defaults", objects![default("a"), default("b")], "many_defaults"),
            (
                "none, and a claim counts on it",
                objects![class("a", "p"), classless()],
                "no_default",
            ),
            (
                "none, and no claim counts on it",
                objects![class("a", "p"), claim("d", ClaimPhase::Pending)],
                "",
            ),
            (
                "driver not installed",
                objects![waiting_class("fast", "csi.example")],
                "driver_missing",
            ),
            (
                "driver installed",
                objects![class("fast", "csi.example"), csi_driver("csi.example")],
                "",
            ),
            ("no CSI driver", objects![class("fast", "rancher.io/local-path")], ""),
            ("deleted under its claim", objects![provisioned()], "class_deleted"),
            ("never there, volumes by hand", objects![bound("data")], ""),
        ];
        for (name, objects, expected) in cases {
            assert_eq!(reasons(&SANITY, objects).join(" "), expected, "{name}");
        }
    }

    #[test]
    fn drivers_that_cannot_be_seen_are_not_missing() {
        for hidden in [Kind::CsiDriver, Kind::CsiNode] {
            let world = world(&[hidden], objects![class("fast", "csi.example")]);
            assert!(judge(&SANITY, &world).is_empty());
        }
    }

    #[test]
    fn a_missing_default_is_the_clusters_and_dates_from_its_first_sight() {
        let classless =
            |name, age| Claim { meta: meta("shop", name, age), class: None, ..Claim::default() };
        let objects = objects![classless("b", 30), classless("a", 90)];
        let verdict = &judge(&SANITY, &world(&[], objects))[0];
        // An old claim may lack the default for the moment in which one replaces another.
        assert_eq!((verdict.subject.kind.as_str(), verdict.since), ("Cluster", None));
        let words = "2 claims counted on one, such as shop/a";
        assert!(verdict.message.contains(words), "{}", verdict.message);
    }
}
