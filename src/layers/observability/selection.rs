//! Which monitors and rules does no Prometheus take up? Those that no selector means, and those that the operator
//! refuses.

use jiff::SignedDuration;

use super::coverage::stays;
use crate::labels;
use crate::layers::conditions::one_line;
use crate::model::finding::{Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Labelled, Resource};
use crate::model::selector::selects;
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::value::Value;
use crate::model::view::View;

pub(super) static UNSELECTED: Signal = Signal {
    block: "S4.2",
    name: "observability_monitor_not_selected",
    layer: Layer::Observability,
    help: "Monitors, probes, rules and scrape configurations that no Prometheus selects, or that the operator refused. \
           Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "kind", "name", "reason"],
    reasons: &["selected_by_none", "refused"],
    bound: "monitors and rules × 2 reasons",
    needs: &[Kind::Prometheus],
    uses: &[
        Kind::PrometheusAgent,
        Kind::ThanosRuler,
        Kind::ServiceMonitor,
        Kind::PodMonitor,
        Kind::Probe,
        Kind::PrometheusRule,
        Kind::ScrapeConfig,
        Kind::Event,
    ],
    profile: Profile::None,
    read: Read::Rule(unselected),
};

/// What servers select.
const SELECTABLE: &[Kind] = &[
    Kind::ServiceMonitor,
    Kind::PodMonitor,
    Kind::Probe,
    Kind::PrometheusRule,
    Kind::ScrapeConfig,
];

/// How long the operator's report of a refusal speaks: it is repeated every half hour while it lasts.
const REFUSED: SignedDuration = SignedDuration::from_mins(35);

/// The fields of a Prometheus that select objects of a kind, and their namespaces.
fn fields(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::PodMonitor => ("spec.podMonitorSelector", "spec.podMonitorNamespaceSelector"),
        Kind::Probe => ("spec.probeSelector", "spec.probeNamespaceSelector"),
        Kind::PrometheusRule => ("spec.ruleSelector", "spec.ruleNamespaceSelector"),
        Kind::ScrapeConfig => ("spec.scrapeConfigSelector", "spec.scrapeConfigNamespaceSelector"),
        _ => ("spec.serviceMonitorSelector", "spec.serviceMonitorNamespaceSelector"),
    }
}

/// Whether a kind of server can select a kind of object at all: agents take no rules, and rulers only those.
fn takes(server: Kind, object: Kind) -> bool {
    match server {
        Kind::ThanosRuler => object == Kind::PrometheusRule,
        Kind::PrometheusAgent => object != Kind::PrometheusRule,
        _ => true,
    }
}

/// Whether a Prometheus selects an object. An absent selector selects none, an absent one of namespaces its own.
fn selected_by(view: &View<'_>, server: &Resource, object: &Resource) -> bool {
    let (objects, namespaces) = fields(object.kind);
    let namespace = match server.body.at(namespaces) {
        Value::Null => server.meta.namespace == object.meta.namespace,
        selector => {
            let found = view.world.namespaces.get("", &object.meta.namespace);
            selects(selector, found.map_or(&Labelled::default(), |n| &n.meta.labels))
        }
    };
    namespace && server.body.has(objects) && selects(server.body.at(objects), &object.meta.labels)
}

fn unselected(view: &View<'_>, out: &mut Verdicts) {
    const SERVERS: &[Kind] = &[Kind::Prometheus, Kind::PrometheusAgent, Kind::ThanosRuler];
    let servers: Vec<&Resource> = view.resources_of(SERVERS).collect();
    // One that cannot be seen may select what no other does.
    let may_say = SERVERS.iter().all(|kind| view.sees(*kind) || !view.is_served(*kind))
        && view.sees(Kind::Namespace);
    for object in view.resources_of(SELECTABLE).filter(|o| stays(o)) {
        let mut able = servers.iter().filter(|s| takes(s.kind, object.kind)).peekable();
        let (reason, told) = match refusal(view, object) {
            Some(why) => ("refused", one_line(&format!("the operator refuses it: {why}"))),
            None if may_say
                && able.peek().is_some()
                && !able.any(|s| selected_by(view, s, object)) =>
            {
                ("selected_by_none", "no Prometheus selects it".to_owned())
            }
            None => continue,
        };
        let labels = labels![&object.meta.namespace, object.kind.name(), &object.meta.name, reason];
        out.push(Verdict::new(Subject::of(object), labels, reason, told).dwell(300));
    }
}

/// What the operator says of an object that it did not accept: in its status, where it is set to write that, else in
/// an event.
fn refusal(view: &View<'_>, object: &Resource) -> Option<String> {
    let bindings = object.body.items("status.bindings").iter();
    let generation = object.meta.generation;
    let mut conditions = bindings.flat_map(|b| b.items("conditions")).filter(|c| {
        c.text("type") == "Accepted"
            && c.number("observedGeneration").is_none_or(|seen| seen as i64 >= generation)
    });
    if object.body.has("status.bindings") {
        return conditions
            .find(|c| c.text("status") == "False")
            .map(|c| c.text("message").to_string());
    }
    // What was written since may be well: the operator speaks again if it is not.
    let written = object.meta.managers.iter().filter_map(|m| m.at).max();
    let events = view.recent_events(object.kind, &object.meta, REFUSED);
    let refused = events.filter(|e| e.reason == "InvalidConfiguration").last();
    refused.filter(|e| written.is_none_or(|at| e.last >= at)).map(|e| e.note.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::layers::fixtures::{ago, event, judge, objects, reasons, resource, world};
    use crate::model::record::{Manager, Meta};

    fn monitor() -> Resource {
        resource(Kind::ServiceMonitor, "m", json!({"metadata": {"labels": {"team": "a"}}}))
    }

    #[test]
    fn selection_follows_the_operators_rules() {
        let server = |spec: Json| resource(Kind::Prometheus, "main", json!({ "spec": spec }));
        let told = |spec: Json| reasons(&UNSELECTED, objects![monitor(), server(spec)]);
        assert_eq!(told(json!({})), ["selected_by_none"], "an absent selector selects none");
        assert!(
            told(json!({"serviceMonitorSelector": {}})).is_empty(),
            "the empty one selects all"
        );
        assert_eq!(
            told(json!({"serviceMonitorSelector": {"matchLabels": {"team": "b"}}})),
            ["selected_by_none"]
        );
        assert!(reasons(&UNSELECTED, objects![monitor()]).is_empty(), "nobody to select it");
        let refused = resource(
            Kind::PrometheusRule,
            "r",
            json!({"status": {"bindings": [{"conditions": [
            {"type": "Accepted", "status": "False", "message": "bad expression"}]}]}}),
        );
        assert_eq!(reasons(&UNSELECTED, objects![refused]), ["refused"]);
    }

    #[test]
    fn each_kind_of_server_takes_its_own_objects() {
        let rule = || resource(Kind::PrometheusRule, "r", json!({}));
        let agent = || {
            resource(Kind::PrometheusAgent, "a", json!({"spec": {"serviceMonitorSelector": {}}}))
        };
        let ruler = || resource(Kind::ThanosRuler, "t", json!({"spec": {}}));
        assert!(reasons(&UNSELECTED, objects![agent(), rule(), monitor()]).is_empty());
        assert!(reasons(&UNSELECTED, objects![ruler(), monitor()]).is_empty());
        assert_eq!(reasons(&UNSELECTED, objects![ruler(), rule()]), ["selected_by_none"]);
        let server = resource(Kind::Prometheus, "main", json!({"spec": {}}));
        let all = || objects![server.clone(), agent(), monitor()];
        let unseen = world(&[Kind::PrometheusAgent], all());
        assert!(judge(&UNSELECTED, &unseen).is_empty(), "one that cannot be seen may select it");
        let seen = objects![server.clone(), monitor()];
        assert_eq!(reasons(&UNSELECTED, seen), ["selected_by_none"]);
    }

    #[test]
    fn a_refusal_is_told_by_an_event_until_the_object_is_written_again() {
        let look = |written: i64, last: i64, reason: &str| {
            let by = Manager {
                name: "helm".into(),
                at: Some(ago(written)),
                subresource: "".into(),
                ..Manager::default()
            };
            let plain = monitor();
            let object = Resource { meta: Meta { managers: [by].into(), ..plain.meta }, ..plain };
            let report = event((Kind::ServiceMonitor, "m"), reason, "bad regexp", 3000, last);
            reasons(&UNSELECTED, objects![object, report])
        };
        assert_eq!(look(3000, 60, "InvalidConfiguration"), ["refused"]);
        assert_eq!(
            look(3000, 1700, "InvalidConfiguration"),
            ["refused"],
            "repeated each half hour"
        );
        assert!(look(30, 60, "InvalidConfiguration").is_empty(), "written since");
        assert!(look(9000, 2900, "InvalidConfiguration").is_empty(), "silent for long");
        assert!(look(3000, 60, "Other").is_empty());
    }
}
