//! Do two replicas speak as one? On a real API server and to a real collector: killed, ended, and without rights.

#![allow(clippy::unwrap_used)]
#![allow(clippy::print_stdout, reason = "how long a hand-over takes is worth knowing")]

mod bed;

use std::collections::BTreeMap;
use std::time::Duration;

use bed::{
    Cluster, ClusterOptions, Collector, Kubestrata, LogRecord, eventually, objects, throughout,
};
use kube::Client;
use kubestrata::catalog;
use kubestrata::model::layer::Layer;
use serde_json::{Value, json};
use tokio::time::Instant;

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases/kubestrata";

/// Long enough for a Lease to run out, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_mins(2);

/// A cluster in which nothing happens by itself, and a collector.
struct Scene {
    cluster: Cluster,
    client: Client,
    collector: Collector,
}

impl Scene {
    async fn new() -> Self {
        let cluster = Cluster::start(&ClusterOptions::bare());
        let client = cluster.client().await;
        Self { cluster, client, collector: Collector::start().await }
    }

    /// A replica with this name, and these rights.
    fn replica(&self, name: &str, kubeconfig: &std::path::Path) -> Kubestrata {
        let endpoint = self.collector.grpc_endpoint();
        let env = [
            ("HOSTNAME", name),
            ("KUBESTRATA_TICK", "1s"),
            ("KUBESTRATA_LAYERS", "compute"),
            ("KUBESTRATA_LEADER_ELECTION_ENABLED", "true"),
            ("KUBESTRATA_LEADER_ELECTION_NAMESPACE", "default"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
            ("OTEL_METRIC_EXPORT_INTERVAL", "500"),
        ];
        Kubestrata::start_with(&["run", "--kubeconfig", kubeconfig.to_str().unwrap()], &env)
    }

    /// A node whose disk is full for an hour already.
    async fn break_node(&self, name: &str) {
        let mut node = objects::node(name);
        node["metadata"]["labels"] = json!({});
        objects::create(&self.client, "/api/v1/nodes", &node).await;
        self.set_pressure(name, "True").await;
    }

    async fn set_pressure(&self, name: &str, status: &str) {
        let condition = json!({
            "type": "DiskPressure", "status": status, "reason": "Test", "message": "as a test says",
            "lastTransitionTime": "2020-01-01T00:00:00Z",
        });
        let path = format!("/api/v1/nodes/{name}/status");
        objects::patch(&self.client, &path, &json!({"status": {"conditions": [condition]}})).await;
    }

    /// What was told of the disks of nodes, in order: `+name` and `-name`.
    fn told(&self) -> Vec<String> {
        let of_nodes =
            |r: &LogRecord| r.attributes["kubestrata.signal"] == "compute_node_condition";
        let records = self.collector.records().into_iter().filter(of_nodes);
        let short = |r: LogRecord| {
            let sign = if r.event_name.ends_with("opened") { "+" } else { "-" };
            format!("{sign}{}", r.attributes["kubestrata.subject.name"].as_str().unwrap())
        };
        records.map(short).collect()
    }

    /// Waits until exactly this was told of nodes, in any order, beside what was `before`.
    async fn wait_told(&self, before: &[String], news: &[&str]) -> Vec<String> {
        let mut expected: Vec<String> = news.iter().map(|s| (*s).to_owned()).collect();
        expected.sort();
        eventually(PATIENCE, &format!("{news:?} is told"), async || {
            let told = self.told();
            let mut new = told.get(before.len()..).unwrap_or_default().to_vec();
            new.sort();
            if new == expected { Ok(told) } else { Err(told) }
        })
        .await
    }

    /// Nothing was told twice, of anything.
    fn assert_told_once(&self) {
        let mut open: BTreeMap<String, bool> = BTreeMap::new();
        for record in self.collector.records() {
            let opened = record.event_name == "kubestrata.finding.opened";
            let Some(id) = record.attributes.get("kubestrata.finding.id") else { continue };
            let was = open.insert(id.to_string(), opened).unwrap_or(false);
            assert_ne!(was, opened, "{record:?}");
        }
        assert!(open.len() >= 3, "{open:?}");
    }

    async fn lease(&self) -> Value {
        objects::get(&self.client, LEASE).await.unwrap()
    }
}

async fn leads(replica: &Kubestrata) -> bool {
    let metrics = replica.metrics().await;
    metrics.is_ok_and(|metrics| metrics.sum("kubestrata_leader", &[]) == 1.0)
}

async fn wait_leads(replica: &Kubestrata, since: Instant, what: &str) {
    eventually(PATIENCE, "it leads", async || leads(replica).await).await;
    println!("{what}: another replica led after {:.1} s", since.elapsed().as_secs_f64());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_speak_as_one_whatever_becomes_of_the_leader() {
    let scene = Scene::new().await;
    let admin = scene.cluster.kubeconfig();
    scene.break_node("one").await;
    let mut first = scene.replica("first", &admin);
    let told = scene.wait_told(&[], &["+one"]).await;
    let mut second = scene.replica("second", &admin);
    second.wait_ready().await;
    assert!(leads(&first).await && !leads(&second).await);
    assert!(second.log().contains("another replica leads"), "{}", second.log());

    // While nobody leads, one thing ends and another begins.
    first.kill9();
    let killed = Instant::now();
    scene.set_pressure("one", "False").await;
    scene.break_node("two").await;
    wait_leads(&second, killed, "killed").await;
    let told = scene.wait_told(&told, &["-one", "+two"]).await;
    println!("killed: all was told after {:.1} s", killed.elapsed().as_secs_f64());

    // The other way round, cleanly: nobody has to wait for the Lease to run out.
    let mut third = scene.replica("third", &admin);
    third.wait_ready().await;
    let ended = Instant::now();
    assert!(second.terminate().await.success());
    assert!(second.log().contains("gave the Lease back"), "{}", second.log());
    scene.set_pressure("two", "False").await;
    scene.break_node("three").await;
    wait_leads(&third, ended, "ended").await;
    let told = scene.wait_told(&told, &["-two", "+three"]).await;
    println!("ended: all was told after {:.1} s", ended.elapsed().as_secs_f64());

    // A restart of the only one tells nothing again, though it has no state of its own.
    assert!(third.terminate().await.success());
    assert_eq!(scene.lease().await["spec"]["holderIdentity"], json!(""));
    let fourth = scene.replica("fourth", &admin);
    eventually(PATIENCE, "it leads", async || leads(&fourth).await).await;
    throughout(Duration::from_secs(5), "nothing is told again", async || {
        let now = scene.told();
        if now == told { Ok(()) } else { Err(now) }
    })
    .await;
    scene.assert_told_once();
    let lease = scene.lease().await;
    let holder = lease["spec"]["holderIdentity"].as_str().unwrap();
    assert!(holder.starts_with("fourth_"), "{lease}");
    assert!(lease["metadata"]["annotations"]["kubestrata.io/told"].is_string(), "{lease}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_without_rights_on_leases_is_silent_says_so_and_speaks_when_it_has_them() {
    let scene = Scene::new().await;
    scene.break_node("one").await;
    let account =
        scene.cluster.service_account("silent", &bed::rbac::rules(&Layer::ALL, &[])).await;
    let mut replica = scene.replica("silent", &account);
    replica.wait_ready().await;
    eventually(PATIENCE, "it says so", async || {
        replica.log().contains("not allowed to keep the Lease")
    })
    .await;
    throughout(Duration::from_secs(5), "it is silent", async || {
        let (records, points) = (scene.collector.records(), scene.collector.points());
        if records.is_empty() && points.is_empty() { Ok(()) } else { Err((records, points)) }
    })
    .await;
    let metrics = replica.metrics().await.unwrap();
    assert_eq!(metrics.sum("kubestrata_leader", &[]), 0.0);
    assert!(metrics.sum("kubestrata_findings", &[]) >= 1.0, "it sees all the same");
    assert_eq!(replica.log().matches("not allowed to keep the Lease").count(), 1);

    let mut role: Value = serde_saphyr::from_str(&catalog::lease_role_yaml()).unwrap();
    role["metadata"]["namespace"] = json!("default");
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    objects::create(&scene.client, &format!("{rbac}/roles"), &role).await;
    let binding = json!({
        "metadata": {"name": "silent"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role["metadata"]["name"]},
        "subjects": [{"kind": "ServiceAccount", "namespace": "default", "name": "silent"}],
    });
    objects::create(&scene.client, &format!("{rbac}/rolebindings"), &binding).await;
    scene.wait_told(&[], &["+one"]).await;
    assert!(leads(&replica).await);
    eventually(PATIENCE, "metrics come too", async || !scene.collector.points().is_empty()).await;
}
