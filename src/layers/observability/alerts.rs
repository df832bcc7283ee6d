//! Whose alerts were taken away? Their rules were deleted or emptied, and nobody will be told of what they told.

use std::collections::BTreeMap;

use crate::labels;
use crate::model::finding::{Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::Time;
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::text::Text;
use crate::model::view::View;

pub(super) static REMOVED: Signal = Signal {
    block: "S4.5",
    name: "observability_alerts_removed",
    layer: Layer::Observability,
    help: "Namespaces that lost alerts within a day: all of them, or at least two and more than a fifth. An alert is known \
           by its name, whichever PrometheusRule of the namespace has it. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "reason"],
    reasons: &["all", "many"],
    bound: "namespaces × 2 reasons",
    needs: &[Kind::PrometheusRule],
    uses: &[Kind::Namespace],
    profile: Profile::None,
    read: Read::Rule(removed),
};

/// Seconds for which a loss is told.
const DAY: i64 = 86_400;

/// Seconds within which what was deleted comes back where it was only replaced.
const REPLACED: i64 = 300;

/// Names that are told at most.
const NAMED: usize = 5;

fn removed(view: &View<'_>, out: &mut Verdicts) {
    for (namespace, alerts) in view.world.alerts().filter(|(ns, _)| stays(view, ns)) {
        out.0.extend(of(view, namespace, alerts));
    }
}

/// Whether a namespace is there, and not about to go with all that is in it.
fn stays(view: &View<'_>, namespace: &Text) -> bool {
    let there = !view.sees(Kind::Namespace) || view.world.namespaces.get("", namespace).is_some();
    there && !view.is_terminating(namespace)
}

fn of(view: &View<'_>, namespace: &Text, alerts: &BTreeMap<Text, Option<Time>>) -> Option<Verdict> {
    let lately = |(alert, gone): (&Text, &Option<Time>)| {
        gone.filter(|gone| view.is_younger(*gone, DAY)).map(|gone| (alert.clone(), gone))
    };
    let gone: Vec<(Text, Time)> = alerts.iter().filter_map(lately).collect();
    let left = alerts.values().filter(|gone| gone.is_none()).count();
    let known = gone.len() + left;
    let reason = match (gone.len(), left) {
        (0, _) => return None,
        (_, 0) => "all",
        (n, _) if n >= 2 && n * 5 > known => "many",
        _ => return None,
    };
    let since = gone.iter().map(|(_, since)| *since).min();
    let names: Vec<&str> = gone.iter().take(NAMED).map(|(alert, _)| alert.as_str()).collect();
    let more = if gone.len() > NAMED { ", …" } else { "" };
    let told = format!(
        "{} of its {known} alerts are in no PrometheusRule any more: {}{more}",
        gone.len(),
        names.join(", ")
    );
    let subject = Subject::new(Kind::Namespace, &Text::default(), namespace);
    let verdict = Verdict::new(subject, labels![namespace, reason], reason, told);
    Some(verdict.since(since).dwell(REPLACED))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{ago, judge, meta, objects, resource, world};
    use crate::model::record::{Namespace, Object};
    use crate::model::world::{Delta, World};

    fn rule(alerts: std::ops::Range<usize>) -> Object {
        let rules: Vec<_> = alerts.map(|n| json!({"alert": format!("A{n}")})).collect();
        let body = json!({"spec": {"groups": [{"rules": rules}]}});
        Object::Resource(Box::new(resource(Kind::PrometheusRule, "r", body)))
    }

    /// A namespace whose alerts were first these, then so long ago those.
    fn edited(first: usize, then: usize, age: i64) -> World {
        let shop = Namespace { meta: meta("", "shop", 900_000), terminating: false };
        let mut world = world(&[], objects![]);
        for (object, age) in
            [(Object::Namespace(shop), 90_000), (rule(0..first), 90_000), (rule(0..then), age)]
        {
            world.apply(Delta::Upsert(object), ago(age));
        }
        world
    }

    #[test]
    fn a_namespace_is_told_that_loses_all_or_many_of_its_alerts() {
        let told = |first, then| {
            let verdicts = judge(&REMOVED, &edited(first, then, 600));
            verdicts.first().map(|v| v.reason)
        };
        assert_eq!(told(2, 0), Some("all"));
        assert_eq!(told(1, 0), Some("all"));
        assert_eq!(told(9, 7), Some("many"));
        assert_eq!(told(10, 8), None, "a fifth");
        assert_eq!(told(3, 2), None, "one alert less");
        assert_eq!(told(3, 5), None, "more alerts");
        assert_eq!(told(0, 0), None);
    }

    #[test]
    fn the_words_name_what_is_gone_and_since_when() {
        let verdicts = judge(&REMOVED, &edited(7, 0, 600));
        let [verdict] = &verdicts[..] else { panic!("{verdicts:?}") };
        assert_eq!(
            verdict.message,
            "7 of its 7 alerts are in no PrometheusRule any more: A0, A1, A2, A3, A4, …"
        );
        assert_eq!((verdict.since, verdict.dwell.as_secs()), (Some(ago(600)), 300));
    }

    #[test]
    fn nothing_is_told_after_a_day_or_of_a_namespace_that_goes_too() {
        assert!(judge(&REMOVED, &edited(2, 0, DAY)).is_empty());
        let mut going = edited(2, 0, 600);
        let shop = Namespace { meta: meta("", "shop", 900_000), terminating: true };
        going.apply(Delta::Upsert(Object::Namespace(shop)), ago(0));
        assert!(judge(&REMOVED, &going).is_empty());
    }
}
