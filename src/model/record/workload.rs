//! What is kept of Deployments, ReplicaSets, StatefulSets and DaemonSets? The same few numbers, under one name each.

use super::labelled::Labelled;
use super::meta::{Condition, Meta, condition};
use crate::model::kind::Kind;
use crate::model::text::Text;

/// How a workload replaces its pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// `RollingUpdate`.
    #[default]
    RollingUpdate,
    /// `Recreate`: all old pods go first.
    Recreate,
    /// `OnDelete`: old pods stay until somebody deletes them, so a difference of revisions is healthy.
    OnDelete,
}

/// A Deployment, ReplicaSet, StatefulSet or DaemonSet. Zero counts are absent on the wire and 0 here.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// What every object has.
    pub meta: Meta,
    /// Which of the four it is.
    pub kind: Kind,
    /// `status.observedGeneration`; a status older than `meta.generation` is no evidence.
    pub observed_generation: i64,
    /// `spec.replicas` (1 where absent); for a DaemonSet `status.desiredNumberScheduled`.
    pub desired: u32,
    /// `status.replicas`; for a DaemonSet `status.currentNumberScheduled`.
    pub current: u32,
    /// `status.updatedReplicas`; for a DaemonSet `status.updatedNumberScheduled`.
    pub updated: u32,
    /// `status.readyReplicas`; for a DaemonSet `status.numberReady`.
    pub ready: u32,
    /// `status.availableReplicas`; for a DaemonSet `status.numberAvailable`.
    pub available: u32,
    /// DaemonSet only: `status.numberMisscheduled`.
    pub misscheduled: u32,
    /// Deployment only: `spec.paused`.
    pub paused: bool,
    /// Deployment only: `spec.progressDeadlineSeconds` (600 where absent).
    pub progress_deadline: u32,
    /// How pods are replaced.
    pub strategy: Strategy,
    /// How many pods a rollout may lack at once, `maxUnavailable` resolved against `desired`.
    pub max_unavailable: u32,
    /// StatefulSet only: ordinals below stay at the old revision.
    pub partition: u32,
    /// StatefulSet only: `status.currentRevision` and `status.updateRevision` differ.
    pub revisions_differ: bool,
    /// Deployment and ReplicaSet: annotation `deployment.kubernetes.io/revision`.
    pub revision: u64,
    /// StatefulSet only: names of `spec.volumeClaimTemplates`.
    pub claim_templates: Box<[Text]>,
    /// What its pods are made from; not kept of ReplicaSets that a Deployment owns.
    pub template: Option<Box<Template>>,
    /// `status.conditions`.
    pub conditions: Box<[Condition]>,
}

/// What of a pod template is read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Template {
    /// Labels of the pods.
    pub labels: Labelled,
    /// The annotations of the pods that signals read.
    pub annotations: Labelled,
    /// Names of the containers' ports, where they have one, and their numbers.
    pub ports: Box<[(Text, u16)]>,
    /// What the pods need to start.
    pub references: Box<[Reference]>,
    /// `serviceAccountName`; empty for the namespace's own.
    pub service_account: Text,
    /// Every main container has a readiness probe.
    pub has_readiness: bool,
    /// Every main container requests CPU and memory.
    pub has_requests: bool,
    /// Every main container limits its memory.
    pub has_memory_limit: bool,
    /// An image has the tag `latest`, or neither tag nor digest.
    pub floating_image: bool,
    /// A container is privileged.
    pub privileged: bool,
    /// A volume is a directory of the node.
    pub host_path: bool,
    /// `hostNetwork`.
    pub host_network: bool,
}

/// A ConfigMap or Secret that a pod template names and cannot do without.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// [`Kind::ConfigMap`] or [`Kind::HelmSecret`], which stands for all Secrets.
    pub kind: Kind,
    /// Its name, in the workload's namespace.
    pub name: Text,
}

impl Workload {
    /// An empty record of this kind.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self {
            meta: Meta::default(),
            kind,
            observed_generation: 0,
            desired: 0,
            current: 0,
            updated: 0,
            ready: 0,
            available: 0,
            misscheduled: 0,
            paused: false,
            progress_deadline: 600,
            strategy: Strategy::RollingUpdate,
            max_unavailable: 0,
            partition: 0,
            revisions_differ: false,
            revision: 0,
            claim_templates: Box::default(),
            template: None,
            conditions: Box::default(),
        }
    }

    /// The condition of this type, if the workload has it.
    #[must_use]
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        condition(&self.conditions, kind)
    }

    /// Whether the controller has seen the newest spec.
    #[must_use]
    pub fn observed(&self) -> bool {
        self.observed_generation >= self.meta.generation
    }
}
