//! Do watches deliver what kube's watcher expects?

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::runtime::watcher::{self, Config, watcher};
use kube::{Error, ResourceExt};

use super::Bench;

const MINUTES: Duration = Duration::from_mins(1);

/// Follows a watcher until it is quiet, keeping what it says is there.
#[derive(Default)]
struct Follower {
    pods: BTreeMap<String, Pod>,
    initial: BTreeMap<String, Pod>,
    relists: usize,
}

impl Follower {
    fn apply(&mut self, event: watcher::Event<Pod>) {
        match event {
            watcher::Event::Init => self.initial.clear(),
            watcher::Event::InitApply(pod) => drop(self.initial.insert(name(&pod), pod)),
            watcher::Event::InitDone => {
                self.relists += 1;
                self.pods = std::mem::take(&mut self.initial);
            }
            watcher::Event::Apply(pod) => drop(self.pods.insert(name(&pod), pod)),
            watcher::Event::Delete(pod) => drop(self.pods.remove(&name(&pod))),
        }
    }
}

fn name(pod: &Pod) -> String {
    format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any())
}

/// The pods that the API lists, to compare with what a watcher saw.
async fn listed(bench: &Bench) -> BTreeMap<String, Pod> {
    bench.all::<Pod>().await.into_iter().map(|pod| (name(&pod), pod)).collect()
}

async fn follow(bench: &Bench, config: Config, steps: u32, step: Duration) -> Follower {
    let mut follower = Follower::default();
    let mut events = pin!(watcher(Api::<Pod>::all(bench.cluster.client()), config));
    for _ in 0..=steps {
        while let Ok(Some(event)) =
            tokio::time::timeout(Duration::from_millis(30), events.next()).await
        {
            match event {
                Ok(event) => follower.apply(event),
                Err(watcher::Error::WatchError(status)) => assert_eq!(status.code, 410),
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(follower.pods, listed(bench).await);
        bench.pass(step);
    }
    follower
}

#[tokio::test]
async fn a_watcher_sees_the_list_then_changes_and_resumes() {
    let bench = Bench::new("crashloop");
    // Longer than the watch's own timeout in all, so it has to resume.
    let follower = follow(&bench, Config::default().timeout(120), 6, MINUTES).await;
    assert_eq!(follower.relists, 1);
}

#[tokio::test]
async fn a_streaming_list_ends_with_its_bookmark() {
    let bench = Bench::new("crashloop");
    let follower = follow(&bench, Config::default().streaming_lists(), 6, MINUTES).await;
    assert_eq!(follower.relists, 1);
}

#[tokio::test]
async fn a_watcher_relists_when_its_past_is_forgotten() {
    let bench = Bench::with_memory("crashloop", 20);
    let follower = follow(&bench, Config::default(), 3, 10 * MINUTES).await;
    assert!(follower.relists > 1, "{}", follower.relists);
}

#[tokio::test]
async fn a_version_from_before_memory_is_gone() {
    let bench = Bench::with_memory("healthy", 20);
    let api = Api::<Node>::all(bench.cluster.client());
    let mut events = pin!(api.watch(&WatchParams::default(), "1").await.expect("a stream"));
    match events.next().await {
        Some(Ok(WatchEvent::Error(status))) => {
            assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
        }
        other => panic!("{other:?}"),
    }
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn bookmarks_come_about_every_minute_and_the_watch_ends_in_time() {
    let bench = Bench::small();
    let api = Api::<Node>::all(bench.cluster.client());
    let version = api.list(&ListParams::default()).await.expect("a list").metadata.resource_version;
    let params = WatchParams::default().timeout(200);
    let mut events =
        pin!(api.watch(&params, &version.expect("a version")).await.expect("a stream"));
    let mut bookmarks = 0;
    for _ in 0..20 {
        bench.pass(Duration::from_secs(10));
        while let Ok(Some(event)) =
            tokio::time::timeout(Duration::from_millis(20), events.next()).await
        {
            bookmarks += usize::from(matches!(event, Ok(WatchEvent::Bookmark(_))));
        }
    }
    // Each minute, and two seconds before the end.
    assert_eq!(bookmarks, 4);
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn a_list_in_pages_shows_one_moment_and_expires() {
    let bench = Bench::new("crashloop");
    let before = listed(&bench).await;
    let api = Api::<Pod>::all(bench.cluster.client());
    let mut page = api.list(&ListParams::default().limit(10)).await.expect("a page");
    assert_eq!(page.metadata.remaining_item_count, Some(before.len() as i64 - 10));
    bench.pass(4 * MINUTES);
    let mut all = std::mem::take(&mut page.items);
    let first = page.metadata.continue_.clone().expect("more");
    while let Some(token) = page.metadata.continue_.take().filter(|t| !t.is_empty()) {
        page = api
            .list(&ListParams::default().limit(30).continue_token(&token))
            .await
            .expect("a page");
        all.append(&mut page.items);
    }
    let all: BTreeMap<_, _> = all.into_iter().map(|pod| (name(&pod), pod)).collect();
    assert!(all == before);
    bench.pass(6 * MINUTES);
    match api.list(&ListParams::default().continue_token(&first)).await {
        Err(Error::Api(status)) => assert_eq!(status.code, 410),
        other => panic!("{:?}", other.map(|l| l.items.len())),
    }
}

#[tokio::test]
async fn what_is_not_served_is_refused_with_its_reason() {
    let bench = Bench::small();
    let client = bench.cluster.client();
    let code = |outcome: Result<String, Error>| match outcome {
        Err(Error::Api(status)) => status.code,
        other => panic!("{other:?}"),
    };
    let cases = [
        ("/api/v1/widgets", 404),
        ("/apis/example.com/v1", 404),
        ("/api/v1/namespaces/shop/pods/none", 404),
        ("/api/v1/pods?fieldSelector=spec.color%3Dx", 400),
        ("/api/v1/pods?labelSelector=app%20of%20(x)", 400),
        ("/api/v1/pods?limit=many", 400),
        ("/api/v1/pods?resourceVersion=999999999", 504),
        ("/api/v1/pods?watch=true&sendInitialEvents=true", 422),
    ];
    for (path, expected) in cases {
        let request = http::Request::get(path).body(Vec::new()).expect("a request");
        assert_eq!(code(client.request_text(request).await), expected, "{path}");
    }
    let post = http::Request::post("/api/v1/nodes/node-a1").body(Vec::new()).expect("a request");
    assert_eq!(code(client.request_text(post).await), 405);
}

#[tokio::test]
async fn discovery_finds_what_is_served() {
    let bench = Bench::small();
    let client = bench.cluster.client();
    assert_eq!(client.apiserver_version().await.expect("a version").git_version, "v1.37.2");
    let discovery = kube::discovery::Discovery::new(client).run().await.expect("discovery");
    let mut kinds: Vec<_> = discovery
        .groups()
        .flat_map(kube::discovery::ApiGroup::recommended_resources)
        .map(|(resource, _)| format!("{}/{}", resource.group, resource.kind))
        .collect();
    kinds.sort();
    assert_eq!(kinds.len(), crate::sim::kind::SERVED.len());
    assert!(
        kinds.contains(&"events.k8s.io/Event".to_owned()) && kinds.contains(&"/Event".to_owned())
    );
}
