//! Does a series go from phase to phase as it should, whatever comes and whenever kubestrata restarts?

use proptest::prelude::*;

use super::*;
use crate::model::anomaly::Phase;

/// A series, tick by tick.
struct Life {
    detectors: Detectors,
    tick: i64,
    shown: Option<Arc<Anomaly>>,
    changes: Changes,
}

impl Life {
    fn new() -> Self {
        Self { detectors: Detectors::default(), tick: 0, shown: None, changes: Changes::default() }
    }

    /// A tick at which the series is rare (`r`), far more so (`R`), neither rare nor calm (`m`), calm (`c`) or not seen
    /// (`.`). Before it 20 minutes pass (`g`), or kubestrata restarts (`s`).
    fn live(&mut self, what: char) {
        let seen = match what {
            'r' => judged(1e-12, 9.0, true),
            'R' => judged(1e-30, 40.0, true),
            'm' => judged(1e-4, 5.0, true),
            'c' => judged(0.5, 1.0, true),
            '.' => vec![],
            'g' => {
                self.tick += 80;
                return;
            }
            's' => {
                let saved = postcard::to_allocvec(&self.detectors).unwrap();
                self.detectors = postcard::from_bytes(&saved).unwrap();
                return;
            }
            other => panic!("{other}"),
        };
        self.changes = self.detectors.step(seen, BOUNDS, at(self.tick));
        self.tick += 1;
        let suspected = self.detectors.suspected().rarest.pop();
        let open = self.detectors.open().pop();
        assert!(open.is_none() || suspected.is_none(), "one phase at a time");
        self.shown = suspected.or(open).or_else(|| self.changes.closed.first().cloned());
    }

    fn phase(&self) -> Option<Phase> {
        self.shown.as_ref().map(|a| a.phase)
    }
}

/// The phases of a series, tick by tick, by their first letter; `x` where it closes.
fn phases(ticks: &str) -> String {
    let mut life = Life::new();
    let mut phases = String::new();
    for what in ticks.chars() {
        life.live(what);
        if !"gs".contains(what) {
            phases.push(match life.phase() {
                None => '-',
                Some(Phase::Closed) => 'x',
                Some(phase) => phase.name().chars().next().unwrap(),
            });
        }
    }
    phases
}

/// It opens three times, and is calm for a minute, a minute, and two.
const FLAPS: &str = "rrcccccrrcccccrrccccccccc";
const FLAPPED: &str = "soorrrxsoorrrxsooorrrrrrx";

#[test]
fn ticks_lead_from_phase_to_phase() {
    let cases = [
        ("a rare tick alone is forgotten", "rcccc", "sss--"),
        ("two make an anomaly", "rr", "so"),
        ("also with another between", "r.r", "sso"),
        ("but not with two between", "rccrr", "sssso"),
        ("as rare as before is nothing new", "rrrrr", "soooo"),
        ("far more is", "rrRrr", "soeee"),
        ("one calm tick is no recovery", "rrcmc", "soooo"),
        ("calm for a minute, at its fifth recovering", "rrcccccc", "soorrrx-"),
        ("rare again before it was over", "rrcccrcc", "soorroor"),
        ("not calm is not over either", "rrcccmcc", "soorroor"),
        ("back to what it was", "rrRcccmcc", "soeerreer"),
        ("worse than ever as it recovers", "rrcccRm", "soorree"),
        ("not seen is as it was", "rrccc...c", "soorrrrrx"),
        ("not seen for an hour is over", "rrg.g.g.", "sooox"),
        ("soon again", "rrcccccrrc", "soorrrxsoo"),
        ("the third time it is held twice as long", FLAPS, FLAPPED),
        ("a restart changes nothing", "srsrscscsrsRs", "sooroe"),
    ];
    for (why, ticks, expected) in cases {
        assert_eq!(phases(ticks), expected, "{why}: {ticks}");
    }
}

#[test]
fn what_is_suspected_is_told_to_nobody_and_has_the_id_that_it_will_have() {
    let mut life = Life::new();
    life.live('r');
    assert_eq!(life.changes, Changes::default());
    assert!(life.detectors.open().is_empty() && life.detectors.opened_totals().is_empty());
    let suspected = life.shown.clone().unwrap();
    assert_eq!((suspected.state, suspected.times), (State::Suspected, 0));
    life.live('r');
    let open = life.shown.clone().unwrap();
    assert_eq!((&open.id, open.opened_at), (&suspected.id, suspected.opened_at));
    assert_eq!((open.times, open.phase_since), (1, at(1)));
    "ccccccccr".chars().for_each(|what| life.live(what));
    let again = life.shown.clone().unwrap();
    assert_eq!((&again.id, again.times, again.phase), (&open.id, 1, Phase::Suspected));
}

#[test]
fn recovering_and_back_disturbs_nobody() {
    let mut life = Life::new();
    "rr".chars().for_each(|what| life.live(what));
    for what in "cccrcccmcccr".chars() {
        life.live(what);
        assert_eq!(life.changes, Changes::default(), "{what}");
    }
    assert_eq!(life.shown.as_ref().map(|a| a.phase_since), Some(at(13)));
}

#[test]
fn what_flaps_is_held_open_and_says_so() {
    let mut life = Life::new();
    let mut opened = Vec::new();
    let mut live = |ticks: &str| {
        for what in ticks.chars() {
            life.live(what);
            opened.append(&mut life.changes.opened);
        }
        life.shown.clone()
    };
    live(FLAPS);
    let fourth = live("rr").unwrap();
    assert!(fourth.explanation.ends_with(": flapping, it closes only after 4m of calm"));
    // It comes and goes on, each time for too short to close.
    for _ in 0..5 {
        let held = live("ccccccccccccccccrr").unwrap();
        assert_eq!((&held.id, held.times, held.phase), (&fourth.id, 4, Phase::Open));
    }
    let worse = live("R").unwrap();
    assert!(
        worse.explanation.ends_with(
            "4 times since 1970-01-01T00:00Z: flapping, it closes only after 4m of calm"
        )
    );
    let closed = live("ccccccccccccccccc").unwrap();
    assert_eq!(closed.phase, Phase::Closed);
    let fifth = live("rr").unwrap();
    assert!(
        fifth.explanation.ends_with(
            "5 times since 1970-01-01T00:00Z: flapping, it closes only after 8m of calm"
        )
    );
    assert!(opened.iter().all(|a| a.id == fifth.id));
    let told: Vec<bool> = opened.iter().map(|a| a.explanation.contains("flapping")).collect();
    assert_eq!(told, [false, false, true, true, true]);
}

#[test]
fn the_rarest_of_those_that_are_suspected_are_shown() {
    let mut many = Vec::new();
    for n in 0..SUSPECTS + 20 {
        let (mut key, signal, expectation) = judged(1e-12, 9.0, true).remove(0);
        key.labels = labels![n.to_string().as_str()];
        many.push((key, signal, Expectation { p_value: 1e-10 / (n + 1) as f64, ..expectation }));
    }
    let mut detectors = Detectors::default();
    detectors.step(many, BOUNDS, at(0));
    let suspected = detectors.suspected();
    assert_eq!((suspected.series, suspected.rarest.len()), (SUSPECTS + 20, SUSPECTS));
    assert!(suspected.rarest.is_sorted_by(|a, b| a.p_value < b.p_value));
}

/// What may follow a phase. An anomaly that closes unseen may open again at once.
fn may_follow(before: Option<Phase>) -> &'static [Option<Phase>] {
    use Phase::{Closed, Escalated, Open, Recovering, Suspected};
    match before {
        None => &[Some(Suspected)],
        Some(Suspected) => &[None, Some(Open)],
        Some(Open) => &[Some(Escalated), Some(Recovering), Some(Closed)],
        Some(Escalated) => &[Some(Recovering), Some(Closed)],
        Some(Recovering) => &[Some(Open), Some(Escalated), Some(Closed)],
        Some(Closed) => &[None, Some(Suspected), Some(Open)],
    }
}

proptest! {
    #[test]
    fn phases_follow_each_other_as_they_may(ticks in "[rRmc.gs]{0,200}") {
        let mut life = Life::new();
        let mut before: Option<Arc<Anomaly>> = None;
        for what in ticks.chars() {
            life.live(what);
            if "gs".contains(what) {
                continue;
            }
            let (was, is) = (before.as_ref().map(|a| a.phase), life.phase());
            prop_assert!(was == is || may_follow(was).contains(&is), "{was:?} to {is:?}");
            if let Some(now) = &life.shown {
                prop_assert_eq!(now.state, now.phase.state());
                prop_assert_eq!(now.closed_at.is_some(), now.phase == Phase::Closed);
                let same = before.as_ref().filter(|b| b.phase == now.phase && b.id == now.id);
                let goes_on = same.is_some_and(|before| before.phase_since == now.phase_since);
                // What is suspected may be forgotten and suspected anew at one tick.
                let fresh = same.is_none() || now.phase == Phase::Suspected;
                prop_assert!(goes_on || fresh && now.phase_since == at(life.tick - 1));
            }
            let told = [&life.changes.opened, &life.changes.updated, &life.changes.closed];
            let entered = |phase| was != is && is == Some(phase);
            prop_assert_eq!(told[0].len(), usize::from(!is_open(was) && is_open(is)));
            prop_assert!(told[1].iter().all(|a| a.phase == Phase::Escalated));
            prop_assert_eq!(told[2].len(), usize::from(entered(Phase::Closed)));
            before.clone_from(&life.shown);
        }
    }

    #[test]
    fn a_restart_changes_no_phase(ticks in "[rRmc.gs]{0,100}") {
        prop_assert_eq!(phases(&ticks), phases(&ticks.replace('s', "")));
    }
}

fn is_open(phase: Option<Phase>) -> bool {
    phase.is_some_and(|phase| phase.state() == State::Open)
}
