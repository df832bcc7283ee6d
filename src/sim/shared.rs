//! What do the running cluster and its API server share?

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::api::Memory;
use super::kind::Kind;
use super::pulse::{Ear, Pulse};
use super::simulation::Simulation;

/// The cluster's state and the API server's own.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) sim: Simulation,
    pub(crate) memory: Memory,
}

/// State behind a lock, and pulses that wake the watchers of a kind when it has changed or one of them is due. The
/// pulses' other ends are the cluster's: when those are dropped, watches end.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    ears: Vec<Ear>,
}

/// The cluster's ends of the pulses.
#[derive(Debug)]
pub(crate) struct Pulses {
    pulses: Vec<Pulse>,
    /// Up to which change each kind's watchers were woken.
    told: Mutex<Vec<u64>>,
}

impl Shared {
    pub(crate) fn new(sim: Simulation) -> (Self, Pulses) {
        let state = Mutex::new(State { sim, memory: Memory::default() });
        let pulses: Vec<_> = (0..Kind::COUNT).map(|_| Pulse::default()).collect();
        let ears = pulses.iter().map(Pulse::ear).collect();
        let told = Mutex::new(vec![0; Kind::COUNT]);
        (Self { state, ears }, Pulses { pulses, told })
    }

    /// The state, for a moment.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears the pulse of a kind.
    pub(crate) fn ticks(&self, kind: Kind) -> Ear {
        self.ears[kind as usize].clone()
    }
}

impl Pulses {
    /// Wakes the watchers of what has changed, and those of kinds that are `due`. `newest` is the version of the newest
    /// change to each kind.
    pub(crate) fn beat(&self, newest: Vec<u64>, due: &[Kind]) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *told, newest);
        for ((place, before), newest) in before.into_iter().enumerate().zip(&*told) {
            if before != *newest {
                self.wake(place);
            }
        }
        due.iter().for_each(|kind| self.wake(*kind as usize));
    }

    fn wake(&self, place: usize) {
        self.pulses[place].beat();
    }
}
