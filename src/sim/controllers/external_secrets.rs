//! Do secrets come from the vault? As external-secrets does it: stores are validated every five minutes
//! (`--store-requeue-interval`), secrets are read at their `refreshInterval`, and failures are tried again.

use serde_json::{Value, json};

use super::{Task, collector, works};
use crate::sim::fields::{Condition, Fields, deleting, holds, owner_reference, set_condition};
use crate::sim::kind::Kind;
use crate::sim::moment::{MINUTE, Moment, SECOND, parse, span};
use crate::sim::recorder::Actor;
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

const HOME: (&str, &str) = ("external-secrets", "external-secrets");
const RECHECK: Moment = 5 * MINUTE;
/// A failed read is tried again after this; the back-off of the work queue is left out.
const RETRY: Moment = MINUTE;
/// What ExternalSecrets carry so that the controller can clean up.
pub(crate) const FINALIZER: &str = "externalsecrets.external-secrets.io/externalsecret-cleanup";
/// The Secret with which a namespace's images are pulled.
pub(crate) const PULL_SECRET: &str = "registry-credentials";
const READ_AT: &str = "example.com/read-at";

/// Looks at a SecretStore: does the vault let it in?
pub(crate) fn store(sim: &mut Simulation, key: &Key) {
    if sim.store.get(Kind::SecretStore, key).is_none_or(|s| deleting(s)) {
        return;
    }
    let task = Task::Reconcile(Kind::SecretStore, key.clone());
    if !works(sim, HOME) {
        sim.queue.push(sim.now + RETRY, task);
        return;
    }
    let failure = sim.outside.closed_stores.get(key).cloned();
    let (status, reason, message) = match &failure {
        None => ("True", "Valid", "store validated"),
        Some(_) => ("False", "InvalidProviderConfig", "unable to validate store"),
    };
    let now = sim.stamp();
    let changed = sim.store.update(Kind::SecretStore, key, |s| {
        set_condition(s, Condition { kind: "Ready", status, reason, message }, &now, &[]);
        s.put("status/capabilities", json!("ReadWrite"));
    });
    if changed && let Some(found) = sim.store.get(Kind::SecretStore, key).cloned() {
        let by = Actor::controller("secret-store");
        match failure {
            Some(words) => sim.warning(&found, by, "InvalidProviderConfig", words),
            None => sim.normal(&found, by, "Valid", message.to_owned()),
        }
    }
    let again = if status == "True" { RECHECK } else { RETRY };
    sim.queue.push(sim.now + again, task);
}

/// Looks at an ExternalSecret: reads it from its store when it is due.
pub(crate) fn secret(sim: &mut Simulation, key: &Key) {
    let Some(found) = sim.store.get(Kind::ExternalSecret, key).cloned() else { return };
    let task = Task::Reconcile(Kind::ExternalSecret, key.clone());
    if !works(sim, HOME) {
        sim.queue.push(sim.now + RETRY, task);
        return;
    }
    if deleting(&found) {
        collector::release(sim, Kind::ExternalSecret, key, FINALIZER);
        return;
    }
    let interval = span(found.text("spec/refreshInterval")).max(MINUTE);
    let read = parse(found.text("status/refreshTime")).filter(|_| holds(&found, "Ready"));
    if let Some(next) = read.map(|at| at + interval).filter(|next| *next > sim.now) {
        sim.queue.push(next, task);
        return;
    }
    let store = Key::new(&key.ns, found.text("spec/secretStoreRef/name"));
    let closed = sim.outside.closed_stores.get(&store).cloned();
    let now = sim.stamp();
    let (status, reason, message) = match &closed {
        None => ("True", "SecretSynced", "secret synced"),
        Some(_) => ("False", "SecretSyncedError", "could not get secret data from provider"),
    };
    sim.store.update(Kind::ExternalSecret, key, |s| {
        set_condition(s, Condition { kind: "Ready", status, reason, message }, &now, &[]);
        if status == "True" {
            s.put("status/refreshTime", json!(now));
            let target = s.text("spec/target/name").to_owned();
            s.put("status/binding", json!({"name": target}));
        }
    });
    let again = if let Some(words) = closed {
        let text = format!("error processing spec.data[0] (key: {}), err: {words}", key.name);
        sim.warning(&found, Actor::controller("external-secrets"), "UpdateFailed", text);
        RETRY
    } else {
        write(sim, key, &found);
        interval
    };
    sim.queue.push(sim.now + again, task);
}

/// Writes the Secret that the vault's values make; what it was read at stands for them.
fn write(sim: &mut Simulation, key: &Key, found: &Value) {
    let target = Key::new(&key.ns, found.text("spec/target/name"));
    let now = sim.now.to_string();
    if sim.store.get(Kind::Secret, &target).is_some() {
        sim.store.update(Kind::Secret, &target, |s| s.annotate(READ_AT, &now));
        return;
    }
    let secret = json!({
        "metadata": {
            "name": target.name,
            "namespace": target.ns,
            "labels": {"reconcile.external-secrets.io/managed": "true"},
            "annotations": {READ_AT: now},
            "ownerReferences": [owner_reference(found)],
        },
        "type": "Opaque",
    });
    sim.create(Kind::Secret, secret);
}

/// Whether the credentials with which a namespace pulls are older than the registry wants them.
pub(crate) fn outdated(sim: &Simulation, ns: &str, registry: &str) -> bool {
    let Some(rotated) = sim.outside.rotated.get(registry) else { return false };
    let source = Key::new(ns, PULL_SECRET);
    let used = sim.store.get(Kind::ExternalSecret, &source).is_some();
    let read = sim.store.get(Kind::Secret, &source);
    let read = read.and_then(|s| s.annotation(READ_AT).parse::<Moment>().ok());
    used && read.is_none_or(|at| at < *rotated)
}

/// When a store's readers have next to be tried, now that it may have changed.
pub(crate) fn recheck(sim: &mut Simulation, store: &Key) {
    sim.queue.push(sim.now + SECOND, Task::Reconcile(Kind::SecretStore, store.clone()));
    let all = sim.store.list(Kind::ExternalSecret, Some(&store.ns));
    let keys: Vec<_> = all.map(|(key, _)| key.clone()).collect();
    for key in keys {
        sim.queue.push(sim.now + SECOND, Task::Reconcile(Kind::ExternalSecret, key));
    }
}
