//! Do pods get their network, and where not, does the node, its CNI or the address space stand against it?

use std::collections::BTreeMap;

use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{ContainerState, Event, Pod, Status, Time, Uid};
use crate::model::signal::{Observation, Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::tally::Tallies;
use crate::model::text::Text;
use crate::model::view::{View, roll_up};

pub(super) static FAILURES: Signal = Signal {
    block: "S3.11",
    name: "networking_sandbox_failures_total",
    layer: Layer::Networking,
    help: "Failed attempts to make a pod's sandbox and its network, by node; the kubelet reports a part of them. Healthy \
           is about none: one or two after the start of a node are normal.",
    unit: Unit::Count,
    labels: &["node", "reason"],
    reasons: REASONS,
    bound: "nodes × 6 reasons",
    needs: &[Kind::Event, Kind::Pod],
    uses: &[],
    profile: Profile::Rate,
    read: Read::Counter,
};

pub(super) static BLOCKED: Signal = Signal {
    block: "S3.11",
    name: "networking_sandbox_blocked",
    layer: Layer::Networking,
    help: "Nodes on which two or more pods cannot get their sandbox, and the cluster where that is so of pods on three \
           nodes or more. Healthy is none.",
    unit: Unit::Count,
    labels: &["node", "zone", "reason"],
    reasons: REASONS,
    bound: "nodes × 6 reasons",
    needs: &[Kind::Event, Kind::Pod, Kind::Node],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(blocked),
};

const REASONS: &[&str] =
    &["ip_exhausted", "cni_uninitialized", "cni_conn_refused", "cni_timeout", "cni", "runtime"];

const REPORTS: &[&str] = &["FailedCreatePodSandBox", "FailedPodSandBoxStatus", "NetworkNotReady"];

/// Words of CNI plugins and runtimes and the reason that they tell; the first that is found decides.
const WORDS: &[(&str, &str)] = &[
    ("failed to assign an ip address", "ip_exhausted"),
    ("no ip addresses available", "ip_exhausted"),
    ("no available ip", "ip_exhausted"),
    ("cannot find a qualified ippool", "ip_exhausted"),
    ("plugin not initialized", "cni_uninitialized"),
    ("config uninitialized", "cni_uninitialized"),
    ("no networks found in", "cni_uninitialized"),
    ("networkpluginnotready", "cni_uninitialized"),
    ("network is not ready", "cni_uninitialized"),
    ("connection refused", "cni_conn_refused"),
    ("no such file or directory", "cni_conn_refused"),
    ("deadline exceeded", "cni_timeout"),
    ("timed out", "cni_timeout"),
    ("timeout", "cni_timeout"),
    ("setup network", "cni"),
    ("set up pod", "cni"),
    ("plugin type", "cni"),
];

/// Seconds after its start in which a node's network may still be coming.
pub(super) const NODE_START: i64 = 180;

fn why(note: &str) -> &'static str {
    let note = note.to_ascii_lowercase();
    WORDS.iter().find(|(words, _)| note.contains(words)).map_or("runtime", |(_, reason)| reason)
}

fn is_report(event: &Event) -> bool {
    REPORTS.contains(&event.reason.as_str()) && event.regarding.kind == "Pod"
}

/// Counts what a series of reports has grown by. One whose pod is not known yet is counted with its next repetition.
pub(super) fn observe(o: &Observation<'_>, event: &Event, tallies: &mut Tallies) {
    if !is_report(event) {
        return;
    }
    let about = &event.regarding;
    let pod = o.world.pods.get(&about.namespace, &about.name).filter(|p| !p.node.is_empty());
    if pod.is_none() && tallies.is_counting(Kind::Event) {
        return;
    }
    let count = u64::from(event.count);
    let fresh = tallies.advance(Kind::Event, event.meta.uid, "sandbox", count);
    if let Some(pod) = pod {
        tallies.add(&FAILURES, labels![&pod.node, why(&event.note)], fresh);
    }
}

/// A pod that waits for its sandbox: since when, and why.
struct Waiting<'a> {
    pod: &'a Pod,
    since: Time,
    reason: &'static str,
    note: &'a str,
}

fn blocked(view: &View<'_>, out: &mut Verdicts) {
    let by_node = waiting(view);
    for (name, pods) in &by_node {
        let Some(node) = view.world.nodes.get("", name) else { continue };
        if pods.len() < 2 || view.is_younger(node.meta.created, NODE_START) {
            continue;
        }
        let reason = most(pods);
        let message = format!("{} pods cannot get their sandbox: {}", pods.len(), words(pods));
        let subject = Subject::new(Kind::Node, &Text::default(), name);
        let verdict = Verdict::new(subject, labels![*name, &node.zone, reason], reason, message);
        // It is the node's since the second of them.
        out.push(verdict.severity(Severity::Critical).since(pods[1].since).dwell(120));
    }
    let mut firsts: Vec<&Waiting<'_>> = by_node.values().filter_map(|pods| pods.first()).collect();
    firsts.sort_by_key(|waiting| (waiting.since, waiting.pod.meta.uid));
    if let Some(third) = firsts.get(2) {
        let all: Vec<&Waiting<'_>> = by_node.values().flatten().collect();
        let reason = most(all.iter().copied());
        let nodes = by_node.len();
        let message = format!("pods on {nodes} nodes cannot get their sandbox: {}", words(all));
        let verdict = Verdict::new(Subject::cluster(), labels!["", "", reason], reason, message);
        out.push(verdict.severity(Severity::Critical).since(third.since));
    }
}

/// The pods that wait for their sandbox and were reported lately, by node, the first to wait first.
fn waiting<'a>(view: &'a View<'_>) -> BTreeMap<&'a Text, Vec<Waiting<'a>>> {
    let mut by_pod: BTreeMap<(&Text, &Text), Waiting<'a>> = BTreeMap::new();
    let mut events: Vec<&Event> = view.world.events.iter().filter(|e| is_report(e)).collect();
    events.retain(|e| view.still_speaks(e));
    events.sort_unstable_by_key(|e| (e.last, e.meta.uid));
    for event in events {
        let about = &event.regarding;
        let Some(pod) = view.world.pods.get(&about.namespace, &about.name) else { continue };
        let same = about.uid == Uid::default() || about.uid == pod.meta.uid;
        if !same || !lacks_sandbox(pod) || !view.counts(pod, &roll_up(view.world, pod)) {
            continue;
        }
        let key = (&pod.meta.namespace, &pod.meta.name);
        let since = by_pod.get(&key).map_or(event.first, |w| w.since.min(event.first));
        let (reason, note) = (why(&event.note), event.note.as_str());
        by_pod.insert(key, Waiting { pod, since, reason, note });
    }
    let mut by_node: BTreeMap<&Text, Vec<Waiting<'a>>> = BTreeMap::new();
    for waiting in by_pod.into_values().filter(|w| !w.pod.node.is_empty()) {
        by_node.entry(&waiting.pod.node).or_default().push(waiting);
    }
    for pods in by_node.values_mut() {
        pods.sort_by_key(|w| (w.since, w.pod.meta.uid));
    }
    by_node
}

/// Whether the pod's sandbox is still to be made: its condition says so, else nothing of it has run.
fn lacks_sandbox(pod: &Pod) -> bool {
    match pod.condition("PodReadyToStartContainers") {
        Some(condition) => condition.status != Status::True,
        None => pod.containers.iter().all(|c| {
            matches!(c.state, ContainerState::Absent | ContainerState::Waiting { .. })
                && c.restarts == 0
        }),
    }
}

/// The reason that most of them give; of equals the one that is declared first.
fn most<'a>(waiting: impl IntoIterator<Item = &'a Waiting<'a>>) -> &'static str {
    let given: Vec<&str> = waiting.into_iter().map(|w| w.reason).collect();
    let count = |reason: &str| given.iter().filter(|g| **g == reason).count();
    REASONS.iter().rev().max_by_key(|reason| count(reason)).copied().unwrap_or("runtime")
}

fn words<'a>(waiting: impl IntoIterator<Item = &'a Waiting<'a>>) -> String {
    let first = waiting.into_iter().next().map_or("", |w| w.note);
    first.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::fixtures::{
        Counted, ago, condition, event, judge, meta, objects, pod_of, reasons, world,
    };
    use crate::layers::networking::LAYER;
    use crate::model::record::{Container, Node, Object, Phase};

    const FULL: &str =
        "plugin type=\"aws-cni\" failed: failed to assign an IP address to container";

    fn node(name: &str, age: i64) -> Node {
        Node { meta: meta("", name, age), zone: "a".into(), ..Node::default() }
    }

    fn stuck(name: &str, node: &str) -> Pod {
        Pod { node: node.into(), phase: Phase::Pending, ..pod_of("web", name) }
    }

    fn report(pod: &str, note: &str, first: i64) -> Event {
        event((Kind::Pod, pod), "FailedCreatePodSandBox", note, first, 20)
    }

    #[test]
    fn what_plugins_say_has_a_reason() {
        let cases = [
            (FULL, "ip_exhausted"),
            (
                "failed to allocate for range 0: no IP addresses available in range set",
                "ip_exhausted",
            ),
            (
                "container runtime network not ready: cni plugin not initialized",
                "cni_uninitialized",
            ),
            (
                "dial unix /var/run/cilium/cilium.sock: connect: connection refused",
                "cni_conn_refused",
            ),
            ("rpc error: code = DeadlineExceeded desc = context deadline exceeded", "cni_timeout"),
            ("failed to setup network for sandbox \"x\": plugin type=\"x\" failed", "cni"),
            ("failed to create containerd task: no space left on device", "runtime"),
        ];
        for (note, expected) in cases {
            assert_eq!(why(note), expected, "{note}");
        }
    }

    #[test]
    fn a_node_is_told_from_its_second_pod_on_and_the_cluster_from_its_third_node() {
        let two = objects![
            node("n1", 3600),
            stuck("a", "n1"),
            stuck("b", "n1"),
            report("a", FULL, 600),
            report("b", FULL, 300),
        ];
        let found = judge(&BLOCKED, &world(&[], two));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].reason, found[0].since), ("ip_exhausted", Some(ago(300))));
        assert_eq!(found[0].subject.to_string(), "Node n1");
        let three = (1..4).flat_map(|n| {
            let (pod, on) = (format!("p{n}"), format!("n{n}"));
            objects![node(&on, 3600), stuck(&pod, &on), report(&pod, "oops", 60 * n)]
        });
        let found = judge(&BLOCKED, &world(&[], three.collect::<Vec<_>>()));
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].subject.to_string().as_str(), found[0].reason),
            ("Cluster", "runtime")
        );
    }

    #[test]
    fn a_retry_or_two_a_fresh_node_and_what_has_started_are_normal() {
        let ready = condition("PodReadyToStartContainers", Status::True, "", 10);
        let started = Pod { conditions: [ready].into(), ..stuck("b", "n1") };
        let state = ContainerState::Running { since: None };
        let main = Container { state, ..Container::default() };
        let running = Pod { containers: [main].into(), ..stuck("b", "n1") };
        let pair = |age, second: Pod| {
            let first = objects![node("n1", age), stuck("a", "n1"), report("a", FULL, 300)];
            first.into_iter().chain(objects![second, report("b", FULL, 300)]).collect::<Vec<_>>()
        };
        let cases: Vec<Vec<Object>> = vec![
            objects![node("n1", 3600), stuck("a", "n1"), report("a", FULL, 300)],
            pair(60, stuck("b", "n1")),
            pair(3600, started),
            pair(3600, running),
        ];
        for (i, case) in cases.into_iter().enumerate() {
            assert!(reasons(&BLOCKED, case).is_empty(), "case {i}");
        }
    }

    #[test]
    fn reports_count_by_node_once_the_pod_is_known() {
        let mut seen = Counted::new(&LAYER, objects![stuck("a", "n1")]);
        let more = |count| Event { count, ..report("a", FULL, 300) };
        seen.see(more(2), 60).see(more(2), 50).see(more(5), 40).see(report("late", FULL, 30), 30);
        assert_eq!(seen.totals(&FAILURES), [("n1 ip_exhausted".to_owned(), 5)]);
        seen.see(stuck("late", "n2"), 20).see(report("late", FULL, 30), 10);
        assert_eq!(seen.totals(&FAILURES)[1], ("n2 ip_exhausted".to_owned(), 5));
    }
}
