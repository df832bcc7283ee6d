//! What do tests put into a cluster, and how? JSON by the API's paths, with makers for the usual objects.

use std::time::Duration;

use futures::StreamExt;
use http::{Method, Request};
use kube::Client;
use serde_json::{Value, json};

use super::eventually;

/// The time now as the API writes it, to the microsecond.
pub fn now() -> String {
    #[expect(clippy::disallowed_methods, reason = "the API server beside us lives in real time")]
    let now = jiff::Timestamp::now();
    format!("{now:.6}")
}

/// Sends a request; any status but success panics with the API server's words.
async fn send(client: &Client, method: Method, path: &str, kind: &str, body: &Value) -> Value {
    let answer = try_send(client, &method, path, kind, body).await;
    answer.unwrap_or_else(|error| panic!("could not {method} {path}: {error}"))
}

async fn try_send(
    client: &Client,
    method: &Method,
    path: &str,
    kind: &str,
    body: &Value,
) -> kube::Result<Value> {
    let request = Request::builder().method(method).uri(path).header("Content-Type", kind);
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    client.request(request.body(body).map_err(kube::Error::HttpError)?).await
}

/// Creates an object in a collection, such as `/api/v1/namespaces/default/pods`.
pub async fn create(client: &Client, collection: &str, object: &Value) -> Value {
    send(client, Method::POST, collection, "application/json", object).await
}

/// Creates many objects in a collection, 32 at a time.
pub async fn create_many(
    client: &Client,
    collection: &str,
    objects: impl IntoIterator<Item = Value>,
) {
    let requests = objects.into_iter().map(|object| async move {
        create(client, collection, &object).await;
    });
    futures::stream::iter(requests).buffer_unordered(32).collect::<()>().await;
}

/// Reads an object or a list.
pub async fn get(client: &Client, path: &str) -> kube::Result<Value> {
    try_send(client, &Method::GET, path, "application/json", &Value::Null).await
}

/// Changes an object by a merge patch; a path that ends with `/status` or `/scale` works too.
pub async fn patch(client: &Client, path: &str, change: &Value) -> Value {
    send(client, Method::PATCH, path, "application/merge-patch+json", change).await
}

/// Deletes an object or a collection, in the background.
pub async fn delete(client: &Client, path: &str) {
    send(client, Method::DELETE, path, "application/json", &Value::Null).await;
}

/// Changes a status by a strategic merge patch: conditions are merged by type, lists of containers
/// are replaced.
pub async fn patch_status(client: &Client, path: &str, status: &Value) -> Value {
    let path = format!("{path}/status");
    let change = json!({"status": status});
    send(client, Method::PATCH, &path, "application/strategic-merge-patch+json", &change).await
}

/// Changes the status of a pod; kwok leaves it so if the pod has [`MANUAL`].
pub async fn patch_pod_status(client: &Client, namespace: &str, pod: &str, status: &Value) {
    patch_status(client, &format!("/api/v1/namespaces/{namespace}/pods/{pod}"), status).await;
}

/// Gives a node this Ready condition, to which kwok does not object.
pub async fn set_node_ready(client: &Client, node: &str, status: &str, reason: &str) {
    let path = format!("/api/v1/nodes/{node}");
    patch(client, &path, &json!({"metadata": {"annotations": {MANUAL: "true"}}})).await;
    let ready = condition("Ready", status, reason);
    patch_status(client, &path, &json!({"conditions": [ready]})).await;
}

/// Leaves a node without a kubelet: kwok no longer renews its lease, and the controller manager
/// will find it Unknown (soon with [`fast_node_loss`](super::ClusterOptions::fast_node_loss)).
pub async fn lose_node(client: &Client, node: &str) {
    let label = json!({"metadata": {"labels": {KWOK: null}}});
    patch(client, &format!("/api/v1/nodes/{node}"), &label).await;
}

/// Gives a lost node its kubelet back.
pub async fn regain_node(client: &Client, node: &str) {
    let label = json!({"metadata": {"labels": {KWOK: "true"}}});
    patch(client, &format!("/api/v1/nodes/{node}"), &label).await;
}

/// Annotation of a node or pod whose status is the test's to write: `"true"`.
pub const MANUAL: &str = "kubestrata.bed/manual";
/// Annotation of a pod that ends a second after it ran: `"true"` succeeds, `"fail"` fails.
pub const COMPLETE: &str = "kubestrata.bed/complete";
/// Annotation of a pod that stays Terminating once deleted: `"true"`.
pub const STUCK: &str = "kubestrata.bed/stuck";
/// Label of the nodes that kwok is the kubelet of: `"true"`.
pub const KWOK: &str = "kubestrata.bed/kwok";

/// A node of kwok's.
pub fn node(name: &str) -> Value {
    let size = json!({"cpu": "64", "memory": "512Gi", "ephemeral-storage": "500Gi", "pods": "500"});
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {
            KWOK: "true", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux",
        }},
        "status": {
            "allocatable": size, "capacity": size,
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "nodeInfo": {
                "architecture": "amd64", "operatingSystem": "linux", "kubeletVersion": "v1.37.2",
                "kubeProxyVersion": "", "containerRuntimeVersion": "containerd://2.1.0",
                "kernelVersion": "6.1.0", "osImage": "bed", "bootID": name, "machineID": name,
                "systemUUID": name,
            },
        },
    })
}

/// A pod with one container, `main`.
pub fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": pod_spec()})
}

/// A pod on a node, whose status is the test's to write; it stays Pending until then.
pub fn manual_pod(name: &str, node: &str) -> Value {
    let mut pod = pod(name);
    pod["metadata"]["annotations"] = json!({MANUAL: "true"});
    pod["spec"]["nodeName"] = json!(node);
    pod
}

/// A Deployment whose pods have one container, `main`, and the label `app`.
pub fn deployment(name: &str, replicas: usize) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod_spec()},
        },
    })
}

fn pod_spec() -> Value {
    json!({
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "main", "image": "bed/main:1"}],
    })
}

/// A condition as of now.
pub fn condition(kind: &str, status: &str, reason: &str) -> Value {
    let now = now();
    json!({"type": kind, "status": status, "reason": reason, "message": "by the test",
        "lastTransitionTime": now[..19].to_owned() + "Z"})
}

/// The status of a container, of which only the ready one runs.
pub fn container(name: &str, restarts: u32, state: &Value, last_state: &Value) -> Value {
    let running = state.get("running").is_some();
    json!({"name": name, "image": "bed/main:1", "imageID": "", "restartCount": restarts,
        "ready": running, "started": running, "state": state, "lastState": last_state})
}

/// The state of a container that runs.
pub fn running() -> Value {
    json!({"running": {"startedAt": now()[..19].to_owned() + "Z"}})
}

/// The state of a container that waits, such as with `CrashLoopBackOff`.
pub fn waiting(reason: &str) -> Value {
    json!({"waiting": {"reason": reason, "message": "by the test"}})
}

/// The state of a container that ended, such as with `OOMKilled` and 137.
pub fn terminated(reason: &str, exit_code: i32) -> Value {
    let now = now()[..19].to_owned() + "Z";
    json!({"terminated":
        {"reason": reason, "exitCode": exit_code, "startedAt": now, "finishedAt": now}})
}

/// An Event of `events.k8s.io/v1` on an object; `regarding` has its kind, name, namespace and uid.
pub fn event(name: &str, kind: &str, reason: &str, note: &str, regarding: &Value) -> Value {
    json!({
        "metadata": {"name": name}, "type": kind, "reason": reason, "note": note,
        "action": "Testing", "regarding": regarding, "eventTime": now(),
        "reportingController": "kubestrata.bed/test", "reportingInstance": "test-0",
    })
}

/// Creates an Event in a namespace.
pub async fn create_event(client: &Client, namespace: &str, event: &Value) {
    create(client, &format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events"), event).await;
}

/// Tells that an Event has happened `count` times by now, as a recorder does: in its series.
pub async fn repeat_event(client: &Client, namespace: &str, name: &str, count: u32) {
    let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events/{name}");
    let series = json!({"series": {"count": count, "lastObservedTime": now()}});
    patch(client, &path, &series).await;
}

/// Makes a range of addresses for Services, and waits until it is ready.
pub async fn make_range(client: &Client, name: &str, cidr: &str) {
    let range = json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
        "metadata": {"name": name}, "spec": {"cidrs": [cidr]}});
    let ranges = "/apis/networking.k8s.io/v1/servicecidrs";
    create(client, ranges, &range).await;
    eventually(Duration::from_mins(1), "the range is ready", async || {
        let range = get(client, &format!("{ranges}/{name}")).await?;
        let conditions = range["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
        anyhow::ensure!(ready, "{range}");
        Ok(())
    })
    .await;
}
