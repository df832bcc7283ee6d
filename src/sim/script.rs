//! When does which fault begin and end? Only causes are scripted: effects follow.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::controllers::Task;
use super::faults::Fault;
use super::fields::Fields;
use super::kind::Kind;
use super::life;
use super::moment::{DAY, Moment};
use super::scenario::{Action, Planned, Scenario};
use super::simulation::Simulation;
use super::store::Key;

/// A fault began or was repaired.
#[derive(Clone, Debug)]
pub struct FaultNotice {
    /// When, in virtual time.
    pub at: Timestamp,
    /// What.
    pub what: Fault,
    /// It began; else it was repaired.
    pub started: bool,
}

impl std::fmt::Display for FaultNotice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.at, if self.started { "fault" } else { "repaired" }, self.what)
    }
}

type Deed = fn(&mut Simulation, &Fault);

#[derive(Clone, Debug)]
enum Step {
    /// Plan a repetition of the scenario.
    Repeat {
        nth: u32,
    },
    /// Plan an ordinary day.
    Day {
        midnight: Moment,
    },
    Begin(Fault),
    End(Fault),
    /// Something that a fault leaves to be done after its end.
    Later(Fault, Deed),
    Apply(Value),
    Patch(Kind, Key, Value),
    Delete(Kind, Key),
}

/// The steps to come, and what has to be put back.
#[derive(Debug, Default)]
pub(crate) struct Script {
    scenario: Option<Scenario>,
    start: Moment,
    nodes: u32,
    steps: BTreeMap<(Moment, u32), Step>,
    planned: u32,
    /// What was before a fault changed it.
    pub(crate) before: BTreeMap<(Kind, Key), Value>,
    notices: Vec<FaultNotice>,
}

/// Plays a scenario from here on, in a cluster that was made with so many nodes.
pub(crate) fn play(sim: &mut Simulation, scenario: Scenario, nodes: u32) {
    let start = sim.now;
    (sim.script.start, sim.script.nodes) = (start, nodes);
    if scenario.life {
        let midnight = start - start.rem_euclid(DAY);
        plan(sim, start, Step::Day { midnight });
    }
    sim.script.scenario = Some(scenario);
    plan(sim, start, Step::Repeat { nth: 0 });
}

/// Has something done for a fault some time from now.
pub(crate) fn later(sim: &mut Simulation, after: Moment, fault: &Fault, deed: Deed) {
    let at = sim.now + after;
    plan(sim, at, Step::Later(fault.clone(), deed));
}

/// Takes the notices of what began and ended.
pub(crate) fn take_notices(sim: &mut Simulation) -> Vec<FaultNotice> {
    std::mem::take(&mut sim.script.notices)
}

fn plan(sim: &mut Simulation, at: Moment, step: Step) {
    sim.script.planned += 1;
    let place = (at, sim.script.planned);
    sim.script.steps.insert(place, step);
    sim.queue.push(at, Task::Script);
}

/// Takes every step that is due.
pub(crate) fn step(sim: &mut Simulation) {
    while let Some(entry) = sim.script.steps.first_entry() {
        let due = entry.key().0;
        if due > sim.now {
            sim.queue.push(due, Task::Script);
            return;
        }
        match entry.remove() {
            Step::Repeat { nth } => repeat(sim, nth),
            Step::Day { midnight } => live(sim, midnight),
            Step::Begin(fault) => {
                tell(sim, &fault, true);
                (fault.kind.begin)(sim, &fault);
            }
            Step::End(fault) => {
                tell(sim, &fault, false);
                (fault.kind.end)(sim, &fault);
            }
            Step::Later(fault, deed) => deed(sim, &fault),
            Step::Apply(object) => apply(sim, object),
            Step::Patch(kind, key, patch) => {
                sim.store.update(kind, &key, |object| merge(object, &patch));
            }
            Step::Delete(kind, key) => sim.delete(kind, &key),
        }
    }
}

fn repeat(sim: &mut Simulation, nth: u32) {
    let Some(scenario) = sim.script.scenario.clone() else { return };
    let start = sim.script.start + scenario.every.map_or(0, millis) * Moment::from(nth);
    for planned in scenario.timeline {
        plan_all(sim, start, planned);
    }
    if let Some(every) = scenario.every {
        plan(sim, start + millis(every), Step::Repeat { nth: nth + 1 });
    }
}

/// Plans what is left of an ordinary day, and the next one.
fn live(sim: &mut Simulation, midnight: Moment) {
    for planned in life::day(sim.chance, sim.script.nodes, midnight) {
        if midnight + millis(planned.at) >= sim.script.start {
            plan_all(sim, midnight, planned);
        }
    }
    let midnight = midnight + DAY;
    plan(sim, midnight, Step::Day { midnight });
}

const fn millis(time: Duration) -> Moment {
    time.as_millis() as Moment
}

/// Plans an action, and its end if it has one, counted from `start`.
fn plan_all(sim: &mut Simulation, start: Moment, planned: Planned) {
    let begins = start + millis(planned.at);
    let step = match planned.action {
        Action::Fault { fault, lasts } => {
            plan(sim, begins + millis(lasts), Step::End(fault.clone()));
            Step::Begin(fault)
        }
        Action::Apply(object) => Step::Apply(object),
        Action::Patch { kind, key, patch } => Step::Patch(kind, key, patch),
        Action::Delete { kind, key } => Step::Delete(kind, key),
    };
    plan(sim, begins, step);
}

fn tell(sim: &mut Simulation, fault: &Fault, started: bool) {
    let at = Timestamp::from_millisecond(sim.now).unwrap_or_default();
    sim.script.notices.push(FaultNotice { at, what: fault.clone(), started });
}

/// Makes an object, or brings the one of its name to what the manifest says.
fn apply(sim: &mut Simulation, object: Value) {
    let Some(kind) = Kind::of_manifest(object.text("apiVersion"), object.text("kind")) else {
        return;
    };
    let key = Key::of(&object);
    if sim.store.get(kind, &key).is_some() {
        sim.store.update(kind, &key, |held| merge(held, &object));
    } else {
        sim.create(kind, object);
    }
}

/// JSON merge patch (RFC 7386).
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Some(held) = target.as_object_mut() else { return };
    for (name, value) in fields {
        if value.is_null() {
            held.remove(name);
        } else {
            merge(held.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_merges_removes_and_replaces() {
        let mut target = json!({"a": {"b": 1, "c": [1, 2]}, "d": "x"});
        merge(&mut target, &json!({"a": {"b": null, "c": [3], "e": {"f": true}}, "d": 2}));
        assert_eq!(target, json!({"a": {"c": [3], "e": {"f": true}}, "d": 2}));
    }
}
