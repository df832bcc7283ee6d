//! What is told to the outside? All of it, once a tick. What is not in here is not exported.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::anomaly::Anomaly;
use super::expectation::Expectation;
use super::finding::Finding;
use super::kind::Kind;
use super::layer::Layer;
use super::reading::{Labels, Reading, SeriesKey};
use super::record::Time;
use super::signal::Signal;
use super::source::{Availability, SourceStatus};
use super::tally::Histogram;

/// Everything that kubestrata says at one tick.
#[derive(Clone, Debug)]
pub struct Report {
    /// The tick's time.
    pub at: Time,
    /// All seven layers.
    pub layers: Vec<LayerReport>,
    /// Every enabled signal, in the order of the catalogue.
    pub signals: Vec<SignalReport>,
    /// Open findings, worst first, then oldest first.
    pub findings: Vec<Finding>,
    /// Open anomalies, and closed ones for a while, newest first.
    pub anomalies: Vec<Arc<Anomaly>>,
    /// Series that may turn out to be anomalies.
    pub suspected: Suspected,
    /// How many anomalies have opened so far, by the labels of `kubestrata_anomalies_total`.
    pub anomalies_opened: Vec<(AnomalyLabels, u64)>,
    /// Bands of the series that are shown: open anomalies and cluster-wide series.
    pub bands: Vec<(SeriesKey, Expectation)>,
    /// Score in (0, 1] of the series that are judged and not quiet.
    pub scores: Vec<(SeriesKey, f64)>,
    /// In how many seconds a series reaches its limit: at its pace, or at a time that is known.
    pub limits: Vec<(SeriesKey, f64)>,
    /// What opened, changed or closed at this tick.
    pub notices: Vec<Notice>,
    /// Ids of findings that another replica has told and that can't be judged here yet.
    pub undecided: Vec<String>,
    /// How each source is doing, and how many objects of its kind there are.
    pub sources: Vec<(Kind, SourceStatus, usize)>,
    /// About kubestrata itself.
    pub myself: SelfReport,
}

/// Series that were rare and are not confirmed to be so: nobody is told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Suspected {
    /// How many there are.
    pub series: usize,
    /// Some of them, the rarest first.
    pub rarest: Vec<Arc<Anomaly>>,
}

/// The labels of `kubestrata_anomalies_total`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize)]
#[allow(missing_docs)]
pub struct AnomalyLabels {
    pub layer: Layer,
    pub signal: super::text::Text,
    pub severity: super::finding::Severity,
    pub namespace: super::text::Text,
    pub kind: super::text::Text,
    pub name: super::text::Text,
}

/// The health of a layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerReport {
    /// Which layer.
    pub layer: Layer,
    /// 1 is healthy, 0 is not; `None`: the layer can't see, which is not healthy.
    pub health: Option<f64>,
    /// What was taken off, largest first.
    pub deductions: Vec<Deduction>,
    /// Signals that can't see, and why.
    pub absent: Vec<(&'static str, Availability)>,
}

/// What one signal takes off a layer's health, by its worst finding or its worst anomaly. The points of all
/// deductions of a layer sum to what it has lost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Deduction {
    /// Points of 100.
    pub points: f64,
    /// The signal.
    pub signal: &'static str,
    /// The worst finding of the signal, where a finding takes them off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finding: Option<Finding>,
    /// The worst open anomaly of the signal, where an anomaly does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anomaly: Option<Arc<Anomaly>>,
    /// How many findings or anomalies of the signal there are.
    pub count: usize,
}

/// What takes points off.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Because {
    Finding(Finding),
    Anomaly(Arc<Anomaly>),
}

/// What a signal says.
#[derive(Clone, Debug)]
pub struct SignalReport {
    /// The signal.
    pub signal: &'static Signal,
    /// Its series.
    pub series: Series,
}

/// The series of a signal.
#[derive(Clone, Debug)]
pub enum Series {
    /// It can't see: one of the kinds that it needs is not there.
    Absent {
        /// The kind.
        kind: Kind,
        /// Why.
        reason: Availability,
    },
    /// Values, in the order of their labels.
    Values(Vec<Reading>),
    /// Histograms, in the order of their labels.
    Histograms(Vec<(Labels, Histogram)>),
}

/// Something that opened, changed or closed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Notice {
    AnomalyOpened(Arc<Anomaly>),
    AnomalyUpdated(Arc<Anomaly>),
    AnomalyClosed(Arc<Anomaly>),
    FindingOpened(Finding),
    FindingClosed(Finding),
}

/// About kubestrata itself.
#[derive(Clone, Debug, Default)]
pub struct SelfReport {
    /// Series of signals in this report.
    pub series: usize,
    /// Series that have a baseline, and the limit.
    pub baselines: usize,
    /// Those of them whose past is long enough to be judged by.
    pub mature_baselines: usize,
    /// Series that are not judged at this tick, because a voluntary disruption explains what they do.
    pub explained_series: u64,
    /// Series that were left out because a limit was reached.
    pub dropped_series: u64,
    /// Events of the cluster that were dropped because a limit was reached.
    pub dropped_events: u64,
    /// Whether every reachable source has synced.
    pub ready: bool,
    /// Since when the cluster is watched, restarts included.
    pub watching_since: Option<Time>,
    /// How often the judged series surprised at this tick.
    pub rarities: Rarities,
    /// How many times as often as they may series surprised of late that nothing is told of, for each of [`NOMINAL`];
    /// `None` where there were too few tests to say.
    pub calibration: [Option<f64>; NOMINAL.len()],
    /// The p-value at or below which a series is rare enough to be told.
    pub threshold: f64,
}

/// How rare a series may be: the probabilities at which [`Rarities`] counts.
pub const NOMINAL: [f64; 4] = [1e-2, 1e-3, 1e-4, 1e-5];

/// How often the judged series surprised at one tick; where all is as before, `at_most[i] / tests` is at most
/// `NOMINAL[i]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rarities {
    /// Series that were judged and not quiet.
    pub tests: u64,
    /// Series so rare that it comes at most as often as each of [`NOMINAL`].
    pub at_most: [u64; 4],
}
