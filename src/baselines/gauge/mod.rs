//! Is a value that can go anywhere unusual? One pass over a gauge: a seasonal expectation, four statistics that see a
//! spike, a drift, a shift and a change of roughness, the learned tail of each, and a filter that tells an episode once.
//!
//! Nothing is assumed of the value's distribution but that its past says something of its future. What is wrong with
//! it: time constants are in samples, a trend that goes on for weeks is a shift that is adopted, and a series that was
//! unusual from its first sample on is taken to be normal. Scored on the Numenta Anomaly Benchmark in
//! docs/detection.md.

mod escalation;
mod excess;
mod recipe;
pub(super) mod season;

use serde::{Deserialize, Serialize};

use escalation::Escalation;
use excess::{Excess, TOP};
use season::{Place, Season};

pub use recipe::{Pooling, Recipe, Tail};

/// Samples before anything is told.
pub const WARM_UP: u32 = 150;
/// From this left-over surprise on a sample is an anomaly: the best threshold over a corpus of many kinds of series.
pub const THRESHOLD: f64 = 4.1;
/// The band holds all but one in 10³.
const BAND: f64 = 3.0;
/// Larger values would overflow when squared.
const LARGEST: f64 = 1e100;

/// Least shares of a new sample in the running means; the first samples have 1, 1/2, 1/3 …
mod rate {
    pub(super) const LEVEL: f64 = 0.001;
    pub(super) const ERROR: f64 = 0.002;
    pub(super) const RESIDUAL: f64 = 0.3;
    pub(super) const FAST: f64 = 0.1;
    pub(super) const SLOW: f64 = 0.005;
    pub(super) const ROUGH_FAST: f64 = 0.05;
    pub(super) const ROUGH_SLOW: f64 = 0.002;
}

/// The season is part of the level's expectation from this sample on.
const SEASON_FROM: u32 = 100;
/// How fast persistent surprise is gathered.
const PERSISTENCE: f64 = 0.9;

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Statistic {
    /// The distance from what was expected.
    Residual,
    /// The same, smoothed over some samples.
    Drift,
    /// The distance of a fast mean from a slow one.
    Shift,
    /// How much more, or less, the value jumps from sample to sample.
    Roughness,
}

impl Statistic {
    /// In words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Residual => "distance from what was expected",
            Self::Drift => "drift",
            Self::Shift => "shift",
            Self::Roughness => "roughness",
        }
    }
}

const STATISTICS: [Statistic; 4] =
    [Statistic::Residual, Statistic::Drift, Statistic::Shift, Statistic::Roughness];

/// What the past says of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Judgement {
    /// What was expected.
    pub expected: f64,
    /// Lower and upper end of the normal range; `None` before the warm-up is over.
    pub band: Option<(f64, f64)>,
    /// All statistics' surprise together, as −log₁₀ of a probability.
    pub surprise: f64,
    /// What of it is worth telling: 0 or what remains after discounts; an anomaly from [`THRESHOLD`] on.
    pub told: f64,
    /// The statistic that was the most surprised.
    pub led_by: Statistic,
    /// Whether the time of day was part of the expectation.
    pub seasonal: bool,
}

impl Judgement {
    /// In [0, 1), rising with `told`, comparable across series: a half at the threshold.
    #[must_use]
    pub fn score(&self) -> f64 {
        self.told / (self.told + THRESHOLD)
    }

    /// Whether it is worth telling.
    #[must_use]
    pub fn is_anomaly(&self) -> bool {
        self.told >= THRESHOLD
    }
}

/// The past of a gauge. A kibibyte, whatever its length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gauge {
    samples: u32,
    season: Season,
    level: f64,
    last: f64,
    /// Mean error with the season and without it.
    error_seasonal: f64,
    error_flat: f64,
    residual: f64,
    fast: f64,
    slow: f64,
    rough_fast: f64,
    rough_slow: f64,
    tails: Tails,
    persistent: f64,
    events: Escalation,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Tails {
    /// The largest values so far, largest first.
    WarmingUp(Box<[[f64; TOP]; 4]>),
    Known([Excess; 4]),
}

impl Default for Gauge {
    fn default() -> Self {
        Self {
            samples: 0,
            season: Season::new(),
            level: 0.0,
            last: 0.0,
            error_seasonal: 0.0,
            error_flat: 0.0,
            residual: 0.0,
            fast: 0.0,
            slow: 0.0,
            rough_fast: 0.0,
            rough_slow: 0.0,
            tails: Tails::WarmingUp(Box::new([[f64::NEG_INFINITY; TOP]; 4])),
            persistent: 0.0,
            events: Escalation::new(),
        }
    }
}

impl Gauge {
    /// Judges a sample by its past, then learns it. `time` is in seconds since the epoch, UTC. A value that is not
    /// finite says nothing and is not learned.
    pub fn judge(&mut self, time: f64, value: f64) -> Option<Judgement> {
        self.judge_by(&Recipe::WHOLE, time, value)
    }

    /// The same with the recipe's parts alone.
    // It and its steps are inlined, so that what `judge` leaves to the recipe costs nothing.
    #[inline]
    pub fn judge_by(&mut self, recipe: &Recipe, time: f64, value: f64) -> Option<Judgement> {
        if !value.is_finite() || !time.is_finite() {
            return None;
        }
        let value = value.clamp(-LARGEST, LARGEST);
        if self.samples == 0 {
            (self.level, self.fast, self.slow, self.last) = (value, value, value, value);
        }
        let level = self.level;
        let (residual, season, seasonal) = self.expect(recipe, time, value);
        let expected = level + if seasonal { season } else { 0.0 };
        let band = match &self.tails {
            Tails::Known([residuals, ..]) => {
                let half = residuals.value_at(BAND, recipe.tail);
                Some((expected - half, expected + half))
            }
            Tails::WarmingUp(_) => None,
        };
        let statistics = self.statistics(recipe, value, residual);
        let surprises = self.surprise(recipe, statistics);
        self.samples = self.samples.saturating_add(1);
        let mut judgement = Judgement {
            expected,
            band,
            surprise: 0.0,
            told: 0.0,
            led_by: Statistic::Residual,
            seasonal,
        };
        let Some(surprises) = surprises else { return Some(judgement) };
        let together = recipe.pooling.together(surprises);
        self.persistent = PERSISTENCE * self.persistent + (1.0 - PERSISTENCE) * together;
        judgement.surprise = together.hypot(recipe.persistence * self.persistent);
        judgement.told = self.events.told(judgement.surprise, recipe);
        let most = surprises.iter().zip(STATISTICS).max_by(|a, b| a.0.total_cmp(b.0));
        judgement.led_by = most.map_or(Statistic::Residual, |(_, statistic)| statistic);
        Some(judgement)
    }

    /// How many samples it rests on.
    #[must_use]
    pub const fn samples(&self) -> u32 {
        self.samples
    }

    /// At least `least`, and for the first samples what makes a plain mean of them.
    fn rate(&self, least: f64) -> f64 {
        least.max(1.0 / (f64::from(self.samples) + 1.0))
    }

    /// The distance from what was expected, the season's part of that, and whether it is used: only while it predicts
    /// better. Then the level and the season learn.
    #[inline]
    fn expect(&mut self, recipe: &Recipe, time: f64, value: f64) -> (f64, f64, bool) {
        let place = Place::of(time);
        let season = self.season.expected(place);
        let flat = value - self.level;
        let seasonal = flat - season;
        let rate = self.rate(recipe.paced(rate::ERROR));
        self.error_seasonal += rate * (seasonal.abs() - self.error_seasonal);
        self.error_flat += rate * (flat.abs() - self.error_flat);
        let used = recipe.season && self.error_seasonal < self.error_flat;
        self.season.learn(place, flat);
        let part = if recipe.season && self.samples > SEASON_FROM { season } else { 0.0 };
        self.level += self.rate(recipe.paced(rate::LEVEL)) * (value - part - self.level);
        (if used { seasonal } else { flat }, season, used)
    }

    #[inline]
    fn statistics(&mut self, recipe: &Recipe, value: f64, residual: f64) -> [f64; 4] {
        self.residual += self.rate(recipe.paced(rate::RESIDUAL)) * (residual - self.residual);
        self.fast += self.rate(recipe.paced(rate::FAST)) * (value - self.fast);
        let shift = self.fast - self.slow;
        self.slow += self.rate(recipe.paced(rate::SLOW)) * (value - self.slow);
        let mut roughness = 0.0;
        if self.samples > 0 {
            let jump = (value - self.last).abs();
            let rate = |least: f64| recipe.paced(least).max(1.0 / f64::from(self.samples));
            self.rough_fast += rate(rate::ROUGH_FAST) * (jump - self.rough_fast);
            self.rough_slow += rate(rate::ROUGH_SLOW) * (jump - self.rough_slow);
            let ratio = (self.rough_fast + 0.01 * self.rough_slow) / (1.01 * self.rough_slow);
            // Where it never jumps there is no ratio, and none of numbers too small for one.
            roughness = Some(ratio.ln().abs()).filter(|r| r.is_finite()).unwrap_or(0.0);
        }
        self.last = value;
        [residual.abs(), self.residual.abs(), shift.abs(), roughness]
    }

    /// How surprising each statistic is; `None` while warming up.
    #[inline]
    fn surprise(&mut self, recipe: &Recipe, statistics: [f64; 4]) -> Option<[f64; 4]> {
        match &mut self.tails {
            Tails::Known(tails) => {
                let samples = f64::from(self.samples);
                let mut surprises = [0.0; 4];
                for (k, tail) in tails.iter_mut().enumerate() {
                    if recipe.statistics[k] {
                        surprises[k] = tail.surprise(statistics[k], samples, recipe.tail);
                    }
                }
                Some(surprises)
            }
            Tails::WarmingUp(tops) => {
                for (top, value) in tops.iter_mut().zip(statistics) {
                    let place = top.partition_point(|held| *held >= value);
                    if place < TOP {
                        top[place..].rotate_right(1);
                        top[place] = value;
                    }
                }
                if self.samples + 1 == WARM_UP {
                    self.tails = Tails::Known(std::array::from_fn(|k| Excess::new(&tops[k])));
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
