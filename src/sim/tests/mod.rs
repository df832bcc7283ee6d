//! Does the simulated cluster behave like a real one, seen through its API?

mod everyday;
mod serving;
mod settled;
mod troubled;
mod watching;
mod worn;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::serde::de::DeserializeOwned;
use kube::api::{Api, ListParams};

use super::{Cluster, Scenario, Shape};
use crate::clock::Clock;

/// Noon of a day on which nothing else happens.
pub(super) const NOON: &str = "2026-11-24T12:00:00Z";

/// A cluster whose time is moved by hand.
pub(super) struct Bench {
    pub(super) cluster: Cluster,
    pub(super) clock: Clock,
}

impl Bench {
    /// A small cluster in which this scenario begins.
    pub(super) fn new(scenario: &str) -> Self {
        Self::with_memory(scenario, super::simulation::MEMORY)
    }

    pub(super) fn with_memory(scenario: &str, memory: usize) -> Self {
        Self::remembering(Scenario::builtin(scenario).expect("a scenario"), memory)
    }

    pub(super) fn of(scenario: Scenario) -> Self {
        Self::remembering(scenario, super::simulation::MEMORY)
    }

    fn remembering(scenario: Scenario, memory: usize) -> Self {
        let clock = Clock::manual(NOON.parse::<Timestamp>().expect("a time"));
        let shape = Shape { nodes: 6, pods: 90, seed: 7 };
        Self { cluster: Cluster::with_memory(shape, scenario, clock.clone(), memory), clock }
    }

    pub(super) fn small() -> Self {
        Self::new("healthy")
    }

    /// Lets virtual time pass.
    pub(super) fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.cluster.advance_to(self.clock.now());
    }

    /// All objects of a kind, through kube's client and k8s-openapi's types.
    pub(super) async fn all<K>(&self) -> Vec<K>
    where
        K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
    {
        let api = Api::<K>::all(self.cluster.client());
        let pages = ListParams::default().limit(20);
        let mut found = Vec::new();
        let mut token = None;
        loop {
            let page = ListParams { continue_token: token, ..pages.clone() };
            let list = api.list(&page).await.expect("a page");
            found.extend(list.items);
            token = list.metadata.continue_.filter(|t| !t.is_empty());
            if token.is_none() {
                return found;
            }
        }
    }
}
