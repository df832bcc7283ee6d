//! Does the chart give who installs it what the values say, and tell who mistypes them? What it renders, without a
//! cluster; `tests/install.rs` takes it to one. Writes README.md of the chart and the plain manifests where they are
//! stale, and fails; CI only fails.

#![allow(clippy::unwrap_used)]
#![allow(unreachable_pub, reason = "a test binary exports nothing")]

mod bed;
#[path = "chart/plain.rs"]
mod plain;
#[path = "chart/readme.rs"]
mod readme;

use std::collections::BTreeSet;
use std::fs;

use bed::Kubestrata;
use bed::helm::{self, FEATURES};
use kubestrata::catalog;
use kubestrata::model::kind::Kind;
use kubestrata::model::layer::Layer;
use serde_json::{Value, json};

fn values() -> (String, Value) {
    let text = fs::read_to_string(helm::of_project("charts/kubestrata/values.yaml")).unwrap();
    let values = serde_saphyr::from_str(&text).unwrap();
    (text, values)
}

#[test]
fn the_readme_and_the_plain_manifests_are_fresh() {
    let (text, values) = values();
    let mut pages = plain::pages();
    pages.push(("charts/kubestrata/README.md".to_owned(), readme::page(&text, &values)));
    let mut stale = Vec::new();
    for (path, fresh) in pages {
        let file = helm::of_project(&path);
        if fs::read_to_string(&file).unwrap_or_default() != fresh {
            stale.push(path);
            if std::env::var_os("CI").is_none() {
                fs::write(file, fresh).unwrap();
            }
        }
    }
    assert!(stale.is_empty(), "stale: {stale:?}; run `cargo test --test chart` and commit them");
    let kept: BTreeSet<String> = plain::pages().into_iter().map(|(path, _)| path).collect();
    for file in helm::files("charts/manifests", ".yaml") {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        assert!(kept.contains(&format!("charts/manifests/{name}")), "nobody writes {name}");
    }
}

#[test]
fn who_reads_the_values_finds_each_explained() {
    let (text, values) = values();
    let silent = readme::unexplained(&text);
    assert!(silent.is_empty(), "no comment above {silent:?}");
    assert!(readme::rows(&text, &values).len() > 100);
}

/// The paths of `values` that the schema does not name.
fn unknown(values: &Value, schema: &Value, at: &str, found: &mut Vec<String>) {
    let Some(properties) = schema["properties"].as_object() else { return };
    for (key, value) in values.as_object().into_iter().flatten() {
        let path = format!("{at}.{key}");
        match properties.get(key) {
            Some(schema) => unknown(value, schema, &path, found),
            None => found.push(path),
        }
    }
}

#[test]
fn the_schema_names_the_values_that_there_are_and_no_others() {
    let schema = fs::read(helm::of_project("charts/kubestrata/values.schema.json")).unwrap();
    let schema: Value = serde_json::from_slice(&schema).unwrap();
    let (_, values) = values();
    let mut found = Vec::new();
    unknown(&values, &schema, "", &mut found);
    assert!(found.is_empty(), "not in the schema: {found:?}");
    let named = schema["properties"].as_object().unwrap().keys();
    // `enabled` is the condition by which an umbrella chart has it.
    let idle: Vec<_> = named.filter(|k| values.get(k).is_none() && *k != "enabled").collect();
    assert!(idle.is_empty(), "in the schema only: {idle:?}");
}

#[test]
fn who_mistypes_a_value_is_told_which() {
    for (set, told) in [
        ("replica=2", "additional properties 'replica' not allowed"),
        ("layers.storag.enabled=false", "at '/layers': additional properties 'storag' not allowed"),
        ("serviceMonitor.intervall=1m", "at '/serviceMonitor'"),
        ("replicas=two", "at '/replicas': got string, want integer"),
        ("image.pullPolicy=Sometimes", "value must be one of 'Always', 'IfNotPresent', 'Never'"),
        ("serviceMonitor.interval=often", "at '/serviceMonitor/interval'"),
        ("image.digest=latest", "at '/image/digest'"),
        ("config.layers[0]=storage", "config.layers is set by the chart: use the value layers"),
        ("config.listen=:1", "config.listen is set by the chart: use the value listen"),
        ("config.state.directory=/x", "use the value state"),
        ("config.leader_election.enabled=true", "use the value leaderElection"),
        ("prometheusRule.enabled=true,prometheusRule.overrides.Nobody.for=1m", "the alert Nobody"),
    ] {
        let error = helm::render_text(&["--set", set]).expect_err(set);
        assert!(error.contains(told), "{set} is told as: {error}");
    }
}

#[test]
fn helm_has_nothing_to_say_of_default_and_example_values() {
    let lint = |args: &[&str]| {
        let mut all = vec!["lint", "charts/kubestrata", "--strict", "--quiet"];
        all.extend(["--kube-version", helm::KUBERNETES]);
        all.extend(args);
        helm::program("helm", &all, "").unwrap_or_else(|error| panic!("{args:?}: {error}"));
    };
    lint(&[]);
    for example in helm::files("charts/examples", ".yaml") {
        lint(&["--values", example.to_str().unwrap()]);
    }
    for (set, _, _) in FEATURES {
        lint(&["--set", set]);
    }
}

/// `Kind/name` of each object.
fn names(objects: &[Value]) -> BTreeSet<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let name = |o: &Value| format!("{}/{}", text(&o["kind"]), text(&o["metadata"]["name"]));
    let names: BTreeSet<String> = objects.iter().map(name).collect();
    assert_eq!(names.len(), objects.len(), "two of one name: {names:?}");
    names
}

/// The names with one for each file where they stand for all of a folder.
fn spelled(names: &[&str]) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for name in names {
        let Some((before, folder)) = name.split_once('{') else {
            all.insert((*name).to_owned());
            continue;
        };
        let (folder, end) = match folder {
            "alerts}" => ("alerts", ".rules.yaml"),
            _ => ("dashboards", ".json"),
        };
        for file in helm::files(folder, end) {
            let file = file.file_name().unwrap().to_string_lossy().into_owned();
            let stem = match file.trim_end_matches(end) {
                "kubestrata" => "alerts",
                stem => stem.trim_start_matches("kubestrata-"),
            };
            all.insert(format!("{before}{stem}"));
        }
    }
    all
}

#[test]
fn each_feature_brings_its_objects_and_no_others() {
    let plain = names(&helm::render(&[]));
    for (set, come, go) in FEATURES {
        let with = names(&helm::render(&["--set", set]));
        let came: BTreeSet<String> = with.difference(&plain).cloned().collect();
        let went: BTreeSet<String> = plain.difference(&with).cloned().collect();
        assert_eq!((came, went), (spelled(come), spelled(go)), "{set}");
    }
}

#[test]
fn every_object_has_the_labels_of_its_release_and_lies_in_its_namespace() {
    let everything: Vec<&str> = FEATURES.iter().map(|(set, _, _)| *set).take(9).collect();
    let set = format!("{},commonLabels.team=platform", everything.join(","));
    for object in helm::render(&["--set", &set]) {
        let (labels, kind) = (&object["metadata"]["labels"], &object["kind"]);
        assert_eq!(labels["app.kubernetes.io/instance"], "kubestrata", "{kind}");
        assert_eq!(labels["team"], "platform", "{kind}");
        let everywhere = kind.as_str().unwrap().starts_with("Cluster");
        assert_eq!(object["metadata"]["namespace"] == "kubestrata", !everywhere, "{kind}");
    }
    for object in helm::render(&["--set", &format!("{set},namespaceOverride=other")]) {
        let namespace = &object["metadata"]["namespace"];
        assert!(namespace.is_null() || namespace == "other", "{object}");
        for subject in object["subjects"].as_array().into_iter().flatten() {
            assert_eq!(subject["namespace"], "other", "{object}");
        }
    }
}

#[test]
fn who_edits_the_plain_configuration_gets_other_pods() {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in plain::pages() {
        fs::write(folder.path().join(path.rsplit('/').next().unwrap()), text).unwrap();
    }
    let maps = || {
        let at = folder.path().to_str().unwrap();
        let objects = helm::objects(&helm::program("kubectl", &["kustomize", at], "").unwrap().0);
        let volumes = &helm::the(&objects, "Deployment")["spec"]["template"]["spec"]["volumes"];
        let named = volumes[0]["configMap"]["name"].clone();
        assert_eq!(named, helm::the(&objects, "ConfigMap")["metadata"]["name"]);
        assert!(!helm::the(&objects, "Namespace").is_null());
        named
    };
    let before = maps();
    let file = folder.path().join("kubestrata.yaml");
    let config = fs::read_to_string(&file).unwrap();
    fs::write(file, format!("{config}tick: 30s\n")).unwrap();
    assert_ne!(before, maps());
}

/// What the chart says of layers: in the configuration, and the rules of the role.
fn layers_and_rules(args: &[&str]) -> (Value, Value) {
    let objects = helm::render(args);
    let map = helm::the(&objects, "ConfigMap");
    let config = map["data"]["kubestrata.yaml"].as_str().unwrap();
    let config: Value = serde_saphyr::from_str(config).unwrap();
    (config["layers"].clone(), helm::the(&objects, "ClusterRole")["rules"].clone())
}

/// The same as the declarations have it.
fn declared(layers: &[Layer], opted: &[Kind]) -> (Value, Value) {
    let role: Value = serde_saphyr::from_str(&catalog::cluster_role_yaml(layers, opted)).unwrap();
    let names: Vec<&str> = layers.iter().map(|layer| layer.name()).collect();
    (json!(names), role["rules"].clone())
}

#[test]
fn a_layer_that_is_off_is_neither_configured_nor_given_rights() {
    assert_eq!(layers_and_rules(&[]), declared(&Layer::ALL, &[]));
    for layer in Layer::ALL {
        let off = format!("layers.{layer}.enabled=false");
        let rest: Vec<Layer> = Layer::ALL.into_iter().filter(|l| *l != layer).collect();
        assert_eq!(layers_and_rules(&["--set", &off]), declared(&rest, &[]), "without {layer}");
        let off: Vec<String> = rest.iter().map(|l| format!("layers.{l}.enabled=false")).collect();
        let only = layers_and_rules(&["--set", &off.join(",")]);
        assert_eq!(only, declared(&[layer], &[]), "{layer} alone");
    }
}

#[test]
fn a_source_that_is_opted_in_to_brings_its_rights() {
    for (set, kind) in [
        ("sources.secrets=true", Kind::HelmSecret),
        ("sources.configmaps=true", Kind::ConfigMap),
        ("sources.kubeletMetrics=true", Kind::KubeletMetrics),
    ] {
        let told = layers_and_rules(&["--set", set]);
        assert_eq!(told, declared(&Layer::ALL, &[kind]), "{set}");
        assert_ne!(told, declared(&Layer::ALL, &[]), "{set}");
    }
}

#[test]
fn the_configuration_is_one_that_kubestrata_takes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kubestrata.yaml");
    let mut all: Vec<Vec<String>> =
        FEATURES.iter().map(|(set, _, _)| vec!["--set".to_owned(), (*set).to_owned()]).collect();
    for example in helm::files("charts/examples", ".yaml") {
        all.push(vec!["--values".to_owned(), example.to_string_lossy().into_owned()]);
    }
    for args in all {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let objects = helm::render(&args);
        let own = |o: &&Value| !o["data"]["kubestrata.yaml"].is_null();
        let map = objects.iter().find(own).unwrap();
        fs::write(&path, map["data"]["kubestrata.yaml"].as_str().unwrap()).unwrap();
        let checked = Kubestrata::run(&["config", "check", path.to_str().unwrap()]);
        let told = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(checked.status.success(), "{args:?}: {told}");
    }
}

#[test]
fn another_configuration_rolls_the_pods_and_another_label_does_not() {
    let sum = |set: &str| {
        let objects = helm::render(&["--set", set]);
        let template = helm::the(&objects, "Deployment")["spec"]["template"].clone();
        template["metadata"]["annotations"]["checksum/config"].as_str().unwrap().to_owned()
    };
    assert_ne!(sum("config.tick=15s"), sum("config.tick=30s"));
    assert_eq!(sum("config.tick=15s"), sum("config.tick=15s,service.labels.a=b"));
}

/// The rules of alerts by their name in what is rendered.
fn alert(objects: &[Value], name: &str) -> Option<Value> {
    let rules = objects.iter().filter(|o| o["kind"] == "PrometheusRule");
    let groups = rules.filter_map(|o| o["spec"]["groups"].as_array()).flatten();
    let mut rules = groups.filter_map(|g| g["rules"].as_array()).flatten();
    rules.find(|rule| rule["alert"] == name).cloned()
}

/// The groups of all files of rules, and the names of their alerts.
fn groups_and_alerts() -> (Vec<Value>, BTreeSet<String>) {
    let (mut groups, mut alerts) = (Vec::new(), BTreeSet::new());
    for file in helm::files("alerts", ".rules.yaml") {
        let rules: Value = serde_saphyr::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        groups.extend(rules["groups"].as_array().unwrap().iter().cloned());
    }
    for rule in groups.iter().flat_map(|g| g["rules"].as_array().unwrap()) {
        alerts.extend(rule["alert"].as_str().map(str::to_owned));
    }
    (groups, alerts)
}

#[test]
fn every_rule_reaches_the_operator_as_it_is_unless_told_otherwise() {
    let (groups, names) = groups_and_alerts();
    let on = "prometheusRule.enabled=true";
    let grafana = "prometheusRule.dashboardUrl=https://grafana.example.com";
    let objects = helm::render(&["--set", on, "--set", grafana]);
    let rules = objects.iter().filter(|o| o["kind"] == "PrometheusRule");
    let rendered: Vec<&Value> =
        rules.flat_map(|o| o["spec"]["groups"].as_array().unwrap()).collect();
    assert_eq!(rendered.len(), groups.len());
    for group in &groups {
        assert!(rendered.contains(&group), "{} is another", group["name"]);
    }
    let text = helm::render_text(&[
        "--set",
        on,
        "--set",
        "prometheusRule.runbookUrl=https://runbooks.example",
    ]);
    let text = text.unwrap();
    assert!(!text.contains("grafana.example.com"), "nobody has that Grafana");
    assert!(!text.contains("main/docs/runbooks"), "runbooks are elsewhere");
    let Some(name) = names.first() else { return };
    let set = format!(
        "prometheusRule.enabled=true,prometheusRule.additionalRuleLabels.team=us,prometheusRule.overrides.{name}.for=77m"
    );
    let told = alert(&helm::render(&["--set", &set]), name).unwrap();
    assert_eq!((&told["for"], &told["labels"]["team"]), (&json!("77m"), &json!("us")), "{told}");
    let set = format!("prometheusRule.enabled=true,prometheusRule.disabledAlerts[0]={name}");
    assert!(alert(&helm::render(&["--set", &set]), name).is_none(), "{name} is off");
}

#[test]
fn every_dashboard_reaches_grafana_as_it_is() {
    let objects = helm::render(&["--set", "grafana.dashboards.enabled=true"]);
    for file in helm::files("dashboards", ".json") {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let text = objects.iter().find_map(|o| o["data"][&name].as_str()).unwrap();
        let told: Value = serde_json::from_str(text).unwrap();
        let written: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        assert_eq!(told, written, "{name}");
    }
}

#[test]
fn the_suites_of_the_chart_pass() {
    let told = helm::program("helm-unittest", &["--strict", "charts/kubestrata"], "");
    let (stdout, _) = told.unwrap_or_else(|error| panic!("{error}"));
    assert!(stdout.contains(" passed") && !stdout.contains("0 passed, 0 total\nTests"), "{stdout}");
}

#[test]
fn the_chart_is_of_the_version_of_the_program() {
    let text = fs::read_to_string(helm::of_project("charts/kubestrata/Chart.yaml")).unwrap();
    let chart: Value = serde_saphyr::from_str(&text).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!((&chart["version"], &chart["appVersion"]), (&json!(version), &json!(version)));
}

#[test]
fn the_package_has_all_that_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().to_str().unwrap();
    helm::program("helm", &["package", "charts/kubestrata", "--destination", to], "").unwrap();
    let package = folder.path().join(format!("kubestrata-{}.tgz", env!("CARGO_PKG_VERSION")));
    let package = package.to_str().unwrap();
    let everything = FEATURES.iter().map(|(set, _, _)| *set).take(9).collect::<Vec<_>>().join(",");
    let of = |chart: &str| {
        let mut args = vec!["template", helm::NAME, chart, "--namespace", helm::NAME];
        args.extend(["--kube-version", helm::KUBERNETES, "--set", &everything]);
        helm::program("helm", &args, "").unwrap().0
    };
    assert_eq!(of(package), of("charts/kubestrata"), "links are files in the package");
}
