//! How well does the daemon do? It is played on the embedded cluster, in virtual time, and marked.

mod episode;
mod play;
mod score;
mod scoreboard;
mod static_rules;
mod suite;
mod summary;
mod table;
mod told;
mod zscore;

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

pub use episode::Episode;
pub use play::{PlayError, START, play};
pub use score::{FaultMark, Marks, Scorer, Teller};
pub use scoreboard::{scoreboard_markdown, scoreboard_plays};
pub use suite::{shipped, signal_names};
pub use summary::{Calibration, ClassSummary, Summary, TellerSummary, summarise};
pub use table::{as_json, table};
pub use told::{Told, What};

use crate::config::Settings;
use crate::model::kind::Kind;
use crate::model::report::Rarities;
use crate::sim::{Scenario, Set, Shape};

/// Nodes and pods of a cluster of which the scenario says nothing.
pub const CLUSTER: (u32, u32) = (12, 150);

/// How long a play goes on after the last that happens.
const TAIL: Duration = Duration::from_mins(10);

/// The daemon as it is scored: everything that the embedded cluster serves is read, opt-ins too.
#[must_use]
pub fn settings() -> Settings {
    let served =
        |kind: &Kind| kind.is_opt_in() && !matches!(kind, Kind::PrometheusQuery | Kind::Audit);
    let served = Kind::ALL.iter().copied().filter(served);
    Settings { opt_in: served.collect(), ..Settings::default() }
}

/// A scenario to be played with a seed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What happens.
    pub scenario: Scenario,
    /// In which cluster.
    pub seed: u64,
    /// For how long.
    pub duration: Duration,
}

impl Plan {
    /// The scenario for as long as it takes, or for `duration`.
    #[must_use]
    pub fn new(scenario: Scenario, seed: u64, duration: Option<Duration>) -> Self {
        let takes = || scenario.lasts.unwrap_or_else(|| scenario.ends() + TAIL);
        let duration = duration.unwrap_or_else(takes);
        Self { scenario, seed, duration }
    }
}

/// A play that is over.
#[derive(Clone, Debug)]
pub struct Played {
    /// The scenario's name.
    pub scenario: String,
    /// What its scores are for.
    pub set: Set,
    /// The seed.
    pub seed: u64,
    /// How long it was.
    pub duration: Duration,
    /// How it went, by the order of [`Teller::ALL`].
    pub marks: [Marks; 3],
    /// How often series surprised while nothing was wrong.
    pub calm: Rarities,
}

/// Plays and marks one plan.
pub fn mark(plan: &Plan, settings: &Settings) -> Result<Played, PlayError> {
    let Plan { scenario, seed, duration } = plan;
    let (nodes, pods) = scenario.cluster.unwrap_or(CLUSTER);
    let shape = Shape { nodes, pods, seed: *seed };
    let mut scorer = Scorer::new(scenario.clone(), shape, *duration, settings.baseline.warm_up);
    play(shape, scenario.clone(), settings, *duration, |report| scorer.observe(report))?;
    Ok(Played {
        scenario: scenario.name.clone(),
        set: scenario.set,
        seed: *seed,
        duration: *duration,
        marks: scorer.marks(),
        calm: scorer.calm(),
    })
}

/// Plays and marks all plans, several at a time, and gives them in order. `done` is told of each as it ends.
pub fn mark_all(
    plans: &[Plan],
    settings: &Settings,
    done: impl Fn(&Played) + Sync,
) -> Result<Vec<Played>, PlayError> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(plans.len());
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((nth, plan)) = {
                    let nth = next.fetch_add(1, Ordering::Relaxed);
                    plans.get(nth).map(|plan| (nth, plan))
                } {
                    let played = mark(plan, settings);
                    if let Ok(played) = &played {
                        done(played);
                    }
                    results.lock().unwrap_or_else(PoisonError::into_inner).push((nth, played));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(nth, _)| *nth);
    results.into_iter().map(|(_, played)| played).collect()
}
