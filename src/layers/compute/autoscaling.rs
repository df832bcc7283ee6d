//! Can workloads follow their load? Horizontal autoscalers that are blind, bound or restless, and nodes that do not
//! come.

use crate::labels;
use crate::model::finding::{Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Event, Object, Pod, Resource, Status, Time};
use crate::model::signal::{Observation, Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::tally::Tallies;
use crate::model::view::View;

pub(super) static HPA: Signal = Signal {
    block: "S2.16",
    name: "compute_hpa_unhealthy",
    layer: Layer::Compute,
    help: "Horizontal pod autoscalers that cannot read their metrics or scale their target, and those that have been \
           at their maximum for 15 minutes and want more. Scaling disabled at zero replicas is healthy, and so is the \
           minimum at night. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "horizontalpodautoscaler", "reason"],
    reasons: &["no_metrics", "cannot_scale", "saturated", "scaler_not_ready", "scaler_fallback"],
    bound: "autoscalers × 5 reasons",
    needs: &[Kind::HorizontalPodAutoscaler],
    uses: &[Kind::ScaledObject],
    profile: Profile::None,
    read: Read::Rule(unhealthy),
};

pub(super) static REVERSALS: Signal = Signal {
    block: "S2.16",
    name: "compute_hpa_rescales_total",
    layer: Layer::Compute,
    help: "Times that an autoscaler changed how many replicas it wants: many an hour is thrashing.",
    unit: Unit::Count,
    labels: &["namespace", "horizontalpodautoscaler"],
    reasons: &[],
    bound: "autoscalers",
    needs: &[Kind::HorizontalPodAutoscaler],
    uses: &[],
    profile: Profile::Rate,
    read: Read::Counter,
};

pub(super) static NODES: Signal = Signal {
    block: "S2.20",
    name: "compute_node_supply",
    layer: Layer::Compute,
    help: "Node claims and pools of Karpenter that do not become nodes, and scale-ups that the cluster autoscaler \
           reports as failed while pods wait. Healthy is none.",
    unit: Unit::Count,
    labels: &["source", "reason"],
    reasons: &[
        "not_launched",
        "not_registered",
        "pool_not_ready",
        "scale_up_failed",
        "limit_reached",
    ],
    bound: "2 sources × 5 reasons",
    needs: &[],
    uses: &[Kind::NodeClaim, Kind::NodePool, Kind::Event],
    profile: Profile::None,
    read: Read::Rule(supply),
};

/// Counts a wish that changed.
pub(super) fn observe(o: &Observation<'_>, hpa: &Resource, tallies: &mut Tallies) {
    let store = o.world.resources(Kind::HorizontalPodAutoscaler);
    let before = store.and_then(|s| s.get(&hpa.meta.namespace, &hpa.meta.name));
    let Some(before) = before.filter(|b| b.meta.uid == hpa.meta.uid) else { return };
    let wanted = |h: &Resource| h.body.number("status.desiredReplicas");
    if wanted(before).is_some() && wanted(before) != wanted(hpa) {
        tallies.add(&REVERSALS, labels![&hpa.meta.namespace, &hpa.meta.name], 1);
    }
}

fn unhealthy(view: &View<'_>, out: &mut Verdicts) {
    let live = |h: &&Resource| h.meta.deleting.is_none() && h.observed();
    for hpa in view.resources(Kind::HorizontalPodAutoscaler).filter(live) {
        let mut tell = |since: Option<Time>, reason, dwell, told: String| {
            let labels = labels![&hpa.meta.namespace, &hpa.meta.name, reason];
            let verdict = Verdict::new(Subject::of(hpa), labels, reason, told);
            out.push(verdict.since(since).dwell(dwell));
        };
        let held = |kind: &str, status: Status| hpa.condition(kind).filter(|c| c.status == status);
        if let Some(c) = held("AbleToScale", Status::False) {
            let told = format!("cannot scale {}: {}", target(hpa), c.message);
            tell(c.since, "cannot_scale", 120, told);
        }
        let active = held("ScalingActive", Status::False);
        // The target stands at zero replicas: somebody switched it off.
        if let Some(c) = active.filter(|c| c.reason != "ScalingDisabled") {
            let told =
                format!("holds {} where it is, blind ({}): {}", target(hpa), c.reason, c.message);
            tell(c.since, "no_metrics", 120, told);
        }
        let max = hpa.body.count("spec.maxReplicas");
        let at_max = max > 0 && hpa.body.count("status.currentReplicas") >= max;
        let limited = held("ScalingLimited", Status::True);
        if let Some(c) = limited.filter(|c| c.reason == "TooManyReplicas" && at_max) {
            let told = format!(
                "{} runs all of its {max} replicas and its metrics ask for more",
                target(hpa)
            );
            // The condition is as old as any limit, the minimum at night too.
            let since = c.since.max(hpa.body.time("status.lastScaleTime"));
            tell(since, "saturated", 900, told);
        }
    }
    for scaler in view.resources(Kind::ScaledObject) {
        scaled(scaler, out);
    }
}

/// What KEDA says of an object that it scales, unless somebody has paused it.
fn scaled(scaler: &Resource, out: &mut Verdicts) {
    let held = |kind: &str, status| scaler.condition(kind).filter(|c| c.status == status);
    if held("Paused", Status::True).is_some() {
        return;
    }
    let states = [
        ("scaler_not_ready", held("Ready", Status::False), "KEDA cannot scale it"),
        ("scaler_fallback", held("Fallback", Status::True), "KEDA holds it at its fallback, blind"),
    ];
    for (reason, condition, what) in states {
        let Some(c) = condition else { continue };
        let labels = labels![&scaler.meta.namespace, scaler.body.text("status.hpaName"), reason];
        let told = format!("{what}: {} ({})", c.message, c.reason);
        let verdict = Verdict::new(Subject::of(scaler), labels, reason, told);
        out.push(verdict.since(c.since).dwell(120));
    }
}

fn target(hpa: &Resource) -> String {
    let target = hpa.body.at("spec.scaleTargetRef");
    format!("{} {}", target.text("kind"), target.text("name"))
}

fn supply(view: &View<'_>, out: &mut Verdicts) {
    for claim in view.resources(Kind::NodeClaim).filter(|c| c.meta.deleting.is_none()) {
        let is = |kind| claim.condition(kind).is_some_and(|c| c.status == Status::True);
        let (reason, words) = match (is("Launched"), is("Registered")) {
            (false, _) => ("not_launched", claim.condition("Launched")),
            (true, false) => ("not_registered", claim.condition("Registered")),
            (true, true) => continue,
        };
        let words = words.map_or("", |c| &c.message);
        let told = format!("{}: {words}", reason.replace('_', " "));
        let verdict = Verdict::new(Subject::of(claim), labels!["karpenter", reason], reason, told);
        out.push(verdict.since(claim.meta.created).dwell(600));
    }
    for pool in view.resources(Kind::NodePool) {
        if let Some(c) = pool.condition("Ready").filter(|c| c.status == Status::False) {
            let reason = "pool_not_ready";
            let told = format!("makes no nodes: {} ({})", c.message, c.reason);
            let verdict =
                Verdict::new(Subject::of(pool), labels!["karpenter", reason], reason, told);
            out.push(verdict.since(c.since).dwell(120));
        }
    }
    let waits =
        |pod: &Pod| pod.condition("PodScheduled").is_some_and(|c| c.status == Status::False);
    if !view.counted_pods().any(|(pod, _)| waits(pod)) {
        return;
    }
    let newest = |reasons: &[&str]| {
        let told = |e: &&Event| reasons.contains(&e.reason.as_str()) && view.still_speaks(e);
        view.world.events.iter().filter(told).max_by_key(|e| (e.last, e.meta.uid))
    };
    let reports = [
        ("cluster_autoscaler", "scale_up_failed", &["FailedToScaleUpGroup", "ScaleUpTimedOut"][..]),
        ("cluster_autoscaler", "limit_reached", &["MaxNodesTotalReached"][..]),
        ("karpenter", "scale_up_failed", &["InsufficientCapacityError"][..]),
    ];
    for (source, reason, events) in reports {
        if let Some(event) = newest(events) {
            let told = format!("nodes do not come while pods wait: {}", event.note);
            let labels = labels![source, reason];
            let verdict = Verdict::new(Subject::cluster(), labels, reason, told);
            out.push(verdict.since(event.first).dwell(120));
        }
    }
}

/// Whether the object is an autoscaler.
pub(super) fn autoscaler(object: &Object) -> Option<&Resource> {
    match object {
        Object::Resource(r) if r.kind == Kind::HorizontalPodAutoscaler => Some(r),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::{ago, event, judge, node, pod, reasons, world};
    use super::*;
    use crate::layers::fixtures::{condition, resource};
    use crate::model::record::{Phase, Pod};
    use crate::model::world::Delta;

    fn hpa(kind: &str, status: &str, reason: &str, current: u32) -> Resource {
        resource(
            Kind::HorizontalPodAutoscaler,
            "web",
            json!({
                "spec": {"maxReplicas": 5, "scaleTargetRef": {"kind": "Deployment", "name": "web"}},
                "status": {"currentReplicas": current, "desiredReplicas": current,
                    "conditions": [{"type": kind, "status": status, "reason": reason}]},
            }),
        )
    }

    #[test]
    fn blind_stuck_and_saturated_are_told_and_standing_low_is_not() {
        let cases = [
            ("AbleToScale", "False", "FailedGetScale", 2, vec!["cannot_scale"]),
            ("ScalingActive", "False", "FailedGetResourceMetric", 2, vec!["no_metrics"]),
            ("ScalingActive", "False", "ScalingDisabled", 0, vec![]),
            ("ScalingLimited", "True", "TooManyReplicas", 5, vec!["saturated"]),
            ("ScalingLimited", "True", "TooFewReplicas", 1, vec![]),
            ("ScalingActive", "True", "ValidMetricFound", 2, vec![]),
        ];
        for (kind, status, reason, current, expected) in cases {
            let hpa = Object::Resource(Box::new(hpa(kind, status, reason, current)));
            assert_eq!(reasons(&judge(&HPA, &world([hpa]))), expected, "{kind} {reason}");
        }
    }

    #[test]
    fn an_autoscaler_is_at_its_maximum_no_longer_than_since_it_scaled_last() {
        let mut limited = hpa("ScalingLimited", "True", "TooManyReplicas", 5);
        let told = |hpa: &Resource| {
            judge(&HPA, &world([Object::Resource(Box::new(hpa.clone()))]))[0].since
        };
        assert_eq!(told(&limited), Some(ago(1800)), "as old as its condition");
        let body = json!({
            "spec": {"maxReplicas": 5},
            "status": {"currentReplicas": 5, "lastScaleTime": ago(60).to_string()},
        });
        limited.body = crate::model::value::Value::from(&body);
        assert_eq!(told(&limited), Some(ago(60)));
    }

    #[test]
    fn a_scaler_that_is_blind_is_told_unless_it_is_paused() {
        let told = |conditions| {
            let body = json!({"status": {"hpaName": "keda-hpa-web", "conditions": conditions}});
            let scaler = resource(Kind::ScaledObject, "web", body);
            reasons(&judge(&HPA, &world([Object::Resource(Box::new(scaler))])))
        };
        let fallback = json!({"type": "Fallback", "status": "True", "reason": "FallbackExists"});
        let paused = json!({"type": "Paused", "status": "True"});
        let not_ready = json!({"type": "Ready", "status": "False"});
        assert_eq!(told(json!([fallback])), ["scaler_fallback"]);
        assert_eq!(told(json!([not_ready])), ["scaler_not_ready"]);
        assert!(told(json!([fallback, paused])).is_empty());
        assert!(told(json!([{"type": "Fallback", "status": "False"}])).is_empty());
    }

    #[test]
    fn each_change_of_the_wish_counts() {
        let (mut world, mut tallies) = (world([]), Tallies::default());
        for replicas in [2, 3, 3, 2] {
            let object = Object::Resource(Box::new(hpa("AbleToScale", "True", "", replicas)));
            let o = Observation { world: &world, object: &object, now: ago(0) };
            observe(&o, autoscaler(&object).unwrap(), &mut tallies);
            world.apply(Delta::Upsert(object), ago(0));
        }
        assert_eq!(tallies.counters(&REVERSALS).map(|(_, n)| n).sum::<u64>(), 2);
    }

    #[test]
    fn nodes_that_do_not_come_are_told() {
        let claim = |conditions| {
            let body = json!({"status": {"conditions": conditions}});
            Object::Resource(Box::new(resource(Kind::NodeClaim, "c", body)))
        };
        let launched = json!([{"type": "Launched", "status": "True"}]);
        let both = json!([{"type": "Launched", "status": "True"}, {"type": "Registered", "status": "True"}]);
        assert_eq!(reasons(&judge(&NODES, &world([claim(launched)]))), ["not_registered"]);
        assert_eq!(reasons(&judge(&NODES, &world([claim(json!([]))]))), ["not_launched"]);
        assert!(judge(&NODES, &world([claim(both)])).is_empty());

        let failed = || {
            let event = event(Kind::Node, "n1", "FailedToScaleUpGroup", "quota");
            [Object::Event(Box::new(event)), Object::Node(Box::new(node("n1")))]
        };
        assert!(judge(&NODES, &world(failed())).is_empty(), "nobody waits");
        let waiting = Pod {
            phase: Phase::Pending,
            conditions: [condition("PodScheduled", Status::False, "Unschedulable", 90)].into(),
            ..pod("web-1")
        };
        let objects = failed().into_iter().chain([Object::Pod(Box::new(waiting))]);
        assert_eq!(reasons(&judge(&NODES, &world(objects))), ["scale_up_failed"]);
    }
}
