//! What would have been normal?

use jiff::SignedDuration;
use serde::Serialize;

/// What a baseline expects of a series at one tick, and how surprising the observed value is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Expectation {
    /// What was judged, in `unit`: the value itself, or for counts the increase over `window`.
    pub observed: f64,
    /// The expected value.
    pub expected: f64,
    /// Lower end of the normal range.
    pub lower: f64,
    /// Upper end of the normal range.
    pub upper: f64,
    /// Probability of a value at least as extreme, were all as before; in [0, 1].
    pub p_value: f64,
    /// How often something so rare comes, as far as this cluster has shown; `p_value` until it is known. In (0, 1],
    /// comparable across series.
    pub tail: f64,
    /// How many samples the baseline rests on.
    pub samples: u64,
    /// How far back they reach.
    pub history: SignedDuration,
    /// For counts: over how long the increase was taken.
    pub window: Option<SignedDuration>,
    /// Of what fills up: when nothing is left at its pace of late.
    pub runs_out: Option<SignedDuration>,
    /// Whether the warm-up is over.
    pub mature: bool,
    /// The baseline that expects it, such as `median_mad`.
    pub baseline: &'static str,
}
