//! Does each panel of `dashboards/` have something to show? Its queries, asked of a Prometheus that scrapes the demo.

#![allow(clippy::unwrap_used)]

mod bed;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use bed::{Kubestrata, Prometheus, eventually};
use kubestrata::exports::prometheus::OWN_METRICS;
use kubestrata::model::layer::Layer;
use kubestrata::model::signal::Unit;
use kubestrata::{catalog, layers};
use regex::Regex;
use serde_json::Value;

/// The dashboards by file name.
fn dashboards() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let parse = |path: &Path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let mut all: Vec<_> = files.map(|path| (name(&path), parse(&path))).collect();
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    all
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

/// The panels that show something: rows are headings.
fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    list(dashboard, "panels").iter().filter(|panel| text(panel, "type") != "row")
}

#[test]
fn each_file_is_declared_and_each_dashboard_has_a_uid_of_its_own() {
    let declared: BTreeSet<String> = catalog::dashboards().into_iter().map(|(f, _)| f).collect();
    let found: BTreeSet<String> =
        dashboards().iter().map(|(file, _)| format!("dashboards/{file}")).collect();
    assert_eq!(declared, found, "a file that no declaration writes");
    let mut uids = BTreeSet::new();
    for (file, dashboard) in dashboards() {
        let uid = text(&dashboard, "uid").to_owned();
        assert_eq!(file, format!("{uid}.json"));
        assert!(uid.len() <= 40 && uids.insert(uid), "{file}");
        assert!(text(&dashboard, "title").starts_with("Kubestrata / "), "{file}");
        assert!(text(&dashboard, "description").ends_with('.'), "{file}");
        assert_eq!(dashboard["tags"], serde_json::json!(["kubestrata"]), "{file}");
        assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 39, "{file}");
        assert_eq!(text(&dashboard, "timezone"), "utc", "{file}");
        assert!(dashboard["id"].is_null(), "{file}: an id is given where it is imported");
        let link = &list(&dashboard, "links")[0];
        let kept = [&link["keepTime"], &link["includeVars"], &link["asDropdown"]];
        assert!(kept.iter().all(|kept| **kept == true), "{file}: {link}");
    }
}

#[test]
fn each_panel_asks_and_says_when_it_is_empty() {
    for (file, dashboard) in &dashboards() {
        let (mut ids, mut titles) = (BTreeSet::new(), BTreeSet::new());
        for panel in list(dashboard, "panels") {
            let title = text(panel, "title");
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{file}: {title}");
            assert!(titles.insert(title), "{file}: two panels ask: {title}");
        }
        for panel in panels(dashboard) {
            let title = text(panel, "title");
            assert!(title.ends_with('?'), "{file}: {title} asks nothing");
            assert!(text(panel, "description").ends_with('.'), "{file}: {title}");
            assert!(!text(&panel["fieldConfig"]["defaults"], "unit").is_empty(), "{file}: {title}");
            assert_eq!(text(panel, "interval"), "1m", "{file}: {title}");
            assert!(!list(panel, "targets").is_empty(), "{file}: {title}");
            let mut refs = BTreeSet::new();
            for target in list(panel, "targets") {
                assert!(refs.insert(text(target, "refId")), "{file}: {title}");
                let expr = text(target, "expr");
                let ranged = ["rate(", "increase("].iter().any(|f| expr.contains(f));
                let own = expr.contains("$__rate_interval") || title.contains("ten minutes");
                assert!(!ranged || own, "{file}: {title}: a window of its own");
                assert!(expr.contains("cluster=~\"$cluster\""), "{file}: {title}: {expr}");
            }
        }
    }
}

#[test]
fn no_panel_lies_on_another_or_leaves_the_page() {
    for (file, dashboard) in &dashboards() {
        let mut taken = BTreeSet::new();
        for panel in list(dashboard, "panels") {
            let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
            let title = text(panel, "title");
            assert!(at("w") > 0 && at("h") > 0 && at("x") + at("w") <= 24, "{file}: {title}");
            for x in at("x")..at("x") + at("w") {
                for y in at("y")..at("y") + at("h") {
                    assert!(taken.insert((x, y)), "{file}: {title} lies on another panel");
                }
            }
        }
    }
}

/// Each `datasource` anywhere in a dashboard.
fn datasources<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if name == "datasource" {
                    found.push(value);
                }
                datasources(value, found);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| datasources(value, found)),
        _ => {}
    }
}

#[test]
fn each_datasource_and_each_variable_is_one_that_can_be_chosen() {
    let variable = Regex::new(r"\$\{?([a-z_]+)\}?").unwrap();
    for (file, dashboard) in &dashboards() {
        let mut found = Vec::new();
        datasources(dashboard, &mut found);
        assert!(found.len() > 5, "{file}");
        for datasource in found {
            let uid = text(datasource, "uid");
            assert!(["${datasource}", "-- Grafana --"].contains(&uid), "{file}: {datasource}");
        }
        let declared: BTreeSet<&str> =
            list(&dashboard["templating"], "list").iter().map(|v| text(v, "name")).collect();
        assert!(declared.contains("datasource") && declared.contains("cluster"), "{file}");
        for panel in panels(dashboard) {
            let asked = list(panel, "targets").iter().map(|t| text(t, "expr"));
            for words in asked.chain([text(panel, "title")]) {
                for used in variable.captures_iter(words) {
                    let name = &used[1];
                    let known = declared.contains(name) || name == "__rate_interval";
                    assert!(known, "{file}: {words}: ${name} can't be chosen");
                }
            }
        }
    }
}

#[test]
fn each_signal_has_a_panel_in_the_unit_of_the_signal() {
    let all = dashboards();
    for layer in Layer::ALL {
        let file = format!("kubestrata-{layer}.json");
        let (_, dashboard) = all.iter().find(|(name, _)| *name == file).unwrap();
        for signal in layers::signals().filter(|s| s.layer == layer) {
            let name = Regex::new(&format!(r"kubestrata_{}(_bucket)?\{{", signal.name)).unwrap();
            let mut of = panels(dashboard)
                .filter(|p| list(p, "targets").iter().any(|t| name.is_match(text(t, "expr"))));
            let panel = of.next().unwrap_or_else(|| panic!("no panel of {}", signal.name));
            assert!(text(panel, "description").starts_with(signal.help), "{}", signal.name);
            let unit = match signal.unit {
                Unit::Count => "short",
                Unit::Ratio => "percentunit",
                Unit::Seconds => "s",
                Unit::Bytes => "bytes",
            };
            assert_eq!(text(&panel["fieldConfig"]["defaults"], "unit"), unit, "{}", signal.name);
            let targets: Vec<&str> =
                list(panel, "targets").iter().map(|t| text(t, "expr")).collect();
            let band = targets.iter().any(|expr| expr.contains("kubestrata_baseline_upper"));
            assert_eq!(band, signal.profile.level().is_some(), "{}", signal.name);
        }
    }
}

/// What a panel's query becomes with a value for each variable.
fn filled(expr: &str, signal: &str) -> String {
    let expr = expr.replace("${signal}", signal).replace("$signal", signal);
    let expr = expr.replace("$cluster", ".*").replace("$namespace", ".*");
    expr.replace("$__rate_interval", "10s")
}

/// The metrics that a query names.
fn named(expr: &str) -> BTreeSet<String> {
    let metric = Regex::new(r"\b((?:kubestrata|process)_[a-z0-9_]+)(?:\{|\b)").unwrap();
    let quoted = Regex::new(r#""[^"]*""#).unwrap();
    let bare = quoted.replace_all(expr, "");
    metric.captures_iter(&bare).map(|found| found[1].to_owned()).collect()
}

#[test]
fn each_metric_of_a_query_is_exported() {
    let signals = layers::signals().map(|s| format!("kubestrata_{}", s.name));
    let known: BTreeSet<String> =
        signals.chain(OWN_METRICS.iter().map(|m| m.name.to_owned())).collect();
    for (file, dashboard) in &dashboards() {
        for panel in panels(dashboard) {
            for target in list(panel, "targets") {
                for name in named(text(target, "expr")) {
                    let stem = name.trim_end_matches("_bucket");
                    assert!(known.contains(stem), "{file}: {name} is not exported");
                }
            }
        }
    }
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
    let (mut shown, mut empty) = (0, 0);
    for (file, dashboard) in dashboards() {
        for annotation in list(&dashboard["annotations"], "list") {
            let expr = text(annotation, "expr");
            if !expr.is_empty() {
                let found = prometheus.query(&filled(expr, "")).await;
                found.unwrap_or_else(|error| panic!("{file}: {expr}: {error:?}"));
            }
        }
        for panel in panels(&dashboard) {
            let title = text(panel, "title");
            let says = text(panel, "description").contains(catalog::EMPTY);
            let signal = chosen(&prometheus, title).await;
            for target in list(panel, "targets") {
                let query = filled(text(target, "expr"), &signal);
                let what = format!("{file}: {title}: {query}");
                // A query that Prometheus refuses is an error; a rate needs a second scrape.
                let found = eventually(Duration::from_secs(20), &what, async || {
                    let found = prometheus.query(&query).await?;
                    anyhow::ensure!(says || !found.is_empty(), "nothing");
                    anyhow::Ok(found)
                })
                .await;
                if found.is_empty() {
                    empty += 1;
                } else {
                    shown += 1;
                }
                shows_what_there_is(&prometheus, &query, &what).await;
            }
        }
    }
    assert!(shown > 80, "{shown} queries show something, {empty} nothing");
}

/// Where a signal has series, its panel may not be empty, whatever its description says.
async fn shows_what_there_is(prometheus: &Prometheus, query: &str, what: &str) {
    let names = named(query);
    let name = names.first().map_or("", String::as_str);
    let stem = name.trim_end_matches("_bucket").trim_start_matches("kubestrata_");
    if !layers::signals().any(|signal| signal.name == stem) {
        return;
    }
    // Nothing new within the interval is no fault of the query.
    let query = query.trim_end_matches(" > 0");
    // Both at one moment; what is new has no rate yet.
    let hidden = format!("absent({query}) and on () count({name} and {name} offset 10s)");
    eventually(Duration::from_secs(20), what, async || {
        let hidden = prometheus.query(&hidden).await?;
        anyhow::ensure!(hidden.is_empty(), "{name} has series, and the panel shows none");
        anyhow::Ok(())
    })
    .await;
}

/// What is chosen for `$signal`: of a panel of counters one of these.
async fn chosen(prometheus: &Prometheus, title: &str) -> String {
    if title.contains("ten minutes") {
        return "compute_probes_total".to_owned();
    }
    let named = "count by (signal) (kubestrata_baseline_expected{signal=~\".*_ratio\"})";
    let all = prometheus.query(named).await.unwrap();
    all.first().unwrap_or_else(|| panic!("no gauge has a band")).labels["signal"].clone()
}
