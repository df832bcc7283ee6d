//! Are a thousand restarts counted exactly, with the watch cut at random and the daemon killed half way?

#![allow(clippy::unwrap_used)]

mod bed;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bed::{Cluster, ClusterOptions, Kubestrata, Metrics, eventually, objects};
use kube::Client;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

const NAMESPACE: &str = "exact";
const PODS: u64 = 100;
const ROUNDS: u64 = 10;
const REASONS: [(&str, i32); 4] =
    [("Error", 1), ("OOMKilled", 137), ("Completed", 0), ("ContainerCannotRun", 127)];

/// A small generator (SplitMix64): the run is the same each time, and a failure is a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// A wire between the daemon and the API server that can be cut.
struct Wire {
    port: u16,
    cut: Arc<Notify>,
}

impl Wire {
    async fn to(upstream: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cut = Arc::new(Notify::new());
        let signal = Arc::clone(&cut);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let signal = Arc::clone(&signal);
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect(("127.0.0.1", upstream)).await else {
                        return;
                    };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        () = signal.notified() => {}
                    }
                });
            }
        });
        Self { port, cut }
    }

    fn cut(&self) {
        self.cut.notify_waiters();
    }
}

/// A container's status after so many restarts, the last for this reason.
fn status(restarts: u64, reason: Option<(&str, i32)>) -> Value {
    let last = reason.map_or(json!({}), |(reason, code)| objects::terminated(reason, code));
    let container = objects::container("main", restarts as u32, &objects::running(), &last);
    json!({"phase": "Running", "containerStatuses": [container]})
}

async fn restart(client: &Client, pod: u64, restarts: u64, reason: (&str, i32)) {
    let status = status(restarts, Some(reason));
    objects::patch_pod_status(client, NAMESPACE, &format!("p{pod}"), &status).await;
}

/// The administrator's kubeconfig, through another port.
fn kubeconfig_through(cluster: &Cluster, port: u16) -> PathBuf {
    let text = std::fs::read_to_string(cluster.kubeconfig()).unwrap();
    let path = cluster.kubeconfig().with_extension("through");
    let through = text.replace(&cluster.server_url(), &format!("https://127.0.0.1:{port}"));
    assert_ne!(text, through, "the server's URL stands in the kubeconfig");
    std::fs::write(&path, through).unwrap();
    path
}

fn by_reason(metrics: &Metrics) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for series in metrics.series("kubestrata_compute_container_restarts_total") {
        if series.label("namespace") == NAMESPACE {
            *counts.entry(series.label("reason").to_owned()).or_default() += series.value as u64;
        }
    }
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_restarts_are_counted_exactly() {
    let cluster = Cluster::start(&ClusterOptions::bare());
    let client = cluster.client().await;
    let namespace = json!({"metadata": {"name": NAMESPACE}});
    objects::create(&client, "/api/v1/namespaces", &namespace).await;
    let account = json!({"metadata": {"name": "default"}});
    let accounts = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts");
    objects::create(&client, &accounts, &account).await;
    let pods = (0..PODS).map(|i| objects::manual_pod(&format!("p{i}"), "nowhere"));
    objects::create_many(&client, &format!("/api/v1/namespaces/{NAMESPACE}/pods"), pods).await;

    let upstream = cluster.server_url().rsplit(':').next().unwrap().parse().unwrap();
    let wire = Wire::to(upstream).await;
    let kubeconfig = kubeconfig_through(&cluster, wire.port);
    let state = tempfile::tempdir().unwrap();
    let config = state.path().join("config.yaml");
    let directory = state.path().join("state");
    let text =
        format!("tick: 1s\nstate:\n  interval: 1s\n  directory: '{}'\n", directory.display());
    std::fs::write(&config, text).unwrap();
    let args =
        ["run", "--kubeconfig", kubeconfig.to_str().unwrap(), "--config", config.to_str().unwrap()];
    let mut daemon = Kubestrata::start(&args);
    daemon.wait_ready().await;

    let done = Arc::new(AtomicBool::new(false));
    let cutting = Arc::clone(&done);
    let scissors = tokio::spawn(async move {
        let mut random = Random(7);
        while !cutting.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(200 + random.below(600))).await;
            wire.cut();
        }
    });

    let mut random = Random(1);
    let mut truth: BTreeMap<String, u64> = BTreeMap::new();
    for round in 1..=ROUNDS {
        if round == 5 {
            daemon.kill9();
        }
        for index in 0..PODS {
            let reason = REASONS[random.below(REASONS.len() as u64) as usize];
            *truth.entry(reason.0.to_owned()).or_default() += 1;
            restart(&client, index, round, reason).await;
        }
        if round == 7 {
            daemon = Kubestrata::start(&args);
            daemon.wait_ready().await;
        }
    }
    done.store(true, Ordering::Relaxed);
    scissors.await.unwrap();

    let total = PODS * ROUNDS;
    let counts = eventually(Duration::from_mins(1), "all restarts are counted", async || {
        let counts = by_reason(&daemon.metrics().await?);
        let counted: u64 = counts.values().sum();
        anyhow::ensure!(counted == total, "{counted} of {total}: {counts:?}");
        Ok(counts)
    })
    .await;
    let unobserved = counts.get("unobserved").copied().unwrap_or(0);
    // Rounds 5 to 7 happened while nobody watched: of three restarts a pod, one reason is left to see.
    assert!((200..total).contains(&unobserved), "{counts:?}");
    for (reason, counted) in counts.iter().filter(|(reason, _)| *reason != "unobserved") {
        assert!(counted <= &truth[reason], "{reason}: {counted} of {}", truth[reason]);
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let later: u64 = by_reason(&daemon.metrics().await.unwrap()).values().sum();
    assert_eq!(later, total, "none is counted twice");
}
