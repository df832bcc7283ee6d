//! Which fields of which kinds are kept? Those that signals read; the rest is never built.
//!
//! A path names a field with all that is below it. Lists are passed through: `webhooks.name` is the name of each
//! webhook; `*` stands for any key of a map. Metadata and `status.conditions` are always kept.

use super::kind::Kind;

/// The fields of a kind that has no record of its own.
#[must_use]
#[allow(clippy::too_many_lines)]
pub const fn fields(kind: Kind) -> &'static [&'static str] {
    match kind {
        // Storage.
        Kind::CsiStorageCapacity => &["storageClassName", "capacity", "maximumVolumeSize"],
        Kind::VolumeSnapshot => &[
            "spec.source.persistentVolumeClaimName",
            "spec.volumeSnapshotClassName",
            "status.readyToUse",
            "status.creationTime",
            "status.error",
        ],
        // Compute.
        Kind::ResourceQuota => &["status.hard", "status.used"],
        Kind::HorizontalPodAutoscaler => &[
            "spec.minReplicas",
            "spec.maxReplicas",
            "spec.scaleTargetRef",
            "spec.metrics.type",
            "status.currentReplicas",
            "status.desiredReplicas",
            "status.lastScaleTime",
            "status.observedGeneration",
        ],
        Kind::PodDisruptionBudget => &[
            "spec.selector",
            "spec.minAvailable",
            "spec.maxUnavailable",
            "status.disruptionsAllowed",
            "status.currentHealthy",
            "status.desiredHealthy",
            "status.expectedPods",
            "status.observedGeneration",
        ],
        Kind::Lease => &[
            "spec.holderIdentity",
            "spec.renewTime",
            "spec.leaseDurationSeconds",
            "spec.leaseTransitions",
        ],
        Kind::ScaledObject => &["spec.scaleTargetRef", "status.hpaName"],
        Kind::NodeClaim => &["status.nodeName"],
        Kind::NodePool => &["spec.limits", "status.resources"],
        // Networking.
        Kind::Service => &[
            "spec.type",
            "spec.selector",
            "spec.clusterIP",
            "spec.ports",
            "spec.publishNotReadyAddresses",
            "spec.externalTrafficPolicy",
            "spec.loadBalancerClass",
            "status.loadBalancer.ingress.ip",
            "status.loadBalancer.ingress.hostname",
            "status.loadBalancer.ingress.ports.error",
        ],
        Kind::Ingress => &[
            "spec.ingressClassName",
            "spec.defaultBackend",
            "spec.rules.host",
            "spec.rules.http.paths.backend",
            "spec.tls",
            "status.loadBalancer.ingress.ip",
            "status.loadBalancer.ingress.hostname",
        ],
        Kind::IngressClass => &["spec.controller"],
        Kind::NetworkPolicy => {
            &["spec.podSelector", "spec.policyTypes", "spec.ingress", "spec.egress"]
        }
        Kind::ServiceCidr => &["spec.cidrs"],
        Kind::GatewayClass => &["spec.controllerName"],
        Kind::Gateway => &[
            "spec.gatewayClassName",
            "status.addresses",
            "status.listeners.name",
            "status.listeners.conditions",
        ],
        Kind::HttpRoute | Kind::GrpcRoute | Kind::TlsRoute | Kind::TcpRoute | Kind::UdpRoute => &[
            "spec.parentRefs",
            "spec.rules.backendRefs.kind",
            "spec.rules.backendRefs.group",
            "spec.rules.backendRefs.name",
            "spec.rules.backendRefs.namespace",
            "spec.rules.backendRefs.port",
            "spec.rules.backendRefs.weight",
            "status.parents.parentRef",
            "status.parents.controllerName",
            "status.parents.conditions",
        ],
        Kind::BackendTlsPolicy => {
            &["status.ancestors.ancestorRef.name", "status.ancestors.conditions"]
        }
        Kind::ServiceImport => &["status.clusters", "spec.type"],
        // Observability.
        Kind::ApiService => &["spec.service", "spec.group", "spec.version"],
        Kind::NodeMetrics => &["timestamp", "window"],
        Kind::Prometheus | Kind::PrometheusAgent => &[
            "spec.replicas",
            "spec.paused",
            "spec.serviceMonitorSelector",
            "spec.serviceMonitorNamespaceSelector",
            "spec.podMonitorSelector",
            "spec.podMonitorNamespaceSelector",
            "spec.probeSelector",
            "spec.probeNamespaceSelector",
            "spec.ruleSelector",
            "spec.ruleNamespaceSelector",
            "spec.scrapeConfigSelector",
            "spec.scrapeConfigNamespaceSelector",
            "status.availableReplicas",
            "status.paused",
        ],
        Kind::Alertmanager | Kind::ThanosRuler => &[
            "spec.replicas",
            "spec.paused",
            "spec.ruleSelector",
            "spec.ruleNamespaceSelector",
            "status.availableReplicas",
            "status.paused",
        ],
        Kind::ServiceMonitor => &[
            "spec.selector",
            "spec.namespaceSelector",
            "spec.endpoints.port",
            "spec.endpoints.targetPort",
            "status.bindings",
        ],
        Kind::PodMonitor => &[
            "spec.selector",
            "spec.namespaceSelector",
            "spec.podMetricsEndpoints.port",
            "spec.podMetricsEndpoints.portNumber",
            "spec.podMetricsEndpoints.targetPort",
            "status.bindings",
        ],
        Kind::Probe | Kind::ScrapeConfig => &["status.bindings"],
        Kind::PrometheusRule => &[
            "spec.groups.name",
            "spec.groups.rules.alert",
            "spec.groups.rules.record",
            "status.bindings",
        ],
        Kind::OpenTelemetryCollector => &[
            "spec.mode",
            "spec.replicas",
            "status.scale.statusReplicas",
            "status.scale.replicas",
            "status.version",
            "status.observedGeneration",
        ],
        Kind::LokiStack => &["status.components"],
        // Security.
        Kind::ValidatingWebhookConfiguration | Kind::MutatingWebhookConfiguration => &[
            "webhooks.name",
            "webhooks.failurePolicy",
            "webhooks.timeoutSeconds",
            "webhooks.clientConfig.service",
            "webhooks.clientConfig.url",
            "webhooks.rules",
            "webhooks.namespaceSelector",
            "webhooks.objectSelector",
            "webhooks.matchConditions.name",
        ],
        Kind::ValidatingAdmissionPolicy | Kind::MutatingAdmissionPolicy => &[
            "spec.failurePolicy",
            "spec.paramKind",
            "status.observedGeneration",
            "status.typeChecking.expressionWarnings",
        ],
        Kind::ValidatingAdmissionPolicyBinding | Kind::MutatingAdmissionPolicyBinding => {
            &["spec.policyName", "spec.validationActions", "spec.paramRef"]
        }
        Kind::Role => &["rules"],
        Kind::ClusterRole => &["rules", "aggregationRule"],
        Kind::RoleBinding | Kind::ClusterRoleBinding => &["roleRef", "subjects"],
        Kind::CertificateSigningRequest => &["spec.signerName", "status.certificate"],
        Kind::KyvernoClusterPolicy | Kind::KyvernoPolicy => &[
            "spec.validationFailureAction",
            "spec.rules.validate.failureAction",
            "spec.background",
            "spec.failurePolicy",
            "status.rulecount",
            "status.ready",
        ],
        Kind::UpdateRequest => &["spec.policy", "status.state", "status.message"],
        Kind::ValidatingPolicy
        | Kind::MutatingPolicy
        | Kind::GeneratingPolicy
        | Kind::ImageValidatingPolicy
        | Kind::DeletingPolicy => &["spec.validationActions", "status.conditionStatus"],
        Kind::PolicyReport
        | Kind::ClusterPolicyReport
        | Kind::OpenReport
        | Kind::ClusterOpenReport => &["summary"],
        Kind::VulnerabilityReport | Kind::ConfigAuditReport | Kind::ExposedSecretReport => &[
            "report.summary",
            "report.updateTimestamp",
            "report.artifact.repository",
            "report.artifact.tag",
        ],
        Kind::ConstraintTemplate => {
            &["spec.crd.spec.names.kind", "status.created", "status.byPod.errors"]
        }
        Kind::Constraint => &[
            "spec.enforcementAction",
            "status.totalViolations",
            "status.auditTimestamp",
            "status.byPod.id",
            "status.byPod.enforced",
            "status.byPod.observedGeneration",
            "status.byPod.errors",
        ],
        Kind::Certificate => &[
            "spec.secretName",
            "spec.issuerRef",
            "spec.duration",
            "spec.renewBefore",
            "status.notBefore",
            "status.notAfter",
            "status.renewalTime",
            "status.failedIssuanceAttempts",
            "status.lastFailureTime",
        ],
        Kind::CertificateRequest => &["spec.issuerRef"],
        Kind::AcmeOrder => &["spec.issuerRef", "status.state", "status.reason"],
        Kind::AcmeChallenge => &["spec.issuerRef", "spec.type", "status.state", "status.reason"],
        Kind::ExternalSecret => &[
            "spec.refreshInterval",
            "spec.refreshPolicy",
            "spec.secretStoreRef",
            "spec.target.name",
            "status.refreshTime",
        ],
        Kind::SealedSecret => &["status.observedGeneration"],
        // Tooling.
        Kind::CustomResourceDefinition => &[
            "spec.group",
            "spec.names.kind",
            "spec.names.plural",
            "spec.scope",
            "spec.versions.name",
            "spec.versions.served",
            "spec.versions.storage",
            "spec.conversion.webhook.clientConfig.service",
            "status.storedVersions",
        ],
        // GitOps.
        Kind::ArgoApplication => &[
            "spec.project",
            "spec.destination",
            "spec.source.repoURL",
            "spec.sources.repoURL",
            "spec.syncPolicy.automated",
            "status.sync.status",
            "status.sync.revision",
            "status.health.status",
            "status.health.message",
            "status.health.lastTransitionTime",
            "status.reconciledAt",
            "status.resources.kind",
            "status.resources.namespace",
            "status.resources.name",
            "status.resources.status",
            "status.resources.requiresPruning",
            "status.operationState.phase",
            "status.operationState.message",
            "status.operationState.startedAt",
            "status.operationState.finishedAt",
            "status.operationState.retryCount",
            "status.operationState.operation.initiatedBy",
            "status.operationState.operation.sync.revision",
            "status.operationState.syncResult.revision",
            "status.history.id",
            "status.history.revision",
            "status.history.deployedAt",
            "status.history.initiatedBy",
        ],
        Kind::ArgoApplicationSet => &["status.resourcesCount", "status.applicationStatus"],
        Kind::ArgoAppProject => &[
            "spec.sourceRepos",
            "spec.destinations",
            "spec.syncWindows",
            "spec.clusterResourceWhitelist",
        ],
        Kind::GitRepository
        | Kind::OciRepository
        | Kind::HelmRepository
        | Kind::HelmChart
        | Kind::Bucket => &[
            "spec.url",
            "spec.interval",
            "spec.suspend",
            "spec.secretRef.name",
            "spec.sourceRef",
            "status.observedGeneration",
            "status.artifact.revision",
            "status.artifact.lastUpdateTime",
        ],
        Kind::Kustomization => &[
            "spec.interval",
            "spec.suspend",
            "spec.prune",
            "spec.sourceRef",
            "spec.dependsOn",
            "spec.path",
            "status.observedGeneration",
            "status.lastAppliedRevision",
            "status.lastAttemptedRevision",
            "status.history.lastReconciled",
            "status.history.lastReconciledDuration",
            "status.inventory.entries.id",
        ],
        Kind::HelmRelease => &[
            "spec.interval",
            "spec.suspend",
            "spec.chart.spec.sourceRef",
            "spec.chart.spec.chart",
            "spec.chartRef",
            "spec.dependsOn",
            "spec.targetNamespace",
            "spec.releaseName",
            "spec.driftDetection.mode",
            "status.observedGeneration",
            "status.failures",
            "status.installFailures",
            "status.upgradeFailures",
            "status.lastAttemptedRevision",
            "status.lastAttemptedReleaseAction",
            "status.lastAttemptedReleaseActionDuration",
            "status.helmChart",
            "status.history.chartVersion",
            "status.history.status",
            "status.history.version",
            "status.history.lastDeployed",
            "status.inventory.entries.id",
        ],
        Kind::FluxReceiver
        | Kind::FluxProvider
        | Kind::FluxAlert
        | Kind::FluxInstance
        | Kind::ResourceSet => &["spec.suspend", "status.observedGeneration"],
        _ => &[],
    }
}

/// The metrics of an endpoint that are kept.
#[must_use]
pub const fn metrics(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::ApiServerMetrics => &[
            "aggregator_unavailable_apiservice",
            "apiserver_admission_match_condition_evaluation_errors_total",
            "apiserver_admission_webhook_admission_duration_seconds_count",
            "apiserver_admission_webhook_admission_duration_seconds_sum",
            "apiserver_admission_webhook_fail_open_count",
            "apiserver_admission_webhook_rejection_count",
            "apiserver_admission_webhook_request_total",
            "apiserver_client_certificate_expiration_seconds_bucket",
            "apiserver_client_certificate_expiration_seconds_count",
            "apiserver_current_inflight_requests",
            "apiserver_current_inqueue_requests",
            "apiserver_flowcontrol_current_inqueue_requests",
            "apiserver_flowcontrol_rejected_requests_total",
            "apiserver_mutating_admission_policy_check_total",
            "apiserver_request_aborts_total",
            "apiserver_request_sli_duration_seconds_count",
            "apiserver_request_sli_duration_seconds_sum",
            "apiserver_request_terminations_total",
            "apiserver_request_total",
            "apiserver_requested_deprecated_apis",
            "apiserver_resource_objects",
            "apiserver_resource_size_estimate_bytes",
            "apiserver_storage_db_total_size_in_bytes",
            "apiserver_storage_objects",
            "apiserver_storage_size_bytes",
            "apiserver_terminated_watchers_total",
            "apiserver_tls_handshake_errors_total",
            "apiserver_validating_admission_policy_check_total",
            "authentication_attempts",
            "authorization_attempts_total",
            "etcd_request_duration_seconds_count",
            "etcd_request_duration_seconds_sum",
            "etcd_request_errors_total",
            "kube_apiserver_clusterip_allocator_allocated_ips",
            "kube_apiserver_clusterip_allocator_allocation_errors_total",
            "kube_apiserver_clusterip_allocator_available_ips",
            "kube_apiserver_nodeport_allocator_allocated_ports",
            "kube_apiserver_nodeport_allocator_available_ports",
            "kubernetes_build_info",
            "pod_security_errors_total",
            "pod_security_evaluations_total",
            "pod_security_exemptions_total",
            "process_start_time_seconds",
            "serviceaccount_legacy_tokens_total",
            "serviceaccount_stale_tokens_total",
        ],
        Kind::KubeletMetrics => &[
            "kubelet_certificate_manager_client_expiration_renew_errors",
            "kubelet_evictions",
            "kubelet_run_podsandbox_errors_total",
            "kubelet_server_expiration_renew_errors",
            "kubelet_volume_stats_available_bytes",
            "kubelet_volume_stats_capacity_bytes",
            "kubelet_volume_stats_inodes",
            "kubelet_volume_stats_inodes_free",
            "kubelet_volume_stats_used_bytes",
            "process_start_time_seconds",
            "prober_probe_total",
        ],
        _ => &[],
    }
}
