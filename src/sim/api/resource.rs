//! What does the API server know about a resource beyond its names?

use crate::sim::kind::{SERVED, Served};

/// Kubernetes' own groups, in the order in which discovery shows them. All others are custom.
const OWN_GROUPS: [&str; 21] = [
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "storagemigration.k8s.io",
];

/// Own kinds whose objects have no status to be written apart.
const WITHOUT_STATUS: [&str; 21] = [
    "ClusterRole",
    "ClusterRoleBinding",
    "ConfigMap",
    "CSIDriver",
    "CSINode",
    "CSIStorageCapacity",
    "ControllerRevision",
    "EndpointSlice",
    "Endpoints",
    "Event",
    "IngressClass",
    "Lease",
    "LimitRange",
    "MutatingWebhookConfiguration",
    "NetworkPolicy",
    "PriorityClass",
    "RoleBinding",
    "Secret",
    "ServiceAccount",
    "StorageClass",
    "ValidatingWebhookConfiguration",
];

/// The resource of this name in a version of a group.
pub(super) fn find(group: &str, version: &str, plural: &str) -> Option<&'static Served> {
    SERVED.iter().find(|s| s.group == group && s.version == version && s.plural == plural)
}

/// The resource of a kind by name, in the version that is served first.
pub(super) fn of_kind(name: &str) -> Option<&'static Served> {
    SERVED.iter().find(|s| s.name == name)
}

/// Whether a group is Kubernetes' own; its paths answer with a Status where a custom one's have no page.
pub(super) fn own_group(group: &str) -> bool {
    group.is_empty() || OWN_GROUPS.contains(&group)
}

/// Whether a resource comes from a CustomResourceDefinition.
pub(super) fn custom(served: &Served) -> bool {
    !own_group(served.group)
}

/// The named groups that `visible` leaves, Kubernetes' own first.
pub(super) fn groups(visible: &dyn Fn(&Served) -> bool) -> Vec<&'static str> {
    let mut all: Vec<_> =
        SERVED.iter().filter(|s| !s.group.is_empty() && visible(s)).map(|s| s.group).collect();
    let place = |g: &str| OWN_GROUPS.iter().position(|own| *own == g).unwrap_or(OWN_GROUPS.len());
    all.sort_by_key(|g| (place(g), *g));
    all.dedup();
    all
}

/// A group's versions, the preferred one first.
pub(super) fn versions(group: &str, visible: &dyn Fn(&Served) -> bool) -> Vec<&'static str> {
    let mut all: Vec<_> =
        SERVED.iter().filter(|s| s.group == group && visible(s)).map(|s| s.version).collect();
    all.sort_by_key(|v: &&str| (std::cmp::Reverse(age(v)), *v));
    all.dedup();
    all
}

/// The resources of a group's version by name.
pub(super) fn resources(
    group: &str,
    version: &str,
    visible: &dyn Fn(&Served) -> bool,
) -> Vec<&'static Served> {
    let mut all: Vec<_> =
        SERVED.iter().filter(|s| s.group == group && s.version == version && visible(s)).collect();
    all.sort_by_key(|s| s.plural);
    all
}

/// How mature a version is: stable before beta before alpha, and then by number.
fn age(version: &str) -> (u8, u32, u32) {
    let number = |text: &str| text.parse().unwrap_or(0);
    let rest = version.trim_start_matches('v');
    for (stage, word) in [(1, "beta"), (0, "alpha")] {
        if let Some((major, minor)) = rest.split_once(word) {
            return (stage, number(major), number(minor));
        }
    }
    (2, number(rest), 0)
}

/// The subresources that are served with a resource.
pub(super) fn subresources(served: &Served) -> &'static [&'static str] {
    match served.name {
        "Deployment" | "ReplicaSet" | "StatefulSet" => &["scale", "status"],
        name if WITHOUT_STATUS.contains(&name) => &[],
        _ => &["status"],
    }
}

/// Whether a deletion answers with the object that went (`ReturnDeletedObject` in `k8s.io/kubernetes/pkg/registry`).
pub(super) fn returned(served: &Served) -> bool {
    matches!(
        served.name,
        "CSIDriver"
            | "CSINode"
            | "Namespace"
            | "PersistentVolume"
            | "PersistentVolumeClaim"
            | "Pod"
            | "ResourceQuota"
            | "Service"
            | "ServiceAccount"
            | "StorageClass"
            | "VolumeAttachment"
    )
}

/// Whether status and the rest are written apart.
pub(super) fn has_status(served: &Served) -> bool {
    subresources(served).contains(&"status")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_versions_come_first() {
        let mut all = ["v1alpha1", "v2", "v1beta1", "v1", "v1beta2", "v10"];
        all.sort_by_key(|v| std::cmp::Reverse(age(v)));
        assert_eq!(all, ["v10", "v2", "v1", "v1beta2", "v1beta1", "v1alpha1"]);
    }

    #[test]
    fn own_groups_come_first_and_each_has_a_version() {
        let all = groups(&|_| true);
        assert_eq!(all.first().copied().filter(|g| own_group(g)), all.first().copied());
        assert!(all.iter().all(|g| !versions(g, &|_| true).is_empty()));
        let last_own = all.iter().rposition(|g| own_group(g)).unwrap_or_default();
        assert!(all[..last_own].iter().all(|g| own_group(g)));
    }
}
