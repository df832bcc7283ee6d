//! How healthy is each layer? 100 points less what its findings take off.

use crate::model::finding::{Finding, Severity};
use crate::model::layer::Layer;
use crate::model::report::{Deduction, LayerReport, Series, SignalReport};

/// What the first finding of a signal takes off, of 100 points.
const fn weight(severity: Severity) -> f64 {
    match severity {
        Severity::Info => 2.0,
        Severity::Warning => 10.0,
        Severity::Critical => 25.0,
    }
}

/// A signal takes off the weight of its worst finding, times 1 + log₁₀ of the number of findings as severe, at most
/// tripled: ten broken claims are worse than one, but not ten times. The layer's health is what is left of 100.
/// A layer none of whose signals can see has no health: blindness is not health.
#[must_use]
pub(super) fn of_layer(
    layer: Layer,
    signals: &[SignalReport],
    findings: &[Finding],
) -> LayerReport {
    let mine = signals.iter().filter(|s| s.signal.layer == layer);
    let absent: Vec<_> = (mine.clone())
        .filter_map(|s| match s.series {
            Series::Absent { reason, .. } => Some((s.signal.name, reason)),
            _ => None,
        })
        .collect();
    let seeing = mine.clone().count() > absent.len();
    let mut deductions: Vec<Deduction> = mine
        .filter_map(|s| {
            let of_signal = findings.iter().filter(|f| f.signal == s.signal.name);
            let worst =
                of_signal.clone().min_by_key(|f| (std::cmp::Reverse(f.severity), f.since))?;
            let as_severe = of_signal.clone().filter(|f| f.severity == worst.severity).count();
            let spread = (1.0 + (as_severe as f64).log10()).min(3.0);
            let points = (weight(worst.severity) * spread * 10.0).round() / 10.0;
            Some(Deduction { points, finding: worst.clone(), findings: of_signal.count() })
        })
        .collect();
    deductions.sort_by(|a, b| b.points.total_cmp(&a.points));
    let lost: f64 = deductions.iter().map(|d| d.points).sum();
    let health = seeing.then(|| (100.0 - lost).max(0.0) / 100.0);
    LayerReport { layer, health, deductions, absent }
}
