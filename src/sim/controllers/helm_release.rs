//! Is a Helm release installed as its HelmRelease says? As Flux's helm-controller does it: an upgrade when the spec
//! changes, a wait for its workloads, a rollback and so many retries when they do not come, and then nothing more.

use std::sync::Arc;

use serde_json::{Value, json};

use super::delivery::{self, FLUX, Health};
use super::flux::{drop_condition, ready};
use super::{Task, helm, works};
use crate::sim::fields::{Condition, Fields, deleting, set_condition};
use crate::sim::founding::{image_of, set_tag};
use crate::sim::kind::Kind;
use crate::sim::moment::{MINUTE, Moment, SECOND, span};
use crate::sim::outside::Attempt;
use crate::sim::recorder::Actor;
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

const AWAY: Moment = 15 * SECOND;
const POLL: Moment = 5 * SECOND;
/// Where the release was before an upgrade, so that a rollback finds back.
const BEFORE: &str = "example.com/tag-before";

/// A HelmRelease as it is looked at.
struct Look {
    key: Key,
    found: Arc<Value>,
    /// The release's namespace and name.
    release: Key,
    /// The Deployment that it consists of.
    workload: Key,
}

/// Looks at a HelmRelease.
pub(crate) fn release(sim: &mut Simulation, key: &Key) {
    let Some(found) = sim.store.get(Kind::HelmRelease, key).cloned() else { return };
    let task = Task::Reconcile(Kind::HelmRelease, key.clone());
    if deleting(&found) || found.truth("spec/suspend") {
        return;
    }
    if !works(sim, (FLUX, "helm-controller")) {
        sim.queue.push(sim.now + AWAY, task);
        return;
    }
    let about = (Kind::HelmRelease, key.clone());
    let attempt = sim.outside.attempts.get(&about).copied();
    let changed = found.int("status/observedGeneration") < found.int("metadata/generation");
    let source = Key::new(&key.ns, found.text("spec/chart/spec/sourceRef/name"));
    let fetched = sim.store.get(Kind::GitRepository, &source);
    let target = found.text("spec/targetNamespace");
    let release = Key::new(target, found.text("spec/releaseName"));
    let look = Look { key: key.clone(), workload: release.clone(), release, found };
    if !fetched.is_some_and(|s| delivery::is_ready(s)) && attempt.is_none() {
        let chart = format!("{}-{}", key.ns, key.name);
        let words = format!(
            "HelmChart '{}/{chart}' is not ready: latest generation of object has not been reconciled",
            key.ns
        );
        ready(sim, Kind::HelmRelease, key, "False", "SourceNotReady", &words);
        sim.queue.push(sim.now + 30 * SECOND, task);
        return;
    }
    match attempt {
        Some(attempt) => follow(sim, &look, attempt),
        None if changed => upgrade(sim, &look, 1),
        // What stands here is reconciled at its interval, to no effect.
        None => {
            let revision = format!("{}@{}", look.release.name, chart(&look));
            let words = format!(
                "Helm upgrade succeeded for release {}.v1 with chart {revision}",
                look.release
            );
            if !delivery::is_ready(&look.found)
                && look.found.at("status/history").is_some()
                && !stalled(&look)
            {
                ready(sim, Kind::HelmRelease, key, "True", "UpgradeSucceeded", &words);
            }
        }
    }
}

fn stalled(look: &Look) -> bool {
    crate::sim::fields::holds(&look.found, "Stalled")
}

fn chart(look: &Look) -> &str {
    look.found.text("spec/chart/spec/version")
}

/// Begins an install or upgrade: the `times`-th attempt at this spec.
fn upgrade(sim: &mut Simulation, look: &Look, times: u32) {
    let first = helm::revisions(sim, &look.release).is_empty();
    let status = if first { "pending-install" } else { "pending-upgrade" };
    let number = helm::begin(sim, &look.release, status);
    let tag = look.found.text("spec/values/image/tag").to_owned();
    if !tag.is_empty() {
        sim.store.update(Kind::Deployment, &look.workload, |d| {
            let before = image_of(d).rsplit_once(':').map_or("", |(_, tag)| tag).to_owned();
            if before != tag {
                d.annotate(BEFORE, &before);
                set_tag(d, &tag);
            }
        });
    }
    write(sim, look, number, status);
    sim.store.update(Kind::HelmRelease, &look.key, |r| {
        r.put(
            "status/lastAttemptedReleaseAction",
            json!(if first { "install" } else { "upgrade" }),
        );
        r.put("status/lastAttemptedRevision", json!(chart(look)));
        drop_condition(r, "Stalled");
        drop_condition(r, "Remediated");
    });
    let words =
        format!("Running 'upgrade' action with timeout of {}", look.found.text("spec/timeout"));
    ready(sim, Kind::HelmRelease, &look.key, "Unknown", "Progressing", &words);
    keep(sim, look, times);
}

fn keep(sim: &mut Simulation, look: &Look, times: u32) {
    let (since, until) = (sim.now, sim.now + POLL);
    let about = (Kind::HelmRelease, look.key.clone());
    sim.outside.attempts.insert(about, Attempt { since, times, until });
    sim.queue.push(until, Task::Reconcile(Kind::HelmRelease, look.key.clone()));
}

/// Writes the newest entry of `status.history`.
fn write(sim: &mut Simulation, look: &Look, number: i64, status: &str) {
    let now = sim.stamp();
    sim.store.update(Kind::HelmRelease, &look.key, |r| {
        let mut history = r.items("status/history").to_vec();
        let entry = json!({
            "name": look.release.name,
            "namespace": look.release.ns,
            "chartName": look.release.name,
            "chartVersion": chart(look),
            "version": number,
            "status": status,
            "lastDeployed": now,
        });
        if history.first().is_some_and(|h| h.int("version") == number) {
            history[0] = entry;
        } else {
            history.insert(0, entry);
            history.truncate(3);
        }
        r.put("status/history", Value::Array(history));
    });
}

/// An action is under way: it is over when the workload is healthy, or when its time is up.
fn follow(sim: &mut Simulation, look: &Look, attempt: Attempt) {
    let task = Task::Reconcile(Kind::HelmRelease, look.key.clone());
    if attempt.until > sim.now {
        sim.queue.push(attempt.until, task);
        return;
    }
    let about = (Kind::HelmRelease, look.key.clone());
    let members = delivery::members(sim, &about, &look.workload.ns);
    let number = helm::revisions(sim, &look.release).last().map_or(1, |(n, _)| *n);
    if members.iter().all(|m| delivery::health(m) <= Health::Suspended) {
        succeed(sim, look, number);
        return;
    }
    let timeout = span(look.found.text("spec/timeout")).max(MINUTE);
    if sim.now - attempt.since < timeout {
        let until = sim.now + POLL;
        sim.outside.attempts.insert(about, Attempt { until, ..attempt });
        sim.queue.push(until, task);
        return;
    }
    fail(sim, look, number, attempt.times);
}

fn succeed(sim: &mut Simulation, look: &Look, number: i64) {
    let about = (Kind::HelmRelease, look.key.clone());
    sim.outside.attempts.remove(&about);
    helm::conclude(sim, &look.release, "deployed");
    write(sim, look, number, "deployed");
    sim.store.update(Kind::HelmRelease, &look.key, |r| {
        delivery::observe(r);
        for field in ["failures", "upgradeFailures", "installFailures"] {
            r.drop_field(&format!("status/{field}"));
        }
    });
    let (name, version) = (&look.release, chart(look));
    let chart = format!("{}@{version}", look.release.name);
    let words = format!("Helm upgrade succeeded for release {name}.v{number} with chart {chart}");
    let now = sim.stamp();
    sim.store.update(Kind::HelmRelease, &look.key, |r| {
        let (kind, status, reason) = ("Released", "True", "UpgradeSucceeded");
        set_condition(r, Condition { kind, status, reason, message: &words }, &now, &[]);
    });
    ready(sim, Kind::HelmRelease, &look.key, "True", "UpgradeSucceeded", &words);
    sim.normal(&look.found, Actor::controller("helm-controller"), "UpgradeSucceeded", words);
}

/// The attempt failed: roll back, and try again or give up.
fn fail(sim: &mut Simulation, look: &Look, number: i64, times: u32) {
    let chart = format!("{}@{}", look.release.name, chart(look));
    let words = format!(
        "Helm upgrade failed for release {} with chart {chart}: context deadline exceeded",
        look.release
    );
    let by = Actor::controller("helm-controller");
    helm::conclude(sim, &look.release, "failed");
    write(sim, look, number, "failed");
    sim.warning(&look.found, by.clone(), "UpgradeFailed", words.clone());
    sim.store.update(Kind::HelmRelease, &look.key, |r| {
        for field in ["failures", "upgradeFailures"] {
            r.put(&format!("status/{field}"), json!(times));
        }
    });
    ready(sim, Kind::HelmRelease, &look.key, "False", "UpgradeFailed", &words);
    roll_back(sim, look);
    let retries = look.found.int("spec/upgrade/remediation/retries");
    if i64::from(times) <= retries {
        upgrade(sim, look, times + 1);
        return;
    }
    sim.outside.attempts.remove(&(Kind::HelmRelease, look.key.clone()));
    let now = sim.stamp();
    let message = format!("Failed to upgrade after {times} attempt(s)");
    sim.store.update(Kind::HelmRelease, &look.key, |r| {
        let (kind, status, reason) = ("Stalled", "True", "RetriesExceeded");
        set_condition(r, Condition { kind, status, reason, message: &message }, &now, &[]);
        delivery::observe(r);
    });
    let words = format!("Helm rollback to previous release {} succeeded", look.release);
    ready(sim, Kind::HelmRelease, &look.key, "False", "RollbackSucceeded", &words);
    sim.normal(&look.found, by, "RollbackSucceeded", words);
}

fn roll_back(sim: &mut Simulation, look: &Look) {
    let before = sim.store.get(Kind::Deployment, &look.workload);
    let before = before.map_or("", |d| d.annotation(BEFORE)).to_owned();
    if !before.is_empty() {
        sim.store.update(Kind::Deployment, &look.workload, |d| set_tag(d, &before));
    }
    let number = helm::begin(sim, &look.release, "pending-rollback");
    helm::conclude(sim, &look.release, "deployed");
    write(sim, look, number, "deployed");
    let now = sim.stamp();
    sim.store.update(Kind::HelmRelease, &look.key, |r| {
        let (kind, status, reason) = ("Remediated", "True", "RollbackSucceeded");
        let message = "Helm rollback to previous release succeeded";
        set_condition(r, Condition { kind, status, reason, message }, &now, &[]);
    });
}
