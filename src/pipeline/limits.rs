//! When is a limit reached that is known of, or that a share grows towards?

use crate::baselines::Baselines;
use crate::model::reading::SeriesKey;
use crate::model::report::{Series, SignalReport};
use crate::model::signal::Profile;

/// The series that will reach a limit, and in how many seconds.
pub(super) fn of(signals: &[SignalReport], baselines: &Baselines) -> Vec<(SeriesKey, f64)> {
    let mut limits = Vec::new();
    for SignalReport { signal, series } in signals {
        let key =
            |labels: &_| SeriesKey { signal: signal.name.into(), labels: Clone::clone(labels) };
        match (signal.profile, series) {
            (_, Series::Absent { .. }) => {}
            (Profile::Filling { .. }, _) => {
                limits.extend(baselines.full_in(signal).map(|(labels, left)| (key(labels), left)));
            }
            (Profile::Countdown, Series::Values(readings)) => {
                limits.extend(readings.iter().map(|r| (key(&r.labels), r.value)));
            }
            _ => {}
        }
    }
    limits
}
