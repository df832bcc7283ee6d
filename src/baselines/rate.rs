//! What is normal for a count? As many in a window as the rate of its past predicts.
//!
//! With n events in t seconds and Jeffreys' prior the rate is Gamma(n + ½, t), and the count in w seconds is negative
//! binomial (Gelman et al., Bayesian Data Analysis, 3rd ed., §2.6). Events that come in clusters make its variance
//! larger by their dispersion: variance over mean of the past's counts, block by block (quasi-likelihood; McCullagh &
//! Nelder, Generalized Linear Models, 2nd ed., §6.2.3). Three windows are judged and the smallest p-value is tripled
//! (Bonferroni). The longest sees what rises slowly: it counts only what has come since the last hour of silence. What
//! has come to an end is judged by the shortest alone.
//!
//! It is wrong for rates with a season, and for the first cluster of events that come in clusters by nature.

use std::collections::VecDeque;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::clusters::Clusters;
use super::tails::count_upper;
use super::{Moment, TOLD};
use crate::model::expectation::Expectation;

/// The windows over which an increase is judged, in seconds.
const WINDOWS: [i64; 3] = [600, HOUR, LONG];
const HOUR: i64 = 3600;
const LONG: i64 = 6 * HOUR;

/// The last hour's increases are kept by the minute, those of the hours that the longest window adds by ten.
const SLOT: i64 = 60;
const WIDE: i64 = 600;

/// How many buckets hold the increases before that.
const BUCKETS: i64 = 144;

/// Fewer blocks than this say nothing about their variance. The longest window is judged from as many hours on.
const BLOCKS: i64 = 12;

/// No more than this share of windows is above the band.
const ABOVE_BAND: f64 = 1e-3;

/// The past of a count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Rate {
    total: f64,
    /// Since when increases are known.
    since: i64,
    /// Increases of the last hour that are not zero, by the begin of their slot.
    recent: VecDeque<(i64, u64)>,
    /// Those of the hours before that, up to the longest window.
    late: VecDeque<(i64, u64)>,
    /// Those before, by the begin of their bucket.
    past: VecDeque<(i64, u64)>,
    /// Since when the past stands still, because an anomaly is open.
    stopped: Option<i64>,
    /// Whether the open anomaly has become the new normal.
    adopted: bool,
    /// Whether the last judgement was surprising.
    restless: bool,
}

impl Rate {
    /// A count that is known to have stood at `total` since `since`.
    pub(super) fn new(total: f64, since: i64) -> Self {
        Self {
            total,
            since,
            recent: VecDeque::new(),
            late: VecDeque::new(),
            past: VecDeque::new(),
            stopped: None,
            adopted: false,
            restless: false,
        }
    }

    /// The total as it was last seen.
    pub(super) fn total(&self) -> f64 {
        self.total
    }

    /// Where it has stood, and since when, where no increase is remembered.
    pub(super) fn as_standing(&self) -> Option<(f64, i64)> {
        let empty = self.recent.is_empty() && self.late.is_empty() && self.past.is_empty();
        (empty && !self.is_suspect()).then_some((self.total, self.since))
    }

    /// Whether nothing has happened for as long as is judged, nor now.
    pub(super) fn is_quiet(&self, total: f64) -> bool {
        self.total == total && self.recent.is_empty() && self.late.is_empty() && !self.is_suspect()
    }

    /// Whether an anomaly may be open.
    pub(super) fn is_suspect(&self) -> bool {
        self.restless || self.stopped.is_some() || self.adopted
    }

    /// Takes a total in and judges what was added of late; `None` where there is no past, or where it is no more than
    /// expected and not `wanted`. Where an anomaly is `open` the past stands still, until the anomaly has lasted as
    /// long as the window: then what is now is the new normal, and the past begins anew. `clusters` is known of all series
    /// of the signal, and learns from this one.
    pub(super) fn step(
        &mut self,
        total: f64,
        at: &Moment,
        settled: bool,
        (open, wanted): (bool, bool),
        clusters: &mut Clusters,
    ) -> Option<Expectation> {
        self.stop_or_resume(at, open);
        // A total that fell was reset: its value is what was added since. One that jumps for reasons of ours is taken
        // as it is.
        let added = if total >= self.total { total - self.total } else { total };
        if settled && added >= 1.0 {
            self.add(at.now, added as u64);
        }
        self.total = total;
        self.age(at, clusters);
        let judge = |window| self.judge(window, at, wanted, clusters);
        let judged = WINDOWS.into_iter().filter_map(judge);
        let worst = judged.min_by(|a, b| a.p_value.total_cmp(&b.p_value));
        let expectation = worst.map(|worst| Expectation {
            p_value: (worst.p_value * WINDOWS.len() as f64).min(1.0),
            mature: worst.mature && settled,
            ..worst
        });
        self.restless = expectation.as_ref().is_some_and(|e| e.p_value < TOLD);
        expectation
    }

    fn add(&mut self, now: i64, added: u64) {
        let slot = now - now.rem_euclid(SLOT);
        match self.recent.back_mut() {
            Some((last, n)) if *last == slot => *n = n.saturating_add(added),
            _ => self.recent.push_back((slot, added)),
        }
    }

    /// Moves what is older than the last hour on, what is older than the longest window to the past, and forgets what is
    /// older than what is kept.
    fn age(&mut self, at: &Moment, clusters: &mut Clusters) {
        while let Some((slot, n)) = self.recent.pop_front_if(|s| s.0 < at.now - HOUR) {
            let silent = self.late.back().is_none_or(|(before, _)| slot - before > HOUR + WIDE);
            if silent && self.stopped.is_none() {
                let next = self.recent.front().filter(|next| next.0 == slot + SLOT);
                clusters.take(n.saturating_add(next.map_or(0, |(_, n)| *n)));
            }
            put(&mut self.late, (slot, n), WIDE);
        }
        let width = (at.window / BUCKETS).max(WINDOWS[0]);
        let learned = self.learned_until(at.now);
        while let Some((slot, n)) = self.late.pop_front_if(|s| s.0 < at.now - LONG) {
            if slot < learned {
                put(&mut self.past, (slot, n), width);
            }
        }
        let horizon = self.stopped.unwrap_or(at.now) - at.window;
        while self.past.pop_front_if(|bucket| bucket.0 < horizon).is_some() {}
        self.since = self.since.max(horizon);
    }

    /// Until when the past reaches: not into what an open anomaly is made of.
    fn learned_until(&self, now: i64) -> i64 {
        self.stopped.map_or(now, |stopped| stopped - WINDOWS[0])
    }

    /// Judges what the last `window` seconds added against the time before them.
    fn judge(
        &self,
        window: i64,
        at: &Moment,
        wanted: bool,
        clusters: &Clusters,
    ) -> Option<Expectation> {
        let begin = at.now - window;
        let end = begin.min(self.learned_until(at.now));
        let exposure = (end - self.since) as f64;
        let too_young = window == LONG && end - self.since < BLOCKS * HOUR;
        let over = window != WINDOWS[0] && !self.goes_on(at.now);
        if exposure <= 0.0 || too_young || over {
            return None;
        }
        let (observed, times) = match window {
            LONG => self.run(),
            _ => (sum(self.recent.iter().filter(|slot| slot.0 >= begin)), 0),
        };
        let n = sum(self.before(end));
        // The share of the past that the window is, and so the uncertainty of the rate.
        let ratio = window as f64 / exposure;
        let mean = (n as f64 + 0.5) * ratio;
        let least_variance = mean * (1.0 + ratio);
        // Within a standard deviation it is no surprise, and need not be weighed further.
        if (observed as f64) <= mean + least_variance.sqrt() && !wanted {
            return None;
        }
        let own = self.dispersion(window, end, at.window);
        let dispersion = clusters.dispersion(own, n);
        // Over hours clusters can be told apart, and how many there are is the stronger evidence.
        let (count, variance) = match window == LONG && dispersion > own {
            true => (times, own * least_variance),
            false => (observed, dispersion * least_variance),
        };
        let history = self.stopped.unwrap_or(at.now) - self.since;
        Some(Expectation {
            observed: observed as f64,
            expected: n as f64 * ratio,
            lower: 0.0,
            upper: upper(mean, own * least_variance),
            p_value: count_upper(count, mean, variance),
            tail: 1.0,
            samples: n,
            history: SignedDuration::from_secs(history),
            window: Some(SignedDuration::from_secs(window)),
            runs_out: None,
            mature: history >= at.warm_up,
            baseline: "gamma_poisson",
        })
    }

    /// Whether something came a moment ago, or within the hour where an anomaly is open.
    fn goes_on(&self, now: i64) -> bool {
        let within = if self.stopped.is_some() { HOUR } else { WINDOWS[0] };
        self.recent.back().is_some_and(|(slot, _)| now - *slot <= within)
    }

    /// What was added since it last was silent for an hour, and in how many ten minutes: what is over counts no more when
    /// something else begins.
    fn run(&self) -> (u64, u64) {
        let (mut sum, mut times, mut last, mut counted) = (0_u64, 0, None, None);
        for (slot, n) in self.late.iter().chain(&self.recent).rev() {
            if last.is_some_and(|last| last - *slot > HOUR) {
                break;
            }
            if counted.is_none_or(|counted| counted - *slot >= WIDE) {
                (times, counted) = (times + 1, Some(*slot));
            }
            (sum, last) = (sum.saturating_add(*n), Some(*slot));
        }
        (sum, times)
    }

    /// What was added before `end`.
    fn before(&self, end: i64) -> impl Iterator<Item = &(i64, u64)> {
        let of_late = self.late.iter().chain(&self.recent);
        self.past.iter().chain(of_late.filter(move |slot| slot.0 < end))
    }

    /// Variance over mean of the counts in blocks as long as the judged window; 1 for a Poisson count, and no less. Of the
    /// longest window there are few blocks: its hours are taken to rise and fall together.
    fn dispersion(&self, judged: i64, end: i64, window: i64) -> f64 {
        if judged == LONG {
            let hours = (LONG / HOUR) as f64;
            return 1.0 + hours * (self.dispersion(HOUR, end, window) - 1.0);
        }
        let length = judged.max(window / BUCKETS);
        let blocks = (end - self.since) / length;
        if blocks < BLOCKS {
            return 1.0;
        }
        let (mut total, mut squares) = (0.0, 0.0);
        let mut block = (0, 0.0);
        for (begin, n) in self.before(end) {
            let index = (begin - self.since) / length;
            if index != block.0 {
                squares += block.1 * block.1;
                block = (index, 0.0);
            }
            block.1 += *n as f64;
            total += *n as f64;
        }
        squares += block.1 * block.1;
        let mean = total / blocks as f64;
        let variance = (squares - total * mean) / (blocks - 1) as f64;
        if mean > 0.0 { (variance / mean).max(1.0) } else { 1.0 }
    }

    fn stop_or_resume(&mut self, at: &Moment, open: bool) {
        if !open {
            self.adopted = false;
            self.resume(at.now);
        } else if !self.adopted {
            let since = *self.stopped.get_or_insert(at.now);
            if at.now - since >= at.window {
                *self = Self { adopted: true, ..Self::new(self.total, at.now) };
            }
        }
    }

    fn resume(&mut self, now: i64) {
        let learned = self.learned_until(now);
        let Some(stopped) = self.stopped.take() else { return };
        self.since += now - stopped;
        // What the anomaly was made of is never learned.
        self.late.retain(|slot| slot.0 < learned);
        for bucket in self.past.iter_mut().chain(&mut self.late) {
            bucket.0 += now - stopped;
        }
    }
}

/// Adds an increase to the last bucket of this width, or begins another.
fn put(buckets: &mut VecDeque<(i64, u64)>, (slot, n): (i64, u64), width: i64) {
    match buckets.back_mut() {
        Some((begin, sum)) if slot - *begin < width => *sum = sum.saturating_add(n),
        _ => buckets.push_back((slot, n)),
    }
}

fn sum<'a>(increases: impl Iterator<Item = &'a (i64, u64)>) -> u64 {
    increases.fold(0, |sum, (_, n)| sum.saturating_add(*n))
}

/// The smallest count that at most [`ABOVE_BAND`] of the windows exceed.
fn upper(mean: f64, variance: f64) -> f64 {
    let within = |k: u64| count_upper(k.saturating_add(1), mean, variance) <= ABOVE_BAND;
    let (mut below, mut above) = (0, 1_u64);
    if within(0) {
        return 0.0;
    }
    while !within(above) && above < u64::MAX / 2 {
        (below, above) = (above, above * 2);
    }
    while above - below > 1 {
        let middle = below + (above - below) / 2;
        if within(middle) {
            above = middle;
        } else {
            below = middle;
        }
    }
    above as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 86_400;

    fn at(tick: i64) -> Moment {
        Moment::of(tick * 15, (tick - 1) * 15, DAY, 3600)
    }

    /// A count since tick 0, and its last judgement; `added` says what each tick adds.
    fn lived(ticks: i64, added: impl Fn(i64) -> u64) -> (Rate, Option<Expectation>) {
        let (mut rate, mut total, mut last) = (Rate::new(0.0, 0), 0, None);
        for tick in 1..=ticks {
            total += added(tick);
            last =
                rate.step(total as f64, &at(tick), true, (false, true), &mut Clusters::default());
        }
        (rate, last)
    }

    #[test]
    fn a_burst_out_of_silence_is_surprising() {
        let (mut rate, _) = lived(1440, |_| 0);
        assert_eq!(rate.as_standing(), Some((0.0, 0)));
        let judged =
            rate.step(8.0, &at(1441), true, (false, false), &mut Clusters::default()).unwrap();
        assert!(judged.p_value < 1e-9 && judged.mature, "{judged:?}");
        assert_eq!((judged.observed, judged.expected, judged.upper), (8.0, 0.0, 1.0));
        assert_eq!(judged.window, Some(SignedDuration::from_mins(10)));
    }

    #[test]
    fn one_event_is_no_surprise_to_speak_of() {
        let (_, judged) = lived(5760, |tick| u64::from(tick == 5760));
        assert!(judged.is_some_and(|e| e.p_value > 1e-3));
    }

    #[test]
    fn a_steady_rate_is_expected() {
        let (_, judged) = lived(1440, |tick| u64::from(tick % 20 == 0));
        let judged = judged.unwrap();
        assert!(judged.p_value > 0.3, "{judged:?}");
    }

    #[test]
    fn a_slow_leak_is_seen_in_the_long_window() {
        let (_, judged) = lived(5760, |tick| u64::from(tick > 5500 && tick % 40 == 0));
        let judged = judged.unwrap();
        assert_eq!(judged.window, Some(SignedDuration::from_hours(1)));
        assert!(judged.p_value < 1e-5, "{judged:?}");
    }

    #[test]
    fn what_rises_slowly_is_seen_over_hours_as_long_as_it_goes_on() {
        // Nothing for twenty hours, then once in forty minutes.
        let creeping = |tick: i64| u64::from(tick > 4800 && tick % 160 == 0);
        let (rate, judged) = lived(5920, creeping);
        let judged = judged.unwrap();
        assert_eq!(judged.window, Some(SignedDuration::from_hours(6)));
        assert!(judged.p_value < 1e-4, "{judged:?}");
        let after = |minutes: i64, open: bool| {
            let mut rate = rate.clone();
            let ticks = 5921..=5920 + 4 * minutes;
            let last = ticks
                .map(|t| {
                    rate.step(rate.total(), &at(t), true, (open, true), &mut Clusters::default())
                })
                .last();
            last.flatten().unwrap().p_value
        };
        assert!(after(9, false) < 1e-4 && after(12, false) > 0.1, "it may be over");
        assert!(
            after(55, true) < 1e-4 && after(62, true) > 1e-3,
            "what is told goes on for an hour"
        );
    }

    #[test]
    fn a_working_day_after_a_night_is_no_slow_rise() {
        // In the busy hours, of which there are eight a day, three times as many as else.
        let working = |tick: i64| {
            let busy = (tick / 240) % 24 >= 16;
            u64::from(tick % if busy { 40 } else { 120 } == 0)
        };
        let judged = (3600..11_520).step_by(60).map(|ticks| lived(ticks, working).1.unwrap());
        let least = judged.min_by(|a, b| a.p_value.total_cmp(&b.p_value)).unwrap();
        assert!(least.p_value > 1e-6, "{least:?}");
    }

    #[test]
    fn clusters_that_have_been_seen_make_a_cluster_less_surprising() {
        // As many events in a day: one every hour and a quarter, or nineteen in two clusters.
        let (_, even) = lived(5760, |t| u64::from(t % 303 == 0) + 8 * u64::from(t == 5760));
        let clustered = |t| match t {
            1000 | 3000 => 9,
            5760 => 8,
            _ => 0,
        };
        let (_, clustered) = lived(5760, clustered);
        let (even, clustered) = (even.unwrap().p_value, clustered.unwrap().p_value);
        assert!(even < 1e-8 && clustered > 1e-4, "{even} {clustered}");
    }

    #[test]
    fn clusters_of_other_series_make_a_first_cluster_less_surprising() {
        let mut clusters = Clusters::default();
        // Elsewhere three come together, across the end of a minute, and nothing for an hour before and after.
        let mut other = Rate::new(0.0, 0);
        for tick in 1..3000 {
            let total = [1000, 1003, 2000].map(|t| if tick >= t { 1.5 } else { 0.0 });
            other.step(total.iter().sum(), &at(tick), true, (false, false), &mut clusters);
            clusters.learn();
        }
        let judged = |clusters: &mut Clusters| {
            let (mut rate, _) = lived(5760, |_| 0);
            rate.step(3.0, &at(5761), true, (false, false), clusters).unwrap()
        };
        let (poisson, known) = (judged(&mut Clusters::default()), judged(&mut clusters));
        assert!(poisson.p_value < 1e-6 && known.p_value > 1e-4, "{poisson:?} {known:?}");
        assert_eq!(poisson.upper, known.upper, "the band is its own");
        assert!(clusters.dispersion(1.0, 0) > 1.3, "{clusters:?}");
    }

    #[test]
    fn what_creeps_is_seen_though_others_come_in_clusters() {
        let long = |rate: &Rate, clusters: &Clusters| {
            rate.judge(LONG, &at(5920), true, clusters).unwrap().p_value
        };
        let mut threes = Clusters::default();
        (0..9).for_each(|_| threes.take(3));
        threes.learn();
        // Once in forty minutes over five hours, or as often in two clusters.
        let (creeping, _) = lived(5920, |t| u64::from(t > 4800 && t % 160 == 0));
        let (clusters, _) = lived(5920, |t| if [5700, 5900].contains(&t) { 4 } else { 0 });
        assert!(long(&creeping, &threes) < 1e-4, "{}", long(&creeping, &threes));
        assert!(long(&clusters, &threes) > 1e-3, "{}", long(&clusters, &threes));
    }

    #[test]
    fn what_belongs_to_an_anomaly_teaches_no_clusters() {
        let (mut clusters, mut rate) = (Clusters::default(), Rate::new(0.0, 0));
        for tick in 1..3000 {
            let total = if tick >= 1000 { 9.0 } else { 0.0 };
            rate.step(total, &at(tick), true, (tick > 1001, false), &mut clusters);
        }
        assert_eq!(clusters, Clusters::default());
    }

    #[test]
    fn a_total_that_fell_counts_its_value_and_unsettled_totals_count_nothing() {
        let (mut rate, _) = lived(100, |_| 1);
        let before = sum(rate.recent.iter());
        rate.step(2.0, &at(101), true, (false, true), &mut Clusters::default());
        assert_eq!(sum(rate.recent.iter()), before + 2);
        rate.step(9000.0, &at(102), false, (false, true), &mut Clusters::default());
        assert_eq!(sum(rate.recent.iter()), before + 2);
        assert_eq!(rate.total(), 9000.0);
    }

    #[test]
    fn memory_and_rate_stay_the_same_over_weeks() {
        let (rate, judged) = lived(20 * 5760, |_| 1);
        assert!(rate.recent.len() <= 61 && rate.past.len() as i64 <= BUCKETS + 1);
        let judged = judged.unwrap();
        assert!((judged.expected - judged.window.unwrap().as_secs() as f64 / 15.0).abs() < 5.0);
        assert!(judged.p_value > 0.3, "{judged:?}");
    }

    #[test]
    fn the_past_stands_still_in_an_anomaly_and_goes_on_after_it() {
        let (mut rate, _) = lived(5760, |tick| u64::from(tick % 240 == 0));
        let mut total = 24.0;
        for tick in 5761..5761 + 960 {
            total += 1.0;
            let judged = rate
                .step(total, &at(tick), true, (tick > 5770, true), &mut Clusters::default())
                .unwrap();
            if tick > 5780 {
                assert!(judged.p_value < 1e-9, "{tick} {judged:?}");
            }
        }
        for tick in 6721..6721 + 300 {
            rate.step(total, &at(tick), true, (tick < 7000, true), &mut Clusters::default());
        }
        let judged =
            rate.step(total, &at(7021), true, (false, true), &mut Clusters::default()).unwrap();
        assert!(judged.samples <= 34 && judged.history.as_hours() == 24, "{judged:?}");
    }

    #[test]
    fn an_anomaly_that_lasts_as_long_as_the_window_is_the_new_normal() {
        let (mut rate, _) = lived(5760, |_| 0);
        let mut last = None;
        for tick in 5761..5760 + 5760 + 200 {
            last = rate.step(
                (tick / 20) as f64,
                &at(tick),
                true,
                (true, true),
                &mut Clusters::default(),
            );
        }
        let last = last.unwrap();
        assert!(!last.mature && last.p_value > 0.05, "{last:?}");
    }

    #[test]
    fn without_a_past_there_is_no_judgement() {
        let mut rate = Rate::new(0.0, 0);
        assert_eq!(rate.step(50.0, &at(1), true, (false, true), &mut Clusters::default()), None);
    }

    proptest! {
        #[test]
        fn no_number_that_leaves_is_infinite_or_none(
            totals in proptest::collection::vec(
                prop_oneof![0.0..50.0_f64, 0.0..1e300_f64, Just(f64::MAX)], 2..80),
            open in any::<bool>(),
        ) {
            let mut rate = Rate::new(0.0, 0);
            for (tick, total) in totals.into_iter().enumerate() {
                let step = rate.step(total, &at(tick as i64 * 40), true, (open && tick > 40, true), &mut Clusters::default());
                let Some(e) = step else { continue };
                prop_assert!((0.0..=1.0).contains(&e.p_value), "{:?}", e);
                let all = [e.observed, e.expected, e.lower, e.upper];
                prop_assert!(all.iter().all(|x| x.is_finite()), "{:?}", e);
            }
        }
    }
}
