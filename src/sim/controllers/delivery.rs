//! What do Argo CD and Flux have in common? Objects that belong to an application, what Git wants of them, whether
//! they are healthy, and how what Git has gets into the cluster.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Task;
use crate::sim::fields::{Fields, condition, holds};
use crate::sim::kind::Kind;
use crate::sim::moment::SECOND;
use crate::sim::outside::Wanted;
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

pub(crate) const TRACKING: &str = "argocd.argoproj.io/tracking-id";
pub(crate) const KUSTOMIZATION: &str = "kustomize.toolkit.fluxcd.io/name";
pub(crate) const HELM_RELEASE: &str = "helm.toolkit.fluxcd.io/name";
/// Where Argo CD and Flux live, and their objects with them.
pub(crate) const ARGO: &str = "argocd";
pub(crate) const FLUX: &str = "flux-system";

/// The kinds that applications here consist of.
const KINDS: [Kind; 5] =
    [Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet, Kind::CronJob, Kind::ConfigMap];

/// An object of an application.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) kind: Kind,
    pub(crate) key: Key,
    pub(crate) live: Option<Arc<Value>>,
    /// What Git has, where it differs from what was last applied.
    pub(crate) wanted: Option<Wanted>,
}

impl Member {
    /// Whether the live object is as Git has it.
    pub(crate) fn synced(&self) -> bool {
        match (&self.wanted, &self.live) {
            (None, _) | (Some(Wanted::Nothing), None) => true,
            (Some(Wanted::Object(wanted)), Some(live)) => {
                wanted.get("spec") == live.get("spec") && wanted.get("data") == live.get("data")
            }
            _ => false,
        }
    }

    /// Whether Git no longer has it.
    pub(crate) fn surplus(&self) -> bool {
        self.wanted == Some(Wanted::Nothing) && self.live.is_some()
    }
}

/// The application, Kustomization or Helm release that an object says it belongs to.
pub(crate) fn owner_of(object: &Value) -> Option<(Kind, Key)> {
    let tracked = object.annotation(TRACKING);
    if let Some((application, _)) = tracked.split_once(':') {
        return Some((Kind::Application, Key::new(ARGO, application)));
    }
    for (label, kind) in [(HELM_RELEASE, Kind::HelmRelease), (KUSTOMIZATION, Kind::Kustomization)] {
        let name = object.label(label);
        if !name.is_empty() {
            return Some((kind, Key::new(FLUX, name)));
        }
    }
    None
}

/// The objects in a namespace that belong to an owner: those that are there, and those that Git has.
pub(crate) fn members(sim: &Simulation, owner: &(Kind, Key), ns: &str) -> Vec<Member> {
    let mut found = Vec::new();
    for kind in KINDS {
        let mine = |o: &Value| owner_of(o).as_ref() == Some(owner);
        for (key, live) in sim.store.list(kind, Some(ns)).filter(|(_, o)| mine(o)) {
            let wanted = sim.outside.wanted.get(&(kind, key.clone())).cloned();
            found.push(Member { kind, key: key.clone(), live: Some(Arc::clone(live)), wanted });
        }
        let missing = sim.outside.wanted.iter().filter(|((k, key), wanted)| {
            *k == kind
                && key.ns == ns
                && sim.store.get(kind, key).is_none()
                && matches!(wanted, Wanted::Object(o) if mine(o))
        });
        for ((_, key), wanted) in missing {
            let wanted = Some(wanted.clone());
            found.push(Member { kind, key: key.clone(), live: None, wanted });
        }
    }
    found
}

/// Brings a member to what Git has; from then on what lives is what Git has.
pub(crate) fn apply(sim: &mut Simulation, member: &Member, prune: bool) {
    if !member.surplus() || prune {
        sim.outside.wanted.remove(&(member.kind, member.key.clone()));
    }
    match &member.wanted {
        Some(Wanted::Object(object)) if member.live.is_some() => {
            sim.store.update(member.kind, &member.key, |live| {
                for field in ["spec", "data"] {
                    if let Some(value) = object.get(field) {
                        live.put(field, value.clone());
                    }
                }
            });
        }
        Some(Wanted::Object(object)) => {
            let mut fresh = object.clone();
            fresh.drop_field("status/conditions");
            sim.create(member.kind, fresh);
        }
        Some(Wanted::Nothing) if prune => sim.delete(member.kind, &member.key),
        _ => {}
    }
}

/// How healthy an object is, worst last; the words are those of gitops-engine's `pkg/health`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Health {
    Healthy,
    Suspended,
    Progressing,
    Missing,
    Degraded,
}

impl Health {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "Healthy",
            Self::Suspended => "Suspended",
            Self::Progressing => "Progressing",
            Self::Missing => "Missing",
            Self::Degraded => "Degraded",
        }
    }
}

/// The health of a member.
pub(crate) fn health(member: &Member) -> Health {
    let Some(live) = &member.live else { return Health::Missing };
    let count = |path: &str| live.int(path);
    let behind = count("status/observedGeneration") < count("metadata/generation");
    match member.kind {
        Kind::Deployment if live.truth("spec/paused") => Health::Suspended,
        Kind::Deployment => {
            let progressing = condition(live, "Progressing");
            let stuck = progressing.is_some_and(|c| c.text("reason") == "ProgressDeadlineExceeded");
            let wanted = count("spec/replicas");
            let (updated, available) =
                (count("status/updatedReplicas"), count("status/availableReplicas"));
            if stuck && !behind {
                Health::Degraded
            } else if behind
                || updated < wanted
                || count("status/replicas") > updated
                || available < updated
            {
                Health::Progressing
            } else {
                Health::Healthy
            }
        }
        Kind::StatefulSet if behind || count("status/readyReplicas") < count("spec/replicas") => {
            Health::Progressing
        }
        Kind::DaemonSet
            if behind
                || count("status/numberAvailable") < count("status/desiredNumberScheduled") =>
        {
            Health::Progressing
        }
        _ => Health::Healthy,
    }
}

/// An object changed: who delivers it looks at it.
pub(crate) fn member_changed(sim: &mut Simulation, object: &Value) {
    if let Some((kind, key)) = owner_of(object) {
        sim.queue.push(sim.now + SECOND, Task::Reconcile(kind, key));
    }
}

/// A hash for a commit that was made now.
pub(crate) fn hash(sim: &Simulation, url: &str) -> String {
    let mut draw = sim.chance.of("commit", &format!("{url}/{}", sim.now));
    let digits = format!("{:016x}{:016x}{:016x}", draw.bits(), draw.bits(), draw.bits());
    digits[..40].to_owned()
}

/// Whether the object's Ready condition holds for its newest spec.
pub(crate) fn is_ready(object: &Value) -> bool {
    holds(object, "Ready")
        && object.int("status/observedGeneration") >= object.int("metadata/generation")
}

/// Says that a status is about the newest spec.
pub(crate) fn observe(object: &mut Value) {
    object.put("status/observedGeneration", json!(object.int("metadata/generation")));
}
