//! What goes wrong with releases, references, definitions and finalizers?

use std::sync::Arc;

use serde_json::{Value, json};

use super::means::{
    behave, commit, commit_removal, edit, key, make, remove, restore, revert, unmake,
};
use super::{Class, FaultKind};
use crate::sim::controllers::{collector, helm};
use crate::sim::fields::Fields;
use crate::sim::founding::{image_of, next_tag, set_tag};
use crate::sim::kind::Kind;
use crate::sim::manifests;
use crate::sim::moment::SECOND;
use crate::sim::script;
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;
use crate::sim::surroundings::Conduct;

/// A finalizer whose controller is not there.
const ORPHAN: &str = "example.com/hold";

pub(super) static FAULTS: &[FaultKind] = &[
    FaultKind {
        name: "helm-pending",
        layer: "tooling",
        class: Class::Moderate,
        summary: "an upgrade of Helm release {release} was killed half-way",
        root: "Secret {release}",
        tells: &["tooling_helm_release_unhealthy"],
        follows: &[&["tooling_helm_revisions_total", "tooling_helm_release_secrets"]],
        within: 1_080,
        lasts: 1_500,
        parameters: &[("release", "kyverno/kyverno")],
        begin: |sim, fault| {
            helm::begin(sim, &key(fault.parameter("release")), "pending-upgrade");
        },
        end: |sim, fault| roll_back(sim, fault.parameter("release")),
    },
    FaultKind {
        name: "helm-failed",
        layer: "tooling",
        class: Class::Obvious,
        summary: "an upgrade of Helm release {release} failed",
        root: "Secret {release}",
        tells: &["tooling_helm_release_unhealthy"],
        follows: &[&["tooling_helm_revisions_total", "tooling_helm_release_secrets"]],
        within: 240,
        lasts: 900,
        parameters: &[("release", "argocd/argocd")],
        begin: |sim, fault| {
            let release = key(fault.parameter("release"));
            helm::begin(sim, &release, "pending-upgrade");
            helm::conclude(sim, &release, "failed");
        },
        end: |sim, fault| roll_back(sim, fault.parameter("release")),
    },
    FaultKind {
        name: "helm-upgrade",
        layer: "tooling",
        class: Class::Healthy,
        summary: "Helm release {release} is upgraded",
        root: "Secret {release}",
        tells: &[],
        follows: &[&["tooling_helm_revisions_total", "tooling_helm_release_secrets"]],
        within: 0,
        lasts: 120,
        parameters: &[("release", "external-secrets/external-secrets")],
        begin: |sim, fault| {
            helm::begin(sim, &key(fault.parameter("release")), "pending-upgrade");
        },
        end: |sim, fault| helm::conclude(sim, &key(fault.parameter("release")), "deployed"),
    },
    FaultKind {
        name: "config-map-pruned",
        layer: "tooling",
        class: Class::Obvious,
        summary: "a commit takes away ConfigMap {config_map}, which {deployment} names, and releases that",
        root: "ConfigMap {config_map}",
        tells: &["tooling_config_reference_broken"],
        follows: &[&[
            "compute_container_waiting",
            "compute_pods_unready",
            "compute_rollout_active",
            "compute_rollout_stalled",
            "compute_workloads_degraded",
            "gitops_argo_out_of_sync_resources",
            "gitops_argo_unhealthy",
            "gitops_changes_total",
            "gitops_inventory_removed_total",
        ]],
        within: 420,
        lasts: 900,
        parameters: &[
            ("application", "shop"),
            ("config_map", "shop/checkout-config"),
            ("deployment", "shop/checkout"),
        ],
        begin: |sim, fault| {
            let (application, map) =
                (fault.parameter("application"), fault.parameter("config_map"));
            commit_removal(sim, application, Kind::ConfigMap, &key(map));
            let bad = sim.surroundings.bad_images();
            commit(sim, application, (Kind::Deployment, fault.parameter("deployment")), |d| {
                let tag = next_tag(image_of(d), &bad);
                set_tag(d, &tag);
            });
        },
        end: |sim, fault| {
            let application = fault.parameter("application");
            revert(sim, application, Kind::ConfigMap, fault.parameter("config_map"));
            revert(sim, application, Kind::Deployment, fault.parameter("deployment"));
        },
    },
    FaultKind {
        name: "definition-deleted",
        layer: "tooling",
        class: Class::Obvious,
        summary: "{definition} is deleted while {controller}, which holds its objects, is gone",
        root: "CustomResourceDefinition {definition}",
        tells: &["tooling_crd_unhealthy"],
        follows: &[&["tooling_crd_deletions_total", "security_secret_sync_failed"]],
        within: 120,
        lasts: 600,
        parameters: &[
            ("definition", "externalsecrets.external-secrets.io"),
            ("controller", "external-secrets/external-secrets"),
        ],
        begin: |sim, fault| {
            let at = fault.parameter("controller");
            edit(sim, Kind::Deployment, at, |d| d.put("spec/replicas", json!(0)));
            let all = sim.store.list(Kind::ExternalSecret, None);
            let held: Vec<_> = all.map(|(key, o)| (key.clone(), (**o).clone())).collect();
            for (key, object) in held {
                sim.script.before.insert((Kind::ExternalSecret, key), object);
            }
            remove(sim, Kind::CustomResourceDefinition, fault.parameter("definition"));
        },
        // Installed again: the controller lets the old objects go, and they are applied anew.
        end: |sim, fault| {
            restore(sim, Kind::Deployment, fault.parameter("controller"));
            script::later(sim, 120 * SECOND, fault, |sim, fault| {
                restore(sim, Kind::CustomResourceDefinition, fault.parameter("definition"));
                let held = sim.script.before.keys().filter(|(k, _)| *k == Kind::ExternalSecret);
                let names: Vec<_> = held.map(|(_, key)| key.to_string()).collect();
                for name in names {
                    restore(sim, Kind::ExternalSecret, &name);
                }
            });
        },
    },
    FaultKind {
        name: "namespace-stuck",
        layer: "tooling",
        class: Class::Moderate,
        summary: "namespace {namespace} is deleted, but a claim in it has a finalizer that nobody takes away",
        root: "Namespace {namespace}",
        tells: &["storage_delete_stuck"],
        follows: &[],
        within: 720,
        lasts: 1_200,
        parameters: &[("namespace", "preview-7")],
        begin: |sim, fault| {
            let namespace = fault.parameter("namespace");
            make(sim, Kind::Namespace, manifests::namespace(namespace));
            let claim = json!({
                "metadata": {
                    "name": "data",
                    "namespace": namespace,
                    "finalizers": ["kubernetes.io/pvc-protection", ORPHAN],
                },
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "storageClassName": manifests::CLASS,
                    "volumeMode": "Filesystem",
                    "resources": {"requests": {"storage": "5Gi"}},
                },
                "status": {"phase": "Pending"},
            });
            make(sim, Kind::PersistentVolumeClaim, claim);
            unmake(sim, Kind::Namespace, namespace);
        },
        end: |sim, fault| {
            let claim = Key::new(fault.parameter("namespace"), "data");
            collector::release(sim, Kind::PersistentVolumeClaim, &claim, ORPHAN);
        },
    },
    FaultKind {
        name: "namespace-deleted",
        layer: "tooling",
        class: Class::Healthy,
        summary: "namespace {namespace} comes and goes",
        root: "Namespace {namespace}",
        tells: &[],
        follows: &[],
        within: 0,
        lasts: 300,
        parameters: &[("namespace", "preview-8")],
        begin: |sim, fault| {
            make(sim, Kind::Namespace, manifests::namespace(fault.parameter("namespace")));
            let metadata = json!({"name": "settings", "namespace": fault.parameter("namespace")});
            make(sim, Kind::ConfigMap, json!({"metadata": metadata, "data": {}}));
        },
        end: |sim, fault| unmake(sim, Kind::Namespace, fault.parameter("namespace")),
    },
    FaultKind {
        name: "pod-held",
        layer: "tooling",
        class: Class::Moderate,
        summary: "a pod of {deployment} is deleted, but has a finalizer that nobody takes away",
        root: "Deployment {deployment}",
        tells: &["compute_pod_terminating_overdue"],
        follows: &[&["compute_pods_unready", "compute_workload_unavailable"]],
        within: 240,
        lasts: 600,
        parameters: &[("deployment", "payments/reconciler")],
        begin: |sim, fault| {
            let Key { ns, name } = key(fault.parameter("deployment"));
            let mine = |(_, pod): &(&Key, &Arc<Value>)| pod.label("app") == name;
            let found = sim.store.list(Kind::Pod, Some(&ns)).find(mine);
            let Some(pod) = found.map(|(key, _)| key.clone()) else { return };
            sim.store.update(Kind::Pod, &pod, |p| p.put("metadata/finalizers", json!([ORPHAN])));
            sim.delete(Kind::Pod, &pod);
        },
        end: |sim, fault| {
            let ns = key(fault.parameter("deployment")).ns;
            let all = sim.store.list(Kind::Pod, Some(&ns));
            let held: Vec<_> = all
                .filter(|(_, pod)| pod.items("metadata/finalizers").iter().any(|f| f == ORPHAN))
                .map(|(key, _)| key.clone())
                .collect();
            held.iter().for_each(|pod| collector::release(sim, Kind::Pod, pod, ORPHAN));
        },
    },
    FaultKind {
        name: "hook-failed",
        layer: "tooling",
        class: Class::Obvious,
        summary: "the pre-upgrade hook {job} fails",
        root: "Job {job}",
        tells: &["tooling_hook_failed"],
        follows: &[&["compute_job_failed", "tooling_hook_failures_total"]],
        within: 300,
        lasts: 900,
        parameters: &[("job", "accounts/migrate-profiles")],
        begin: |sim, fault| {
            let Key { ns, name } = key(fault.parameter("job"));
            behave(sim, fault.parameter("job"), Conduct::Exits { code: 1, after: 4 * SECOND });
            let container = json!({
                "name": "migrate",
                "image": format!("registry.example/{ns}/migrate:1.0.0"),
                "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
            });
            let job = json!({
                "metadata": {
                    "name": name,
                    "namespace": ns,
                    "annotations": {"helm.sh/hook": "pre-upgrade"},
                },
                "spec": {
                    "backoffLimit": 0,
                    "template": {
                        "metadata": {"labels": {"app": name}},
                        "spec": {"restartPolicy": "Never", "containers": [container]},
                    },
                },
                "status": {},
            });
            make(sim, Kind::Job, job);
        },
        end: |sim, fault| {
            behave(sim, fault.parameter("job"), Conduct::Serves);
            unmake(sim, Kind::Job, fault.parameter("job"));
        },
    },
];

/// `helm rollback`: a new revision that is the old one again.
fn roll_back(sim: &mut Simulation, release: &str) {
    let release = key(release);
    helm::conclude(sim, &release, "failed");
    helm::begin(sim, &release, "pending-rollback");
    helm::conclude(sim, &release, "deployed");
}
