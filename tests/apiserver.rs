//! Does what a real API server tells of itself reach `/metrics`? Each of its figures is driven by requests: refused,
//! failing, let through with a warning; by an etcd that is away; by a range of addresses that runs out.

#![allow(clippy::unwrap_used)]

mod bed;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bed::{Cluster, ClusterOptions, Follower, Kubestrata, eventually, objects};
use http::{Request, Response};
use http_body_util::BodyExt;
use jiff::SignedDuration;
use kube::Client;
use kube::client::Body;
use kubestrata::model::layer::Layer;
use serde_json::{Value, json};

const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";
/// How far ahead of the real time a follower looks.
const AHEAD: SignedDuration = SignedDuration::from_hours(1);
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

/// Makes a range of addresses for Services, and waits until it is ready.
async fn make_range(client: &Client, name: &str, cidr: &str) {
    let range = json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
        "metadata": {"name": name}, "spec": {"cidrs": [cidr]}});
    let ranges = "/apis/networking.k8s.io/v1/servicecidrs";
    objects::create(client, ranges, &range).await;
    eventually(Duration::from_mins(1), "the range is ready", async || {
        let range = objects::get(client, &format!("{ranges}/{name}")).await?;
        let conditions = range["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
        anyhow::ensure!(ready, "{range}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_that_are_taken_or_refused_are_counted() {
    let cluster = Cluster::shared();
    let client = cluster.client().await;
    let daemon = watching(cluster).await;
    let cidr = "127.97.0.0/28";
    make_range(&client, "small", cidr).await;
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

/// Waits until what is told to a follower is as it should be.
async fn told(follower: &mut Follower, name: &str, labels: &[(&str, &str)], expected: bool) {
    let what = format!("{name} {labels:?} told: {expected}");
    eventually(Duration::from_mins(2), &what, async || {
        let metrics = follower.metrics().await;
        let told = metrics.sum(&format!("kubestrata_{name}"), labels);
        anyhow::ensure!((told > 0.0) == expected, "{told}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_and_ports_that_run_out_are_told() {
    let cluster = Cluster::start(&ClusterOptions {
        without_kwok: true,
        without_scheduler: true,
        apiserver_args: vec!["--service-node-port-range=30000-30013".to_owned()],
        ..ClusterOptions::default()
    });
    let client = cluster.client().await;
    let cidr = "127.98.0.0/28";
    make_range(&client, "tiny", cidr).await;
    let mut follower = Follower::start(&client, vec![Layer::Networking], AHEAD).await;
    let low = "networking_addresses_low";
    let addresses = [("cidr", cidr), ("reason", "cluster_ips")];
    let ports = [("reason", "node_ports")];
    let services = format!("/api/v1/namespaces/{}/services", cluster.namespace("few").await);
    let service = |n: u32| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("s{n}")},
            "spec": {"type": "NodePort", "clusterIP": format!("127.98.0.{n}"),
                "ports": [{"port": 80, "nodePort": 29_999 + n}]}})
    };
    // Ten of fourteen addresses and ports are not yet too many.
    for n in 1..=10 {
        objects::create(&client, &services, &service(n)).await;
    }
    eventually(Duration::from_mins(2), "they are in use", async || {
        let metrics = follower.metrics().await;
        metrics.sum("kubestrata_networking_clusterip_used_ratio", &[("cidr", cidr)]) > 0.6
    })
    .await;
    told(&mut follower, low, &addresses, false).await;
    told(&mut follower, low, &ports, false).await;
    // What it counts may be one behind.
    for n in 11..=13 {
        objects::create(&client, &services, &service(n)).await;
    }
    told(&mut follower, low, &addresses, true).await;
    told(&mut follower, low, &ports, true).await;
    for n in 1..=13 {
        objects::delete(&client, &format!("{services}/s{n}")).await;
    }
    told(&mut follower, low, &addresses, false).await;
    told(&mut follower, low, &ports, false).await;
}

/// A client for which a figure of the API server's own is another, while that is not 0.
fn with_figure(client: Client, metric: &'static str, figure: &Arc<AtomicU64>) -> Client {
    let figure = Arc::clone(figure);
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, figure) = (client.clone(), figure.load(Ordering::SeqCst));
        async move {
            let changed = figure != 0 && request.uri().path() == "/metrics";
            let (mut parts, body) = client.send(request).await?.into_parts();
            if !changed {
                return Ok::<_, kube::Error>(Response::from_parts(parts, body));
            }
            let text = body.collect().await?.to_bytes();
            let text = String::from_utf8_lossy(&text);
            let lines = text.lines().map(|line| match line.rsplit_once(' ') {
                Some((series, _)) if series.split('{').next() == Some(metric) => {
                    format!("{series} {figure}\n")
                }
                _ => format!("{line}\n"),
            });
            let text: String = lines.collect();
            parts.headers.remove("content-length");
            Ok(Response::from_parts(parts, Body::from(text.into_bytes())))
        }
    });
    Client::new(service, "default")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_fills_up_is_told_until_there_is_room() {
    let cluster = Cluster::shared();
    let client = cluster.client().await;
    let size = Arc::new(AtomicU64::new(0));
    let full = with_figure(client.clone(), "apiserver_storage_size_bytes", &size);
    let mut follower = Follower::start(&full, vec![Layer::Observability], AHEAD).await;
    let nearly_full = "observability_etcd_nearly_full";
    told(&mut follower, "observability_etcd_size_ratio", &[], true).await;
    told(&mut follower, nearly_full, &[], false).await;
    size.store(7 << 30, Ordering::SeqCst);
    told(&mut follower, nearly_full, &[("reason", "nearly_full")], true).await;
    size.store(0, Ordering::SeqCst);
    told(&mut follower, nearly_full, &[], false).await;
    let leases = format!(
        "/apis/coordination.k8s.io/v1/namespaces/{}/leases",
        cluster.namespace("many").await
    );
    let lease = |n: u32| json!({"metadata": {"name": format!("l{n}")}, "spec": {}});
    objects::create_many(&client, &leases, (0..300).map(lease)).await;
    let objects = async |follower: &mut Follower| {
        let of = [("resource", "leases.coordination.k8s.io")];
        follower.metrics().await.sum("kubestrata_observability_apiserver_objects", &of)
    };
    // It counts them once a minute.
    eventually(Duration::from_mins(3), "they are counted", async || {
        objects(&mut follower).await >= 300.0
    })
    .await;
    objects::delete(&client, &leases).await;
    eventually(Duration::from_mins(3), "they are gone", async || {
        objects(&mut follower).await < 300.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_that_goes_is_told_while_used() {
    let cluster = Cluster::start(&ClusterOptions {
        without_kwok: true,
        without_scheduler: true,
        without_controller_manager: true,
        apiserver_args: vec!["--runtime-config=resource.k8s.io/v1beta1=true".to_owned()],
        ..ClusterOptions::default()
    });
    let client = cluster.client().await;
    let mut follower = Follower::start(&client, vec![Layer::Security], AHEAD).await;
    let used = "security_deprecated_api_used";
    // One that stays, and one that is deprecated and which no release takes away.
    for path in ["/apis/resource.k8s.io/v1/deviceclasses", "/api/v1/componentstatuses"] {
        objects::get(&client, path).await.unwrap();
    }
    told(&mut follower, used, &[], false).await;
    objects::get(&client, "/apis/resource.k8s.io/v1beta1/deviceclasses").await.unwrap();
    let labels = [("resource", "deviceclasses"), ("version", "v1beta1"), ("release", "1.38")];
    told(&mut follower, used, &labels, true).await;
    // An API server remembers who has asked for as long as it runs, and we remember it for ten minutes.
    cluster.stop_part("kube-apiserver");
    cluster.start_part("kube-apiserver");
    follower.let_pass(SignedDuration::from_mins(11));
    told(&mut follower, used, &[], false).await;
    let metrics = follower.metrics().await;
    let up = metrics.value("kubestrata_source_up", &[("source", "apiserver_metrics")]);
    assert_eq!(up, Some(1.0), "nothing is told, for nothing is seen");
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
