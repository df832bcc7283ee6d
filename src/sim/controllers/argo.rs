//! Is an application what Git says, and healthy? As Argo CD's application controller sees it: a comparison every two
//! to three minutes (`timeout.reconciliation` with its jitter), automated syncs with five retries, self-healing.

use std::sync::Arc;

use serde_json::{Value, json};

use super::delivery::{self, ARGO, Health, Member};
use super::{Task, works};
use crate::sim::fields::{Fields, deleting};
use crate::sim::kind::Kind;
use crate::sim::moment::{MINUTE, Moment, SECOND, parse};
use crate::sim::recorder::Actor;
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

const CONTROLLER: &str = "argocd-application-controller";
const REPO_SERVER: &str = "argocd-repo-server";
/// How often what waits for a controller that is away is looked at.
const AWAY: Moment = 15 * SECOND;
/// A refresh is due this long after the last.
const REFRESH: Moment = 2 * MINUTE;
const JITTER: Moment = MINUTE;
/// Self-healing waits this long after a sync (`--self-heal-timeout-seconds`).
const SELF_HEAL: Moment = 5 * SECOND;
/// `operation.retry` of automated syncs: five times, from 5 s doubling to 3 min.
const RETRIES: i64 = 5;
const FIRST_WAIT: Moment = 5 * SECOND;
const LONGEST_WAIT: Moment = 3 * MINUTE;
/// Entries of `status.history` (`spec.revisionHistoryLimit`).
const HISTORY: usize = 10;

/// An application as it is looked at.
struct Look {
    key: Key,
    app: Arc<Value>,
    members: Vec<Member>,
    head: String,
}

/// Looks at an application.
pub(crate) fn application(sim: &mut Simulation, key: &Key) {
    let Some(app) = sim.store.get(Kind::Application, key).cloned() else { return };
    let task = Task::Reconcile(Kind::Application, key.clone());
    if deleting(&app) || app.annotation("argocd.argoproj.io/skip-reconcile") == "true" {
        return;
    }
    if !works(sim, (ARGO, CONTROLLER)) {
        sim.queue.push(sim.now + AWAY, task);
        return;
    }
    let last = parse(app.text("status/reconciledAt"));
    let due = last.map_or(0, |at| at + REFRESH);
    let url = app.text("spec/source/repoURL").to_owned();
    let about = (Kind::Application, key.clone());
    let failure = comparison_failure(sim, &about, &url);
    let head = sim.outside.repositories.get(&url).map_or("", |r| r.head.as_str()).to_owned();
    let members = delivery::members(sim, &about, app.text("spec/destination/namespace"));
    let look = Look { key: key.clone(), app, members, head };
    let refreshed = due <= sim.now;
    // Between two refreshes Git is not asked again: what is known of it is compared with what lives.
    let known = look.app.text("status/sync/revision").to_owned();
    if refreshed {
        let jitter = sim.chance.of("refresh", &format!("{key}/{}", sim.now)).between(0, JITTER);
        sim.queue.push(sim.now + REFRESH + jitter, task.clone());
    } else {
        sim.queue.push(due, task.clone());
    }
    match failure.filter(|_| refreshed) {
        Some(words) => tell_failure(sim, &look, &words),
        None if !refreshed && known.is_empty() => {}
        None => compare(sim, &look, refreshed),
    }
}

/// Why the application cannot be compared.
fn comparison_failure(sim: &Simulation, about: &(Kind, Key), url: &str) -> Option<String> {
    let before = "Failed to load target state: failed to generate manifest for source 1 of 1: rpc error: code =";
    if !works(sim, (ARGO, REPO_SERVER)) {
        return Some(format!(
            "{before} Unavailable desc = connection error: desc = \"transport: Error while dialing: dial tcp: \
             lookup argocd-repo-server: connect: connection refused\""
        ));
    }
    let repository = sim.outside.repositories.get(url)?;
    if !repository.failure.is_empty() {
        return Some(format!("{before} Unknown desc = {}", repository.failure));
    }
    let words = sim.outside.unbuildable.get(about)?;
    Some(format!("{before} Unknown desc = Manifest generation error (cached): {words}"))
}

fn tell_failure(sim: &mut Simulation, look: &Look, words: &str) {
    let now = sim.stamp();
    sim.store.update(Kind::Application, &look.key, |app| {
        app.put("status/reconciledAt", json!(now));
        app.put("status/sync/status", json!("Unknown"));
        keep_condition(app, "ComparisonError", Some(words), &now);
    });
}

/// Writes or drops a condition of Argo CD's kind: it has no status, to be there is to hold.
fn keep_condition(app: &mut Value, kind: &str, words: Option<&str>, now: &str) {
    let all = app.items("status/conditions");
    let held = all.iter().find(|c| c.text("type") == kind).cloned();
    let mut left: Vec<_> = all.iter().filter(|c| c.text("type") != kind).cloned().collect();
    if let Some(words) = words {
        let since = held.as_ref().map_or(now, |c| c.text("lastTransitionTime"));
        left.push(json!({"type": kind, "message": words, "lastTransitionTime": since}));
    }
    if left.is_empty() {
        app.drop_field("status/conditions");
    } else {
        app.put("status/conditions", Value::Array(left));
    }
}

/// Writes what was compared, and goes on with the sync that is due or under way.
fn compare(sim: &mut Simulation, look: &Look, refreshed: bool) {
    let now = sim.stamp();
    let synced = look.members.iter().all(Member::synced);
    let status = if synced { "Synced" } else { "OutOfSync" };
    let healths = look.members.iter().map(delivery::health);
    let health = healths.max().unwrap_or(Health::Healthy);
    let resources: Vec<_> = look.members.iter().map(resource).collect();
    let before = (look.app.text("status/sync/status"), look.app.text("status/health/status"));
    sim.store.update(Kind::Application, &look.key, |app| {
        if refreshed {
            app.put("status/reconciledAt", json!(now));
            app.put("status/sync/revision", json!(look.head));
            keep_condition(app, "ComparisonError", None, &now);
            app.drop_field("metadata/annotations/argocd.argoproj.io~1refresh");
        }
        app.put("status/sync/status", json!(status));
        if app.text("status/health/status") != health.name() {
            app.put("status/health", json!({"status": health.name(), "lastTransitionTime": now}));
        }
        app.put("status/resources", Value::Array(resources));
    });
    for (what, then, is) in [("sync", before.0, status), ("health", before.1, health.name())] {
        if then != is && !then.is_empty() {
            say(sim, look, "ResourceUpdated", format!("Updated {what} status: {then} -> {is}"));
        }
    }
    match look.app.text("status/operationState/phase") {
        "Running" => carry_on(sim, look),
        phase => begin(sim, look, phase, synced),
    }
}

fn resource(member: &Member) -> Value {
    let served = member.kind.served();
    let mut row = json!({
        "group": served.group,
        "version": served.version,
        "kind": served.name,
        "namespace": member.key.ns,
        "name": member.key.name,
        "status": if member.synced() { "Synced" } else { "OutOfSync" },
        "health": {"status": delivery::health(member).name()},
    });
    if member.surplus() {
        row.put("requiresPruning", json!(true));
    }
    row
}

fn say(sim: &mut Simulation, look: &Look, reason: &str, text: String) {
    sim.normal(&look.app, Actor::controller(CONTROLLER), reason, text);
}

/// Begins an automated sync if one is called for: of a new commit, or of an old one where self-healing is on. A commit
/// that failed is not tried again.
fn begin(sim: &mut Simulation, look: &Look, phase: &str, synced: bool) {
    let policy = look.app.at("spec/syncPolicy/automated");
    let off = policy.is_none_or(|p| p.at("enabled") == Some(&json!(false)));
    let tried = look.app.text("status/operationState/syncResult/revision") == look.head;
    let only_surplus =
        look.members.iter().filter(|m| !m.synced()).all(|m| m.surplus() && !prunes(look));
    if off || (synced && !phase.is_empty()) || (only_surplus && !phase.is_empty()) {
        let now = sim.stamp();
        sim.store.update(Kind::Application, &look.key, |app| {
            keep_condition(app, "SyncError", None, &now);
        });
        return;
    }
    if tried && phase != "Succeeded" {
        let words = format!(
            "Failed last sync attempt to {}: {}",
            look.head,
            look.app.text("status/operationState/message")
        );
        let now = sim.stamp();
        sim.store.update(Kind::Application, &look.key, |app| {
            keep_condition(app, "SyncError", Some(&words), &now);
        });
        return;
    }
    if tried {
        if !policy.is_some_and(|p| p.truth("selfHeal")) {
            return;
        }
        let finished = parse(look.app.text("status/operationState/finishedAt")).unwrap_or(0);
        if finished + SELF_HEAL > sim.now {
            let task = Task::Reconcile(Kind::Application, look.key.clone());
            sim.queue.push(finished + SELF_HEAL, task);
            return;
        }
    }
    let now = sim.stamp();
    let operation = json!({
        "sync": {"revision": look.head, "prune": prunes(look)},
        "initiatedBy": {"automated": true},
        "retry": {"limit": RETRIES},
    });
    let state = json!({
        "phase": "Running",
        "operation": operation,
        "message": "waiting for sync to start",
        "startedAt": now,
    });
    sim.store.update(Kind::Application, &look.key, |app| {
        app.put("status/operationState", state);
        keep_condition(app, "SyncError", None, &now);
    });
    say(sim, look, "OperationStarted", format!("Initiated automated sync to '{}'", look.head));
    let took = sim.chance.of("sync", &format!("{}/{now}", look.key)).log_normal(3 * SECOND, 0.4);
    wait_until(sim, look, sim.now + took);
}

fn wait_until(sim: &mut Simulation, look: &Look, until: Moment) {
    let about = (Kind::Application, look.key.clone());
    let since = sim.now;
    sim.outside.attempts.insert(about, crate::sim::outside::Attempt { since, times: 0, until });
    sim.queue.push(until, Task::Reconcile(Kind::Application, look.key.clone()));
}

fn prunes(look: &Look) -> bool {
    look.app.truth("spec/syncPolicy/automated/prune")
}

/// A sync is under way: it applies what it has to, or is refused and tries again for a while.
fn carry_on(sim: &mut Simulation, look: &Look) {
    let about = (Kind::Application, look.key.clone());
    if let Some(attempt) = sim.outside.attempts.get(&about).filter(|a| a.until > sim.now) {
        let until = attempt.until;
        sim.queue.push(until, Task::Reconcile(Kind::Application, look.key.clone()));
        return;
    }
    match sim.outside.unapplicable.get(&about).cloned() {
        Some(words) => refused(sim, look, &words),
        None => succeed(sim, look),
    }
}

fn refused(sim: &mut Simulation, look: &Look, words: &str) {
    let now = sim.stamp();
    let retried = look.app.int("status/operationState/retryCount");
    let message = format!("one or more objects failed to apply, reason: {words}");
    let first = look.members.iter().find(|m| !m.synced()).or(look.members.first());
    let results: Vec<_> = first.iter().map(|m| outcome(m, "SyncFailed", words)).collect();
    let last = retried >= RETRIES;
    sim.store.update(Kind::Application, &look.key, |app| {
        let message = if last {
            format!("{message} (retried {RETRIES} times).")
        } else {
            format!("{message}. Retrying attempt #{}", retried + 1)
        };
        app.put("status/operationState/message", json!(message));
        let result = json!({"revision": look.head, "resources": results});
        app.put("status/operationState/syncResult", result);
        if last {
            app.put("status/operationState/phase", json!("Failed"));
            app.put("status/operationState/finishedAt", json!(now));
        } else {
            app.put("status/operationState/retryCount", json!(retried + 1));
        }
    });
    if last {
        let text = format!("Sync operation to {} failed: {message}", look.head);
        sim.warning(&look.app, Actor::controller(CONTROLLER), "OperationCompleted", text);
    } else {
        let wait = (FIRST_WAIT << retried).min(LONGEST_WAIT);
        wait_until(sim, look, sim.now + wait);
    }
}

fn outcome(member: &Member, status: &str, message: &str) -> Value {
    let served = member.kind.served();
    json!({
        "group": served.group,
        "version": served.version,
        "kind": served.name,
        "namespace": member.key.ns,
        "name": member.key.name,
        "status": status,
        "message": message,
        "syncPhase": "Sync",
    })
}

fn succeed(sim: &mut Simulation, look: &Look) {
    let mut results = Vec::new();
    for member in look.members.iter().filter(|m| !m.synced()) {
        if member.surplus() && !prunes(look) {
            continue;
        }
        let (status, words) =
            if member.surplus() { ("Pruned", "pruned") } else { ("Synced", "configured") };
        let text = format!("{} {words}", member.key.name);
        results.push(outcome(member, status, &text));
        delivery::apply(sim, member, prunes(look));
    }
    let now = sim.stamp();
    let head = look.head.clone();
    sim.store.update(Kind::Application, &look.key, |app| {
        let started = app.text("status/operationState/startedAt").to_owned();
        let message = "successfully synced (all tasks run)";
        app.put("status/operationState/phase", json!("Succeeded"));
        app.put("status/operationState/message", json!(message));
        app.put("status/operationState/finishedAt", json!(now));
        let result = json!({"revision": head, "resources": results});
        app.put("status/operationState/syncResult", result);
        let mut history = app.items("status/history").to_vec();
        let known = history.last().is_some_and(|h| h.text("revision") == head);
        if !known {
            let id = history.last().map_or(0, |h| h.int("id") + 1);
            history.push(json!({
                "id": id,
                "revision": head,
                "deployStartedAt": started,
                "deployedAt": now,
                "initiatedBy": {"automated": true},
            }));
            let surplus = history.len().saturating_sub(HISTORY);
            history.drain(..surplus);
            app.put("status/history", Value::Array(history));
        }
    });
    let text = format!("Sync operation to {} succeeded", look.head);
    say(sim, look, "OperationCompleted", text);
    sim.queue.push(sim.now + SECOND, Task::Reconcile(Kind::Application, look.key.clone()));
}
