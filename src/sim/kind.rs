//! Which kinds does the simulated API serve, and under which paths?

/// One resource of one API version. Events are served by two groups.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Served {
    pub(crate) kind: Kind,
    pub(crate) name: &'static str,
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) singular: &'static str,
    pub(crate) namespaced: bool,
    /// Whether the API server counts changes of the spec in `metadata.generation`; of custom resources it always does.
    pub(crate) generations: bool,
}

macro_rules! kinds {
    ($($variant:ident = $name:literal, $group:literal $version:literal, $plural:literal, $singular:literal, $scope:ident, $generations:literal;)*) => {
        /// A kind of object.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) enum Kind { $($variant),* }

        /// Everything that is served, in the order of [`Kind`], with the second view of events last.
        pub(crate) const SERVED: &[Served] = &[
            $(Served {
                kind: Kind::$variant,
                name: $name,
                group: $group,
                version: $version,
                plural: $plural,
                singular: $singular,
                namespaced: kinds!(@ $scope),
                generations: $generations,
            },)*
            Served {
                kind: Kind::Event,
                name: "Event",
                group: EVENTS,
                version: "v1",
                plural: "events",
                singular: "event",
                namespaced: true,
                generations: false,
            },
        ];
    };
    (@ namespaced) => { true };
    (@ cluster) => { false };
}

/// The newer of the two groups that serve events.
pub(crate) const EVENTS: &str = "events.k8s.io";

kinds! {
    Namespace = "Namespace", "" "v1", "namespaces", "namespace", cluster, false;
    Node = "Node", "" "v1", "nodes", "node", cluster, false;
    Pod = "Pod", "" "v1", "pods", "pod", namespaced, true;
    PersistentVolumeClaim = "PersistentVolumeClaim", "" "v1", "persistentvolumeclaims", "persistentvolumeclaim", namespaced, false;
    PersistentVolume = "PersistentVolume", "" "v1", "persistentvolumes", "persistentvolume", cluster, false;
    Event = "Event", "" "v1", "events", "event", namespaced, false;
    Deployment = "Deployment", "apps" "v1", "deployments", "deployment", namespaced, true;
    ReplicaSet = "ReplicaSet", "apps" "v1", "replicasets", "replicaset", namespaced, true;
    StatefulSet = "StatefulSet", "apps" "v1", "statefulsets", "statefulset", namespaced, true;
    DaemonSet = "DaemonSet", "apps" "v1", "daemonsets", "daemonset", namespaced, true;
    Job = "Job", "batch" "v1", "jobs", "job", namespaced, true;
    CronJob = "CronJob", "batch" "v1", "cronjobs", "cronjob", namespaced, true;
    StorageClass = "StorageClass", "storage.k8s.io" "v1", "storageclasses", "storageclass", cluster, false;
    VolumeAttachment = "VolumeAttachment", "storage.k8s.io" "v1", "volumeattachments", "volumeattachment", cluster, false;
    CsiDriver = "CSIDriver", "storage.k8s.io" "v1", "csidrivers", "csidriver", cluster, false;
    CsiNode = "CSINode", "storage.k8s.io" "v1", "csinodes", "csinode", cluster, false;
    CsiStorageCapacity = "CSIStorageCapacity", "storage.k8s.io" "v1", "csistoragecapacities", "csistoragecapacity", namespaced, false;
    VolumeSnapshot = "VolumeSnapshot", "snapshot.storage.k8s.io" "v1", "volumesnapshots", "volumesnapshot", namespaced, true;

    Lease = "Lease", "coordination.k8s.io" "v1", "leases", "lease", namespaced, false;
    ResourceQuota = "ResourceQuota", "" "v1", "resourcequotas", "resourcequota", namespaced, false;
    HorizontalPodAutoscaler = "HorizontalPodAutoscaler", "autoscaling" "v2", "horizontalpodautoscalers", "horizontalpodautoscaler", namespaced, false;
    PodDisruptionBudget = "PodDisruptionBudget", "policy" "v1", "poddisruptionbudgets", "poddisruptionbudget", namespaced, true;
    ConfigMap = "ConfigMap", "" "v1", "configmaps", "configmap", namespaced, false;
    Secret = "Secret", "" "v1", "secrets", "secret", namespaced, false;

    Service = "Service", "" "v1", "services", "service", namespaced, false;
    EndpointSlice = "EndpointSlice", "discovery.k8s.io" "v1", "endpointslices", "endpointslice", namespaced, true;
    Ingress = "Ingress", "networking.k8s.io" "v1", "ingresses", "ingress", namespaced, true;
    IngressClass = "IngressClass", "networking.k8s.io" "v1", "ingressclasses", "ingressclass", cluster, true;
    NetworkPolicy = "NetworkPolicy", "networking.k8s.io" "v1", "networkpolicies", "networkpolicy", namespaced, true;
    GatewayClass = "GatewayClass", "gateway.networking.k8s.io" "v1", "gatewayclasses", "gatewayclass", cluster, true;
    Gateway = "Gateway", "gateway.networking.k8s.io" "v1", "gateways", "gateway", namespaced, true;
    HttpRoute = "HTTPRoute", "gateway.networking.k8s.io" "v1", "httproutes", "httproute", namespaced, true;

    ApiService = "APIService", "apiregistration.k8s.io" "v1", "apiservices", "apiservice", cluster, false;
    CustomResourceDefinition = "CustomResourceDefinition", "apiextensions.k8s.io" "v1", "customresourcedefinitions", "customresourcedefinition", cluster, true;
    Prometheus = "Prometheus", "monitoring.coreos.com" "v1", "prometheuses", "prometheus", namespaced, true;
    ServiceMonitor = "ServiceMonitor", "monitoring.coreos.com" "v1", "servicemonitors", "servicemonitor", namespaced, true;
    PrometheusRule = "PrometheusRule", "monitoring.coreos.com" "v1", "prometheusrules", "prometheusrule", namespaced, true;
    OpenTelemetryCollector = "OpenTelemetryCollector", "opentelemetry.io" "v1beta1", "opentelemetrycollectors", "opentelemetrycollector", namespaced, true;

    ValidatingWebhookConfiguration = "ValidatingWebhookConfiguration", "admissionregistration.k8s.io" "v1", "validatingwebhookconfigurations", "validatingwebhookconfiguration", cluster, true;
    MutatingWebhookConfiguration = "MutatingWebhookConfiguration", "admissionregistration.k8s.io" "v1", "mutatingwebhookconfigurations", "mutatingwebhookconfiguration", cluster, true;
    ClusterPolicy = "ClusterPolicy", "kyverno.io" "v1", "clusterpolicies", "clusterpolicy", cluster, true;
    ClusterRole = "ClusterRole", "rbac.authorization.k8s.io" "v1", "clusterroles", "clusterrole", cluster, false;
    ClusterRoleBinding = "ClusterRoleBinding", "rbac.authorization.k8s.io" "v1", "clusterrolebindings", "clusterrolebinding", cluster, false;
    CertificateSigningRequest = "CertificateSigningRequest", "certificates.k8s.io" "v1", "certificatesigningrequests", "certificatesigningrequest", cluster, false;
    Certificate = "Certificate", "cert-manager.io" "v1", "certificates", "certificate", namespaced, true;
    CertificateRequest = "CertificateRequest", "cert-manager.io" "v1", "certificaterequests", "certificaterequest", namespaced, true;
    Issuer = "Issuer", "cert-manager.io" "v1", "issuers", "issuer", namespaced, true;
    ClusterIssuer = "ClusterIssuer", "cert-manager.io" "v1", "clusterissuers", "clusterissuer", cluster, true;
    SecretStore = "SecretStore", "external-secrets.io" "v1", "secretstores", "secretstore", namespaced, true;
    ExternalSecret = "ExternalSecret", "external-secrets.io" "v1", "externalsecrets", "externalsecret", namespaced, true;

    Application = "Application", "argoproj.io" "v1alpha1", "applications", "application", namespaced, true;
    GitRepository = "GitRepository", "source.toolkit.fluxcd.io" "v1", "gitrepositories", "gitrepository", namespaced, true;
    Kustomization = "Kustomization", "kustomize.toolkit.fluxcd.io" "v1", "kustomizations", "kustomization", namespaced, true;
    HelmRelease = "HelmRelease", "helm.toolkit.fluxcd.io" "v2", "helmreleases", "helmrelease", namespaced, true;
}

impl Kind {
    /// How many kinds there are.
    pub(crate) const COUNT: usize = SERVED.len() - 1;

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
        self.served().generations
    }

    /// The kind of a manifest, by `apiVersion` and `kind`; any version of the group stands for the served one.
    pub(crate) fn of_manifest(api_version: &str, name: &str) -> Option<Self> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        SERVED.iter().find(|s| s.name == name && s.group == group).map(|s| s.kind)
    }
}

impl Served {
    /// `group/version`, or the version alone for the core group.
    pub(crate) fn api_version(&self) -> String {
        match self.group {
            "" => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        }
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
            assert_eq!(Kind::of_manifest(&row.api_version(), row.name), Some(row.kind));
        }
    }
}
