//! Which groups and resources does the simulated API server announce?

use serde_json::{Value, json};

use super::resource;
use crate::sim::fields::Fields;
use crate::sim::kind::Served;

/// The version that the simulated server claims to be.
pub(super) const VERSION: &str = "v1.37.2";

/// What can be done with a resource, and with the status or scale of one.
const VERBS: [&str; 8] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const SUB_VERBS: [&str; 3] = ["get", "patch", "update"];

/// The document at this path, if it is one of discovery or version. `visible` leaves out what is withdrawn.
pub(super) fn document(path: &[&str], visible: &dyn Fn(&Served) -> bool) -> Option<Value> {
    let groups = || resource::groups(visible);
    match path {
        [] => Some(root(visible)),
        ["version"] => Some(version()),
        ["api"] => Some(json!({"kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": []})),
        ["apis"] => {
            let all: Vec<_> = groups().iter().map(|g| group(g, visible)).collect();
            Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": all}))
        }
        ["apis", name] if groups().contains(name) => {
            let mut document = group(name, visible);
            document.put("kind", json!("APIGroup"));
            document.put("apiVersion", json!("v1"));
            Some(document)
        }
        ["api", "v1"] => Some(resources("", "v1", visible)),
        ["apis", name, version] if resource::versions(name, visible).contains(version) => {
            Some(resources(name, version, visible))
        }
        _ => None,
    }
}

/// The whole of `/api` or `/apis` in one document, `apidiscovery.k8s.io/v2`.
pub(super) fn aggregated(path: &[&str], visible: &dyn Fn(&Served) -> bool) -> Option<Value> {
    let groups = match path {
        ["api"] => vec![""],
        ["apis"] => resource::groups(visible),
        _ => return None,
    };
    let item = |name: &&str| {
        let versions = if name.is_empty() { vec!["v1"] } else { resource::versions(name, visible) };
        let versions: Vec<_> = versions.iter().map(|v| discovered(name, v, visible)).collect();
        let metadata = if name.is_empty() { json!({}) } else { json!({"name": name}) };
        json!({"metadata": metadata, "versions": versions})
    };
    let items: Vec<_> = groups.iter().map(item).collect();
    Some(json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {}, "items": items}))
}

fn discovered(group: &str, version: &str, visible: &dyn Fn(&Served) -> bool) -> Value {
    // Kubernetes' own kinds leave group and version out, custom ones name them.
    let kind = |s: &Served| {
        let (group, version) = if resource::custom(s) { (s.group, s.version) } else { ("", "") };
        json!({"group": group, "version": version, "kind": s.name})
    };
    let sub = |s: &Served, name: &str| {
        let kind = match name {
            "scale" => json!({"group": "autoscaling", "version": "v1", "kind": "Scale"}),
            _ => kind(s),
        };
        json!({"subresource": name, "responseKind": kind, "verbs": SUB_VERBS})
    };
    let row = |s: &&Served| {
        let scope = if s.namespaced { "Namespaced" } else { "Cluster" };
        let mut row = json!({"resource": s.plural, "responseKind": kind(s), "scope": scope,
            "singularResource": s.singular, "verbs": VERBS});
        let subs: Vec<_> = resource::subresources(s).iter().map(|n| sub(s, n)).collect();
        if !subs.is_empty() {
            row.put("subresources", Value::Array(subs));
        }
        row
    };
    let all = resource::resources(group, version, visible);
    let all: Vec<_> = all.iter().map(row).collect();
    json!({"version": version, "resources": all, "freshness": "Current"})
}

fn group(name: &str, visible: &dyn Fn(&Served) -> bool) -> Value {
    let version = |v: &&str| json!({"groupVersion": format!("{name}/{v}"), "version": v});
    let versions: Vec<_> = resource::versions(name, visible).iter().map(version).collect();
    json!({"name": name, "versions": versions, "preferredVersion": versions.first()})
}

fn resources(group: &str, version: &str, visible: &dyn Fn(&Served) -> bool) -> Value {
    let mut all = Vec::new();
    for s in resource::resources(group, version, visible) {
        all.push(json!({"name": s.plural, "singularName": s.singular, "namespaced": s.namespaced,
            "kind": s.name, "verbs": VERBS}));
        for name in resource::subresources(s) {
            let mut sub = json!({"name": format!("{}/{name}", s.plural), "singularName": "",
                "namespaced": s.namespaced, "kind": s.name, "verbs": SUB_VERBS});
            if *name == "scale" {
                sub.put("group", json!("autoscaling"));
                sub.put("version", json!("v1"));
                sub.put("kind", json!("Scale"));
            }
            all.push(sub);
        }
    }
    let group_version =
        if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let mut document = json!({"kind": "APIResourceList", "groupVersion": group_version,
        "resources": all});
    // The core group's document is older than the field.
    if !group.is_empty() {
        document.put("apiVersion", json!("v1"));
    }
    document
}

/// The paths that there are.
fn root(visible: &dyn Fn(&Served) -> bool) -> Value {
    let mut paths = vec!["/api".to_owned(), "/api/v1".to_owned(), "/apis".to_owned()];
    for group in resource::groups(visible) {
        paths.push(format!("/apis/{group}"));
        let versions = resource::versions(group, visible);
        paths.extend(versions.iter().map(|v| format!("/apis/{group}/{v}")));
    }
    paths.extend(["/healthz", "/livez", "/metrics", "/readyz", "/version"].map(str::to_owned));
    json!({"paths": paths})
}

fn version() -> Value {
    json!({
        "major": "1",
        "minor": "37",
        "emulationMajor": "1",
        "emulationMinor": "37",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "36",
        "gitVersion": VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "2026-11-10T00:00:00Z",
        "goVersion": "go1.26",
        "compiler": "gc",
        "platform": "linux/amd64",
    })
}
