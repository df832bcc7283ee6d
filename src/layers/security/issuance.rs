//! What keeps certificates from being issued? Issuers, requests, orders and challenges of cert-manager, and signing
//! requests of the cluster's own.

use std::collections::BTreeMap;

use crate::labels;
use crate::layers::conditions::words;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Resource, Status, Time};
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::text::Text;
use crate::model::view::View;

pub(super) static ISSUERS: Signal = Signal {
    block: "S5.16",
    name: "security_issuer_not_ready",
    layer: Layer::Security,
    help: "Issuers of cert-manager that have not been ready for two minutes: nothing they sign is renewed. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "issuer", "reason"],
    reasons: &["not_ready"],
    bound: "issuers",
    needs: &[],
    uses: &[Kind::Issuer, Kind::ClusterIssuer],
    profile: Profile::None,
    read: Read::Rule(issuers),
};

pub(super) static STUCK: Signal = Signal {
    block: "S5.16",
    name: "security_issuance_stuck",
    layer: Layer::Security,
    help: "Certificate requests, ACME orders and challenges that failed, were denied or wait for too long (challenges 15 \
           minutes, requests 30); those of certificates that have been issued since do not count. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "issuer", "stage", "reason"],
    reasons: &["pending", "denied", "invalid", "failed", "expired"],
    bound: "issuers × 3 stages × 5 reasons",
    needs: &[],
    uses: &[Kind::CertificateRequest, Kind::AcmeOrder, Kind::AcmeChallenge, Kind::Certificate],
    profile: Profile::None,
    read: Read::Rule(stuck),
};

pub(super) static SIGNING: Signal = Signal {
    block: "S5.18",
    name: "security_csr_unhealthy",
    layer: Layer::Security,
    help: "Certificate signing requests of kubelets that nobody has approved for 5 minutes, and any that were approved but \
           not signed, denied or failed. Serving certificates that nobody ever approves are a choice. Healthy is none.",
    unit: Unit::Count,
    labels: &["signer", "reason"],
    reasons: &["pending", "unsigned", "denied", "failed"],
    bound: "signers × 4 reasons",
    needs: &[Kind::CertificateSigningRequest],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(signing),
};

fn issuers(view: &View<'_>, out: &mut Verdicts) {
    let all = view.resources_of(&[Kind::Issuer, Kind::ClusterIssuer]);
    for issuer in all.filter(|i| i.meta.deleting.is_none() && i.observed()) {
        if let Some(ready) = issuer.condition("Ready").filter(|c| c.status == Status::False) {
            let labels = labels![&issuer.meta.namespace, &issuer.meta.name, "not_ready"];
            let message = format!("it signs nothing: {}", words(ready));
            let verdict = Verdict::new(Subject::of(issuer), labels, "not_ready", message);
            out.push(verdict.since(ready.since).dwell(120));
        }
    }
}

/// The stages of an issuance, with the seconds that each may wait.
const STAGES: [(Kind, &str, i64); 3] = [
    (Kind::CertificateRequest, "request", 1800),
    (Kind::AcmeOrder, "order", 1800),
    (Kind::AcmeChallenge, "challenge", 900),
];

/// What holds a stage up: why, since when, and its own words.
type Holdup = (&'static str, Time, String);

fn holdup(view: &View<'_>, object: &Resource, patience: i64) -> Option<Holdup> {
    let created = object.meta.created;
    let waits = view.age_of(object) > patience;
    if object.kind == Kind::CertificateRequest {
        let told = |kind: &str, status| object.condition(kind).filter(|c| c.status == status);
        let since = |c: &crate::model::record::Condition| c.since.unwrap_or(created);
        let denied = told("Denied", Status::True).map(|c| ("denied", since(c), words(c)));
        let invalid = told("InvalidRequest", Status::True).map(|c| ("invalid", since(c), words(c)));
        let not_ready = || {
            let ready = told("Ready", Status::False)?;
            match ready.reason.as_str() {
                "Failed" => Some(("failed", since(ready), words(ready))),
                "Denied" => Some(("denied", since(ready), words(ready))),
                _ => waits.then(|| ("pending", created, words(ready))),
            }
        };
        return denied.or(invalid).or_else(not_ready);
    }
    let words = object.body.text("status.reason").lines().next().unwrap_or_default().to_owned();
    match object.body.text("status.state").as_str() {
        "invalid" => Some(("invalid", created, words)),
        "errored" => Some(("failed", created, words)),
        "expired" => Some(("expired", created, words)),
        "" | "pending" | "processing" if waits => Some(("pending", created, words)),
        _ => None,
    }
}

/// The Certificate for which an object was made, up the chain of owners: its name, and the object where it can be seen.
fn certificate<'a>(view: &View<'a>, object: &Resource) -> (Text, Option<&'a Resource>) {
    let namespace = &object.meta.namespace;
    let mut owner = object.meta.owner.as_deref();
    // Challenge, order, request, certificate.
    for _ in 0..3 {
        let Some(above) = owner else { break };
        let kind = match above.kind.as_str() {
            "Certificate" => {
                let found = view.resource(Kind::Certificate, namespace, &above.name);
                return (above.name.clone(), found);
            }
            "CertificateRequest" => Kind::CertificateRequest,
            "Order" => Kind::AcmeOrder,
            _ => break,
        };
        owner = view.resource(kind, namespace, &above.name).and_then(|r| r.meta.owner.as_deref());
    }
    (object.meta.name.clone(), None)
}

/// Whether a failure is over: its certificate has been issued since, or, where nobody says for what it was, an hour has
/// passed.
fn is_over(view: &View<'_>, certificate: Option<&Resource>, since: Time) -> bool {
    match certificate {
        Some(certificate) => {
            let ready = certificate.condition("Ready").is_some_and(|c| c.status == Status::True);
            // cert-manager takes the time of the failure away with the next success.
            ready && !certificate.body.has("status.lastFailureTime")
        }
        None => view.is_older(since, 3600),
    }
}

fn stuck(view: &View<'_>, out: &mut Verdicts) {
    // Requests that failed stay: the newest of a certificate speaks for it.
    let mut newest: BTreeMap<(&Text, Text, &str, &str), (&Resource, Holdup)> = BTreeMap::new();
    for (kind, stage, patience) in STAGES {
        for object in view.resources(kind).filter(|o| o.meta.deleting.is_none()) {
            let Some(holdup) = holdup(view, object, patience) else { continue };
            let (name, certificate) = certificate(view, object);
            if holdup.0 != "pending" && is_over(view, certificate, holdup.1) {
                continue;
            }
            let key = (&object.meta.namespace, name, stage, holdup.0);
            let newer = newest.get(&key).is_none_or(|(held, _)| {
                (held.meta.created, &held.meta.name) < (object.meta.created, &object.meta.name)
            });
            if newer {
                newest.insert(key, (object, holdup));
            }
        }
    }
    for ((namespace, name, stage, _), (object, (reason, since, words))) in newest {
        let issuer = object.body.text("spec.issuerRef.name");
        let why = if words.is_empty() { String::new() } else { format!(": {words}") };
        let of = if name == object.meta.name { String::new() } else { format!(" of {name}") };
        let message = format!("the {stage}{of} is {reason}{why}");
        let labels = labels![namespace, issuer, stage, reason];
        let verdict = Verdict::new(Subject::of(object), labels, reason, message);
        out.push(verdict.since(since).dwell(60));
    }
}

const CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const SERVING: &str = "kubernetes.io/kubelet-serving";

fn signing(view: &View<'_>, out: &mut Verdicts) {
    let is = |r: &Resource, kind: &str| r.condition(kind).is_some_and(|c| c.status == Status::True);
    let requests = || view.resources(Kind::CertificateSigningRequest);
    // Without an approver nobody ever approves serving certificates, and kubelets go on with their own.
    let serving_is_approved =
        requests().any(|r| is(r, "Approved") && *r.body.text("spec.signerName") == SERVING);
    for request in requests() {
        let signer = request.body.text("spec.signerName");
        let expects = *signer == CLIENT || *signer == SERVING && serving_is_approved;
        let of = |kind: &str| request.condition(kind).filter(|c| c.status == Status::True);
        let (reason, since, dwell, why) = if let Some(c) = of("Failed") {
            ("failed", c.since, 60, words(c))
        } else if let Some(c) = of("Denied") {
            ("denied", c.since, 60, words(c))
        } else if let Some(c) = of("Approved") {
            if request.body.has("status.certificate") {
                continue;
            }
            ("unsigned", c.since, 300, "approved, but nobody signed it".to_owned())
        } else if expects {
            let created = Some(request.meta.created);
            ("pending", created, 300, "nobody has approved or denied it".to_owned())
        } else {
            continue;
        };
        let grave = *signer == CLIENT && reason == "pending";
        let after = if grave { ": its node is lost when its certificate runs out" } else { "" };
        let message = format!("signing request for {signer}: {why}{after}");
        let verdict = Verdict::new(Subject::of(request), labels![signer, reason], reason, message);
        out.push(verdict.severity(Severity::Warning).since(since).dwell(dwell));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{ago, judge, objects, reasons, resource, world};
    use crate::model::record::{Object, Owner};

    fn owned(kind: Kind, name: &str, owner: (&str, &str), manifest: serde_json::Value) -> Resource {
        let mut object = resource(kind, name, manifest);
        let (kind, name) = (owner.0.into(), owner.1.into());
        object.meta.owner = Some(Box::new(Owner { kind, name, ..Owner::default() }));
        object
    }

    fn certificate(ready: &str, failed: bool) -> Resource {
        let mut status = json!({"conditions": [{"type": "Ready", "status": ready}]});
        if failed {
            status["lastFailureTime"] = json!(ago(60).to_string());
        }
        resource(Kind::Certificate, "web", json!({"status": status}))
    }

    #[test]
    fn an_issuer_that_signs_nothing_is_told() {
        for (status, expected) in
            [("False", vec!["not_ready"]), ("True", vec![]), ("Unknown", vec![])]
        {
            for kind in [Kind::Issuer, Kind::ClusterIssuer] {
                let conditions = json!([{"type": "Ready", "status": status, "reason": "ErrRegisterACMEAccount"}]);
                let issuer = resource(kind, "le", json!({"status": {"conditions": conditions}}));
                assert_eq!(reasons(&ISSUERS, objects![issuer]), expected, "{status}");
            }
        }
        assert!(reasons(&ISSUERS, objects![resource(Kind::Issuer, "new", json!({}))]).is_empty());
    }

    fn request(name: &str, kind: &str, status: &str, reason: &str, age: i64) -> Resource {
        let conditions = json!([{"type": kind, "status": status, "reason": reason, "age": age}]);
        let manifest = json!({"metadata": {"age": age}, "spec": {"issuerRef": {"name": "le"}},
            "status": {"conditions": conditions}});
        owned(Kind::CertificateRequest, name, ("Certificate", "web"), manifest)
    }

    #[test]
    fn a_request_is_judged_by_its_conditions_and_its_certificate() {
        let cases = [
            (request("r", "Denied", "True", "Policy", 60), vec!["denied"]),
            (request("r", "InvalidRequest", "True", "x", 60), vec!["invalid"]),
            (request("r", "Ready", "False", "Failed", 60), vec!["failed"]),
            (request("r", "Ready", "False", "Pending", 60), vec![]),
            (request("r", "Ready", "False", "Pending", 2000), vec!["pending"]),
            (request("r", "Ready", "True", "Issued", 2000), vec![]),
        ];
        for (request, expected) in cases {
            let objects = objects![request.clone(), certificate("False", true)];
            assert_eq!(reasons(&STUCK, objects), expected);
        }
        let failed = || request("r", "Ready", "False", "Failed", 60);
        assert!(reasons(&STUCK, objects![failed(), certificate("True", false)]).is_empty(), "over");
        assert_eq!(reasons(&STUCK, objects![failed(), certificate("True", true)]), ["failed"]);
        let orphan = |age| {
            let mut orphan = request("r", "Ready", "False", "Failed", age);
            orphan.meta.owner = None;
            orphan
        };
        assert_eq!(reasons(&STUCK, objects![orphan(60)]), ["failed"]);
        assert!(reasons(&STUCK, objects![orphan(9000)]).is_empty());
    }

    #[test]
    fn only_the_newest_of_a_certificate_speaks() {
        let failed = |name: &str, age| request(name, "Ready", "False", "Failed", age);
        let objects = objects![failed("r-1", 900), failed("r-2", 90), certificate("False", true)];
        let told = judge(&STUCK, &world(&[], objects));
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].subject.to_string(), "CertificateRequest shop/r-2");
        assert_eq!(told[0].message, "the request of web is failed: Failed");
    }

    #[test]
    fn orders_and_challenges_are_judged_by_their_state() {
        let challenge = |state: &str, age: i64| {
            let manifest = json!({"metadata": {"age": age}, "spec": {"issuerRef": {"name": "le"}},
                "status": {"state": state, "reason": "wrong status code '404'"}});
            owned(Kind::AcmeChallenge, "c", ("Order", "o"), manifest)
        };
        let order = |state: &str| {
            let manifest = json!({"status": {"state": state}, "metadata": {"age": 60}});
            owned(Kind::AcmeOrder, "o", ("CertificateRequest", "r"), manifest)
        };
        let with = |object: Resource| -> Vec<Object> {
            objects![
                object,
                request("r", "Ready", "False", "Pending", 60),
                certificate("False", false)
            ]
        };
        let cases = [
            (challenge("pending", 60), vec![]),
            (challenge("pending", 1000), vec!["pending"]),
            (challenge("invalid", 60), vec!["invalid"]),
            (challenge("valid", 9000), vec![]),
            (order("errored"), vec!["failed"]),
            (order("valid"), vec![]),
        ];
        for (object, expected) in cases {
            let state = object.body.text("status.state").clone();
            assert_eq!(reasons(&STUCK, with(object)), expected, "{state}");
        }
        let old = objects![
            challenge("invalid", 60),
            order("pending"),
            request("r", "Ready", "True", "Issued", 60),
            certificate("True", false)
        ];
        assert!(reasons(&STUCK, old).is_empty(), "issued since");
    }

    fn signing_request(name: &str, signer: &str, condition: &str, signed: bool) -> Resource {
        let conditions = match condition {
            "" => json!([]),
            kind => json!([{"type": kind, "status": "True", "reason": "x"}]),
        };
        let mut status = json!({"conditions": conditions});
        if signed {
            status["certificate"] = json!("LS0t");
        }
        let manifest = json!({"spec": {"signerName": signer}, "status": status});
        resource(Kind::CertificateSigningRequest, name, manifest)
    }

    #[test]
    fn a_signing_request_is_judged_by_who_was_to_sign_it() {
        let of = |signer, condition, signed| signing_request("r", signer, condition, signed);
        let cases = [
            (of(CLIENT, "", false), vec!["pending"]),
            (of(CLIENT, "Approved", false), vec!["unsigned"]),
            (of(CLIENT, "Approved", true), vec![]),
            (of(CLIENT, "Denied", false), vec!["denied"]),
            (of("example.com/mine", "Failed", false), vec!["failed"]),
            (of("example.com/mine", "", false), vec![]),
            (of(SERVING, "", false), vec![]),
        ];
        for (request, expected) in cases {
            assert_eq!(reasons(&SIGNING, objects![request]), expected);
        }
        let approved = signing_request("other", SERVING, "Approved", true);
        assert_eq!(reasons(&SIGNING, objects![of(SERVING, "", false), approved]), ["pending"]);
    }
}
