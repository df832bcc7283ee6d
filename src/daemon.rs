//! How do the two ends meet? Starts sources, ticks the pipeline, publishes each Report; the only file that knows both.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use crate::clock::Clock;
use crate::config::Settings;
use crate::exports::http::{self, AuditSink, Receiver, ReceiverError, Refused, Shared};
use crate::exports::otlp::{Otlp, OtlpError, ResourceInfo};
use crate::model::kind::Kind;
use crate::model::source::SourceNote;
use crate::model::world::Delta;
use crate::pipeline::Pipeline;
use crate::snapshot::SnapshotError;
use crate::sources::{
    self, Candidate, Connection, PrometheusAccess, PrometheusError, PrometheusOptions, WatchOptions,
};

mod journal;
mod keeper;
mod past;
mod ticker;
mod voice;

use journal::Journal;
use keeper::Keeper;
pub use ticker::{Beat, Reader, Step, Ticker};
pub use voice::Voice;

/// How often anything is asked of a simulated cluster at the most, however fast it ages.
const LEAST_INTERVAL: Duration = Duration::from_millis(200);

/// How long the exports get at the end.
const FAREWELL: Duration = Duration::from_secs(5);

/// Why the daemon can't start or go on.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// The address is taken or not ours.
    #[error("could not listen on {address}; choose another address with --listen or `listen`")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The state directory can't be used.
    #[error(transparent)]
    State(#[from] SnapshotError),
    /// The OTLP export can't be set up.
    #[error(transparent)]
    Otlp(#[from] OtlpError),
    /// The Prometheus can't be asked.
    #[error(transparent)]
    Prometheus(#[from] PrometheusError),
    /// Audit events can't be received.
    #[error(transparent)]
    Audit(#[from] ReceiverError),
    /// The server ended.
    #[error("could not go on serving HTTP")]
    Serve(#[source] std::io::Error),
    /// A source has ended, which it never should.
    #[error("a source has ended unexpectedly; please report it with the log")]
    SourceEnded,
}

/// Which cluster, for what is sent outside.
#[derive(Clone, Debug, Default)]
pub struct ClusterIdentity {
    /// Uid of the namespace kube-system, which stands for the cluster's; empty where it can't be read.
    pub uid: String,
}

/// Takes the address that the daemon will serve on: a port in use is told before anything else is attempted.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, DaemonError> {
    TcpListener::bind(address).await.map_err(|source| DaemonError::Listen { address, source })
}

/// How the cluster is followed for these signals and settings.
#[must_use]
pub fn watch_options(
    pipeline: &Pipeline,
    settings: &Settings,
    clock: &Clock,
    connection: &Connection,
) -> WatchOptions {
    let (clock, speed) = (clock.clone(), clock.speed());
    let ours = WatchOptions::new(pipeline.kinds(), Arc::new(move || clock.now()));
    // A simulated cluster ages faster than we do: what is asked of it every so often, is asked in its time.
    let in_its_time = |every: Duration| every.div_f64(speed).max(LEAST_INTERVAL);
    WatchOptions {
        longest_interval: match speed > 1.0 {
            true => in_its_time(Duration::from_secs(30)),
            false => settings.longest_interval,
        },
        life_sign: in_its_time(ours.life_sign),
        discovery: in_its_time(ours.discovery),
        kubelets: connection.kubelets.clone(),
        kubelet_skip_verify: settings.kubelet_skip_verify,
        prometheus: PrometheusOptions { access: access(settings), queries: pipeline.queries() },
        ..ours
    }
}

fn access(settings: &Settings) -> PrometheusAccess {
    let prometheus = &settings.prometheus;
    PrometheusAccess {
        url: prometheus.url.clone().unwrap_or_default(),
        bearer_token_file: prometheus.bearer_token_file.clone(),
        ca_file: prometheus.ca_file.clone(),
    }
}

/// Runs until `shutdown`.
pub async fn run(
    settings: Settings,
    clock: Clock,
    connection: Connection,
    identity: ClusterIdentity,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> Result<(), DaemonError> {
    let (keeper, state, outbox) = Keeper::open(&settings)?;
    let mut pipeline = Pipeline::new(settings.clone(), state);
    past::take_over(&mut pipeline, &settings, &clock).await;
    let options = watch_options(&pipeline, &settings, &clock, &connection);
    let (mut ticker, changes) = Ticker::new(pipeline, &settings, clock.clone());
    let audit = match settings.audit.listen {
        None => None,
        Some(address) => {
            let receiver = Receiver::new(bind(address).await?, &settings.audit)?;
            // Before the sources have something to say there is room.
            let _ = changes.try_send(vec![Delta::Synced(Kind::Audit)]);
            Some((receiver, audit_sink(changes.clone(), clock.clone())))
        }
    };
    let mut watches = sources::start(&connection.client, &options, &changes)?;
    drop(changes);
    let shared = Shared::new(ticker.look(), &settings, clock.clone());
    let resource =
        ResourceInfo { cluster_name: settings.cluster.name.clone(), cluster_uid: identity.uid };
    let candidate = candidate(&settings, &clock, &connection);
    let otlp = match settings.otlp.endpoint {
        Some(_) => Some(Otlp::start(
            &settings.otlp,
            &resource,
            ticker.reader().pipeline().signals(),
            shared.otlp_figures(),
            candidate.as_ref().map(Candidate::term),
        )?),
        None => None,
    };
    let voice = Voice::new(otlp, candidate, &settings, shared.silent());
    let voice = if keeper.keeps() { voice.with(outbox) } else { voice };
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(http::serve(listener, shared.clone(), async {
        let _ = stopped.await;
    }));

    let receiving =
        audit.map(|(receiver, sink)| tokio::spawn(receiver.serve(sink, std::future::pending())));
    let mut publisher =
        Publisher { shared: &shared, voice, keeper, clock, journal: Journal::default() };
    let outcome = tokio::select! {
        outcome = publisher.follow(&mut ticker) => outcome,
        // None ends by itself: a kind that nobody follows any more must not look healthy.
        _ = watches.join_next() => Err(DaemonError::SourceEnded),
        () = shutdown => Ok(()),
    };
    if let Some(receiving) = receiving {
        receiving.abort();
    }
    publisher.keep(&ticker).await;
    if let Some(told) = publisher.voice.end(FAREWELL).await {
        publisher.keeper.mark(told);
    }
    let _ = stop.send(());
    match tokio::time::timeout(FAREWELL, server).await {
        Ok(Ok(Err(source))) => Err(DaemonError::Serve(source)),
        _ => outcome,
    }
}

/// Runs for the election, where there is one.
fn candidate(settings: &Settings, clock: &Clock, connection: &Connection) -> Option<Candidate> {
    let clock = clock.clone();
    let election = &settings.leader_election;
    election.enabled.then(|| {
        let (client, identity) = (&connection.client, sources::candidate_identity());
        Candidate::start(client, election, identity, Arc::new(move || clock.now()))
    })
}

/// Takes audit events in; while what came before waits, the API server has to.
fn audit_sink(changes: mpsc::Sender<Vec<Delta>>, clock: Clock) -> AuditSink {
    Arc::new(move |body| {
        let place = changes.try_reserve().map_err(|_| Refused::Busy)?;
        let read = sources::read_audit(body, clock.now());
        let (events, left_out) = read.map_err(|e| Refused::Unreadable(e.to_string()))?;
        let mut batch: Vec<Delta> = events.into_iter().map(Delta::Upsert).collect();
        if left_out > 0 {
            let message = format!("{left_out} audit events could not be read");
            batch.push(Delta::Note(Kind::Audit, SourceNote::Undecodable { message }));
        }
        batch.push(Delta::Note(Kind::Audit, SourceNote::Alive));
        place.send(batch);
        Ok(())
    })
}

/// Tells the outside what each tick says.
struct Publisher<'a> {
    shared: &'a Shared,
    voice: Voice,
    keeper: Keeper,
    clock: Clock,
    journal: Journal,
}

impl Publisher<'_> {
    async fn follow(&mut self, ticker: &mut Ticker) -> Result<(), DaemonError> {
        loop {
            let report = tokio::select! {
                report = ticker.tick() => report,
                () = self.voice.stirred() => {
                    self.voice.attend(ticker);
                    if let Some(told) = self.voice.settle() {
                        self.keeper.mark(told);
                    }
                    continue;
                }
            };
            let Some(report) = report else { return Err(DaemonError::SourceEnded) };
            let report = Arc::new(report);
            self.journal.log(&report);
            // What is told is saved before: whenever it is killed, the next life knows what it has to tell.
            if self.voice.take_in(&report) {
                self.keep(ticker).await;
            }
            self.voice.publish(&report, ticker);
            let at = report.at;
            self.shared.publish(report, ticker.took());
            if self.keeper.is_due(at) {
                self.keep(ticker).await;
            }
        }
    }

    /// Saves the state. Before the first full view there is nothing that the saved one does not know better.
    async fn keep(&mut self, ticker: &Ticker) {
        if ticker.reader().has_been_ready() {
            let (state, outbox) = (ticker.reader().state(), self.voice.outbox());
            self.keeper.save(state, outbox, self.clock.now()).await;
        }
    }
}
