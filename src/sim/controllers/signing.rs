//! Do kubelets get their client certificates? As kube-controller-manager's `csrapproving`, `csrsigning` and
//! `csrcleaner` see to it; a kubelet asks again after about eight tenths of its certificate's year.

use serde_json::json;

use super::Task;
use crate::sim::fields::{Condition, Fields, holds, set_condition};
use crate::sim::kind::Kind;
use crate::sim::moment::{HOUR, Moment, SECOND, parse};
use crate::sim::simulation::Simulation;
use crate::sim::store::Key;

const SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// `csrcleaner`: approved requests go after an hour, pending ones after a day.
const APPROVED_LIVES: Moment = HOUR;
const PENDING_LIVES: Moment = 24 * HOUR;

/// The kubelet of a node asks for a new certificate.
pub(crate) fn ask(sim: &mut Simulation, node: &str) -> Key {
    let suffix = sim.chance.of("csr", &format!("{node}/{}", sim.now)).letters(5);
    let request = json!({
        "metadata": {"name": format!("csr-{suffix}"), "generateName": "csr-"},
        "spec": {
            "signerName": SIGNER,
            "username": format!("system:node:{node}"),
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
        return;
    }
    let now = sim.stamp();
    if holds(&found, "Denied") || (!approved && sim.outside.no_approver) {
        sim.queue.push(born + lives, task);
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

/// Somebody approves again: what waits is looked at.
pub(crate) fn recheck(sim: &mut Simulation) {
    let all = sim.store.list(Kind::CertificateSigningRequest, None);
    let keys: Vec<_> = all.map(|(key, _)| key.clone()).collect();
    for key in keys {
        sim.queue.push(sim.now + SECOND, Task::Reconcile(Kind::CertificateSigningRequest, key));
    }
}
