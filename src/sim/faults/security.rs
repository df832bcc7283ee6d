//! What goes wrong with those who guard the cluster: webhooks, policies, certificates, secrets, roles?

use serde_json::{Value, json};

use super::follows::{CRASHING, CUT_OFF, Follows, UNREADY};
use super::means::{behave, edit, key, make, recover, release, restore, unmake};
use super::{Class, Fault, FaultKind};
use crate::sim::controllers::{Task, certificates, external_secrets, signing};
use crate::sim::fields::{Condition, Fields, set_condition};
use crate::sim::founding::guards;
use crate::sim::kind::Kind;
use crate::sim::moment::SECOND;
use crate::sim::simulation::Simulation;
use crate::sim::surroundings::Conduct;

/// What follows when pods cannot be made.
const BLOCKED: Follows = &[
    UNREADY,
    CRASHING,
    CUT_OFF,
    &[
        "compute_create_failures",
        "compute_cronjob_overdue",
        "compute_job_failed",
        "compute_rollout_active",
        "compute_rollout_stalled",
        "gitops_argo_unhealthy",
        "observability_leader_lease_stale",
        "observability_leader_transitions_total",
        "security_kyverno_engine",
        "security_policy_denials_total",
        "security_webhook_backend_down",
        "security_webhook_calls_failing",
        "security_webhook_config_changes_total",
        "security_enforcing_policies",
    ],
];

const CONFIGURATIONS: [(Kind, &str); 2] = [
    (Kind::MutatingWebhookConfiguration, "kyverno-resource-mutating-webhook-cfg"),
    (Kind::ValidatingWebhookConfiguration, "kyverno-resource-validating-webhook-cfg"),
];

const CRASH: Conduct = Conduct::Exits { code: 2, after: 2 * SECOND };

pub(super) static FAULTS: &[FaultKind] = &[
    FaultKind {
        name: "webhook-down",
        layer: "security",
        class: Class::Obvious,
        summary: "{backend}, behind webhooks that fail closed, crashes: no pod can be made",
        root: "Deployment {backend}",
        tells: &["security_webhook_backend_down", "compute_create_failures", "compute_crashloop"],
        follows: BLOCKED,
        within: 420,
        lasts: 900,
        parameters: &[("backend", "kyverno/kyverno-admission-controller")],
        begin: |sim, fault| behave(sim, fault.parameter("backend"), CRASH),
        end: |sim, fault| recover(sim, fault.parameter("backend")),
    },
    FaultKind {
        name: "webhook-fails-open",
        layer: "security",
        class: Class::Moderate,
        summary: "the webhooks of {backend} are told to fail open, and it crashes: nothing is checked",
        root: "Deployment {backend}",
        tells: &["security_webhook_backend_down", "security_kyverno_engine", "compute_crashloop"],
        follows: BLOCKED,
        within: 420,
        lasts: 900,
        parameters: &[("backend", "kyverno/kyverno-admission-controller")],
        begin: |sim, fault| {
            for (kind, name) in CONFIGURATIONS {
                edit(sim, kind, name, |c| c.put("webhooks/0/failurePolicy", json!("Ignore")));
            }
            behave(sim, fault.parameter("backend"), CRASH);
        },
        end: |sim, fault| {
            recover(sim, fault.parameter("backend"));
            CONFIGURATIONS.iter().for_each(|(kind, name)| restore(sim, *kind, name));
        },
    },
    FaultKind {
        name: "pod-security-raised",
        layer: "security",
        class: Class::Obvious,
        summary: "namespace {namespace} must be {level}, and {deployment} is released",
        root: "Namespace {namespace}",
        tells: &["compute_create_failures"],
        follows: BLOCKED,
        within: 240,
        lasts: 600,
        parameters: &[
            ("namespace", "search"),
            ("level", "restricted"),
            ("deployment", "search/query"),
        ],
        begin: |sim, fault| {
            let level = json!(fault.parameter("level"));
            edit(sim, Kind::Namespace, fault.parameter("namespace"), |ns| {
                let labels = ns.get_mut("metadata").and_then(|m| m.get_mut("labels"));
                if let Some(labels) = labels.and_then(Value::as_object_mut) {
                    labels.insert("pod-security.kubernetes.io/enforce".to_owned(), level);
                }
            });
            release(sim, fault.parameter("deployment"));
        },
        // What was released stays: it goes on as soon as it may.
        end: |sim, fault| restore(sim, Kind::Namespace, fault.parameter("namespace")),
    },
    FaultKind {
        name: "policy-too-strict",
        layer: "security",
        class: Class::Obvious,
        summary: "policy {policy} refuses every pod without a label {label}",
        root: "ClusterPolicy {policy}",
        tells: &["compute_create_failures", "security_policy_denials_total"],
        follows: BLOCKED,
        within: 720,
        lasts: 1_200,
        parameters: &[("policy", "require-team-label"), ("label", "team")],
        begin: |sim, fault| {
            let label = fault.parameter("label");
            let pattern = guards::label_pattern(label);
            let policy = guards::policy(fault.parameter("policy"), &pattern, label);
            make(sim, Kind::ClusterPolicy, policy);
        },
        end: |sim, fault| unmake(sim, Kind::ClusterPolicy, fault.parameter("policy")),
    },
    FaultKind {
        name: "issuer-broken",
        layer: "security",
        class: Class::Obvious,
        summary: "the signer behind issuer {issuer} does not answer",
        root: "Issuer {issuer}",
        tells: &["security_issuer_not_ready"],
        follows: &[&[
            "security_certificate_expiry_seconds",
            "security_certificate_unhealthy",
            "security_issuance_stuck",
        ]],
        within: 600,
        lasts: 1_200,
        parameters: &[
            ("issuer", "payments/mesh-ca"),
            (
                "error",
                "Failed to initialize Vault client: error calling Vault server: 503 Vault is sealed",
            ),
        ],
        begin: |sim, fault| {
            let issuer = key(fault.parameter("issuer"));
            sim.outside.silent_signers.insert(issuer, fault.parameter("error").to_owned());
        },
        end: |sim, fault| {
            let issuer = key(fault.parameter("issuer"));
            sim.outside.silent_signers.remove(&issuer);
            sim.queue.push(sim.now + SECOND, Task::Reconcile(Kind::Issuer, issuer));
        },
    },
    FaultKind {
        name: "renewal-refused",
        layer: "security",
        class: Class::Moderate,
        summary: "the signer behind issuer {issuer} refuses what it is asked for",
        root: "Issuer {issuer}",
        tells: &["security_issuance_stuck", "security_certificate_unhealthy"],
        follows: &[&["security_certificate_expiry_seconds"]],
        within: 2_700,
        lasts: 3_900,
        parameters: &[
            ("issuer", "payments/mesh-ca"),
            ("error", "common name gateway-mesh.payments.svc not allowed by this role"),
        ],
        begin: |sim, fault| {
            let issuer = key(fault.parameter("issuer"));
            sim.outside.refusing_signers.insert(issuer, fault.parameter("error").to_owned());
        },
        end: |sim, fault| {
            let issuer = key(fault.parameter("issuer"));
            sim.outside.refusing_signers.remove(&issuer);
            certificates::renew(sim, &issuer);
        },
    },
    FaultKind {
        name: "certificates-unattended",
        layer: "security",
        class: Class::Weak,
        summary: "{controller} is scaled to zero: nothing is renewed",
        root: "Deployment {controller}",
        tells: &["security_certificate_unhealthy", "observability_leader_lease_stale"],
        follows: &[&[
            "observability_leader_transitions_total",
            "security_certificate_expiry_seconds",
        ]],
        within: 3_600,
        lasts: 4_800,
        parameters: &[("controller", "cert-manager/cert-manager")],
        begin: |sim, fault| {
            let at = fault.parameter("controller");
            edit(sim, Kind::Deployment, at, |d| d.put("spec/replicas", json!(0)));
        },
        end: |sim, fault| restore(sim, Kind::Deployment, fault.parameter("controller")),
    },
    FaultKind {
        name: "vault-closed",
        layer: "security",
        class: Class::Obvious,
        summary: "the credentials of secret store {store} have expired",
        root: "SecretStore {store}",
        tells: &["security_secret_sync_failed"],
        follows: &[],
        within: 600,
        lasts: 1_200,
        parameters: &[("store", "shop/vault"), ("error", "Code: 403. Errors: * permission denied")],
        begin: close,
        end: open,
    },
    FaultKind {
        name: "csr-unapproved",
        layer: "security",
        class: Class::Moderate,
        summary: "nobody approves the certificate that the kubelet of {node} asks for",
        root: "Node {node}",
        tells: &["security_csr_unhealthy"],
        follows: &[&["security_kubelet_certificate_errors_total"]],
        within: 420,
        lasts: 1_500,
        parameters: &[("node", "node-b1")],
        begin: |sim, fault| {
            sim.outside.no_approver = true;
            signing::ask(sim, fault.parameter("node"));
        },
        end: |sim, _| {
            sim.outside.no_approver = false;
            signing::recheck(sim);
        },
    },
    FaultKind {
        name: "csr-denied",
        layer: "security",
        class: Class::Obvious,
        summary: "somebody denies the certificate that the kubelet of {node} asks for",
        root: "Node {node}",
        tells: &["security_csr_unhealthy"],
        follows: &[&["security_kubelet_certificate_errors_total"]],
        within: 180,
        lasts: 600,
        parameters: &[("node", "node-c1")],
        begin: |sim, fault| {
            let request = signing::ask(sim, fault.parameter("node"));
            let now = sim.stamp();
            sim.store.update(Kind::CertificateSigningRequest, &request, |r| {
                let (status, reason) = ("True", "KubectlDeny");
                let message = "This CSR was denied by kubectl certificate deny.";
                let condition = Condition { kind: "Denied", status, reason, message };
                set_condition(r, condition, &now, &["lastUpdateTime"]);
            });
        },
        // The kubelet asks again, and is approved.
        end: |sim, fault| {
            let of = format!("system:node:{}", fault.parameter("node"));
            let all = sim.store.list(Kind::CertificateSigningRequest, None);
            let mine: Vec<_> = all
                .filter(|(_, r)| r.text("spec/username") == of)
                .map(|(key, _)| key.clone())
                .collect();
            mine.iter().for_each(|k| sim.delete(Kind::CertificateSigningRequest, k));
            signing::ask(sim, fault.parameter("node"));
        },
    },
    FaultKind {
        name: "csr-rotation",
        layer: "security",
        class: Class::Healthy,
        summary: "the kubelet of {node} asks for its next certificate",
        root: "Node {node}",
        tells: &[],
        follows: &[],
        within: 0,
        lasts: 300,
        parameters: &[("node", "node-a1")],
        begin: |sim, fault| {
            signing::ask(sim, fault.parameter("node"));
        },
        end: |_, _| {},
    },
    FaultKind {
        name: "rbac-everybody",
        layer: "security",
        class: Class::Obvious,
        summary: "binding {binding} gives {role} to all service accounts",
        root: "ClusterRoleBinding {binding}",
        tells: &["security_rbac_binding_risk"],
        follows: &[&["security_rbac_changes_total", "security_rbac_powerful_subjects"]],
        within: 180,
        lasts: 600,
        parameters: &[("binding", "permissive-binding"), ("role", "cluster-admin")],
        begin: |sim, fault| {
            let subjects = json!([{"kind": "Group", "name": "system:serviceaccounts"}]);
            bind(sim, fault, &subjects);
        },
        end: |sim, fault| unmake(sim, Kind::ClusterRoleBinding, fault.parameter("binding")),
    },
    FaultKind {
        name: "rbac-default-account",
        layer: "security",
        class: Class::Obvious,
        summary: "binding {binding} gives {role} to the default service account of {namespace}",
        root: "ClusterRoleBinding {binding}",
        tells: &["security_rbac_binding_risk"],
        follows: &[&["security_rbac_changes_total", "security_rbac_powerful_subjects"]],
        within: 180,
        lasts: 1_200,
        parameters: &[
            ("binding", "analytics-default-admin"),
            ("role", "cluster-admin"),
            ("namespace", "analytics"),
        ],
        begin: |sim, fault| {
            let namespace = fault.parameter("namespace");
            let account =
                json!({"kind": "ServiceAccount", "name": "default", "namespace": namespace});
            bind(sim, fault, &json!([account]));
        },
        end: |sim, fault| unmake(sim, Kind::ClusterRoleBinding, fault.parameter("binding")),
    },
    FaultKind {
        name: "role-deleted",
        layer: "security",
        class: Class::Moderate,
        summary: "ClusterRole {role} is deleted though a binding names it",
        root: "ClusterRole {role}",
        tells: &["security_rbac_binding_risk"],
        follows: &[&["security_rbac_changes_total"]],
        within: 420,
        lasts: 900,
        parameters: &[("role", "view")],
        begin: |sim, fault| {
            super::means::remove(sim, Kind::ClusterRole, fault.parameter("role"));
        },
        end: |sim, fault| restore(sim, Kind::ClusterRole, fault.parameter("role")),
    },
];

fn bind(sim: &mut Simulation, fault: &Fault, subjects: &Value) {
    let (name, role) = (fault.parameter("binding"), fault.parameter("role"));
    make(sim, Kind::ClusterRoleBinding, guards::binding(name, role, subjects));
}

/// The vault no longer lets the store in.
pub(super) fn close(sim: &mut Simulation, fault: &Fault) {
    let store = key(fault.parameter("store"));
    sim.outside.closed_stores.insert(store, fault.parameter("error").to_owned());
}

/// The vault lets the store in again.
pub(super) fn open(sim: &mut Simulation, fault: &Fault) {
    let store = key(fault.parameter("store"));
    sim.outside.closed_stores.remove(&store);
    external_secrets::recheck(sim, &store);
}
