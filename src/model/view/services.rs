//! Can a Service serve, and what does it stand for? Its endpoints over all slices, and the pods that it selects.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use hashbrown::HashMap;

use super::View;
use super::indexes::Name;
use crate::model::kind::Kind;
use crate::model::record::{Pod, Resource, Workload};
use crate::model::selector;
use crate::model::text::Text;
use crate::model::world::World;

/// The endpoints of a Service: each once, whatever the number of slices and address families.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// Those that are ready.
    pub ready: BTreeSet<Text>,
    /// Those that serve while they terminate.
    pub draining: BTreeSet<Text>,
    /// All of them.
    pub all: BTreeSet<Text>,
    /// Nodes of the ready ones.
    pub nodes: BTreeSet<Text>,
    /// Zones of the ready ones, with how many there are in each.
    pub zones: std::collections::BTreeMap<Text, u32>,
}

/// The endpoints of every Service, by its namespace and name.
pub(super) fn endpoints(world: &World) -> HashMap<(Text, Text), Endpoints> {
    let mut all: HashMap<(Text, Text), Endpoints> = HashMap::new();
    for slice in world.slices.iter() {
        let key = (slice.meta.namespace.clone(), slice.service.clone());
        let service = all.entry(key).or_default();
        for endpoint in &slice.endpoints {
            service.all.insert(endpoint.target.clone());
            if endpoint.ready {
                if service.ready.insert(endpoint.target.clone()) {
                    *service.zones.entry(endpoint.zone.clone()).or_default() += 1;
                }
                service.nodes.insert(endpoint.node.clone());
            } else if endpoint.serving && endpoint.terminating {
                service.draining.insert(endpoint.target.clone());
            }
        }
    }
    all
}

impl<'a> View<'a> {
    /// The endpoints of a Service; none where it has no slice.
    #[must_use]
    pub fn endpoints(&self, namespace: &str, service: &str) -> &'a Endpoints {
        static NONE: LazyLock<Endpoints> = LazyLock::new(Endpoints::default);
        self.all_endpoints().get(&Name { namespace, name: service }).unwrap_or(&NONE)
    }

    fn all_endpoints(&self) -> &'a HashMap<(Text, Text), Endpoints> {
        self.world.indexes.endpoints(self.world)
    }

    /// How many ready endpoints a Service has; `None` where there is no such Service, or it cannot be told: one
    /// without a selector, or an external name.
    #[must_use]
    pub fn ready_endpoints(&self, namespace: &str, service: &str) -> Option<usize> {
        let found = self.resource(Kind::Service, namespace, service)?;
        let told = found.body.text("spec.type") != "ExternalName";
        told.then(|| self.endpoints(namespace, service).ready.len())
    }

    /// The pods that a Service selects; none for one without a selector.
    pub fn selected_pods<'s>(
        &'s self,
        service: &'s Resource,
    ) -> impl Iterator<Item = &'a Pod> + 's {
        let wanted = service.body.at("spec.selector");
        let any = !wanted.entries("").is_empty();
        self.pods_in(&service.meta.namespace)
            .filter(move |pod| any && selector::holds(wanted, &pod.meta.labels))
    }

    /// The workloads whose pods a Service selects, by their templates.
    pub fn selected_workloads<'s>(
        &'s self,
        service: &'s Resource,
    ) -> impl Iterator<Item = &'a Workload> + 's {
        let wanted = service.body.at("spec.selector");
        let any = !wanted.entries("").is_empty();
        self.workloads_in(&service.meta.namespace).filter(move |w| {
            any && w.template.as_ref().is_some_and(|t| selector::holds(wanted, &t.labels))
        })
    }
}
