//! How does the API say no?

use serde_json::{Value, json};

use crate::sim::fields::Fields;
use crate::sim::kind::Served;

/// A refusal, as a `metav1.Status` tells it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Failure {
    pub(super) code: u16,
    reason: &'static str,
    message: String,
    details: Option<Value>,
    /// `metadata.continue`: how to go on all the same.
    token: Option<String>,
    /// The words alone, not a Status.
    pub(super) plain: bool,
    /// `Retry-After`, in seconds.
    pub(super) retry_after: Option<u64>,
}

/// One thing that is wrong with a field.
#[derive(Clone, Debug)]
pub(super) struct Cause {
    pub(super) reason: &'static str,
    pub(super) field: &'static str,
    pub(super) message: String,
}

impl Failure {
    pub(super) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: None,
            token: None,
            plain: false,
            retry_after: None,
        }
    }

    fn with(self, details: Value) -> Self {
        Self { details: Some(details), ..self }
    }

    /// Words without a Status, as from the layers before the API itself.
    pub(super) fn plain(code: u16, message: &str) -> Self {
        Self { plain: true, ..Self::new(code, "", message) }
    }

    /// Come back later.
    pub(super) fn too_many(after: u64) -> Self {
        let text = "Too many requests, please try again later.\n";
        Self { retry_after: Some(after), ..Self::plain(429, text) }
    }

    /// Who asks is not known, as with a token that has expired: authentication comes before anything else.
    pub(super) fn unauthenticated() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// What stands behind the server is not there: `apierrors.NewServiceUnavailable`.
    pub(super) fn unavailable() -> Self {
        let text = "the server is currently unable to handle the request";
        Self::new(503, "ServiceUnavailable", text)
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// No such path in a group that is there.
    pub(super) fn no_path() -> Self {
        let text = "the server could not find the requested resource";
        Self::new(404, "NotFound", text).with(json!({}))
    }

    /// No such path, and no group that would know better.
    pub(super) fn no_page() -> Self {
        Self::plain(404, "404 page not found\n")
    }

    pub(super) fn not_allowed() -> Self {
        let text = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", text).with(json!({}))
    }

    /// Nothing that the client accepts can be written; `known` when it asked for forms of the API at all.
    pub(super) fn not_acceptable(known: bool) -> Self {
        if known {
            let text = "only the following media types are accepted: application/json";
            return Self::new(406, "NotAcceptable", text);
        }
        let text = "406: Not Acceptable\n\nAvailable representations: application/json";
        Self::new(406, "NotAcceptable", text).with(json!({}))
    }

    pub(super) fn unsupported_media_type(accepted: &str) -> Self {
        let text = format!(
            "the body of the request was in an unknown format - accepted media types include: {accepted}"
        );
        Self::new(415, "UnsupportedMediaType", text)
    }

    /// A body of a kind that nothing in the API takes.
    pub(super) fn odd_media_type() -> Self {
        let text = "415: Unsupported Media Type";
        Self::new(415, "UnsupportedMediaType", text).with(json!({}))
    }

    pub(super) fn not_found(served: &Served, name: &str) -> Self {
        let text = format!("{} {name:?} not found", qualified(served));
        Self::new(404, "NotFound", text).with(about(served, served.plural, name))
    }

    pub(super) fn already_exists(served: &Served, name: &str) -> Self {
        let text = format!("{} {name:?} already exists", qualified(served));
        Self::new(409, "AlreadyExists", text).with(about(served, served.plural, name))
    }

    pub(super) fn modified(served: &Served, name: &str) -> Self {
        let text = format!(
            "Operation cannot be fulfilled on {} {name:?}: the object has been modified; please apply your changes to \
             the latest version and try again",
            qualified(served)
        );
        Self::new(409, "Conflict", text).with(about(served, served.plural, name))
    }

    /// The object is another one than the client thinks.
    pub(super) fn mismatched(served: &Served, name: &str, why: &str) -> Self {
        let text =
            format!("Operation cannot be fulfilled on {} {name:?}: {why}", qualified(served));
        Self::new(409, "Conflict", text).with(about(served, served.plural, name))
    }

    /// What a precondition names is not what is there.
    pub(super) fn unmet(served: &Served, name: &str, why: &str) -> Self {
        let kind = qualified_kind(served);
        let text = format!("Operation cannot be fulfilled on {kind} {name:?}: {why}");
        Self::new(409, "Conflict", text).with(about(served, served.name, name))
    }

    /// Fields of an object are wrong.
    pub(super) fn invalid(served: &Served, name: &str, causes: &[Cause]) -> Self {
        let text =
            format!("{} {name:?} is invalid: {}", qualified_kind(served), in_a_sentence(causes));
        let mut details = about(served, served.name, name);
        details["causes"] = causes.iter().map(Cause::show).collect();
        Self::new(422, "Invalid", text).with(details)
    }

    /// Options of a request are wrong.
    pub(super) fn invalid_options(kind: &str, causes: &[Cause]) -> Self {
        let text = format!("{kind}.meta.k8s.io \"\" is invalid: {}", in_a_sentence(causes));
        let causes: Vec<_> = causes.iter().map(Cause::show).collect();
        let details = json!({"group": "meta.k8s.io", "kind": kind, "causes": causes});
        Self::new(422, "Invalid", text).with(details)
    }

    /// A patch does not fit the object.
    pub(super) fn unfit_patch() -> Self {
        let text = "the server rejected our request due to an error in our request";
        Self::new(422, "Invalid", text).with(json!({}))
    }

    /// The request is understood and refused; `why` follows the colon.
    pub(super) fn forbidden(served: &Served, name: &str, why: &str) -> Self {
        let named = if name.is_empty() { String::new() } else { format!(" {name:?}") };
        let text = format!("{}{named} is forbidden: {why}", qualified(served));
        Self::new(403, "Forbidden", text).with(about(served, served.plural, name))
    }

    /// Nothing is created in a namespace that goes.
    pub(super) fn terminating(served: &Served, name: &str, ns: &str) -> Self {
        let why = format!(
            "unable to create new content in namespace {ns} because it is being terminated"
        );
        let mut failure = Self::forbidden(served, name, &why);
        if let Some(details) = &mut failure.details {
            details["causes"] = json!([{
                "reason": "NamespaceTerminating",
                "message": format!("namespace {ns} is being terminated"),
                "field": "metadata.namespace",
            }]);
        }
        failure
    }

    /// The version is older than what the server remembers of changes.
    pub(super) fn too_old(version: u64, current: u64) -> Self {
        Self::new(410, "Expired", format!("too old resource version: {version} ({current})"))
    }

    /// The version is older than what the server remembers of objects.
    pub(super) fn compacted() -> Self {
        Self::new(410, "Expired", "The resourceVersion for the provided list is too old.")
    }

    /// The list that a token continues is forgotten; the other token continues with a newer one.
    pub(super) fn expired_token(token: String) -> Self {
        let text = "The provided continue parameter is too old to display a consistent list result. You can start a \
                    new list without the continue parameter, or use the continue token in this response to retrieve \
                    the remainder of the results. Continuing with the provided token results in an inconsistent list \
                    - objects that were created, modified, or deleted between the time the first chunk was returned \
                    and now may show up in the list.";
        Self { token: Some(token), ..Self::new(410, "Expired", text) }
    }

    /// A version that is not there yet.
    pub(super) fn ahead(wanted: u64, current: u64) -> Self {
        let text = format!("Timeout: Too large resource version: {wanted}, current: {current}");
        let details = json!({
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        });
        Self { retry_after: Some(1), ..Self::new(504, "Timeout", text).with(details) }
    }

    pub(super) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "code": self.code,
        });
        if !self.reason.is_empty() {
            status.put("reason", json!(self.reason));
        }
        if let Some(details) = &self.details {
            status.put("details", details.clone());
        }
        if let Some(token) = &self.token {
            status.put("metadata/continue", json!(token));
        }
        status
    }

    /// The words alone.
    pub(super) fn message(&self) -> &str {
        &self.message
    }
}

impl Cause {
    pub(super) fn forbidden(field: &'static str, why: &str) -> Self {
        let message = format!("Forbidden: {why}");
        Self { reason: "FieldValueForbidden", field, message }
    }

    pub(super) fn required(field: &'static str, why: &str) -> Self {
        let message = format!("Required value: {why}");
        Self { reason: "FieldValueRequired", field, message }
    }

    pub(super) fn invalid(field: &'static str, value: &str, why: &str) -> Self {
        let message = format!("Invalid value: {value:?}: {why}");
        Self { reason: "FieldValueInvalid", field, message }
    }

    /// `value` is written as it is to be shown.
    pub(super) fn unsupported(field: &'static str, value: &str, supported: &[&str]) -> Self {
        let supported: Vec<_> = supported.iter().map(|s| format!("{s:?}")).collect();
        let supported = supported.join(", ");
        let message = format!("Unsupported value: {value}: supported values: {supported}");
        Self { reason: "FieldValueNotSupported", field, message }
    }

    fn show(&self) -> Value {
        json!({"reason": self.reason, "message": self.message, "field": self.field})
    }
}

/// One cause as it is, more in brackets.
fn in_a_sentence(causes: &[Cause]) -> String {
    let each: Vec<_> = causes.iter().map(|c| format!("{}: {}", c.field, c.message)).collect();
    if each.len() == 1 { each.concat() } else { format!("[{}]", each.join(", ")) }
}

/// `details` of a Status about one object.
fn about(served: &Served, kind: &str, name: &str) -> Value {
    let mut details = json!({"kind": kind});
    if !name.is_empty() {
        details["name"] = json!(name);
    }
    if !served.group.is_empty() {
        details["group"] = json!(served.group);
    }
    details
}

/// `deployments.apps`, or `pods` of the core group.
fn qualified(served: &Served) -> String {
    let dot = if served.group.is_empty() { "" } else { "." };
    format!("{}{dot}{}", served.plural, served.group)
}

/// `Deployment.apps`, or `Pod` of the core group.
fn qualified_kind(served: &Served) -> String {
    let dot = if served.group.is_empty() { "" } else { "." };
    format!("{}{dot}{}", served.name, served.group)
}
