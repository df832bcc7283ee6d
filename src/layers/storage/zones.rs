//! Which volumes are pinned to zones that cannot run their pods, and how are volumes spread?

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use jiff::SignedDuration;

use super::drivers::{count_of, is_live};
use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::reading::Readings;
use crate::model::record::{Claim, Node, Pod, Status, Uid, Volume, VolumePhase, Workload};
use crate::model::signal::{Direction, Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::text::Text;
use crate::model::view::View;

pub(super) static UNSCHEDULABLE: Signal = Signal {
    block: "S1.17",
    name: "storage_pv_zone_unschedulable",
    layer: Layer::Storage,
    help: "Zones that hold volumes of pods and have no Ready, schedulable node to run these pods on; healthy is none.",
    unit: Unit::Count,
    labels: &["zone", "reason"],
    reasons: &["no_nodes", "not_ready", "unschedulable"],
    bound: "zones × 3 reasons",
    needs: &[Kind::PersistentVolume, Kind::PersistentVolumeClaim, Kind::Node, Kind::Pod],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(unschedulable),
};

pub(super) static SPREAD: Signal = Signal {
    block: "S1.17",
    name: "storage_workload_zones",
    layer: Layer::Storage,
    help: "Zones over which the volumes of a StatefulSet with two replicas or more are spread, in a cluster of two \
           zones or more; one zone is a risk, not a fault.",
    unit: Unit::Count,
    labels: &["namespace", "workload_kind", "workload"],
    reasons: &[],
    bound: "StatefulSets with zonal volumes",
    needs: &[Kind::StatefulSet, Kind::PersistentVolumeClaim, Kind::PersistentVolume, Kind::Node],
    uses: &[],
    profile: Profile::None,
    read: Read::Gauge(spread),
};

pub(super) static SHARE: Signal = Signal {
    block: "S1.17",
    name: "storage_zone_bytes_ratio",
    layer: Layer::Storage,
    help: "A zone's share of the capacity of all bound volumes that are pinned to one zone; healthy is stable.",
    unit: Unit::Ratio,
    labels: &["zone"],
    reasons: &[],
    bound: "zones",
    needs: &[Kind::PersistentVolume],
    uses: &[],
    profile: Profile::Level { bad: Direction::Both, floor: 0.05 },
    read: Read::Gauge(share),
};

/// What the nodes of a zone can do for a pod that must run there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Zone {
    Empty,
    NotReady,
    Unschedulable,
    Usable,
}

fn is_ready(node: &Node) -> bool {
    node.condition("Ready").is_some_and(|c| c.status == Status::True)
}

fn zones<'a>(view: &View<'a>) -> HashMap<&'a str, Zone> {
    let mut zones: HashMap<&str, Zone> = HashMap::new();
    for node in view.world.nodes.iter() {
        let state = match (is_ready(node), view.node_context(node)) {
            (false, _) => Zone::NotReady,
            (true, Some(_)) => Zone::Unschedulable,
            (true, None) => Zone::Usable,
        };
        let zone = zones.entry(&node.zone).or_insert(Zone::Empty);
        *zone = state.max(*zone);
    }
    zones
}

/// The volumes that wait for a zone.
#[derive(Default)]
struct Pinned<'a> {
    claims: BTreeSet<(&'a Text, &'a Text)>,
    bytes: u64,
}

fn unschedulable(view: &View<'_>, verdicts: &mut Verdicts) {
    let zones = zones(view);
    let mut groups: BTreeMap<(String, Zone), Pinned<'_>> = BTreeMap::new();
    for volume in view.world.volumes.iter().filter(|v| v.phase == VolumePhase::Bound) {
        let state = |zone: &Text| zones.get(zone.as_str()).copied().unwrap_or(Zone::Empty);
        // A volume that lies in several zones can be reached from each.
        let Some(best) = volume.zones.iter().map(state).max() else { continue };
        let Some(claim) = claim_of(view, volume) else { continue };
        if best < Zone::Usable && is_needed(view, claim, best) {
            let mut names: Vec<&str> = volume.zones.iter().map(Text::as_str).collect();
            names.sort_unstable();
            let pinned = groups.entry((names.join(","), best)).or_default();
            pinned.claims.insert((&claim.meta.namespace, &claim.meta.name));
            pinned.bytes += volume.capacity;
        }
    }
    for ((zone, state), pinned) in groups {
        let (reason, nodes) = match state {
            Zone::Empty => ("no_nodes", "there is no node"),
            Zone::NotReady => ("not_ready", "no node is Ready"),
            _ => ("unschedulable", "no Ready node takes pods"),
        };
        let Some((namespace, name)) = pinned.claims.first() else { continue };
        verdicts.push(Verdict {
            subject: Subject { kind: "Zone".into(), name: zone.as_str().into(), ..Subject::cluster() },
            labels: labels![zone.as_str(), reason],
            reason,
            severity: Severity::Critical,
            since: None,
            dwell: SignedDuration::from_mins(2),
            message: format!(
                "pods need {} in zone {zone}, such as {namespace}/{name}, {} GiB in all, but {nodes} there",
                count_of(pinned.claims.len(), "claim"),
                pinned.bytes >> 30
            ),
        });
    }
}

/// The claim that a volume is bound to, and no other of its name.
fn claim_of<'a>(view: &View<'a>, volume: &Volume) -> Option<&'a Claim> {
    let of = volume.claim.as_ref()?;
    let claim = view.world.claims.get(&of.namespace, &of.name)?;
    (of.uid == Uid::default() || claim.meta.uid == of.uid).then_some(claim)
}

/// Whether a pod needs the claim and cannot run for want of a node in the volume's zone.
fn is_needed(view: &View<'_>, claim: &Claim, state: Zone) -> bool {
    let on_ready = |pod: &Pod| view.world.nodes.get("", &pod.node).is_some_and(is_ready);
    let mut users: Vec<&Pod> =
        view.pods_using(&claim.meta.namespace, &claim.meta.name).filter(|p| is_live(p)).collect();
    // Where a pod runs, the volume can be reached, whatever its zone is called.
    if users.iter().any(|pod| on_ready(pod)) {
        return false;
    }
    match state {
        // Drivers may name zones of their own that no node's label knows: only the scheduler's word counts.
        Zone::Empty => users.retain(|pod| scheduler_says_zone(pod)),
        // A cordoned node keeps its pods.
        Zone::Unschedulable => users.retain(|pod| pod.node.is_empty()),
        _ => {}
    }
    !users.is_empty()
}

/// The scheduler's words for a node that a volume cannot reach; they differ between versions.
const ZONE_CONFLICTS: [&str; 3] = [
    "didn't match PersistentVolume's node affinity",
    "had volume node affinity conflict",
    "had no available volume zone",
];

fn scheduler_says_zone(pod: &Pod) -> bool {
    let scheduled = pod.condition("PodScheduled");
    scheduled.is_some_and(|c| ZONE_CONFLICTS.into_iter().any(|words| c.message.contains(words)))
}

fn spread(view: &View<'_>, readings: &mut Readings) {
    let named = view.world.nodes.iter().map(|n| &n.zone).filter(|zone| !zone.is_empty());
    if named.collect::<BTreeSet<_>>().len() < 2 {
        return;
    }
    for set in view.counted_workloads().filter(|w| w.kind == Kind::StatefulSet && w.desired > 1) {
        let volumes = volumes_of(view, set);
        let zones: BTreeSet<&Text> = volumes.iter().flat_map(|v| v.zones.iter()).collect();
        if volumes.len() > 1 && volumes.iter().all(|v| v.zones.len() == 1) {
            let workload = View::reference(set);
            let labels = labels![&workload.namespace, &workload.kind, &workload.name];
            readings.push(labels, zones.len() as f64);
        }
    }
}

/// The volumes of a StatefulSet's claims, which are called `<template>-<set>-<ordinal>`.
fn volumes_of<'a>(view: &View<'a>, set: &Workload) -> Vec<&'a Volume> {
    let mut volumes = Vec::new();
    for template in &set.claim_templates {
        for ordinal in 0..set.desired {
            let name = format!("{template}-{}-{ordinal}", set.meta.name);
            let claim = view.world.claims.get(&set.meta.namespace, &name);
            volumes.extend(claim.and_then(|c| view.world.volumes.get("", &c.volume)));
        }
    }
    volumes
}

fn share(view: &View<'_>, readings: &mut Readings) {
    let mut bytes: BTreeMap<&Text, u64> = BTreeMap::new();
    for volume in view.world.volumes.iter().filter(|v| v.phase == VolumePhase::Bound) {
        if let [zone] = &*volume.zones {
            *bytes.entry(zone).or_default() += volume.capacity;
        }
    }
    let all: u64 = bytes.values().sum();
    for (zone, part) in bytes {
        // Bytes are no cases: their number is no measure of evidence.
        readings.push(labels![zone], part as f64 / all as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{
        bound, condition, judge, meta, node, objects, pod, readings, reasons, volume, world,
    };
    use super::*;
    use crate::model::record::{Condition, Object, Phase};

    fn zonal(claim: &str, zones: &[&str]) -> Volume {
        let zones = zones.iter().map(|z| Text::from(*z)).collect();
        Volume { zones, ..volume(claim) }
    }

    fn running(node: &str) -> Pod {
        Pod { phase: Phase::Running, ..pod("db-0", node, &["data"]) }
    }

    fn refused(words: &str) -> Pod {
        let (kind, message) =
            ("PodScheduled".into(), format!("0/3 nodes: 3 {words}").as_str().into());
        let condition = Condition { kind, message, status: Status::False, ..Condition::default() };
        Pod { conditions: [condition].into(), ..pod("db-0", "", &["data"]) }
    }

    fn down(name: &str, zone: &str) -> Node {
        Node { conditions: [condition("Ready", Status::Unknown, 90)].into(), ..node(name, zone) }
    }

    fn cordoned(name: &str, zone: &str) -> Node {
        Node { unschedulable: true, ..node(name, zone) }
    }

    fn with(more: Vec<Object>) -> Vec<Object> {
        let mut objects = objects![zonal("data", &["a"]), bound("data"), node("n9", "b")];
        objects.extend(more);
        objects
    }

    #[test]
    fn a_zone_that_cannot_run_the_pods_of_its_volumes_is_told() {
        let conflict = || refused("node(s) didn't match PersistentVolume's node affinity");
        let cases = [
            ("dead", with(objects![down("n1", "a"), running("n1")]), "not_ready"),
            (
                "one of two is Ready",
                with(objects![down("n1", "a"), node("n2", "a"), running("n1")]),
                "",
            ),
            ("gone", with(objects![conflict()]), "no_nodes"),
            ("gone, but short of CPU", with(objects![refused("Insufficient cpu")]), ""),
            ("gone, and nobody needs it", with(vec![]), ""),
            (
                "cordoned, pod waits",
                with(objects![cordoned("n1", "a"), conflict()]),
                "unschedulable",
            ),
            ("cordoned, pod runs", with(objects![cordoned("n1", "a"), running("n1")]), ""),
            ("a name of the driver's own", with(objects![running("n9")]), ""),
        ];
        for (name, objects, expected) in cases {
            assert_eq!(reasons(&UNSCHEDULABLE, objects).join(" "), expected, "{name}");
        }
    }

    #[test]
    fn a_volume_of_two_zones_needs_one_of_them() {
        let two = || zonal("data", &["b", "a"]);
        let one_left =
            objects![two(), bound("data"), down("n1", "a"), node("n2", "b"), running("n1")];
        assert!(reasons(&UNSCHEDULABLE, one_left).is_empty());
        let none_left =
            objects![two(), bound("data"), down("n1", "a"), down("n2", "b"), running("n1")];
        let verdict = &judge(&UNSCHEDULABLE, &world(&[], none_left))[0];
        assert_eq!(verdict.subject.name, "a,b");
    }

    #[test]
    fn a_dead_zone_is_one_finding_for_all_its_volumes() {
        let second = pod("web-0", "n1", &["logs"]);
        let more =
            objects![down("n1", "a"), running("n1"), zonal("logs", &["a"]), bound("logs"), second];
        let verdicts = judge(&UNSCHEDULABLE, &world(&[], with(more)));
        assert_eq!(verdicts.len(), 1);
        for words in ["2 claims", "shop/data", "2 GiB", "zone a"] {
            assert!(verdicts[0].message.contains(words), "{}", verdicts[0].message);
        }
    }

    #[test]
    fn spread_is_the_number_of_zones_of_a_sets_volumes() {
        let set = Workload {
            meta: meta("shop", "db", 60),
            desired: 2,
            claim_templates: ["data".into()].into(),
            ..Workload::new(Kind::StatefulSet)
        };
        let replicas = |zones: [&str; 2], nodes: [&str; 2]| {
            let mut objects = objects![
                bound("data-db-0"),
                bound("data-db-1"),
                zonal("data-db-0", &zones[..1]),
                zonal("data-db-1", &zones[1..]),
                node("n1", nodes[0]),
                node("n2", nodes[1]),
            ];
            objects.push(Object::Workload(Box::new(set.clone())));
            readings(&SPREAD, objects).iter().map(|r| r.value).collect::<Vec<_>>()
        };
        assert_eq!(replicas(["a", "a"], ["a", "b"]), [1.0]);
        assert_eq!(replicas(["a", "b"], ["a", "b"]), [2.0]);
        assert!(replicas(["a", "a"], ["a", "a"]).is_empty(), "a cluster of one zone");
    }

    #[test]
    fn shares_are_of_volumes_in_one_zone() {
        let objects = objects![
            zonal("a", &["a"]),
            Volume { capacity: 3 << 30, ..zonal("b", &["b"]) },
            zonal("c", &["a", "b"]),
            volume("d"),
        ];
        let shares: Vec<_> = readings(&SHARE, objects).iter().map(|r| r.value).collect();
        assert_eq!(shares, [0.25, 0.75]);
    }
}
