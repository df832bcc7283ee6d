//! Expectation → anomaly. Is it rare enough to be told, since when, how bad, and is it over?
//!
//! A series opens an anomaly when it is rarer than the threshold on two of three ticks in a row. The threshold follows
//! from the accepted number of false anomalies a day ([`threshold`]). After the first of them it is suspected, and nobody
//! is told. An anomaly closes when its series has been no rarer than [`CALM`] for `close_after`, longer where it flaps
//! ([`flaps`]); one that opens again soon is the same. Severity only rises.

mod calibration;
mod flaps;
mod scale;
mod severity;
mod threshold;
mod track;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::model::anomaly::Anomaly;
use crate::model::contributors::Contribution;
use crate::model::expectation::Expectation;
use crate::model::reading::SeriesKey;
use crate::model::record::Time;
use crate::model::report::{AnomalyLabels, NOMINAL, Rarities, Suspected};
use crate::model::signal::{FAMILIES, Signal, Unit};

use calibration::Calibration;
use scale::Scale;
use threshold::{TESTS_PER_DAY, Threshold};
use track::{Ended, Tick, Track};

/// A series no rarer than this is back to normal.
const CALM: f64 = 1e-3;

/// What opens again within this time after it closed is the same.
const AGAIN: SignedDuration = SignedDuration::from_hours(1);

/// Suspected series that are shown, the rarest first.
const SUSPECTS: usize = 100;

/// Totals of openings that are kept; beyond it the one that opened the longest ago goes.
const TOTALS: usize = 5_000;

/// A series judged at this tick.
pub type JudgedSeries = (SeriesKey, &'static Signal, Expectation);

/// Series that are not as they were.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Detectors {
    tracks: BTreeMap<SeriesKey, Track>,
    closed: Vec<Ended>,
    /// How many have opened, and when the last did.
    opened: BTreeMap<AnomalyLabels, (u64, Time)>,
    scale: Scale,
    calibration: Calibration,
    threshold: Threshold,
    #[serde(skip)]
    bands: Vec<(SeriesKey, Expectation)>,
    #[serde(skip)]
    scores: Vec<(SeriesKey, f64)>,
    #[serde(skip)]
    rarities: Rarities,
    /// What rare was at the last tick.
    #[serde(skip)]
    rare: f64,
}

/// What bounds false anomalies and the memory of past ones.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Series with a baseline, quiet ones included.
    pub series: usize,
    /// Those that were judged at this tick and not quiet, by family.
    pub tests: [u64; FAMILIES],
    /// Ticks a day.
    pub ticks_per_day: f64,
    /// How many anomalies a day may be false.
    pub false_per_day: f64,
    /// Whether the bands of all series are kept, not only of those that are told and of cluster-wide ones.
    pub all_bands: bool,
    /// How long a series must be calm before its anomaly closes.
    pub close_after: SignedDuration,
    /// Closed anomalies that are kept.
    pub keep_closed: usize,
}

impl Bounds {
    /// How many tests are made a day.
    fn tests_a_day(&self) -> f64 {
        self.series as f64 * self.ticks_per_day.min(TESTS_PER_DAY)
    }
}

/// What opened, grew or closed at a tick.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct Changes {
    pub opened: Vec<Arc<Anomaly>>,
    pub updated: Vec<Arc<Anomaly>>,
    pub closed: Vec<Arc<Anomaly>>,
}

impl Detectors {
    /// Takes in the series judged at this tick. One that is not among them was as expected; one of an open anomaly
    /// was not seen, and is neither better nor worse.
    pub fn step(&mut self, mut judged: Vec<JudgedSeries>, bounds: Bounds, now: Time) -> Changes {
        let threshold = self.threshold.of(bounds.false_per_day, bounds.tests_a_day());
        self.rare = threshold;
        let tick = Tick { now, threshold, close_after: bounds.close_after };
        let mut changes = Changes::default();
        self.bands.clear();
        self.scores.clear();
        self.weigh(&mut judged, &bounds, now);
        self.tracks.values_mut().for_each(Track::next_tick);
        let surprised = judged.iter().filter(|(.., e)| e.mature && e.p_value < CALM);
        let surprised = surprised.map(|(key, _, e)| (key, e.p_value));
        self.threshold.take(self.tracks.values().any(|t| t.open().is_some()), surprised, now);
        for judged in judged {
            let (key, _, expectation) = &judged;
            let rare = tick.is_rare(expectation);
            let is_told = self.tracks.contains_key(key);
            if rare || is_told {
                let track = self.tracks.entry(key.clone()).or_default();
                let before = || lately(&self.closed, key, now);
                track.see(&judged, tick, before, &mut changes);
            }
            let open = self.is_open(key);
            if open || expectation.p_value <= CALM {
                self.scores.push((key.clone(), severity::score(expectation.tail)));
            }
            if open || bounds.all_bands || key.labels.is_empty() {
                let (key, _, expectation) = judged;
                self.bands.push((key, expectation));
            }
        }
        let ended: Vec<_> =
            self.tracks.values_mut().filter_map(|track| track.close(tick)).collect();
        changes.closed.extend(ended.iter().map(|ended| Arc::clone(&ended.anomaly)));
        self.tracks.retain(|_, track| track.is_of_interest());
        self.remember(&changes.opened, ended, bounds.keep_closed, now);
        changes
    }

    /// Adds to what opened or grew at this tick who contributed most to it.
    pub fn attribute(
        &mut self,
        changes: &mut Changes,
        most: impl Fn(&Anomaly) -> (Unit, Vec<Contribution>),
    ) {
        for told in changes.opened.iter_mut().chain(&mut changes.updated) {
            let (unit, contributors) = most(told);
            if contributors.is_empty() {
                continue;
            }
            let anomaly = Arc::make_mut(told);
            anomaly.explanation.push_str(&words::most(&contributors, unit));
            anomaly.contributors = contributors;
            let key = SeriesKey { signal: told.signal.clone(), labels: told.labels.clone() };
            if let Some(track) = self.tracks.get_mut(&key) {
                track.attribute(told);
            }
        }
    }

    /// Says of each judgement how often something so rare comes. Unless something is told, or was within the hour, it is
    /// counted how often something so rare did come, and learned.
    fn weigh(&mut self, judged: &mut [JudgedSeries], bounds: &Bounds, now: Time) {
        let family = |signal: &Signal| signal.profile.family();
        for (_, signal, expectation) in judged.iter_mut() {
            expectation.tail = match family(signal) {
                Some(family) => self.scale.of(family, expectation.p_value),
                None => expectation.p_value,
            };
        }
        self.rarities = Rarities::default();
        if self.threshold.is_quiet(now) {
            self.rarities.tests = bounds.tests.iter().sum();
            for (.., expectation) in judged.iter().filter(|(.., e)| e.mature) {
                for (count, nominal) in self.rarities.at_most.iter_mut().zip(NOMINAL) {
                    *count += u64::from(expectation.tail <= nominal);
                }
            }
            self.calibration.take(&self.rarities, now);
            let mature = judged.iter().filter(|(.., e)| e.mature);
            let rare = mature.filter_map(|(_, s, e)| Some((family(s)?, e.p_value)));
            self.scale.take((bounds.tests, bounds.ticks_per_day / 24.0), rare, now);
        }
    }

    fn remember(&mut self, opened: &[Arc<Anomaly>], ended: Vec<Ended>, keep: usize, now: Time) {
        let again = |old: &Ended| opened.iter().any(|new| new.id == old.anomaly.id);
        self.closed.retain(|closed| !again(closed));
        for anomaly in opened.iter().filter(|a| a.times == 1) {
            let (count, last) = self.opened.entry(labels(anomaly)).or_insert((0, now));
            (*count, *last) = (*count + 1, now);
        }
        self.closed.extend(ended);
        let excess = self.closed.len().saturating_sub(keep);
        self.closed.drain(..excess);
        while self.opened.len() > TOTALS {
            let oldest = self.opened.iter().min_by_key(|(_, (_, last))| *last);
            let Some(oldest) = oldest.map(|(labels, _)| labels.clone()) else { break };
            self.opened.remove(&oldest);
        }
    }

    /// Whether the series has an open anomaly.
    #[must_use]
    pub fn is_open(&self, key: &SeriesKey) -> bool {
        self.tracks.get(key).is_some_and(|t| t.open().is_some())
    }

    /// Open anomalies, newest first.
    #[must_use]
    pub fn open(&self) -> Vec<Arc<Anomaly>> {
        let mut open: Vec<_> = self.tracks.values().filter_map(Track::open).cloned().collect();
        open.sort_by(|a, b| b.opened_at.cmp(&a.opened_at).then_with(|| a.id.cmp(&b.id)));
        open
    }

    /// Series that were rare and are not confirmed to be so.
    #[must_use]
    pub fn suspected(&self) -> Suspected {
        let mut rarest: Vec<_> = self.tracks.values().filter_map(Track::suspected).collect();
        let series = rarest.len();
        rarest.sort_by(|a, b| a.p_value.total_cmp(&b.p_value).then_with(|| a.id.cmp(&b.id)));
        rarest.truncate(SUSPECTS);
        Suspected { series, rarest: rarest.into_iter().cloned().collect() }
    }

    /// Closed anomalies that are still kept, newest first.
    pub fn recently_closed(&self) -> impl Iterator<Item = Arc<Anomaly>> {
        self.closed.iter().rev().map(|ended| Arc::clone(&ended.anomaly))
    }

    /// How many anomalies have opened, by what they were about.
    #[must_use]
    pub fn opened_totals(&self) -> Vec<(AnomalyLabels, u64)> {
        self.opened.iter().map(|(labels, (n, _))| (labels.clone(), *n)).collect()
    }

    /// Bands at the last tick, of open anomalies and cluster-wide series, or of all.
    #[must_use]
    pub fn bands(&self) -> Vec<(SeriesKey, Expectation)> {
        self.bands.clone()
    }

    /// Scores at the last tick of series that are not calm.
    #[must_use]
    pub fn scores(&self) -> Vec<(SeriesKey, f64)> {
        self.scores.clone()
    }

    /// How many times as often as they may series surprised of late that nothing is told of, for each of [`NOMINAL`].
    #[must_use]
    pub fn calibration(&self) -> [Option<f64>; NOMINAL.len()] {
        self.calibration.ratios()
    }

    /// The p-value at or below which a series was rare at the last tick.
    #[must_use]
    pub const fn threshold(&self) -> f64 {
        self.rare
    }

    /// How often the judged series surprised at the last tick; none where something was told of late.
    #[must_use]
    pub const fn rarities(&self) -> Rarities {
        self.rarities
    }
}

/// The anomaly of a series that closed no longer ago than [`AGAIN`].
fn lately(closed: &[Ended], key: &SeriesKey, now: Time) -> Option<Ended> {
    let recent =
        |ended: &&Ended| ended.anomaly.closed_at.is_some_and(|at| now.duration_since(at) <= AGAIN);
    let same =
        |ended: &&Ended| ended.anomaly.signal == key.signal && ended.anomaly.labels == key.labels;
    closed.iter().rev().take_while(recent).find(same).cloned()
}

fn labels(anomaly: &Anomaly) -> AnomalyLabels {
    AnomalyLabels {
        layer: anomaly.layer,
        signal: anomaly.signal.clone(),
        severity: anomaly.severity,
        namespace: anomaly.subject.namespace.clone(),
        kind: anomaly.subject.kind.clone(),
        name: anomaly.subject.name.clone(),
    }
}

#[cfg(test)]
mod tests;
