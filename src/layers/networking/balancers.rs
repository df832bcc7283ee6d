//! Which Services of type LoadBalancer have no address, or a load balancer that cannot be kept up to date?

use std::collections::BTreeSet;

use crate::labels;
use crate::layers::conditions::one_line;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Event, Resource};
use crate::model::signal::{Observation, Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::tally::Tallies;
use crate::model::text::Text;
use crate::model::view::{STILL_SPEAKS, View};

pub(super) static PENDING: Signal = Signal {
    block: "S3.5",
    name: "networking_loadbalancer_pending",
    layer: Layer::Networking,
    help: "Services of type LoadBalancer without an address, or whose load balancer cannot be made or updated, by what \
           stands against it. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "service", "loadbalancer_class", "reason"],
    reasons: &[
        "no_address",
        "no_free_address",
        "quota",
        "permission",
        "network",
        "port_error",
        "other",
    ],
    bound: "Services of type LoadBalancer × 7 reasons",
    needs: &[Kind::Service],
    uses: &[Kind::Event],
    profile: Profile::None,
    read: Read::Rule(pending),
};

pub(super) static ADDRESS_SECONDS: Signal = Signal {
    block: "S3.5",
    name: "networking_loadbalancer_address_seconds",
    layer: Layer::Networking,
    help: "How long new Services of type LoadBalancer took to get their first address. Healthy is stable.",
    unit: Unit::Seconds,
    labels: &["loadbalancer_class"],
    reasons: &[],
    bound: "load-balancer classes",
    needs: &[Kind::Service],
    uses: &[],
    profile: Profile::Durations,
    read: Read::Histogram(&[1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0]),
};

pub(super) static LOST: Signal = Signal {
    block: "S3.5",
    name: "networking_loadbalancer_addresses_lost_total",
    layer: Layer::Networking,
    help: "Times that a Service of type LoadBalancer that had an address stood without one. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "service"],
    reasons: &[],
    bound: "Services of type LoadBalancer",
    needs: &[Kind::Service],
    uses: &[],
    profile: Profile::Rate,
    read: Read::Counter,
};

/// What controllers report when they fail: the cloud's service controller, MetalLB, and AWS' own controller.
const FAILED: &[&str] = &[
    "SyncLoadBalancerFailed",
    "UpdateLoadBalancerFailed",
    "UnAvailableLoadBalancer",
    "DeleteLoadBalancerFailed",
    "AllocationFailed",
    "FailedBuildModel",
    "FailedDeployModel",
];

const DONE: &[&str] =
    &["EnsuredLoadBalancer", "UpdatedLoadBalancer", "IPAllocated", "SuccessfullyReconciled"];

/// The controllers' marks on what they have begun to make.
const CLEANUP: &[&str] =
    &["service.kubernetes.io/load-balancer-cleanup", "service.k8s.aws/resources"];

/// Words of the clouds and the reason that they tell; the first that is found decides.
const WORDS: &[(&str, &str)] = &[
    ("no available ip", "no_free_address"),
    ("failed to allocate ip", "no_free_address"),
    ("no free", "no_free_address"),
    ("exhausted", "no_free_address"),
    ("quota", "quota"),
    ("limitexceeded", "quota"),
    ("limit exceeded", "quota"),
    ("toomany", "quota"),
    ("accessdenied", "permission"),
    ("authoriz", "permission"),
    ("forbidden", "permission"),
    ("permission", "permission"),
    ("credential", "permission"),
    ("subnet", "network"),
    ("security group", "network"),
];

/// Whether the object has an address of a load balancer.
pub(super) fn has_address(resource: &Resource) -> bool {
    let mut entries = resource.body.items("status.loadBalancer.ingress").iter();
    entries.any(|e| !e.text("ip").is_empty() || !e.text("hostname").is_empty())
}

fn is_balanced(service: &Resource) -> bool {
    service.body.text("spec.type") == "LoadBalancer"
}

/// Records how long a first address took, and counts those that are lost.
pub(super) fn observe(o: &Observation<'_>, service: &Resource, tallies: &mut Tallies) {
    let meta = &service.meta;
    if !is_balanced(service) || meta.deleting.is_some() {
        return;
    }
    let first = has_address(service) && tallies.advance(Kind::Service, meta.uid, "address", 1) > 0;
    let held = o.world.resources(Kind::Service).and_then(|s| s.get(&meta.namespace, &meta.name));
    let Some(held) = held.filter(|h| h.meta.uid == meta.uid && is_balanced(h)) else { return };
    match (has_address(held), has_address(service)) {
        (false, true) if first => {
            let seconds = o.now.duration_since(meta.created).as_secs_f64();
            // A longer wait is not that for a first address.
            if seconds <= super::FIRST as f64 {
                let class = service.body.text("spec.loadBalancerClass");
                tallies.record(&ADDRESS_SECONDS, labels![class], seconds);
            }
        }
        (true, false) => tallies.add(&LOST, labels![&meta.namespace, &meta.name], 1),
        _ => {}
    }
}

fn pending(view: &View<'_>, out: &mut Verdicts) {
    let balanced = || view.resources(Kind::Service).filter(|s| is_balanced(s));
    // Where no Service of a class ever got an address, nobody may be there to give one.
    let served: BTreeSet<&Text> = balanced()
        .filter(|s| has_address(s))
        .map(|s| s.body.text("spec.loadBalancerClass"))
        .collect();
    for service in balanced() {
        let class = service.body.text("spec.loadBalancerClass");
        let begun = service.meta.finalizers.iter().any(|f| CLEANUP.contains(&f.as_str()));
        let tell = |reason: &'static str, message: String| {
            let labels = labels![&service.meta.namespace, &service.meta.name, class, reason];
            Verdict::new(Subject::of(service), labels, reason, message)
        };
        let verdict = if let Some(event) = failure(view, service) {
            let severity =
                if has_address(service) { Severity::Warning } else { Severity::Critical };
            let message =
                one_line(&format!("its load balancer fails ({}): {}", event.reason, event.note));
            tell(why(&event.note), message).severity(severity).since(event.first)
        } else if service.meta.deleting.is_some() {
            continue;
        } else if let Some(error) = port_error(service) {
            tell("port_error", format!("a port of its load balancer fails: {error}"))
        } else if !has_address(service) && (begun || served.contains(class)) {
            let told = if begun {
                "it has no address although its load balancer was begun"
            } else {
                "it has no address although other Services of its class do"
            };
            let since = super::waits(view, &service.meta, 300);
            tell("no_address", told.to_owned()).since(since).dwell(300)
        } else {
            continue;
        };
        out.push(verdict);
    }
}

/// The last report, where it is one of failure that nothing has put right.
fn failure<'a>(view: &'a View<'_>, service: &Resource) -> Option<&'a Event> {
    let events = view.recent_events(Kind::Service, &service.meta, STILL_SPEAKS);
    let is = |list: &[&str], event: &Event| list.contains(&event.reason.as_str());
    events.filter(|e| is(FAILED, e) || is(DONE, e)).last().filter(|e| is(FAILED, e))
}

fn why(note: &str) -> &'static str {
    let note = note.to_ascii_lowercase();
    WORDS.iter().find(|(words, _)| note.contains(words)).map_or("other", |(_, reason)| reason)
}

fn port_error(service: &Resource) -> Option<&Text> {
    let entries = service.body.items("status.loadBalancer.ingress").iter();
    let ports = entries.flat_map(|entry| entry.items("ports"));
    ports.map(|port| port.text("error")).find(|error| !error.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::layers::fixtures::{Counted, ago, event, judge, objects, reasons, resource, world};
    use crate::layers::networking::LAYER;
    use crate::model::record::Object;

    #[allow(clippy::needless_pass_by_value)]
    fn balanced(name: &str, ingress: Value) -> Resource {
        let manifest = json!({
            "spec": {"type": "LoadBalancer", "selector": {"app": name}},
            "status": {"loadBalancer": {"ingress": ingress}},
        });
        resource(Kind::Service, name, manifest)
    }

    fn served(name: &str) -> Resource {
        balanced(name, json!([{"ip": "192.0.2.1"}]))
    }

    #[test]
    fn a_service_without_an_address_is_told_where_others_have_one() {
        let found =
            judge(&PENDING, &world(&[], objects![balanced("web", json!([])), served("db")]));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].reason, found[0].dwell.as_secs()), ("no_address", 300));
        assert_eq!(found[0].subject.to_string(), "Service shop/web");
        assert!(reasons(&PENDING, objects![balanced("web", json!([]))]).is_empty(), "nobody gives");
        for mark in CLEANUP {
            let mut begun = balanced("web", json!([]));
            begun.meta.finalizers = [(*mark).into()].into();
            assert_eq!(reasons(&PENDING, objects![begun]), ["no_address"]);
        }
        let classed =
            json!({"spec": {"type": "LoadBalancer", "loadBalancerClass": "example.com/x"}});
        let classed = resource(Kind::Service, "classed", classed);
        assert!(reasons(&PENDING, objects![classed, served("db")]).is_empty(), "of another class");
    }

    #[test]
    fn a_failure_tells_why_until_it_is_put_right() {
        let cases = [
            ("SyncLoadBalancerFailed", "Error syncing load balancer: QUOTA exceeded", "quota"),
            ("SyncLoadBalancerFailed", "AccessDenied: not yours", "permission"),
            ("UpdateLoadBalancerFailed", "could not find any suitable subnets", "network"),
            ("AllocationFailed", "Failed to allocate IP for \"web\"", "no_free_address"),
            (
                "FailedDeployModel",
                "Failed deploy model due to AccessDenied: no\nmore",
                "permission",
            ),
            ("SyncLoadBalancerFailed", "oops", "other"),
        ];
        for (name, note, expected) in cases {
            let report = event((Kind::Service, "web"), name, note, 300, 60);
            let all = objects![served("web"), report];
            let found = judge(&PENDING, &world(&[], all));
            assert_eq!((found[0].reason, found[0].severity), (expected, Severity::Warning));
            assert_eq!(found[0].since, Some(ago(300)));
        }
        let failed = event((Kind::Service, "web"), "SyncLoadBalancerFailed", "oops", 300, 60);
        for name in DONE {
            let done = event((Kind::Service, "web"), name, "well", 30, 30);
            assert!(reasons(&PENDING, objects![served("web"), failed.clone(), done]).is_empty());
        }
        let old = Event { last: ago(3000), ..failed };
        assert!(reasons(&PENDING, objects![served("web"), old]).is_empty());
    }

    #[test]
    fn a_port_may_fail_and_odd_values_are_silent() {
        let ports = json!([{"ip": "192.0.2.1", "ports": [{"port": 80, "error": "PortTaken"}]}]);
        assert_eq!(reasons(&PENDING, objects![balanced("web", ports)]), ["port_error"]);
        let cases: Vec<Vec<Object>> = vec![
            objects![served("web"), resource(Kind::Service, "odd", json!({"spec": []}))],
            objects![served("web"), balanced("named", json!([{"hostname": "lb.example"}]))],
            objects![
                served("web"),
                resource(Kind::Service, "plain", json!({"spec": {"type": "NodePort"}}))
            ],
        ];
        for case in cases {
            assert!(reasons(&PENDING, case).is_empty());
        }
    }

    #[test]
    fn an_address_that_comes_back_is_no_first_one() {
        let waits = || balanced("web", json!([]));
        let mut seen = Counted::new(&LAYER, objects![waits()]);
        seen.see(served("web"), 3540).see(waits(), 3530).see(served("web"), 3400);
        assert_eq!(seen.durations(&ADDRESS_SECONDS), [(String::new(), 1, 60.0)]);
        assert_eq!(seen.totals(&LOST), [("shop web".to_owned(), 1)]);
    }

    #[test]
    fn the_first_address_is_timed_and_lost_ones_are_counted() {
        let mut seen = Counted::new(&LAYER, objects![balanced("web", json!([]))]);
        seen.see(served("web"), 3540).see(served("web"), 3500);
        assert_eq!(seen.durations(&ADDRESS_SECONDS), [(String::new(), 1, 60.0)]);
        seen.see(balanced("web", json!(null)), 200).see(served("web"), 100);
        assert_eq!(seen.totals(&LOST), [("shop web".to_owned(), 1)]);
        let plain = resource(Kind::Service, "web", json!({"spec": {"type": "ClusterIP"}}));
        seen.see(plain, 50);
        assert_eq!(seen.totals(&LOST).len(), 1, "no longer of the type");
    }
}
