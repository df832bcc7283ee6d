//! What is normal for a duration? As long as others of its kind took before.
//!
//! A histogram's durations of the last hours are compared with those before them, at each bucket's upper bound: of n
//! durations of late, k took longer than the bound; of N before, K did. With Jeffreys' prior the share that does is
//! Beta(K + ½, N − K + ½), and k is beta-binomial (Gelman et al., Bayesian Data Analysis, 3rd ed., §2.4 and §3.7). The
//! smallest p-value is multiplied by the number of bounds (Bonferroni).
//!
//! That sees a new tail, but of a few durations it can't say much: so their means are compared too ([`Means`]), and the
//! smaller of the two p-values is doubled.
//!
//! Things that begin together are slow together, so those of one slot of time count as [`TOGETHER`] at most.
//!
//! It is wrong for kinds that are slow by the hour of the day, and knows nothing finer than its buckets.

use std::collections::{BTreeMap, VecDeque};

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::means::Means;
use super::tails::mixture_upper;
use super::{Moment, TOLD};
use crate::model::expectation::Expectation;
use crate::model::tally::Histogram;

/// What is judged, in seconds.
const LATE: i64 = 2 * 3_600;

/// Durations of one slot share their fate.
const SLOT: i64 = 300;

/// What shares its fate counts as this many at most.
const TOGETHER: f64 = 2.0;

/// After so long durations of the past count half, in seconds.
const HALF_LIFE: f64 = 3.0 * 86_400.0;

/// Fewer durations than this are no past.
const LEAST: f64 = 10.0;

/// The durations of one series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Durations {
    /// The totals as they were last seen.
    seen: Vec<u64>,
    since: i64,
    /// Those of late, by the begin of their slot: how many in each bucket.
    late: VecDeque<(i64, Vec<u32>)>,
    /// Those before, with the weight that is left to them.
    past: Vec<f64>,
    aged: i64,
    /// Since when the past stands still, because an anomaly is open.
    stopped: Option<i64>,
    restless: bool,
}

impl Durations {
    /// Since when it is known.
    pub(super) fn begin(&self) -> i64 {
        self.since
    }

    /// A series whose durations until now nobody has seen, or of which there was none since a time.
    pub(super) fn new(seen: &Histogram, none_since: Option<i64>, now: i64) -> Self {
        let past = vec![0.0; seen.buckets.len()];
        let buckets = if none_since.is_some() { vec![0; past.len()] } else { seen.buckets.clone() };
        Self {
            seen: buckets,
            since: none_since.unwrap_or(now),
            late: VecDeque::new(),
            past,
            aged: now,
            stopped: None,
            restless: false,
        }
    }

    /// Takes over what is known of durations before anybody watched.
    pub(super) fn remember(&mut self, before: &Before) {
        if before.counts.len() == self.past.len() {
            self.since = self.since.min(before.since);
            for (past, count) in self.past.iter_mut().zip(&before.counts) {
                *past += count;
            }
        }
    }

    /// Whether nothing has come for as long as is judged, nor now.
    pub(super) fn is_quiet(&self, seen: Option<&Histogram>) -> bool {
        seen.is_none_or(|seen| self.seen == seen.buckets)
            && self.late.is_empty()
            && !self.is_suspect()
    }

    /// Whether an anomaly may be open.
    pub(super) fn is_suspect(&self) -> bool {
        self.restless || self.stopped.is_some()
    }

    /// Takes the totals in, where there are any, and judges what came of late. Where an anomaly is `open` nothing is added
    /// to the past, for as long as the window.
    pub(super) fn step(
        &mut self,
        seen: Option<&Histogram>,
        bounds: &[f64],
        at: &Moment,
        (settled, open, wanted): (bool, bool, bool),
    ) -> Option<Expectation> {
        self.stopped = open.then(|| self.stopped.unwrap_or(at.now));
        let came = seen.is_some_and(|seen| self.take(seen, at.now, settled));
        let went = self.age(at);
        // What is as it was surprises no more than it did.
        if !(came || went || wanted || self.is_suspect()) {
            return None;
        }
        let expectation = self.judge(bounds, at, wanted);
        let expectation = expectation.map(|e| Expectation { mature: e.mature && settled, ..e });
        self.restless = expectation.as_ref().is_some_and(|e| e.p_value < TOLD);
        expectation
    }

    /// Whether there are durations that count.
    fn take(&mut self, seen: &Histogram, now: i64, settled: bool) -> bool {
        if seen.buckets.len() != self.seen.len() {
            *self = Self::new(seen, None, now);
            return false;
        }
        if seen.buckets == self.seen {
            return false;
        }
        let fell = seen.buckets.iter().zip(&self.seen).any(|(new, old)| new < old);
        let before = std::mem::replace(&mut self.seen, seen.buckets.clone());
        if !settled || fell {
            return false;
        }
        let slot = now - now.rem_euclid(SLOT);
        if self.late.back().is_none_or(|(last, _)| *last != slot) {
            self.late.push_back((slot, vec![0; self.seen.len()]));
        }
        let Some((_, counts)) = self.late.back_mut() else { return false };
        for ((count, new), old) in counts.iter_mut().zip(&self.seen).zip(&before) {
            *count = count.saturating_add(u32::try_from(new - old).unwrap_or(u32::MAX));
        }
        true
    }

    /// Moves what is no longer late to the past, each slot with the weight of what shares its fate. Whether there
    /// was any.
    fn age(&mut self, at: &Moment) -> bool {
        // What an open anomaly is made of came before it opened.
        let stopped = self.stopped.filter(|since| at.now - since < at.window);
        let learned = stopped.map_or(i64::MAX, |since| since - LATE);
        let lost = (-((at.now - self.aged).max(0) as f64) / HALF_LIFE).exp2();
        self.aged = at.now;
        self.past.iter_mut().for_each(|count| *count *= lost);
        let held = self.late.len();
        while let Some((slot, counts)) = self.late.pop_front_if(|late| late.0 < at.now - LATE) {
            if slot < learned {
                let weight = weight(&counts);
                for (past, count) in self.past.iter_mut().zip(counts) {
                    *past += f64::from(count) * weight;
                }
            }
        }
        self.late.len() < held
    }

    fn judge(&self, bounds: &[f64], at: &Moment, wanted: bool) -> Option<Expectation> {
        let mut late = vec![0.0; self.past.len()];
        for (_, counts) in &self.late {
            let weight = weight(counts);
            for (sum, count) in late.iter_mut().zip(counts) {
                *sum += f64::from(*count) * weight;
            }
        }
        let (n, before): (f64, f64) = (late.iter().sum(), self.past.iter().sum());
        if n <= 0.0 || before <= 0.0 {
            return None;
        }
        let (mut above, mut above_before) = (0.0, 0.0);
        let mut worst = (1.0, 0);
        // From the highest bound down: how many are above it.
        for place in (0..bounds.len().min(late.len().saturating_sub(1))).rev() {
            above += late[place + 1];
            above_before += self.past[place + 1];
            let p = mixture_upper(above.round() as u64, n.round() as u64, above_before, before);
            if p < worst.0 {
                worst = (p, place);
            }
        }
        let tail = worst.0 * bounds.len() as f64;
        let means = Means::of(&late, &self.past, bounds);
        let p_value = (2.0 * tail.min(means.p_value)).min(1.0);
        if p_value >= TOLD && !wanted {
            return None;
        }
        let history = self.stopped.unwrap_or(at.now) - self.since;
        let bound = bounds.get(worst.1).copied().unwrap_or(0.0);
        let (observed, expected, baseline) = match tail <= means.p_value {
            true => (
                quantile(&late, bounds, 0.5).max(bound),
                quantile(&self.past, bounds, 0.5),
                "beta_binomial",
            ),
            false => (means.of_late, means.usual, "log_normal"),
        };
        Some(Expectation {
            observed,
            expected,
            lower: 0.0,
            upper: quantile(&self.past, bounds, 0.99).max(expected),
            p_value,
            tail: 1.0,
            samples: before.round() as u64,
            history: SignedDuration::from_secs(history),
            window: Some(SignedDuration::from_secs(LATE)),
            runs_out: None,
            mature: history >= at.warm_up && before >= LEAST,
            baseline,
        })
    }
}

/// Durations that were over before anybody watched, with their weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Before {
    /// When the first of them was over.
    since: i64,
    counts: Vec<f64>,
}

impl Before {
    /// Of one series: when each was over, and how many seconds it took.
    pub(super) fn new(lasted: &[(i64, f64)], bounds: &[f64]) -> Self {
        let mut slots = BTreeMap::<i64, Vec<u32>>::new();
        for (ended, seconds) in lasted {
            let place = bounds.iter().position(|bound| seconds <= bound).unwrap_or(bounds.len());
            let counts = slots.entry(ended.div_euclid(SLOT));
            counts.or_insert_with(|| vec![0; bounds.len() + 1])[place] += 1;
        }
        let mut counts = vec![0.0; bounds.len() + 1];
        for slot in slots.values() {
            let weight = weight(slot);
            counts.iter_mut().zip(slot).for_each(|(sum, n)| *sum += f64::from(*n) * weight);
        }
        let since = lasted.iter().map(|(ended, _)| *ended).min().unwrap_or(i64::MAX);
        Self { since, counts }
    }
}

/// What each duration of a slot counts, so that all of them count as [`TOGETHER`] at most.
fn weight(counts: &[u32]) -> f64 {
    let sum: f64 = counts.iter().copied().map(f64::from).sum();
    if sum > TOGETHER { TOGETHER / sum } else { 1.0 }
}

/// The upper bound below which this share of the durations is; the highest bound for those above all.
fn quantile(counts: &[f64], bounds: &[f64], share: f64) -> f64 {
    let total: f64 = counts.iter().sum();
    let mut sum = 0.0;
    let place = counts.iter().position(|count| {
        sum += count;
        sum >= share * total
    });
    let last = bounds.last().copied().unwrap_or(0.0);
    place.and_then(|place| bounds.get(place).copied()).unwrap_or(last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: [f64; 4] = [1.0, 5.0, 30.0, 120.0];
    const TICK: i64 = 60;

    fn at(tick: i64) -> Moment<'static> {
        let now = 1_000_000 + tick * TICK;
        Moment::of(now, now - TICK, 86_400, 3_600)
    }

    struct Bench {
        seen: Histogram,
        durations: Durations,
        tick: i64,
    }

    impl Bench {
        fn new() -> Self {
            let seen = Histogram { buckets: vec![0; 5], sum: 0.0, count: 0 };
            Self { durations: Durations::new(&seen, None, at(0).now), seen, tick: 0 }
        }

        /// A tick with durations in these buckets.
        fn tick(&mut self, buckets: &[usize], open: bool) -> Option<Expectation> {
            self.tick += 1;
            buckets.iter().for_each(|bucket| self.seen.buckets[*bucket] += 1);
            self.durations.step(Some(&self.seen), &BOUNDS, &at(self.tick), (true, open, true))
        }

        /// Two days with a duration every half hour, one in twenty of them slow.
        fn lived() -> Self {
            let mut bench = Self::new();
            for tick in 0..2 * 1440 {
                let bucket = if tick % 600 == 0 { 3 } else { 1 };
                bench.tick(if tick % 30 == 0 { std::slice::from_ref(&bucket) } else { &[] }, false);
            }
            bench
        }
    }

    #[test]
    fn durations_as_before_are_no_surprise_and_a_few_slow_ones_in_a_row_are() {
        let mut bench = Bench::lived();
        assert!(bench.tick(&[1], false).unwrap().p_value > 0.05);
        assert!(
            bench.tick(&[3], false).unwrap().p_value > 0.01,
            "one that is slow has come before"
        );
        let mut last = None;
        for tick in 0..100 {
            last = bench.tick(if tick % 10 == 0 { &[3] } else { &[] }, false);
        }
        let last = last.unwrap();
        assert!(last.p_value < 1e-6 && last.mature, "{last:?}");
        assert!((1.0..5.0).contains(&last.expected) && last.upper == 120.0, "{last:?}");
    }

    #[test]
    fn what_comes_together_counts_little_more_than_one() {
        let mut bench = Bench::lived();
        let judged = bench.tick(&[3; 40], false).unwrap();
        assert!(judged.p_value > 1e-4, "{judged:?}");
    }

    #[test]
    fn a_few_that_are_all_slower_surprise_though_each_has_been_so_slow_before() {
        let mut bench = Bench::lived();
        let mut last = None;
        for tick in 0..60 {
            last = bench.tick(if tick % 12 == 0 { &[2] } else { &[] }, false);
        }
        let last = last.unwrap();
        assert!(last.p_value < 1e-3, "{last:?}");
    }

    #[test]
    fn what_lasted_before_anybody_watched_is_a_past() {
        let of_old = |day: i64| (at(0).now - day * 86_400, 3.0);
        let before = Before::new(&(1..=12).map(of_old).collect::<Vec<_>>(), &BOUNDS);
        let together = Before::new(&[of_old(1); 50], &BOUNDS);
        assert_eq!((before.counts[1], together.counts[1]), (12.0, TOGETHER));
        let judged = |before: Option<&Before>, bucket| {
            let mut bench = Bench::new();
            before.into_iter().for_each(|before| bench.durations.remember(before));
            let mut last = None;
            for tick in 0..100 {
                last = bench.tick(&vec![bucket; usize::from(tick % 20 == 0)], false);
            }
            last
        };
        assert_eq!(judged(None, 3), None);
        let (usual, slow) = (judged(Some(&before), 1).unwrap(), judged(Some(&before), 3).unwrap());
        assert!(usual.p_value > 0.3 && slow.p_value < 1e-6, "{usual:?} {slow:?}");
        assert!(slow.mature && !judged(Some(&together), 3).unwrap().mature);
    }

    #[test]
    fn slowness_is_learned_unless_an_anomaly_is_open() {
        let shift = |open: bool| {
            let mut bench = Bench::lived();
            for tick in 0..1_200 {
                bench.tick(if tick % 10 == 0 { &[3] } else { &[] }, open && tick > 60);
            }
            bench.tick(&[], open).unwrap().p_value
        };
        assert!(shift(false) > 1e-3 && shift(true) < 1e-6, "{} {}", shift(false), shift(true));
    }

    #[test]
    fn without_a_past_there_is_no_judgement_and_quiet_series_cost_nothing() {
        let mut bench = Bench::new();
        assert_eq!(bench.tick(&[3], false), None);
        for _ in 0..400 {
            bench.tick(&[], false);
        }
        assert!(bench.durations.is_quiet(Some(&bench.seen)));
        assert!(bench.durations.late.is_empty());
    }

    proptest! {
        #[test]
        fn whatever_totals_come_numbers_are_finite(
            totals in proptest::collection::vec(proptest::collection::vec(any::<u64>(), 0..6), 1..40),
        ) {
            let mut bench = Bench::new();
            for buckets in totals {
                bench.tick += 30;
                let seen = Histogram { buckets, sum: 0.0, count: 0 };
                let judged = bench.durations.step(Some(&seen), &BOUNDS, &at(bench.tick), (true, false, true));
                let Some(e) = judged else { continue };
                prop_assert!((0.0..=1.0).contains(&e.p_value), "{:?}", e);
                let all = [e.observed, e.expected, e.lower, e.upper];
                prop_assert!(all.iter().all(|x| x.is_finite()), "{:?}", e);
            }
        }
    }
}
