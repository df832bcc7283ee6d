//! Which Gateways and classes of the Gateway API are not accepted, or not programmed into a data plane?

use crate::labels;
use crate::layers::conditions::{Polarity, bad, judge, words};
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Condition, Meta, Resource, Status, Time, condition};
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::text::Text;
use crate::model::value::Value;
use crate::model::view::View;

pub(super) static NOT_PROGRAMMED: Signal = Signal {
    block: "S3.8",
    name: "networking_gateway_not_programmed",
    layer: Layer::Networking,
    help: "Gateways and listeners that their controller refuses, cannot resolve or cannot program, in the Gateway API's \
           own words. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "gateway", "gatewayclass", "listener", "condition", "reason"],
    reasons: REASONS,
    bound: "gateways × listeners × 4 conditions",
    needs: &[Kind::Gateway],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(not_programmed),
};

pub(super) static CLASS: Signal = Signal {
    block: "S3.8",
    name: "networking_gatewayclass_not_accepted",
    layer: Layer::Networking,
    help: "GatewayClasses that no controller accepts, or whose version of the Gateway API is not supported. Healthy is \
           none.",
    unit: Unit::Count,
    labels: &["gatewayclass", "condition", "reason"],
    reasons: CLASS_REASONS,
    bound: "gateway classes × 2 conditions",
    needs: &[Kind::GatewayClass],
    uses: &[Kind::Gateway],
    profile: Profile::None,
    read: Read::Rule(not_accepted),
};

const REASONS: &[&str] = &[
    "ListenersNotValid",
    "Invalid",
    "NotReconciled",
    "UnsupportedAddress",
    "InvalidParameters",
    "Pending",
    "NoResources",
    "AddressNotAssigned",
    "AddressNotUsable",
    "InvalidClientCertificateRef",
    "RefNotPermitted",
    "ListenersNotResolved",
    "PortUnavailable",
    "UnsupportedProtocol",
    "UnsupportedValue",
    "NoValidCACertificate",
    "InvalidCertificateRef",
    "InvalidRouteKinds",
    "InvalidCACertificateRef",
    "InvalidCACertificateKind",
    "HostnameConflict",
    "ProtocolConflict",
    "other",
];

const CLASS_REASONS: &[&str] =
    &["InvalidParameters", "Pending", "Unsupported", "Waiting", "UnsupportedVersion", "other"];

/// Conditions of a Gateway and of its listeners. What older versions called `Ready`, `Scheduled` and `Detached` says
/// nothing, and `OverlappingTLSConfig` only informs.
static GATEWAY: &[Polarity] = &[
    Polarity::good(&[Kind::Gateway], "Accepted", 60).or_unknown(120),
    Polarity::good(&[Kind::Gateway], "Programmed", 60).or_unknown(120),
    Polarity::good(&[Kind::Gateway], "ResolvedRefs", 60),
    Polarity::problem(&[Kind::Gateway], "Conflicted", 60),
];

static GATEWAY_CLASS: &[Polarity] = &[
    Polarity::good(&[Kind::GatewayClass], "Accepted", 60).or_unknown(120),
    Polarity::good(&[Kind::GatewayClass], "SupportedVersion", 60),
];

/// What a Gateway waits for while its load balancer is made, and how many seconds that takes in a cloud.
const COMING: &[&str] = &["AddressNotAssigned", "Pending"];
const BALANCED: i64 = 300;

/// One of the declared words, or `other`.
pub(super) fn declared(reason: &str, words: &'static [&'static str]) -> &'static str {
    words.iter().find(|word| **word == reason).copied().unwrap_or("other")
}

/// Since when a condition is so, and not before the object was: until a controller comes, the API's own conditions
/// stand since 1970.
pub(super) fn since(meta: &Meta, condition: &Condition) -> Time {
    condition.since.map_or(meta.created, |since| since.max(meta.created))
}

/// The conditions in a list of a status; those about an older spec are left out.
pub(super) fn conditions(value: &Value, generation: i64) -> Vec<Condition> {
    let items = value.items("conditions").iter();
    let fresh = items
        .filter(|c| c.number("observedGeneration").is_none_or(|seen| seen as i64 >= generation));
    let read = |c: &Value| Condition {
        kind: c.text("type").clone(),
        status: match c.text("status").as_str() {
            "True" => Status::True,
            "False" => Status::False,
            _ => Status::Unknown,
        },
        reason: c.text("reason").clone(),
        message: c.text("message").clone(),
        since: c.time("lastTransitionTime"),
        generation: 0,
    };
    fresh.map(read).collect()
}

/// The bad ones of conditions in a list of a status, by a table, each with the seconds that it must hold.
pub(super) fn bad_of<'a>(
    conditions: &'a [Condition],
    kind: Kind,
    table: &'static [Polarity],
) -> impl Iterator<Item = (&'static Polarity, &'a Condition, i64)> {
    table.iter().filter(move |row| row.kinds.contains(&kind)).filter_map(|row| {
        let found = condition(conditions, row.condition)?;
        judge(row, found).map(|dwell| (row, found, dwell))
    })
}

fn not_programmed(view: &View<'_>, out: &mut Verdicts) {
    for gateway in view.resources(Kind::Gateway).filter(|g| g.meta.deleting.is_none()) {
        for found in bad(gateway, GATEWAY) {
            tell(out, gateway, &Text::default(), found);
        }
        for listener in gateway.body.items("status.listeners") {
            let all = conditions(listener, gateway.meta.generation);
            for found in bad_of(&all, Kind::Gateway, GATEWAY) {
                tell(out, gateway, listener.text("name"), found);
            }
        }
    }
}

fn tell(
    out: &mut Verdicts,
    gateway: &Resource,
    listener: &Text,
    (row, found, dwell): (&'static Polarity, &Condition, i64),
) {
    let meta = &gateway.meta;
    let reason = declared(&found.reason, REASONS);
    let class = gateway.body.text("spec.gatewayClassName");
    let labels = labels![&meta.namespace, &meta.name, class, listener, row.condition, reason];
    let whose = if listener.is_empty() { String::new() } else { format!("listener {listener}: ") };
    let message = format!("{whose}{} is bad: {}", row.condition, words(found));
    let severity = match (row.condition, found.status) {
        ("Programmed", Status::False) => Severity::Critical,
        _ => Severity::Warning,
    };
    let comes = severity == Severity::Critical && COMING.contains(&reason);
    let dwell = if comes { dwell.max(BALANCED) } else { dwell };
    let verdict = Verdict::new(Subject::of(gateway), labels, reason, message).severity(severity);
    out.push(verdict.since(since(meta, found)).dwell(dwell));
}

fn not_accepted(view: &View<'_>, out: &mut Verdicts) {
    for class in view.resources(Kind::GatewayClass).filter(|c| c.meta.deleting.is_none()) {
        let name = &class.meta.name;
        let mut gateways = view.resources(Kind::Gateway);
        let used = gateways.any(|g| g.body.text("spec.gatewayClassName") == name);
        for (row, found, dwell) in bad(class, GATEWAY_CLASS) {
            let reason = declared(&found.reason, CLASS_REASONS);
            let labels = labels![name, row.condition, reason];
            let message = format!("{} is bad: {}", row.condition, words(found));
            let severity = if used { Severity::Warning } else { Severity::Info };
            let verdict = Verdict::new(Subject::of(class), labels, reason, message);
            out.push(verdict.severity(severity).since(since(&class.meta, found)).dwell(dwell));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::layers::fixtures::{ago, judge, objects, reasons, resource, world};

    fn says(kind: &str, status: &str, reason: &str) -> Json {
        json!({"type": kind, "status": status, "reason": reason, "message": "two\nlines"})
    }

    #[allow(clippy::needless_pass_by_value)]
    fn gateway(conditions: Json, listeners: Json) -> Resource {
        let manifest = json!({
            "spec": {"gatewayClassName": "envoy"},
            "status": {"conditions": conditions, "listeners": listeners},
        });
        resource(Kind::Gateway, "edge", manifest)
    }

    #[test]
    fn a_gateway_tells_in_the_words_of_the_api() {
        let cases = [
            (says("Programmed", "False", "AddressNotAssigned"), vec!["AddressNotAssigned"]),
            (says("Accepted", "False", "Invalid"), vec!["Invalid"]),
            (says("Accepted", "Unknown", "Pending"), vec!["Pending"]),
            (says("ResolvedRefs", "False", "SomethingNew"), vec!["other"]),
            (says("ResolvedRefs", "Unknown", "Pending"), vec![]),
            (says("Programmed", "True", "Programmed"), vec![]),
            (says("Ready", "False", "ListenersNotReady"), vec![]),
        ];
        for (condition, expected) in cases {
            let all = objects![gateway(json!([condition]), json!([]))];
            assert_eq!(reasons(&NOT_PROGRAMMED, all), expected, "{condition}");
        }
    }

    #[test]
    fn a_listener_tells_for_itself_with_its_own_polarity() {
        let listener = |condition: Json| json!([{"name": "https", "attachedRoutes": 0, "conditions": [condition]}]);
        let look = |condition: Json| {
            let all = objects![gateway(json!([]), listener(condition))];
            judge(&NOT_PROGRAMMED, &world(&[], all))
        };
        let found = look(says("Conflicted", "True", "HostnameConflict"));
        assert_eq!(found[0].reason, "HostnameConflict");
        assert_eq!(found[0].labels.get(3).map(Text::as_str), Some("https"));
        assert!(look(says("Conflicted", "False", "NoConflicts")).is_empty());
        assert!(look(says("OverlappingTLSConfig", "True", "OverlappingHostnames")).is_empty());
        let mut old = says("ResolvedRefs", "False", "InvalidCertificateRef");
        old["observedGeneration"] = json!(-1);
        assert!(look(old).is_empty(), "about an older spec");
        assert!(look(json!("odd")).is_empty());
    }

    #[test]
    fn the_wait_for_a_controller_begins_with_the_object() {
        let mut waiting = says("Accepted", "Unknown", "Pending");
        waiting["age"] = json!(900_000);
        let found =
            judge(&NOT_PROGRAMMED, &world(&[], objects![gateway(json!([waiting]), json!(3))]));
        assert_eq!((found[0].since, found[0].dwell.as_secs()), (Some(ago(3600)), 120));
    }

    #[test]
    fn a_load_balancer_takes_its_time() {
        let dwell = |reason| {
            let all = objects![gateway(json!([says("Programmed", "False", reason)]), json!([]))];
            judge(&NOT_PROGRAMMED, &world(&[], all))[0].dwell.as_secs()
        };
        assert_eq!((dwell("AddressNotAssigned"), dwell("Pending")), (300, 300));
        assert_eq!((dwell("Invalid"), dwell("NoResources")), (60, 60));
    }

    #[test]
    fn a_class_that_nobody_accepts_matters_where_it_is_used() {
        let class = |condition: Json| {
            resource(Kind::GatewayClass, "envoy", json!({"status": {"conditions": [condition]}}))
        };
        let alone =
            judge(&CLASS, &world(&[], objects![class(says("Accepted", "Unknown", "Waiting"))]));
        assert_eq!((alone[0].reason, alone[0].severity), ("Waiting", Severity::Info));
        let bad = class(says("Accepted", "False", "InvalidParameters"));
        let used = judge(&CLASS, &world(&[], objects![bad, gateway(json!([]), json!([]))]));
        assert_eq!((used[0].reason, used[0].severity), ("InvalidParameters", Severity::Warning));
        assert!(reasons(&CLASS, objects![class(says("Accepted", "True", "Accepted"))]).is_empty());
        assert!(reasons(&CLASS, objects![resource(Kind::GatewayClass, "x", json!({}))]).is_empty());
    }
}
