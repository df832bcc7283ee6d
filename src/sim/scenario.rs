//! What happens in the cluster, when, and what must be found? A timeline of faults and of plain changes.

mod read;

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::chance::Chance;
use super::faults::{self, Class, Fault, UnknownFault};
use super::kind::Kind;
use super::layout::Shape;
use super::life;
use super::moment::{DAY, Moment};
use super::store::Key;

pub use read::ScenarioError;

/// Something that happens.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// A fault, or a healthy disturbance, begins, and ends after so long.
    Fault {
        /// Which.
        fault: Fault,
        /// How long.
        lasts: Duration,
    },
    /// An object is made, or brought to what the manifest says (server-side apply's outcome, by JSON merge patch).
    Apply(Value),
    /// An object is changed by a JSON merge patch (RFC 7386).
    Patch { kind: Kind, key: Key, patch: Value },
    /// An object is deleted.
    Delete { kind: Kind, key: Key },
}

/// An action with its time.
#[derive(Clone, Debug)]
pub struct Planned {
    /// When, counted from the start of the scenario or of its repetition.
    pub at: Duration,
    pub(crate) action: Action,
}

impl Planned {
    /// The fault that begins then, and how long it lasts; `None` for a plain change.
    #[must_use]
    pub const fn fault(&self) -> Option<(&Fault, Duration)> {
        match &self.action {
            Action::Fault { fault, lasts } => Some((fault, *lasts)),
            _ => None,
        }
    }

    /// When it is over.
    fn ends(&self) -> Duration {
        self.at + self.fault().map_or(Duration::ZERO, |(_, lasts)| lasts)
    }
}

/// What a scenario's scores are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Set {
    /// Thresholds may be chosen by them.
    #[default]
    Tuning,
    /// They are only ever looked at.
    HeldOut,
}

impl Set {
    /// As files write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tuning => "tuning",
            Self::HeldOut => "held-out",
        }
    }
}

/// Something that must be found, beside what the records of the faults say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The signal, without `kubestrata_`.
    pub signal: String,
    /// Namespace of what it must be about; empty for any.
    pub namespace: String,
    /// Name of what it must be about; empty for any.
    pub name: String,
    /// Not before this time of the scenario.
    pub after: Duration,
    /// By this time of the scenario.
    pub by: Duration,
}

/// A timeline.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it is called.
    pub name: String,
    /// What it shows, in one line.
    pub summary: String,
    /// What its scores are for.
    pub set: Set,
    /// What happens.
    pub timeline: Vec<Planned>,
    /// After this time everything of the timeline happens again; `None` for once.
    pub every: Option<Duration>,
    /// Whether ordinary days go by beside the timeline, drawn from the cluster's seed.
    pub life: bool,
    /// What must be found.
    pub expect: Vec<Expected>,
    /// Signals that must say nothing, without `kubestrata_`.
    pub quiet: Vec<String>,
    /// How long it is played when it is evaluated; `None`: until everything is over, and a while on.
    pub lasts: Option<Duration>,
    /// Nodes and pods of the cluster that it needs, if it says so.
    pub cluster: Option<(u32, u32)>,
}

const MINUTE: u64 = 60;

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * MINUTE)
}

impl Scenario {
    /// Those that are built in beside single faults.
    pub const GENERAL: [&str; 4] = ["all", "everyday", "healthy", "life"];

    /// A scenario in which nothing happens.
    #[must_use]
    pub fn healthy() -> Self {
        Self {
            name: "healthy".to_owned(),
            summary: "nothing happens".to_owned(),
            set: Set::Tuning,
            timeline: Vec::new(),
            every: None,
            life: false,
            expect: Vec::new(),
            quiet: Vec::new(),
            lasts: None,
            cluster: None,
        }
    }

    /// A scenario that is built in: `healthy`, `life`, `everyday`, `all`, or a single fault by name, again and again.
    pub fn builtin(name: &str) -> Result<Self, UnknownFault> {
        let name = name.to_owned();
        match name.as_str() {
            "healthy" => Ok(Self::healthy()),
            "life" => Ok(life()),
            "all" => all(),
            "everyday" => everyday(),
            fault => {
                let fault = Fault::named(fault)?;
                let lasts = Duration::from_secs(u64::from(fault.kind.lasts));
                let (summary, every) = (fault.to_string(), Some(lasts + minutes(15)));
                let action = Action::Fault { fault, lasts };
                let timeline = vec![Planned { at: minutes(2), action }];
                Ok(Self { name, summary, timeline, every, ..Self::healthy() })
            }
        }
    }

    /// The same, with everything this much later.
    #[must_use]
    pub fn delayed(mut self, by: Duration) -> Self {
        self.timeline.iter_mut().for_each(|planned| planned.at += by);
        self.expect.iter_mut().for_each(|e| (e.after, e.by) = (e.after + by, e.by + by));
        self.every = self.every.map(|every| every + by);
        self.lasts = self.lasts.map(|lasts| lasts + by);
        self
    }

    /// When everything of the first round is over.
    #[must_use]
    pub fn ends(&self) -> Duration {
        let expected = self.expect.iter().map(|e| e.by);
        self.timeline.iter().map(Planned::ends).chain(expected).max().unwrap_or_default()
    }

    /// What happens on the ordinary days that go by in a cluster of this shape, by the time since `from`.
    #[must_use]
    pub fn ordinary(&self, shape: Shape, from: Timestamp, lasts: Duration) -> Vec<Planned> {
        let from = from.as_millisecond();
        let until = from + lasts.as_millis() as Moment;
        let first = from - from.rem_euclid(DAY);
        let days = (0..).map(|nth| first + nth * DAY).take_while(|midnight| *midnight < until);
        let days = days.take(if self.life { usize::MAX } else { 0 });
        let all = days.flat_map(|midnight| {
            let day = life::day(Chance::new(shape.seed), shape.nodes, midnight);
            day.into_iter().filter_map(move |planned| {
                let since = midnight + planned.at.as_millis() as Moment - from;
                let at = Duration::from_millis(u64::try_from(since).ok()?);
                (at < lasts).then_some(Planned { at, ..planned })
            })
        });
        all.collect()
    }

    /// Every name that [`Self::builtin`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Self::GENERAL.into_iter().chain(faults::all().map(|kind| kind.name))
    }

    /// One line for each fault and change: when it comes and goes in each repetition, and what it is.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        let line = |planned: &Planned| {
            let from = planned.at.as_secs() / MINUTE;
            match &planned.action {
                Action::Fault { fault, lasts } => {
                    let until = (planned.at + *lasts).as_secs() / MINUTE;
                    format!("minute {from} to {until}: {fault}")
                }
                Action::Apply(object) => {
                    let name = object["metadata"]["name"].as_str().unwrap_or_default();
                    format!("minute {from}: apply {} {name}", object["kind"].as_str().unwrap_or(""))
                }
                Action::Patch { kind, key, .. } => {
                    format!("minute {from}: patch {} {key}", kind.name())
                }
                Action::Delete { kind, key } => {
                    format!("minute {from}: delete {} {key}", kind.name())
                }
            }
        };
        self.timeline.iter().map(line).collect()
    }
}

/// A tour: faults of every layer, staggered; the first is visible within a minute of its start.
fn all() -> Result<Scenario, UnknownFault> {
    let first = [
        "crashloop",
        "storage",
        "probe",
        "cronjob",
        "image-pull",
        "oom",
        "unschedulable",
        "node-loss",
        "hang",
        "storage-refused",
    ];
    let rest = faults::all().filter(|k| !first.contains(&k.name) && k.class != Class::Healthy);
    let mut at = minutes(2);
    let mut timeline = Vec::new();
    for name in first.into_iter().chain(rest.map(|kind| kind.name)) {
        let fault = Fault::named(name)?;
        let lasts = Duration::from_secs(u64::from(fault.kind.lasts));
        timeline.push(Planned { at, action: Action::Fault { fault, lasts } });
        // Faults overlap a little, as they do; a long one does not hold up those that come after it.
        at += (lasts * 2 / 3).clamp(minutes(3), minutes(8));
    }
    let summary = "one fault after the other, of every layer".to_owned();
    let every = timeline.iter().map(Planned::ends).max().map(|end| end + minutes(10));
    Ok(Scenario { name: "all".to_owned(), summary, timeline, every, ..Scenario::healthy() })
}

/// Weeks as they are.
fn life() -> Scenario {
    let summary = "ordinary weeks: releases, batch, machines that come and go, quiet weekends";
    let (name, summary) = ("life".to_owned(), summary.to_owned());
    Scenario { name, summary, life: true, ..Scenario::healthy() }
}

/// Everything that only looks wrong, one after the other.
fn everyday() -> Result<Scenario, UnknownFault> {
    let mut at = minutes(5);
    let mut timeline = Vec::new();
    for kind in faults::all().filter(|kind| kind.class == Class::Healthy) {
        let lasts = Duration::from_secs(u64::from(kind.lasts));
        let fault = Fault::named(kind.name)?;
        // Work on machines comes one at a time; the rest overlaps a little, as it does.
        let whole = fault.root().0 == "Node";
        timeline.push(Planned { at, action: Action::Fault { fault, lasts } });
        at += if whole { lasts } else { (lasts / 3).clamp(minutes(3), minutes(6)) };
    }
    let every = timeline.iter().map(Planned::ends).max().map(|end| end + minutes(10));
    let summary = "what only looks wrong, one after the other".to_owned();
    let name = "everyday".to_owned();
    Ok(Scenario { name, summary, timeline, every, ..Scenario::healthy() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_its_scenario_and_an_unknown_one_tells_the_nearest() {
        for name in Scenario::names() {
            let scenario = Scenario::builtin(name).expect("a scenario");
            assert_eq!(scenario.name, *name);
            assert_eq!(scenario.timeline.is_empty(), matches!(name, "healthy" | "life"));
            assert_eq!(scenario.describe().len(), scenario.timeline.len());
        }
        let error = Scenario::builtin("node-lose").expect_err("no such scenario").to_string();
        assert!(error.contains("\"node-lose\"") && error.contains("node-loss"), "{error}");
    }

    #[test]
    fn ordinary_days_begin_where_the_play_does_and_end_with_it() {
        let noon: Timestamp = "2026-03-02T12:00:00Z".parse().expect("a time");
        let (shape, day) = (Shape::default(), Duration::from_hours(24));
        let life = Scenario::builtin("life").expect("a scenario");
        let two = life.ordinary(shape, noon, 2 * day);
        assert!(two.iter().any(|p| p.at < day) && two.iter().any(|p| p.at > day));
        assert!(two.iter().all(|p| p.at < 2 * day));
        let later = life.ordinary(shape, noon + day, day);
        let second: Vec<_> =
            two.iter().filter(|p| p.at >= day).map(|p| p.at.saturating_sub(day)).collect();
        assert_eq!(later.iter().map(|p| p.at).collect::<Vec<_>>(), second);
        assert!(Scenario::healthy().ordinary(shape, noon, day).is_empty());
    }

    #[test]
    fn each_repetition_ends_before_the_next_begins() {
        for name in Scenario::names() {
            let scenario = Scenario::builtin(name).expect("a scenario");
            let last = scenario.timeline.iter().map(Planned::ends).max();
            assert!(last <= scenario.every.or(last), "{name}");
        }
    }
}
