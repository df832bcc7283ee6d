//! How likely is a value at least this extreme? The only caller of the statistics library.
//!
//! statrs 0.19.1 panics on NaN, and its incomplete beta function gives up after 140 steps, too few near the centre of
//! a distribution both of whose shapes are large (its issue 434: "probabilities" above 2). So arguments are checked,
//! that region is left to the normal with a correction for skewness, and what comes back is clamped to [0, 1].
//! Arguments that make no sense are no evidence: 1.

use statrs::distribution::{ContinuousCDF, DiscreteCDF, Normal, Poisson, StudentsT};
use statrs::function::beta::{checked_beta_reg, ln_beta};

/// Both shapes above this, within [`CENTRE`] of the mean: the library has not converged.
const SHAPES: f64 = 1e4;

/// How far from the mean the library is wrong, in standard deviations.
const CENTRE: f64 = 1.5;

/// A Poisson mean above this costs the library time in proportion to its root, and the normal is as good.
const MANY: f64 = 1e5;

/// A variance so little above the mean is a Poisson's: further digits of it are lost to rounding.
const POISSON_EXCESS: f64 = 1e-6;

/// P(T ≥ t) for Student's t with `df` degrees of freedom.
pub(super) fn student_upper(t: f64, df: f64) -> f64 {
    if t.is_nan() || !positive(df) {
        return 1.0;
    }
    if t.is_infinite() {
        return if t > 0.0 { 0.0 } else { 1.0 };
    }
    StudentsT::new(0.0, 1.0, df).map_or(1.0, |d| probability(d.sf(t)))
}

/// P(X ≥ k) for a count with this mean and variance: negative binomial, or Poisson where the variance is no larger
/// than the mean.
pub(super) fn count_upper(k: u64, mean: f64, variance: f64) -> f64 {
    if k == 0 || !positive(mean) || !positive(variance) {
        return 1.0;
    }
    let excess = variance - mean;
    if excess <= mean * POISSON_EXCESS {
        return poisson_upper(k, mean);
    }
    let (shape, deviation) = (mean * (mean / excess), variance.sqrt());
    let z = (k as f64 - 0.5 - mean) / deviation;
    if shape.min(k as f64) > SHAPES && z.abs() < CENTRE {
        return edgeworth_upper(z, (variance + excess) / mean / deviation);
    }
    incomplete_beta(k as f64, shape, excess / variance)
}

/// P(X ≥ k) for a Poisson count with this mean.
fn poisson_upper(k: u64, mean: f64) -> f64 {
    if mean > MANY {
        let deviation = mean.sqrt();
        return edgeworth_upper((k as f64 - 0.5 - mean) / deviation, 1.0 / deviation);
    }
    Poisson::new(mean).map_or(1.0, |d| probability(d.sf(k.saturating_sub(1))))
}

/// P(X ≥ k) for the number of hits among `n` objects of which each is hit with chance `share`.
pub(super) fn share_upper(k: u64, n: u64, share: f64) -> f64 {
    if k == 0 || !(0.0..=1.0).contains(&share) {
        return 1.0;
    }
    if k > n {
        return 0.0;
    }
    let (hits, misses) = (k as f64, (n - k) as f64 + 1.0);
    let variance = n as f64 * share * (1.0 - share);
    if hits.min(misses) > SHAPES && variance > 0.0 {
        let deviation = variance.sqrt();
        let z = (hits - 0.5 - n as f64 * share) / deviation;
        if z.abs() < CENTRE {
            return edgeworth_upper(z, (1.0 - 2.0 * share) / deviation);
        }
    }
    incomplete_beta(hits, misses, share)
}

/// P(X ≥ k) for the number of hits among `n` where `hits` among `looks` were hit before (beta-binomial with Jeffreys'
/// prior). Numbers too large to sum up are taken as a binomial with the past's share, which is then known well.
pub(super) fn mixture_upper(k: u64, n: u64, hits: f64, looks: f64) -> f64 {
    /// More than this is not summed up.
    const SUMMED: u64 = 2_000;
    let sane = hits.is_finite() && looks.is_finite() && hits >= 0.0 && looks >= hits;
    if k == 0 || k > n || !sane {
        return if k > n && sane { 0.0 } else { 1.0 };
    }
    let (a, b) = (hits + 0.5, looks - hits + 0.5);
    if n > SUMMED {
        return share_upper(k, n, a / (a + b));
    }
    let whole = ln_beta(a, b);
    let one = |j: u64| {
        let (hit, missed) = (j as f64, (n - j) as f64);
        let ways = -ln_beta(hit + 1.0, missed + 1.0) - (n as f64 + 1.0).ln();
        (ways + ln_beta(hit + a, missed + b) - whole).exp()
    };
    probability((k..=n).map(one).sum())
}

/// P(X ≤ k) for the number of hits among `n` objects of which each is hit with chance `share`.
pub(super) fn share_lower(k: u64, n: u64, share: f64) -> f64 {
    share_upper(n.saturating_sub(k), n, 1.0 - share)
}

/// P(Z ≥ z) for a standardised variable with a little skewness: Edgeworth's first term (Abramowitz & Stegun 26.2.47).
fn edgeworth_upper(z: f64, skewness: f64) -> f64 {
    let density = (-0.5 * z * z).exp() / std::f64::consts::TAU.sqrt();
    let correction = density * (skewness / 6.0) * (z * z - 1.0);
    // Far out the density is 0 and its factor infinite: there is nothing to correct.
    let correction = if correction.is_finite() { correction } else { 0.0 };
    probability(Normal::standard().sf(z) + correction)
}

/// I_x(a, b), the tail of binomial and negative binomial counts alike (Abramowitz & Stegun 26.5.24, 26.5.26).
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if positive(a) && positive(b) {
        checked_beta_reg(a, b, x).map_or(1.0, probability)
    } else {
        1.0
    }
}

fn positive(x: f64) -> bool {
    x.is_finite() && x > 0.0
}

fn probability(p: f64) -> f64 {
    if p.is_nan() { 1.0 } else { p.clamp(0.0, 1.0) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Found by summing the mass exactly (60 decimal digits, rational numbers where they serve).
    #[test]
    fn tails_agree_with_reference_values() {
        let cases = [
            ("t", student_upper(3.0, 10.0), 0.006_671_827_511_284_79, 1e-12),
            ("t", student_upper(1.6, 6.0), 0.080_358_009_415_329_4, 1e-12),
            ("t", student_upper(8.0, 30.0), 3.132_911_237_850_38e-9, 1e-10),
            ("count", count_upper(1, 0.05, 0.06), 0.044_557_207_795_633_2, 1e-12),
            ("count", count_upper(8, 0.5, 0.75), 1.524_157_902_758_73e-4, 1e-12),
            ("count", count_upper(40, 10.0, 30.0), 1.857_780_716_830_78e-4, 1e-12),
            ("count", count_upper(12, 0.003, 0.0031), 1.276_688_861_503_65e-20, 1e-10),
            ("Poisson", count_upper(10, 3.0, 3.0), 1.102_488_130_115_48e-3, 1e-12),
            ("Poisson", count_upper(200, 120.0, 120.0), 1.637_784_144_906_89e-11, 1e-9),
            ("large", count_upper(100_000, 1e5, 2e5), 0.5, 1e-5),
            ("large", count_upper(100_500, 1e5, 2e5), 0.132_073_721_5, 1e-5),
            ("large", count_upper(99_600, 1e5, 2e5), 0.814_693_345_2, 1e-5),
            ("share", share_upper(1, 2, 0.01), 0.0199, 1e-12),
            ("share", share_upper(30, 40, 0.5), 1.110_716_886_614_68e-3, 1e-12),
            ("share", share_upper(500_300, 1_000_000, 0.5), 0.274_586_453, 1e-5),
            ("share", share_upper(30_200, 100_000, 0.3), 0.084_368_866_6, 1e-5),
            ("share", share_lower(2, 10, 0.5), 0.054_687_5, 1e-12),
            ("share", share_lower(90, 100, 0.99), 7.631_587_532_26e-8, 1e-9),
        ];
        for (name, found, expected, precision) in cases {
            let error = (found / expected - 1.0).abs();
            assert!(error < precision, "{name}: {found} is not {expected}");
        }
    }

    #[test]
    fn the_ends_are_certain() {
        assert_eq!(count_upper(0, 1.0, 1.0), 1.0);
        assert_eq!((share_upper(0, 5, 0.1), share_upper(6, 5, 0.1)), (1.0, 0.0));
        assert_eq!((share_lower(5, 5, 0.1), share_lower(0, 5, 1.0)), (1.0, 0.0));
        assert_eq!(student_upper(f64::INFINITY, 5.0), 0.0);
    }

    /// Finite numbers of every size, and those that are none.
    fn any_number() -> impl Strategy<Value = f64> {
        prop_oneof![prop::num::f64::ANY, -100.0..100.0_f64, 0.0..1.0_f64, 1.0..1e12_f64]
    }

    proptest! {
        #[test]
        fn every_tail_is_a_probability(
            k in any::<u64>(), small in 0..100_u64, n in any::<u64>(),
            a in any_number(), b in any_number(),
        ) {
            let tails = [
                student_upper(a, b), count_upper(k, a, b), count_upper(small, a, b),
                share_upper(k, n, a), share_lower(k, n, a), share_upper(small, n, a),
                share_lower(small, n, b), mixture_upper(small, n, a, b), mixture_upper(k, small, b, a), poisson_upper(k, a.abs()), edgeworth_upper(a, b),
            ];
            for (index, p) in tails.into_iter().enumerate() {
                prop_assert!((0.0..=1.0).contains(&p), "tail {} is {}", index, p);
            }
        }

        #[test]
        fn the_more_extreme_the_less_likely(
            k in 1..300_u64, mean in 1e-3..200.0_f64, factor in 1.0..50.0_f64,
            n in 1..300_u64, share in 0.0..1.0_f64, t in -50.0..50.0_f64, df in 1.0..60.0_f64,
        ) {
            let falls = |more: f64, less: f64| more >= less * (1.0 - 1e-9);
            let variance = mean * factor;
            prop_assert!(falls(count_upper(k, mean, variance), count_upper(k + 1, mean, variance)));
            prop_assert!(falls(share_upper(k, n, share), share_upper(k + 1, n, share)));
            let mixed = |k| mixture_upper(k, n, share * 40.0, 40.0);
            prop_assert!(falls(mixed(k), mixed(k + 1)));
            prop_assert!(falls(share_lower(k, n, share), share_lower(k - 1, n, share)));
            prop_assert!(falls(student_upper(t, df), student_upper(t + 0.1, df)));
        }

        #[test]
        fn large_counts_stay_monotone_across_the_switch_to_the_normal(
            mean in 2e4..1e8_f64, factor in 1.001..3.0_f64, z in -2.0..3.0_f64,
        ) {
            let variance = mean * factor;
            let at = |z: f64| (mean + z * variance.sqrt()) as u64;
            let (near, far) = (count_upper(at(z), mean, variance), count_upper(at(z + 0.2), mean, variance));
            prop_assert!(near > far, "{} {}", near, far);
        }
    }
}
