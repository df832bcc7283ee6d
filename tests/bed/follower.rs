//! What is told of a real API server when time has passed? The real sources, pipeline and `/metrics`, ahead of the real
//! time by so much that dwells hold.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::SignedDuration;
use kube::{Client, Config};
use kubestrata::clock::Clock;
use kubestrata::config::Settings;
use kubestrata::exports::http::{Shared, router};
use kubestrata::model::Time;
use kubestrata::model::kind::Kind;
use kubestrata::model::layer::Layer;
use kubestrata::model::source::{Availability, SourceNote};
use kubestrata::model::world::{Delta, World};
use kubestrata::pipeline::{Pipeline, State};
use kubestrata::sources::{self, KubeletAccess, Now, WatchOptions};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Metrics, eventually, http};

/// The time now.
pub fn real_now() -> Time {
    #[expect(clippy::disallowed_methods, reason = "the API server beside us lives in real time")]
    jiff::Timestamp::now()
}

/// A pipeline that follows the API server and serves what it tells. It ends with the test's runtime.
pub struct Follower {
    /// How many seconds it looks ahead of the real time.
    ahead: Arc<AtomicI64>,
    pipeline: Pipeline,
    world: World,
    inbox: mpsc::Receiver<Vec<Delta>>,
    shared: Shared,
    url: String,
    _tasks: JoinSet<()>,
}

impl Follower {
    /// Starts one for these layers, and waits until it has seen everything once.
    pub async fn start(client: &Client, layers: Vec<Layer>, ahead: SignedDuration) -> Self {
        let opt_in = vec![Kind::HelmSecret, Kind::ConfigMap, Kind::KubeletMetrics];
        let settings = Settings { layers, opt_in, ..Settings::default() };
        let mut pipeline = Pipeline::new(settings.clone(), State::default());
        let (out, inbox) = mpsc::channel(256);
        let nowhere = Config::new(::http::Uri::from_static("https://127.0.0.1:1"));
        let ahead = Arc::new(AtomicI64::new(ahead.as_secs()));
        let by = Arc::clone(&ahead);
        let now: Now =
            Arc::new(move || real_now() + SignedDuration::from_secs(by.load(Ordering::Relaxed)));
        let options = WatchOptions {
            discovery: Duration::from_secs(1),
            longest_interval: Duration::from_secs(1),
            kubelets: Some(KubeletAccess::Network(Box::new(nowhere))),
            kubelet_skip_verify: true,
            ..WatchOptions::new(pipeline.kinds(), now)
        };
        let tasks = sources::start(client, &options, &out);
        let tasks = tasks.unwrap_or_else(|error| panic!("no sources: {error}"));
        let world = World::default();
        let first = pipeline.step(&world, real_now());
        let shared = Shared::new(first, &settings, Clock::system());
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.unwrap_or_else(|error| panic!("no port: {error}"));
        let port = listener.local_addr().map_or(0, |address| address.port());
        let url = format!("http://127.0.0.1:{port}");
        tokio::spawn(axum::serve(listener, router(shared.clone())).into_future());
        let mut this = Self { ahead, pipeline, world, inbox, shared, url, _tasks: tasks };
        eventually(Duration::from_mins(1), "the sources have synced", async || {
            this.absorb(Duration::from_millis(500)).await;
            this.pipeline.ready(&this.world)
        })
        .await;
        this
    }

    /// Takes in what comes within `window`, as if it were now.
    pub async fn absorb(&mut self, window: Duration) {
        self.absorb_at(window, SignedDuration::ZERO).await;
    }

    async fn absorb_at(&mut self, window: Duration, ahead: SignedDuration) {
        let end = tokio::time::Instant::now() + window;
        while let Ok(Some(batch)) = tokio::time::timeout_at(end, self.inbox.recv()).await {
            for delta in batch {
                self.pipeline.absorb(&mut self.world, delta, real_now() + ahead);
            }
        }
    }

    /// Looks further ahead from now on.
    pub fn let_pass(&self, time: SignedDuration) {
        self.ahead.fetch_add(time.as_secs(), Ordering::Relaxed);
    }

    /// How the source of a kind is.
    pub fn availability(&self, kind: Kind) -> Availability {
        self.world.source(kind).availability
    }

    /// What `/metrics` says when what is there now has been seen for as long as it looks ahead.
    pub async fn metrics(&mut self) -> Metrics {
        // Long enough for what is polled: a state that is first seen ahead of time would begin there.
        self.absorb(Duration::from_millis(1500)).await;
        self.pipeline.step(&self.world, real_now());
        // Nodes and the like are left alone while they are young: what is told of grown ones begins here.
        let ahead = SignedDuration::from_secs(self.ahead.load(Ordering::Relaxed));
        let grown = ahead - SignedDuration::from_mins(20);
        self.all_quiet(grown);
        self.pipeline.step(&self.world, real_now() + grown);
        self.absorb_at(Duration::from_millis(300), ahead).await;
        self.all_quiet(ahead);
        let report = self.pipeline.step(&self.world, real_now() + ahead);
        self.shared.publish(Arc::new(report), Duration::ZERO);
        let text = http::get(&format!("{}/metrics", self.url)).await;
        Metrics::parse(&text.unwrap_or_else(|error| panic!("no answer: {error:?}")))
    }

    /// The subjects of the findings that it told last, each with its signal.
    pub async fn findings(&self) -> BTreeSet<String> {
        let text = http::get(&format!("{}/api/v1/findings", self.url)).await;
        let text = text.unwrap_or_else(|error| panic!("no answer: {error:?}"));
        let findings = serde_json::from_str::<Vec<Value>>(&text);
        let findings = findings.unwrap_or_else(|error| panic!("no findings: {error}: {text}"));
        let told = |f: &Value| format!("{} {}", f["signal"], f["subject"]);
        findings.iter().map(told).collect()
    }

    /// A watch that is quiet says so every ten seconds, and a long time is skipped.
    fn all_quiet(&mut self, ahead: SignedDuration) {
        for kind in self.pipeline.kinds() {
            if self.availability(kind) == Availability::Served {
                let note = Delta::Note(kind, SourceNote::Alive);
                self.pipeline.absorb(&mut self.world, note, real_now() + ahead);
            }
        }
    }

    /// Metric and labels of a layer's own series on `/metrics`.
    pub async fn exposition(&mut self, layer: Layer) -> BTreeSet<String> {
        series(&self.metrics().await.text, layer)
    }
}

/// Metric and labels of a layer's own series.
pub fn series(text: &str, layer: Layer) -> BTreeSet<String> {
    let mine = format!("kubestrata_{layer}_");
    let lines = text.lines().filter(|l| l.starts_with(&mine));
    lines.map(|l| l.rsplit_once(' ').map_or(l, |(series, _)| series).to_owned()).collect()
}
