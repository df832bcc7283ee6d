//! Does trouble with the API server look as it does with a real one, and pass?

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Error;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};

use super::Bench;
use crate::sim::Trouble;

const MINUTE: Duration = Duration::from_mins(1);
const SECOND: Duration = Duration::from_secs(1);

impl Bench {
    /// Trouble from now on, for five minutes.
    fn suffer(&self, trouble: Trouble) {
        let now = self.clock.now();
        self.cluster.service().trouble(trouble, now, now + 5 * MINUTE);
    }

    async fn list(&self) -> Result<usize, Error> {
        let pods = Api::<Pod>::all(self.cluster.client()).list(&ListParams::default()).await;
        pods.map(|l| l.items.len())
    }

    async fn code(&self) -> u16 {
        match self.list().await {
            Ok(_) => 200,
            Err(Error::Api(status)) => status.code,
            Err(_) => 0,
        }
    }
}

#[tokio::test]
async fn requests_fail_for_as_long_as_the_trouble_lasts() {
    let bench = Bench::small();
    let cases = [
        (Trouble::Outage, 0),
        (Trouble::Throttled { share: 1.0, retry_after: 3 * SECOND }, 429),
        (Trouble::Forbidden { resource: "pods".into() }, 403),
        (Trouble::Forbidden { resource: "nodes".into() }, 200),
        (Trouble::Failing { share: 1.0 }, 500),
        (Trouble::Unavailable { share: 1.0 }, 503),
        (Trouble::Unknown, 401),
        (Trouble::Withdrawn { resource: "pods".into() }, 404),
        (Trouble::Withdrawn { resource: "pods.example.com".into() }, 200),
    ];
    for (trouble, code) in cases {
        assert_eq!(bench.code().await, 200, "before {trouble:?}");
        bench.suffer(trouble.clone());
        assert_eq!(bench.code().await, code, "{trouble:?}");
        bench.pass(5 * MINUTE);
        assert_eq!(bench.code().await, 200, "after {trouble:?}");
    }
    bench.suffer(Trouble::Outage);
    bench.cluster.service().calm();
    assert_eq!(bench.code().await, 200);
}

#[tokio::test]
async fn who_is_sent_away_is_told_when_to_come_back() {
    let bench = Bench::small();
    bench.suffer(Trouble::Throttled { share: 1.0, retry_after: 3 * SECOND });
    let request = http::Request::get("/api/v1/pods").body(http_body_util::Empty::new());
    let request: http::Request<http_body_util::Empty<bytes::Bytes>> = request.expect("a request");
    let answer = tower::ServiceExt::oneshot(bench.cluster.service(), request).await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.headers()["retry-after"], "3");
}

#[tokio::test]
async fn a_slow_answer_comes_when_its_time_has_come() {
    let bench = Bench::small();
    bench.suffer(Trouble::Slow { median: 10 * SECOND });
    let mut answer = pin!(bench.list());
    assert!(tokio::time::timeout(Duration::from_millis(30), answer.as_mut()).await.is_err());
    let mut waited = Duration::ZERO;
    while tokio::time::timeout(Duration::from_millis(20), answer.as_mut()).await.is_err() {
        bench.pass(SECOND);
        waited += SECOND;
        assert!(waited < 2 * MINUTE, "no answer");
    }
    assert!(waited >= SECOND);
}

/// What a watch of nodes delivers while time passes: numbers of changes and the way it ended.
async fn watched(bench: &Bench, trouble: Trouble) -> (Vec<(String, String)>, String) {
    let api = Api::<Node>::all(bench.cluster.client());
    let params = WatchParams::default().timeout(240);
    let mut events = pin!(api.watch(&params, "0").await.expect("a stream"));
    let mut seen = Vec::new();
    for step in 0..60 {
        while let Ok(event) = tokio::time::timeout(Duration::from_millis(10), events.next()).await {
            match event {
                Some(Ok(WatchEvent::Added(node) | WatchEvent::Modified(node))) => {
                    let metadata = node.metadata;
                    seen.push((
                        metadata.name.unwrap_or_default(),
                        metadata.resource_version.unwrap_or_default(),
                    ));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return (seen, error.to_string()),
                None => return (seen, "end".to_owned()),
            }
        }
        if step == 2 {
            for node in ["node-a1", "node-b1", "node-c1", "node-a2", "node-b2", "node-c2"] {
                let label = serde_json::json!({"metadata": {"labels": {"touched": "yes"}}});
                let path = format!("/api/v1/nodes/{node}");
                bench.ask("PATCH", &path, "application/json", &label).await;
            }
            bench.suffer(trouble.clone());
        }
        bench.pass(10 * SECOND);
    }
    panic!("the watch never ended");
}

#[tokio::test]
async fn watches_break_and_end_as_connections_do() {
    for (trouble, clean) in [
        (Trouble::Outage, false),
        (Trouble::CutWatches { after: SECOND }, false),
        (Trouble::Withdrawn { resource: "nodes".into() }, true),
    ] {
        let bench = Bench::small();
        let began = bench.clock.now();
        let (seen, end) = watched(&bench, trouble.clone()).await;
        assert!(seen.len() >= 6, "{trouble:?}");
        assert_eq!(end == "end", clean, "{trouble:?}: {end}");
        let lasted = bench.clock.now().duration_since(began).as_secs();
        assert!(lasted < 200, "{trouble:?}: {lasted} s");
    }
}

#[tokio::test]
async fn events_come_twice_and_in_another_order_but_each_object_in_its_own() {
    let bench = Bench::small();
    let (plain, _) = watched(&bench, Trouble::Duplicated { share: 0.0 }).await;
    let bench = Bench::small();
    let (twice, _) = watched(&bench, Trouble::Duplicated { share: 1.0 }).await;
    assert!(twice.len() > plain.len(), "{} {}", twice.len(), plain.len());
    let bench = Bench::small();
    let (mixed, _) = watched(&bench, Trouble::Reordered).await;
    assert_ne!(mixed, plain);
    let of = |all: &[(String, String)], name: &str| {
        all.iter().filter(|(n, _)| n == name).map(|(_, v)| v.clone()).collect::<Vec<_>>()
    };
    for (name, _) in &plain {
        assert_eq!(of(&mixed, name), of(&plain, name));
        let mut once = of(&twice, name);
        once.dedup();
        assert_eq!(once, of(&plain, name));
    }
}

#[tokio::test]
async fn each_server_has_its_own_troubles() {
    let bench = Bench::small();
    bench.suffer(Trouble::Outage);
    assert_eq!(bench.code().await, 0);
    let other = kube::Client::new(bench.cluster.server(1), "default");
    assert!(Api::<Pod>::all(other).list(&ListParams::default()).await.is_ok());
}

#[tokio::test]
async fn a_stalled_watch_says_afterwards_what_happened() {
    let bench = Bench::small();
    let (plain, _) = watched(&bench, Trouble::Duplicated { share: 0.0 }).await;
    let bench = Bench::small();
    let api = Api::<Node>::all(bench.cluster.client());
    let params = WatchParams::default().timeout(240);
    let mut events = pin!(api.watch(&params, "0").await.expect("a stream"));
    bench.suffer(Trouble::Stalled);
    bench.pass(MINUTE);
    let wait = Duration::from_millis(10);
    assert!(tokio::time::timeout(wait, events.next()).await.is_err(), "nothing is said");
    bench.pass(5 * MINUTE);
    assert!(tokio::time::timeout(wait, events.next()).await.is_ok());
    let bench = Bench::small();
    let (late, _) = watched(&bench, Trouble::Stalled).await;
    assert!(late.starts_with(&plain), "all of it comes, in its order: {late:?}");
}

/// What a watch from the newest version says of changes before it.
async fn said_again(changes: usize) -> Vec<String> {
    let bench = Bench::small();
    for value in ["a", "b", "c"] {
        let label = serde_json::json!({"metadata": {"labels": {"touched": value}}});
        bench.ask("PATCH", "/api/v1/nodes/node-a1", "application/json", &label).await;
    }
    let api = Api::<Node>::all(bench.cluster.client());
    let version = api.list(&ListParams::default()).await.expect("a list").metadata.resource_version;
    let version = version.expect("a version");
    for value in ["d", "e", "f"] {
        let label = serde_json::json!({"metadata": {"labels": {"touched": value}}});
        bench.ask("PATCH", "/api/v1/nodes/node-a1", "application/json", &label).await;
    }
    let node = api.get("node-a1").await.expect("a node");
    let newest = node.metadata.resource_version.expect("a version");
    assert_ne!(version, newest);
    bench.suffer(Trouble::Behind { changes });
    let mut events = pin!(api.watch(&WatchParams::default(), &newest).await.expect("a stream"));
    let mut labels = Vec::new();
    let wait = Duration::from_millis(10);
    while let Ok(Some(Ok(WatchEvent::Modified(node)))) =
        tokio::time::timeout(wait, events.next()).await
    {
        labels.extend(node.metadata.labels.unwrap_or_default().remove("touched"));
    }
    labels
}

#[tokio::test]
async fn a_watch_behind_says_again_what_was_said_but_nothing_from_before_the_list() {
    assert_eq!(said_again(2).await, ["e", "f"]);
    assert_eq!(said_again(200).await, ["d", "e", "f"]);
}

#[tokio::test]
async fn nothing_can_be_resumed_in_a_storm() {
    let bench = Bench::small();
    let api = Api::<Pod>::all(bench.cluster.client());
    let page = api.list(&ListParams::default().limit(10)).await.expect("a page");
    let version = page.metadata.resource_version.clone().expect("a version");
    bench.suffer(Trouble::Expired { share: 1.0 });
    let token = page.metadata.continue_.clone().expect("more");
    match api.list(&ListParams::default().continue_token(&token)).await {
        Err(Error::Api(status)) => assert_eq!(status.code, 410),
        other => panic!("{:?}", other.map(|l| l.items.len())),
    }
    let mut events = pin!(api.watch(&WatchParams::default(), &version).await.expect("a stream"));
    match events.next().await {
        Some(Ok(WatchEvent::Error(status))) => assert_eq!(status.code, 410),
        other => panic!("{other:?}"),
    }
}
