//! What is kept of claims, volumes, classes, attachments and CSI drivers?

use super::meta::{Condition, Meta, Time, Uid, condition};
use crate::model::text::Text;

/// A PersistentVolumeClaim's `status.phase`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ClaimPhase {
    #[default]
    Pending,
    Bound,
    Lost,
    /// A phase that this version does not know.
    Other,
}

/// A PersistentVolumeClaim.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Claim {
    /// What every object has.
    pub meta: Meta,
    /// `status.phase`.
    pub phase: ClaimPhase,
    /// `spec.storageClassName`: absent (the default class) differs from empty (no class).
    pub class: Option<Text>,
    /// `spec.volumeName`; empty until bound.
    pub volume: Text,
    /// Annotation `volume.kubernetes.io/selected-node`: the scheduler has chosen, provisioning may start.
    pub selected_node: Text,
    /// Annotation `volume.kubernetes.io/storage-provisioner` or its beta form: handed to this provisioner.
    pub provisioner: Text,
    /// `spec.resources.requests.storage`, bytes.
    pub requested: u64,
    /// `spec.accessModes` holds only `ReadWriteOnce` or `ReadWriteOncePod`.
    pub single_node: bool,
    /// `spec.dataSource` or `dataSourceRef` is set: a clone or a restore, slower to bind.
    pub from_source: bool,
    /// `status.conditions`.
    pub conditions: Box<[Condition]>,
    /// `status.allocatedResourceStatuses["storage"]`, such as `NodeResizeInfeasible`.
    pub resize: Text,
    /// `status.modifyVolumeStatus.status`.
    pub modify: Text,
    /// `status.healthStatus.healthConditions[]`, Kubernetes 1.37 and later, behind a gate.
    pub health: Box<[VolumeCondition]>,
}

impl Claim {
    /// The condition of this type, if the claim has it.
    #[must_use]
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        condition(&self.conditions, kind)
    }
}

/// What a CSI driver says of a volume's health.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VolumeCondition {
    /// `Inaccessible`, `DataLoss` or `Degraded`.
    pub status: Text,
    /// The driver's reason.
    pub reason: Text,
    /// The driver's message.
    pub message: Text,
}

/// A PersistentVolume's `status.phase`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum VolumePhase {
    #[default]
    Pending,
    Available,
    Bound,
    Released,
    Failed,
    /// A phase that this version does not know.
    Other,
}

/// What happens to a released volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Reclaim {
    #[default]
    Retain,
    Delete,
    Recycle,
}

/// `spec.claimRef` of a volume.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct ClaimRef {
    pub namespace: Text,
    pub name: Text,
    /// Empty for a volume that is reserved for a claim by name.
    pub uid: Uid,
}

/// A PersistentVolume.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Volume {
    /// What every object has.
    pub meta: Meta,
    /// `status.phase`.
    pub phase: VolumePhase,
    /// `status.reason`.
    pub reason: Text,
    /// `status.message`.
    pub message: Text,
    /// `status.lastPhaseTransitionTime`.
    pub phase_since: Option<Time>,
    /// `spec.persistentVolumeReclaimPolicy`.
    pub reclaim: Reclaim,
    /// `spec.claimRef`.
    pub claim: Option<ClaimRef>,
    /// `spec.csi.driver`, or the name of the in-tree plug-in (`hostPath`, `nfs`, `local`, …).
    pub driver: Text,
    /// `spec.storageClassName`.
    pub class: Text,
    /// `spec.capacity.storage`, bytes.
    pub capacity: u64,
    /// Zones that node affinity or the zone label pins the volume to; empty when it is not pinned.
    pub zones: Box<[Text]>,
}

/// A StorageClass' `volumeBindingMode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum BindingMode {
    #[default]
    Immediate,
    WaitForFirstConsumer,
}

/// A StorageClass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StorageClass {
    /// What every object has.
    pub meta: Meta,
    /// `provisioner`.
    pub provisioner: Text,
    /// `volumeBindingMode`.
    pub binding: BindingMode,
    /// Annotation `storageclass.kubernetes.io/is-default-class` (or its beta form) is `true`.
    pub default: bool,
    /// `allowVolumeExpansion`.
    pub expandable: bool,
}

/// `status.attachError` or `status.detachError`.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct AttachError {
    pub time: Option<Time>,
    pub message: Text,
    /// gRPC status code, Kubernetes 1.34 and later.
    pub code: Option<i32>,
}

/// A VolumeAttachment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VolumeAttachment {
    /// What every object has.
    pub meta: Meta,
    /// `spec.attacher`: the CSI driver.
    pub driver: Text,
    /// `spec.nodeName`.
    pub node: Text,
    /// `spec.source.persistentVolumeName`; empty for inline volumes.
    pub volume: Text,
    /// `status.attached`.
    pub attached: bool,
    /// When it became so, to the second: the time at which its status was written last (`managedFields`).
    pub attached_at: Option<Time>,
    /// `status.attachError`.
    pub attach_error: Option<AttachError>,
    /// `status.detachError`.
    pub detach_error: Option<AttachError>,
}

/// A CSIDriver; its name is the driver's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CsiDriver {
    /// What every object has.
    pub meta: Meta,
    /// `spec.attachRequired` (true where absent).
    pub attach_required: bool,
    /// `spec.storageCapacity`.
    pub storage_capacity: bool,
}

/// One driver on one node.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct NodeDriver {
    pub name: Text,
    /// `allocatable.count`; absent means unlimited.
    pub volume_limit: Option<u32>,
}

/// A CSINode; its name is the node's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CsiNode {
    /// What every object has.
    pub meta: Meta,
    /// `spec.drivers`.
    pub drivers: Box<[NodeDriver]>,
}
