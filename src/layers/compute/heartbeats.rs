//! Which nodes fall silent? Their leases say so before the control plane calls them lost.

use crate::labels;
use crate::model::finding::{Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::reading::Readings;
use crate::model::record::{Node, Status};
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
    help: "Nodes whose lease was more than 25 s old when it was last read (they renew every 10 s and are called lost \
           after 50): `late`, or `clock_behind` if the control plane still calls them ready long after that. Healthy is \
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

/// Seconds after which a lease is late: two renewals were missed.
const LATE_AFTER: i64 = 25;

/// Seconds after which a node whose kubelet is silent is no longer called ready, with time for us to read both: the
/// grace period of the node controller, 50 s, its own round of 5 s, and a poll.
const LOST_AFTER: i64 = 90;

/// Seconds since each node's last renewal, as of the moment at which leases were last read.
fn ages<'a>(view: &'a View<'_>) -> Vec<(&'a Node, i64)> {
    // Between two readings of the leases everybody ages; that is our doing, not theirs.
    let read = view.world.source_ref(Kind::Lease).and_then(|s| s.last_sync).unwrap_or(view.now());
    let mut ages: Vec<(&Node, i64)> = (view.world.nodes.iter())
        .filter(|node| node.meta.deleting.is_none())
        .filter_map(|node| {
            let lease = view.resource(Kind::Lease, NAMESPACE, &node.meta.name)?;
            let renewed = lease.body.time("spec.renewTime")?;
            Some((node, (read.as_second() - renewed.as_second()).max(0)))
        })
        .collect();
    ages.sort_by(|(a, _), (b, _)| a.meta.name.cmp(&b.meta.name));
    ages
}

fn age(view: &View<'_>, out: &mut Readings) {
    let mut ages: Vec<i64> = ages(view).into_iter().map(|(_, age)| age).collect();
    ages.sort_unstable();
    let Some(largest) = ages.last() else { return };
    out.push(labels!["max"], *largest as f64);
    out.push(labels!["p95"], ages[(ages.len() - 1) * 95 / 100] as f64);
}

fn late(view: &View<'_>, out: &mut Verdicts) {
    for (node, age) in ages(view).into_iter().filter(|(_, age)| *age > LATE_AFTER) {
        if view.node_context(node).is_some() {
            continue;
        }
        let subject = Subject::new(Kind::Node, &Text::default(), &node.meta.name);
        // The node controller goes by when renewals arrive, not by the time that the node writes into them.
        let heard = node.condition("Ready").is_some_and(|c| c.status == Status::True);
        let (reason, message) = if heard && age > LOST_AFTER {
            let told = format!(
                "its lease looks {age} s old, yet it is called ready: its clock is behind, or the node controller \
                 does not work"
            );
            ("clock_behind", told)
        } else {
            ("late", format!("has not renewed its lease for {age} s; nodes renew every 10 s"))
        };
        let labels = labels![&node.meta.name, &node.zone, reason];
        out.push(Verdict::new(subject, labels, reason, message).dwell(0));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::{ago, condition, judge, node, read, reasons, world};
    use super::*;
    use crate::layers::fixtures::resource;
    use crate::model::record::{Node, Object};

    fn lease(node: &str, age: i64) -> Object {
        let spec = json!({"metadata": {"namespace": NAMESPACE}, "spec": {"renewTime": ago(age).to_string()}});
        Object::Resource(Box::new(resource(Kind::Lease, node, spec)))
    }

    fn cluster(cordoned: bool) -> Vec<Object> {
        let n2 = Node { unschedulable: cordoned, ..node("n2") };
        vec![
            Object::Node(Box::new(node("n1"))),
            Object::Node(Box::new(n2)),
            lease("n1", 8),
            lease("n2", 31),
            lease("gone", 900),
        ]
    }

    #[test]
    fn a_node_that_is_called_ready_though_its_lease_is_long_over_has_another_clock() {
        let cluster = |age| vec![Object::Node(Box::new(node("n1"))), lease("n1", age)];
        assert_eq!(reasons(&judge(&LATE, &world(cluster(60)))), ["late"]);
        assert_eq!(reasons(&judge(&LATE, &world(cluster(95)))), ["clock_behind"]);
        let lost = Node {
            conditions: [condition("Ready", Status::Unknown, "NodeStatusUnknown", 30)].into(),
            ..node("n1")
        };
        let lost = vec![Object::Node(Box::new(lost)), lease("n1", 95)];
        assert_eq!(reasons(&judge(&LATE, &world(lost))), ["late"]);
    }

    #[test]
    fn a_late_node_is_told_early_and_one_in_maintenance_is_not() {
        assert_eq!(reasons(&judge(&LATE, &world(cluster(false)))), ["late"]);
        assert!(judge(&LATE, &world(cluster(true))).is_empty());
        let ages = read(&AGE, &world(cluster(false)));
        let ages: Vec<_> = ages.iter().map(|r| r.value).collect();
        assert_eq!(ages, [31.0, 8.0], "the lease of a node that is gone does not count");
    }
}
