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
        &issuance::SIGNING,
        &secrets::FAILED,
        &deprecated::USED,
        &audits::DEPRECATED,
    ],
    observe,
};

fn observe(o: &Observation<'_>, tallies: &mut Tallies) {
    match o.object {
        Object::Namespace(namespace) => namespaces::observe(o, namespace, tallies),
        Object::Event(event) => denials::observe_event(o, event, tallies),
        Object::Scrape(scrape) => apiserver::observe(o, scrape, tallies),
        Object::Audit(audit) => {
            denials::observe_audit(o, audit, tallies);
            apiserver::observe_audit(o, audit, tallies);
            audits::observe(o, audit, tallies);
        }
        Object::Resource(resource) => {
            changes::observe(o, resource, tallies);
            rbac::observe(o, resource, tallies);
        }
        _ => {}
    }
}
