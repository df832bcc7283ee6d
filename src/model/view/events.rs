//! Which events still speak of an object? Those about this very object that were not silent for long.

use jiff::SignedDuration;

use super::View;
use crate::model::kind::Kind;
use crate::model::record::{Event, Meta, Uid};

/// How long an event speaks for a state that lasts: reporters are held to one report in five minutes per object once
/// their burst is spent (client-go's event spam filter).
pub const STILL_SPEAKS: SignedDuration = SignedDuration::from_mins(11);

impl View<'_> {
    /// The events about this very object that occurred within `window`, by their last time.
    ///
    /// An earlier object of the same name does not count. Nodes are matched by name: older kubelets put the name
    /// where the uid belongs, newer ones leave it empty until they know it.
    pub fn recent_events(
        &self,
        kind: Kind,
        meta: &Meta,
        window: SignedDuration,
    ) -> impl Iterator<Item = &Event> {
        let uid = meta.uid;
        self.events(kind.name(), &meta.namespace, &meta.name).filter(move |event| {
            let about = event.regarding.uid;
            let same = kind == Kind::Node || about == Uid::default() || about == uid;
            same && !self.is_over(event.last + window)
        })
    }

    /// Whether an event occurred within the last [`STILL_SPEAKS`].
    #[must_use]
    pub fn still_speaks(&self, event: &Event) -> bool {
        !self.is_over(event.last + STILL_SPEAKS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::record::{Object, ObjectRef, Time};
    use crate::model::world::{Delta, World};

    #[test]
    fn events_of_another_object_of_the_same_name_and_old_ones_do_not_speak() {
        let now = Time::from_second(10_000).unwrap();
        let mut world = World::default();
        let event = |name: &str, kind: &str, uid, age: i64| {
            let last = Time::from_second(10_000 - age).unwrap();
            let regarding = ObjectRef {
                kind: kind.into(),
                name: "a".into(),
                uid: Uid(uid),
                ..ObjectRef::default()
            };
            let meta = Meta { name: name.into(), ..Meta::default() };
            Object::Event(Box::new(Event { meta, regarding, last, ..Event::default() }))
        };
        for object in [
            event("same", "PersistentVolume", 1, 60),
            event("unknown", "PersistentVolume", 0, 30),
            event("other", "PersistentVolume", 2, 60),
            event("old", "PersistentVolume", 1, 3600),
            event("node", "Node", 77, 60),
        ] {
            world.apply(Delta::Upsert(object), now);
        }
        let view = View::new(&world, now);
        let meta = Meta { name: "a".into(), uid: Uid(1), ..Meta::default() };
        let names = |kind| {
            let events = view.recent_events(kind, &meta, STILL_SPEAKS);
            events.map(|e| e.meta.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(Kind::PersistentVolume), ["same", "unknown"]);
        assert_eq!(names(Kind::Node), ["node"]);
    }
}
