//! Which ordinary work on machines has to stay quiet?

use serde_json::json;

use super::{STAYS, deeds, quiet};
use crate::sim::controllers::nodes;
use crate::sim::faults::{FaultKind, means};
use crate::sim::fields::Fields;
use crate::sim::kind::Kind;
use crate::sim::moment::{MINUTE, Moment, SECOND};
use crate::sim::script;
use crate::sim::store::Key;
use crate::sim::surroundings::Crowd;

pub(super) static DISTURBANCES: &[FaultKind] = &[
    quiet(
        ("compute", "cordon"),
        ("node {node} is cordoned for ten minutes", "Node {node}"),
        600,
        &[("node", "node-c2")],
        |sim, fault| deeds::cordon(sim, fault.parameter("node")),
        |sim, fault| deeds::uncordon(sim, fault.parameter("node")),
    ),
    quiet(
        ("compute", "drain"),
        ("node {node} is drained and given back", "Node {node}"),
        900,
        &[("node", "node-a2")],
        |sim, fault| deeds::drain(sim, fault.parameter("node")),
        |sim, fault| deeds::uncordon(sim, fault.parameter("node")),
    ),
    quiet(
        ("compute", "node-upgrade"),
        ("node {node} is drained and comes back with {version}", "Node {node}"),
        600,
        &[("node", "node-a2"), ("version", "v1.37.3")],
        |sim, fault| deeds::drain(sim, fault.parameter("node")),
        |sim, fault| {
            let node = fault.parameter("node");
            let boot = sim.chance.of("boot", &format!("{node}/{}", sim.now)).uuid();
            sim.store.update(Kind::Node, &Key::cluster(node), |node| {
                node.put("status/nodeInfo/kubeletVersion", json!(fault.parameter("version")));
                node.put("status/nodeInfo/bootID", json!(boot));
            });
            deeds::uncordon(sim, node);
        },
    ),
    quiet(
        ("compute", "short-silence"),
        ("the kubelet of node {node} is restarted", "Node {node}"),
        180,
        &[("node", "node-b1")],
        |sim, fault| {
            nodes::lose(sim, &Key::cluster(fault.parameter("node")));
            script::later(sim, 15 * SECOND, fault, |sim, fault| {
                nodes::restore(sim, &Key::cluster(fault.parameter("node")));
            });
        },
        STAYS,
    ),
    quiet(
        ("compute", "clock-skew"),
        (
            "the clock of node {node} is {seconds} seconds ahead (behind, if negative)",
            "Node {node}",
        ),
        3600,
        &[("node", "node-c1"), ("seconds", "20")],
        |sim, fault| {
            let ahead = fault.parameter("seconds").parse::<Moment>().unwrap_or(0);
            sim.surroundings.set_skew(fault.parameter("node"), ahead * SECOND);
        },
        |sim, fault| sim.surroundings.set_skew(fault.parameter("node"), 0),
    ),
    FaultKind {
        // A probe that is missed now and then is counted, and nothing comes of it.
        follows: &[&["compute_failed_probes_total", "compute_probe_failures_total"]],
        ..quiet(
            ("compute", "busy-neighbour"),
            ("a pod on node {node} is busy, and slows the others a little", "Node {node}"),
            1800,
            &[("node", "node-b1")],
            |sim, fault| {
                let crowd = Crowd { times: 2.0, misses: 0.02 };
                means::crowd(sim, fault.parameter("node"), Some(crowd));
            },
            |sim, fault| means::crowd(sim, fault.parameter("node"), None),
        )
    },
    quiet(
        ("compute", "node-added"),
        ("node {node} joins", "Node {node}"),
        900,
        &[("node", "node-b90")],
        |sim, fault| deeds::join(sim, fault.parameter("node")),
        |sim, fault| {
            deeds::drain(sim, fault.parameter("node"));
            script::later(sim, MINUTE, fault, |sim, fault| {
                deeds::leave(sim, fault.parameter("node"));
            });
        },
    ),
    quiet(
        ("compute", "spot-preempted"),
        ("spot node {node} is taken away, node {instead} takes its place", "Node {node}"),
        1200,
        &[("node", "node-a2"), ("instead", "node-a90")],
        |sim, fault| {
            deeds::drain(sim, fault.parameter("node"));
            // Clouds give between 30 s and two minutes of notice.
            script::later(sim, 45 * SECOND, fault, |sim, fault| {
                deeds::leave(sim, fault.parameter("node"));
                deeds::join(sim, fault.parameter("instead"));
            });
        },
        |sim, fault| {
            deeds::join(sim, fault.parameter("node"));
            deeds::drain(sim, fault.parameter("instead"));
            script::later(sim, MINUTE, fault, |sim, fault| {
                deeds::leave(sim, fault.parameter("instead"));
            });
        },
    ),
];
