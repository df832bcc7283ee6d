//! What is normal for a level (a gauge or a ratio)? The median of its past at this hour, and the spread around it.
//!
//! The past is a staircase, of which each value counts for as long as it held. Where the hour of the day predicts the
//! level ([`Profile`]), the median and the spread are those of what is left when the hour's usual deviation is taken off.
//!
//! It is wrong for trends (it lags), and for seasons other than that of the day, at weekends and on weekdays.

use serde::{Deserialize, Serialize};

use super::season::Profile;
use super::staircase::{Held, Staircase, shown};
use super::tails::{share_lower, share_upper, student_upper};
use super::{Moment, NEARLY_A_DAY, TOLD};
use crate::model::expectation::Expectation;
use crate::model::signal::Direction;

/// Half the width of the band, in scales.
const BAND: f64 = 4.0;

/// Closer than this to the median no tail of ours is below [`TOLD`], so it need not be computed.
const NEAR: f64 = 1.6;

/// Seconds of the past that are worth one independent look: values closer in time repeat each other.
const LOOK: f64 = 360.0;

/// Seconds after which an object counts anew for how large its population's share of misses is.
const OBJECT_LOOK: f64 = 3600.0;

/// Above this population chance plays no part: 1 in 1,000 is the standard error of one half.
const LARGE_POPULATION: u64 = 250_000;

/// A level that has so many steps is restless enough to have a season.
const RESTLESS: usize = 8;

/// A season whose mean deviation is a smaller part of the least spread that matters is none.
const SEASON_MATTERS: f64 = 0.25;

/// The longest stretch that is compared with one value of a season, in seconds.
const PIECE: i64 = 3_600;

/// The past of a level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Level {
    steps: Staircase,
    season: Option<Box<Profile>>,
    /// Since when the past stands still, because an anomaly is open.
    stopped: Option<i64>,
    /// Whether the open anomaly has become the new normal.
    adopted: bool,
    /// Whether the last value was surprising.
    restless: bool,
    summary: Option<Summary>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Summary {
    at: i64,
    median: f64,
    spread: f64,
    /// Whether the season was taken off.
    seasonal: bool,
}

/// One value to judge.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) value: f64,
    pub(super) population: Option<u64>,
    pub(super) bad: Direction,
    pub(super) floor: f64,
    /// Whether an expectation is wanted even if the value is not surprising.
    pub(super) wanted: bool,
}

impl Level {
    /// A series without a past, sampled with this phase.
    pub(super) fn new(phase: u32) -> Self {
        Self {
            steps: Staircase::new(phase),
            season: None,
            stopped: None,
            adopted: false,
            restless: false,
            summary: None,
        }
    }

    /// A series that has had this value since then.
    pub(super) fn constant(value: f64, since: i64, phase: u32) -> Self {
        Self { steps: Staircase::of(value, since, phase), ..Self::new(phase) }
    }

    /// The value that the series has always had, and since when, where there is nothing else to remember of it.
    pub(super) fn as_constant(&self) -> Option<(f64, i64)> {
        self.steps.only().filter(|_| !self.is_suspect())
    }

    /// Since when it is known.
    pub(super) fn begin(&self) -> Option<i64> {
        self.steps.begin()
    }

    /// Whether an anomaly may be open.
    pub(super) fn is_suspect(&self) -> bool {
        self.restless || self.stopped.is_some() || self.adopted
    }

    /// Judges a value, then learns it. Where an anomaly is `open` the past stands still, until the anomaly has lasted
    /// as long as the window: then what is now is the new normal, and the past begins anew.
    pub(super) fn step(
        &mut self,
        sample: Sample,
        at: &Moment,
        settled: bool,
        open: bool,
    ) -> Option<Expectation> {
        self.stop_or_resume(at, open);
        let mut expectation = self.judge(&sample, at);
        self.restless = expectation.as_ref().is_some_and(|e| e.p_value < TOLD);
        if !settled {
            // Numbers that may jump for reasons of ours are neither learned nor held against anybody.
            if let Some(expectation) = &mut expectation {
                expectation.mature = false;
            }
        } else if self.stopped.is_none() {
            let band = expectation.as_ref().filter(|e| e.mature).map(|e| (e.lower, e.upper));
            self.learn(band.map_or(sample.value, |(l, u)| sample.value.clamp(l, u)), at);
        }
        expectation
    }

    /// Judges a value against the past; `None` where there is none, or where the value is near and not `wanted`.
    fn judge(&mut self, sample: &Sample, at: &Moment) -> Option<Expectation> {
        let clock = self.clock(at.now);
        let Summary { median: level, spread, seasonal, .. } =
            self.summarize(clock, at, sample.floor)?;
        let season = self.season.as_ref().filter(|_| seasonal);
        let median = season.map_or(level, |season| shown(level + season.at(at.place(at.now))));
        let history = clock - self.first(clock, at.window)?;
        let scale = spread.max(sample.floor).max(0.01 * median.abs()).max(1e-9);
        let z = (sample.value - median) / scale;
        if z.abs() < NEAR && !sample.wanted {
            return None;
        }
        let looks = (history as f64 / LOOK).clamp(5.0, 30.0);
        let mut p_value = match sample.bad {
            Direction::High => student_upper(z, looks),
            Direction::Low => student_upper(-z, looks),
            Direction::Both => 2.0 * student_upper(z.abs(), looks),
        };
        let mut half = BAND * scale;
        if let Some(n) = sample.population.filter(|n| (1..=LARGE_POPULATION).contains(n)) {
            let share = normal_share(median, n, history);
            p_value = p_value.max(chance(sample, n, share));
            half = half.max(BAND * (share * (1.0 - share) / n as f64).sqrt());
        }
        let (mut lower, mut upper) = (median - half, median + half);
        if sample.population.is_some() {
            // More than the whole can be requested, so a ratio may exceed 1.
            (lower, upper) = (lower.max(0.0).min(median), upper.min(median.max(1.0)));
        }
        Some(Expectation {
            observed: sample.value,
            expected: median,
            lower,
            upper,
            p_value: p_value.min(1.0),
            tail: 1.0,
            samples: (history / self.steps.stride().max(at.tick()).max(1)) as u64,
            history: jiff::SignedDuration::from_secs(history),
            window: None,
            runs_out: None,
            mature: history >= at.warm_up,
            baseline: if season.is_some() { "median_mad_seasonal" } else { "median_mad" },
        })
    }

    fn learn(&mut self, value: f64, at: &Moment) {
        self.steps.learn(value, at);
        let Some(Summary { median, .. }) = self.summary else { return };
        // The median of less than a day is that of some hours.
        let whole = self.steps.begin().is_some_and(|begin| at.now - begin >= NEARLY_A_DAY);
        if whole && (self.steps.len() >= RESTLESS || self.season.is_some()) {
            let season = self.season.get_or_insert_with(|| Box::new(Profile::new()));
            season.learn(at.place(at.now), value - median);
        }
    }

    /// The time of the past: it stands still while an anomaly is open.
    fn clock(&self, now: i64) -> i64 {
        self.stopped.unwrap_or(now)
    }

    fn first(&self, clock: i64, window: i64) -> Option<i64> {
        self.steps.begin().map(|begin| begin.clamp(clock - window, clock))
    }

    fn stop_or_resume(&mut self, at: &Moment, open: bool) {
        if !open {
            self.adopted = false;
            self.resume(at);
        } else if !self.adopted {
            let since = *self.stopped.get_or_insert(at.now);
            if at.now - since >= at.window {
                *self = Self { adopted: true, ..Self::new(self.steps.phase()) };
            }
        }
    }

    fn resume(&mut self, at: &Moment) {
        let Some(since) = self.stopped.take() else { return };
        let season = self.season.as_ref();
        let usual = |second: i64| season.map_or(0.0, |s| s.at(at.place(second)));
        self.steps.shift(at.now - since, |from, to| usual(to) - usual(from));
        if let Some(summary) = &mut self.summary {
            summary.at += at.now - since;
        }
    }

    /// Median and spread, computed anew once the past has grown by a thirty-second part.
    fn summarize(&mut self, clock: i64, at: &Moment, floor: f64) -> Option<Summary> {
        let history = clock - self.first(clock, at.window)?;
        let least = SEASON_MATTERS * floor;
        let season = self.season.as_deref().filter(|season| season.is_used(least));
        let fresh = |s: &Summary| {
            clock - s.at < self.steps.stride().max(history / 32) && s.seasonal == season.is_some()
        };
        if !self.summary.as_ref().is_some_and(fresh) {
            let usual = |second| season.map_or(0.0, |season| season.at(at.place(second)));
            let usual: Option<&dyn Fn(i64) -> f64> = season.map(|_| &usual as _);
            self.summary = summary(self.steps.held(clock, at.window), clock, usual);
        }
        self.summary
    }
}

/// The median, and the larger of two spreads that are both the standard deviation of normal noise: 1.4826 · MAD
/// (Rousseeuw & Croux, JASA 88, 1993), which withstands half the values being wild, and the 95th percentile of the
/// distance from the median over 1.96, which sees a series that is mostly constant and at times is not.
fn summary(
    held: impl Iterator<Item = Held>,
    clock: i64,
    usual: Option<&dyn Fn(i64) -> f64>,
) -> Option<Summary> {
    let mut values: Vec<(f64, i64)> = Vec::new();
    for Held { mut from, until, value } in held {
        let Some(usual) = usual else {
            values.push((value, until - from));
            continue;
        };
        while from < until {
            let end = until.min(from + PIECE);
            values.push((value - usual(i64::midpoint(from, end)), end - from));
            from = end;
        }
    }
    let median = quantile(&mut values, 0.5)?;
    for (value, _) in &mut values {
        *value = (*value - median).abs();
    }
    let mad = 1.4826 * quantile(&mut values, 0.5)?;
    let tail = quantile(&mut values, 0.95)? / 1.96;
    let seasonal = usual.is_some();
    Some(Summary { at: clock, median: shown(median), spread: mad.max(tail), seasonal })
}

fn quantile(values: &mut [(f64, i64)], q: f64) -> Option<f64> {
    values.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let total: i64 = values.iter().map(|(_, weight)| weight).sum();
    let mut seen = 0;
    let reached = values.iter().find(|(_, weight)| {
        seen += weight;
        seen as f64 >= q * total as f64
    });
    reached.map(|(value, _)| *value)
}

/// The chance with which one object is counted in a ratio, were all as before. The median is shrunk towards one half
/// by one look (Jeffreys' prior), as a share of 0 or 1 would call any miss a miracle; each object is looked at once in
/// [`OBJECT_LOOK`], for objects stay as they are for long.
fn normal_share(median: f64, n: u64, history: i64) -> f64 {
    let looks = n as f64 * (history as f64 / OBJECT_LOOK).max(1.0);
    (median.clamp(0.0, 1.0) * looks + 0.5) / (looks + 1.0)
}

/// How likely chance alone makes so much of a population so.
fn chance(sample: &Sample, n: u64, share: f64) -> f64 {
    let k = (sample.value.clamp(0.0, 1.0) * n as f64).round() as u64;
    match sample.bad {
        Direction::High => share_upper(k, n, share),
        Direction::Low => share_lower(k, n, share),
        Direction::Both => 2.0 * share_upper(k, n, share).min(share_lower(k, n, share)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::staircase::KEPT;
    use super::*;

    const DAY: i64 = 86_400;

    fn at(tick: i64) -> Moment<'static> {
        Moment::of(tick * 15, (tick - 1) * 15, DAY, 3600)
    }

    fn sample(value: f64) -> Sample {
        Sample { value, population: None, bad: Direction::High, floor: 0.01, wanted: true }
    }

    /// A level that has seen these values at ticks 0, 1, 2...
    fn fed(values: impl IntoIterator<Item = f64>) -> (Level, i64) {
        let (mut level, mut tick) = (Level::new(77), 0);
        for value in values {
            level.step(sample(value), &at(tick), true, false);
            tick += 1;
        }
        (level, tick)
    }

    /// Between -1 and 1, without a pattern.
    fn noise(i: i64) -> f64 {
        let mixed = (i as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }

    #[test]
    fn a_constant_series_is_one_step_and_quiet() {
        let (level, _) = fed(std::iter::repeat_n(3.0, 10_000));
        assert_eq!(level.steps.len(), 1);
        assert_eq!(level.as_constant(), Some((3.0, 0)));
    }

    #[test]
    fn a_jump_after_days_of_one_value_is_judged_against_those_days() {
        let (mut level, _) = fed([3.0]);
        // A quiet series is not visited.
        let later = 3 * 5760;
        let first = level.step(sample(9.0), &at(later), true, false).unwrap();
        assert!(first.p_value < 1e-15 && first.mature, "{first:?}");
        assert_eq!((first.expected, first.history.as_hours()), (3.0, 24));
        let second = level.step(sample(9.0), &at(later + 1), true, false).unwrap();
        assert_eq!(second.expected, 3.0);
        assert!(second.p_value < 1e-15, "{second:?}");
    }

    #[test]
    fn a_step_is_surprising_and_noise_is_not() {
        let (mut level, tick) = fed((0..2000).map(|i| 10.0 + noise(i)));
        let calm = level.judge(&sample(10.9), &at(tick)).unwrap();
        assert!(calm.p_value > 0.01 && calm.mature, "{calm:?}");
        let jump = level.judge(&sample(20.0), &at(tick)).unwrap();
        assert!(jump.p_value < 1e-8 && jump.upper < 20.0, "{jump:?}");
    }

    #[test]
    fn only_the_bad_side_is_surprising() {
        let (mut level, tick) = fed((0..2000).map(|i| 10.0 + noise(i)));
        for (bad, low, high) in [
            (Direction::High, false, true),
            (Direction::Low, true, false),
            (Direction::Both, true, true),
        ] {
            for (value, surprising) in [(0.0, low), (20.0, high)] {
                let judged = level.judge(&Sample { bad, ..sample(value) }, &at(tick)).unwrap();
                assert_eq!(judged.p_value < 1e-6, surprising, "{bad:?} {value}");
            }
        }
    }

    #[test]
    fn memory_is_bounded_and_keeps_the_distribution() {
        let (mut level, tick) = fed((0..30_000).map(|i| 10.0 + noise(i)));
        assert!(level.steps.len() <= KEPT);
        let judged = level.judge(&sample(10.0), &at(tick)).unwrap();
        // Uniform noise: median 10, standard deviation by MAD 0.74.
        assert!((judged.expected - 10.0).abs() < 0.3, "{judged:?}");
        assert!((judged.upper - judged.expected - 4.0 * 0.74).abs() < 0.5, "{judged:?}");
        assert_eq!(judged.history.as_hours(), 24);
    }

    #[test]
    fn a_blip_weighs_as_long_as_it_lasted() {
        // 400 blips of a tick each, 17 minutes apart, so that steps are thinned.
        let values = (0..28_000).map(|i| if i % 70 == 69 { 50.0 } else { 1.0 });
        let (mut level, tick) = fed(values);
        assert!(level.steps.len() <= KEPT);
        let judged = level.judge(&sample(1.0), &at(tick)).unwrap();
        assert_eq!(judged.expected, 1.0);
        assert!(judged.upper < 1.1, "one value in seventy makes no band: {judged:?}");
    }

    #[test]
    fn a_series_that_is_off_for_a_tenth_of_the_time_is_expected_to_be() {
        let (mut level, tick) = fed((0..5760).map(|i| if i % 100 < 10 { 3.0 } else { 0.0 }));
        let judged = level.judge(&sample(3.0), &at(tick)).unwrap();
        assert!(judged.p_value > 0.01, "the median of the distance alone is 0: {judged:?}");
    }

    #[test]
    fn a_share_of_few_is_weaker_evidence_than_the_same_share_of_many() {
        let (mut level, tick) = fed(std::iter::repeat_n(0.0, 1000));
        let mut of = |n| {
            let sample = Sample { population: Some(n), ..sample(0.5) };
            level.judge(&sample, &at(tick)).unwrap().p_value
        };
        let (two, ten, thousand) = (of(2), of(10), of(1000));
        assert!(two > 1e-2 && ten < 1e-4 && thousand < 1e-9, "{two} {ten} {thousand}");
    }

    #[test]
    fn the_past_stands_still_in_an_anomaly_and_goes_on_after_it() {
        let (mut level, tick) = fed((0..2000).map(|i| 10.0 + noise(i)));
        let before = level.judge(&sample(10.0), &at(tick)).unwrap();
        for i in 0..2000 {
            let during = level.step(sample(90.0), &at(tick + i), true, true).unwrap();
            assert_eq!((during.expected, during.upper), (before.expected, before.upper));
        }
        let after = level.step(sample(10.0), &at(tick + 2000), true, false).unwrap();
        assert_eq!((after.expected, after.history), (before.expected, before.history));
    }

    #[test]
    fn an_anomaly_that_lasts_as_long_as_the_window_is_the_new_normal() {
        let (mut level, tick) = fed(std::iter::repeat_n(1.0, 1000));
        for i in 0..5760 {
            let told = level.step(sample(9.0), &at(tick + i), true, true).unwrap();
            assert!(told.p_value < 1e-9);
        }
        assert_eq!(level.step(sample(9.0), &at(tick + 5760), true, true), None);
        let young = level.step(sample(9.0), &at(tick + 5761), true, true).unwrap();
        assert!(young.p_value > 0.4 && !young.mature && young.expected == 9.0, "{young:?}");
        level.step(sample(9.0), &at(tick + 5762), true, false);
        assert_eq!(level.as_constant().map(|(value, _)| value), Some(9.0));
    }

    #[test]
    fn a_lasting_shift_that_opens_nothing_is_learned_within_the_window() {
        let (mut level, tick) = fed((0..5760).map(|i| 10.0 + noise(i)));
        let last = (0..5760)
            .filter_map(|i| level.step(sample(14.0 + noise(i)), &at(tick + i), true, false))
            .last();
        let last = last.unwrap();
        assert!(last.p_value > 0.01 && last.expected > 12.0, "{last:?}");
    }

    #[test]
    fn a_season_narrows_the_band() {
        let of_day = |tick: i64| {
            let part = (tick * 15 % DAY) as f64 / DAY as f64;
            15.0 + 10.0 * (part * std::f64::consts::TAU).cos()
        };
        let (mut level, tick) = fed((0..11 * 2880).map(|i| of_day(i) + noise(i)));
        let judged = level.judge(&sample(25.0), &at(tick)).unwrap();
        assert_eq!(judged.baseline, "median_mad_seasonal");
        assert!(judged.upper < 15.0 && judged.p_value < 1e-8, "{judged:?}");
    }

    #[test]
    fn unsettled_values_are_neither_learned_nor_held_against_the_series() {
        let (mut level, tick) = fed(std::iter::repeat_n(1.0, 1000));
        let past = level.steps.clone();
        let judged = level.step(sample(50.0), &at(tick), false, false).unwrap();
        assert!(!judged.mature);
        assert_eq!(level.steps, past);
    }

    proptest! {
        #[test]
        fn no_number_that_leaves_is_infinite_or_none(
            values in proptest::collection::vec(
                prop_oneof![-1e308..1e308_f64, -1.0..1.0_f64, Just(0.0), Just(f64::MAX)], 2..60),
            population in prop_oneof![Just(None), any::<u64>().prop_map(Some)],
            floor in 0.0..10.0_f64,
        ) {
            let mut level = Level::new(3);
            for (tick, value) in values.into_iter().enumerate() {
                for bad in [Direction::High, Direction::Low, Direction::Both] {
                    let sample = Sample { value, population, bad, floor, wanted: true };
                    let step = level.step(sample, &at(tick as i64 * 40), true, false);
                    let Some(e) = step else { continue };
                    prop_assert!((0.0..=1.0).contains(&e.p_value), "{:?}", e);
                    let all = [e.observed, e.expected, e.lower, e.upper];
                    prop_assert!(all.iter().all(|x| x.is_finite()), "{:?}", e);
                    prop_assert!(e.lower <= e.expected && e.expected <= e.upper, "{:?}", e);
                }
            }
        }
    }
}
