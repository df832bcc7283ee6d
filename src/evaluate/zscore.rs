//! What would a plain z-score have told? Three standard deviations from the mean of the last hour, on each series that is
//! judged.

use std::collections::{BTreeMap, VecDeque};

use super::told::{Told, Watcher, What};
use crate::model::reading::SeriesKey;
use crate::model::report::{Report, Series};

const SIGMAS: f64 = 3.0;
/// An hour of ticks.
const WINDOW: usize = 240;
/// Fewer samples than this have no spread to speak of.
const LEAST: usize = 40;
/// So many calm ticks in a row end what was told: five minutes, as long as kubestrata waits by default.
const CALM: u32 = 20;

/// The past of each series.
#[derive(Default)]
pub(super) struct ZScores {
    series: BTreeMap<SeriesKey, Rolling>,
}

/// The last hour of one series.
#[derive(Default)]
struct Rolling {
    /// As differences from the first, of which the sums below keep their precision.
    values: VecDeque<f64>,
    first: f64,
    sum: f64,
    squares: f64,
    /// The total before, for a counter.
    total: Option<f64>,
    /// Ticks until it is calm again; 0 while it is.
    alarmed: u32,
}

impl Rolling {
    /// Takes a value in, and says whether it is out of bounds after calm.
    fn see(&mut self, value: f64) -> bool {
        let count = self.values.len();
        if count == 0 {
            self.first = value;
        }
        let value = value - self.first;
        let mut opens = false;
        if count >= LEAST {
            let n = count as f64;
            let mean = self.sum / n;
            let variance = (self.squares - self.sum * mean).max(0.0) / (n - 1.0);
            if (value - mean).abs() > SIGMAS * variance.sqrt().max(1e-9) {
                opens = self.alarmed == 0;
                self.alarmed = CALM;
            } else {
                self.alarmed = self.alarmed.saturating_sub(1);
            }
        }
        if count == WINDOW
            && let Some(oldest) = self.values.pop_front()
        {
            self.sum -= oldest;
            self.squares -= oldest * oldest;
        }
        self.values.push_back(value);
        self.sum += value;
        self.squares += value * value;
        opens
    }
}

impl Watcher for ZScores {
    fn look(&mut self, report: &Report) -> Vec<Told> {
        let mut told = Vec::new();
        for said in report.signals.iter().filter(|s| s.signal.profile.family().is_some()) {
            let Series::Values(values) = &said.series else { continue };
            for reading in values {
                let signal = said.signal.name.into();
                let key = SeriesKey { signal, labels: reading.labels.clone() };
                let rolling = self.series.entry(key).or_default();
                let value = if said.signal.profile.is_rate() {
                    let before = rolling.total.replace(reading.value);
                    before.map_or(0.0, |before| reading.value - before)
                } else {
                    reading.value
                };
                if rolling.see(value) {
                    let subject = said.signal.subject(&reading.labels);
                    let signal = said.signal.name.into();
                    told.push(Told {
                        at: report.at,
                        signal,
                        subject,
                        what: What::Alert("z-score"),
                        message: String::new(),
                    });
                }
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_is_told_once_and_a_ripple_never() {
        let mut rolling = Rolling::default();
        let ripple = |i: usize| if i.is_multiple_of(2) { 1.0 } else { 2.0 };
        assert!((0..100).all(|i| !rolling.see(ripple(i))));
        let opened: Vec<bool> = (0..5).map(|_| rolling.see(9.0)).collect();
        assert_eq!(opened, [true, false, false, false, false]);
    }

    #[test]
    fn a_flat_series_alarms_at_the_least_change() {
        let mut rolling = Rolling::default();
        assert!((0..100).all(|_| !rolling.see(3.0)));
        assert!(rolling.see(3.01));
    }
}
