//! What is plainly wrong now? A deterministic bad state that has held for its dwell.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::layer::Layer;
use super::reading::Labels;
use super::record::Time;
use super::subject::Subject;
use super::text::Text;

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Somebody should look today.
    Warning,
    /// Somebody should look now.
    Critical,
}

impl Severity {
    /// The word used in labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// An age as kubectl shows it: `90s`, `5m`, `2h`, `3d`. A negative one (clocks differ) is none.
#[must_use]
pub fn short_age(seconds: i64) -> String {
    match seconds.max(0) {
        s @ 0..120 => format!("{s}s"),
        s @ 120..7_200 => format!("{}m", s / 60),
        s @ 7_200..172_800 => format!("{}h", s / 3_600),
        s => format!("{}d", s / 86_400),
    }
}

/// A bad state as a signal's function sees it, whether or not it has held long enough to be a [`Finding`].
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The object in the bad state.
    pub subject: Subject,
    /// The values of the signal's labels that the object is counted under.
    pub labels: Labels,
    /// Why, from the signal's bounded set of reasons.
    pub reason: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// Since when, where the API says it; `None`: since kubestrata first saw it.
    pub since: Option<Time>,
    /// How long the state must hold before it is a finding.
    pub dwell: SignedDuration,
    /// One sentence with the names and the API's own words.
    pub message: String,
}

impl Verdict {
    /// A warning that must hold for a minute, of unknown start.
    #[must_use]
    pub fn new(subject: Subject, labels: Labels, reason: &'static str, message: String) -> Self {
        Self {
            subject,
            labels,
            reason,
            severity: Severity::Warning,
            since: None,
            dwell: SignedDuration::from_mins(1),
            message,
        }
    }

    /// The same, this severe.
    #[must_use]
    pub fn severity(self, severity: Severity) -> Self {
        Self { severity, ..self }
    }

    /// The same, begun then, where the API says when.
    #[must_use]
    pub fn since(self, since: impl Into<Option<Time>>) -> Self {
        Self { since: since.into(), ..self }
    }

    /// The same, to hold for so many seconds.
    #[must_use]
    pub fn dwell(self, seconds: i64) -> Self {
        Self { dwell: SignedDuration::from_secs(seconds), ..self }
    }
}

/// What a rule's function fills.
#[derive(Debug, Default)]
pub struct Verdicts(pub Vec<Verdict>);

impl Verdicts {
    /// Adds a bad state.
    pub fn push(&mut self, verdict: Verdict) {
        self.0.push(verdict);
    }
}

/// A bad state that has held for its dwell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable while the state lasts, and over restarts: a hash of signal, subject, labels and reason.
    pub id: String,
    /// The layer whose signal found it.
    pub layer: Layer,
    /// The signal's name.
    pub signal: Text,
    /// The object in the bad state.
    pub subject: Subject,
    /// How much it matters.
    pub severity: Severity,
    /// Since when.
    pub since: Time,
    /// Why, from the signal's bounded set of reasons.
    pub reason: Text,
    /// One sentence with the names and the API's own words.
    pub message: String,
    /// The values of the signal's labels that it is counted under.
    #[serde(skip)]
    pub labels: Labels,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        let ages =
            [(5, "5s"), (119, "119s"), (120, "2m"), (7_200, "2h"), (864_000, "10d"), (-3, "0s")];
        for (seconds, expected) in ages {
            assert_eq!(short_age(seconds), expected);
        }
    }
}
