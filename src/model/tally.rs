//! What has happened since kubestrata began to count? Running totals that survive restarts and never count twice.
//!
//! A total and the mark up to which it was counted are kept and saved together: after a crash, the difference between
//! an object and its mark is exactly what happened unseen.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashSet;
use serde::{Deserialize, Serialize};

use super::contributors::Contributors;
use super::kind::Kind;
use super::reading::{Labels, SeriesKey};
use super::record::{Object, Uid};
use super::signal::{Read, Signal};
use super::text::Text;
use super::world::Key;

/// Durations counted by buckets, as a Prometheus histogram has them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Count of durations at or below each upper bound and above the one before; the last is above all bounds.
    pub buckets: Vec<u64>,
    /// Sum of all durations.
    pub sum: f64,
    /// Count of all durations.
    pub count: u64,
}

/// Running totals, and the marks up to which objects were counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tallies {
    counters: BTreeMap<SeriesKey, u64>,
    histograms: BTreeMap<SeriesKey, Histogram>,
    marks: BTreeMap<Kind, BTreeMap<Uid, Vec<(Text, u64)>>>,
    counting: BTreeSet<Kind>,
    /// Kinds of which what is seen just now had happened before.
    #[serde(skip)]
    looking: BTreeSet<Kind>,
    /// Events about pods that are not known yet, by pod.
    #[serde(skip)]
    deferred: BTreeMap<Key, Vec<Key>>,
    /// Which objects the totals have grown by of late.
    #[serde(skip)]
    pub contributors: Contributors,
}

/// Events that wait for their pods at most; they wait only while lists come in.
const DEFERRED: usize = 20_000;

impl Tallies {
    /// Adds `n` to a counter of `signal`. Adding 0 leaves no series.
    pub fn add(&mut self, signal: &Signal, labels: Labels, n: u64) {
        if n > 0 {
            let key = SeriesKey { signal: signal.name.into(), labels };
            self.contributors.take(&key, n as f64);
            let total = self.counters.entry(key).or_default();
            *total = total.saturating_add(n);
        }
    }

    /// Adds a duration to a histogram of `signal`. A negative one (clocks differ) counts as zero.
    pub fn record(&mut self, signal: &Signal, labels: Labels, seconds: f64) {
        let Read::Histogram(bounds) = signal.read else { return };
        if !seconds.is_finite() {
            return;
        }
        let seconds = seconds.max(0.0);
        let key = SeriesKey { signal: signal.name.into(), labels };
        self.contributors.take(&key, seconds);
        let histogram = self.histograms.entry(key).or_default();
        histogram.buckets.resize(bounds.len() + 1, 0);
        let bucket = bounds.iter().position(|bound| seconds <= *bound).unwrap_or(bounds.len());
        histogram.buckets[bucket] += 1;
        histogram.sum += seconds;
        histogram.count += 1;
    }

    /// How much a running number of an object has grown since it was last seen, and marks it as counted.
    ///
    /// Before the kind's first list is complete nothing is counted: what had happened before kubestrata came is not
    /// its to tell. From then on an object without a mark has been at 0, and a number that fell was reset: its new
    /// value is what has happened since.
    pub fn advance(&mut self, kind: Kind, uid: Uid, slot: &str, value: u64) -> u64 {
        self.advance_told(kind, kind, uid, slot, value)
    }

    /// The same of a number that an object of the kind `by` tells of another: whether it counts is up to `by`, and it is
    /// forgotten with the other.
    pub fn advance_told(&mut self, by: Kind, kind: Kind, uid: Uid, slot: &str, value: u64) -> u64 {
        let last = self.mark(kind, uid, slot);
        if last == value {
            return 0;
        }
        self.set_mark(kind, uid, slot, value);
        if !self.is_counting(by) {
            return 0;
        }
        if value > last { value - last } else { value }
    }

    /// The number up to which this slot of the object was counted; 0 where it never was.
    #[must_use]
    pub fn mark(&self, kind: Kind, uid: Uid, slot: &str) -> u64 {
        let slots = self.marks.get(&kind).and_then(|m| m.get(&uid));
        slots.and_then(|s| s.iter().find(|(name, _)| name == slot)).map_or(0, |(_, value)| *value)
    }

    fn set_mark(&mut self, kind: Kind, uid: Uid, slot: &str, value: u64) {
        let slots = self.marks.entry(kind).or_default().entry(uid).or_default();
        match slots.iter_mut().find(|(name, _)| name == slot) {
            Some((_, held)) => *held = value,
            None => slots.push((slot.into(), value)),
        }
    }

    /// Whether this is the first sight of a process that has counted since before anybody looked.
    pub fn meets(&mut self, object: &Object) -> bool {
        let (kind, meta) = (object.kind(), object.meta());
        let known = self.marks.get(&kind).is_some_and(|m| m.contains_key(&meta.uid));
        self.set_mark(kind, meta.uid, "", 1);
        !known
    }

    /// While on, numbers of the kind are marked but not counted.
    pub fn look_only(&mut self, kind: Kind, on: bool) {
        if on {
            self.looking.insert(kind);
        } else {
            self.looking.remove(&kind);
        }
    }

    /// The object is gone: its marks go, its totals stay.
    pub fn forget(&mut self, kind: Kind, uid: Uid) {
        if let Some(marks) = self.marks.get_mut(&kind) {
            marks.remove(&uid);
        }
    }

    /// A list of the kind is complete: counting begins, and marks of objects that are gone go.
    pub fn synced(&mut self, kind: Kind, alive: impl Iterator<Item = Uid>) {
        self.counting.insert(kind);
        if let Some(marks) = self.marks.get_mut(&kind) {
            let alive: HashSet<Uid> = alive.collect();
            marks.retain(|uid, _| alive.contains(uid));
        }
    }

    /// Whether what happens to objects of the kind counts: its first list is complete.
    #[must_use]
    pub fn is_counting(&self, kind: Kind) -> bool {
        self.counting.contains(&kind) && !self.looking.contains(&kind)
    }

    /// Keeps an event for when its pod is known: until then nobody can say under which workload it counts.
    pub fn defer(&mut self, pod: Key, event: Key) {
        if self.deferred.len() < DEFERRED {
            self.deferred.entry(pod).or_default().push(event);
        }
    }

    /// The events that waited for this pod.
    pub fn take_deferred(&mut self, pod: &Key) -> Vec<Key> {
        if self.deferred.is_empty() {
            Vec::new()
        } else {
            self.deferred.remove(pod).unwrap_or_default()
        }
    }

    /// Drops the totals whose series `keep` refuses.
    pub fn retain(&mut self, mut keep: impl FnMut(&SeriesKey) -> bool) {
        self.counters.retain(|key, _| keep(key));
        self.histograms.retain(|key, _| keep(key));
    }

    /// How many totals there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.counters.len() + self.histograms.len()
    }

    /// Whether there is no total.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The running totals of a signal.
    pub fn counters<'a>(&'a self, signal: &'a Signal) -> impl Iterator<Item = (&'a Labels, u64)> {
        self.counters
            .range(first(signal)..)
            .take_while(|(key, _)| key.signal == signal.name)
            .map(|(k, n)| (&k.labels, *n))
    }

    /// The histograms of a signal.
    pub fn histograms<'a>(
        &'a self,
        signal: &'a Signal,
    ) -> impl Iterator<Item = (&'a Labels, &'a Histogram)> {
        self.histograms
            .range(first(signal)..)
            .take_while(|(key, _)| key.signal == signal.name)
            .map(|(k, h)| (&k.labels, h))
    }
}

/// No series of the signal comes before it.
fn first(signal: &Signal) -> SeriesKey {
    SeriesKey { signal: signal.name.into(), labels: Labels::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: Uid = Uid(7);

    fn counting() -> Tallies {
        let mut tallies = Tallies::default();
        tallies.synced(Kind::Pod, std::iter::empty());
        tallies
    }

    #[test]
    fn what_was_before_the_first_list_is_not_counted() {
        let mut tallies = Tallies::default();
        assert_eq!(tallies.advance(Kind::Pod, POD, "web", 5), 0);
        tallies.synced(Kind::Pod, std::iter::once(POD));
        assert_eq!(tallies.advance(Kind::Pod, POD, "web", 5), 0, "seen again");
        assert_eq!(tallies.advance(Kind::Pod, POD, "web", 7), 2);
    }

    #[test]
    fn an_unknown_object_counts_from_zero_and_a_reset_counts_its_new_value() {
        let mut tallies = counting();
        assert_eq!(tallies.advance(Kind::Pod, POD, "web", 3), 3);
        assert_eq!(tallies.advance(Kind::Pod, POD, "web", 1), 1, "reset");
        assert_eq!(tallies.advance(Kind::Pod, POD, "web", 0), 0, "reset to nothing");
        assert_eq!(tallies.advance(Kind::Pod, POD, "web", 1), 1);
    }

    #[test]
    fn marks_of_gone_objects_go() {
        let mut tallies = counting();
        tallies.advance(Kind::Pod, POD, "web", 3);
        tallies.synced(Kind::Pod, std::iter::empty());
        assert_eq!(tallies.mark(Kind::Pod, POD, "web"), 0);
    }
}
