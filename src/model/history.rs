//! What did series show before anybody watched? As a Prometheus has kept it, on one grid of times.

use super::reading::Labels;
use super::record::Time;
use super::signal::Signal;

/// What series showed at these times.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// In order.
    pub times: Vec<Time>,
    /// In the order of signals, and of their labels.
    pub series: Vec<OfSeries>,
}

/// What one series showed.
#[derive(Clone, Debug)]
pub struct OfSeries {
    /// Its signal.
    pub signal: &'static Signal,
    /// Its label values.
    pub labels: Labels,
    /// A value for each of the times, NaN where nothing is known. Of a count it is a total that may begin anew.
    pub values: Vec<f64>,
}
