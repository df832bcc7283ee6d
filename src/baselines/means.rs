//! Do the durations of late take longer on average? A few that are all slower say more by their mean than by their tail.
//!
//! Durations are close to log-normal, so the means are those of logarithms, as counted by buckets, and Student's t tells
//! how far two means of so few differ (Gelman et al., Bayesian Data Analysis, 3rd ed., §3.2). The variance is that of the
//! past, with [`SPREAD`] as a guess that weighs as much as [`GUESSED`] durations: a past of a few that agree by chance is no
//! certainty. H₀ is that they take up to a quarter longer ([`MATTERS`]).
//!
//! It is wrong for durations of two kinds, one of which comes more often of late.

use super::tails::student_upper;

/// The standard deviation of logarithms to begin with: two thirds of the durations within a factor of 1.65.
const SPREAD: f64 = 0.5;

/// How many durations that guess weighs.
const GUESSED: f64 = 8.0;

/// A mean that is longer by less than this factor is nobody's concern, however sure it is.
const MATTERS: f64 = 1.25;

/// Two geometric means, in seconds, and how likely chance alone makes the first so much longer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Means {
    pub(super) of_late: f64,
    pub(super) usual: f64,
    pub(super) p_value: f64,
}

impl Means {
    /// Of durations of late and of the past, as counts by bucket; neither may be empty.
    pub(super) fn of(late: &[f64], past: &[f64], bounds: &[f64]) -> Self {
        let middles = middles(bounds);
        let mean = |counts: &[f64]| {
            let n: f64 = counts.iter().sum();
            let sum: f64 = counts.iter().zip(&middles).map(|(count, middle)| count * middle).sum();
            (n, sum / n)
        };
        let ((n, of_late), (before, usual)) = (mean(late), mean(past));
        let square = |(count, middle): (&f64, &f64)| count * (middle - usual).powi(2);
        let squares: f64 = past.iter().zip(&middles).map(square).sum();
        let freedom = GUESSED + before - 1.0;
        let variance = (GUESSED * SPREAD * SPREAD + squares) / (GUESSED + before);
        let slower = of_late - usual - MATTERS.ln();
        let p_value = student_upper(slower / (variance * (1.0 / n + 1.0 / before)).sqrt(), freedom);
        Self { of_late: of_late.exp(), usual: usual.exp(), p_value }
    }
}

/// The logarithm of a typical duration of each bucket.
fn middles(bounds: &[f64]) -> Vec<f64> {
    let logs: Vec<f64> = bounds.iter().map(|bound| bound.max(f64::MIN_POSITIVE).ln()).collect();
    let step = |at: usize| logs.get(at + 1).zip(logs.get(at)).map_or(1.0, |(b, a)| b - a);
    let last = logs.len().saturating_sub(1);
    let inner = logs.windows(2).map(|pair| f64::midpoint(pair[0], pair[1]));
    let first = logs.first().map(|log| log - step(0) / 2.0);
    let above = logs.last().map(|log| log + step(last.saturating_sub(1)) / 2.0);
    first.into_iter().chain(inner).chain(above).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: [f64; 4] = [1.0, 5.0, 30.0, 120.0];

    #[test]
    fn a_few_that_are_all_slower_are_no_chance_and_a_little_slower_is_nothing() {
        let past = [0.0, 20.0, 0.0, 0.0, 0.0];
        let late = |bucket: usize| {
            let mut late = [0.0; 5];
            late[bucket] = 4.0;
            Means::of(&late, &past, &BOUNDS)
        };
        let (same, slow) = (late(1), late(3));
        assert!((same.of_late / same.usual - 1.0).abs() < 1e-9 && same.p_value > 0.7, "{same:?}");
        assert!(
            (2.2..2.3).contains(&slow.usual) && (59.0..61.0).contains(&slow.of_late),
            "{slow:?}"
        );
        assert!(slow.p_value < 1e-8, "{slow:?}");
    }

    #[test]
    fn any_number_of_bounds_has_its_middles() {
        for bounds in [&[][..], &[1.0], &[1.0, 10.0]] {
            let middles = middles(bounds);
            assert_eq!(middles.len(), if bounds.is_empty() { 0 } else { bounds.len() + 1 });
            assert!(middles.is_sorted() && middles.iter().all(|m| m.is_finite()));
        }
    }

    proptest! {
        #[test]
        fn the_slower_the_less_likely(
            past in proptest::collection::vec(0.0..50.0_f64, 5), n in 1..20_u32, bucket in 0..4_usize,
        ) {
            prop_assume!(past.iter().sum::<f64>() > 0.0);
            let chance = |bucket: usize| {
                let mut late = vec![0.0; 5];
                late[bucket] = f64::from(n);
                Means::of(&late, &past, &BOUNDS).p_value
            };
            let (one, next) = (chance(bucket), chance(bucket + 1));
            prop_assert!((0.0..=1.0).contains(&one) && next <= one, "{} {}", one, next);
        }
    }
}
