//! Which nodes fall silent? Their leases say so before the control plane calls them lost.

use crate::labels;
use crate::model::finding::{Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::reading::Readings;
use crate::model::record::Node;
use crate::model::signal::{Direction, Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::text::Text;
use crate::model::view::View;

pub(super) static AGE: Signal = Signal {
    block: "S2.13",
    name: "compute_node_heartbeat_age_seconds",
    layer: Layer::Compute,
    help: "Age of node leases when they were last read: the largest, and the 95th percentile. Healthy is below 15; \
           many late at once means the control plane or the network rather than nodes.",
    unit: Unit::Seconds,
    labels: &["statistic"],
    reasons: &[],
    bound: "2",
    needs: &[Kind::Lease, Kind::Node],
    uses: &[],
    profile: Profile::Level { bad: Direction::High, floor: 10.0 },
    read: Read::Gauge(age),
};

pub(super) static LATE: Signal = Signal {
    block: "S2.13",
    name: "compute_node_heartbeat_late",
    layer: Layer::Compute,
    help: "Nodes whose lease was not renewed for 25 s when it was last read (they renew every 10 s and are called lost \
           after 50): `late`; `clock_behind` if it keeps being renewed with times a minute or more in the past. Healthy is \
           none.",
    unit: Unit::Count,
    labels: &["node", "zone", "reason"],
    reasons: &["clock_behind", "late"],
    bound: "nodes",
    needs: &[Kind::Lease, Kind::Node],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(late),
};

/// Where kubelets keep their leases.
const NAMESPACE: &str = "kube-node-lease";

/// How often kubelets renew them, in seconds.
const EVERY: i64 = 10;

/// Seconds after which a lease is late: two renewals were missed.
const LATE_AFTER: i64 = 25;

/// Seconds that a clock is behind when it is no longer taken for one that is a little off; and the age from which on a
/// lease that was read only once is no such clock's either.
const BEHIND_FROM: i64 = 60;

/// What the lease of a node tells.
struct Beat<'a> {
    node: &'a Node,
    /// Seconds since its last renewal.
    silence: i64,
    /// Seconds since then by the node's own clock.
    age: i64,
    /// Whether it was read twice: a renewal was seen to come, or to stay away.
    alive: bool,
}

fn beats<'a>(view: &'a View<'_>) -> Vec<Beat<'a>> {
    let mut beats: Vec<Beat<'_>> = (view.world.nodes.iter())
        .filter(|node| node.meta.deleting.is_none())
        .filter_map(|node| {
            let lease = view.resource(Kind::Lease, NAMESPACE, &node.meta.name)?;
            let (silence, age) = (view.lease_silence(lease, EVERY)?, view.lease_age(lease)?);
            let alive = lease.renewed.is_some();
            // At first sight silence and a clock that is off look alike.
            let silence = if alive || age >= BEHIND_FROM { silence } else { silence.min(EVERY) };
            Some(Beat { node, silence, age, alive })
        })
        .collect();
    beats.sort_by(|a, b| a.node.meta.name.cmp(&b.node.meta.name));
    beats
}

fn age(view: &View<'_>, out: &mut Readings) {
    let mut ages: Vec<i64> = beats(view).into_iter().map(|beat| beat.silence).collect();
    ages.sort_unstable();
    let Some(largest) = ages.last() else { return };
    out.push(labels!["max"], *largest as f64);
    out.push(labels!["p95"], ages[(ages.len() - 1) * 95 / 100] as f64);
}

fn late(view: &View<'_>, out: &mut Verdicts) {
    for Beat { node, silence, age, alive } in beats(view) {
        let (reason, message) = if silence > LATE_AFTER {
            (
                "late",
                format!("has not renewed its lease for {silence} s; nodes renew every {EVERY} s"),
            )
        } else if alive && age - silence >= BEHIND_FROM {
            let behind = age - silence;
            (
                "clock_behind",
                format!(
                    "renews its lease with times that are {behind} s in the past: its clock is behind"
                ),
            )
        } else {
            continue;
        };
        if view.node_context(node).is_some() {
            continue;
        }
        let subject = Subject::new(Kind::Node, &Text::default(), &node.meta.name);
        let labels = labels![&node.meta.name, &node.zone, reason];
        out.push(Verdict::new(subject, labels, reason, message).dwell(0));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::{ago, judge, node, read, reasons};
    use super::*;
    use crate::layers::fixtures::resource;
    use crate::model::record::{Meta, Node, Object, Resource};
    use crate::model::world::{Delta, World};

    /// A lease as it is read: the time that it gives, so many seconds ago.
    type Lease = (&'static str, i64);

    /// What is known after leases were read so many seconds ago, each time these.
    fn seen(nodes: &[Node], readings: &[(i64, &[Lease])]) -> World {
        let mut world = World::default();
        for node in nodes {
            world.apply(Delta::Upsert(Object::Node(Box::new(node.clone()))), ago(3600));
        }
        for (at, leases) in readings {
            world.apply(Delta::Listing(Kind::Lease), ago(*at));
            for (name, age) in *leases {
                let spec = json!({"metadata": {"namespace": NAMESPACE}, "spec": {"renewTime": ago(*age).to_string()}});
                let lease = resource(Kind::Lease, name, spec);
                let meta = Meta { version: u64::try_from(90_000 - age).unwrap(), ..lease.meta };
                let lease = Object::Resource(Box::new(Resource { meta, ..lease }));
                world.apply(Delta::Upsert(lease), ago(*at));
            }
            world.apply(Delta::Synced(Kind::Lease), ago(*at));
        }
        world
    }

    fn told(readings: &[(i64, &[Lease])]) -> Vec<&'static str> {
        reasons(&judge(&LATE, &seen(&[node("n1")], readings)))
    }

    #[test]
    fn a_node_is_late_when_no_renewal_comes_whatever_its_clock_says() {
        assert!(told(&[(30, &[("n1", 33)]), (0, &[("n1", 8)])]).is_empty());
        assert_eq!(told(&[(60, &[("n1", 65)]), (30, &[("n1", 36)]), (0, &[("n1", 36)])]), ["late"]);
        // Twenty seconds behind, and ahead.
        assert!(told(&[(30, &[("n1", 58)]), (0, &[("n1", 28)])]).is_empty());
        assert!(told(&[(30, &[("n1", 18)]), (0, &[("n1", -12)])]).is_empty());
        assert_eq!(told(&[(60, &[("n1", 45)]), (30, &[("n1", 15)]), (0, &[("n1", 15)])]), ["late"]);
    }

    #[test]
    fn a_node_that_renews_with_times_long_past_has_another_clock() {
        assert_eq!(told(&[(30, &[("n1", 155)]), (0, &[("n1", 125)])]), ["clock_behind"]);
        assert_eq!(
            told(&[(60, &[("n1", 155)]), (30, &[("n1", 125)]), (0, &[("n1", 125)])]),
            ["late"]
        );
    }

    #[test]
    fn at_first_sight_only_a_long_silence_is_told() {
        assert!(told(&[(0, &[("n1", 45)])]).is_empty());
        assert_eq!(told(&[(0, &[("n1", 75)])]), ["late"]);
        assert_eq!(told(&[(30, &[("n1", 75)]), (0, &[("n1", 75)])]), ["late"]);
    }

    #[test]
    fn a_node_in_maintenance_is_not_told_and_the_lease_of_one_that_is_gone_does_not_count() {
        let readings: &[(i64, &[Lease])] = &[
            (60, &[("n1", 65), ("n2", 65), ("gone", 900)]),
            (30, &[("n1", 35), ("n2", 31), ("gone", 900)]),
            (0, &[("n1", 8), ("n2", 31), ("gone", 900)]),
        ];
        let cluster = |cordoned| {
            let n2 = Node { unschedulable: cordoned, ..node("n2") };
            seen(&[node("n1"), n2], readings)
        };
        assert_eq!(reasons(&judge(&LATE, &cluster(false))), ["late"]);
        assert!(judge(&LATE, &cluster(true)).is_empty());
        let ages: Vec<_> = read(&AGE, &cluster(false)).iter().map(|r| r.value).collect();
        assert_eq!(ages, [31.0, 8.0]);
    }
}
