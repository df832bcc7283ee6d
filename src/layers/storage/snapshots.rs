//! Are snapshots made, and do they still come? A backup that silently stopped is noticed when it is needed.

use std::collections::BTreeMap;

use crate::labels;
use crate::model::finding::{Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::reading::Readings;
use crate::model::record::{Resource, Time};
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::text::Text;
use crate::model::view::View;

pub(super) static UNHEALTHY: Signal = Signal {
    block: "S1.15",
    name: "storage_snapshot_unhealthy",
    layer: Layer::Storage,
    help: "VolumeSnapshots that fail or are not ready after 15 minutes, and claims whose snapshots no longer come at \
           the pace at which they used to. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "snapshotclass", "reason"],
    reasons: &["error", "not_ready", "overdue"],
    bound: "namespaces × snapshot classes × 3 reasons",
    needs: &[Kind::VolumeSnapshot],
    uses: &[Kind::PersistentVolumeClaim],
    profile: Profile::None,
    read: Read::Rule(unhealthy),
};

pub(super) static AGE: Signal = Signal {
    block: "S1.15",
    name: "storage_snapshot_age_seconds",
    layer: Layer::Storage,
    help: "Age of the newest ready snapshot of the claim that has waited longest, among claims with a history of at \
           least three, by namespace.",
    unit: Unit::Seconds,
    labels: &["namespace"],
    reasons: &[],
    bound: "namespaces",
    needs: &[Kind::VolumeSnapshot],
    uses: &[],
    profile: Profile::None,
    read: Read::Gauge(age),
};

/// Snapshots of a claim before a pace can be told from them.
const HISTORY: usize = 3;

/// Seconds between snapshots below which no schedule makes them.
const QUICK: i64 = 900;

fn ready(snapshot: &Resource) -> bool {
    snapshot.body.is_true("status.readyToUse")
}

/// The times of ready snapshots of each claim with a history, oldest first.
fn histories<'a>(view: &'a View<'_>) -> BTreeMap<(&'a Text, &'a Text), Vec<(Time, &'a Resource)>> {
    let mut claims: BTreeMap<_, Vec<(Time, &Resource)>> = BTreeMap::new();
    for snapshot in view.resources(Kind::VolumeSnapshot).filter(|s| ready(s)) {
        let claim = snapshot.body.text("spec.source.persistentVolumeClaimName");
        let at = snapshot.body.time("status.creationTime").unwrap_or(snapshot.meta.created);
        if !claim.is_empty() {
            claims.entry((&snapshot.meta.namespace, claim)).or_default().push((at, snapshot));
        }
    }
    claims.retain(|_, times| times.len() >= HISTORY);
    for times in claims.values_mut() {
        times.sort_by_key(|(at, s)| (*at, s.meta.uid));
    }
    claims
}

fn unhealthy(view: &View<'_>, out: &mut Verdicts) {
    let meant = |s: &&Resource| !ready(s) && s.meta.deleting.is_none();
    for snapshot in view.resources(Kind::VolumeSnapshot).filter(meant) {
        // An error that stays after a later success is no news: readiness counts first.
        let error = snapshot.body.at("status.error");
        let (reason, since, dwell, words) = if error.has("message") {
            let since = error.time("time").unwrap_or(snapshot.meta.created);
            ("error", since, 60, error.text("message").to_string())
        } else {
            ("not_ready", snapshot.meta.created, 900, "not ready to use".to_owned())
        };
        let class = snapshot.body.text("spec.volumeSnapshotClassName");
        let labels = labels![&snapshot.meta.namespace, class, reason];
        out.push(
            Verdict::new(Subject::of(snapshot), labels, reason, words).since(since).dwell(dwell),
        );
    }
    for ((namespace, claim), times) in histories(view) {
        let mut gaps: Vec<i64> =
            times.windows(2).map(|w| w[1].0.as_second() - w[0].0.as_second()).collect();
        gaps.sort_unstable();
        let median = gaps[gaps.len() / 2];
        let (newest, snapshot) = times[times.len() - 1];
        let age = view.age_seconds(newest);
        let exists = view.world.claims.get(namespace, claim).is_some();
        // Snapshots in quick succession were made by hand, and nobody promised more of them.
        if !exists || median < QUICK || age * 2 <= median * 5 {
            continue;
        }
        let message = format!(
            "its newest snapshot is {age} s old; the {} before came every {median} s",
            times.len()
        );
        let class = snapshot.body.text("spec.volumeSnapshotClassName");
        let subject = Subject::new(Kind::PersistentVolumeClaim, namespace, claim);
        let labels = labels![namespace, class, "overdue"];
        let verdict = Verdict::new(subject, labels, "overdue", message);
        out.push(verdict.since(newest).dwell(0));
    }
}

fn age(view: &View<'_>, out: &mut Readings) {
    let mut oldest: BTreeMap<&Text, i64> = BTreeMap::new();
    for ((namespace, _), times) in histories(view) {
        let age = view.age_seconds(times[times.len() - 1].0);
        let held = oldest.entry(namespace).or_default();
        *held = (*held).max(age);
    }
    for (namespace, age) in oldest {
        out.push(labels![namespace], age as f64);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::{ago, claim, objects, readings, reasons};
    use super::*;
    use crate::layers::fixtures::resource;
    use crate::model::record::{ClaimPhase, Object};

    fn snapshot(name: &str, ready: bool, age: i64, error: bool) -> Resource {
        let error = error.then(|| json!({"time": ago(age).to_string(), "message": "no space"}));
        resource(
            Kind::VolumeSnapshot,
            name,
            json!({
                "metadata": {"age": age},
                "spec": {"source": {"persistentVolumeClaimName": "data"}, "volumeSnapshotClassName": "fast"},
                "status": {"readyToUse": ready, "creationTime": ago(age).to_string(), "error": error},
            }),
        )
    }

    fn daily(newest: i64) -> Vec<Object> {
        let mut objects = objects![claim("data", ClaimPhase::Bound)];
        for day in 0..4 {
            let name = format!("s{day}");
            objects.push(snapshot(&name, true, newest + day * 86_400, false).into());
        }
        objects
    }

    #[test]
    fn a_snapshot_that_fails_or_lingers_is_told() {
        assert_eq!(reasons(&UNHEALTHY, objects![snapshot("a", false, 120, true)]), ["error"]);
        assert_eq!(reasons(&UNHEALTHY, objects![snapshot("a", false, 1000, false)]), ["not_ready"]);
        assert!(reasons(&UNHEALTHY, objects![snapshot("a", true, 1000, true)]).is_empty());
        let mut leaving = snapshot("a", false, 120, true);
        leaving.meta.deleting = Some(ago(10));
        assert!(reasons(&UNHEALTHY, objects![leaving]).is_empty());
    }

    #[test]
    fn a_schedule_that_stopped_is_told_against_its_own_pace() {
        assert!(reasons(&UNHEALTHY, daily(86_000)).is_empty());
        assert_eq!(reasons(&UNHEALTHY, daily(3 * 86_400)), ["overdue"]);
        assert_eq!(readings(&AGE, daily(5000))[0].value, 5000.0);
        let mut by_hand = objects![claim("data", ClaimPhase::Bound)];
        for (name, age) in [("a", 86_400), ("b", 86_700), ("c", 87_000)] {
            by_hand.push(snapshot(name, true, age, false).into());
        }
        assert!(reasons(&UNHEALTHY, by_hand).is_empty(), "nobody promised more");
        let no_claim: Vec<Object> = daily(3 * 86_400).into_iter().skip(1).collect();
        assert!(reasons(&UNHEALTHY, no_claim).is_empty(), "its claim is gone");
    }
}
