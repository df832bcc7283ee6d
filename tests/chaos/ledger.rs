//! Do two replicas that elect a leader speak as one? Holds what a collector gets of both, and who led when, against
//! the promises of a hand-over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use kubestrata::exports::otlp::Turn;
use kubestrata::model::anomaly::State;
use kubestrata::model::report::{Report, Series};
use opentelemetry::logs::AnyValue;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::logs::{LogBatch, LogExporter, SdkLogRecord};
use tokio::time::Instant;

use super::plan::Away;

/// What a collector and an onlooker write down.
#[derive(Clone, Debug)]
pub struct Ledger(Arc<Mutex<Pages>>);

#[derive(Debug)]
struct Pages {
    origin: Instant,
    away: Vec<Away>,
    terms: Vec<Term>,
    words: Vec<Word>,
    broken: Vec<String>,
}

/// A time for which a replica led.
#[derive(Clone, Debug)]
struct Term {
    who: &'static str,
    from: Duration,
    until: Option<Duration>,
    /// The ids of which the leader before left that it may have opened or closed them.
    doubt: BTreeSet<String>,
}

/// An event that was taken.
#[derive(Clone, Debug)]
struct Word {
    at: Duration,
    /// The place of the term in which it was said.
    term: usize,
    event: String,
    id: String,
    signal: String,
    /// What tells it from others, where it says so.
    about: Option<String>,
}

impl Ledger {
    /// An empty one, of a collector that is away at times.
    pub fn new(origin: Instant, away: &[Away]) -> Self {
        let (terms, words, broken) = (Vec::new(), Vec::new(), Vec::new());
        Self(Arc::new(Mutex::new(Pages { origin, away: away.to_vec(), terms, words, broken })))
    }

    /// The ear of the collector for one life of a replica, which may speak while it is its `turn`.
    pub fn ear(&self, who: &'static str, turn: Turn) -> Ear {
        Ear { ledger: self.clone(), who, turn }
    }

    /// Notes when a replica leads, for as long as it lives.
    pub async fn watch(self, who: &'static str, mut turn: Turn) {
        loop {
            let found = turn.borrow_and_update().as_ref().map(|term| Arc::clone(&term.found));
            self.note(who, found.as_deref());
            if turn.changed().await.is_err() {
                return self.note(who, None);
            }
        }
    }

    /// Notes what a replica that leads has found, or that it does not lead.
    fn note(&self, who: &'static str, found: Option<&str>) {
        let mut pages = self.pages();
        let now = pages.origin.elapsed();
        let current = pages.terms.iter_mut().find(|t| t.who == who && t.until.is_none());
        match (current, found) {
            (Some(term), None) => term.until = Some(now),
            (None, Some(found)) => {
                if let Some(other) = pages.terms.iter().find(|t| t.until.is_none()) {
                    let what =
                        format!("{who} leads at {now:?}, {} since {:?}", other.who, other.from);
                    pages.broken.push(what);
                }
                let doubt = doubted(found);
                pages.terms.push(Term { who, from: now, until: None, doubt });
            }
            _ => {}
        }
    }

    /// Who leads now.
    pub fn leader(&self) -> Option<&'static str> {
        self.pages().terms.iter().find(|t| t.until.is_none()).map(|t| t.who)
    }

    /// How often the lead was taken, and how many events were told.
    pub fn counts(&self) -> (usize, usize) {
        let pages = self.pages();
        (pages.terms.len(), pages.words.len())
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().expect("a lock")
    }

    /// What is broken, given what the leader sees in the end. Only what a leader has found in doubt may be said though
    /// it was said before, once.
    pub fn judge(&self, last: Option<&Report>) -> Vec<String> {
        let pages = self.pages();
        let mut broken = pages.broken.clone();
        let mut open: BTreeMap<&str, Option<&str>> = BTreeMap::new();
        let mut last_word: BTreeMap<&str, &Word> = BTreeMap::new();
        let mut doubts: Vec<BTreeSet<&str>> = (pages.terms.iter())
            .map(|term| term.doubt.iter().map(String::as_str).collect())
            .collect();
        for word in &pages.words {
            let (event, id) = (word.event.as_str(), word.id.as_str());
            let is_open = open.contains_key(id);
            let before = last_word.get(id).copied();
            let wrong = if event.ends_with("opened") { is_open } else { !is_open };
            let in_doubt = doubts[word.term].remove(id);
            if wrong && !in_doubt {
                let who = pages.terms[word.term].who;
                broken.push(format!("{who} tells {event} {id} at {:?}, after {before:?}", word.at));
            }
            if event.ends_with("closed") {
                open.remove(id);
            } else {
                let same = |other: &str, about: Option<&str>| {
                    about.is_some() && about == word.about.as_deref() && other != id
                };
                if let Some((other, _)) = open.iter().find(|(other, about)| same(other, **about)) {
                    broken.push(format!("{id} is told while {other} is open: {:?}", word.about));
                }
                open.insert(id, word.about.as_deref());
            }
            if !event.ends_with("updated") {
                last_word.insert(id, word);
            }
        }
        let told = open.into_keys().map(|id| (id, last_word[id].signal.as_str())).collect();
        broken.extend(compare(&told, last));
        broken
    }
}

/// The ids in what a leader left of what it may have opened or closed: by signal a letter, 16 digits, the severity's
/// letter, and the id where it does not follow from the digits.
fn doubted(found: &str) -> BTreeSet<String> {
    let found: serde_json::Value = serde_json::from_str(found).unwrap_or_default();
    let signals = found["doubt"].as_object().into_iter().flat_map(|all| all.values());
    let entries = signals.filter_map(|all| all.as_array()).flatten().filter_map(|e| e.as_str());
    let id = |entry: &str| match &entry[18..] {
        "" => format!("f-{}", &entry[1..17]),
        id => id.to_owned(),
    };
    entries.map(id).collect()
}

/// What differs between what receivers believe and what the leader sees.
fn compare(told: &BTreeMap<&str, &str>, last: Option<&Report>) -> Vec<String> {
    let Some(last) = last else { return vec!["nobody leads in the end".to_owned()] };
    let findings: BTreeSet<&str> = last.findings.iter().map(|f| f.id.as_str()).collect();
    let of_findings: BTreeMap<&str, &str> =
        told.iter().filter(|(id, _)| id.starts_with("f-")).map(|(id, s)| (*id, *s)).collect();
    // Nothing ends because it can't be seen.
    let blind = |signal: &str| {
        let mut signals = last.signals.iter();
        signals.any(|s| s.signal.name == signal && matches!(s.series, Series::Absent { .. }))
    };
    let mut broken = Vec::new();
    for finding in last.findings.iter().filter(|f| !told.contains_key(f.id.as_str())) {
        broken.push(format!("open and not told in the end: {finding:?}"));
    }
    let lasts = |id: &str, signal: &str| findings.contains(id) || blind(signal);
    for (id, signal) in of_findings.iter().filter(|(id, signal)| !lasts(id, signal)) {
        broken.push(format!("told and not open in the end: {id} {signal}"));
    }
    // Each is told under an id of some replica's, and stays told where the leader is too young to know better.
    let open = last.anomalies.iter().filter(|a| a.state == State::Open).count();
    let told = told.len() - of_findings.len();
    if open > told {
        broken.push(format!("{open} anomalies are open in the end, {told} told"));
    }
    broken
}

/// Takes what one life of a replica says.
#[derive(Clone, Debug)]
pub struct Ear {
    ledger: Ledger,
    who: &'static str,
    turn: Turn,
}

impl LogExporter for Ear {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let mut pages = self.ledger.pages();
        let at = pages.origin.elapsed();
        if pages.away.iter().any(|away| (away.from..away.until).contains(&at)) {
            return Err(OTelSdkError::InternalFailure("connection refused".to_owned()));
        }
        let led = pages.terms.iter().rposition(|term| term.who == self.who);
        let Some(term) = led.filter(|_| self.turn.borrow().is_some()) else {
            let what = format!("{} speaks at {at:?} and does not lead", self.who);
            pages.broken.push(what);
            return Ok(());
        };
        for (record, _) in batch.iter() {
            let id = text(record, "kubestrata.finding.id");
            let id = id.or_else(|| text(record, "kubestrata.anomaly.id")).unwrap_or_default();
            let event = record.event_name().unwrap_or_default().to_owned();
            let signal = text(record, "kubestrata.signal").unwrap_or_default();
            let about = about(record);
            pages.words.push(Word { at, term, event, id, signal, about });
        }
        Ok(())
    }
}

fn text(record: &SdkLogRecord, name: &str) -> Option<String> {
    let mut named = record.attributes_iter().filter(|(key, _)| key.as_str() == name);
    match named.next() {
        Some((_, AnyValue::String(text))) => Some(text.as_str().to_owned()),
        _ => None,
    }
}

/// Signal, labels and subject of an anomaly, which all replicas see alike.
fn about(record: &SdkLogRecord) -> Option<String> {
    text(record, "kubestrata.anomaly.id")?;
    text(record, "kubestrata.subject.kind")?;
    let of = |(key, value): &(opentelemetry::Key, AnyValue)| {
        let key = key.as_str();
        let tells = ["kubestrata.subject.", "kubestrata.label.", "kubestrata.signal"];
        tells.iter().any(|start| key.starts_with(start)).then(|| format!("{key}={value:?}"))
    };
    let mut all: Vec<String> = record.attributes_iter().filter_map(of).collect();
    all.sort();
    Some(all.join(" "))
}
