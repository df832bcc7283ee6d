//! What goes wrong between Git and the cluster?

use serde_json::json;

use super::follows::{CRASHING, CUT_OFF, Follows, LED_NOWHERE, RESTARTING, UNDELIVERED, UNREADY};
use super::means::{behave, commit, commit_removal, edit, key, push, recover, restore, revert};
use super::{Class, Fault, FaultKind};
use crate::sim::controllers::{delivery, flux};
use crate::sim::fields::Fields;
use crate::sim::founding::{delivery::repository, image_of, next_tag, set_tag};
use crate::sim::kind::Kind;
use crate::sim::moment::{Moment, SECOND};
use crate::sim::outside::Wanted;
use crate::sim::script;
use crate::sim::simulation::Simulation;
use crate::sim::surroundings::Conduct;

/// What follows when what was delivered does not serve.
const DELIVERED: Follows = &[
    UNREADY,
    CRASHING,
    CUT_OFF,
    LED_NOWHERE,
    UNDELIVERED,
    &[
        "compute_hpa_unhealthy",
        "compute_pdb_blocking",
        "compute_rollout_active",
        "compute_rollout_stalled",
        "gitops_argo_out_of_sync",
        "gitops_argo_out_of_sync_resources",
        "gitops_changes_total",
        "gitops_flux_revision_lag",
        "gitops_flux_stalled",
        "gitops_helmrelease_failed",
        "gitops_helmrelease_failures_total",
        "compute_failed_probes_total",
        "compute_probe_failures_total",
        "gitops_inventory_removed_total",
        "networking_selector_orphan",
        "tooling_helm_release_secrets",
        "tooling_helm_release_unhealthy",
        "tooling_helm_revisions_total",
    ],
];

const CRASH: Conduct = Conduct::Exits { code: 1, after: 4 * SECOND };
/// How often the other party of a fight writes.
const ROUND: Moment = 150 * SECOND;

pub(super) static FAULTS: &[FaultKind] = &[
    FaultKind {
        name: "argo-bad-release",
        layer: "gitops",
        class: Class::Obvious,
        summary: "a commit to application {application} brings a version of {deployment} that crashes",
        root: "Application argocd/{application}",
        tells: &["compute_crashloop", "compute_container_restarts_total", "gitops_argo_unhealthy"],
        follows: DELIVERED,
        within: 480,
        lasts: 1_200,
        parameters: &[("application", "search"), ("deployment", "search/query")],
        begin: |sim, fault| ship(sim, fault.parameter("application"), fault, CRASH),
        end: |sim, fault| back(sim, fault.parameter("application"), fault),
    },
    FaultKind {
        name: "argo-good-release",
        layer: "gitops",
        class: Class::Healthy,
        summary: "a commit to application {application} brings the next version of {deployment}",
        root: "Application argocd/{application}",
        tells: &[],
        follows: &[&[
            "compute_rollout_active",
            "gitops_argo_out_of_sync_resources",
            "gitops_changes_total",
            "networking_endpoint_flaps_total",
        ]],
        within: 0,
        lasts: 600,
        parameters: &[("application", "shop"), ("deployment", "shop/storefront")],
        begin: |sim, fault| ship(sim, fault.parameter("application"), fault, Conduct::Serves),
        end: |_, _| {},
    },
    FaultKind {
        name: "argo-repository-unreachable",
        layer: "gitops",
        class: Class::Obvious,
        summary: "the credentials for the house's repositories have expired: no application can be compared",
        root: "Application argocd/{application}",
        tells: &["gitops_argo_condition"],
        follows: &[&["gitops_argo_out_of_sync", "gitops_argo_unhealthy"]],
        within: 480,
        lasts: 1_200,
        parameters: &[
            ("application", "shop"),
            ("others", "payments search accounts"),
            ("error", "authentication required: Invalid username or token"),
        ],
        begin: |sim, fault| {
            let error = format!("failed to list refs: {}", fault.parameter("error"));
            repositories(fault).for_each(|name| fail_fetching(sim, &name, &error));
        },
        end: |sim, fault| repositories(fault).for_each(|name| fail_fetching(sim, &name, "")),
    },
    FaultKind {
        name: "argo-sync-refused",
        layer: "gitops",
        class: Class::Obvious,
        summary: "the API server refuses a commit to application {application}",
        root: "Application argocd/{application}",
        tells: &[
            "gitops_argo_operation_failed",
            "gitops_argo_condition",
            "gitops_argo_out_of_sync",
        ],
        follows: DELIVERED,
        within: 1_080,
        lasts: 1_800,
        parameters: &[
            ("application", "accounts"),
            ("deployment", "accounts/tokens"),
            (
                "error",
                "Deployment.apps \"tokens\" is invalid: spec.selector: Invalid value: field is immutable",
            ),
        ],
        begin: |sim, fault| {
            let about =
                (Kind::Application, key(&format!("argocd/{}", fault.parameter("application"))));
            sim.outside.unapplicable.insert(about, fault.parameter("error").to_owned());
            ship(sim, fault.parameter("application"), fault, Conduct::Serves);
        },
        end: |sim, fault| {
            let about =
                (Kind::Application, key(&format!("argocd/{}", fault.parameter("application"))));
            sim.outside.unapplicable.remove(&about);
            back(sim, fault.parameter("application"), fault);
        },
    },
    FaultKind {
        name: "argo-drift",
        layer: "gitops",
        class: Class::Moderate,
        summary: "{deployment} is changed by hand, and application {application} does not heal itself",
        root: "Application argocd/{application}",
        tells: &["gitops_argo_out_of_sync"],
        follows: &[&["gitops_argo_out_of_sync_resources", "compute_rollout_active"]],
        within: 900,
        lasts: 1_500,
        parameters: &[("application", "payments"), ("deployment", "payments/fraud-scoring")],
        begin: |sim, fault| {
            let application = format!("argocd/{}", fault.parameter("application"));
            edit(sim, Kind::Application, &application, |app| {
                app.put("spec/syncPolicy/automated/selfHeal", json!(false));
            });
            drift(sim, fault);
        },
        end: |sim, fault| {
            let application = format!("argocd/{}", fault.parameter("application"));
            restore(sim, Kind::Application, &application);
        },
    },
    FaultKind {
        name: "drift-fight",
        layer: "gitops",
        class: Class::Moderate,
        summary: "somebody else keeps changing {deployment} of application {application}",
        root: "Deployment {deployment}",
        tells: &["gitops_drift_fight", "gitops_argo_corrections_total"],
        follows: &[&[
            "compute_rollout_active",
            "gitops_argo_out_of_sync",
            "gitops_argo_out_of_sync_resources",
        ]],
        within: 1_200,
        lasts: 1_800,
        parameters: &[("application", "shop"), ("deployment", "shop/recommendations")],
        begin: |sim, fault| {
            let deployment = key(fault.parameter("deployment"));
            let Some(held) = sim.store.get(Kind::Deployment, &deployment) else { return };
            let held = (**held).clone();
            sim.script.before.insert((Kind::Deployment, deployment), held);
            fight(sim, fault);
        },
        end: |sim, fault| {
            sim.script.before.remove(&(Kind::Deployment, key(fault.parameter("deployment"))));
        },
    },
    FaultKind {
        name: "argo-repo-server-down",
        layer: "gitops",
        class: Class::Obvious,
        summary: "Argo CD's {server} crashes",
        root: "Deployment {server}",
        tells: &["gitops_controller_down", "compute_crashloop"],
        follows: &[
            UNREADY,
            RESTARTING,
            &["gitops_argo_condition", "gitops_argo_out_of_sync", "networking_service_not_serving"],
        ],
        within: 300,
        lasts: 900,
        parameters: &[("server", "argocd/argocd-repo-server")],
        begin: |sim, fault| behave(sim, fault.parameter("server"), CRASH),
        end: |sim, fault| recover(sim, fault.parameter("server")),
    },
    FaultKind {
        name: "flux-source-fails",
        layer: "gitops",
        class: Class::Obvious,
        summary: "repository {source} cannot be fetched",
        root: "GitRepository flux-system/{source}",
        tells: &["gitops_flux_not_ready"],
        follows: DELIVERED,
        within: 480,
        lasts: 1_200,
        parameters: &[
            ("source", "fleet"),
            ("error", "unable to clone: dial tcp: lookup git.example: i/o timeout"),
        ],
        begin: |sim, fault| {
            let error = fault.parameter("error").to_owned();
            fail_fetching(sim, fault.parameter("source"), &error);
        },
        end: |sim, fault| fail_fetching(sim, fault.parameter("source"), ""),
    },
    FaultKind {
        name: "flux-build-fails",
        layer: "gitops",
        class: Class::Obvious,
        summary: "a commit breaks Kustomization {kustomization}, on which others depend",
        root: "Kustomization flux-system/{kustomization}",
        tells: &["gitops_flux_not_ready", "gitops_flux_revision_lag"],
        follows: DELIVERED,
        within: 600,
        lasts: 1_200,
        parameters: &[
            ("kustomization", "infrastructure"),
            ("error", "accumulating resources: 'ingress.yaml' doesn't exist"),
        ],
        begin: |sim, fault| {
            let key = key(&format!("flux-system/{}", fault.parameter("kustomization")));
            let error = fault.parameter("error").to_owned();
            sim.outside.unbuildable.insert((Kind::Kustomization, key), error);
            push(sim, "fleet");
        },
        end: |sim, fault| {
            let key = key(&format!("flux-system/{}", fault.parameter("kustomization")));
            sim.outside.unbuildable.remove(&(Kind::Kustomization, key));
            push(sim, "fleet");
        },
    },
    FaultKind {
        name: "flux-bad-release",
        layer: "gitops",
        class: Class::Obvious,
        summary: "a commit that Flux applies brings a version of {deployment} that crashes",
        root: "Kustomization flux-system/{kustomization}",
        tells: &["compute_crashloop", "compute_container_restarts_total", "gitops_flux_not_ready"],
        follows: DELIVERED,
        within: 420,
        lasts: 900,
        parameters: &[("kustomization", "media"), ("deployment", "media/thumbnails")],
        begin: |sim, fault| ship(sim, "fleet", fault, CRASH),
        end: |sim, fault| back(sim, "fleet", fault),
    },
    FaultKind {
        name: "flux-good-release",
        layer: "gitops",
        class: Class::Healthy,
        summary: "a commit that Flux applies brings the next version of {deployment}",
        root: "Kustomization flux-system/{kustomization}",
        tells: &[],
        follows: &[&[
            "compute_rollout_active",
            "gitops_changes_total",
            "networking_endpoint_flaps_total",
        ]],
        within: 0,
        lasts: 600,
        parameters: &[("kustomization", "analytics"), ("deployment", "analytics/ingest")],
        begin: |sim, fault| ship(sim, "fleet", fault, Conduct::Serves),
        end: |_, _| {},
    },
    FaultKind {
        name: "helm-release-exhausted",
        layer: "gitops",
        class: Class::Obvious,
        summary: "the upgrade of HelmRelease {release} fails until its retries are exhausted",
        root: "HelmRelease flux-system/{release}",
        tells: &["gitops_helmrelease_failed", "gitops_flux_stalled"],
        follows: DELIVERED,
        within: 720,
        lasts: 1_200,
        parameters: &[("release", "dashboards"), ("deployment", "platform/dashboards")],
        begin: |sim, fault| {
            let deployment = key(fault.parameter("deployment"));
            let Some(held) = sim.store.get(Kind::Deployment, &deployment) else { return };
            let image = image_of(held);
            let name = image.rsplit_once(':').map_or("", |(name, _)| name);
            let tag = next_tag(image, &sim.surroundings.bad_images());
            sim.surroundings.set_image(&format!("{name}:{tag}"), Conduct::Unready);
            let release = format!("flux-system/{}", fault.parameter("release"));
            edit(sim, Kind::HelmRelease, &release, |r| {
                r.put("spec/values/image/tag", json!(tag));
            });
        },
        end: |sim, fault| {
            let release = format!("flux-system/{}", fault.parameter("release"));
            restore(sim, Kind::HelmRelease, &release);
            flux::reconcile_now(sim, Kind::HelmRelease, &key(&release));
        },
    },
    FaultKind {
        name: "flux-suspended",
        layer: "gitops",
        class: Class::Creeping,
        summary: "Kustomization {kustomization} is suspended and forgotten",
        root: "Kustomization flux-system/{kustomization}",
        tells: &["tooling_forgotten_state"],
        follows: &[&["gitops_suspended", "gitops_flux_revision_lag"]],
        within: 90_000,
        lasts: 100_000,
        parameters: &[("kustomization", "media")],
        begin: |sim, fault| {
            let at = format!("flux-system/{}", fault.parameter("kustomization"));
            edit(sim, Kind::Kustomization, &at, |k| k.put("spec/suspend", json!(true)));
        },
        end: |sim, fault| {
            let at = format!("flux-system/{}", fault.parameter("kustomization"));
            restore(sim, Kind::Kustomization, &at);
            flux::reconcile_now(sim, Kind::Kustomization, &key(&at));
        },
    },
    FaultKind {
        name: "flux-mass-prune",
        layer: "gitops",
        class: Class::Obvious,
        summary: "a commit empties the folder of Kustomization {kustomization}: Flux deletes all of it",
        root: "Kustomization flux-system/{kustomization}",
        tells: &["gitops_mass_change"],
        follows: DELIVERED,
        within: 240,
        lasts: 900,
        parameters: &[("kustomization", "analytics"), ("namespace", "analytics")],
        begin: |sim, fault| {
            for member in members(sim, fault) {
                commit_removal(sim, "fleet", member.0, &member.1);
            }
        },
        end: |sim, fault| {
            let ns = fault.parameter("namespace");
            let held = sim.script.before.keys().filter(|(_, key)| key.ns == ns);
            let held: Vec<_> = held.cloned().collect();
            for (kind, key) in held {
                revert(sim, "fleet", kind, &key.to_string());
            }
        },
    },
    FaultKind {
        name: "flux-controller-down",
        layer: "gitops",
        class: Class::Obvious,
        summary: "Flux's {controller} crashes",
        root: "Deployment {controller}",
        tells: &["gitops_controller_down", "compute_crashloop"],
        follows: &[
            UNREADY,
            RESTARTING,
            &[
                "gitops_flux_reconcile_overdue",
                "gitops_flux_revision_lag",
                "networking_service_not_serving",
                "observability_leader_lease_stale",
                "observability_leader_transitions_total",
            ],
        ],
        within: 300,
        lasts: 900,
        parameters: &[("controller", "flux-system/kustomize-controller")],
        begin: |sim, fault| behave(sim, fault.parameter("controller"), CRASH),
        end: |sim, fault| recover(sim, fault.parameter("controller")),
    },
];

/// Commits the next version of a Deployment, whose program behaves so.
fn ship(sim: &mut Simulation, repository: &str, fault: &Fault, conduct: Conduct) {
    let at = fault.parameter("deployment");
    let (mut image, bad) = (String::new(), sim.surroundings.bad_images());
    commit(sim, repository, (Kind::Deployment, at), |d| {
        let tag = next_tag(image_of(d), &bad);
        set_tag(d, &tag);
        image = image_of(d).to_owned();
    });
    sim.surroundings.set_image(&image, conduct);
}

/// Commits the version before.
fn back(sim: &mut Simulation, repository: &str, fault: &Fault) {
    revert(sim, repository, Kind::Deployment, fault.parameter("deployment"));
}

/// The repositories that a fault names.
fn repositories(fault: &Fault) -> impl Iterator<Item = String> {
    let all = format!("{} {}", fault.parameter("application"), fault.parameter("others"));
    all.split_whitespace().map(str::to_owned).collect::<Vec<_>>().into_iter()
}

/// From here on a repository cannot be fetched, for this reason; with an empty one it can.
fn fail_fetching(sim: &mut Simulation, name: &str, error: &str) {
    if let Some(found) = sim.outside.repositories.get_mut(&repository(name)) {
        found.failure = error.to_owned();
    }
}

/// What a Kustomization consists of.
fn members(sim: &Simulation, fault: &Fault) -> Vec<(Kind, crate::sim::store::Key)> {
    let at = format!("{}/{}", delivery::FLUX, fault.parameter("kustomization"));
    let about = (Kind::Kustomization, key(&at));
    let all = delivery::members(sim, &about, fault.parameter("namespace"));
    all.into_iter().map(|member| (member.kind, member.key)).collect()
}

/// Somebody changes a Deployment by hand; Git has what was before.
fn drift(sim: &mut Simulation, fault: &Fault) {
    let deployment = key(fault.parameter("deployment"));
    let Some(held) = sim.store.get(Kind::Deployment, &deployment).map(|d| (**d).clone()) else {
        return;
    };
    let replicas = held.int("spec/replicas") + 1;
    sim.outside.wanted.insert((Kind::Deployment, deployment.clone()), Wanted::Object(held));
    sim.store.update(Kind::Deployment, &deployment, |d| d.put("spec/replicas", json!(replicas)));
}

/// The other party writes, and comes back while the fault lasts.
fn fight(sim: &mut Simulation, fault: &Fault) {
    let deployment = (Kind::Deployment, key(fault.parameter("deployment")));
    if sim.script.before.contains_key(&deployment) {
        drift(sim, fault);
        script::later(sim, ROUND, fault, fight);
    }
}
