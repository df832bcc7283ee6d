//! What is an ordinary week like? Releases in office hours, batch at night, machines renewed once a week, quiet
//! weekends. Each day is drawn anew, from the seed and the day alone.

use std::time::Duration;

use super::chance::{Chance, Draw};
use super::faults::Fault;
use super::furnishing;
use super::layout;
use super::manifests::Role;
use super::moment::{DAY, HOUR, MINUTE, Moment};
use super::scenario::{Action, Planned};

/// What a disturbance is done to: values of its parameters, of a cluster with so many nodes.
type Pick = fn(&mut Draw, u32) -> Vec<(&'static str, String)>;

/// Something that happens now and then.
struct Habit {
    /// A healthy disturbance.
    what: &'static str,
    /// How often in an hour of office, from nine to five on working days.
    office: f64,
    /// How often in any other hour.
    otherwise: f64,
    pick: Pick,
}

const fn habit(what: &'static str, office: f64, otherwise: f64, pick: Pick) -> Habit {
    Habit { what, office, otherwise, pick }
}

/// As the record says.
const SAME: Pick = |_, _| Vec::new();
const DEPLOYMENT: Pick = |draw, _| vec![("deployment", one(draw, &deployments(1)))];
/// Enough pods that one may go, and no autoscaler that would bring it back.
const SCALABLE: Pick = |draw, _| {
    let mut free = deployments(3);
    free.retain(|at| !furnishing::SCALED.contains(&at.as_str()));
    vec![("deployment", one(draw, &free))]
};
const STATEFUL_SET: Pick =
    |draw, _| vec![("set", one(draw, &own(|role| matches!(role, Role::StatefulSet { .. }))))];
const CRON_JOB: Pick =
    |draw, _| vec![("cron_job", one(draw, &own(|role| matches!(role, Role::CronJob { .. }))))];
/// Where no quota stops so many at once.
const BATCH: Pick = |draw, _| {
    let mut all = own(|role| matches!(role, Role::CronJob { .. }));
    all.retain(|at| !at.starts_with(furnishing::LIMITED));
    let cron_job = one(draw, &all);
    let namespace = cron_job.split('/').next().unwrap_or_default().to_owned();
    vec![("cron_job", cron_job), ("namespace", namespace)]
};
const NODE: Pick = |draw, nodes| vec![("node", node(draw, nodes))];
const SKEWED: Pick =
    |draw, nodes| vec![("node", node(draw, nodes)), ("seconds", draw.between(-12, 21).to_string())];
/// Machines that come have numbers that no other has.
const NEW_NODE: Pick = |draw, _| {
    let zone = ["a", "b", "c"][draw.between(0, 3) as usize];
    vec![("node", format!("node-{zone}{}", draw.between(8000, 8500)))]
};
const SPOT: Pick = |draw, nodes| {
    let node = node(draw, nodes);
    let zone = node.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
    vec![("node", node), ("instead", format!("{zone}{}", draw.between(8500, 9000)))]
};
const PREVIEW: Pick =
    |draw, _| vec![("namespace", format!("preview-{}", draw.between(100, 10_000)))];
const CONFIG: Pick = |draw, _| {
    let deployment = one(draw, &deployments(1));
    let namespace = deployment.split('/').next().unwrap_or_default();
    vec![("config", format!("{namespace}/feature-flags"))]
};
const LABEL: Pick = |draw, _| {
    let team = ["finders", "sellers", "keepers"][draw.between(0, 3) as usize];
    vec![("deployment", one(draw, &deployments(1))), ("team", team.to_owned())]
};
const PROGRAM: Pick = |draw, _| {
    let scaled: Vec<_> = furnishing::SCALED.iter().map(|at| (*at).to_owned()).collect();
    vec![("program", one(draw, &scaled))]
};

const HABITS: &[Habit] = &[
    habit("rolling-update", 0.7, 0.01, DEPLOYMENT),
    habit("rolled-back-update", 0.05, 0.0, DEPLOYMENT),
    habit("paused-update", 0.02, 0.0, DEPLOYMENT),
    habit("statefulset-update", 0.06, 0.0, STATEFUL_SET),
    habit("daemonset-update", 0.02, 0.0, SAME),
    habit("argo-good-release", 0.05, 0.0, SAME),
    habit("flux-good-release", 0.05, 0.0, SAME),
    habit("helm-upgrade", 0.03, 0.0, SAME),
    habit("scale-up", 0.1, 0.01, SCALABLE),
    habit("scale-down", 0.1, 0.01, SCALABLE),
    habit("scale-to-zero", 0.02, 0.0, SAME),
    habit("busy-hour", 0.05, 0.01, PROGRAM),
    habit("pod-replaced", 0.1, 0.01, DEPLOYMENT),
    habit("single-restart", 0.06, 0.06, DEPLOYMENT),
    habit("probe-failed-once", 0.06, 0.06, DEPLOYMENT),
    habit("pull-retried", 0.03, 0.0, DEPLOYMENT),
    habit("job-retried", 0.03, 0.03, SAME),
    habit("job-done", 0.05, 0.0, SAME),
    habit("cronjob-suspended", 0.04, 0.0, CRON_JOB),
    habit("app-installed", 0.03, 0.0, SAME),
    habit("pod-by-hand", 0.06, 0.0, SAME),
    habit("namespace-comes-and-goes", 0.15, 0.0, PREVIEW),
    habit("config-changed", 0.1, 0.0, CONFIG),
    habit("labels-changed", 0.05, 0.0, LABEL),
    habit("claim-waits-for-pod", 0.02, 0.0, SAME),
    habit("claim-grows", 0.01, 0.0, SAME),
    habit("csr-rotation", 0.02, 0.02, SAME),
    habit("short-silence", 0.01, 0.01, NODE),
    habit("cordon", 0.02, 0.0, NODE),
    habit("node-added", 0.04, 0.01, NEW_NODE),
    habit("spot-preempted", 0.03, 0.03, SPOT),
    habit("clock-skew", 0.02, 0.02, SKEWED),
    habit("busy-neighbour", 0.04, 0.04, NODE),
];

/// The share of nights in which a backlog is worked off, at an hour from one to four.
const BURSTS: f64 = 0.8;
/// The share of working days with a wave of releases.
const WAVES: f64 = 0.3;
/// Nodes are upgraded on Wednesdays from eight in the evening on, one after the other, so many in a night.
const UPGRADES_ON: i64 = 2;
const UPGRADES_FROM: Moment = 20 * HOUR;
const UPGRADES_EVERY: Moment = 15 * MINUTE;
const UPGRADES: u32 = 12;
/// What was done to a thing is left to settle before something else is done to it.
const APART: Moment = 15 * MINUTE;

/// What happens on the day that begins at this midnight (UTC), in a cluster with so many nodes. All of it is over by
/// the next midnight, so that days know nothing of each other.
pub(super) fn day(chance: Chance, nodes: u32, midnight: Moment) -> Vec<Planned> {
    let number = midnight.div_euclid(DAY);
    // The epoch was a Thursday.
    let weekday = (number + 3).rem_euclid(7);
    let mut day = Day { planned: Vec::new(), taken: Vec::new() };
    if weekday == UPGRADES_ON {
        day.upgrades(nodes, number.div_euclid(7));
    }
    let mut night = chance.of("life-night", &number.to_string());
    if night.unit() < BURSTS {
        let at = night.between(HOUR, 4 * HOUR);
        day.put(at, "batch-burst", BATCH(&mut night, nodes));
    }
    let mut wave = chance.of("life-wave", &number.to_string());
    if weekday < 5 && wave.unit() < WAVES {
        let mut at = wave.between(10 * HOUR, 15 * HOUR);
        for _ in 0..wave.between(4, 9) {
            day.put(at, "rolling-update", DEPLOYMENT(&mut wave, nodes));
            at += wave.between(MINUTE / 2, 4 * MINUTE);
        }
    }
    for hour in 0..24 {
        let office = weekday < 5 && (9..17).contains(&hour);
        for habit in HABITS {
            let mut draw = chance.of("life", &format!("{}/{number}/{hour}", habit.what));
            if draw.unit() < if office { habit.office } else { habit.otherwise } {
                let at = hour * HOUR + draw.between(0, HOUR);
                day.put(at, habit.what, (habit.pick)(&mut draw, nodes));
            }
        }
    }
    day.planned.sort_by_key(|planned| planned.at);
    day.planned
}

/// A day that is being planned.
struct Day {
    planned: Vec<Planned>,
    /// From when to when something is done to which thing.
    taken: Vec<(Moment, Moment, String)>,
}

impl Day {
    fn upgrades(&mut self, nodes: u32, week: i64) {
        let version = format!("v1.37.{}", 3 + week.rem_euclid(6));
        let many = nodes.min(UPGRADES);
        for nth in 0..many {
            // In a large cluster the next week goes on where this one stops.
            let at = (week.rem_euclid(i64::from(nodes.max(1))) as u32 * many + nth) % nodes;
            let node = ("node", layout::node_name(at).0);
            let begins = UPGRADES_FROM + Moment::from(nth) * UPGRADES_EVERY;
            self.put(begins, "node-upgrade", vec![node, ("version", version.clone())]);
        }
    }

    /// Plans a disturbance, unless something else is done to the same thing about then.
    fn put(&mut self, at: Moment, what: &str, with: Vec<(&'static str, String)>) {
        let Ok(fault) = Fault::named(what) else { return };
        let set = |fault: Fault, (name, value): (&str, String)| fault.with(name, &value);
        let Ok(fault) = with.into_iter().try_fold(fault, set) else { return };
        let lasts = Duration::from_secs(u64::from(fault.kind.lasts));
        let end = at + lasts.as_millis() as Moment;
        let things = things(&fault);
        // Upgrades of nodes come in a row as they are planned.
        let apart = if what == "node-upgrade" { MINUTE } else { APART };
        let clash = self.taken.iter().any(|(from, until, thing)| {
            at < until + apart && *from < end + apart && things.contains(thing)
        });
        if clash || end + APART > DAY {
            return;
        }
        self.taken.extend(things.into_iter().map(|thing| (at, end, thing)));
        let at = Duration::from_millis(u64::try_from(at).unwrap_or(0));
        self.planned.push(Planned { at, action: Action::Fault { fault, lasts } });
    }
}

/// What must not have two things done to it at once. Of all machines together only one at a time is worked on.
fn things(fault: &Fault) -> Vec<String> {
    let (kind, namespace, name) = fault.root();
    let root = if kind == "Node" { "a node".to_owned() } else { format!("{namespace}/{name}") };
    let named = fault.parameters().map(|(_, value)| value).filter(|value| value.contains('/'));
    std::iter::once(root).chain(named.map(str::to_owned)).collect()
}

/// The house's own workloads of a kind.
fn own(is: impl Fn(&Role) -> bool) -> Vec<String> {
    layout::own().filter(|(_, role)| is(role)).map(|(at, _)| at).collect()
}

/// The house's own Deployments that are meant to have at least so many pods.
fn deployments(least: u32) -> Vec<String> {
    own(|role| matches!(role, Role::Deployment { replicas } if *replicas >= least))
}

fn one(draw: &mut Draw, all: &[String]) -> String {
    all.get((draw.unit() * all.len() as f64) as usize).cloned().unwrap_or_default()
}

fn node(draw: &mut Draw, nodes: u32) -> String {
    layout::node_name((draw.unit() * f64::from(nodes)) as u32).0
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::sim::faults::Class;

    /// Monday, 2 March 2026.
    const MONDAY: Moment = 1_772_409_600_000;

    fn week(seed: u64) -> Vec<(i64, Planned)> {
        let days = (0..7).map(|nth| (nth, day(Chance::new(seed), 6, MONDAY + nth * DAY)));
        days.flat_map(|(nth, all)| all.into_iter().map(move |planned| (nth, planned))).collect()
    }

    fn named(planned: &Planned) -> &'static str {
        planned.fault().map_or("", |(fault, _)| fault.kind.name)
    }

    #[test]
    fn every_habit_is_a_healthy_disturbance_with_the_parameters_that_it_is_given() {
        for habit in HABITS {
            let fault = Fault::named(habit.what).unwrap();
            assert_eq!(fault.kind.class, Class::Healthy, "{}", habit.what);
            for (name, value) in (habit.pick)(&mut Chance::new(1).of("test", habit.what), 6) {
                assert!(!value.is_empty(), "{} {name}", habit.what);
                fault.clone().with(name, &value).unwrap();
            }
        }
    }

    #[test]
    fn a_week_is_drawn_from_the_seed() {
        let lines = |seed| -> Vec<String> {
            let line = |(day, p): &(i64, Planned)| format!("{day} {:?} {:?}", p.at, p.fault());
            week(seed).iter().map(line).collect()
        };
        assert_eq!(lines(1), lines(1));
        assert_ne!(lines(1), lines(2));
    }

    #[test]
    fn weekends_are_quiet_and_releases_come_in_office_hours() {
        let (mut working, mut weekend, mut releases) = (0, 0, 0);
        for (day, planned) in (1..=5).flat_map(week) {
            *(if day < 5 { &mut working } else { &mut weekend }) += 1;
            if named(&planned) == "statefulset-update" {
                let hour = planned.at.as_secs() / 3600;
                assert!(day < 5 && (9..17).contains(&hour), "{day} {hour}");
                releases += 1;
            }
        }
        // By the day.
        assert!(working * 2 > weekend * 5 * 2, "{working} {weekend}");
        assert!(releases > 0);
    }

    #[test]
    fn each_node_is_upgraded_in_its_window_and_never_two_at_once() {
        let all = week(3);
        let upgrades: Vec<_> = all.iter().filter(|(_, p)| named(p) == "node-upgrade").collect();
        assert!(upgrades.iter().all(|(day, p)| *day == UPGRADES_ON && p.at.as_secs() >= 72_000));
        let nodes: BTreeSet<_> = upgrades
            .iter()
            .filter_map(|(_, p)| p.fault().map(|(f, _)| f.parameter("node").to_owned()))
            .collect();
        assert_eq!(nodes.len(), 6);
        for pair in upgrades.windows(2) {
            let (_, lasts) = pair[0].1.fault().unwrap();
            assert!(pair[0].1.at + lasts < pair[1].1.at);
        }
    }

    #[test]
    fn nothing_is_done_to_what_something_otherwiseis_done_to() {
        for (nth, planned) in week(5) {
            let (fault, lasts) = planned.fault().unwrap();
            let end = planned.at + lasts;
            assert!(end < Duration::from_hours(24), "{fault}");
            let others = week(5)
                .into_iter()
                .filter(|(day, other)| *day == nth && other.at > planned.at && other.at < end);
            for (_, other) in others {
                let (other, _) = other.fault().unwrap();
                let shared = things(fault).into_iter().find(|t| things(other).contains(t));
                assert_eq!(shared, None, "{fault} and {other}");
            }
        }
    }
}
