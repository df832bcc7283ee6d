//! What is in the cluster now? One slim record per object, filled by sources, read by layers.

use std::collections::{BTreeMap, VecDeque};

use hashbrown::{HashMap, HashSet};

use super::kind::{Kind, Origin};
use super::record::{
    Claim, CronJob, CsiDriver, CsiNode, Event, Job, Namespace, Node, Object, Pod, Record, Resource,
    Scrape, Slice, StorageClass, Time, Uid, Volume, VolumeAttachment, Workload,
};
use super::source::{Availability, SourceNote, SourceStatus};
use super::text::Text;

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

/// The objects of one kind.
#[derive(Clone, Debug)]
pub struct Store<T> {
    items: HashMap<Key, (T, u32)>,
    generation: u32,
}

impl<T> Default for Store<T> {
    fn default() -> Self {
        Self { items: HashMap::new(), generation: 0 }
    }
}

impl<T: Record> Store<T> {
    /// The object of this name. `namespace` is empty at cluster scope.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<&T> {
        self.items.get(&Lookup { namespace, name }).map(|(item, _)| item)
    }

    /// All objects, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.values().map(|(item, _)| item)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    fn upsert(&mut self, item: T) {
        let generation = self.generation;
        let meta = item.meta();
        if self.is_stale(&item)
            && let Some((_, seen)) =
                self.items.get_mut(&Lookup { namespace: &meta.namespace, name: &meta.name })
        {
            *seen = generation;
            return;
        }
        let key = (meta.namespace.clone(), meta.name.clone());
        self.items.insert(key, (item, generation));
    }

    /// Whether the record is older than the one held, by resource version within the same identity.
    fn is_stale(&self, item: &T) -> bool {
        let meta = item.meta();
        self.get(&meta.namespace, &meta.name).is_some_and(|held| {
            let held = held.meta();
            held.uid == meta.uid && meta.version != 0 && meta.version < held.version
        })
    }

    fn keep(&mut self, key: &Key) {
        if let Some((_, seen)) = self.items.get_mut(key) {
            *seen = self.generation;
        }
    }

    fn delete(&mut self, key: &Key, uid: Uid) -> bool {
        let found = self
            .items
            .get(key)
            .is_some_and(|(held, _)| uid == Uid::default() || held.meta().uid == uid);
        found && self.items.remove(key).is_some()
    }

    fn clear(&mut self) {
        self.items = HashMap::new();
    }

    fn synced(&mut self) {
        let generation = self.generation;
        self.items.retain(|_, (_, seen)| *seen == generation);
        // A relist after a mass deletion must give the memory back.
        if self.items.capacity() > 4 * self.items.len().max(64) {
            self.items.shrink_to_fit();
        }
    }
}

#[derive(Hash)]
struct Lookup<'a> {
    namespace: &'a str,
    name: &'a str,
}

impl hashbrown::Equivalent<Key> for Lookup<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        &*key.0 == self.namespace && &*key.1 == self.name
    }
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
    resources: BTreeMap<Kind, Store<Resource>>,
    scrapes: BTreeMap<Kind, Store<Scrape>>,
    sources: BTreeMap<Kind, SourceStatus>,
    tombstones: Tombstones,
    /// Audit events that came lately: one that is sent again counts once.
    audited: Tombstones,
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

/// `each!(world, kind, store => expression)`: the expression with the store of a kind that is known at run time.
macro_rules! each {
    ($world:expr, $kind:expr, $store:ident => $body:expr) => {
        match $kind {
            Kind::Namespace => {
                let $store = &mut $world.namespaces;
                $body
            }
            Kind::Node => {
                let $store = &mut $world.nodes;
                $body
            }
            Kind::Deployment => {
                let $store = &mut $world.deployments;
                $body
            }
            Kind::ReplicaSet => {
                let $store = &mut $world.replica_sets;
                $body
            }
            Kind::StatefulSet => {
                let $store = &mut $world.stateful_sets;
                $body
            }
            Kind::DaemonSet => {
                let $store = &mut $world.daemon_sets;
                $body
            }
            Kind::Job => {
                let $store = &mut $world.jobs;
                $body
            }
            Kind::CronJob => {
                let $store = &mut $world.cron_jobs;
                $body
            }
            Kind::Pod => {
                let $store = &mut $world.pods;
                $body
            }
            Kind::PersistentVolumeClaim => {
                let $store = &mut $world.claims;
                $body
            }
            Kind::PersistentVolume => {
                let $store = &mut $world.volumes;
                $body
            }
            Kind::StorageClass => {
                let $store = &mut $world.storage_classes;
                $body
            }
            Kind::VolumeAttachment => {
                let $store = &mut $world.volume_attachments;
                $body
            }
            Kind::CsiDriver => {
                let $store = &mut $world.csi_drivers;
                $body
            }
            Kind::CsiNode => {
                let $store = &mut $world.csi_nodes;
                $body
            }
            Kind::Event => {
                let $store = &mut $world.events;
                $body
            }
            Kind::EndpointSlice => {
                let $store = &mut $world.slices;
                $body
            }
            kind if kind.is_resource() => {
                let $store = $world.resources.entry(kind).or_default();
                $body
            }
            kind => {
                let $store = $world.scrapes.entry(kind).or_default();
                $body
            }
        }
    };
}

impl World {
    /// Takes a change in. `now` stamps what sources say of themselves.
    pub fn apply(&mut self, delta: Delta, now: Time) {
        match delta {
            Delta::Listing(kind) => each!(self, kind, store => store.generation += 1),
            Delta::Upsert(object) if self.tombstones.set.contains(&object.meta().uid) => {}
            Delta::Upsert(object) => self.upsert(object),
            Delta::Delete { kind, key, uid } => {
                self.tombstones.add(uid);
                each!(self, kind, store => { store.delete(&key, uid); });
            }
            Delta::Keep { kind, key } => each!(self, kind, store => store.keep(&key)),
            Delta::Synced(kind) => {
                each!(self, kind, store => store.synced());
                let source = self.sources.entry(kind).or_default();
                // A kind that is polled is listed again and again; that is no gap in what was seen.
                if source.synced && matches!(kind.origin(), Origin::Watch | Origin::Metadata) {
                    source.relists += 1;
                }
                source.synced = true;
                alive(source, now);
            }
            Delta::Unserved(kind) => {
                each!(self, kind, store => store.clear());
                let source = self.sources.entry(kind).or_default();
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
            Object::Resource(o) => self.resources.get(&o.kind).is_some_and(|s| s.is_stale(o)),
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

    /// The objects of a kind that has no record of its own; `None` before there was any.
    #[must_use]
    pub fn resources(&self, kind: Kind) -> Option<&Store<Resource>> {
        self.resources.get(&kind)
    }

    /// The last answers of an endpoint's instances; `None` before there was any.
    #[must_use]
    pub fn scrapes(&self, kind: Kind) -> Option<&Store<Scrape>> {
        self.scrapes.get(&kind)
    }

    /// How many objects of a kind there are.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Namespace => self.namespaces.len(),
            Kind::Node => self.nodes.len(),
            Kind::Deployment => self.deployments.len(),
            Kind::ReplicaSet => self.replica_sets.len(),
            Kind::StatefulSet => self.stateful_sets.len(),
            Kind::DaemonSet => self.daemon_sets.len(),
            Kind::Job => self.jobs.len(),
            Kind::CronJob => self.cron_jobs.len(),
            Kind::Pod => self.pods.len(),
            Kind::PersistentVolumeClaim => self.claims.len(),
            Kind::PersistentVolume => self.volumes.len(),
            Kind::StorageClass => self.storage_classes.len(),
            Kind::VolumeAttachment => self.volume_attachments.len(),
            Kind::CsiDriver => self.csi_drivers.len(),
            Kind::CsiNode => self.csi_nodes.len(),
            Kind::Event => self.events.len(),
            Kind::EndpointSlice => self.slices.len(),
            kind if kind.is_resource() => self.resources.get(&kind).map_or(0, Store::len),
            kind => self.scrapes.get(&kind).map_or(0, Store::len),
        }
    }

    /// The identities of all objects of a kind.
    #[must_use]
    pub fn uids(&mut self, kind: Kind) -> Vec<Uid> {
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
        self.events.items.retain(|_, (event, _)| (event.last, event.meta.uid) >= oldest_kept);
        held - self.events.len()
    }

    /// How the source of a kind is doing.
    #[must_use]
    pub fn source(&self, kind: Kind) -> SourceStatus {
        self.sources.get(&kind).cloned().unwrap_or_default()
    }

    /// The source of a kind without a copy; `None` before it has said anything.
    #[must_use]
    pub fn source_ref(&self, kind: Kind) -> Option<&SourceStatus> {
        self.sources.get(&kind)
    }

    fn upsert(&mut self, object: Object) {
        match object {
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
            Object::Pod(o) => self.pods.upsert(*o),
            Object::Claim(o) => self.claims.upsert(*o),
            Object::Volume(o) => self.volumes.upsert(*o),
            Object::StorageClass(o) => self.storage_classes.upsert(*o),
            Object::VolumeAttachment(o) => self.volume_attachments.upsert(*o),
            Object::CsiDriver(o) => self.csi_drivers.upsert(*o),
            Object::CsiNode(o) => self.csi_nodes.upsert(*o),
            Object::Event(o) => self.events.upsert(*o),
            Object::Slice(o) => self.slices.upsert(*o),
            Object::Resource(o) => self.resources.entry(o.kind).or_default().upsert(*o),
            Object::Scrape(o) => self.scrapes.entry(o.kind).or_default().upsert(*o),
            Object::Audit(o) => self.audited.add(o.meta.uid),
        }
    }

    fn note(&mut self, kind: Kind, note: SourceNote, now: Time) {
        let source = self.sources.entry(kind).or_default();
        match note {
            SourceNote::Alive => alive(source, now),
            SourceNote::Failed { availability, message, backoff_seconds } => {
                source.availability = availability;
                source.message = message;
                source.errors += 1;
                source.backoff_seconds = backoff_seconds;
                source.failing_since.get_or_insert(now);
            }
            SourceNote::Undecodable { message } => {
                source.undecodable += 1;
                source.message = message;
            }
        }
    }
}

fn alive(source: &mut SourceStatus, now: Time) {
    source.availability = if source.synced { Availability::Served } else { Availability::Syncing };
    source.last_sync = Some(now);
    source.failing_since = None;
    source.backoff_seconds = 0.0;
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
