//! How good is it over all plays? Recall, precision, false alarms, time to detect and calibration, by who tells.

use std::time::Duration;

use serde::Serialize;

use crate::model::report::{NOMINAL, Rarities};
use crate::sim::{Class, Set};

use super::Played;
use super::score::{FaultMark, Marks, Teller};

/// What the plays of one set come to.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// `tuning` or `held-out`.
    pub set: &'static str,
    /// How many plays there were.
    pub plays: usize,
    /// How many days they cover.
    pub days: f64,
    /// One row for kubestrata and one for each that it is compared with.
    pub tellers: Vec<TellerSummary>,
    /// How often series surprised kubestrata while nothing was wrong, against how often they may.
    pub calibration: Vec<Calibration>,
}

/// How one teller did.
#[derive(Clone, Debug, Serialize)]
pub struct TellerSummary {
    /// Its name.
    pub teller: &'static str,
    /// Faults that were there.
    pub faults: usize,
    /// Faults that were told.
    pub told_faults: usize,
    /// The share of faults that were told; `None` without a fault.
    pub recall: Option<f64>,
    /// The share of faults that were told as soon as their records ask for.
    pub in_time: Option<f64>,
    /// The share of what was told that something accounts for; `None` where nothing was told.
    pub precision: Option<f64>,
    /// How many times it was told for nothing.
    pub false_alarms: usize,
    /// The same, for each day of a cluster.
    pub false_alarms_per_cluster_day: f64,
    /// Findings or alerts for each fault.
    pub findings_per_fault: Option<f64>,
    /// Anomalies for each fault.
    pub anomalies_per_fault: Option<f64>,
    /// How soon, by class of fault.
    pub classes: Vec<ClassSummary>,
    /// Expectations of scenarios.
    pub expected: usize,
    /// Those that were met.
    pub met: usize,
    /// How many times a signal spoke that a scenario wants quiet.
    pub broken_quiet: usize,
}

/// How faults of one class were told.
#[derive(Clone, Debug, Serialize)]
pub struct ClassSummary {
    /// `obvious`, `moderate`, `weak` or `creeping`.
    pub class: &'static str,
    /// How many there were.
    pub faults: usize,
    /// How many were told.
    pub told: usize,
    /// Within which time half of all were told; `None` where half never were.
    pub median_seconds: Option<u64>,
    /// Within which time 95 % of all were told.
    pub p95_seconds: Option<u64>,
}

/// How often p-values were at most `nominal`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Calibration {
    /// How often they may be.
    pub nominal: f64,
    /// How often they were.
    pub observed: f64,
    /// The ratio; at most 1 is as promised.
    pub ratio: f64,
}

/// Sums the plays of one set up; `None` if there is none.
#[must_use]
pub fn summarise(plays: &[Played], set: Set) -> Option<Summary> {
    let plays: Vec<&Played> = plays.iter().filter(|p| p.set == set).collect();
    if plays.is_empty() {
        return None;
    }
    let days = plays.iter().map(|p| p.duration.as_secs_f64() / 86_400.0).sum();
    let of = |nth: usize| plays.iter().map(|p| &p.marks[nth]).collect::<Vec<_>>();
    let tellers =
        Teller::ALL.iter().enumerate().map(|(nth, teller)| row(*teller, &of(nth), days)).collect();
    let mut calm = Rarities::default();
    for play in &plays {
        calm.tests += play.calm.tests;
        calm.at_most.iter_mut().zip(play.calm.at_most).for_each(|(sum, n)| *sum += n);
    }
    Some(Summary {
        set: set.name(),
        plays: plays.len(),
        days,
        tellers,
        calibration: calibration(calm),
    })
}

fn row(teller: Teller, marks: &[&Marks], days: f64) -> TellerSummary {
    let faults: Vec<&FaultMark> = marks.iter().flat_map(|m| &m.faults).collect();
    let told_faults = faults.iter().filter(|f| f.told_after.is_some()).count();
    let told: usize = marks.iter().map(|m| m.told).sum();
    let false_alarms: usize = marks.iter().map(|m| m.false_alarms.len()).sum();
    let expected = || marks.iter().flat_map(|m| &m.expected);
    let classes = [Class::Obvious, Class::Moderate, Class::Weak, Class::Creeping];
    TellerSummary {
        teller: teller.name(),
        faults: faults.len(),
        told_faults,
        recall: share(told_faults, faults.len()),
        in_time: share(faults.iter().filter(|f| f.in_time()).count(), faults.len()),
        precision: share(told - false_alarms, told),
        false_alarms,
        false_alarms_per_cluster_day: false_alarms as f64 / days,
        findings_per_fault: share(faults.iter().map(|f| f.findings).sum(), faults.len()),
        anomalies_per_fault: share(faults.iter().map(|f| f.anomalies).sum(), faults.len()),
        classes: classes.into_iter().filter_map(|class| of_class(class, &faults)).collect(),
        expected: expected().count(),
        met: expected().filter(|(_, met)| *met).count(),
        broken_quiet: marks.iter().map(|m| m.broken_quiet.len()).sum(),
    }
}

fn of_class(class: Class, faults: &[&FaultMark]) -> Option<ClassSummary> {
    let all: Vec<_> = faults.iter().filter(|f| f.episode.fault.kind.class == class).collect();
    let mut took: Vec<Duration> = all.iter().filter_map(|f| f.told_after).collect();
    took.sort_unstable();
    (!all.is_empty()).then(|| ClassSummary {
        class: class.name(),
        faults: all.len(),
        told: took.len(),
        median_seconds: quantile(&took, all.len(), 0.5),
        p95_seconds: quantile(&took, all.len(), 0.95),
    })
}

/// The smallest time within which this share of all was told. Who misses half is not quick at the other half.
fn quantile(sorted: &[Duration], all: usize, share: f64) -> Option<u64> {
    let rank = (all as f64 * share).ceil() as usize;
    sorted.get(rank.max(1) - 1).map(Duration::as_secs)
}

fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn calibration(calm: Rarities) -> Vec<Calibration> {
    if calm.tests == 0 {
        return Vec::new();
    }
    let of = |(nominal, count): (f64, u64)| {
        let observed = count as f64 / calm.tests as f64;
        Calibration { nominal, observed, ratio: observed / nominal }
    };
    NOMINAL.into_iter().zip(calm.at_most).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_times_that_were_seen() {
        let took: Vec<_> = (1..=20).map(Duration::from_secs).collect();
        assert_eq!(quantile(&took, 20, 0.5), Some(10));
        assert_eq!(quantile(&took, 20, 0.95), Some(19));
        assert_eq!(quantile(&took[..1], 1, 0.95), Some(1));
        assert_eq!(quantile(&took, 30, 0.5), Some(15));
        assert_eq!(quantile(&took, 30, 0.95), None, "ten were never told");
        assert_eq!(quantile(&[], 0, 0.5), None);
    }

    #[test]
    fn calibration_is_observed_over_nominal() {
        let calm = Rarities { tests: 10_000, at_most: [200, 5, 0, 0] };
        let ratios: Vec<f64> = calibration(calm).iter().map(|c| c.ratio).collect();
        assert!((ratios[0] - 2.0).abs() < 1e-9 && (ratios[1] - 0.5).abs() < 1e-9, "{ratios:?}");
        assert!(calibration(Rarities::default()).is_empty());
    }
}
