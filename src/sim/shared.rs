//! What do the running cluster and its API server share?

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch::{Receiver, Sender};

use super::api::Memory;
use super::kind::Kind;
use super::moment::{Moment, SECOND};
use super::simulation::Simulation;

/// The cluster's state and the API server's own.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) sim: Simulation,
    pub(crate) memory: Memory,
}

/// State behind a lock, and pulses that wake the watchers of a kind when it has changed or time has moved on. The
/// pulses' other ends are the cluster's: when those are dropped, watches end.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    pulses: Vec<Receiver<()>>,
}

/// The cluster's ends of the pulses.
#[derive(Debug)]
pub(crate) struct Pulses {
    senders: Vec<Sender<()>>,
    /// Up to which change each kind's watchers were woken, and when all were last.
    told: Mutex<(Vec<u64>, Option<Moment>)>,
}

/// How often every watcher is woken: bookmarks and ends of watches come by time, not by change.
const ALL_EVERY: Moment = 5 * SECOND;

impl Shared {
    pub(crate) fn new(sim: Simulation) -> (Self, Pulses) {
        let state = Mutex::new(State { sim, memory: Memory::default() });
        let (senders, pulses) = (0..Kind::COUNT).map(|_| tokio::sync::watch::channel(())).unzip();
        let told = Mutex::new((vec![0; Kind::COUNT], None));
        (Self { state, pulses }, Pulses { senders, told })
    }

    /// The state, for a moment.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears the pulse of a kind.
    pub(crate) fn ticks(&self, kind: Kind) -> Receiver<()> {
        self.pulses[kind as usize].clone()
    }
}

impl Pulses {
    /// Wakes the watchers of what has changed, and now and then all of them. `newest` is the version of the newest
    /// change to each kind.
    pub(crate) fn beat(&self, newest: Vec<u64>, now: Moment) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let all = told.1.is_none_or(|at| now - at >= ALL_EVERY || now < at);
        let before = std::mem::replace(&mut told.0, newest);
        for ((sender, before), newest) in self.senders.iter().zip(before).zip(&told.0) {
            if all || before != *newest {
                sender.send_modify(|()| {});
            }
        }
        if all {
            told.1 = Some(now);
        }
    }
}
