//! Does `kill -9` at random moments damage, lose or repeat anything? A process under load, killed again and again.
//!
//! `KUBESTRATA_KILLS=100` kills it as often, `KUBESTRATA_SEED=7` draws other moments.

#![allow(clippy::unwrap_used)]
#![allow(clippy::print_stdout, reason = "the seed, and what was repeated, are worth knowing")]
#![allow(unreachable_pub, reason = "a test binary exports nothing")]

mod bed;
#[path = "kills/load.rs"]
mod load;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bed::{
    Cluster, ClusterOptions, Collector, Kubestrata, LogRecord, Metrics, eventually, objects,
};
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use load::{Episode, Load, NAMESPACE, PODS, PROBED, Random, Truth, now};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

const RESTARTS: &str = "kubestrata_compute_container_restarts_total";
const PROBES: &str = "kubestrata_compute_probe_failures_total";

/// An event is told again only where the daemon was killed this soon after it was told, before it could write that down.
const MOMENT: SignedDuration = SignedDuration::from_millis(1_000);

/// A bad state that is seen by a living daemon for so long is told.
const SEEN: SignedDuration = SignedDuration::from_millis(2_500);

/// Long enough for a machine that has much else to do.
const PATIENCE: Duration = Duration::from_mins(2);

/// A number that the environment gives.
fn given(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// A cluster under load, a collector, and a daemon with a state directory that is killed again and again.
struct Scene {
    cluster: Cluster,
    client: Client,
    collector: Collector,
    state: tempfile::TempDir,
    truth: Arc<Mutex<Truth>>,
    random: Random,
    /// Since when each life was ready, and when it was killed.
    lives: Vec<(Timestamp, Timestamp)>,
    killed: Vec<Timestamp>,
    /// The totals that were seen last.
    totals: BTreeMap<String, f64>,
}

impl Scene {
    async fn new(seed: u64) -> Self {
        let cluster = Cluster::start(&ClusterOptions::bare());
        let client = cluster.client().await;
        let namespace = json!({"metadata": {"name": NAMESPACE}});
        objects::create(&client, "/api/v1/namespaces", &namespace).await;
        let account = json!({"metadata": {"name": "default"}});
        let of_namespace = format!("/api/v1/namespaces/{NAMESPACE}");
        objects::create(&client, &format!("{of_namespace}/serviceaccounts"), &account).await;
        let pods = (0..PODS).map(|i| objects::manual_pod(&format!("p{i}"), "nowhere"));
        objects::create_many(&client, &format!("{of_namespace}/pods"), pods).await;
        let truth = Truth { restarts: vec![0; PODS as usize], ..Truth::default() };
        Self {
            cluster,
            client,
            collector: Collector::start().await,
            state: tempfile::tempdir().unwrap(),
            truth: Arc::new(Mutex::new(truth)),
            random: Random(seed),
            lives: Vec::new(),
            killed: Vec::new(),
            totals: BTreeMap::new(),
        }
    }

    fn directory(&self) -> PathBuf {
        self.state.path().join("state")
    }

    /// A life of the daemon, whose state is saved every second or only when there is something to tell.
    fn start(&mut self) -> Kubestrata {
        let interval = ["1s", "1h"][self.random.below(2) as usize];
        let (endpoint, directory) = (self.collector.grpc_endpoint(), self.directory());
        let env = [
            ("KUBESTRATA_TICK", "1s"),
            ("KUBESTRATA_LAYERS", "compute"),
            ("KUBESTRATA_STATE_INTERVAL", interval),
            ("KUBESTRATA_STATE_DIRECTORY", directory.to_str().unwrap()),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ];
        let kubeconfig = self.cluster.kubeconfig();
        Kubestrata::start_with(&["run", "--kubeconfig", kubeconfig.to_str().unwrap()], &env)
    }

    /// The first life, which sees the beginning of all that is counted.
    async fn begin(&mut self) -> Kubestrata {
        let mut daemon = self.start();
        daemon.wait_ready().await;
        let note = "Readiness probe failed: HTTP probe failed with statuscode: 503";
        for i in 0..PROBED {
            let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/p{i}");
            let pod = objects::get(&self.client, &path).await.unwrap();
            let regarding = json!({"apiVersion": "v1", "kind": "Pod", "namespace": NAMESPACE,
                "name": format!("p{i}"), "uid": pod["metadata"]["uid"]});
            let name = format!("p{i}.probe");
            let event = objects::event(&name, "Warning", "Unhealthy", note, &regarding);
            objects::create_event(&self.client, NAMESPACE, &event).await;
        }
        self.truth.lock().unwrap().probes = vec![1; PROBED as usize];
        eventually(PATIENCE, "probes are counted", async || {
            let counted = daemon.metrics().await?.sum(PROBES, &[("namespace", NAMESPACE)]);
            anyhow::ensure!(counted == PROBED as f64, "{counted}");
            Ok(())
        })
        .await;
        daemon
    }

    /// Lives for a random while, is killed, and stays dead for a random while.
    async fn live_and_die(&mut self, mut daemon: Kubestrata) {
        if self.random.below(4) == 0 {
            let early = self.random.millis(1_000);
            sleep(early).await;
        } else {
            daemon.wait_ready_within(PATIENCE).await;
            let ready = now();
            self.hold_totals(&daemon.metrics().await.unwrap());
            let life = self.random.millis(5_000);
            sleep(life).await;
            self.hold_totals(&daemon.metrics().await.unwrap());
            if self.random.below(2) == 0 {
                self.wait_for_news(&daemon).await;
            }
            self.lives.push((ready, now()));
        }
        daemon.kill9();
        self.killed.push(now());
        hold_log(&daemon.log());
        hold_files(&self.directory());
        let dead = self.random.millis(1_500);
        sleep(dead).await;
    }

    /// Waits until something is about to be told, and a few milliseconds: while it is saved, sent or noted as told.
    async fn wait_for_news(&mut self, daemon: &Kubestrata) {
        let news = || daemon.log().matches("INFO finding ").count();
        let before = news();
        let end = Instant::now() + Duration::from_secs(5);
        while news() == before && Instant::now() < end {
            sleep(Duration::from_millis(1)).await;
        }
        let pause = self.random.millis(30);
        sleep(pause).await;
    }

    /// No total falls; why something restarted may come to be unknown.
    fn hold_totals(&mut self, metrics: &Metrics) {
        let mut totals: BTreeMap<String, f64> = BTreeMap::new();
        for family in [RESTARTS, PROBES] {
            for series in metrics.series(family) {
                let about = format!("{family} {}", series.label("workload"));
                *totals.entry(about).or_default() += series.value;
            }
        }
        for (about, before) in &self.totals {
            let total = totals.get(about).copied().unwrap_or(0.0);
            assert!(total >= *before, "{about} fell from {before} to {total}");
        }
        self.totals = totals;
    }

    fn findings(&self) -> Vec<LogRecord> {
        let is_finding = |r: &LogRecord| r.event_name.starts_with("kubestrata.finding.");
        self.collector.records().into_iter().filter(is_finding).collect()
    }

    /// Whether the daemon was killed in the moment after this was told, and this was told again after.
    fn was_killed_between(&self, first: &LogRecord, again: &LogRecord) -> bool {
        let (first, again) = (told_at(first), told_at(again));
        self.killed.iter().any(|at| *at >= first && *at <= again && *at <= first + MOMENT)
    }

    /// What receivers believe to be so, by all that they were told.
    fn believed(&self) -> BTreeSet<String> {
        let mut open = BTreeSet::new();
        for record in self.findings() {
            match opens(&record) {
                true => open.insert(id(&record)),
                false => open.remove(&id(&record)),
            };
        }
        open
    }

    /// Everything is told once, but for what was told in the moment before a kill. Gives how much was repeated.
    fn hold_told_once(&self) -> usize {
        let mut repeated = 0;
        let mut last: BTreeMap<String, LogRecord> = BTreeMap::new();
        let mut of_episodes: BTreeMap<(String, bool), LogRecord> = BTreeMap::new();
        for record in self.findings() {
            let before = last.insert(id(&record), record.clone());
            let expected = before.as_ref().is_none_or(|before| opens(before) != opens(&record));
            let begins = before.is_some() || opens(&record);
            assert!(begins, "the end of what nobody was told of: {record:?}");
            // A node's disk is full once only.
            let same = match episode(&record) {
                Some(_) => of_episodes.insert((id(&record), opens(&record)), record.clone()),
                None => before.filter(|_| !expected),
            };
            if let Some(same) = same {
                repeated += 1;
                assert!(self.was_killed_between(&same, &record), "told twice: {same:?} {record:?}");
            }
        }
        repeated
    }

    /// What a living daemon saw for long enough was told, and its end too.
    fn hold_told_at_all(&self) {
        let of_episodes = |opened: bool| -> BTreeSet<String> {
            let records = self.findings().into_iter().filter(|r| opens(r) == opened);
            records.filter_map(|r| episode(&r)).collect()
        };
        let (opened, closed) = (of_episodes(true), of_episodes(false));
        let truth = self.truth.lock().unwrap();
        let mut long = 0;
        for (name, Episode { from, until }) in &truth.episodes {
            let seen = self.lives.iter().map(|(ready, killed)| {
                let end = until.map_or(*killed, |until| until.min(*killed));
                end.duration_since(*ready.max(from))
            });
            let seen = seen.max().unwrap_or_default();
            long += usize::from(seen >= SEEN);
            assert!(seen < SEEN || opened.contains(name), "{name} was never told");
            assert!(until.is_some() || opened.contains(name), "{name} is not told");
            let is_over = until.is_some() && opened.contains(name);
            assert_eq!(closed.contains(name), is_over, "the end of {name}");
        }
        let (all, told) = (truth.episodes.len(), opened.len());
        assert!(long > 0, "nobody looked for long at any of {all}");
        println!("{all} episodes, {long} of them seen for long, {told} told");
    }
}

fn id(record: &LogRecord) -> String {
    record.attributes["kubestrata.finding.id"].as_str().unwrap().to_owned()
}

fn opens(record: &LogRecord) -> bool {
    record.event_name == "kubestrata.finding.opened"
}

/// The node whose disk is full, in what is told of one.
fn episode(record: &LogRecord) -> Option<String> {
    let is_condition = record.attributes["kubestrata.signal"] == "compute_node_condition";
    is_condition.then(|| record.attributes["kubestrata.subject.name"].as_str().unwrap().to_owned())
}

fn told_at(record: &LogRecord) -> Timestamp {
    let nanos = record.raw["observedTimeUnixNano"].as_str().unwrap().parse().unwrap();
    Timestamp::from_nanosecond(nanos).unwrap()
}

/// It went on from what the life before had saved, and nothing went wrong.
fn hold_log(log: &str) {
    for word in ["set aside", "starting afresh", "panicked", "could not"] {
        assert!(!log.contains(word), "{word}: {log}");
    }
}

/// What a killed daemon leaves does not pile up.
fn hold_files(directory: &Path) {
    for file in std::fs::read_dir(directory).unwrap() {
        let name = file.unwrap().file_name();
        let known = ["lock", "state", "state.new", "told", "told.new"];
        assert!(known.iter().any(|known| name == *known), "{} is left", name.display());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_moments_under_load_it_damages_loses_and_repeats_nothing() {
    let seed = given("KUBESTRATA_SEED", 1);
    let kills = given("KUBESTRATA_KILLS", 15);
    println!("KUBESTRATA_SEED={seed} KUBESTRATA_KILLS={kills}");
    let mut scene = Scene::new(seed).await;
    let mut daemon = scene.begin().await;
    let done = Arc::new(AtomicBool::new(false));
    let (client, truth) = (scene.client.clone(), Arc::clone(&scene.truth));
    let load = tokio::spawn(Load::new(client, !seed, truth).go_on(Arc::clone(&done)));
    daemon.kill9();
    for _ in 0..kills {
        daemon = scene.start();
        scene.live_and_die(daemon).await;
    }
    done.store(true, Ordering::Relaxed);
    load.await.unwrap();

    let mut daemon = scene.start();
    daemon.wait_ready_within(PATIENCE).await;
    let of = [("namespace", NAMESPACE)];
    let (restarts, probes) = {
        let truth = scene.truth.lock().unwrap();
        (truth.restarts.iter().sum::<u64>(), u64::from(truth.probes.iter().sum::<u32>()))
    };
    let as_done = async |daemon: &Kubestrata| {
        let metrics = daemon.metrics().await?;
        let counted = [RESTARTS, PROBES].map(|family| metrics.sum(family, &of) as u64);
        anyhow::ensure!(counted == [restarts, probes], "{counted:?} of {restarts}, {probes}");
        let open = daemon.json("/api/v1/findings").await?;
        let id = |finding: &Value| finding["id"].as_str().unwrap().to_owned();
        let open = open.as_array().unwrap().iter().map(id).collect();
        let believed = scene.believed();
        anyhow::ensure!(believed == open, "told {believed:?}, so is {open:?}");
        Ok(())
    };
    // What was mended last is over after 10 s.
    sleep(Duration::from_secs(13)).await;
    eventually(PATIENCE, "all is counted and told", async || as_done(&daemon).await).await;
    bed::throughout(Duration::from_secs(3), "it stays so", async || as_done(&daemon).await).await;
    scene.hold_totals(&daemon.metrics().await.unwrap());
    hold_log(&daemon.log());
    assert!(daemon.terminate().await.success());
    let repeated = scene.hold_told_once();
    scene.hold_told_at_all();
    println!("{restarts} restarts and {probes} failed probes counted, {repeated} events repeated");
}
