//! Which custom resource definitions does a cluster need to hold what optional systems hold? Made from the kinds that
//! kubestrata reads: the real group, versions, names and scope, and a schema that takes any field.

use std::time::Duration;

use kube::Client;
use kubestrata::model::fields::fields;
use kubestrata::model::kind::{Kind, Origin};
use serde_json::{Map, Value, json};

use super::{eventually, objects};

/// The definitions of every kind that is not Kubernetes' own.
pub fn all() -> Vec<Value> {
    let custom = |k: &&Kind| k.is_resource() && !k.is_built_in() && k.group() != "metrics.k8s.io";
    Kind::ALL.iter().filter(custom).copied().map(of).collect()
}

/// The definition of a kind.
pub fn of(kind: Kind) -> Value {
    // Gatekeeper makes a kind for each template; one of its library stands for all.
    let (name, plural) = match kind {
        Kind::Constraint => ("K8sRequiredLabels", "k8srequiredlabels"),
        _ => (kind.name(), kind.plural()),
    };
    let group = kind.group();
    let schema = schema(kind);
    let versions: Vec<Value> = kind
        .versions()
        .iter()
        .enumerate()
        .map(|(at, version)| {
            let mut version = json!({"name": version, "served": true, "storage": at == 0,
                "schema": {"openAPIV3Schema": schema}});
            if matches!(kind.origin(), Origin::Table(_)) {
                version["additionalPrinterColumns"] = columns(kind);
            }
            version
        })
        .collect();
    let scope = if kind.namespaced() { "Namespaced" } else { "Cluster" };
    let mut crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {"group": group, "scope": scope, "versions": versions,
            "names": {"kind": name, "plural": plural, "singular": name.to_lowercase(), "listKind": format!("{name}List")}},
    });
    if group.ends_with(".k8s.io") || group.ends_with("kubernetes.io") {
        let approved = json!({"api-approved.kubernetes.io": "unapproved, for tests"});
        crd["metadata"]["annotations"] = approved;
    }
    crd
}

/// A schema with the fields that are read, each of which takes anything.
fn schema(kind: Kind) -> Value {
    let open = || json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let mut properties = Map::new();
    for path in fields(kind).iter().copied().chain(["status.conditions"]) {
        let top = path.split('.').next().unwrap_or(path);
        let any = || json!({"x-kubernetes-preserve-unknown-fields": true});
        let value = if top == path { any() } else { open() };
        properties.entry(top).or_insert(value);
    }
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": properties})
}

/// The printed columns of reports, under the names that their projects give them.
fn columns(kind: Kind) -> Value {
    let column =
        |name: &str, path: &str| json!({"name": name, "type": "integer", "jsonPath": path});
    let of = |names: &[&str], root: &str, suffix: &str| -> Value {
        let path = |n: &str| format!("{root}.{}{suffix}", n.to_lowercase());
        names.iter().map(|n| column(n, &path(n))).collect()
    };
    match kind.group() {
        "aquasecurity.github.io" => {
            of(&["Critical", "High", "Medium", "Low", "Unknown"], ".report.summary", "Count")
        }
        _ => of(&["Pass", "Fail", "Warn", "Error", "Skip"], ".summary", ""),
    }
}

/// Makes every definition, and waits until the API server serves its kind.
pub async fn install(client: &Client) {
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    objects::create_many(client, path, all()).await;
    eventually(Duration::from_mins(2), "every definition is established", async || {
        let all = objects::get(client, path).await?;
        let waiting = all["items"].as_array().unwrap().iter().filter(|crd| {
            let conditions = crd["status"]["conditions"].as_array().into_iter().flatten();
            !conditions.clone().any(|c| c["type"] == "Established" && c["status"] == "True")
        });
        anyhow::ensure!(waiting.count() == 0, "some are not");
        Ok(())
    })
    .await;
}
