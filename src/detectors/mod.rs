//! Expectation → anomaly. Is it rare enough to be told, since when, how bad, and is it over?
//!
//! A series opens an anomaly when it is rarer than the threshold on two of three ticks in a row. The threshold is the
//! budget of false anomalies a day, divided by the number of tests a day (series × ticks): Bonferroni's bound, so the
//! budget holds whatever the dependence between series. It closes when the series has been no rarer than
//! [`CALM`] for `close_after`. Severity only rises.

mod words;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::model::anomaly::{Anomaly, State};
use crate::model::expectation::Expectation;
use crate::model::finding::Severity;
use crate::model::reading::SeriesKey;
use crate::model::record::Time;
use crate::model::report::AnomalyLabels;
use crate::model::signal::Signal;

/// False anomalies that are accepted a day: one a week.
const FALSE_PER_DAY: f64 = 1.0 / 7.0;

/// A series no rarer than this is back to normal.
const CALM: f64 = 1e-3;

/// A series judged at this tick.
pub type JudgedSeries = (SeriesKey, &'static Signal, Expectation);

/// Series that are not as they were.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Detectors {
    tracks: BTreeMap<SeriesKey, Track>,
    closed: Vec<Arc<Anomaly>>,
    opened: BTreeMap<AnomalyLabels, u64>,
    #[serde(skip)]
    bands: Vec<(SeriesKey, Expectation)>,
    #[serde(skip)]
    scores: Vec<(SeriesKey, f64)>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Track {
    /// Whether each of the last three ticks was rare, the newest in the lowest bit.
    rare: u8,
    /// When the first of those ticks was.
    rare_since: Option<Time>,
    /// Since when the series of an open anomaly is calm.
    calm_since: Option<Time>,
    open: Option<Arc<Anomaly>>,
}

/// What bounds false anomalies and the memory of past ones.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Series with a baseline, quiet ones included: each is a test at each tick.
    pub series: usize,
    /// Ticks a day.
    pub ticks_per_day: f64,
    /// How long a series must be calm before its anomaly closes.
    pub close_after: SignedDuration,
    /// Closed anomalies that are kept.
    pub keep_closed: usize,
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
    /// Takes in the series judged at this tick. A series that is not among them was quiet.
    pub fn step(&mut self, judged: Vec<JudgedSeries>, bounds: Bounds, now: Time) -> Changes {
        let threshold = threshold(bounds);
        let mut changes = Changes::default();
        self.bands.clear();
        self.scores.clear();
        for track in self.tracks.values_mut() {
            track.rare = track.rare << 1 & 0b111;
        }
        for (key, signal, expectation) in judged {
            let rare = expectation.mature && expectation.p_value <= threshold;
            if rare || self.tracks.contains_key(&key) {
                let track = self.tracks.entry(key.clone()).or_default();
                track.step(&key, signal, &expectation, rare, threshold, now, &mut changes);
            }
            let open = self.tracks.get(&key).is_some_and(|t| t.open.is_some());
            if open || expectation.p_value < CALM {
                self.scores.push((key.clone(), score(expectation.p_value)));
            }
            if open || key.labels.is_empty() {
                self.bands.push((key, expectation));
            }
        }
        for track in self.tracks.values_mut() {
            changes.closed.extend(track.close(bounds.close_after, now));
        }
        self.tracks.retain(|_, track| track.open.is_some() || track.rare != 0);
        self.remember(&changes, bounds.keep_closed);
        changes
    }

    fn remember(&mut self, changes: &Changes, keep: usize) {
        for anomaly in &changes.opened {
            *self.opened.entry(labels(anomaly)).or_default() += 1;
        }
        self.closed.extend(changes.closed.iter().cloned());
        let excess = self.closed.len().saturating_sub(keep);
        self.closed.drain(..excess);
        // Totals of what nobody can name any more would grow for ever.
        let excess = self.opened.len().saturating_sub(keep.max(1000));
        for _ in 0..excess {
            self.opened.pop_first();
        }
    }

    /// Whether the series has an open anomaly.
    #[must_use]
    pub fn is_open(&self, key: &SeriesKey) -> bool {
        self.tracks.get(key).is_some_and(|t| t.open.is_some())
    }

    /// Open anomalies, newest first.
    #[must_use]
    pub fn open(&self) -> Vec<Arc<Anomaly>> {
        let mut open: Vec<_> = self.tracks.values().filter_map(|t| t.open.clone()).collect();
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
        self.opened.iter().map(|(labels, n)| (labels.clone(), *n)).collect()
    }

    /// Bands at the last tick, of open anomalies and cluster-wide series.
    #[must_use]
    pub fn bands(&self) -> Vec<(SeriesKey, Expectation)> {
        self.bands.clone()
    }

    /// Scores at the last tick of series that are not calm.
    #[must_use]
    pub fn scores(&self) -> Vec<(SeriesKey, f64)> {
        self.scores.clone()
    }
}

impl Track {
    #[allow(clippy::too_many_arguments)]
    fn step(
        &mut self,
        key: &SeriesKey,
        signal: &'static Signal,
        expectation: &Expectation,
        rare: bool,
        threshold: f64,
        now: Time,
        changes: &mut Changes,
    ) {
        if rare {
            self.rare |= 1;
            self.rare_since.get_or_insert(now);
        } else if self.rare == 0 {
            self.rare_since = None;
        }
        match &mut self.open {
            Some(anomaly) => {
                if expectation.p_value <= CALM {
                    self.calm_since = None;
                }
                if rare && grow(anomaly, key, signal, expectation, threshold, now) {
                    changes.updated.push(Arc::clone(anomaly));
                }
            }
            None if rare && self.rare.count_ones() >= 2 => {
                let since = self.rare_since.unwrap_or(now);
                let anomaly = Arc::new(opened(key, signal, expectation, threshold, since, now));
                self.calm_since = None;
                self.open = Some(Arc::clone(&anomaly));
                changes.opened.push(anomaly);
            }
            None => {}
        }
    }

    /// Closes the anomaly when its series has been calm for long enough.
    fn close(&mut self, after: SignedDuration, now: Time) -> Option<Arc<Anomaly>> {
        let anomaly = self.open.as_mut()?;
        if anomaly.updated_at == now {
            self.calm_since = None;
            return None;
        }
        let since = *self.calm_since.get_or_insert(now);
        if now.duration_since(since) < after {
            return None;
        }
        let closed = Arc::make_mut(anomaly);
        (closed.state, closed.closed_at) = (State::Closed, Some(now));
        self.open.take()
    }
}

/// The p-value below which a series is rare.
fn threshold(bounds: Bounds) -> f64 {
    FALSE_PER_DAY / (bounds.series.max(1) as f64 * bounds.ticks_per_day.max(1.0))
}

/// How unusual, in [0, 1): e / (e + 8) for e = −log₁₀ p. One in 10⁸ is a half.
fn score(p_value: f64) -> f64 {
    let evidence = -p_value.max(f64::MIN_POSITIVE).log10();
    (evidence / (evidence + 8.0)).clamp(0.0, 1.0)
}

/// From the size of the effect (distance in half bands) and the evidence, both: a tiny certain change is no alarm, nor
/// is a large one that a few samples suggest.
fn severity(expectation: &Expectation, threshold: f64) -> Severity {
    let side = if expectation.observed >= expectation.expected {
        expectation.upper - expectation.expected
    } else {
        expectation.expected - expectation.lower
    };
    let effect = (expectation.observed - expectation.expected).abs() / side.max(1e-9);
    let evidence = threshold / expectation.p_value.max(f64::MIN_POSITIVE);
    if effect >= 5.0 && evidence >= 1e6 {
        Severity::Critical
    } else if effect >= 2.0 && evidence >= 1e2 {
        Severity::Warning
    } else {
        Severity::Info
    }
}

fn opened(
    key: &SeriesKey,
    signal: &'static Signal,
    expectation: &Expectation,
    threshold: f64,
    since: Time,
    now: Time,
) -> Anomaly {
    Anomaly {
        id: id(key, since),
        layer: signal.layer,
        signal: key.signal.clone(),
        labels: key.labels.clone(),
        subject: signal.subject(&key.labels),
        state: State::Open,
        severity: severity(expectation, threshold),
        opened_at: since,
        updated_at: now,
        closed_at: None,
        observed: expectation.observed,
        expected: expectation.expected,
        lower: expectation.lower,
        upper: expectation.upper,
        score: score(expectation.p_value),
        p_value: expectation.p_value,
        detector: expectation.baseline.into(),
        explanation: words::explain(signal, &key.labels, expectation, since),
    }
}

/// Takes in a further rare tick. True when it is worth telling: a higher severity, or a markedly new extreme.
fn grow(
    anomaly: &mut Arc<Anomaly>,
    key: &SeriesKey,
    signal: &'static Signal,
    expectation: &Expectation,
    threshold: f64,
    now: Time,
) -> bool {
    let severity = severity(expectation, threshold).max(anomaly.severity);
    let further = |a: f64, b: f64| (a - b).abs();
    let distance = further(expectation.observed, expectation.expected);
    let extreme = distance > 1.5 * further(anomaly.observed, anomaly.expected);
    let told = severity > anomaly.severity || extreme;
    let since = anomaly.opened_at;
    let anomaly = Arc::make_mut(anomaly);
    anomaly.updated_at = now;
    if told {
        let grown = opened(key, signal, expectation, threshold, since, now);
        *anomaly = Anomaly { id: anomaly.id.clone(), severity, ..grown };
    }
    told
}

/// FNV-1a over 64 bits: the same anomaly has the same id over restarts and on both replicas.
fn id(key: &SeriesKey, since: Time) -> String {
    let second = since.as_second().to_string();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in [key.signal.as_str(), &second].into_iter().chain(key.labels.iter()) {
        for byte in part.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("a-{hash:016x}")
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
        ticks_per_day: 5760.0,
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
            samples: 100,
            history: SignedDuration::from_hours(6),
            window: Some(SignedDuration::from_mins(10)),
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
        let closed: Vec<usize> =
            (3..9).map(|t| detectors.step(vec![], BOUNDS, at(t)).closed.len()).collect();
        assert_eq!(closed, [0, 0, 0, 0, 1, 0]);
        assert_eq!(detectors.recently_closed().count(), 1);
        assert_eq!(detectors.opened_totals().len(), 1);
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
        let scores = [1.0, 1e-3, 1e-8, 1e-300, 0.0].map(score);
        assert!(scores.windows(2).all(|w| w[0] < w[1] || w[1] > 0.97));
        assert!(scores.iter().all(|s| (0.0..=1.0).contains(s)));
        assert!((score(1e-8) - 0.5).abs() < 1e-12);
    }
}
