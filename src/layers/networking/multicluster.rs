//! Do Services reach other clusters, and do theirs reach this one?

use std::collections::{BTreeMap, BTreeSet};

use super::gateways::{declared, since};
use crate::labels;
use crate::layers::conditions::{Polarity, bad, words};
use crate::model::finding::{Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::reading::Readings;
use crate::model::signal::{Direction, Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::text::Text;
use crate::model::view::View;

pub(super) static EXPORT: Signal = Signal {
    block: "S3.18",
    name: "networking_multicluster_export_failed",
    layer: Layer::Networking,
    help: "ServiceExports that are not valid, not exported or in conflict with those of other clusters, in the API's own \
           words. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "service", "reason"],
    reasons: REASONS,
    bound: "exports × 14 reasons",
    needs: &[Kind::ServiceExport],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(exports),
};

pub(super) static CLUSTERS: Signal = Signal {
    block: "S3.18",
    name: "networking_multicluster_import_clusters",
    layer: Layer::Networking,
    help: "Clusters that stand behind an imported Service. Healthy is stable: below what it was, one is lost.",
    unit: Unit::Count,
    labels: &["namespace", "service"],
    reasons: &[],
    bound: "imports",
    needs: &[Kind::ServiceImport],
    uses: &[],
    profile: Profile::Level { bad: Direction::Low, floor: 0.2 },
    read: Read::Gauge(clusters),
};

pub(super) static READY: Signal = Signal {
    block: "S3.18",
    name: "networking_multicluster_ready_endpoints",
    layer: Layer::Networking,
    help: "Ready endpoints of an imported Service, by the cluster that they are in. Healthy is stable.",
    unit: Unit::Count,
    labels: &["namespace", "service", "source_cluster"],
    reasons: &[],
    bound: "imports × clusters",
    needs: &[Kind::EndpointSlice],
    uses: &[],
    profile: Profile::Level { bad: Direction::Low, floor: 1.0 },
    read: Read::Gauge(ready),
};

const REASONS: &[&str] = &[
    "NoService",
    "InvalidServiceType",
    "Pending",
    "Failed",
    "PortConflict",
    "TypeConflict",
    "SessionAffinityConflict",
    "SessionAffinityConfigConflict",
    "LabelsConflict",
    "AnnotationsConflict",
    "InternalTrafficPolicyConflict",
    "TrafficDistributionConflict",
    "IPFamilyConflict",
    "other",
];

static TABLE: &[Polarity] = &[
    Polarity::good(&[Kind::ServiceExport], "Valid", 120),
    Polarity::good(&[Kind::ServiceExport], "Ready", 300),
    Polarity::problem(&[Kind::ServiceExport], "Conflict", 120),
];

fn exports(view: &View<'_>, out: &mut Verdicts) {
    for export in view.resources(Kind::ServiceExport).filter(|e| e.meta.deleting.is_none()) {
        let mut told = BTreeSet::new();
        for (row, condition, dwell) in bad(export, TABLE) {
            let reason = declared(&condition.reason, REASONS);
            if !told.insert(reason) {
                continue;
            }
            let labels = labels![&export.meta.namespace, &export.meta.name, reason];
            let message = format!("{} is bad: {}", row.condition, words(condition));
            let verdict = Verdict::new(Subject::of(export), labels, reason, message);
            out.push(verdict.since(since(&export.meta, condition)).dwell(dwell));
        }
    }
}

fn clusters(view: &View<'_>, out: &mut Readings) {
    // One that nobody has written a status of is not known to have none.
    for import in view.resources(Kind::ServiceImport).filter(|i| i.body.has("status.clusters")) {
        let count = import.body.items("status.clusters").len();
        out.push(labels![&import.meta.namespace, &import.meta.name], count as f64);
    }
}

fn ready(view: &View<'_>, out: &mut Readings) {
    let mut found: BTreeMap<(&Text, &Text, &Text), BTreeSet<&Text>> = BTreeMap::new();
    let imported = |s: &&crate::model::record::Slice| {
        !s.imported.is_empty()
            && !s.source_cluster.is_empty()
            && !view.is_terminating(&s.meta.namespace)
    };
    for slice in view.world.slices.iter().filter(imported) {
        let key = (&slice.meta.namespace, &slice.imported, &slice.source_cluster);
        let targets = slice.endpoints.iter().filter(|e| e.ready).map(|e| &e.target);
        found.entry(key).or_default().extend(targets);
    }
    for ((namespace, service, cluster), targets) in found {
        out.push(labels![namespace, service, cluster], targets.len() as f64);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{meta, objects, readings, reasons, resource, slice};
    use crate::model::record::Slice;

    #[test]
    fn an_export_tells_in_the_words_of_the_api_with_their_polarity() {
        let cases = [
            ("Valid", "False", "NoService", vec!["NoService"]),
            ("Conflict", "True", "PortConflict", vec!["PortConflict"]),
            ("Ready", "False", "Pending", vec!["Pending"]),
            ("Ready", "False", "New", vec!["other"]),
            ("Valid", "True", "Valid", vec![]),
            ("Conflict", "False", "NoConflicts", vec![]),
            ("Ready", "Unknown", "", vec![]),
        ];
        for (kind, status, reason, expected) in cases {
            let conditions = json!([{"type": kind, "status": status, "reason": reason}]);
            let manifest = json!({"status": {"conditions": conditions}});
            let found = reasons(&EXPORT, objects![resource(Kind::ServiceExport, "web", manifest)]);
            assert_eq!(found, expected, "{kind} {status}");
        }
    }

    #[test]
    fn clusters_and_their_endpoints_are_counted() {
        let import = |status| resource(Kind::ServiceImport, "web", json!({"status": status}));
        let two = json!({"clusters": [{"cluster": "a"}, {"cluster": "b"}]});
        assert_eq!(readings(&CLUSTERS, objects![import(two)])[0].value, 2.0);
        assert!(readings(&CLUSTERS, objects![import(json!({}))]).is_empty());
        let from = |name: &str, cluster: &str, ready: &[bool]| Slice {
            meta: meta("shop", name, 60),
            service: "".into(),
            imported: "web".into(),
            source_cluster: cluster.into(),
            ..slice("web", ready)
        };
        let all =
            objects![from("x", "a", &[true, false]), from("y", "b", &[]), slice("own", &[true])];
        let found = readings(&READY, all);
        let values: Vec<_> = found.iter().map(|r| (r.labels.iter().last(), r.value)).collect();
        assert_eq!(values, [(Some("a"), 1.0), (Some("b"), 0.0)]);
    }
}
