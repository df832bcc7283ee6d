//! What does a role that lacks a right do? It blinds that kind's signals, says so, and nothing else; given back, they
//! see again without a restart.

#![allow(clippy::unwrap_used)]

mod bed;

use std::time::Duration;

use bed::rbac::rules;
use bed::{Cluster, Kubestrata, eventually, objects};
use kubestrata::model::layer::Layer;
use serde_json::{Value, json};

fn rules_without(left_out: &[&str]) -> Value {
    rules(&Layer::ALL, left_out)
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

/// What is open of the webhook whose Service is missing.
async fn finding(daemon: &Kubestrata) -> anyhow::Result<Option<Value>> {
    let answer = daemon.answer("/api/v1/findings?layer=security").await?;
    let findings: Vec<Value> = serde_json::from_slice(&answer.body)?;
    Ok(findings.into_iter().find(|f| f["signal"] == "security_webhook_backend_down"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_that_loses_its_rights_is_unknown_and_goes_on_where_it_was() {
    let cluster = Cluster::shared();
    let kubeconfig = cluster.service_account("withdrawn", &rules_without(&[])).await;
    let hook = json!({"apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "withdrawn"},
        "webhooks": [{"name": "withdrawn.example.com", "failurePolicy": "Fail", "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "clientConfig": {"service": {"namespace": "default", "name": "gone"}},
            "rules": [{"apiGroups": ["example.com"], "apiVersions": ["v1"], "operations": ["CREATE"],
                "resources": ["widgets"]}]}]});
    let hooks = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    objects::create(&cluster.client().await, hooks, &hook).await;
    let mut daemon = Kubestrata::start(&["run", "--kubeconfig", kubeconfig.to_str().unwrap()]);
    daemon.wait_ready().await;
    let told = eventually(Duration::from_mins(3), "the webhook is told", async || {
        finding(&daemon).await?.ok_or_else(|| anyhow::anyhow!("nothing is told"))
    })
    .await;
    let of_layer = rules(&[Layer::Security], &[]);
    let resources = of_layer.as_array().unwrap().iter().filter_map(|r| r["resources"].as_array());
    let resources: Vec<&str> = resources.flatten().filter_map(Value::as_str).collect();
    cluster.set_rules("withdrawn", &rules_without(&resources)).await;
    let layer = [("layer", "security")];
    let absent = [("signal", "security_webhook_backend_down"), ("reason", "forbidden")];
    eventually(Duration::from_mins(4), "the signal is blind", async || {
        let metrics = daemon.metrics().await?;
        let blind = metrics.value("kubestrata_signal_absent", &absent) == Some(1.0);
        anyhow::ensure!(blind, "it still sees");
        let ghosts = metrics.series("kubestrata_security_webhook_backend_down");
        anyhow::ensure!(ghosts.is_empty(), "ghosts: {ghosts:?}");
        let open = metrics.matching("kubestrata_findings", &layer);
        let open = open.iter().any(|s| s.labels["signal"] == "security_webhook_backend_down");
        anyhow::ensure!(!open, "what cannot be seen is neither open nor over");
        Ok(())
    })
    .await;
    assert!(!daemon.log().contains("finding closed"), "no recovery: {}", daemon.log());
    cluster.set_rules("withdrawn", &rules_without(&[])).await;
    let again = eventually(Duration::from_mins(3), "it is told again", async || {
        finding(&daemon).await?.ok_or_else(|| anyhow::anyhow!("nothing is told"))
    })
    .await;
    assert_eq!((&again["id"], &again["since"]), (&told["id"], &told["since"]), "the same one");
    let log = daemon.log();
    let it = |line: &&str| line.contains("finding opened") && line.contains("backend_down");
    assert_eq!(log.lines().filter(it).count(), 1, "told once: {log}");
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
