//! What is kept of a node?

use super::meta::{Condition, Meta, Time, condition};
use crate::model::text::Text;

/// Amounts of the two resources that every pod competes for, and the count of pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Millicores.
    pub cpu_milli: u64,
    /// Bytes.
    pub memory: u64,
    /// Pods.
    pub pods: u32,
}

/// A Node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// What every object has.
    pub meta: Meta,
    /// `spec.unschedulable`: cordoned.
    pub unschedulable: bool,
    /// `spec.taints`.
    pub taints: Box<[Taint]>,
    /// `status.conditions`.
    pub conditions: Box<[Condition]>,
    /// Label `topology.kubernetes.io/zone`; empty where none is set.
    pub zone: Text,
    /// Label `node.kubernetes.io/instance-type`; empty where none is set.
    pub instance_type: Text,
    /// `status.allocatable`.
    pub allocatable: Resources,
    /// Names of volumes in `status.volumesAttached`.
    pub volumes_attached: Box<[Text]>,
}

impl Node {
    /// The condition of this type, if the node has it.
    #[must_use]
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        condition(&self.conditions, kind)
    }

    /// Whether a taint with this key stands on the node.
    #[must_use]
    pub fn tainted(&self, key: &str) -> bool {
        self.taints.iter().any(|t| t.key == key)
    }
}

/// A taint's effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Effect {
    #[default]
    NoSchedule,
    PreferNoSchedule,
    NoExecute,
}

/// One entry of `spec.taints`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Taint {
    /// The taint's key.
    pub key: Text,
    /// The taint's effect.
    pub effect: Effect,
    /// `timeAdded`, set for `NoExecute` taints only.
    pub added: Option<Time>,
}
