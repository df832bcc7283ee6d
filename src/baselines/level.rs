//! What is normal for a level (a gauge or a ratio)? The median of its past, and the spread around it.
//!
//! The band is median ± [`BAND`] · scale; the scale is 1.4826 · MAD, which for normal noise is the standard deviation
//! (Rousseeuw & Croux 1993), but at least the signal's declared floor and a hundredth of the median. A ratio adds the
//! binomial variance of its population: 1 of 2 and 500 of 1,000 are not the same evidence. The tail is Student's t
//! with [`DF`] degrees of freedom: operational series have heavier tails than the normal.
//!
//! It is wrong for series with a season (the band is then as wide as the season) and for trends (it lags).

use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::tails::student_upper;
use crate::model::expectation::Expectation;
use crate::model::record::Time;
use crate::model::signal::Direction;

/// Half the width of the band, in scales.
const BAND: f64 = 4.0;

/// Degrees of freedom of the tail.
const DF: f64 = 10.0;

/// Samples that are kept; at twice as many every second goes, and the stride doubles.
const SAMPLES: usize = 240;

/// Equal values in a row are one entry: a constant series costs one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Run {
    value: f64,
    /// Seconds since the epoch of the last sample of the run.
    until: i64,
    samples: u32,
}

/// The past of a level.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Level {
    runs: Vec<Run>,
    /// Seconds between samples.
    stride: i64,
    first: Option<i64>,
    last: Option<i64>,
    frozen_since: Option<i64>,
    /// Median and MAD of the runs; `None` after a change.
    summary: Option<(f64, f64)>,
}

/// One value to judge.
pub(super) struct Sample {
    pub(super) value: f64,
    pub(super) population: Option<u64>,
    pub(super) bad: Direction,
    pub(super) floor: f64,
}

impl Level {
    /// Whether the value is what the series has always been: nothing to judge, nothing to learn.
    pub(super) fn is_quiet(&self, value: f64) -> bool {
        matches!(&self.runs[..], [only] if only.value == value)
    }

    /// Judges a value against the past; `None` where there is none.
    pub(super) fn judge(
        &mut self,
        sample: &Sample,
        now: Time,
        warm_up: Duration,
    ) -> Option<Expectation> {
        let (median, mad) = self.summarize()?;
        let spread = (1.4826 * mad).max(sample.floor).max(0.01 * median.abs()).max(1e-9);
        let scale = match sample.population {
            Some(n) => (spread * spread + sampling_variance(median, n)).sqrt(),
            None => spread,
        };
        let z = (sample.value - median) / scale;
        let p_value = match sample.bad {
            Direction::High => student_upper(z, DF),
            Direction::Low => student_upper(-z, DF),
            Direction::Both => (2.0 * student_upper(z.abs(), DF)).min(1.0),
        };
        let (mut lower, mut upper) = (median - BAND * scale, median + BAND * scale);
        if sample.population.is_some() {
            (lower, upper) = (lower.max(0.0), upper.min(1.0));
        }
        let history = SignedDuration::from_secs(now.as_second() - self.first?);
        Some(Expectation {
            observed: sample.value,
            expected: median,
            lower,
            upper,
            p_value,
            samples: self.runs.iter().map(|r| u64::from(r.samples)).sum(),
            history,
            window: None,
            mature: history.unsigned_abs() >= warm_up,
            baseline: "median_mad",
        })
    }

    /// Learns a value, clipped to the band. In an open anomaly nothing is learned, until it has lasted as long as the
    /// window: then it is the new normal and the past begins anew.
    pub(super) fn learn(
        &mut self,
        value: f64,
        band: Option<(f64, f64)>,
        now: Time,
        window: Duration,
        frozen: bool,
    ) {
        let (second, window) = (now.as_second(), window.as_secs() as i64);
        if frozen {
            let since = *self.frozen_since.get_or_insert(second);
            if second - since < window {
                return;
            }
            *self = Self::default();
        }
        self.frozen_since = None;
        if self.last.is_some_and(|last| second - last < self.stride) {
            return;
        }
        let value = band.map_or(value, |(lower, upper)| value.clamp(lower, upper.max(lower)));
        self.first.get_or_insert(second);
        self.last = Some(second);
        match self.runs.last_mut() {
            Some(run) if run.value == value => {
                (run.until, run.samples) = (second, run.samples.saturating_add(1));
                // One run's median does not change with its length.
                if self.runs.len() > 1 {
                    self.summary = None;
                }
            }
            _ => {
                self.runs.push(Run { value, until: second, samples: 1 });
                self.summary = None;
            }
        }
        self.forget(second, window);
    }

    fn forget(&mut self, now: i64, window: i64) {
        // A run that reaches into the window stays whole: its length is its weight, not its age.
        if self.runs.first().is_some_and(|run| now - run.until > window) {
            self.runs.retain(|run| now - run.until <= window);
            self.summary = None;
        }
        self.first = self.first.map(|first| first.max(now - window));
        if self.runs.len() > 2 * SAMPLES {
            let mut index = 0;
            self.runs.retain(|_| {
                index += 1;
                index % 2 == 0
            });
            self.stride = (self.stride * 2).clamp(1, (window / SAMPLES as i64).max(1));
            self.summary = None;
        }
    }

    fn summarize(&mut self) -> Option<(f64, f64)> {
        if self.summary.is_none() && !self.runs.is_empty() {
            let mut values: Vec<(f64, u64)> =
                self.runs.iter().map(|r| (r.value, u64::from(r.samples))).collect();
            let median = weighted_median(&mut values);
            for (value, _) in &mut values {
                *value = (*value - median).abs();
            }
            self.summary = Some((median, weighted_median(&mut values)));
        }
        self.summary
    }
}

/// Variance of a share of `n` when the true share is `median`, shrunk away from 0 and 1 (Agresti & Coull 1998).
fn sampling_variance(median: f64, n: u64) -> f64 {
    let n = n.max(1) as f64;
    let share = (median * n + 2.0) / (n + 4.0);
    share * (1.0 - share) / n
}

fn weighted_median(values: &mut [(f64, u64)]) -> f64 {
    values.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let total: u64 = values.iter().map(|(_, weight)| weight).sum();
    let mut seen = 0;
    for (value, weight) in values.iter() {
        seen += weight;
        if 2 * seen >= total {
            return *value;
        }
    }
    0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_hours(24);
    const WARM_UP: Duration = Duration::from_hours(1);

    fn sample(value: f64, population: Option<u64>) -> Sample {
        Sample { value, population, bad: Direction::High, floor: 0.01 }
    }

    fn at(second: i64) -> Time {
        Time::from_second(second).unwrap()
    }

    fn fed(values: impl IntoIterator<Item = f64>) -> (Level, i64) {
        let mut level = Level::default();
        let mut second = 0;
        for value in values {
            level.learn(value, None, at(second), WINDOW, false);
            second += 15;
        }
        (level, second)
    }

    #[test]
    fn a_constant_series_is_one_run_and_quiet() {
        let (level, _) = fed(std::iter::repeat_n(3.0, 10_000));
        assert_eq!(level.runs.len(), 1);
        assert!(level.is_quiet(3.0) && !level.is_quiet(4.0));
    }

    #[test]
    fn a_step_is_surprising_and_noise_is_not() {
        let noise = (0..2000).map(|i| 10.0 + f64::from(i * 7919 % 100) / 100.0);
        let (mut level, second) = fed(noise);
        let calm = level.judge(&sample(10.9, None), at(second), WARM_UP).unwrap();
        assert!(calm.p_value > 0.01 && calm.mature, "{calm:?}");
        let step = level.judge(&sample(60.0, None), at(second), WARM_UP).unwrap();
        assert!(step.p_value < 1e-8 && step.upper < 60.0, "{step:?}");
    }

    #[test]
    fn memory_is_bounded_and_the_past_forgotten() {
        let (level, _) = fed((0..100_000).map(f64::from));
        assert!(level.runs.len() <= 2 * SAMPLES);
        let now = 100_000 * 15;
        assert!(level.runs.iter().all(|run| now - run.until <= WINDOW.as_secs() as i64 + 375));
    }

    #[test]
    fn a_share_of_few_is_weaker_evidence_than_the_same_share_of_many() {
        let (mut level, second) = fed(std::iter::repeat_n(0.0, 1000));
        let few = level.judge(&sample(0.5, Some(2)), at(second), WARM_UP).unwrap();
        let many = level.judge(&sample(0.5, Some(1000)), at(second), WARM_UP).unwrap();
        assert!(few.p_value > 1e3 * many.p_value, "{} {}", few.p_value, many.p_value);
    }

    #[test]
    fn an_anomaly_is_not_learned_until_it_is_the_new_normal() {
        let (mut level, second) = fed(std::iter::repeat_n(1.0, 1000));
        level.learn(9.0, None, at(second), WINDOW, true);
        assert!(level.is_quiet(1.0));
        let later = second + WINDOW.as_secs() as i64;
        level.learn(9.0, None, at(later), WINDOW, true);
        assert!(level.is_quiet(9.0));
    }
}
