//! What if a signal has more series than it may? The smallest are folded into one that says so.

use crate::model::reading::{Label, Labels, Reading};
use crate::model::report::{Series, SignalReport};
use crate::model::signal::{Read, Signal, Unit};

/// What stands in the labels of the series into which others were folded.
const OTHER: &str = "other";

/// Holds a signal to so many series, and says how many were folded or left out. Counts and totals are summed up; of
/// ratios, ages and sizes, which have no sum, and of histograms, the smallest are left out.
pub(super) fn hold(report: &mut SignalReport, limit: usize) -> u64 {
    match &mut report.series {
        Series::Values(values) if values.len() > limit => fold(report.signal, values, limit),
        Series::Histograms(histograms) if histograms.len() > limit => {
            let excess = histograms.len() - limit;
            histograms.sort_by_key(|(_, h)| std::cmp::Reverse(h.count));
            histograms.truncate(limit);
            histograms.sort_by(|a, b| a.0.cmp(&b.0));
            excess as u64
        }
        _ => 0,
    }
}

fn fold(signal: &Signal, values: &mut Vec<Reading>, limit: usize) -> u64 {
    let sums = signal.unit == Unit::Count
        && !signal.labels.is_empty()
        && matches!(signal.read, Read::Rule(_) | Read::Counter);
    let kept = if sums { limit.saturating_sub(1) } else { limit };
    values.sort_by(|a, b| b.value.total_cmp(&a.value).then_with(|| a.labels.cmp(&b.labels)));
    let folded = values.split_off(kept);
    if sums && limit > 0 {
        let labels = Labels::new(signal.labels.iter().map(|_| Label::from(OTHER)));
        let value = folded.iter().map(|r| r.value).sum();
        values.push(Reading { labels, value, population: None });
    }
    values.sort_by(|a, b| a.labels.cmp(&b.labels));
    folded.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels;
    use crate::model::layer::Layer;
    use crate::model::signal::Profile;

    const fn signal(name: &'static str, unit: Unit) -> Signal {
        Signal {
            block: "S0.0",
            name,
            layer: Layer::Compute,
            help: "A test.",
            unit,
            labels: &["namespace"],
            reasons: &[],
            bound: "namespaces",
            needs: &[],
            uses: &[],
            profile: Profile::None,
            read: Read::Counter,
        }
    }

    static COUNTED: Signal = signal("compute_test_total", Unit::Count);
    static AGE: Signal = signal("compute_test_seconds", Unit::Seconds);

    fn held(signal: &'static Signal, limit: usize) -> (Vec<(String, f64)>, u64) {
        let values = [("a", 5.0), ("b", 1.0), ("c", 9.0), ("d", 2.0)];
        let reading =
            |(name, value): (&str, f64)| Reading { labels: labels![name], value, population: None };
        let series = Series::Values(values.into_iter().map(reading).collect());
        let mut report = SignalReport { signal, series };
        let folded = hold(&mut report, limit);
        let Series::Values(values) = report.series else { unreachable!() };
        let told = values.into_iter().map(|r| (r.labels.iter().collect(), r.value)).collect();
        (told, folded)
    }

    #[test]
    fn the_smallest_are_folded_and_the_sum_stays() {
        let (told, folded) = held(&COUNTED, 3);
        let expected = [("a", 5.0), ("c", 9.0), ("other", 3.0)].map(|(n, v)| (n.to_owned(), v));
        assert_eq!((told.as_slice(), folded), (&expected[..], 2));
        assert_eq!(held(&COUNTED, 4).1, 0);
        assert_eq!(held(&COUNTED, 0), (vec![], 4));
    }

    #[test]
    fn what_has_no_sum_is_left_out() {
        let (told, left_out) = held(&AGE, 2);
        let names: Vec<_> = told.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!((names.as_slice(), left_out), (&["a", "c"][..], 2));
    }
}
