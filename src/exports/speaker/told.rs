//! What have receivers been told? Each open finding and anomaly that a collector has taken, in a text short enough to
//! be carried by a Lease from one leader to the next.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::model::anomaly::Anomaly;
use crate::model::finding::{Finding, Severity};
use crate::model::record::Time;
use crate::model::text::stable_hash;

/// The most that is carried: with 64 bytes for each it stays well below the 256 KiB of an object's annotations.
const MOST_OPEN: usize = 2_000;
const MOST_ENDED: usize = 500;
const MOST_DOUBTED: usize = 500;

/// For how long it is remembered that an end was told. Replicas see the same end within a few ticks.
const ENDED: SignedDuration = SignedDuration::from_mins(5);

/// What tells one bad state from another, on every replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    /// A finding, by its id.
    Finding(u64),
    /// An anomaly, by the series that it is of.
    Anomaly(u64),
}

impl Key {
    pub(super) fn of_finding(finding: &Finding) -> Self {
        Self::Finding(id_hash(&finding.id))
    }

    /// Ids of anomalies tell when they opened, which replicas see at different moments.
    pub(super) fn of_anomaly(anomaly: &Anomaly) -> Self {
        let subject = &anomaly.subject;
        let parts = [&anomaly.signal, &subject.kind, &subject.namespace, &subject.name];
        let parts = parts.into_iter().map(crate::model::text::Text::as_str);
        let parts = parts.chain(anomaly.labels.iter());
        Self::Anomaly(stable_hash(parts.map(str::as_bytes)))
    }

    fn write(self) -> String {
        match self {
            Self::Finding(hash) => format!("f{hash:016x}"),
            Self::Anomaly(hash) => format!("a{hash:016x}"),
        }
    }

    fn read(text: &str) -> Option<Self> {
        let (kind, hash) = text.split_at_checked(1)?;
        let hash = u64::from_str_radix(hash, 16).ok()?;
        match kind {
            "f" => Some(Self::Finding(hash)),
            "a" => Some(Self::Anomaly(hash)),
            _ => None,
        }
    }
}

/// The number in an id such as `f-00c0ffee00c0ffee`; of one that has none, its hash.
fn id_hash(id: &str) -> u64 {
    let digits = id.split_once('-').map(|(_, digits)| digits).filter(|digits| digits.len() == 16);
    let number = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    number.unwrap_or_else(|| stable_hash([id.as_bytes()]))
}

/// A bad state as it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: String,
    pub(super) severity: Severity,
    pub(super) signal: String,
}

/// What receivers have been told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// Who has written it.
    pub(super) by: String,
    pub(super) open: BTreeMap<Key, Entry>,
    /// What is over, and when that was told, for a while.
    pub(super) ended: BTreeMap<Key, Time>,
    /// What was about to be opened or closed, and may have been.
    pub(super) doubt: BTreeMap<Key, Entry>,
    /// Up to when all that there was to tell has been told; `None`: nobody has told anything.
    pub(super) up_to: Option<Time>,
}

/// As it is written.
#[derive(Serialize, Deserialize)]
struct Text {
    version: u32,
    by: String,
    up_to: Option<Time>,
    /// By signal: key, severity's first letter, and the id where it does not follow from the key.
    open: BTreeMap<String, Vec<String>>,
    /// As what is open.
    #[serde(default)]
    doubt: BTreeMap<String, Vec<String>>,
    /// By seconds before `up_to`.
    ended: BTreeMap<i64, Vec<String>>,
    /// How many open ones are left out.
    left_out: usize,
}

const VERSION: u32 = 1;

const SEVERITIES: [(&str, Severity); 3] =
    [("c", Severity::Critical), ("w", Severity::Warning), ("i", Severity::Info)];

impl Told {
    /// Reads a text that [`write`](Self::write) wrote; an empty one is that of nobody. `None`: it is none of ours.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::default());
        }
        let text: Text = serde_json::from_str(text).ok().filter(|t: &Text| t.version == VERSION)?;
        let mut told = Self { by: text.by, up_to: text.up_to, ..Self::default() };
        (told.open, told.doubt) = (read(text.open)?, read(text.doubt)?);
        for (seconds, keys) in text.ended {
            let at = told.up_to?.checked_sub(SignedDuration::from_secs(seconds)).ok()?;
            for key in keys {
                told.ended.insert(Key::read(&key)?, at);
            }
        }
        Some(told)
    }

    /// As a text. Of more than it has room for, the worst are kept, and the last that ended.
    #[must_use]
    pub fn write(&self) -> String {
        let mut text = Text {
            version: VERSION,
            by: self.by.clone(),
            up_to: self.up_to,
            open: write(&self.open, MOST_OPEN),
            doubt: write(&self.doubt, MOST_DOUBTED),
            ended: BTreeMap::new(),
            left_out: self.open.len().saturating_sub(MOST_OPEN),
        };
        let Some(up_to) = self.up_to else { return json(&text) };
        let mut ended: Vec<_> = self.ended.iter().collect();
        ended.sort_by_key(|(key, at)| (std::cmp::Reverse(**at), **key));
        for (key, at) in ended.into_iter().take(MOST_ENDED) {
            let seconds = up_to.duration_since(*at).as_secs();
            text.ended.entry(seconds).or_default().push(key.write());
        }
        json(&text)
    }

    /// The findings among what is told or may be, by signal and id.
    pub fn findings(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.open.iter().chain(&self.doubt);
        let findings = all.filter(|(key, _)| matches!(key, Key::Finding(_)));
        findings.map(|(_, entry)| (entry.signal.as_str(), entry.id.as_str()))
    }

    /// Up to when all has been told. What ended long before is forgotten.
    pub(super) fn reach(&mut self, up_to: Time) {
        self.up_to = Some(up_to);
        self.ended.retain(|_, at| up_to.duration_since(*at) <= ENDED);
    }
}

fn read(all: BTreeMap<String, Vec<String>>) -> Option<BTreeMap<Key, Entry>> {
    let mut read = BTreeMap::new();
    for (signal, entries) in all {
        for entry in entries {
            let (key, rest) = entry.split_at_checked(17)?;
            let (severity, id) = rest.split_at_checked(1)?;
            let (_, severity) = SEVERITIES.iter().find(|(letter, _)| *letter == severity)?;
            let id = if id.is_empty() { format!("f-{}", &key[1..]) } else { id.to_owned() };
            let entry = Entry { id, severity: *severity, signal: signal.clone() };
            read.insert(Key::read(key)?, entry);
        }
    }
    Some(read)
}

/// The worst come first.
fn write(all: &BTreeMap<Key, Entry>, most: usize) -> BTreeMap<String, Vec<String>> {
    let mut all: Vec<_> = all.iter().collect();
    all.sort_by_key(|(key, entry)| (std::cmp::Reverse(entry.severity), **key));
    let mut written: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, entry) in all.into_iter().take(most) {
        let letter = SEVERITIES.iter().find(|(_, s)| *s == entry.severity).map_or("", |s| s.0);
        let key = key.write();
        let id = if entry.id == format!("f-{}", &key[1..]) { "" } else { &entry.id };
        let entries = written.entry(entry.signal.clone()).or_default();
        entries.push(format!("{key}{letter}{id}"));
    }
    written
}

fn json(text: &Text) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Time {
        Time::from_second(second).unwrap()
    }

    fn entry(id: &str, severity: Severity) -> Entry {
        Entry { id: id.to_owned(), severity, signal: "storage_test".to_owned() }
    }

    fn told() -> Told {
        let open = [
            (Key::Finding(7), entry("f-0000000000000007", Severity::Critical)),
            (Key::Finding(8), entry("odd", Severity::Info)),
            (Key::Anomaly(9), entry("a-00000000000000ff", Severity::Warning)),
        ];
        let ended = [(Key::Finding(1), at(990)), (Key::Anomaly(2), at(1002))];
        Told {
            by: "a".to_owned(),
            open: open.into(),
            ended: ended.into(),
            doubt: [(Key::Finding(5), entry("f-0000000000000005", Severity::Info))].into(),
            up_to: Some(at(1000)),
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let text = told().write();
        assert_eq!(Told::read(&text), Some(told()), "{text}");
        assert!(text.contains(r#""f0000000000000007c""#), "short where it can be: {text}");
        assert_eq!(Told::read(&Told::default().write()), Some(Told::default()));
        assert_eq!(Told::read(""), Some(Told::default()));
        let older = text.replace("\"doubt\":{\"storage_test\":[\"f0000000000000005i\"]},", "");
        assert_ne!(older, text);
        assert!(Told::read(&older).is_some_and(|told| told.doubt.is_empty()), "{older}");
    }

    #[test]
    fn what_somebody_else_has_written_is_not_guessed_at() {
        let ours = told().write();
        let other = ours.replace("\"version\":1", "\"version\":2");
        let odd = ours.replace("f0000000000000007c", "f00000000000000\u{e4}7c");
        for text in ["{}", "true", "told", other.as_str(), odd.as_str(), &ours[..40]] {
            assert_eq!(Told::read(text), None, "{text}");
        }
    }

    #[test]
    fn the_worst_are_carried_and_the_size_is_bounded() {
        let mut told = Told { up_to: Some(at(1000)), ..Told::default() };
        for i in 0..5_000 {
            let severity = if i == 4_999 { Severity::Critical } else { Severity::Info };
            let entry =
                Entry { signal: format!("s{}", i % 400), ..entry("a-0123456789abcdef", severity) };
            told.open.insert(Key::Anomaly(i), entry);
            told.ended.insert(Key::Finding(i), at(i as i64 / 5));
        }
        let text = told.write();
        assert!(text.len() < 200 << 10, "{}", text.len());
        let read = Told::read(&text).unwrap();
        assert_eq!((read.open.len(), read.ended.len()), (MOST_OPEN, MOST_ENDED));
        assert!(read.open.contains_key(&Key::Anomaly(4_999)));
        assert!(read.ended.contains_key(&Key::Finding(4_999)));
        assert!(text.contains("\"left_out\":3000"));
    }
}
