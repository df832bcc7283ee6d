//! Do the alerts fire when they should, tell what to do, and silence what they explain? promtool, amtool, and a real
//! Prometheus and Alertmanager beside the demo.

#![allow(clippy::unwrap_used)]

mod bed;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bed::{Alertmanager, Kubestrata, Prometheus, eventually, throughout};
use kubestrata::exports::prometheus::OWN_METRICS;
use kubestrata::model::signal::{Profile, Read};
use kubestrata::{catalog, layers};
use regex::Regex;
use serde_json::{Value, json};

/// Metrics of kube-state-metrics and kubernetes-mixin, by which objects are joined with their pods.
const JOINED: &[(&str, &[&str])] = &[
    ("namespace_workload_pod:kube_pod_owner:relabel", &["namespace", "workload", "pod"]),
    ("node_namespace_pod:kube_pod_info:", &["node", "namespace", "pod"]),
    ("kube_job_owner", &["namespace", "job_name", "owner_kind", "owner_name"]),
];

/// Labels that come from the scrape.
const SCRAPED: &[&str] = &["job", "cluster", "instance"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn file(name: &str) -> PathBuf {
    root().join("alerts").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(file(name)).unwrap()
}

fn yaml(name: &str) -> Value {
    serde_saphyr::from_str(&text(name)).unwrap()
}

/// Whether a program of the bed is content, and its words.
fn content(program: &str, arguments: &[&str]) -> (bool, String) {
    let done = Command::new(bed::bin(program)).args(arguments).output().unwrap();
    (done.status.success(), String::from_utf8([done.stdout, done.stderr].concat()).unwrap())
}

fn rules() -> Vec<Value> {
    let groups = yaml("kubestrata.rules.yaml");
    let groups = groups["groups"].as_array().unwrap().clone();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

fn tests() -> Vec<Value> {
    let tests = yaml("tests/kubestrata.test.yaml");
    tests["tests"].as_array().unwrap().clone()
}

#[test]
fn rules_are_valid() {
    let rules = file("kubestrata.rules.yaml");
    let (valid, words) =
        content("promtool", &["check", "rules", "--lint-fatal", rules.to_str().unwrap()]);
    assert!(valid, "{words}");
}

#[test]
fn each_alert_fires_when_it_should_and_only_then() {
    let tests_file = file("tests/kubestrata.test.yaml");
    let (same, words) = content("promtool", &["test", "rules", tests_file.to_str().unwrap()]);
    assert!(same, "{words}");
    // With other rules it would say so.
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("tests")).unwrap();
    let copy = directory.path().join("tests/kubestrata.test.yaml");
    std::fs::copy(&tests_file, &copy).unwrap();
    let never = text("kubestrata.rules.yaml").replace("for: 1m", "for: 10h");
    std::fs::write(directory.path().join("kubestrata.rules.yaml"), never).unwrap();
    let (same, words) = content("promtool", &["test", "rules", copy.to_str().unwrap()]);
    assert!(!same && words.contains("KubestrataFindingCritical"), "{words}");
}

#[test]
fn each_alert_has_a_case_that_fires_and_one_that_does_not() {
    let cases: Vec<Value> =
        tests().iter().flat_map(|t| t["promql_expr_test"].as_array().unwrap().clone()).collect();
    for alert in catalog::alerts() {
        let about = format!("alertname=\"{}\"", alert.name);
        let of: Vec<&Value> =
            cases.iter().filter(|c| c["expr"].as_str().unwrap().contains(&about)).collect();
        let fires = |case: &&&Value| !case["exp_samples"].as_array().unwrap().is_empty();
        assert!(of.iter().any(|case| fires(&case)), "{} is never seen to fire", alert.name);
        assert!(of.iter().any(|case| !fires(&case)), "{} is never seen silent", alert.name);
    }
}

#[test]
fn each_alert_says_what_it_means_and_what_to_do() {
    let shipped: Vec<Value> = rules().into_iter().filter(|r| r["alert"].is_string()).collect();
    assert_eq!(shipped.len(), catalog::alerts().len());
    let named = Regex::new(r"\$labels\.([a-z_]+)").unwrap();
    for rule in shipped {
        let name = rule["alert"].as_str().unwrap();
        assert!(name.starts_with("Kubestrata"), "{name}");
        assert!(rule["for"].is_string(), "{name} has no `for`");
        let severity = rule["labels"]["severity"].as_str().unwrap();
        assert!(["critical", "warning", "none"].contains(&severity), "{name}: {severity}");
        let said = |annotation: &str| rule["annotations"][annotation].as_str().unwrap_or_default();
        for annotation in ["summary", "description"] {
            assert!(said(annotation).ends_with('.'), "{name}: {annotation}");
        }
        assert!(!said("summary").contains("{{"), "{name}: the summary is constant");
        let runbook = said("runbook_url").strip_prefix(catalog::RUNBOOKS).unwrap();
        assert_eq!(runbook, format!("/{name}.md"));
        let page = root().join("docs/runbooks").join(&runbook[1..]);
        let page = std::fs::read_to_string(&page).unwrap_or_else(|e| panic!("{name}: {e}"));
        for heading in ["## Meaning", "## Impact", "## Diagnosis", "## Mitigation"] {
            assert!(page.contains(heading), "{name} lacks {heading}");
        }
        // What the words name is a label that the expression keeps.
        let expr = rule["expr"].as_str().unwrap();
        for annotation in ["description", "dashboard_url", "signal_runbook_url"] {
            for label in named.captures_iter(said(annotation)) {
                let kept = Regex::new(&format!(r#"(by \([^)]*\b{0}\b|"{0}")"#, &label[1])).unwrap();
                // The recorded health keeps its layer.
                let health = expr.contains("kubestrata:layer_health") && &label[1] == "layer";
                assert!(health || kept.is_match(expr), "{name} loses {}", &label[1]);
            }
        }
        let dashboard = said("dashboard_url").strip_prefix(catalog::GRAFANA).unwrap();
        let dashboard = dashboard.strip_prefix("/d/").unwrap();
        let names = match dashboard.contains("{{ $labels.layer }}") {
            true => kubestrata::model::layer::Layer::ALL
                .map(|layer| dashboard.replace("{{ $labels.layer }}", layer.name()))
                .into(),
            false => vec![dashboard.to_owned()],
        };
        for name in names {
            assert!(root().join(format!("dashboards/{name}.json")).exists(), "{name}");
        }
    }
}

/// Each metric that we export, with its labels.
fn exported() -> BTreeMap<String, BTreeSet<&'static str>> {
    let signals = layers::signals().flat_map(|signal| {
        let name = format!("kubestrata_{}", signal.name);
        let labels: BTreeSet<&str> = signal.labels.iter().copied().collect();
        let suffixes: &[&str] = match signal.read {
            Read::Histogram(_) => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        suffixes.iter().map(move |suffix| (format!("{name}{suffix}"), labels.clone()))
    });
    let own = OWN_METRICS.iter().map(|m| (m.name.to_owned(), m.labels.iter().copied().collect()));
    let joined = JOINED.iter().map(|(n, l)| ((*n).to_owned(), l.iter().copied().collect()));
    signals.chain(own).chain(joined).collect()
}

#[test]
fn each_metric_and_label_of_the_rules_is_exported() {
    let exported = exported();
    let recorded: BTreeSet<String> =
        rules().iter().filter_map(|r| r["record"].as_str().map(str::to_owned)).collect();
    let metric = Regex::new(r"\b([a-z_]+:[a-z0-9_:]*|kube[a-z0-9_]*)(\{[^}]*\})?").unwrap();
    let matcher = Regex::new(r"([a-z_]+)(?:=~|!~|!=|=)").unwrap();
    let quoted = Regex::new(r#""[^"]*""#).unwrap();
    let mut looked_at = 0;
    for rule in rules() {
        let expr = rule["expr"].as_str().unwrap();
        let bare = quoted.replace_all(expr, "\"\"");
        for found in metric.captures_iter(&bare) {
            let name = &found[1];
            if recorded.contains(name) {
                continue;
            }
            let labels =
                exported.get(name).unwrap_or_else(|| panic!("{name} is not exported: {expr}"));
            let matchers = found.get(2).map_or("", |m| m.as_str());
            for label in matcher.captures_iter(matchers) {
                let known = labels.contains(&label[1]) || SCRAPED.contains(&&label[1]);
                assert!(known, "{name} has no label {}: {expr}", &label[1]);
                looked_at += 1;
            }
        }
    }
    assert!(looked_at > 50, "{looked_at}");
}

#[test]
fn each_share_that_can_run_out_is_told_before_it_does() {
    let alerts = catalog::alerts();
    let soon = alerts.iter().find(|a| a.name == "KubestrataLimitReachedSoon").unwrap();
    for signal in layers::signals() {
        let filling = matches!(signal.profile, Profile::Filling { .. });
        let told = soon.expr.contains(signal.name);
        assert_eq!(filling, told, "{}", signal.name);
    }
}

#[test]
fn alertmanager_takes_the_example_and_its_alerts_are_ours() {
    let (valid, words) =
        content("amtool", &["check-config", file("alertmanager.example.yaml").to_str().unwrap()]);
    assert!(valid, "{words}");
    let ours: BTreeSet<&str> = catalog::alerts().iter().map(|alert| alert.name).collect();
    let example = text("alertmanager.example.yaml");
    let named = Regex::new(r#"alertname="(Kubestrata[A-Za-z]+)""#).unwrap();
    let mut routed = BTreeSet::new();
    for found in named.captures_iter(&example) {
        assert!(ours.contains(&found[1]), "{} is no alert", &found[1]);
        routed.insert(found[1].to_owned());
    }
    assert!(routed.contains("KubestrataExplains"), "{routed:?}");
    // What is explained has a rule of inhibition, and the other way round.
    let explained = Regex::new(r#"explains="([a-z]+)""#).unwrap();
    let silenced: BTreeSet<String> =
        explained.captures_iter(&example).map(|found| found[1].to_owned()).collect();
    let declared = Regex::new(r#""explains", "([a-z]+)""#).unwrap();
    let alerts = catalog::alerts();
    let explains = alerts.iter().find(|a| a.name == "KubestrataExplains").unwrap();
    let declared: BTreeSet<String> =
        declared.captures_iter(&explains.expr).map(|found| found[1].to_owned()).collect();
    assert_eq!(declared, silenced);
}

#[test]
fn each_alert_goes_to_who_should_have_it() {
    let example = file("alertmanager.example.yaml");
    let config = format!("--config.file={}", example.display());
    for alert in catalog::alerts() {
        let receiver = match alert.severity {
            "critical" => "page",
            "none" => "null",
            _ => "ticket",
        };
        let labels = [format!("alertname={}", alert.name), format!("severity={}", alert.severity)];
        let verify = format!("--verify.receivers={receiver}");
        let words = ["config", "routes", "test", &config, &verify, &labels[0], &labels[1]];
        let (same, words) = content("amtool", &words);
        assert!(same, "{}: {words}", alert.name);
    }
}

/// A rule of kubernetes-mixin's name and labels, about two Deployments: one that the demo breaks, and one that it does
/// not know.
fn theirs() -> Value {
    let rule = |deployment: &str| {
        json!({"alert": "KubeDeploymentReplicasMismatch", "expr": "vector(1)",
            "labels": {"severity": "warning", "namespace": "payments", "deployment": deployment}})
    };
    json!({"groups": [{"name": "kubernetes-apps", "rules": [rule("gateway"), rule("elsewhere")]}]})
}

fn alerts_of(notification: &Value) -> Vec<(&str, &str)> {
    let alerts = notification["alerts"].as_array().unwrap().iter();
    let firing = alerts.filter(|alert| alert["status"] == "firing");
    firing
        .map(|a| {
            let of = |name: &str| a["labels"][name].as_str().unwrap_or_default();
            (of("alertname"), of("deployment"))
        })
        .collect()
}

/// The rules as shipped but for the time: nobody waits half an hour for a test.
fn hasty_rules(directory: &Path) -> PathBuf {
    let holds = Regex::new(r"(?m)^(    for|  interval): .*$").unwrap();
    let rules = directory.join("kubestrata.rules.yaml");
    std::fs::write(&rules, holds.replace_all(&text("kubestrata.rules.yaml"), "$1: 1s").as_ref())
        .unwrap();
    rules
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_fires_while_all_is_well() {
    let mut daemon = Kubestrata::start(&["demo", "--scenario", "healthy"]);
    daemon.wait_ready().await;
    let directory = tempfile::tempdir().unwrap();
    let rules = hasty_rules(directory.path());
    let prometheus = Prometheus::start_with(&[&daemon.address()], &[&rules]).await;
    eventually(Duration::from_secs(30), "the health of seven layers is recorded", async || {
        let layers = prometheus.value("count(kubestrata:layer_health:ratio)").await?;
        anyhow::ensure!(layers == Some(7.0), "{layers:?}");
        anyhow::Ok(())
    })
    .await;
    throughout(Duration::from_secs(15), "no alert fires", async || {
        // Before the first scrape kubestrata is down indeed.
        let others = "ALERTS{alertstate=\"firing\", alertname!=\"KubestrataDown\"}";
        let firing = prometheus.query(others).await?;
        anyhow::ensure!(firing.is_empty(), "{firing:?}");
        anyhow::Ok(())
    })
    .await;
    let firing = prometheus.query("ALERTS{alertstate=\"firing\"}").await.unwrap();
    assert!(firing.is_empty(), "{firing:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_is_one_notification_and_what_it_explains_is_silent() {
    let mut daemon = Kubestrata::start(&["demo", "--scenario", "crashloop", "--speed", "10"]);
    daemon.wait_ready().await;
    let waits = Regex::new(r"(?m)^( *group_wait): .*$").unwrap();
    let config = text("alertmanager.example.yaml");
    let config = waits.replace(&config, "$1: 5s");
    let alertmanager = Alertmanager::start(&config).await;
    let directory = tempfile::tempdir().unwrap();
    let ours = hasty_rules(directory.path());
    let mixin = directory.path().join("mixin.rules.yaml");
    let prometheus = Prometheus::start_configured(
        bed::free_port(),
        &json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [ours, mixin],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager.address()]}]}]},
            "scrape_configs": [{"job_name": "kubestrata",
                "static_configs": [{"targets": [daemon.address()]}]}],
        }),
    )
    .await;
    eventually(Duration::from_mins(3), "the fault explains its Deployment", async || {
        let explained = prometheus
            .query("ALERTS{alertname=\"KubestrataExplains\",alertstate=\"firing\",deployment=\"gateway\"}")
            .await?;
        anyhow::ensure!(!explained.is_empty(), "not yet");
        anyhow::Ok(())
    })
    .await;
    // Only now the other rules see it too, as they would minutes later.
    std::fs::write(&mixin, theirs().to_string()).unwrap();
    prometheus.reload_same().await.unwrap();
    let pages = || -> Vec<Value> {
        let all = alertmanager.notifications().into_iter();
        all.filter(|n| n["receiver"] == "page").collect()
    };
    eventually(Duration::from_mins(2), "the fault pages", async || !pages().is_empty()).await;
    eventually(Duration::from_mins(1), "who has another trouble is told", async || {
        let all = alertmanager.notifications();
        all.iter().any(|n| alerts_of(n).contains(&("KubeDeploymentReplicasMismatch", "elsewhere")))
    })
    .await;
    let inhibited = alertmanager.alerts().await.unwrap();
    let of = |deployment: &str| {
        let mut alerts = inhibited.iter().filter(|a| {
            a["labels"]["alertname"] == "KubeDeploymentReplicasMismatch"
                && a["labels"]["deployment"] == deployment
        });
        alerts.next().map(|alert| alert["status"]["state"].as_str().unwrap().to_owned())
    };
    assert_eq!(of("gateway").as_deref(), Some("suppressed"));
    assert_eq!(of("elsewhere").as_deref(), Some("active"));
    for notification in alertmanager.notifications() {
        let told = alerts_of(&notification);
        assert!(!told.contains(&("KubeDeploymentReplicasMismatch", "gateway")), "{notification}");
        assert!(told.iter().all(|(name, _)| *name != "KubestrataExplains"), "{notification}");
    }
    let pages = pages();
    let of_compute: Vec<&Value> =
        pages.iter().filter(|page| page["groupLabels"]["layer"] == "compute").collect();
    assert_eq!(of_compute.len(), 1, "{pages:#?}");
    for alert in of_compute[0]["alerts"].as_array().unwrap() {
        for (annotation, words) in alert["annotations"].as_object().unwrap() {
            let words = words.as_str().unwrap();
            let whole =
                !words.is_empty() && !words.contains("<error") && !words.contains("<no value>");
            assert!(whole, "{annotation}: {words}");
        }
    }
}
