//! Who guards the cluster? Roles, webhooks, policies, Pod Security levels, signers and certificates, secrets from the
//! vault, and the definitions of all kinds that extend Kubernetes.

use serde_json::{Value, json};

use crate::sim::controllers::{definitions, external_secrets};
use crate::sim::fields::Fields;
use crate::sim::kind::{Kind, SERVED};
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

/// Namespaces whose pods must keep to the `baseline` level.
const BASELINE: [&str; 6] = ["shop", "payments", "search", "media", "accounts", "analytics"];

/// The groups of kinds that somebody defines.
const DEFINED: [&str; 11] = [
    "snapshot.storage.k8s.io",
    "gateway.networking.k8s.io",
    "monitoring.coreos.com",
    "opentelemetry.io",
    "kyverno.io",
    "cert-manager.io",
    "external-secrets.io",
    "argoproj.io",
    "source.toolkit.fluxcd.io",
    "kustomize.toolkit.fluxcd.io",
    "helm.toolkit.fluxcd.io",
];

/// Certificates: namespace, name, kind and name of the issuer, how long they live.
const CERTIFICATES: [(&str, &str, &str, &str, &str); 6] = [
    ("kyverno", "kyverno-svc", "ClusterIssuer", "internal-ca", "2160h0m0s"),
    ("cert-manager", "cert-manager-webhook", "ClusterIssuer", "internal-ca", "2160h0m0s"),
    ("platform", "ingress", "ClusterIssuer", "public-ca", "2160h0m0s"),
    ("shop", "storefront", "ClusterIssuer", "public-ca", "2160h0m0s"),
    ("payments", "gateway-mesh", "Issuer", "mesh-ca", "1h0m0s"),
    ("payments", "ledger-mesh", "Issuer", "mesh-ca", "1h0m0s"),
];

/// Makes the guards of a cluster whose workloads are there.
pub(super) fn found(sim: &mut Simulation) {
    for ns in BASELINE {
        sim.store.update(Kind::Namespace, &Key::cluster(ns), |namespace| {
            if let Some(labels) = namespace.get_mut("metadata").and_then(|m| m.get_mut("labels"))
                && let Some(labels) = labels.as_object_mut()
            {
                labels.insert("pod-security.kubernetes.io/enforce".to_owned(), json!("baseline"));
            }
        });
    }
    define(sim);
    roles(sim);
    webhooks(sim);
    sim.create(Kind::ClusterPolicy, policy("require-app-label", &label_pattern("app"), "app"));
    let tag = json!({"spec": {"containers": [{"image": "!*:latest"}]}});
    sim.create(Kind::ClusterPolicy, policy("disallow-latest-tag", &tag, "a fixed tag"));
    certificates(sim);
    secrets(sim);
}

fn define(sim: &mut Simulation) {
    let served = SERVED.iter().filter(|s| DEFINED.contains(&s.group));
    for row in served {
        let definition = json!({
            "metadata": {
                "name": format!("{}.{}", row.plural, row.group),
                "finalizers": [definitions::FINALIZER],
            },
            "spec": {
                "group": row.group,
                "names": {"kind": row.name, "plural": row.plural, "singular": row.singular},
                "scope": if row.namespaced { "Namespaced" } else { "Cluster" },
                "versions": [{"name": row.version, "served": true, "storage": true}],
            },
            "status": {},
        });
        sim.create(Kind::CustomResourceDefinition, definition);
    }
}

fn roles(sim: &mut Simulation) {
    let own = json!({"kubernetes.io/bootstrapping": "rbac-defaults"});
    let all = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
    let read = json!([{
        "apiGroups": ["", "apps", "batch"],
        "resources": ["pods", "services", "deployments", "jobs"],
        "verbs": ["get", "list", "watch"],
    }]);
    for (name, rules) in [("cluster-admin", &all), ("view", &read)] {
        let role = json!({"metadata": {"name": name, "labels": own}, "rules": rules});
        sim.create(Kind::ClusterRole, role);
    }
    let masters = json!([{"kind": "Group", "name": "system:masters"}]);
    let mut default = binding("cluster-admin", "cluster-admin", &masters);
    default.put("metadata/labels", own);
    sim.create(Kind::ClusterRoleBinding, default);
    let developers = json!([{"kind": "Group", "name": "developers"}]);
    sim.create(Kind::ClusterRoleBinding, binding("developers-view", "view", &developers));
    for (ns, name) in [
        ("argocd", "argocd-application-controller"),
        ("flux-system", "kustomize-controller"),
        ("flux-system", "helm-controller"),
    ] {
        let subjects = json!([{"kind": "ServiceAccount", "name": name, "namespace": ns}]);
        sim.create(Kind::ClusterRoleBinding, binding(name, "cluster-admin", &subjects));
    }
}

/// A binding of a ClusterRole in the whole cluster.
pub(in crate::sim) fn binding(name: &str, role: &str, subjects: &Value) -> Value {
    let group = "rbac.authorization.k8s.io";
    let mut subjects = subjects.clone();
    for subject in subjects.as_array_mut().into_iter().flatten() {
        if subject.text("kind") != "ServiceAccount" {
            subject.put("apiGroup", json!(group));
        }
    }
    json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
        "subjects": subjects,
    })
}

fn webhooks(sim: &mut Simulation) {
    for (ns, name, app) in [
        ("kyverno", "kyverno-svc", "kyverno-admission-controller"),
        ("cert-manager", "cert-manager-webhook", "cert-manager-webhook"),
    ] {
        let service = json!({
            "metadata": {"name": name, "namespace": ns, "labels": {"app": app}},
            "spec": {
                "type": "ClusterIP",
                "selector": {"app": app},
                "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": "http"}],
            },
            "status": {"loadBalancer": {}},
        });
        sim.create(Kind::Service, service);
    }
    let pods = json!([{
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": ["pods"],
        "scope": "Namespaced",
    }]);
    let exempt = json!({"matchExpressions": [{
        "key": "kubernetes.io/metadata.name",
        "operator": "NotIn",
        "values": ["kube-system", "kyverno"],
    }]});
    for (kind, verb) in [
        (Kind::MutatingWebhookConfiguration, "mutate"),
        (Kind::ValidatingWebhookConfiguration, "validate"),
    ] {
        let name = if verb == "mutate" { "mutating" } else { "validating" };
        let config = json!({
            "metadata": {"name": format!("kyverno-resource-{name}-webhook-cfg")},
            "webhooks": [{
                "name": format!("{verb}.kyverno.svc-fail"),
                "clientConfig": {"service": {
                    "namespace": "kyverno", "name": "kyverno-svc", "path": format!("/{verb}/fail"), "port": 443,
                }},
                "rules": pods,
                "namespaceSelector": exempt,
                "failurePolicy": "Fail",
                "sideEffects": "NoneOnDryRun",
                "timeoutSeconds": 10,
            }],
        });
        sim.create(kind, config);
    }
    let config = json!({
        "metadata": {"name": "cert-manager-webhook"},
        "webhooks": [{
            "name": "webhook.cert-manager.io",
            "clientConfig": {"service": {
                "namespace": "cert-manager", "name": "cert-manager-webhook", "path": "/validate", "port": 443,
            }},
            "rules": [{
                "apiGroups": ["cert-manager.io"],
                "apiVersions": ["v1"],
                "operations": ["CREATE", "UPDATE"],
                "resources": ["*/*"],
                "scope": "*",
            }],
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "timeoutSeconds": 30,
        }],
    });
    sim.create(Kind::ValidatingWebhookConfiguration, config);
}

/// A pattern that wants a label.
pub(in crate::sim) fn label_pattern(label: &str) -> Value {
    json!({"metadata": {"labels": {label: "?*"}}})
}

/// A policy of Kyverno that is enforced.
pub(in crate::sim) fn policy(name: &str, pattern: &Value, what: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "background": true,
            "rules": [{
                "name": format!("check-{name}"),
                "match": {"any": [{"resources": {"kinds": ["Pod"]}}]},
                "validate": {
                    "failureAction": "Enforce",
                    "message": format!("{what} is required"),
                    "pattern": pattern,
                },
            }],
        },
        "status": {
            "rulecount": {"validate": 1},
            "conditions": [{"type": "Ready", "status": "True", "reason": "Succeeded", "message": "Ready"}],
        },
    })
}

fn certificates(sim: &mut Simulation) {
    for name in ["internal-ca", "public-ca"] {
        let issuer =
            json!({"metadata": {"name": name}, "spec": {"vault": {"path": "pki"}}, "status": {}});
        sim.create(Kind::ClusterIssuer, issuer);
    }
    let issuer = json!({
        "metadata": {"name": "mesh-ca", "namespace": "payments"},
        "spec": {"vault": {"path": "mesh"}},
        "status": {},
    });
    sim.create(Kind::Issuer, issuer);
    for (ns, name, kind, issuer, duration) in CERTIFICATES {
        let certificate = json!({
            "metadata": {"name": name, "namespace": ns},
            "spec": {
                "secretName": format!("{name}-tls"),
                "duration": duration,
                "dnsNames": [format!("{name}.{ns}.svc")],
                "issuerRef": {"group": "cert-manager.io", "kind": kind, "name": issuer},
            },
            "status": {},
        });
        sim.create(Kind::Certificate, certificate);
    }
}

fn secrets(sim: &mut Simulation) {
    for ns in ["payments", "shop"] {
        let store = json!({
            "metadata": {"name": "vault", "namespace": ns},
            "spec": {"provider": {"vault": {"server": "https://vault.example", "path": ns}}},
            "status": {},
        });
        sim.create(Kind::SecretStore, store);
        for name in [external_secrets::PULL_SECRET, "database-credentials"] {
            let secret = json!({
                "metadata": {
                    "name": name,
                    "namespace": ns,
                    "finalizers": [external_secrets::FINALIZER],
                },
                "spec": {
                    "refreshInterval": "10m0s",
                    "secretStoreRef": {"kind": "SecretStore", "name": "vault"},
                    "target": {"name": name, "creationPolicy": "Owner"},
                    "data": [{"secretKey": "value", "remoteRef": {"key": format!("{ns}/{name}")}}],
                },
                "status": {},
            });
            sim.create(Kind::ExternalSecret, secret);
        }
    }
}
