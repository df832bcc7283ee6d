//! What do CSI drivers say of the health of their volumes, where they say anything?

use std::collections::BTreeSet;

use jiff::SignedDuration;

use super::drivers::{class_name, driver_of};
use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Claim, Meta, Time, VolumeCondition};
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::text::Text;
use crate::model::view::{STILL_SPEAKS, View};

pub(super) static HEALTH: Signal = Signal {
    block: "S1.19",
    name: "storage_volume_health",
    layer: Layer::Storage,
    help: "Claims and pods whose CSI driver reports an unhealthy volume; no driver has to report, so none is no proof \
           of health.",
    unit: Unit::Count,
    labels: &["namespace", "storageclass", "driver", "reason"],
    reasons: &["data_loss", "inaccessible", "degraded", "abnormal"],
    bound: "namespaces × storage classes × 4 reasons",
    needs: &[Kind::PersistentVolumeClaim],
    uses: &[Kind::Pod, Kind::Event, Kind::PersistentVolume, Kind::StorageClass],
    profile: Profile::None,
    read: Read::Rule(health),
};

/// A driver's word on a volume.
#[derive(Clone, Copy)]
struct Word<'a> {
    reason: &'static str,
    since: Option<Time>,
    told: &'a str,
}

fn health(view: &View<'_>, verdicts: &mut Verdicts) {
    let world = view.world;
    for claim in world.claims.iter() {
        for word in words(&claim.health) {
            push(view, verdicts, Kind::PersistentVolumeClaim, &claim.meta, word);
        }
    }
    // A pod does not say which of its volumes it is: where a claim speaks, the pod repeats it.
    for (pod, _) in view.counted_pods().filter(|(pod, _)| !pod.volume_health.is_empty()) {
        let mut claims = claims(view, &pod.meta.namespace, &pod.claims);
        if claims.all(|claim| claim.health.is_empty()) {
            for word in words(&pod.volume_health) {
                push(view, verdicts, Kind::Pod, &pod.meta, word);
            }
        }
    }
    events(view, verdicts);
}

fn claims<'a>(
    view: &View<'a>,
    namespace: &'a Text,
    names: &'a [Text],
) -> impl Iterator<Item = &'a Claim> {
    let world = view.world;
    names.iter().filter_map(move |name| world.claims.get(namespace, name))
}

/// One word for each reason: the first that gives it.
fn words(conditions: &[VolumeCondition]) -> Vec<Word<'_>> {
    let mut words: Vec<Word<'_>> = Vec::new();
    for condition in conditions {
        let reason = match &*condition.status {
            "DataLoss" => "data_loss",
            "Inaccessible" => "inaccessible",
            "Degraded" => "degraded",
            _ => "abnormal",
        };
        let told =
            if condition.message.is_empty() { &condition.reason } else { &condition.message };
        if words.iter().all(|word| word.reason != reason) {
            words.push(Word { reason, since: None, told });
        }
    }
    words
}

/// The external health monitor (on claims) and kubelets up to Kubernetes 1.36 (on pods) speak by events only.
fn events(view: &View<'_>, verdicts: &mut Verdicts) {
    let mut told = BTreeSet::new();
    let abnormal = view.world.events.iter().filter(|e| e.reason == "VolumeConditionAbnormal");
    for about in abnormal.map(|event| &event.regarding) {
        if !told.insert((&about.kind, &about.namespace, &about.name)) {
            continue;
        }
        let world = view.world;
        let (kind, meta) = if about.kind == Kind::Pod.name() {
            (Kind::Pod, world.pods.get(&about.namespace, &about.name).map(|pod| &pod.meta))
        } else {
            let claim = world.claims.get(&about.namespace, &about.name);
            let silent = claim.filter(|claim| claim.health.is_empty());
            (Kind::PersistentVolumeClaim, silent.map(|claim| &claim.meta))
        };
        let Some(meta) = meta else { continue };
        let last = view
            .recent_events(kind, meta, STILL_SPEAKS)
            .filter(|e| e.reason.starts_with("VolumeCondition"))
            .last();
        let Some(last) = last.filter(|e| e.reason == "VolumeConditionAbnormal") else { continue };
        let word = Word { reason: "abnormal", since: Some(last.first), told: &last.note };
        push(view, verdicts, kind, meta, word);
    }
}

fn push(view: &View<'_>, verdicts: &mut Verdicts, kind: Kind, meta: &Meta, word: Word<'_>) {
    let Word { reason, since, told } = word;
    let (severity, minutes) = match reason {
        "data_loss" | "inaccessible" => (Severity::Critical, 0),
        "degraded" => (Severity::Warning, 10),
        _ => (Severity::Warning, 5),
    };
    let claim = match kind {
        Kind::PersistentVolumeClaim => view.world.claims.get(&meta.namespace, &meta.name),
        _ => None,
    };
    let class = claim.map(class_name).unwrap_or_default();
    let driver = claim.map(|claim| driver_of(view.world, claim)).unwrap_or_default();
    let subject = Subject::new(kind, &meta.namespace, &meta.name);
    verdicts.push(Verdict {
        message: format!("a volume of {subject} is {}: \"{told}\"", reason.replace('_', " ")),
        subject,
        labels: labels![&meta.namespace, &class, &driver, reason],
        reason,
        severity,
        since,
        dwell: SignedDuration::from_mins(minutes),
    });
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{bound, event, judge, objects, pod, volume, world};
    use super::*;
    use crate::model::record::{Event, Object, Pod};

    fn said(statuses: &[&str]) -> Box<[VolumeCondition]> {
        let condition = |status: &&str| VolumeCondition {
            status: (*status).into(),
            reason: "Raid".into(),
            message: "two disks failed".into(),
        };
        statuses.iter().map(condition).collect()
    }

    fn sick(statuses: &[&str]) -> Claim {
        Claim { health: said(statuses), ..bound("data") }
    }

    fn reports(kind: Kind, name: &str, reason: &str, age: i64) -> Event {
        event((kind, name), reason, reason, age + 60, age)
    }

    #[test]
    fn what_drivers_say_is_told_with_its_weight() {
        let on_claim = |reason, age| reports(Kind::PersistentVolumeClaim, "data", reason, age);
        let abnormal = "VolumeConditionAbnormal";
        let user = || Pod { volume_health: said(&["Degraded"]), ..pod("db-0", "n1", &["data"]) };
        let cases: Vec<(&str, Vec<Object>, &str)> = vec![
            ("silence", objects![bound("data"), pod("db-0", "n1", &["data"])], ""),
            ("data loss", objects![sick(&["DataLoss"])], "PersistentVolumeClaim data_loss 0"),
            (
                "no access",
                objects![sick(&["Inaccessible"])],
                "PersistentVolumeClaim inaccessible 0",
            ),
            (
                "degraded twice",
                objects![sick(&["Degraded", "Degraded"])],
                "PersistentVolumeClaim degraded 10",
            ),
            ("a newer word", objects![sick(&["Sleepy"])], "PersistentVolumeClaim abnormal 5"),
            ("a pod", objects![bound("data"), user()], "Pod degraded 10"),
            (
                "a pod repeats its claim",
                objects![sick(&["DataLoss"]), user()],
                "PersistentVolumeClaim data_loss 0",
            ),
            (
                "an event",
                objects![bound("data"), on_claim(abnormal, 30)],
                "PersistentVolumeClaim abnormal 5",
            ),
            (
                "an event, then all is well",
                objects![
                    bound("data"),
                    on_claim(abnormal, 60),
                    on_claim("VolumeConditionNormal", 30)
                ],
                "",
            ),
            ("an old event", objects![bound("data"), on_claim(abnormal, 3000)], ""),
            (
                "an event on a pod",
                objects![pod("db-0", "n1", &[]), reports(Kind::Pod, "db-0", abnormal, 30)],
                "Pod abnormal 5",
            ),
            (
                "a claim that speaks itself, and an event",
                objects![sick(&["Sleepy"]), on_claim(abnormal, 30)],
                "PersistentVolumeClaim abnormal 5",
            ),
            ("an event on a claim that is gone", objects![on_claim(abnormal, 30)], ""),
        ];
        for (name, objects, expected) in cases {
            let verdicts = judge(&HEALTH, &world(&[], objects));
            let told: Vec<_> = verdicts
                .iter()
                .map(|v| format!("{} {} {}", v.subject.kind, v.reason, v.dwell.as_mins()))
                .collect();
            assert_eq!(told.join(" "), expected, "{name}");
        }
    }

    #[test]
    fn a_claim_is_counted_under_its_class_and_driver_in_the_drivers_words() {
        let verdict =
            &judge(&HEALTH, &world(&[], objects![sick(&["DataLoss"]), volume("data")]))[0];
        let labels: Vec<_> = verdict.labels.iter().collect();
        assert_eq!(labels, ["shop", "fast", "csi.example", "data_loss"]);
        assert!(verdict.message.contains("two disks failed"), "{}", verdict.message);
    }
}
