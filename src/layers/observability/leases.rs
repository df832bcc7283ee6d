//! Which controllers died in silence? Their leader leases say so before anything that they should do is missed.

use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts, short_age};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Resource, Time, Workload};
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::tally::Tallies;
use crate::model::view::View;

pub(super) static STALE: Signal = Signal {
    block: "S4.14",
    name: "observability_leader_lease_stale",
    layer: Layer::Observability,
    help: "Leader leases that nobody has renewed for twice their duration and a minute, although somebody did within a \
           day: the controller is dead, or cannot reach the API server; `nobody` where its leader has gone and the workload \
           that it was of is still there, without a leader: scaled to zero, or not able to run. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "lease", "reason"],
    reasons: &["control_plane", "controller", "nobody"],
    bound: "leases × 3 reasons",
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

/// Seconds within which somebody else takes over what a leader left, when all is well: a new pod has to be started where
/// there is only one.
const TAKEN_OVER: i64 = 300;

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

/// Whether a pod of this name is, or was, one of the workload's: `<workload>-<hash>-<suffix>`, or what its kind has in
/// place of the hash and the suffix. An identity has more behind it, as `_<random>`.
fn is_of(workload: &Workload, holder: &str) -> bool {
    // The letters of which Kubernetes makes names have no vowels among them, so that they make no words.
    let drawn = |part: &str| part.bytes().all(|b| b"bcdfghjklmnpqrstvwxz2456789".contains(&b));
    let suffix = |part: Option<&str>| part.is_some_and(|p| p.len() == 5 && drawn(p));
    let rest = holder.strip_prefix(workload.meta.name.as_str()).and_then(|r| r.strip_prefix('-'));
    let Some(rest) = rest else { return false };
    let mut parts = rest.split(['-', '_']);
    match workload.kind {
        Kind::Deployment => parts.next().is_some_and(drawn) && suffix(parts.next()),
        Kind::StatefulSet => parts.next().is_some_and(|p| p.parse::<u32>().is_ok()),
        _ => suffix(parts.next()),
    }
}

/// A lease that its leader gave back, or left without a word, while its workload stayed. Of software that was removed
/// nothing stays but the lease.
fn left(view: &View<'_>, lease: &Resource, since: Time) -> Option<Verdict> {
    let led = view.world.recall().leader(lease)?;
    let mut own: Vec<&Workload> =
        view.top_workloads().filter(|w| w.meta.deleting.is_none() && is_of(w, led)).collect();
    own.sort_by_key(|w| (w.meta.namespace != lease.meta.namespace, &w.meta.namespace));
    let workload = own.first()?;
    let why = match workload.desired {
        0 => "it is scaled to zero".to_owned(),
        wanted => format!("{} of its {wanted} pods are ready", workload.ready),
    };
    let told = format!(
        "leads no more: nobody has held the lease {}/{} since {led} left it, and {why}",
        lease.meta.namespace, lease.meta.name
    );
    let labels = labels![&lease.meta.namespace, &lease.meta.name, "nobody"];
    let subject = Subject::new(workload.kind, &workload.meta.namespace, &workload.meta.name);
    let since = lease.renewed.map(|_| since);
    Some(Verdict::new(subject, labels, "nobody", told).since(since).dwell(TAKEN_OVER))
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
        if age as f64 <= 2.0 * lasts + 60.0 || age > LITTER {
            continue;
        }
        let holder = lease.body.text("spec.holderIdentity");
        // A leader that ends well gives its lease back.
        if holder.is_empty() || is_gone(view, holder) {
            out.0.extend(left(view, lease, renewed));
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
        assert_eq!(told(holder, objects![deployment("web", 0, 0)]), ["nobody"], "scaled to zero");
        assert!(told("web-0", objects![deployment("website", 1, 1)]).is_empty());
        assert_eq!(told("web-0", objects![pod_of("x", "web-0")]), ["controller"]);
        let node = Node { meta: meta("", "worker-1", 9000), ..Node::default() };
        assert_eq!(told("worker-1_0c5f", objects![node]), ["controller"]);
        let unseen = world(&[Kind::Pod], objects![lease("web", holder, 120, 0)]);
        assert_eq!(judge(&STALE, &unseen).len(), 1, "nobody knows whether it is gone");
    }

    #[test]
    fn a_lease_that_was_given_back_is_told_while_its_workload_is_there_and_nobody_takes_it() {
        let look = |holder: &str, age: i64, workload: Option<Workload>| {
            let held = lease("web", "web-7d9f-x2k4p-external", age + 2, 0);
            let given_back = lease("web", holder, age, 0);
            let mut world = world(&[], workload.map(|w| objects![w]).unwrap_or_default());
            for (lease, age) in [(held, age + 2), (given_back, age)] {
                world.apply(Delta::Upsert(Object::Resource(Box::new(lease))), ago(age));
            }
            judge(&STALE, &world)
        };
        let told = look("", 900, Some(deployment("web", 0, 0)));
        assert_eq!((told[0].reason, &*told[0].subject.name), ("nobody", "web"));
        assert_eq!((told[0].since, told[0].dwell.as_secs()), (Some(ago(900)), 300));
        assert!(told[0].message.ends_with("it is scaled to zero"), "{}", told[0].message);
        let told = look("", 900, Some(deployment("web", 2, 0)));
        assert!(told[0].message.ends_with("0 of its 2 pods are ready"), "{}", told[0].message);
        assert!(look("", 900, None).is_empty(), "uninstalled");
        let other = Some(deployment("we", 1, 1));
        assert!(look("", 900, other).is_empty(), "another's");
        assert!(look("", 30, Some(deployment("web", 1, 0))).is_empty(), "somebody will take it");
        assert!(look("", 90_000, Some(deployment("web", 0, 0))).is_empty(), "litter");
        let taken = look("web-7d9f-bbbbb-external", 5, Some(deployment("web", 1, 1)));
        assert!(taken.is_empty(), "taken over");
    }

    #[test]
    fn a_holder_is_of_the_workload_whose_pod_it_names() {
        let stateful = |name: &str| Workload { kind: Kind::StatefulSet, ..deployment(name, 1, 1) };
        let daemon = |name: &str| Workload { kind: Kind::DaemonSet, ..deployment(name, 1, 1) };
        assert!(is_of(&deployment("cert-manager", 1, 1), "cert-manager-5c7f6467dc-z9764_6c59"));
        let other = "cert-manager-cainjector-5c7f6467dc-z9764";
        assert!(!is_of(&deployment("cert-manager", 1, 1), other));
        assert!(is_of(&deployment("cert-manager-cainjector", 1, 1), other));
        assert!(is_of(&stateful("web"), "web-0") && !is_of(&stateful("web"), "web-x2k4p"));
        assert!(is_of(&daemon("web"), "web-x2k4p") && !is_of(&daemon("web"), "web-0"));
        assert!(!is_of(&deployment("web", 1, 1), "web") && !is_of(&deployment("web", 1, 1), ""));
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
