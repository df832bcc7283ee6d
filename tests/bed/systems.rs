//! What do the systems say that the ready-made queries ask about? `systems.txt` has it, with the names and labels of the
//! real ones; counters grow with each scrape, and while all is bad those of failures do too.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{self, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde_json::{Map, Value, json};

/// How often each thing happens between two scrapes.
const STEP: u64 = 100;

/// Systems that can turn bad and back. They end with the test's runtime.
#[derive(Clone, Debug)]
pub struct Systems {
    address: String,
    told: Arc<Told>,
}

#[derive(Debug, Default)]
struct Told {
    bad: AtomicBool,
    counts: Mutex<BTreeMap<String, Counts>>,
}

/// What has happened so far in a system.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    good: u64,
    failed: u64,
}

impl Systems {
    /// Starts them, all well.
    pub async fn start() -> Self {
        let address = format!("127.0.0.1:{}", super::free_port());
        let listener = tokio::net::TcpListener::bind(&address).await;
        let listener = listener.unwrap_or_else(|error| panic!("{address}: {error}"));
        let told = Arc::new(Told::default());
        let router = Router::new()
            .route("/metrics/{system}", get(tell))
            .route("/api/v2/alerts", post(take_alerts))
            .with_state(told.clone());
        tokio::spawn(axum::serve(listener, router).into_future());
        Self { address, told }
    }

    /// From now on all goes wrong, or well again.
    pub fn set_bad(&self, bad: bool) {
        self.told.bad.store(bad, Ordering::SeqCst);
    }

    /// The configuration of a Prometheus on this port that scrapes each system as a job of its name, and itself, every
    /// second, and sends alerts to an Alertmanager that does not take them while all is bad.
    pub fn prometheus_config(&self, port: u16, rules: &Path) -> Value {
        let job = |(name, labels, _): (&str, Map<String, Value>, &str)| {
            json!({"job_name": name, "metrics_path": format!("/metrics/{name}"),
                "static_configs": [{"targets": [self.address], "labels": labels}]})
        };
        let mut jobs: Vec<Value> = sections().map(job).collect();
        let itself = format!("127.0.0.1:{port}");
        jobs.push(json!({"job_name": "prometheus", "static_configs": [{"targets": [itself]}]}));
        json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [rules],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [self.address]}]}]},
            "scrape_configs": jobs,
        })
    }

    /// Rules: while all is bad one can't be evaluated, and another has an alert fire.
    pub fn rules() -> Value {
        json!({"groups": [
            {"name": "pairs", "rules": [{"record": "pair", "expr": "pair_left * on () pair_right"}]},
            {"name": "alerts", "rules": [{"alert": "AllIsBad", "expr": "all_is_bad == 1"}]},
        ]})
    }
}

/// The systems: their names, the labels that the targets of their jobs get, and what they tell.
fn sections() -> impl Iterator<Item = (&'static str, Map<String, Value>, &'static str)> {
    let sections = include_str!("systems.txt").split("\n#### ").skip(1);
    sections.map(|section| {
        let (head, body) = section.split_once('\n').unwrap_or((section, ""));
        let mut words = head.split_whitespace();
        let name = words.next().unwrap_or_default();
        let label = |word: &str| word.split_once('=').map(|(k, v)| (k.to_owned(), json!(v)));
        (name, words.filter_map(label).collect(), body)
    })
}

async fn tell(
    State(told): State<Arc<Told>>,
    extract::Path(name): extract::Path<String>,
) -> (StatusCode, String) {
    let bad = told.bad.load(Ordering::SeqCst);
    let Some((.., template)) = sections().find(|(section, ..)| *section == name) else {
        return (StatusCode::NOT_FOUND, String::new());
    };
    if bad && name == "flaky" {
        return (StatusCode::SERVICE_UNAVAILABLE, String::new());
    }
    let mut counts = told.counts.lock().unwrap_or_else(PoisonError::into_inner);
    let counts = counts.entry(name).or_default();
    counts.good += STEP;
    counts.failed += if bad { STEP } else { 0 };
    (StatusCode::OK, template.lines().filter_map(|line| filled(line, *counts, bad)).collect())
}

/// A line with its numbers; `None` where it is not told: `$failed` before the first failure, `$bad` while all is well.
fn filled(line: &str, counts: Counts, bad: bool) -> Option<String> {
    let Counts { good, failed } = counts;
    if line.ends_with("$failed") && failed == 0 || line.ends_with("$bad") && !bad {
        return None;
    }
    let (series, value) = line.rsplit_once(' ').unwrap_or((line, ""));
    let value = match value {
        "$good" => good.to_string(),
        "$failed" => failed.to_string(),
        "$all" => (good + failed).to_string(),
        "$bad" => "1".to_owned(),
        other => {
            match other.strip_prefix("$(").and_then(|o| o.strip_suffix(')')?.split_once('|')) {
                Some((when_well, when_bad)) => if bad { when_bad } else { when_well }.to_owned(),
                None => other.to_owned(),
            }
        }
    };
    Some(format!("{series} {value}\n"))
}

/// An Alertmanager that takes alerts when all is well.
async fn take_alerts(State(told): State<Arc<Told>>) -> StatusCode {
    match told.bad.load(Ordering::SeqCst) {
        true => StatusCode::INTERNAL_SERVER_ERROR,
        false => StatusCode::OK,
    }
}
