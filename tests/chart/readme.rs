//! What does the chart's README say? What the comments of values.yaml say, each above its value.

use std::fmt::Write;

use serde_json::Value;

/// A value of the chart.
pub struct Row {
    path: String,
    comment: String,
    default: String,
}

/// A key of values.yaml, in order: its path, and the comment right above it.
fn keys(text: &str) -> Vec<(String, String)> {
    let (mut stack, mut comment, mut keys) = (Vec::<(usize, String)>::new(), String::new(), vec![]);
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let line = line.trim();
        if let Some(words) = line.strip_prefix('#') {
            comment.push_str(words);
            continue;
        }
        let key = line.split_once(':').map(|(key, _)| key);
        let word = |key: &&str| key.chars().all(|c| c.is_alphanumeric() || "./_-".contains(c));
        if let Some(key) = key.filter(word).filter(|key| !key.is_empty() && !line.starts_with("- "))
        {
            stack.retain(|(at, _)| *at < indent);
            stack.push((indent, key.to_owned()));
            let path: Vec<&str> = stack.iter().map(|(_, key)| key.as_str()).collect();
            keys.push((path.join("."), comment.trim().to_owned()));
        }
        comment.clear();
    }
    keys
}

/// Whether a path lies below one that is explained.
fn is_covered(path: &str, keys: &[(String, String)]) -> bool {
    let mut above = keys.iter().filter(|(_, comment)| !comment.is_empty());
    above.any(|(other, _)| path.starts_with(&format!("{other}.")))
}

/// The values that nobody explains: no comment, none above, and nothing below that has one.
pub fn unexplained(text: &str) -> Vec<String> {
    let keys = keys(text);
    let group = |path: &str| keys.iter().any(|(other, _)| other.starts_with(&format!("{path}.")));
    let silent = keys
        .iter()
        .filter(|(path, comment)| comment.is_empty() && !is_covered(path, &keys) && !group(path));
    silent.map(|(path, _)| path.clone()).collect()
}

/// The values that are explained, in their order.
pub fn rows(text: &str, values: &Value) -> Vec<Row> {
    let explained = keys(text).into_iter().filter(|(_, comment)| !comment.is_empty());
    let row = |(path, comment): (String, String)| {
        let default = path.split('.').fold(values, |value, key| &value[key]).to_string();
        Row { path, comment, default }
    };
    explained.map(row).collect()
}

/// The page.
pub fn page(text: &str, values: &Value) -> String {
    let mut page = String::from(
        "<!-- Generated from values.yaml by tests/chart.rs. Do not edit. -->\n\
         # kubestrata, the chart\n\n\
         Installs [kubestrata](https://github.com/kubestrata/kubestrata), which tells which layer of a Kubernetes cluster is \
         unhealthy, since when, why, and what changed.\n\n\
         ```sh\n\
         helm install kubestrata oci://ghcr.io/kubestrata/charts/kubestrata --namespace kubestrata --create-namespace\n\
         ```\n\n\
         It needs Kubernetes 1.29 and `list` and `watch` on the kinds that the enabled layers read; those rules come with \
         each layer and go with it.\n\
         Secrets and ConfigMaps are not read by default, and nothing is written but the Lease of two replicas.\n\
         Its pods fit the Pod Security level `restricted`.\n\
         A value that is not in this table is refused by name.\n\n\
         ## Values\n\n\
         | value | default | meaning |\n|---|---|---|\n",
    );
    for Row { path, comment, default } in rows(text, values) {
        let default = default.replace('|', "\\|");
        let _ = writeln!(page, "| `{path}` | `{default}` | {} |", comment.replace('|', "\\|"));
    }
    page.push_str(
        "\n## More\n\n\
         `docs/install.md` of the project has two replicas, state, the audit webhook, upgrades and plain manifests; \
         `charts/examples` has values for kind, k3s, EKS, GKE, AKS and OpenShift.\n",
    );
    page
}
