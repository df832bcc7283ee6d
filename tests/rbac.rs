//! What does a role that lacks a right do? It blinds that kind's signals, says so, and nothing else; given back, they
//! see again without a restart.

#![allow(clippy::unwrap_used)]

mod bed;

use std::time::Duration;

use bed::{Cluster, Kubestrata, eventually};
use serde_json::{Value, json};

/// The rules of the generated role, as the file says them, without these resources.
fn rules_without(left_out: &[&str]) -> Value {
    let role = include_str!("../docs/clusterrole.yaml");
    let lines: Vec<&str> = role.lines().collect();
    let rules = lines.windows(3).filter(|w| w[0].starts_with("- apiGroups:")).map(|w| {
        let list = |line: &str| -> Vec<String> {
            let inside = line.split_once('[').unwrap().1.trim_end_matches(']');
            inside.split(',').map(|i| i.trim().trim_matches('\'').to_owned()).collect()
        };
        let resources = list(w[1]).into_iter().filter(|r| !left_out.contains(&r.as_str()));
        let resources: Vec<String> = resources.collect();
        assert_eq!(list(w[2]), ["list", "watch"], "the role only reads");
        json!({"apiGroups": list(w[0]), "resources": resources, "verbs": ["list", "watch"]})
    });
    Value::Array(rules.filter(|r| !r["resources"].as_array().unwrap().is_empty()).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_right_blinds_its_signals_until_it_is_given() {
    let cluster = Cluster::shared();
    let kubeconfig =
        cluster.service_account("half-blind", &rules_without(&["persistentvolumeclaims"])).await;
    let mut daemon = Kubestrata::start(&["run", "--kubeconfig", kubeconfig.to_str().unwrap()]);
    daemon.wait_ready().await;
    let metrics = daemon.metrics().await.unwrap();
    let claims = [("source", "persistentvolumeclaims")];
    assert_eq!(metrics.value("kubestrata_source_up", &claims), Some(0.0));
    assert_eq!(metrics.value("kubestrata_source_up", &[("source", "pods")]), Some(1.0));
    let absent = [("signal", "storage_pvc_pending_abnormal"), ("reason", "forbidden")];
    assert_eq!(metrics.value("kubestrata_signal_absent", &absent), Some(1.0));
    assert!(
        metrics.matching("kubestrata_signal_absent", &[("signal", "compute_crashloop")]).is_empty()
    );
    assert!(daemon.log().contains("not allowed to list and watch"), "{}", daemon.log());
    cluster.set_rules("half-blind", &rules_without(&[])).await;
    eventually(Duration::from_mins(2), "the source sees again without a restart", async || {
        let metrics = daemon.metrics().await?;
        anyhow::ensure!(metrics.value("kubestrata_source_up", &claims) == Some(1.0), "still blind");
        anyhow::ensure!(
            metrics.matching("kubestrata_signal_absent", &absent).is_empty(),
            "still absent"
        );
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_generated_role_is_all_that_is_needed() {
    let cluster = Cluster::shared();
    let kubeconfig = cluster.service_account("reader", &rules_without(&[])).await;
    let mut daemon = Kubestrata::start(&["run", "--kubeconfig", kubeconfig.to_str().unwrap()]);
    daemon.wait_ready().await;
    let metrics = daemon.metrics().await.unwrap();
    let blind: Vec<_> =
        metrics.series("kubestrata_source_up").into_iter().filter(|s| s.value < 1.0).collect();
    assert!(blind.is_empty(), "{blind:?}");
    assert!(metrics.series("kubestrata_signal_absent").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_that_are_not_accepted_are_one_line_and_no_busy_loop() {
    let cluster = Cluster::shared();
    let kubeconfig = cluster.kubeconfig_with("nobody", &json!({"token": "expired"}));
    let path = kubeconfig.to_str().unwrap();
    let checked = Kubestrata::run(&["check", "--kubeconfig", path]);
    let stderr = String::from_utf8(checked.stderr).unwrap();
    assert_eq!(checked.status.code(), Some(2), "{stderr}");
    assert!(stderr.trim_end().lines().count() == 1 && stderr.contains("credentials"), "{stderr}");
    let daemon = Kubestrata::start(&["run", "--kubeconfig", path]);
    let metrics = eventually(Duration::from_secs(30), "the daemon says so", async || {
        let metrics = daemon.metrics().await?;
        let state = [("source", "pods"), ("state", "unauthorized")];
        anyhow::ensure!(metrics.value("kubestrata_source_state", &state) == Some(1.0), "not yet");
        Ok(metrics)
    })
    .await;
    assert!(metrics.value("kubestrata_source_backoff_seconds", &[("source", "pods")]) > Some(0.0));
    let errors = metrics.sum("kubestrata_source_errors_total", &[("source", "pods")]);
    assert!(errors < 20.0, "{errors} errors within seconds");
    assert_eq!(daemon.answer("/readyz").await.unwrap().status, 503);
    let complaints = daemon.log().lines().filter(|l| l.contains("WARN")).count();
    assert!(complaints <= 3, "{}", daemon.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_whose_authority_is_not_known_is_not_trusted() {
    let cluster = Cluster::shared();
    let admin = std::fs::read(cluster.kubeconfig()).unwrap();
    let mut config: Value = serde_json::from_slice(&admin).unwrap();
    config["clusters"][0]["cluster"]["certificate-authority-data"] = Value::Null;
    config["clusters"][0]["cluster"]["certificate-authority"] = Value::Null;
    let path = cluster.kubeconfig().with_extension("rootless");
    std::fs::write(&path, config.to_string()).unwrap();
    let checked = Kubestrata::run(&["check", "--kubeconfig", path.to_str().unwrap()]);
    let stderr = String::from_utf8(checked.stderr).unwrap();
    assert_eq!(checked.status.code(), Some(2), "{stderr}");
    assert!(stderr.to_lowercase().contains("certificate"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_watches_share_one_connection() {
    let cluster = Cluster::shared();
    let kubeconfig = cluster.kubeconfig();
    let mut daemon = Kubestrata::start(&["run", "--kubeconfig", kubeconfig.to_str().unwrap()]);
    daemon.wait_ready().await;
    let port: u16 = cluster.server_url().rsplit(':').next().unwrap().parse().unwrap();
    let sockets: Vec<String> = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid()))
        .unwrap()
        .filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok())
        .filter_map(|link| {
            link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']').map(str::to_owned)
        })
        .collect();
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let remote = format!(":{port:04X}");
    let connections = table.lines().filter(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.len() > 9 && fields[2].ends_with(&remote) && sockets.iter().any(|s| s == fields[9])
    });
    assert_eq!(connections.count(), 1, "sixteen watches, one connection");
}
