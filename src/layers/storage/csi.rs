//! Is each CSI driver on the nodes that need it, and can they take more volumes?

use std::collections::BTreeMap;

use hashbrown::{HashMap, HashSet};
use jiff::SignedDuration;

use super::drivers::count_of;
use super::mounts::is_starting;
use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::reading::Readings;
use crate::model::record::{Node, Pod, Status, VolumeAttachment};
use crate::model::signal::{Direction, Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::text::Text;
use crate::model::view::View;
use crate::model::world::World;

pub(super) static COVERAGE: Signal = Signal {
    block: "S1.9",
    name: "storage_csi_node_coverage_ratio",
    layer: Layer::Storage,
    help: "Nodes on which a CSI driver is registered, of all nodes of the zone that are older than five minutes; \
           drivers that are meant for some nodes only are judged against their own past.",
    unit: Unit::Ratio,
    labels: &["driver", "zone"],
    reasons: &[],
    bound: "drivers × zones",
    needs: &[Kind::CsiNode, Kind::Node],
    uses: &[Kind::CsiDriver],
    profile: Profile::Level { bad: Direction::Low, floor: 0.02 },
    read: Read::Gauge(coverage),
};

pub(super) static UNREGISTERED: Signal = Signal {
    block: "S1.9",
    name: "storage_csi_driver_unregistered",
    layer: Layer::Storage,
    help: "Ready nodes older than five minutes that need a CSI driver and have not registered it; healthy is none.",
    unit: Unit::Count,
    labels: &["driver", "zone", "reason"],
    reasons: &["pod_waiting", "volume_attached"],
    bound: "drivers × zones × 2 reasons",
    needs: &[Kind::CsiNode, Kind::Node],
    uses: &[
        Kind::CsiDriver,
        Kind::VolumeAttachment,
        Kind::Pod,
        Kind::PersistentVolumeClaim,
        Kind::PersistentVolume,
    ],
    profile: Profile::None,
    read: Read::Rule(unregistered),
};

pub(super) static HEADROOM: Signal = Signal {
    block: "S1.11",
    name: "storage_volume_limit_headroom_ratio",
    layer: Layer::Storage,
    help: "Share of a driver's attachments that the fullest node of a zone has left; nodes without a limit and nodes \
           that take no pods are left out. Healthy is above 0.1.",
    unit: Unit::Ratio,
    labels: &["driver", "zone"],
    reasons: &[],
    bound: "drivers × zones",
    needs: &[Kind::CsiNode, Kind::Node, Kind::VolumeAttachment],
    uses: &[Kind::CsiDriver],
    profile: Profile::Level { bad: Direction::Low, floor: 0.05 },
    read: Read::Gauge(headroom),
};

pub(super) static FULL: Signal = Signal {
    block: "S1.11",
    name: "storage_volume_limit_reached",
    layer: Layer::Storage,
    help: "Zones in which no node that takes pods can take another volume of the driver; healthy is none.",
    unit: Unit::Count,
    labels: &["driver", "zone", "reason"],
    reasons: &["zone_full"],
    bound: "drivers × zones",
    needs: &[Kind::CsiNode, Kind::Node, Kind::VolumeAttachment],
    uses: &[Kind::CsiDriver],
    profile: Profile::None,
    read: Read::Rule(full),
};

/// A node needs this long until its drivers have registered.
const REGISTRATION_SECONDS: i64 = 300;

fn is_ready(node: &Node) -> bool {
    node.condition("Ready").is_some_and(|c| c.status == Status::True)
}

fn has_driver(world: &World, node: &str, driver: &str) -> bool {
    let csi_node = world.csi_nodes.get("", node);
    csi_node.is_some_and(|n| n.drivers.iter().any(|d| d.name == driver))
}

/// Drivers that a CSIDriver, a node or an attachment names.
fn known_drivers(world: &World) -> HashSet<&Text> {
    let on_nodes = world.csi_nodes.iter().flat_map(|n| n.drivers.iter().map(|d| &d.name));
    let declared = world.csi_drivers.iter().map(|d| &d.meta.name);
    let attached = world.volume_attachments.iter().map(|a| &a.driver);
    on_nodes.chain(declared).chain(attached).collect()
}

fn coverage(view: &View<'_>, readings: &mut Readings) {
    let mut counts: BTreeMap<(&Text, &Text), (u64, u64)> = BTreeMap::new();
    let drivers = known_drivers(view.world);
    let old = |node: &&Node| {
        node.meta.deleting.is_none() && view.is_older(node.meta.created, REGISTRATION_SECONDS)
    };
    for node in view.world.nodes.iter().filter(old) {
        for driver in &drivers {
            let (with, all) = counts.entry((driver, &node.zone)).or_default();
            *with += u64::from(has_driver(view.world, &node.meta.name, driver));
            *all += 1;
        }
    }
    for ((driver, zone), (with, all)) in counts {
        readings.push_ratio(labels![driver, zone], with, all);
    }
}

/// Why a node needs a driver.
struct Need<'a> {
    reason: &'static str,
    what: &'a Text,
}

fn unregistered(view: &View<'_>, verdicts: &mut Verdicts) {
    let world = view.world;
    let known = known_drivers(world);
    let mut needs: BTreeMap<(&Text, &Text), Need<'_>> = BTreeMap::new();
    let unmet =
        |a: &&VolumeAttachment| a.meta.deleting.is_none() && !has_driver(world, &a.node, &a.driver);
    let mut attachments: Vec<_> = world.volume_attachments.iter().filter(unmet).collect();
    attachments.sort_unstable_by_key(|a| &a.meta.name);
    for attachment in attachments {
        let need = Need { reason: "volume_attached", what: &attachment.volume };
        needs.entry((&attachment.node, &attachment.driver)).or_insert(need);
    }
    // A pod that waits is the better evidence and replaces the attachment; the last by name speaks.
    for (pod, _) in view.counted_pods().filter(|(pod, _)| is_starting(pod)) {
        for driver in drivers_of(world, pod).filter(|driver| known.contains(driver)) {
            let need = Need { reason: "pod_waiting", what: &pod.meta.name };
            needs.insert((&pod.node, driver), need);
        }
    }
    for ((name, driver), need) in needs {
        let Some(node) = world.nodes.get("", name) else { continue };
        let ready = node.condition("Ready").filter(|c| c.status == Status::True);
        let Some(ready) = ready else { continue };
        let since = ready.since.unwrap_or(node.meta.created).max(node.meta.created);
        if has_driver(world, name, driver) || !view.is_older(since, REGISTRATION_SECONDS) {
            continue;
        }
        let what = match need.reason {
            "pod_waiting" => format!("pod {} waits for it", need.what),
            _ => format!("volume {} is attached", need.what),
        };
        verdicts.push(Verdict {
            subject: Subject::new(Kind::Node, &Text::default(), name),
            labels: labels![driver, &node.zone, need.reason],
            reason: need.reason,
            severity: Severity::Warning,
            since: None,
            dwell: SignedDuration::from_mins(1),
            message: format!(
                "driver {driver} is not registered on node {name}, where {what}: look at its node plug-in there"
            ),
        });
    }
}

/// The drivers of the volumes behind a pod's claims.
fn drivers_of<'a>(world: &'a World, pod: &'a Pod) -> impl Iterator<Item = &'a Text> {
    let claims = pod.claims.iter().filter_map(|name| world.claims.get(&pod.meta.namespace, name));
    let volumes = claims.filter_map(|claim| world.volumes.get("", &claim.volume));
    volumes.map(|volume| &volume.driver)
}

/// What the nodes of a zone that take pods hold of a driver.
#[derive(Default)]
struct Zone {
    nodes: u32,
    full: u32,
    headroom: f64,
}

/// Zones by driver, for drivers that limit volumes on each of these nodes.
fn limits<'a>(view: &View<'a>) -> BTreeMap<(&'a Text, &'a Text), Zone> {
    let world = view.world;
    let mut attached: HashMap<(&Text, &Text), u32> = HashMap::new();
    for attachment in world.volume_attachments.iter() {
        *attached.entry((&attachment.driver, &attachment.node)).or_default() += 1;
    }
    // Without attachments nothing can be counted.
    let attaches =
        |driver: &Text| world.csi_drivers.get("", driver).is_none_or(|d| d.attach_required);
    let mut zones: BTreeMap<(&Text, &Text), Zone> = BTreeMap::new();
    for csi_node in world.csi_nodes.iter() {
        let Some(node) = world.nodes.get("", &csi_node.meta.name) else { continue };
        if !is_ready(node) || view.node_context(node).is_some() {
            continue;
        }
        for driver in csi_node.drivers.iter().filter(|d| attaches(&d.name)) {
            let zone = zones
                .entry((&driver.name, &node.zone))
                .or_insert_with(|| Zone { headroom: 1.0, ..Zone::default() });
            zone.nodes += 1;
            // No limit is said: the node can always take another.
            let Some(limit) = driver.volume_limit else { continue };
            let held = attached.get(&(&driver.name, &node.meta.name)).copied().unwrap_or(0);
            zone.full += u32::from(held >= limit);
            let left = f64::from(limit.saturating_sub(held)) / f64::from(limit.max(1));
            zone.headroom = zone.headroom.min(left);
        }
    }
    zones
}

fn headroom(view: &View<'_>, readings: &mut Readings) {
    for ((driver, zone), Zone { headroom, .. }) in limits(view) {
        readings.push(labels![driver, zone], headroom);
    }
}

fn full(view: &View<'_>, verdicts: &mut Verdicts) {
    for ((driver, zone), Zone { nodes, full, .. }) in limits(view) {
        if full < nodes {
            continue;
        }
        let place = if zone.is_empty() { "the cluster".to_owned() } else { format!("zone {zone}") };
        verdicts.push(Verdict {
            subject: Subject::new(Kind::CsiDriver, &Text::default(), driver),
            labels: labels![driver, zone, "zone_full"],
            reason: "zone_full",
            severity: Severity::Warning,
            since: None,
            dwell: SignedDuration::from_mins(2),
            message: format!(
                "no node of {place} that takes pods can take another volume of driver {driver}: {} at the limit",
                count_of(full as usize, "node")
            ),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{
        attachment, bound, csi_driver, csi_node, judge, meta, node, objects, pod, readings, volume,
        world,
    };
    use super::*;
    use crate::model::record::{CsiDriver, Object};

    const DRIVER: &str = "csi.example";

    fn values(signal: &Signal, objects: Vec<Object>) -> Vec<(String, f64)> {
        let readings = readings(signal, objects);
        let labels = |l: &crate::model::reading::Labels| l.iter().collect::<Vec<_>>().join(" ");
        readings.iter().map(|r| (labels(&r.labels), r.value)).collect()
    }

    fn told(signal: &Signal, objects: Vec<Object>) -> Vec<String> {
        let verdicts = judge(signal, &world(&[], objects));
        verdicts.iter().map(|v| v.labels.iter().collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn coverage_counts_grown_nodes_by_zone_and_names_drivers_that_are_nowhere() {
        let young = Node { meta: meta("", "n4", 60), ..node("n4", "a") };
        let objects = objects![
            node("n1", "a"),
            node("n2", "a"),
            node("n3", "b"),
            young,
            csi_node("n1", &[(DRIVER, None)]),
            csi_node("n2", &[]),
            csi_node("n3", &[(DRIVER, None)]),
            csi_driver("csi.nowhere"),
        ];
        let expected = [
            ("csi.example a".to_owned(), 0.5),
            ("csi.example b".to_owned(), 1.0),
            ("csi.nowhere a".to_owned(), 0.0),
            ("csi.nowhere b".to_owned(), 0.0),
        ];
        assert_eq!(values(&COVERAGE, objects), expected);
    }

    #[test]
    fn a_grown_ready_node_that_needs_a_driver_and_lacks_it_is_told() {
        let young = || Node { meta: meta("", "n1", 200), ..node("n1", "a") };
        let down = || Node { conditions: Box::default(), ..node("n1", "a") };
        let waits = || objects![pod("db-0", "n1", &["data"]), bound("data"), volume("data")];
        let with = |more: Vec<Object>, mut objects: Vec<Object>| {
            objects.extend(more);
            objects
        };
        let declared = || Object::from(csi_driver(DRIVER));
        let registered = || Object::from(csi_node("n1", &[(DRIVER, None)]));
        let cases = [
            (
                "a pod waits",
                with(waits(), vec![node("n1", "a").into(), declared()]),
                "csi.example a pod_waiting",
            ),
            (
                "a volume is attached",
                objects![node("n1", "a"), attachment("data", "n1")],
                "csi.example a volume_attached",
            ),
            ("registered", with(waits(), vec![node("n1", "a").into(), registered()]), ""),
            ("young", with(waits(), vec![young().into(), declared()]), ""),
            ("not Ready", with(waits(), vec![down().into(), declared()]), ""),
            ("no CSI driver", with(waits(), vec![node("n1", "a").into()]), ""),
            ("nobody needs it", vec![node("n1", "a").into(), declared()], ""),
        ];
        for (name, objects, expected) in cases {
            assert_eq!(told(&UNREGISTERED, objects).join(""), expected, "{name}");
        }
    }

    #[test]
    fn headroom_is_that_of_the_fullest_node_that_takes_pods() {
        let cordoned = Node { unschedulable: true, ..node("n3", "a") };
        let objects = objects![
            node("n1", "a"),
            node("n2", "a"),
            cordoned,
            node("n4", "b"),
            csi_node("n1", &[(DRIVER, Some(4))]),
            csi_node("n2", &[(DRIVER, Some(2))]),
            csi_node("n3", &[(DRIVER, Some(1))]),
            csi_node("n4", &[(DRIVER, None)]),
            attachment("a", "n1"),
            attachment("b", "n2"),
            attachment("c", "n3"),
            attachment("d", "n4"),
        ];
        let expected = [("csi.example a".to_owned(), 0.5), ("csi.example b".to_owned(), 1.0)];
        assert_eq!(values(&HEADROOM, objects), expected);
    }

    #[test]
    fn a_zone_is_full_when_each_of_its_nodes_is() {
        let nodes = |limits: [Option<u32>; 2]| {
            objects![
                node("n1", "a"),
                node("n2", "a"),
                csi_node("n1", &[(DRIVER, limits[0])]),
                csi_node("n2", &[(DRIVER, limits[1])]),
                attachment("a", "n1"),
                attachment("b", "n2"),
            ]
        };
        let mut unattached = nodes([Some(1), Some(1)]);
        unattached.push(CsiDriver { attach_required: false, ..csi_driver(DRIVER) }.into());
        let cases = [
            ("all full", nodes([Some(1), Some(1)]), "csi.example a zone_full"),
            ("one has room", nodes([Some(1), Some(2)]), ""),
            ("one has no limit", nodes([Some(1), None]), ""),
            ("nothing is attached", unattached, ""),
        ];
        for (name, objects, expected) in cases {
            assert_eq!(told(&FULL, objects).join(""), expected, "{name}");
        }
    }
}
