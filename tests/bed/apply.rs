//! How does a manifest become an object on the API server? Made, changed and deleted as far as a test may: what the API
//! server sets by itself is left to it.

use std::collections::BTreeSet;

use http::{Method, Request};
use kube::Client;
use kubestrata::model::kind::Kind;
use serde_json::{Value, json};

use super::objects;

/// An event as old reporters write it: only the core API takes one without `eventTime`.
pub fn as_core_event(mut event: Value) -> Value {
    let Some(fields) = event.as_object_mut() else { return event };
    for (new, old) in [
        ("regarding", "involvedObject"),
        ("note", "message"),
        ("deprecatedCount", "count"),
        ("deprecatedFirstTimestamp", "firstTimestamp"),
        ("deprecatedLastTimestamp", "lastTimestamp"),
        ("deprecatedSource", "source"),
        ("reportingController", "reportingComponent"),
    ] {
        if let Some(value) = fields.remove(new) {
            fields.insert(old.to_owned(), value);
        }
    }
    fields.insert("apiVersion".to_owned(), json!("v1"));
    // The objects get identities of their own here.
    if let Some(about) = event["involvedObject"].as_object_mut() {
        about.remove("uid");
    }
    event
}

/// The kind of a manifest.
pub fn kind_of(manifest: &Value) -> Kind {
    let field = |name: &str| manifest[name].as_str().unwrap_or_default();
    Kind::of_manifest(field("apiVersion"), field("kind"))
        .unwrap_or_else(|| panic!("no kind {} {}", field("apiVersion"), field("kind")))
}

/// Where objects of a manifest's kind are made.
fn collection(manifest: &Value) -> String {
    let kind = kind_of(manifest);
    let api_version = manifest["apiVersion"].as_str().unwrap_or_default();
    let root = if api_version.contains('/') { "/apis" } else { "/api" };
    let plural = if kind == Kind::Constraint { "k8srequiredlabels" } else { kind.plural() };
    match manifest["metadata"]["namespace"].as_str() {
        Some(namespace) if kind.namespaced() => {
            format!("{root}/{api_version}/namespaces/{namespace}/{plural}")
        }
        _ => format!("{root}/{api_version}/{plural}"),
    }
}

/// Where a manifest's object is.
pub fn path_of(manifest: &Value) -> String {
    let name = manifest["metadata"]["name"].as_str().unwrap_or_default();
    format!("{}/{name}", collection(manifest))
}

/// The manifest as it may be written: what the API server sets by itself is left to it.
fn written(manifest: &Value) -> Value {
    let mut object = manifest.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("later");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in [
            "uid",
            "resourceVersion",
            "creationTimestamp",
            "generation",
            "managedFields",
            "deletionTimestamp",
        ] {
            metadata.remove(field);
        }
    }
    object
}

/// Who has written the spec last, as the API server is told: a manifest's managers are in the order of their times.
fn writer(manifest: &Value) -> String {
    let managers = manifest["metadata"]["managedFields"].as_array();
    let last = managers.and_then(|m| m.last()).and_then(|m| m["manager"].as_str());
    last.map_or(String::new(), |manager| format!("?fieldManager={manager}"))
}

async fn send(client: &Client, method: Method, path: &str, body: &Value) -> kube::Result<Value> {
    let kind = match method {
        Method::PATCH => "application/merge-patch+json",
        _ => "application/json",
    };
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let request = Request::builder().method(method).uri(path).header("Content-Type", kind);
    client.request(request.body(body).map_err(kube::Error::HttpError)?).await
}

/// Makes the namespaces among the manifests, each with the account that a controller would make.
pub async fn make_namespaces(client: &Client, manifests: &[Value]) {
    for namespace in manifests.iter().filter(|m| m["kind"] == "Namespace") {
        let name = namespace["metadata"]["name"].as_str().unwrap_or_default();
        let path = path_of(namespace);
        if objects::get(client, &path).await.is_err() {
            objects::create(client, "/api/v1/namespaces", &written(namespace)).await;
        } else {
            let labels = json!({"metadata": {"labels": namespace["metadata"]["labels"]}});
            objects::patch(client, &path, &labels).await;
        }
        let account = json!({"metadata": {"name": "default"}});
        let path = format!("/api/v1/namespaces/{name}/serviceaccounts");
        if objects::get(client, &format!("{path}/default")).await.is_err() {
            objects::create(client, &path, &account).await;
        }
    }
}

/// Makes the manifest's object with its status, and says whether it was not there before. One that the API server has
/// made by itself is kept. The deletion that a manifest tells of is asked for.
pub async fn make(client: &Client, manifest: &Value) -> kube::Result<bool> {
    let path = path_of(manifest);
    let is_new = objects::get(client, &path).await.is_err();
    if is_new {
        let at = format!("{}{}", collection(manifest), writer(manifest));
        send(client, Method::POST, &at, &written(manifest)).await?;
    }
    write_status(client, &path, manifest).await?;
    if !manifest["metadata"]["deletionTimestamp"].is_null() {
        send(client, Method::DELETE, &path, &Value::Null).await?;
    }
    Ok(is_new)
}

/// Brings the manifest's object to what it says, and says whether it was not there before.
pub async fn change(client: &Client, manifest: &Value) -> kube::Result<bool> {
    let path = path_of(manifest);
    if objects::get(client, &path).await.is_err() {
        return make(client, manifest).await;
    }
    if manifest["metadata"]["deletionTimestamp"].is_null() {
        let at = format!("{path}{}", writer(manifest));
        let mut object = written(manifest);
        // The API server has added to the spec of a pod, which may not change.
        if kind_of(manifest) == Kind::Pod
            && let Some(fields) = object.as_object_mut()
        {
            fields.remove("spec");
        }
        send(client, Method::PATCH, &at, &object).await?;
        write_status(client, &path, manifest).await?;
    } else {
        send(client, Method::DELETE, &path, &Value::Null).await?;
    }
    Ok(false)
}

async fn write_status(client: &Client, path: &str, manifest: &Value) -> kube::Result<()> {
    let (status, kind) = (&manifest["status"], kind_of(manifest));
    if kind.is_built_in() && !status.is_null() {
        // Whether a signing request is approved is one thing, and its certificate another.
        let approved = kind == Kind::CertificateSigningRequest;
        let parts: &[&str] = if approved { &["approval", "status"] } else { &["status"] };
        let status = json!({"status": status});
        for part in parts {
            send(client, Method::PATCH, &format!("{path}/{part}"), &status).await?;
        }
    }
    Ok(())
}

/// Deletes objects for good, whatever would hold them; one that is gone already is no fault.
pub async fn unmake(client: &Client, paths: &BTreeSet<String>) {
    for path in paths {
        let free = json!({"metadata": {"finalizers": null}});
        // Nobody collects what a Job would leave behind.
        let now = format!("{path}?gracePeriodSeconds=0&propagationPolicy=Background");
        for (method, path, body) in
            [(Method::PATCH, path, &free), (Method::DELETE, &now, &Value::Null)]
        {
            match send(client, method, path, body).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => panic!("{path}: {error}"),
            }
        }
    }
}
