//! Would anybody notice? The API server itself, the metrics APIs, Prometheus, Loki, OpenTelemetry, and our own sight.

mod alerts;
mod apiserver;
mod apiservices;
mod blindness;
mod collectors;
mod coverage;
mod events;
mod injection;
mod leases;
mod selection;
mod stacks;

use crate::model::layer::Layer;
use crate::model::record::Object;
use crate::model::signal::{LayerSignals, Observation};
use crate::model::tally::Tallies;

/// The observability layer.
pub(super) static LAYER: LayerSignals = LayerSignals {
    layer: Layer::Observability,
    signals: &[
        &coverage::TARGETS,
        &selection::UNSELECTED,
        &coverage::WORKLOADS,
        &stacks::UNHEALTHY,
        &coverage::RULES,
        &alerts::REMOVED,
        &collectors::AGENTS,
        &collectors::UNCOVERED,
        &stacks::LOKI,
        &collectors::COLLECTOR,
        &injection::GAP,
        &apiserver::CHECK,
        &apiserver::ERRORS,
        &apiserver::REJECTED,
        &apiserver::ETCD_ERRORS,
        &apiserver::INFLIGHT,
        &apiserver::STORAGE,
        &apiserver::FULL,
        &apiserver::OBJECTS,
        &apiservices::UNAVAILABLE,
        &apiservices::CUSTOM_METRICS,
        &apiservices::FRESHNESS,
        &apiservices::COVERAGE,
        &apiservices::METRICS,
        &events::EVENTS,
        &leases::STALE,
        &leases::TRANSITIONS,
        &blindness::BLIND,
    ],
    observe,
    lasted: |_| Vec::new(),
};

fn observe(o: &Observation<'_>, tallies: &mut Tallies) {
    match o.object {
        Object::Event(event) => events::observe(event, tallies),
        Object::Scrape(scrape) => apiserver::observe(scrape, tallies),
        Object::Resource(resource) => leases::observe(resource, tallies),
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
    use crate::model::signal::{Read, Unit};
    use crate::model::view::View;

    /// An object of each kind whose fields have other types than anybody expects.
    fn odd() -> Vec<Object> {
        let manifests = [
            json!({}),
            json!({"spec": "x", "status": 1, "timestamp": []}),
            json!({"spec": {"selector": [], "endpoints": {}, "groups": [1], "metrics": [{"type": 1}], "renewTime": 3,
                "service": 1, "paused": "yes"},
                "status": {"conditions": [{"type": 7}], "components": [], "bindings": "x", "scale": "1/2"}}),
        ];
        let all = Kind::ALL.iter().filter(|k| k.is_resource()).flat_map(|kind| {
            let named = |(i, m): (usize, &serde_json::Value)| -> Resource {
                resource(*kind, &format!("o{i}"), m.clone())
            };
            manifests.iter().enumerate().map(named).collect::<Vec<_>>()
        });
        all.map(Object::from).collect()
    }

    #[test]
    fn every_signal_is_named_after_its_layer_and_unit() {
        for signal in LAYER.signals {
            let suffix = match (signal.unit, signal.is_counter()) {
                (_, true) => "_total",
                (Unit::Count, _) => "",
                (Unit::Ratio, _) => "_ratio",
                (Unit::Seconds, _) => "_seconds",
                (Unit::Bytes, _) => "_bytes",
            };
            assert!(signal.name.starts_with("observability_") && signal.name.ends_with(suffix));
            assert_eq!(signal.labels.contains(&"reason"), !signal.reasons.is_empty());
            assert!(signal.help.ends_with('.'), "{}", signal.name);
        }
    }

    #[test]
    fn odd_objects_and_blindness_raise_nothing_and_break_nothing() {
        let mut counted = Counted::new(&LAYER, Vec::new());
        for object in odd() {
            counted.see(object, 0);
        }
        let blind = world(Kind::ALL, Vec::new());
        for signal in LAYER.signals {
            match signal.read {
                Read::Rule(_) => {
                    // What selects nothing is told by that.
                    let found = judge(signal, &world(&[], odd()));
                    let nothing = ["no_match", "selected_by_none"];
                    let empty = found.iter().all(|v| nothing.contains(&v.reason));
                    assert!(empty, "{} {found:?}", signal.name);
                    // To be blind is what that one tells.
                    let told = judge(signal, &blind).is_empty();
                    assert_eq!(told, signal.name != blindness::BLIND.name, "{}", signal.name);
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
        let mut reversed = odd();
        reversed.reverse();
        let (one, other) = (world(&[], odd()), world(&[], reversed));
        for signal in LAYER.signals.iter().filter(|s| matches!(s.read, Read::Rule(_))) {
            assert_eq!(judge(signal, &one), judge(signal, &other), "{}", signal.name);
        }
    }
}
