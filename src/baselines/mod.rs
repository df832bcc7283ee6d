//! Readings → expectations. What would have been normal, and how surprising is what was seen?
//!
//! Each series has a past of its own, judged before it learns: what is expected of a tick depends on earlier ticks
//! alone. A series that stays as it is costs a comparison.

mod clusters;
mod durations;
pub mod gauge;
mod growth;
mod increases;
mod level;
mod means;
mod past;
mod rate;
mod season;
mod staircase;
mod tails;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::config::{Bands, BaselineSettings};
use crate::model::disruption::{self, Disruptions};
use crate::model::expectation::Expectation;
use crate::model::reading::{Labels, Reading, SeriesKey};
use crate::model::record::Time;
use crate::model::report;
use crate::model::signal::{FAMILIES, Lasted, Profile, Read, Signal};
use crate::model::tally::Histogram;
use crate::model::text::Text;

use clusters::Clusters;
use durations::{Before, Durations};
use gauge::season::Place;
use growth::Growth;
use level::{Level, Sample};
use past::Past;

/// What is no rarer than this is not worth telling.
const TOLD: f64 = 0.05;

/// A past that is so long knows all hours, in seconds.
const NEARLY_A_DAY: i64 = 23 * 3_600;

/// In seconds.
const TEN_MINUTES: f64 = 600.0;

/// The pasts of all judged series.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Baselines {
    signals: BTreeMap<Text, OfSignal>,
    dropped: u64,
    /// Whether it was told what had lasted before anybody watched.
    remembers: bool,
}

/// The pasts of a signal's series.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct OfSignal {
    /// When the signal was last judged, in seconds since the epoch.
    at: Option<i64>,
    /// In the order of their labels, as readings are.
    series: Vec<Series>,
    /// How many events come at once.
    clusters: Clusters,
    /// Durations that series to come have had.
    before: BTreeMap<Labels, Before>,
    /// Whether series were left out at the last tick.
    full: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Series {
    labels: Labels,
    past: Past,
    /// Since when it has had no reading.
    absent_since: Option<i64>,
}

/// What there is to see of a series at a tick.
#[derive(Clone, Copy, Debug)]
enum Seen<'a> {
    Value(f64, Option<u64>),
    Durations(&'a Histogram),
    /// No duration has come.
    Nothing,
}

/// The circumstances of a tick.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The tick's time.
    pub now: Time,
    /// Since when the cluster is watched: a count that was not there has stood at zero since.
    pub watching_since: Time,
    /// Whether numbers may be judged; not right after a list, when they jump for reasons of ours.
    pub settled: bool,
    /// What jumps for reasons that somebody knows: it is neither judged nor learned.
    pub disruptions: &'a Disruptions,
    /// How the past is kept.
    pub settings: &'a BaselineSettings,
    /// How many series may have a past.
    pub limit: usize,
}

/// A tick in whole seconds, as the pasts see it.
#[derive(Clone, Copy, Debug)]
struct Moment<'a> {
    now: i64,
    /// The tick before.
    previous: i64,
    window: i64,
    /// Never longer than the window: no past is.
    warm_up: i64,
    /// By whose clocks the day goes.
    zone: &'a TimeZone,
}

impl Moment<'_> {
    /// A moment in UTC.
    #[cfg(test)]
    fn of(now: i64, previous: i64, window: i64, warm_up: i64) -> Self {
        const ZONE: &TimeZone = &TimeZone::UTC;
        Self { now, previous, window, warm_up, zone: ZONE }
    }

    /// Where in the day, and in the week, a second is.
    fn place(&self, second: i64) -> Place {
        let offset = |time| i64::from(self.zone.to_offset(time).seconds());
        Place::of((second + Time::from_second(second).map_or(0, offset)) as f64)
    }

    fn tick(&self) -> i64 {
        (self.now - self.previous).max(0)
    }
}

/// The pasts at one tick.
#[derive(Debug)]
pub struct Tick<'a> {
    signals: &'a mut BTreeMap<Text, OfSignal>,
    dropped: &'a mut u64,
    at: Circumstances<'a>,
    /// How many series have a past.
    held: usize,
    /// How many were not judged, for a disruption explains them.
    explained: u64,
    /// How many were judged that were not quiet.
    tests: [u64; FAMILIES],
}

impl Baselines {
    /// Begins a tick: signals that were not judged for longer than a past lasts are forgotten.
    pub fn tick<'a>(&'a mut self, at: Circumstances<'a>) -> Tick<'a> {
        let (now, window) = (at.now.as_second(), seconds(at.settings.window));
        self.signals.retain(|_, s| s.at.is_none_or(|last| now - last <= window));
        let held = self.len();
        let (signals, dropped) = (&mut self.signals, &mut self.dropped);
        Tick { signals, dropped, at, held, explained: 0, tests: [0; FAMILIES] }
    }

    /// Whether it was told what had lasted before anybody watched.
    #[must_use]
    pub fn remembers(&self) -> bool {
        self.remembers
    }

    /// Takes over durations from before anybody watched, once: what is to come is judged against them.
    pub fn remember(&mut self, lasted: Vec<Lasted>) {
        self.remembers = true;
        let mut all = BTreeMap::<_, (&Signal, Vec<(i64, f64)>)>::new();
        for Lasted { signal, labels, ended, seconds } in lasted {
            let of = all.entry((signal.name, labels)).or_insert_with(|| (signal, Vec::new()));
            of.1.push((ended.as_second(), seconds));
        }
        for ((name, labels), (signal, lasted)) in all {
            let Read::Histogram(bounds) = signal.read else { continue };
            let before = Before::new(&lasted, bounds);
            let of_signal = self.signals.entry(name.into()).or_default();
            let known = of_signal.series.iter_mut().find(|series| series.labels == labels);
            if let Some(Series { past: Past::Durations(held), .. }) = known {
                held.remember(&before);
            } else {
                of_signal.before.insert(labels, before);
            }
        }
    }

    /// How many series have a past.
    #[must_use]
    pub fn len(&self) -> usize {
        self.signals.values().map(|s| s.series.len()).sum()
    }

    /// In how many seconds the series of a signal are full that fill up, by a careful reading of their pace.
    pub fn full_in(&self, signal: &Signal) -> impl Iterator<Item = (&Labels, f64)> {
        let series = self.signals.get(signal.name).map_or(&[][..], |of| &of.series);
        let here = series.iter().filter(|s| s.absent_since.is_none());
        here.filter_map(|series| match &series.past {
            Past::Filling(both) => Some((&series.labels, both.1.full_in()?)),
            _ => None,
        })
    }

    /// How many series have a past that is long enough to be judged by.
    #[must_use]
    pub fn mature(&self, now: Time, settings: &BaselineSettings) -> usize {
        let latest = now.as_second() - seconds(settings.warm_up).min(seconds(settings.window));
        let series = self.signals.values().flat_map(|of| &of.series);
        series.filter(|s| s.past.since().is_some_and(|since| since <= latest)).count()
    }

    /// Whether no series has a past.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many times a series was not judged because the limit was reached.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl Tick<'_> {
    /// How many series were not judged until now because a disruption explains them.
    #[must_use]
    pub fn explained(&self) -> u64 {
        self.explained
    }

    /// How many series were judged until now that were not quiet, by family.
    #[must_use]
    pub fn tests(&self) -> [u64; FAMILIES] {
        self.tests
    }

    /// Judges the series of a signal, which come in the order of their labels, then learns them.
    ///
    /// An expectation comes back for what is surprising (p < 0.05), for each series that is `watched` (in an open
    /// anomaly), for a series without labels, for it is about the whole cluster, and for every one where all bands are
    /// asked for.
    pub fn judge(
        &mut self,
        signal: &Signal,
        series: &report::Series,
        watched: impl Fn(&SeriesKey) -> bool,
    ) -> Vec<(SeriesKey, Expectation)> {
        match series {
            report::Series::Absent { .. } => Vec::new(),
            report::Series::Values(readings) => {
                let finite = readings.iter().filter(|r| r.value.is_finite());
                let seen = |r: &Reading| Seen::Value(r.value, r.population);
                self.judge_all(signal, finite.map(|r| (&r.labels, seen(r))), watched)
            }
            report::Series::Histograms(all) => {
                let seen = all.iter().map(|(labels, held)| (labels, Seen::Durations(held)));
                self.judge_all(signal, seen, watched)
            }
        }
    }

    fn judge_all<'a>(
        &mut self,
        signal: &Signal,
        all: impl Iterator<Item = (&'a Labels, Seen<'a>)>,
        watched: impl Fn(&SeriesKey) -> bool,
    ) -> Vec<(SeriesKey, Expectation)> {
        let (at, now) = (self.at, self.at.now.as_second());
        let (window, limit) = (seconds(at.settings.window), at.limit);
        let name = Text::from(signal.name);
        let of_signal = self.signals.entry(name.clone()).or_default();
        let previous = of_signal.at.replace(now).unwrap_or(now);
        let warm_up = seconds(at.settings.warm_up).min(window);
        let at = Judge {
            signal,
            name,
            moment: Moment { now, previous, window, warm_up, zone: &at.settings.time_zone },
            disruptions: at.disruptions.of(signal),
            explained: Cell::new(0),
            tests: Cell::new(0),
            clusters: Cell::new(of_signal.clusters),
            before: std::mem::take(&mut of_signal.before),
            settled: at.settled,
            all: at.settings.bands == Bands::All,
            watched,
            // What was left out has had a past that nobody saw.
            born_at_zero: (at.settled && !of_signal.full).then_some(at.watching_since.as_second()),
        };
        let (mut found, mut born, mut left_out) = (Vec::new(), Vec::new(), 0);
        let mut known = of_signal.series.iter_mut().peekable();
        for (labels, seen) in all {
            let same = |series: &&mut Series| series.labels == *labels;
            while let Some(series) = known.next_if(|s| !same(s) && s.labels < *labels) {
                found.extend(at.absent(series));
            }
            if let Some(series) = known.next_if(same) {
                found.extend(at.present(series, seen));
            } else if self.held >= limit {
                left_out += 1;
            } else if let Some(mut series) = at.born(labels, seen) {
                self.held += 1;
                found.extend(at.present(&mut series, seen));
                born.push(series);
            }
        }
        found.extend(known.filter_map(|series| at.absent(series)));
        let before = of_signal.series.len() + born.len();
        let gone = |s: &Series| s.absent_since.is_some_and(|since| now - since >= window);
        of_signal.series.retain(|s| !gone(s));
        if !born.is_empty() {
            of_signal.series.append(&mut born);
            of_signal.series.sort_by(|a, b| a.labels.cmp(&b.labels));
            of_signal.series.dedup_by(|b, a| a.labels == b.labels);
        }
        self.held -= before - of_signal.series.len();
        of_signal.full = left_out > 0;
        of_signal.clusters = at.clusters.get();
        of_signal.before = at.before;
        self.explained += at.explained.get();
        if let Some(family) = signal.profile.family() {
            self.tests[family as usize] += at.tests.get();
        }
        of_signal.clusters.learn();
        *self.dropped += left_out;
        found
    }
}

/// Judges the series of one signal at one tick.
struct Judge<'a, W> {
    signal: &'a Signal,
    name: Text,
    moment: Moment<'a>,
    disruptions: disruption::OfSignal<'a>,
    explained: Cell<u64>,
    tests: Cell<u64>,
    clusters: Cell<Clusters>,
    before: BTreeMap<Labels, Before>,
    settled: bool,
    /// Whether an expectation is wanted of each.
    all: bool,
    watched: W,
    /// Since when a count that appears has stood at zero; `None`: it stood where it is.
    born_at_zero: Option<i64>,
}

impl<W: Fn(&SeriesKey) -> bool> Judge<'_, W> {
    /// A series that has not been seen before; `None` where it is not to be judged.
    fn born(&self, labels: &Labels, seen: Seen<'_>) -> Option<Series> {
        let now = self.moment.now;
        let past = match (self.signal.profile, seen) {
            (Profile::Level { .. }, Seen::Value(..)) => {
                Past::Level(Box::new(Level::new(phase(labels))))
            }
            (Profile::Filling { .. }, Seen::Value(..)) => {
                Past::Filling(Box::new((Level::new(phase(labels)), Growth::new(now))))
            }
            (Profile::Rate | Profile::Flood { .. }, Seen::Value(value, _)) => {
                let (total, since) = self.born_at_zero.map_or((value, now), |since| (0.0, since));
                Past::Standing { total, since }
            }
            (Profile::Durations, Seen::Durations(held)) => {
                let mut durations = Durations::new(held, self.born_at_zero, now);
                if let Some(before) = self.before.get(labels) {
                    durations.remember(before);
                }
                Past::Durations(Box::new(durations))
            }
            _ => return None,
        };
        Some(Series { labels: labels.clone(), past, absent_since: None })
    }

    fn present(&self, series: &mut Series, seen: Seen<'_>) -> Option<(SeriesKey, Expectation)> {
        series.absent_since = None;
        if !series.past.fits(self.signal.profile) {
            // Another version declared the signal otherwise: its past is of no use.
            *series = self.born(&series.labels, seen)?;
        }
        self.judge(series, seen)
    }

    /// No series is no object in that state, and no further event; of other values it says nothing.
    fn absent(&self, series: &mut Series) -> Option<(SeriesKey, Expectation)> {
        series.absent_since.get_or_insert(self.moment.now);
        let seen = series.past.unseen(self.signal.unit)?;
        self.judge(series, seen)
    }

    fn judge(&self, series: &mut Series, seen: Seen<'_>) -> Option<(SeriesKey, Expectation)> {
        let wanted = self.all || series.labels.is_empty();
        let (suspect, quiet) = (series.past.is_suspect(), series.past.is_quiet(seen));
        if quiet && !wanted {
            return None;
        }
        let key = || SeriesKey { signal: self.name.clone(), labels: series.labels.clone() };
        let open = suspect && (self.watched)(&key());
        let wanted = open || wanted;
        let explained = self.disruptions.explain(&series.labels);
        self.explained.set(self.explained.get() + u64::from(explained));
        let settled = self.settled && !explained;
        self.tests.set(self.tests.get() + u64::from(settled && !quiet));
        series.past.wake(|| phase(&series.labels));
        let expectation = self.step(&mut series.past, seen, settled, (open, wanted));
        series.past.rest();
        let expectation = expectation?;
        (wanted || expectation.p_value < TOLD).then(|| (key(), expectation))
    }

    fn step(
        &self,
        past: &mut Past,
        seen: Seen<'_>,
        settled: bool,
        (open, wanted): (bool, bool),
    ) -> Option<Expectation> {
        let (at, profile) = (&self.moment, self.signal.profile);
        let sample = |value, population| {
            let (bad, floor) = profile.level()?;
            Some(Sample { value, population, bad, floor, wanted })
        };
        match (past, seen) {
            (Past::Level(level), Seen::Value(value, population)) => {
                level.step(sample(value, population)?, at, settled, open)
            }
            (Past::Filling(both), Seen::Value(value, population)) => {
                let (level, growth) = &mut **both;
                let level = level.step(sample(value, population)?, at, settled, open);
                let growth = growth.step(value, at, open);
                rarest(level, growth.map(|g| Expectation { mature: g.mature && settled, ..g }))
            }
            (Past::Rate(rate), Seen::Value(value, _)) => {
                let mut clusters = self.clusters.get();
                let judged = rate.step(value, at, settled, (open, wanted), &mut clusters);
                self.clusters.set(clusters);
                let judged = judged?;
                let small =
                    matches!(profile, Profile::Flood { least } if !is_flood(&judged, least));
                Some(if small { Expectation { p_value: 1.0, ..judged } } else { judged })
            }
            (Past::Durations(held), seen) => {
                let Read::Histogram(bounds) = self.signal.read else { return None };
                let seen = match seen {
                    Seen::Durations(seen) => Some(seen),
                    _ => None,
                };
                held.step(seen, bounds, at, (settled, open, wanted))
            }
            _ => None,
        }
    }
}

/// The more surprising of two judgements of the same value, which is twice as likely to be so (Bonferroni).
fn rarest(a: Option<Expectation>, b: Option<Expectation>) -> Option<Expectation> {
    let (a, b) = match (a, b) {
        (Some(a), Some(b)) => (a, b),
        (one, other) => {
            return one.or(other).map(|e| Expectation { p_value: (2.0 * e.p_value).min(1.0), ..e });
        }
    };
    let rarer = if b.p_value < a.p_value { b } else { a };
    Some(Expectation { p_value: (2.0 * rarer.p_value).min(1.0), ..rarer })
}

/// Whether an increase is at least so much in ten minutes.
fn is_flood(judged: &Expectation, least: f64) -> bool {
    let window = judged.window.map_or(TEN_MINUTES, |window| window.as_secs_f64());
    judged.observed * TEN_MINUTES >= least * window
}

/// Different for different series, the same for the same one: FNV-1a over 32 bits.
fn phase(labels: &Labels) -> u32 {
    let bytes = labels.iter().flat_map(|value| value.bytes().chain([0xff]));
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX / 2)
}

#[cfg(test)]
mod tests;
