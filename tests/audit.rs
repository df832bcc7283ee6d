//! Does the audit receiver hold what it promises? Bodies of bounded size, back-pressure, TLS with the clients that we
//! want, and a real API server's events by class and never by name.

#![allow(clippy::unwrap_used)]

mod bed;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bed::{Cluster, ClusterOptions, Kubestrata, eventually};
use kubestrata::config::AuditSettings;
use kubestrata::exports::http::{AuditSink, Receiver, Refused};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

/// Takes what says `good`, is busy when asked to, and refuses the rest.
fn sink(taken: &Arc<AtomicUsize>) -> AuditSink {
    let taken = Arc::clone(taken);
    Arc::new(move |body| match body {
        b"busy" => Err(Refused::Busy),
        body if body.starts_with(b"good") => {
            taken.fetch_add(body.len(), Ordering::Relaxed);
            Ok(())
        }
        _ => Err(Refused::Unreadable("kind: expected an EventList".to_owned())),
    })
}

async fn start(settings: &AuditSettings, sink: AuditSink) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let receiver = Receiver::new(listener, settings).unwrap();
    tokio::spawn(receiver.serve(sink, std::future::pending()));
    address
}

/// What curl says: the status, or 000 where there was no answer, and the headers.
async fn post(url: String, body: &Path, more: Vec<String>) -> (String, String) {
    let body = format!("@{}", body.display());
    let curl = move || {
        let args = ["-s", "-m", "60", "-D", "-", "-o", "/dev/null", "-w", "%{http_code}"];
        let mut curl = Command::new("curl");
        curl.args(args).args(more).args(["-H", "Expect:", "--data-binary", &body, &url]);
        String::from_utf8(curl.output().unwrap().stdout).unwrap()
    };
    let told = tokio::task::spawn_blocking(curl).await.unwrap();
    let (headers, status) = told.split_at(told.len() - 3);
    (status.to_owned(), headers.to_ascii_lowercase())
}

fn body(folder: &Path, content: &[u8]) -> PathBuf {
    let path = folder.join("body");
    std::fs::write(&path, content).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_is_taken_refused_or_sent_back_for_later() {
    let (taken, folder) = (Arc::new(AtomicUsize::new(0)), tempfile::tempdir().unwrap());
    let address = start(&AuditSettings::default(), sink(&taken)).await;
    let large = [b"good".as_slice(), &vec![b' '; 11 << 20]].concat();
    let larger = [b"good".as_slice(), &vec![b' '; 13 << 20]].concat();
    let cases: [(&[u8], &str); 5] =
        [(b"good", "200"), (b"busy", "429"), (b"odd", "400"), (&large, "200"), (&larger, "413")];
    for (content, expected) in cases {
        let url = format!("http://{address}/audit");
        let (status, headers) = post(url, &body(folder.path(), content), Vec::new()).await;
        assert_eq!(status, expected, "{} bytes", content.len());
        assert_eq!(headers.contains("retry-after: 1"), expected == "429", "{headers}");
    }
    assert_eq!(taken.load(Ordering::Relaxed), 4 + large.len());
    let empty = body(folder.path(), b"");
    let (elsewhere, _) = post(format!("http://{address}/metrics"), &empty, Vec::new()).await;
    assert_eq!(elsewhere, "404");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_certificate_nobody_else_on_the_network_may_call() {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let refused = Receiver::new(listener, &AuditSettings::default()).err().unwrap();
    assert!(refused.to_string().contains("audit.cert_file and audit.key_file are needed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_so_many_bodies_are_read_at_once() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counting: AuditSink = {
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        Arc::new(move |_| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(50));
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        })
    };
    let address = start(&AuditSettings::default(), counting).await;
    let folder = tempfile::tempdir().unwrap();
    let file = body(folder.path(), b"good");
    let calls = (0..24).map(|_| post(format!("http://{address}/audit"), &file, Vec::new()));
    let answers = futures::future::join_all(calls).await;
    assert!(answers.iter().all(|(status, _)| status == "200"), "{answers:?}");
    let most = most.load(Ordering::SeqCst);
    assert!((2..=8).contains(&most), "{most} at once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_only_the_known_client_is_heard_and_a_mute_one_holds_up_nobody() {
    let (taken, folder) = (Arc::new(AtomicUsize::new(0)), tempfile::tempdir().unwrap());
    let (cert, key) = bed::certificate(folder.path(), "server");
    let (known, known_key) = bed::certificate(folder.path(), "known");
    let (strange, strange_key) = bed::certificate(folder.path(), "strange");
    let settings = AuditSettings {
        listen: None,
        cert_file: Some(cert.clone()),
        key_file: Some(key),
        client_ca_file: Some(known.clone()),
    };
    let address = start(&settings, sink(&taken)).await;
    let mut mute = Vec::new();
    for _ in 0..5 {
        let mut connection = TcpStream::connect(address).await.unwrap();
        connection.write_all(b"\x16").await.unwrap();
        mute.push(connection);
    }
    let file = body(folder.path(), b"good");
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let trusting = || vec!["--cacert".to_owned(), path(&cert)];
    let with = |cert: &Path, key: &Path| {
        [trusting(), vec!["--cert".to_owned(), path(cert), "--key".to_owned(), path(key)]].concat()
    };
    let url = format!("https://{address}/audit");
    for (client, expected) in [
        (trusting(), "000"),
        (with(&strange, &strange_key), "000"),
        (with(&known, &known_key), "200"),
    ] {
        assert_eq!(post(url.clone(), &file, client.clone()).await.0, expected, "{client:?}");
    }
    assert_eq!(post(format!("http://{address}/audit"), &file, Vec::new()).await.0, "000");
    assert_eq!(taken.load(Ordering::Relaxed), 4);
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_its_field() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = bed::certificate(folder.path(), "server");
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let settings = |cert: &Path, key: &Path, ca: Option<&Path>| AuditSettings {
        listen: None,
        cert_file: Some(cert.to_owned()),
        key_file: Some(key.to_owned()),
        client_ca_file: ca.map(Path::to_owned),
    };
    let cases = [
        (settings(&empty, &key, None), "audit.cert_file"),
        (settings(&cert, &empty, None), "audit.key_file"),
        (settings(&cert, &key, Some(&empty)), "audit.client_ca_file"),
    ];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (settings, field) in cases {
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let why = Receiver::new(listener, &settings).err().unwrap().to_string();
        assert!(why.contains(field) && why.contains("empty.pem"), "{why}");
    }
}

/// The arguments by which an API server posts its events to an address.
fn auditing(folder: &Path, port: u16) -> Vec<String> {
    let (policy, webhook) = (folder.join("policy.yaml"), folder.join("webhook.yaml"));
    let rules = json!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
        "rules": [{"level": "RequestResponse"}]});
    std::fs::write(&policy, rules.to_string()).unwrap();
    let server = format!("http://127.0.0.1:{port}/audit");
    let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c", "preferences": {},
        "clusters": [{"name": "c", "cluster": {"server": server}}], "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]});
    std::fs::write(&webhook, config.to_string()).unwrap();
    vec![
        format!("--audit-policy-file={}", policy.display()),
        format!("--audit-webhook-config-file={}", webhook.display()),
        "--audit-webhook-batch-max-wait=200ms".to_owned(),
        "--audit-webhook-initial-backoff=500ms".to_owned(),
        // It goes with the next release.
        "--runtime-config=resource.k8s.io/v1beta1=true".to_owned(),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_api_server_tells_of_refusals_by_class_and_by_nobodys_name() {
    let (folder, port) = (tempfile::tempdir().unwrap(), bed::free_port());
    let cluster = Cluster::start(&ClusterOptions {
        apiserver_args: auditing(folder.path(), port),
        ..ClusterOptions::bare()
    });
    let (kubeconfig, listen) = (cluster.kubeconfig(), format!("127.0.0.1:{port}"));
    let env = [("KUBESTRATA_AUDIT_LISTEN", listen.as_str())];
    let args = ["run", "--kubeconfig", kubeconfig.to_str().unwrap()];
    let mut daemon = Kubestrata::start_with(&args, &env);
    daemon.wait_ready().await;
    let client = cluster.client().await;
    let asked = Mutex::new(0);
    let metrics = eventually(Duration::from_mins(1), "refusals are told", async || {
        *asked.lock().unwrap() += 1;
        let request = http::Request::get("/api/v1/secrets")
            .header("Impersonate-User", "jane-of-the-test")
            .header("User-Agent", "kubectl/v1.37 (host-of-the-test)");
        let answer = client.request_text(request.body(Vec::new()).unwrap()).await;
        anyhow::ensure!(answer.is_err(), "she may");
        let old = http::Request::get("/apis/resource.k8s.io/v1beta1/deviceclasses")
            .header("User-Agent", "kubectl/v1.37 (host-of-the-test)");
        client.request_text(old.body(Vec::new())?).await?;
        let url = format!("{}/api/v1/pods", cluster.server_url());
        let bearer = ["-s", "-k", "-m", "10", "-H", "Authorization: Bearer wrong", &url];
        anyhow::ensure!(Command::new("curl").args(bearer).output()?.status.success(), "no answer");
        let metrics = daemon.metrics().await?;
        let denials = |labels| metrics.sum("kubestrata_security_policy_denials_total", labels);
        let rbac = denials(&[("source", "audit"), ("reason", "rbac")]);
        let unknown = denials(&[("source", "audit"), ("reason", "authentication")]);
        let old = [("resource", "deviceclasses.resource.k8s.io"), ("client", "human")];
        let old = metrics.sum("kubestrata_security_deprecated_api_requests_total", &old);
        let all = [rbac, unknown, old];
        anyhow::ensure!(all.iter().all(|n| *n >= 1.0), "{all:?}");
        Ok(metrics)
    })
    .await;
    let classes =
        [("subject", "user"), ("client", "human"), ("verb", "read"), ("resource", "secrets")];
    let told = metrics.sum("kubestrata_security_authz_denials_total", &classes);
    assert!((1.0..=f64::from(*asked.lock().unwrap())).contains(&told), "{told}");
    assert_eq!(metrics.sum("kubestrata_source_up", &[("source", "audit")]), 1.0);
    let shown = daemon.text("/metrics").await.unwrap() + &daemon.log();
    for name in ["jane-of-the-test", "host-of-the-test"] {
        assert!(!shown.contains(name), "{name} is told");
    }
}
