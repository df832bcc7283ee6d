//! Are all API servers there?

use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::reading::Readings;
use crate::model::record::{Resource, Time};
use crate::model::signal::{Direction, Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::view::View;

pub(super) static ENDPOINTS: Signal = Signal {
    block: "S3.17",
    name: "networking_apiserver_endpoints",
    layer: Layer::Networking,
    help: "Addresses of API servers that pods are sent to. Healthy is stable: below what it was, one is lost.",
    unit: Unit::Count,
    labels: &[],
    reasons: &[],
    bound: "1",
    needs: &[Kind::EndpointSlice],
    uses: &[],
    profile: Profile::Level { bad: Direction::Low, floor: 0.2 },
    read: Read::Gauge(endpoints),
};

pub(super) static LOST: Signal = Signal {
    block: "S3.17",
    name: "networking_apiserver_lost",
    layer: Layer::Networking,
    help: "API servers that have stopped to renew their identity while others do, and that no new one has replaced. \
           Healthy is none.",
    unit: Unit::Count,
    labels: &["reason"],
    reasons: &["lease_stale"],
    bound: "1",
    needs: &[Kind::Lease],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(lost),
};

const IDENTITY: &str = "apiserver.kubernetes.io/identity";

/// Seconds behind the newest renewal that mean a loss; identities are renewed every ten seconds.
const STALE: i64 = 60;

/// Seconds without a renewal in which a server is restarted, as in an upgrade.
const RESTARTED: i64 = 180;

/// Seconds before the loss of one in which another that comes is its replacement.
const REPLACED: i64 = 900;

fn endpoints(view: &View<'_>, out: &mut Readings) {
    let own = |s: &crate::model::record::Slice| {
        s.meta.namespace == "default" && s.service == "kubernetes"
    };
    if view.world.slices.iter().any(own) {
        out.push(labels![], view.endpoints("default", "kubernetes").ready.len() as f64);
    }
}

fn lost(view: &View<'_>, out: &mut Verdicts) {
    let renewed = |lease: &Resource| lease.body.time("spec.renewTime");
    let mut all: Vec<(&Resource, Time)> = view
        .resources(Kind::Lease)
        .filter(|l| l.meta.namespace == "kube-system")
        .filter(|l| l.meta.labels.value(IDENTITY) == "kube-apiserver")
        .filter_map(|lease| Some((lease, renewed(lease)?)))
        .collect();
    all.sort_by_key(|(lease, renewed)| (*renewed, lease.meta.uid));
    // Against the newest of them, not against the clock: where no lease comes in, it is we who do not see.
    let Some((_, newest)) = all.last().copied() else { return };
    let stale = |renewed: Time| newest.as_second() - renewed.as_second() > STALE;
    let gone: Vec<_> = all.iter().filter(|(_, renewed)| stale(*renewed)).collect();
    let Some((_, first)) = gone.first() else { return };
    let since = first.as_second() - REPLACED;
    let fresh = all.iter().filter(|(_, renewed)| !stale(*renewed));
    let replacements = fresh.filter(|(lease, _)| lease.meta.created.as_second() > since).count();
    for (lease, renewed) in gone.iter().take(gone.len().saturating_sub(replacements)) {
        let holder = lease.body.text("spec.holderIdentity");
        let message = format!("API server {holder} no longer renews its identity, others do");
        let verdict =
            Verdict::new(Subject::of(lease), labels!["lease_stale"], "lease_stale", message);
        out.push(verdict.severity(Severity::Warning).since(*renewed).dwell(RESTARTED));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{
        ago, judge, meta, objects, readings, reasons, resource, slice, world,
    };
    use crate::model::record::{Object, Slice};

    fn identity(name: &str, age: i64, renewed: i64) -> Resource {
        let manifest = json!({
            "metadata": {"namespace": "kube-system", "age": age, "labels": {IDENTITY: "kube-apiserver"}},
            "spec": {"holderIdentity": name, "renewTime": ago(renewed).to_string()},
        });
        resource(Kind::Lease, name, manifest)
    }

    #[test]
    fn a_server_that_falls_behind_the_others_is_lost() {
        let all = objects![
            identity("apiserver-a", 86_400, 5),
            identity("apiserver-b", 86_400, 600),
            identity("apiserver-c", 86_400, 9),
        ];
        let found = judge(&LOST, &world(&[], all));
        assert_eq!((found.len(), found[0].since), (1, Some(ago(600))));
        assert_eq!(found[0].subject.to_string(), "Lease kube-system/apiserver-b");
        assert_eq!(found[0].dwell.as_secs(), 180, "an upgrade restarts each");
    }

    #[test]
    fn a_replaced_server_or_a_list_that_does_not_come_is_no_loss() {
        let other = json!({
            "metadata": {"namespace": "kube-system"},
            "spec": {"renewTime": ago(3000).to_string()},
        });
        let cases: Vec<Vec<Object>> = vec![
            objects![identity("a", 86_400, 5), identity("b", 86_400, 30)],
            objects![identity("a", 86_400, 5), identity("b", 86_400, 600), identity("c", 700, 5)],
            objects![identity("a", 86_400, 900), identity("b", 86_400, 910)],
            objects![identity("a", 86_400, 5), resource(Kind::Lease, "scheduler", other)],
            objects![resource(Kind::Lease, "odd", json!({"spec": {"renewTime": 3}}))],
        ];
        for (i, case) in cases.into_iter().enumerate() {
            assert!(reasons(&LOST, case).is_empty(), "case {i}");
        }
    }

    #[test]
    fn addresses_are_counted_where_they_are_seen() {
        let own =
            Slice { meta: meta("default", "kubernetes", 9), ..slice("kubernetes", &[true; 3]) };
        assert_eq!(readings(&ENDPOINTS, objects![own])[0].value, 3.0);
        assert!(readings(&ENDPOINTS, objects![slice("kubernetes", &[true])]).is_empty());
    }
}
