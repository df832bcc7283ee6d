//! Expectation → anomaly. Is it rare enough to be told, since when, how bad, and is it over?
//!
//! A series opens an anomaly when it is rarer than the threshold on two of three ticks in a row. The threshold follows
//! from the accepted number of false anomalies a day ([`threshold`]). An anomaly closes when its series has been no rarer
//! than [`CALM`] for `close_after`; one that opens again soon is the same. Severity only rises.

mod calibration;
mod scale;
mod threshold;
mod track;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::model::anomaly::Anomaly;
use crate::model::expectation::Expectation;
use crate::model::reading::SeriesKey;
use crate::model::record::Time;
use crate::model::report::{AnomalyLabels, NOMINAL, Rarities};
use crate::model::signal::{FAMILIES, Signal};

use calibration::Calibration;
use scale::Scale;
use threshold::{TESTS_PER_DAY, Threshold};
use track::Track;

/// A series no rarer than this is back to normal.
const CALM: f64 = 1e-3;

/// What opens again within this time after it closed is the same.
const AGAIN: SignedDuration = SignedDuration::from_hours(1);

/// Totals of openings that are kept; beyond it the one that opened the longest ago goes.
const TOTALS: usize = 5_000;

/// A series judged at this tick.
pub type JudgedSeries = (SeriesKey, &'static Signal, Expectation);

/// Series that are not as they were.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Detectors {
    tracks: BTreeMap<SeriesKey, Track>,
    closed: Vec<Arc<Anomaly>>,
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
        let mut changes = Changes::default();
        self.bands.clear();
        self.scores.clear();
        self.rarities = Rarities { tests: bounds.tests.iter().sum(), ..Rarities::default() };
        let mut untold = self.rarities;
        self.weigh(&mut judged, &bounds, now);
        self.tracks.values_mut().for_each(Track::next_tick);
        let surprised = judged.iter().filter(|(.., e)| e.mature && e.p_value < CALM);
        let surprised = surprised.map(|(key, _, e)| (key, e.p_value));
        self.threshold.take(self.tracks.values().any(|t| t.anomaly().is_some()), surprised, now);
        for judged in judged {
            let (key, _, expectation) = &judged;
            let rare = expectation.mature && expectation.p_value <= threshold;
            let is_told = self.tracks.contains_key(key);
            untold.tests = untold.tests.saturating_sub(u64::from(is_told));
            for (place, nominal) in NOMINAL.into_iter().enumerate() {
                let rare = u64::from(expectation.mature && expectation.tail <= nominal);
                self.rarities.at_most[place] += rare;
                untold.at_most[place] += if is_told { 0 } else { rare };
            }
            if rare || is_told {
                let track = self.tracks.entry(key.clone()).or_default();
                let before = || lately(&self.closed, key, now);
                track.see(&judged, threshold, now, before, &mut changes);
            }
            let open = self.is_open(key);
            if open || expectation.p_value <= CALM {
                self.scores.push((key.clone(), track::score(expectation.tail)));
            }
            if open || bounds.all_bands || key.labels.is_empty() {
                let (key, _, expectation) = judged;
                self.bands.push((key, expectation));
            }
        }
        self.calibration.take(&untold, now);
        for track in self.tracks.values_mut() {
            changes.closed.extend(track.close(bounds.close_after, now));
        }
        self.tracks.retain(|_, track| track.is_of_interest());
        self.remember(&changes, bounds.keep_closed, now);
        changes
    }

    /// Says of each judgement how often something so rare comes, then learns of it unless something is told, or was within
    /// the hour.
    fn weigh(&mut self, judged: &mut [JudgedSeries], bounds: &Bounds, now: Time) {
        let family = |signal: &Signal| signal.profile.family();
        for (_, signal, expectation) in judged.iter_mut() {
            expectation.tail = match family(signal) {
                Some(family) => self.scale.of(family, expectation.p_value),
                None => expectation.p_value,
            };
        }
        if self.threshold.is_quiet(now) {
            let mature = judged.iter().filter(|(.., e)| e.mature);
            let rare = mature.filter_map(|(_, s, e)| Some((family(s)?, e.p_value)));
            self.scale.take((bounds.tests, bounds.ticks_per_day / 24.0), rare, now);
        }
    }

    fn remember(&mut self, changes: &Changes, keep: usize, now: Time) {
        let again = |old: &Arc<Anomaly>| changes.opened.iter().any(|new| new.id == old.id);
        self.closed.retain(|closed| !again(closed));
        for anomaly in changes.opened.iter().filter(|a| a.times == 1) {
            let (count, last) = self.opened.entry(labels(anomaly)).or_insert((0, now));
            (*count, *last) = (*count + 1, now);
        }
        self.closed.extend(changes.closed.iter().cloned());
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
        self.tracks.get(key).is_some_and(|t| t.anomaly().is_some())
    }

    /// Open anomalies, newest first.
    #[must_use]
    pub fn open(&self) -> Vec<Arc<Anomaly>> {
        let mut open: Vec<_> = self.tracks.values().filter_map(Track::anomaly).cloned().collect();
        open.sort_by(|a, b| b.opened_at.cmp(&a.opened_at).then_with(|| a.id.cmp(&b.id)));
        open
    }

    /// Closed anomalies that are still kept, newest first.
    pub fn recently_closed(&self) -> impl Iterator<Item = Arc<Anomaly>> {
        self.closed.iter().rev().cloned()
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

    /// How often the judged series surprised at the last tick.
    #[must_use]
    pub const fn rarities(&self) -> Rarities {
        self.rarities
    }
}

/// The anomaly of a series that closed no longer ago than [`AGAIN`].
fn lately(closed: &[Arc<Anomaly>], key: &SeriesKey, now: Time) -> Option<Arc<Anomaly>> {
    let recent = |a: &&Arc<Anomaly>| a.closed_at.is_some_and(|at| now.duration_since(at) <= AGAIN);
    let same = |a: &&Arc<Anomaly>| a.signal == key.signal && a.labels == key.labels;
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
mod tests {
    use super::*;
    use crate::labels;
    use crate::model::anomaly::State;
    use crate::model::finding::Severity;
    use crate::model::layer::Layer;
    use crate::model::signal::{Profile, Read, Unit};

    static SIGNAL: Signal = Signal {
        block: "S0.0",
        name: "compute_test_total",
        layer: Layer::Compute,
        help: "A test.",
        unit: Unit::Count,
        labels: &["namespace"],
        reasons: &[],
        bound: "1",
        needs: &[],
        uses: &[],
        profile: Profile::Rate,
        read: Read::Counter,
    };

    const BOUNDS: Bounds = Bounds {
        series: 100,
        tests: [100, 0, 100, 0],
        ticks_per_day: 5760.0,
        false_per_day: 1.0 / 7.0,
        all_bands: false,
        close_after: SignedDuration::from_secs(60),
        keep_closed: 2,
    };

    fn at(tick: i64) -> Time {
        Time::from_second(tick * 15).unwrap()
    }

    fn judged(p_value: f64, observed: f64, mature: bool) -> Vec<JudgedSeries> {
        let key = SeriesKey { signal: SIGNAL.name.into(), labels: labels!["shop"] };
        let expectation = Expectation {
            observed,
            expected: 1.0,
            lower: 0.0,
            upper: 3.0,
            p_value,
            tail: p_value,
            samples: 100,
            history: SignedDuration::from_hours(6),
            window: Some(SignedDuration::from_mins(10)),
            runs_out: None,
            mature,
            baseline: "gamma_poisson",
        };
        vec![(key, &SIGNAL, expectation)]
    }

    #[test]
    fn two_rare_ticks_of_three_open_an_anomaly_and_calm_closes_it() {
        let mut detectors = Detectors::default();
        assert!(detectors.step(judged(1e-12, 9.0, true), BOUNDS, at(0)).opened.is_empty());
        assert!(detectors.step(vec![], BOUNDS, at(1)).opened.is_empty());
        let opened = detectors.step(judged(1e-12, 9.0, true), BOUNDS, at(2)).opened;
        assert_eq!(opened.len(), 1);
        assert_eq!(opened[0].opened_at, at(0), "since it first left its band");
        assert_eq!(opened[0].detector, "gamma_poisson/2_of_3");
        let mut calm = |tick| detectors.step(judged(0.5, 1.0, true), BOUNDS, at(tick)).closed;
        let closed: Vec<_> = (3..9).map(&mut calm).collect();
        assert_eq!(closed.iter().map(Vec::len).collect::<Vec<_>>(), [0, 0, 0, 0, 1, 0]);
        let told = &closed[4][0];
        assert_eq!((told.closed_at, told.state), (Some(at(7)), State::Closed));
        assert!(told.explanation.ends_with("; back in its band since 1970-01-01T00:00Z"));
        assert_eq!(detectors.recently_closed().count(), 1);
        assert_eq!(detectors.opened_totals().len(), 1);
        assert_eq!(detectors.tracks.len(), 0);
    }

    /// An anomaly that opened at tick 1.
    fn open() -> Detectors {
        let mut detectors = Detectors::default();
        detectors.step(judged(1e-12, 9.0, true), BOUNDS, at(0));
        assert_eq!(detectors.step(judged(1e-12, 9.0, true), BOUNDS, at(1)).opened.len(), 1);
        detectors
    }

    #[test]
    fn a_series_that_is_not_seen_is_not_calm_and_closes_in_the_end() {
        let mut detectors = open();
        for tick in 2..241 {
            assert_eq!(detectors.step(vec![], BOUNDS, at(tick)), Changes::default(), "{tick}");
        }
        let closed = detectors.step(vec![], BOUNDS, at(241)).closed;
        assert!(closed[0].explanation.ends_with("; not seen since 1970-01-01T00:00Z"));
    }

    #[test]
    fn what_opens_again_soon_is_the_same() {
        let mut detectors = open();
        let first = Arc::clone(&detectors.open()[0]);
        let mut next = 2;
        let mut pass = |detectors: &mut Detectors, ticks, p_value| {
            let mut all = Changes::default();
            for _ in 0..ticks {
                let changes = detectors.step(judged(p_value, 9.0, true), BOUNDS, at(next));
                all.opened.extend(changes.opened);
                all.closed.extend(changes.closed);
                next += 1;
            }
            all
        };
        assert_eq!(pass(&mut detectors, 10, 0.5).closed.len(), 1);
        let again = pass(&mut detectors, 2, 1e-12).opened;
        assert_eq!((&*again[0].id, again[0].times), (&*first.id, 2));
        assert_eq!(again[0].opened_at, first.opened_at);
        assert!(again[0].explanation.ends_with("; 2 times since 1970-01-01T00:00Z"));
        assert_eq!(detectors.recently_closed().count(), 0);
        assert_eq!(detectors.opened_totals()[0].1, 1);
        assert_eq!(pass(&mut detectors, 10, 0.5).closed[0].times, 2);
        pass(&mut detectors, 241, 0.5);
        let another = pass(&mut detectors, 2, 1e-12).opened;
        assert_ne!(another[0].id, first.id);
        assert_eq!(another[0].times, 1);
    }

    #[test]
    fn what_is_neither_rare_nor_calm_keeps_an_anomaly_open() {
        let mut detectors = open();
        for tick in 2..100 {
            assert_eq!(
                detectors.step(judged(1e-4, 5.0, true), BOUNDS, at(tick)),
                Changes::default()
            );
        }
    }

    #[test]
    fn a_new_normal_is_told_as_such() {
        let mut detectors = open();
        let mut changes = Changes::default();
        for tick in 2..7 {
            let mut young = judged(0.5, 9.0, false);
            young[0].2.history = SignedDuration::from_secs(tick * 15);
            changes = detectors.step(young, BOUNDS, at(tick));
        }
        assert!(changes.closed[0].explanation.contains("; the new normal since"));
    }

    #[test]
    fn one_rare_tick_or_a_young_series_opens_nothing() {
        let mut detectors = Detectors::default();
        for tick in 0..20 {
            let rare = if tick % 5 == 0 { 1e-12 } else { 0.5 };
            assert!(detectors.step(judged(rare, 9.0, true), BOUNDS, at(tick)).opened.is_empty());
        }
        for tick in 20..30 {
            assert!(detectors.step(judged(1e-12, 9.0, false), BOUNDS, at(tick)).opened.is_empty());
        }
    }

    #[test]
    fn an_open_anomaly_is_told_again_only_when_it_grows() {
        let mut detectors = Detectors::default();
        detectors.step(judged(1e-12, 9.0, true), BOUNDS, at(0));
        let id = detectors.step(judged(1e-12, 9.0, true), BOUNDS, at(1)).opened[0].id.clone();
        for tick in 2..10 {
            assert!(detectors.step(judged(1e-12, 9.0, true), BOUNDS, at(tick)).updated.is_empty());
        }
        let updated = detectors.step(judged(1e-30, 40.0, true), BOUNDS, at(10)).updated;
        assert_eq!(updated.len(), 1);
        assert_eq!(updated[0].id, id);
        assert_eq!(updated[0].severity, Severity::Critical);
    }

    #[test]
    fn the_more_series_there_are_the_rarer_an_anomaly_must_be() {
        let p = 1e-7;
        for (series, opens) in [(1, true), (100_000, false)] {
            let bounds = Bounds { series, ..BOUNDS };
            let mut detectors = Detectors::default();
            detectors.step(judged(p, 9.0, true), bounds, at(0));
            let changes = detectors.step(judged(p, 9.0, true), bounds, at(1));
            assert_eq!(!changes.opened.is_empty(), opens, "{series} series");
        }
    }

    #[test]
    fn scores_are_in_the_unit_interval_and_rise_with_rarity() {
        let scores = [1.0, 1e-3, 1e-8, 1e-300, 0.0].map(track::score);
        assert!(scores.windows(2).all(|w| w[0] < w[1]), "{scores:?}");
        assert!(scores.iter().all(|s| (0.0..=1.0).contains(s)));
        assert!((track::score(1e-8) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn an_anomaly_goes_on_under_its_id_after_a_restart() {
        let detectors = open();
        let saved = postcard::to_allocvec(&detectors).unwrap();
        let mut restored: Detectors = postcard::from_bytes(&saved).unwrap();
        assert_eq!(restored.open(), detectors.open());
        assert!(restored.step(judged(1e-12, 9.0, true), BOUNDS, at(2)).opened.is_empty());
        assert_eq!(restored.open()[0].id, detectors.open()[0].id);
    }

    #[test]
    fn closed_anomalies_are_bounded() {
        let mut detectors = Detectors::default();
        for round in 0..5 {
            for tick in [0, 1] {
                detectors.step(judged(1e-12, 9.0, true), BOUNDS, at(round * 300 + tick));
            }
            for tick in 2..20 {
                detectors.step(judged(0.9, 1.0, true), BOUNDS, at(round * 300 + tick));
            }
        }
        assert_eq!(detectors.recently_closed().count(), 2);
        let newest_first: Vec<Time> = detectors.recently_closed().map(|a| a.opened_at).collect();
        assert_eq!(newest_first, [at(1200), at(900)]);
        assert_eq!(detectors.opened_totals()[0].1, 5);
    }
}
