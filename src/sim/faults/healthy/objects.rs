//! Which ordinary changes of other objects have to stay quiet?

use serde_json::json;

use super::{STAYS, deeds, quiet};
use crate::sim::faults::FaultKind;
use crate::sim::faults::means::{edit, key, remove, restore};
use crate::sim::fields::Fields;
use crate::sim::kind::Kind;
use crate::sim::manifests;
use crate::sim::moment::MINUTE;
use crate::sim::script;

const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

pub(super) static DISTURBANCES: &[FaultKind] = &[
    quiet(
        ("storage", "claim-waits-for-pod"),
        ("claim {claim} waits for its first pod", "PersistentVolumeClaim {claim}"),
        3600,
        &[("claim", "analytics/later"), ("class", "block")],
        |sim, fault| {
            let at = key(fault.parameter("claim"));
            let claim = json!({
                "metadata": {"name": at.name, "namespace": at.ns},
                "spec": {"accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem",
                    "storageClassName": fault.parameter("class"),
                    "resources": {"requests": {"storage": "5Gi"}}},
                "status": {"phase": "Pending"},
            });
            sim.create(Kind::PersistentVolumeClaim, claim);
        },
        |sim, fault| sim.delete(Kind::PersistentVolumeClaim, &key(fault.parameter("claim"))),
    ),
    quiet(
        ("storage", "default-class-swapped"),
        ("{instead} takes over from StorageClass {class} as the default", "StorageClass {class}"),
        900,
        &[("class", "block"), ("instead", "block-fast")],
        |sim, fault| {
            let mut class = manifests::storage_class();
            class.put("metadata/name", json!(fault.parameter("instead")));
            sim.create(Kind::StorageClass, class);
            // For a moment there are two; the newest wins.
            script::later(sim, MINUTE, fault, |sim, fault| {
                edit(sim, Kind::StorageClass, fault.parameter("class"), |class| {
                    class.annotate(DEFAULT_CLASS, "false");
                });
            });
        },
        |sim, fault| {
            restore(sim, Kind::StorageClass, fault.parameter("class"));
            remove(sim, Kind::StorageClass, fault.parameter("instead"));
        },
    ),
    quiet(
        ("compute", "namespace-comes-and-goes"),
        ("namespace {namespace} is made with an app, and deleted later", "Namespace {namespace}"),
        900,
        &[("namespace", "preview-42"), ("model", "shop/cart")],
        |sim, fault| {
            let namespace = fault.parameter("namespace");
            sim.create(Kind::Namespace, manifests::namespace(namespace));
            let app = format!("{namespace}/preview");
            deeds::install_like(sim, fault.parameter("model"), &app, 1);
        },
        |sim, fault| {
            let app = format!("{}/preview", fault.parameter("namespace"));
            sim.delete(Kind::Deployment, &key(&app));
            script::later(sim, MINUTE, fault, |sim, fault| {
                sim.delete(Kind::Namespace, &key(fault.parameter("namespace")));
            });
        },
    ),
    quiet(
        ("tooling", "config-changed"),
        ("ConfigMap {config} is made and changed", "ConfigMap {config}"),
        600,
        &[("config", "shop/feature-flags")],
        |sim, fault| {
            let at = key(fault.parameter("config"));
            let config = json!({
                "metadata": {"name": at.name, "namespace": at.ns},
                "data": {"checkout": "old"},
            });
            sim.create(Kind::ConfigMap, config);
            script::later(sim, 2 * MINUTE, fault, |sim, fault| {
                sim.store.update(Kind::ConfigMap, &key(fault.parameter("config")), |config| {
                    config.put("data/checkout", json!("new"));
                });
            });
        },
        |sim, fault| sim.delete(Kind::ConfigMap, &key(fault.parameter("config"))),
    ),
    quiet(
        ("compute", "budget-over-nothing"),
        ("PodDisruptionBudget {budget} selects no pod", "PodDisruptionBudget {budget}"),
        1800,
        &[("budget", "media/retired")],
        |sim, fault| {
            let at = key(fault.parameter("budget"));
            let budget = json!({
                "metadata": {"name": at.name, "namespace": at.ns},
                "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": at.name}}},
                "status": {
                    "currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0,
                    "expectedPods": 0, "observedGeneration": 1,
                },
            });
            sim.create(Kind::PodDisruptionBudget, budget);
        },
        |sim, fault| sim.delete(Kind::PodDisruptionBudget, &key(fault.parameter("budget"))),
    ),
    quiet(
        ("compute", "quota-used-up"),
        ("ResourceQuota {quota} is used up, and nobody asks for more", "ResourceQuota {quota}"),
        1800,
        &[("quota", "accounts/claims")],
        |sim, fault| {
            let at = key(fault.parameter("quota"));
            let used = sim.store.list(Kind::PersistentVolumeClaim, Some(&at.ns)).count();
            let amount = json!({"persistentvolumeclaims": used.to_string()});
            let quota = json!({
                "metadata": {"name": at.name, "namespace": at.ns},
                "spec": {"hard": amount},
                "status": {"hard": amount, "used": amount},
            });
            sim.create(Kind::ResourceQuota, quota);
        },
        |sim, fault| sim.delete(Kind::ResourceQuota, &key(fault.parameter("quota"))),
    ),
    quiet(
        ("security", "namespace-audited"),
        ("namespace {namespace} is audited by a stricter level", "Namespace {namespace}"),
        900,
        &[("namespace", "media")],
        |sim, fault| {
            edit(sim, Kind::Namespace, fault.parameter("namespace"), |namespace| {
                let label = "pod-security.kubernetes.io/audit";
                if let Some(labels) = namespace["metadata"]["labels"].as_object_mut() {
                    labels.insert(label.to_owned(), json!("restricted"));
                }
            });
        },
        |sim, fault| restore(sim, Kind::Namespace, fault.parameter("namespace")),
    ),
    quiet(
        ("tooling", "labels-changed"),
        ("Deployment {deployment} gets another label", "Deployment {deployment}"),
        600,
        &[("deployment", "search/indexer"), ("team", "finders")],
        |sim, fault| {
            let key = key(fault.parameter("deployment"));
            sim.store.update(Kind::Deployment, &key, |deployment| {
                deployment.put("metadata/labels/team", json!(fault.parameter("team")));
            });
        },
        STAYS,
    ),
];
