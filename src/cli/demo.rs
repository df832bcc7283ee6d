//! `kubestrata demo`: the same daemon on an embedded simulated cluster.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use jiff::Timestamp;
use tracing::info;

use super::run::{failure, interrupted, runtime};
use super::{Failure, Global, Outcome, logging};
use crate::clock::Clock;
use crate::config::{Settings, format_duration, parse_duration};
use crate::daemon::{self, ClusterIdentity};
use crate::evaluate;
use crate::exports::otlp;
use crate::sim::{Class, Cluster, Fault, Scenario, Shape, faults};
use crate::sources::{Connection, KubeletAccess};

#[derive(Debug, Args)]
#[command(after_help = names())]
pub(super) struct DemoArgs {
    /// What happens: `all`, `everyday`, `healthy`, `life`, one fault by name, or a file (docs/scenarios.md).
    #[arg(long, default_value = "all", value_name = "NAME|FILE")]
    scenario: String,
    /// Simulated seconds a second.
    #[arg(long, default_value_t = 60.0, value_parser = speed)]
    speed: f64,
    /// Seed: the same seed gives the same cluster and the same faults.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Simulated nodes; without it as many as the scenario says, else 12.
    #[arg(long, value_parser = clap::value_parser!(u32).range(3..=5_000))]
    nodes: Option<u32>,
    /// Simulated pods, about; without it as many as the scenario says, else 150.
    #[arg(long, value_parser = clap::value_parser!(u32).range(20..=150_000))]
    pods: Option<u32>,
    /// Address on which `/metrics`, the status page and the API are served.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9868")]
    listen: SocketAddr,
    /// End after this time on the wall, such as 2m.
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    duration: Option<Duration>,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if (0.1..=3600.0).contains(&speed) => Ok(speed),
        _ => Err("expected a number from 0.1 to 3600".to_owned()),
    }
}

/// What is built in, one a line.
fn names() -> String {
    let mut text = String::from("Built-in scenarios:\n");
    for name in Scenario::GENERAL {
        let summary = Scenario::builtin(name).map_or_else(|e| e.to_string(), |s| s.summary);
        let _ = writeln!(text, "  {name:26} {summary}");
    }
    for kind in faults() {
        let fault = Fault::named(kind.name).map_or_else(|e| e.to_string(), |f| f.to_string());
        let mark = if kind.class == Class::Healthy { "nothing wrong: " } else { "" };
        let _ = writeln!(text, "  {:26} {}: {mark}{fault}", kind.name, kind.layer);
    }
    text
}

/// A built-in scenario by name, else the one that the file holds.
pub(super) fn scenario(name: &str) -> anyhow::Result<Scenario> {
    let path = Path::new(name);
    match Scenario::builtin(name) {
        Ok(scenario) => Ok(scenario),
        Err(unknown) if !path.exists() && !name.contains(['/', '.']) => {
            Err(anyhow!("{unknown}; and no file is called so"))
        }
        Err(_) => Ok(Scenario::read_file(path, &evaluate::signal_names())?),
    }
}

/// The simulated clock starts here, so that the same seed gives the same bytes on every day.
const START: &str = "2026-03-02T03:00:00Z";

pub(super) fn run(args: &DemoArgs, global: &Global) -> Outcome {
    let scenario = scenario(&args.scenario).map_err(Failure::usage)?;
    let mut settings = Settings { listen: args.listen, ..evaluate::settings() };
    settings.cluster.name = "demo".to_owned();
    // What takes a day on a real cluster must show within minutes here.
    settings.baseline.warm_up = Duration::from_mins(10);
    settings.otlp = otlp::from_env(settings.otlp, std::env::vars()).map_err(Failure::usage)?;
    logging::start(global)?;
    runtime()?.block_on(play(args, scenario, settings))
}

async fn play(args: &DemoArgs, scenario: Scenario, settings: Settings) -> Outcome {
    let start: Timestamp = START.parse().map_err(Failure::runtime)?;
    let listener = daemon::bind(settings.listen).await.map_err(Failure::runtime)?;
    let address = listener.local_addr().map_err(Failure::runtime)?;
    let clock = Clock::scaled(start, args.speed);
    let (nodes, pods) = scenario.cluster.unwrap_or(evaluate::CLUSTER);
    let (nodes, pods) = (args.nodes.unwrap_or(nodes), args.pods.unwrap_or(pods));
    let shape = Shape { nodes, pods, seed: args.seed };
    let cluster = Arc::new(Cluster::new(shape, scenario, clock.clone()));
    cluster.on_fault(|notice| info!(simulated = %notice.at, "simulator: {notice}"));
    let server = "simulated".to_owned();
    let kubelets = Some(KubeletAccess::Within(cluster.kubelets()));
    let connection = Connection { client: cluster.client(), server, kubelets };
    let life = tokio::spawn(Arc::clone(&cluster).run());
    info!(
        "simulated cluster: {nodes} nodes, about {pods} pods, one second is {}",
        format_duration(Duration::from_secs_f64(args.speed))
    );
    info!("status page on http://{address}/, metrics on http://{address}/metrics; Ctrl-C ends");
    let end = async {
        match args.duration {
            Some(duration) => tokio::select! {
                () = tokio::time::sleep(duration) => {}
                () = interrupted() => {}
            },
            None => interrupted().await,
        }
    };
    let identity = ClusterIdentity { uid: format!("demo-{}", args.seed) };
    let outcome = daemon::run(settings, clock, connection, identity, listener, end).await;
    life.abort();
    match life.await {
        Err(error) if error.is_panic() => {
            Err(Failure::runtime(anyhow!("the simulated cluster failed: {error}")))
        }
        _ => outcome.map_err(failure).map(|()| ExitCode::SUCCESS),
    }
}
