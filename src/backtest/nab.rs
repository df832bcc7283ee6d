//! How well do scores find windows that somebody labelled? By the formula of the Numenta Anomaly Benchmark, version 1.1
//! (Lavin and Ahmad, "Evaluating Real-time Anomaly Detection Algorithms", ICMLA 2015).
//!
//! A window is found by its first flagged sample, and the earlier the better; every flagged sample outside costs, less
//! right behind a window. One threshold holds for all files. A score of 100 finds each window at its first sample and
//! flags nothing else; 0 flags nothing.

use std::ops::RangeInclusive;

/// The first samples of a file are not scored: this share of them, at most so many.
const UNSCORED: f64 = 0.15;
const UNSCORED_MOST: f64 = 750.0;
/// How many widths behind a window a flagged sample costs all.
const FAR: f64 = 3.0;

/// What is worth how much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Profile {
    /// A window found at its first sample.
    pub found: f64,
    /// A window that is not found, as a loss.
    pub missed: f64,
    /// A flagged sample far from any window, as a loss.
    pub false_alarm: f64,
}

impl Profile {
    /// The benchmark's "standard".
    pub const STANDARD: Self = Self { found: 1.0, missed: 1.0, false_alarm: 0.11 };
    /// The benchmark's "reward low FP rate".
    pub const FEW_FALSE: Self = Self { found: 1.0, missed: 1.0, false_alarm: 0.22 };
    /// The benchmark's "reward low FN rate".
    pub const FEW_MISSED: Self = Self { found: 1.0, missed: 2.0, false_alarm: 0.11 };
}

/// What flagging each sample of a file would be worth.
#[derive(Clone, Debug)]
pub struct Truth {
    windows: Vec<RangeInclusive<usize>>,
    /// In [−1, 1]: of the best found window, or of a false alarm.
    worth: Vec<f64>,
    scored_from: usize,
}

impl Truth {
    /// Windows are given by the places of their first and last sample, in order.
    #[must_use]
    pub fn new(samples: usize, windows: Vec<RangeInclusive<usize>>) -> Self {
        let worth = (0..samples).map(|at| worth(at, &windows)).collect();
        let scored_from = (UNSCORED * samples as f64).floor().min(UNSCORED_MOST) as usize;
        Self { windows, worth, scored_from }
    }

    /// What lowering the threshold through the scores gains and loses.
    #[must_use]
    pub fn steps(&self, scores: &[f64], profile: Profile) -> Steps {
        let scored = self.worth.iter().zip(scores).enumerate().skip(self.scored_from);
        let within = |at: usize| self.windows.iter().position(|window| window.contains(&at));
        let mut found: Vec<Vec<(f64, f64)>> = vec![Vec::new(); self.windows.len()];
        let mut steps = Vec::new();
        for (at, (worth, score)) in scored {
            match within(at) {
                Some(window) => found[window].push((*score, worth * profile.found)),
                None => steps.push((*score, worth * profile.false_alarm)),
            }
        }
        let mut none = 0.0;
        // A window that ends before the first scored sample can't be found, and is not missed.
        for mut window in found.into_iter().filter(|window| !window.is_empty()) {
            none -= profile.missed;
            window.sort_by(|a, b| b.0.total_cmp(&a.0));
            let mut best = -profile.missed;
            for (score, worth) in window {
                steps.push((score, worth.max(best) - best));
                best = best.max(worth);
            }
        }
        let windows = self.windows.len() as f64;
        let (null, perfect) = (-windows * profile.missed, windows * profile.found);
        Steps { none, gains: merged(steps), null, perfect }
    }
}

/// What flagging a sample is worth, before weights.
fn worth(at: usize, windows: &[RangeInclusive<usize>]) -> f64 {
    let width = |window: &RangeInclusive<usize>| (window.end() + 1 - window.start()) as f64;
    if let Some(window) = windows.iter().find(|window| window.contains(&at)) {
        return sigmoid(-((window.end() + 1 - at) as f64) / width(window)) / sigmoid(-1.0);
    }
    let before = windows.iter().rev().find(|window| *window.end() < at);
    before.map_or(-1.0, |window| {
        let behind = (at - window.end()) as f64 / (width(window) - 1.0);
        if behind > FAR { -1.0 } else { sigmoid(behind) }
    })
}

/// From 1 long before a window's end through 0 to −1 long after it.
fn sigmoid(position: f64) -> f64 {
    2.0 / (1.0 + (5.0 * position).exp()) - 1.0
}

/// What is gained, or lost, by flagging the samples from a score on; of one file or of several.
#[derive(Clone, Debug, Default)]
pub struct Steps {
    /// What it is worth to flag nothing.
    none: f64,
    /// A score, and what flagging all that have it adds; highest first.
    gains: Vec<(f64, f64)>,
    null: f64,
    perfect: f64,
}

impl Steps {
    /// Several files as one.
    #[must_use]
    pub fn together<'a>(files: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut all = Self::default();
        for file in files {
            all.none += file.none;
            all.null += file.null;
            all.perfect += file.perfect;
            all.gains.extend_from_slice(&file.gains);
        }
        all.gains = merged(all.gains);
        all
    }

    /// The score at the threshold that is best for these files, and that threshold; the highest of equals.
    #[must_use]
    pub fn best(&self) -> (f64, f64) {
        let mut raw = self.none;
        let mut best = (raw, f64::INFINITY);
        for (threshold, gain) in &self.gains {
            raw += gain;
            if raw > best.0 {
                best = (raw, *threshold);
            }
        }
        (self.normal(best.0), best.1)
    }

    /// The score at a threshold: samples with this score or more are flagged.
    #[must_use]
    pub fn at(&self, threshold: f64) -> f64 {
        let flagged = self.gains.iter().take_while(|(score, _)| *score >= threshold);
        self.normal(self.none + flagged.map(|(_, gain)| gain).sum::<f64>())
    }

    fn normal(&self, raw: f64) -> f64 {
        100.0 * (raw - self.null) / (self.perfect - self.null)
    }
}

/// Highest score first, one step for each.
fn merged(mut steps: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    steps.sort_by(|a, b| b.0.total_cmp(&a.0));
    steps.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 += next.1;
        }
        same
    });
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(is: f64, expected: f64) {
        assert!((is - expected).abs() < 1e-4, "{is}, not {expected}");
    }

    /// 40 samples, the first six unscored, one window of four.
    fn truth() -> Truth {
        Truth::new(40, vec![10..=13])
    }

    fn scores(flags: &[(usize, f64)]) -> Vec<f64> {
        let mut scores = vec![0.0; 40];
        for (at, score) in flags {
            scores[*at] = *score;
        }
        scores
    }

    #[test]
    fn scores_are_those_that_a_hand_computes() {
        // Of a raw score r with one window: 50 (r + 1). σ(x) = 2 / (1 + e^−5x) − 1.
        let table: [(&[usize], f64); 9] = [
            (&[], 0.0),
            // The first sample of the window, and the first of two.
            (&[10], 100.0),
            (&[10, 12], 100.0),
            // The last: σ(1/4) / σ(1) = 0.554600 / 0.986614.
            (&[13], 50.0 * 1.562_124),
            // Not scored, and so neither alarm nor loss.
            (&[5], 0.0),
            // Before the window a flag costs all.
            (&[6, 10], 100.0 - 50.0 * 0.11),
            // One behind it: y = 1/3, σ(1/3) = 0.682262 …
            (&[10, 14], 100.0 - 50.0 * 0.11 * 0.682_262),
            // … and at y = 3 and beyond.
            (&[10, 22], 100.0 - 50.0 * 0.11 * 0.999_999_4),
            (&[10, 23], 100.0 - 50.0 * 0.11),
        ];
        for (flags, expected) in table {
            let flags: Vec<_> = flags.iter().map(|at| (*at, 1.0)).collect();
            let steps = truth().steps(&scores(&flags), Profile::STANDARD);
            near(steps.at(1.0), expected);
        }
    }

    #[test]
    fn a_profile_weighs_what_is_missed_and_what_is_false() {
        let flags = scores(&[(30, 1.0)]);
        let at = |profile| truth().steps(&flags, profile).at(1.0);
        near(at(Profile::STANDARD), -100.0 * 0.11 / 2.0);
        near(at(Profile::FEW_FALSE), -100.0 * 0.22 / 2.0);
        near(at(Profile::FEW_MISSED), -100.0 * 0.11 / 3.0);
    }

    #[test]
    fn one_threshold_is_the_best_for_all_files() {
        // Alone, the first file is best from 2 on and the second from 1 on; together the second's window at 1 is worth
        // the false alarm of the first.
        let first = truth().steps(&scores(&[(10, 2.0), (30, 1.0)]), Profile::STANDARD);
        let second = truth().steps(&scores(&[(10, 1.0)]), Profile::STANDARD);
        assert_eq!(first.best(), (100.0, 2.0));
        assert_eq!(second.best(), (100.0, 1.0));
        let together = Steps::together([&first, &second]);
        near(together.best().0, 100.0 - 100.0 * 0.11 / 4.0);
        assert_eq!(together.best().1, 1.0);
        near(together.at(2.0), 50.0);
        near(together.at(3.0), 0.0);
    }
}
