//! Does what a real API server tells of itself reach `/metrics`? Each of its figures is driven by requests: refused,
//! failing, let through with a warning; by an etcd that is away; by addresses that are taken.

#![allow(clippy::unwrap_used)]

mod bed;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bed::{Cluster, ClusterOptions, Kubestrata, eventually, objects};
use http::Request;
use kube::Client;
use serde_json::{Value, json};

const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A daemon that looks every second.
async fn watching(cluster: &Cluster) -> Kubestrata {
    let kubeconfig = cluster.kubeconfig();
    let often = [("KUBESTRATA_SOURCES_LONGEST_INTERVAL", "1s"), ("KUBESTRATA_TICK", "1s")];
    let arguments = ["run", "--kubeconfig", kubeconfig.to_str().unwrap()];
    let mut daemon = Kubestrata::start_with(&arguments, &often);
    daemon.wait_ready().await;
    // What was there before the first look is not ours to tell: what follows comes after it.
    eventually(Duration::from_mins(1), "the API server was asked", async || {
        let metrics = daemon.metrics().await?;
        let up = metrics.value("kubestrata_source_up", &[("source", "apiserver_metrics")]);
        anyhow::ensure!(up == Some(1.0), "not yet");
        Ok(())
    })
    .await;
    daemon
}

/// Waits until a series is more than it was.
async fn grows(daemon: &Kubestrata, name: &str, labels: &[(&str, &str)], deed: impl AsyncFn()) {
    let before = daemon.metrics().await.unwrap().sum(name, labels);
    eventually(Duration::from_mins(2), &format!("{name} {labels:?} grows"), async || {
        deed().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = daemon.metrics().await?.sum(name, labels);
        anyhow::ensure!(now > before, "{before}, now {now}");
        Ok(())
    })
    .await;
}

/// Asks for an object that will be refused, or let through, whatever comes of it.
async fn attempt(client: &Client, collection: &str, object: &Value) {
    let request = Request::post(collection).header("Content-Type", "application/json");
    let request = request.body(object.to_string().into_bytes()).unwrap();
    let _ = client.request::<Value>(request).await;
}

fn map(label: &str) -> Value {
    let data: BTreeMap<String, &str> = (0..200).map(|n| (format!("key-{n}"), "")).collect();
    json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data,
        "metadata": {"generateName": "map-", "labels": {"for": label}}})
}

/// A policy about the ConfigMaps with this label, bound with these actions.
async fn policy(client: &Client, name: &str, expressions: &[String], actions: &[&str]) {
    let validations = expressions.iter().map(|e| json!({"expression": e}));
    let validations: Vec<Value> = validations.collect();
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {"failurePolicy": "Fail", "validations": validations,
            "matchConstraints": {"objectSelector": {"matchLabels": {"for": name}}, "resourceRules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                    "resources": ["configmaps"]}]}}});
    objects::create(client, &format!("{ADMISSION}/validatingadmissionpolicies"), &policy).await;
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": actions}});
    objects::create(client, &format!("{ADMISSION}/validatingadmissionpolicybindings"), &binding)
        .await;
}

/// A webhook whose Service is missing, for the ConfigMaps with this label.
async fn webhook(client: &Client, name: &str, failure_policy: &str) {
    let configuration = json!({"apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration", "metadata": {"name": name},
        "webhooks": [{"name": format!("{name}.example.com"), "failurePolicy": failure_policy,
            "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 1,
            "clientConfig": {"service": {"namespace": "default", "name": "gone"}},
            "objectSelector": {"matchLabels": {"for": name}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                "resources": ["configmaps"]}]}]});
    objects::create(
        client,
        &format!("{ADMISSION}/validatingwebhookconfigurations"),
        &configuration,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_admission_refuses_and_lets_through_is_counted() {
    let cluster = Cluster::shared();
    let client = cluster.client().await;
    let daemon = watching(cluster).await;
    let no = ["false".to_owned()];
    policy(&client, "denies", &no, &["Deny"]).await;
    policy(&client, "warns", &no, &["Warn", "Audit"]).await;
    // Each pair of keys sixty times is more than the API server takes upon itself.
    let pairs = |n: usize| format!("object.data.all(a, object.data.all(b, a + b != '{n}'))");
    policy(&client, "endless", &(0..60).map(pairs).collect::<Vec<_>>(), &["Deny"]).await;
    webhook(&client, "closed", "Fail").await;
    webhook(&client, "open", "Ignore").await;
    let cases = [
        (
            "security_policy_denials_total",
            &[("source", "apiserver"), ("policy", "denies")][..],
            "denies",
        ),
        ("security_admission_policy_violations_total", &[("policy", "warns")], "warns"),
        (
            "security_admission_policy_errors_total",
            &[("policy", "endless"), ("reason", "out_of_budget")],
            "endless",
        ),
        ("security_webhook_errors_total", &[("webhook", "closed.example.com")], "closed"),
        ("security_webhook_fail_open_total", &[("webhook", "open.example.com")], "open"),
    ];
    for (name, labels, label) in cases {
        let object = map(label);
        grows(&daemon, &format!("kubestrata_{name}"), labels, async || {
            attempt(&client, MAPS, &object).await;
        })
        .await;
    }
    // An ordinary object is none of these. Each is seen in a later answer of the API server than what came before it.
    let ordinary = async || {
        objects::create(&client, MAPS, &map("well")).await;
        let (heard, of) =
            ("kubestrata_source_last_sync_timestamp_seconds", [("source", "apiserver_metrics")]);
        // The answer under way may be older than the object.
        for _ in 0..2 {
            grows(&daemon, heard, &of, async || {}).await;
        }
        let metrics = daemon.metrics().await.unwrap();
        cases.map(|(name, labels, _)| metrics.sum(&format!("kubestrata_{name}"), labels))
    };
    ordinary().await;
    assert_eq!(ordinary().await, ordinary().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_a_pod_security_level_is_counted() {
    let cluster = Cluster::shared();
    let client = cluster.client().await;
    let daemon = watching(cluster).await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "privileged-"},
        "spec": {"containers": [{"name": "main", "image": "main",
            "securityContext": {"privileged": true}}]}});
    for (mode, name, labels) in [
        ("enforce", "policy_denials", &[("source", "apiserver"), ("reason", "pod_security")][..]),
        ("audit", "pod_security_violations", &[("level", "restricted"), ("mode", "audit")]),
    ] {
        let namespace = cluster.namespace(mode).await;
        let level = format!("pod-security.kubernetes.io/{mode}");
        let change = json!({"metadata": {"labels": {level: "restricted"}}});
        objects::patch(&client, &format!("/api/v1/namespaces/{namespace}"), &change).await;
        let pods = format!("/api/v1/namespaces/{namespace}/pods");
        grows(&daemon, &format!("kubestrata_security_{name}_total"), labels, async || {
            attempt(&client, &pods, &pod).await;
        })
        .await;
    }
    // A level that nobody knows is refused, but not by way of the status.
    let namespace = cluster.namespace("nonsense").await;
    let change =
        json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "nonsense"}}});
    objects::patch(&client, &format!("/api/v1/namespaces/{namespace}/status"), &change).await;
    let pods = format!("/api/v1/namespaces/{namespace}/pods");
    let labels = [("reason", "tolerated")];
    grows(&daemon, "kubestrata_security_pod_security_errors_total", &labels, async || {
        attempt(&client, &pods, &pod).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_whom_the_api_server_turns_away_are_counted() {
    let cluster = Cluster::shared();
    let client = cluster.client().await;
    let daemon = watching(cluster).await;
    let address = cluster.server_url().replace("https://", "");
    let handshake = [("reason", "tls_handshake")];
    grows(&daemon, "kubestrata_security_authentication_problems_total", &handshake, async || {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.write_all(b"\x16\x03\x01 this is no handshake").unwrap();
    })
    .await;
    // A level with no share of the places refuses at once, with 429.
    let flow = "/apis/flowcontrol.apiserver.k8s.io/v1";
    let level = json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration",
        "metadata": {"name": "starved"},
        "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 0, "lendablePercent": 0,
            "borrowingLimitPercent": 0, "limitResponse": {"type": "Reject"}}}});
    objects::create(&client, &format!("{flow}/prioritylevelconfigurations"), &level).await;
    let kubeconfig = cluster
        .service_account(
            "starved",
            &json!([{"apiGroups": [""],
        "resources": ["configmaps"], "verbs": ["list"]}]),
        )
        .await;
    let schema = json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema",
        "metadata": {"name": "starved"},
        "spec": {"matchingPrecedence": 2, "priorityLevelConfiguration": {"name": "starved"}, "rules": [
            {"subjects": [{"kind": "ServiceAccount", "serviceAccount": {"namespace": "default", "name": "starved"}}],
                "resourceRules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"],
                    "namespaces": ["*"], "clusterScope": true}]}]}});
    objects::create(&client, &format!("{flow}/flowschemas"), &schema).await;
    let starved = cluster.client_of(&kubeconfig).await;
    grows(&daemon, "kubestrata_observability_apiserver_rejected_total", &[], async || {
        // It always has one place, for which these are too many at once; one that is refused would try again and again.
        let answers = (0..64)
            .map(|_| tokio::time::timeout(Duration::from_secs(2), objects::get(&starved, MAPS)));
        futures::future::join_all(answers).await;
    })
    .await;
}

/// A kubeconfig of a user whose certificate ends within a day.
fn short_lived(cluster: &Cluster) -> PathBuf {
    let folder = tempfile::tempdir().unwrap();
    let (key, cert) = (folder.path().join("key.pem"), folder.path().join("cert.pem"));
    let pki = cluster.kubeconfig().with_file_name("pki");
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-noenc",
    ]);
    openssl.args(["-days", "1", "-subj", "/CN=brief", "-addext", "basicConstraints=CA:FALSE"]);
    openssl.args(["-addext", "extendedKeyUsage=clientAuth"]);
    openssl.arg("-CA").arg(pki.join("ca.crt")).arg("-CAkey").arg(pki.join("ca.key"));
    let output = openssl.arg("-keyout").arg(&key).arg("-out").arg(&cert).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let data = |path| STANDARD.encode(std::fs::read(path).unwrap());
    let user = json!({"client-certificate-data": data(&cert), "client-key-data": data(&key)});
    cluster.kubeconfig_with("brief", &user)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_certificate_that_ends_soon_is_counted() {
    let cluster = Cluster::shared();
    let daemon = watching(cluster).await;
    let kubeconfig = short_lived(cluster);
    let brief = cluster.client_of(&kubeconfig).await;
    grows(&daemon, "kubestrata_security_client_certificates_expiring_total", &[], async || {
        let _ = objects::get(&brief, "/version").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_that_are_taken_or_refused_are_counted() {
    let cluster = Cluster::shared();
    let client = cluster.client().await;
    let daemon = watching(cluster).await;
    let cidr = "127.97.0.0/28";
    objects::make_range(&client, "small", cidr).await;
    let services = format!("/api/v1/namespaces/{}/services", cluster.namespace("addresses").await);
    let service = |n: u32| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("s{n}")},
            "spec": {"type": "NodePort", "clusterIP": format!("127.97.0.{n}"), "ports": [{"port": 80}]}})
    };
    let used =
        daemon.metrics().await.unwrap().sum("kubestrata_networking_nodeport_used_ratio", &[]);
    for n in 1..=13 {
        objects::create(&client, &services, &service(n)).await;
    }
    let labels = [("cidr", cidr)];
    eventually(Duration::from_mins(2), "the range is in use", async || {
        let metrics = daemon.metrics().await?;
        let ratio = metrics.sum("kubestrata_networking_clusterip_used_ratio", &labels);
        anyhow::ensure!(ratio > 0.8, "{ratio} used");
        let ports = metrics.sum("kubestrata_networking_nodeport_used_ratio", &[]);
        anyhow::ensure!(ports > used, "{ports} of the node ports, as before");
        Ok(())
    })
    .await;
    let errors = "kubestrata_networking_clusterip_allocation_errors_total";
    grows(&daemon, errors, &labels, async || {
        let mut taken = service(1);
        taken["metadata"]["name"] = json!("taken");
        attempt(&client, &services, &taken).await;
    })
    .await;
    for n in 1..=13 {
        objects::delete(&client, &format!("{services}/s{n}")).await;
    }
    eventually(Duration::from_mins(2), "there is room again", async || {
        let metrics = daemon.metrics().await?;
        let ratio = metrics.sum("kubestrata_networking_clusterip_used_ratio", &labels);
        anyhow::ensure!(ratio < 0.1, "{ratio} used");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_that_is_away_is_told_until_it_is_back() {
    let cluster = Cluster::start(&ClusterOptions { without_kwok: true, ..Default::default() });
    let client = cluster.client().await;
    let daemon = watching(&cluster).await;
    let failed = |metrics: &bed::Metrics| {
        metrics.sum("kubestrata_observability_apiserver_check_failed", &[("check", "etcd")])
    };
    assert_eq!(failed(&daemon.metrics().await.unwrap()), 0.0);
    cluster.stop_part("etcd");
    eventually(Duration::from_mins(3), "the check is told", async || {
        // Without etcd the API server takes its time to say no.
        let lost = map("lost");
        let _ = tokio::time::timeout(Duration::from_secs(3), attempt(&client, MAPS, &lost)).await;
        let metrics = daemon.metrics().await?;
        anyhow::ensure!(failed(&metrics) == 1.0, "not told: {}", daemon.log());
        Ok(())
    })
    .await;
    cluster.start_part("etcd");
    eventually(
        Duration::from_mins(3),
        "all is well again and what failed is counted",
        async || {
            let metrics = daemon.metrics().await?;
            anyhow::ensure!(failed(&metrics) == 0.0, "still told");
            for name in ["apiserver_errors", "etcd_errors"] {
                let count = metrics.sum(&format!("kubestrata_observability_{name}_total"), &[]);
                anyhow::ensure!(count > 0.0, "no {name}");
            }
            Ok(())
        },
    )
    .await;
}
