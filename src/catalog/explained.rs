//! Of which objects does kubestrata tell already, by the labels that other rules use? So that those can be silenced.

use super::alerts::of;
use crate::layers;
use crate::model::layer::Layer;
use crate::model::signal::{Read, Signal};

/// Kinds of workloads, and the label by which kube-state-metrics names them.
const WORKLOADS: &[(&str, &str)] = &[
    ("Deployment", "deployment"),
    ("StatefulSet", "statefulset"),
    ("DaemonSet", "daemonset"),
    ("Job", "job_name"),
];

/// Rules that break pods: those of the layers below them.
fn rules() -> impl Iterator<Item = &'static Signal> {
    let below = [Layer::Storage, Layer::Compute, Layer::Networking];
    layers::signals().filter(move |s| matches!(s.read, Read::Rule(_)) && below.contains(&s.layer))
}

/// The objects that findings which are told are about: those of the rules that have the label, and anomalies of the kind.
fn told(label: &str, by: &str, anomalies: &str) -> String {
    let mut parts: Vec<String> = rules()
        .filter(|s| s.labels.contains(&label))
        .map(|s| {
            let objects = of(s.name, &format!("{label}!=\"\""));
            let open =
                of("findings", &format!("signal=\"{}\",severity=~\"warning|critical\"", s.name));
            format!("(max by ({by}) ({objects}) and on (cluster) max by (cluster) ({open}))")
        })
        .collect();
    parts.push(anomalies.to_owned());
    format!("max by ({by}) (\n  {}\n)", parts.join("\n  or\n  "))
}

/// Open anomalies that are told of a kind, with the name under this label.
fn anomalies(kind: &str, label: &str) -> String {
    let open = of("anomaly_active", &format!("kind=~\"{kind}\",severity=~\"warning|critical\""));
    format!("label_replace({open}, \"{label}\", \"$1\", \"name\", \"(.+)\")")
}

/// Recording rules: the nodes, workloads and claims that are told of.
pub(super) fn recordings() -> Vec<(String, String)> {
    let kinds: Vec<&str> = WORKLOADS.iter().map(|(kind, _)| *kind).chain(["CronJob"]).collect();
    let workloads = format!(
        "label_replace({}, \"workload_kind\", \"$1\", \"kind\", \"(.+)\")",
        anomalies(&kinds.join("|"), "workload")
    );
    [
        ("node", told("node", "cluster, node", &anomalies("Node", "node"))),
        ("workload", told("workload", "cluster, namespace, workload_kind, workload", &workloads)),
        (
            "claim",
            told(
                "persistentvolumeclaim",
                "cluster, namespace, persistentvolumeclaim",
                &anomalies("PersistentVolumeClaim", "persistentvolumeclaim"),
            ),
        ),
        (
            "autoscaler",
            told(
                "horizontalpodautoscaler",
                "cluster, namespace, horizontalpodautoscaler",
                &anomalies("HorizontalPodAutoscaler", "horizontalpodautoscaler"),
            ),
        ),
    ]
    .map(|(what, expr)| (format!("kubestrata:told_{what}:max"), expr))
    .into()
}

/// A series for each object whose alerts of other rules say nothing new, with the labels that those have.
///
/// kubernetes-mixin's recording rules say which pods a workload has and which run on a node; where they are not there,
/// nothing is explained of pods.
pub(super) fn expression() -> String {
    let explains = |what: &str, expr: &str| {
        format!("label_replace({expr}, \"explains\", \"{what}\", \"\", \"\")")
    };
    let mut parts = vec![
        explains("node", "kubestrata:told_node:max"),
        explains("claim", "kubestrata:told_claim:max"),
        explains("autoscaler", "kubestrata:told_autoscaler:max"),
    ];
    for (kind, label) in WORKLOADS {
        let of_kind = format!("kubestrata:told_workload:max{{workload_kind=\"{kind}\"}}");
        let named =
            format!("label_replace({of_kind}, \"{label}\", \"$1\", \"workload\", \"(.+)\")");
        parts.push(explains("workload", &named));
    }
    let join = |on: &str, told: &str, pods: &str, by: &str| {
        format!("\n  max by ({by}) ({pods}\n  * on ({on}) group_left ()\n  {told})\n")
    };
    let jobs = "label_replace(kube_job_owner{owner_kind=\"CronJob\"}, \"workload\", \"$1\", \"owner_name\", \"(.+)\")";
    let cron = "max by (cluster, namespace, workload) (kubestrata:told_workload:max{workload_kind=\"CronJob\"})";
    parts.push(explains(
        "workload",
        &join("cluster, namespace, workload", cron, jobs, "cluster, namespace, job_name"),
    ));
    let told = "max by (cluster, namespace, workload) (kubestrata:told_workload:max)";
    let pods = "namespace_workload_pod:kube_pod_owner:relabel";
    let by = "cluster, namespace, pod";
    parts.push(explains("pod", &join("cluster, namespace, workload", told, pods, by)));
    let pods = "node_namespace_pod:kube_pod_info:";
    parts.push(explains("pod", &join("cluster, node", "kubestrata:told_node:max", pods, by)));
    let every = of("compute_zone_not_ready", "reason=\"every_zone\"");
    parts.push(explains("cluster", &format!("max by (cluster) ({every})")));
    // Twice the same pod, once by its workload and once by its node, is one.
    format!("max without (__name__) (\n{}\n)", parts.join("\nor\n"))
}
