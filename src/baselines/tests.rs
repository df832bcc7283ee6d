//! Do pasts behave over many ticks: born, absent, forgotten, bounded and restored?

use proptest::prelude::*;

use super::*;
use crate::labels;
use crate::model::layer::Layer;
use crate::model::signal::{Direction, Unit};

const fn signal(labels: &'static [&'static str], profile: Profile, unit: Unit) -> Signal {
    Signal {
        block: "S0.0",
        name: "compute_test",
        layer: Layer::Compute,
        help: "A test.",
        unit,
        labels,
        reasons: &[],
        bound: "1",
        needs: &[],
        uses: &[],
        profile,
        read: Read::Counter,
    }
}

static COUNTER: Signal = signal(&["namespace"], Profile::Rate, Unit::Count);
static BURSTS: Signal = signal(&["namespace"], Profile::Flood { least: 20.0 }, Unit::Count);
static LEVEL: Profile = Profile::Level { bad: Direction::High, floor: 1.0 };
static GAUGE: Signal = signal(&["namespace"], LEVEL, Unit::Count);
static RATIO: Signal = signal(&["namespace"], LEVEL, Unit::Ratio);
static CLUSTER: Signal = signal(&[], LEVEL, Unit::Count);
static FILLS: Signal = signal(&["namespace"], Profile::Filling { floor: 0.01 }, Unit::Ratio);

const SETTINGS: BaselineSettings = BaselineSettings {
    time_zone: TimeZone::UTC,
    warm_up: Duration::from_hours(1),
    window: Duration::from_hours(24),
    close_after: Duration::from_mins(10),
    false_per_day: 0.14,
    bands: Bands::Told,
};

/// Judges at ticks of 15 seconds.
struct Bench {
    signal: &'static Signal,
    baselines: Baselines,
    tick: i64,
    settled: bool,
    limit: usize,
}

impl Bench {
    fn new(signal: &'static Signal) -> Self {
        Self { signal, baselines: Baselines::default(), tick: 0, settled: true, limit: 100 }
    }

    fn tick(&mut self, values: &[(&str, f64)]) -> Vec<(String, Expectation)> {
        let cluster = self.signal.labels.is_empty();
        let labels = |of: &str| if cluster { labels![] } else { labels![of] };
        let readings = values.iter().map(|(of, value)| Reading {
            labels: labels(of),
            value: *value,
            population: None,
        });
        let readings: Vec<Reading> = readings.collect();
        let at = Circumstances {
            now: Time::from_second(1_000_000 + self.tick * 15).unwrap(),
            watching_since: Time::from_second(1_000_000).unwrap(),
            settled: self.settled,
            disruptions: &Disruptions::default(),
            settings: &SETTINGS,
            limit: self.limit,
        };
        self.tick += 1;
        let series = report::Series::Values(readings);
        let found = self.baselines.tick(at).judge(self.signal, &series, |_| false);
        let name = |key: SeriesKey| key.labels.iter().collect::<Vec<_>>().join(",");
        found.into_iter().map(|(key, e)| (name(key), e)).collect()
    }

    fn ticks(&mut self, n: usize, values: &[(&str, f64)]) {
        for _ in 0..n {
            self.tick(values);
        }
    }
}

#[test]
fn a_count_that_appears_has_stood_at_zero_since_the_cluster_is_watched() {
    let mut bench = Bench::new(&COUNTER);
    bench.ticks(500, &[]);
    let found = bench.tick(&[("shop", 8.0)]);
    assert_eq!(found.len(), 1);
    assert!(found[0].1.p_value < 2e-9 && found[0].1.mature, "{found:?}");
}

#[test]
fn a_burst_surprises_when_it_is_a_flood() {
    let mut bench = Bench::new(&BURSTS);
    bench.ticks(500, &[]);
    assert_eq!(bench.tick(&[("shop", 19.0)]), []);
    assert_eq!(bench.tick(&[("shop", 19.0), ("web", 20.0)])[0].0, "web");
}

#[test]
fn what_comes_while_numbers_are_unsettled_is_not_judged() {
    let mut bench = Bench::new(&COUNTER);
    bench.ticks(500, &[("old", 3.0)]);
    bench.settled = false;
    assert_eq!(bench.tick(&[("new", 90.0), ("old", 900.0)]), []);
    bench.settled = true;
    assert_eq!(bench.tick(&[("new", 90.0), ("old", 900.0)]), []);
    assert_eq!(bench.tick(&[("new", 90.0), ("old", 908.0)])[0].0, "old");
}

#[test]
fn an_absent_count_of_objects_is_zero_and_an_absent_share_says_nothing() {
    for (signal, expected) in [(&GAUGE, 1), (&RATIO, 0)] {
        let mut bench = Bench::new(signal);
        bench.ticks(500, &[("shop", 0.5)]);
        bench.ticks(1000, &[]);
        // Had it learned zeros, a half would be as far from the median as it is from nothing.
        let past = bench.baselines.signals.values().next().unwrap().series[0].past.clone();
        let quiet_at_half = past.is_quiet(Seen::Value(0.5, None));
        assert_eq!(usize::from(!quiet_at_half), expected, "{:?}", signal.unit);
    }
}

#[test]
fn a_series_is_forgotten_after_the_window_and_its_signal_too() {
    let mut bench = Bench::new(&RATIO);
    bench.ticks(10, &[("shop", 0.5), ("web", 0.5)]);
    bench.ticks(5_759, &[("web", 0.5)]);
    assert_eq!(bench.baselines.len(), 2);
    bench.ticks(2, &[("web", 0.5)]);
    assert_eq!(bench.baselines.len(), 1);
    bench.signal = &COUNTER;
    bench.tick += 5_800;
    bench.tick(&[]);
    assert!(bench.baselines.is_empty());
}

#[test]
fn a_limit_that_is_reached_is_counted_and_room_is_used_later_without_alarm() {
    let mut bench = Bench::new(&COUNTER);
    bench.limit = 2;
    bench.ticks(500, &[("a", 0.0), ("b", 0.0), ("c", 50.0)]);
    assert_eq!((bench.baselines.len(), bench.baselines.dropped()), (2, 500));
    bench.limit = 3;
    assert_eq!(bench.tick(&[("a", 0.0), ("b", 0.0), ("c", 50.0)]), []);
    assert_eq!((bench.baselines.len(), bench.baselines.dropped()), (3, 500));
}

#[test]
fn a_series_of_the_cluster_always_has_a_band() {
    let mut bench = Bench::new(&CLUSTER);
    bench.ticks(500, &[("", 2.0)]);
    let found = bench.tick(&[("", 2.0)]);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].1.expected, found[0].1.upper), (2.0, 6.0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Of quiet, restless and seasonal series alike.
    #[test]
    fn a_restart_changes_nothing_to_the_bit(
        at in 1..600_usize, seed in any::<u32>(),
        signal in prop::sample::select(vec![&COUNTER, &BURSTS, &GAUGE, &RATIO, &FILLS]),
    ) {
        let value = |series: u32, tick: u32| {
            let mixed = (seed ^ series).wrapping_add(tick / 7).wrapping_mul(0x9e37_79b1) >> 24;
            match series {
                0 => 1.0,
                1 => f64::from(tick / 40),
                _ if signal.profile.is_rate() => f64::from(tick * (seed % 9)),
                _ => f64::from(mixed) / 100.0 + if tick > 450 { 9.0 } else { 0.0 },
            }
        };
        let mut whole = Bench::new(signal);
        let mut parted = Bench::new(signal);
        for tick in 0..700_u32 {
            let values = [("a", value(0, tick)), ("b", value(1, tick)), ("c", value(2, tick))];
            prop_assert_eq!(whole.tick(&values), parted.tick(&values));
            if tick as usize == at {
                let kept = postcard::to_stdvec(&parted.baselines).unwrap();
                parted.baselines = postcard::from_bytes(&kept).unwrap();
            }
        }
        prop_assert_eq!(whole.baselines, parted.baselines);
    }
}

#[test]
fn series_stay_in_the_order_of_their_labels() {
    let mut bench = Bench::new(&GAUGE);
    for values in [&[("c", 1.0)][..], &[("a", 1.0), ("d", 1.0)], &[("b", 1.0), ("c", 1.0)]] {
        bench.tick(values);
    }
    let series = &bench.baselines.signals.values().next().unwrap().series;
    let names: Vec<_> = series.iter().flat_map(|s| s.labels.iter()).collect();
    assert_eq!(names, ["a", "b", "c", "d"]);
    assert_eq!(bench.tick(&[("b", f64::NAN), ("c", f64::INFINITY)]), []);
}

#[test]
fn a_series_is_mature_when_its_past_is_as_long_as_the_warm_up() {
    for (signal, first, second) in [(&COUNTER, 2.0, 3.0), (&GAUGE, 2.0, 3.0), (&FILLS, 0.2, 0.3)] {
        let mut bench = Bench::new(signal);
        let mature = |bench: &Bench| {
            let now = Time::from_second(1_000_000 + bench.tick * 15).unwrap();
            bench.baselines.mature(now, &SETTINGS)
        };
        bench.ticks(120, &[("old", first)]);
        bench.ticks(119, &[("old", second), ("young", first)]);
        assert_eq!((bench.baselines.len(), mature(&bench)), (2, 0), "{}", signal.name);
        bench.ticks(3, &[("old", second), ("young", first)]);
        // A count that appears has stood at zero since the cluster is watched.
        let expected = if signal.profile.is_rate() { 2 } else { 1 };
        assert_eq!(mature(&bench), expected, "{}", signal.name);
    }
}
