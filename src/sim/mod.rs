//! What would a cluster be like? One in this process, in virtual time, from a seed.

mod api;
mod chance;
mod controllers;
mod faults;
mod fields;
mod founding;
mod kind;
mod layout;
mod manifests;
mod moment;
mod queue;
mod recorder;
mod scenario;
mod script;
mod shared;
mod simulation;
mod store;
mod surroundings;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch::Sender;

pub use self::api::{ApiServer, ResponseBody, Trouble};
pub use self::faults::{Class, Fault, FaultKind, UnknownFault, all as faults};
pub use self::layout::Shape;
pub use self::scenario::{Expected, Planned, Scenario};
pub use self::script::FaultNotice;
use self::shared::Shared;
use crate::clock::Clock;

/// How far apart in virtual time the cluster is looked after while it runs, and how far apart at least in real time.
const STEP: Duration = Duration::from_millis(250);
const LEAST_PAUSE: Duration = Duration::from_millis(20);

type Listener = Box<dyn Fn(&FaultNotice) + Send + Sync>;

/// A simulated cluster, with its API.
pub struct Cluster {
    shared: Arc<Shared>,
    pulse: Sender<u64>,
    clock: Clock,
    listeners: Mutex<Vec<Listener>>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("clock", &self.clock).finish_non_exhaustive()
    }
}

impl Cluster {
    /// A settled cluster, weeks old at the clock's time, in which the scenario begins.
    #[must_use]
    pub fn new(shape: Shape, scenario: Scenario, clock: Clock) -> Self {
        Self::with_memory(shape, scenario, clock, simulation::MEMORY)
    }

    fn with_memory(shape: Shape, scenario: Scenario, clock: Clock, memory: usize) -> Self {
        let mut sim = founding::found(shape, clock.now().as_millisecond(), memory);
        script::play(&mut sim, scenario);
        let (shared, pulse) = Shared::new(sim);
        Self { shared: Arc::new(shared), pulse, clock, listeners: Mutex::default() }
    }

    /// Has `listener` told of every fault that begins or is repaired from here on. It is called between steps, so it
    /// may ask the cluster anything.
    pub fn on_fault(&self, listener: impl Fn(&FaultNotice) + Send + Sync + 'static) {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(listener));
    }

    /// The API server.
    #[must_use]
    pub fn service(&self) -> ApiServer {
        ApiServer::new(Arc::clone(&self.shared))
    }

    /// A client of the API server. Needs a Tokio runtime, as kube's client does.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        kube::Client::new(self.service(), "default")
    }

    /// Lives until `now`. Going back does nothing.
    pub fn advance_to(&self, now: Timestamp) {
        let notices = {
            let mut state = self.shared.lock();
            state.sim.advance(now.as_millisecond());
            script::take_notices(&mut state.sim)
        };
        self.pulse.send_modify(|beat| *beat += 1);
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        for notice in &notices {
            listeners.iter().for_each(|tell| tell(notice));
        }
    }

    /// Follows the clock for as long as it is polled.
    pub async fn run(self: Arc<Self>) {
        loop {
            self.advance_to(self.clock.now());
            tokio::join!(self.clock.sleep(STEP), tokio::time::sleep(LEAST_PAUSE));
        }
    }
}

#[cfg(test)]
mod tests;
