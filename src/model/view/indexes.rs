//! Where are the objects that belong together? Indexes over the world, each built when it is first asked for and kept
//! until an object that it is built of changes.

use std::cell::OnceCell;
use std::sync::Arc;

use hashbrown::{Equivalent, HashMap, HashSet};

use super::owners::roll_up;
use super::{Endpoints, View, services};
use crate::model::kind::Kind;
use crate::model::record::{Event, Meta, Pod, Resource, Workload};
use crate::model::subject::WorkloadRef;
use crate::model::text::Text;
use crate::model::world::{ByKind, World};

/// All of them.
#[derive(Clone, Debug, Default)]
pub(in crate::model) struct Indexes {
    pods: OnceCell<Arc<Pods>>,
    events: OnceCell<Arc<HashMap<About, Vec<Arc<Event>>>>>,
    terminating: OnceCell<Arc<HashSet<Text>>>,
    idle: OnceCell<Arc<HashSet<WorkloadRef>>>,
    endpoints: OnceCell<Arc<HashMap<(Text, Text), Endpoints>>>,
    resources: ByKind<OnceCell<Arc<[Arc<Resource>]>>>,
}

/// Every pod with the workload that it is counted under, in the order of their names, and where they stand there.
#[derive(Debug, Default)]
pub(super) struct Pods {
    pub(super) all: Vec<(Arc<Pod>, WorkloadRef)>,
    pub(super) by_workload: HashMap<WorkloadRef, Vec<usize>>,
    pub(super) by_node: HashMap<Text, Vec<usize>>,
    pub(super) by_claim: HashMap<(Text, Text), Vec<usize>>,
    pub(super) by_namespace: HashMap<Text, Vec<usize>>,
}

type About = (Text, Text, Text);

#[derive(Hash)]
struct Lookup<'a> {
    kind: &'a str,
    namespace: &'a str,
    name: &'a str,
}

impl Equivalent<About> for Lookup<'_> {
    fn equivalent(&self, key: &About) -> bool {
        *key.2 == *self.name && *key.1 == *self.namespace && *key.0 == *self.kind
    }
}

impl Indexes {
    /// Objects of this kind have changed.
    pub(in crate::model) fn forget(&mut self, kind: Kind) {
        match kind {
            Kind::Pod | Kind::Job => self.pods = OnceCell::new(),
            Kind::ReplicaSet => (self.pods, self.idle) = (OnceCell::new(), OnceCell::new()),
            Kind::Deployment | Kind::StatefulSet | Kind::DaemonSet => self.idle = OnceCell::new(),
            Kind::Namespace => self.terminating = OnceCell::new(),
            Kind::Event => self.events = OnceCell::new(),
            Kind::EndpointSlice => self.endpoints = OnceCell::new(),
            kind => *self.resources.of_mut(kind) = OnceCell::new(),
        }
    }

    pub(super) fn pods(&self, world: &World) -> &Pods {
        world.pods.mark();
        // An owner is looked up by name, whether or not there is one.
        world.replica_sets.mark();
        world.jobs.mark();
        self.pods.get_or_init(|| Arc::new(Pods::of(world)))
    }

    pub(super) fn events<'s>(&'s self, world: &World, about: [&str; 3]) -> &'s [Arc<Event>] {
        world.events.mark();
        let [kind, namespace, name] = about;
        let events = self.events.get_or_init(|| Arc::new(events(world)));
        events.get(&Lookup { kind, namespace, name }).map_or(&[], Vec::as_slice)
    }

    /// The names of namespaces that are being deleted.
    pub(super) fn terminating(&self, world: &World) -> &HashSet<Text> {
        world.namespaces.mark();
        self.terminating.get_or_init(|| {
            let terminating = world.namespaces.iter().filter(|n| n.terminating);
            Arc::new(terminating.map(|n| n.meta.name.clone()).collect())
        })
    }

    /// The workloads that are scaled to zero.
    pub(super) fn idle(&self, world: &World) -> &HashSet<WorkloadRef> {
        world.deployments.mark();
        world.stateful_sets.mark();
        world.daemon_sets.mark();
        world.replica_sets.mark();
        self.idle.get_or_init(|| {
            let idle = top_workloads(world).filter(|w| w.desired == 0);
            Arc::new(idle.map(View::reference).collect())
        })
    }

    /// The endpoints of every Service, by its namespace and name.
    pub(super) fn endpoints(&self, world: &World) -> &HashMap<(Text, Text), Endpoints> {
        world.slices.mark();
        self.endpoints.get_or_init(|| Arc::new(services::endpoints(world)))
    }

    /// The objects of a kind in the order of their names.
    pub(super) fn resources(&self, world: &World, kind: Kind) -> &[Arc<Resource>] {
        let Some(store) = world.resources(kind) else { return &[] };
        store.mark();
        self.resources.of(kind).get_or_init(|| {
            let mut all: Vec<_> = store.shared().cloned().collect();
            all.sort_unstable_by(|a, b| names(&a.meta).cmp(&names(&b.meta)));
            all.into()
        })
    }
}

fn names(meta: &Meta) -> (&Text, &Text) {
    (&meta.namespace, &meta.name)
}

impl Pods {
    fn of(world: &World) -> Self {
        let with_owner = |pod: &Arc<Pod>| (Arc::clone(pod), roll_up(world, pod));
        let mut all: Vec<_> = world.pods.shared().map(with_owner).collect();
        // The order of objects must not matter to the outcome, nor to the words of a finding.
        all.sort_unstable_by(|(a, _), (b, _)| names(&a.meta).cmp(&names(&b.meta)));
        let mut pods = Self { all, ..Self::default() };
        for (index, (pod, workload)) in pods.all.iter().enumerate() {
            pods.by_workload.entry_ref(workload).or_default().push(index);
            pods.by_namespace.entry_ref(&pod.meta.namespace).or_default().push(index);
            if !pod.node.is_empty() {
                pods.by_node.entry_ref(&pod.node).or_default().push(index);
            }
            for claim in &pod.claims {
                let key = (pod.meta.namespace.clone(), claim.clone());
                pods.by_claim.entry(key).or_default().push(index);
            }
        }
        pods
    }
}

/// The events about each object, by their last time.
fn events(world: &World) -> HashMap<About, Vec<Arc<Event>>> {
    let mut all: HashMap<About, Vec<Arc<Event>>> = HashMap::new();
    for event in world.events.shared() {
        let about = &event.regarding;
        let key = (about.kind.clone(), about.namespace.clone(), about.name.clone());
        all.entry(key).or_default().push(Arc::clone(event));
    }
    for events in all.values_mut() {
        events.sort_unstable_by_key(|e| (e.last, e.meta.uid));
    }
    all
}

/// Deployments, StatefulSets, DaemonSets and ReplicaSets that no controller owns.
pub(super) fn top_workloads(world: &World) -> impl Iterator<Item = &Workload> {
    (world.deployments.iter())
        .chain(world.stateful_sets.iter())
        .chain(world.daemon_sets.iter())
        .chain(world.replica_sets.iter().filter(|w| w.meta.owner.is_none()))
}
