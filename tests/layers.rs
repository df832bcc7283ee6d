//! Does each layer tell on a real API server what its golden file says? Every manifest is made through the API, read
//! by the real sources, changed where it changes later, and gone again when it is deleted; a kind comes and goes with its definition.

#![allow(clippy::unwrap_used)]

mod bed;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use bed::follower::{real_now, series};
use bed::rbac::rules;
use bed::{
    Cluster, ClusterOptions, Follower, Kubelet, apply, crds, eventually, manifests, objects,
};
use http::Request;
use jiff::SignedDuration;
use kube::Client;
use kubestrata::layers;
use kubestrata::model::Time;
use kubestrata::model::kind::Kind;
use kubestrata::model::layer::Layer;
use kubestrata::model::signal::{NAMED, Read, Signal};
use kubestrata::model::source::Availability;
use regex::Regex;
use serde_json::{Value, json};

/// How far ahead of the real time a follower looks, so that dwells of hours hold.
const AHEAD: SignedDuration = SignedDuration::from_hours(30);

/// What the API server does not let a test make, or changes at once, with the reason why.
fn cannot_be_made(manifest: &Value) -> bool {
    let text = |path: &str| manifest.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let name = text("/kind");
    // What an endpoint says is asked of the real one, and what may not be read is not read from the start.
    Kind::by_name(name).is_some_and(|k| !k.is_resource() && k != Kind::KubeletMetrics)
        || matches!(name, "EventList" | "SourceFailure")
        // The API server serves these by itself, and rejects others in their place.
        || text("/apiVersion").starts_with("metrics.k8s.io")
        // A deletion begins when it is asked for, and is thirty hours old at once.
        || (!text("/metadata/deletionTimestamp").is_empty() && text("/metadata/name").contains("-fine"))
}

/// Series of golden files that need another server than the one here, with the reason why and the test that drives each
/// from well to bad and back, or makes it count.
const NOT_HERE: &[(&str, &str, &str)] = &[
    (
        "networking_addresses_low{",
        BY_ITSELF,
        "endings.rs: addresses_and_ports_that_run_out_are_told",
    ),
    ("networking_clusterip_allocation_errors_total{", BY_ITSELF, TAKEN),
    ("networking_clusterip_used_ratio{", BY_ITSELF, TAKEN),
    ("networking_nodeport_used_ratio{", BY_ITSELF, TAKEN),
    ("observability_apiserver_check_failed{", BY_ITSELF, ETCD),
    ("observability_apiserver_errors_total{", BY_ITSELF, ETCD),
    ("observability_etcd_errors_total{", BY_ITSELF, ETCD),
    ("observability_apiserver_rejected_total{", BY_ITSELF, TURNED_AWAY),
    ("observability_apiserver_objects{", "its largest kinds are others", STORE),
    ("observability_etcd_nearly_full{", "nobody writes 7 GiB", STORE),
    ("observability_node_metrics_", "its API is down", "layers.rs: nodes_are_measured_or_not"),
    ("security_admission_policy_errors_total{", BY_ITSELF, ADMISSION),
    ("security_admission_policy_violations_total{", BY_ITSELF, ADMISSION),
    ("security_webhook_errors_total{", BY_ITSELF, ADMISSION),
    ("security_webhook_fail_open_total{", BY_ITSELF, ADMISSION),
    ("security_policy_denials_total{source=\"apiserver\"", BY_ITSELF, ADMISSION),
    ("security_policy_denials_total{source=\"audit\"", "nobody audits here", AUDIT),
    ("security_authz_denials_total{", "nobody audits here", AUDIT),
    ("security_deprecated_api_requests_total{", "nobody audits here", AUDIT),
    ("security_deprecated_api_used{", BY_ITSELF, "endings.rs: an_api_that_goes_is_told_while_used"),
    ("security_authentication_problems_total{", BY_ITSELF, TURNED_AWAY),
    (
        "security_client_certificates_expiring_total{",
        BY_ITSELF,
        "apiserver.rs: a_client_certificate_that_ends_soon_is_counted",
    ),
    ("security_pod_security_errors_total{", BY_ITSELF, POD_SECURITY),
    ("security_pod_security_violations_total{", BY_ITSELF, POD_SECURITY),
];

const BY_ITSELF: &str = "the API server counts it itself";
const ADMISSION: &str = "apiserver.rs: what_admission_refuses_and_lets_through_is_counted";
const AUDIT: &str = "audit.rs: a_real_api_server_tells_of_refusals_by_class_and_by_nobodys_name";
const ETCD: &str = "apiserver.rs: an_etcd_that_is_away_is_told_until_it_is_back";
const POD_SECURITY: &str = "apiserver.rs: what_breaks_a_pod_security_level_is_counted";
const STORE: &str = "endings.rs: a_store_that_fills_up_is_told_until_there_is_room";
const TAKEN: &str = "apiserver.rs: addresses_that_are_taken_or_refused_are_counted";
const TURNED_AWAY: &str = "apiserver.rs: callers_whom_the_api_server_turns_away_are_counted";

/// Series that are told only for a while or only after a longer one, and how many hours ahead they are looked at. The
/// API server says itself when an object was written: just now.
const OTHER_TIMES: &[(Layer, i64, &[&str])] = &[
    (Layer::Tooling, 2, &["tooling_manual_change{"]),
    (
        Layer::Tooling,
        24 * 9,
        &[
            "tooling_forgotten_state{namespace=\"tooling\",kind=\"CronJob\"",
            "tooling_forgotten_state{namespace=\"tooling\",kind=\"PodDisruptionBudget\"",
        ],
    ),
];

fn is_of(series: &str, beginning: &str) -> bool {
    series.strip_prefix("kubestrata_").is_some_and(|series| series.starts_with(beginning))
}

/// The series of a layer's golden file that are driven here, this far ahead.
fn expected(layer: Layer, ahead: SignedDuration) -> BTreeSet<String> {
    let mut expected = golden(layer);
    let mut others = OTHER_TIMES.iter().filter(|(of, ..)| *of == layer);
    if ahead == AHEAD {
        let others: Vec<_> = others.flat_map(|(.., prefixes)| *prefixes).copied().collect();
        let not_here = NOT_HERE.iter().map(|(prefix, ..)| *prefix).chain(others);
        for prefix in not_here {
            expected.retain(|series| !is_of(series, prefix));
        }
    } else {
        let other = others.find(|(_, hours, _)| SignedDuration::from_hours(*hours) == ahead);
        let (.., prefixes) = other.unwrap();
        expected.retain(|series| prefixes.iter().any(|prefix| is_of(series, prefix)));
    }
    expected
}

fn golden(layer: Layer) -> BTreeSet<String> {
    let path = manifests::folder().join(format!("{layer}.prom"));
    series(&fs::read_to_string(path).unwrap(), layer)
}

/// What is not driven here is a series of a golden file, and driven by a test that there is.
#[test]
fn what_is_not_driven_here_names_the_test_that_drives_it() {
    let all: BTreeSet<String> = Layer::ALL.into_iter().flat_map(golden).collect();
    let others = OTHER_TIMES.iter().flat_map(|(.., prefixes)| *prefixes).copied();
    for prefix in NOT_HERE.iter().map(|(prefix, ..)| *prefix).chain(others) {
        assert!(all.iter().any(|series| is_of(series, prefix)), "no golden file shows {prefix}");
    }
    for (prefix, _, driver) in NOT_HERE {
        let (file, test) = driver.split_once(": ").unwrap();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(&format!("async fn {test}(")), "{prefix}: no test {test} in {file}");
        let name = prefix.split('{').next().unwrap().split_once('_').unwrap().1;
        let name = name.trim_end_matches("_total");
        assert!(text.contains(name), "{file} does not name {name}");
    }
}

/// The manifests of a layer as they are made here: times as old as they are there, events as old reporters write them.
fn manifests_of(layer: Layer, ahead: SignedDuration) -> Vec<Value> {
    let mut all = manifests::of(layer);
    all.retain(|m| !cannot_be_made(m));
    let is_old = |m: &Value| m["kind"] == "Event" && m["eventTime"].is_null();
    all = all.into_iter().map(|m| if is_old(&m) { apply::as_core_event(m) } else { m }).collect();
    let then: Time = manifests::NOW.parse().unwrap();
    let by = (real_now() + ahead).duration_since(then);
    all.iter_mut().for_each(|m| manifests::shift(m, by));
    all
}

/// Gives the kubelet whose answers are among the manifests a node of the layer, or one of its own.
fn on_a_node(kubelet: &Kubelet, mut all: Vec<Value>) -> Vec<Value> {
    if all.iter().any(|m| m["kind"] == "KubeletMetrics") {
        if !all.iter().any(|m| m["kind"] == "Node") {
            let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "kubelet"}, "status": {}});
            all.insert(0, node);
        }
        let node = all.iter_mut().find(|m| m["kind"] == "Node").unwrap();
        let more = kubelet.addresses("127.0.0.1");
        node["status"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    }
    all
}

/// A client that may read what a layer reads, but for what its manifests call forbidden.
async fn reader(cluster: &Cluster, layer: Layer) -> Client {
    let all = manifests::of(layer);
    let refused = all.iter().filter(|m| m["kind"] == "SourceFailure");
    let refused = refused.map(|m| Kind::by_name(m["source"].as_str().unwrap()).unwrap().plural());
    let refused: Vec<&str> = refused.collect();
    if refused.is_empty() {
        return cluster.client().await;
    }
    let name = format!("{layer}-reader");
    let kubeconfig = cluster.service_account(&name, &rules(&[layer], &refused)).await;
    cluster.client_of(&kubeconfig).await
}

/// What a kubelet tells of pods, with the identities that they have here.
async fn of_these_pods(client: &Client, exposition: &str) -> String {
    let pods = Regex::new(r#"namespace="([^"]*)",pod="([^"]*)",pod_uid="[^"]*""#).unwrap();
    let mut told = exposition.to_owned();
    for of in pods.captures_iter(exposition) {
        let (namespace, name) = (&of[1], &of[2]);
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
        let request = Request::get(path).body(Vec::new()).unwrap();
        let pod: Value = client.request(request).await.unwrap();
        let uid = pod["metadata"]["uid"].as_str().unwrap();
        let here = format!(r#"namespace="{namespace}",pod="{name}",pod_uid="{uid}""#);
        told = told.replace(&of[0], &here);
    }
    told
}

/// Makes the objects of a layer, namespaces first, then changes those that change later, while `follower` looks on, and
/// says which it made and which are refused.
async fn make(
    client: &Client,
    kubelet: &Kubelet,
    all: &[Value],
    follower: &mut Follower,
) -> (BTreeSet<String>, Vec<String>) {
    let (mut own, mut refused) = (BTreeSet::new(), Vec::new());
    let (later, first): (Vec<&Value>, Vec<&Value>) = all.iter().partition(|m| m["later"] == true);
    let mut note = |manifest: &Value, answer: kube::Result<bool>| {
        let path = apply::path_of(manifest);
        match answer {
            Ok(true) => drop(own.insert(path)),
            Ok(false) => {}
            Err(error) => {
                let told: String = error.to_string().chars().take(400).collect();
                refused.push(format!("refused: {path}: {told}"));
            }
        }
    };
    let namespaces = |m: &&&Value| m["kind"] == "Namespace";
    let made: Vec<Value> = first.iter().filter(namespaces).map(|m| (*m).clone()).collect();
    apply::make_namespaces(client, &made).await;
    for manifest in first.iter().filter(|m| !namespaces(m)) {
        match manifest["exposition"].as_str() {
            Some(exposition) => kubelet.tell(&of_these_pods(client, exposition).await),
            None => note(manifest, apply::make(client, manifest).await),
        }
    }
    // Long enough for what is polled.
    follower.absorb(Duration::from_millis(2500)).await;
    for manifest in later {
        match manifest["exposition"].as_str() {
            Some(exposition) => kubelet.tell(&of_these_pods(client, exposition).await),
            None => note(manifest, apply::change(client, manifest).await),
        }
        // One after the other, as they depend on each other.
        follower.absorb(Duration::from_millis(100)).await;
    }
    (own, refused)
}

/// Whether a series is a total of what has happened to nothing that is made and gone here: it stays.
fn stays(series: &str) -> bool {
    let is_total = |s: &&Signal| matches!(s.read, Read::Counter | Read::Histogram(_));
    let mut totals = layers::signals().filter(is_total);
    let of = |s: &Signal| series.starts_with(&format!("kubestrata_{}", s.name));
    let gone = |label: &&str| {
        series.contains(&format!("{{{label}=\"")) || series.contains(&format!(",{label}=\""))
    };
    let named = NAMED.iter().map(|(label, _)| *label);
    // What was counted of a class or a driver is not of that object alone.
    let mut named =
        named.filter(|l| !["storageclass", "driver"].contains(l)).chain(["workload", "name"]);
    totals.any(of) && !named.any(|label| gone(&label))
}

/// What is wrong with what a layer shows, if anything.
async fn layer_follows(cluster: &Cluster, layer: Layer, ahead: SignedDuration) -> Vec<String> {
    let (mut wrong, kubelet) = (Vec::new(), Kubelet::start().await);
    let client = cluster.client().await;
    let mut follower = Follower::start(&reader(cluster, layer).await, vec![layer], ahead).await;
    let healthy = follower.exposition(layer).await;
    let expected = expected(layer, ahead);
    let all = on_a_node(&kubelet, manifests_of(layer, ahead));
    let (own, refused) = make(&client, &kubelet, &all, &mut follower).await;
    wrong.extend(refused);
    let mut shown = BTreeSet::new();
    for _ in 0..10 {
        shown = follower.exposition(layer).await;
        if expected.is_subset(&shown) {
            break;
        }
    }
    wrong.extend(expected.difference(&shown).map(|s| format!("not shown: {s}")));
    let told =
        shown.difference(&healthy).filter(|s| s.contains("-fine\"") && s.contains("reason="));
    let told: Vec<String> = told.cloned().collect();
    let findings = follower.findings().await;
    let named = findings.into_iter().filter(|f| f.contains("-fine\""));
    // What is well for its age is not so at any.
    let told = told.into_iter().chain(named).filter(|_| ahead == AHEAD);
    wrong.extend(told.map(|s| format!("told though it is well: {s}")));
    apply::unmake(&client, &own).await;
    let mut left = Vec::new();
    for _ in 0..10 {
        shown = follower.exposition(layer).await;
        let gone = |s: &&String| !healthy.contains(*s) && !stays(s);
        left = expected.intersection(&shown).filter(gone).cloned().collect();
        if left.is_empty() {
            break;
        }
    }
    wrong.extend(left.iter().map(|s| format!("still shown: {s}")));
    wrong.iter().map(|what| format!("{} ahead: {what}", ahead.as_hours())).collect()
}

/// Nodes are measured by those who serve an API of their own, whose definition comes and goes here: a node without
/// measures is told, one with old ones too, and one that is measured is well.
async fn nodes_are_measured_or_not(client: &Client) {
    let told = |shown: &BTreeSet<String>, reason: &str| {
        let begin = format!("observability_node_metrics_missing{{reason=\"{reason}\"");
        shown.iter().any(|series| is_of(series, &begin))
    };
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    objects::create(client, definitions, &crds::of(Kind::NodeMetrics)).await;
    let ready = json!({"metadata": {"name": "measured"},
        "status": {"conditions": [objects::condition("Ready", "True", "KubeletReady")]}});
    objects::create(client, "/api/v1/nodes", &ready).await;
    let mut follower = Follower::start(client, vec![Layer::Observability], AHEAD).await;
    await_kind(&mut follower, Kind::NodeMetrics, Availability::Served).await;
    let measures = |age: SignedDuration| {
        let at = format!("{:.0}", real_now() + AHEAD - age);
        json!({"apiVersion": "metrics.k8s.io/v1beta1", "kind": "NodeMetrics",
            "metadata": {"name": "measured"}, "timestamp": at, "window": "20s", "usage": {}})
    };
    let path = "/apis/metrics.k8s.io/v1beta1/nodes";
    for (reason, expected) in
        [("missing", true), ("missing", false), ("stale", true), ("stale", false)]
    {
        match (reason, expected) {
            ("missing", true) => {}
            ("missing", false) => {
                objects::create(client, path, &measures(SignedDuration::ZERO)).await;
            }
            (_, is_old) => {
                let age = SignedDuration::from_hours(i64::from(is_old));
                objects::patch(client, &format!("{path}/measured"), &measures(age)).await;
            }
        }
        eventually(Duration::from_secs(30), "measures are told of", async || {
            let shown = follower.exposition(Layer::Observability).await;
            anyhow::ensure!(told(&shown, reason) == expected, "{reason} {expected}: {shown:#?}");
            for gauge in ["ratio", "age_seconds"] {
                let gauge = format!("observability_node_metrics_{gauge}{{");
                let there = shown.iter().any(|series| is_of(series, &gauge));
                // Where nothing is measured there is no age.
                let none = gauge.contains("age") && (reason, expected) == ("missing", true);
                anyhow::ensure!(there != none, "{gauge} {reason} {expected}");
            }
            Ok(())
        })
        .await;
    }
    objects::delete(client, "/api/v1/nodes/measured").await;
    objects::delete(client, &format!("{definitions}/nodes.metrics.k8s.io")).await;
    await_kind(&mut follower, Kind::NodeMetrics, Availability::Absent).await;
}

/// A kind that appears is followed, one that goes leaves no series and is no recovery, and one that comes back is
/// followed again, all without a restart.
async fn a_kind_comes_and_goes(client: &Client) {
    let crd = crds::of(Kind::Certificate);
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let certificate = json!({"apiVersion": "cert-manager.io/v1", "kind": "Certificate",
        "metadata": {"name": "web", "namespace": "default"},
        "status": {"notAfter": objects::now()[..19].to_owned() + "Z"}});
    let mut follower = Follower::start(client, vec![Layer::Security], AHEAD).await;
    for round in 0..2 {
        await_kind(&mut follower, Kind::Certificate, Availability::Absent).await;
        objects::create(client, path, &crd).await;
        await_kind(&mut follower, Kind::Certificate, Availability::Served).await;
        objects::create(
            client,
            "/apis/cert-manager.io/v1/namespaces/default/certificates",
            &certificate,
        )
        .await;
        eventually(Duration::from_secs(30), "the certificate is told", async || {
            let shown = follower.exposition(Layer::Security).await;
            anyhow::ensure!(
                shown.iter().any(|s| s.contains("certificate=\"web\"")),
                "round {round}: {shown:#?}"
            );
            Ok(())
        })
        .await;
        objects::delete(client, &format!("{path}/certificates.cert-manager.io")).await;
        await_kind(&mut follower, Kind::Certificate, Availability::Absent).await;
        let shown = follower.exposition(Layer::Security).await;
        assert!(!shown.iter().any(|s| s.contains("certificate=\"web\"")), "a ghost: {shown:#?}");
    }
}

async fn await_kind(follower: &mut Follower, kind: Kind, wanted: Availability) {
    eventually(Duration::from_mins(1), "the kind is as it should be", async || {
        follower.absorb(Duration::from_millis(500)).await;
        let now = follower.availability(kind);
        anyhow::ensure!(now == wanted, "{now:?}, not {wanted:?}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_layer_tells_on_a_real_api_server_what_its_golden_file_says() {
    let cluster = Cluster::start(&ClusterOptions::bare());
    let client = cluster.client().await;
    a_kind_comes_and_goes(&client).await;
    nodes_are_measured_or_not(&client).await;
    crds::install(&client).await;
    let mut wrong = Vec::new();
    for layer in Layer::ALL {
        wrong.extend(layer_follows(&cluster, layer, AHEAD).await);
    }
    for (layer, hours, _) in OTHER_TIMES {
        let ahead = SignedDuration::from_hours(*hours);
        wrong.extend(layer_follows(&cluster, *layer, ahead).await);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
