//! What do layers read? The world at one moment, with the rules that all signals share applied once.

mod context;
mod events;
mod owners;
mod population;
mod resources;
mod services;

use hashbrown::{HashMap, HashSet};

use super::kind::Kind;
use super::record::{Event, Pod, Record, Resource, Time};
use super::subject::WorkloadRef;
use super::text::Text;
use super::world::World;

pub use context::NodeContext;
pub use events::STILL_SPEAKS;
pub use owners::{job_workload, roll_up};
pub use resources::Origin;
pub use services::Endpoints;

/// The world at one moment, indexed for reading. Built once a tick.
#[derive(Debug)]
pub struct View<'a> {
    /// The cluster.
    pub world: &'a World,
    /// The moment.
    pub now: Time,
    pods: Vec<(&'a Pod, WorkloadRef)>,
    by_workload: HashMap<WorkloadRef, Vec<usize>>,
    by_node: HashMap<Text, Vec<usize>>,
    by_claim: HashMap<(Text, Text), Vec<usize>>,
    events: HashMap<(Text, Text, Text), Vec<&'a Event>>,
    terminating: HashSet<Text>,
    idle: HashSet<WorkloadRef>,
    by_namespace: HashMap<Text, Vec<usize>>,
    resources: HashMap<Kind, Vec<&'a Resource>>,
    endpoints: HashMap<(Text, Text), Endpoints>,
}

impl<'a> View<'a> {
    /// Indexes the world.
    #[must_use]
    pub fn new(world: &'a World, now: Time) -> Self {
        let mut pods: Vec<(&Pod, WorkloadRef)> =
            world.pods.iter().map(|pod| (pod, roll_up(world, pod))).collect();
        // The order of objects must not matter to the outcome, nor to the words of a finding.
        pods.sort_unstable_by(|(a, _), (b, _)| {
            (&a.meta.namespace, &a.meta.name).cmp(&(&b.meta.namespace, &b.meta.name))
        });
        let mut view = Self {
            world,
            now,
            pods,
            by_workload: HashMap::new(),
            by_node: HashMap::new(),
            by_claim: HashMap::new(),
            events: HashMap::new(),
            terminating: HashSet::new(),
            idle: HashSet::new(),
            by_namespace: HashMap::new(),
            resources: HashMap::new(),
            endpoints: HashMap::new(),
        };
        for (index, (pod, workload)) in view.pods.iter().enumerate() {
            match view.by_workload.get_mut(workload) {
                Some(members) => members.push(index),
                None => {
                    view.by_workload.insert(workload.clone(), vec![index]);
                }
            }
            match view.by_namespace.get_mut(&pod.meta.namespace) {
                Some(members) => members.push(index),
                None => {
                    view.by_namespace.insert(pod.meta.namespace.clone(), vec![index]);
                }
            }
            if !pod.node.is_empty() {
                view.by_node.entry(pod.node.clone()).or_default().push(index);
            }
            for claim in &pod.claims {
                let key = (pod.meta.namespace.clone(), claim.clone());
                view.by_claim.entry(key).or_default().push(index);
            }
        }
        for event in world.events.iter() {
            let about = &event.regarding;
            let key = (about.kind.clone(), about.namespace.clone(), about.name.clone());
            view.events.entry(key).or_default().push(event);
        }
        for events in view.events.values_mut() {
            events.sort_unstable_by_key(|e| (e.last, e.meta.uid));
        }
        view.index_population();
        view.index_resources();
        view.index_endpoints();
        view
    }

    /// Every pod with the workload that it is counted under, in the order of their names. For most signals
    /// [`counted_pods`](View::counted_pods) is the right one.
    pub fn all_pods(&self) -> impl Iterator<Item = (&'a Pod, &WorkloadRef)> {
        self.pods.iter().map(|(pod, workload)| (*pod, workload))
    }

    /// The pods of a workload, all of them.
    pub fn pods_of(&self, workload: &WorkloadRef) -> impl Iterator<Item = &'a Pod> + '_ {
        self.at(self.by_workload.get(workload))
    }

    /// The pods bound to a node, all of them.
    pub fn pods_on(&self, node: &str) -> impl Iterator<Item = &'a Pod> + '_ {
        self.at(self.by_node.get(node))
    }

    /// The pods of a namespace, all of them.
    pub fn pods_in(&self, namespace: &str) -> impl Iterator<Item = &'a Pod> + '_ {
        self.at(self.by_namespace.get(namespace))
    }

    /// The pods that name a claim, all of them.
    pub fn pods_using(&self, namespace: &Text, claim: &Text) -> impl Iterator<Item = &'a Pod> + '_ {
        self.at(self.by_claim.get(&(namespace.clone(), claim.clone())))
    }

    fn at<'s>(&'s self, indexes: Option<&'s Vec<usize>>) -> impl Iterator<Item = &'a Pod> + 's {
        indexes.into_iter().flatten().map(|index| self.pods[*index].0)
    }

    /// The events about an object, by their last time. The namespace of a cluster-scoped object is empty.
    #[must_use]
    pub fn events(&self, kind: &str, namespace: &Text, name: &Text) -> &[&'a Event] {
        let key = (Text::from(kind), namespace.clone(), name.clone());
        self.events.get(&key).map_or(&[], Vec::as_slice)
    }

    /// Whether any pod is counted under the workload.
    #[must_use]
    pub fn has_pods(&self, workload: &WorkloadRef) -> bool {
        self.by_workload.contains_key(workload)
    }

    /// Seconds from `then` to now; 0 for a time in the future.
    #[must_use]
    pub fn age_seconds(&self, then: Time) -> i64 {
        (self.now.as_second() - then.as_second()).max(0)
    }

    /// The pod or other record's age in seconds.
    #[must_use]
    pub fn age_of(&self, record: &impl Record) -> i64 {
        self.age_seconds(record.meta().created)
    }
}
