//! Which kinds does the simulated API serve, and under which paths?

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Namespace,
    Node,
    Pod,
    PersistentVolumeClaim,
    PersistentVolume,
    Event,
    Deployment,
    ReplicaSet,
    StatefulSet,
    DaemonSet,
    Job,
    CronJob,
    StorageClass,
    VolumeAttachment,
    CsiDriver,
    CsiNode,
}

/// One resource of one API version. Events are served by two groups.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Served {
    pub(crate) kind: Kind,
    pub(crate) name: &'static str,
    pub(crate) group: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) singular: &'static str,
    pub(crate) namespaced: bool,
}

const fn served(
    kind: Kind,
    name: &'static str,
    group: &'static str,
    plural: &'static str,
    singular: &'static str,
    namespaced: bool,
) -> Served {
    Served { kind, name, group, plural, singular, namespaced }
}

/// Everything that is served, all in version `v1`, in the order of [`Kind`] with the second view of events last.
pub(crate) const SERVED: &[Served] = &[
    served(Kind::Namespace, "Namespace", "", "namespaces", "namespace", false),
    served(Kind::Node, "Node", "", "nodes", "node", false),
    served(Kind::Pod, "Pod", "", "pods", "pod", true),
    served(
        Kind::PersistentVolumeClaim,
        "PersistentVolumeClaim",
        "",
        "persistentvolumeclaims",
        "persistentvolumeclaim",
        true,
    ),
    served(
        Kind::PersistentVolume,
        "PersistentVolume",
        "",
        "persistentvolumes",
        "persistentvolume",
        false,
    ),
    served(Kind::Event, "Event", "", "events", "event", true),
    served(Kind::Deployment, "Deployment", "apps", "deployments", "deployment", true),
    served(Kind::ReplicaSet, "ReplicaSet", "apps", "replicasets", "replicaset", true),
    served(Kind::StatefulSet, "StatefulSet", "apps", "statefulsets", "statefulset", true),
    served(Kind::DaemonSet, "DaemonSet", "apps", "daemonsets", "daemonset", true),
    served(Kind::Job, "Job", "batch", "jobs", "job", true),
    served(Kind::CronJob, "CronJob", "batch", "cronjobs", "cronjob", true),
    served(Kind::StorageClass, "StorageClass", STORAGE, "storageclasses", "storageclass", false),
    served(
        Kind::VolumeAttachment,
        "VolumeAttachment",
        STORAGE,
        "volumeattachments",
        "volumeattachment",
        false,
    ),
    served(Kind::CsiDriver, "CSIDriver", STORAGE, "csidrivers", "csidriver", false),
    served(Kind::CsiNode, "CSINode", STORAGE, "csinodes", "csinode", false),
    served(Kind::Event, "Event", EVENTS, "events", "event", true),
];

const STORAGE: &str = "storage.k8s.io";
/// The newer of the two groups that serve events.
pub(crate) const EVENTS: &str = "events.k8s.io";

impl Kind {
    /// How many kinds there are.
    pub(crate) const COUNT: usize = 16;

    /// The kind's first entry in [`SERVED`].
    pub(crate) const fn served(self) -> &'static Served {
        &SERVED[self as usize]
    }

    /// The kind's name, such as `Pod`.
    pub(crate) const fn name(self) -> &'static str {
        self.served().name
    }

    /// `apiVersion` of objects as they are stored.
    pub(crate) fn api_version(self) -> String {
        self.served().api_version()
    }

    /// Whether the API server counts changes of the spec in `metadata.generation`.
    pub(crate) const fn counts_generations(self) -> bool {
        matches!(
            self,
            Self::Pod
                | Self::Deployment
                | Self::ReplicaSet
                | Self::StatefulSet
                | Self::DaemonSet
                | Self::Job
                | Self::CronJob
        )
    }
}

impl Served {
    /// `group/version`, or the version alone for the core group.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { "v1".to_owned() } else { format!("{}/v1", self.group) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_finds_its_own_row() {
        for (index, row) in SERVED.iter().take(Kind::COUNT).enumerate() {
            assert_eq!(row.kind as usize, index, "{}", row.name);
            assert_eq!(row.kind.name(), row.name);
        }
        assert_eq!(SERVED.len(), Kind::COUNT + 1);
    }
}
