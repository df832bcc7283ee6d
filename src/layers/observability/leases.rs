//! Which controllers died in silence? Their leader leases say so before anything that they should do is missed.

use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::Resource;
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::tally::Tallies;
use crate::model::view::View;

pub(super) static STALE: Signal = Signal {
    block: "S4.14",
    name: "observability_leader_lease_stale",
    layer: Layer::Observability,
    help: "Leader leases that nobody has renewed for twice their duration and a minute, although somebody did within a \
           day: the controller is dead, or cannot reach the API server. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "lease", "reason"],
    reasons: &["control_plane", "controller"],
    bound: "leases × 2 reasons",
    needs: &[Kind::Lease],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(stale),
};

pub(super) static TRANSITIONS: Signal = Signal {
    block: "S4.14",
    name: "observability_leader_transitions_total",
    layer: Layer::Observability,
    help: "Times that a leader lease changed hands. Healthy is near none.",
    unit: Unit::Count,
    labels: &["namespace", "lease"],
    reasons: &[],
    bound: "leases",
    needs: &[Kind::Lease],
    uses: &[],
    profile: Profile::Rate,
    read: Read::Counter,
};

/// A lease that nobody has renewed for this long is litter of software that is gone.
const LITTER: i64 = 86_400;

/// Whether the lease elects a leader: those of nodes and of API servers are signs of life of others.
fn elects(lease: &Resource) -> bool {
    let identity = lease.meta.labels.get("apiserver.kubernetes.io/identity").is_some();
    lease.meta.namespace != "kube-node-lease" && !identity
}

fn stale(view: &View<'_>, out: &mut Verdicts) {
    let read = view.world.source_ref(Kind::Lease).and_then(|s| s.last_sync).unwrap_or(view.now);
    for lease in view.resources(Kind::Lease).filter(|l| elects(l)) {
        let (Some(renewed), Some(lasts)) =
            (lease.body.time("spec.renewTime"), lease.body.number("spec.leaseDurationSeconds"))
        else {
            continue;
        };
        // A leader that ends well gives its lease back.
        let holder = lease.body.text("spec.holderIdentity");
        let age = (read.as_second() - renewed.as_second()).max(0);
        if holder.is_empty() || age <= 2 * lasts as i64 + 60 || age > LITTER {
            continue;
        }
        let core = matches!(
            &*lease.meta.name,
            "kube-controller-manager" | "kube-scheduler" | "cloud-controller-manager"
        );
        let (reason, severity) = if core && lease.meta.namespace == "kube-system" {
            ("control_plane", Severity::Critical)
        } else {
            ("controller", Severity::Warning)
        };
        let told = format!("{holder} has not renewed it for {age} s; it lasts {lasts} s");
        let labels = labels![&lease.meta.namespace, &lease.meta.name, reason];
        let verdict = Verdict::new(Subject::of(lease), labels, reason, told);
        out.push(verdict.severity(severity).since(renewed).dwell(0));
    }
}

/// Counts a change of hands.
pub(super) fn observe(resource: &Resource, tallies: &mut Tallies) {
    if resource.kind == Kind::Lease && elects(resource) {
        let value = resource.body.count("spec.leaseTransitions");
        let n = tallies.advance(Kind::Lease, resource.meta.uid, "transitions", value);
        tallies.add(&TRANSITIONS, labels![&resource.meta.namespace, &resource.meta.name], n);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{Counted, ago, objects, reasons, resource};
    use crate::layers::observability::LAYER;

    fn lease(name: &str, holder: &str, age: i64, transitions: u32) -> Resource {
        resource(
            Kind::Lease,
            name,
            json!({"metadata": {"namespace": "kube-system"}, "spec": {
            "holderIdentity": holder, "renewTime": ago(age).to_string(), "leaseDurationSeconds": 15,
            "leaseTransitions": transitions}}),
        )
    }

    #[test]
    fn a_dead_leader_is_told_and_one_that_left_is_not() {
        let told = |lease| reasons(&STALE, objects![lease]);
        assert_eq!(told(lease("kube-scheduler", "m1", 120, 0)), ["control_plane"]);
        assert_eq!(told(lease("cert-manager-controller", "p-1", 120, 0)), ["controller"]);
        assert!(told(lease("kube-scheduler", "", 120, 0)).is_empty(), "given back");
        assert!(told(lease("kube-scheduler", "m1", 80, 0)).is_empty());
        assert!(told(lease("kube-scheduler", "m1", 200_000, 0)).is_empty(), "litter");
        let mut node = lease("n1", "n1", 120, 0);
        node.meta.namespace = "kube-node-lease".into();
        assert!(told(node).is_empty());
    }

    #[test]
    fn changes_of_hands_are_counted() {
        let mut counted = Counted::new(&LAYER, objects![]);
        counted.see(lease("a", "p-1", 5, 2), 60).see(lease("a", "p-2", 5, 3), 30);
        assert_eq!(counted.totals(&TRANSITIONS), [("kube-system a".to_owned(), 3)]);
    }
}
