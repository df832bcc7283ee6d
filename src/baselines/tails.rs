//! How likely is a value at least this extreme? The only caller of the statistics library, which panics on NaN and
//! leaves [0, 1] for large shapes.

use statrs::distribution::{ContinuousCDF, DiscreteCDF, NegativeBinomial, Normal, StudentsT};

/// Beyond this shape the library's incomplete beta function has not converged near the centre (statrs issue 434).
const SHAPE_LIMIT: f64 = 1e4;

/// P(T ≥ t) for Student's t with `df` degrees of freedom. What is no number is no evidence: 1.
#[must_use]
pub(super) fn student_upper(t: f64, df: f64) -> f64 {
    if t.is_nan() {
        return 1.0;
    }
    if t.is_infinite() {
        return if t > 0.0 { 0.0 } else { 1.0 };
    }
    StudentsT::new(0.0, 1.0, df).map_or(1.0, |d| probability(d.sf(t)))
}

/// P(X ≥ k) for the negative binomial that a Gamma(`shape`, rate `exposure`) prior of a Poisson rate predicts over
/// `window`: the chance of k more events in the window, given `shape` events in the exposure (Gelman et al., Bayesian
/// Data Analysis, 3rd ed., §2.6). `exposure` and `window` have the same unit.
#[must_use]
pub(super) fn count_upper(k: u64, shape: f64, exposure: f64, window: f64) -> f64 {
    if k == 0 {
        return 1.0;
    }
    let usable = |x: f64| x.is_finite() && x > 0.0;
    if !(usable(shape) && usable(exposure) && usable(window)) {
        return 1.0;
    }
    let (mean, p) = (shape * window / exposure, exposure / (exposure + window));
    let z = (k as f64 - 0.5 - mean) / (mean * (1.0 + window / exposure)).sqrt();
    if shape.min(k as f64) > SHAPE_LIMIT && z.abs() < 1.5 {
        return Normal::new(0.0, 1.0).map_or(1.0, |d| probability(d.sf(z)));
    }
    NegativeBinomial::new(shape, p).map_or(1.0, |d| probability(d.sf(k - 1)))
}

fn probability(p: f64) -> f64 {
    if p.is_nan() { 1.0 } else { p.clamp(0.0, 1.0) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tails_agree_with_reference_values() {
        // scipy.stats: t.sf(3, 10), t.sf(15, 10), nbinom.sf(k - 1, r, p)
        let cases = [
            (student_upper(3.0, 10.0), 0.006_671_827_511_284_784),
            (student_upper(0.0, 10.0), 0.5),
            (count_upper(1, 0.5, 9.0, 1.0), 0.051_316_701_949_486_2),
            (count_upper(3, 2.0, 1.0, 1.0), 0.3125),
        ];
        for (found, expected) in cases {
            assert!((found - expected).abs() < 1e-9, "{found} {expected}");
        }
        assert_eq!(count_upper(0, 1.0, 1.0, 1.0), 1.0);
    }

    #[test]
    fn large_counts_stay_probabilities() {
        let centre = count_upper(100_000_000, 1e8, 1.0, 1.0);
        assert!((0.4..0.6).contains(&centre), "{centre}");
    }

    proptest! {
        #[test]
        fn a_tail_is_a_probability_and_falls(
            a in prop::num::f64::ANY, b in prop::num::f64::ANY, k in any::<u32>(),
            shape in prop::num::f64::ANY, exposure in prop::num::f64::ANY, window in prop::num::f64::ANY,
        ) {
            let (p, q) = (student_upper(a, 10.0), student_upper(b, 10.0));
            prop_assert!((0.0..=1.0).contains(&p));
            if a <= b {
                prop_assert!(p >= q);
            }
            prop_assert!((0.0..=1.0).contains(&count_upper(u64::from(k), shape, exposure, window)));
        }

        #[test]
        fn more_events_are_less_likely(k in 1_u64..500, past in 0_u32..500, exposure in 1.0_f64..1e6) {
            let shape = f64::from(past) + 0.5;
            prop_assert!(count_upper(k, shape, exposure, 600.0) >= count_upper(k + 1, shape, exposure, 600.0));
        }
    }
}
