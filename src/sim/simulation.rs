//! How does the cluster live? Task after task in virtual time: each looks at the store, changes it, and the changes
//! wake others.

use serde_json::{Value, json};

use super::chance::Chance;
use super::controllers::{
    self, Task, kubelet::Kubelets, memories::Memories, scheduler::Scheduler, storage::Storage,
};
use super::fields::Fields;
use super::kind::Kind;
use super::moment::{Moment, SECOND, stamp};
use super::outside::Outside;
use super::queue::Queue;
use super::recorder::{Actor, Note, Recorder};
use super::script::Script;
use super::store::{Key, Store};
use super::surroundings::Surroundings;

/// How many changes of each kind the API server remembers for watchers.
pub(crate) const MEMORY: usize = 512;

/// The whole cluster: its objects, what surrounds it, and the memories of its components.
#[derive(Debug)]
pub(crate) struct Simulation {
    pub(crate) now: Moment,
    pub(crate) chance: Chance,
    pub(crate) store: Store,
    pub(crate) queue: Queue<Task>,
    pub(crate) surroundings: Surroundings,
    pub(crate) outside: Outside,
    pub(crate) recorder: Recorder,
    pub(crate) kubelets: Kubelets,
    pub(crate) scheduler: Scheduler,
    pub(crate) storage: Storage,
    pub(crate) memories: Memories,
    pub(crate) script: Script,
}

impl Simulation {
    /// An empty cluster.
    pub(crate) fn new(seed: u64, now: Moment, memory: usize) -> Self {
        let chance = Chance::new(seed);
        Self {
            now,
            chance,
            store: Store::new(chance, memory),
            queue: Queue::new(),
            surroundings: Surroundings::default(),
            outside: Outside::default(),
            recorder: Recorder::default(),
            kubelets: Kubelets::default(),
            scheduler: Scheduler::default(),
            storage: Storage::default(),
            memories: Memories::default(),
            script: Script::default(),
        }
    }

    /// Lives until `until`.
    pub(crate) fn advance(&mut self, until: Moment) {
        self.react();
        while let Some((at, task)) = self.queue.pop(until) {
            self.now = self.now.max(at);
            controllers::handle(self, task);
            self.react();
        }
        self.now = self.now.max(until);
    }

    /// Skips to `until`: what would have happened in between happens late, once. Controllers look at states, so
    /// nothing is lost; it is how a cluster gets to be weeks old in no time.
    pub(crate) fn skip(&mut self, until: Moment) {
        self.react();
        self.now = self.now.max(until);
    }

    fn react(&mut self) {
        for touch in self.store.take_touched() {
            controllers::react(self, &touch);
        }
    }

    /// Puts an object into the store, as if applied by its author.
    pub(crate) fn create(&mut self, kind: Kind, object: Value) -> Key {
        self.store.create(kind, object, self.now)
    }

    /// Asks for an object to be deleted. A pod on a node is given its grace period and goes when its kubelet says so,
    /// a claim when no pod uses it, a namespace when it is empty; everything else goes when nothing holds it.
    pub(crate) fn delete(&mut self, kind: Kind, key: &Key) {
        let Some(object) = self.store.get(kind, key) else { return };
        let terminal = matches!(object.text("status/phase"), "Succeeded" | "Failed");
        let held = !object.items("metadata/finalizers").is_empty();
        match kind {
            Kind::PersistentVolumeClaim => return controllers::claims::delete(self, key),
            // Its controllers take its finalizers away together.
            Kind::PersistentVolume => return drop(self.store.remove(kind, key)),
            Kind::Pod if !terminal && !object.text("spec/nodeName").is_empty() => {}
            Kind::Namespace => return controllers::collector::delete(self, kind, key),
            _ if held => return controllers::collector::delete(self, kind, key),
            _ => return drop(self.store.remove(kind, key)),
        }
        if super::fields::deleting(object) {
            return;
        }
        let grace = object.int("spec/terminationGracePeriodSeconds");
        let at = stamp(self.now + grace * SECOND);
        self.store.update(kind, key, |pod| {
            pod.put("metadata/deletionTimestamp", json!(at));
            pod.put("metadata/deletionGracePeriodSeconds", json!(grace));
        });
    }

    /// Reports something about an object.
    pub(crate) fn note(&mut self, note: &Note<'_>) {
        self.recorder.record(&mut self.store, &mut self.queue, self.now, note);
    }

    /// Reports something normal.
    pub(crate) fn normal(&mut self, about: &Value, by: Actor, reason: &str, text: String) {
        let skew = self.skew_of(&by);
        self.note(&Note { about, by, warning: false, reason, text, container: "", skew });
    }

    /// Reports something to worry about.
    pub(crate) fn warning(&mut self, about: &Value, by: Actor, reason: &str, text: String) {
        let skew = self.skew_of(&by);
        self.note(&Note { about, by, warning: true, reason, text, container: "", skew });
    }

    /// How far a reporter's clock is ahead: kubelets have that of their machine.
    pub(crate) fn skew_of(&self, by: &Actor) -> Moment {
        match by {
            Actor::Kubelet(node) => self.surroundings.skew(node),
            Actor::Controller(_) | Actor::Scheduler => 0,
        }
    }

    /// The current time as the API writes it.
    pub(crate) fn stamp(&self) -> String {
        stamp(self.now)
    }
}
