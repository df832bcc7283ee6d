//! Does a real cluster take what the chart renders, and does kubestrata see all with the rights that it gets by it?
//! `tests/chart.rs` looks at what is rendered alone.

#![allow(clippy::unwrap_used)]
#![allow(unreachable_pub, reason = "a test binary exports nothing")]

mod bed;
#[path = "install/rights.rs"]
mod rights;
#[path = "install/schemas.rs"]
mod schemas;

use std::time::Duration;

use bed::helm::{self, FEATURES};
use bed::{Cluster, ClusterOptions, bin, crds, eventually, objects};
use kube::Client;
use kubestrata::model::kind::Kind;
use serde_json::{Value, json};

const NAMESPACE: &str = helm::NAME;
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/kubestrata/deployments/kubestrata";

/// kubectl as the administrator of a cluster; what it says beside its answer is a failure.
fn kubectl(cluster: &Cluster, args: &[&str], input: &str) -> Result<String, String> {
    let kubeconfig = cluster.kubeconfig();
    let mut all = vec!["--kubeconfig", kubeconfig.to_str().unwrap()];
    all.extend(args);
    match helm::program("kubectl", &all, input)? {
        (stdout, warnings) if warnings.is_empty() => Ok(stdout),
        (_, warnings) => Err(warnings),
    }
}

/// The namespace, which takes restricted pods only and warns of others.
async fn make_namespace(client: &Client) {
    let level = json!({"pod-security.kubernetes.io/enforce": "restricted",
        "pod-security.kubernetes.io/warn": "restricted"});
    let namespace = json!({"metadata": {"name": NAMESPACE, "labels": level}});
    objects::create(client, "/api/v1/namespaces", &namespace).await;
}

/// The Prometheus operator's own definitions.
async fn install_operator(cluster: &Cluster) {
    // kubectl follows no link to a folder.
    let folder = bin("operator-crds").canonicalize().unwrap();
    kubectl(cluster, &["create", "--filename", folder.to_str().unwrap()], "").unwrap();
    eventually(Duration::from_mins(1), "its kinds are served", async || {
        kubectl(
            cluster,
            &["get", "servicemonitors,podmonitors,prometheusrules", "-A", "-o", "name"],
            "",
        )
    })
    .await;
}

/// The ways in which the chart is rendered: each feature, and the values of each distribution.
fn ways() -> Vec<Vec<String>> {
    let features = FEATURES.iter().map(|(set, _, _)| vec!["--set".to_owned(), (*set).to_owned()]);
    let examples = helm::files("charts/examples", ".yaml").into_iter();
    let examples = examples.map(|e| vec!["--values".to_owned(), e.to_string_lossy().into_owned()]);
    std::iter::once(Vec::new()).chain(features).chain(examples).collect()
}

/// What is rendered, but for the kind whose definition no registry serves here.
fn rendered(args: &[String]) -> String {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let text = helm::render_text(&args).unwrap_or_else(|error| panic!("{args:?}: {error}"));
    let known = |document: &&str| !document.contains("\nkind: GrafanaDashboard\n");
    text.split("\n---\n").filter(known).collect::<Vec<_>>().join("\n---\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_server_takes_all_that_is_rendered() {
    let cluster = Cluster::start(&ClusterOptions::default());
    let client = cluster.client().await;
    make_namespace(&client).await;
    install_operator(&cluster).await;
    eventually(Duration::from_mins(1), "its schemas are published", async || {
        let published = objects::get(&client, "/openapi/v3/apis/monitoring.coreos.com/v1").await?;
        let schemas = published["components"]["schemas"].to_string();
        let kinds = ["ServiceMonitor", "PodMonitor", "PrometheusRule"];
        let missing: Vec<_> =
            kinds.iter().filter(|k| !schemas.contains(&format!("v1.{k}\""))).collect();
        anyhow::ensure!(missing.is_empty(), "{missing:?} are missing");
        Ok(())
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    schemas::write(&client, folder.path()).await;
    let schema =
        format!("{}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json", folder.path().display());
    let conform = ["-strict", "-summary", "-schema-location", &schema, "-"];
    for way in ways() {
        let text = rendered(&way);
        let dry = ["apply", "--dry-run=server", "--validate=strict", "--filename", "-"];
        let told = kubectl(&cluster, &dry, &text);
        let told = told.unwrap_or_else(|error| panic!("{way:?}: {error}"));
        assert_eq!(told.lines().count(), helm::objects(&text).len(), "{way:?}: {told}");
        let told = helm::program("kubeconform", &conform, &text);
        assert!(told.is_ok(), "{way:?}: {told:?}");
    }
    // Both would tell a field that is not there.
    let mistaken = rendered(&[]).replace("readOnlyRootFilesystem", "readOnlyRootFileSystem");
    let told = helm::program("kubeconform", &conform, &mistaken).unwrap_err();
    assert!(told.contains("readOnlyRootFileSystem"), "{told}");
    let dry = ["apply", "--dry-run=server", "--validate=strict", "--filename", "-"];
    let told = kubectl(&cluster, &dry, &mistaken).unwrap_err();
    assert!(told.contains("readOnlyRootFileSystem"), "{told}");
    let privileged = rendered(&[
        "--set".to_owned(),
        "securityContext.privileged=true,securityContext.allowPrivilegeEscalation=true".to_owned(),
    ]);
    let told = kubectl(&cluster, &dry, &privileged).unwrap_err();
    assert!(told.contains("would violate PodSecurity"), "{told}");
}

/// The objects of the release that a cluster holds.
fn held(cluster: &Cluster) -> Vec<String> {
    let kinds = "deployments,statefulsets,services,configmaps,serviceaccounts,roles,rolebindings,clusterroles,\
        clusterrolebindings,networkpolicies,poddisruptionbudgets,servicemonitors,podmonitors,prometheusrules";
    let of = "app.kubernetes.io/instance=kubestrata";
    let told = kubectl(cluster, &["get", kinds, "-A", "-l", of, "-o", "name"], "");
    // kubectl says so when it finds nothing.
    match told {
        Ok(names) => names.lines().map(str::to_owned).collect(),
        Err(told) if told.contains("No resources found") => Vec::new(),
        Err(told) => panic!("{told}"),
    }
}

/// With the account, the configuration and the Role of two replicas, one of two processes speaks.
async fn one_of_two_leads(scene: &rights::Scene<'_>) {
    let replicas = [scene.start("kubestrata-a"), scene.start("kubestrata-b")];
    eventually(Duration::from_mins(1), "one of two leads", async || {
        let mut leaders = 0.0;
        for replica in &replicas {
            leaders += replica.metrics().await?.sum("kubestrata_leader", &[]);
        }
        anyhow::ensure!(leaders == 1.0, "{leaders} leaders");
        Ok(())
    })
    .await;
    let lease = "/apis/coordination.k8s.io/v1/namespaces/kubestrata/leases/kubestrata";
    let lease = objects::get(scene.client(), lease).await.unwrap();
    let holder = lease["spec"]["holderIdentity"].as_str().unwrap();
    assert!(holder.starts_with("kubestrata-"), "{holder}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn helm_installs_upgrades_and_uninstalls_it() {
    let cluster = Cluster::start(&ClusterOptions { nodes: 3, ..Default::default() });
    let client = cluster.client().await;
    make_namespace(&client).await;
    install_operator(&cluster).await;
    let kubeconfig = cluster.kubeconfig();
    let helm = |args: &[&str]| {
        let mut all = vec!["--kubeconfig", kubeconfig.to_str().unwrap(), "--namespace", NAMESPACE];
        all.extend(args);
        helm::program("helm", &all, "").unwrap_or_else(|error| panic!("{args:?}: {error}")).0
    };
    let everything = "replicas=2,serviceMonitor.enabled=true,podMonitor.enabled=true,prometheusRule.enabled=true,\
        grafana.dashboards.enabled=true,networkPolicy.enabled=true";
    let notes = helm(&[
        "install",
        "kubestrata",
        "charts/kubestrata",
        "--set",
        everything,
        "--wait",
        "--timeout",
        "3m",
    ]);
    assert!(notes.contains("port-forward service/kubestrata 9868:9868"), "{notes}");
    let first = objects::get(&client, DEPLOYMENT).await.unwrap();
    assert_eq!(
        first["status"]["readyReplicas"], 2,
        "restricted pods are let in: {}",
        first["status"]
    );
    assert!(held(&cluster).len() >= 14, "{:?}", held(&cluster));

    one_of_two_leads(&rights::Scene::new(&cluster, client.clone()).await).await;

    let other = format!("{everything},replicas=1,config.tick=30s");
    helm(&[
        "upgrade",
        "kubestrata",
        "charts/kubestrata",
        "--set",
        &other,
        "--wait",
        "--timeout",
        "3m",
    ]);
    let second = objects::get(&client, DEPLOYMENT).await.unwrap();
    let revision =
        |d: &Value| d["metadata"]["annotations"]["deployment.kubernetes.io/revision"].clone();
    assert_ne!(revision(&first), revision(&second), "another configuration rolls the pods");
    let left = held(&cluster);
    assert!(
        !left.iter().any(|name| name.contains("lease")),
        "one replica writes no Lease: {left:?}"
    );

    helm(&["uninstall", "kubestrata", "--wait"]);
    assert_eq!(held(&cluster), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_plain_manifests_let_it_see_all_and_no_right_is_idle() {
    let cluster = Cluster::start(&ClusterOptions { nodes: 1, ..Default::default() });
    let client = cluster.client().await;
    crds::install(&client).await;
    // No resource of an aggregated API is there: a definition stands for what metrics-server serves.
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    objects::create(&client, definitions, &crds::of(Kind::NodeMetrics)).await;
    kubectl(&cluster, &["apply", "--kustomize", "charts/manifests"], "").unwrap();
    eventually(Duration::from_mins(2), "its pod runs where only restricted ones may", async || {
        let deployment = objects::get(&client, DEPLOYMENT).await?;
        anyhow::ensure!(deployment["status"]["readyReplicas"] == 1, "{}", deployment["status"]);
        Ok(())
    })
    .await;
    // By default two roles let everybody ask `/readyz`. Where only discovery is left to them, the rule of ours counts.
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let info = format!("{rbac}/clusterrolebindings/system:public-info-viewer");
    objects::delete(&client, &info).await;
    let urls = ["/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*", "/version"];
    let rules = json!({"rules": [{"nonResourceURLs": urls, "verbs": ["get"]}]});
    objects::patch(&client, &format!("{rbac}/clusterroles/system:discovery"), &rules).await;
    let scene = rights::Scene::new(&cluster, client).await;
    scene.sees_all().await;
    scene.misses_what_is_taken().await;
    scene.needs_to_watch().await;
    scene.sees_each_layer_alone().await;
}
