//! How rare is a value at least this large? Peaks over a threshold that is learned along the way, as streaming
//! detectors do it (Siffer et al., "Anomaly Detection in Streams with Extreme Value Theory", KDD 2017), with the
//! generalised Pareto distribution of the excesses fitted by the method of moments.

use serde::{Deserialize, Serialize};

use super::recipe::Tail;

/// The threshold is the quantile of this order.
const ORDER: f64 = 0.98;
/// How many samples are remembered.
const MEMORY: f64 = 8000.0;
/// The largest shape: above it the distribution has no variance to be fitted by.
const SHAPE: f64 = 0.5;
/// Below this shape the tail is taken to be exponential.
const EXPONENTIAL: f64 = 1e-3;
/// An excess is learned as no more than so many mean excesses.
const CLIP: f64 = 20.0;
/// The rarest that is told, as −log₁₀ of a probability.
const RAREST: f64 = 30.0;
/// The largest values of the warm-up that are kept.
pub(super) const TOP: usize = 6;

/// The upper tail of a statistic that is never negative.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Excess {
    threshold: f64,
    /// Mean of the excesses, and of their squares.
    mean: f64,
    square: f64,
    /// How many excesses these rest on, at most.
    count: f64,
}

impl Excess {
    /// Begins with the largest values of the warm-up, largest first.
    pub(super) fn new(top: &[f64; TOP]) -> Self {
        let threshold = top[TOP - 1];
        let mut tail = Self { threshold, mean: 0.0, square: 0.0, count: 0.0 };
        for value in top[..TOP - 1].iter().filter(|value| **value > threshold) {
            let excess = value - threshold;
            tail.count += 1.0;
            tail.mean += (excess - tail.mean) / tail.count;
            tail.square += (excess * excess - tail.square) / tail.count;
        }
        if tail.mean <= 0.0 {
            tail.mean = (threshold.abs() * 0.1).max(1e-9);
            tail.square = 2.0 * tail.mean * tail.mean;
        }
        tail
    }

    /// How surprising the value is, −log₁₀ P(Y ≥ y), and 0 up to the threshold; then it is learned. `samples` is how
    /// many came before.
    pub(super) fn surprise(&mut self, value: f64, samples: f64, tail: Tail) -> f64 {
        let step = 2.0 * self.mean / (samples.min(MEMORY) * (1.0 - ORDER)).max(5.0);
        if value <= self.threshold {
            self.threshold = (self.threshold - (1.0 - ORDER) * step).max(0.0);
            return 0.0;
        }
        let (excess, shape) = (value - self.threshold, self.shape(tail));
        let beyond = if shape < EXPONENTIAL {
            excess / self.mean / std::f64::consts::LN_10
        } else {
            (1.0 + shape * excess / (self.mean * (1.0 - shape))).log10() / shape
        };
        let learned = excess.min(CLIP * self.mean);
        self.count = (self.count + 1.0).min(MEMORY * (1.0 - ORDER));
        let rate = 1.0 / self.count.max(5.0);
        self.mean += rate * (learned - self.mean);
        self.square += rate * (learned * learned - self.square);
        self.threshold += ORDER * step;
        (at_threshold() + beyond).min(RAREST)
    }

    /// The value that is as surprising as this; the threshold for all that is less surprising.
    pub(super) fn value_at(&self, surprise: f64, tail: Tail) -> f64 {
        let beyond = (surprise - at_threshold()).max(0.0);
        let shape = self.shape(tail);
        self.threshold
            + if shape < EXPONENTIAL {
                beyond * std::f64::consts::LN_10 * self.mean
            } else {
                self.mean * (1.0 - shape) / shape * (10_f64.powf(shape * beyond) - 1.0)
            }
    }

    fn shape(&self, tail: Tail) -> f64 {
        if tail == Tail::Exponential {
            return 0.0;
        }
        let variance = self.square - self.mean * self.mean;
        if variance > 0.0 {
            (0.5 * (1.0 - self.mean * self.mean / variance)).clamp(0.0, SHAPE)
        } else {
            0.0
        }
    }
}

/// The surprise of the threshold itself.
fn at_threshold() -> f64 {
    -(1.0 - ORDER).log10()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Exponential with mean 1, by inversion of evenly spread probabilities in a shuffled order.
    fn draws(n: usize) -> impl Iterator<Item = f64> {
        (0..n).map(move |k| {
            let part = (k * 7919 % n) as f64;
            -(1.0 - (part + 0.5) / n as f64).ln()
        })
    }

    fn learned() -> Excess {
        let mut tail = Excess::new(&[3.2, 3.1, 3.0, 2.9, 2.8, 2.7]);
        for (nth, value) in draws(20_000).enumerate() {
            tail.surprise(value, (150 + nth) as f64, Tail::Pareto);
        }
        tail
    }

    #[test]
    fn an_exponential_tail_is_told_as_rare_as_it_is() {
        let tail = learned();
        for value in [5.0, 8.0, 12.0] {
            let told = tail.clone().surprise(value, 20_000.0, Tail::Pareto);
            let is = value / std::f64::consts::LN_10;
            assert!((told / is - 1.0).abs() < 0.15, "{value}: {told} for {is}");
        }
    }

    #[test]
    fn a_value_is_as_surprising_as_it_was_asked_to_be() {
        let tail = learned();
        for surprise in [2.0, 3.0, 4.1, 9.0] {
            let told = tail.clone().surprise(
                tail.value_at(surprise, Tail::Pareto),
                20_000.0,
                Tail::Pareto,
            );
            assert!((told - surprise).abs() < 1e-9, "{surprise}: {told}");
        }
    }

    #[test]
    fn one_outlier_teaches_little() {
        let mut tail = learned();
        let before = tail.value_at(4.0, Tail::Pareto);
        tail.surprise(1e12, 20_000.0, Tail::Pareto);
        assert!(tail.value_at(4.0, Tail::Pareto) < 2.0 * before);
    }

    #[test]
    fn a_statistic_that_never_moved_has_a_tail_all_the_same() {
        let tail = Excess::new(&[0.0; TOP]);
        assert!(tail.clone().surprise(1.0, 150.0, Tail::Pareto) > 20.0);
        assert_eq!(tail.clone().surprise(0.0, 150.0, Tail::Pareto), 0.0);
    }
}
