//! Does each panel of `dashboards/` have something to show? Its queries, asked of a Prometheus that scrapes the demo.

#![allow(clippy::unwrap_used)]

mod bed;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use bed::{Kubestrata, Prometheus, eventually};
use serde_json::Value;

/// The dashboards by file name.
fn dashboards() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let parse = |path: &Path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    files.map(|path| (name(&path), parse(&path))).collect()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

#[test]
fn each_dashboard_asks_in_titles_and_says_when_a_panel_is_empty() {
    let all = dashboards();
    assert!(!all.is_empty());
    for (file, dashboard) in &all {
        assert!(text(dashboard, "uid").starts_with("kubestrata-"), "{file}");
        let (mut ids, mut asks) = (BTreeSet::new(), 0);
        for panel in dashboard["panels"].as_array().unwrap() {
            let title = text(panel, "title");
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{file}: {title}");
            assert!(title.ends_with('?'), "{file}: {title} asks nothing");
            assert!(text(panel, "description").ends_with('.'), "{file}: {title}");
            for target in panel["targets"].as_array().unwrap() {
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{file}: {title}");
                asks += 1;
            }
        }
        assert!(asks > 0, "{file}");
    }
}

/// What a panel's query becomes with a value for each variable.
fn filled(expr: &str, signal: &str) -> String {
    expr.replace("${signal}", signal).replace("$signal", signal).replace("$__rate_interval", "10s")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_panel_shows_something_of_the_demo_or_says_why_not() {
    let mut daemon = Kubestrata::start(&["demo", "--scenario", "all", "--speed", "300"]);
    daemon.wait_ready().await;
    let prometheus = Prometheus::start(&[&daemon.address()]).await;
    eventually(Duration::from_mins(3), "an anomaly is open", async || {
        let open = prometheus.value("count(kubestrata_anomaly_active)").await?;
        open.ok_or_else(|| anyhow::anyhow!("none yet"))
    })
    .await;
    let named = |kind: &str| {
        format!("count by (signal) (kubestrata_baseline_expected{{signal=~\".*_{kind}\"}})")
    };
    for (file, dashboard) in dashboards() {
        for panel in dashboard["panels"].as_array().unwrap() {
            let title = text(panel, "title");
            let (counter, empty) =
                (title.contains("ten minutes"), text(panel, "description").contains("Empty"));
            // A counter has a band while its anomaly is open.
            let signal = match counter {
                true => "compute_probes_total".to_owned(),
                false => {
                    let all = prometheus.query(&named("ratio")).await.unwrap();
                    all.first().unwrap_or_else(|| panic!("no gauge has a band")).labels["signal"]
                        .clone()
                }
            };
            for target in panel["targets"].as_array().unwrap() {
                let query = filled(text(target, "expr"), &signal);
                // A rate needs a second scrape.
                let what = format!("{file}: {title}: {query}");
                eventually(Duration::from_secs(20), &what, async || {
                    let found = prometheus.query(&query).await?;
                    anyhow::ensure!(empty || !found.is_empty(), "nothing");
                    Ok(())
                })
                .await;
            }
        }
    }
}
