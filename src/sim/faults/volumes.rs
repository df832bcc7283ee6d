//! What goes wrong with the room in volumes? Their programs write until there is none.

use super::follows::{CRASHING, CUT_OFF, Follows, UNDELIVERED, UNREADY};
use super::means::key;
use super::{Class, Fault, FaultKind};
use crate::sim::controllers::kubelet::volumes::{Filling, Stuff};
use crate::sim::controllers::{attach, kubelet};
use crate::sim::moment::{MINUTE, Moment};
use crate::sim::script;
use crate::sim::simulation::Simulation;

/// What follows when a program can't write.
const UNWRITTEN: Follows = &[
    UNREADY,
    CRASHING,
    CUT_OFF,
    UNDELIVERED,
    &["compute_pdb_blocking", "storage_volume_used_ratio"],
];

pub(super) static FAULTS: &[FaultKind] = &[
    FaultKind {
        name: "volume-fills",
        layer: "storage",
        class: Class::Obvious,
        summary: "the program on claim {claim} fills its volume in {minutes} minutes, and ends when nothing is left",
        root: "PersistentVolumeClaim {claim}",
        tells: &["storage_volume_full"],
        follows: UNWRITTEN,
        within: 1_500,
        lasts: 2_400,
        parameters: &[("claim", "shop/data-sessions-0"), ("minutes", "20")],
        begin: |sim, fault| fill(sim, fault, Stuff::Bytes, 1.0),
        end: tidy,
    },
    FaultKind {
        name: "inodes-exhausted",
        layer: "storage",
        class: Class::Obvious,
        summary: "the program on claim {claim} takes every inode of its volume within {minutes} minutes",
        root: "PersistentVolumeClaim {claim}",
        tells: &["storage_volume_full"],
        follows: UNWRITTEN,
        within: 1_500,
        lasts: 2_400,
        parameters: &[("claim", "search/data-shards-0"), ("minutes", "20")],
        begin: |sim, fault| fill(sim, fault, Stuff::Inodes, 1.0),
        end: tidy,
    },
    FaultKind {
        name: "volume-creeps",
        layer: "storage",
        class: Class::Creeping,
        summary: "nothing tidies claim {claim} up any more: within {minutes} minutes nine tenths of its volume are used",
        root: "PersistentVolumeClaim {claim}",
        tells: &["storage_volume_used_ratio"],
        follows: &[],
        within: 18_000,
        lasts: 21_600,
        parameters: &[("claim", "media/data-blobs-0"), ("minutes", "360")],
        begin: |sim, fault| fill(sim, fault, Stuff::Bytes, 0.9),
        end: tidy,
    },
    FaultKind {
        name: "volume-compacted",
        layer: "storage",
        class: Class::Healthy,
        summary: "a compaction on claim {claim} needs a fifth more of its volume for {minutes} minutes",
        root: "PersistentVolumeClaim {claim}",
        tells: &[],
        follows: &[],
        within: 0,
        lasts: 1_200,
        parameters: &[("claim", "search/data-shards-1"), ("minutes", "20")],
        begin: |sim, fault| fill(sim, fault, Stuff::Bytes, 0.75),
        end: tidy,
    },
];

fn fill(sim: &mut Simulation, fault: &Fault, stuff: Stuff, share: f64) {
    let minutes = fault.parameter("minutes").parse::<Moment>().unwrap_or(0);
    let lasts = minutes.max(1) * MINUTE;
    let (since, until) = (sim.now, sim.now + lasts);
    let filling = Filling { stuff, since, until, share };
    sim.storage.filling.insert(key(fault.parameter("claim")), filling);
    // When it may be full, whoever writes finds out.
    script::later(sim, lasts, fault, recheck);
}

fn tidy(sim: &mut Simulation, fault: &Fault) {
    sim.storage.filling.remove(&key(fault.parameter("claim")));
    recheck(sim, fault);
}

fn recheck(sim: &mut Simulation, fault: &Fault) {
    for pod in attach::users(sim, &key(fault.parameter("claim"))) {
        kubelet::look(sim, pod);
    }
}
