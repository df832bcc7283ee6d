//! What would the daemon have said? All of it, from the API to the Report, on the embedded cluster in virtual time: days
//! pass in seconds, and the same arguments give the same reports.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use thiserror::Error;
use tokio::runtime::Builder;

use crate::clock::Clock;
use crate::config::Settings;
use crate::daemon::{self, Beat, Reader, Step};
use crate::model::report::Report;
use crate::pipeline::{Pipeline, State};
use crate::sim::{Cluster, Scenario, Shape};
use crate::sources::{self, Connection, KubeletAccess, PrometheusError};

/// When every play begins, so that it gives the same bytes on every day.
pub const START: Timestamp = Timestamp::constant(1_772_420_400, 0);

/// Why a play can't begin or go on.
#[derive(Debug, Error)]
pub enum PlayError {
    /// The system gives no runtime.
    #[error("could not start the runtime")]
    Runtime(#[source] io::Error),
    /// The settings name a Prometheus that can't be asked.
    #[error(transparent)]
    Prometheus(#[from] PrometheusError),
    /// A source or the cluster has ended, which neither ever should.
    #[error("a source or the simulated cluster has ended unexpectedly")]
    Ended,
}

/// How many steps are handed over together at most, and how many times that the cluster may be ahead of who reads it.
const TOGETHER: usize = 512;
const AHEAD: usize = 8;

/// Plays `duration` of virtual time from [`START`] and shows each tick's report to `observe`, from the first on, in
/// which no source has synced yet (`report.myself.ready`).
///
/// The cluster and the sources live on a thread of their own and wait for timers alone, which the runtime moves on when
/// nobody has anything to do. This thread carries their steps out in the order in which they come, and nothing of it
/// goes back: how far it lags behind makes no difference. State files and exports of `settings` are left out.
pub fn play(
    shape: Shape,
    scenario: Scenario,
    settings: &Settings,
    duration: Duration,
    mut observe: impl FnMut(&Report),
) -> Result<(), PlayError> {
    let mut reader = Reader::new(Pipeline::new(settings.clone(), State::default()));
    let (steps, inbox) = mpsc::sync_channel(AHEAD);
    thread::scope(|scope| {
        let alive = scope.spawn(move || live(shape, scenario, settings, duration, &steps));
        for step in inbox.into_iter().flatten() {
            if let Some(report) = reader.carry_out(step) {
                observe(&report);
            }
        }
        alive.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Lets the cluster live and the sources follow it, and tells the steps of the daemon.
fn live(
    shape: Shape,
    scenario: Scenario,
    settings: &Settings,
    duration: Duration,
    steps: &SyncSender<Vec<Step>>,
) -> Result<(), PlayError> {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(PlayError::Runtime)?;
    runtime.block_on(async {
        let clock = Clock::of_timers(START);
        let cluster = Arc::new(Cluster::new(shape, scenario, clock.clone()));
        let server = "simulated".to_owned();
        let kubelets = Some(KubeletAccess::Within(cluster.kubelets()));
        let connection = Connection { client: cluster.client(), server, kubelets };
        let pipeline = Pipeline::new(settings.clone(), State::default());
        let options = daemon::watch_options(&pipeline, settings, &clock, &connection);
        let (mut beat, changes) = Beat::new(settings.tick, clock.clone());
        let mut tasks = sources::start(&connection.client, &options, &changes)?;
        drop(changes);
        tasks.spawn(cluster.run());
        // A thread is not woken for each of the many steps between two ticks.
        let mut waiting = Vec::new();
        let beats = async {
            while let Some(step) = beat.step().await {
                let tick = matches!(step, Step::Look(_));
                waiting.push(step);
                // Waits without letting time pass.
                if (tick || waiting.len() >= TOGETHER)
                    && steps.send(std::mem::take(&mut waiting)).is_err()
                {
                    break;
                }
            }
        };
        let outcome = tokio::select! {
            biased;
            () = beats => Err(PlayError::Ended),
            () = clock.sleep(duration) => Ok(()),
            _ = tasks.join_next() => Err(PlayError::Ended),
        };
        // Nobody is left to hear it where this fails, and they know why.
        let _ = steps.send(waiting);
        outcome
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(seed: u64) -> Vec<String> {
        let shape = Shape { nodes: 4, pods: 60, seed };
        let scenario = Scenario::builtin("all").expect("a scenario");
        let mut told = Vec::new();
        let observe = |report: &Report| told.push(format!("{report:?}"));
        play(shape, scenario, &Settings::default(), Duration::from_mins(40), observe)
            .expect("a play");
        told
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_another_others() {
        let (once, again) = (told(3), told(3));
        assert_eq!(once.len(), 161, "a tick each 15 s, and the first full view");
        for (a, b) in once.iter().zip(&again) {
            let same = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
            let around = |text: &str| -> String {
                text.chars().skip(same.saturating_sub(200)).take(400).collect()
            };
            assert!(a == b, "differ after {same} bytes:\n{}\n{}", around(a), around(b));
        }
        assert!(once != told(4));
    }

    #[test]
    fn the_daemon_sees_the_whole_cluster_and_its_faults() {
        let shape = Shape { nodes: 4, pods: 60, seed: 3 };
        let scenario = Scenario::builtin("all").expect("a scenario");
        let (mut ready, mut findings) = (0, 0);
        let observe = |report: &Report| {
            ready += usize::from(report.myself.ready);
            findings += report.findings.len();
        };
        play(shape, scenario, &Settings::default(), Duration::from_mins(40), observe)
            .expect("a play");
        assert!(ready >= 160 && findings > 0, "{ready} ready, {findings} findings");
    }
}
