//! Are the rules enforced, the keys valid and the doors shut?

mod apiserver;
mod audits;
mod calls;
mod certificates;
mod changes;
mod denials;
mod deprecated;
mod duration;
mod gatekeeper;
mod issuance;
mod kubelets;
mod kyverno;
mod namespaces;
mod pods;
mod policies;
mod rbac;
mod reports;
mod scans;
mod secrets;
mod webhooks;

use crate::model::layer::Layer;
use crate::model::record::Object;
use crate::model::signal::{LayerSignals, Observation};
use crate::model::tally::Tallies;

/// The security layer.
pub(super) static LAYER: LayerSignals = LayerSignals {
    layer: Layer::Security,
    signals: &[
        &webhooks::DOWN,
        &denials::DENIALS,
        &apiserver::WEBHOOK_ERRORS,
        &calls::FAILING,
        &apiserver::FAIL_OPEN,
        &changes::WEBHOOKS,
        &policies::UNHEALTHY,
        &apiserver::POLICY_VIOLATIONS,
        &apiserver::POLICY_ERRORS,
        &apiserver::PSA_VIOLATIONS,
        &apiserver::PSA_ERRORS,
        &namespaces::COVERAGE,
        &namespaces::DOWNGRADES,
        &audits::AUTHORIZATION,
        &apiserver::AUTHENTICATION,
        &rbac::POWERFUL,
        &rbac::BINDINGS,
        &rbac::CHANGES,
        &kyverno::NOT_READY,
        &changes::ENFORCED,
        &changes::RELAXED,
        &kyverno::ENGINE,
        &reports::RESULTS,
        &reports::ERRORS,
        &gatekeeper::VIOLATIONS,
        &gatekeeper::AUDIT_AGE,
        &gatekeeper::UNHEALTHY,
        &scans::VULNERABILITIES,
        &scans::CONFIGURATION,
        &scans::SECRETS,
        &scans::COVERAGE,
        &scans::STALE,
        &certificates::EXPIRY,
        &certificates::UNHEALTHY,
        &issuance::ISSUERS,
        &issuance::STUCK,
        &apiserver::CLIENT_CERTIFICATES,
        &pods::CERTIFICATES,
        &kubelets::RENEWALS,
        &issuance::SIGNING,
        &secrets::FAILED,
        &deprecated::USED,
        &audits::DEPRECATED,
    ],
    observe,
    lasted: |_| Vec::new(),
};

fn observe(o: &Observation<'_>, tallies: &mut Tallies) {
    match o.object {
        Object::Namespace(namespace) => namespaces::observe(o, namespace, tallies),
        Object::Event(event) => denials::observe_event(o, event, tallies),
        Object::Scrape(scrape) => {
            apiserver::observe(o, scrape, tallies);
            kubelets::observe(scrape, tallies);
        }
        Object::Audit(audit) => {
            if denials::hear(o, audit, tallies) {
                denials::observe_audit(audit, tallies);
                apiserver::observe_audit(audit, tallies);
            }
            audits::observe(o, audit, tallies);
        }
        Object::Resource(resource) => {
            changes::observe(o, resource, tallies);
            rbac::observe(o, resource, tallies);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{Counted, ago, judge, resource, world};
    use crate::model::kind::Kind;
    use crate::model::reading::Readings;
    use crate::model::record::Resource;
    use crate::model::signal::Read;
    use crate::model::view::View;

    /// An object of each kind whose fields have other types than anybody expects.
    fn odd() -> impl Iterator<Item = Resource> {
        let manifests = [
            json!({}),
            json!({"spec": "x", "status": 1, "webhooks": {}, "rules": true, "subjects": [1], "table": [], "report": "x"}),
            json!({"spec": {"rules": [1]}, "status": {"byPod": [true], "conditions": [{"type": 7}], "state": 3},
                "webhooks": [{"clientConfig": {"service": "x"}, "rules": [[]]}], "roleRef": [], "summary": []}),
        ];
        let kinds = Kind::ALL.iter().filter(|k| k.is_resource());
        kinds.flat_map(move |kind| {
            let named = |(i, m): (usize, serde_json::Value)| resource(*kind, &format!("o{i}"), m);
            manifests.clone().into_iter().enumerate().map(named).collect::<Vec<_>>()
        })
    }

    #[test]
    fn odd_objects_and_blindness_raise_nothing_and_break_nothing() {
        let objects = || odd().map(Object::from);
        let mut counted = Counted::new(&LAYER, Vec::new());
        for object in objects() {
            counted.see(object, 0);
        }
        let blind = world(Kind::ALL, Vec::new());
        for signal in LAYER.signals {
            match signal.read {
                Read::Rule(_) => {
                    // What says when it was made, and says no more, is late by that.
                    let found = judge(signal, &world(&[], objects()));
                    let young = found.iter().all(|v| {
                        matches!(
                            v.reason,
                            "no_binding" | "update_stuck" | "role_missing" | "pending"
                        )
                    });
                    assert!(young, "{} {found:?}", signal.name);
                    assert!(judge(signal, &blind).is_empty(), "{}", signal.name);
                }
                Read::Gauge(read) => {
                    let mut readings = Readings::default();
                    read(&View::new(&blind, ago(0)), &mut readings);
                    assert!(readings.into_sorted().is_empty(), "{}", signal.name);
                }
                _ => {}
            }
        }
    }

    #[test]
    fn the_order_in_which_objects_come_does_not_matter() {
        let objects = || odd().map(Object::from).collect::<Vec<_>>();
        let mut reversed = objects();
        reversed.reverse();
        let (one, other) = (world(&[], objects()), world(&[], reversed));
        for signal in LAYER.signals.iter().filter(|s| matches!(s.read, Read::Rule(_))) {
            assert_eq!(judge(signal, &one), judge(signal, &other), "{}", signal.name);
        }
    }
}
