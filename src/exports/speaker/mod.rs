//! What does one of several replicas say? Its leader the difference between what receivers have been told, by whoever
//! led before, and what is so; the others nothing, though they remember what ended.
//!
//! What was told advances by what a collector has taken, never by what was merely sent. What is about to be said is left
//! to the successor before it is said: whatever becomes of a leader, it is known what receivers may believe.

mod told;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;

use crate::model::anomaly::{Anomaly, Phase, State};
use crate::model::finding::{Finding, Severity};
use crate::model::record::Time;
use crate::model::report::{Notice, Report, Series};
use told::{Entry, Key};

pub use told::Told;

/// What ended lately, at the most: nobody might have told it.
const REMEMBERED: usize = 1_000;

/// So many words are left to a successor before they are said.
const AHEAD: usize = 256;

/// By how much replicas may differ in when they see the same.
const APART: SignedDuration = SignedDuration::from_mins(1);

/// By how much their clocks may differ, and a tick of theirs be late.
const OFF: SignedDuration = SignedDuration::from_secs(15);

/// Something that a leader says.
#[derive(Clone, Debug)]
pub enum Saying {
    /// What the report tells, under the id that receivers know.
    Notice(Notice),
    /// The end of what another replica has told and this one has never seen.
    Gone(Gone),
}

/// Something that receivers believe to be so and that is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// What it was.
    pub what: What,
    /// The id under which it was told.
    pub id: String,
    /// How much it mattered.
    pub severity: Severity,
    /// The signal that had found it.
    pub signal: String,
}

/// A bad state's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum What {
    Finding,
    Anomaly,
}

/// A bad state as this replica sees it.
#[derive(Clone, Debug)]
enum Thing {
    Finding(Finding),
    Anomaly(Arc<Anomaly>),
}

impl Thing {
    fn key(&self) -> Key {
        match self {
            Self::Finding(finding) => Key::of_finding(finding),
            Self::Anomaly(anomaly) => Key::of_anomaly(anomaly),
        }
    }

    fn entry(&self) -> Entry {
        let (id, severity, signal) = match self {
            Self::Finding(f) => (&f.id, f.severity, &f.signal),
            Self::Anomaly(a) => (&a.id, a.severity, &a.signal),
        };
        Entry { id: id.clone(), severity, signal: signal.to_string() }
    }

    /// The same under the id that receivers know.
    fn under(mut self, id: &str) -> Self {
        match &mut self {
            Self::Finding(f) if f.id != id => f.id = id.to_owned(),
            Self::Anomaly(a) if a.id != id => Arc::make_mut(a).id = id.to_owned(),
            _ => {}
        }
        self
    }

    fn opened(self) -> Notice {
        match self {
            Self::Finding(f) => Notice::FindingOpened(f),
            Self::Anomaly(mut a) => {
                // It may be over already.
                if a.state == State::Closed {
                    let a = Arc::make_mut(&mut a);
                    a.enter(Phase::Open, a.opened_at);
                    a.closed_at = None;
                }
                Notice::AnomalyOpened(a)
            }
        }
    }

    fn closed(self) -> Notice {
        match self {
            Self::Finding(f) => Notice::FindingClosed(f),
            Self::Anomaly(a) => Notice::AnomalyClosed(a),
        }
    }
}

/// What a saying makes of what was told, once it is taken.
#[derive(Debug)]
struct Effect {
    at: Time,
    key: Key,
    /// `None`: it is over.
    entry: Option<Entry>,
}

/// What a replica says in its term.
#[derive(Debug)]
struct Speech {
    /// What a collector has taken.
    told: Told,
    /// What receivers will believe when all that was said is taken.
    meant: BTreeMap<Key, Entry>,
    /// What whoever led before may have opened or closed, and nothing was said of since.
    doubted: BTreeSet<Key>,
    /// What was said and may yet be dropped, in order.
    pending: VecDeque<Effect>,
    /// What became of how many words is known.
    settled: u64,
    /// Whether it has to catch up with what nobody has told.
    catches_up: bool,
    heard_at: Option<Time>,
    sayings: Vec<Saying>,
}

/// One replica's part in what is said.
#[derive(Debug)]
pub struct Speaker {
    /// For how long a series has to be watched before it is known not to be unusual.
    maturity: SignedDuration,
    me: String,
    ended: VecDeque<(Time, Thing)>,
    speech: Option<Speech>,
    /// What it had told when it fell silent.
    before: Option<Told>,
}

impl Speaker {
    /// One that is silent, of this name; it knows after `maturity` which series are as they were.
    #[must_use]
    pub fn new(me: &str, maturity: Duration) -> Self {
        let maturity = SignedDuration::try_from(maturity).unwrap_or(SignedDuration::MAX);
        Self { maturity, me: me.to_owned(), ended: VecDeque::new(), speech: None, before: None }
    }

    /// Begins to speak after somebody who has left this. Whoever finds what it has left itself knows what it has told
    /// since. Gives what was told.
    pub fn lead(&mut self, found: Told) -> &Told {
        self.fall_silent();
        let before = self.before.take().filter(|_| found.by == self.me);
        let known = match before {
            // What is not in the Lease was not said.
            Some(mut known) => {
                known.doubt.retain(|key, _| found.doubt.contains_key(key));
                known
            }
            None => found,
        };
        let told = Told { by: self.me.clone(), ..known };
        let meant = told.doubt.clone().into_iter().chain(told.open.clone()).collect();
        let doubted = told.doubt.keys().copied().collect();
        let speech = Speech {
            told,
            meant,
            doubted,
            pending: VecDeque::new(),
            settled: 0,
            catches_up: true,
            heard_at: None,
            sayings: Vec::new(),
        };
        &self.speech.insert(speech).told
    }

    /// Ends to speak: what was said and not taken, the next leader says.
    pub fn fall_silent(&mut self) {
        if let Some((told, _)) = self.told() {
            self.before = Some(told);
        }
        self.speech = None;
    }

    /// Takes a report in, and gives what is to be said of it: nothing, for one that does not lead.
    pub fn hear(&mut self, report: &Report) -> Vec<Saying> {
        for notice in &report.notices {
            let thing = match notice {
                Notice::FindingClosed(finding) => Thing::Finding(finding.clone()),
                Notice::AnomalyClosed(anomaly) => Thing::Anomaly(Arc::clone(anomaly)),
                _ => continue,
            };
            self.ended.push_back((report.at, thing));
        }
        let excess = self.ended.len().saturating_sub(REMEMBERED);
        self.ended.drain(..excess);
        let Some(speech) = &mut self.speech else { return Vec::new() };
        speech.heard_at = Some(report.at);
        if std::mem::take(&mut speech.catches_up) {
            speech.catch_up(&self.ended, report.at);
        }
        let now = open_in(report);
        speech.say_what_is_over(report, &now, &self.ended, self.maturity);
        speech.say_what_is_new(report, &now);
        std::mem::take(&mut speech.sayings)
    }

    /// Takes in what became of the next so many sayings. Says whether anything was told by it.
    pub fn settle(&mut self, count: usize, taken: bool) -> bool {
        let Some(speech) = &mut self.speech else { return false };
        let count = count.min(speech.pending.len());
        speech.settled += count as u64;
        for effect in speech.pending.drain(..count).filter(|_| taken) {
            let Effect { at, key, entry } = effect;
            speech.told.doubt.remove(&key);
            if let Some(entry) = entry {
                speech.told.open.insert(key, entry);
            } else {
                speech.told.open.remove(&key);
                speech.told.ended.insert(key, at);
            }
        }
        taken && count > 0
    }

    /// What a successor has to know, and how many words of this term may be said once it is left; `None` for one that
    /// does not lead.
    pub fn told(&mut self) -> Option<(Told, u64)> {
        let speech = self.speech.as_mut()?;
        let reached = speech.pending.front().map(|effect| effect.at).or(speech.heard_at);
        if let Some(reached) = reached {
            speech.told.reach(reached);
        }
        let mut told = speech.told.clone();
        let ahead = speech.pending.len().min(AHEAD);
        for Effect { key, entry, .. } in speech.pending.iter().take(ahead) {
            let is_open = speech.told.open.get(key);
            // An update leaves open what is open.
            if is_open.is_none() || entry.is_none() {
                let entry = is_open.or(entry.as_ref()).cloned();
                told.doubt.extend(entry.map(|entry| (*key, entry)));
            }
        }
        Some((told, speech.settled + ahead as u64))
    }
}

impl Speech {
    fn say(&mut self, at: Time, key: Key, entry: Option<Entry>, saying: Saying) {
        self.doubted.remove(&key);
        match &entry {
            Some(entry) => drop(self.meant.insert(key, entry.clone())),
            None => drop(self.meant.remove(&key)),
        }
        self.pending.push_back(Effect { at, key, entry });
        self.sayings.push(saying);
    }

    fn open(&mut self, at: Time, thing: &Thing) {
        let (entry, notice) = (thing.entry(), thing.clone().opened());
        self.say(at, thing.key(), Some(entry), Saying::Notice(notice));
    }

    fn close(&mut self, at: Time, thing: &Thing) {
        let key = thing.key();
        let thing = match self.meant.get(&key) {
            Some(entry) => thing.clone().under(&entry.id),
            None => thing.clone(),
        };
        self.say(at, key, None, Saying::Notice(thing.closed()));
    }

    /// Tells what came and went while nobody spoke.
    fn catch_up(&mut self, ended: &VecDeque<(Time, Thing)>, now: Time) {
        for (at, thing) in ended {
            let key = thing.key();
            let before = |then: Time| at.duration_since(then) <= APART;
            let told = self.told.ended.get(&key).is_some_and(|then| before(*then));
            let old = self.told.up_to.is_some_and(|then| at.duration_since(then) < -OFF);
            if !told && !old && !self.meant.contains_key(&key) {
                self.open(now, thing);
                self.close(now, thing);
            }
        }
    }

    /// Tells the end of what receivers believe to be so, unless it can't be known.
    fn say_what_is_over(
        &mut self,
        report: &Report,
        now: &BTreeMap<Key, Thing>,
        ended: &VecDeque<(Time, Thing)>,
        maturity: SignedDuration,
    ) {
        let blind: BTreeSet<&str> = (report.signals.iter())
            .filter(|s| matches!(s.series, Series::Absent { .. }))
            .map(|s| s.signal.name)
            .collect();
        let undecided: BTreeSet<&str> = report.undecided.iter().map(String::as_str).collect();
        let watching = report.myself.watching_since.unwrap_or(report.at);
        let young = report.at.duration_since(watching) < maturity;
        let known = |(key, entry): &(&Key, &Entry)| match key {
            Key::Finding(_) => {
                !blind.contains(entry.signal.as_str()) && !undecided.contains(entry.id.as_str())
            }
            // Whoever has watched for too short a time does not know what is usual.
            Key::Anomaly(_) => !young || ended.iter().any(|(_, thing)| thing.key() == **key),
        };
        let gone = self.meant.iter().filter(|(key, _)| !now.contains_key(key)).filter(known);
        let gone: Vec<(Key, Entry)> = gone.map(|(key, entry)| (*key, entry.clone())).collect();
        for (key, Entry { id, severity, signal }) in gone {
            let seen = ended.iter().rev().find(|(_, thing)| thing.key() == key);
            if let Some((_, thing)) = seen {
                // Of what may have been opened it is not known that it was.
                if self.doubted.contains(&key) && !self.told.open.contains_key(&key) {
                    self.open(report.at, &thing.clone().under(&id));
                }
                self.close(report.at, thing);
                continue;
            }
            let what = match key {
                Key::Finding(_) => What::Finding,
                Key::Anomaly(_) => What::Anomaly,
            };
            let gone = Saying::Gone(Gone { what, id, severity, signal });
            self.say(report.at, key, None, gone);
        }
    }

    /// Tells what receivers do not know to be so, or to have become worse.
    fn say_what_is_new(&mut self, report: &Report, now: &BTreeMap<Key, Thing>) {
        let grown: BTreeSet<Key> = (report.notices.iter())
            .filter_map(|notice| match notice {
                Notice::AnomalyUpdated(anomaly) => Some(Key::of_anomaly(anomaly)),
                _ => None,
            })
            .collect();
        for (key, thing) in now {
            let Some(Entry { id, severity, .. }) = self.meant.get(key) else {
                self.open(report.at, thing);
                continue;
            };
            if self.doubted.contains(key) {
                let thing = thing.clone().under(id);
                self.open(report.at, &thing);
                continue;
            }
            let Thing::Anomaly(anomaly) = thing else { continue };
            if grown.contains(key) || anomaly.severity > *severity {
                let thing = Thing::Anomaly(Arc::clone(anomaly)).under(id);
                let (entry, Thing::Anomaly(anomaly)) = (thing.entry(), thing) else { continue };
                let notice = Saying::Notice(Notice::AnomalyUpdated(anomaly));
                self.say(report.at, *key, Some(entry), notice);
            }
        }
    }
}

/// What is open, as far as it can be seen.
fn open_in(report: &Report) -> BTreeMap<Key, Thing> {
    let findings = report.findings.iter().cloned().map(Thing::Finding);
    let open = report.anomalies.iter().filter(|a| a.state == State::Open);
    let anomalies = open.map(|anomaly| Thing::Anomaly(Arc::clone(anomaly)));
    findings.chain(anomalies).map(|thing| (thing.key(), thing)).collect()
}

#[cfg(test)]
mod tests;
