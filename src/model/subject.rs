//! What is a finding or an anomaly about? One object of the cluster, or one of its workloads.

use serde::{Deserialize, Serialize};

use super::kind::Kind;
use super::record::Resource;
use super::text::Text;

/// The object that a finding or an anomaly is about. A cluster-wide one has kind `Cluster` and no name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Subject {
    /// `group/version` of the object's API; empty when it is not known, as for owners of other people's kinds.
    pub api_version: Text,
    /// The object's kind.
    pub kind: Text,
    /// The object's namespace; empty at cluster scope.
    pub namespace: Text,
    /// The object's name.
    pub name: Text,
}

impl Subject {
    /// The subject that stands for an object of a known kind.
    #[must_use]
    pub fn new(kind: Kind, namespace: &Text, name: &Text) -> Self {
        Self {
            api_version: kind.api_version().as_str().into(),
            kind: kind.name().into(),
            namespace: namespace.clone(),
            name: name.clone(),
        }
    }

    /// The subject that stands for an object without a record of its own.
    #[must_use]
    pub fn of(resource: &Resource) -> Self {
        Self::new(resource.kind, &resource.meta.namespace, &resource.meta.name)
    }

    /// The subject of what concerns no single object.
    #[must_use]
    pub fn cluster() -> Self {
        Self {
            api_version: Text::default(),
            kind: "Cluster".into(),
            namespace: Text::default(),
            name: Text::default(),
        }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.namespace.is_empty(), self.name.is_empty()) {
            (_, true) => write!(f, "{}", self.kind),
            (true, false) => write!(f, "{} {}", self.kind, self.name),
            (false, false) => write!(f, "{} {}/{}", self.kind, self.namespace, self.name),
        }
    }
}

/// The controller that a pod is counted under, rolled up to the top: a Deployment rather than its ReplicaSet, a
/// CronJob rather than its Job, or the kind of somebody's own controller.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkloadRef {
    /// Namespace of the workload.
    pub namespace: Text,
    /// Kind of the workload, such as `Deployment`; `Pod` for pods without a controller.
    pub kind: Text,
    /// Name of the workload; [`STANDALONE`] for all pods of a namespace that have no controller.
    pub name: Text,
}

/// The name under which pods without a controller are counted together: no object can have it.
pub const STANDALONE: &str = "(standalone)";

impl WorkloadRef {
    /// The workload as a subject.
    #[must_use]
    pub fn subject(&self) -> Subject {
        Subject {
            api_version: Kind::by_name(&self.kind)
                .map_or_else(Text::default, |k| k.api_version().as_str().into()),
            kind: self.kind.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }
}
