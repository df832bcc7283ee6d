//! What does the kubelet write into a pod's status?

use std::sync::Arc;

use serde_json::{Value, json};

use super::container::{Container, Ended, State};
use super::{Run, Stage, address, host, plural};
use crate::sim::fields::{Condition, Fields, set_condition};
use crate::sim::kind::Kind;
use crate::sim::moment::stamp;
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

/// What a status was written from, and the pod with it.
#[derive(Debug)]
pub(super) struct Shown {
    pod: Arc<Value>,
    host: String,
    stage: Stage,
    sandbox: bool,
    containers: Vec<(u32, State, Option<Ended>)>,
}

impl Shown {
    /// Whether the same would be written again. Probes fail and events are told without a word of it in the status.
    fn still(&self, pod: &Arc<Value>, host: &str, run: &Run) -> bool {
        let same = |(shown, now): (&(u32, State, Option<Ended>), &Container)| {
            (shown.0, &shown.1, &shown.2) == (now.restarts, &now.state, &now.last)
        };
        Arc::ptr_eq(&self.pod, pod)
            && self.host == host
            && (self.stage, self.sandbox) == (run.stage, run.sandbox)
            && self.containers.iter().zip(&run.containers).all(same)
    }
}

/// Writes the pod's status, if anything in it changed.
pub(super) fn publish(sim: &mut Simulation, key: &Key, run: &mut Run) {
    let Some(pod) = sim.store.get(Kind::Pod, key) else { return };
    let host = host(sim, pod.text("spec/nodeName"));
    if run.shown.as_ref().is_some_and(|shown| shown.still(pod, host, run)) {
        return;
    }
    let host = host.to_owned();
    write(sim, key, run, &host);
    let containers = run.containers.iter().map(|c| (c.restarts, c.state.clone(), c.last.clone()));
    let containers = containers.collect();
    let (stage, sandbox) = (run.stage, run.sandbox);
    let pod = sim.store.get(Kind::Pod, key).cloned();
    run.shown = pod.map(|pod| Shown { pod, host, stage, sandbox, containers });
}

fn write(sim: &mut Simulation, key: &Key, run: &Run, host: &str) {
    let Some(pod) = sim.store.get(Kind::Pod, key) else { return };
    let own = address(sim, &run.uid);
    let address = if pod.truth("spec/hostNetwork") { host.to_owned() } else { own };
    let statuses: Vec<_> = run.containers.iter().map(|c| status(sim, key, run, c)).collect();
    let phase = phase(run, pod.text("spec/restartPolicy"));
    let now = stamp(sim.now + sim.surroundings.skew(pod.text("spec/nodeName")));
    sim.store.update_status(Kind::Pod, key, |pod| {
        pod.put("status/phase", json!(phase));
        pod.put("status/startTime", json!(stamp(run.since)));
        pod.put("status/hostIP", json!(host));
        pod.put("status/hostIPs", plural(host));
        if run.sandbox {
            pod.put("status/podIP", json!(address));
            pod.put("status/podIPs", plural(&address));
        }
        pod.put("status/containerStatuses", Value::Array(statuses));
        conditions(pod, run, phase, &now);
    });
}

fn conditions(pod: &mut Value, run: &Run, phase: &str, now: &str) {
    let unready: Vec<_> =
        run.containers.iter().filter(|c| !c.ready()).map(|c| c.name.as_str()).collect();
    let (status, reason, message) = match phase {
        "Succeeded" => ("False", "PodCompleted", String::new()),
        "Failed" => ("False", "PodFailed", String::new()),
        _ if unready.is_empty() => ("True", "", String::new()),
        _ => {
            let text = format!("containers with unready status: [{}]", unready.join(" "));
            ("False", "ContainersNotReady", text)
        }
    };
    let sandbox = if run.sandbox { "True" } else { "False" };
    let plain = [("PodReadyToStartContainers", sandbox), ("Initialized", "True")];
    for (kind, status) in plain {
        set_condition(pod, Condition { kind, status, reason: "", message: "" }, now, &[]);
    }
    for kind in ["Ready", "ContainersReady"] {
        set_condition(pod, Condition { kind, status, reason, message: &message }, now, &[]);
    }
}

/// `getPhase` of the kubelet.
fn phase(run: &Run, policy: &str) -> &'static str {
    let waiting = |c: &Container| c.last.is_none() && !c.running() && c.ended().is_none();
    let over: Vec<_> = run.containers.iter().filter_map(Container::ended).collect();
    if run.stage == Stage::Volumes || run.containers.iter().any(waiting) {
        "Pending"
    } else if over.len() < run.containers.len() || policy == "Always" {
        "Running"
    } else if over.iter().all(|e| e.code == 0) {
        "Succeeded"
    } else {
        "Failed"
    }
}

fn status(sim: &Simulation, key: &Key, run: &Run, container: &Container) -> Value {
    let pod_name = format!("{}_{}({})", key.name, key.ns, run.uid);
    let mut draw = sim
        .chance
        .of("container", &format!("{}/{}/{}", run.uid, container.name, container.restarts));
    let mut image = sim.chance.of("image", &container.image);
    let begun = container.last.is_some()
        || matches!(container.state, State::Running(_) | State::Ended { .. });
    let running = container.running();
    let last = match (&container.state, &container.last) {
        (State::Running(_) | State::BackOff { .. } | State::PullFailed { .. }, Some(last)) => {
            last.json()
        }
        _ => json!({}),
    };
    let mut status = json!({
        "name": container.name,
        "image": container.image,
        "imageID": "",
        "ready": container.ready(),
        "started": running,
        "restartCount": container.restarts,
        "state": container.state_json(&pod_name),
        "lastState": last,
    });
    if begun {
        let digest = hex(&mut || image.bits());
        status.put("imageID", json!(format!("{}@sha256:{digest}", container.image)));
        status.put("containerID", json!(format!("containerd://{}", hex(&mut || draw.bits()))));
    }
    status
}

/// 64 hexadecimal digits.
fn hex(bits: &mut dyn FnMut() -> u64) -> String {
    (0..4).map(|_| format!("{:016x}", bits())).collect()
}
