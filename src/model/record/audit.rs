//! What is kept of an audit event? What was refused, by what and to which class of client; never a user's name.

use super::meta::{Meta, Time};
use crate::model::text::Text;

/// An event of the API server's audit log (`audit.k8s.io/v1`), counted and then forgotten.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AuditEvent {
    /// The name is `auditID`, the uid follows from it: an event that is sent again is known.
    pub meta: Meta,
    /// `stageTimestamp`.
    pub at: Time,
    /// Who refused: [`Refusal`].
    pub refusal: Option<Refusal>,
    /// The policy, webhook or quota that refused, as far as the text names one.
    pub by: Text,
    /// The class of the client by its user agent: `human`, `program`, `node`, `control_plane`, `unknown`.
    pub client: &'static str,
    /// Kind of the subject: `user`, `serviceaccount`, `node`, `system`, `anonymous`.
    pub subject: &'static str,
    /// `verb`.
    pub verb: Text,
    /// `objectRef.resource`, with its group.
    pub resource: Text,
    /// `objectRef.namespace`.
    pub namespace: Text,
    /// Webhooks that failed open while this request passed.
    pub failed_open: Box<[Text]>,
    /// `annotations["k8s.io/deprecated"]`, with the release that no longer serves it.
    pub deprecated: Option<Text>,
}

/// What refused a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Refusal {
    /// The authorizer, `annotations["authorization.k8s.io/decision"] = forbid`.
    Authorization,
    /// Nobody knew who asked (401).
    Authentication,
    Webhook,
    AdmissionPolicy,
    PodSecurity,
    Quota,
    DisruptionBudget,
    Other,
}

impl Refusal {
    /// The word used in labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Authorization => "rbac",
            Self::Authentication => "authentication",
            Self::Webhook => "webhook",
            Self::AdmissionPolicy => "admission_policy",
            Self::PodSecurity => "pod_security",
            Self::Quota => "quota",
            Self::DisruptionBudget => "disruption_budget",
            Self::Other => "other",
        }
    }
}
