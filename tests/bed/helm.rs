//! How does a test use the chart as an operator would? With helm, kubectl and the chart's own example values.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// The Kubernetes of the bed, for which the chart is rendered; helm built from source knows none.
pub const KUBERNETES: &str = "1.37.2";

/// Release and namespace of what [`render`] renders.
pub const NAME: &str = "kubestrata";

/// A path below the project's own folder.
pub fn of_project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The files of a folder of the project that end so, in order.
pub fn files(folder: &str, end: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(of_project(folder));
    let entries = entries.unwrap_or_else(|error| panic!("could not list {folder}: {error}"));
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(end));
    files.sort();
    assert!(!files.is_empty(), "no {end} in {folder}");
    files
}

/// Runs a program of the bed with this input, and gives what it printed, or else its complaints.
pub fn program(name: &str, args: &[&str], input: &str) -> Result<(String, String), String> {
    let home = std::env::temp_dir().join("kubestrata-helm");
    let mut command = Command::new(super::bin(name));
    command.args(args).current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("KUBECONFIG");
    for (variable, folder) in
        [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")]
    {
        command.env(variable, home.join(folder));
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("could not run {name}: {error}"));
    let mut stdin = child.stdin.take().unwrap_or_else(|| panic!("{name} takes no input"));
    let input = input.to_owned();
    // A program that ends early does not read all: its status tells more than a broken pipe.
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()).is_ok());
    let output = child.wait_with_output();
    let output = output.unwrap_or_else(|error| panic!("could not wait for {name}: {error}"));
    drop(writer.join());
    // That the chart follows links is what it is built on, and helm warns of each.
    let told = |line: &&str| !line.contains("found symbolic link in path");
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stderr = stderr.lines().filter(told).collect::<Vec<_>>().join("\n");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() { Ok((stdout, stderr)) } else { Err(format!("{stdout}{stderr}")) }
}

/// What the chart renders with these further arguments of `helm template`, as text.
pub fn render_text(args: &[&str]) -> Result<String, String> {
    let mut all = vec!["template", NAME, "charts/kubestrata", "--namespace", NAME];
    all.extend(["--kube-version", KUBERNETES]);
    all.extend(args);
    program("helm", &all, "").map(|(stdout, _)| stdout)
}

/// What the chart renders, as objects.
pub fn render(args: &[&str]) -> Vec<Value> {
    let text = render_text(args).unwrap_or_else(|error| panic!("{args:?}: {error}"));
    objects(&text)
}

/// The objects of a YAML text.
pub fn objects(text: &str) -> Vec<Value> {
    let documents: Result<Vec<Value>, _> = serde_saphyr::from_multiple(text);
    let documents = documents.unwrap_or_else(|error| panic!("{error}: {text}"));
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

/// The object of a kind; panics where there is none or more than one.
pub fn the<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let mut found = objects.iter().filter(|object| object["kind"] == kind);
    match (found.next(), found.next()) {
        (Some(object), None) => object,
        (first, _) => {
            panic!("{} of the kind {kind}", if first.is_some() { "many" } else { "none" })
        }
    }
}

/// What the chart can be made to render beside its defaults: settings, the objects that come, and those that go.
/// `{alerts}` and `{dashboards}` stand for each file of these folders.
pub const FEATURES: &[(&str, &[&str], &[&str])] = &[
    ("serviceMonitor.enabled=true", &["ServiceMonitor/kubestrata"], &[]),
    ("podMonitor.enabled=true", &["PodMonitor/kubestrata"], &[]),
    ("prometheusRule.enabled=true", &["PrometheusRule/kubestrata-{alerts}"], &[]),
    ("grafana.dashboards.enabled=true", &["ConfigMap/kubestrata-dashboard-{dashboards}"], &[]),
    (
        "grafana.operator.enabled=true",
        &[
            "ConfigMap/kubestrata-dashboard-{dashboards}",
            "GrafanaDashboard/kubestrata-dashboard-{dashboards}",
        ],
        &[],
    ),
    ("networkPolicy.enabled=true", &["NetworkPolicy/kubestrata"], &[]),
    (
        "networkPolicy.enabled=true,networkPolicy.egress.enabled=true",
        &["NetworkPolicy/kubestrata"],
        &[],
    ),
    ("podDisruptionBudget.enabled=true", &["PodDisruptionBudget/kubestrata"], &[]),
    (
        "replicas=2",
        &[
            "PodDisruptionBudget/kubestrata",
            "Role/kubestrata-lease",
            "RoleBinding/kubestrata-lease",
        ],
        &[],
    ),
    ("replicas=2,leaderElection.enabled=false,podDisruptionBudget.enabled=false", &[], &[]),
    (
        "leaderElection.enabled=true",
        &["Role/kubestrata-lease", "RoleBinding/kubestrata-lease"],
        &[],
    ),
    ("state.persistence.enabled=true", &["StatefulSet/kubestrata"], &["Deployment/kubestrata"]),
    ("state.persistence.enabled=true,state.persistence.existingClaim=mine", &[], &[]),
    ("state.enabled=false", &[], &[]),
    ("listen.address=0.0.0.0,listen.port=8080,service.port=80", &[], &[]),
    ("audit.enabled=true,audit.secretName=shown", &["Service/kubestrata-audit"], &[]),
    ("service.enabled=false", &[], &["Service/kubestrata"]),
    ("rbac.create=false", &[], &["ClusterRole/kubestrata", "ClusterRoleBinding/kubestrata"]),
    ("serviceAccount.create=false", &[], &["ServiceAccount/kubestrata"]),
    (
        "extraObjects[0].apiVersion=v1,extraObjects[0].kind=ConfigMap,extraObjects[0].metadata.name=mine",
        &["ConfigMap/mine"],
        &[],
    ),
];
