//! What can kubestrata itself not see? What it may not, and what it has not heard of for too long.

use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::Status;
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::source::Availability;
use crate::model::subject::Subject;
use crate::model::view::View;

pub(super) static BLIND: Signal = Signal {
    block: "S4.15",
    name: "observability_kubestrata_blind",
    layer: Layer::Observability,
    help: "Sources of kubestrata that it may not read, that do not answer, or that have been silent for too long: their \
           layers are unknown, not healthy. Kinds that are not installed do not count. Healthy is none.",
    unit: Unit::Count,
    labels: &["source", "reason"],
    reasons: &["forbidden", "unauthorized", "unreachable", "stale", "silent", "undecodable"],
    bound: "sources × 6 reasons",
    needs: &[],
    uses: &[Kind::Namespace, Kind::Pod, Kind::Node, Kind::ApiService],
    profile: Profile::None,
    read: Read::Rule(blind),
};

/// Whether another server serves the kind, and the API server says that it does not answer: that is told of the API.
fn is_told_of_its_api(view: &View<'_>, kind: Kind) -> bool {
    let mut apis = view.resources(Kind::ApiService);
    kind.is_resource()
        && apis.any(|api| {
            api.body.text("spec.group") == kind.group()
                && api.body.has("spec.service")
                && api.condition("Available").is_some_and(|c| c.status == Status::False)
        })
}

/// Whether a kubelet is silent whose node is not ready: that is told of the node.
fn is_told_of_its_node(view: &View<'_>, kind: Kind, name: &str) -> bool {
    let ready = view.world.nodes.get("", name).and_then(|node| node.condition("Ready"));
    kind == Kind::KubeletMetrics && ready.is_none_or(|ready| ready.status != Status::True)
}

fn blind(view: &View<'_>, out: &mut Verdicts) {
    for kind in Kind::ALL.iter().copied() {
        let Some(source) = view.world.source_ref(kind) else { continue };
        let (reason, since, told) = match source.availability {
            Availability::Forbidden => ("forbidden", source.failing_since, source.message.clone()),
            Availability::Unauthorized => {
                ("unauthorized", source.failing_since, source.message.clone())
            }
            Availability::Unreachable if is_told_of_its_api(view, kind) => continue,
            Availability::Unreachable => {
                ("unreachable", source.failing_since, source.message.clone())
            }
            _ if source.is_stale(kind, view.now()) => {
                let last = source.last_sync.map_or("the start".to_owned(), |at| at.to_string());
                ("stale", source.last_sync, format!("nothing was heard of it since {last}"))
            }
            _ if source.silent.iter().any(|name| !is_told_of_its_node(view, kind, name)) => {
                ("silent", None, source.message.clone())
            }
            _ if source.undecodable > 0 => {
                let told =
                    format!("{} objects could not be read: {}", source.undecodable, source.message);
                ("undecodable", None, told)
            }
            _ => continue,
        };
        let partly = matches!(reason, "silent" | "undecodable");
        let severity = if partly { Severity::Info } else { Severity::Warning };
        let message = format!("{}: {told}", kind.source());
        let labels = labels![kind.source(), reason];
        let verdict = Verdict::new(Subject::cluster(), labels, reason, message);
        out.push(verdict.severity(severity).since(since).dwell(120));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{ago, judge, meta, objects, resource, world};
    use crate::model::record::{Condition, Node};
    use crate::model::source::SourceNote;
    use crate::model::text::Text;
    use crate::model::world::Delta;

    #[test]
    fn what_is_forbidden_or_silent_is_told_and_what_is_not_installed_is_not() {
        let mut world = world(&[Kind::Pod], objects![]);
        world.apply(Delta::Unserved(Kind::Certificate), ago(0));
        world.apply(Delta::Note(Kind::Service, SourceNote::Alive), ago(900));
        let told = judge(&BLIND, &world);
        let told: Vec<_> =
            told.iter().map(|v| (v.labels.get(0).unwrap().to_string(), v.reason)).collect();
        assert_eq!(told, [("pods".to_owned(), "forbidden"), ("services".to_owned(), "stale")]);
    }

    #[test]
    fn a_silent_kubelet_is_told_unless_its_node_is() {
        let told = |ready: Status, names: &[&str]| {
            let ready = Condition { kind: "Ready".into(), status: ready, ..Condition::default() };
            let (meta, conditions) = (meta("", "n1", 900), [ready].into());
            let mut world = world(&[], objects![Node { meta, conditions, ..Node::default() }]);
            let names = names.iter().map(|name| Text::from(*name)).collect();
            let silent = SourceNote::Silent { names, message: "1 of 2".to_owned() };
            world.apply(Delta::Note(Kind::KubeletMetrics, silent), ago(0));
            let told = judge(&BLIND, &world);
            told.into_iter().map(|v| v.message).collect::<Vec<_>>()
        };
        assert_eq!(told(Status::True, &["n1"]), ["kubelet_metrics: 1 of 2"]);
        assert!(told(Status::True, &[]).is_empty());
        assert!(told(Status::Unknown, &["n1"]).is_empty());
        assert!(told(Status::True, &["gone"]).is_empty());
    }

    #[test]
    fn an_api_that_others_serve_is_told_once() {
        let look = |available: &str| {
            let manifest = json!({
                "spec": {"group": "metrics.k8s.io", "service": {"name": "metrics-server"}},
                "status": {"conditions": [{"type": "Available", "status": available}]},
            });
            let api = resource(Kind::ApiService, "v1beta1.metrics.k8s.io", manifest);
            let mut world = world(&[], objects![api]);
            for kind in [Kind::NodeMetrics, Kind::Node] {
                let availability = Availability::Unreachable;
                let message = "503".to_owned();
                let failed = SourceNote::Failed { availability, message, backoff_seconds: 9.0 };
                world.apply(Delta::Note(kind, failed), ago(0));
            }
            judge(&BLIND, &world).len()
        };
        assert_eq!((look("False"), look("True")), (1, 2));
    }
}
