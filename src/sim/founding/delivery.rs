//! Who delivers what runs here? The house's own programs by Argo CD, the platform and two tenants by Flux, the rest
//! by Helm.

use serde_json::{Value, json};

use crate::sim::controllers::{delivery, helm};
use crate::sim::fields::Fields;
use crate::sim::kind::Kind;
use crate::sim::outside::Repository;
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

/// Namespaces that Argo CD delivers, each as one application of its name.
const APPLICATIONS: [&str; 4] = ["shop", "payments", "search", "accounts"];
/// What Flux delivers: Kustomizations with their namespaces.
const KUSTOMIZATIONS: [(&str, &str); 3] =
    [("infrastructure", "platform"), ("media", "media"), ("analytics", "analytics")];
/// Deployments of `platform` that Flux installs as Helm releases.
const HELM_RELEASES: [&str; 2] = ["dashboards", "log-store"];
/// What was installed by Helm itself, a release of its namespace's name each.
const RELEASES: [&str; 4] = ["argocd", "cert-manager", "external-secrets", "kyverno"];
/// Workloads whose environment comes from a ConfigMap.
const CONFIGURED: [(&str, &str); 3] =
    [("shop", "checkout"), ("accounts", "login"), ("media", "transcoder")];

/// The repository of an application.
pub(in crate::sim) fn repository(application: &str) -> String {
    format!("https://git.example/house/{application}.git")
}

/// Writes into a manifest who delivers it, and makes the ConfigMap that it is configured by.
pub(super) fn equip(sim: &mut Simulation, manifest: &mut Value) {
    let (ns, name) =
        (manifest.text("metadata/namespace").to_owned(), manifest.text("metadata/name").to_owned());
    if CONFIGURED.contains(&(ns.as_str(), name.as_str())) {
        let config = format!("{name}-config");
        let path = "spec/template/spec/containers/0/envFrom";
        manifest.put(path, json!([{"configMapRef": {"name": config}}]));
        let mut map = json!({
            "metadata": {"name": config, "namespace": ns},
            "data": {"LOG_LEVEL": "info"},
        });
        belong(&mut map, &ns, &config, "/ConfigMap");
        sim.create(Kind::ConfigMap, map);
    }
    belong(manifest, &ns, &name, "apps/Workload");
    let part = match ns.as_str() {
        "argocd" => "argocd",
        "flux-system" => "flux",
        _ => return,
    };
    let component = name.strip_prefix("argocd-").unwrap_or(&name).to_owned();
    for (label, value) in [("part-of", part), ("component", &component)] {
        if let Some(labels) = manifest.get_mut("metadata").and_then(|m| m.get_mut("labels"))
            && let Some(labels) = labels.as_object_mut()
        {
            labels.insert(format!("app.kubernetes.io/{label}"), json!(value));
        }
    }
}

fn belong(object: &mut Value, ns: &str, name: &str, kind: &str) {
    if APPLICATIONS.contains(&ns) {
        object.annotate(delivery::TRACKING, &format!("{ns}:{kind}:{ns}/{name}"));
    } else if RELEASES.contains(&ns) {
        object.annotate("meta.helm.sh/release-name", ns);
        object.annotate("meta.helm.sh/release-namespace", ns);
    }
    let flux = KUSTOMIZATIONS.iter().find(|(_, target)| *target == ns);
    let mut labels = object.at("metadata/labels").cloned().unwrap_or_else(|| json!({}));
    let Some(labels) = labels.as_object_mut() else { return };
    let owner = if ns == "platform" && HELM_RELEASES.contains(&name) {
        Some(("helm", name))
    } else {
        flux.map(|(kustomization, _)| ("kustomize", *kustomization))
    };
    if let Some((by, owner)) = owner {
        labels.insert(format!("{by}.toolkit.fluxcd.io/name"), json!(owner));
        labels.insert(format!("{by}.toolkit.fluxcd.io/namespace"), json!(delivery::FLUX));
        object.put("metadata/labels", json!(labels));
    }
}

/// Makes what delivers.
pub(super) fn found(sim: &mut Simulation) {
    for application in APPLICATIONS {
        let url = repository(application);
        host(sim, &url);
        sim.create(Kind::Application, application_of(application, &url));
    }
    let url = repository("fleet");
    host(sim, &url);
    let source = json!({
        "metadata": {"name": "fleet", "namespace": delivery::FLUX},
        "spec": {"url": url, "interval": "1m0s", "ref": {"branch": "main"}, "timeout": "60s"},
        "status": {"observedGeneration": -1},
    });
    sim.create(Kind::GitRepository, source);
    for (name, target) in KUSTOMIZATIONS {
        sim.create(Kind::Kustomization, kustomization(name, target));
    }
    for name in HELM_RELEASES {
        sim.create(Kind::HelmRelease, helm_release(name));
    }
    for name in RELEASES {
        let release = Key::new(name, name);
        helm::begin(sim, &release, "pending-install");
        helm::conclude(sim, &release, "deployed");
    }
}

fn host(sim: &mut Simulation, url: &str) {
    let head = delivery::hash(sim, url);
    let repository = Repository { head, failure: String::new() };
    sim.outside.repositories.insert(url.to_owned(), repository);
}

fn application_of(name: &str, url: &str) -> Value {
    json!({
        "metadata": {
            "name": name,
            "namespace": delivery::ARGO,
        },
        "spec": {
            "project": "default",
            "source": {"repoURL": url, "path": "deploy", "targetRevision": "main"},
            "destination": {"server": "https://kubernetes.default.svc", "namespace": name},
            "syncPolicy": {"automated": {"prune": true, "selfHeal": true}},
        },
        "status": {},
    })
}

fn kustomization(name: &str, target: &str) -> Value {
    let mut object = json!({
        "metadata": {
            "name": name,
            "namespace": delivery::FLUX,
        },
        "spec": {
            "interval": "10m0s",
            "retryInterval": "1m0s",
            "timeout": "3m0s",
            "path": format!("./{name}"),
            "prune": true,
            "wait": true,
            "sourceRef": {"kind": "GitRepository", "name": "fleet"},
            "targetNamespace": target,
        },
        "status": {"observedGeneration": -1},
    });
    if name != KUSTOMIZATIONS[0].0 {
        object.put("spec/dependsOn", json!([{"name": KUSTOMIZATIONS[0].0}]));
    }
    object
}

fn helm_release(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": delivery::FLUX},
        "spec": {
            "interval": "10m0s",
            "timeout": "3m0s",
            "chart": {"spec": {
                "chart": format!("charts/{name}"),
                "version": "1.4.0",
                "sourceRef": {"kind": "GitRepository", "name": "fleet"},
            }},
            "releaseName": name,
            "targetNamespace": "platform",
            "upgrade": {"remediation": {"retries": 1}},
            "values": {},
        },
        "status": {"observedGeneration": -1},
    })
}
