//! What does the API server's audit log tell? What was refused, by what, to which class of client. Names of users, of
//! objects and what was asked stay out.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::record::{AuditEvent, Meta, Object, Refusal, Time, Uid};
use crate::model::text::Text;

/// Events of one call that are read; API servers send 400 at once by default.
const EVENTS: usize = 10_000;

/// Why a body can't be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: expected {expected}")]
pub struct AuditError {
    path: String,
    expected: &'static str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    kind: String,
    api_version: String,
    /// Left as they came: with the bodies of requests an event may be large, and little of it is of use.
    #[serde(default)]
    items: Vec<Box<RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Event {
    #[serde(rename = "auditID")]
    audit_id: String,
    stage: String,
    verb: String,
    user: User,
    user_agent: String,
    object_ref: Option<ObjectRef>,
    response_status: Option<ResponseStatus>,
    stage_timestamp: Option<Time>,
    annotations: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct User {
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ObjectRef {
    resource: String,
    namespace: String,
    api_group: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResponseStatus {
    code: u16,
    message: String,
}

/// Reads an `audit.k8s.io/v1` `EventList`: the events that tell of a refusal, of a webhook that failed open, or of an
/// API that goes. One that can't be read is left out; the second number says how many.
pub fn read_audit(body: &[u8], now: Time) -> Result<(Vec<Object>, usize), AuditError> {
    let odd = |path: String, expected| Err(AuditError { path, expected });
    let mut reader = serde_json::Deserializer::from_slice(body);
    let list: List = match serde_path_to_error::deserialize(&mut reader) {
        Ok(list) => list,
        Err(error) => return odd(error.path().to_string(), "an audit.k8s.io/v1 EventList"),
    };
    if list.kind != "EventList" || list.api_version != "audit.k8s.io/v1" {
        return odd("kind".to_owned(), "an audit.k8s.io/v1 EventList");
    }
    let mut left_out = list.items.len().saturating_sub(EVENTS);
    let mut told = Vec::new();
    for item in list.items.into_iter().take(EVENTS) {
        match serde_json::from_str::<Event>(item.get()) {
            Ok(event) => told.extend(record(&event, now)),
            Err(_) => left_out += 1,
        }
    }
    Ok((told, left_out))
}

/// The event as a record; `None` for one that has nothing to tell.
fn record(event: &Event, now: Time) -> Option<Object> {
    if !is_outcome(event) {
        return None;
    }
    let refused = refusal(event);
    let failed_open: Box<[Text]> = (event.annotations.iter())
        .filter(|(key, _)| key.starts_with("failed-open."))
        .map(|(_, webhook)| webhook.as_str().into())
        .collect();
    let deprecated = (event.annotations.get("k8s.io/deprecated").filter(|v| *v == "true"))
        .map(|_| event.annotations.get("k8s.io/removed-release").map_or("", String::as_str).into());
    if refused.is_none() && failed_open.is_empty() && deprecated.is_none() {
        return None;
    }
    let (refusal, by) = refused.map_or((None, ""), |(refusal, by)| (Some(refusal), by));
    let object = event.object_ref.as_ref();
    let resource = object.map_or(String::new(), |o| match o.api_group.as_str() {
        "" => o.resource.clone(),
        group => format!("{}.{group}", o.resource),
    });
    Some(Object::Audit(Box::new(AuditEvent {
        meta: Meta {
            name: event.audit_id.as_str().into(),
            uid: Uid::parse(&event.audit_id),
            ..Meta::default()
        },
        at: event.stage_timestamp.unwrap_or(now),
        refusal,
        by: by.into(),
        client: client(&event.user_agent),
        subject: subject(&event.user.username),
        verb: event.verb.as_str().into(),
        resource: resource.as_str().into(),
        namespace: object.map_or("", |o| o.namespace.as_str()).into(),
        failed_open,
        deprecated,
    })))
}

/// Whether its outcome is known, of the stages that a request passes. The API server tells no last stage of a client
/// whom nobody knows.
fn is_outcome(event: &Event) -> bool {
    let unknown = event.user.username.is_empty() && code(event) == 401;
    event.stage == "ResponseComplete" || event.stage == "ResponseStarted" && unknown
}

fn code(event: &Event) -> u16 {
    event.response_status.as_ref().map_or(0, |status| status.code)
}

/// Words of the API server's refusals, what they tell, and the text before the name of what refused.
const WORDS: &[(&str, Refusal, &str)] = &[
    ("\" denied the request", Refusal::Webhook, "admission webhook \""),
    ("' denied request", Refusal::AdmissionPolicy, "AdmissionPolicy '"),
    ("violates PodSecurity \"", Refusal::PodSecurity, "violates PodSecurity \""),
    ("exceeded quota: ", Refusal::Quota, "exceeded quota: "),
    ("failed quota: ", Refusal::Quota, "failed quota: "),
    ("disruption budget", Refusal::DisruptionBudget, "disruption budget "),
];

fn refusal(event: &Event) -> Option<(Refusal, &str)> {
    let decision = event.annotations.get("authorization.k8s.io/decision");
    if decision.is_some_and(|d| d == "forbid") {
        return Some((Refusal::Authorization, ""));
    }
    let status = event.response_status.as_ref()?;
    if status.code == 401 {
        return Some((Refusal::Authentication, ""));
    }
    // A webhook chooses the status with which it denies; 400 is that of one that does not choose.
    if status.code < 400 {
        return None;
    }
    for (words, refusal, before) in WORDS {
        if status.message.contains(words) {
            let (_, rest) = status.message.split_once(before).unwrap_or_default();
            let end = rest.find(['"', '\'', ',', ' ', ':']).unwrap_or(rest.len());
            return Some((*refusal, &rest[..end]));
        }
    }
    // Other refusals of admission are forbidden too. What a broken webhook or a wrong object makes fail is no policy.
    (status.code == 403).then_some((Refusal::Other, ""))
}

/// The class of a client by its user agent.
fn client(agent: &str) -> &'static str {
    let program = agent.split(['/', ' ']).next().unwrap_or_default();
    match program {
        "kubectl" | "k9s" | "helm" | "Lens" | "Mozilla" => "human",
        "kubelet" | "kube-proxy" => "node",
        "kube-controller-manager" | "kube-scheduler" | "kube-apiserver" => "control_plane",
        "" => "unknown",
        _ => "program",
    }
}

/// The kind of a subject by its name.
fn subject(user: &str) -> &'static str {
    match user {
        "system:anonymous" | "" => "anonymous",
        name if name.starts_with("system:serviceaccount:") => "serviceaccount",
        name if name.starts_with("system:node:") => "node",
        name if name.starts_with("system:") => "system",
        _ => "user",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "reads better where it is called")]
    fn read(event: serde_json::Value) -> Option<AuditEvent> {
        let list = json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": [event]});
        let (told, left_out) = read_audit(list.to_string().as_bytes(), Time::UNIX_EPOCH).unwrap();
        assert_eq!(left_out, 0);
        told.into_iter().next().map(|object| match object {
            Object::Audit(event) => *event,
            other => panic!("{other:?}"),
        })
    }

    fn refused(code: u16, message: &str) -> Option<(Refusal, String)> {
        let event = read(json!({
            "auditID": "a", "stage": "ResponseComplete", "verb": "create", "userAgent": "kubectl/v1.37",
            "user": {"username": "jane"}, "objectRef": {"resource": "pods", "namespace": "shop"},
            "responseStatus": {"code": code, "message": message},
        }))?;
        assert_eq!((event.client, event.subject), ("human", "user"));
        Some((event.refusal.unwrap(), event.by.to_string()))
    }

    #[test]
    fn a_refusal_tells_who_refused() {
        let cases = [
            (
                403,
                "admission webhook \"v.example\" denied the request: no",
                Some((Refusal::Webhook, "v.example")),
            ),
            (
                400,
                "admission webhook \"quiet.example\" denied the request without explanation",
                Some((Refusal::Webhook, "quiet.example")),
            ),
            (500, "Internal error occurred: failed calling webhook \"w.example\": x", None),
            (
                422,
                "pods \"a\" is forbidden: ValidatingAdmissionPolicy 'nolatest' with binding 'b' denied request: x",
                Some((Refusal::AdmissionPolicy, "nolatest")),
            ),
            (
                403,
                "pods \"a\" is forbidden: violates PodSecurity \"restricted:latest\": x",
                Some((Refusal::PodSecurity, "restricted")),
            ),
            (
                403,
                "pods \"a\" is forbidden: exceeded quota: rq, requested: pods=1",
                Some((Refusal::Quota, "rq")),
            ),
            (
                403,
                "pods \"a\" is forbidden: failed quota: rq: must specify limits.cpu for: c",
                Some((Refusal::Quota, "rq")),
            ),
            (
                429,
                "Cannot evict pod as it would violate the pod's disruption budget.",
                Some((Refusal::DisruptionBudget, "")),
            ),
            (401, "Unauthorized", Some((Refusal::Authentication, ""))),
            (403, "something else", Some((Refusal::Other, ""))),
            (422, "Deployment is invalid", None),
            (201, "", None),
            (404, "not found", None),
        ];
        for (code, message, expected) in cases {
            let expected = expected.map(|(refusal, by)| (refusal, by.to_owned()));
            assert_eq!(refused(code, message), expected, "{code} {message}");
        }
    }

    #[test]
    fn authorization_failing_open_and_deprecation_come_from_annotations() {
        let event = |annotations| {
            read(json!({"auditID": "a", "stage": "ResponseComplete", "annotations": annotations}))
        };
        let forbid = event(json!({"authorization.k8s.io/decision": "forbid"})).unwrap();
        assert_eq!(forbid.refusal, Some(Refusal::Authorization));
        let open = event(
            json!({"failed-open.validating.webhook.admission.k8s.io/round_0_index_1": "v.example"}),
        );
        assert_eq!(open.unwrap().failed_open[0].as_str(), "v.example");
        let old =
            event(json!({"k8s.io/deprecated": "true", "k8s.io/removed-release": "1.40"})).unwrap();
        assert_eq!(old.deprecated.unwrap().as_str(), "1.40");
        assert!(event(json!({"authorization.k8s.io/decision": "allow"})).is_none());
        let early = json!({"stage": "RequestReceived", "annotations": {"authorization.k8s.io/decision": "forbid"}});
        assert!(read(early).is_none());
    }

    #[test]
    fn a_client_whom_nobody_knows_is_told_once() {
        let event = |stage: &str, user: &str, code: u16| {
            read(json!({"auditID": "a", "stage": stage, "verb": "list", "user": {"username": user},
                "responseStatus": {"code": code, "message": "Authentication failed, attempted: bearer"}}))
        };
        // The API server tells no later stage of it.
        let unknown = event("ResponseStarted", "", 401).unwrap();
        assert_eq!(
            (unknown.refusal, unknown.subject),
            (Some(Refusal::Authentication), "anonymous")
        );
        assert!(event("RequestReceived", "", 401).is_none());
        // Of a watch whose server behind the API server refused, the last stage is told too.
        assert!(event("ResponseStarted", "jane", 401).is_none());
        assert!(event("ResponseComplete", "jane", 401).is_some());
        assert!(event("ResponseStarted", "", 200).is_none());
    }

    #[test]
    fn no_name_and_nothing_of_the_object_is_kept() {
        let body = json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": [{
            "auditID": "a", "stage": "ResponseComplete", "verb": "create",
            "user": {"username": "jane@example.com", "groups": ["group-x"]}, "sourceIPs": ["192.0.2.7"],
            "userAgent": "kubectl/v1.37 (host-x)",
            "objectRef": {"resource": "secrets", "namespace": "shop", "name": "name-x"},
            "requestObject": {"data": {"password": "value-x"}},
            "annotations": {"authorization.k8s.io/decision": "forbid"},
            "responseStatus": {"code": 403, "message": "User \"jane@example.com\" cannot create name-x"}}]});
        let (told, left_out) = read_audit(body.to_string().as_bytes(), Time::UNIX_EPOCH).unwrap();
        assert_eq!((told.len(), left_out), (1, 0));
        let kept = format!("{told:?}");
        for word in ["jane", "group-x", "192.0.2.7", "host-x", "name-x", "value-x"] {
            assert!(!kept.contains(word), "{word} in {kept}");
        }
    }

    #[test]
    fn what_is_beyond_the_limit_is_counted() {
        let items = vec!["{}"; EVENTS + 3].join(",");
        let body = format!(
            "{{\"kind\":\"EventList\",\"apiVersion\":\"audit.k8s.io/v1\",\"items\":[{items}]}}"
        );
        assert_eq!(read_audit(body.as_bytes(), Time::UNIX_EPOCH).unwrap().1, 3);
    }

    #[test]
    fn what_is_no_list_of_events_is_refused_with_its_field() {
        let now = Time::UNIX_EPOCH;
        for body in ["", "[]", "{\"kind\": 3}", "{\"kind\":\"List\",\"apiVersion\":\"v1\"}"] {
            assert!(read_audit(body.as_bytes(), now).is_err(), "{body}");
        }
        let odd = json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": [3, {"stage": []}, {}]});
        assert_eq!(read_audit(odd.to_string().as_bytes(), now).unwrap().1, 2);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(text in "\\PC*") {
            let _ = read_audit(text.as_bytes(), Time::UNIX_EPOCH);
        }
    }
}
