//! What does an error of the client amount to, and in which words is it told? Never with the content of an object.

use std::error::Error;

use kube::runtime::watcher;

use crate::model::source::Availability;

/// A failed request or watch.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Failure {
    /// What it amounts to.
    pub(super) availability: Availability,
    /// The HTTP status, where the API server answered.
    pub(super) code: Option<u16>,
    /// Why, in the API server's or the transport's words.
    pub(super) message: String,
}

impl Failure {
    /// Whether the API server will say the same again until somebody changes something.
    pub(super) fn is_standing(&self) -> bool {
        matches!(
            self.availability,
            Availability::Absent | Availability::Forbidden | Availability::Unauthorized
        )
    }
}

impl From<&kube::Error> for Failure {
    fn from(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::of_status(status.code, &status.message),
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => {
                Self::unreachable("the answer is not what the API sends")
            }
            kube::Error::Auth(_) => Self {
                availability: Availability::Unauthorized,
                code: None,
                message: root_cause(error),
            },
            other => Self::unreachable(&root_cause(other)),
        }
    }
}

impl From<&watcher::Error> for Failure {
    fn from(error: &watcher::Error) -> Self {
        match error {
            watcher::Error::InitialListFailed(e)
            | watcher::Error::WatchStartFailed(e)
            | watcher::Error::WatchFailed(e) => Self::from(e),
            watcher::Error::WatchError(status) => Self::of_status(status.code, &status.message),
            watcher::Error::NoResourceVersion => {
                Self::unreachable("the answer has no resourceVersion")
            }
        }
    }
}

impl Failure {
    pub(super) fn of_status(code: u16, message: &str) -> Self {
        let availability = match code {
            401 => Availability::Unauthorized,
            403 => Availability::Forbidden,
            404 => Availability::Absent,
            _ => Availability::Unreachable,
        };
        let message = if message.is_empty() { "no reason given" } else { message };
        Self { availability, code: Some(code), message: format!("{message} ({code})") }
    }

    pub(super) fn unreachable(message: &str) -> Self {
        Self { availability: Availability::Unreachable, code: None, message: message.to_owned() }
    }
}

/// The innermost cause: what the operating system or TLS said, rather than the layers that passed it on.
pub(super) fn root_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
