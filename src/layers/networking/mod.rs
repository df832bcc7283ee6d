//! Does traffic reach the pods that it is meant for?

mod addresses;
mod apiservers;
mod balancers;
mod churn;
mod cni;
mod dataplane;
mod dns;
mod gateways;
mod ingresses;
mod multicluster;
mod policies;
mod reports;
mod routes;
mod sandboxes;
mod selectors;
mod services;
mod topology;

use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Meta, Object, Time};
use crate::model::signal::{LayerSignals, Observation};
use crate::model::tally::Tallies;
use crate::model::view::View;

/// The networking layer.
pub(super) static LAYER: LayerSignals = LayerSignals {
    layer: Layer::Networking,
    signals: &[
        &services::NOT_SERVING,
        &services::READY,
        &churn::FLAPS,
        &selectors::ORPHAN,
        &topology::ZONE_SHARE,
        &topology::LOCAL_NODES,
        &balancers::PENDING,
        &balancers::ADDRESS_SECONDS,
        &balancers::LOST,
        &ingresses::BROKEN,
        &ingresses::NO_ADDRESS,
        &ingresses::LOST,
        &gateways::NOT_PROGRAMMED,
        &gateways::CLASS,
        &routes::UNRESOLVED,
        &routes::BACKEND_TLS,
        &dns::DEGRADED,
        &dns::READY,
        &dns::CONFIG,
        &sandboxes::FAILURES,
        &sandboxes::BLOCKED,
        &cni::NODE_DOWN,
        &cni::TIGERA,
        &dataplane::COVERAGE,
        &dataplane::UNCOVERED,
        &addresses::CLUSTER_IPS,
        &addresses::NODE_PORTS,
        &addresses::LOW,
        &addresses::ERRORS,
        &addresses::BROKEN,
        &addresses::NODE_RANGE,
        &addresses::SERVICE_CIDR,
        &policies::SELECTED,
        &policies::DEFAULT_DENY,
        &policies::ORPHAN,
        &policies::CHANGES,
        &reports::FAILING,
        &reports::ERRORS,
        &apiservers::ENDPOINTS,
        &apiservers::LOST,
        &multicluster::EXPORT,
        &multicluster::CLUSTERS,
        &multicluster::READY,
    ],
    observe,
    lasted: |_| Vec::new(),
};

fn observe(o: &Observation<'_>, tallies: &mut Tallies) {
    match o.object {
        Object::Slice(slice) => churn::observe(o, slice, tallies),
        Object::Event(event) => {
            sandboxes::observe(o, event, tallies);
            reports::observe(event, tallies);
        }
        Object::Scrape(scrape) if scrape.kind == Kind::ApiServerMetrics => {
            addresses::observe(scrape, tallies);
        }
        Object::Resource(resource) => match resource.kind {
            Kind::Service => balancers::observe(o, resource, tallies),
            Kind::Ingress => ingresses::observe(o, resource, tallies),
            Kind::NetworkPolicy => policies::observe(resource, tallies),
            _ => {}
        },
        _ => {}
    }
}

/// Seconds within which an object that lacks what it asks for is held never to have had it.
const FIRST: i64 = 3600;

/// Since when an object waits for what it asks for: since it was made or last written, if that is longer ago than the
/// dwell. What has stood for long may have had it and lost it, nobody says when.
fn waits(view: &View<'_>, meta: &Meta, dwell: i64) -> Option<Time> {
    let written = meta.managers.iter().filter_map(|m| m.at).fold(meta.created, Time::max);
    let age = view.age_seconds(written);
    (dwell..=FIRST).contains(&age).then_some(written)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{
        ago, deployment, judge, meta, objects, pod_of, resource, service, slice, world,
    };
    use crate::model::record::Manager;
    use crate::model::signal::{Read, Unit};

    #[test]
    fn every_signal_is_named_after_its_layer_and_unit() {
        let mut names: Vec<&str> = LAYER.signals.iter().map(|s| s.name).collect();
        for signal in LAYER.signals {
            let suffix = match (signal.unit, signal.is_counter()) {
                (_, true) => "_total",
                (Unit::Count, _) => "",
                (Unit::Ratio, _) => "_ratio",
                (Unit::Seconds, _) => "_seconds",
                (Unit::Bytes, _) => "_bytes",
            };
            assert!(signal.name.starts_with("networking_") && signal.name.ends_with(suffix));
            assert_eq!(signal.labels.contains(&"reason"), !signal.reasons.is_empty());
            assert!(signal.help.ends_with('.'), "{}", signal.name);
            // OpenMetrics takes a counter's suffix off: its family must still have a name of its own.
            let family = signal.name.trim_end_matches("_total");
            assert_eq!(names.iter().filter(|n| n.trim_end_matches("_total") == family).count(), 1);
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), LAYER.signals.len());
    }

    #[test]
    fn a_wait_begins_with_the_last_write_while_that_is_lately() {
        let world = world(&[], objects![]);
        let view = View::new(&world, ago(0));
        let written = |age, at: Option<i64>| {
            let by =
                at.map(|at| Manager { name: "x".into(), at: Some(ago(at)), ..Manager::default() });
            let meta = Meta { managers: by.into_iter().collect(), ..meta("shop", "web", age) };
            waits(&view, &meta, 300)
        };
        assert_eq!(written(900, None), Some(ago(900)));
        assert_eq!(written(900, Some(400)), Some(ago(400)));
        assert_eq!(written(900, Some(100)), None, "within the dwell: what is seen decides");
        assert_eq!(written(86_400, None), None, "it may have had it");
    }

    #[test]
    fn the_order_of_objects_does_not_matter() {
        let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
        let parents = json!({"parentRefs": [{"name": "edge"}], "rules": [{"backendRefs": [{"name": "web"}]}]});
        let troubled = || {
            objects![
                service("web"),
                slice("web", &[false, false]),
                deployment("web", 2, 0),
                pod_of("web", "web-1"),
                pod_of("web", "web-2"),
                service("lonely"),
                resource(Kind::Ingress, "in", json!({"spec": {"defaultBackend": backend}})),
                resource(Kind::HttpRoute, "r", json!({"spec": parents})),
                resource(
                    Kind::NetworkPolicy,
                    "p",
                    json!({"spec": {"podSelector": {"matchLabels": {"app": "x"}}}})
                ),
            ]
        };
        let verdicts = |all: Vec<Object>| {
            let world = world(&[], all);
            let rules = LAYER.signals.iter().filter(|s| matches!(s.read, Read::Rule(_)));
            rules.flat_map(|signal| judge(signal, &world)).collect::<Vec<_>>()
        };
        let expected = verdicts(troubled());
        assert!(expected.len() >= 6, "{}", expected.len());
        let mut turned = troubled();
        for _ in 0..turned.len() {
            turned.rotate_left(1);
            assert_eq!(verdicts(turned.clone()), expected);
        }
        turned.reverse();
        assert_eq!(verdicts(turned), expected);
    }
}
