//! Does a Prometheus draw about the bands that kubestrata does? Its rules in `alerts/`, evaluated by promtool beside the
//! daemon's own judgement of the same two days.

#![allow(clippy::unwrap_used)]

mod bed;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::{Timestamp, ToSpan};
use kubestrata::baselines::{Baselines, Circumstances};
use kubestrata::config::{Bands, BaselineSettings, Settings};
use kubestrata::layers;
use kubestrata::model::disruption::Disruptions;
use kubestrata::model::expectation::Expectation;
use kubestrata::model::reading::{Labels, Reading};
use kubestrata::model::report::Series;
use kubestrata::model::signal::{Family, Signal};

/// Two days: one to know what is usual, one to know how far values are from it.
const MINUTES: u32 = 2 * 1440;

const GAUGE: &str = "storage_pv_retained_bytes";
const COUNTER: &str = "compute_oom_kills_total";
const GIB: f64 = (1_u64 << 30) as f64;

fn rule_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("alerts/bands.rules.yaml")
}

fn signal(name: &str) -> &'static Signal {
    layers::signals().find(|s| s.name == name).unwrap()
}

/// Rough, with an outlier now and then.
fn level(minute: u32) -> f64 {
    let rough = f64::from(minute.wrapping_mul(2_654_435_761) >> 16 & 0xff) / 64.0;
    let outlier = if minute.is_multiple_of(97) { 6.0 } else { 0.0 };
    ((50.0 + rough + outlier) * GIB).round()
}

/// Three in an hour, none of them at the same distance.
fn total(minute: u32) -> f64 {
    f64::from((0..=minute).filter(|m| [3, 11, 42].contains(&(m % 60))).count() as u32)
}

/// What kubestrata expects at each minute of the last hour.
fn expected(signal: &'static Signal, value: fn(u32) -> f64) -> Vec<(u32, Expectation)> {
    let start: Timestamp = "2026-03-02T00:00:00Z".parse().unwrap();
    let settings = BaselineSettings { bands: Bands::All, ..Settings::default().baseline };
    let labels = Labels::new(signal.labels.iter().map(|name| (*name).into()));
    let mut baselines = Baselines::default();
    let mut last = Vec::new();
    for minute in 0..MINUTES {
        let now = start + i64::from(minute).minutes();
        let reading = Reading { labels: labels.clone(), value: value(minute), population: None };
        let at = Circumstances {
            disruptions: &Disruptions::default(),
            now,
            watching_since: start,
            settled: true,
            settings: &settings,
            limit: 10,
        };
        let series = Series::Values(vec![reading]);
        let found = baselines.tick(at).judge(signal, &series, |_| false);
        if minute >= MINUTES - 60 {
            last.extend(found.into_iter().map(|(_, expectation)| (minute, expectation)));
        }
    }
    last
}

fn labels_of(signal: &Signal, more: &str) -> String {
    let labels = signal.labels.iter().map(|name| format!("{name}=\"{name}\""));
    format!(
        "{{{}}}",
        labels.chain([more.to_owned()]).filter(|l| !l.is_empty()).collect::<Vec<_>>().join(", ")
    )
}

/// A promtool test in which each rule is as near to what kubestrata said as `within`.
fn case(
    signal: &Signal,
    value: fn(u32) -> f64,
    minute: u32,
    checks: &[(&str, f64, f64)],
) -> String {
    let values: Vec<String> = (0..MINUTES).map(|minute| value(minute).to_string()).collect();
    let series = format!("kubestrata_{}{}", signal.name, labels_of(signal, ""));
    let mut out = format!(
        "- interval: 1m\n  input_series:\n  - series: '{series}'\n    values: '{}'\n  promql_expr_test:\n",
        values.join(" ")
    );
    let labels = labels_of(signal, &format!("signal=\"{}\"", signal.name));
    for (record, ours, within) in checks {
        let rule = format!("kubestrata:baseline_{record}:1d{{signal=\"{}\"}}", signal.name);
        let _ = write!(
            out,
            "  - expr: abs({rule} - {ours}) < bool {within}\n    eval_time: {minute}m\n    exp_samples: \
             [{{labels: '{labels}', value: 1}}]\n"
        );
    }
    out
}

/// The rules of two signals alone: all of them over two days take minutes.
fn their_rules(signals: [&Signal; 2]) -> String {
    const BEGIN: &str = "  - record:";
    let text = std::fs::read_to_string(rule_file()).unwrap();
    let named =
        |rule: &&str| signals.iter().any(|s| rule.contains(&format!("{{signal: {}}}", s.name)));
    let rules: Vec<String> = (text.split("- name:").skip(1))
        .flat_map(|group| group.split(BEGIN).skip(1))
        .filter(named)
        .map(|rule| format!("{BEGIN}{}\n", rule.trim_end()))
        .collect();
    assert_eq!(rules.len(), 7, "{rules:?}");
    format!("groups:\n- name: bands\n  rules:\n{}", rules.concat())
}

fn promtool(arguments: &[&str]) -> (bool, String) {
    let done = Command::new(bed::bin("promtool")).args(arguments).output().unwrap();
    (done.status.success(), String::from_utf8([done.stdout, done.stderr].concat()).unwrap())
}

#[test]
fn rules_are_valid_and_there_are_some_for_each_judged_value() {
    let (valid, words) =
        promtool(&["check", "rules", "--lint-fatal", rule_file().to_str().unwrap()]);
    assert!(valid, "{words}");
    let text = std::fs::read_to_string(rule_file()).unwrap();
    for signal in layers::signals() {
        let judged = !matches!(signal.profile.family(), None | Some(Family::Duration));
        let ruled = text.contains(&format!("labels: {{signal: {}}}", signal.name));
        assert_eq!(judged, ruled, "{}", signal.name);
    }
}

#[test]
fn prometheus_draws_about_the_same_bands() {
    let (gauge, counter) = (signal(GAUGE), signal(COUNTER));
    let (minute, e) = expected(gauge, level).pop().unwrap();
    assert!(e.upper - e.expected > 4.0 * GIB, "wider than its floor: {e:?}");
    let within = (e.upper - e.expected) / 5.0;
    let checks =
        [("expected", e.expected, within), ("lower", e.lower, within), ("upper", e.upper, within)];
    let of_gauge = case(gauge, level, minute, &checks);
    // Of the three windows that kubestrata judges the rules have the shortest.
    let all = expected(counter, total);
    let short = |e: &Expectation| e.window.is_some_and(|w| w.as_mins() == 10);
    let (minute, e) = all.into_iter().rfind(|(_, e)| short(e)).unwrap();
    let checks = [("expected", e.expected, 0.05), ("upper", e.upper, 1.0)];
    let of_counter = case(counter, total, minute, &checks);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bands.test.yaml");
    std::fs::write(directory.path().join("rules.yaml"), their_rules([gauge, counter])).unwrap();
    let text =
        |tests: &str| format!("rule_files: [rules.yaml]\nevaluation_interval: 1m\ntests:\n{tests}");
    std::fs::write(&file, text(&format!("{of_gauge}{of_counter}"))).unwrap();
    let (same, words) = promtool(&["test", "rules", file.to_str().unwrap()]);
    assert!(same, "{words}");
    // And it would say so if they were not.
    let off = case(counter, total, minute, &[("upper", e.upper + 2.0, 1.0)]);
    std::fs::write(&file, text(&off)).unwrap();
    assert!(!promtool(&["test", "rules", file.to_str().unwrap()]).0);
}
