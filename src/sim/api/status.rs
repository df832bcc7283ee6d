//! How does the API say no?

use serde_json::{Value, json};

/// A refusal, as a `metav1.Status` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: u16,
    reason: &'static str,
    message: String,
}

impl Failure {
    pub(super) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into() }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// No such path.
    pub(super) fn no_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
    }

    /// The version is older than what the server remembers.
    pub(super) fn too_old(version: u64, current: u64) -> Self {
        Self::new(410, "Expired", format!("too old resource version: {version} ({current})"))
    }

    pub(super) fn status(&self) -> Value {
        json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        })
    }
}
