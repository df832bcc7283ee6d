//! Are the pictures of docs/detection.md what the families draw today? Writes them where they are not, and fails; CI only
//! fails.

#![allow(clippy::unwrap_used)]

use std::f64::consts::TAU;
use std::fs;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use kubestrata::backtest::{self, Judged, Judgement, Sample};
use kubestrata::baselines::gauge::{Statistic, THRESHOLD};
use kubestrata::baselines::{Baselines, Circumstances};
use kubestrata::config::{Bands, Settings};
use kubestrata::detectors::{Bounds, Detectors};
use kubestrata::layers;
use kubestrata::model::disruption::Disruptions;
use kubestrata::model::reading::{Labels, Reading};
use kubestrata::model::report::Series;
use kubestrata::model::signal::{Read, Signal};
use kubestrata::model::tally::Histogram;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
/// A Monday, at midnight.
const BEGIN: i64 = 1_800_230_400;

/// What a series shows so many seconds after the begin.
enum Shown {
    Value(f64),
    /// Of so many objects.
    Share(f64, u64),
    /// The totals by bucket.
    Durations(Vec<u64>),
}

struct Picture {
    file: &'static str,
    name: &'static str,
    signal: &'static str,
    hours: i64,
    shown: fn(i64) -> Shown,
}

const PICTURES: [Picture; 6] = [
    Picture {
        file: "counts",
        name: "a count: restarts in the ten minutes, or the hour, that surprise most; about one an hour, from hour 40 on one every three minutes",
        signal: "compute_container_restarts_total",
        hours: 44,
        shown: |t| Shown::Value(restarts(t)),
    },
    Picture {
        file: "levels",
        name: "a level: a share that wanders about a quarter; from hour 40 on three quarters",
        signal: "compute_requested_ratio",
        hours: 44,
        shown: |t| Shown::Value(if t > 40 * HOUR { 0.75 } else { 0.25 } + 0.02 * noise(t)),
    },
    Picture {
        file: "seasons",
        name: "a level with a season: busy by day, from the fourth day on with a band that follows; at the sixth midnight as busy as by day",
        signal: "compute_requested_ratio",
        hours: 126,
        shown: |t| {
            let of_day = (t as f64 / 86_400.0 * TAU).cos();
            let level = if t > 120 * HOUR { 0.6 } else { 0.45 - 0.25 * of_day };
            Shown::Value(level + 0.01 * noise(t))
        },
    },
    Picture {
        file: "shares",
        name: "a share of 12 objects: now and then one is not ready; from hour 40 on five are not",
        signal: "networking_dataplane_coverage_ratio",
        hours: 44,
        shown: |t| {
            let missing = match t {
                _ if t > 40 * HOUR => 5,
                _ => u64::from(noise(t / HOUR * HOUR) > 0.8),
            };
            Shown::Share((12 - missing) as f64 / 12.0, 12)
        },
    },
    Picture {
        file: "filling",
        name: "a share that fills up: slowly for two days, then by four hundredths an hour",
        signal: "storage_volume_used_ratio",
        hours: 60,
        shown: |t| {
            let fast = (t - 48 * HOUR).max(0) as f64 / HOUR as f64;
            Shown::Value(0.4 + t as f64 / HOUR as f64 * 1e-3 + 0.04 * fast + 0.002 * noise(t))
        },
    },
    Picture {
        file: "durations",
        name: "durations: half of the volumes of the last two hours were attached within so many seconds; from hour 30 on eight times as slowly",
        signal: "storage_attach_seconds",
        hours: 34,
        shown: |t| Shown::Durations(attached(t)),
    },
];

/// Between -1 and 1, without a pattern.
fn noise(at: i64) -> f64 {
    let mixed = (at as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

fn restarts(t: i64) -> f64 {
    let minutes = t / MINUTE;
    let of_chance = (0..minutes).filter(|minute| noise(minute * 7) > 1.0 - 2.0 / 60.0).count();
    let at_the_end = (minutes - 40 * 60).max(0) / 3;
    of_chance as f64 + at_the_end as f64
}

/// One every ten minutes; in the buckets up to 2, 5, 10 or 30 seconds.
fn attached(t: i64) -> Vec<u64> {
    let mut buckets = vec![0; bounds().len() + 1];
    for nth in 0..t / (10 * MINUTE) {
        let slow = nth * 10 * MINUTE > 30 * HOUR;
        let seconds = 2.0 * (0.7 * noise(nth)).exp() * if slow { 8.0 } else { 1.0 };
        let place = bounds().iter().position(|bound| seconds <= *bound).unwrap();
        buckets[place] += 1;
    }
    buckets
}

fn bounds() -> &'static [f64] {
    let Read::Histogram(bounds) = signal("storage_attach_seconds").read else { unreachable!() };
    bounds
}

fn signal(name: &str) -> &'static Signal {
    layers::signals().find(|signal| signal.name == name).unwrap()
}

/// The series as the daemon judges it, at a tick a minute.
fn play(picture: &Picture) -> Judged {
    let signal = signal(picture.signal);
    let labels = Labels::new(signal.labels.iter().map(|_| "x".into()));
    let mut settings = Settings::default();
    settings.baseline.bands = Bands::All;
    let time = |t: i64| Timestamp::from_second(BEGIN + t).unwrap();
    let (mut baselines, mut detectors) = (Baselines::default(), Detectors::default());
    let disruptions = Disruptions::default();
    let (mut samples, mut judgements) = (Vec::new(), Vec::new());
    for t in (0..picture.hours * HOUR).step_by(MINUTE as usize) {
        let mut tick = baselines.tick(Circumstances {
            now: time(t),
            watching_since: time(0),
            settled: true,
            disruptions: &disruptions,
            settings: &settings.baseline,
            limit: 10,
        });
        let series = series(&labels, (picture.shown)(t));
        let judged = tick.judge(signal, &series, |key| detectors.is_open(key));
        let bounds = Bounds {
            series: 300,
            tests: tick.tests(),
            ticks_per_day: 1_440.0,
            false_per_day: settings.baseline.false_per_day,
            all_bands: true,
            close_after: SignedDuration::from_mins(10),
            keep_closed: 10,
        };
        let all = judged.iter().map(|(key, e)| (key.clone(), signal, e.clone())).collect();
        detectors.step(all, bounds, time(t));
        let Some((key, expectation)) = judged.into_iter().next() else { continue };
        let told = if detectors.is_open(&key) { THRESHOLD } else { 0.0 };
        let stamp = format!("hour {}", t / HOUR);
        samples.push(Sample { time: t as f64, value: expectation.observed, stamp });
        judgements.push(Some(Judgement {
            expected: expectation.expected,
            band: expectation.mature.then_some((expectation.lower, expectation.upper)),
            surprise: -expectation.p_value.log10(),
            told,
            led_by: Statistic::Residual,
            seasonal: false,
        }));
    }
    Judged { name: picture.name.to_owned(), samples, judgements }
}

fn series(labels: &Labels, shown: Shown) -> Series {
    let reading = |value, population| {
        Series::Values(vec![Reading { labels: labels.clone(), value, population }])
    };
    match shown {
        Shown::Value(value) => reading(value, None),
        Shown::Share(value, of) => reading(value, Some(of)),
        Shown::Durations(buckets) => {
            let count = buckets.iter().sum();
            let held = Histogram { buckets, sum: 0.0, count };
            Series::Histograms(vec![(labels.clone(), held)])
        }
    }
}

/// The one-pass detector of `backtest`.
fn one_pass() -> Judged {
    let sample = |n: i64| {
        let t = n * 300;
        let season = 10.0 * (t as f64 / 86_400.0 * TAU).sin();
        let shift = if t > 200 * HOUR { 12.0 } else { 0.0 };
        let stamp = format!("hour {}", t / HOUR);
        Sample { time: (BEGIN + t) as f64, value: 50.0 + season + shift + 2.0 * noise(t), stamp }
    };
    let name = "the gauge of backtest: a season that it learns, and a shift at hour 200".to_owned();
    backtest::judge(name, (0..216 * 12).map(sample).collect())
}

#[test]
fn pictures_are_fresh() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/pictures");
    let families = PICTURES.iter().map(|picture| (picture.file, play(picture)));
    let mut stale = Vec::new();
    for (file, judged) in families.chain([("backtest", one_pass())]) {
        let told = judged.judgements.iter().flatten().filter(|j| j.is_anomaly()).count();
        assert!(told > 0, "{file}: what is unusual is not told");
        // Of the second quarter: the one-pass detector does not know the season before.
        let (begin, end) = (judged.judgements.len() / 4, judged.judgements.len() / 2);
        let early = judged.judgements[begin..end].iter().flatten().any(Judgement::is_anomaly);
        assert!(!early, "{file}: something is told while nothing is unusual");
        let (path, fresh) = (folder.join(format!("{file}.svg")), backtest::svg(&judged));
        if fs::read_to_string(&path).unwrap_or_default() != fresh {
            stale.push(file);
            if std::env::var_os("CI").is_none() {
                fs::create_dir_all(&folder).unwrap();
                fs::write(path, fresh).unwrap();
            }
        }
    }
    assert!(stale.is_empty(), "stale: {stale:?}; run `cargo test --test pictures` and commit them");
}
