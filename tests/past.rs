//! Is what a Prometheus remembers judged as the same samples in a file are, and do baselines begin with it? A real one,
//! asked in more than one part.

#![allow(clippy::unwrap_used)]

mod bed;

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use jiff::{Timestamp, ToSpan};
use kubestrata::clock::Clock;
use kubestrata::config::Settings;
use kubestrata::pipeline::{Pipeline, State};
use kubestrata::sources::{self, PrometheusAccess};
use serde_json::Value;
use tempfile::TempDir;

/// A minute apart: more than a Prometheus answers at once.
const MINUTES: u32 = 11_500;
/// The shop `a` sells more from here on; of `b` nothing is known in between, and nothing before its first.
const SHIFT: u32 = 11_000;
const GAP: std::ops::Range<u32> = 9_940..10_060;
const FIRST_OF_B: u32 = 600;

fn time(minute: u32) -> Timestamp {
    let monday: Timestamp = "2026-03-02T00:00:00Z".parse().unwrap();
    monday + i64::from(minute).minutes()
}

/// What a shop sold in a minute: goes up and down with the day, and is rough.
fn sold(shop: &str, minute: u32) -> Option<f64> {
    let day = (f64::from(minute) / 1440.0 * std::f64::consts::TAU).sin();
    let rough = f64::from(minute * 7919 % 101) / 10.0;
    match shop {
        "a" => Some(200.0 + 50.0 * day + rough + if minute < SHIFT { 0.0 } else { 400.0 }),
        _ => (minute >= FIRST_OF_B && !GAP.contains(&minute)).then_some(500.0 - 80.0 * day + rough),
    }
}

/// Both shops as Prometheus takes in what is past.
fn openmetrics() -> String {
    let mut out = "# TYPE sold gauge\n".to_owned();
    for shop in ["b", "a"] {
        for (minute, value) in (0..MINUTES).filter_map(|m| Some((m, sold(shop, m)?))) {
            writeln!(out, "sold{{shop=\"{shop}\"}} {value} {}", time(minute).as_second()).unwrap();
        }
    }
    out + "# EOF\n"
}

/// One shop as a file.
fn csv(shop: &str, from: u32) -> String {
    let mut out = "timestamp,value\n".to_owned();
    for minute in from..MINUTES {
        let value = sold(shop, minute).map_or_else(String::new, |v| v.to_string());
        writeln!(out, "{},{value}", time(minute)).unwrap();
    }
    out
}

struct Told {
    code: Option<i32>,
    out: String,
    err: String,
}

fn backtest(directory: &Path, arguments: &[&str]) -> Told {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubestrata"));
    let done = command.arg("backtest").args(arguments).current_dir(directory).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Told { code: done.status.code(), out: text(done.stdout), err: text(done.stderr) }
}

/// Asks for the whole past that there is. What is older than a minute is not carried on: a gap is a gap.
fn ask(directory: &Path, url: &str, what: &str, more: &[&str]) -> Told {
    let query = format!("last_over_time({what}[1m])");
    let (start, end) = (time(0).to_string(), time(MINUTES - 1).as_second().to_string());
    let asked = ["--prometheus", url, "--query", &query, "--start", &start, "--end", &end];
    backtest(directory, &[&asked[..], more].concat())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prometheus_is_judged_as_the_same_samples_in_files_are() {
    let prometheus = bed::Prometheus::start_remembering(&openmetrics()).await;
    let (directory, url) = (TempDir::new().unwrap(), prometheus.url());
    let folder = directory.path();
    std::fs::write(folder.join("a.csv"), csv("a", 0)).unwrap();
    std::fs::write(folder.join("b.csv"), csv("b", FIRST_OF_B)).unwrap();

    let asked = ask(folder, &url, "sold", &["-o", "json", "--svg", "pictures"]);
    assert_eq!(asked.code, Some(0), "{}", asked.err);
    let asked: Value = serde_json::from_str(&asked.out).unwrap();
    let read: Value =
        serde_json::from_str(&backtest(folder, &["a.csv", "b.csv", "-o", "json"]).out).unwrap();
    let names = |all: &Value| [all[0]["name"].clone(), all[1]["name"].clone()];
    assert_eq!(names(&asked), ["sold{shop=\"a\"}", "sold{shop=\"b\"}"]);
    for shop in [0, 1] {
        let rows = |all: &Value| all[shop]["samples"].as_array().unwrap().clone();
        let (asked_rows, read_rows) = (rows(&asked), rows(&read));
        assert_eq!(asked_rows.len(), read_rows.len());
        let differs = asked_rows.iter().zip(&read_rows).find(|(asked, read)| asked != read);
        assert_eq!(differs, None);
        assert_eq!(asked[shop]["episodes"], read[shop]["episodes"]);
    }
    let (shift, second) = (time(SHIFT).to_string(), time(SHIFT + 1).to_string());
    let begins: Vec<&Value> =
        asked[0]["episodes"].as_array().unwrap().iter().map(|e| &e["from"]).collect();
    assert!(begins.iter().any(|b| **b == shift || **b == second), "{begins:?}");
    let of_b = asked[1]["samples"].as_array().unwrap();
    assert_eq!(of_b.len(), (MINUTES - FIRST_OF_B) as usize);
    let unknown: Vec<&Value> = of_b.iter().filter(|row| row["value"].is_null()).collect();
    assert_eq!(unknown.len(), GAP.len());
    assert_eq!(unknown[0]["timestamp"], time(GAP.start).to_string());
    for picture in ["sold_shop_a", "sold_shop_b"] {
        assert!(folder.join(format!("pictures/{picture}.svg")).exists(), "{picture}");
    }

    let one = ask(folder, &url, "sold{shop=\"a\"}", &["-o", "csv"]);
    assert_eq!(one.out, backtest(folder, &["a.csv", "-o", "csv"]).out);
    let both = ask(folder, &url, "sold", &["-o", "csv"]);
    assert_eq!(both.code, Some(2), "{}", both.err);
    assert!(both.err.contains("-o csv is for one series") && both.err.contains("there are 2"));
    let table = ask(folder, &url, "sold", &["--step", "5m"]);
    assert!(table.out.contains("sold{shop=\"a\"}: 2300 samples") && table.out.contains('▲'));
    assert_eq!(table.err, "", "no bar where nobody sees it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_prometheus_refuses_is_told_in_its_words() {
    let prometheus =
        bed::Prometheus::start_remembering("# TYPE a gauge\na 1 1772409600\n# EOF\n").await;
    let (directory, url) = (TempDir::new().unwrap(), prometheus.url());
    let elsewhere = format!("{url}/elsewhere");
    let secret = "http://me:let-me-in@127.0.0.1:1";
    for (url, query, words) in [
        (&*url, "sold{", vec![&*url, "parse error", "(400)"]),
        (&*url, "\"text\"", vec!["invalid expression type", "(400)"]),
        (&*url, "none", vec!["the query has no series from 2026-03-02T00:00:00Z"]),
        (&*elsewhere, "up", vec![&*elsewhere, "/api/v1/query_range answers 404 Not Found"]),
        (secret, "up", vec!["http://127.0.0.1:1: ", "refused"]),
    ] {
        let range = ["--start", "2026-03-02", "--end", "2026-03-02 01:00:00"];
        let asked = ["--prometheus", url, "--query", query];
        let told = backtest(directory.path(), &[&asked[..], &range].concat());
        assert_eq!(told.code, Some(1), "{query}: {}", told.err);
        let all = words.iter().all(|word| told.err.contains(word));
        assert!(all && told.err.lines().count() == 1, "{query}: {}", told.err);
        assert!(told.out.is_empty() && !told.err.contains("let-me-in"), "{}", told.err);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guarded_prometheus_lets_in_who_knows_the_word_and_trusts_its_authority() {
    let directory = TempDir::new().unwrap();
    let (cert, key) = bed::certificate(directory.path(), "prometheus");
    let ten = (0..10).map(|m| format!("a {m} {}\n", time(m).as_second()));
    let past = format!("# TYPE a gauge\n{}# EOF\n", ten.collect::<String>());
    let (_prometheus, url) = bed::Prometheus::start_guarded(&past, &cert, &key).await;
    let known = url.replace("https://", "https://me:let%2Dme%2Din@");
    let ask = |url: &str, more: &[&str]| {
        let range = ["--start", "2026-03-02", "--end", "2026-03-02 00:09:00", "-o", "csv"];
        let asked = ["--prometheus", url, "--query", "a"];
        backtest(directory.path(), &[&asked[..], &range, more].concat())
    };
    let trusting = ["--ca-file", "prometheus.pem"];
    let told = ask(&known, &trusting);
    assert_eq!((told.code, told.out.lines().count()), (Some(0), 11), "{}", told.err);
    for (url, more, words) in [
        (&url, &trusting[..], "/api/v1/query_range answers 401 Unauthorized"),
        (&known, &[], "certificate"),
    ] {
        let told = ask(url, more);
        assert_eq!(told.code, Some(1), "{}", told.err);
        assert!(told.err.starts_with("kubestrata: https://127.0.0.1:"), "{}", told.err);
        assert!(told.err.contains(words) && told.err.lines().count() == 1, "{}", told.err);
    }
}

/// A day of our own series until now, as two replicas show them: what one misses, the other has.
fn own_series(now: i64) -> String {
    let mut out = "# TYPE kubestrata_storage_csi_node_coverage_ratio gauge\n".to_owned();
    for replica in ["a", "b"] {
        for minute in (0..1440).filter(|m| replica == "a" || m % 100 != 50) {
            let at = now - (1440 - minute) * 60;
            let labels = format!("driver=\"block\",job=\"kubestrata\",pod=\"{replica}\"");
            writeln!(out, "kubestrata_storage_csi_node_coverage_ratio{{{labels}}} 1 {at}").unwrap();
        }
    }
    out.push_str("# TYPE kubestrata_compute_node_ready_flaps counter\n");
    for minute in 0..1440 {
        let (at, flaps) = (now - (1440 - minute) * 60, minute / 60);
        let labels = "node=\"n\",zone=\"z\",job=\"kubestrata\"";
        writeln!(out, "kubestrata_compute_node_ready_flaps_total{{{labels}}} {flaps} {at}")
            .unwrap();
        let other = "node=\"n\",zone=\"z\",job=\"another\"";
        writeln!(out, "kubestrata_compute_node_ready_flaps_total{{{other}}} {minute} {at}")
            .unwrap();
    }
    out + "# EOF\n"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn baselines_begin_with_what_a_prometheus_has_kept_of_them() {
    let now = Clock::system().now();
    let prometheus = bed::Prometheus::start_remembering(&own_series(now.as_second())).await;
    let mut settings = Settings::default();
    settings.prometheus.url = Some(prometheus.url());
    let mut pipeline = Pipeline::new(settings.clone(), State::default());
    let signals = pipeline.signals().to_vec();
    let access = PrometheusAccess { url: prometheus.url(), ..PrometheusAccess::default() };
    let window = settings.baseline.window;
    let kept =
        sources::history(&access, "job=\"kubestrata\"", &signals, window, now).await.unwrap();
    let known = |name: &str| {
        let series: Vec<_> = kept.series.iter().filter(|s| s.signal.name == name).collect();
        assert_eq!(series.len(), 1, "two replicas are one: {series:?}");
        let values = series[0].values.iter().copied().filter(|v| v.is_finite());
        (series[0].labels.iter().map(str::to_owned).collect::<Vec<_>>(), values.collect::<Vec<_>>())
    };
    let (labels, coverage) = known("storage_csi_node_coverage_ratio");
    assert_eq!(labels[0], "block");
    assert!(coverage.len() > 1400 && coverage.iter().all(|v| *v == 1.0));
    let (labels, flaps) = known("compute_node_ready_flaps_total");
    assert_eq!(labels, ["n", "z"]);
    assert_eq!((flaps[0], flaps[flaps.len() - 1]), (0.0, 23.0), "none of another job's");
    assert!(!pipeline.has_pasts());
    assert_eq!(pipeline.relive(&kept), 2);
    assert!(pipeline.has_pasts());

    let refused = sources::history(&access, "job=", &signals, window, now).await.unwrap_err();
    assert!(refused.to_string().contains("parse error"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_without_a_state_says_with_what_it_begins() {
    let prometheus =
        bed::Prometheus::start_remembering(&own_series(Clock::system().now().as_second())).await;
    let cluster = bed::Cluster::start(&bed::ClusterOptions::default());
    let kubeconfig = cluster.kubeconfig();
    let arguments = ["run", "--kubeconfig", kubeconfig.to_str().unwrap()];
    let url = prometheus.url();
    for (url, told) in [
        (&*url, "baselines begin with what Prometheus has kept"),
        ("http://127.0.0.1:1", "could not take over a past from Prometheus"),
    ] {
        let env = [
            ("KUBESTRATA_PROMETHEUS_URL", url),
            ("KUBESTRATA_PROMETHEUS_HISTORY", "job=\"kubestrata\""),
        ];
        let mut daemon = bed::Kubestrata::start_with(&arguments, &env);
        daemon.wait_ready().await;
        assert!(daemon.log().contains(told), "{}", daemon.log());
        assert!(daemon.terminate().await.success());
    }
}
