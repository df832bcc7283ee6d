//! Is what Git has fetched, and applied? As Flux's source-controller and kustomize-controller do it: each object at
//! its interval, a consumer at once when its source has something new, dependencies every half minute
//! (`--requeue-dependency`), failures again at `spec.retryInterval`.

use std::sync::Arc;

use serde_json::{Value, json};

use super::delivery::{self, FLUX, Health, Member};
use super::{Task, works};
use crate::sim::fields::{Condition, Fields, deleting, set_condition};
use crate::sim::kind::Kind;
use crate::sim::moment::{MINUTE, Moment, SECOND, span};
use crate::sim::outside::Attempt;
use crate::sim::recorder::Actor;
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

const AWAY: Moment = 15 * SECOND;
const DEPENDENCY: Moment = 30 * SECOND;
/// How often the health of what was applied is looked at.
const POLL: Moment = 5 * SECOND;

/// Looks at a GitRepository: fetches its tip.
pub(crate) fn repository(sim: &mut Simulation, key: &Key) {
    let Some(found) = sim.store.get(Kind::GitRepository, key).cloned() else { return };
    let task = Task::Reconcile(Kind::GitRepository, key.clone());
    if deleting(&found) || found.truth("spec/suspend") {
        return;
    }
    if !works(sim, (FLUX, "source-controller")) {
        sim.queue.push(sim.now + AWAY, task);
        return;
    }
    let interval = span(found.text("spec/interval")).max(MINUTE);
    sim.queue.push(sim.now + interval, task);
    let url = found.text("spec/url");
    let Some(repository) = sim.outside.repositories.get(url).cloned() else { return };
    let by = Actor::controller("source-controller");
    let now = sim.stamp();
    if !repository.failure.is_empty() {
        let words = format!("failed to checkout and determine revision: {}", repository.failure);
        ready(sim, Kind::GitRepository, key, "False", "GitOperationFailed", &words);
        sim.store.update(Kind::GitRepository, key, |r| {
            let (kind, status, reason) = ("FetchFailed", "True", "GitOperationFailed");
            set_condition(r, Condition { kind, status, reason, message: &words }, &now, &[]);
        });
        sim.warning(&found, by, "GitOperationFailed", words);
        return;
    }
    let revision = format!("main@sha1:{}", repository.head);
    let words = format!("stored artifact for revision '{revision}'");
    let new = found.text("status/artifact/revision") != revision;
    sim.store.update(Kind::GitRepository, key, |r| {
        drop_condition(r, "FetchFailed");
        if new {
            r.put("status/artifact", json!({"revision": revision, "lastUpdateTime": now}));
            let (kind, status, reason) = ("ArtifactInStorage", "True", "Succeeded");
            set_condition(r, Condition { kind, status, reason, message: &words }, &now, &[]);
        }
        delivery::observe(r);
    });
    ready(sim, Kind::GitRepository, key, "True", "Succeeded", &words);
    if new {
        sim.normal(&found, by, "NewArtifact", words);
        wake_consumers(sim, key);
    }
}

/// What is made from a source is looked at when the source has something new.
fn wake_consumers(sim: &mut Simulation, source: &Key) {
    for kind in [Kind::Kustomization, Kind::HelmRelease] {
        let of = |o: &Value| {
            let path = if kind == Kind::Kustomization { "spec" } else { "spec/chart/spec" };
            o.text(&format!("{path}/sourceRef/name")) == source.name
        };
        let all = sim.store.list(kind, Some(&source.ns)).filter(|(_, o)| of(o));
        let keys: Vec<_> = all.map(|(key, _)| key.clone()).collect();
        for key in keys {
            sim.outside.attempts.remove(&(kind, key.clone()));
            sim.queue.push(sim.now + SECOND, Task::Reconcile(kind, key));
        }
    }
}

/// Writes the Ready condition.
pub(crate) fn ready(
    sim: &mut Simulation,
    kind: Kind,
    key: &Key,
    status: &str,
    reason: &str,
    message: &str,
) {
    let now = sim.stamp();
    sim.store.update(kind, key, |object| {
        let generation = object.int("metadata/generation");
        set_condition(object, Condition { kind: "Ready", status, reason, message }, &now, &[]);
        let all = object.items("status/conditions");
        if let Some(index) = all.iter().position(|c| c.text("type") == "Ready") {
            object.put(&format!("status/conditions/{index}/observedGeneration"), json!(generation));
        }
    });
}

pub(crate) fn drop_condition(object: &mut Value, kind: &str) {
    let all = object.items("status/conditions").iter();
    let left: Vec<_> = all.filter(|c| c.text("type") != kind).cloned().collect();
    object.put("status/conditions", Value::Array(left));
}

/// A Kustomization as it is looked at.
struct Look {
    key: Key,
    found: Arc<Value>,
    revision: String,
    interval: Moment,
    retry: Moment,
}

/// Looks at a Kustomization: applies what its source has.
pub(crate) fn kustomization(sim: &mut Simulation, key: &Key) {
    let Some(found) = sim.store.get(Kind::Kustomization, key).cloned() else { return };
    let task = Task::Reconcile(Kind::Kustomization, key.clone());
    if deleting(&found) || found.truth("spec/suspend") {
        return;
    }
    if !works(sim, (FLUX, "kustomize-controller")) {
        sim.queue.push(sim.now + AWAY, task);
        return;
    }
    let about = (Kind::Kustomization, key.clone());
    let attempt = sim.outside.attempts.get(&about).copied();
    let changed = found.int("status/observedGeneration") < found.int("metadata/generation");
    if let Some(attempt) = attempt.filter(|a| a.until > sim.now && !changed) {
        sim.queue.push(attempt.until, task);
        return;
    }
    let interval = span(found.text("spec/interval")).max(MINUTE);
    let retry = Some(span(found.text("spec/retryInterval"))).filter(|r| *r > 0);
    let retry = retry.unwrap_or(interval);
    let source = Key::new(&key.ns, found.text("spec/sourceRef/name"));
    let artifact =
        sim.store.get(Kind::GitRepository, &source).map(|s| s.text("status/artifact/revision"));
    let revision = artifact.unwrap_or("").to_owned();
    let look = Look { key: key.clone(), found, revision, interval, retry };
    if look.revision.is_empty() {
        let words = "Source artifact not found, retrying in 30s";
        ready(sim, Kind::Kustomization, key, "False", "ArtifactFailed", words);
        again(sim, &look, DEPENDENCY, 0);
        return;
    }
    if let Some(waits) = unmet(sim, &look) {
        let words = format!("dependency '{waits}' is not ready");
        ready(sim, Kind::Kustomization, key, "False", "DependencyNotReady", &words);
        again(sim, &look, DEPENDENCY, 0);
        return;
    }
    if let Some(words) = sim.outside.unbuildable.get(&about).cloned() {
        let words = format!("kustomize build failed: {words}");
        fail(sim, &look, "BuildFailed", &words);
        return;
    }
    if let Some(words) = sim.outside.unapplicable.get(&about).cloned() {
        fail(sim, &look, "ReconciliationFailed", &words);
        return;
    }
    apply(sim, &look, attempt.map_or(0, |a| a.times));
}

/// The first dependency that is not ready.
fn unmet(sim: &Simulation, look: &Look) -> Option<String> {
    look.found.items("spec/dependsOn").iter().find_map(|d| {
        let key = Key::new(&look.key.ns, d.text("name"));
        let held = sim.store.get(Kind::Kustomization, &key);
        let met = held.is_some_and(|k| delivery::is_ready(k));
        (!met).then(|| key.to_string())
    })
}

fn again(sim: &mut Simulation, look: &Look, after: Moment, times: u32) {
    let (since, until) = (sim.now, sim.now + after);
    let about = (Kind::Kustomization, look.key.clone());
    sim.outside.attempts.insert(about, Attempt { since, times, until });
    sim.queue.push(until, Task::Reconcile(Kind::Kustomization, look.key.clone()));
}

fn fail(sim: &mut Simulation, look: &Look, reason: &str, words: &str) {
    ready(sim, Kind::Kustomization, &look.key, "False", reason, words);
    sim.store.update(Kind::Kustomization, &look.key, |k| {
        k.put("status/lastAttemptedRevision", json!(look.revision));
        delivery::observe(k);
    });
    sim.warning(&look.found, Actor::controller("kustomize-controller"), reason, words.to_owned());
    again(sim, look, look.retry, 0);
}

/// Applies, waits for health where the Kustomization says so, and says how it went. `times` counts looks at health.
fn apply(sim: &mut Simulation, look: &Look, times: u32) {
    let about = (Kind::Kustomization, look.key.clone());
    let ns = look.found.text("spec/targetNamespace");
    let members = delivery::members(sim, &about, ns);
    let prune = look.found.truth("spec/prune");
    let lines: Vec<_> = members.iter().filter(|m| !m.synced()).map(line).collect();
    for member in members.iter().filter(|m| !m.synced()) {
        delivery::apply(sim, member, prune);
    }
    let by = Actor::controller("kustomize-controller");
    if !lines.is_empty() {
        sim.normal(&look.found, by.clone(), "Progressing", lines.join("\n"));
    }
    let new = look.found.text("status/lastAppliedRevision") != look.revision;
    let members = delivery::members(sim, &about, ns);
    let slow = members.iter().find(|m| delivery::health(m) > Health::Suspended);
    if look.found.truth("spec/wait")
        && (new || times > 0 || !lines.is_empty())
        && let Some(slow) = slow
    {
        await_health(sim, look, slow, times);
        return;
    }
    let entries: Vec<_> = members.iter().filter(|m| m.live.is_some()).map(entry).collect();
    let words = format!("Applied revision: {}", look.revision);
    let now = sim.stamp();
    sim.store.update(Kind::Kustomization, &look.key, |k| {
        k.put("status/lastAppliedRevision", json!(look.revision));
        k.put("status/lastAttemptedRevision", json!(look.revision));
        k.put("status/inventory/entries", Value::Array(entries));
        k.put(
            "status/history",
            json!([{
                "digest": look.revision,
                "lastReconciled": now,
                "lastReconciledDuration": "1.2s",
                "lastReconciledStatus": "ReconciliationSucceeded",
            }]),
        );
        delivery::observe(k);
    });
    ready(sim, Kind::Kustomization, &look.key, "True", "ReconciliationSucceeded", &words);
    if new {
        let text = format!(
            "Reconciliation finished in 1.2s, next run in {}",
            look.found.text("spec/interval")
        );
        sim.normal(&look.found, by, "ReconciliationSucceeded", text);
    }
    again(sim, look, look.interval, 0);
}

/// What was applied is not healthy yet: wait for it up to `spec.timeout`.
fn await_health(sim: &mut Simulation, look: &Look, slow: &Member, times: u32) {
    let timeout = span(look.found.text("spec/timeout")).max(MINUTE);
    if Moment::from(times) * POLL < timeout {
        let words = "Running health checks for revision with a timeout";
        ready(sim, Kind::Kustomization, &look.key, "Unknown", "Progressing", words);
        sim.store.update(Kind::Kustomization, &look.key, |k| {
            k.put("status/lastAttemptedRevision", json!(look.revision));
            delivery::observe(k);
        });
        again(sim, look, POLL, times + 1);
        return;
    }
    let (name, key) = (slow.kind.name(), &slow.key);
    let words = format!(
        "health check failed after {}s: timeout waiting for: [{name}/{key} status: 'InProgress']",
        timeout / SECOND
    );
    fail(sim, look, "HealthCheckFailed", &words);
}

/// What Flux tells of an object that it changed.
fn line(member: &Member) -> String {
    let verb = match (&member.live, member.surplus()) {
        (_, true) => "deleted",
        (None, _) => "created",
        _ => "configured",
    };
    format!("{}/{} {verb}", member.kind.name(), member.key)
}

/// An object of the inventory, as Flux writes it.
fn entry(member: &Member) -> Value {
    let served = member.kind.served();
    let id = format!("{}_{}_{}_{}", member.key.ns, member.key.name, served.group, served.name);
    json!({"id": id, "v": served.version})
}

/// Has a Flux object looked at now, as `flux reconcile` does.
pub(crate) fn reconcile_now(sim: &mut Simulation, kind: Kind, key: &Key) {
    sim.outside.attempts.remove(&(kind, key.clone()));
    sim.queue.push(sim.now + SECOND, Task::Reconcile(kind, key.clone()));
}
