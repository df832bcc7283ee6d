//! Does each replica say what its predecessor has not, and nothing twice?

use super::*;
use crate::labels;
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::reading::Labels;
use crate::model::report::{SelfReport, SignalReport, Suspected};
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::source::Availability;
use crate::model::subject::Subject;

static SIGNAL: Signal = Signal {
    block: "S0.0",
    name: "storage_test",
    layer: Layer::Storage,
    help: "A test.",
    unit: Unit::Count,
    labels: &["reason"],
    reasons: &["broken"],
    bound: "1",
    needs: &[],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(|_, _| {}),
};

fn at(second: i64) -> Time {
    Time::from_second(second).unwrap()
}

fn finding(number: u64) -> Finding {
    Finding {
        id: format!("f-{number:016x}"),
        layer: Layer::Storage,
        signal: SIGNAL.name.into(),
        subject: Subject::cluster(),
        severity: Severity::Warning,
        since: at(0),
        reason: "broken".into(),
        message: "it is broken".to_owned(),
        labels: labels!["broken"],
    }
}

/// The anomaly of a series as the replica `id` sees it.
fn anomaly(id: &str, series: &str) -> Anomaly {
    Anomaly {
        times: 1,
        id: id.to_owned(),
        layer: Layer::Storage,
        signal: SIGNAL.name.into(),
        labels: Labels::new([series.into()]),
        subject: Subject::cluster(),
        state: State::Open,
        phase: Phase::Open,
        phase_since: at(0),
        severity: Severity::Warning,
        opened_at: at(0),
        updated_at: at(0),
        closed_at: None,
        observed: 9.0,
        expected: 1.0,
        lower: 0.0,
        upper: 2.0,
        score: 0.9,
        p_value: 1e-9,
        detector: "test".into(),
        contributors: Vec::new(),
        explanation: "it was expected".to_owned(),
    }
}

fn closed(anomaly: Anomaly, second: i64) -> Notice {
    let mut closed = Anomaly { closed_at: Some(at(second)), ..anomaly };
    closed.enter(Phase::Closed, at(second));
    Notice::AnomalyClosed(Arc::new(closed))
}

/// A report of a replica that has watched for a day, with what is open and what ended.
fn report(second: i64, open: &[u64], ended: &[u64]) -> Report {
    let series = Series::Values(Vec::new());
    Report {
        at: at(second),
        layers: Vec::new(),
        signals: vec![SignalReport { signal: &SIGNAL, series }],
        findings: open.iter().map(|n| finding(*n)).collect(),
        anomalies: Vec::new(),
        suspected: Suspected::default(),
        anomalies_opened: Vec::new(),
        bands: Vec::new(),
        scores: Vec::new(),
        limits: Vec::new(),
        notices: ended.iter().map(|n| Notice::FindingClosed(finding(*n))).collect(),
        undecided: Vec::new(),
        sources: Vec::new(),
        myself: SelfReport {
            ready: true,
            watching_since: Some(at(second - 86_400)),
            ..SelfReport::default()
        },
    }
}

fn unusual(second: i64, anomalies: &[Anomaly]) -> Report {
    let anomalies = anomalies.iter().cloned().map(Arc::new).collect();
    Report { anomalies, ..report(second, &[], &[]) }
}

fn speaker(name: &str) -> Speaker {
    Speaker::new(name, Duration::from_hours(1))
}

/// What was said, in short.
fn said(sayings: &[Saying]) -> Vec<String> {
    let short = |saying: &Saying| match saying {
        Saying::Notice(Notice::FindingOpened(f)) => format!("+{}", f.id),
        Saying::Notice(Notice::FindingClosed(f)) => format!("-{}", f.id),
        Saying::Notice(Notice::AnomalyOpened(a)) => format!("+{} {:?}", a.id, a.state),
        Saying::Notice(Notice::AnomalyUpdated(a)) => format!("^{} {:?}", a.id, a.severity),
        Saying::Notice(Notice::AnomalyClosed(a)) => format!("-{}", a.id),
        Saying::Gone(gone) => format!("~{} {:?}", gone.id, gone.what),
    };
    sayings.iter().map(short).map(|s| s.replace("-000000000000000", "-")).collect()
}

/// Says what there is to say, and all of it is taken.
fn speak(speaker: &mut Speaker, report: &Report) -> Vec<String> {
    let sayings = speaker.hear(report);
    speaker.settle(sayings.len(), true);
    said(&sayings)
}

/// What a leader has left, as its successor finds it.
fn left(speaker: &mut Speaker) -> Told {
    Told::read(&speaker.told().unwrap().0.write()).unwrap()
}

#[test]
fn only_who_leads_speaks_and_each_thing_is_told_once() {
    let mut a = speaker("a");
    assert!(speak(&mut a, &report(0, &[1], &[])).is_empty());
    a.lead(Told::default());
    assert_eq!(speak(&mut a, &report(15, &[1], &[])), ["+f-1"]);
    assert!(speak(&mut a, &report(30, &[1], &[])).is_empty());
    assert_eq!(speak(&mut a, &report(45, &[2], &[1])), ["-f-1", "+f-2"]);
    a.fall_silent();
    assert!(speak(&mut a, &report(60, &[3], &[2])).is_empty());
}

#[test]
fn a_successor_tells_the_difference_and_what_came_and_went_while_nobody_spoke() {
    let (mut a, mut b) = (speaker("a"), speaker("b"));
    a.lead(Told::default());
    // 1 stays, 2 ends and 3 begins while nobody speaks, 4 comes and goes then, 5 did before.
    speak(&mut a, &report(100, &[1, 2, 5], &[]));
    speak(&mut a, &report(115, &[1, 2], &[5]));
    speak(&mut b, &report(107, &[1, 2, 5], &[]));
    speak(&mut b, &report(122, &[1, 2], &[5]));
    speak(&mut b, &report(180, &[1, 3, 4], &[2]));
    speak(&mut b, &report(195, &[1, 3], &[4]));
    b.lead(left(&mut a));
    assert_eq!(speak(&mut b, &report(210, &[1, 3], &[])), ["+f-4", "-f-4", "-f-2", "+f-3"]);
    assert!(speak(&mut b, &report(225, &[1, 3], &[])).is_empty());
}

#[test]
fn what_no_collector_has_taken_is_for_the_successor_to_tell() {
    let mut a = speaker("a");
    a.lead(Told::default());
    assert_eq!(a.hear(&report(100, &[1, 2], &[])).len(), 2);
    assert!(a.settle(1, true));
    assert!(!a.settle(1, false), "dropped");
    assert_eq!(a.hear(&report(400, &[2, 3], &[1])).len(), 2);
    // Neither the end of 1 nor 3, and so all since then is open.
    let told = left(&mut a);
    assert_eq!(told.up_to, Some(at(400)));
    let mut b = speaker("b");
    speak(&mut b, &report(405, &[2, 3], &[1]));
    b.lead(told);
    assert_eq!(speak(&mut b, &report(420, &[2, 3], &[])), ["-f-1", "+f-2", "+f-3"]);
}

#[test]
fn an_end_that_was_told_is_not_told_again_and_a_later_one_is() {
    let (mut a, mut b) = (speaker("a"), speaker("b"));
    a.lead(Told::default());
    speak(&mut a, &report(100, &[1], &[]));
    speak(&mut a, &report(115, &[], &[1]));
    // The other one sees the same a tick later, and once more when the leader is gone.
    speak(&mut b, &report(130, &[], &[1]));
    let told = left(&mut a);
    speak(&mut b, &report(200, &[1], &[]));
    speak(&mut b, &report(245, &[], &[1]));
    b.lead(told);
    assert_eq!(speak(&mut b, &report(260, &[], &[])), ["+f-1", "-f-1"]);
}

#[test]
fn an_anomaly_keeps_the_id_under_which_it_was_told() {
    let (mut a, mut b) = (speaker("a"), speaker("b"));
    a.lead(Told::default());
    assert_eq!(speak(&mut a, &unusual(100, &[anomaly("a-x", "s")])), ["+a-x Open"]);
    b.lead(left(&mut a));
    let ours = anomaly("a-y", "s");
    assert!(speak(&mut b, &unusual(115, std::slice::from_ref(&ours))).is_empty());
    let worse = Anomaly { severity: Severity::Critical, ..ours };
    assert_eq!(speak(&mut b, &unusual(130, std::slice::from_ref(&worse))), ["^a-x Critical"]);
    let grown = Notice::AnomalyUpdated(Arc::new(worse.clone()));
    let report = Report { notices: vec![grown], ..unusual(145, std::slice::from_ref(&worse)) };
    assert_eq!(speak(&mut b, &report), ["^a-x Critical"]);
    let report = Report { notices: vec![closed(worse, 160)], ..unusual(160, &[]) };
    assert_eq!(speak(&mut b, &report), ["-a-x"]);
    assert_eq!(speak(&mut b, &unusual(175, &[anomaly("a-z", "s")])), ["+a-z Open"]);
}

#[test]
fn an_anomaly_that_came_and_went_untold_opens_as_an_open_one() {
    let (mut a, mut b) = (speaker("a"), speaker("b"));
    a.lead(Told::default());
    speak(&mut a, &report(100, &[], &[]));
    let gone = Report { notices: vec![closed(anomaly("a-x", "s"), 190)], ..unusual(190, &[]) };
    speak(&mut b, &gone);
    b.lead(left(&mut a));
    assert_eq!(speak(&mut b, &report(205, &[], &[])), ["+a-x Open", "-a-x"]);
}

#[test]
fn what_can_not_be_known_does_not_end() {
    let (mut a, mut b) = (speaker("a"), speaker("b"));
    a.lead(Told::default());
    let both = Report { anomalies: vec![Arc::new(anomaly("a-x", "s"))], ..report(100, &[1], &[]) };
    speak(&mut a, &both);
    b.lead(left(&mut a));
    let mut blind = report(115, &[], &[]);
    blind.myself.watching_since = Some(at(110));
    blind.signals[0].series = Series::Absent { kind: Kind::Pod, reason: Availability::Unreachable };
    assert!(speak(&mut b, &blind).is_empty(), "blind, and too young");
    let mut seeing = report(130, &[], &[]);
    seeing.myself.watching_since = Some(at(110));
    seeing.undecided = vec![finding(1).id];
    assert!(speak(&mut b, &seeing).is_empty(), "it may be so yet");
    seeing.undecided.clear();
    assert_eq!(speak(&mut b, &seeing), ["~f-1 Finding"]);
    assert_eq!(speak(&mut b, &report(145, &[], &[])), ["~a-x Anomaly"]);
}

#[test]
fn what_is_about_to_be_said_is_left_before_and_doubted_until_something_is_said_of_it() {
    let mut a = speaker("a");
    a.lead(Told::default());
    speak(&mut a, &report(100, &[1, 2, 3], &[]));
    // The ends of 1, 2 and 3 and the starts of 4, 5 and 6 may be said, and were perhaps.
    let sayings = a.hear(&report(115, &[4, 5, 6], &[1, 2, 3]));
    let (told, clears) = a.told().unwrap();
    assert_eq!((sayings.len(), clears), (6, 9));
    let told = Told::read(&told.write()).unwrap();
    // 1 is back, 2 can't be known yet, 3 is over; 4 is so, 5 can't be known, 6 has ended.
    let mut b = speaker("b");
    speak(&mut b, &report(120, &[1, 4, 6], &[2, 3, 5]));
    b.lead(told);
    let undecided = vec![finding(2).id, finding(5).id];
    let report_of =
        |second| Report { undecided: undecided.clone(), ..report(second, &[1, 4], &[6]) };
    assert_eq!(said(&b.hear(&report_of(135))), ["-f-3", "+f-6", "-f-6", "+f-1", "+f-4"]);
    // None of this was taken: the next one is in doubt of all of it.
    let mut c = speaker("c");
    let all = ["-f-3", "~f-5 Finding", "~f-6 Finding", "+f-1", "+f-2", "+f-4"];
    speak(&mut c, &report(140, &[], &[3]));
    c.lead(Told::read(&b.told().unwrap().0.write()).unwrap());
    assert_eq!(speak(&mut c, &report(150, &[1, 2, 4], &[])), all);
    assert!(speak(&mut c, &report(165, &[1, 2, 4], &[])).is_empty());
    assert!(c.told().unwrap().0.doubt.is_empty(), "all is known again");
}

#[test]
fn who_leads_again_doubts_only_what_it_may_have_said() {
    let mut a = speaker("a");
    a.lead(Told::default());
    speak(&mut a, &report(100, &[1], &[]));
    let written = left(&mut a);
    // The Lease can't be written, so the end of 1 is not said.
    assert_eq!(said(&a.hear(&report(115, &[], &[1]))), ["-f-1"]);
    a.fall_silent();
    a.lead(written);
    assert!(speak(&mut a, &report(130, &[1], &[])).is_empty());
    // Now it can.
    assert_eq!(said(&a.hear(&report(145, &[], &[1]))), ["-f-1"]);
    let written = left(&mut a);
    a.fall_silent();
    a.lead(written);
    assert_eq!(speak(&mut a, &report(160, &[1], &[])), ["+f-1"]);
}

#[test]
fn no_more_may_be_said_than_is_left_ahead() {
    let mut a = speaker("a");
    a.lead(Told::default());
    let all: Vec<u64> = (0..600).collect();
    assert_eq!(a.hear(&report(100, &all, &[])).len(), 600);
    let mut cleared = Vec::new();
    for count in [256, 256, 88] {
        let (told, clears) = a.told().unwrap();
        cleared.push((told.doubt.len(), clears));
        assert!(a.settle(count, true));
    }
    assert_eq!(cleared, [(256, 256), (256, 512), (88, 600)]);
}

#[test]
fn who_leads_again_after_nobody_else_knows_what_it_has_told() {
    let mut a = speaker("a");
    a.lead(Told::default());
    speak(&mut a, &report(100, &[1], &[]));
    let written = left(&mut a);
    speak(&mut a, &report(115, &[1, 2], &[]));
    a.fall_silent();
    // The Lease could not be written any more: it does not know of 2.
    assert_eq!(a.lead(written.clone()).findings().count(), 2);
    assert!(speak(&mut a, &report(130, &[1, 2], &[])).is_empty());
    a.fall_silent();
    let mut b = speaker("b");
    b.lead(written);
    assert_eq!(speak(&mut b, &report(145, &[1, 2], &[])), ["+f-2"]);
    let other = left(&mut b);
    speak(&mut b, &report(160, &[2], &[1]));
    // Somebody else has led meanwhile, and what it left counts.
    a.lead(other);
    assert_eq!(speak(&mut a, &report(175, &[2], &[1])), ["-f-1"]);
}

#[test]
fn what_is_remembered_of_the_ended_is_bounded() {
    let mut a = speaker("a");
    for i in 0..3_000 {
        a.hear(&report(i, &[], &[i as u64]));
    }
    a.lead(Told::default());
    assert_eq!(a.hear(&report(3_000, &[], &[])).len(), 2 * REMEMBERED);
}
