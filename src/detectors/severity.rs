//! How unusual is it, and how bad? From the size of the effect and the evidence for it.

use crate::model::expectation::Expectation;
use crate::model::finding::Severity;

/// From here on p-values say how sure it is, whatever the threshold.
const EVIDENT: f64 = 1e-8;

/// How unusual, in [0, 1): e / (e + 8) for e = −log₁₀ of how often it comes. One in 10⁸ is a half.
pub(super) fn score(tail: f64) -> f64 {
    let evidence = -tail.max(f64::MIN_POSITIVE).log10();
    (evidence / (evidence + 8.0)).clamp(0.0, 1.0)
}

/// Of what runs out, from the time that is left. Else from the size of the effect (distance in half bands) and the
/// evidence (how far below the threshold), both: a tiny certain change is no alarm, nor is a large one that a few
/// samples suggest.
pub(super) fn severity(expectation: &Expectation, threshold: f64) -> Severity {
    if let Some(left) = expectation.runs_out {
        return match left.as_hours() {
            0 => Severity::Critical,
            1..=11 => Severity::Warning,
            _ => Severity::Info,
        };
    }
    let side = if expectation.observed >= expectation.expected {
        expectation.upper - expectation.expected
    } else {
        expectation.expected - expectation.lower
    };
    let effect = (expectation.observed - expectation.expected).abs() / side.max(1e-9);
    let evidence = threshold.min(EVIDENT) / expectation.p_value.max(f64::MIN_POSITIVE);
    if effect >= 5.0 && evidence >= 1e6 {
        Severity::Critical
    } else if effect >= 2.0 && evidence >= 1e2 {
        Severity::Warning
    } else {
        Severity::Info
    }
}
