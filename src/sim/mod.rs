//! What would a cluster be like? One in this process, in virtual time, from a seed.

mod api;
mod apiserver;
mod chance;
mod controllers;
mod exposition;
mod faults;
mod fields;
mod founding;
mod furnishing;
mod kind;
mod layout;
mod life;
mod load;
mod manifests;
mod moment;
mod outside;
mod pulse;
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

use self::api::Kubelet;
pub use self::api::{ApiServer, ResponseBody, Trouble};
pub use self::faults::{Class, Fault, FaultKind, UnknownFault, all as faults};
pub use self::layout::{Shape, serves_everybody};
pub use self::scenario::{Expected, Planned, Scenario, ScenarioError, Set};
pub use self::script::FaultNotice;
use self::shared::{Pulses, Shared};
use crate::clock::Clock;
use jiff::Timestamp;

/// How far apart in virtual time the cluster is looked after while it runs, at least and at most.
const STEP: Duration = Duration::from_millis(250);
const LONGEST_STEP: Duration = Duration::from_secs(5);
/// How far apart at least by the runtime's timers.
const LEAST_PAUSE: Duration = Duration::from_millis(20);

type Listener = Box<dyn Fn(&FaultNotice) + Send + Sync>;

/// A simulated cluster, with its API.
pub struct Cluster {
    shared: Arc<Shared>,
    pulses: Pulses,
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
        script::play(&mut sim, scenario, shape.nodes);
        let (shared, pulses) = Shared::new(sim);
        Self { shared: Arc::new(shared), pulses, clock, listeners: Mutex::default() }
    }

    /// Has `listener` told of every fault that begins or is repaired from here on. It is called between steps, so it
    /// may ask the cluster anything.
    pub fn on_fault(&self, listener: impl Fn(&FaultNotice) + Send + Sync + 'static) {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(listener));
    }

    /// The API server.
    #[must_use]
    pub fn service(&self) -> ApiServer {
        self.server(0)
    }

    /// One of several API servers, as a control plane of high availability has them: they show the same cluster, and
    /// each has troubles of its own.
    #[must_use]
    pub fn server(&self, number: usize) -> ApiServer {
        ApiServer::new(Arc::clone(&self.shared), number)
    }

    /// A client of the API server. Needs a Tokio runtime, as kube's client does.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        kube::Client::new(self.service(), "default")
    }

    /// Who knows the clients of the kubelets, by the name of their node.
    #[must_use]
    pub fn kubelets(&self) -> Arc<dyn Fn(&str) -> kube::Client + Send + Sync> {
        let shared = Arc::clone(&self.shared);
        Arc::new(move |node| kube::Client::new(Kubelet::new(Arc::clone(&shared), node), "default"))
    }

    /// Lives until `now`. Going back does nothing.
    pub fn advance_to(&self, now: Timestamp) {
        let (notices, newest, due) = {
            let mut state = self.shared.lock();
            state.sim.advance(now.as_millisecond());
            let notices = script::take_notices(&mut state.sim);
            let now = state.sim.now;
            (notices, state.sim.store.newest(), state.memory.take_due(now))
        };
        self.pulses.beat(newest, &due);
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        for notice in &notices {
            listeners.iter().for_each(|tell| tell(notice));
        }
    }

    /// Follows the clock for as long as it is polled.
    pub async fn run(self: Arc<Self>) {
        loop {
            let now = self.clock.now();
            self.advance_to(now);
            let step = self.idle_after(now).clamp(STEP, LONGEST_STEP);
            tokio::join!(self.clock.sleep(step), tokio::time::sleep(LEAST_PAUSE));
        }
    }

    /// For how long nothing happens after `now`.
    fn idle_after(&self, now: Timestamp) -> Duration {
        let next = self.shared.lock().sim.queue.next();
        let idle = next.map_or(i64::MAX, |at| at.saturating_sub(now.as_millisecond()));
        Duration::from_millis(u64::try_from(idle).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests;
