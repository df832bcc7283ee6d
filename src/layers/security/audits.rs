//! Who asks for what it may not have, and for what soon nobody serves? Only the audit log knows; by class, never by name.

use crate::labels;
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{AuditEvent, Refusal};
use crate::model::signal::{Observation, Profile, Read, Signal, Unit};
use crate::model::tally::Tallies;
use crate::model::world::World;

pub(super) static AUTHORIZATION: Signal = Signal {
    block: "S5.7",
    name: "security_authz_denials_total",
    layer: Layer::Security,
    help: "Requests that authorization refused, by kind of subject, class of client, class of verb and resource. A new \
           series is a new wish; many resources at once are somebody probing. Healthy is low and steady.",
    unit: Unit::Count,
    labels: &["subject", "client", "verb", "resource"],
    reasons: &[],
    bound: "5 subjects × 5 clients × 3 verbs × resources",
    needs: &[Kind::Audit],
    uses: &[Kind::CustomResourceDefinition],
    profile: Profile::Rate,
    read: Read::Counter,
};

pub(super) static DEPRECATED: Signal = Signal {
    block: "S5.20",
    name: "security_deprecated_api_requests_total",
    layer: Layer::Security,
    help: "Requests for versions of an API that a coming release no longer serves, by class of client. Healthy is none.",
    unit: Unit::Count,
    labels: &["resource", "client", "release"],
    reasons: &[],
    bound: "resources × 5 clients × releases",
    needs: &[Kind::Audit],
    uses: &[Kind::CustomResourceDefinition],
    profile: Profile::None,
    read: Read::Counter,
};

/// Kubernetes' own resources that no kind of ours reads, as an audit event has them.
const OTHERS: &[&str] = &[
    "endpoints",
    "limitranges",
    "replicationcontrollers",
    "serviceaccounts",
    "controllerrevisions.apps",
    "clustertrustbundles.certificates.k8s.io",
    "deviceclasses.resource.k8s.io",
    "leasecandidates.coordination.k8s.io",
    "priorityclasses.scheduling.k8s.io",
    "resourceclaims.resource.k8s.io",
    "resourceclaimtemplates.resource.k8s.io",
    "resourceslices.resource.k8s.io",
    "runtimeclasses.node.k8s.io",
    "storageversionmigrations.storagemigration.k8s.io",
    "subjectaccessreviews.authorization.k8s.io",
    "tokenreviews.authentication.k8s.io",
];

/// Counts a refusal of the authorizer, and a request for a deprecated API.
pub(super) fn observe(o: &Observation<'_>, audit: &AuditEvent, tallies: &mut Tallies) {
    let resource = resource(o.world, &audit.resource);
    if audit.refusal == Some(Refusal::Authorization) {
        let client = client(audit.client);
        let labels = labels![subject(audit.subject), client, verb(&audit.verb), resource];
        tallies.add(&AUTHORIZATION, labels, 1);
    }
    // An API that no release takes away is deprecated in name only.
    if let Some(release) = audit.deprecated.as_ref().filter(|r| is_release(r)) {
        let labels = labels![resource, client(audit.client), release];
        tallies.add(&DEPRECATED, labels, 1);
    }
}

/// The resource as it is known: clients may ask for any word, and a label may not be any word.
fn resource<'a>(world: &World, named: &'a str) -> &'a str {
    if named.is_empty() {
        return "non_resource";
    }
    let (plural, group) = named.split_once('.').unwrap_or((named, ""));
    let read =
        Kind::ALL.iter().any(|k| k.is_resource() && k.plural() == plural && k.group() == group);
    let defined = world.resources(Kind::CustomResourceDefinition);
    let defined = defined.is_some_and(|store| store.get("", named).is_some());
    if read || defined || OTHERS.contains(&named) { named } else { "other" }
}

fn verb(verb: &str) -> &'static str {
    match verb {
        "get" | "list" | "watch" => "read",
        "create" | "update" | "patch" | "delete" | "deletecollection" => "write",
        _ => "special",
    }
}

fn subject(kind: &'static str) -> &'static str {
    if kind.is_empty() { "other" } else { kind }
}

fn client(class: &'static str) -> &'static str {
    if class.is_empty() { "other" } else { class }
}

fn is_release(text: &str) -> bool {
    let number = |n: &str| !n.is_empty() && n.len() < 4 && n.bytes().all(|b| b.is_ascii_digit());
    text.split_once('.').is_some_and(|(major, minor)| number(major) && number(minor))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{Counted, objects, resource};
    use crate::layers::security::LAYER;
    use crate::model::record::Object;

    fn counted() -> Counted {
        let name = "widgets.example.com";
        Counted::new(&LAYER, objects![resource(Kind::CustomResourceDefinition, name, json!({}))])
    }

    fn audit(verb: &str, resource: &str, change: impl FnOnce(&mut AuditEvent)) -> Object {
        let mut audit = AuditEvent {
            subject: "serviceaccount",
            client: "human",
            verb: verb.into(),
            resource: resource.into(),
            ..AuditEvent::default()
        };
        change(&mut audit);
        Object::Audit(Box::new(audit))
    }

    #[test]
    fn denials_count_by_class_and_no_client_makes_up_a_resource() {
        let cases = [
            ("list", "secrets", "serviceaccount human read secrets"),
            ("create", "deployments.apps", "serviceaccount human write deployments.apps"),
            ("impersonate", "serviceaccounts", "serviceaccount human special serviceaccounts"),
            ("get", "widgets.example.com", "serviceaccount human read widgets.example.com"),
            ("get", "gadgets.example.com", "serviceaccount human read other"),
            ("get", "", "serviceaccount human read non_resource"),
        ];
        for (verb, resource, expected) in cases {
            let mut counted = counted();
            let refuse = |a: &mut AuditEvent| a.refusal = Some(Refusal::Authorization);
            counted.see(audit(verb, resource, refuse), 0);
            assert_eq!(counted.totals(&AUTHORIZATION), [(expected.to_owned(), 1)]);
        }
        let mut counted = counted();
        counted.see(audit("get", "pods", |a| a.refusal = Some(Refusal::Quota)), 0);
        counted.see(audit("get", "pods", |_| {}), 0);
        assert!(counted.totals(&AUTHORIZATION).is_empty());
    }

    #[test]
    fn only_what_a_release_takes_away_is_told() {
        for (release, expected) in [
            (Some("1.32"), vec![("pods human 1.32".to_owned(), 1)]),
            (Some("true"), vec![]),
            (Some(""), vec![]),
            (None, vec![]),
        ] {
            let mut counted = counted();
            counted.see(audit("get", "pods", |a| a.deprecated = release.map(Into::into)), 0);
            assert_eq!(counted.totals(&DEPRECATED), expected, "{release:?}");
        }
    }
}
