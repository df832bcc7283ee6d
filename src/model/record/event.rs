//! What is kept of an Event, whichever of the two APIs it was read from?

use super::meta::{Meta, Time, Uid};
use crate::model::text::Text;

/// The object that an event is about. Nodes are matched by name: older kubelets put the name where the uid belongs.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct ObjectRef {
    pub kind: Text,
    pub namespace: Text,
    pub name: Text,
    pub uid: Uid,
    /// Such as `spec.containers{web}`.
    pub field_path: Text,
}

impl ObjectRef {
    /// The container named by the field path, if any.
    #[must_use]
    pub fn container(&self) -> Option<&str> {
        let (_, rest) = self.field_path.split_once('{')?;
        rest.strip_suffix('}')
    }
}

/// An Event. `meta.uid` identifies the series; `count` grows with each occurrence.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    /// What every object has.
    pub meta: Meta,
    /// `regarding`, or `involvedObject` of the core API.
    pub regarding: ObjectRef,
    /// The reason, such as `FailedMount`.
    pub reason: Text,
    /// The type is `Warning`.
    pub warning: bool,
    /// Who reports it: `reportingController`, else `deprecatedSource.component`. Aggregated events lose the first,
    /// the scheduler's lose the second.
    pub actor: Text,
    /// `series.count`, else the deprecated count, else 1.
    pub count: u32,
    /// The first occurrence, as far as the event says.
    pub first: Time,
    /// The last occurrence: `series.lastObservedTime`, else the deprecated last time, else `eventTime`.
    pub last: Time,
    /// The text, cut at 1 KiB.
    pub note: Text,
    /// Annotation `starved_resource` of the kubelet's `Evicted`.
    pub starved_resource: Text,
}
