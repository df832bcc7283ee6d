//! Which part of the control plane is down, and what waits for it? A part that is down does nothing; what it missed it
//! finds when it is back, since it lists everything anew.

use std::collections::{BTreeMap, BTreeSet};

use super::{Task, leases};
use crate::sim::kind::Kind;
use crate::sim::moment::{Moment, SECOND};
use crate::sim::simulation::Simulation;

/// A process of the control plane that may fail by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    ControllerManager,
    Scheduler,
}

impl Part {
    /// As its lease is called.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
        }
    }

    /// The part of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::ControllerManager, Self::Scheduler].into_iter().find(|part| part.name() == name)
    }

    /// Whose work a task is, where it is one of these.
    fn of(task: &Task) -> Option<Self> {
        match task {
            Task::Schedule(_) => Some(Self::Scheduler),
            Task::Reconcile(kind, _) => matches!(
                kind,
                Kind::Deployment
                    | Kind::ReplicaSet
                    | Kind::StatefulSet
                    | Kind::DaemonSet
                    | Kind::Job
                    | Kind::CronJob
                    | Kind::Service
                    | Kind::HorizontalPodAutoscaler
                    | Kind::PodDisruptionBudget
                    | Kind::ResourceQuota
            )
            .then_some(Self::ControllerManager),
            Task::Monitor(_)
            | Task::Evict(_)
            | Task::Bind(_)
            | Task::Release(_)
            | Task::Attach(_) => Some(Self::ControllerManager),
            _ => None,
        }
    }
}

/// Parts that are down, since when, and what they miss.
#[derive(Debug, Default)]
pub(crate) struct Control {
    down: BTreeMap<Part, Moment>,
    missed: BTreeMap<Part, BTreeSet<Task>>,
}

impl Control {
    /// Since when a part is down; `None` while it works.
    pub(crate) fn down(&self, part: Part) -> Option<Moment> {
        self.down.get(&part).copied()
    }

    /// Puts a task aside whose part is down.
    pub(super) fn holds(&mut self, task: &Task) -> bool {
        let Some(part) = Part::of(task).filter(|part| self.down.contains_key(part)) else {
            return false;
        };
        self.missed.entry(part).or_default().insert(task.clone());
        true
    }
}

/// The part stops.
pub(crate) fn stop(sim: &mut Simulation, part: Part) {
    sim.memories.control.down.entry(part).or_insert(sim.now);
    leases::part_changed(sim, part);
}

/// The part is back.
pub(crate) fn start(sim: &mut Simulation, part: Part) {
    sim.memories.control.down.remove(&part);
    leases::part_changed(sim, part);
    for task in sim.memories.control.missed.remove(&part).unwrap_or_default() {
        sim.queue.push(sim.now + 2 * SECOND, task);
    }
}
