//! Which kinds of Kubernetes objects does the world hold, and where and how are they read?

use serde::{Deserialize, Serialize};

/// How the objects of a kind come into the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Watched whole.
    Watch,
    /// Watched as metadata only: what the objects hold is none of our business.
    Metadata,
    /// Listed every so many seconds: a watch would cost more than it tells.
    Poll(u32),
    /// Listed as a table every so many seconds: the objects are large, and their columns say what is needed.
    Table(u32),
    /// No object of the API: what an endpoint says, every so many seconds, or whenever it calls.
    Endpoint(u32),
}

macro_rules! kinds {
    ($($variant:ident = $name:literal, $group:literal [$($version:literal),+], $plural:literal, $scope:ident, $origin:expr;)*) => {
        /// A kind of object that a source reads.
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

            /// The versions of the group that are understood, best first.
            #[must_use]
            pub const fn versions(self) -> &'static [&'static str] {
                match self { $(Kind::$variant => &[$($version),+]),* }
            }

            /// The resource's plural, such as `pods`, as an RBAC rule has it.
            #[must_use]
            pub const fn plural(self) -> &'static str {
                match self { $(Kind::$variant => $plural),* }
            }

            /// Whether objects of the kind live in a namespace.
            #[must_use]
            pub const fn namespaced(self) -> bool {
                match self { $(Kind::$variant => kinds!(@ $scope)),* }
            }

            /// How its objects are read.
            #[must_use]
            pub const fn origin(self) -> Origin {
                match self { $(Kind::$variant => $origin),* }
            }

            /// The name of its source: the plural, with the group for those that are not Kubernetes' own, as kubectl
            /// writes them.
            #[must_use]
            pub fn source(self) -> &'static str {
                if self.is_built_in() { return self.plural() }
                match self { $(Kind::$variant => concat!($plural, ".", $group)),* }
            }
        }
    };
    (@ namespaced) => { true };
    (@ cluster) => { false };
}

use Origin::{Endpoint, Metadata, Poll, Table, Watch};

kinds! {
    Namespace = "Namespace", "" ["v1"], "namespaces", cluster, Watch;
    Node = "Node", "" ["v1"], "nodes", cluster, Watch;
    ReplicaSet = "ReplicaSet", "apps" ["v1"], "replicasets", namespaced, Watch;
    Deployment = "Deployment", "apps" ["v1"], "deployments", namespaced, Watch;
    StatefulSet = "StatefulSet", "apps" ["v1"], "statefulsets", namespaced, Watch;
    DaemonSet = "DaemonSet", "apps" ["v1"], "daemonsets", namespaced, Watch;
    Job = "Job", "batch" ["v1"], "jobs", namespaced, Watch;
    CronJob = "CronJob", "batch" ["v1"], "cronjobs", namespaced, Watch;
    Pod = "Pod", "" ["v1"], "pods", namespaced, Watch;
    PersistentVolumeClaim = "PersistentVolumeClaim", "" ["v1"], "persistentvolumeclaims", namespaced, Watch;
    PersistentVolume = "PersistentVolume", "" ["v1"], "persistentvolumes", cluster, Watch;
    StorageClass = "StorageClass", "storage.k8s.io" ["v1"], "storageclasses", cluster, Watch;
    VolumeAttachment = "VolumeAttachment", "storage.k8s.io" ["v1"], "volumeattachments", cluster, Watch;
    CsiDriver = "CSIDriver", "storage.k8s.io" ["v1"], "csidrivers", cluster, Watch;
    CsiNode = "CSINode", "storage.k8s.io" ["v1"], "csinodes", cluster, Watch;
    CsiStorageCapacity = "CSIStorageCapacity", "storage.k8s.io" ["v1"], "csistoragecapacities", namespaced, Watch;
    VolumeSnapshot = "VolumeSnapshot", "snapshot.storage.k8s.io" ["v1", "v1beta1"], "volumesnapshots", namespaced, Watch;

    ResourceQuota = "ResourceQuota", "" ["v1"], "resourcequotas", namespaced, Watch;
    HorizontalPodAutoscaler = "HorizontalPodAutoscaler", "autoscaling" ["v2"], "horizontalpodautoscalers", namespaced, Watch;
    PodDisruptionBudget = "PodDisruptionBudget", "policy" ["v1"], "poddisruptionbudgets", namespaced, Watch;
    Lease = "Lease", "coordination.k8s.io" ["v1"], "leases", namespaced, Poll(30);
    ScaledObject = "ScaledObject", "keda.sh" ["v1alpha1"], "scaledobjects", namespaced, Watch;
    NodeClaim = "NodeClaim", "karpenter.sh" ["v1", "v1beta1"], "nodeclaims", cluster, Watch;
    NodePool = "NodePool", "karpenter.sh" ["v1", "v1beta1"], "nodepools", cluster, Watch;

    Service = "Service", "" ["v1"], "services", namespaced, Watch;
    EndpointSlice = "EndpointSlice", "discovery.k8s.io" ["v1"], "endpointslices", namespaced, Watch;
    Ingress = "Ingress", "networking.k8s.io" ["v1"], "ingresses", namespaced, Watch;
    IngressClass = "IngressClass", "networking.k8s.io" ["v1"], "ingressclasses", cluster, Watch;
    NetworkPolicy = "NetworkPolicy", "networking.k8s.io" ["v1"], "networkpolicies", namespaced, Watch;
    ServiceCidr = "ServiceCIDR", "networking.k8s.io" ["v1", "v1beta1"], "servicecidrs", cluster, Watch;
    GatewayClass = "GatewayClass", "gateway.networking.k8s.io" ["v1", "v1beta1"], "gatewayclasses", cluster, Watch;
    Gateway = "Gateway", "gateway.networking.k8s.io" ["v1", "v1beta1"], "gateways", namespaced, Watch;
    HttpRoute = "HTTPRoute", "gateway.networking.k8s.io" ["v1", "v1beta1"], "httproutes", namespaced, Watch;
    GrpcRoute = "GRPCRoute", "gateway.networking.k8s.io" ["v1", "v1alpha2"], "grpcroutes", namespaced, Watch;
    TlsRoute = "TLSRoute", "gateway.networking.k8s.io" ["v1", "v1alpha3", "v1alpha2"], "tlsroutes", namespaced, Watch;
    TcpRoute = "TCPRoute", "gateway.networking.k8s.io" ["v1", "v1alpha2"], "tcproutes", namespaced, Watch;
    UdpRoute = "UDPRoute", "gateway.networking.k8s.io" ["v1", "v1alpha2"], "udproutes", namespaced, Watch;
    BackendTlsPolicy = "BackendTLSPolicy", "gateway.networking.k8s.io" ["v1", "v1alpha3"], "backendtlspolicies", namespaced, Watch;
    ServiceExport = "ServiceExport", "multicluster.x-k8s.io" ["v1beta1", "v1alpha1"], "serviceexports", namespaced, Watch;
    ServiceImport = "ServiceImport", "multicluster.x-k8s.io" ["v1beta1", "v1alpha1"], "serviceimports", namespaced, Watch;
    TigeraStatus = "TigeraStatus", "operator.tigera.io" ["v1"], "tigerastatuses", cluster, Watch;

    ApiService = "APIService", "apiregistration.k8s.io" ["v1"], "apiservices", cluster, Watch;
    NodeMetrics = "NodeMetrics", "metrics.k8s.io" ["v1beta1"], "nodes", cluster, Poll(60);
    Prometheus = "Prometheus", "monitoring.coreos.com" ["v1"], "prometheuses", namespaced, Watch;
    PrometheusAgent = "PrometheusAgent", "monitoring.coreos.com" ["v1alpha1"], "prometheusagents", namespaced, Watch;
    Alertmanager = "Alertmanager", "monitoring.coreos.com" ["v1"], "alertmanagers", namespaced, Watch;
    ThanosRuler = "ThanosRuler", "monitoring.coreos.com" ["v1"], "thanosrulers", namespaced, Watch;
    ServiceMonitor = "ServiceMonitor", "monitoring.coreos.com" ["v1"], "servicemonitors", namespaced, Watch;
    PodMonitor = "PodMonitor", "monitoring.coreos.com" ["v1"], "podmonitors", namespaced, Watch;
    Probe = "Probe", "monitoring.coreos.com" ["v1"], "probes", namespaced, Watch;
    PrometheusRule = "PrometheusRule", "monitoring.coreos.com" ["v1"], "prometheusrules", namespaced, Watch;
    ScrapeConfig = "ScrapeConfig", "monitoring.coreos.com" ["v1alpha1"], "scrapeconfigs", namespaced, Watch;
    OpenTelemetryCollector = "OpenTelemetryCollector", "opentelemetry.io" ["v1beta1", "v1alpha1"], "opentelemetrycollectors", namespaced, Watch;
    LokiStack = "LokiStack", "loki.grafana.com" ["v1"], "lokistacks", namespaced, Watch;

    ValidatingWebhookConfiguration = "ValidatingWebhookConfiguration", "admissionregistration.k8s.io" ["v1"], "validatingwebhookconfigurations", cluster, Watch;
    MutatingWebhookConfiguration = "MutatingWebhookConfiguration", "admissionregistration.k8s.io" ["v1"], "mutatingwebhookconfigurations", cluster, Watch;
    ValidatingAdmissionPolicy = "ValidatingAdmissionPolicy", "admissionregistration.k8s.io" ["v1", "v1beta1"], "validatingadmissionpolicies", cluster, Watch;
    ValidatingAdmissionPolicyBinding = "ValidatingAdmissionPolicyBinding", "admissionregistration.k8s.io" ["v1", "v1beta1"], "validatingadmissionpolicybindings", cluster, Watch;
    MutatingAdmissionPolicy = "MutatingAdmissionPolicy", "admissionregistration.k8s.io" ["v1", "v1beta1"], "mutatingadmissionpolicies", cluster, Watch;
    MutatingAdmissionPolicyBinding = "MutatingAdmissionPolicyBinding", "admissionregistration.k8s.io" ["v1", "v1beta1"], "mutatingadmissionpolicybindings", cluster, Watch;
    Role = "Role", "rbac.authorization.k8s.io" ["v1"], "roles", namespaced, Watch;
    ClusterRole = "ClusterRole", "rbac.authorization.k8s.io" ["v1"], "clusterroles", cluster, Watch;
    RoleBinding = "RoleBinding", "rbac.authorization.k8s.io" ["v1"], "rolebindings", namespaced, Watch;
    ClusterRoleBinding = "ClusterRoleBinding", "rbac.authorization.k8s.io" ["v1"], "clusterrolebindings", cluster, Watch;
    CertificateSigningRequest = "CertificateSigningRequest", "certificates.k8s.io" ["v1"], "certificatesigningrequests", cluster, Watch;
    KyvernoClusterPolicy = "ClusterPolicy", "kyverno.io" ["v1"], "clusterpolicies", cluster, Watch;
    KyvernoPolicy = "Policy", "kyverno.io" ["v1"], "policies", namespaced, Watch;
    UpdateRequest = "UpdateRequest", "kyverno.io" ["v2", "v1beta1"], "updaterequests", namespaced, Watch;
    ValidatingPolicy = "ValidatingPolicy", "policies.kyverno.io" ["v1", "v1beta1", "v1alpha1"], "validatingpolicies", cluster, Watch;
    MutatingPolicy = "MutatingPolicy", "policies.kyverno.io" ["v1", "v1beta1", "v1alpha1"], "mutatingpolicies", cluster, Watch;
    GeneratingPolicy = "GeneratingPolicy", "policies.kyverno.io" ["v1", "v1beta1", "v1alpha1"], "generatingpolicies", cluster, Watch;
    ImageValidatingPolicy = "ImageValidatingPolicy", "policies.kyverno.io" ["v1", "v1beta1", "v1alpha1"], "imagevalidatingpolicies", cluster, Watch;
    DeletingPolicy = "DeletingPolicy", "policies.kyverno.io" ["v1", "v1beta1", "v1alpha1"], "deletingpolicies", cluster, Watch;
    PolicyReport = "PolicyReport", "wgpolicyk8s.io" ["v1alpha2", "v1beta1"], "policyreports", namespaced, Table(300);
    ClusterPolicyReport = "ClusterPolicyReport", "wgpolicyk8s.io" ["v1alpha2", "v1beta1"], "clusterpolicyreports", cluster, Table(300);
    OpenReport = "Report", "openreports.io" ["v1alpha1"], "reports", namespaced, Table(300);
    ClusterOpenReport = "ClusterReport", "openreports.io" ["v1alpha1"], "clusterreports", cluster, Table(300);
    ConstraintTemplate = "ConstraintTemplate", "templates.gatekeeper.sh" ["v1", "v1beta1"], "constrainttemplates", cluster, Watch;
    Constraint = "Constraint", "constraints.gatekeeper.sh" ["v1beta1"], "*", cluster, Poll(60);
    VulnerabilityReport = "VulnerabilityReport", "aquasecurity.github.io" ["v1alpha1"], "vulnerabilityreports", namespaced, Table(300);
    ConfigAuditReport = "ConfigAuditReport", "aquasecurity.github.io" ["v1alpha1"], "configauditreports", namespaced, Table(300);
    ExposedSecretReport = "ExposedSecretReport", "aquasecurity.github.io" ["v1alpha1"], "exposedsecretreports", namespaced, Table(300);
    Certificate = "Certificate", "cert-manager.io" ["v1"], "certificates", namespaced, Watch;
    CertificateRequest = "CertificateRequest", "cert-manager.io" ["v1"], "certificaterequests", namespaced, Watch;
    Issuer = "Issuer", "cert-manager.io" ["v1"], "issuers", namespaced, Watch;
    ClusterIssuer = "ClusterIssuer", "cert-manager.io" ["v1"], "clusterissuers", cluster, Watch;
    AcmeOrder = "Order", "acme.cert-manager.io" ["v1"], "orders", namespaced, Watch;
    AcmeChallenge = "Challenge", "acme.cert-manager.io" ["v1"], "challenges", namespaced, Watch;
    ExternalSecret = "ExternalSecret", "external-secrets.io" ["v1", "v1beta1"], "externalsecrets", namespaced, Watch;
    SecretStore = "SecretStore", "external-secrets.io" ["v1", "v1beta1"], "secretstores", namespaced, Watch;
    ClusterSecretStore = "ClusterSecretStore", "external-secrets.io" ["v1", "v1beta1"], "clustersecretstores", cluster, Watch;
    SealedSecret = "SealedSecret", "bitnami.com" ["v1alpha1"], "sealedsecrets", namespaced, Watch;

    HelmSecret = "Secret", "" ["v1"], "secrets", namespaced, Metadata;
    ConfigMap = "ConfigMap", "" ["v1"], "configmaps", namespaced, Metadata;
    CustomResourceDefinition = "CustomResourceDefinition", "apiextensions.k8s.io" ["v1"], "customresourcedefinitions", cluster, Watch;

    ArgoApplication = "Application", "argoproj.io" ["v1alpha1"], "applications", namespaced, Watch;
    ArgoApplicationSet = "ApplicationSet", "argoproj.io" ["v1alpha1"], "applicationsets", namespaced, Watch;
    ArgoAppProject = "AppProject", "argoproj.io" ["v1alpha1"], "appprojects", namespaced, Watch;
    GitRepository = "GitRepository", "source.toolkit.fluxcd.io" ["v1", "v1beta2"], "gitrepositories", namespaced, Watch;
    OciRepository = "OCIRepository", "source.toolkit.fluxcd.io" ["v1", "v1beta2"], "ocirepositories", namespaced, Watch;
    HelmRepository = "HelmRepository", "source.toolkit.fluxcd.io" ["v1", "v1beta2"], "helmrepositories", namespaced, Watch;
    HelmChart = "HelmChart", "source.toolkit.fluxcd.io" ["v1", "v1beta2"], "helmcharts", namespaced, Watch;
    Bucket = "Bucket", "source.toolkit.fluxcd.io" ["v1", "v1beta2"], "buckets", namespaced, Watch;
    Kustomization = "Kustomization", "kustomize.toolkit.fluxcd.io" ["v1", "v1beta2"], "kustomizations", namespaced, Watch;
    HelmRelease = "HelmRelease", "helm.toolkit.fluxcd.io" ["v2", "v2beta2", "v2beta1"], "helmreleases", namespaced, Watch;
    FluxReceiver = "Receiver", "notification.toolkit.fluxcd.io" ["v1", "v1beta3", "v1beta2"], "receivers", namespaced, Watch;
    FluxProvider = "Provider", "notification.toolkit.fluxcd.io" ["v1beta3", "v1beta2"], "providers", namespaced, Watch;
    FluxAlert = "Alert", "notification.toolkit.fluxcd.io" ["v1beta3", "v1beta2"], "alerts", namespaced, Watch;
    FluxInstance = "FluxInstance", "fluxcd.controlplane.io" ["v1"], "fluxinstances", namespaced, Watch;
    ResourceSet = "ResourceSet", "fluxcd.controlplane.io" ["v1"], "resourcesets", namespaced, Watch;

    Event = "Event", "events.k8s.io" ["v1"], "events", namespaced, Watch;

    ApiServerHealth = "APIServerHealth", "" ["v1"], "apiserver_health", cluster, Endpoint(15);
    ApiServerMetrics = "APIServerMetrics", "" ["v1"], "apiserver_metrics", cluster, Endpoint(60);
    KubeletMetrics = "KubeletMetrics", "" ["v1"], "kubelet_metrics", cluster, Endpoint(60);
    PrometheusQuery = "PrometheusQuery", "" ["v1"], "prometheus", cluster, Endpoint(30);
    Audit = "Audit", "" ["v1"], "audit", cluster, Endpoint(0);
}

/// Groups of Kubernetes' own that the API server serves by itself, apart from those that it may not.
const BUILT_IN: &[&str] = &[
    "",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
];

impl Kind {
    /// The version of the group that is read where nobody has said which is served.
    #[must_use]
    pub const fn version(self) -> &'static str {
        self.versions()[0]
    }

    /// `group/version`, or the version alone for the core group, as `apiVersion` spells it.
    #[must_use]
    pub fn api_version(self) -> String {
        match self.group() {
            "" => self.version().to_owned(),
            group => format!("{group}/{}", self.version()),
        }
    }

    /// Whether the kind is Kubernetes' own, rather than that of a custom resource or of an aggregated API.
    #[must_use]
    pub fn is_built_in(self) -> bool {
        BUILT_IN.contains(&self.group())
    }

    /// Whether its objects are objects of the API, rather than what an endpoint says.
    #[must_use]
    pub const fn is_resource(self) -> bool {
        !matches!(self.origin(), Origin::Endpoint(_))
    }

    /// Whether it is read only where the configuration asks for it: for the rights that it takes, or for its cost.
    #[must_use]
    pub const fn is_opt_in(self) -> bool {
        matches!(
            self,
            Self::HelmSecret
                | Self::ConfigMap
                | Self::KubeletMetrics
                | Self::PrometheusQuery
                | Self::Audit
        )
    }

    /// The kind with this name, if the world holds it.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|k| k.name() == name)
    }

    /// The kind of a manifest with this `apiVersion` and `kind`, in whatever version. Every kind of Gatekeeper's
    /// constraints is [`Kind::Constraint`].
    #[must_use]
    pub fn of_manifest(api_version: &str, name: &str) -> Option<Self> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let same = |k: &Kind| {
            k.is_resource() && k.group() == group && (k.name() == name || k.plural() == "*")
        };
        let event = name == "Event" && group.is_empty();
        if event { Some(Self::Event) } else { Self::ALL.iter().copied().find(same) }
    }

    /// The kind whose source has this name.
    #[must_use]
    pub fn by_source(source: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|k| k.source() == source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_kinds_and_of_sources_are_unique() {
        let names: std::collections::BTreeSet<_> = Kind::ALL.iter().map(|k| k.name()).collect();
        let sources: std::collections::BTreeSet<_> = Kind::ALL.iter().map(|k| k.source()).collect();
        assert_eq!((names.len(), sources.len()), (Kind::ALL.len(), Kind::ALL.len()));
    }
}
