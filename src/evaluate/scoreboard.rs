//! What does the scoreboard say? A fixed set of plays, small enough for every build, as a page.

use std::fmt::Write;
use std::time::Duration;

use super::summary::summarise;
use super::{Plan, PlayError, Played, mark_all, settings, shipped, table};
use crate::sim::{Scenario, Set};

/// The seeds of the two sets. What is tuned must never be tuned to the second.
const TUNING_SEED: u64 = 1;
const HELD_OUT_SEED: u64 = 101;

/// Series are judged after an hour: what is built in begins no sooner.
const LEAD: Duration = Duration::from_mins(65);

/// A cluster small enough.
const SMALL: (u32, u32) = (6, 90);

/// How long a cluster in which nothing happens is watched.
const HEALTHY: Duration = Duration::from_mins(150);

/// What the scoreboard is made of: every file, every fault once and everything that only looks wrong, each set with its
/// own seed. The records of the library are the same in both sets, the clusters are not.
#[must_use]
pub fn scoreboard_plays() -> Vec<Plan> {
    let mut plans = Vec::new();
    for set in [Set::Tuning, Set::HeldOut] {
        let seed = if set == Set::Tuning { TUNING_SEED } else { HELD_OUT_SEED };
        let builtin: &[&str] =
            if set == Set::Tuning { &["all", "everyday", "healthy"] } else { &["all", "healthy"] };
        let builtin = builtin.iter().filter_map(|name| {
            let scenario = Scenario::builtin(name).ok()?.delayed(LEAD);
            let lasts = scenario.timeline.is_empty().then_some(HEALTHY);
            Some(Scenario { set, every: None, lasts, cluster: Some(SMALL), ..scenario })
        });
        let files = shipped().unwrap_or_default().into_iter().filter(|s| s.set == set);
        plans.extend(builtin.chain(files).map(|scenario| Plan::new(scenario, seed, None)));
    }
    plans
}

/// `docs/scoreboard.md`, from plays of [`scoreboard_plays`].
pub fn scoreboard_markdown() -> Result<String, PlayError> {
    let plays = mark_all(&scoreboard_plays(), &settings(), |_| {})?;
    Ok(page(&plays))
}

fn page(plays: &[Played]) -> String {
    let mut page = String::from(INTRODUCTION);
    for set in [Set::Tuning, Set::HeldOut] {
        let Some(summary) = summarise(plays, set) else { continue };
        let of_set: Vec<_> = plays.iter().filter(|p| p.set == set).collect();
        let _ = writeln!(page, "\n## {}\n\n{}.", set.name(), table::coverage(&summary));
        let grids = [
            table::tellers(&summary),
            table::delays(&summary),
            table::calibration(&summary),
            table::blemishes(&of_set),
        ];
        for grid in grids.iter().filter(|grid| grid.0.len() > 1) {
            let _ = write!(page, "\n{}", grid.markdown());
        }
    }
    page
}

const INTRODUCTION: &str = "\
<!-- Generated from src/evaluate by tests/scoreboard.rs. Do not edit. -->
# Scoreboard

How well kubestrata finds faults, measured on the [embedded cluster](scenarios.md) in virtual time through the whole
daemon: API, watches, pipeline, report.
`cargo test --test scoreboard` plays it and fails when this page is stale; `make scoreboard` also plays a larger one.

- A fault counts as *told* when a finding or an anomaly of a signal that its record names opens, about its root, what it
  names, something of another kind near them (anywhere, if what fails serves everybody), or the namespace or cluster
  around, from its begin to five minutes after its end; *in time*, when that is as soon as its record asks for.
- A *false alarm* is a finding from `warning` on, or an anomaly, that no fault accounts for by then or within half an hour
  after its end. Of healthy disturbances everything is one that their records do not allow.
- *Static rules* are thresholds and `for:` durations as the alerts of kubernetes-mixin have them; *plain z-score* is three
  standard deviations over an hour, on every series that kubestrata judges. Both look at the same readings of the same
  plays. For them it is enough to speak of a consequence near the fault, and to do so at any time of it.
- Who speaks at all times is right by *chance*: where a false alarm would have told of the fault in as long before its begin
  as it took after it, it was not told. *Median* and *95 %* are the times within which so many of all faults of a class were
  told, those that never were included.
- *Obvious* is what the API says outright, *moderate* what shows in one number or after a dwell, *weak* a small change.
  *Creeping* grows from nothing over hours, or is told by its age: its time counts from its begin, when there is nothing to
  see.
- *Calibration*: how often series that were judged and not quiet were as rare as nominal while no fault was there, nor had
  been in the two hours that baselines look back. A ratio of 1 is as promised.
- *Tuning* may be looked at when thresholds are chosen, *held-out* may not; each has its own seed and its own files.
- Incidents and root causes are not judged yet.
";
