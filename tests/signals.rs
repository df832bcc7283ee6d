//! Does every signal change when the real object does, and return when it is repaired? On a real control plane with
//! 20 nodes and 500 pods in 20 namespaces. Dwells are real time, so all faults are set at once.

#![allow(clippy::unwrap_used)]

mod bed;

use std::time::Duration;

use bed::{Cluster, ClusterOptions, Kubestrata, Metrics, eventually, objects};
use kube::Client;
use serde_json::{Value, json};

/// What a fault must show: a metric with labels, beside the namespace where it has one.
type Shown = (&'static str, &'static [(&'static str, &'static str)]);

const NAMESPACE: &str = "faults";

/// Faults that real controllers, or a status written in a kubelet's stead, show at once or after their dwell.
const SHOWN: &[Shown] = &[
    ("storage_pvc_pending_abnormal", &[("reason", "class_missing"), ("storageclass", "nope")]),
    ("storage_pvc_lost", &[("reason", "volume_gone")]),
    ("storage_pv_unhealthy", &[("reason", "failed")]),
    ("storage_attach_error", &[("driver", "csi.example")]),
    ("storage_mount_failures_total", &[("reason", "timeout")]),
    ("compute_crashloop", &[("reason", "error"), ("container", "main")]),
    ("compute_container_restarts_total", &[("reason", "OOMKilled"), ("exit_class", "oom")]),
    ("compute_oom_kills_total", &[("container", "main")]),
    ("compute_container_waiting", &[("reason", "image_pull"), ("registry", "docker.io")]),
    ("compute_container_waiting", &[("reason", "config")]),
    ("compute_probe_failures_total", &[("probe", "readiness"), ("reason", "http_5xx")]),
    ("compute_pods_unready", &[("reason", "probe")]),
    ("compute_rollout_stalled", &[("reason", "deadline_exceeded"), ("workload", "stuck")]),
    ("compute_workload_unavailable", &[("reason", "none_available"), ("workload", "stuck")]),
    ("compute_workload_available_ratio", &[("workload", "stuck")]),
    ("compute_create_failures", &[("reason", "quota"), ("workload", "refused")]),
    ("compute_job_failed", &[("reason", "backoff_limit"), ("workload", "once")]),
    ("compute_evictions_total", &[("reason", "node_pressure"), ("resource", "memory")]),
    ("compute_pod_terminating_overdue", &[("reason", "finalizer")]),
    ("compute_unschedulable_pods", &[("reason", "cpu"), ("workload", "cpu")]),
    ("compute_unschedulable_pods", &[("reason", "memory"), ("workload", "memory")]),
    ("compute_unschedulable_pods", &[("reason", "ephemeral_storage"), ("workload", "disk")]),
    ("compute_unschedulable_pods", &[("reason", "extended_resource"), ("workload", "gpu")]),
    ("compute_unschedulable_pods", &[("reason", "affinity"), ("workload", "affinity")]),
    ("compute_unschedulable_pods", &[("reason", "anti_affinity"), ("workload", "apart")]),
    ("compute_unschedulable_pods", &[("reason", "spread"), ("workload", "spread")]),
    ("compute_unschedulable_pods", &[("reason", "ports"), ("workload", "ports")]),
    ("compute_unschedulable_pods", &[("reason", "pods"), ("workload", "crowded")]),
    ("compute_unschedulable_pods", &[("reason", "pvc_missing"), ("workload", "claimless")]),
    ("compute_unschedulable_pods", &[("reason", "unbound_pvc"), ("workload", "unbound")]),
];

const NODES_SHOWN: &[Shown] = &[
    ("compute_node_not_ready", &[("node", "node-0003"), ("reason", "kubelet")]),
    ("compute_node_condition", &[("node", "node-0004"), ("reason", "memory_pressure")]),
    ("compute_node_evicting", &[("node", "node-0005"), ("reason", "memory")]),
    ("compute_node_ready_flaps_total", &[("node", "node-0003")]),
];

struct World {
    client: Client,
}

impl World {
    fn path(resource: &str) -> String {
        let api = match resource {
            "deployments" => "/apis/apps/v1",
            "jobs" => "/apis/batch/v1",
            _ => "/api/v1",
        };
        format!("{api}/namespaces/{NAMESPACE}/{resource}")
    }

    async fn create(&self, resource: &str, object: Value) -> Value {
        objects::create(&self.client, &Self::path(resource), &object).await
    }

    /// A pod on a node whose status the test writes.
    async fn pod(&self, name: &str, node: &str, status: Value) -> Value {
        let pod = self.create("pods", objects::manual_pod(name, node)).await;
        objects::patch_pod_status(&self.client, NAMESPACE, name, &status).await;
        pod
    }

    async fn deployment(&self, name: &str, replicas: usize, change: Value) {
        let mut deployment = objects::deployment(name, replicas);
        merge(&mut deployment["spec"], &change);
        self.create("deployments", deployment).await;
    }

    async fn event(&self, about: &Value, reason: &str, note: &str, count: u32) {
        let name = about["metadata"]["name"].as_str().unwrap();
        let regarding = json!({"kind": "Pod", "namespace": NAMESPACE, "name": name, "uid": about["metadata"]["uid"]});
        let event = objects::event(
            &format!("{name}.{}", reason.to_lowercase()),
            "Warning",
            reason,
            note,
            &regarding,
        );
        objects::create_event(&self.client, NAMESPACE, &event).await;
        if count > 1 {
            let name = format!("{name}.{}", reason.to_lowercase());
            objects::repeat_event(&self.client, NAMESPACE, &name, count).await;
        }
    }
}

fn merge(into: &mut Value, change: &Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            for (key, value) in change {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, change) => *into = change.clone(),
    }
}

#[allow(clippy::needless_pass_by_value)]
fn template(spec: Value) -> Value {
    json!({"template": {"spec": spec}})
}

fn requests(resource: &str, amount: &str) -> Value {
    let amounts = json!({resource: amount});
    let container = json!({"name": "main", "image": "bed/main:1",
        "resources": {"requests": amounts, "limits": amounts}});
    template(json!({"containers": [container]}))
}

#[allow(clippy::needless_pass_by_value)]
fn status(phase: &str, container: Value) -> Value {
    json!({"phase": phase, "containerStatuses": [container]})
}

fn claim(name: &str, class: &str, volume: Option<&str>) -> Value {
    json!({"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"], "volumeName": volume,
        "storageClassName": class, "resources": {"requests": {"storage": "1Gi"}}}})
}

async fn break_storage(world: &World) {
    let client = &world.client;
    world.create("persistentvolumeclaims", claim("data", "nope", None)).await;
    let class = json!({"metadata": {"name": "slow"}, "provisioner": "csi.example", "volumeBindingMode": "Immediate"});
    objects::create(client, "/apis/storage.k8s.io/v1/storageclasses", &class).await;
    let csi = |name: &str| json!({"csi": {"driver": "csi.example", "volumeHandle": name}});
    // The controller manager deletes host paths below /tmp only, so this volume cannot be deleted.
    let elsewhere = json!({"hostPath": {"path": "/nowhere"}});
    let volumes = "/api/v1/persistentvolumes";
    for (name, policy, source) in [("lost", "Retain", csi("lost")), ("failed", "Delete", elsewhere)]
    {
        let mut volume = json!({"metadata": {"name": name}, "spec": {"capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"], "storageClassName": "slow", "persistentVolumeReclaimPolicy": policy,
            "claimRef": {"namespace": NAMESPACE, "name": name}}});
        merge(&mut volume["spec"], &source);
        objects::create(client, volumes, &volume).await;
        world.create("persistentvolumeclaims", claim(name, "slow", Some(name))).await;
        eventually(Duration::from_secs(30), "the claim is bound", async || {
            let path = format!("{}/{name}", World::path("persistentvolumeclaims"));
            objects::get(client, &path).await.is_ok_and(|c| c["status"]["phase"] == "Bound")
        })
        .await;
    }
    let path = format!("{volumes}/lost");
    objects::delete(client, &path).await;
    objects::patch(client, &path, &json!({"metadata": {"finalizers": null}})).await;
    objects::delete(client, &format!("{}/failed", World::path("persistentvolumeclaims"))).await;
    let attachments = "/apis/storage.k8s.io/v1/volumeattachments";
    let attachment = json!({"metadata": {"name": "va"}, "spec": {"attacher": "csi.example", "nodeName": "node-0001",
        "source": {"persistentVolumeName": "failed"}}});
    objects::create(client, attachments, &attachment).await;
    let error = json!({"attached": false, "attachError": {"time": now_in_seconds(), "message": "no such disk"}});
    objects::patch(client, &format!("{attachments}/va/status"), &json!({"status": error})).await;
}

fn now_in_seconds() -> String {
    objects::now()[..19].to_owned() + "Z"
}

async fn break_pods(world: &World) {
    let none = json!({});
    let error = objects::terminated("Error", 1);
    let looping = objects::container("main", 6, &objects::waiting("CrashLoopBackOff"), &error);
    world.pod("looping", "node-0001", status("Running", looping)).await;
    let killed = objects::container("main", 0, &objects::running(), &none);
    world.pod("killed", "node-0001", status("Running", killed)).await;
    for (name, reason) in
        [("imageless", "ImagePullBackOff"), ("unset", "CreateContainerConfigError")]
    {
        let waiting = objects::container("main", 0, &objects::waiting(reason), &none);
        world.pod(name, "node-0001", status("Pending", waiting)).await;
    }
    let mut unready = objects::container("main", 0, &objects::running(), &none);
    unready["ready"] = json!(false);
    let mut unready = status("Running", unready);
    unready["conditions"] = json!([objects::condition("Ready", "False", "ContainersNotReady")]);
    let unready = world.pod("unready", "node-0001", unready).await;
    world
        .event(
            &unready,
            "Unhealthy",
            "Readiness probe failed: HTTP probe failed with statuscode: 503",
            5,
        )
        .await;
    let volume = json!({"name": "data", "persistentVolumeClaim": {"claimName": "data"}});
    let mut mounting = objects::manual_pod("mounting", "node-0001");
    mounting["spec"]["volumes"] = json!([volume]);
    let mounting = world.create("pods", mounting).await;
    let note = "Unable to attach or mount volumes: unmounted volumes=[data]: timed out waiting for the condition";
    world.event(&mounting, "FailedMount", note, 1).await;
    for name in ["evicted-1", "evicted-2"] {
        let status = json!({"phase": "Failed", "reason": "Evicted", "startTime": now_in_seconds(),
            "message": "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. "});
        world.pod(name, "node-0005", status).await;
    }
    let mut held = objects::manual_pod("held", "node-0002");
    held["metadata"]["finalizers"] = json!(["kubestrata.bed/hold"]);
    world.create("pods", held).await;
    let running = objects::container("main", 0, &objects::running(), &none);
    objects::patch_pod_status(&world.client, NAMESPACE, "held", &status("Running", running)).await;
    objects::delete(&world.client, &format!("{}/held", World::path("pods"))).await;
}

async fn break_workloads(world: &World) {
    let manual = json!({"template": {"metadata": {"annotations": {objects::MANUAL: "true"}}}});
    let mut stuck = manual;
    stuck["progressDeadlineSeconds"] = json!(5);
    world.deployment("stuck", 2, stuck).await;
    let template = json!({"metadata": {"annotations": {objects::COMPLETE: "fail"}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "bed/main:1"}]}});
    let job =
        json!({"metadata": {"name": "once"}, "spec": {"backoffLimit": 0, "template": template}});
    world.create("jobs", job).await;
}

async fn break_scheduling(world: &World) {
    world.deployment("cpu", 1, requests("cpu", "1000")).await;
    world.deployment("memory", 1, requests("memory", "100Ti")).await;
    world.deployment("disk", 1, requests("ephemeral-storage", "100Ti")).await;
    world.deployment("gpu", 1, requests("example.com/gpu", "1")).await;
    world.deployment("affinity", 1, template(json!({"nodeSelector": {"disk": "golden"}}))).await;
    let on = |node: &str| template(json!({"nodeSelector": {"kubernetes.io/hostname": node}}));
    let mut tiny = objects::node("tiny");
    tiny["status"]["allocatable"]["pods"] = json!("0");
    objects::create(&world.client, "/api/v1/nodes", &tiny).await;
    world.deployment("crowded", 1, on("tiny")).await;
    let same = |name: &str| json!({"matchLabels": {"app": name}});
    let region = "topology.kubernetes.io/region";
    let apart = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
        [{"labelSelector": same("apart"), "topologyKey": region}]}});
    world.deployment("apart", 2, template(json!({"affinity": apart}))).await;
    let spread = json!([{"maxSkew": 1, "topologyKey": "nowhere", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": same("spread")}]);
    world.deployment("spread", 1, template(json!({"topologySpreadConstraints": spread}))).await;
    let ports = json!([{"name": "main", "image": "bed/main:1", "ports": [{"containerPort": 80, "hostPort": 8080}]}]);
    world.deployment("ports", 21, template(json!({"containers": ports}))).await;
    let volume = |claim: &str| json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]});
    world.deployment("claimless", 1, template(volume("does-not-exist"))).await;
    world.create("persistentvolumeclaims", claim("unbound", "slow", None)).await;
    world.deployment("unbound", 1, template(volume("unbound"))).await;
}

/// A quota refuses pods only of the Deployment made after it, in a namespace of its own.
async fn refuse_pods(world: &World) {
    let namespaced = |resource: &str| match resource {
        "deployments" => "/apis/apps/v1/namespaces/refusing/deployments".to_owned(),
        other => format!("/api/v1/namespaces/refusing/{other}"),
    };
    let quota = json!({"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}});
    objects::create(
        &world.client,
        "/api/v1/namespaces",
        &json!({"metadata": {"name": "refusing"}}),
    )
    .await;
    objects::create(&world.client, &namespaced("resourcequotas"), &quota).await;
    eventually(Duration::from_secs(30), "the quota is enforced", async || {
        let path = format!("{}/none", namespaced("resourcequotas"));
        objects::get(&world.client, &path).await.is_ok_and(|q| !q["status"]["hard"].is_null())
    })
    .await;
    objects::create(&world.client, &namespaced("deployments"), &objects::deployment("refused", 1))
        .await;
}

async fn break_nodes(client: &Client) {
    objects::set_node_ready(client, "node-0003", "False", "KubeletNotReady").await;
    let path = "/api/v1/nodes/node-0004";
    objects::patch(client, path, &json!({"metadata": {"annotations": {objects::MANUAL: "true"}}}))
        .await;
    let pressure = objects::condition("MemoryPressure", "True", "KubeletHasInsufficientMemory");
    objects::patch_status(client, path, &json!({"conditions": [pressure]})).await;
}

fn missing(metrics: &Metrics, shown: &[Shown]) -> Vec<String> {
    let absent = shown.iter().filter(|(name, labels)| {
        let name = format!("kubestrata_{name}");
        if name.ends_with("_total") {
            metrics.sum(&name, labels) == 0.0
        } else {
            metrics.matching(&name, labels).is_empty()
        }
    });
    absent.map(|(name, labels)| format!("{name} {labels:?}")).collect()
}

/// What is still shown; running totals stay as long as their object does.
fn lingering(metrics: &Metrics, shown: &[Shown]) -> Vec<String> {
    let gauges = shown.iter().filter(|(name, _)| !name.ends_with("_total"));
    let present = gauges.filter(|(name, labels)| {
        !metrics.matching(&format!("kubestrata_{name}"), labels).is_empty()
    });
    present.map(|(name, labels)| format!("{name} {labels:?}")).collect()
}

async fn shows(daemon: &Kubestrata, shown: &[Shown]) {
    eventually(Duration::from_mins(5), "every fault shows", async || {
        let missing = missing(&daemon.metrics().await?, shown);
        anyhow::ensure!(missing.is_empty(), "missing: {missing:#?}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::too_many_lines)]
async fn every_signal_follows_the_real_object_and_returns() {
    let cluster = Cluster::start(&ClusterOptions { nodes: 20, ..ClusterOptions::default() });
    cluster.scale(20, 500, 20);
    let world = World { client: cluster.client().await };
    let namespace = json!({"metadata": {"name": NAMESPACE}});
    objects::create(&world.client, "/api/v1/namespaces", &namespace).await;
    eventually(Duration::from_secs(30), "the namespace has its account", async || {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default");
        objects::get(&world.client, &path).await.is_ok()
    })
    .await;

    let config = tempfile::tempdir().unwrap();
    let file = config.path().join("k.yaml");
    std::fs::write(&file, "tick: 1s\n").unwrap();
    let kubeconfig = cluster.kubeconfig();
    let mut daemon = Kubestrata::start(&[
        "run",
        "--kubeconfig",
        kubeconfig.to_str().unwrap(),
        "--config",
        file.to_str().unwrap(),
    ]);
    daemon.wait_ready().await;
    let before = daemon.metrics().await.unwrap();
    assert!(lingering(&before, SHOWN).is_empty(), "a healthy cluster has no findings");
    assert_eq!(before.value("kubestrata_layer_health_ratio", &[("layer", "compute")]), Some(1.0));

    break_storage(&world).await;
    break_pods(&world).await;
    break_workloads(&world).await;
    break_scheduling(&world).await;
    refuse_pods(&world).await;
    break_nodes(&world.client).await;
    // A kill is counted when it is seen to happen, so the pod must have been seen alive.
    let killed =
        objects::container("main", 1, &objects::running(), &objects::terminated("OOMKilled", 137));
    tokio::time::sleep(Duration::from_secs(2)).await;
    objects::patch_pod_status(&world.client, NAMESPACE, "killed", &status("Running", killed)).await;

    shows(&daemon, SHOWN).await;
    shows(&daemon, NODES_SHOWN).await;
    let probes = [("probe", "readiness"), ("reason", "http_5xx")];
    let failures =
        daemon.metrics().await.unwrap().sum("kubestrata_compute_probe_failures_total", &probes);
    assert_eq!(failures, 5.0, "a series counts its occurrences");
    objects::repeat_event(&world.client, NAMESPACE, "unready.unhealthy", 12).await;
    eventually(Duration::from_secs(20), "a growing series counts what it grows by", async || {
        daemon
            .metrics()
            .await
            .is_ok_and(|m| m.sum("kubestrata_compute_probe_failures_total", &probes) == 12.0)
    })
    .await;

    // Repair: the pods that held back are mended, and what cannot be mended goes with its namespace.
    let client = &world.client;
    for node in ["node-0003", "node-0004"] {
        let path = format!("/api/v1/nodes/{node}");
        let ready = objects::condition("Ready", "True", "KubeletReady");
        let calm = objects::condition("MemoryPressure", "False", "KubeletHasSufficientMemory");
        objects::patch_status(client, &path, &json!({"conditions": [ready, calm]})).await;
    }
    let mended =
        json!({"spec": {"template": {"metadata": {"annotations": {objects::MANUAL: null}}}}});
    objects::patch(client, &format!("{}/stuck", World::path("deployments")), &mended).await;
    let running =
        objects::container("main", 6, &objects::running(), &objects::terminated("Error", 1));
    for pod in ["looping", "imageless", "unset", "unready"] {
        let mut status = status("Running", running.clone());
        status["conditions"] = json!([objects::condition("Ready", "True", "")]);
        objects::patch_pod_status(client, NAMESPACE, pod, &status).await;
    }
    objects::delete(client, "/api/v1/namespaces/refusing/resourcequotas/none").await;
    let returned: Vec<Shown> = (SHOWN.iter())
        .chain(NODES_SHOWN)
        .filter(|(_, labels)| {
            let mended = [
                "looping",
                "stuck",
                "refused",
                "error",
                "image_pull",
                "config",
                "probe",
                "kubelet",
            ];
            labels.iter().any(|(_, v)| mended.contains(v) || *v == "memory_pressure")
        })
        .copied()
        .collect();
    assert!(returned.len() >= 9, "{returned:?}");
    eventually(Duration::from_mins(3), "what is mended returns", async || {
        let lingering = lingering(&daemon.metrics().await?, &returned);
        anyhow::ensure!(lingering.is_empty(), "still shown: {lingering:#?}");
        Ok(())
    })
    .await;

    leaves_no_series(&world, &daemon).await;
}

async fn leaves_no_series(world: &World, daemon: &Kubestrata) {
    let client = &world.client;
    let free = json!({"metadata": {"finalizers": null}});
    objects::patch(client, &format!("{}/held", World::path("pods")), &free).await;
    objects::delete(client, &format!("/api/v1/namespaces/{NAMESPACE}")).await;
    objects::delete(client, "/apis/storage.k8s.io/v1/volumeattachments/va").await;
    objects::delete(client, "/api/v1/persistentvolumes/failed").await;
    let gone = async || {
        // Nobody is the kubelet of pods whose status the test wrote.
        for pod in [
            "looping",
            "killed",
            "imageless",
            "unset",
            "unready",
            "mounting",
            "evicted-1",
            "evicted-2",
        ] {
            let path = format!("{}/{pod}?gracePeriodSeconds=0", World::path("pods"));
            let request = http::Request::delete(path).body(Vec::new())?;
            let _ = client.request::<Value>(request).await;
        }
        let metrics = daemon.metrics().await?;
        let left: Vec<String> = (metrics.samples.iter())
            .filter(|s| s.label("namespace") == NAMESPACE && s.name != "kubestrata_anomalies_total")
            .map(ToString::to_string)
            .collect();
        anyhow::ensure!(left.is_empty(), "left: {left:#?}");
        Ok(())
    };
    eventually(Duration::from_mins(3), "a deleted namespace leaves no series", gone).await;
}
