//! How long do fourteen days of a 50-node, 2,000-pod cluster take through the whole daemon, and where does the time go?
//!
//! `cargo bench --bench fourteen_days` plays them for the scenarios `healthy`, `life` and `all`: the cluster alone, then with the
//! sources that follow it, then with the pipeline, which has a thread of its own. `KUBESTRATA_BENCH_DAYS` (14) makes it
//! shorter; `KUBESTRATA_BENCH_SCENARIO` picks one; `KUBESTRATA_BENCH_WHOLE=1` leaves the parts out;
//! `KUBESTRATA_BENCH_OPT_IN=1` reads what is read on demand too: each kubelet, Helm's Secrets, ConfigMaps. Seconds are those of
//! the processor, which grow less on a machine with other work, with those of the wall behind them; to found the cluster
//! is part of each. What each signal costs is measured on the world as it is after an hour.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use kubestrata::clock::Clock;
use kubestrata::config::Settings;
use kubestrata::daemon::{self, Ticker};
use kubestrata::evaluate::{self, START, play};
use kubestrata::model::finding::Verdicts;
use kubestrata::model::reading::Readings;
use kubestrata::model::signal::Read;
use kubestrata::model::view::View;
use kubestrata::model::world::World;
use kubestrata::pipeline::{Pipeline, State};
use kubestrata::sim::{Cluster, Scenario, Shape};
use kubestrata::sources::{self, Connection, KubeletAccess};

const SHAPE: Shape = Shape { nodes: 50, pods: 2000, seed: 1 };

fn main() {
    // `cargo test --benches` runs benches too, and this one is not a test.
    if !std::env::args().any(|a| a == "--bench") {
        return;
    }
    let days = std::env::var("KUBESTRATA_BENCH_DAYS").map_or(14.0, |d| d.parse().unwrap());
    let length = Duration::from_secs_f64(days * 86_400.0);
    let only = std::env::var("KUBESTRATA_BENCH_SCENARIO").ok();
    let whole = std::env::var("KUBESTRATA_BENCH_WHOLE").is_ok();
    let opted = std::env::var("KUBESTRATA_BENCH_OPT_IN").is_ok();
    let settings = if opted { evaluate::settings() } else { Settings::default() };
    println!(
        "| {days} days, {} nodes, {} pods | ticks | CPU s | on other threads | wall s |",
        SHAPE.nodes, SHAPE.pods
    );
    println!("|---|---|---|---|---|");
    let took = timed(|| cluster_alone(Scenario::builtin("healthy").unwrap(), Duration::ZERO));
    println!("| to found the cluster | | {took} |");
    let names = ["healthy", "life", "all"];
    for name in names.into_iter().filter(|n| only.as_ref().is_none_or(|o| o == n)) {
        let scenario = || Scenario::builtin(name).unwrap();
        if !whole {
            let took = timed(|| cluster_alone(scenario(), length));
            println!("| {name}: cluster alone | | {took} |");
            let mut batches = 0;
            let took = timed(|| batches = followed(scenario(), &settings, length));
            println!("| {name}: and sources, {batches} batches | | {took} |");
        }
        let (mut ticks, mut notices) = (0, 0);
        let took = timed(|| {
            let observe = |report: &kubestrata::model::report::Report| {
                ticks += 1;
                notices += report.notices.len();
            };
            play(SHAPE, scenario(), &settings, length, observe).unwrap();
        });
        println!("| {name}: and pipeline, {notices} notices | {ticks} | {took} |");
    }
    by_signal(&settings);
}

/// What work took, in seconds: of the processor on this thread, the same on others, and of the wall.
struct Took {
    here: f64,
    elsewhere: f64,
    wall: f64,
}

impl std::fmt::Display for Took {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} | {:.1} | {:.1}", self.here, self.elsewhere, self.wall)
    }
}

fn timed(work: impl FnOnce()) -> Took {
    let (begun, thread, process) = (Instant::now(), of_thread(), of_process());
    work();
    let (here, all) = (of_thread() - thread, of_process() - process);
    Took { here, elsewhere: (all - here).max(0.0), wall: begun.elapsed().as_secs_f64() }
}

/// CPU seconds of this thread so far, user and system.
fn of_thread() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1e9
}

/// CPU seconds of this process so far, user and system, with its threads that have ended (proc_pid_stat(5)).
fn of_process() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit_once(") ").unwrap().1.split_whitespace();
    // In ticks, a hundredth of a second on every Linux of today.
    fields.skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

fn cluster_alone(scenario: Scenario, length: Duration) {
    runtime().block_on(async {
        let cluster = Arc::new(Cluster::new(SHAPE, scenario, Clock::of_timers(START)));
        let _ = tokio::time::timeout(length, cluster.run()).await;
    });
}

/// Plays with a pipeline that is asked nothing: how many batches of changes come.
fn followed(scenario: Scenario, settings: &Settings, length: Duration) -> usize {
    runtime().block_on(async {
        let clock = Clock::of_timers(START);
        let cluster = Arc::new(Cluster::new(SHAPE, scenario, clock.clone()));
        let client = cluster.client();
        let kubelets = Some(KubeletAccess::Within(cluster.kubelets()));
        let connection = Connection { client, server: String::new(), kubelets };
        let pipeline = Pipeline::new(settings.clone(), State::default());
        let options = daemon::watch_options(&pipeline, settings, &clock, &connection);
        let (changes, mut inbox) = tokio::sync::mpsc::channel(64);
        let _sources = sources::start(&connection.client, &options, &changes).unwrap();
        let _life = tokio::spawn(cluster.run());
        let mut batches = 0;
        let drain = async {
            while inbox.recv().await.is_some() {
                batches += 1;
            }
        };
        let _ = tokio::time::timeout(length, drain).await;
        batches
    })
}

/// The world after an hour with faults.
fn world(settings: &Settings) -> World {
    runtime().block_on(async {
        let clock = Clock::of_timers(START);
        let scenario = Scenario::builtin("all").unwrap();
        let cluster = Arc::new(Cluster::new(SHAPE, scenario, clock.clone()));
        let client = cluster.client();
        let kubelets = Some(KubeletAccess::Within(cluster.kubelets()));
        let connection = Connection { client, server: String::new(), kubelets };
        let pipeline = Pipeline::new(settings.clone(), State::default());
        let options = daemon::watch_options(&pipeline, settings, &clock, &connection);
        let (mut ticker, changes) = Ticker::new(pipeline, settings, clock.clone());
        let _sources = sources::start(&connection.client, &options, &changes).unwrap();
        let _life = tokio::spawn(cluster.run());
        let hour = async { while ticker.tick().await.is_some() {} };
        let _ = tokio::time::timeout(Duration::from_hours(1), hour).await;
        ticker.reader().world().clone()
    })
}

fn by_signal(settings: &Settings) {
    const TIMES: u32 = 50;
    let world = world(settings);
    let now = START + Duration::from_hours(1);
    let micros = |took: Took| took.here * 1e6 / f64::from(TIMES);
    let view = timed(|| {
        for _ in 0..TIMES {
            std::hint::black_box(View::new(&world, now));
        }
    });
    let view_took = micros(view);
    let view = View::new(&world, now);
    let mut costs = Vec::new();
    for signal in Pipeline::new(settings.clone(), State::default()).signals() {
        let took = timed(|| {
            for _ in 0..TIMES {
                match signal.read {
                    Read::Rule(read) => read(&view, &mut Verdicts::default()),
                    Read::Gauge(read) => read(&view, &mut Readings::default()),
                    _ => {}
                }
            }
        });
        costs.push((micros(took), signal.name));
    }
    costs.sort_by(|a, b| b.0.total_cmp(&a.0));
    let total: f64 = costs.iter().map(|c| c.0).sum();
    println!("\n| once, after an hour of `all` | microseconds |\n|---|---|");
    println!("| a view | {view_took:.1} |");
    println!("| all {} signals | {total:.0} |", costs.len());
    for (cost, name) in costs.iter().take(30) {
        println!("| {name} | {cost:.1} |");
    }
}
