//! What does an API server tell when something of its own is about to end? Addresses, ports and the store that run out,
//! and an API that the next release takes away; told while it is so, and no longer.

#![allow(clippy::unwrap_used)]

mod bed;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bed::{Cluster, ClusterOptions, Follower, eventually, objects};
use http::{Request, Response};
use http_body_util::BodyExt;
use jiff::SignedDuration;
use kube::Client;
use kube::client::Body;
use kubestrata::model::layer::Layer;
use serde_json::json;

/// How far ahead of the real time a follower looks.
const AHEAD: SignedDuration = SignedDuration::from_hours(1);

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
    objects::make_range(&client, "tiny", cidr).await;
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
    // Counted once a minute: made first, and looked for last.
    let leases = format!(
        "/apis/coordination.k8s.io/v1/namespaces/{}/leases",
        cluster.namespace("many").await
    );
    let lease = |n: u32| json!({"metadata": {"name": format!("l{n}")}, "spec": {}});
    objects::create_many(&client, &leases, (0..300).map(lease)).await;
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
    let objects = async |follower: &mut Follower| {
        let of = [("resource", "leases.coordination.k8s.io")];
        follower.metrics().await.sum("kubestrata_observability_apiserver_objects", &of)
    };
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
        apiserver_args: vec!["--runtime-config=resource.k8s.io/v1beta1=true".to_owned()],
        ..ClusterOptions::bare()
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
