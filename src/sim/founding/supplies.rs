//! What do volumes come from, and who keeps copies of them? Storage pools and a schedule of snapshots.

use crate::sim::controllers::Task;
use crate::sim::simulation::Simulation;

/// Sets both going.
pub(super) fn found(sim: &mut Simulation) {
    sim.queue.push(sim.now, Task::Pools);
    sim.queue.push(sim.now, Task::Snapshots);
}
