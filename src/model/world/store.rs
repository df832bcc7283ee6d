//! What is there of one kind? Its objects by name, a stamp of what they are, and whether somebody has looked.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use indexmap::IndexMap;

use super::{Key, Record, Uid};

/// Names a content: equal stamps of one kind, equal objects, resource versions aside. The number itself means nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp(u64);

impl Stamp {
    /// One that no other content has. That of [`Stamp::default`] is nothing.
    #[must_use]
    pub(super) fn fresh() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// The objects of one kind.
#[derive(Clone, Debug)]
pub struct Store<T> {
    /// In an order that changes alone give: the same changes, the same order.
    items: IndexMap<Key, (Arc<T>, u32)>,
    generation: u32,
    stamp: Stamp,
    /// Whether anybody has read it since that was asked for.
    read: Cell<bool>,
}

impl<T> Default for Store<T> {
    fn default() -> Self {
        let (stamp, read) = (Stamp::default(), Cell::default());
        Self { items: IndexMap::new(), generation: 0, stamp, read }
    }
}

impl<T: Record> Store<T> {
    /// The object of this name. `namespace` is empty at cluster scope.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<&T> {
        self.mark();
        self.items.get(&Lookup { namespace, name }).map(|(item, _)| &**item)
    }

    /// All objects, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.shared().map(|item| &**item)
    }

    /// All objects, in no order, to be held on to.
    pub(in crate::model) fn shared(&self) -> impl Iterator<Item = &Arc<T>> {
        self.mark();
        self.items.values().map(|(item, _)| item)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.mark();
        self.items.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Notes that it is being read, by what was built of it before.
    pub(in crate::model) fn mark(&self) {
        self.read.set(true);
    }

    /// Whether it has been read since this was asked last, and what was there to read.
    pub(super) fn take_mark(&self) -> Option<Stamp> {
        self.read.replace(false).then_some(self.stamp)
    }

    /// What is there.
    pub(super) fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Takes an object in; whether anything has changed by it.
    pub(super) fn upsert(&mut self, item: T) -> bool {
        let generation = self.generation;
        let stale = self.is_stale(&item);
        let meta = item.meta();
        let lookup = Lookup { namespace: &meta.namespace, name: &meta.name };
        let Some((held, seen)) = self.items.get_mut(&lookup) else {
            let key = (meta.namespace.clone(), meta.name.clone());
            self.items.insert(key, (Arc::new(item), generation));
            return self.changed(true);
        };
        *seen = generation;
        if stale {
            return false;
        }
        let same = same_but_version(&**held, &item);
        *held = Arc::new(item);
        self.changed(!same)
    }

    /// Whether the record is older than the one held, by resource version within the same identity.
    pub(super) fn is_stale(&self, item: &T) -> bool {
        let meta = item.meta();
        let lookup = Lookup { namespace: &meta.namespace, name: &meta.name };
        self.items.get(&lookup).is_some_and(|(held, _)| {
            let held = held.meta();
            held.uid == meta.uid && meta.version != 0 && meta.version < held.version
        })
    }

    pub(super) fn begin_list(&mut self) {
        self.generation += 1;
    }

    pub(super) fn keep(&mut self, key: &Key) {
        if let Some((_, seen)) = self.items.get_mut(key) {
            *seen = self.generation;
        }
    }

    pub(super) fn delete(&mut self, key: &Key, uid: Uid) -> bool {
        let found = self
            .items
            .get(key)
            .is_some_and(|(held, _)| uid == Uid::default() || held.meta().uid == uid);
        let gone = found && self.items.swap_remove(key).is_some();
        self.changed(gone)
    }

    pub(super) fn clear(&mut self) -> bool {
        let any = !self.items.is_empty();
        self.items = IndexMap::new();
        self.changed(any)
    }

    /// Drops the objects that `keep` refuses.
    pub(super) fn retain(&mut self, keep: impl Fn(&T) -> bool) -> bool {
        let before = self.items.len();
        self.items.retain(|_, (item, _)| keep(item));
        self.changed(self.items.len() != before)
    }

    pub(super) fn synced(&mut self) -> bool {
        let (generation, before) = (self.generation, self.items.len());
        self.items.retain(|_, (_, seen)| *seen == generation);
        // A relist after a mass deletion must give the memory back.
        if self.items.capacity() > 4 * self.items.len().max(64) {
            self.items.shrink_to_fit();
        }
        self.changed(self.items.len() != before)
    }

    fn changed(&mut self, changed: bool) -> bool {
        if changed {
            self.stamp = Stamp::fresh();
        }
        changed
    }
}

/// Whether two states of an object differ in nothing that is read of them: a version grows by a heartbeat too.
fn same_but_version<T: Record>(held: &T, item: &T) -> bool {
    let version = item.meta().version;
    if held.meta().version == version {
        return held == item;
    }
    let mut held = held.clone();
    held.meta_mut().version = version;
    held == *item
}

#[derive(Hash)]
struct Lookup<'a> {
    namespace: &'a str,
    name: &'a str,
}

impl indexmap::Equivalent<Key> for Lookup<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        &*key.0 == self.namespace && &*key.1 == self.name
    }
}
