//! Readings → expectations. What would have been normal, and how surprising is what was seen?
//!
//! Each series has a past of its own, judged before it learns: what is expected of a tick depends on earlier ticks
//! alone. A series that stays as it is costs a comparison.

pub mod gauge;
mod level;
mod rate;
mod tails;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::BaselineSettings;
use crate::model::expectation::Expectation;
use crate::model::reading::{Labels, Reading, SeriesKey};
use crate::model::record::Time;
use crate::model::signal::{Profile, Signal, Unit};
use crate::model::text::Text;

use level::{Level, Sample};
use rate::Rate;

/// What is no rarer than this is not worth telling.
const TOLD: f64 = 0.05;

/// In seconds.
const TEN_MINUTES: f64 = 600.0;

/// The pasts of all judged series.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Baselines {
    signals: BTreeMap<Text, OfSignal>,
    dropped: u64,
}

/// The pasts of a signal's series.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct OfSignal {
    /// When the signal was last judged, in seconds since the epoch.
    at: Option<i64>,
    /// In the order of their labels, as readings are.
    series: Vec<Series>,
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

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Past {
    Level(Level),
    Rate(Rate),
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
    /// How the past is kept.
    pub settings: &'a BaselineSettings,
    /// How many series may have a past.
    pub limit: usize,
}

/// A tick in whole seconds, as the pasts see it.
#[derive(Clone, Copy, Debug)]
struct Moment {
    now: i64,
    /// The tick before.
    previous: i64,
    window: i64,
    /// Never longer than the window: no past is.
    warm_up: i64,
}

impl Moment {
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
}

impl Baselines {
    /// Begins a tick: signals that were not judged for longer than a past lasts are forgotten.
    pub fn tick<'a>(&'a mut self, at: Circumstances<'a>) -> Tick<'a> {
        let (now, window) = (at.now.as_second(), seconds(at.settings.window));
        self.signals.retain(|_, s| s.at.is_none_or(|last| now - last <= window));
        let held = self.len();
        Tick { signals: &mut self.signals, dropped: &mut self.dropped, at, held }
    }

    /// How many series have a past.
    #[must_use]
    pub fn len(&self) -> usize {
        self.signals.values().map(|s| s.series.len()).sum()
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
    /// Judges the readings of a signal, which come in the order of their labels, then learns them.
    ///
    /// An expectation comes back for what is surprising (p < 0.05), for each series that is `watched` (in an open
    /// anomaly), and for a series without labels, for it is about the whole cluster.
    pub fn judge(
        &mut self,
        signal: &Signal,
        readings: &[Reading],
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
            moment: Moment { now, previous, window, warm_up },
            settled: at.settled,
            watched,
            // What was left out has had a past that nobody saw.
            born_at_zero: (at.settled && !of_signal.full).then_some(at.watching_since.as_second()),
        };
        let (mut found, mut born, mut left_out) = (Vec::new(), Vec::new(), 0);
        let mut known = of_signal.series.iter_mut().peekable();
        for reading in readings.iter().filter(|r| r.value.is_finite()) {
            let same = |series: &&mut Series| series.labels == reading.labels;
            while let Some(series) = known.next_if(|s| !same(s) && s.labels < reading.labels) {
                found.extend(at.absent(series));
            }
            if let Some(series) = known.next_if(same) {
                found.extend(at.present(series, reading));
            } else if self.held >= limit {
                left_out += 1;
            } else if let Some(mut series) = at.born(reading) {
                self.held += 1;
                found.extend(at.present(&mut series, reading));
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
        *self.dropped += left_out;
        found
    }
}

/// Judges the series of one signal at one tick.
struct Judge<'a, W> {
    signal: &'a Signal,
    name: Text,
    moment: Moment,
    settled: bool,
    watched: W,
    /// Since when a count that appears has stood at zero; `None`: it stood where it is.
    born_at_zero: Option<i64>,
}

impl<W: Fn(&SeriesKey) -> bool> Judge<'_, W> {
    /// A series that has not been seen before; `None` where it is not to be judged.
    fn born(&self, reading: &Reading) -> Option<Series> {
        let past = match (self.signal.profile, self.born_at_zero) {
            (Profile::None, _) => return None,
            (Profile::Level { .. }, _) => Past::Level(Level::new(phase(&reading.labels))),
            (Profile::Rate | Profile::Flood { .. }, Some(since)) => {
                Past::Rate(Rate::new(0.0, since))
            }
            (Profile::Rate | Profile::Flood { .. }, None) => {
                Past::Rate(Rate::new(reading.value, self.moment.now))
            }
        };
        Some(Series { labels: reading.labels.clone(), past, absent_since: None })
    }

    fn present(&self, series: &mut Series, reading: &Reading) -> Option<(SeriesKey, Expectation)> {
        series.absent_since = None;
        let level = matches!(self.signal.profile, Profile::Level { .. });
        if level != matches!(series.past, Past::Level(_)) {
            // Another version declared the signal otherwise: its past is of no use.
            *series = self.born(reading)?;
        }
        self.judge(series, reading.value, reading.population)
    }

    /// No series is no object in that state, and no further event; of other values it says nothing.
    fn absent(&self, series: &mut Series) -> Option<(SeriesKey, Expectation)> {
        series.absent_since.get_or_insert(self.moment.now);
        match &series.past {
            Past::Rate(rate) => {
                let total = rate.total();
                self.judge(series, total, None)
            }
            Past::Level(_) if self.signal.unit == Unit::Count => self.judge(series, 0.0, None),
            Past::Level(_) => None,
        }
    }

    fn judge(
        &self,
        series: &mut Series,
        value: f64,
        population: Option<u64>,
    ) -> Option<(SeriesKey, Expectation)> {
        let of_cluster = series.labels.is_empty();
        let (quiet, suspect) = match &series.past {
            Past::Level(level) => (level.is_quiet(value), level.is_suspect()),
            Past::Rate(rate) => (rate.is_quiet(value), rate.is_suspect()),
        };
        if quiet && !of_cluster {
            return None;
        }
        let key = || SeriesKey { signal: self.name.clone(), labels: series.labels.clone() };
        let open = suspect && (self.watched)(&key());
        let wanted = open || of_cluster;
        let (at, settled) = (&self.moment, self.settled);
        let expectation = match (&mut series.past, self.signal.profile) {
            (Past::Level(level), Profile::Level { bad, floor }) => {
                level.step(Sample { value, population, bad, floor, wanted }, at, settled, open)
            }
            (Past::Rate(rate), Profile::Rate) => rate.step(value, at, settled, open, wanted),
            (Past::Rate(rate), Profile::Flood { least }) => {
                let unsurprising = |e: Expectation| Expectation { p_value: 1.0, ..e };
                let judged = rate.step(value, at, settled, open, wanted);
                judged.map(|e| if is_flood(&e, least) { e } else { unsurprising(e) })
            }
            _ => None,
        }?;
        (wanted || expectation.p_value < TOLD).then(|| (key(), expectation))
    }
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
mod tests {
    use super::*;
    use crate::labels;
    use crate::model::layer::Layer;
    use crate::model::signal::{Direction, Read};

    const fn signal(labels: &'static [&'static str], profile: Profile, unit: Unit) -> Signal {
        Signal {
            block: "S0.0",
            name: "compute_test",
            layer: Layer::Compute,
            help: "A test.",
            unit,
            labels,
            reasons: &[],
            bound: "1",
            needs: &[],
            uses: &[],
            profile,
            read: Read::Counter,
        }
    }

    static COUNTER: Signal = signal(&["namespace"], Profile::Rate, Unit::Count);
    static BURSTS: Signal = signal(&["namespace"], Profile::Flood { least: 20.0 }, Unit::Count);
    static LEVEL: Profile = Profile::Level { bad: Direction::High, floor: 1.0 };
    static GAUGE: Signal = signal(&["namespace"], LEVEL, Unit::Count);
    static RATIO: Signal = signal(&["namespace"], LEVEL, Unit::Ratio);
    static CLUSTER: Signal = signal(&[], LEVEL, Unit::Count);

    const SETTINGS: BaselineSettings = BaselineSettings {
        warm_up: Duration::from_hours(1),
        window: Duration::from_hours(24),
        close_after: Duration::from_mins(10),
    };

    /// Judges at ticks of 15 seconds.
    struct Bench {
        signal: &'static Signal,
        baselines: Baselines,
        tick: i64,
        settled: bool,
        limit: usize,
    }

    impl Bench {
        fn new(signal: &'static Signal) -> Self {
            Self { signal, baselines: Baselines::default(), tick: 0, settled: true, limit: 100 }
        }

        fn tick(&mut self, values: &[(&str, f64)]) -> Vec<(String, Expectation)> {
            let cluster = self.signal.labels.is_empty();
            let labels = |of: &str| if cluster { labels![] } else { labels![of] };
            let readings = values.iter().map(|(of, value)| Reading {
                labels: labels(of),
                value: *value,
                population: None,
            });
            let readings: Vec<Reading> = readings.collect();
            let at = Circumstances {
                now: Time::from_second(1_000_000 + self.tick * 15).unwrap(),
                watching_since: Time::from_second(1_000_000).unwrap(),
                settled: self.settled,
                settings: &SETTINGS,
                limit: self.limit,
            };
            self.tick += 1;
            let found = self.baselines.tick(at).judge(self.signal, &readings, |_| false);
            let name = |key: SeriesKey| key.labels.iter().collect::<Vec<_>>().join(",");
            found.into_iter().map(|(key, e)| (name(key), e)).collect()
        }

        fn ticks(&mut self, n: usize, values: &[(&str, f64)]) {
            for _ in 0..n {
                self.tick(values);
            }
        }
    }

    #[test]
    fn a_count_that_appears_has_stood_at_zero_since_the_cluster_is_watched() {
        let mut bench = Bench::new(&COUNTER);
        bench.ticks(500, &[]);
        let found = bench.tick(&[("shop", 8.0)]);
        assert_eq!(found.len(), 1);
        assert!(found[0].1.p_value < 1e-9 && found[0].1.mature, "{found:?}");
    }

    #[test]
    fn a_burst_surprises_when_it_is_a_flood() {
        let mut bench = Bench::new(&BURSTS);
        bench.ticks(500, &[]);
        assert_eq!(bench.tick(&[("shop", 19.0)]), []);
        assert_eq!(bench.tick(&[("shop", 19.0), ("web", 20.0)])[0].0, "web");
    }

    #[test]
    fn what_comes_while_numbers_are_unsettled_is_not_judged() {
        let mut bench = Bench::new(&COUNTER);
        bench.ticks(500, &[("old", 3.0)]);
        bench.settled = false;
        assert_eq!(bench.tick(&[("new", 90.0), ("old", 900.0)]), []);
        bench.settled = true;
        assert_eq!(bench.tick(&[("new", 90.0), ("old", 900.0)]), []);
        assert_eq!(bench.tick(&[("new", 90.0), ("old", 908.0)])[0].0, "old");
    }

    #[test]
    fn an_absent_count_of_objects_is_zero_and_an_absent_share_says_nothing() {
        for (signal, expected) in [(&GAUGE, 1), (&RATIO, 0)] {
            let mut bench = Bench::new(signal);
            bench.ticks(500, &[("shop", 0.5)]);
            bench.ticks(1000, &[]);
            // Had it learned zeros, a half would be as far from the median as it is from nothing.
            let past = bench.baselines.signals.values().next().unwrap().series[0].past.clone();
            let Past::Level(level) = past else { panic!("no level") };
            let quiet_at_half = level.is_quiet(0.5);
            assert_eq!(usize::from(!quiet_at_half), expected, "{:?}", signal.unit);
        }
    }

    #[test]
    fn a_series_is_forgotten_after_the_window_and_its_signal_too() {
        let mut bench = Bench::new(&RATIO);
        bench.ticks(10, &[("shop", 0.5), ("web", 0.5)]);
        bench.ticks(5_759, &[("web", 0.5)]);
        assert_eq!(bench.baselines.len(), 2);
        bench.ticks(2, &[("web", 0.5)]);
        assert_eq!(bench.baselines.len(), 1);
        bench.signal = &COUNTER;
        bench.tick += 5_800;
        bench.tick(&[]);
        assert!(bench.baselines.is_empty());
    }

    #[test]
    fn a_limit_that_is_reached_is_counted_and_room_is_used_later_without_alarm() {
        let mut bench = Bench::new(&COUNTER);
        bench.limit = 2;
        bench.ticks(500, &[("a", 0.0), ("b", 0.0), ("c", 50.0)]);
        assert_eq!((bench.baselines.len(), bench.baselines.dropped()), (2, 500));
        bench.limit = 3;
        assert_eq!(bench.tick(&[("a", 0.0), ("b", 0.0), ("c", 50.0)]), []);
        assert_eq!((bench.baselines.len(), bench.baselines.dropped()), (3, 500));
    }

    #[test]
    fn a_series_of_the_cluster_always_has_a_band() {
        let mut bench = Bench::new(&CLUSTER);
        bench.ticks(500, &[("", 2.0)]);
        let found = bench.tick(&[("", 2.0)]);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].1.expected, found[0].1.upper), (2.0, 6.0));
    }

    #[test]
    fn series_stay_in_the_order_of_their_labels() {
        let mut bench = Bench::new(&GAUGE);
        for values in [&[("c", 1.0)][..], &[("a", 1.0), ("d", 1.0)], &[("b", 1.0), ("c", 1.0)]] {
            bench.tick(values);
        }
        let series = &bench.baselines.signals.values().next().unwrap().series;
        let names: Vec<_> = series.iter().flat_map(|s| s.labels.iter()).collect();
        assert_eq!(names, ["a", "b", "c", "d"]);
        assert_eq!(bench.tick(&[("b", f64::NAN), ("c", f64::INFINITY)]), []);
    }
}
