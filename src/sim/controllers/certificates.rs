//! Are certificates issued and renewed in time? As cert-manager does it: renewal at two thirds of the life, a request
//! to the issuer, and after a failure a wait of an hour, doubling up to 32 (`trigger` and `issuing` controllers).

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Task, works};
use crate::sim::fields::{
    Condition, Fields, condition, deleting, holds, owner_reference, set_condition,
};
use crate::sim::kind::Kind;
use crate::sim::moment::{DAY, HOUR, MINUTE, Moment, SECOND, parse, span, stamp};
use crate::sim::recorder::Actor;
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

/// Namespace and label `app` of the controller's pods.
const HOME: (&str, &str) = ("cert-manager", "cert-manager");
/// How often a controller that was away finds what waits for it, and an issuer that fails is tried again.
const RETRY: Moment = 15 * SECOND;
/// An issuer that works is checked this often.
const RECHECK: Moment = 5 * MINUTE;
const LONGEST_WAIT: Moment = 32 * HOUR;

/// Looks at an Issuer or ClusterIssuer: does its signer answer?
pub(crate) fn issuer(sim: &mut Simulation, kind: Kind, key: &Key) {
    if sim.store.get(kind, key).is_none_or(|i| deleting(i)) {
        return;
    }
    let task = Task::Reconcile(kind, key.clone());
    if !works(sim, HOME) {
        sim.queue.push(sim.now + RETRY, task);
        return;
    }
    let failure = sim.outside.silent_signers.get(key).cloned();
    let (status, reason, message) = match &failure {
        None => ("True", "KeyPairVerified", "Signing CA verified"),
        Some(words) => ("False", "VaultError", words.as_str()),
    };
    let now = sim.stamp();
    let changed = sim.store.update(kind, key, |issuer| {
        let condition = Condition { kind: "Ready", status, reason, message };
        set_condition(issuer, condition, &now, &[]);
        let generation = issuer.int("metadata/generation");
        issuer.put("status/conditions/0/observedGeneration", json!(generation));
    });
    if changed && let Some(issuer) = sim.store.get(kind, key).cloned() {
        let by = Actor::controller("cert-manager-issuers");
        match failure {
            Some(words) => sim.warning(&issuer, by, "VaultError", words),
            None => sim.normal(&issuer, by, "KeyPairVerified", message.to_owned()),
        }
    }
    let again = if status == "True" { RECHECK } else { RETRY };
    sim.queue.push(sim.now + again, task);
}

/// The issuer that an object names: its kind and key.
fn issuer_of(object: &Value) -> (Kind, Key) {
    let name = object.text("spec/issuerRef/name");
    match object.text("spec/issuerRef/kind") {
        "ClusterIssuer" => (Kind::ClusterIssuer, Key::cluster(name)),
        _ => (Kind::Issuer, Key::new(object.text("metadata/namespace"), name)),
    }
}

/// Looks at a Certificate: asks for it when it is due, and takes what was signed.
pub(crate) fn certificate(sim: &mut Simulation, key: &Key) {
    let Some(found) = sim.store.get(Kind::Certificate, key).cloned() else { return };
    if deleting(&found) {
        return;
    }
    let task = Task::Reconcile(Kind::Certificate, key.clone());
    if !works(sim, HOME) {
        sim.queue.push(sim.now + RETRY, task);
        return;
    }
    expire(sim, key, &found);
    let due = due(&found);
    if due > sim.now {
        // Its end is looked at too, should the renewal fail.
        sim.queue.push(due, task);
        return;
    }
    let request = sim.store.owned(found.text("metadata/uid"), Kind::CertificateRequest).pop();
    let number = found.int("status/revision") + 1;
    let number = number.to_string();
    match request.filter(|r| r.annotation("cert-manager.io/certificate-revision") == number) {
        None => ask(sim, key, &found, &number),
        Some(request) if holds(&request, "Ready") => take(sim, key, &found, &request),
        Some(request) if reason(&request) == "Failed" => fail(sim, key, &request),
        Some(_) => {}
    }
    if let Some(end) = parse(found.text("status/notAfter")).filter(|end| *end > sim.now) {
        sim.queue.push(end + SECOND, task);
    }
}

fn reason(request: &Value) -> &str {
    condition(request, "Ready").map_or("", |c| c.text("reason"))
}

/// When the certificate is to be issued: now for a new one, at its renewal, or after the wait for the last failure.
fn due(found: &Value) -> Moment {
    if let Some(failed) = parse(found.text("status/lastFailureTime")) {
        let times = found.int("status/failedIssuanceAttempts").clamp(1, 10);
        return failed + (HOUR << (times - 1)).min(LONGEST_WAIT);
    }
    parse(found.text("status/renewalTime")).unwrap_or(0)
}

/// Says of a certificate that has run out that it has.
fn expire(sim: &mut Simulation, key: &Key, found: &Value) {
    let Some(end) = parse(found.text("status/notAfter")) else { return };
    if end > sim.now {
        return;
    }
    let message = format!("Certificate expired on {}", found.text("status/notAfter"));
    set(
        sim,
        key,
        Condition { kind: "Ready", status: "False", reason: "Expired", message: &message },
    );
}

fn set(sim: &mut Simulation, key: &Key, condition: Condition<'_>) {
    let now = sim.stamp();
    sim.store.update(Kind::Certificate, key, |c| {
        set_condition(c, condition, &now, &[]);
    });
}

/// Makes the request; an older one goes (`revisionHistoryLimit` is 1).
fn ask(sim: &mut Simulation, key: &Key, found: &Arc<Value>, number: &str) {
    for old in sim.store.owned(found.text("metadata/uid"), Kind::CertificateRequest) {
        sim.delete(Kind::CertificateRequest, &Key::of(&old));
    }
    let message = "Renewing certificate as renewal was scheduled";
    set(sim, key, Condition { kind: "Issuing", status: "True", reason: "Renewing", message });
    if found.at("status/notAfter").is_none() {
        let message = "Issuing certificate as Secret does not exist";
        let (kind, status, reason) = ("Ready", "False", "DoesNotExist");
        set(sim, key, Condition { kind, status, reason, message });
    }
    let request = json!({
        "metadata": {
            "name": format!("{}-{number}", key.name),
            "namespace": key.ns,
            "annotations": {
                "cert-manager.io/certificate-name": key.name,
                "cert-manager.io/certificate-revision": number,
            },
            "ownerReferences": [owner_reference(found)],
        },
        "spec": {
            "issuerRef": found.at("spec/issuerRef").cloned().unwrap_or_default(),
            "duration": found.text("spec/duration"),
            "usages": ["digital signature", "key encipherment"],
        },
        "status": {},
    });
    sim.create(Kind::CertificateRequest, request);
}

/// Looks at a request: it is signed when its issuer is ready, and waits while it is not.
pub(crate) fn request(sim: &mut Simulation, key: &Key) {
    let Some(found) = sim.store.get(Kind::CertificateRequest, key).cloned() else { return };
    let certificate = found.annotation("cert-manager.io/certificate-name").to_owned();
    let certificate = Task::Reconcile(Kind::Certificate, Key::new(&key.ns, certificate));
    if holds(&found, "Ready") || reason(&found) == "Failed" {
        sim.queue.push(sim.now + SECOND, certificate);
        return;
    }
    let task = Task::Reconcile(Kind::CertificateRequest, key.clone());
    if !works(sim, HOME) {
        sim.queue.push(sim.now + RETRY, task);
        return;
    }
    let (kind, issuer) = issuer_of(&found);
    let ready = sim.store.get(kind, &issuer).is_some_and(|i| holds(i, "Ready"));
    let refusal = sim.outside.refusing_signers.get(&issuer).cloned();
    let (status, reason, message) = match refusal {
        _ if !ready => {
            let message = "Referenced issuer does not have a Ready status condition".to_owned();
            ("False", "Pending", message)
        }
        Some(words) => ("False", "Failed", format!("Error signing certificate: {words}")),
        None => ("True", "Issued", "Certificate fetched from issuer successfully".to_owned()),
    };
    let now = sim.stamp();
    sim.store.update(Kind::CertificateRequest, key, |r| {
        let approved = "Certificate request has been approved by cert-manager.io";
        let (kind, status_true) = ("Approved", "True");
        let told =
            Condition { kind, status: status_true, reason: "cert-manager.io", message: approved };
        set_condition(r, told, &now, &[]);
        set_condition(r, Condition { kind: "Ready", status, reason, message: &message }, &now, &[]);
        if status == "True" {
            r.put("status/certificate", json!("LS0tLS1CRUdJTg=="));
        } else if reason == "Failed" {
            r.put("status/failureTime", json!(now));
        }
    });
    if reason == "Pending" {
        sim.queue.push(sim.now + RETRY, task);
    }
}

fn take(sim: &mut Simulation, key: &Key, found: &Value, request: &Value) {
    let asked = span(found.text("spec/duration"));
    let life = if asked > 0 { asked } else { 90 * DAY };
    let (begin, end) = (sim.now, sim.now + life);
    let before = span(found.text("spec/renewBefore"));
    let renewal = if before > 0 { end - before } else { begin + life * 2 / 3 };
    let number: i64 =
        request.annotation("cert-manager.io/certificate-revision").parse().unwrap_or(1);
    let now = sim.stamp();
    sim.store.update(Kind::Certificate, key, |c| {
        c.put("status/notBefore", json!(stamp(begin)));
        c.put("status/notAfter", json!(stamp(end)));
        c.put("status/renewalTime", json!(stamp(renewal)));
        c.put("status/revision", json!(number));
        c.drop_field("status/lastFailureTime");
        c.drop_field("status/failedIssuanceAttempts");
        let all = c.items("status/conditions").iter();
        let left: Vec<_> = all.filter(|c| c.text("type") != "Issuing").cloned().collect();
        c.put("status/conditions", Value::Array(left));
        let message = "Certificate is up to date and has not expired";
        let (kind, status, reason) = ("Ready", "True", "Ready");
        set_condition(c, Condition { kind, status, reason, message }, &now, &[]);
    });
    let text = "The certificate has been successfully issued".to_owned();
    sim.normal(found, Actor::controller("cert-manager-certificates-issuing"), "Issuing", text);
    sim.queue.push(renewal, Task::Reconcile(Kind::Certificate, key.clone()));
}

fn fail(sim: &mut Simulation, key: &Key, request: &Value) {
    let words = condition(request, "Ready").map_or("", |c| c.text("message"));
    let message =
        format!("The certificate request has failed to complete and will be retried: {words}");
    let now = sim.stamp();
    sim.store.update(Kind::Certificate, key, |c| {
        let times = c.int("status/failedIssuanceAttempts") + 1;
        c.put("status/failedIssuanceAttempts", json!(times));
        c.put("status/lastFailureTime", json!(now));
        let (kind, status, reason) = ("Issuing", "False", "Failed");
        set_condition(c, Condition { kind, status, reason, message: &message }, &now, &[]);
    });
    let Some(found) = sim.store.get(Kind::Certificate, key).cloned() else { return };
    let by = Actor::controller("cert-manager-certificates-issuing");
    sim.warning(&found, by, "Failed", message);
    // The request stays for whoever wants to know why; the next attempt makes its own under the same number.
    let next = due(&found);
    sim.queue.push(next, Task::Reconcile(Kind::Certificate, key.clone()));
}

/// Has certificates that wait for their back-off tried at once, as `cmctl renew` does.
pub(crate) fn renew(sim: &mut Simulation, issuer: &Key) {
    let all = sim.store.list(Kind::Certificate, None);
    let failed: Vec<_> = all
        .filter(|(_, c)| issuer_of(c).1 == *issuer && c.at("status/lastFailureTime").is_some())
        .map(|(key, c)| (key.clone(), c.text("metadata/uid").to_owned()))
        .collect();
    for (key, uid) in failed {
        for request in sim.store.owned(&uid, Kind::CertificateRequest) {
            sim.delete(Kind::CertificateRequest, &Key::of(&request));
        }
        sim.store.update(Kind::Certificate, &key, |c| {
            c.drop_field("status/lastFailureTime");
        });
    }
}
