//! When does which fault begin and end, and what exactly is done to the cluster then? Only causes: effects follow.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::controllers::{Task, kubelet, nodes, pods};
use super::fields::Fields;
use super::founding::{image_of, next_tag, set_tag};
use super::kind::Kind;
use super::moment::{MINUTE, Moment, SECOND};
use super::scenario::{Ending, Fault, Probe, Scenario, Target};
use super::simulation::Simulation;
use super::store::Key;
use super::surroundings::Conduct;

/// How long after a repair a grown StatefulSet shrinks again.
const SHRINK_AFTER: Moment = 4 * MINUTE;

/// A fault began or was repaired.
#[derive(Clone, Debug, PartialEq, Eq)]
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

#[derive(Clone, Debug)]
enum Step {
    /// Plan a repetition of the scenario.
    Repeat {
        nth: u32,
    },
    Begin(Fault),
    End(Fault),
    Shrink(Target),
}

/// The steps to come, and what has to be put back.
#[derive(Debug, Default)]
pub(crate) struct Script {
    scenario: Option<Scenario>,
    start: Moment,
    steps: BTreeMap<(Moment, u32), Step>,
    planned: u32,
    /// Templates from before a release, by Deployment.
    before: BTreeMap<Key, Value>,
    notices: Vec<FaultNotice>,
}

/// Plays a scenario from here on.
pub(crate) fn play(sim: &mut Simulation, scenario: Scenario) {
    sim.script.start = sim.now;
    sim.script.scenario = Some(scenario);
    let start = sim.now;
    plan(sim, start, Step::Repeat { nth: 0 });
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
            Step::Begin(fault) => {
                tell(sim, &fault, true);
                begin(sim, &fault);
            }
            Step::End(fault) => {
                tell(sim, &fault, false);
                end(sim, &fault);
            }
            Step::Shrink(set) => scale(sim, &set, -1),
        }
    }
}

fn repeat(sim: &mut Simulation, nth: u32) {
    let Some(scenario) = sim.script.scenario.clone() else { return };
    let millis = |time: std::time::Duration| time.as_millis() as Moment;
    let start = sim.script.start + scenario.every.map_or(0, millis) * Moment::from(nth);
    for planned in scenario.faults {
        let begins = start + millis(planned.at);
        plan(sim, begins, Step::Begin(planned.fault.clone()));
        plan(sim, begins + millis(planned.lasts), Step::End(planned.fault));
    }
    if let Some(every) = scenario.every {
        plan(sim, start + millis(every), Step::Repeat { nth: nth + 1 });
    }
}

fn tell(sim: &mut Simulation, fault: &Fault, started: bool) {
    let at = Timestamp::from_millisecond(sim.now).unwrap_or_default();
    sim.script.notices.push(FaultNotice { at, what: fault.clone(), started });
}

fn begin(sim: &mut Simulation, fault: &Fault) {
    let crash = Conduct::Exits { code: 1, after: 2 * SECOND };
    match fault {
        Fault::ProvisionerDown { controller, grows } => {
            behave(sim, controller, crash);
            scale(sim, grows, 1);
        }
        Fault::ProvisioningRefused { driver, error, grows } => {
            sim.storage.refusing.insert(driver.clone(), error.clone());
            scale(sim, grows, 1);
        }
        Fault::BadRelease { deployment, ending } => {
            let conduct = match ending {
                Ending::Error => Conduct::Exits { code: 1, after: 4 * SECOND },
                Ending::OutOfMemory => Conduct::Leaks { after: 45 * SECOND },
            };
            let image = release(sim, deployment);
            sim.surroundings.set_image(&image, conduct);
        }
        Fault::FailingProbe { workload, probe } => {
            let conduct = match probe {
                Probe::Readiness => Conduct::Unready,
                Probe::Liveness => Conduct::Hangs,
            };
            behave(sim, workload, conduct);
        }
        Fault::NodeLost { node } => nodes::lose(sim, &Key::cluster(node)),
        Fault::RegistryDown { host, releases } => {
            sim.surroundings.set_registry(host, false);
            for deployment in releases {
                release(sim, deployment);
            }
        }
        Fault::Unschedulable { deployment, cpu } => {
            edit_template(sim, deployment, |d| {
                d.put("spec/template/spec/containers/0/resources/requests/cpu", json!(cpu));
            });
        }
        Fault::FailingJob { cron_job } => {
            behave(sim, cron_job, Conduct::Exits { code: 1, after: 6 * SECOND });
        }
    }
}

fn end(sim: &mut Simulation, fault: &Fault) {
    match fault {
        Fault::ProvisionerDown { controller, grows } => {
            behave(sim, controller, Conduct::Serves);
            replace_unready(sim, controller);
            let at = sim.now + SHRINK_AFTER;
            plan(sim, at, Step::Shrink(grows.clone()));
        }
        Fault::ProvisioningRefused { driver, grows, .. } => {
            sim.storage.refusing.remove(driver);
            let at = sim.now + SHRINK_AFTER;
            plan(sim, at, Step::Shrink(grows.clone()));
        }
        Fault::BadRelease { deployment, .. } | Fault::Unschedulable { deployment, .. } => {
            roll_back(sim, deployment);
        }
        Fault::FailingProbe { workload, .. } => behave(sim, workload, Conduct::Serves),
        Fault::NodeLost { node } => nodes::restore(sim, &Key::cluster(node)),
        // What was released stays: it starts as soon as it is pulled.
        Fault::RegistryDown { host, .. } => sim.surroundings.set_registry(host, true),
        Fault::FailingJob { cron_job } => behave(sim, cron_job, Conduct::Serves),
    }
}

/// The pods of a workload behave differently from here on.
fn behave(sim: &mut Simulation, workload: &Target, conduct: Conduct) {
    sim.surroundings.set_app(&workload.namespace, &workload.name, conduct);
    kubelet::recheck(sim, &workload.namespace, &workload.name);
}

/// Deletes the pods of a workload that are not ready, as an operator would who does not care to wait for back-offs.
fn replace_unready(sim: &mut Simulation, workload: &Target) {
    let all = sim.store.list(Kind::Pod, Some(&workload.namespace));
    let unready = all.filter(|(_, pod)| pod.label("app") == workload.name && !pods::ready(pod));
    let keys: Vec<_> = unready.map(|(key, _)| key.clone()).collect();
    for key in keys {
        sim.delete(Kind::Pod, &key);
    }
}

fn scale(sim: &mut Simulation, set: &Target, by: i64) {
    let key = Key::new(&set.namespace, &set.name);
    sim.store.update(Kind::StatefulSet, &key, |set| {
        let replicas = (set.int("spec/replicas") + by).max(0);
        set.put("spec/replicas", json!(replicas));
    });
}

/// Releases the next version of a Deployment; gives its image.
fn release(sim: &mut Simulation, deployment: &Target) -> String {
    edit_template(sim, deployment, |d| {
        let tag = next_tag(image_of(d));
        set_tag(d, &tag);
    });
    let key = Key::new(&deployment.namespace, &deployment.name);
    sim.store.get(Kind::Deployment, &key).map_or("", |d| image_of(d)).to_owned()
}

fn edit_template(sim: &mut Simulation, deployment: &Target, edit: impl FnOnce(&mut Value)) {
    let key = Key::new(&deployment.namespace, &deployment.name);
    let Some(before) = sim.store.get(Kind::Deployment, &key).and_then(|d| d.at("spec/template"))
    else {
        return;
    };
    sim.script.before.insert(key.clone(), before.clone());
    sim.store.update(Kind::Deployment, &key, edit);
}

fn roll_back(sim: &mut Simulation, deployment: &Target) {
    let key = Key::new(&deployment.namespace, &deployment.name);
    if let Some(before) = sim.script.before.remove(&key) {
        sim.store.update(Kind::Deployment, &key, |d| d.put("spec/template", before));
    }
}
