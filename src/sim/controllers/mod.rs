//! Who looks at what, and when? Each controller reconciles one thing from the store's state; a change in the store
//! wakes the controllers that watch it.

pub(crate) mod admission;
pub(crate) mod apiservices;
pub(crate) mod argo;
pub(crate) mod attach;
pub(crate) mod autoscaler;
pub(crate) mod balancers;
pub(crate) mod budgets;
pub(crate) mod capacity;
pub(crate) mod certificates;
pub(crate) mod claims;
pub(crate) mod collector;
pub(crate) mod control;
pub(crate) mod cronjob;
pub(crate) mod daemonset;
pub(crate) mod definitions;
pub(crate) mod delivery;
pub(crate) mod deployment;
pub(crate) mod endpoints;
pub(crate) mod eviction;
pub(crate) mod external_secrets;
pub(crate) mod flux;
pub(crate) mod gateway;
pub(crate) mod helm;
pub(crate) mod helm_release;
pub(crate) mod ingress;
pub(crate) mod job;
pub(crate) mod kubelet;
pub(crate) mod leases;
pub(crate) mod memories;
pub(crate) mod monitoring;
pub(crate) mod nodes;
pub(crate) mod pods;
pub(crate) mod provisioner;
pub(crate) mod quota;
pub(crate) mod reach;
pub(crate) mod replicaset;
pub(crate) mod resize;
pub(crate) mod rollout;
pub(crate) mod scheduler;
pub(crate) mod signing;
pub(crate) mod snapshots;
pub(crate) mod statefulset;
pub(crate) mod storage;
mod watchers;

use serde_json::Value;

use super::fields::{Fields, controller, deleting};
use super::kind::Kind;
use super::moment::Moment;
use super::script;
use super::simulation::Simulation;
use super::store::{Key, Touch, Verb};

/// How long a watch and a work queue take to bring a change to a controller.
const REACTION: Moment = 60;

/// A thing to look at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Task {
    /// A workload, a Job or a CronJob, by its controller.
    Reconcile(Kind, Key),
    /// A pod without a node, by the scheduler.
    Schedule(Key),
    /// A pod on a node, by its kubelet.
    Sync(Key),
    /// A node, by its kubelet.
    Heartbeat(Key),
    /// A node, by the node controllers.
    Monitor(Key),
    /// A pod on a tainted node, by the taint eviction controller.
    Evict(Key),
    /// A claim, by the volume binder.
    Bind(Key),
    /// A claim, by its external provisioner.
    Provision(Key),
    /// A volume, by the binder and the provisioner.
    Release(Key),
    /// A pod's volumes, by the attach-detach controller.
    Attach(Key),
    /// An attachment, by the attach-detach controller and the external attacher.
    Attachment(Key),
    /// A claim that may want to grow, by the external resizer and the kubelet.
    Resize(Key),
    /// The schedule of snapshots.
    Snapshots,
    /// The storage pools, by the external provisioner.
    Pools,
    /// An event whose time may have come.
    Expire(Key),
    /// The script of faults.
    Script,
}

/// Looks at one thing.
pub(crate) fn handle(sim: &mut Simulation, task: Task) {
    if sim.memories.control.holds(&task) {
        return;
    }
    match task {
        Task::Reconcile(Kind::Deployment, key) => deployment::reconcile(sim, &key),
        Task::Reconcile(Kind::ReplicaSet, key) => replicaset::reconcile(sim, &key),
        Task::Reconcile(Kind::StatefulSet, key) => statefulset::reconcile(sim, &key),
        Task::Reconcile(Kind::DaemonSet, key) => daemonset::reconcile(sim, &key),
        Task::Reconcile(Kind::Job, key) => job::reconcile(sim, &key),
        Task::Reconcile(Kind::CronJob, key) => cronjob::reconcile(sim, &key),
        Task::Reconcile(kind, key) => reconcile(sim, kind, &key),
        Task::Schedule(key) => scheduler::schedule(sim, &key),
        Task::Sync(key) => kubelet::sync(sim, &key),
        Task::Heartbeat(key) => nodes::heartbeat(sim, &key),
        Task::Monitor(key) => nodes::monitor(sim, &key),
        Task::Evict(key) => nodes::evict(sim, &key),
        Task::Bind(key) => claims::bind(sim, &key),
        Task::Provision(key) => provisioner::provision(sim, &key),
        Task::Release(key) => claims::release(sim, &key),
        Task::Attach(key) => attach::attach(sim, &key),
        Task::Attachment(key) => attach::attachment(sim, &key),
        Task::Resize(key) => resize::grow(sim, &key),
        Task::Snapshots => snapshots::schedule(sim),
        Task::Pools => capacity::report(sim),
        Task::Expire(key) => {
            sim.recorder.expire(&mut sim.store, &mut sim.queue, sim.now, &key);
        }
        Task::Script => script::step(sim),
    }
}

/// Looks at an object that is no workload's.
fn reconcile(sim: &mut Simulation, kind: Kind, key: &Key) {
    match kind {
        Kind::Node => eviction::reconcile(sim, key),
        Kind::Service => {
            endpoints::reconcile(sim, key);
            balancers::reconcile(sim, key);
        }
        Kind::Ingress => ingress::reconcile(sim, key),
        Kind::GatewayClass => gateway::class(sim, key),
        Kind::Gateway => gateway::gateway(sim, key),
        Kind::HttpRoute => gateway::route(sim, key),
        Kind::Lease => leases::reconcile(sim, key),
        Kind::HorizontalPodAutoscaler => autoscaler::reconcile(sim, key),
        Kind::PodDisruptionBudget => budgets::reconcile(sim, key),
        Kind::ResourceQuota => quota::reconcile(sim, key),
        Kind::ApiService => apiservices::reconcile(sim, key),
        Kind::Prometheus => monitoring::prometheus(sim, key),
        Kind::OpenTelemetryCollector => monitoring::collector(sim, key),
        _ => extension(sim, kind, key),
    }
}

/// Looks at an object of a kind that extends Kubernetes, or of one that guards it.
fn extension(sim: &mut Simulation, kind: Kind, key: &Key) {
    match kind {
        Kind::Namespace => collector::namespace(sim, key),
        Kind::CsiNode => capacity::register(sim, key),
        Kind::VolumeSnapshot => snapshots::snapshot(sim, key),
        Kind::CustomResourceDefinition => definitions::reconcile(sim, key),
        Kind::CertificateSigningRequest => signing::request(sim, key),
        Kind::Issuer | Kind::ClusterIssuer => certificates::issuer(sim, kind, key),
        Kind::Certificate => certificates::certificate(sim, key),
        Kind::CertificateRequest => certificates::request(sim, key),
        Kind::SecretStore => external_secrets::store(sim, key),
        Kind::ExternalSecret => external_secrets::secret(sim, key),
        Kind::Application => argo::application(sim, key),
        Kind::GitRepository => flux::repository(sim, key),
        Kind::Kustomization => flux::kustomization(sim, key),
        Kind::HelmRelease => helm_release::release(sim, key),
        _ => {}
    }
}

/// Whether a pod of this namespace with this label `app` is ready, so that the program in it does its work.
pub(crate) fn works(sim: &Simulation, (ns, app): (&str, &str)) -> bool {
    let mut pods = sim.store.list(Kind::Pod, Some(ns)).map(|(_, pod)| pod);
    pods.any(|pod| pod.label("app") == app && pods::active(pod) && pods::ready(pod))
}

/// Wakes whoever watches the object that changed.
pub(crate) fn react(sim: &mut Simulation, touch: &Touch) {
    let object = &*touch.object;
    let key = Key::of(object);
    if touch.verb == Verb::Deleted {
        for (kind, dependant) in sim.store.dependants(object.text("metadata/uid")) {
            sim.delete(kind, &dependant);
        }
    }
    wake_owner(sim, object);
    if touch.verb == Verb::Modified && deleting(object) && touch.kind != Kind::Pod {
        collector::released(sim, touch.kind, &key, object);
    }
    watchers::wake(sim, touch);
    let soon = sim.now + REACTION;
    match touch.kind {
        Kind::Pod => pod_changed(sim, touch, key),
        Kind::Node => node_changed(sim, touch.verb, key),
        Kind::PersistentVolumeClaim => {
            sim.queue.push(soon, Task::Bind(key.clone()));
            scheduler::claim_changed(sim, &key);
            let bound = object.text("status/phase") == "Bound";
            let asked = object.text("spec/resources/requests/storage");
            let resizing = object.at("status/allocatedResourceStatuses").is_some();
            if bound && (resizing || asked != object.text("status/capacity/storage")) {
                sim.queue.push(soon, Task::Resize(key));
            }
        }
        Kind::PersistentVolume => {
            sim.queue.push(soon, Task::Bind(claims::claim_of(object)));
            sim.queue.push(soon, Task::Release(key));
        }
        Kind::VolumeAttachment => attach::attachment_changed(sim, touch.verb, object),
        Kind::Deployment
        | Kind::ReplicaSet
        | Kind::StatefulSet
        | Kind::DaemonSet
        | Kind::Job
        | Kind::CronJob => {
            sim.queue.push(soon, Task::Reconcile(touch.kind, key));
            delivery::member_changed(sim, object);
        }
        Kind::Event | Kind::StorageClass | Kind::CsiDriver | Kind::CsiNode => {}
        // The rest is reconciled by whoever has a controller for it.
        kind => sim.queue.push(soon, Task::Reconcile(kind, key)),
    }
}

fn wake_owner(sim: &mut Simulation, object: &Value) {
    let Some(owner) = controller(object) else { return };
    let kind = match owner.text("kind") {
        "Deployment" => Kind::Deployment,
        "ReplicaSet" => Kind::ReplicaSet,
        "StatefulSet" => Kind::StatefulSet,
        "DaemonSet" => Kind::DaemonSet,
        "Job" => Kind::Job,
        "CronJob" => Kind::CronJob,
        _ => return,
    };
    let key = Key::new(object.text("metadata/namespace"), owner.text("name"));
    sim.queue.push(sim.now + REACTION, Task::Reconcile(kind, key));
}

fn pod_changed(sim: &mut Simulation, touch: &Touch, key: Key) {
    let pod = &*touch.object;
    let soon = sim.now + REACTION;
    if pod.label("app") == capacity::NODE_PLUGIN {
        let node = Key::cluster(pod.text("spec/nodeName"));
        sim.queue.push(soon, Task::Reconcile(Kind::CsiNode, node));
    }
    scheduler::account(sim, touch.verb, &key, pod);
    if touch.verb == Verb::Deleted {
        sim.queue.push(soon, Task::Sync(key));
        attach::pod_gone(sim, pod);
        claims::pod_gone(sim, pod);
        return;
    }
    if pod.text("spec/nodeName").is_empty() {
        if touch.verb == Verb::Added {
            sim.queue.push(soon, Task::Schedule(key));
        }
        return;
    }
    if !sim.kubelets.knows(&key) {
        nodes::pod_bound(sim, &key, pod);
        sim.queue.push(soon, Task::Attach(key.clone()));
        sim.queue.push(soon, Task::Sync(key));
    } else if deleting(pod) {
        sim.queue.push(soon, Task::Sync(key));
    }
}

fn node_changed(sim: &mut Simulation, verb: Verb, key: Key) {
    let soon = sim.now + REACTION;
    if verb == Verb::Modified {
        return;
    }
    let sets: Vec<_> = sim.store.list(Kind::DaemonSet, None).map(|(k, _)| k.clone()).collect();
    for set in sets {
        sim.queue.push(soon, Task::Reconcile(Kind::DaemonSet, set));
    }
    scheduler::room_changed(sim);
    if verb == Verb::Added {
        sim.queue.push(soon, Task::Heartbeat(key));
    }
}
