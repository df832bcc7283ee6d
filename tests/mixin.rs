//! Is the mixin what is shipped as files, and does its configuration reach all of it? Rendered by jsonnet.

#![allow(clippy::unwrap_used)]

mod bed;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// What jsonnet makes of an expression in which `mixin` is the mixin with this configuration.
fn rendered(config: &str, expression: &str) -> Value {
    let code = format!(
        "local mixin = (import 'mixin.libsonnet') + {{ _config+:: {config} }}; {expression}"
    );
    let mut jsonnet = Command::new(bed::bin("jsonnet"));
    let done = jsonnet.current_dir(folder("alerts")).args(["-e", &code]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

fn yaml(name: &str) -> Value {
    serde_saphyr::from_str(&std::fs::read_to_string(folder(name)).unwrap()).unwrap()
}

#[test]
fn without_a_configuration_it_is_what_is_shipped() {
    let all = rendered("{}", "mixin.prometheusRules.groups + mixin.prometheusAlerts.groups");
    assert_eq!(all, yaml("alerts/kubestrata.rules.yaml")["groups"]);
    let with_bands = rendered("{ bands: true }", "mixin.prometheusRules.groups");
    let bands = yaml("alerts/bands.rules.yaml");
    let bands = bands["groups"].as_array().unwrap();
    let with_bands = with_bands.as_array().unwrap();
    assert_eq!(with_bands[with_bands.len() - bands.len()..], bands[..]);
    let dashboards = rendered("{}", "mixin.grafanaDashboards");
    let named: BTreeSet<String> = dashboards.as_object().unwrap().keys().cloned().collect();
    let files = std::fs::read_dir(folder("dashboards")).unwrap();
    let files: BTreeSet<String> =
        files.map(|f| f.unwrap().file_name().to_string_lossy().into_owned()).collect();
    assert_eq!(named, files);
    for (name, dashboard) in dashboards.as_object().unwrap() {
        let shipped = std::fs::read(folder("dashboards").join(name)).unwrap();
        let shipped: Value = serde_json::from_slice(&shipped).unwrap();
        assert_eq!(*dashboard, shipped, "{name}");
    }
}

#[test]
fn its_configuration_reaches_every_rule_and_every_panel() {
    let config = "{ selector: 'job=\"monitoring/kubestrata\"', runbookBase: 'https://books.example.org', \
                  grafanaBase: 'https://boards.example.org' }";
    let rules = rendered(
        config,
        "{ groups: mixin.prometheusRules.groups + mixin.prometheusAlerts.groups }",
    );
    let text = rules.to_string();
    for old in [kubestrata::catalog::RUNBOOKS, kubestrata::catalog::GRAFANA, "job=~"] {
        assert!(!text.contains(old), "{old} is still there");
    }
    assert!(text.contains("https://books.example.org/KubestrataDown.md"));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mixin.rules.yaml");
    std::fs::write(&file, &text).unwrap();
    let mut promtool = Command::new(bed::bin("promtool"));
    let done = promtool.args(["check", "rules", "--lint-fatal"]).arg(&file).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let dashboards = rendered(config, "mixin.grafanaDashboards");
    let mut queries = 0;
    for (name, dashboard) in dashboards.as_object().unwrap() {
        for panel in dashboard["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let expr = target["expr"].as_str().unwrap();
                assert!(expr.contains("job=\"monitoring/kubestrata\""), "{name}: {expr}");
                queries += 1;
            }
        }
    }
    assert!(queries > 200, "{queries}");
}
