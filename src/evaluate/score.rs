//! Was it told, how soon, and what was told for nothing? One play, marked against what its scenario says.

use std::time::Duration;

use crate::model::record::Time;
use crate::model::report::{Rarities, Report};
use crate::sim::{Expected, Scenario, Shape};

use super::episode::{Episode, after, episodes};
use super::static_rules::StaticRules;
use super::told::{Kubestrata, Told, Watcher, What};
use super::zscore::ZScores;

/// How long after its start the daemon has seen every series, and begins to warm up.
const SETTLED: Duration = Duration::from_mins(1);

/// Who tells: kubestrata, and what it is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Teller {
    Kubestrata,
    StaticRules,
    ZScore,
}

impl Teller {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Kubestrata, Self::StaticRules, Self::ZScore];

    /// As tables write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kubestrata => "kubestrata",
            Self::StaticRules => "static rules",
            Self::ZScore => "plain z-score",
        }
    }
}

/// How a play went for one teller.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    /// Each fault that was there for long enough.
    pub faults: Vec<FaultMark>,
    /// How many times somebody was disturbed.
    pub told: usize,
    /// What was told though nothing accounts for it.
    pub false_alarms: Vec<Told>,
    /// What the scenario expects, and whether it was told in time.
    pub expected: Vec<(Expected, bool)>,
    /// What was told of signals that the scenario wants quiet.
    pub broken_quiet: Vec<Told>,
}

/// How one fault went.
#[derive(Clone, Debug)]
pub struct FaultMark {
    /// The fault, with its times.
    pub episode: Episode,
    /// How long it took until it was told, if it was.
    pub told_after: Option<Duration>,
    /// How many findings, alerts and anomalies it led to.
    pub findings: usize,
    /// How many of them are anomalies.
    pub anomalies: usize,
}

impl FaultMark {
    /// Whether it was told as soon as its record asks for.
    #[must_use]
    pub fn in_time(&self) -> bool {
        let within = Duration::from_secs(u64::from(self.episode.fault.kind.within));
        self.told_after.is_some_and(|took| took <= within)
    }
}

/// Marks one play while it goes on.
pub struct Scorer {
    scenario: Scenario,
    episodes: Vec<Episode>,
    duration: Duration,
    watchers: [Box<dyn Watcher>; 3],
    told: [Vec<Told>; 3],
    /// From when on series have a past to be judged by.
    judged: Time,
    calm: Rarities,
}

impl Scorer {
    /// For a play of this scenario that lasts this long in a cluster of this shape, of a daemon that takes this long to
    /// warm up.
    #[must_use]
    pub fn new(scenario: Scenario, shape: Shape, duration: Duration, warm_up: Duration) -> Self {
        let episodes = episodes(&scenario, shape, duration);
        let watchers: [Box<dyn Watcher>; 3] =
            [Box::new(Kubestrata), Box::new(StaticRules::default()), Box::new(ZScores::default())];
        let told = Default::default();
        let (judged, calm) = (after(warm_up + SETTLED), Rarities::default());
        Self { scenario, episodes, duration, watchers, told, judged, calm }
    }

    /// Takes in what was said at a tick.
    pub fn observe(&mut self, report: &Report) {
        for (watcher, told) in self.watchers.iter_mut().zip(&mut self.told) {
            told.extend(watcher.look(report));
        }
        let labelled = self.labelled_until().is_none_or(|until| report.at < until);
        let mut faults = self.episodes.iter().filter(|e| !e.healthy());
        let remembered = faults.any(|e| e.is_remembered(report.at));
        if report.at >= self.judged && labelled && !remembered {
            let (calm, tick) = (&mut self.calm, &report.myself.rarities);
            calm.tests += tick.tests;
            calm.at_most.iter_mut().zip(tick.at_most).for_each(|(sum, n)| *sum += n);
        }
    }

    /// How often series surprised while nothing was wrong.
    #[must_use]
    pub const fn calm(&self) -> Rarities {
        self.calm
    }

    /// The marks, by the order of [`Teller::ALL`].
    #[must_use]
    pub fn marks(&self) -> [Marks; 3] {
        [0, 1, 2].map(|nth| self.marks_of(Teller::ALL[nth], &self.told[nth]))
    }

    fn marks_of(&self, teller: Teller, told: &[Told]) -> Marks {
        let mut marks = Marks::default();
        let (mut accounted, mut told_for) = (Vec::new(), 0);
        let labelled_until = self.labelled_until();
        for told in told.iter().filter(|t| t.disturbs()) {
            if self.scenario.quiet.iter().any(|signal| **signal == *told.signal) {
                marks.broken_quiet.push(told.clone());
            }
            let causes = self.episodes.iter().enumerate().rev();
            let mut causes = causes.filter(|(_, e)| {
                e.is_felt(told.at) && e.accounts_for(&told.signal) && e.reaches(&told.subject)
            });
            let cause = causes.next().map(|(_, e)| e.begin);
            let expected = self.scenario.expect.iter().any(|e| meets(e, told));
            let labelled = labelled_until.is_none_or(|until| told.at < until);
            if let Some(begin) = cause {
                accounted.push((begin, told.what));
            } else if !expected && labelled {
                marks.false_alarms.push(told.clone());
            }
            told_for += usize::from(cause.is_some() || expected || labelled);
        }
        (marks.told, marks.faults) = (told_for, self.faults(teller, told, &marks.false_alarms));
        for (begin, what) in accounted {
            let Some(fault) = marks.faults.iter_mut().rfind(|f| f.episode.begin == begin) else {
                continue;
            };
            match what {
                What::Anomaly => fault.anomalies += 1,
                _ => fault.findings += 1,
            }
        }
        let met = |e: &Expected| (e.clone(), told.iter().any(|t| meets(e, t)));
        marks.expected = self.scenario.expect.iter().map(met).collect();
        marks
    }

    /// Faults that were there for long enough to be told. Where a false alarm would have told of the fault in as long
    /// before its begin as it took after it, that it was told is chance.
    fn faults(&self, teller: Teller, told: &[Told], false_alarms: &[Told]) -> Vec<FaultMark> {
        let end = after(self.duration).as_second();
        let whole = |e: &&Episode| {
            !e.healthy() && e.begin.as_second() + i64::from(e.fault.kind.within) <= end
        };
        let mark = |episode: &Episode| {
            // kubestrata has to name the fault; of others it is enough that they speak of a consequence near by.
            let tells = |t: &&Told| match teller {
                Teller::Kubestrata => episode.is_told_by(&t.signal) && episode.is_about(&t.subject),
                _ => episode.is_named_for(&t.signal) && episode.reaches(&t.subject),
            };
            let first = told.iter().filter(|t| episode.is_on(t.at)).find(tells);
            let took = |t: &Told| Duration::try_from(t.at.duration_since(episode.begin)).ok();
            let before = |t: &Told| Duration::try_from(episode.begin.duration_since(t.at)).ok();
            let mirrored = |took: Duration| {
                let mut of_it = false_alarms.iter().filter(tells).filter_map(before);
                of_it.any(|before| !before.is_zero() && before <= took)
            };
            let told_after = first.and_then(took).filter(|took| !mirrored(*took));
            let episode = episode.clone();
            FaultMark { episode, told_after, findings: 0, anomalies: 0 }
        };
        self.episodes.iter().filter(whole).map(mark).collect()
    }

    /// From when on a plain change may have consequences that nothing but `expect` tells; `None` if there is none.
    fn labelled_until(&self) -> Option<Time> {
        let changes = self.scenario.timeline.iter().filter(|p| p.fault().is_none());
        changes.map(|p| after(p.at)).min()
    }
}

fn meets(expected: &Expected, told: &Told) -> bool {
    *expected.signal == *told.signal
        && (expected.namespace.is_empty() || *expected.namespace == *told.subject.namespace)
        && (expected.name.is_empty() || *expected.name == *told.subject.name)
        && (after(expected.after)..=after(expected.by)).contains(&told.at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::finding::Severity;
    use crate::model::kind::Kind;
    use crate::model::subject::Subject;

    fn told(minute: u64, signal: &str, namespace: &str, name: &str, what: What) -> Told {
        let subject = Subject::new(Kind::Deployment, &namespace.into(), &name.into());
        let (at, signal) = (after(Duration::from_mins(minute)), signal.into());
        Told { at, signal, subject, what, message: String::new() }
    }

    const FINDING: What = What::Finding(Severity::Warning);

    /// `crashloop` of payments/gateway from minute 2 to 11 of each 24.
    fn scorer(told: Vec<Told>) -> Scorer {
        let scenario = Scenario::builtin("crashloop").expect("a scenario");
        let mut scorer = Scorer::new(
            scenario,
            Shape::default(),
            Duration::from_mins(24),
            Duration::from_hours(1),
        );
        scorer.told = [told.clone(), told.clone(), told];
        scorer
    }

    #[test]
    fn a_fault_is_told_by_its_signal_about_its_root_in_its_time() {
        let hit = told(4, "compute_crashloop", "payments", "gateway", FINDING);
        let [marks, ..] = scorer(vec![hit.clone()]).marks();
        assert_eq!(marks.faults.len(), 1);
        assert_eq!(marks.faults[0].told_after, Some(Duration::from_mins(2)));
        assert!(marks.faults[0].in_time());
        assert_eq!((marks.told, marks.false_alarms.len(), marks.faults[0].findings), (1, 0, 1));
        for miss in [
            told(1, "compute_crashloop", "payments", "gateway", FINDING),
            told(4, "compute_crashloop", "shop", "cart", FINDING),
            told(4, "storage_pvc_lost", "payments", "gateway", FINDING),
        ] {
            let [marks, ..] = scorer(vec![miss.clone()]).marks();
            assert_eq!(marks.faults[0].told_after, None, "{miss:?}");
            assert_eq!(marks.false_alarms, [miss]);
        }
    }

    #[test]
    fn who_has_said_the_same_for_nothing_as_long_before_has_not_told() {
        let at = |minute| told(minute, "compute_crashloop", "payments", "gateway", FINDING);
        for (before, after, told) in [(1, 4, false), (1, 2, true)] {
            let [marks, ..] = scorer(vec![at(before), at(after)]).marks();
            assert_eq!(marks.false_alarms.len(), 1);
            assert_eq!(marks.faults[0].told_after.is_some(), told, "{before} {after}");
        }
    }

    #[test]
    fn a_consequence_is_no_false_alarm_but_does_not_tell_of_the_fault() {
        let follows = told(4, "networking_service_not_serving", "payments", "gateway", FINDING);
        let [marks, rules, _] = scorer(vec![follows]).marks();
        assert!(marks.false_alarms.is_empty() && marks.faults[0].told_after.is_none());
        assert!(rules.faults[0].told_after.is_some(), "of others that is enough");
    }

    #[test]
    fn what_only_stands_on_a_page_disturbs_nobody() {
        let info = told(1, "storage_pvc_lost", "shop", "cart", What::Finding(Severity::Info));
        let [marks, ..] = scorer(vec![info]).marks();
        assert_eq!((marks.told, marks.false_alarms.len()), (0, 0));
    }

    #[test]
    fn a_disturbance_accounts_for_nothing_that_its_record_does_not_allow() {
        let scenario = Scenario::builtin("rolling-update").expect("a scenario");
        let mut scorer = Scorer::new(
            scenario,
            Shape::default(),
            Duration::from_mins(24),
            Duration::from_hours(1),
        );
        scorer.told[0] = vec![told(3, "compute_crashloop", "shop", "catalog", FINDING)];
        let [marks, ..] = scorer.marks();
        assert!(marks.faults.is_empty());
        assert_eq!(marks.false_alarms.len(), 1);
    }

    #[test]
    fn expectations_are_met_in_their_time_and_quiet_signals_are_held_to_it() {
        let mut scenario = Scenario::healthy();
        let (after, by) = (Duration::from_mins(5), Duration::from_mins(9));
        scenario.expect.push(Expected {
            signal: "compute_crashloop".to_owned(),
            namespace: "shop".to_owned(),
            name: String::new(),
            after,
            by,
        });
        scenario.quiet.push("storage_pvc_lost".to_owned());
        for (minute, met) in [(4, false), (6, true), (10, false)] {
            let mut scorer = Scorer::new(
                scenario.clone(),
                Shape::default(),
                Duration::from_mins(24),
                Duration::from_hours(1),
            );
            scorer.told[0] = vec![
                told(minute, "compute_crashloop", "shop", "cart", FINDING),
                told(minute, "storage_pvc_lost", "shop", "cart", FINDING),
            ];
            let [marks, ..] = scorer.marks();
            assert_eq!(marks.expected[0].1, met, "minute {minute}");
            assert_eq!(marks.false_alarms.len(), if met { 1 } else { 2 });
            assert_eq!(marks.broken_quiet.len(), 1);
        }
    }
}
