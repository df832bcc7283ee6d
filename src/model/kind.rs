//! Which kinds of Kubernetes objects does the world hold, and where does the API serve them?

use serde::{Deserialize, Serialize};

macro_rules! kinds {
    ($($variant:ident = $name:literal, $group:literal, $version:literal, $plural:literal, $scope:ident;)*) => {
        /// A kind of object that a source watches.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[allow(missing_docs)]
        pub enum Kind { $($variant),* }

        impl Kind {
            /// Every kind, in the order in which their sources start.
            pub const ALL: &'static [Kind] = &[$(Kind::$variant),*];

            /// The API's name of the kind, such as `Pod`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Kind::$variant => $name),* }
            }

            /// The API group, empty for the core group.
            #[must_use]
            pub const fn group(self) -> &'static str {
                match self { $(Kind::$variant => $group),* }
            }

            /// The version of the group that is read.
            #[must_use]
            pub const fn version(self) -> &'static str {
                match self { $(Kind::$variant => $version),* }
            }

            /// The resource's plural, such as `pods`: the source's name in metrics and the name in an RBAC rule.
            #[must_use]
            pub const fn plural(self) -> &'static str {
                match self { $(Kind::$variant => $plural),* }
            }

            /// Whether objects of the kind live in a namespace.
            #[must_use]
            pub const fn namespaced(self) -> bool {
                match self { $(Kind::$variant => kinds!(@ $scope)),* }
            }
        }
    };
    (@ namespaced) => { true };
    (@ cluster) => { false };
}

kinds! {
    Namespace = "Namespace", "", "v1", "namespaces", cluster;
    Node = "Node", "", "v1", "nodes", cluster;
    ReplicaSet = "ReplicaSet", "apps", "v1", "replicasets", namespaced;
    Deployment = "Deployment", "apps", "v1", "deployments", namespaced;
    StatefulSet = "StatefulSet", "apps", "v1", "statefulsets", namespaced;
    DaemonSet = "DaemonSet", "apps", "v1", "daemonsets", namespaced;
    Job = "Job", "batch", "v1", "jobs", namespaced;
    CronJob = "CronJob", "batch", "v1", "cronjobs", namespaced;
    Pod = "Pod", "", "v1", "pods", namespaced;
    PersistentVolumeClaim = "PersistentVolumeClaim", "", "v1", "persistentvolumeclaims", namespaced;
    PersistentVolume = "PersistentVolume", "", "v1", "persistentvolumes", cluster;
    StorageClass = "StorageClass", "storage.k8s.io", "v1", "storageclasses", cluster;
    VolumeAttachment = "VolumeAttachment", "storage.k8s.io", "v1", "volumeattachments", cluster;
    CsiDriver = "CSIDriver", "storage.k8s.io", "v1", "csidrivers", cluster;
    CsiNode = "CSINode", "storage.k8s.io", "v1", "csinodes", cluster;
    Event = "Event", "events.k8s.io", "v1", "events", namespaced;
}

impl Kind {
    /// `group/version`, or the version alone for the core group, as `apiVersion` spells it.
    #[must_use]
    pub fn api_version(self) -> String {
        match self.group() {
            "" => self.version().to_owned(),
            group => format!("{group}/{}", self.version()),
        }
    }

    /// The kind with this name, if the world holds it.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|k| k.name() == name)
    }
}
