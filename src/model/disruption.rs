//! Which nodes are taken out of service on purpose, or just come into it? Numbers about them jump for reasons that
//! somebody knows.
//!
//! A voluntary disruption (<https://kubernetes.io/docs/concepts/workloads/pods/disruptions/>) lasts from the moment at
//! which a node is cordoned, drained or about to go until a quarter of an hour after it serves again: until then pods
//! come back. The same holds for what a new node brings with it, and for the zone of the node. A node that stays cordoned
//! for [`LONGEST`] was forgotten: it explains nothing any more.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::reading::Labels;
use super::record::Time;
use super::signal::Signal;
use super::text::Text;
use super::view::View;

/// How long after its end a disruption is still felt.
const FELT: SignedDuration = SignedDuration::from_mins(15);

/// What lasts longer is no work in progress.
const LONGEST: SignedDuration = SignedDuration::from_hours(6);

/// Nodes under a voluntary disruption, now or a moment ago.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Disruptions {
    /// By the node's name.
    nodes: BTreeMap<Text, Disruption>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Disruption {
    zone: Text,
    since: Time,
    seen: Time,
}

impl Disruption {
    fn explains(&self) -> bool {
        self.seen.duration_since(self.since) < LONGEST
    }
}

impl Disruptions {
    /// Takes in how the nodes are.
    pub fn see(&mut self, view: &View<'_>) {
        let now = view.now();
        for node in view.world.nodes.iter() {
            let joins = now.duration_since(node.meta.created) < FELT;
            if joins || view.node_context(node).is_some() {
                let first = || Disruption { zone: node.zone.clone(), since: now, seen: now };
                self.nodes.entry(node.meta.name.clone()).or_insert_with(first).seen = now;
            }
        }
        self.nodes.retain(|_, node| now.duration_since(node.seen) < FELT);
    }

    /// What a signal's series must be about to be explained by one.
    #[must_use]
    pub fn of(&self, signal: &Signal) -> OfSignal<'_> {
        let place = |name: &str| signal.labels.iter().position(|label| *label == name);
        let (node, zone) = (place("node"), place("zone"));
        let any = !self.nodes.is_empty() && (node.is_some() || zone.is_some());
        OfSignal { disruptions: any.then_some(self), node, zone }
    }
}

/// The disruptions as far as they concern a signal.
#[derive(Clone, Copy, Debug)]
pub struct OfSignal<'a> {
    disruptions: Option<&'a Disruptions>,
    node: Option<usize>,
    zone: Option<usize>,
}

impl OfSignal<'_> {
    /// Whether a series is about a node that is disrupted; where it names none, about a zone that has one.
    #[must_use]
    pub fn explain(&self, labels: &Labels) -> bool {
        let Some(Disruptions { nodes }) = self.disruptions else { return false };
        let value = |place: Option<usize>| place.and_then(|p| labels.get(p));
        match (value(self.node), value(self.zone)) {
            (Some(node), _) => nodes.get(node).is_some_and(Disruption::explains),
            (None, Some(zone)) => nodes.values().any(|n| n.zone == *zone && n.explains()),
            (None, None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels;
    use crate::model::layer::Layer;
    use crate::model::record::{Meta, Node, Object};
    use crate::model::signal::{Profile, Read, Unit};
    use crate::model::world::{Delta, World};

    const fn signal(labels: &'static [&'static str]) -> Signal {
        Signal {
            block: "S0.0",
            name: "compute_test",
            layer: Layer::Compute,
            help: "A test.",
            unit: Unit::Count,
            labels,
            reasons: &[],
            bound: "1",
            needs: &[],
            uses: &[],
            profile: Profile::Rate,
            read: Read::Counter,
        }
    }

    static OF_NODE: Signal = signal(&["node", "zone"]);
    static OF_ZONE: Signal = signal(&["zone"]);
    static OF_CLUSTER: Signal = signal(&["reason"]);

    fn at(minute: i64) -> Time {
        Time::from_second(1_800_000_000 + minute * 60).unwrap()
    }

    fn node(name: &str, zone: &str, unschedulable: bool, created: i64, version: u64) -> Object {
        let meta = Meta { name: name.into(), created: at(created), version, ..Meta::default() };
        Object::Node(Box::new(Node { meta, zone: zone.into(), unschedulable, ..Node::default() }))
    }

    #[test]
    fn a_node_that_is_drained_explains_itself_and_its_zone_until_a_while_after() {
        let (mut world, mut disruptions) = (World::default(), Disruptions::default());
        let mut minute = |minute: i64, cordoned: bool| {
            let version = minute.unsigned_abs() + 2000;
            world.apply(Delta::Upsert(node("n1", "a", cordoned, -9000, version)), at(0));
            world.apply(Delta::Upsert(node("n2", "b", false, -9000, version)), at(0));
            disruptions.see(&View::new(&world, at(minute)));
            let explains = |signal, labels: Labels| disruptions.of(signal).explain(&labels);
            [
                explains(&OF_NODE, labels!["n1", "a"]),
                explains(&OF_NODE, labels!["n2", "a"]),
                explains(&OF_ZONE, labels!["a"]),
                explains(&OF_ZONE, labels!["b"]),
                explains(&OF_CLUSTER, labels!["a"]),
            ]
        };
        let (none, n1) = ([false; 5], [true, false, true, false, false]);
        for (at, cordoned, expected) in
            [(0, false, none), (1, true, n1), (90, true, n1), (104, false, n1), (105, false, none)]
        {
            assert_eq!(minute(at, cordoned), expected, "minute {at}");
        }
    }

    #[test]
    fn a_node_that_stays_cordoned_explains_nothing_in_the_end() {
        let (mut world, mut disruptions) = (World::default(), Disruptions::default());
        world.apply(Delta::Upsert(node("n1", "a", true, -9000, 1)), at(0));
        let mut explained = Vec::new();
        for minute in [0, 359, 360, 2_000] {
            disruptions.see(&View::new(&world, at(minute)));
            explained.push(disruptions.of(&OF_ZONE).explain(&labels!["a"]));
        }
        assert_eq!(explained, [true, true, false, false]);
    }

    #[test]
    fn a_node_that_joins_is_new_for_a_while() {
        let (mut world, mut disruptions) = (World::default(), Disruptions::default());
        world.apply(Delta::Upsert(node("n1", "a", false, 0, 1)), at(0));
        for (minute, expected) in [(1, true), (14, true), (29, false)] {
            disruptions.see(&View::new(&world, at(minute)));
            assert_eq!(disruptions.of(&OF_ZONE).explain(&labels!["a"]), expected, "{minute}");
        }
    }
}
