//! Do kubelets get their client certificates? As kube-controller-manager's `csrapproving`, `csrsigning` and
//! `csrcleaner` see to it; a kubelet asks again after about eight tenths of its certificate's year.

use serde_json::{Value, json};

use super::Task;
use crate::sim::fields::{Condition, Fields, holds, set_condition};
use crate::sim::kind::Kind;
use crate::sim::moment::{HOUR, MINUTE, Moment, SECOND, parse};
use crate::sim::outside::Attempt;
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

const SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// `csrcleaner`: approved requests go after an hour, pending ones after a day.
const APPROVED_LIVES: Moment = HOUR;
const PENDING_LIVES: Moment = 24 * HOUR;

/// A kubelet waits so long for what it has asked for, and counts a failure (`certificateWaitTimeout`).
const KUBELET_WAITS: Moment = 15 * MINUTE;
const ASKED_BY: &str = "system:node:";

/// The kubelet of a node asks for a new certificate.
pub(crate) fn ask(sim: &mut Simulation, node: &str) -> Key {
    let suffix = sim.chance.of("csr", &format!("{node}/{}", sim.now)).letters(5);
    let request = json!({
        "metadata": {"name": format!("csr-{suffix}"), "generateName": "csr-"},
        "spec": {
            "signerName": SIGNER,
            "username": format!("{ASKED_BY}{node}"),
            "groups": ["system:nodes", "system:authenticated"],
            "usages": ["digital signature", "client auth"],
        },
        "status": {},
    });
    sim.create(Kind::CertificateSigningRequest, request)
}

/// Looks at a request: approves, signs and forgets it.
pub(crate) fn request(sim: &mut Simulation, key: &Key) {
    let Some(found) = sim.store.get(Kind::CertificateSigningRequest, key).cloned() else { return };
    let task = Task::Reconcile(Kind::CertificateSigningRequest, key.clone());
    let born = parse(found.text("metadata/creationTimestamp")).unwrap_or(sim.now);
    let approved = holds(&found, "Approved");
    let lives = if approved { APPROVED_LIVES } else { PENDING_LIVES };
    if sim.now >= born + lives {
        sim.delete(Kind::CertificateSigningRequest, key);
        sim.outside.attempts.remove(&(Kind::CertificateSigningRequest, key.clone()));
        return;
    }
    let now = sim.stamp();
    if holds(&found, "Denied") {
        give_up(sim, key, &found);
        sim.queue.push(born + lives, task);
    } else if !approved && sim.outside.no_approver {
        let patient = sim.now < born + KUBELET_WAITS;
        if !patient && let Some(node) = give_up(sim, key, &found) {
            ask(sim, &node);
        }
        sim.queue.push(if patient { born + KUBELET_WAITS } else { born + lives }, task);
    } else if !approved {
        let condition = Condition {
            kind: "Approved",
            status: "True",
            reason: "AutoApproved",
            message: "Auto approving self kubelet client certificate after SubjectAccessReview.",
        };
        sim.store.update(Kind::CertificateSigningRequest, key, |r| {
            set_condition(r, condition, &now, &["lastUpdateTime"]);
        });
        sim.queue.push(sim.now + SECOND, task);
    } else {
        sim.store.update(Kind::CertificateSigningRequest, key, |r| {
            r.put("status/certificate", json!("LS0tLS1CRUdJTg=="));
        });
        sim.queue.push(born + lives, task);
    }
}

/// The kubelet that made a request no longer waits for it: the node's name, the first time.
fn give_up(sim: &mut Simulation, key: &Key, request: &Value) -> Option<String> {
    let node = request.text("spec/username").strip_prefix(ASKED_BY)?.to_owned();
    let attempt = Attempt { since: sim.now, times: 1, until: sim.now };
    let about = (Kind::CertificateSigningRequest, key.clone());
    let again = sim.outside.attempts.insert(about, attempt).is_some();
    if again {
        return None;
    }
    sim.kubelets.renewal_failed(&node);
    Some(node)
}

/// Somebody approves again: what waits is looked at.
pub(crate) fn recheck(sim: &mut Simulation) {
    let all = sim.store.list(Kind::CertificateSigningRequest, None);
    let keys: Vec<_> = all.map(|(key, _)| key.clone()).collect();
    for key in keys {
        sim.queue.push(sim.now + SECOND, Task::Reconcile(Kind::CertificateSigningRequest, key));
    }
}
