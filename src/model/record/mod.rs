//! What is kept of each object? Only the fields that signals read, in slim records with shared strings.

mod audit;
mod batch;
mod event;
mod labelled;
mod meta;
mod node;
mod pod;
mod resource;
mod scrape;
mod slice;
mod storage;
mod workload;

pub use audit::{AuditEvent, Refusal};
pub use batch::{CronJob, Job};
pub use event::{Event, ObjectRef};
pub use labelled::Labelled;
pub use meta::{
    Condition, Manager, Meta, Namespace, Owner, Status, Time, Uid, condition, is_credible,
};
pub use node::{Effect, Node, Resources, Taint};
pub use pod::{Container, ContainerState, Phase, Pod, Role, Termination, registry};
pub use resource::Resource;
pub use scrape::{Sample, Scrape};
pub use slice::{Endpoint, Slice};
pub use storage::{
    AttachError, BindingMode, Claim, ClaimPhase, ClaimRef, CsiDriver, CsiNode, NodeDriver, Reclaim,
    StorageClass, Volume, VolumeAttachment, VolumeCondition, VolumePhase,
};
pub use workload::{Reference, Strategy, Template, Workload};

use super::kind::Kind;

/// An object of any kind, as a source hands it over.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Object {
    Namespace(Namespace),
    Node(Box<Node>),
    /// A Deployment, ReplicaSet, StatefulSet or DaemonSet; the record says which.
    Workload(Box<Workload>),
    Job(Box<Job>),
    CronJob(Box<CronJob>),
    Pod(Box<Pod>),
    Claim(Box<Claim>),
    Volume(Box<Volume>),
    StorageClass(Box<StorageClass>),
    VolumeAttachment(Box<VolumeAttachment>),
    CsiDriver(Box<CsiDriver>),
    CsiNode(Box<CsiNode>),
    Event(Box<Event>),
    Slice(Box<Slice>),
    /// An object of a kind that has no record of its own.
    Resource(Box<Resource>),
    Scrape(Box<Scrape>),
    /// Counted, never held.
    Audit(Box<AuditEvent>),
}

impl Object {
    /// What every object has.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        match self {
            Self::Namespace(o) => &o.meta,
            Self::Node(o) => &o.meta,
            Self::Workload(o) => &o.meta,
            Self::Job(o) => &o.meta,
            Self::CronJob(o) => &o.meta,
            Self::Pod(o) => &o.meta,
            Self::Claim(o) => &o.meta,
            Self::Volume(o) => &o.meta,
            Self::StorageClass(o) => &o.meta,
            Self::VolumeAttachment(o) => &o.meta,
            Self::CsiDriver(o) => &o.meta,
            Self::CsiNode(o) => &o.meta,
            Self::Event(o) => &o.meta,
            Self::Slice(o) => &o.meta,
            Self::Resource(o) => &o.meta,
            Self::Scrape(o) => &o.meta,
            Self::Audit(o) => &o.meta,
        }
    }

    /// The object's kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Namespace(_) => Kind::Namespace,
            Self::Node(_) => Kind::Node,
            Self::Workload(o) => o.kind,
            Self::Job(_) => Kind::Job,
            Self::CronJob(_) => Kind::CronJob,
            Self::Pod(_) => Kind::Pod,
            Self::Claim(_) => Kind::PersistentVolumeClaim,
            Self::Volume(_) => Kind::PersistentVolume,
            Self::StorageClass(_) => Kind::StorageClass,
            Self::VolumeAttachment(_) => Kind::VolumeAttachment,
            Self::CsiDriver(_) => Kind::CsiDriver,
            Self::CsiNode(_) => Kind::CsiNode,
            Self::Event(_) => Kind::Event,
            Self::Slice(_) => Kind::EndpointSlice,
            Self::Resource(o) => o.kind,
            Self::Scrape(o) => o.kind,
            Self::Audit(_) => Kind::Audit,
        }
    }
}

/// A record that a [`Store`](super::world::Store) can hold.
pub trait Record: Clone + PartialEq {
    /// What every object has.
    fn meta(&self) -> &Meta;
    /// The same, to change.
    fn meta_mut(&mut self) -> &mut Meta;
}

macro_rules! records {
    ($($t:ty),*) => { $(impl Record for $t {
        fn meta(&self) -> &Meta { &self.meta }
        fn meta_mut(&mut self) -> &mut Meta { &mut self.meta }
    })* };
}
records!(
    Namespace,
    Node,
    Workload,
    Job,
    CronJob,
    Pod,
    Claim,
    Volume,
    StorageClass,
    VolumeAttachment,
    CsiDriver,
    CsiNode,
    Event,
    Slice,
    Resource,
    Scrape
);
