//! Which claims do not get the size or the attributes that they were promised?

use jiff::SignedDuration;

use super::drivers::{class_name, users};
use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Claim, ClaimPhase, Phase, Status, Time};
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::view::{STILL_SPEAKS, View};

pub(super) static STUCK: Signal = Signal {
    block: "S1.13",
    name: "storage_resize_or_modify_stuck",
    layer: Layer::Storage,
    help: "Claims whose change of size or attributes cannot be done, fails or takes more than half an hour; one that \
           waits for a pod to use the claim is healthy.",
    unit: Unit::Count,
    labels: &["storageclass", "stage", "reason"],
    reasons: &["infeasible", "error", "slow"],
    bound: "storage classes × 3 stages × 3 reasons",
    needs: &[Kind::PersistentVolumeClaim],
    uses: &[Kind::Pod, Kind::Event],
    profile: Profile::None,
    read: Read::Rule(stuck),
};

/// Where a change stands.
struct Change {
    stage: &'static str,
    reason: &'static str,
    since: Option<Time>,
    told: String,
}

fn stuck(view: &View<'_>, verdicts: &mut Verdicts) {
    for claim in view.world.claims.iter() {
        let meta = &claim.meta;
        let over = claim.phase != ClaimPhase::Bound || meta.deleting.is_some();
        if over || view.is_terminating(&meta.namespace) {
            continue;
        }
        for change in [resize(view, claim), modify(claim)].into_iter().flatten() {
            let Change { stage, reason, since, told } = change;
            let slow = reason == "slow";
            verdicts.push(Verdict {
                subject: Subject::new(Kind::PersistentVolumeClaim, &meta.namespace, &meta.name),
                labels: labels![&class_name(claim), stage, reason],
                reason,
                severity: Severity::Warning,
                since,
                dwell: SignedDuration::from_mins(if slow { 30 } else { 5 }),
                message: format!("claim {}/{} {told}", meta.namespace, meta.name),
            });
        }
    }
}

/// A condition that holds, with its message.
fn holds<'a>(claim: &'a Claim, kind: &str) -> Option<(Option<Time>, &'a str)> {
    let condition = claim.condition(kind).filter(|c| c.status == Status::True)?;
    Some((condition.since, &condition.message))
}

/// The worst of what a claim says of its size: that it cannot be, that it fails, that it takes long.
fn resize(view: &View<'_>, claim: &Claim) -> Option<Change> {
    let stage = if claim.resize.starts_with("Node") { "node" } else { "controller" };
    if claim.resize.ends_with("ResizeInfeasible") {
        let told = format!("cannot get its size{}", reported(view, claim));
        return Some(Change { stage, reason: "infeasible", since: None, told });
    }
    for (kind, stage) in [("ControllerResizeError", "controller"), ("NodeResizeError", "node")] {
        if let Some((since, message)) = holds(claim, kind) {
            let told = format!("fails to get its size: \"{message}\"");
            return Some(Change { stage, reason: "error", since, told });
        }
    }
    // The file system grows when a pod uses the claim; until then the change waits as it should.
    let pending = holds(claim, "FileSystemResizePending");
    if pending.is_some() || stage == "node" {
        let user = users(view, claim).find(|pod| pod.phase == Phase::Running)?;
        let since = pending.and_then(|(since, _)| since);
        let told = format!("waits for node {} to grow its file system", user.node);
        return Some(Change { stage: "node", reason: "slow", since, told });
    }
    let resizing = holds(claim, "Resizing");
    let told = "waits for its driver to grow its volume".to_owned();
    let since = resizing.and_then(|(since, _)| since);
    let running = resizing.is_some() || claim.resize == "ControllerResizeInProgress";
    running.then_some(Change { stage, reason: "slow", since, told })
}

fn modify(claim: &Claim) -> Option<Change> {
    let stage = "modify";
    let failing = holds(claim, "ModifyVolumeError");
    let (since, message) = failing.unwrap_or_default();
    if claim.modify == "Infeasible" {
        let told = format!("cannot get its attributes: \"{message}\"");
        return Some(Change { stage, reason: "infeasible", since, told });
    }
    if failing.is_some() {
        let told = format!("fails to get its attributes: \"{message}\"");
        return Some(Change { stage, reason: "error", since, told });
    }
    let modifying = holds(claim, "ModifyingVolume");
    let since = modifying.and_then(|(since, _)| since);
    let told = "waits for its driver to change its attributes".to_owned();
    let running = modifying.is_some() || matches!(&*claim.modify, "Pending" | "InProgress");
    running.then_some(Change { stage, reason: "slow", since, told })
}

/// What was last reported about a change of size.
fn reported(view: &View<'_>, claim: &Claim) -> String {
    let failed = |reason: &str| matches!(reason, "VolumeResizeFailed" | "FileSystemResizeFailed");
    let events = view.recent_events(Kind::PersistentVolumeClaim, &claim.meta, STILL_SPEAKS);
    let last = events.filter(|event| failed(&event.reason)).last();
    last.map_or_else(String::new, |event| format!(": \"{}\"", event.note))
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{ago, bound, condition, event, judge, objects, pod, world};
    use super::*;
    use crate::model::record::{Condition, Object, Pod};

    fn with(kinds: &[&str]) -> Claim {
        let said = |kind: &&str| Condition {
            message: "driver says no".into(),
            ..condition(kind, Status::True, 4000)
        };
        Claim { conditions: kinds.iter().map(said).collect(), ..bound("data") }
    }

    fn resized(state: &str) -> Claim {
        Claim { resize: state.into(), ..bound("data") }
    }

    fn modified(state: &str) -> Claim {
        Claim { modify: state.into(), ..bound("data") }
    }

    fn running() -> Pod {
        Pod { phase: Phase::Running, ..pod("db-0", "n1", &["data"]) }
    }

    #[test]
    fn a_change_says_where_it_is_stuck() {
        let cases: Vec<(&str, Vec<Object>, &str)> = vec![
            ("nothing asked", objects![bound("data")], ""),
            ("unused", objects![with(&["Unused"])], ""),
            (
                "cannot be",
                objects![resized("ControllerResizeInfeasible")],
                "controller infeasible 5",
            ),
            (
                "cannot be, on the node",
                objects![resized("NodeResizeInfeasible")],
                "node infeasible 5",
            ),
            ("fails", objects![with(&["Resizing", "ControllerResizeError"])], "controller error 5"),
            ("fails on the node", objects![with(&["NodeResizeError"])], "node error 5"),
            ("takes long", objects![with(&["Resizing"])], "controller slow 30"),
            (
                "takes long, newer field",
                objects![resized("ControllerResizeInProgress")],
                "controller slow 30",
            ),
            ("waits for a pod", objects![with(&["FileSystemResizePending"])], ""),
            ("waits for a pod, newer field", objects![resized("NodeResizePending")], ""),
            (
                "waits for a pod to run",
                objects![with(&["FileSystemResizePending"]), pod("db-0", "", &["data"])],
                "",
            ),
            ("has a pod", objects![with(&["FileSystemResizePending"]), running()], "node slow 30"),
            (
                "has a pod, newer field",
                objects![resized("NodeResizeInProgress"), running()],
                "node slow 30",
            ),
            ("attributes cannot be", objects![modified("Infeasible")], "modify infeasible 5"),
            ("attributes fail", objects![with(&["ModifyVolumeError"])], "modify error 5"),
            ("attributes take long", objects![modified("InProgress")], "modify slow 30"),
            (
                "both",
                objects![with(&["Resizing", "ModifyingVolume"])],
                "modify slow 30 controller slow 30",
            ),
        ];
        for (name, objects, expected) in cases {
            let verdicts = judge(&STUCK, &world(&[], objects));
            let mut told: Vec<_> = verdicts
                .iter()
                .map(|v| format!("{} {} {}", v.labels.get(1).unwrap(), v.reason, v.dwell.as_mins()))
                .collect();
            told.sort_by_key(|t| std::cmp::Reverse(t.clone()));
            assert_eq!(told.join(" "), expected, "{name}");
        }
    }

    #[test]
    fn the_clock_is_the_conditions_and_the_words_are_the_drivers() {
        let verdict = &judge(&STUCK, &world(&[], objects![with(&["ControllerResizeError"])]))[0];
        assert_eq!(verdict.since, Some(ago(4000)));
        assert!(verdict.message.contains("driver says no"), "{}", verdict.message);
        let about = (Kind::PersistentVolumeClaim, "data");
        let failed = event(about, "VolumeResizeFailed", "only whole disks", 90, 9);
        let objects = objects![resized("ControllerResizeInfeasible"), failed];
        let verdict = &judge(&STUCK, &world(&[], objects))[0];
        assert!(verdict.message.contains("only whole disks"), "{}", verdict.message);
    }
}
