//! Does a container answer its probes? Probes of a container that serves are not played, they would change nothing.

use serde_json::Value;

use super::Scene;
use crate::sim::fields::Fields;
use crate::sim::moment::{Moment, SECOND};
use crate::sim::surroundings::Conduct;

/// The probes of one container.
#[derive(Debug)]
pub(super) struct Probes {
    readiness: Option<Probe>,
    liveness: Option<Probe>,
    /// When the program answers for the first time.
    warm: Moment,
}

#[derive(Debug)]
struct Probe {
    period: Moment,
    threshold: i64,
    delay: Moment,
    failures: i64,
    /// When the probe runs next; `MAX` while nothing is expected of it.
    next: Moment,
    began: Moment,
    /// What has come of it, over all instances of the container.
    answered: u64,
    failed: u64,
    /// Since when it is answered without being run here; `MAX` while it is run, or its container does not.
    resting: Moment,
}

/// What the probes say.
pub(super) struct Verdict {
    /// The container became ready or unready.
    pub(super) ready: Option<bool>,
    /// The container has to be restarted.
    pub(super) kill: bool,
    pub(super) next: Moment,
}

impl Probe {
    fn new(spec: Option<&Value>) -> Option<Self> {
        let spec = spec?;
        let or = |path: &str, default| spec.at(path).and_then(Value::as_i64).unwrap_or(default);
        Some(Self {
            period: or("periodSeconds", 10).max(1) * SECOND,
            threshold: or("failureThreshold", 3).max(1),
            delay: or("initialDelaySeconds", 0) * SECOND,
            failures: 0,
            next: Moment::MAX,
            began: 0,
            answered: 0,
            failed: 0,
            resting: Moment::MAX,
        })
    }

    /// How many runs of it were answered until `now`.
    fn answered(&self, now: Moment) -> u64 {
        let rested = now.saturating_sub(self.resting).max(0) / self.period;
        self.answered + u64::try_from(rested).unwrap_or(0)
    }

    /// Nothing is asked of it from here on.
    fn pause(&mut self, now: Moment) {
        self.answered = self.answered(now);
        self.resting = Moment::MAX;
    }

    /// The first run at or after `at`: probes keep their rhythm.
    fn run_after(&self, at: Moment) -> Moment {
        let first = self.began + self.delay;
        first + (at - first).max(0).div_euclid(self.period) * self.period + self.period
    }
}

impl Probes {
    pub(super) fn new(container: &Value) -> Self {
        Self {
            readiness: Probe::new(container.at("readinessProbe")),
            liveness: Probe::new(container.at("livenessProbe")),
            warm: 0,
        }
    }

    /// Whether there is a readiness probe.
    pub(super) const fn readiness(&self) -> bool {
        self.readiness.is_some()
    }

    /// What has come of them so far: type, result and count, as `prober_probe_total` has them.
    pub(super) fn counts(
        &self,
        now: Moment,
    ) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let both = [("Readiness", &self.readiness), ("Liveness", &self.liveness)];
        let counts = both.into_iter().filter_map(move |(name, probe)| {
            let probe = probe.as_ref()?;
            Some([(name, "successful", probe.answered(now)), (name, "failed", probe.failed)])
        });
        counts.flatten().filter(|(.., count)| *count > 0)
    }

    /// The container has ended.
    pub(super) fn pause(&mut self, now: Moment) {
        self.readiness.iter_mut().chain(&mut self.liveness).for_each(|probe| probe.pause(now));
    }

    /// The container starts.
    pub(super) fn begin(&mut self, now: Moment, wait: Moment) {
        self.warm = now + wait;
        for probe in [&mut self.readiness, &mut self.liveness].into_iter().flatten() {
            probe.began = now;
            probe.failures = 0;
            probe.next = Moment::MAX;
            probe.resting = self.warm.max(now + probe.delay);
        }
        if let Some(probe) = &mut self.readiness {
            probe.next = self.warm.max(now + probe.delay);
            probe.resting = Moment::MAX;
        }
    }

    /// Runs the probes that are due.
    pub(super) fn look(&mut self, name: &str, scene: &mut Scene<'_>, conduct: Conduct) -> Verdict {
        let mut verdict = Verdict { ready: None, kill: false, next: Moment::MAX };
        let now = scene.now();
        // On a slow node nobody knows what the next answer will be.
        let doubtful = scene.sim.surroundings.crowd(&scene.node).is_some();
        if let Some(probe) = &mut self.readiness {
            let late = doubtful && probe.next <= now && scene.misses("readiness");
            let answers = !late && !matches!(conduct, Conduct::Unready | Conduct::Hangs);
            match probe.run(now, answers, doubtful) {
                Some(true) => verdict.ready = Some(true),
                Some(false) => {
                    let words = complaint(scene, if late { Conduct::Hangs } else { conduct });
                    let text = format!("Readiness probe failed: {words}");
                    scene.note(name, true, "Unhealthy", text);
                    if probe.failures >= probe.threshold {
                        verdict.ready = Some(false);
                    }
                }
                None => {}
            }
            verdict.next = verdict.next.min(probe.next);
        }
        if let Some(probe) = &mut self.liveness {
            let late = doubtful && probe.next <= now && scene.misses("liveness");
            let answers = !late && conduct != Conduct::Hangs;
            if probe.run(now, answers, doubtful) == Some(false) {
                let words = complaint(scene, Conduct::Hangs);
                let text = format!("Liveness probe failed: {words}");
                scene.note(name, true, "Unhealthy", text);
                verdict.kill = probe.failures >= probe.threshold;
            }
            verdict.next = verdict.next.min(probe.next);
        }
        verdict
    }
}

impl Probe {
    /// Runs if it is due: the answer, or `None`. A probe that is answered rests until an answer fails, unless the next
    /// one is doubtful.
    fn run(&mut self, now: Moment, answers: bool, doubtful: bool) -> Option<bool> {
        if self.next > now {
            if (doubtful || !answers) && self.next == Moment::MAX {
                self.next = self.run_after(now);
            }
            return None;
        }
        // Up to just before this run.
        self.pause(now - 1);
        if answers {
            self.answered += 1;
            self.failures = 0;
            self.next = if doubtful { now + self.period } else { Moment::MAX };
            self.resting = if doubtful { Moment::MAX } else { now };
        } else {
            self.failed += 1;
            self.failures += 1;
            self.next = now + self.period;
        }
        Some(answers)
    }
}

/// What the HTTP prober says.
fn complaint(scene: &Scene<'_>, conduct: Conduct) -> String {
    if conduct == Conduct::Hangs {
        let address = super::address(scene.sim, scene.uid());
        format!(
            "Get \"http://{address}:8080/healthz\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        )
    } else {
        "HTTP probe failed with statuscode: 503".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn runs_are_counted_whether_they_are_played_or_not() {
        let spec = json!({"periodSeconds": 10});
        let mut probe = Probe::new(Some(&spec)).unwrap();
        let now = |seconds: Moment| seconds * SECOND;
        let counts = |probe: &Probe, at| (probe.answered(now(at)), probe.failed);
        probe.next = now(2);
        assert_eq!(probe.run(now(2), true, false), Some(true));
        assert_eq!(counts(&probe, 2), (1, 0));
        assert_eq!(counts(&probe, 41), (4, 0), "12, 22 and 32");
        assert_eq!(probe.run(now(41), false, false), None, "it is run from now on");
        let next = probe.next / SECOND;
        assert_eq!(probe.run(now(next), false, false), Some(false));
        let (answered, failed) = counts(&probe, next);
        assert_eq!((answered, failed), (counts(&probe, 900).0, 1), "nothing is answered by itself");
        assert!(answered >= 4);
        probe.pause(now(950));
        assert_eq!(counts(&probe, 990), (answered, 1));
    }
}
