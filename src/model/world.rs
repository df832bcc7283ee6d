//! What is in the cluster now? One slim record per object, filled by sources, read by layers.

mod alerts;
mod recall;
mod store;

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};

use hashbrown::HashSet;

use super::kind::{Kind, Origin};
use super::record::{
    Claim, CronJob, CsiDriver, CsiNode, Event, Job, Namespace, Node, Object, Pod, Record, Resource,
    Scrape, Slice, StorageClass, Time, Uid, Volume, VolumeAttachment, Workload,
};
use super::source::{Availability, SourceNote, SourceStatus};
use super::text::Text;
use super::view::Indexes;

pub use recall::Recall;
pub use store::{Stamp, Store};

/// Namespace (empty at cluster scope) and name.
pub type Key = (Text, Text);

/// A change that a source reports.
#[derive(Clone, Debug, PartialEq)]
pub enum Delta {
    /// A complete list of the kind begins; what it does not name is gone when it is [`Synced`](Delta::Synced).
    Listing(Kind),
    /// The object is there, new or changed.
    Upsert(Object),
    /// The object is gone.
    Delete {
        /// Its kind.
        kind: Kind,
        /// Its namespace and name.
        key: Key,
        /// Its identity: a newer object of the same name stays. [`Uid::default`] matches any.
        uid: Uid,
    },
    /// The object is there, but can't be read: what is known of it stays.
    Keep {
        /// Its kind.
        kind: Kind,
        /// Its namespace and name.
        key: Key,
    },
    /// The list that began is complete.
    Synced(Kind),
    /// The API no longer serves the kind: its objects are gone with it.
    Unserved(Kind),
    /// How the source of the kind is doing.
    Note(Kind, SourceNote),
}

/// Everything known of the cluster at this moment.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct World {
    pub namespaces: Store<Namespace>,
    pub nodes: Store<Node>,
    pub deployments: Store<Workload>,
    pub replica_sets: Store<Workload>,
    pub stateful_sets: Store<Workload>,
    pub daemon_sets: Store<Workload>,
    pub jobs: Store<Job>,
    pub cron_jobs: Store<CronJob>,
    pub pods: Store<Pod>,
    pub claims: Store<Claim>,
    pub volumes: Store<Volume>,
    pub storage_classes: Store<StorageClass>,
    pub volume_attachments: Store<VolumeAttachment>,
    pub csi_drivers: Store<CsiDriver>,
    pub csi_nodes: Store<CsiNode>,
    pub events: Store<Event>,
    pub slices: Store<Slice>,
    resources: ByKind<Store<Resource>>,
    scrapes: ByKind<Store<Scrape>>,
    sources: ByKind<Option<SourceStatus>>,
    /// Which kinds can be seen.
    sight: Stamp,
    /// Whether anybody has asked how a source is doing beyond that since that was asked for.
    sources_read: Cell<bool>,
    /// What is built of the objects when it is first asked for, until they change.
    pub(super) indexes: Indexes,
    tombstones: Tombstones,
    /// What no object shows any more.
    recall: Recall,
    /// Audit events that came lately: one that is sent again counts once.
    audited: Tombstones,
}

/// One of each kind.
#[derive(Clone, Debug)]
pub(super) struct ByKind<T>(Box<[T]>);

impl<T: Default> Default for ByKind<T> {
    fn default() -> Self {
        Self(Kind::ALL.iter().map(|_| T::default()).collect())
    }
}

impl<T> ByKind<T> {
    pub(super) fn of(&self, kind: Kind) -> &T {
        &self.0[kind as usize]
    }

    pub(super) fn of_mut(&mut self, kind: Kind) -> &mut T {
        &mut self.0[kind as usize]
    }
}

/// Identities seen lately. Of deleted objects: a late event must not bring one back, and an identity is never used
/// again.
#[derive(Clone, Debug, Default)]
struct Tombstones {
    order: VecDeque<Uid>,
    set: HashSet<Uid>,
}

impl Tombstones {
    /// How many are remembered: events come late by seconds, not by thousands of deletions.
    const KEPT: usize = 4096;

    fn add(&mut self, uid: Uid) {
        if uid != Uid::default() && self.set.insert(uid) {
            self.order.push_back(uid);
        }
        if self.order.len() > Self::KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.set.remove(&oldest);
        }
    }
}

/// `each!(world, kind, store => expression)`: the expression with the store of a kind that is known at run time;
/// `each!(mut …)` to change it.
macro_rules! each {
    (@ [$($borrow:tt)+] [$of:ident] $world:expr, $kind:expr, $store:ident => $body:expr) => {
        match $kind {
            Kind::Namespace => {
                let $store = $($borrow)+ $world.namespaces;
                $body
            }
            Kind::Node => {
                let $store = $($borrow)+ $world.nodes;
                $body
            }
            Kind::Deployment => {
                let $store = $($borrow)+ $world.deployments;
                $body
            }
            Kind::ReplicaSet => {
                let $store = $($borrow)+ $world.replica_sets;
                $body
            }
            Kind::StatefulSet => {
                let $store = $($borrow)+ $world.stateful_sets;
                $body
            }
            Kind::DaemonSet => {
                let $store = $($borrow)+ $world.daemon_sets;
                $body
            }
            Kind::Job => {
                let $store = $($borrow)+ $world.jobs;
                $body
            }
            Kind::CronJob => {
                let $store = $($borrow)+ $world.cron_jobs;
                $body
            }
            Kind::Pod => {
                let $store = $($borrow)+ $world.pods;
                $body
            }
            Kind::PersistentVolumeClaim => {
                let $store = $($borrow)+ $world.claims;
                $body
            }
            Kind::PersistentVolume => {
                let $store = $($borrow)+ $world.volumes;
                $body
            }
            Kind::StorageClass => {
                let $store = $($borrow)+ $world.storage_classes;
                $body
            }
            Kind::VolumeAttachment => {
                let $store = $($borrow)+ $world.volume_attachments;
                $body
            }
            Kind::CsiDriver => {
                let $store = $($borrow)+ $world.csi_drivers;
                $body
            }
            Kind::CsiNode => {
                let $store = $($borrow)+ $world.csi_nodes;
                $body
            }
            Kind::Event => {
                let $store = $($borrow)+ $world.events;
                $body
            }
            Kind::EndpointSlice => {
                let $store = $($borrow)+ $world.slices;
                $body
            }
            kind if kind.is_resource() => {
                let $store = $world.resources.$of(kind);
                $body
            }
            kind => {
                let $store = $world.scrapes.$of(kind);
                $body
            }
        }
    };
    (mut $world:expr, $kind:expr, $store:ident => $body:expr) => {
        each!(@ [&mut] [of_mut] $world, $kind, $store => $body)
    };
    ($world:expr, $kind:expr, $store:ident => $body:expr) => {
        each!(@ [&] [of] $world, $kind, $store => $body)
    };
}

impl World {
    /// An empty world that remembers what another has seen.
    #[must_use]
    pub fn recalling(recall: Recall) -> Self {
        Self { recall, ..Self::default() }
    }

    /// Takes a change in. `now` stamps what sources say of themselves.
    pub fn apply(&mut self, delta: Delta, now: Time) {
        match delta {
            Delta::Listing(kind) => each!(mut self, kind, store => store.begin_list()),
            Delta::Upsert(object) if self.tombstones.set.contains(&object.meta().uid) => {}
            Delta::Upsert(object) => self.upsert(object, now),
            Delta::Delete { kind, key, uid } => {
                self.tombstones.add(uid);
                if each!(mut self, kind, store => store.delete(&key, uid)) {
                    self.indexes.forget(kind);
                    self.look_at_alerts(kind, Some(&key.0), now);
                    match kind {
                        Kind::Pod => self.recall.forget_pod(uid),
                        Kind::Lease => self.recall.forget_lease(&key),
                        _ => {}
                    }
                }
            }
            Delta::Keep { kind, key } => each!(mut self, kind, store => store.keep(&key)),
            Delta::Synced(kind) => {
                if each!(mut self, kind, store => store.synced()) {
                    self.indexes.forget(kind);
                }
                self.recall_what_is_there(kind, now);
                let source = self.source_mut(kind);
                // A kind that is polled is listed again and again; that is no gap in what was seen.
                if source.synced && matches!(kind.origin(), Origin::Watch | Origin::Metadata) {
                    source.relists += 1;
                }
                if !std::mem::replace(&mut source.synced, true) {
                    self.sight = Stamp::fresh();
                }
                self.alive(kind, now);
            }
            Delta::Unserved(kind) => {
                if each!(mut self, kind, store => store.clear()) {
                    self.indexes.forget(kind);
                }
                if kind == Kind::PrometheusRule {
                    self.recall.alerts.clear();
                }
                self.sight = Stamp::fresh();
                let source = self.source_mut(kind);
                *source = SourceStatus {
                    availability: Availability::Absent,
                    message: "the API server does not serve it".to_owned(),
                    ..std::mem::take(source)
                };
                source.synced = false;
                source.failing_since.get_or_insert(now);
            }
            Delta::Note(kind, note) => self.note(kind, note, now),
        }
    }

    /// Whether the world holds a newer version of this very object, or has seen it go: a late or repeated event
    /// changes nothing.
    #[must_use]
    pub fn is_stale(&self, object: &Object) -> bool {
        if self.tombstones.set.contains(&object.meta().uid) {
            return true;
        }
        match object {
            Object::Namespace(o) => self.namespaces.is_stale(o),
            Object::Node(o) => self.nodes.is_stale(o),
            Object::Workload(o) => self.workloads(o.kind).is_some_and(|s| s.is_stale(o)),
            Object::Job(o) => self.jobs.is_stale(o),
            Object::CronJob(o) => self.cron_jobs.is_stale(o),
            Object::Pod(o) => self.pods.is_stale(o),
            Object::Claim(o) => self.claims.is_stale(o),
            Object::Volume(o) => self.volumes.is_stale(o),
            Object::StorageClass(o) => self.storage_classes.is_stale(o),
            Object::VolumeAttachment(o) => self.volume_attachments.is_stale(o),
            Object::CsiDriver(o) => self.csi_drivers.is_stale(o),
            Object::CsiNode(o) => self.csi_nodes.is_stale(o),
            Object::Event(o) => self.events.is_stale(o),
            Object::Slice(o) => self.slices.is_stale(o),
            Object::Resource(o) => self.resources.of(o.kind).is_stale(o),
            Object::Audit(o) => self.audited.set.contains(&o.meta.uid),
            Object::Scrape(_) => false,
        }
    }

    /// The store of a kind of workload that is kept as [`Workload`].
    #[must_use]
    pub fn workloads(&self, kind: Kind) -> Option<&Store<Workload>> {
        match kind {
            Kind::Deployment => Some(&self.deployments),
            Kind::ReplicaSet => Some(&self.replica_sets),
            Kind::StatefulSet => Some(&self.stateful_sets),
            Kind::DaemonSet => Some(&self.daemon_sets),
            _ => None,
        }
    }

    /// The objects of a kind; `None` for one that has a record of its own.
    #[must_use]
    pub fn resources(&self, kind: Kind) -> Option<&Store<Resource>> {
        let own_record = matches!(
            kind,
            Kind::Namespace
                | Kind::Node
                | Kind::Deployment
                | Kind::ReplicaSet
                | Kind::StatefulSet
                | Kind::DaemonSet
                | Kind::Job
                | Kind::CronJob
                | Kind::Pod
                | Kind::PersistentVolumeClaim
                | Kind::PersistentVolume
                | Kind::StorageClass
                | Kind::VolumeAttachment
                | Kind::CsiDriver
                | Kind::CsiNode
                | Kind::Event
                | Kind::EndpointSlice
        );
        (!own_record).then(|| self.resources.of(kind))
    }

    /// What was seen that no object shows any more.
    #[must_use]
    pub const fn recall(&self) -> &Recall {
        &self.recall
    }

    /// Namespaces that have alerts or had some within a day, with their alerts by name, and since when those are gone that
    /// no PrometheusRule has any more.
    pub fn alerts(&self) -> impl Iterator<Item = (&Text, &BTreeMap<Text, Option<Time>>)> {
        self.resources.of(Kind::PrometheusRule).mark();
        self.recall.alerts.iter()
    }

    /// The last answers of an endpoint's instances.
    #[must_use]
    pub fn scrapes(&self, kind: Kind) -> Option<&Store<Scrape>> {
        Some(self.scrapes.of(kind))
    }

    /// How many objects of a kind there are.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        each!(self, kind, store => store.len())
    }

    /// The identities of all objects of a kind.
    #[must_use]
    pub fn uids(&self, kind: Kind) -> Vec<Uid> {
        each!(self, kind, store => store.iter().map(|item| item.meta().uid).collect())
    }

    /// Keeps the newest `limit` events and says how many older ones went. Trims by a twentieth more than it must, so
    /// that a flood does not sort the store at each event.
    pub fn trim_events(&mut self, limit: usize) -> usize {
        let held = self.events.len();
        if held <= limit {
            return 0;
        }
        let mut times: Vec<(Time, Uid)> =
            self.events.iter().map(|event| (event.last, event.meta.uid)).collect();
        let excess = (held - limit + limit / 20).min(held - 1);
        let (_, oldest_kept, _) = times.select_nth_unstable(excess);
        let oldest_kept = *oldest_kept;
        if self.events.retain(|event| (event.last, event.meta.uid) >= oldest_kept) {
            self.indexes.forget(Kind::Event);
        }
        held - self.events.len()
    }

    /// How the source of a kind is doing.
    #[must_use]
    pub fn source(&self, kind: Kind) -> SourceStatus {
        self.sources.of(kind).clone().unwrap_or_default()
    }

    /// The source of a kind without a copy; `None` before it has said anything.
    #[must_use]
    pub fn source_ref(&self, kind: Kind) -> Option<&SourceStatus> {
        self.sources_read.set(true);
        self.sources.of(kind).as_ref()
    }

    /// What the source of a kind can see; `None` before it has said anything.
    #[must_use]
    pub fn availability(&self, kind: Kind) -> Option<Availability> {
        self.sources.of(kind).as_ref().map(|source| source.availability)
    }

    /// Begins to note what is read.
    pub fn watch_reading(&self) {
        let _ = self.what_was_read();
    }

    /// What was read since this or [`watch_reading`](World::watch_reading) was called last; `None` where that is not
    /// told by the objects and by which kinds can be seen.
    #[must_use]
    pub fn what_was_read(&self) -> Option<Extract> {
        let read = |kind: &Kind| Some((*kind, each!(self, *kind, store => store.take_mark())?));
        let kinds = Kind::ALL.iter().filter_map(read).collect();
        (!self.sources_read.replace(false)).then_some(Extract { sight: self.sight, kinds })
    }

    /// Whether what was read is as it was.
    #[must_use]
    pub fn still_says(&self, extract: &Extract) -> bool {
        let same =
            |(kind, stamp): &(Kind, Stamp)| each!(self, *kind, store => store.stamp()) == *stamp;
        extract.sight == self.sight && extract.kinds.iter().all(same)
    }

    fn source_mut(&mut self, kind: Kind) -> &mut SourceStatus {
        let source = self.sources.of_mut(kind);
        if source.is_none() {
            self.sight = Stamp::fresh();
        }
        source.get_or_insert_default()
    }

    fn upsert(&mut self, object: Object, now: Time) {
        let kind = object.kind();
        let changed = match object {
            Object::Namespace(o) => self.namespaces.upsert(o),
            Object::Node(o) => self.nodes.upsert(*o),
            Object::Workload(o) => match o.kind {
                Kind::Deployment => self.deployments.upsert(*o),
                Kind::ReplicaSet => self.replica_sets.upsert(*o),
                Kind::StatefulSet => self.stateful_sets.upsert(*o),
                _ => self.daemon_sets.upsert(*o),
            },
            Object::Job(o) => self.jobs.upsert(*o),
            Object::CronJob(o) => self.cron_jobs.upsert(*o),
            Object::Pod(o) => {
                self.recall.see_pod(&o, now);
                self.pods.upsert(*o)
            }
            Object::Claim(o) => self.claims.upsert(*o),
            Object::Volume(o) => self.volumes.upsert(*o),
            Object::StorageClass(o) => self.storage_classes.upsert(*o),
            Object::VolumeAttachment(o) => self.volume_attachments.upsert(*o),
            Object::CsiDriver(o) => self.csi_drivers.upsert(*o),
            Object::CsiNode(o) => self.csi_nodes.upsert(*o),
            Object::Event(o) => self.events.upsert(*o),
            Object::Slice(o) => self.slices.upsert(*o),
            Object::Resource(mut o) => {
                if o.kind == Kind::Lease {
                    self.recall.see_lease(&o);
                    o.renewed = self.renewed(&o, now);
                }
                let (kind, namespace) = (o.kind, o.meta.namespace.clone());
                let changed = self.resources.of_mut(kind).upsert(*o);
                if changed {
                    self.look_at_alerts(kind, Some(&namespace), now);
                }
                changed
            }
            Object::Scrape(o) => self.scrapes.of_mut(o.kind).upsert(*o),
            Object::Audit(o) => {
                self.audited.add(o.meta.uid);
                false
            }
        };
        if changed {
            self.indexes.forget(kind);
        }
    }

    /// When the renewal came of which a lease speaks that is read now: what was there at first sight and still is there
    /// came when its holder says.
    fn renewed(&self, lease: &Resource, now: Time) -> Option<Time> {
        let held = self.resources.of(lease.kind).get(&lease.meta.namespace, &lease.meta.name)?;
        let at = |lease: &Resource| lease.body.text("spec.renewTime").clone();
        let says = || lease.body.time("spec.renewTime");
        if at(held) == at(lease) { held.renewed.or_else(says) } else { Some(now) }
    }

    /// A list is complete: what is remembered of objects that are gone goes, too.
    fn recall_what_is_there(&mut self, kind: Kind, now: Time) {
        match kind {
            Kind::Pod => {
                let there: HashSet<Uid> = self.pods.iter().map(|pod| pod.meta.uid).collect();
                self.recall.keep_pods(|uid| there.contains(&uid));
            }
            Kind::Lease => {
                let leases = self.resources.of(kind);
                self.recall.keep_leases(|key| leases.get(&key.0, &key.1).is_some());
            }
            kind => self.look_at_alerts(kind, None, now),
        }
    }

    /// Rules of this namespace, or of any, have changed.
    fn look_at_alerts(&mut self, kind: Kind, namespace: Option<&Text>, now: Time) {
        if kind != Kind::PrometheusRule {
            return;
        }
        let all =
            namespace.map_or_else(|| self.recall.alerts.namespaces(), |one| vec![one.clone()]);
        for namespace in &all {
            let rules = self.resources.of(kind).iter().filter(|r| r.meta.namespace == *namespace);
            self.recall.alerts.look(namespace, rules, now);
        }
    }

    fn note(&mut self, kind: Kind, note: SourceNote, now: Time) {
        match note {
            SourceNote::Alive => self.alive(kind, now),
            SourceNote::Heard { at } => self.alive(kind, at),
            SourceNote::Failed { availability, message, backoff_seconds } => {
                let source = self.source_mut(kind);
                let seen = std::mem::replace(&mut source.availability, availability);
                source.message = message;
                source.errors += 1;
                source.backoff_seconds = backoff_seconds;
                source.failing_since.get_or_insert(now);
                if seen != availability {
                    self.sight = Stamp::fresh();
                }
            }
            SourceNote::Undecodable { message } => {
                let source = self.source_mut(kind);
                source.undecodable += 1;
                source.message = message;
            }
            SourceNote::Silent { names, message } => {
                let source = self.source_mut(kind);
                if source.silent != names {
                    source.silent = names;
                    source.message = message;
                    self.sight = Stamp::fresh();
                }
            }
        }
    }

    fn alive(&mut self, kind: Kind, now: Time) {
        let source = self.source_mut(kind);
        let sees = if source.synced { Availability::Served } else { Availability::Syncing };
        let saw = std::mem::replace(&mut source.availability, sees);
        source.last_sync = Some(now);
        source.failing_since = None;
        source.backoff_seconds = 0.0;
        if saw != sees {
            self.sight = Stamp::fresh();
        }
    }
}

/// What was read of a world, and what was there to read.
#[derive(Clone, Debug)]
pub struct Extract {
    sight: Stamp,
    kinds: Vec<(Kind, Stamp)>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::record::Meta;

    fn namespace(name: &str, uid: u128, version: u64) -> Object {
        let meta = Meta { name: name.into(), uid: Uid(uid), version, ..Meta::default() };
        Object::Namespace(Namespace { meta, terminating: false })
    }

    #[test]
    fn a_relist_removes_what_it_does_not_name() {
        let (mut world, now) = (World::default(), Time::UNIX_EPOCH);
        for delta in [
            Delta::Listing(Kind::Namespace),
            Delta::Upsert(namespace("kept", 1, 1)),
            Delta::Upsert(namespace("gone", 2, 2)),
            Delta::Synced(Kind::Namespace),
            Delta::Listing(Kind::Namespace),
            Delta::Upsert(namespace("kept", 1, 1)),
        ] {
            world.apply(delta, now);
        }
        assert_eq!(world.namespaces.len(), 2, "nothing goes before the list is complete");
        world.apply(Delta::Synced(Kind::Namespace), now);
        assert!(world.namespaces.get("", "gone").is_none());
        assert_eq!(world.source(Kind::Namespace).relists, 1);
    }

    #[test]
    fn a_poll_is_no_list_after_a_gap() {
        let mut world = World::default();
        for kind in [Kind::Lease, Kind::ApiServerMetrics, Kind::PolicyReport] {
            world.apply(Delta::Synced(kind), Time::UNIX_EPOCH);
            world.apply(Delta::Synced(kind), Time::UNIX_EPOCH);
            assert_eq!(world.source(kind).relists, 0, "{kind:?}");
        }
    }

    #[test]
    fn a_late_delete_leaves_the_new_object_of_the_same_name() {
        let (mut world, now) = (World::default(), Time::UNIX_EPOCH);
        world.apply(Delta::Upsert(namespace("a", 2, 9)), now);
        let key = (Text::default(), Text::from("a"));
        world.apply(Delta::Delete { kind: Kind::Namespace, key, uid: Uid(1) }, now);
        assert_eq!(world.namespaces.len(), 1);
    }

    #[test]
    fn a_late_event_does_not_bring_an_object_back() {
        let (mut world, now) = (World::default(), Time::UNIX_EPOCH);
        let (kind, key) = (Kind::Namespace, (Text::default(), Text::from("a")));
        world.apply(Delta::Upsert(namespace("a", 1, 1)), now);
        world.apply(Delta::Delete { kind, key, uid: Uid(1) }, now);
        assert!(world.is_stale(&namespace("a", 1, 2)));
        world.apply(Delta::Upsert(namespace("a", 1, 2)), now);
        assert!(world.namespaces.is_empty());
        world.apply(Delta::Upsert(namespace("a", 2, 3)), now);
        assert_eq!(world.namespaces.len(), 1, "another object of the same name");
    }

    #[test]
    fn an_older_version_of_the_same_object_is_stale() {
        let (mut world, now) = (World::default(), Time::UNIX_EPOCH);
        world.apply(Delta::Upsert(namespace("a", 1, 9)), now);
        assert!(world.is_stale(&namespace("a", 1, 8)));
        assert!(!world.is_stale(&namespace("a", 1, 10)));
        assert!(!world.is_stale(&namespace("a", 2, 3)), "another identity");
    }
}
