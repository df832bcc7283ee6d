//! Which groups and resources does the simulated API server announce?

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::sim::kind::{SERVED, Served};

/// The version that the simulated server claims to be.
const VERSION: &str = "v1.37.2";

/// The document at this path, if it is one of discovery or version.
pub(super) fn document(path: &[&str]) -> Option<Value> {
    match path {
        ["version"] => Some(version()),
        ["api"] => Some(
            json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}),
        ),
        ["apis"] => {
            let all: Vec<_> = groups().iter().map(|g| group(g)).collect();
            Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": all}))
        }
        ["apis", name] if groups().contains(name) => {
            let mut document = group(name);
            document["kind"] = json!("APIGroup");
            document["apiVersion"] = json!("v1");
            Some(document)
        }
        ["api", "v1"] => Some(resources("", "v1")),
        ["apis", name, version] if version_of(name) == Some(version) => {
            Some(resources(name, &format!("{name}/{version}")))
        }
        _ => None,
    }
}

fn groups() -> BTreeSet<&'static str> {
    SERVED.iter().map(|s| s.group).filter(|g| !g.is_empty()).collect()
}

/// The version in which a group is served.
fn version_of(group: &str) -> Option<&'static str> {
    SERVED.iter().find(|s| s.group == group && !group.is_empty()).map(|s| s.version)
}

fn group(name: &str) -> Value {
    let version = version_of(name).unwrap_or_default();
    let version = json!({"groupVersion": format!("{name}/{version}"), "version": version});
    json!({"name": name, "versions": [version], "preferredVersion": version})
}

fn resources(group: &str, version: &str) -> Value {
    let row = |s: &Served| {
        json!({
            "name": s.plural,
            "singularName": s.singular,
            "namespaced": s.namespaced,
            "kind": s.name,
            "verbs": ["get", "list", "watch"],
        })
    };
    let all: Vec<_> = SERVED.iter().filter(|s| s.group == group).map(row).collect();
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": all})
}

fn version() -> Value {
    json!({
        "major": "1",
        "minor": "37",
        "gitVersion": VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "2026-11-10T00:00:00Z",
        "goVersion": "go1.26",
        "compiler": "gc",
        "platform": "linux/amd64",
    })
}
