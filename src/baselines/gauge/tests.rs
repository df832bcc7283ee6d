//! Does it tell what the reference tells, in a kibibyte, whatever the numbers?

use proptest::prelude::*;

use super::*;

/// 28 days at five minutes: a season, noise, and after two weeks a spike, a shift, a rough day and a drift.
fn series() -> Vec<(f64, f64)> {
    let mut state: u64 = 42;
    let mut noise = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / f64::from(1_u32 << 31) - 0.5
    };
    let sample = |n: i32| {
        let time = 1_700_000_000.0 + f64::from(n) * 300.0;
        let day = (time / 86_400.0 * std::f64::consts::TAU).sin();
        let happens = match n {
            4200 => 40.0,
            4700..5200 => 15.0,
            5600..5800 => 40.0 * noise(),
            6400..7000 => f64::from(n - 6400) * 0.05,
            _ => 0.0,
        };
        (time, 100.0 + 20.0 * day + 4.0 * noise() + happens)
    };
    (0..8064).map(sample).collect()
}

fn told(series: &[(f64, f64)]) -> Vec<(usize, f64)> {
    let mut gauge = Gauge::default();
    let told =
        series.iter().map(|(time, value)| gauge.judge(*time, *value).map_or(0.0, |j| j.told));
    told.enumerate().filter(|(_, told)| *told > 0.0).collect()
}

#[test]
fn it_tells_what_the_reference_tells() {
    let golden = include_str!("golden.csv").lines().skip(1).map(|line| {
        let (row, told) = line.split_once(',').expect("two columns");
        (row.parse::<usize>().expect("a row"), told.parse::<f64>().expect("a number"))
    });
    let (golden, told): (Vec<_>, _) = (golden.collect(), told(&series()));
    assert_eq!(told.len(), golden.len());
    for ((row, told), (golden_row, golden)) in told.iter().zip(&golden) {
        assert_eq!(row, golden_row);
        assert!((told - golden).abs() < 1e-6, "row {row}: {told}, not {golden}");
    }
}

#[test]
fn what_happened_is_told_and_named() {
    let mut gauge = Gauge::default();
    let judged: Vec<_> = series().iter().filter_map(|(t, x)| gauge.judge(*t, *x)).collect();
    let strongest = |rows: std::ops::Range<usize>| {
        let by_told = |a: &&Judgement, b: &&Judgement| a.told.total_cmp(&b.told);
        judged[rows].iter().max_by(by_told).copied().expect("rows")
    };
    let spike = strongest(4200..4201);
    assert!(spike.is_anomaly() && spike.led_by == Statistic::Residual, "{spike:?}");
    assert!(strongest(4700..4720).is_anomaly());
    assert!(strongest(5600..5700).is_anomaly());
    let quiet = judged[3000..4200].iter().filter(|j| j.is_anomaly()).count();
    assert!(quiet == 0, "{quiet}");
    assert!(judged[4100].seasonal);
    let (lower, upper) = judged[4100].band.expect("a band");
    assert!(lower < judged[4100].expected && judged[4100].expected < upper);
    assert!(upper - lower < 20.0, "the season is no part of the band: {lower} to {upper}");
}

#[test]
fn a_constant_is_no_surprise_and_its_first_change_is() {
    let mut gauge = Gauge::default();
    for n in 0..1000 {
        let judged = gauge.judge(f64::from(n) * 60.0, 7.0).expect("a judgement");
        assert_eq!((judged.expected, judged.told), (7.0, 0.0));
    }
    assert!(gauge.judge(60_000.0, 8.0).expect("a judgement").is_anomaly());
}

#[test]
fn a_mature_past_takes_a_kibibyte() {
    let mut gauge = Gauge::default();
    for n in 0..200 {
        gauge.judge(f64::from(n) * 60.0, f64::from(n % 7));
    }
    assert!(matches!(gauge.tails, Tails::Known(_)));
    assert!(size_of::<Gauge>() <= 1024, "{}", size_of::<Gauge>());
    let saved = postcard::to_stdvec(&gauge).expect("bytes");
    assert_eq!(postcard::from_bytes::<Gauge>(&saved).expect("a gauge"), gauge);
}

/// Any number that a file may hold.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => -1e3..1e3_f64,
        1 => any::<f64>(),
        1 => Just(f64::MIN_POSITIVE / 3.0),
        1 => Just(9.3e18),
        1 => Just(0.0),
    ]
}

proptest! {
    #[test]
    fn no_number_makes_it_tell_nonsense(
        samples in proptest::collection::vec((number(), number()), 1..600),
    ) {
        let mut gauge = Gauge::default();
        for (time, value) in samples {
            let Some(judged) = gauge.judge(time, value) else { continue };
            let (lower, upper) = judged.band.unwrap_or((judged.expected, judged.expected));
            let all = [judged.expected, lower, upper, judged.surprise, judged.told];
            prop_assert!(all.iter().all(|x| x.is_finite()), "{judged:?}");
            prop_assert!((0.0..1.0).contains(&judged.score()));
            prop_assert!(lower <= judged.expected && judged.expected <= upper);
        }
    }

    /// Statistics are distances from running means, and their tails are fitted in the same unit.
    #[test]
    fn neither_unit_nor_origin_matters(scale in 0.01..100.0_f64, origin in -1e3..1e3_f64) {
        let plain = series();
        let other: Vec<_> = plain.iter().map(|(t, x)| (*t, x * scale + origin)).collect();
        let (plain, other) = (told(&plain), told(&other));
        let strong = |told: &[(usize, f64)]| -> Vec<usize> {
            told.iter().filter(|(_, t)| *t > THRESHOLD).map(|(row, _)| *row).collect()
        };
        prop_assert_eq!(strong(&plain), strong(&other));
    }

    #[test]
    fn a_restart_changes_nothing(at in 1..8000_usize) {
        let series = series();
        let mut once = Gauge::default();
        for (time, value) in &series[..at] {
            once.judge(*time, *value);
        }
        let saved = postcard::to_stdvec(&once).expect("bytes");
        let mut again: Gauge = postcard::from_bytes(&saved).expect("a gauge");
        for (time, value) in &series[at..(at + 50).min(series.len())] {
            prop_assert_eq!(once.judge(*time, *value), again.judge(*time, *value));
        }
    }
}
