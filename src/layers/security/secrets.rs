//! Do secrets come from where they are kept? Workloads go on with the old ones, so nobody notices until a restart.

use std::collections::BTreeMap;

use crate::labels;
use crate::layers::conditions::words;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Condition, Resource, Status, Time};
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::text::Text;
use crate::model::view::View;

use super::duration;

pub(super) static FAILED: Signal = Signal {
    block: "S5.19",
    name: "security_secret_sync_failed",
    layer: Layer::Security,
    help: "Secret stores that are not valid, external secrets that have not synced for 5 minutes or have missed three \
           refreshes, and sealed secrets that cannot be opened; what a broken store holds up counts with the store. \
           Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "store", "reason"],
    reasons: &["store_invalid", "sync_error", "refresh_overdue", "not_unsealed"],
    bound: "namespaces × stores × 4 reasons",
    needs: &[],
    uses: &[Kind::ExternalSecret, Kind::SecretStore, Kind::ClusterSecretStore, Kind::SealedSecret],
    profile: Profile::None,
    read: Read::Rule(failed),
};

const STORES: [Kind; 2] = [Kind::SecretStore, Kind::ClusterSecretStore];

fn is_false<'a>(object: &'a Resource, kind: &str) -> Option<&'a Condition> {
    object.condition(kind).filter(|c| c.status == Status::False && object.observed())
}

/// The store from which an external secret reads, and its kind.
fn store_of(secret: &Resource) -> (Kind, &Text) {
    let store = secret.body.at("spec.secretStoreRef");
    let cluster = *store.text("kind") == "ClusterSecretStore";
    (if cluster { Kind::ClusterSecretStore } else { Kind::SecretStore }, store.text("name"))
}

fn failed(view: &View<'_>, out: &mut Verdicts) {
    let mut readers: BTreeMap<(Kind, Text, Text), u64> = BTreeMap::new();
    for secret in view.resources(Kind::ExternalSecret).filter(|s| s.meta.deleting.is_none()) {
        let (kind, name) = store_of(secret);
        let namespace =
            if kind.namespaced() { secret.meta.namespace.clone() } else { Text::default() };
        let store = view.resource(kind, &namespace, name);
        *readers.entry((kind, namespace, name.clone())).or_default() += 1;
        if store.is_none_or(|s| is_false(s, "Ready").is_none()) {
            external(view, secret, name, out);
        }
    }
    for store in view.resources_of(&STORES).filter(|s| s.meta.deleting.is_none()) {
        let Some(ready) = is_false(store, "Ready") else { continue };
        let meta = &store.meta;
        let key = (store.kind, meta.namespace.clone(), meta.name.clone());
        let held = readers.get(&key).copied().unwrap_or(0);
        let reason = "store_invalid";
        let message =
            format!("it is not valid and holds up external secrets ({held}): {}", words(ready));
        let labels = labels![&meta.namespace, &meta.name, reason];
        let severity = if held > 0 { Severity::Critical } else { Severity::Warning };
        let verdict = Verdict::new(Subject::of(store), labels, reason, message);
        out.push(verdict.severity(severity).since(ready.since).dwell(120));
    }
    for secret in view.resources(Kind::SealedSecret).filter(|s| s.meta.deleting.is_none()) {
        if let Some(synced) = is_false(secret, "Synced") {
            let reason = "not_unsealed";
            let message = format!("its Secret is not made or not up to date: {}", words(synced));
            let labels = labels![&secret.meta.namespace, "", reason];
            let verdict = Verdict::new(Subject::of(secret), labels, reason, message);
            out.push(verdict.since(synced.since).dwell(120));
        }
    }
}

fn external(view: &View<'_>, secret: &Resource, store: &Text, out: &mut Verdicts) {
    let (reason, since, dwell, message) = if let Some(ready) = is_false(secret, "Ready") {
        ("sync_error", ready.since, 300, format!("it does not sync: {}", words(ready)))
    } else if let Some((due, last)) = overdue(view, secret) {
        let message = format!("it was last refreshed at {last} and has missed three refreshes");
        ("refresh_overdue", Some(due), 0, message)
    } else {
        return;
    };
    let labels = labels![&secret.meta.namespace, store, reason];
    let verdict = Verdict::new(Subject::of(secret), labels, reason, message);
    out.push(verdict.since(since).dwell(dwell));
}

/// When the third refresh was missed, and the last that was not.
fn overdue(view: &View<'_>, secret: &Resource) -> Option<(Time, Time)> {
    let body = &secret.body;
    // Policies other than `Periodic` refresh once, or when somebody changes the object.
    if !matches!(body.text("spec.refreshPolicy").as_str(), "" | "Periodic") {
        return None;
    }
    let interval = duration::seconds(body.text("spec.refreshInterval")).filter(|s| *s > 0)?;
    let last = body.time("status.refreshTime")?;
    // The controller spreads its work: a minute is nothing, whatever the interval.
    let due = Time::from_second(last.as_second() + (3 * interval).max(300)).ok()?;
    (view.is_over(due)).then_some((due, last))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{ago, judge, objects, reasons, resource, world};

    fn external(change: &serde_json::Value, ready: &str, refreshed: i64) -> Resource {
        let mut spec = json!({"refreshInterval": "1h0m0s", "secretStoreRef": {"name": "vault", "kind": "SecretStore"}});
        for (key, value) in change.as_object().unwrap() {
            spec[key.as_str()] = value.clone();
        }
        let conditions = json!([{"type": "Ready", "status": ready, "reason": "SecretSyncedError"}]);
        let status = json!({"conditions": conditions, "refreshTime": ago(refreshed).to_string()});
        resource(Kind::ExternalSecret, "db", json!({"spec": spec, "status": status}))
    }

    fn store(kind: Kind, ready: &str) -> Resource {
        let conditions =
            json!([{"type": "Ready", "status": ready, "reason": "InvalidProviderConfig"}]);
        resource(kind, "vault", json!({"status": {"conditions": conditions}}))
    }

    #[test]
    fn an_external_secret_is_judged_by_its_condition_and_its_refreshes() {
        let cases = [
            (external(&json!({}), "True", 3600), vec![]),
            (external(&json!({}), "False", 60), vec!["sync_error"]),
            (external(&json!({}), "True", 4 * 3600), vec!["refresh_overdue"]),
            (external(&json!({"refreshPolicy": "CreatedOnce"}), "True", 90_000), vec![]),
            (external(&json!({"refreshInterval": "0"}), "True", 90_000), vec![]),
            (external(&json!({"refreshInterval": "10s"}), "True", 60), vec![]),
            (external(&json!({"refreshInterval": 3600}), "True", 90_000), vec![]),
        ];
        for (secret, expected) in cases {
            let objects = objects![secret, store(Kind::SecretStore, "True")];
            assert_eq!(reasons(&FAILED, objects), expected);
        }
    }

    #[test]
    fn a_broken_store_speaks_for_what_it_holds_up() {
        let objects =
            objects![store(Kind::SecretStore, "False"), external(&json!({}), "False", 60)];
        let told = judge(&FAILED, &world(&[], objects));
        assert_eq!((told.len(), told[0].reason), (1, "store_invalid"));
        assert!(
            told[0].message.starts_with("it is not valid and holds up external secrets (1)"),
            "{}",
            told[0].message
        );
        let cluster = json!({"secretStoreRef": {"name": "vault", "kind": "ClusterSecretStore"}});
        let objects =
            objects![store(Kind::ClusterSecretStore, "False"), external(&cluster, "False", 60)];
        assert_eq!(reasons(&FAILED, objects), ["store_invalid"]);
        assert!(reasons(&FAILED, objects![store(Kind::SecretStore, "Unknown")]).is_empty());
    }

    #[test]
    fn a_sealed_secret_is_judged_only_for_its_newest_spec() {
        let sealed = |status: &str, observed: u32| {
            let conditions = json!([{"type": "Synced", "status": status, "message": "no key could decrypt secret"}]);
            let status = json!({"conditions": conditions, "observedGeneration": observed});
            let mut sealed = resource(Kind::SealedSecret, "key", json!({"status": status}));
            sealed.meta.generation = 2;
            sealed
        };
        assert_eq!(reasons(&FAILED, objects![sealed("False", 2)]), ["not_unsealed"]);
        assert!(reasons(&FAILED, objects![sealed("False", 1)]).is_empty());
        assert!(reasons(&FAILED, objects![sealed("True", 2)]).is_empty());
    }
}
