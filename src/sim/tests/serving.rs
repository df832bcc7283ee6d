//! Are the forms, selectors and writes of the API served that clients other than watchers use?

use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::Bench;
use crate::sim::fields::Fields;

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
const MERGE: &str = "application/merge-patch+json";
const JSON: &str = "application/json";

impl Bench {
    /// Code and body of any request.
    pub(super) async fn ask(
        &self,
        method: &str,
        path: &str,
        accept: &str,
        body: &Value,
    ) -> (u16, Value) {
        let kind = if method == "PATCH" { MERGE } else { JSON };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request::builder()
            .method(method.parse::<Method>().expect("a method"))
            .uri(path)
            .header("accept", accept)
            .header("content-type", kind)
            .body(Full::<bytes::Bytes>::from(body))
            .expect("a request");
        let answer = self.cluster.service().oneshot(request).await.expect("an answer");
        let code = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
        let text = || json!(String::from_utf8_lossy(&bytes));
        (code, serde_json::from_slice(&bytes).unwrap_or_else(|_| text()))
    }

    async fn read(&self, path: &str) -> Value {
        let (code, body) = self.ask("GET", path, JSON, &Value::Null).await;
        assert_eq!(code, 200, "{path}: {body}");
        body
    }
}

fn class(name: &str) -> Value {
    json!({"metadata": {"name": name}, "provisioner": "example.com/none"})
}

const CLASSES: &str = "/apis/storage.k8s.io/v1/storageclasses";

#[tokio::test]
async fn pods_are_selected_by_label_node_and_phase() {
    let bench = Bench::small();
    let all = bench.read("/api/v1/pods").await;
    let count = |list: &Value| list.items("items").len();
    let node = all.text("items/0/spec/nodeName");
    let on_node = bench.read(&format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{node}")).await;
    assert!(count(&on_node) > 0 && count(&on_node) < count(&all));
    assert!(on_node.items("items").iter().all(|p| p.text("spec/nodeName") == node));
    let app = all.text("items/0/metadata/labels/app");
    let with = bench.read(&format!("/api/v1/pods?labelSelector=app+in+({app})")).await;
    let without = bench.read(&format!("/api/v1/pods?labelSelector=app!%3D{app}")).await;
    assert!(count(&with) > 0);
    assert_eq!(count(&with) + count(&without), count(&all));
    let pending = bench.read("/api/v1/pods?fieldSelector=status.phase%3DPending").await;
    assert_eq!(count(&pending), 0);
}

#[tokio::test]
async fn tables_have_rows_and_no_objects_where_none_are_wanted() {
    let bench = Bench::small();
    let path = "/api/v1/pods?limit=3&includeObject=None";
    let (_, table) = bench.ask("GET", path, TABLE, &Value::Null).await;
    assert_eq!(table.text("kind"), "Table");
    assert_eq!(table.items("rows").len(), 3);
    assert_eq!(table.text("columnDefinitions/2/name"), "Status");
    assert_eq!(table.text("rows/0/cells/2"), "Running");
    assert_eq!(table.at("rows/0/object"), Some(&Value::Null));
    assert!(!table.text("metadata/continue").is_empty());
    let (code, _) = bench.ask("GET", "/api/v1/pods?includeObject=x", TABLE, &Value::Null).await;
    assert_eq!(code, 400);
}

#[tokio::test]
async fn an_object_is_made_changed_and_deleted() {
    let bench = Bench::small();
    let (code, made) = bench.ask("POST", CLASSES, JSON, &class("slow")).await;
    assert_eq!((code, made.text("metadata/name")), (201, "slow"), "{made}");
    let (code, again) = bench.ask("POST", CLASSES, JSON, &class("slow")).await;
    assert_eq!((code, again.text("reason")), (409, "AlreadyExists"));
    let path = format!("{CLASSES}/slow");
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    let (code, changed) = bench.ask("PATCH", &path, JSON, &label).await;
    assert_eq!((code, changed.label("a")), (200, "b"));
    let (code, stale) = bench.ask("PUT", &path, JSON, &made).await;
    assert_eq!((code, stale.text("reason")), (409, "Conflict"));
    let (code, gone) = bench.ask("DELETE", &path, JSON, &Value::Null).await;
    assert_eq!((code, gone.text("kind")), (200, "StorageClass"));
    let (code, absent) = bench.ask("DELETE", &path, JSON, &Value::Null).await;
    assert_eq!((code, absent.text("reason")), (404, "NotFound"));
    let (code, wrong) = bench.ask("POST", CLASSES, JSON, &class("Slow_")).await;
    assert_eq!((code, wrong.text("reason")), (422, "Invalid"));
}

#[tokio::test]
async fn an_object_with_a_finalizer_stays_until_it_is_taken_away() {
    let bench = Bench::small();
    let mut kept = class("kept");
    kept.put("metadata/finalizers", json!(["example.com/hold"]));
    bench.ask("POST", CLASSES, JSON, &kept).await;
    let path = format!("{CLASSES}/kept");
    let (_, going) = bench.ask("DELETE", &path, JSON, &Value::Null).await;
    assert!(!going.text("metadata/deletionTimestamp").is_empty(), "{going}");
    bench.read(&path).await;
    let free = json!({"metadata": {"finalizers": null}});
    assert_eq!(bench.ask("PATCH", &path, JSON, &free).await.0, 200);
    assert_eq!(bench.ask("GET", &path, JSON, &Value::Null).await.0, 404);
}

#[tokio::test]
async fn a_scaled_workload_is_reconciled() {
    let bench = Bench::small();
    // One that neither Git nor an autoscaler holds to its replicas.
    let path = "/apis/apps/v1/namespaces/kube-system/deployments/cluster-dns";
    let scale = json!({"spec": {"replicas": 5}});
    let (code, scaled) = bench.ask("PATCH", &format!("{path}/scale"), JSON, &scale).await;
    assert_eq!((code, scaled.text("kind"), scaled.int("spec/replicas")), (200, "Scale", 5));
    bench.pass(std::time::Duration::from_mins(3));
    assert_eq!(bench.read(path).await.int("status/readyReplicas"), 5);
}

#[tokio::test]
async fn the_server_tells_of_its_health_and_figures() {
    let bench = Bench::small();
    assert_eq!(bench.read("/readyz").await, "ok");
    let verbose = bench.read("/readyz?verbose").await;
    assert!(verbose.as_str().is_some_and(|t| t.ends_with("readyz check passed\n")), "{verbose}");
    bench.read("/api/v1/nodes").await;
    let text = bench.read("/metrics").await;
    let text = text.as_str().expect("text");
    for line in [
        "process_start_time_seconds 17",
        "apiserver_resource_objects{group=\"\",resource=\"nodes\"} 6\n",
        "apiserver_request_total{code=\"200\",resource=\"nodes\",verb=\"LIST\"} 1\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[tokio::test]
async fn large_answers_are_compressed_for_those_who_ask() {
    let bench = Bench::small();
    for (path, packed) in [("/api/v1/pods", true), ("/api/v1/namespaces", false)] {
        let request = Request::get(path).header("accept-encoding", "gzip");
        let request = request.body(Full::<bytes::Bytes>::default()).expect("a request");
        let answer = bench.cluster.service().oneshot(request).await.expect("an answer");
        assert_eq!(answer.headers().contains_key("content-encoding"), packed, "{path}");
        let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(bytes.starts_with(&[0x1f, 0x8b]), packed, "{path}");
    }
}
