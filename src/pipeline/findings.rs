//! Which bad states have held long enough to be told, and which are over?

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::model::finding::{Finding, Verdict};
use crate::model::reading::Labels;
use crate::model::record::Time;
use crate::model::report::Notice;
use crate::model::signal::Signal;
use crate::model::subject::Subject;
use crate::model::text::{Text, stable_hash};

/// What tells one bad state from another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Key {
    signal: Text,
    subject: Subject,
    reason: Text,
    labels: Labels,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Track {
    /// When the state was first seen.
    first_seen: Time,
    /// Since when it has not been seen any more.
    missed: Option<Time>,
    /// What was told; `None` while it has not held for its dwell.
    told: Option<Finding>,
}

/// Bad states between their first sight and their end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Findings {
    tracks: BTreeMap<Key, Track>,
    /// What another replica has told, by signal, and at how many ticks more it may turn out to be so here.
    #[serde(skip)]
    adopted: BTreeMap<Text, (u32, BTreeSet<String>)>,
}

/// What is told is over when it was away at two looks this far apart at least: one is no evidence, as when two reasons
/// alternate, nor are two in a row, as right after a start.
const APART: SignedDuration = SignedDuration::from_secs(10);

/// At how many looks something that another replica has told may turn out to be so.
const LOOKS: u32 = 2;

impl Findings {
    /// Takes in what a signal sees at this tick, and says what opened and what closed. With `impatient`, a state whose
    /// start the API does not tell counts at once: for a single look there is no second one. `is_there` says whether what
    /// labels name is there: what is about the gone is over at once.
    pub(super) fn update<'a>(
        &mut self,
        signal: &Signal,
        verdicts: impl IntoIterator<Item = &'a Verdict>,
        (now, impatient): (Time, bool),
        is_there: impl Fn(&Labels) -> bool,
    ) -> Vec<Notice> {
        let mut notices = Vec::new();
        let adopted = self.adopted.remove(signal.name);
        for (_, track) in self.tracks.range_mut(first(signal.name)..).take_while(of(signal.name)) {
            // A clock may have been set back.
            track.missed = Some(track.missed.map_or(now, |since| since.min(now)));
        }
        for verdict in verdicts {
            let key = Key {
                signal: signal.name.into(),
                subject: verdict.subject.clone(),
                reason: verdict.reason.into(),
                labels: verdict.labels.clone(),
            };
            let id = id_of(&key);
            let fresh = Track { first_seen: now, missed: None, told: None };
            let track = self.tracks.entry(key).or_insert(fresh);
            track.missed = None;
            let since = verdict.since.unwrap_or(track.first_seen).min(now);
            let held = impatient && verdict.since.is_none()
                || now.duration_since(since) >= verdict.dwell
                || adopted.as_ref().is_some_and(|(_, ids)| ids.contains(&id));
            let since = track.told.as_ref().map_or(since, |told| told.since.min(since));
            if track.told.is_some() {
                track.told = Some(finding(id, signal, verdict, since));
            } else if held {
                let finding = finding(id, signal, verdict, since);
                notices.push(Notice::FindingOpened(finding.clone()));
                track.told = Some(finding);
            }
        }
        self.adopt_later(signal.name, adopted);
        let tracks = self.tracks.range(first(signal.name)..);
        let is_over = |key: &Key, track: &Track| {
            let least = if track.told.is_some() { APART } else { SignedDuration::ZERO };
            let long = |since: Time| now.duration_since(since) >= least || !is_there(&key.labels);
            track.missed.is_some_and(long)
        };
        let over = tracks.take_while(of(signal.name)).filter(|(key, track)| is_over(key, track));
        let over = over.map(|(key, _)| key.clone()).collect();
        notices.extend(self.close(over));
        notices
    }

    /// Ends what is about something that is gone, also where its signal can't say so, and says what closed.
    pub(super) fn end(
        &mut self,
        signal: &str,
        is_gone: impl Fn(&Labels) -> bool,
    ) -> impl Iterator<Item = Notice> {
        let tracks = self.tracks.range(first(signal)..).take_while(of(signal));
        let gone = tracks.filter(|(key, _)| is_gone(&key.labels)).map(|(key, _)| key.clone());
        let gone = gone.collect();
        self.close(gone)
    }

    fn close(&mut self, over: Vec<Key>) -> impl Iterator<Item = Notice> {
        over.into_iter().filter_map(|key| self.tracks.remove(&key)?.told).map(Notice::FindingClosed)
    }

    /// Takes over what another replica has told, by signal and id.
    pub(super) fn adopt<'a>(&mut self, told: impl Iterator<Item = (&'a str, &'a str)>) {
        self.adopted.clear();
        for (signal, id) in told {
            let (ticks, ids) = self.adopted.entry(signal.into()).or_default();
            *ticks = LOOKS;
            ids.insert(id.to_owned());
        }
    }

    /// Keeps what was not so at this tick for the next: one tick is no evidence.
    fn adopt_later(&mut self, signal: &str, adopted: Option<(u32, BTreeSet<String>)>) {
        let Some((ticks, mut ids)) = adopted.filter(|(ticks, _)| *ticks > 1) else { return };
        for finding in self.open(signal) {
            ids.remove(&finding.id);
        }
        if !ids.is_empty() {
            self.adopted.insert(signal.into(), (ticks - 1, ids));
        }
    }

    /// What another replica has told and is not decided here: it may be so, or can't be seen.
    pub(super) fn undecided(&self) -> impl Iterator<Item = &str> {
        self.adopted.values().flat_map(|(_, ids)| ids).map(String::as_str)
    }

    /// The open findings of a signal.
    pub(super) fn open(&self, signal: &str) -> impl Iterator<Item = &Finding> {
        let tracks = self.tracks.range(first(signal)..).take_while(of(signal));
        tracks.filter_map(|(_, track)| track.told.as_ref())
    }
}

/// No key of the signal comes before it.
fn first(signal: &str) -> Key {
    let none = Text::default;
    let subject = Subject { api_version: none(), kind: none(), namespace: none(), name: none() };
    Key { signal: signal.into(), subject, reason: none(), labels: Labels::default() }
}

/// Whether a track is of the signal.
fn of<T>(signal: &str) -> impl Fn(&(&Key, T)) -> bool {
    move |(key, _)| key.signal == signal
}

fn finding(id: String, signal: &Signal, verdict: &Verdict, since: Time) -> Finding {
    Finding {
        id,
        layer: signal.layer,
        signal: signal.name.into(),
        message: words(&verdict.message, verdict.reason),
        subject: verdict.subject.clone(),
        severity: verdict.severity,
        since,
        reason: verdict.reason.into(),
        labels: verdict.labels.clone(),
    }
}

/// A message on one line: it goes to logs and terminals, and has words from the cluster in it, or none.
fn words(message: &str, reason: &str) -> String {
    if !message.is_empty() && !message.contains(char::is_control) {
        return message.to_owned();
    }
    let lines = message.split(char::is_control).filter(|part| !part.trim().is_empty());
    match lines.collect::<Vec<_>>().join(" ") {
        none if none.is_empty() => reason.replace('_', " "),
        told => told,
    }
}

/// The same state has the same id over restarts and on both replicas.
fn id_of(key: &Key) -> String {
    let subject = &key.subject;
    let parts = [&key.signal, &subject.kind, &subject.namespace, &subject.name, &key.reason];
    let parts = parts.into_iter().map(Text::as_str).chain(key.labels.iter());
    format!("f-{:016x}", stable_hash(parts.map(str::as_bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels;
    use crate::model::finding::Severity;
    use crate::model::layer::Layer;
    use crate::model::signal::{Profile, Read, Unit};

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

    fn verdict(since: Option<Time>) -> Verdict {
        Verdict {
            subject: Subject::cluster(),
            labels: labels!["broken"],
            reason: "broken",
            severity: Severity::Warning,
            since,
            dwell: SignedDuration::from_secs(60),
            message: "it is broken".to_owned(),
        }
    }

    fn opened(notices: &[Notice]) -> usize {
        notices.iter().filter(|n| matches!(n, Notice::FindingOpened(_))).count()
    }

    #[test]
    fn a_state_is_told_once_when_it_has_held_for_its_dwell() {
        let mut findings = Findings::default();
        let told: Vec<usize> = (0..8)
            .map(|i| {
                opened(&findings.update(&SIGNAL, &[verdict(None)], (at(i * 15), false), |_| true))
            })
            .collect();
        assert_eq!(told, [0, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(findings.open(SIGNAL.name).count(), 1);
    }

    #[test]
    fn what_is_about_the_gone_ends_without_a_look() {
        let mut findings = Findings::default();
        findings.update(&SIGNAL, &[verdict(Some(at(0)))], (at(100), false), |_| true);
        assert_eq!(findings.end(SIGNAL.name, |_| false).count(), 0);
        let closed: Vec<_> =
            findings.end(SIGNAL.name, |labels| labels == &labels!["broken"]).collect();
        assert!(matches!(&closed[..], [Notice::FindingClosed(_)]), "{closed:?}");
        assert_eq!(findings.open(SIGNAL.name).count(), 0);
    }

    #[test]
    fn the_servers_time_counts_where_there_is_one() {
        let mut findings = Findings::default();
        let notices =
            findings.update(&SIGNAL, &[verdict(Some(at(900)))], (at(1000), false), |_| true);
        assert_eq!(opened(&notices), 1);
        assert_eq!(findings.open(SIGNAL.name).next().unwrap().since, at(900));
    }

    #[test]
    fn a_single_look_tells_what_has_no_start_at_once() {
        let notices =
            Findings::default().update(&SIGNAL, &[verdict(None)], (at(1000), true), |_| true);
        assert_eq!(opened(&notices), 1);
    }

    #[test]
    fn a_state_is_over_after_two_ticks_without_it() {
        let mut findings = Findings::default();
        findings.update(&SIGNAL, &[verdict(Some(at(0)))], (at(100), false), |_| true);
        assert!(findings.update(&SIGNAL, &[], (at(115), false), |_| true).is_empty());
        findings.update(&SIGNAL, &[verdict(Some(at(0)))], (at(130), false), |_| true);
        assert!(findings.update(&SIGNAL, &[], (at(145), false), |_| true).is_empty());
        let notices = findings.update(&SIGNAL, &[], (at(160), false), |_| true);
        assert!(matches!(&notices[..], [Notice::FindingClosed(f)] if f.since == at(0)));
        assert_eq!(findings.open(SIGNAL.name).count(), 0);
    }

    #[test]
    fn two_looks_in_a_row_are_no_evidence_that_it_is_over() {
        let mut findings = Findings::default();
        findings.update(&SIGNAL, &[verdict(Some(at(0)))], (at(100), false), |_| true);
        for second in [103, 109] {
            assert!(findings.update(&SIGNAL, &[], (at(second), false), |_| true).is_empty());
        }
        findings.update(&SIGNAL, &[verdict(Some(at(0)))], (at(124), false), |_| true);
        assert!(findings.update(&SIGNAL, &[], (at(139), false), |_| true).is_empty());
        assert_eq!(findings.open(SIGNAL.name).count(), 1);
    }

    #[test]
    fn what_another_replica_has_told_has_held_and_is_decided_at_the_second_look() {
        let mut findings = Findings::default();
        let id = opened_id();
        findings.adopt([(SIGNAL.name, id.as_str()), (SIGNAL.name, "f-other")].into_iter());
        let notices = findings.update(&SIGNAL, &[verdict(None)], (at(100), false), |_| true);
        assert_eq!(opened(&notices), 1, "it need not hold for a minute here");
        assert_eq!(findings.undecided().collect::<Vec<_>>(), ["f-other"]);
        findings.update(&SIGNAL, &[verdict(None)], (at(115), false), |_| true);
        assert_eq!(findings.undecided().count(), 0);
    }

    fn opened_id() -> String {
        let notices =
            Findings::default().update(&SIGNAL, &[verdict(None)], (at(0), true), |_| true);
        match &notices[..] {
            [Notice::FindingOpened(f)] => f.id.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_about_the_gone_is_over_at_once() {
        let mut findings = Findings::default();
        findings.update(&SIGNAL, &[verdict(Some(at(0)))], (at(100), false), |_| true);
        let notices = findings.update(&SIGNAL, &[], (at(115), false), |_| false);
        assert!(matches!(&notices[..], [Notice::FindingClosed(_)]));
    }
}
