//! Which controllers died in silence? Their leader leases say so before anything that they should do is missed.

use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts, short_age};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Resource, Workload};
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
    uses: OWNERS,
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

const OWNERS: &[Kind] =
    &[Kind::Pod, Kind::Node, Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet];

/// A lease that nobody has renewed for this long is litter of software that is gone.
const LITTER: i64 = 86_400;

/// Seconds within which a renewal is read.
const READ_EVERY: i64 = 30;

/// At first sight a holder whose clock is behind looks dead, and the next reading tells. After so many seconds without
/// one leases are not seen at all.
const UNTIL_READ_AGAIN: i64 = 300;

/// Whether the lease elects a leader: those of nodes and of API servers are signs of life of others.
fn elects(lease: &Resource) -> bool {
    let identity = lease.meta.labels.get("apiserver.kubernetes.io/identity").is_some();
    lease.meta.namespace != "kube-node-lease" && !identity
}

/// Whether the holder was a pod of software that is gone, or scaled to zero: neither it nor a workload that would make
/// it again is there. Who calls itself otherwise, as after its node, is not known to be gone.
fn is_gone(view: &View<'_>, holder: &str) -> bool {
    // `<pod>_<random>`, as most write it.
    let name = holder.split('_').next().unwrap_or_default();
    let suffix = name.rsplit_once('-').map_or("", |(_, suffix)| suffix);
    let random =
        suffix.len() == 5 && suffix.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let ordinal = !suffix.is_empty() && suffix.bytes().all(|b| b.is_ascii_digit());
    let sees = OWNERS.iter().all(|kind| view.sees(*kind));
    // It may elect its leader in a namespace other than its own.
    let makes = |w: &Workload| {
        name.strip_prefix(w.meta.name.as_str()).is_some_and(|rest| rest.starts_with('-'))
    };
    sees && (random || ordinal)
        && view.world.nodes.get("", name).is_none()
        && !view.all_pods().any(|(pod, _)| pod.meta.name == name)
        && !view.counted_workloads().any(makes)
}

fn stale(view: &View<'_>, out: &mut Verdicts) {
    for lease in view.resources(Kind::Lease).filter(|l| elects(l)) {
        let (Some(renewed), Some(age), Some(lasts)) = (
            lease.body.time("spec.renewTime"),
            view.lease_silence(lease, READ_EVERY),
            lease.body.number("spec.leaseDurationSeconds"),
        ) else {
            continue;
        };
        // A leader that ends well gives its lease back.
        let holder = lease.body.text("spec.holderIdentity");
        if holder.is_empty() || age as f64 <= 2.0 * lasts + 60.0 || age > LITTER {
            continue;
        }
        if is_gone(view, holder) {
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
        let told = format!(
            "its leader {holder} is dead or cut off: it has not renewed this lease of {lasts} s for {}",
            short_age(age)
        );
        let labels = labels![&lease.meta.namespace, &lease.meta.name, reason];
        let verdict = Verdict::new(Subject::of(lease), labels, reason, told).severity(severity);
        out.push(match lease.renewed {
            Some(_) => verdict.since(renewed).dwell(0),
            None => verdict.dwell(UNTIL_READ_AGAIN),
        });
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
    use crate::layers::fixtures::{
        Counted, ago, deployment, judge, meta, objects, pod_of, reasons, resource, world,
    };
    use crate::layers::observability::LAYER;
    use crate::model::record::{Node, Object};
    use crate::model::world::Delta;

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
        assert_eq!(told(lease("cert-manager-controller", "m1.example", 120, 0)), ["controller"]);
        assert!(told(lease("kube-scheduler", "", 120, 0)).is_empty(), "given back");
        assert!(told(lease("kube-scheduler", "m1", 80, 0)).is_empty());
        assert!(told(lease("kube-scheduler", "m1", 200_000, 0)).is_empty(), "litter");
        let mut node = lease("n1", "n1", 120, 0);
        node.meta.namespace = "kube-node-lease".into();
        assert!(told(node).is_empty());
    }

    #[test]
    fn a_leader_is_missed_while_somebody_would_run_it() {
        let told = |holder: &str, more: Vec<Object>| {
            let all = objects![lease("web", holder, 120, 0)].into_iter().chain(more);
            reasons(&STALE, all.collect())
        };
        let holder = "web-7d9f-x2k4p_0c5f";
        assert_eq!(told(holder, objects![deployment("web", 1, 0)]), ["controller"]);
        assert!(told(holder, objects![]).is_empty(), "uninstalled");
        assert!(told(holder, objects![deployment("web", 0, 0)]).is_empty(), "scaled to zero");
        assert!(told("web-0", objects![deployment("website", 1, 1)]).is_empty());
        assert_eq!(told("web-0", objects![pod_of("x", "web-0")]), ["controller"]);
        let node = Node { meta: meta("", "worker-1", 9000), ..Node::default() };
        assert_eq!(told("worker-1_0c5f", objects![node]), ["controller"]);
        let unseen = world(&[Kind::Pod], objects![lease("web", holder, 120, 0)]);
        assert_eq!(judge(&STALE, &unseen).len(), 1, "nobody knows whether it is gone");
    }

    #[test]
    fn a_leader_that_was_never_seen_to_renew_is_given_time_to_do_so() {
        let first = judge(&STALE, &world(&[], objects![lease("kube-scheduler", "m1", 120, 0)]));
        assert_eq!((first[0].since, first[0].dwell.as_secs()), (None, 300));
        let seen = Resource { renewed: Some(ago(100)), ..lease("kube-scheduler", "m1", 120, 0) };
        let mut world = world(&[], objects![lease("kube-scheduler", "m1", 150, 0)]);
        world.apply(Delta::Upsert(Object::Resource(Box::new(seen))), ago(100));
        let later = judge(&STALE, &world);
        assert_eq!((later[0].since, later[0].dwell.as_secs()), (Some(ago(120)), 0));
    }

    #[test]
    fn changes_of_hands_are_counted() {
        let mut counted = Counted::new(&LAYER, objects![]);
        counted.see(lease("a", "p-1", 5, 2), 60).see(lease("a", "p-2", 5, 3), 30);
        assert_eq!(counted.totals(&TRANSITIONS), [("kube-system a".to_owned(), 3)]);
    }
}
