//! Which zones are failing as a whole? One finding for the zone, for its nodes tell it one by one.

use std::collections::BTreeMap;

use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::Time;
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::text::Text;
use crate::model::view::View;

use super::nodes::{in_service, unready};

pub(super) static NOT_READY: Signal = Signal {
    block: "S2.11",
    name: "compute_zone_not_ready",
    layer: Layer::Compute,
    help: "Zones of three nodes or more of which at least half are not ready, outside of maintenance: part of a zone, a \
           whole one, or every zone at once, which is the control plane's doing rather than the nodes'. Healthy is none.",
    unit: Unit::Count,
    labels: &["zone", "reason"],
    reasons: &["half", "all", "every_zone"],
    bound: "zones × 3 reasons",
    needs: &[Kind::Node],
    uses: &[Kind::Pod],
    profile: Profile::None,
    read: Read::Rule(not_ready),
};

/// In a smaller zone one node is half of it.
const LEAST: usize = 3;

/// The nodes of a zone.
#[derive(Default)]
struct Zone {
    nodes: usize,
    /// Since when those that are not ready are so, as far as that is told.
    lost: Vec<Option<Time>>,
}

impl Zone {
    fn fails(&self) -> bool {
        2 * self.lost.len() >= self.nodes
    }
}

fn not_ready(view: &View<'_>, out: &mut Verdicts) {
    let mut zones: BTreeMap<&Text, Zone> = BTreeMap::new();
    for node in in_service(view) {
        let zone = zones.entry(&node.zone).or_default();
        zone.nodes += 1;
        zone.lost.extend(unready(view, node).map(|ready| ready.since));
    }
    let everywhere = zones.len() > 1 && zones.values().all(Zone::fails);
    for (name, mut zone) in zones {
        let (nodes, lost) = (zone.nodes, zone.lost.len());
        if nodes < LEAST || !zone.fails() {
            continue;
        }
        // It fails since its half was reached.
        zone.lost.sort_unstable();
        let since = zone.lost[nodes.div_ceil(2) - 1];
        let place = if name.is_empty() { "the cluster".to_owned() } else { format!("zone {name}") };
        let (reason, hint) = match (everywhere, lost == nodes) {
            (true, _) => {
                ("every_zone", ", and so it is in every zone: look at the control plane first")
            }
            (false, true) => ("all", ""),
            (false, false) => ("half", ""),
        };
        let told = format!("{lost} of {nodes} nodes of {place} are not ready{hint}");
        let subject = Subject { kind: "Zone".into(), name: name.clone(), ..Subject::cluster() };
        let verdict = Verdict::new(subject, labels![name, reason], reason, told);
        out.push(verdict.severity(Severity::Critical).since(since));
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{ago, condition, judge, node, reasons, world};
    use super::*;
    use crate::model::record::{Node, Object, Status};

    /// A node of this zone, not ready for so many seconds, if at all.
    fn one(name: &str, zone: &str, lost: Option<i64>) -> Object {
        let mut one = Node { zone: zone.into(), ..node(name) };
        if let Some(age) = lost {
            one.conditions = [condition("Ready", Status::Unknown, "", age)].into();
        }
        Object::Node(Box::new(one))
    }

    fn told(a: [Option<i64>; 4], b: Option<i64>) -> Vec<Verdict> {
        let names = ["n1", "n2", "n3", "n4"];
        let of_a = names.iter().zip(a).map(|(name, lost)| one(name, "a", lost));
        judge(&NOT_READY, &world(of_a.chain([one("m1", "b", b)])))
    }

    #[test]
    fn a_zone_fails_with_half_of_its_nodes_and_one_node_is_no_zone() {
        let (lost, fine) = (Some(90), None);
        let cases = [
            (told([fine; 4], fine), vec![]),
            (told([lost, fine, fine, fine], lost), vec![]),
            (told([lost, lost, fine, fine], fine), vec!["half"]),
            (told([lost; 4], fine), vec!["all"]),
            (told([lost; 4], lost), vec!["every_zone"]),
        ];
        for (verdicts, expected) in cases {
            assert_eq!(reasons(&verdicts), expected);
        }
    }

    #[test]
    fn it_fails_since_the_half_of_it_did() {
        let since = told([Some(900), Some(90), Some(80), None], None)[0].since;
        assert_eq!(since, Some(ago(90)));
    }
}
