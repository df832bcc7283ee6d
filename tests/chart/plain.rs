//! What is installed without helm? What the chart renders by default, as files for `kubectl apply -k`.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::Value;

use crate::bed::helm;

const NOTE: &str = "# Rendered from charts/kubestrata by tests/chart.rs. Do not edit.\n";

/// Labels and annotations that only helm has a use for.
const HELMS: &[&str] =
    &["# Source:", "helm.sh/chart:", "app.kubernetes.io/managed-by:", "checksum/config:"];

/// The files, by their path in the project.
pub fn pages() -> Vec<(String, String)> {
    let text = helm::render_text(&[]).unwrap_or_else(|error| panic!("{error}"));
    let mut pages = vec![("namespace".to_owned(), namespace())];
    let mut config = String::new();
    for document in text.split("---\n").filter(|d| !d.trim().is_empty()) {
        let object = helm::objects(document).remove(0);
        let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
        if kind == "configmap" {
            object["data"]["kubestrata.yaml"].as_str().unwrap_or_default().clone_into(&mut config);
        } else {
            pages.push((kind, without_helm(document)));
        }
    }
    let names: BTreeSet<&String> = pages.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), pages.len(), "two objects of one kind: {names:?}");
    let kustomization = kustomization(pages.iter().map(|(name, _)| name.as_str()));
    pages.push(("kustomization".to_owned(), kustomization));
    pages.push(("kubestrata".to_owned(), config));
    let path = |name: String| format!("charts/manifests/{name}.yaml");
    pages.into_iter().map(|(name, text)| (path(name), format!("{NOTE}{text}"))).collect()
}

fn namespace() -> String {
    let mut yaml =
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: kubestrata\n  labels:\n".to_owned();
    for mode in ["enforce", "audit", "warn"] {
        let _ = writeln!(yaml, "    pod-security.kubernetes.io/{mode}: restricted");
    }
    yaml
}

/// A document without what helm alone has a use for. Annotations with nothing left in them go, too.
fn without_helm(document: &str) -> String {
    let kept = document.lines().filter(|line| !HELMS.iter().any(|w| line.trim().starts_with(w)));
    let kept: Vec<&str> = kept.collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut text = String::new();
    for (at, line) in kept.iter().enumerate() {
        let below = kept.get(at + 1).is_some_and(|next| indent(next) > indent(line));
        if line.trim() != "annotations:" || below {
            let _ = writeln!(text, "{line}");
        }
    }
    text
}

/// The configuration is a generated ConfigMap: its name has its hash, so that another one rolls the pods.
fn kustomization<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut yaml = String::from(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n",
    );
    for name in names {
        let _ = writeln!(yaml, "- {name}.yaml");
    }
    yaml.push_str(
        "configMapGenerator:\n- name: kubestrata\n  namespace: kubestrata\n  files: [kubestrata.yaml]\n  options:\n    labels:\n",
    );
    let objects = helm::render(&[]);
    let labels: &Value = &helm::the(&objects, "ConfigMap")["metadata"]["labels"];
    for (label, value) in labels.as_object().into_iter().flatten() {
        if !HELMS.iter().any(|helms| helms.trim_end_matches(':') == label) {
            let _ = writeln!(yaml, "      {label}: {value}");
        }
    }
    yaml
}
