//! How healthy is each layer? 100 points less what its findings and anomalies take off, each by name.

use std::sync::Arc;

use crate::model::anomaly::{Anomaly, State};
use crate::model::finding::{Finding, Severity};
use crate::model::layer::Layer;
use crate::model::report::{Because, Deduction, LayerReport, Series, SignalReport};

/// What the first finding of a signal takes off, in tenths of a point. Of 1,000.
const fn weight(severity: Severity) -> u32 {
    match severity {
        Severity::Info => 20,
        Severity::Warning => 100,
        Severity::Critical => 250,
    }
}

/// All that a layer has, in tenths of a point.
const WHOLE: u32 = 1000;

/// A signal takes off the weight of its worst finding, times 1 + log₁₀ of the number of findings as severe, at most
/// tripled: ten broken claims are worse than one, but not ten times. Its worst open anomaly takes off half of that:
/// unusual is not yet broken. The layer's health is what is left of 100 points; where more would be lost than there
/// is, each part is scaled down, so that the parts always sum to the loss.
/// A layer more of whose signals are blind than see has no health: blindness is not health. What is not served, or not
/// opted in to, makes no signal blind.
#[must_use]
pub(super) fn of_layer(
    layer: Layer,
    signals: &[SignalReport],
    findings: &[Finding],
    anomalies: &[Arc<Anomaly>],
) -> LayerReport {
    let mine: Vec<_> = signals.iter().filter(|s| s.signal.layer == layer).collect();
    let absent: Vec<_> = (mine.iter())
        .filter_map(|s| match s.series {
            Series::Absent { reason, .. } => Some((s.signal.name, reason)),
            _ => None,
        })
        .collect();
    let blind = absent.iter().filter(|(_, reason)| reason.is_blindness()).count();
    let sees = mine.len() - absent.len();
    let seeing = sees > 0 && sees >= blind;
    let mut deductions = Vec::new();
    for signal in mine.iter().map(|s| s.signal.name) {
        let of_signal: Vec<_> = findings.iter().filter(|f| f.signal == signal).collect();
        let worst =
            of_signal.iter().min_by_key(|f| (std::cmp::Reverse(f.severity), f.since, &f.id));
        if let Some(worst) = worst {
            let as_severe = of_signal.iter().filter(|f| f.severity == worst.severity).count();
            let tenths = spread(weight(worst.severity), as_severe);
            let because = Because::Finding((*worst).clone());
            deductions.push((tenths, signal, because, of_signal.len()));
        }
        let open: Vec<_> =
            anomalies.iter().filter(|a| a.state == State::Open && a.signal == signal).collect();
        let worst = open.iter().min_by_key(|a| (std::cmp::Reverse(a.severity), a.opened_at, &a.id));
        if let Some(worst) = worst {
            let as_severe = open.iter().filter(|a| a.severity == worst.severity).count();
            let tenths = spread(weight(worst.severity) / 2, as_severe);
            let because = Because::Anomaly(Arc::clone(worst));
            deductions.push((tenths, signal, because, open.len()));
        }
    }
    deductions.sort_by_key(|(tenths, signal, ..)| (std::cmp::Reverse(*tenths), *signal));
    let tenths = fit(deductions.iter().map(|d| d.0).collect());
    let lost: u32 = tenths.iter().sum();
    let deductions = (deductions.into_iter().zip(tenths))
        .map(|((_, signal, because, count), tenths)| {
            let points = f64::from(tenths) / 10.0;
            let (finding, anomaly) = match because {
                Because::Finding(finding) => (Some(finding), None),
                Because::Anomaly(anomaly) => (None, Some(anomaly)),
            };
            Deduction { points, signal, finding, anomaly, count }
        })
        .collect();
    let health = seeing.then(|| f64::from(WHOLE - lost) / f64::from(WHOLE));
    LayerReport { layer, health, deductions, absent }
}

fn spread(tenths: u32, as_severe: usize) -> u32 {
    let factor = (1.0 + (as_severe as f64).log10()).min(3.0);
    (f64::from(tenths) * factor).round() as u32
}

/// Scales the parts, largest first, to at most the whole. What rounding leaves goes to the largest.
fn fit(parts: Vec<u32>) -> Vec<u32> {
    let sum: u32 = parts.iter().sum();
    if sum <= WHOLE {
        return parts;
    }
    let mut scaled: Vec<u32> = parts.iter().map(|part| part * WHOLE / sum).collect();
    let rest = WHOLE - scaled.iter().sum::<u32>();
    if let Some(largest) = scaled.first_mut() {
        *largest += rest;
    }
    scaled
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::layers;
    use crate::model::kind::Kind;
    use crate::model::source::Availability;

    #[test]
    fn who_is_mostly_blind_has_no_health_whoever_is_not_there() {
        let signals: Vec<_> = layers::signals().filter(|s| s.layer == Layer::Compute).collect();
        let health = |blind: usize, reason| {
            let series = |nth: usize| match nth < blind {
                true => Series::Absent { kind: Kind::Pod, reason },
                false => Series::Values(Vec::new()),
            };
            let all = signals.iter().enumerate();
            let all: Vec<_> =
                all.map(|(nth, signal)| SignalReport { signal, series: series(nth) }).collect();
            of_layer(Layer::Compute, &all, &[], &[]).health
        };
        let (all, half) = (signals.len(), signals.len() / 2);
        for (blind, reason, expected) in [
            (0, Availability::Forbidden, Some(1.0)),
            (half, Availability::Forbidden, Some(1.0)),
            (all - 1, Availability::Forbidden, None),
            (all - 1, Availability::Absent, Some(1.0)),
            (all - 1, Availability::Disabled, Some(1.0)),
            (all, Availability::Absent, None),
        ] {
            assert_eq!(health(blind, reason), expected, "{blind} of {all} {reason:?}");
        }
    }

    proptest! {
        #[test]
        fn the_parts_sum_to_the_loss_which_is_never_more_than_all(
            mut parts in proptest::collection::vec(0_u32..800, 0..40)
        ) {
            parts.sort_unstable_by_key(|p| std::cmp::Reverse(*p));
            let sum: u32 = parts.iter().sum();
            let fitted = fit(parts.clone());
            prop_assert_eq!(fitted.iter().sum::<u32>(), sum.min(WHOLE));
            prop_assert_eq!(fitted.len(), parts.len());
        }
    }
}
