//! What is normal for a count? As many in a window as its past rate predicts.
//!
//! The past is n events in an exposure of t seconds. With Jeffreys' prior the rate is Gamma(n + ½, t), and the count
//! in a window of w seconds is negative binomial (Gelman et al., Bayesian Data Analysis, 3rd ed., §2.6). Two windows
//! are judged, and the smaller of the two p-values is doubled (Bonferroni).
//!
//! It is wrong for events that come in bursts by nature: a burst is then rarer under the model than in truth.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::tails::count_upper;
use crate::model::expectation::Expectation;
use crate::model::record::Time;

/// The windows over which an increase is judged, in seconds.
const WINDOWS: [i64; 2] = [600, 3600];

/// Increases that are kept; beyond it the oldest two become one.
const KEPT: usize = 256;

/// The past of a count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Rate {
    total: f64,
    /// Increases that were not zero, with their second.
    increases: VecDeque<(i64, u64)>,
    /// Since when increases are known, in seconds since the epoch.
    since: i64,
}

impl Rate {
    /// A count that is known to have stood still since `since`.
    pub(super) fn new(total: f64, since: Time) -> Self {
        Self { total, increases: VecDeque::new(), since: since.as_second() }
    }

    /// Whether nothing has happened for as long as is remembered, nor now.
    pub(super) fn is_quiet(&self, total: f64) -> bool {
        self.increases.is_empty() && self.total == total
    }

    /// Takes the total as it is without judging how it came there.
    pub(super) fn rebase(&mut self, total: f64) {
        self.total = total;
    }

    /// Takes the increase in. A total that fell was reset: its value is the increase.
    pub(super) fn observe(&mut self, total: f64, now: Time, window: Duration) {
        let now = now.as_second();
        let increase = if total >= self.total { total - self.total } else { total };
        self.total = total;
        if increase >= 1.0 {
            self.increases.push_back((now, increase as u64));
        }
        let horizon = now - window.as_secs() as i64;
        while self.increases.front().is_some_and(|(second, _)| *second < horizon) {
            self.increases.pop_front();
        }
        if self.increases.len() > KEPT
            && let Some((_, oldest)) = self.increases.pop_front()
            && let Some((_, next)) = self.increases.front_mut()
        {
            *next += oldest;
        }
        self.since = self.since.max(horizon);
    }

    /// Judges the increases of the last windows against the time before them.
    pub(super) fn judge(&self, now: Time, warm_up: Duration) -> Option<Expectation> {
        let history = SignedDuration::from_secs(now.as_second() - self.since);
        let judged = WINDOWS.into_iter().filter_map(|w| self.judge_window(w, now.as_second()));
        let mut worst = judged.min_by(|a, b| a.p_value.total_cmp(&b.p_value))?;
        worst.p_value = (worst.p_value * WINDOWS.len() as f64).min(1.0);
        worst.history = history;
        worst.mature = history.unsigned_abs() >= warm_up;
        Some(worst)
    }

    fn judge_window(&self, window: i64, now: i64) -> Option<Expectation> {
        let begin = now - window;
        let exposure = begin - self.since;
        if exposure <= 0 {
            return None;
        }
        let sum = |recent: bool| -> u64 {
            let side = self.increases.iter().filter(|(second, _)| (*second > begin) == recent);
            side.map(|(_, n)| n).sum()
        };
        let (past, recent) = (sum(false), sum(true));
        let (exposure, width) = (exposure as f64, window as f64);
        let shape = past as f64 + 0.5;
        let expected = past as f64 * width / exposure;
        let spread = (shape * width / exposure * (1.0 + width / exposure)).sqrt();
        Some(Expectation {
            observed: recent as f64,
            expected,
            lower: 0.0,
            upper: (expected + 4.0 * spread).ceil(),
            p_value: count_upper(recent, shape, exposure, width),
            samples: past,
            history: SignedDuration::ZERO,
            window: Some(SignedDuration::from_secs(window)),
            mature: false,
            baseline: "gamma_poisson",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_hours(24);
    const WARM_UP: Duration = Duration::from_hours(1);

    fn at(second: i64) -> Time {
        Time::from_second(second).unwrap()
    }

    /// Hours of one event each `every` seconds, then the count of the rate.
    fn lived(hours: i64, every: i64) -> (Rate, i64, f64) {
        let (mut rate, mut total) = (Rate::new(0.0, at(0)), 0.0);
        for tick in 0..hours * 240 {
            if (tick * 15) % every == 0 {
                total += 1.0;
            }
            rate.observe(total, at(tick * 15), WINDOW);
        }
        (rate, hours * 3600, total)
    }

    #[test]
    fn a_burst_out_of_silence_is_surprising() {
        let mut rate = Rate::new(0.0, at(0));
        rate.observe(0.0, at(6 * 3600), WINDOW);
        assert!(rate.is_quiet(0.0));
        rate.observe(8.0, at(6 * 3600 + 15), WINDOW);
        let judged = rate.judge(at(6 * 3600 + 15), WARM_UP).unwrap();
        assert!(judged.p_value < 1e-9 && judged.mature, "{judged:?}");
        assert_eq!((judged.observed, judged.expected), (8.0, 0.0));
    }

    #[test]
    fn a_steady_crash_loop_is_not_told_again() {
        let (rate, now, _) = lived(6, 300);
        let judged = rate.judge(at(now), WARM_UP).unwrap();
        assert!(judged.p_value > 0.05, "{judged:?}");
    }

    #[test]
    fn a_total_that_fell_counts_its_value_and_a_rebase_counts_nothing() {
        let (mut rate, now, total) = lived(2, 600);
        let before: u64 = rate.increases.iter().map(|(_, n)| n).sum();
        rate.observe(2.0, at(now), WINDOW);
        assert_eq!(rate.increases.iter().map(|(_, n)| n).sum::<u64>(), before + 2);
        rate.rebase(total + 500.0);
        rate.observe(total + 500.0, at(now + 15), WINDOW);
        assert_eq!(rate.increases.iter().map(|(_, n)| n).sum::<u64>(), before + 2);
    }

    #[test]
    fn memory_is_bounded() {
        let (rate, ..) = lived(48, 15);
        assert!(rate.increases.len() <= KEPT);
    }

    #[test]
    fn without_a_past_there_is_no_judgement() {
        let mut rate = Rate::new(0.0, at(0));
        rate.observe(50.0, at(15), WINDOW);
        assert!(rate.judge(at(15), WARM_UP).is_none());
    }
}
