//! Which alerts were there lately? Nothing in a cluster tells what a deleted rule was about.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Time;
use crate::model::record::Resource;
use crate::model::text::Text;

/// Seconds for which an alert that is gone is remembered.
const REMEMBERED: i64 = 86_400;

/// Alerts by namespace and name, and since when those are gone that no PrometheusRule of the namespace has any more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Alerts(BTreeMap<Text, BTreeMap<Text, Option<Time>>>);

impl Alerts {
    /// Namespaces that have alerts, or had some.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Text, &BTreeMap<Text, Option<Time>>)> {
        self.0.iter()
    }

    pub(super) fn namespaces(&self) -> Vec<Text> {
        self.0.keys().cloned().collect()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Compares what is known of a namespace with the rules that it has now.
    pub(super) fn look<'a>(
        &mut self,
        namespace: &Text,
        rules: impl Iterator<Item = &'a Resource>,
        now: Time,
    ) {
        let present: BTreeSet<&Text> = rules.flat_map(alerts_of).collect();
        let known = self.0.entry(namespace.clone()).or_default();
        known.retain(|alert, gone| {
            let since = *gone.get_or_insert(now);
            present.contains(alert) || now.as_second() - since.as_second() < REMEMBERED
        });
        known.extend(present.into_iter().map(|alert| (alert.clone(), None)));
        if known.is_empty() {
            self.0.remove(namespace);
        }
    }
}

/// The names of the alerts of a PrometheusRule.
fn alerts_of(rule: &Resource) -> impl Iterator<Item = &Text> {
    let rules = rule.body.items("spec.groups").iter().flat_map(|group| group.items("rules"));
    rules.map(|rule| rule.text("alert")).filter(|alert| !alert.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::model::kind::Kind;
    use crate::model::record::{Meta, Object, Resource, Time, Uid};
    use crate::model::value::Value;
    use crate::model::world::{Delta, World};

    const KIND: Kind = Kind::PrometheusRule;

    fn at(hour: i64) -> Time {
        Time::from_second(1_700_000_000 + hour * 3_600).unwrap()
    }

    fn rule(name: &str, alerts: &[&str]) -> Delta {
        let rules: Vec<_> = alerts.iter().map(|alert| json!({"alert": alert})).collect();
        let body = Value::from(
            &json!({"spec": {"groups": [{"rules": rules}, {"rules": [{"record": "a:b"}]}]}}),
        );
        let meta = Meta { namespace: "shop".into(), name: name.into(), ..Meta::default() };
        let (conditions, renewed) = (Box::default(), None);
        let rule = Resource { kind: KIND, meta, conditions, body, renewed };
        Delta::Upsert(Object::Resource(Box::new(rule)))
    }

    /// The alerts after these changes, each at an hour, and at which hour they went.
    fn known(changes: Vec<(i64, Delta)>) -> Vec<(String, Option<i64>)> {
        let mut world = World::default();
        for (hour, change) in changes {
            world.apply(change, at(hour));
        }
        let hour = |gone: Time| (gone.as_second() - 1_700_000_000) / 3_600;
        let all = world.alerts().flat_map(|(_, alerts)| alerts);
        all.map(|(alert, gone)| (alert.to_string(), gone.map(hour))).collect()
    }

    fn told(alerts: &[(&str, Option<i64>)]) -> Vec<(String, Option<i64>)> {
        alerts.iter().map(|(alert, gone)| ((*alert).to_owned(), *gone)).collect()
    }

    #[test]
    fn an_alert_goes_with_its_rule_or_out_of_it_and_comes_back() {
        let gone = || {
            let (key, uid) = (("shop".into(), "a".into()), Uid::default());
            Delta::Delete { kind: KIND, key, uid }
        };
        let first = || vec![(0, rule("a", &["Down", "Slow"])), (0, rule("b", &["Full"]))];
        let then = |more: Vec<(i64, Delta)>| known(first().into_iter().chain(more).collect());
        let all = [("Down", None), ("Full", None), ("Slow", None)];
        assert_eq!(then(vec![]), told(&all));
        let without = [("Down", Some(1)), ("Full", None), ("Slow", Some(1))];
        assert_eq!(then(vec![(1, gone())]), told(&without));
        let edited = [("Down", None), ("Full", None), ("Slow", Some(2))];
        assert_eq!(then(vec![(2, rule("a", &["Down"]))]), told(&edited));
        assert_eq!(then(vec![(1, gone()), (2, rule("c", &["Down", "Slow"]))]), told(&all), "moved");
        let later = then(vec![(1, gone()), (20, rule("b", &["Full", "New"]))]);
        assert_eq!(later.len(), 4, "{later:?}");
        let forgotten = [("Full", None), ("New", None)];
        assert_eq!(then(vec![(1, gone()), (26, rule("b", &["Full", "New"]))]), told(&forgotten));
        assert!(then(vec![(1, Delta::Unserved(KIND))]).is_empty());
    }

    #[test]
    fn a_list_that_names_a_rule_no_more_tells_that_it_is_gone() {
        let relist = |rules: Vec<Delta>, hour| {
            let all = std::iter::once(Delta::Listing(KIND)).chain(rules);
            all.chain([Delta::Synced(KIND)]).map(move |change| (hour, change))
        };
        let both = vec![rule("a", &["Down"]), rule("b", &["Full"])];
        let again = relist(vec![rule("b", &["Full"])], 3);
        let known = known(relist(both, 0).chain(again).collect());
        assert_eq!(known, told(&[("Down", Some(3)), ("Full", None)]));
    }

    #[test]
    fn what_went_while_nobody_looked_is_missed_after_a_restart() {
        let mut before = World::default();
        before.apply(rule("a", &["Down"]), at(0));
        let mut world = World::recalling(before.recall().clone());
        world.apply(Delta::Listing(KIND), at(2));
        world.apply(Delta::Synced(KIND), at(2));
        let gone: Vec<_> = world.alerts().flat_map(|(_, alerts)| alerts.values()).collect();
        assert_eq!(gone, [&Some(at(2))]);
    }
}
