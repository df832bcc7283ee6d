//! Which driver serves a volume, does it live, and what is it busy with?

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::kubelet::volumes::Filling;
use super::pods;
use crate::sim::fields::Fields;
use crate::sim::kind::Kind;
use crate::sim::moment::Moment;
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

/// The namespace of drivers' controllers.
const NAMESPACE: &str = "kube-system";

/// What the storage controllers remember.
#[derive(Debug, Default)]
pub(crate) struct Storage {
    /// Provisioning by the claim's uid: when the back end is done, and how often it refused.
    pub(crate) provisioning: BTreeMap<String, Attempt>,
    /// When the back end is done with an attachment, by its name.
    pub(crate) attaching: BTreeMap<String, Moment>,
    /// Attachments that were refused because the volume is elsewhere, once told.
    pub(crate) blocked: BTreeSet<(String, String)>,
    /// Since when attachments to silent nodes have no pod, by their name.
    pub(crate) unmounting: BTreeMap<String, Moment>,
    /// Drivers whose back end refuses new volumes, with its words.
    pub(crate) refusing: BTreeMap<String, String>,
    /// What fills volumes, by claim.
    pub(crate) filling: BTreeMap<Key, Filling>,
}

/// One claim's provisioning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    pub(crate) done: Moment,
    pub(crate) refusals: u32,
}

/// A pod of the driver's controller that works. The driver's label `app` says which Deployment that is.
pub(crate) fn controller_pod(sim: &Simulation, driver: &str) -> Option<String> {
    let object = sim.store.get(Kind::CsiDriver, &Key::cluster(driver))?;
    let app = object.label("app");
    let mut pods =
        sim.store.list(Kind::Pod, Some(NAMESPACE)).filter(|(_, p)| p.label("app") == app);
    pods.find(|(_, p)| pods::active(p) && pods::ready(p)).map(|(key, _)| key.name.clone())
}

/// How long the driver of a pod's volumes takes for what usually takes so long.
pub(crate) fn takes(sim: &Simulation, pod: &Value, usually: Moment) -> Moment {
    let times = super::attach::claims(pod).filter_map(|claim| {
        let claim = sim.store.get(Kind::PersistentVolumeClaim, &claim)?;
        let volume = Key::cluster(claim.text("spec/volumeName"));
        let volume = sim.store.get(Kind::PersistentVolume, &volume)?;
        Some(sim.surroundings.slowness(volume.text("spec/csi/driver")))
    });
    longer(usually, times.fold(1.0, f64::max))
}

/// A time that is so many times longer.
pub(crate) fn longer(usually: Moment, times: f64) -> Moment {
    (usually as f64 * times) as Moment
}

/// The StorageClass of a claim.
pub(crate) fn class_of<'a>(sim: &'a Simulation, claim: &Value) -> Option<&'a Value> {
    let name = claim.text("spec/storageClassName");
    sim.store.get(Kind::StorageClass, &Key::cluster(name)).map(|class| &**class)
}

/// Whether volumes of the class are made only when a pod needs them.
pub(crate) fn waits_for_consumer(class: &Value) -> bool {
    class.text("volumeBindingMode") == "WaitForFirstConsumer"
}
