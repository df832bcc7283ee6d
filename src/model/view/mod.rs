//! What do layers read? The world at one moment, with the rules that all signals share applied once.

mod context;
mod events;
mod indexes;
mod owners;
mod population;
mod renewals;
mod resources;
mod services;

use std::cell::Cell;

use super::record::{Event, Pod, Record, Time};
use super::subject::WorkloadRef;
use super::text::Text;
use super::world::World;

pub use context::NodeContext;
pub use events::STILL_SPEAKS;
pub(super) use indexes::Indexes;
use indexes::Pods;
pub use owners::{job_workload, roll_up};
pub use resources::Origin;
pub use services::Endpoints;

/// The world at one moment, indexed for reading.
#[derive(Debug)]
pub struct View<'a> {
    /// The cluster.
    pub world: &'a World,
    now: Time,
    /// Until when what was read stays as it is in a world that does; `None`: for good.
    due: Cell<Option<Time>>,
}

impl<'a> View<'a> {
    /// Looks at the world at this moment.
    #[must_use]
    pub fn new(world: &'a World, now: Time) -> Self {
        Self { world, now, due: Cell::new(None) }
    }

    /// The moment. Who asks for it may say something else at any other one; [`is_over`](View::is_over) and
    /// [`is_older`](View::is_older) ask for less.
    #[must_use]
    pub fn now(&self) -> Time {
        self.due.set(Some(self.now));
        self.now
    }

    /// Whether this time has passed.
    #[must_use]
    pub fn is_over(&self, time: Time) -> bool {
        let over = self.now > time;
        if !over {
            self.changes_at(time);
        }
        over
    }

    /// Whether something of this time is more than so many seconds old.
    #[must_use]
    pub fn is_older(&self, then: Time, seconds: i64) -> bool {
        let from = then.as_second().saturating_add(seconds).saturating_add(1);
        // In whole seconds, as ages are told.
        let older = seconds < 0 || self.now.as_second() >= from;
        if !older {
            self.changes_at(Time::from_second(from).unwrap_or(Time::MAX));
        }
        older
    }

    /// Whether something of this time is less than so many seconds old.
    #[must_use]
    pub fn is_younger(&self, then: Time, seconds: i64) -> bool {
        !self.is_older(then, seconds.saturating_sub(1))
    }

    /// Notes that something else may be said from this time on.
    fn changes_at(&self, time: Time) {
        let time = time.max(self.now);
        self.due.set(Some(self.due.get().map_or(time, |due| due.min(time))));
    }

    /// Begins to note what is read, and until when it stays.
    pub fn watch_reading(&self) {
        self.due.set(None);
        self.world.watch_reading();
    }

    /// From when on what was read may say something else, though the world does not change; `None`: never.
    #[must_use]
    pub fn due(&self) -> Option<Time> {
        self.due.get()
    }

    /// The moment, for who keeps the books: it notes nothing.
    #[must_use]
    pub fn at(&self) -> Time {
        self.now
    }

    fn pods(&self) -> &'a Pods {
        self.world.indexes.pods(self.world)
    }

    /// Every pod with the workload that it is counted under, in the order of their names. For most signals
    /// [`counted_pods`](View::counted_pods) is the right one.
    pub fn all_pods(&self) -> impl Iterator<Item = (&'a Pod, &'a WorkloadRef)> + use<'a> {
        self.pods().all.iter().map(|(pod, workload)| (&**pod, workload))
    }

    /// The pods of a workload, all of them.
    pub fn pods_of(&self, workload: &WorkloadRef) -> impl Iterator<Item = &'a Pod> + '_ {
        self.members(self.pods().of_workload(workload))
    }

    /// The pods bound to a node, all of them.
    pub fn pods_on(&self, node: &str) -> impl Iterator<Item = &'a Pod> + '_ {
        self.members(self.pods().on_node(node))
    }

    /// The pods of a namespace, all of them.
    pub fn pods_in(&self, namespace: &str) -> impl Iterator<Item = &'a Pod> + '_ {
        self.pods().within(namespace).iter().map(|(pod, _)| &**pod)
    }

    /// The pods that name a claim, all of them.
    pub fn pods_using(&self, namespace: &Text, claim: &Text) -> impl Iterator<Item = &'a Pod> + '_ {
        self.members(self.pods().using(namespace, claim))
    }

    fn members(&self, indexes: &'a [usize]) -> impl Iterator<Item = &'a Pod> + use<'a> {
        let all = &self.pods().all;
        indexes.iter().map(|index| &*all[*index].0)
    }

    /// The events about an object, by their last time. The namespace of a cluster-scoped object is empty.
    pub fn events(
        &self,
        kind: &str,
        namespace: &Text,
        name: &Text,
    ) -> impl DoubleEndedIterator<Item = &'a Event> + use<'a> {
        self.world.indexes.events(self.world, [kind, namespace, name]).iter().map(|event| &**event)
    }

    /// Whether any pod is counted under the workload.
    #[must_use]
    pub fn has_pods(&self, workload: &WorkloadRef) -> bool {
        !self.pods().of_workload(workload).is_empty()
    }

    /// Seconds from `then` to now; 0 for a time in the future.
    #[must_use]
    pub fn age_seconds(&self, then: Time) -> i64 {
        (self.now().as_second() - then.as_second()).max(0)
    }

    /// The pod or other record's age in seconds.
    #[must_use]
    pub fn age_of(&self, record: &impl Record) -> i64 {
        self.age_seconds(record.meta().created)
    }
}
