//! What is unusual, and since when?

use serde::{Deserialize, Serialize};

use super::contributors::Contribution;
use super::finding::Severity;
use super::layer::Layer;
use super::reading::Labels;
use super::record::Time;
use super::subject::Subject;
use super::text::Text;

/// Whether an anomaly still holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum State {
    Open,
    Closed,
    /// Rare, and not confirmed: shown only to who asks for it.
    Suspected,
}

/// Where an anomaly stands between its first sight and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Its series was rare, which is not yet confirmed: nobody is told.
    Suspected,
    /// It is confirmed, and was told.
    Open,
    /// It has become worse since it opened: more severe, or twice as far off as was told before.
    Escalated,
    /// Its series has been calm of late, but not for long enough.
    Recovering,
    /// It is over.
    Closed,
}

impl Phase {
    /// All of them, in the order of a life.
    pub const ALL: [Self; 5] =
        [Self::Suspected, Self::Open, Self::Escalated, Self::Recovering, Self::Closed];

    /// The word used in labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Suspected => "suspected",
            Self::Open => "open",
            Self::Escalated => "escalated",
            Self::Recovering => "recovering",
            Self::Closed => "closed",
        }
    }

    /// What the state is in this phase.
    #[must_use]
    pub const fn state(self) -> State {
        match self {
            Self::Suspected => State::Suspected,
            Self::Open | Self::Escalated | Self::Recovering => State::Open,
            Self::Closed => State::Closed,
        }
    }
}

/// A series that left its expected band and stayed out of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Anomaly {
    /// Stable over its life and over restarts.
    pub id: String,
    /// The signal's layer.
    pub layer: Layer,
    /// The signal's name.
    pub signal: Text,
    /// The series' label values, in the order in which the signal declares their names.
    pub labels: Labels,
    /// The object that the series is about.
    pub subject: Subject,
    /// Whether it still holds.
    pub state: State,
    /// Where it stands, finer than its state.
    pub phase: Phase,
    /// Since when it stands there.
    pub phase_since: Time,
    /// The worst that it has been.
    pub severity: Severity,
    /// How many times it has opened: more than once where it came back soon after it had closed; 0 while it is
    /// suspected for the first time.
    pub times: u32,
    /// When the series left its band, the first time.
    pub opened_at: Time,
    /// When it was last out of its band.
    pub updated_at: Time,
    /// When it was back for long enough.
    pub closed_at: Option<Time>,
    /// What was seen, at the most extreme.
    pub observed: f64,
    /// What was expected then.
    pub expected: f64,
    /// Lower end of the normal range.
    pub lower: f64,
    /// Upper end of the normal range.
    pub upper: f64,
    /// How unusual, in [0, 1], comparable across series.
    pub score: f64,
    /// Probability of something at least as extreme, were all as before.
    pub p_value: f64,
    /// The baseline and the rule that flagged it.
    pub detector: Text,
    /// The objects that have contributed most to a count or to durations, largest first; empty where that is not known,
    /// or the series is about one object.
    #[serde(default)]
    pub contributors: Vec<Contribution>,
    /// One sentence: observed, expected, band, since when, how rare, samples behind it, who contributed most.
    pub explanation: String,
}

impl Anomaly {
    /// Goes into a phase, and the state that goes with it. One that it is in already goes on.
    pub fn enter(&mut self, phase: Phase, now: Time) {
        if phase != self.phase {
            (self.state, self.phase, self.phase_since) = (phase.state(), phase, now);
        }
    }
}
