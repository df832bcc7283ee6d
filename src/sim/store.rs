//! What does the cluster hold? Every object as JSON, one version counter over all of them, and the last changes of
//! each kind, from which watches are served.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::chance::Chance;
use super::fields::{Fields, controller};
use super::kind::Kind;
use super::moment::{Moment, stamp};

/// Where an object stands; the namespace is empty for cluster-scoped kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) ns: String,
    pub(crate) name: String,
}

impl Key {
    pub(crate) fn new(ns: impl Into<String>, name: impl Into<String>) -> Self {
        Self { ns: ns.into(), name: name.into() }
    }

    /// The key under which an object is stored.
    pub(crate) fn of(object: &Value) -> Self {
        Self::new(object.text("metadata/namespace"), object.text("metadata/name"))
    }

    /// A key of a cluster-scoped object.
    pub(crate) fn cluster(name: impl Into<String>) -> Self {
        Self::new("", name)
    }
}

/// As etcd orders `namespace/name`: a namespace comes after longer ones, `a-b` before `a`, since `-` sorts before `/`.
impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.ns == other.ns {
            return self.name.cmp(&other.name);
        }
        let (a, b) = (self.ns.as_bytes(), other.ns.as_bytes());
        let both = a.len().min(b.len());
        let end = |ns: &[u8]| ns.get(both).copied().unwrap_or(b'/');
        a[..both].cmp(&b[..both]).then_with(|| end(a).cmp(&end(b))).then(a.len().cmp(&b.len()))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.ns.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.ns, self.name)
        }
    }
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verb {
    Added,
    Modified,
    Deleted,
}

impl Verb {
    /// As a watch event spells it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// One change, with the object after it (before it, for a deletion).
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) version: u64,
    pub(crate) verb: Verb,
    pub(crate) object: Arc<Value>,
    /// The object before it, if there was one.
    pub(crate) before: Option<Arc<Value>>,
}

/// A change that controllers have yet to react to.
#[derive(Clone, Debug)]
pub(crate) struct Touch {
    pub(crate) kind: Kind,
    pub(crate) verb: Verb,
    pub(crate) object: Arc<Value>,
}

#[derive(Debug, Default)]
struct Table {
    objects: BTreeMap<Key, Arc<Value>>,
    log: VecDeque<Change>,
    /// The version of the newest change that the log has forgotten.
    forgotten: u64,
}

/// The objects.
#[derive(Debug)]
pub(crate) struct Store {
    tables: Vec<Table>,
    version: u64,
    /// How many changes of each kind are remembered.
    memory: usize,
    owned: BTreeMap<String, BTreeSet<(Kind, Key)>>,
    placed: BTreeMap<String, BTreeSet<Key>>,
    touched: Vec<Touch>,
    chance: Chance,
}

impl Store {
    pub(crate) fn new(chance: Chance, memory: usize) -> Self {
        Self {
            tables: (0..Kind::COUNT).map(|_| Table::default()).collect(),
            version: 1,
            memory,
            owned: BTreeMap::new(),
            placed: BTreeMap::new(),
            touched: Vec::new(),
            chance,
        }
    }

    /// The version of the newest change to anything.
    pub(crate) const fn version(&self) -> u64 {
        self.version
    }

    /// The version of the newest change to each kind, in the order of [`Kind`].
    pub(crate) fn newest(&self) -> Vec<u64> {
        let newest = |t: &Table| t.log.back().map_or(t.forgotten, |c| c.version);
        self.tables.iter().map(newest).collect()
    }

    /// The object, if it is there.
    pub(crate) fn get(&self, kind: Kind, key: &Key) -> Option<&Arc<Value>> {
        self.tables[kind as usize].objects.get(key)
    }

    /// All objects of a kind, in one namespace or in all, ordered by namespace and name.
    pub(crate) fn list<'a>(
        &'a self,
        kind: Kind,
        ns: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<Value>)> {
        let start = Key::new(ns.unwrap_or(""), "");
        let objects = self.tables[kind as usize].objects.range(start..);
        objects.take_while(move |(key, _)| ns.is_none_or(|ns| key.ns == ns))
    }

    /// How many objects of a kind there are.
    pub(crate) fn count(&self, kind: Kind) -> usize {
        self.tables[kind as usize].objects.len()
    }

    /// Changes of a kind after `version`, oldest first; `None` if some of them are forgotten.
    pub(crate) fn since(&self, kind: Kind, version: u64) -> Option<impl Iterator<Item = &Change>> {
        let table = &self.tables[kind as usize];
        (version >= table.forgotten).then(|| {
            let start = table.log.partition_point(|c| c.version <= version);
            table.log.range(start..)
        })
    }

    /// The version so many changes of a kind before another, as far back as is remembered.
    pub(crate) fn before(&self, kind: Kind, version: u64, changes: usize) -> u64 {
        let table = &self.tables[kind as usize];
        let known = table.log.partition_point(|c| c.version <= version);
        match known.checked_sub(changes) {
            _ if changes == 0 => version,
            Some(place @ 1..) => table.log[place - 1].version,
            _ => table.forgotten.min(version),
        }
    }

    /// All objects of a kind as they were at a version, ordered by namespace and name; `None` if that is forgotten.
    pub(crate) fn at(
        &self,
        kind: Kind,
        ns: Option<&str>,
        version: u64,
    ) -> Option<Vec<(Key, Arc<Value>)>> {
        let mut past = BTreeMap::new();
        let changes: Vec<_> = self.since(kind, version)?.collect();
        // The oldest change after the version knows what was there.
        for change in changes.into_iter().rev() {
            past.insert(Key::of(&change.object), change.before.clone());
        }
        let unchanged = self.list(kind, ns).filter(|(key, _)| !past.contains_key(key));
        let mut all: Vec<_> = unchanged.map(|(k, o)| (k.clone(), Arc::clone(o))).collect();
        if !past.is_empty() {
            let within = |key: &Key| ns.is_none_or(|ns| key.ns == ns);
            let past = past.into_iter().filter(|(key, _)| within(key));
            all.extend(past.filter_map(|(key, object)| object.map(|o| (key, o))));
            all.sort_by(|a, b| a.0.cmp(&b.0));
        }
        Some(all)
    }

    /// Objects of a kind whose controller has this uid.
    pub(crate) fn owned(&self, uid: &str, kind: Kind) -> Vec<Arc<Value>> {
        let keys = self.owned.get(uid).into_iter().flatten();
        keys.filter(|(k, _)| *k == kind).filter_map(|(k, key)| self.get(*k, key).cloned()).collect()
    }

    /// Every object whose controller has this uid.
    pub(crate) fn dependants(&self, uid: &str) -> Vec<(Kind, Key)> {
        self.owned.get(uid).into_iter().flatten().cloned().collect()
    }

    /// Pods that are bound to a node.
    pub(crate) fn on_node(&self, node: &str) -> Vec<Key> {
        self.placed.get(node).into_iter().flatten().cloned().collect()
    }

    /// Takes the changes that nobody has reacted to yet.
    pub(crate) fn take_touched(&mut self) -> Vec<Touch> {
        std::mem::take(&mut self.touched)
    }

    /// Puts a new object into the store and gives it what the API server gives: identity, age, version, generation.
    /// Does nothing if the name is taken.
    pub(crate) fn create(&mut self, kind: Kind, mut object: Value, now: Moment) -> Key {
        let key = Key::of(&object);
        if self.get(kind, &key).is_some() {
            return key;
        }
        let thing = format!("{}/{key}/{}", kind.name(), self.version);
        object.put("apiVersion", json!(kind.api_version()));
        object.put("kind", json!(kind.name()));
        object.put("metadata/uid", json!(self.chance.of("uid", &thing).uuid()));
        object.put("metadata/creationTimestamp", json!(stamp(now)));
        if kind.counts_generations() {
            object.put("metadata/generation", json!(1));
        }
        if let Some(owner) = controller(&object) {
            let uid = owner.text("uid").to_owned();
            self.owned.entry(uid).or_default().insert((kind, key.clone()));
        }
        self.write(kind, &key, object, Verb::Added);
        key
    }

    /// Changes an object. Counts a generation when the spec changed or deletion began; an edit that changes nothing
    /// leaves no trace. Tells whether something changed.
    pub(crate) fn update(&mut self, kind: Kind, key: &Key, edit: impl FnOnce(&mut Value)) -> bool {
        let Some(before) = self.get(kind, key).cloned() else { return false };
        let mut after = (*before).clone();
        edit(&mut after);
        if after == *before {
            return false;
        }
        let counted = after.get("spec") != before.get("spec")
            || after.at("metadata/deletionTimestamp") != before.at("metadata/deletionTimestamp");
        // Binding a pod goes through a subresource that counts no generation.
        let binding =
            kind == Kind::Pod && before.text("spec/nodeName") != after.text("spec/nodeName");
        if kind.counts_generations() && counted && !binding {
            after.put("metadata/generation", json!(before.int("metadata/generation") + 1));
        }
        self.write(kind, key, after, Verb::Modified);
        true
    }

    /// Changes an object's status alone. The edit is shown nothing else of the object, so that what changes nothing, as
    /// most looks do, costs no copy of the rest. Tells whether something changed.
    pub(crate) fn update_status(
        &mut self,
        kind: Kind,
        key: &Key,
        edit: impl FnOnce(&mut Value),
    ) -> bool {
        const STATUS: &str = "status";
        let Some(before) = self.get(kind, key).cloned() else { return false };
        let mut shown = Value::Object(Map::new());
        if let Some(status) = before.get(STATUS) {
            shown[STATUS] = status.clone();
        }
        edit(&mut shown);
        debug_assert!(shown.as_object().is_some_and(|o| o.keys().all(|k| k == STATUS)));
        if shown.get(STATUS) == before.get(STATUS) {
            return false;
        }
        let rest = before.as_object().into_iter().flatten().filter(|(name, _)| *name != STATUS);
        let mut after: Map<String, Value> = rest.map(|(n, v)| (n.clone(), v.clone())).collect();
        if let Some(status) = shown.get_mut(STATUS) {
            after.insert(STATUS.to_owned(), status.take());
        }
        self.write(kind, key, Value::Object(after), Verb::Modified);
        true
    }

    /// Removes an object; watchers get its last state under a new version, as from a real server.
    pub(crate) fn remove(&mut self, kind: Kind, key: &Key) -> Option<Arc<Value>> {
        let before = self.tables[kind as usize].objects.remove(key)?;
        if let Some(owner) = controller(&before) {
            let uid = owner.text("uid");
            if let Some(set) = self.owned.get_mut(uid) {
                set.remove(&(kind, key.clone()));
                if set.is_empty() {
                    self.owned.remove(uid);
                }
            }
        }
        if kind == Kind::Pod
            && let Some(set) = self.placed.get_mut(before.text("spec/nodeName"))
        {
            set.remove(key);
        }
        let mut last = (*before).clone();
        self.version += 1;
        last.put("metadata/resourceVersion", json!(self.version.to_string()));
        self.log(kind, Verb::Deleted, Arc::new(last), Some(Arc::clone(&before)));
        Some(before)
    }

    fn write(&mut self, kind: Kind, key: &Key, mut object: Value, verb: Verb) {
        self.version += 1;
        object.put("metadata/resourceVersion", json!(self.version.to_string()));
        if kind == Kind::Pod {
            let node = object.text("spec/nodeName");
            if !node.is_empty() {
                self.placed.entry(node.to_owned()).or_default().insert(key.clone());
            }
        }
        let object = Arc::new(object);
        let before = self.tables[kind as usize].objects.insert(key.clone(), Arc::clone(&object));
        self.log(kind, verb, object, before);
    }

    fn log(&mut self, kind: Kind, verb: Verb, object: Arc<Value>, before: Option<Arc<Value>>) {
        let version = self.version;
        let table = &mut self.tables[kind as usize];
        table.log.push_back(Change { version, verb, object: Arc::clone(&object), before });
        while table.log.len() > self.memory {
            table.forgotten = table.log.pop_front().map_or(table.forgotten, |c| c.version);
        }
        if kind != Kind::Event {
            self.touched.push(Touch { kind, verb, object });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str) -> Value {
        json!({"metadata": {"name": name, "namespace": "a"}, "spec": {"x": 1}})
    }

    fn store(memory: usize) -> Store {
        Store::new(Chance::new(1), memory)
    }

    #[test]
    fn an_edit_that_changes_nothing_leaves_no_trace() {
        let mut store = store(10);
        let key = store.create(Kind::Pod, pod("p"), 0);
        let version = store.version();
        assert!(!store.update(Kind::Pod, &key, |p| p.put("spec/x", json!(1))));
        assert_eq!(store.version(), version);
    }

    #[test]
    fn a_status_changes_alone_and_only_where_it_differs() {
        let mut store = store(10);
        let key = store.create(Kind::Pod, pod("p"), 0);
        let put = |phase: &'static str| move |p: &mut Value| p.put("status/phase", json!(phase));
        assert!(store.update_status(Kind::Pod, &key, put("Running")));
        let version = store.version();
        assert!(!store.update_status(Kind::Pod, &key, put("Running")));
        assert_eq!(store.version(), version);
        let held = store.get(Kind::Pod, &key).expect("the pod");
        assert_eq!((held.int("spec/x"), held.text("status/phase")), (1, "Running"));
        assert_eq!(held.text("metadata/resourceVersion"), version.to_string());
        assert!(store.update_status(Kind::Pod, &key, |p| p.drop_field("status")));
        assert!(!store.update_status(Kind::Pod, &Key::new("a", "none"), put("Running")));
    }

    #[test]
    fn generation_counts_changes_of_the_spec_only() {
        let mut store = store(10);
        let key = store.create(Kind::Pod, pod("p"), 0);
        let generation = |s: &Store| s.get(Kind::Pod, &key).map(|p| p.int("metadata/generation"));
        store.update(Kind::Pod, &key, |p| p.put("status/phase", json!("Running")));
        assert_eq!(generation(&store), Some(1));
        store.update(Kind::Pod, &key, |p| p.put("spec/nodeName", json!("n")));
        assert_eq!(generation(&store), Some(1), "binding");
        store.update(Kind::Pod, &key, |p| p.put("spec/x", json!(2)));
        assert_eq!(generation(&store), Some(2));
        assert_eq!(store.on_node("n"), [key]);
    }

    #[test]
    fn what_is_forgotten_cannot_be_resumed() {
        let mut store = store(2);
        for name in ["p", "q", "r"] {
            store.create(Kind::Pod, pod(name), 0);
        }
        assert!(store.since(Kind::Pod, 1).is_none());
        let after = |v| store.since(Kind::Pod, v).map(Iterator::count);
        assert_eq!(after(2), Some(2));
        assert_eq!(after(3), Some(1));
        assert_eq!(after(4), Some(0));
    }

    #[test]
    fn a_deletion_carries_the_last_state_under_a_new_version() {
        let mut store = store(10);
        let key = store.create(Kind::Pod, pod("p"), 0);
        let before = store.version();
        store.remove(Kind::Pod, &key);
        let mut changes = store.since(Kind::Pod, before).into_iter().flatten();
        let last = changes.next().expect("the deletion");
        assert_eq!(last.verb, Verb::Deleted);
        assert_eq!(last.object.text("metadata/resourceVersion"), (before + 1).to_string());
        assert_eq!(last.object.int("spec/x"), 1);
    }

    #[test]
    fn the_past_is_listed_as_it_was() {
        let mut store = store(10);
        let key = store.create(Kind::Pod, pod("p"), 0);
        store.create(Kind::Pod, pod("q"), 0);
        let then = store.version();
        store.update(Kind::Pod, &key, |p| p.put("spec/x", json!(2)));
        store.update(Kind::Pod, &key, |p| p.put("spec/x", json!(3)));
        store.remove(Kind::Pod, &Key::new("a", "q"));
        store.create(Kind::Pod, pod("r"), 0);
        let listed = |version| {
            let all = store.at(Kind::Pod, Some("a"), version).expect("remembered");
            all.iter().map(|(k, o)| format!("{}{}", k.name, o.int("spec/x"))).collect::<Vec<_>>()
        };
        assert_eq!(listed(then), ["p1", "q1"]);
        assert_eq!(listed(then + 1), ["p2", "q1"]);
        assert_eq!(listed(store.version()), ["p3", "r1"]);
        assert_eq!(listed(1), [""; 0]);
    }

    #[test]
    fn namespaces_are_ordered_as_etcd_orders_keys() {
        let mut store = store(10);
        for ns in ["a", "a-b", "a.c", "b"] {
            store.create(Kind::Pod, json!({"metadata": {"name": "p", "namespace": ns}}), 0);
        }
        let all: Vec<_> = store.list(Kind::Pod, None).map(|(k, _)| k.ns.clone()).collect();
        assert_eq!(all, ["a-b", "a.c", "a", "b"]);
        assert_eq!(store.list(Kind::Pod, Some("a")).count(), 1);
        assert_eq!(store.list(Kind::Pod, Some("a-b")).count(), 1);
    }

    #[test]
    fn a_list_can_be_limited_to_a_namespace() {
        let mut store = store(10);
        store.create(Kind::Pod, pod("p"), 0);
        store.create(Kind::Pod, json!({"metadata": {"name": "q", "namespace": "b"}}), 0);
        let names = |ns| store.list(Kind::Pod, ns).map(|(k, _)| k.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(None), ["p", "q"]);
        assert_eq!(names(Some("b")), ["q"]);
        assert_eq!(names(Some("c")), [""; 0]);
    }
}
