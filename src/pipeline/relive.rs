//! What would the pasts be, had we watched? Lets baselines see a history as they see ticks.
//!
//! Nothing is told of it, so an outage in it is learned like anything else, as far as clipping lets it.

use std::collections::BTreeMap;

use crate::baselines::{Baselines, Circumstances};
use crate::config::Settings;
use crate::model::disruption::Disruptions;
use crate::model::history::{History, OfSeries};
use crate::model::reading::Reading;
use crate::model::report::Series;

/// Gives baselines that know nothing the pasts of a history's series; how many there are.
pub(super) fn relive(baselines: &mut Baselines, history: &History, settings: &Settings) -> usize {
    let Some(begin) = history.times.first() else { return 0 };
    if !baselines.is_empty() {
        return 0;
    }
    let mut signals: BTreeMap<&str, Vec<(&OfSeries, f64)>> = BTreeMap::new();
    for series in &history.series {
        signals.entry(series.signal.name).or_default().push((series, 0.0));
    }
    let disruptions = Disruptions::default();
    for (place, now) in history.times.iter().enumerate() {
        let mut tick = baselines.tick(Circumstances {
            now: *now,
            watching_since: *begin,
            settled: true,
            disruptions: &disruptions,
            settings: &settings.baseline,
            limit: settings.limits.baselines,
        });
        for all in signals.values_mut() {
            let readings = all.iter_mut().filter_map(|of| reading(of, place)).collect();
            if let Some((first, _)) = all.first() {
                tick.judge(first.signal, &Series::Values(readings), |_| false);
            }
        }
    }
    baselines.len()
}

/// What a series showed at this place; of a count what came since the history's begin.
fn reading((series, total): &mut (&OfSeries, f64), place: usize) -> Option<Reading> {
    let at = |place: usize| series.values.get(place).copied().filter(|v| v.is_finite());
    let mut value = at(place)?;
    if series.signal.profile.is_rate() {
        // When what came in a gap did come, nobody knows; and where one replica takes over from another nothing came.
        let before = place.checked_sub(1).and_then(at).unwrap_or(value);
        *total += (value - before).max(0.0);
        value = *total;
    }
    Some(Reading { labels: series.labels.clone(), value, population: None })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::labels;
    use crate::layers;
    use crate::model::record::Time;
    use crate::model::signal::Signal;

    fn signal(name: &str) -> &'static Signal {
        layers::signals().find(|s| s.name == name).expect("a signal")
    }

    fn at(minute: i64) -> Time {
        Time::from_second(1_800_000_000 + minute * 60).expect("a time")
    }

    /// A day of a coverage that is 1, and of a node that becomes unready once an hour.
    fn a_day() -> History {
        let of = |name, value: fn(i64) -> f64| OfSeries {
            signal: signal(name),
            labels: labels!["a", ""],
            values: (0..1440).map(value).collect(),
        };
        // It begins anew at noon.
        let mut flaps = of("compute_node_ready_flaps_total", |m| (m % 720 / 60) as f64);
        flaps.labels = labels!["a", "zone-a"];
        let series = vec![flaps, of("storage_csi_node_coverage_ratio", |_| 1.0)];
        History { times: (0..1440).map(at).collect(), series }
    }

    #[test]
    fn what_differs_from_a_history_is_judged_at_once() {
        let (mut baselines, settings) = (Baselines::default(), Settings::default());
        assert_eq!(relive(&mut baselines, &a_day(), &settings), 2);
        let disruptions = Disruptions::default();
        let mut tick = baselines.tick(Circumstances {
            now: at(1441),
            watching_since: at(1441),
            settled: true,
            disruptions: &disruptions,
            settings: &settings.baseline,
            limit: 100,
        });
        let reading =
            |labels, value| Series::Values(vec![Reading { labels, value, population: None }]);
        let coverage = signal("storage_csi_node_coverage_ratio");
        let judged = tick.judge(coverage, &reading(labels!["a", ""], 0.2), |_| false);
        assert!(judged[0].1.mature && judged[0].1.p_value < 1e-9, "{judged:?}");
        assert_eq!(judged[0].1.expected, 1.0);
        // The counter begins anew, as it does with every process that has no state.
        let flaps = signal("compute_node_ready_flaps_total");
        let judged = tick.judge(flaps, &reading(labels!["a", "zone-a"], 12.0), |_| false);
        assert!(judged[0].1.mature && judged[0].1.p_value < 1e-6, "{judged:?}");
        assert_eq!((judged[0].1.observed, judged[0].1.samples), (12.0, 22));
    }

    #[test]
    fn baselines_that_know_something_are_left_as_they_are() {
        let (mut baselines, mut settings) = (Baselines::default(), Settings::default());
        settings.baseline.window = Duration::from_hours(24);
        relive(&mut baselines, &a_day(), &settings);
        let before = baselines.clone();
        assert_eq!(relive(&mut baselines, &a_day(), &settings), 0);
        assert_eq!(baselines, before);
        assert_eq!(relive(&mut Baselines::default(), &History::default(), &settings), 0);
    }
}
