//! How does a pod live on its node? Volumes, sandbox, containers, probes, restarts, end; as the kubelet sees to it.

mod container;
pub(crate) mod figures;
mod images;
mod probes;
mod status;
pub(crate) mod volumes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use self::container::Container;
use super::{Task, attach, capacity, collector, reach, storage};
use crate::sim::fields::{Fields, deleting};
use crate::sim::kind::Kind;
use crate::sim::moment::{MINUTE, Moment, SECOND};
use crate::sim::recorder::{Actor, Note};
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

/// How often a sandbox that could not be made is tried again, about (`backOffPeriod` and the pod worker's own).
const SANDBOX_RETRY: Moment = 14 * SECOND;

/// How long the kubelet waits for volumes before it says so: `podAttachAndMountTimeout`.
const VOLUMES_TIMEOUT: Moment = 2 * MINUTE + 3 * SECOND;

/// What all kubelets remember.
#[derive(Debug, Default)]
pub(crate) struct Kubelets {
    runs: BTreeMap<Key, Run>,
    /// Images by node.
    images: BTreeMap<String, BTreeSet<String>>,
    /// How often a node's kubelet asked for a certificate and got none.
    failed_renewals: BTreeMap<String, u64>,
}

impl Kubelets {
    /// The pod is over, whatever its containers did.
    pub(crate) fn forget(&mut self, pod: &Key) {
        self.runs.remove(pod);
    }

    /// A node's kubelet has waited in vain for a certificate.
    pub(crate) fn renewal_failed(&mut self, node: &str) {
        *self.failed_renewals.entry(node.to_owned()).or_default() += 1;
    }

    fn failed_renewals(&self, node: &str) -> u64 {
        self.failed_renewals.get(node).copied().unwrap_or(0)
    }

    /// Whether this pod's volumes are mounted.
    fn has_started(&self, pod: &Key) -> bool {
        self.runs.get(pod).is_some_and(|run| run.sandbox)
    }

    /// Whether a kubelet has seen this pod.
    pub(crate) fn knows(&self, pod: &Key) -> bool {
        self.runs.contains_key(pod)
    }
}

/// One pod's life on its node.
#[derive(Debug)]
struct Run {
    uid: String,
    stage: Stage,
    /// When the kubelet saw it first, by its own clock.
    since: Moment,
    /// When the sandbox got its network.
    sandbox: bool,
    /// When the kubelet next complains about volumes.
    complain: Moment,
    /// When the node's driver is next looked for, and the wait between two looks.
    driver_at: Moment,
    driver_wait: Moment,
    containers: Vec<Container>,
    /// What its status says.
    shown: Option<status::Shown>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Volumes,
    Mounting { until: Moment },
    Sandbox { until: Moment },
    Containers,
    Stopping { until: Moment },
}

/// What the steps of a pod's life need to know.
struct Scene<'a> {
    sim: &'a mut Simulation,
    pod: Arc<Value>,
    node: String,
}

impl Scene<'_> {
    fn uid(&self) -> &str {
        self.pod.text("metadata/uid")
    }

    fn now(&self) -> Moment {
        self.sim.now
    }

    /// Reports something about a container, or about the pod if the name is empty.
    fn note(&mut self, container: &str, warning: bool, reason: &str, text: String) {
        let by = Actor::Kubelet(self.node.clone());
        let (about, skew) = (Arc::clone(&self.pod), self.sim.surroundings.skew(&self.node));
        self.sim.note(&Note { about: &about, by, warning, reason, text, container, skew });
    }

    /// What the node's clock says.
    fn clock(&self) -> Moment {
        self.now() + self.sim.surroundings.skew(&self.node)
    }

    /// How long on this node takes what usually takes so long.
    fn takes(&self, usually: Moment) -> Moment {
        let crowd = self.sim.surroundings.crowd(&self.node);
        crowd.map_or(usually, |crowd| (usually as f64 * crowd.times) as Moment)
    }

    /// Whether an answer to this probe, at this moment, comes too late.
    fn misses(&self, probe: &str) -> bool {
        self.sim.surroundings.crowd(&self.node).is_some_and(|crowd| {
            let thing = format!("{}/{probe}/{}", self.uid(), self.now());
            self.sim.chance.of("probe", &thing).unit() < crowd.misses
        })
    }

    /// `name_namespace(uid)`, as kubelet messages call a pod.
    fn pod_name(&self) -> String {
        let ns = self.pod.text("metadata/namespace");
        format!("{}_{ns}({})", self.pod.text("metadata/name"), self.uid())
    }
}

/// Looks at a pod that is bound to a node. A silent kubelet does nothing, not even for pods to be deleted.
pub(crate) fn sync(sim: &mut Simulation, key: &Key) {
    let Some(pod) = sim.store.get(Kind::Pod, key).cloned() else {
        sim.kubelets.runs.remove(key);
        return;
    };
    let node = pod.text("spec/nodeName").to_owned();
    let put_out = pod.text("status/reason") == "Evicted";
    if node.is_empty() {
        // One of its name that was deleted by force is forgotten.
        sim.kubelets.runs.remove(key);
        return;
    }
    if put_out || sim.surroundings.lost(&node).is_some() {
        return;
    }
    let known = sim.kubelets.runs.remove(key).filter(|run| run.uid == pod.text("metadata/uid"));
    let clock = sim.now + sim.surroundings.skew(&node);
    let mut run = known.unwrap_or_else(|| Run::new(&pod, sim.now, clock));
    let stopping = deleting(&pod);
    let mut scene = Scene { sim, pod, node };
    let next = if stopping { run.stop(&mut scene) } else { Some(run.live(&mut scene)) };
    let Some(next) = next else {
        collector::finish(sim, Kind::Pod, key);
        return;
    };
    status::publish(sim, key, &mut run);
    sim.kubelets.runs.insert(key.clone(), run);
    if next < Moment::MAX {
        sim.queue.push(next.max(sim.now + 1), Task::Sync(key.clone()));
    }
}

/// Has every kubelet look at the pods of an app: its program behaves differently from here on.
pub(crate) fn recheck(sim: &mut Simulation, ns: &str, app: &str) {
    let pods = sim.store.list(Kind::Pod, Some(ns)).filter(|(_, pod)| pod.label("app") == app);
    let keys: Vec<_> = pods.map(|(key, _)| key.clone()).collect();
    for key in keys {
        sim.queue.push(sim.now, Task::Sync(key));
    }
}

/// Has a kubelet look at a pod.
pub(crate) fn look(sim: &mut Simulation, pod: Key) {
    sim.queue.push(sim.now, Task::Sync(pod));
}

/// Has a kubelet look at all its pods: the node is slower or faster from here on.
pub(crate) fn recheck_node(sim: &mut Simulation, node: &str) {
    for key in sim.store.on_node(node) {
        sim.queue.push(sim.now, Task::Sync(key));
    }
}

impl Run {
    fn new(pod: &Value, now: Moment, clock: Moment) -> Self {
        let containers = pod.items("spec/containers").iter().map(Container::new).collect();
        Self {
            uid: pod.text("metadata/uid").to_owned(),
            stage: Stage::Volumes,
            since: clock,
            sandbox: false,
            complain: now + VOLUMES_TIMEOUT,
            driver_at: 0,
            driver_wait: SECOND / 2,
            containers,
            shown: None,
        }
    }

    /// Takes every step that is due; gives the time of the next.
    fn live(&mut self, scene: &mut Scene<'_>) -> Moment {
        loop {
            let next = self.step(scene);
            if next > scene.now() {
                return next;
            }
        }
    }

    fn step(&mut self, scene: &mut Scene<'_>) -> Moment {
        let now = scene.now();
        match self.stage {
            Stage::Volumes => self.await_volumes(scene),
            Stage::Mounting { until } | Stage::Sandbox { until } if until > now => until,
            Stage::Mounting { .. } => {
                let took = scene.sim.chance.of("sandbox", &self.uid).log_normal(600, 0.4);
                self.stage = Stage::Sandbox { until: now + scene.takes(took) };
                now
            }
            Stage::Sandbox { .. } if !wired(scene) => {
                let until = now + SANDBOX_RETRY;
                self.stage = Stage::Sandbox { until };
                until
            }
            Stage::Sandbox { .. } => {
                self.sandbox = true;
                self.stage = Stage::Containers;
                now
            }
            Stage::Containers | Stage::Stopping { .. } => {
                self.stage = Stage::Containers;
                self.containers.iter_mut().map(|c| c.live(scene)).min().unwrap_or(Moment::MAX)
            }
        }
    }

    fn await_volumes(&mut self, scene: &mut Scene<'_>) -> Moment {
        let now = scene.now();
        let missing = attach::missing(scene.sim, &scene.pod, &scene.node);
        if missing.is_empty() {
            if let Some(next) = self.await_driver(scene) {
                return next;
            }
            let claims = attach::claims(&scene.pod).count() as i64;
            let took = scene.sim.chance.of("mount", &self.uid).log_normal(1500, 0.5);
            let took = storage::takes(scene.sim, &scene.pod, scene.takes(took));
            self.stage = Stage::Mounting { until: now + claims.min(1) * took };
            return now;
        }
        if now >= self.complain {
            let list = missing.join(" ");
            scene.note(
                "",
                true,
                "FailedMount",
                format!(
                    "Unable to attach or mount volumes: unmounted volumes=[{list}], unattached volumes=[], \
                     failed to process volumes=[]: context deadline exceeded"
                ),
            );
            self.complain = now + VOLUMES_TIMEOUT + 10 * SECOND;
        }
        self.complain
    }

    /// Waits for the driver of the pod's volumes to be registered on the node; `None` when it is.
    fn await_driver(&mut self, scene: &mut Scene<'_>) -> Option<Moment> {
        let volume = attach::claims(&scene.pod).find_map(|key| {
            let claim = scene.sim.store.get(Kind::PersistentVolumeClaim, &key)?;
            let volume = Key::cluster(claim.text("spec/volumeName"));
            let found = scene.sim.store.get(Kind::PersistentVolume, &volume)?;
            let driver = found.text("spec/csi/driver");
            let there = capacity::registered(scene.sim, &scene.node, driver);
            (!there).then(|| (volume.name, driver.to_owned()))
        });
        let (volume, driver) = volume?;
        let now = scene.now();
        if self.driver_at <= now {
            let text = format!(
                "MountVolume.MountDevice failed for volume {volume:?} : kubernetes.io/csi: attacher.MountDevice failed \
                 to create newCsiDriverClient: driver name {driver} not found in the list of registered CSI drivers"
            );
            scene.note("", true, "FailedMount", text);
            self.driver_wait = (self.driver_wait * 2).clamp(SECOND, VOLUMES_TIMEOUT);
            self.driver_at = now + self.driver_wait;
        }
        Some(self.driver_at)
    }

    /// Ends the pod; `None` when nothing of it is left.
    fn stop(&mut self, scene: &mut Scene<'_>) -> Option<Moment> {
        let now = scene.now();
        if let Stage::Stopping { until } = self.stage {
            return (until > now).then_some(until);
        }
        let mut took = 100;
        for container in &self.containers {
            if container.running() {
                scene.note(
                    &container.name,
                    false,
                    "Killing",
                    format!("Stopping container {}", container.name),
                );
                took = scene.sim.chance.of("stop", &self.uid).log_normal(2 * SECOND, 0.6);
            }
        }
        let grace = scene.pod.int("metadata/deletionGracePeriodSeconds") * SECOND;
        let until = now + took.min(grace.max(100));
        self.stage = Stage::Stopping { until };
        Some(until)
    }
}

/// Whether the pod gets its network; if not, the kubelet says so.
fn wired(scene: &mut Scene<'_>) -> bool {
    if scene.pod.truth("spec/hostNetwork") || reach::wired(scene.sim, &scene.node) {
        return true;
    }
    let thing = format!("{}/{}", scene.uid(), scene.now());
    let sandbox = scene.sim.chance.of("sandbox-id", &thing).bits();
    let text = format!(
        "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox \
         \"{sandbox:016x}\": plugin type=\"{}\" failed (add): dial unix /var/run/{}/agent.sock: connect: connection \
         refused",
        reach::AGENT,
        reach::AGENT,
    );
    scene.note("", true, "FailedCreatePodSandBox", text);
    false
}

/// A node's address.
fn host<'a>(sim: &'a Simulation, node: &str) -> &'a str {
    let key = Key::cluster(node);
    sim.store.get(Kind::Node, &key).map_or("", |n| n.text("status/addresses/0/address"))
}

/// The address of a pod in the network of pods.
fn address(sim: &Simulation, uid: &str) -> String {
    let bits = sim.chance.of("address", uid).bits();
    // 198.18.0.0/15 is reserved for benchmarks (RFC 2544): data only, never dialled.
    format!("198.{}.{}.{}", 18 + (bits & 1), (bits >> 8) & 0xff, 1 + (bits >> 16) % 254)
}

/// `[{"ip": …}]`, the plural form of an address.
fn plural(address: &str) -> Value {
    json!([{ "ip": address }])
}
