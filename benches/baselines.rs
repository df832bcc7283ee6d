//! What do pasts cost? Time for each series and tick, and memory for each series, by family.
//!
//! `cargo bench --bench baselines` prints the tables of docs/performance.md, on one thread. Memory is what the process
//! grows by, for all series of a family together; `KUBESTRATA_BENCH_SERIES` (20000) says how many.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods
)]

use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kubestrata::baselines::gauge::Gauge;
use kubestrata::baselines::{Baselines, Circumstances};
use kubestrata::config::Settings;
use kubestrata::layers;
use kubestrata::model::disruption::Disruptions;
use kubestrata::model::reading::{Labels, Reading};
use kubestrata::model::report::Series;
use kubestrata::model::signal::{Read, Signal};
use kubestrata::model::tally::Histogram;

const TICK: i64 = 15;
/// A past of six hours before anything is measured: all windows are full and every tail is known.
const WARM: i64 = 1_440;
const MEASURED: i64 = 240;

/// What a series of a family shows at a tick.
type Shown = fn(series: usize, tick: i64) -> f64;

/// Family, a signal of it, and its series.
const FAMILIES: [(&str, &str, Shown); 6] = [
    ("count, quiet", "compute_container_restarts_total", |_, _| 3.0),
    ("count, one an hour", "compute_container_restarts_total", |s, t| {
        ((t + s as i64 * 7) / 240) as f64
    }),
    ("count, four a minute", "compute_container_restarts_total", |_, t| t as f64),
    ("level, constant", "storage_csi_node_coverage_ratio", |_, _| 1.0),
    ("level, restless", "storage_csi_node_coverage_ratio", restless),
    ("share that fills up", "storage_volume_used_ratio", restless),
];

fn restless(series: usize, tick: i64) -> f64 {
    let mixed =
        (series as u64 + 1).wrapping_mul(tick as u64 + 7).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    0.5 + (mixed >> 40) as f64 / f64::from(1_u32 << 24) / 50.0
}

fn main() {
    // `cargo test --benches` runs benches too, and this one is not a test.
    if !std::env::args().any(|a| a == "--bench") {
        return;
    }
    let series = std::env::var("KUBESTRATA_BENCH_SERIES").map_or(20_000, |n| n.parse().unwrap());
    let names: Vec<Labels> = (0..series).map(labels).collect();
    match std::env::var("KUBESTRATA_BENCH_FAMILY").ok().map(|nth| nth.parse::<usize>().unwrap()) {
        Some(nth) => family(nth, &names),
        None => all(series),
    }
}

/// Each family has a process of its own: memory that another gave back would be used again.
fn all(series: usize) {
    one_pass();
    println!("\n| {series} series | ns a series and tick | bytes a series |\n|---|---|---|");
    let me = std::env::current_exe().unwrap();
    for nth in 0..=FAMILIES.len() {
        let mut child = Command::new(&me);
        child.arg("--bench").env("KUBESTRATA_BENCH_FAMILY", nth.to_string());
        assert!(child.status().unwrap().success());
    }
}

fn family(nth: usize, names: &[Labels]) {
    let Some((family, name, shown)) = FAMILIES.get(nth) else {
        return measure(
            "durations, one an hour",
            signal("storage_attach_seconds"),
            names,
            |tick| {
                let of = |(nth, labels): (usize, &Labels)| (labels.clone(), durations(nth, tick));
                Series::Histograms(names.iter().enumerate().map(of).collect())
            },
        );
    };
    measure(family, signal(name), names, |tick| {
        let of = |(nth, labels): (usize, &Labels)| Reading {
            labels: labels.clone(),
            value: shown(nth, tick),
            population: None,
        };
        Series::Values(names.iter().enumerate().map(of).collect())
    });
}

/// The detector of `backtest`: how many samples of a gauge with a season it takes a second.
fn one_pass() {
    const SAMPLES: u32 = 4_000_000;
    let sample = |n: u32| {
        let time = f64::from(n) * 300.0;
        (
            time,
            (time / 86_400.0 * std::f64::consts::TAU).sin() * 20.0
                + restless(1, i64::from(n)) * 100.0,
        )
    };
    let samples: Vec<(f64, f64)> = (0..SAMPLES).map(sample).collect();
    let mut gauge = Gauge::default();
    let begun = Instant::now();
    for (time, value) in &samples {
        black_box(gauge.judge(*time, *value));
    }
    let took = begun.elapsed().as_secs_f64();
    let (rate, bytes) = (f64::from(SAMPLES) / took / 1e6, size_of::<Gauge>());
    println!("| one-pass gauge | million samples a second | bytes a series |\n|---|---|---|");
    println!("| with season | {rate:.1} | {bytes} |");
}

fn signal(name: &str) -> &'static Signal {
    layers::signals().find(|s| s.name == name).unwrap()
}

fn labels(nth: usize) -> Labels {
    let (namespace, name) = (format!("namespace-{:03}", nth / 100), format!("object-{nth:06}"));
    kubestrata::labels![namespace.as_str(), name.as_str()]
}

fn durations(series: usize, tick: i64) -> Histogram {
    let Read::Histogram(bounds) = signal("storage_attach_seconds").read else { unreachable!() };
    let count = ((tick + series as i64 * 7) / 240) as u64;
    let mut buckets = vec![0; bounds.len() + 1];
    (buckets[2], buckets[5]) = (count - count / 10, count / 10);
    Histogram { buckets, sum: count as f64 * 4.0, count }
}

fn measure(family: &str, signal: &Signal, names: &[Labels], shown: impl Fn(i64) -> Series) {
    let series = names.len();
    // What the series take that are shown is none of the past's.
    (0..3).for_each(|tick| drop(black_box(shown(tick))));
    let before = resident();
    let settings = Settings::default().baseline;
    let mut baselines = Baselines::default();
    let mut judging = Duration::ZERO;
    for tick in 0..WARM + MEASURED {
        let shown = shown(tick);
        let now = |tick: i64| Timestamp::from_second(1_800_000_000 + tick * TICK).unwrap();
        let at = Circumstances {
            disruptions: &Disruptions::default(),
            now: now(tick),
            watching_since: now(0),
            settled: true,
            settings: &settings,
            limit: usize::MAX,
        };
        let begun = Instant::now();
        black_box(baselines.tick(at).judge(signal, &shown, |_| false));
        if tick >= WARM {
            judging += begun.elapsed();
        }
    }
    let each = judging.as_nanos() as f64 / (series as i64 * MEASURED) as f64;
    let bytes = resident().saturating_sub(before) / series;
    println!("| {family} | {each:.0} | {bytes} |");
    assert_eq!(baselines.len(), series);
}

/// What the process holds in memory, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
