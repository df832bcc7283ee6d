//! What do the running cluster and its API server share?

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch::{Receiver, Sender};

use super::api::Memory;
use super::simulation::Simulation;

/// The cluster's state and the API server's own.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) sim: Simulation,
    pub(crate) memory: Memory,
}

/// State behind a lock, and a pulse that wakes watchers whenever time has moved. The pulse's other end is the
/// cluster's: when that is dropped, watches end.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    pulse: Receiver<u64>,
}

impl Shared {
    pub(crate) fn new(sim: Simulation) -> (Self, Sender<u64>) {
        let state = Mutex::new(State { sim, memory: Memory::default() });
        let (sender, pulse) = tokio::sync::watch::channel(0);
        (Self { state, pulse }, sender)
    }

    /// The state, for a moment.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears the pulse.
    pub(crate) fn ticks(&self) -> Receiver<u64> {
        self.pulse.clone()
    }
}
