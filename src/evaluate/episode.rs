//! When was what wrong, and what may be told of it?

use std::time::Duration;

use crate::model::record::Time;
use crate::model::subject::Subject;
use crate::sim::{Class, Fault, Planned, Scenario, Shape, serves_everybody};

use super::START;

/// A fault that was told this long after its end still counts as told: bad states have dwells.
const LATE: i64 = 5 * 60;
/// For this long after the end of a fault its consequences are no false alarms: pods start, bands come back.
const AFTERMATH: i64 = 30 * 60;
/// For this long after that baselines still look back on it: two hours of durations, an hour of counts.
const REMEMBERED: i64 = 2 * 3_600;

/// Whatever goes wrong is reported, so these speak because of any fault.
const ANY: [&str; 1] = ["observability_events_total"];

/// Parameters that give the name alone, and the namespace in which they are.
const HOMES: [(&str, &str); 2] = [("application", "argocd"), ("kustomization", "flux-system")];

/// One time that a fault, or a healthy disturbance, was there.
#[derive(Clone, Debug)]
pub struct Episode {
    /// What.
    pub fault: Fault,
    /// Since when.
    pub begin: Time,
    /// Until when.
    pub end: Time,
}

/// What a scenario does within `duration` in a cluster of this shape, in order. What is cut short by the end counts
/// until the end.
#[must_use]
pub(super) fn episodes(scenario: &Scenario, shape: Shape, duration: Duration) -> Vec<Episode> {
    let episode = |start: Duration, planned: &Planned| {
        let (fault, lasts) = planned.fault()?;
        let begin = start + planned.at;
        let end = (begin + lasts).min(duration);
        let episode = Episode { fault: fault.clone(), begin: after(begin), end: after(end) };
        (begin < duration).then_some(episode)
    };
    let ordinary = scenario.ordinary(shape, START, duration);
    let mut start = Duration::ZERO;
    let mut all: Vec<_> = ordinary.iter().filter_map(|planned| episode(start, planned)).collect();
    loop {
        all.extend(scenario.timeline.iter().filter_map(|planned| episode(start, planned)));
        match scenario.every {
            Some(every) if start + every < duration => start += every,
            _ => break,
        }
    }
    all.sort_by_key(|episode| episode.begin);
    all
}

/// So long after the start of a play.
pub(super) fn after(duration: Duration) -> Time {
    START.checked_add(duration).unwrap_or(Time::MAX)
}

impl Episode {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn healthy(&self) -> bool {
        self.fault.kind.class == Class::Healthy
    }

    /// Whether something told at this time may tell of the fault itself.
    pub(super) fn is_on(&self, at: Time) -> bool {
        self.begin <= at && at.as_second() <= self.end.as_second() + LATE
    }

    /// Whether something told at this time may be a consequence.
    pub(super) fn is_felt(&self, at: Time) -> bool {
        self.begin <= at && at.as_second() <= self.end.as_second() + AFTERMATH
    }

    /// Whether what is judged at this time looks back on it: baselines judge by the last hours.
    pub(super) fn is_remembered(&self, at: Time) -> bool {
        self.begin <= at && at.as_second() <= self.end.as_second() + AFTERMATH + REMEMBERED
    }

    /// Whether this signal tells of the fault itself.
    pub(super) fn is_told_by(&self, signal: &str) -> bool {
        self.fault.kind.tells.contains(&signal)
    }

    /// Whether its record says that this signal tells of it or follows from it.
    pub(super) fn is_named_for(&self, signal: &str) -> bool {
        self.fault.kind.names().any(|name| name == signal)
    }

    /// Whether this signal may speak because of it.
    pub(super) fn accounts_for(&self, signal: &str) -> bool {
        self.is_named_for(signal) || !self.healthy() && ANY.contains(&signal)
    }

    /// Whether the subject is the fault's root, another object that it names, part of one of them, what of another kind
    /// than the root is near them, or the namespace or cluster around them.
    pub(super) fn is_about(&self, subject: &Subject) -> bool {
        let (kind, namespace, name) = self.fault.root();
        if subject.name.is_empty() {
            return true;
        }
        if &*subject.kind == "Namespace" {
            return namespace.is_empty() || self.named().any(|(ns, _)| ns == *subject.name);
        }
        if namespace.is_empty() {
            // A fault of the node or the class shows in whatever is on it.
            return *subject.kind != *kind || name == *subject.name;
        }
        let part = |(ns, name): (String, String)| {
            ns == *subject.namespace && subject.name.as_str().contains(&name)
        };
        // Claims of a provisioner, Certificates of an issuer: a fault shows in what it serves.
        let served = *subject.kind != *kind && self.reaches(subject);
        subject.namespace.is_empty() || self.named().any(part) || served
    }

    /// Whether the subject is within reach of the fault: in the namespaces that it names, or anywhere if what fails
    /// serves everybody.
    pub(super) fn reaches(&self, subject: &Subject) -> bool {
        let (_, root, _) = self.fault.root();
        let namespace = match &*subject.kind {
            "Namespace" => &subject.name,
            _ => &subject.namespace,
        };
        // Every image comes from the same few registries.
        let registry = self.fault.parameters().any(|(name, _)| name == "host");
        // Whatever was on a node that is lost.
        let node = self.is_told_by("compute_node_not_ready");
        root.is_empty()
            || registry
            || node
            || serves_everybody(&root)
            || namespace.is_empty()
            || self.named().any(|(ns, _)| ns == **namespace)
    }

    /// Namespace and name of the root and of each object that the fault names.
    fn named(&self) -> impl Iterator<Item = (String, String)> {
        let (_, namespace, name) = self.fault.root();
        let parameters = self.fault.parameters().filter_map(|(parameter, value)| {
            let home = HOMES.iter().find(|(of, _)| *of == parameter).map(|(_, ns)| (*ns, value));
            let namespace = (parameter == "namespace").then_some((value, value));
            value.split_once('/').or(home).or(namespace)
        });
        let parameters = parameters.map(|(ns, name)| (ns.to_owned(), name.to_owned()));
        std::iter::once((namespace, name)).filter(|(ns, _)| !ns.is_empty()).chain(parameters)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::clock::Clock;
    use crate::model::kind::Kind;
    use crate::sim::Cluster;

    fn subject(kind: Kind, namespace: &str, name: &str) -> Subject {
        Subject::new(kind, &namespace.into(), &name.into())
    }

    fn episode(name: &str) -> Episode {
        let fault = Fault::named(name).expect("a fault");
        Episode { fault, begin: START, end: after(Duration::from_mins(10)) }
    }

    #[test]
    fn a_repeated_scenario_gives_an_episode_each_time() {
        let scenario = Scenario::builtin("crashloop").expect("a scenario");
        let all = episodes(&scenario, Shape::default(), Duration::from_hours(2));
        // 9 minutes, every 24, first at minute 2.
        assert_eq!(all.len(), 5);
        assert_eq!(all[1].begin, after(Duration::from_mins(26)));
        assert_eq!(all[4].end, after(Duration::from_mins(107)));
    }

    #[test]
    fn ordinary_days_give_the_episodes_that_the_cluster_lives_through() {
        let life = Scenario::builtin("life").expect("a scenario");
        let shape = Shape { nodes: 6, pods: 90, seed: 5 };
        // Over a midnight.
        let lasts = Duration::from_hours(26);
        let all = episodes(&life, shape, lasts);
        assert!(all.len() > 10 && all.iter().all(Episode::healthy), "{}", all.len());
        let clock = Clock::manual(START);
        let cluster = Cluster::new(shape, life, clock);
        let begun = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&begun);
        cluster.on_fault(move |notice| {
            if notice.started {
                list.lock().expect("the list").push((notice.at, notice.what.to_string()));
            }
        });
        cluster.advance_to(after(lasts));
        let planned: Vec<_> = all.iter().map(|e| (e.begin, e.fault.to_string())).collect();
        assert_eq!(*begun.lock().expect("the list"), planned);
    }

    #[test]
    fn a_fault_is_about_what_it_names_and_what_is_around() {
        let crash = episode("crashloop");
        assert!(crash.is_about(&subject(Kind::Deployment, "payments", "gateway")));
        assert!(crash.is_about(&Subject::cluster()));
        assert!(crash.is_about(&subject(Kind::Namespace, "", "payments")));
        assert!(!crash.is_about(&subject(Kind::Namespace, "", "shop")));
        assert!(!crash.is_about(&subject(Kind::Deployment, "payments", "reconciler")));
        assert!(crash.reaches(&subject(Kind::Deployment, "payments", "reconciler")));
        assert!(!crash.reaches(&subject(Kind::Deployment, "shop", "cart")));
    }

    #[test]
    fn the_claims_of_a_set_belong_to_it_and_a_lost_node_is_that_node() {
        let storage = episode("storage");
        let claim = subject(Kind::PersistentVolumeClaim, "shop", "data-sessions-3");
        assert!(storage.is_about(&claim));
        assert!(storage.reaches(&subject(Kind::Deployment, "media", "uploads")));
        let node = episode("node-loss");
        assert!(node.is_about(&subject(Kind::Node, "", "node-a1")));
        assert!(!node.is_about(&subject(Kind::Node, "", "node-b1")));
        assert!(node.is_about(&subject(Kind::Deployment, "shop", "cart")));
    }

    #[test]
    fn what_is_over_is_felt_for_a_while() {
        let crash = episode("crashloop");
        assert!(crash.is_on(after(Duration::from_mins(14))));
        assert!(!crash.is_on(after(Duration::from_mins(16))));
        assert!(crash.is_felt(after(Duration::from_mins(39))));
        assert!(!crash.is_felt(after(Duration::from_mins(41))));
        assert!(crash.is_remembered(after(Duration::from_mins(159))));
        assert!(!crash.is_remembered(after(Duration::from_mins(161))));
    }
}
