//! What is kept of an EndpointSlice? Which endpoints are ready, on which node and in which zone; never addresses.

use super::meta::Meta;
use crate::model::text::Text;

/// An EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Slice {
    /// What every object has.
    pub meta: Meta,
    /// Label `kubernetes.io/service-name`.
    pub service: Text,
    /// Label `multicluster.kubernetes.io/service-name`, for what another cluster exports.
    pub imported: Text,
    /// Label `multicluster.kubernetes.io/source-cluster`.
    pub source_cluster: Text,
    /// `endpoints`.
    pub endpoints: Box<[Endpoint]>,
}

/// One entry of `endpoints`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Endpoint {
    /// What it stands for: the name of the pod, else its first address. The same in the slices of both families.
    pub target: Text,
    /// `conditions.ready`; absent means ready.
    pub ready: bool,
    /// `conditions.serving`; absent means as ready.
    pub serving: bool,
    /// `conditions.terminating`.
    pub terminating: bool,
    /// `nodeName`.
    pub node: Text,
    /// `zone`.
    pub zone: Text,
}
