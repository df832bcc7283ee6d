//! What is normal for a count? As many in a window as the rate of its past predicts, at this hour of the day.
//!
//! With n events in t seconds and Jeffreys' prior the rate is Gamma(n + ½, t), and the count in w seconds is negative
//! binomial (Gelman et al., Bayesian Data Analysis, 3rd ed., §2.6). Events that come in clusters make its variance
//! larger by their dispersion: variance over mean of the past's counts, block by block (quasi-likelihood; McCullagh &
//! Nelder, Generalized Linear Models, 2nd ed., §6.2.3). Three windows are judged and the smallest p-value is tripled
//! (Bonferroni). The longest sees what rises slowly: it counts only what has come since the last hour of silence. What
//! has come to an end is judged by the shortest alone.
//!
//! What comes often has a season ([`Profile`]): what an hour usually brings more or less than the mean is expected, and
//! its variance is no dispersion.
//!
//! It is wrong for the first cluster of events that come in clusters by nature, and for a season of what comes seldom.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::clusters::Clusters;
use super::increases::{Before, HOUR, Increases, KEPT as LONG, WIDE};
use super::season::Profile;
use super::tails::count_upper;
use super::{Moment, NEARLY_A_DAY, TOLD};
use crate::model::expectation::Expectation;

/// The windows over which an increase is judged, in seconds.
const WINDOWS: [i64; 3] = [WIDE, HOUR, LONG];

/// Fewer blocks than this say nothing about their variance. The longest window is judged from as many hours on.
const BLOCKS: i64 = 12;

/// No more than this share of windows is above the band.
const ABOVE_BAND: f64 = 1e-3;

/// What comes so often in an hour may have a season.
const BUSY: f64 = 6.0;

/// However quiet the hour, this share of the mean rate is expected.
const QUIETEST: f64 = 0.1;

/// The past of a count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Rate {
    total: f64,
    increases: Increases,
    season: Option<Box<Profile>>,
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
            increases: Increases::none_since(since),
            season: None,
            stopped: None,
            adopted: false,
            restless: false,
        }
    }

    /// The total as it was last seen.
    pub(super) fn total(&self) -> f64 {
        self.total
    }

    /// Since when it is known.
    pub(super) fn begin(&self) -> i64 {
        self.increases.begin()
    }

    /// Where it has stood, and since when, where no increase is remembered.
    pub(super) fn as_standing(&self) -> Option<(f64, i64)> {
        let nothing = self.increases.is_empty() && self.season.is_none() && !self.is_suspect();
        nothing.then(|| (self.total, self.begin()))
    }

    /// Whether nothing has happened for as long as is judged, nor now.
    pub(super) fn is_quiet(&self, total: f64) -> bool {
        self.total == total && self.increases.is_silent() && !self.is_suspect()
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
        self.age(at, clusters);
        // A total that fell was reset: its value is what was added since. One that jumps for reasons of ours is taken
        // as it is.
        let added = if total >= self.total { total - self.total } else { total };
        if settled && added >= 1.0 {
            self.increases.add(added as u64);
        }
        self.total = total;
        // What may be over is judged by the shortest window alone.
        let windows = if self.goes_on(at.now) { &WINDOWS[..] } else { &WINDOWS[..1] };
        let judged = windows.iter().filter_map(|w| self.judge(*w, at, wanted, clusters));
        let worst = judged.min_by(|a, b| a.p_value.total_cmp(&b.p_value));
        let expectation = worst.map(|worst| Expectation {
            p_value: (worst.p_value * WINDOWS.len() as f64).min(1.0),
            mature: worst.mature && settled,
            ..worst
        });
        self.restless = expectation.as_ref().is_some_and(|e| e.p_value < TOLD);
        expectation
    }

    fn age(&mut self, at: &Moment, clusters: &mut Clusters) {
        let learned = self.stopped.map(|stopped| stopped - WIDE);
        let season = &mut self.season;
        self.increases.age(
            at.now,
            learned,
            at.window,
            |n| clusters.take(n),
            |begin, n, past| {
                let often = past.exposure >= NEARLY_A_DAY as f64 && past.an_hour() >= BUSY;
                if often || season.is_some() {
                    let season = season.get_or_insert_with(|| Box::new(Profile::new()));
                    season.learn(at.place(begin), n.into());
                }
            },
        );
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
        let end = self.stopped.map_or(begin, |stopped| begin.min(stopped - WIDE));
        let (events, exposure) = self.increases.rate(end);
        let too_young = window == LONG && exposure < (BLOCKS * HOUR) as f64;
        if exposure <= 0.0 || too_young {
            return None;
        }
        // The share of the past that the window is, and so the uncertainty of the rate.
        let ratio = window as f64 / exposure;
        let usual = self.usual(begin, at);
        let mean = ((events + 0.5) * ratio + usual).max(QUIETEST * (events + 0.5) * ratio);
        let least_variance = mean * (1.0 + ratio);
        // Within a standard deviation it is no surprise, and need not be weighed further.
        let small = |observed: u32| f64::from(observed) <= mean + least_variance.sqrt() && !wanted;
        if small(self.increases.kept()) {
            return None;
        }
        let (observed, times) = match window {
            LONG => self.increases.run(),
            _ => (self.increases.since(begin), 0),
        };
        if small(observed) {
            return None;
        }
        let past = self.increases.before(end);
        let own = self.dispersion(window, &past);
        let dispersion = clusters.dispersion(own, events as u64);
        // Over hours clusters can be told apart, and how many there are is the stronger evidence.
        let (count, variance) = match window == LONG && dispersion > own {
            true => (times, own * least_variance),
            false => (observed, dispersion * least_variance),
        };
        let history = self.increases.known(self.stopped.unwrap_or(at.now)).min(at.window);
        Some(Expectation {
            observed: observed.into(),
            expected: (events * ratio + usual).max(QUIETEST * events * ratio),
            lower: 0.0,
            upper: upper(mean, own * least_variance),
            p_value: count_upper(count.into(), mean, variance),
            tail: 1.0,
            samples: events.round() as u64,
            history: SignedDuration::from_secs(history),
            window: Some(SignedDuration::from_secs(window)),
            runs_out: None,
            mature: history >= at.warm_up,
            baseline: if self.season().is_some() {
                "gamma_poisson_seasonal"
            } else {
                "gamma_poisson"
            },
        })
    }

    fn season(&self) -> Option<&Profile> {
        self.season.as_deref().filter(|season| season.is_used(0.0))
    }

    /// What these hours usually bring more than others, or less.
    fn usual(&self, begin: i64, at: &Moment) -> f64 {
        let Some(season) = self.season() else { return 0.0 };
        let pieces = ((at.now - begin) / HOUR).max(1);
        let length = (at.now - begin) / pieces;
        let of = |nth: i64| season.at(at.place(begin + nth * length + length / 2));
        (0..pieces).map(of).sum::<f64>() * length as f64 / WIDE as f64
    }

    /// Whether something came a moment ago, or within the hour where an anomaly is open.
    fn goes_on(&self, now: i64) -> bool {
        let within = if self.stopped.is_some() { HOUR } else { WIDE };
        self.increases.last().is_some_and(|slot| now - slot <= within)
    }

    /// Variance over mean of the counts in blocks as long as the judged window; 1 for a Poisson count, and no less. Of the
    /// longest window there are few blocks: its hours are taken to rise and fall together.
    fn dispersion(&self, judged: i64, past: &Before) -> f64 {
        if judged == LONG {
            let hours = (LONG / HOUR) as f64;
            return 1.0 + hours * (self.dispersion(HOUR, past) - 1.0);
        }
        let Some((mean, variance)) = past.moments(judged, BLOCKS as f64) else { return 1.0 };
        let tens = (judged / WIDE) as f64;
        let seasonal = self.season().map_or(0.0, |season| season.variance() * tens * tens);
        if mean > 0.0 { ((variance - seasonal) / mean).max(1.0) } else { 1.0 }
    }

    fn stop_or_resume(&mut self, at: &Moment, open: bool) {
        if !open {
            self.adopted = false;
            if let Some(stopped) = self.stopped.take() {
                // What the anomaly was made of is never learned.
                self.increases.leave_out(stopped - WIDE, at.window);
            }
        } else if !self.adopted {
            let since = *self.stopped.get_or_insert(at.now);
            if at.now - since >= at.window {
                *self = Self { adopted: true, ..Self::new(self.total, at.now) };
            }
        }
    }
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

    fn at(tick: i64) -> Moment<'static> {
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
        let hour = |rate: &Rate| rate.increases.since(0);
        let before = hour(&rate);
        rate.step(2.0, &at(101), true, (false, true), &mut Clusters::default());
        assert_eq!(hour(&rate), before + 2);
        rate.step(9000.0, &at(102), false, (false, true), &mut Clusters::default());
        assert_eq!(hour(&rate), before + 2);
        assert_eq!(rate.total(), 9000.0);
    }

    #[test]
    fn a_count_that_follows_the_hour_is_expected_to() {
        // By day one in a minute and a half, at night one in a quarter of an hour.
        let of_day = |tick: i64| {
            let day = (8..18).contains(&(tick / 240 % 24));
            u64::from(tick % if day { 6 } else { 60 } == 0)
        };
        let nine = 12 * 5760 + 9 * 240;
        let (mut rate, judged) = lived(nine, of_day);
        let judged = judged.unwrap();
        assert_eq!(judged.baseline, "gamma_poisson_seasonal");
        assert!(
            judged.p_value > 0.1
                && (judged.expected - judged.observed).abs() < judged.observed / 3.0,
            "{judged:?}"
        );
        // As many at night are unusual.
        let night = nine + 17 * 240;
        let mut total = rate.total();
        let mut last = None;
        for tick in nine + 1..=night + 60 {
            total += of_day(tick) as f64 + f64::from(u8::from(tick > night && tick % 6 == 0));
            last = rate.step(total, &at(tick), true, (false, true), &mut Clusters::default());
        }
        let last = last.unwrap();
        assert!(last.p_value < 1e-6, "{last:?}");
    }

    #[test]
    fn memory_and_rate_stay_the_same_over_weeks() {
        let (rate, judged) = lived(20 * 5760, |_| 1);
        assert!(size_of_val(&rate) <= 208);
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
        assert!(judged.samples <= 34 && judged.history.as_hours() == 23, "{judged:?}");
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
