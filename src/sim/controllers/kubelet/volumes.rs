//! How full is a volume? A program fills what it was given over a day and tidies up, unless something fills it for good.

use serde_json::Value;

use crate::sim::controllers::attach;
use crate::sim::controllers::scheduler::quantity;
use crate::sim::fields::Fields;
use crate::sim::kind::Kind;
use crate::sim::moment::{DAY, Moment};
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

/// The least and the greatest share that a volume holds after its program has tidied up, and what a day adds.
const LEAST: f64 = 0.2;
const MOST: f64 = 0.55;
const OF_A_DAY: f64 = 0.06;
/// What mkfs.ext4 makes by default, and how many of them a program's few large files take.
const BYTES_EACH_INODE: f64 = 16_384.0;
const INODES_SHARE: f64 = 0.01;
/// From this share on a write fails.
const FULL: f64 = 0.999;

/// What there is of a volume, and what of it is used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) bytes: f64,
    pub(crate) used: f64,
    pub(crate) inodes: f64,
    pub(crate) inodes_used: f64,
}

/// What a volume may run out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stuff {
    Bytes,
    Inodes,
}

/// Something that fills a volume, steadily, from what it held at `since` to a share of it at `until`; and no further.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filling {
    pub(crate) stuff: Stuff,
    pub(crate) since: Moment,
    pub(crate) until: Moment,
    pub(crate) share: f64,
}

impl Filling {
    fn at(&self, usual: f64, now: Moment) -> f64 {
        let whole = (self.until - self.since).max(1) as f64;
        let part = ((now - self.since) as f64 / whole).clamp(0.0, 1.0);
        usual.max(usual + (self.share - usual) * part)
    }
}

/// The room in the volume of a claim; `None` while it has none.
pub(crate) fn room(sim: &Simulation, claim: &Key) -> Option<Room> {
    let found = sim.store.get(Kind::PersistentVolumeClaim, claim)?;
    let capacity = found.text("status/capacity/storage");
    if capacity.is_empty() {
        return None;
    }
    let bytes = quantity(capacity, false) as f64;
    let mut habit = sim.chance.of("volume", found.text("metadata/uid"));
    let (held, hour) = (LEAST + (MOST - LEAST) * habit.unit(), habit.between(0, DAY));
    let of_day = (sim.now - hour).rem_euclid(DAY) as f64 / DAY as f64;
    let (mut used, mut inodes_used) = (held + OF_A_DAY * of_day, INODES_SHARE);
    if let Some(filling) = sim.storage.filling.get(claim) {
        let stuff = match filling.stuff {
            Stuff::Bytes => &mut used,
            Stuff::Inodes => &mut inodes_used,
        };
        *stuff = filling.at(*stuff, sim.now);
    }
    let inodes = (bytes / BYTES_EACH_INODE).floor();
    Some(Room { bytes, used: used * bytes, inodes, inodes_used: inodes_used * inodes })
}

/// Whether a program can't write any more to one of its volumes.
pub(crate) fn full(sim: &Simulation, pod: &Value) -> bool {
    let filled = |claim: &Key| sim.storage.filling.contains_key(claim);
    !sim.storage.filling.is_empty()
        && attach::claims(pod)
            .filter(filled)
            .filter_map(|claim| room(sim, &claim))
            .any(|room| room.used >= FULL * room.bytes || room.inodes_used >= FULL * room.inodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_fills_steadily_and_no_further() {
        let filling = Filling { stuff: Stuff::Bytes, since: 100, until: 200, share: 1.0 };
        let at = [0, 100, 150, 200, 900].map(|now| filling.at(0.5, now));
        assert_eq!(at, [0.5, 0.5, 0.75, 1.0, 1.0]);
        let less = Filling { share: 0.3, ..filling };
        assert_eq!(less.at(0.5, 200), 0.5, "nothing is taken away");
    }
}
