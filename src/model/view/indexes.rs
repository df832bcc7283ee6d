//! Where are the objects that belong together? Indexes over the world, each built when it is first asked for and kept
//! until an object that it is built of changes.

use std::cell::OnceCell;
use std::cmp::Ordering;
use std::sync::{Arc, OnceLock};

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
    counted: OnceCell<Arc<[usize]>>,
    workloads: OnceCell<Arc<ByNamespace>>,
    endpoints: OnceCell<Arc<HashMap<(Text, Text), Endpoints>>>,
    resources: ByKind<OnceCell<Arc<[Arc<Resource>]>>>,
}

/// Every pod with the workload that it is counted under, in the order of their names, and where they stand there.
#[derive(Debug, Default)]
pub(super) struct Pods {
    pub(super) all: Vec<(Arc<Pod>, WorkloadRef)>,
    by_workload: OnceLock<HashMap<WorkloadRef, Vec<usize>>>,
    by_node: OnceLock<HashMap<Text, Vec<usize>>>,
    by_claim: OnceLock<HashMap<(Text, Text), Vec<usize>>>,
}

/// The top-most workloads of each namespace.
type ByNamespace = HashMap<Text, Vec<Arc<Workload>>>;

type About = (Text, Text, Text);

/// A namespace and a name, to look for both without a copy.
#[derive(Hash)]
pub(super) struct Name<'a> {
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
}

impl Equivalent<(Text, Text)> for Name<'_> {
    fn equivalent(&self, key: &(Text, Text)) -> bool {
        *key.1 == *self.name && *key.0 == *self.namespace
    }
}

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
        if matches!(
            kind,
            Kind::Pod
                | Kind::Job
                | Kind::ReplicaSet
                | Kind::Deployment
                | Kind::StatefulSet
                | Kind::DaemonSet
                | Kind::Namespace
        ) {
            self.counted = OnceCell::new();
        }
        match kind {
            Kind::Pod | Kind::Job => self.pods = OnceCell::new(),
            Kind::ReplicaSet => {
                self.pods = OnceCell::new();
                (self.idle, self.workloads) = (OnceCell::new(), OnceCell::new());
            }
            Kind::Deployment | Kind::StatefulSet | Kind::DaemonSet => {
                (self.idle, self.workloads) = (OnceCell::new(), OnceCell::new());
            }
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
        mark_workloads(world);
        self.idle.get_or_init(|| {
            let idle = top_workloads(world).filter(|w| w.desired == 0);
            Arc::new(idle.map(View::reference).collect())
        })
    }

    /// The top-most workloads of a namespace, in no order.
    pub(super) fn workloads(&self, world: &World, namespace: &str) -> &[Arc<Workload>] {
        mark_workloads(world);
        let workloads = self.workloads.get_or_init(|| {
            let mut found = ByNamespace::new();
            for workload in shared_workloads(world) {
                let near = found.entry_ref(&workload.meta.namespace).or_default();
                near.push(Arc::clone(workload));
            }
            Arc::new(found)
        });
        workloads.get(namespace).map_or(&[], Vec::as_slice)
    }

    /// Where the pods that are meant to run stand among all.
    pub(super) fn counted(&self, view: &View<'_>) -> &[usize] {
        let world = view.world;
        let all = &self.pods(world).all;
        // What is remembered rests on all that it was built of.
        let _ = (self.terminating(world), self.idle(world));
        self.counted.get_or_init(|| {
            let counts = |index: &usize| view.counts(&all[*index].0, &all[*index].1);
            (0..all.len()).filter(counts).collect()
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

/// The objects of a namespace, of those that stand in the order of their names.
pub(super) fn within<'a>(all: &'a [Arc<Resource>], namespace: &str) -> &'a [Arc<Resource>] {
    stretch(all, |object| (*object.meta.namespace).cmp(namespace))
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
        Self { all, ..Self::default() }
    }

    /// Where the pods of a workload stand.
    pub(super) fn of_workload(&self, workload: &WorkloadRef) -> &[usize] {
        let by_workload = self.by_workload.get_or_init(|| {
            let mut found: HashMap<_, Vec<usize>> = HashMap::new();
            for (index, (_, workload)) in self.all.iter().enumerate() {
                found.entry_ref(workload).or_default().push(index);
            }
            found
        });
        by_workload.get(workload).map_or(&[], Vec::as_slice)
    }

    /// Where the pods on a node stand.
    pub(super) fn on_node(&self, node: &str) -> &[usize] {
        let by_node = self.by_node.get_or_init(|| {
            let mut found: HashMap<_, Vec<usize>> = HashMap::new();
            for (index, (pod, _)) in self.all.iter().enumerate() {
                if !pod.node.is_empty() {
                    found.entry_ref(&pod.node).or_default().push(index);
                }
            }
            found
        });
        by_node.get(node).map_or(&[], Vec::as_slice)
    }

    /// Where the pods that name a claim stand.
    pub(super) fn using(&self, namespace: &str, name: &str) -> &[usize] {
        let by_claim = self.by_claim.get_or_init(|| {
            let mut found: HashMap<_, Vec<usize>> = HashMap::new();
            for (index, (pod, _)) in self.all.iter().enumerate() {
                for claim in &pod.claims {
                    let key = (pod.meta.namespace.clone(), claim.clone());
                    found.entry(key).or_default().push(index);
                }
            }
            found
        });
        by_claim.get(&Name { namespace, name }).map_or(&[], Vec::as_slice)
    }

    /// The pods of a namespace, which stand together.
    pub(super) fn within(&self, namespace: &str) -> &[(Arc<Pod>, WorkloadRef)] {
        stretch(&self.all, |(pod, _)| (*pod.meta.namespace).cmp(namespace))
    }
}

/// Those that are equal in an order in which all stand.
fn stretch<T>(all: &[T], order: impl Fn(&T) -> Ordering) -> &[T] {
    let rest = &all[all.partition_point(|item| order(item).is_lt())..];
    &rest[..rest.partition_point(|item| order(item).is_eq())]
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
    shared_workloads(world).map(|workload| &**workload)
}

fn shared_workloads(world: &World) -> impl Iterator<Item = &Arc<Workload>> {
    (world.deployments.shared())
        .chain(world.stateful_sets.shared())
        .chain(world.daemon_sets.shared())
        .chain(world.replica_sets.shared().filter(|w| w.meta.owner.is_none()))
}

fn mark_workloads(world: &World) {
    world.deployments.mark();
    world.stateful_sets.mark();
    world.daemon_sets.mark();
    world.replica_sets.mark();
}
