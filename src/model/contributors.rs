//! Which objects have made a total grow of late? So that what is unusual of a namespace or a workload names its pods.
//!
//! Of each total up to [`HELD`] objects are kept while it grows; an hour without growth ends what is remembered. The
//! amounts are what was seen since then, at least. It is kept in memory only: after a restart it begins anew.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::reading::{Labels, SeriesKey};
use super::record::{Object, Time};
use super::signal::Signal;
use super::subject::Subject;

/// How many objects are kept of a total: the least is left out for another.
const HELD: usize = 8;

/// How many are told.
const TOLD: usize = 3;

/// What has not grown for so long is over, in seconds.
const OVER: i64 = 3_600;

/// How many totals are kept.
const TOTALS: usize = 10_000;

/// An object, and how much of a total is its.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contribution {
    /// The object.
    pub subject: Subject,
    /// How much, in the signal's unit: events of a counter, seconds of durations.
    pub amount: f64,
}

/// Who has contributed to which total.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contributors {
    /// Whose change is being counted.
    seen: Option<(Subject, i64)>,
    of: BTreeMap<SeriesKey, Growth>,
}

#[derive(Clone, Debug, PartialEq)]
struct Growth {
    at: i64,
    by: Vec<Contribution>,
}

impl Contributors {
    /// What is counted from now on comes of a change of this object, or of what an event is about.
    pub fn see(&mut self, object: &Object, now: Time) {
        let subject = match object {
            Object::Event(event) => Subject {
                kind: event.regarding.kind.clone(),
                namespace: event.regarding.namespace.clone(),
                name: event.regarding.name.clone(),
                ..Subject::default()
            },
            // Those are counted of what they tell of, not of themselves.
            Object::Scrape(_) | Object::Audit(_) => return self.seen = None,
            _ => Subject::new(object.kind(), &object.meta().namespace, &object.meta().name),
        };
        self.seen = Some((subject, now.as_second()));
    }

    /// Takes in how much the object has added to a total.
    pub(super) fn take(&mut self, key: &SeriesKey, amount: f64) {
        let Some((subject, now)) = &self.seen else { return };
        if !self.of.contains_key(key) {
            if self.of.len() >= TOTALS {
                self.of.retain(|_, growth| now - growth.at <= OVER);
            }
            if self.of.len() >= TOTALS {
                return;
            }
            self.of.insert(key.clone(), Growth { at: *now, by: Vec::new() });
        }
        let Some(growth) = self.of.get_mut(key) else { return };
        if now - growth.at > OVER {
            growth.by.clear();
        }
        growth.at = *now;
        if let Some(known) = growth.by.iter_mut().find(|c| c.subject == *subject) {
            known.amount += amount;
            return;
        }
        if growth.by.len() >= HELD {
            let least =
                (0..HELD).min_by(|a, b| growth.by[*a].amount.total_cmp(&growth.by[*b].amount));
            growth.by.swap_remove(least.unwrap_or_default());
        }
        growth.by.push(Contribution { subject: subject.clone(), amount });
    }

    /// Those that contributed most to a series in what goes on, largest first; none where it is about one object only.
    #[must_use]
    pub fn most(&self, signal: &Signal, labels: &Labels, now: Time) -> Vec<Contribution> {
        let key = SeriesKey { signal: signal.name.into(), labels: labels.clone() };
        let lately = |growth: &&Growth| now.as_second() - growth.at <= OVER;
        let mut by = self.of.get(&key).filter(lately).map_or(Vec::new(), |g| g.by.clone());
        by.sort_by(|a, b| b.amount.total_cmp(&a.amount).then_with(|| a.subject.cmp(&b.subject)));
        by.truncate(TOLD);
        let about = signal.subject(labels);
        let same = |s: &Subject| {
            (&s.kind, &s.namespace, &s.name) == (&about.kind, &about.namespace, &about.name)
        };
        if by.iter().all(|c| same(&c.subject)) { Vec::new() } else { by }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels;
    use crate::layers;
    use crate::model::record::{Event, Pod};

    fn at(second: i64) -> Time {
        Time::from_second(second).unwrap()
    }

    fn pod(name: &str) -> Object {
        let mut pod = Pod::default();
        (pod.meta.namespace, pod.meta.name) = ("shop".into(), name.into());
        Object::Pod(Box::new(pod))
    }

    fn restarts() -> (&'static Signal, Labels) {
        let signal =
            layers::signals().find(|s| s.name == "compute_container_restarts_total").unwrap();
        (signal, labels!["shop", "Deployment", "cart", "web", "Error", "app"])
    }

    /// After these pods have added so much at these seconds.
    fn grown(by: &[(i64, &str, f64)]) -> Contributors {
        let (signal, labels) = restarts();
        let key = SeriesKey { signal: signal.name.into(), labels };
        let mut contributors = Contributors::default();
        for (second, name, amount) in by {
            contributors.see(&pod(name), at(*second));
            contributors.take(&key, *amount);
        }
        contributors
    }

    fn told(contributors: &Contributors, second: i64) -> Vec<(String, f64)> {
        let (signal, labels) = restarts();
        let most = contributors.most(signal, &labels, at(second));
        most.into_iter().map(|c| (c.subject.to_string(), c.amount)).collect()
    }

    #[test]
    fn the_three_that_contributed_most_are_told_largest_first() {
        let all =
            grown(&[(0, "a", 1.0), (9, "b", 2.0), (10, "c", 4.0), (11, "d", 3.0), (12, "b", 3.0)]);
        let expected = [("Pod shop/b", 5.0), ("Pod shop/c", 4.0), ("Pod shop/d", 3.0)];
        assert_eq!(told(&all, 60), expected.map(|(pod, n)| (pod.to_owned(), n)));
        assert_eq!(told(&all, 12 + OVER + 1), []);
    }

    #[test]
    fn an_hour_without_growth_begins_anew() {
        let all = grown(&[(0, "a", 9.0), (OVER + 1, "b", 1.0)]);
        assert_eq!(told(&all, OVER + 2), [("Pod shop/b".to_owned(), 1.0)]);
    }

    #[test]
    fn of_many_the_least_are_left_out() {
        let names: Vec<String> = (0..40).map(|n| format!("pod-{n}")).collect();
        let mut by: Vec<_> = names.iter().map(|name| (1, name.as_str(), 1.0)).collect();
        by.insert(0, (0, "loud", 7.0));
        assert_eq!(told(&grown(&by), 2)[0], ("Pod shop/loud".to_owned(), 7.0));
    }

    #[test]
    fn an_event_counts_for_what_it_is_about() {
        let mut event = Event::default();
        event.regarding.kind = "Node".into();
        event.regarding.name = "node-1".into();
        let mut contributors = Contributors::default();
        contributors.see(&Object::Event(Box::new(event)), at(0));
        let (signal, labels) = restarts();
        contributors.take(&SeriesKey { signal: signal.name.into(), labels }, 1.0);
        assert_eq!(told(&contributors, 1), [("Node node-1".to_owned(), 1.0)]);
    }
}
