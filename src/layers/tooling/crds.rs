//! Are custom resource definitions established, and is nobody about to lose what they define?

use crate::labels;
use crate::layers::conditions::{Polarity, bad, words};
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::Resource;
use crate::model::signal::{Observation, Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::tally::Tallies;
use crate::model::view::View;

pub(super) static UNHEALTHY: Signal = Signal {
    block: "S6.11",
    name: "tooling_crd_unhealthy",
    layer: Layer::Tooling,
    help: "Custom resource definitions that are not established, are being deleted with all their objects, keep objects \
           in a version that is no longer served, or whose conversion webhook has no ready endpoint: then no object of \
           the kind can be read. Healthy is none.",
    unit: Unit::Count,
    labels: &["customresourcedefinition", "reason"],
    reasons: &[
        "not_established",
        "names",
        "terminating",
        "stored_version",
        "conversion_down",
        "not_structural",
    ],
    bound: "definitions × 6 reasons",
    needs: &[Kind::CustomResourceDefinition],
    uses: &[Kind::Service, Kind::EndpointSlice],
    profile: Profile::None,
    read: Read::Rule(unhealthy),
};

pub(super) static OBJECTS_LOST: Signal = Signal {
    block: "S6.11",
    name: "tooling_crd_deletions_total",
    layer: Layer::Tooling,
    help: "Custom resource definitions whose deletion began: their objects go with them.",
    unit: Unit::Count,
    labels: &["group"],
    reasons: &[],
    bound: "API groups",
    needs: &[Kind::CustomResourceDefinition],
    uses: &[],
    profile: Profile::Rate,
    read: Read::Counter,
};

const CRD: &[Kind] = &[Kind::CustomResourceDefinition];

static CONDITIONS: &[Polarity] = &[
    Polarity::good(CRD, "Established", 60)
        .or_unknown(120)
        .unless(&["Installing"])
        .told("not_established", Severity::Critical),
    Polarity::good(CRD, "NamesAccepted", 60).told("names", Severity::Warning),
    Polarity::problem(CRD, "Terminating", 0).told("terminating", Severity::Critical),
    Polarity::problem(CRD, "NonStructuralSchema", 600).told("not_structural", Severity::Info),
];

fn unhealthy(view: &View<'_>, out: &mut Verdicts) {
    for crd in view.resources(Kind::CustomResourceDefinition) {
        let mut tell = |reason, severity, since, dwell, told: String| {
            let labels = labels![&crd.meta.name, reason];
            let verdict = Verdict::new(Subject::of(crd), labels, reason, told);
            out.push(verdict.severity(severity).since(since).dwell(dwell));
        };
        for (row, condition, dwell) in bad(crd, CONDITIONS) {
            let told = match row.reason {
                "terminating" => {
                    format!(
                        "it is being deleted with all objects of its kind: {}",
                        words(condition)
                    )
                }
                _ => words(condition),
            };
            tell(row.reason, row.severity, condition.since, dwell, told);
        }
        if let Some(version) = unserved(crd) {
            let told = format!("objects are stored as {version}, which is no longer served");
            tell("stored_version", Severity::Warning, None, 300, told);
        }
        let service = crd.body.at("spec.conversion.webhook.clientConfig.service");
        let (namespace, name) = (service.text("namespace"), service.text("name"));
        let seen = view.sees(Kind::EndpointSlice) && view.sees(Kind::Service);
        if name.is_empty() || !seen || !converts(crd) {
            continue;
        }
        let there = view.resource(Kind::Service, namespace, name).is_some();
        if !there || view.ready_endpoints(namespace, name) == Some(0) {
            let told = format!(
                "its conversion webhook, Service {namespace}/{name}, {}: no object of the kind can be read in another version",
                if there { "has no ready endpoint" } else { "does not exist" }
            );
            tell("conversion_down", Severity::Critical, None, 30, told);
        }
    }
}

/// A version in which objects are stored although it is not served any more.
fn unserved(crd: &Resource) -> Option<String> {
    let versions = crd.body.items("spec.versions");
    let served =
        |name: &str| versions.iter().any(|v| v.text("name") == name && v.is_true("served"));
    let stored = crd.body.texts("status.storedVersions").find(|version| !served(version));
    stored.filter(|_| !versions.is_empty()).map(ToString::to_string)
}

/// Whether objects are ever converted: with one version for all there is nothing to convert.
fn converts(crd: &Resource) -> bool {
    let served = crd.body.items("spec.versions").iter().filter(|v| v.is_true("served"));
    let mut names: Vec<_> = served.map(|v| v.text("name")).collect();
    names.extend(crd.body.texts("status.storedVersions"));
    names.sort_unstable();
    names.dedup();
    names.len() > 1
}

/// Counts a deletion that begins.
pub(super) fn observe(o: &Observation<'_>, crd: &Resource, tallies: &mut Tallies) {
    if crd.kind != Kind::CustomResourceDefinition || crd.meta.deleting.is_none() {
        return;
    }
    let store = o.world.resources(crd.kind);
    let before = store.and_then(|s| s.get("", &crd.meta.name));
    if before.is_some_and(|b| b.meta.uid == crd.meta.uid && b.meta.deleting.is_none()) {
        tallies.add(&OBJECTS_LOST, labels![crd.body.text("spec.group")], 1);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::layers::fixtures::{Counted, ago, objects, reasons, resource, service, slice};
    use crate::layers::tooling::LAYER;

    fn crd(spec: &Value, conditions: &Value) -> Resource {
        let mut spec = spec.clone();
        spec["group"] = json!("example.com");
        resource(
            Kind::CustomResourceDefinition,
            "things.example.com",
            json!({"spec": spec,
            "status": {"conditions": conditions, "storedVersions": ["v1"]}}),
        )
    }

    fn v1() -> Value {
        json!({"versions": [{"name": "v1", "served": true}]})
    }

    #[test]
    fn conditions_and_versions_are_read() {
        let is = |kind: &str, status: &str| json!([{"type": kind, "status": status}]);
        let retired =
            json!({"versions": [{"name": "v1", "served": false}, {"name": "v2", "served": true}]});
        for (spec, conditions, expected) in [
            (v1(), is("Established", "True"), vec![]),
            (v1(), is("Established", "False"), vec!["not_established"]),
            (v1(), is("Terminating", "True"), vec!["terminating"]),
            (v1(), is("NamesAccepted", "False"), vec!["names"]),
            (retired, is("Established", "True"), vec!["stored_version"]),
        ] {
            assert_eq!(reasons(&UNHEALTHY, objects![crd(&spec, &conditions)]), expected);
        }
    }

    #[test]
    fn a_conversion_webhook_without_endpoints_is_told() {
        let two =
            json!({"versions": [{"name": "v1", "served": true}, {"name": "v2", "served": true}]});
        let converted = |mut spec: Value| {
            spec["conversion"] = json!({"webhook": {"clientConfig": {"service": {"namespace": "shop", "name": "hook"}}}});
            crd(&spec, &json!([]))
        };
        let told = |objects| reasons(&UNHEALTHY, objects);
        let (crd, hook) = (converted(two), || service("hook"));
        assert_eq!(told(objects![crd.clone()]), ["conversion_down"]);
        let down = objects![crd.clone(), hook(), slice("hook", &[false])];
        assert_eq!(told(down), ["conversion_down"]);
        assert!(told(objects![crd, hook(), slice("hook", &[true])]).is_empty());
        assert!(told(objects![converted(v1())]).is_empty(), "one version is never converted");
    }

    #[test]
    fn a_deletion_counts_when_it_begins() {
        let whole = crd(&v1(), &json!([]));
        let mut going = whole.clone();
        going.meta.deleting = Some(ago(5));
        let mut counted = Counted::new(&LAYER, objects![whole]);
        counted.see(going.clone(), 5).see(going, 1);
        assert_eq!(counted.totals(&OBJECTS_LOST), [("example.com".to_owned(), 1)]);
    }
}
