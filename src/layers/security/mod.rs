//! Are the rules enforced, the keys valid and the doors shut?

mod apiserver;
mod denials;
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
        &apiserver::FAIL_OPEN,
        &apiserver::POLICY_VIOLATIONS,
        &apiserver::POLICY_ERRORS,
        &apiserver::PSA_VIOLATIONS,
        &apiserver::PSA_ERRORS,
        &apiserver::AUTHENTICATION,
        &apiserver::CLIENT_CERTIFICATES,
    ],
    observe,
};

fn observe(o: &Observation<'_>, tallies: &mut Tallies) {
    match o.object {
        Object::Event(event) => denials::observe_event(o, event, tallies),
        Object::Scrape(scrape) => apiserver::observe(o, scrape, tallies),
        Object::Audit(audit) => {
            denials::observe_audit(o, audit, tallies);
            apiserver::observe_audit(o, audit, tallies);
        }
        _ => {}
    }
}
