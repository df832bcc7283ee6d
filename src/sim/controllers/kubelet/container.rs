//! How does a container get from its image to running, from its end to the next start?

use serde_json::{Value, json};

use super::{Scene, images, probes, volumes};
use crate::sim::fields::Fields;
use crate::sim::kind::Kind;
use crate::sim::moment::{MINUTE, Moment, SECOND, stamp};
use crate::sim::store::Key;
use crate::sim::surroundings::Conduct;

/// Back-off between restarts and between pulls: 10 s doubling to 5 min, forgotten after 10 min of running
/// (`MaxContainerBackOff`, kubelet's `backOffPeriod`).
pub(super) const FIRST_WAIT: Moment = 10 * SECOND;
pub(super) const LONGEST_WAIT: Moment = 5 * MINUTE;
const FORGET_AFTER: Moment = 10 * MINUTE;
/// How soon a kubelet sees to a container that has ended.
const NOTICED: Moment = SECOND;
/// How often a pod worker comes back to a pod that it cannot help.
pub(super) const RETRY: Moment = 12 * SECOND;

/// One container.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) name: String,
    pub(super) image: String,
    pub(super) restarts: u32,
    pub(super) state: State,
    /// How the previous instance ended.
    pub(super) last: Option<Ended>,
    /// The next wait between restarts; 0 before the first.
    wait: Moment,
    /// The next wait between pulls.
    pub(super) pull_wait: Moment,
    pub(super) probes: probes::Probes,
}

/// Where a container is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Created,
    Pulling {
        began: Moment,
        until: Moment,
    },
    /// A pull failed; shown as `ErrImagePull` for a moment, then as `ImagePullBackOff` until the next try.
    PullFailed {
        error: String,
        shown_until: Moment,
        until: Moment,
        note_at: Moment,
    },
    Starting {
        until: Moment,
    },
    /// What its configuration refers to is not there.
    Unconfigured {
        error: String,
        until: Moment,
    },
    Running(Running),
    Ended {
        ended: Ended,
        until: Moment,
    },
    BackOff {
        wait: Moment,
        until: Moment,
        note_at: Moment,
    },
}

/// A running container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Running {
    /// By the node's clock.
    pub(super) since: Moment,
    pub(super) ready: bool,
    /// When it will end by itself, and with which code.
    end: Option<(Moment, i64)>,
}

/// How a container ended, with times by the node's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) code: i64,
    pub(super) reason: &'static str,
    pub(super) started: Moment,
    pub(super) finished: Moment,
}

impl Ended {
    fn new(code: i64, conduct: Conduct, started: Moment, finished: Moment) -> Self {
        let reason = match (code, conduct) {
            (0, _) => "Completed",
            (137, Conduct::Leaks { .. }) => "OOMKilled",
            _ => "Error",
        };
        Self { code, reason, started, finished }
    }
}

impl Container {
    pub(super) fn new(spec: &Value) -> Self {
        Self {
            name: spec.text("name").to_owned(),
            image: spec.text("image").to_owned(),
            restarts: 0,
            state: State::Created,
            last: None,
            wait: 0,
            pull_wait: FIRST_WAIT,
            probes: probes::Probes::new(spec),
        }
    }

    pub(super) const fn running(&self) -> bool {
        matches!(self.state, State::Running(_))
    }

    pub(super) const fn ready(&self) -> bool {
        matches!(self.state, State::Running(Running { ready: true, .. }))
    }

    /// How the container ended for good, if it did.
    pub(super) const fn ended(&self) -> Option<&Ended> {
        match &self.state {
            State::Ended { ended, until: Moment::MAX } => Some(ended),
            _ => None,
        }
    }

    /// A number of this instance, for draws.
    pub(super) fn thing(&self, scene: &Scene<'_>) -> String {
        format!("{}/{}/{}", scene.uid(), self.name, self.restarts)
    }

    /// Takes every step that is due; gives the time of the next.
    pub(super) fn live(&mut self, scene: &mut Scene<'_>) -> Moment {
        loop {
            let next = self.step(scene);
            if next > scene.now() {
                return next;
            }
        }
    }

    fn step(&mut self, scene: &mut Scene<'_>) -> Moment {
        let now = scene.now();
        match self.state.clone() {
            State::Created => images::begin(self, scene),
            State::Pulling { until, .. }
            | State::Starting { until }
            | State::Unconfigured { until, .. }
                if until > now =>
            {
                until
            }
            State::Pulling { began, .. } => images::finish(self, scene, began),
            State::PullFailed { error, shown_until, until, note_at } => {
                images::wait(self, scene, error, shown_until, until, note_at)
            }
            State::Starting { .. } | State::Unconfigured { .. } => self.start(scene),
            State::Running(running) => self.run(scene, running),
            State::Ended { until, .. } if until > now => until,
            State::Ended { ended, .. } => self.restart(scene, ended),
            State::BackOff { wait, until, note_at } => self.back_off(scene, wait, until, note_at),
        }
    }

    fn start(&mut self, scene: &mut Scene<'_>) -> Moment {
        if let Some(error) = unconfigured(scene, &self.name) {
            scene.note(&self.name, true, "Failed", format!("Error: {error}"));
            let until = scene.now() + RETRY;
            self.state = State::Unconfigured { error, until };
            return until;
        }
        scene.note(&self.name, false, "Created", "Container created".to_owned());
        scene.note(&self.name, false, "Started", "Container started".to_owned());
        let now = scene.now();
        let thing = self.thing(scene);
        let wait = match scene.sim.surroundings.conduct(&scene.pod, &self.image) {
            Conduct::StartsAfter { wait } => wait,
            _ => 0,
        };
        let warm = scene.sim.chance.of("warm-up", &thing).log_normal(2 * SECOND, 0.5);
        self.probes.begin(now, wait + scene.takes(warm));
        let ready = !self.probes.readiness();
        self.state = State::Running(Running { since: scene.clock(), ready, end: None });
        now
    }

    /// Looks at a running container: does it end, does it answer its probes?
    fn run(&mut self, scene: &mut Scene<'_>, mut running: Running) -> Moment {
        let now = scene.now();
        let mut conduct = scene.sim.surroundings.conduct(&scene.pod, &self.image);
        if conduct == Conduct::Serves
            && scene.sim.memories.reach.lacks(scene.sim.chance, &scene.pod)
        {
            conduct = Conduct::Unready;
        }
        if conduct == Conduct::Serves && volumes::full(scene.sim, &scene.pod) {
            conduct = Conduct::Exits { code: 1, after: 3 * SECOND };
        }
        self.foresee(scene, &mut running, conduct);
        if let Some((at, code)) = running.end
            && at <= now
        {
            return self.end(scene, Ended::new(code, conduct, running.since, scene.clock()));
        }
        let verdict = self.probes.look(&self.name, scene, conduct);
        if let Some(ready) = verdict.ready {
            running.ready = ready;
        }
        if verdict.kill {
            let text = format!("Container {} failed liveness probe, will be restarted", self.name);
            scene.note(&self.name, false, "Killing", text);
            return self.end(scene, Ended::new(137, conduct, running.since, scene.clock()));
        }
        let end = running.end.map_or(Moment::MAX, |(at, _)| at);
        self.state = State::Running(running);
        end.min(verdict.next)
    }

    /// Settles when the program ends by itself, should it behave so.
    fn foresee(&self, scene: &Scene<'_>, running: &mut Running, conduct: Conduct) {
        let once = scene.pod.text("spec/restartPolicy") != "Always";
        let (code, typical) = match conduct {
            Conduct::Exits { code, after } => (code, after),
            Conduct::Leaks { after } => (137, after),
            _ if once => (0, 20 * SECOND),
            _ => {
                running.end = None;
                return;
            }
        };
        if running.end.is_none_or(|(_, planned)| planned != code) {
            let took = scene.sim.chance.of("end", &self.thing(scene)).log_normal(typical, 0.4);
            running.end = Some((scene.now() + took.max(SECOND / 2), code));
        }
    }

    fn end(&mut self, scene: &mut Scene<'_>, ended: Ended) -> Moment {
        self.probes.pause(scene.now());
        let policy = scene.pod.text("spec/restartPolicy");
        let again = policy == "Always" || (policy == "OnFailure" && ended.code != 0);
        if ended.finished - ended.started > FORGET_AFTER {
            self.wait = 0;
        }
        let until = if again { scene.now() + NOTICED } else { Moment::MAX };
        self.state = State::Ended { ended, until };
        until
    }

    fn restart(&mut self, scene: &Scene<'_>, ended: Ended) -> Moment {
        let now = scene.now();
        let wait = std::mem::replace(&mut self.wait, FIRST_WAIT);
        self.last = Some(ended);
        if wait == 0 {
            self.restarts += 1;
            self.state = State::Created;
            return now;
        }
        self.wait = (wait * 2).min(LONGEST_WAIT);
        // Counted from the end, which was that long ago.
        self.state = State::BackOff { wait, until: now - NOTICED + wait, note_at: now };
        now
    }

    fn back_off(
        &mut self,
        scene: &mut Scene<'_>,
        wait: Moment,
        until: Moment,
        mut note_at: Moment,
    ) -> Moment {
        let now = scene.now();
        if until <= now {
            self.restarts += 1;
            self.state = State::Created;
            return now;
        }
        if note_at <= now {
            let text = format!(
                "Back-off restarting failed container {} in pod {}",
                self.name,
                scene.pod_name()
            );
            scene.note(&self.name, true, "BackOff", text);
            note_at = now + RETRY;
        }
        self.state = State::BackOff { wait, until, note_at };
        until.min(note_at)
    }

    /// `containerStatuses[].state`.
    pub(super) fn state_json(&self, pod_name: &str) -> Value {
        let waiting = |reason: &str, message: String| {
            if message.is_empty() {
                json!({"waiting": {"reason": reason}})
            } else {
                json!({"waiting": {"reason": reason, "message": message}})
            }
        };
        match (&self.state, &self.last) {
            (State::Running(running), _) => json!({"running": {"startedAt": stamp(running.since)}}),
            (State::Ended { ended, .. }, _) => ended.json(),
            (State::PullFailed { error, shown_until, note_at, .. }, _)
                if note_at == shown_until =>
            {
                waiting("ErrImagePull", error.clone())
            }
            (State::PullFailed { error, .. }, _) => {
                let image = &self.image;
                waiting(
                    "ImagePullBackOff",
                    format!("Back-off pulling image {image:?}: ErrImagePull: {error}"),
                )
            }
            (State::Unconfigured { error, .. }, _) => {
                waiting("CreateContainerConfigError", error.clone())
            }
            (State::BackOff { wait, .. }, _) => {
                let wait = human(*wait);
                let name = &self.name;
                let text =
                    format!("back-off {wait} restarting failed container={name} pod={pod_name}");
                waiting("CrashLoopBackOff", text)
            }
            (_, Some(last)) => last.json(),
            _ => waiting("ContainerCreating", String::new()),
        }
    }
}

impl Ended {
    pub(super) fn json(&self) -> Value {
        json!({"terminated": {
            "exitCode": self.code,
            "reason": self.reason,
            "startedAt": stamp(self.started),
            "finishedAt": stamp(self.finished),
        }})
    }
}

/// What is missing of the configuration that a container's environment refers to (`makeEnvironmentVariables`).
fn unconfigured(scene: &Scene<'_>, container: &str) -> Option<String> {
    let all = scene.pod.items("spec/containers").iter();
    let spec = all.into_iter().find(|c| c.text("name") == container)?;
    let ns = scene.pod.text("metadata/namespace");
    for reference in spec.items("env").iter().filter_map(|e| e.at("valueFrom/configMapKeyRef")) {
        let (name, key) = (reference.text("name"), reference.text("key"));
        let Some(map) = scene.sim.store.get(Kind::ConfigMap, &Key::new(ns, name)) else {
            return Some(format!("configmap {name:?} not found"));
        };
        if map.at("data").and_then(|data| data.get(key)).is_none() {
            return Some(format!("couldn't find key {key} in ConfigMap {ns}/{name}"));
        }
    }
    None
}

/// Whole seconds as Go prints a duration: `40s`, `2m40s`, `5m0s`.
fn human(wait: Moment) -> String {
    let seconds = wait / SECOND;
    if seconds < 60 { format!("{seconds}s") } else { format!("{}m{}s", seconds / 60, seconds % 60) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_written_as_go_writes_them() {
        for (wait, text) in [(10, "10s"), (80, "1m20s"), (300, "5m0s")] {
            assert_eq!(human(wait * SECOND), text);
        }
    }
}
