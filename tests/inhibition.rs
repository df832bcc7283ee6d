//! Does each inhibition of the example join the labels that both sides have? Asked of a real Alertmanager.

#![allow(clippy::unwrap_used)]

mod bed;

use std::path::Path;
use std::time::Duration;

use bed::{Alertmanager, eventually};
use serde_json::{Value, json};

/// Labels with their values.
type Labels = &'static [(&'static str, &'static str)];

/// What is explained, the labels by which, the alert of kubernetes-mixin, and the label that tells another object.
type Case = (&'static str, Labels, &'static str, &'static str);

/// One for each inhibition of the example.
const CASES: &[Case] = &[
    ("pod", &[("namespace", "shop"), ("pod", "cart-1")], "KubePodCrashLooping", "pod"),
    ("pod", &[("namespace", "shop"), ("pod", "cart-2")], "KubePodNotReady", "namespace"),
    (
        "workload",
        &[("namespace", "shop"), ("deployment", "cart")],
        "KubeDeploymentReplicasMismatch",
        "deployment",
    ),
    (
        "workload",
        &[("namespace", "shop"), ("statefulset", "db")],
        "KubeStatefulSetReplicasMismatch",
        "statefulset",
    ),
    (
        "workload",
        &[("namespace", "shop"), ("daemonset", "agent")],
        "KubeDaemonSetRolloutStuck",
        "daemonset",
    ),
    ("workload", &[("namespace", "shop"), ("job_name", "report-1")], "KubeJobFailed", "job_name"),
    (
        "autoscaler",
        &[("namespace", "shop"), ("horizontalpodautoscaler", "cart")],
        "KubeHpaMaxedOut",
        "namespace",
    ),
    (
        "claim",
        &[("namespace", "shop"), ("persistentvolumeclaim", "data")],
        "KubePersistentVolumeFillingUp",
        "persistentvolumeclaim",
    ),
    ("node", &[("node", "n1")], "KubeNodeNotReady", "node"),
    ("cluster", &[("cluster", "north")], "KubeletDown", "cluster"),
];

/// An alert with these labels, in which one may be that of another object.
fn alert(name: &str, labels: &[(&str, &str)], more: &[(&str, &str)], other: &str) -> Value {
    let mut alert = json!({"alertname": name, "cluster": "west"});
    for (label, value) in labels.iter().chain(more) {
        alert[label] = json!(value);
    }
    if !other.is_empty() {
        alert[other] = json!("another");
    }
    alert
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_explained_is_silent_and_what_looks_alike_is_not() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("alerts/alertmanager.example.yaml");
    let alertmanager = Alertmanager::start(&std::fs::read_to_string(example).unwrap()).await;
    let (mut sources, mut silent, mut loud) = (Vec::new(), Vec::new(), Vec::new());
    for (explains, labels, theirs, other) in CASES {
        let more = [("explains", *explains), ("severity", "none")];
        sources.push(alert("KubestrataExplains", labels, &more, ""));
        // What the mixin adds of its own does not stand in the way.
        let own = [("severity", "warning"), ("job", "kube-state-metrics"), ("container", "app")];
        silent.push(alert(theirs, labels, &own, ""));
        loud.push(alert(theirs, labels, &own, other));
    }
    // A warning of a layer that pages waits; that of another layer does not.
    let told = |name: &str, layer: &str, severity: &str| {
        alert(name, &[("layer", layer), ("severity", severity)], &[], "")
    };
    sources.push(told("KubestrataFindingCritical", "compute", "critical"));
    silent.push(told("KubestrataFindingWarning", "compute", "warning"));
    loud.push(told("KubestrataFindingWarning", "storage", "warning"));
    // One lost node does not explain that all kubelets are gone, elsewhere.
    loud.push(json!({"alertname": "KubeletDown", "cluster": "east", "severity": "critical"}));
    let everything = [sources, silent.clone(), loud.clone()].concat();
    alertmanager.tell(&everything).await.unwrap();
    eventually(Duration::from_secs(20), "each alert has its state", async || {
        let known = alertmanager.alerts().await?;
        for (alerts, state) in [(&silent, "suppressed"), (&loud, "active")] {
            for labels in alerts {
                let found = known.iter().find(|alert| alert["labels"] == *labels);
                let is = found.map(|alert| alert["status"]["state"].clone());
                anyhow::ensure!(is == Some(json!(state)), "{labels} is {is:?}, not {state}");
            }
        }
        Ok(())
    })
    .await;
}
