//! What has a Prometheus kept of our own series? One range query for each family that is judged.
//!
//! Of several replicas, and of one after another, the largest value counts. Durations are not asked for: they have a past
//! of their own, from the objects that are there.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::range::{RangeError, Series, ask};
use super::{PrometheusAccess, Server, Steps};
use crate::model::history::{History, OfSeries};
use crate::model::reading::{Label, Labels};
use crate::model::record::Time;
use crate::model::signal::{Family, Signal};

/// So many steps at most: a minute apart where the window is a day.
const STEPS: u32 = 1_440;

/// The least distance of two steps.
const STEP: Duration = Duration::from_mins(1);

/// Asks for what the series of these signals showed in the `window` before `now`. `matchers` say which are ours, as in
/// `job="kubestrata"`.
pub async fn history(
    access: &PrometheusAccess,
    matchers: &str,
    signals: &[&'static Signal],
    window: Duration,
    now: Time,
) -> Result<History, RangeError> {
    let step = Duration::from_secs((window / STEPS).max(STEP).as_secs());
    let begin = now - SignedDuration::try_from(window).unwrap_or(SignedDuration::MAX);
    let Ok(steps) = Steps::between(begin, now, step) else { return Ok(History::default()) };
    let time = |place| Timestamp::from_second(steps.time(place) as i64).ok();
    let mut history =
        History { times: (0..steps.count()).filter_map(time).collect(), series: Vec::new() };
    let server = Server::new(access.clone())?;
    for signal in signals {
        let Some(query) = query(signal, matchers) else { continue };
        let answer = ask(&server, &query, &steps, |_, _| {}).await?;
        let mut of: Vec<_> = answer.series.iter().map(|s| of_series(signal, s, &steps)).collect();
        of.sort_by(|a, b| a.labels.cmp(&b.labels));
        history.series.extend(of);
    }
    Ok(history)
}

/// The query of a signal's values; `None` where they are not judged by a level or a count.
fn query(signal: &Signal, matchers: &str) -> Option<String> {
    let judged = !matches!(signal.profile.family(), None | Some(Family::Duration));
    let (name, labels) = (signal.name, signal.labels.join(", "));
    judged.then(|| format!("max by ({labels}) (kubestrata_{name}{{{matchers}}})"))
}

fn of_series(signal: &'static Signal, series: &Series, steps: &Steps) -> OfSeries {
    let label = |name: &&str| Label::from(series.metric.get(*name).map_or("", String::as_str));
    let labels = Labels::new(signal.labels.iter().map(label));
    let known = series.values.iter().map(|(_, value)| *value);
    let before = steps.count().saturating_sub(series.values.len());
    OfSeries {
        signal,
        labels,
        values: std::iter::repeat_n(f64::NAN, before).chain(known).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers;

    #[test]
    fn replicas_are_one_and_what_is_not_judged_is_not_asked_for() {
        let of = |name: &str| {
            let signal = layers::signals().find(|s| s.name == name).expect("a signal");
            query(signal, "job=\"kubestrata\"")
        };
        assert_eq!(
            of("compute_node_ready_flaps_total").as_deref(),
            Some(
                "max by (node, zone) (kubestrata_compute_node_ready_flaps_total{job=\"kubestrata\"})"
            )
        );
        assert_eq!(
            of("storage_csi_node_coverage_ratio").as_deref(),
            Some(
                "max by (driver, zone) (kubestrata_storage_csi_node_coverage_ratio{job=\"kubestrata\"})"
            )
        );
        assert_eq!(of("storage_attach_seconds"), None, "durations");
        assert_eq!(of("storage_pvc_lost"), None, "it is not judged");
    }
}
