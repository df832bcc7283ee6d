//! `kubestrata run`: the daemon.

use std::process::ExitCode;

use tracing::{info, warn};

use super::{Failure, Global, Outcome, RunArgs, logging, settings};
use crate::clock::Clock;
use crate::config::Settings;
use crate::daemon::{self, ClusterIdentity, DaemonError};
use crate::exports::otlp;
use crate::sources::{self, ConnectOptions, Connection};

pub(super) fn run(args: &RunArgs, global: &Global) -> Outcome {
    let mut settings = settings(&args.cluster, args.listen).map_err(Failure::usage)?;
    settings.otlp = otlp::from_env(settings.otlp, std::env::vars()).map_err(Failure::usage)?;
    logging::start(global)?;
    runtime()?.block_on(serve(settings))
}

/// A runtime with two workers: the pipeline and the sources, whatever the machine has.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().map_err(Failure::runtime)
}

async fn serve(settings: Settings) -> Outcome {
    let connection = connect(&settings).await?;
    let listener = daemon::bind(settings.listen).await.map_err(Failure::runtime)?;
    let address = listener.local_addr().map_err(Failure::runtime)?;
    info!(server = connection.server, version = env!("CARGO_PKG_VERSION"), "watching the cluster");
    info!("status page and metrics on http://{address}/");
    let identity = identify(&connection).await;
    daemon::run(settings, Clock::system(), connection, identity, listener, interrupted())
        .await
        .map_err(failure)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn connect(settings: &Settings) -> Result<Connection, Failure> {
    let options = ConnectOptions {
        kubeconfig: settings.cluster.kubeconfig.clone(),
        context: settings.cluster.context.clone(),
    };
    sources::connect(&options).await.map_err(Failure::usage)
}

/// Asks who the cluster is. A server that does not answer is told once; the sources keep trying.
async fn identify(connection: &Connection) -> ClusterIdentity {
    match sources::preflight(connection).await {
        Ok(server) => {
            info!(kubernetes = server.version, "the API server answers");
            ClusterIdentity { uid: server.cluster_uid.unwrap_or_default() }
        }
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            warn!(cause, "{error}; trying again with back-off");
            ClusterIdentity::default()
        }
    }
}

pub(super) fn failure(error: DaemonError) -> Failure {
    match error {
        DaemonError::Otlp(_) | DaemonError::Prometheus(_) | DaemonError::Audit(_) => {
            Failure::usage(error)
        }
        _ => Failure::runtime(error),
    }
}

/// Until SIGINT or SIGTERM.
pub(super) async fn interrupted() {
    let mut terminate =
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(signal) => signal,
            Err(error) => {
                warn!(%error, "could not listen for SIGTERM, only SIGINT ends the daemon cleanly");
                let _ = tokio::signal::ctrl_c().await;
                return;
            }
        };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
    info!("ending");
}
