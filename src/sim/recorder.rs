//! How do components report what happens? As Events: repeated ones are counted, floods are throttled, similar ones
//! are combined, and all expire; the rules are client-go's `tools/record` and `tools/events`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::controllers::Task;
use super::fields::Fields;
use super::kind::Kind;
use super::moment::{HOUR, MINUTE, Moment, micro_stamp, stamp};
use super::queue::Queue;
use super::store::{Key, Store};

/// How long an event lives after its last change: `--event-ttl`.
const TTL: Moment = HOUR;
/// A source may write this many events about one object at once, then one per [`REFILL`].
const BURST: f64 = 25.0;
const REFILL: Moment = 5 * MINUTE;
/// From so many different texts within [`SIMILAR_WITHIN`] on, they are combined.
const SIMILAR: usize = 10;
const SIMILAR_WITHIN: Moment = 10 * MINUTE;
/// The events.k8s.io recorder begins a series when the next occurrence comes within this time, and writes its count
/// no more often than [`SERIES_REFRESH`].
const SERIES_WITHIN: Moment = 6 * MINUTE;
const SERIES_REFRESH: Moment = 30 * MINUTE;

/// Who reports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Actor {
    /// A controller, by its component name.
    Controller(String),
    /// The kubelet of a node.
    Kubelet(String),
    /// The scheduler, the one component here that speaks events.k8s.io.
    Scheduler,
}

impl Actor {
    pub(crate) fn controller(name: &str) -> Self {
        Self::Controller(name.to_owned())
    }
}

/// Something to report.
#[derive(Clone, Debug)]
pub(crate) struct Note<'a> {
    pub(crate) about: &'a Value,
    pub(crate) by: Actor,
    pub(crate) warning: bool,
    pub(crate) reason: &'a str,
    pub(crate) text: String,
    /// The container in question, empty if none is.
    pub(crate) container: &'a str,
    /// How far the reporter's clock is ahead.
    pub(crate) skew: Moment,
}

/// What repeated events have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Identity {
    by: Actor,
    uid: String,
    reason: String,
    container: String,
    /// Empty for combined events.
    text: String,
}

impl Identity {
    /// Sorts before every identity of this source and object.
    const fn first(by: Actor, uid: String) -> Self {
        Self { by, uid, reason: String::new(), container: String::new(), text: String::new() }
    }

    fn shares_bucket(&self, other: &Self) -> bool {
        self.by == other.by && self.uid == other.uid
    }
}

#[derive(Debug)]
struct Series {
    event: Key,
    count: u64,
    last: Moment,
    written: Moment,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Moment,
}

#[derive(Debug, Default)]
struct Similar {
    texts: BTreeSet<String>,
    last: Moment,
}

/// The memory of all recorders.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    series: BTreeMap<Identity, Series>,
    identities: BTreeMap<Key, Identity>,
    buckets: BTreeMap<(Actor, String), Bucket>,
    similar: BTreeMap<Identity, Similar>,
    named: u64,
    /// Events that clients have written.
    foreign: BTreeSet<Key>,
}

impl Recorder {
    /// Reports `note` at `now`.
    pub(crate) fn record(
        &mut self,
        store: &mut Store,
        queue: &mut Queue<Task>,
        now: Moment,
        note: &Note<'_>,
    ) {
        let mut identity = Identity {
            by: note.by.clone(),
            uid: note.about.text("metadata/uid").to_owned(),
            reason: note.reason.to_owned(),
            container: note.container.to_owned(),
            text: String::new(),
        };
        let combined = note.by != Actor::Scheduler && self.combines(&identity, &note.text, now);
        if !combined {
            identity.text.clone_from(&note.text);
        }
        if note.by != Actor::Scheduler {
            let allowed = self.allows(&identity, now);
            self.count(&identity, now);
            if !allowed {
                return;
            }
        } else if !self.counts_as_series(&identity, now) {
            return;
        }
        match self.series.get_mut(&identity).filter(|s| store.get(Kind::Event, &s.event).is_some())
        {
            Some(series) => {
                series.written = now;
                let (count, event) = (series.count, series.event.clone());
                store.update(Kind::Event, &event, |e| refresh(e, note, count, now));
            }
            None => self.begin(store, queue, now, note, identity, combined),
        }
    }

    /// Has an event that a client wrote expire as others do.
    pub(crate) fn adopt(&mut self, queue: &mut Queue<Task>, now: Moment, key: &Key) {
        self.foreign.insert(key.clone());
        queue.push(now + TTL, Task::Expire(key.clone()));
    }

    fn begin(
        &mut self,
        store: &mut Store,
        queue: &mut Queue<Task>,
        now: Moment,
        note: &Note<'_>,
        identity: Identity,
        combined: bool,
    ) {
        self.named += 1;
        let count = self.series.get(&identity).map_or(1, |s| s.count);
        let key = store.create(Kind::Event, event(note, now, self.named, count, combined), now);
        queue.push(now + TTL, Task::Expire(key.clone()));
        self.identities.insert(key.clone(), identity.clone());
        self.series.insert(identity, Series { event: key, count, last: now, written: now });
    }

    /// Whether this text is one of so many that it goes into the combined event.
    fn combines(&mut self, identity: &Identity, text: &str, now: Moment) -> bool {
        let similar = self.similar.entry(identity.clone()).or_default();
        if now - similar.last > SIMILAR_WITHIN {
            similar.texts.clear();
        }
        similar.last = now;
        if similar.texts.contains(text) {
            return false;
        }
        if similar.texts.len() >= SIMILAR - 1 {
            return true;
        }
        similar.texts.insert(text.to_owned());
        false
    }

    /// Takes a token from the source's bucket for the object.
    fn allows(&mut self, identity: &Identity, now: Moment) -> bool {
        let place = (identity.by.clone(), identity.uid.clone());
        let bucket = self.buckets.entry(place).or_insert(Bucket { tokens: BURST, at: now });
        let earned = (now - bucket.at) as f64 / REFILL as f64;
        bucket.tokens = (bucket.tokens + earned).min(BURST);
        bucket.at = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }

    /// Counts an occurrence, whether it is written or not.
    fn count(&mut self, identity: &Identity, now: Moment) {
        if let Some(series) = self.series.get_mut(identity) {
            series.count += 1;
            series.last = now;
        }
    }

    /// The same for the events.k8s.io recorder; tells whether the occurrence is written.
    fn counts_as_series(&mut self, identity: &Identity, now: Moment) -> bool {
        let Some(series) = self.series.get_mut(identity) else { return true };
        if now - series.last > SERIES_WITHIN {
            self.series.remove(identity);
            return true;
        }
        series.count += 1;
        series.last = now;
        series.count == 2 || now - series.written >= SERIES_REFRESH
    }

    /// Removes the event if its time has come.
    pub(crate) fn expire(
        &mut self,
        store: &mut Store,
        queue: &mut Queue<Task>,
        now: Moment,
        key: &Key,
    ) {
        let Some(identity) = self.identities.get(key) else {
            if self.foreign.remove(key) {
                store.remove(Kind::Event, key);
            }
            return;
        };
        let current = self.series.get(identity).filter(|s| s.event == *key);
        if let Some(series) = current
            && series.written + TTL > now
        {
            queue.push(series.written + TTL, Task::Expire(key.clone()));
            return;
        }
        if current.is_some() {
            self.series.remove(identity);
            let start = Identity::first(identity.by.clone(), identity.uid.clone());
            if !self.series.range(&start..).next().is_some_and(|(i, _)| i.shares_bucket(&start)) {
                self.buckets.remove(&(start.by.clone(), start.uid.clone()));
                let gone = self.similar.range(&start..).map(|(i, _)| i);
                let gone: Vec<_> = gone.take_while(|i| i.shares_bucket(&start)).cloned().collect();
                for i in &gone {
                    self.similar.remove(i);
                }
            }
        }
        self.identities.remove(key);
        store.remove(Kind::Event, key);
    }
}

/// A new event in the form of the core group.
fn event(note: &Note<'_>, now: Moment, nth: u64, count: u64, combined: bool) -> Value {
    let about = note.about;
    let mut ns = about.text("metadata/namespace");
    if ns.is_empty() {
        ns = "default";
    }
    let (component, host) = match &note.by {
        Actor::Controller(name) => (name.as_str(), ""),
        Actor::Kubelet(node) => ("kubelet", node.as_str()),
        Actor::Scheduler => ("default-scheduler", ""),
    };
    let mut event = json!({
        "metadata": {
            "name": format!("{}.{:x}", about.text("metadata/name"), now * 1_000_000 + nth as i64 % 1_000_000),
            "namespace": ns,
        },
        "involvedObject": {
            "kind": about.text("kind"),
            "name": about.text("metadata/name"),
            "uid": about.text("metadata/uid"),
            "apiVersion": about.text("apiVersion"),
            "resourceVersion": about.text("metadata/resourceVersion"),
        },
        "reason": note.reason,
        "message": note.text,
        "type": if note.warning { "Warning" } else { "Normal" },
        "reportingComponent": component,
        "reportingInstance": host,
    });
    if ns == about.text("metadata/namespace") {
        event.put("involvedObject/namespace", json!(ns));
    }
    if !note.container.is_empty() {
        event.put(
            "involvedObject/fieldPath",
            json!(format!("spec.containers{{{}}}", note.container)),
        );
    }
    if note.by == Actor::Scheduler {
        event.put("eventTime", json!(micro_stamp(now)));
        event.put("firstTimestamp", Value::Null);
        event.put("lastTimestamp", Value::Null);
        event.put("source", json!({}));
        event.put("reportingInstance", json!("default-scheduler-0"));
        event.put("action", json!(if note.warning { "Scheduling" } else { "Binding" }));
        return event;
    }
    event.put("eventTime", Value::Null);
    let told = json!(stamp(now + note.skew));
    event.put("firstTimestamp", told.clone());
    event.put("lastTimestamp", told);
    event.put("count", json!(count));
    event.put("source", json!({"component": component}));
    if !host.is_empty() {
        event.put("source/host", json!(host));
    }
    if combined {
        // client-go copies the event without its reporter.
        event.put("message", json!(combine(&note.text)));
        event.put("reportingComponent", json!(""));
        event.put("reportingInstance", json!(""));
    }
    event
}

fn combine(text: &str) -> String {
    format!("(combined from similar events): {text}")
}

/// Another occurrence of an event that is there.
fn refresh(event: &mut Value, note: &Note<'_>, count: u64, now: Moment) {
    if note.by == Actor::Scheduler {
        event.put("series", json!({"count": count, "lastObservedTime": micro_stamp(now)}));
        return;
    }
    if event.text("message") != note.text {
        event.put("message", json!(combine(&note.text)));
    }
    event.put("count", json!(count));
    event.put("lastTimestamp", json!(stamp(now + note.skew)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::chance::Chance;
    use crate::sim::moment::SECOND;

    struct Bench {
        recorder: Recorder,
        store: Store,
        queue: Queue<Task>,
        pod: Value,
    }

    impl Bench {
        fn new() -> Self {
            Self {
                recorder: Recorder::default(),
                store: Store::new(Chance::new(1), 100),
                queue: Queue::new(),
                pod: json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p", "namespace": "a", "uid": "u"}}),
            }
        }

        fn record(&mut self, at: Moment, by: Actor, text: &str) {
            let note = Note {
                about: &self.pod,
                by,
                warning: true,
                reason: "BackOff",
                text: text.to_owned(),
                container: "web",
                skew: 0,
            };
            self.recorder.record(&mut self.store, &mut self.queue, at, &note);
        }

        fn events(&self) -> Vec<Value> {
            self.store.list(Kind::Event, None).map(|(_, e)| (**e).clone()).collect()
        }
    }

    fn kubelet() -> Actor {
        Actor::Kubelet("n".to_owned())
    }

    #[test]
    fn repeated_events_are_counted_and_floods_throttled() {
        let mut bench = Bench::new();
        for n in 0..40 {
            bench.record(n * SECOND, kubelet(), "again");
        }
        let events = bench.events();
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].int("count"), 25, "the bucket is empty");
        bench.record(10 * MINUTE, kubelet(), "again");
        assert_eq!(bench.events()[0].int("count"), 41, "what was not written was counted");
        assert_eq!(events[0].text("involvedObject/fieldPath"), "spec.containers{web}");
    }

    #[test]
    fn the_tenth_different_text_is_combined_and_loses_its_reporter() {
        let mut bench = Bench::new();
        for n in 0..12 {
            bench.record(n * SECOND, kubelet(), &format!("text {n}"));
        }
        let combined: Vec<_> = bench
            .events()
            .into_iter()
            .filter(|e| e.text("message").starts_with("(combined"))
            .collect();
        assert_eq!(combined.len(), 1);
        assert_eq!(combined[0].text("message"), "(combined from similar events): text 11");
        assert_eq!(combined[0].int("count"), 3);
        assert_eq!(combined[0].text("reportingComponent"), "");
        assert_eq!(combined[0].text("source/component"), "kubelet");
    }

    #[test]
    fn the_schedulers_events_become_a_series_with_the_second_occurrence() {
        let mut bench = Bench::new();
        bench.record(0, Actor::Scheduler, "no");
        assert!(bench.events()[0].at("series").is_none());
        for n in 1..5 {
            bench.record(n * MINUTE, Actor::Scheduler, "no");
        }
        assert_eq!(bench.events()[0].int("series/count"), 2);
        assert!(bench.events()[0].at("count").is_none());
        for n in 5..34 {
            bench.record(n * MINUTE, Actor::Scheduler, "no");
        }
        assert_eq!(bench.events()[0].int("series/count"), 32, "refreshed after half an hour");
    }

    #[test]
    fn events_of_clients_expire_too() {
        let mut bench = Bench::new();
        bench.record(0, kubelet(), "ours");
        let key = Key::of(&bench.events()[0]);
        let (mut queue, mut other) = (Queue::new(), Recorder::default());
        other.adopt(&mut queue, 0, &key);
        assert!(queue.pop(TTL - 1).is_none());
        let Some((at, Task::Expire(due))) = queue.pop(TTL) else { panic!("nothing is due") };
        other.expire(&mut bench.store, &mut queue, at, &due);
        assert!(bench.events().is_empty());
    }

    #[test]
    fn events_expire_an_hour_after_their_last_change() {
        let mut bench = Bench::new();
        bench.record(0, kubelet(), "again");
        bench.record(10 * MINUTE, kubelet(), "again");
        while let Some((at, Task::Expire(key))) = bench.queue.pop(69 * MINUTE) {
            bench.recorder.expire(&mut bench.store, &mut bench.queue, at, &key);
        }
        assert_eq!(bench.events().len(), 1);
        while let Some((at, Task::Expire(key))) = bench.queue.pop(70 * MINUTE) {
            bench.recorder.expire(&mut bench.store, &mut bench.queue, at, &key);
        }
        assert_eq!(bench.events().len(), 0);
        assert!(bench.recorder.series.is_empty() && bench.recorder.buckets.is_empty());
    }
}
