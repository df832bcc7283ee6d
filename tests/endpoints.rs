//! Are the endpoints beside the watches read as they answer, each by itself? API servers behind one address, kubelets a
//! few at a time, a Prometheus whose queries may fail alone.

#![allow(clippy::unwrap_used)]

mod bed;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, Request};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bed::Kubelet;
use kube::client::Body;
use kube::{Client, Config};
use kubestrata::layers;
use kubestrata::model::kind::Kind;
use kubestrata::model::record::{Object, Scrape};
use kubestrata::model::signal::Read;
use kubestrata::model::source::{Availability, SourceNote};
use kubestrata::model::world::{Delta, World};
use kubestrata::sources::{self, KubeletAccess, PrometheusAccess, PrometheusOptions, WatchOptions};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// A client of an API server that answers a path with a status and a text.
fn api(answer: impl Fn(&str) -> (u16, String) + Send + Sync + 'static) -> Client {
    let answer = Arc::new(answer);
    let service = tower::service_fn(move |request: Request<Body>| {
        let (status, text) = answer(request.uri().path());
        let body = http_body_util::Full::from(bytes::Bytes::from(text));
        let response = http::Response::builder().status(status).body(body).unwrap();
        async move { Ok::<_, Infallible>(response) }
    });
    Client::new(service, "default")
}

fn options(kinds: &[Kind]) -> WatchOptions {
    WatchOptions {
        longest_interval: Duration::from_millis(20),
        ..WatchOptions::new(kinds.to_vec(), Arc::new(|| kubestrata::model::Time::UNIX_EPOCH))
    }
}

/// What comes when each endpoint is asked once.
async fn once(client: Client, options: WatchOptions) -> Vec<Delta> {
    let (out, mut inbox) = mpsc::channel(64);
    let asking = tokio::spawn(sources::list_once(client, options, out));
    let mut seen = Vec::new();
    while let Some(batch) = inbox.recv().await {
        seen.extend(batch);
    }
    asking.await.unwrap().unwrap();
    seen
}

fn scrapes(deltas: &[Delta]) -> Vec<&Scrape> {
    let scrape = |delta| match delta {
        &Delta::Upsert(Object::Scrape(ref scrape)) => Some(&**scrape),
        _ => None,
    };
    deltas.iter().filter_map(scrape).collect()
}

fn notes(deltas: &[Delta], kind: Kind) -> Vec<&SourceNote> {
    let note = |delta| match delta {
        &Delta::Note(of, ref note) if of == kind => Some(note),
        _ => None,
    };
    deltas.iter().filter_map(note).collect()
}

fn unreadable(deltas: &[Delta], kind: Kind) -> Vec<String> {
    let message = |note: &SourceNote| match note {
        SourceNote::Undecodable { message } => Some(message.clone()),
        _ => None,
    };
    notes(deltas, kind).into_iter().filter_map(message).collect()
}

/// Who did not answer, and what is told of it.
fn silent(deltas: &[Delta], kind: Kind) -> (Vec<String>, String) {
    let told = |note: &SourceNote| match note {
        SourceNote::Silent { names, message } => {
            Some((names.iter().map(ToString::to_string).collect(), message.clone()))
        }
        _ => None,
    };
    notes(deltas, kind).into_iter().find_map(told).expect("a note")
}

fn synced(deltas: &[Delta], kind: Kind) -> bool {
    deltas.contains(&Delta::Synced(kind))
}

#[tokio::test]
async fn each_process_behind_an_address_is_an_instance_and_a_broken_line_is_told() {
    let asked = AtomicUsize::new(0);
    let client = api(move |path| {
        if path != "/metrics" {
            return (404, String::new());
        }
        let started = 1_700_000_000 + asked.fetch_add(1, Ordering::Relaxed) % 2;
        let text = "authentication_attempts{result=\"error\"} 3\nauthentication_attempts{broken 1\nother 1\n";
        (200, format!("process_start_time_seconds {started}.25\n{text}"))
    });
    let (out, mut inbox) = mpsc::channel(64);
    let _tasks = sources::start(&client, &options(&[Kind::ApiServerMetrics]), &out).unwrap();
    let (mut world, mut seen) = (World::default(), Vec::new());
    while scrapes(&seen).len() < 4 {
        for delta in inbox.recv().await.unwrap() {
            seen.push(delta.clone());
            world.apply(delta, jiff::Timestamp::UNIX_EPOCH);
        }
    }
    assert_eq!(world.count(Kind::ApiServerMetrics), 2);
    let first = scrapes(&seen)[0];
    assert_eq!((&*first.meta.name, first.samples.len()), ("1700000000.25", 2));
    assert_eq!(first.meta.created.as_second(), 1_700_000_000);
    let told = unreadable(&seen, Kind::ApiServerMetrics);
    assert_eq!(told[0], "/metrics: 1 lines could not be read or were too many");
    assert_eq!(world.source(Kind::ApiServerMetrics).availability, Availability::Served);
    assert!(world.source(Kind::ApiServerMetrics).undecodable >= 4);
}

#[tokio::test]
async fn one_endpoint_that_is_forbidden_leaves_the_other_alone() {
    let client = api(|path| match path {
        "/readyz" => {
            (500, "[+]ping ok\n[-]etcd failed: reason withheld\nreadyz check failed\n".into())
        }
        _ => (403, "forbidden".into()),
    });
    let seen = once(client, options(&[Kind::ApiServerHealth, Kind::ApiServerMetrics])).await;
    assert!(synced(&seen, Kind::ApiServerHealth), "a server that is not ready has answered");
    assert_eq!(scrapes(&seen)[0].samples.iter().map(|s| s.value).collect::<Vec<_>>(), [1.0, 0.0]);
    let [SourceNote::Failed { availability, .. }] = notes(&seen, Kind::ApiServerMetrics)[..] else {
        panic!("{seen:?}")
    };
    assert_eq!(*availability, Availability::Forbidden);
}

#[tokio::test]
async fn what_cannot_be_asked_here_says_so_and_holds_up_nobody() {
    let kinds = [Kind::KubeletMetrics, Kind::Audit];
    let client = api(|_| (404, String::new()));
    let mut world = World::default();
    for delta in once(client, options(&kinds)).await {
        world.apply(delta, jiff::Timestamp::UNIX_EPOCH);
    }
    for kind in kinds {
        assert_eq!(world.source(kind).availability, Availability::Disabled, "{kind:?}");
    }
}

/// A kubelet with a line that nobody can read.
async fn kubelet() -> Kubelet {
    let kubelet = Kubelet::start().await;
    let lines = [
        "process_start_time_seconds 1.7e9",
        "kubelet_volume_stats_inodes{broken",
        "prober_probe_total{result=\"failed\",namespace=\"shop\"} 2",
    ];
    kubelet.tell(&lines.join("\n"));
    kubelet
}

/// Nodes with these addresses, each with this kubelet.
fn nodes(kubelet: &Kubelet, addresses: &[&str]) -> String {
    let node = |(i, address): (usize, &&str)| json!({"metadata": {"name": format!("n{i}")}, "status": kubelet.addresses(address)});
    let items: Vec<_> = addresses.iter().enumerate().map(node).collect();
    json!({"kind": "NodeList", "apiVersion": "v1", "items": items}).to_string()
}

async fn ask_kubelets(nodes: String, skip_verify: bool) -> Vec<Delta> {
    let client = api(move |_| (200, nodes.clone()));
    let config = Config::new("https://127.0.0.1:1".parse().unwrap());
    let kubelets = Some(KubeletAccess::Network(Box::new(config)));
    let options = options(&[Kind::KubeletMetrics]);
    once(client, WatchOptions { kubelets, kubelet_skip_verify: skip_verify, ..options }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubelets_are_asked_a_few_at_a_time_and_each_answers_for_itself() {
    let kubelet = kubelet().await;
    let mut addresses = vec!["127.0.0.1"; 30];
    addresses[3] = "no address";
    let seen = ask_kubelets(nodes(&kubelet, &addresses), true).await;
    let answers = scrapes(&seen);
    assert_eq!(answers.len(), 29);
    assert!(answers.iter().all(|a| a.of("prober_probe_total").count() == 1));
    assert!(synced(&seen, Kind::KubeletMetrics));
    let most = kubelet.most_at_once();
    assert!((2..=10).contains(&most), "{most} at once");
    let told = unreadable(&seen, Kind::KubeletMetrics);
    assert_eq!(told[0], "kubelets: 29 lines could not be read or were too many");
    let (names, message) = silent(&seen, Kind::KubeletMetrics);
    assert_eq!(names, ["n3"]);
    assert!(message.starts_with("1 of 30 kubelets do not answer; n3: "), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kubelet_whose_certificate_nobody_vouches_for_is_not_believed() {
    let kubelet = kubelet().await;
    let seen = ask_kubelets(nodes(&kubelet, &["127.0.0.1"]), false).await;
    assert!(scrapes(&seen).is_empty());
    let [SourceNote::Failed { availability, message, .. }] = notes(&seen, Kind::KubeletMetrics)[..]
    else {
        panic!("{seen:?}")
    };
    assert_eq!(*availability, Availability::Unreachable);
    assert!(message.starts_with("no kubelet answers; n0: "), "{message}");
}

/// A Prometheus that answers by the query, and to none but who has the token.
async fn prometheus() -> String {
    async fn answer(headers: HeaderMap, Query(asked): Query<Vec<(String, String)>>) -> Response {
        if headers.get("authorization").is_none_or(|token| token != "Bearer let-me-in") {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        let query = asked.into_iter().find(|(key, _)| key == "query").unwrap().1;
        let data = |kind: &str, result: serde_json::Value| {
            json!({"status": "success", "data": {"resultType": kind, "result": result}}).to_string()
        };
        match query.as_str() {
            "vector" => data("vector", json!([{"metric": {"job": "a"}, "value": [1, "0.5"]}]))
                .into_response(),
            "matrix" => data("matrix", json!([])).into_response(),
            "wrong{" => {
                let error = json!({"status": "error", "error": "parse error: unexpected end"});
                (StatusCode::BAD_REQUEST, error.to_string()).into_response()
            }
            "page" => (StatusCode::BAD_GATEWAY, "<html>").into_response(),
            _ => std::future::pending().await,
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/prefix/", listener.local_addr().unwrap());
    let router = Router::new().route("/prefix/api/v1/query", get(answer));
    tokio::spawn(axum::serve(listener, router).into_future());
    url
}

async fn ask(url: &str, token: &str, queries: &[(&'static str, &'static str)]) -> Vec<Delta> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{token}\n")).unwrap();
    let prometheus = PrometheusOptions {
        access: PrometheusAccess {
            url: url.to_owned(),
            bearer_token_file: Some(file),
            ca_file: None,
        },
        queries: queries.to_vec(),
    };
    let client = api(|_| (404, String::new()));
    once(client, WatchOptions { prometheus, ..options(&[Kind::PrometheusQuery]) }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_fails_or_never_ends_leaves_the_others_alone() {
    let url = prometheus().await;
    let queries =
        [("never", "never"), ("good", "vector"), ("m", "matrix"), ("w", "wrong{"), ("p", "page")];
    let seen = ask(&url, "let-me-in", &queries).await;
    assert!(synced(&seen, Kind::PrometheusQuery));
    let told: Vec<_> = scrapes(&seen).iter().map(|s| s.meta.name.to_string()).collect();
    assert_eq!(told, ["good"]);
    let gone = seen.iter().filter(|d| matches!(d, Delta::Delete { .. })).count();
    assert_eq!(gone, 4, "no old answer stands for one that failed");
    let (names, message) = silent(&seen, Kind::PrometheusQuery);
    assert_eq!(names, ["never", "m", "w", "p"]);
    assert_eq!(
        message,
        "4 of 5 queries fail; never: no answer within 10 s; \
         m: expected an instant vector or a scalar, found a matrix (502); w: parse error: unexpected end (400); \
         p: the answer is no answer to a query (502)"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_no_query_is_answered_the_source_has_failed() {
    let url = prometheus().await;
    for (url, token, expected) in [
        (url.as_str(), "wrong", Availability::Unauthorized),
        ("http://127.0.0.1:1", "let-me-in", Availability::Unreachable),
        ("no url", "let-me-in", Availability::Unreachable),
    ] {
        let seen = ask(url, token, &[("good", "vector"), ("m", "matrix")]).await;
        let [SourceNote::Failed { availability, .. }] = notes(&seen, Kind::PrometheusQuery)[..]
        else {
            panic!("{seen:?}")
        };
        assert_eq!(*availability, expected, "{url}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_prometheus_understands_every_query_and_what_is_not_there_has_no_series() {
    let prometheus = bed::Prometheus::start(&["127.0.0.1:1"]).await;
    let query = |signal: &'static kubestrata::model::signal::Signal| match signal.read {
        Read::Query(query) => Some((signal.name, query)),
        _ => None,
    };
    let queries: Vec<_> = layers::signals().filter_map(query).collect();
    assert!(queries.len() > 15);
    let targets = "observability_targets_down_ratio";
    let seen = bed::eventually(Duration::from_secs(30), "a target was tried", async || {
        let seen = ask(&prometheus.url(), "unused", &queries).await;
        let tried =
            scrapes(&seen).iter().any(|s| *s.meta.name == *targets && !s.samples.is_empty());
        anyhow::ensure!(tried, "{seen:?}");
        Ok(seen)
    })
    .await;
    assert_eq!(unreadable(&seen, Kind::PrometheusQuery), Vec::<String>::new());
    assert!(silent(&seen, Kind::PrometheusQuery).0.is_empty());
    for answer in scrapes(&seen) {
        let values: Vec<f64> = answer.samples.iter().map(|s| s.value).collect();
        let well = if *answer.meta.name == *targets {
            values.iter().all(|v| *v == 1.0)
        } else {
            values.is_empty()
        };
        assert!(well, "{}: {values:?}", answer.meta.name);
    }
}
