//! What was seen that no object shows any more? It outlives a restart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::alerts::Alerts;
use super::{Key, Time};
use crate::model::record::{Container, ContainerState, Pod, Resource, Uid};
use crate::model::text::Text;

/// How many kills of a container are remembered, and for how many seconds.
const KEPT: usize = 10;
const REMEMBERED: i64 = 86_400;

/// What the objects of the last day have shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recall {
    /// When containers of pods were killed for their memory: the newest, oldest first.
    kills: BTreeMap<Uid, BTreeMap<Text, Vec<Time>>>,
    /// Who held a lease last.
    leaders: BTreeMap<Key, (Uid, Text)>,
    /// Alerts that may be gone.
    pub(super) alerts: Alerts,
}

impl Recall {
    /// How many kills of a container are remembered at most.
    pub const KILLS_KEPT: usize = KEPT;

    /// When a container of a pod was killed for its memory within the last day, as far as that was seen: oldest first.
    #[must_use]
    pub fn kills(&self, pod: Uid, container: &str) -> &[Time] {
        let of = self.kills.get(&pod).and_then(|containers| containers.get(container));
        of.map_or(&[], Vec::as_slice)
    }

    /// Who holds a lease, or did before it was given back.
    #[must_use]
    pub fn leader<'a>(&'a self, lease: &'a Resource) -> Option<&'a Text> {
        let holder = lease.body.text("spec.holderIdentity");
        if !holder.is_empty() {
            return Some(holder);
        }
        let key = (lease.meta.namespace.clone(), lease.meta.name.clone());
        self.leaders.get(&key).filter(|(uid, _)| *uid == lease.meta.uid).map(|(_, who)| who)
    }

    pub(super) fn see_pod(&mut self, pod: &Pod, now: Time) {
        for container in &pod.containers {
            for at in shown_kills(container) {
                let kills = self.kills.entry(pod.meta.uid).or_default();
                let kills = kills.entry(container.name.clone()).or_default();
                if !kills.contains(&at) {
                    kills.push(at);
                    kills.sort_unstable();
                    kills.retain(|at| now.as_second() - at.as_second() < REMEMBERED);
                    kills.drain(..kills.len().saturating_sub(KEPT));
                }
            }
        }
    }

    pub(super) fn see_lease(&mut self, lease: &Resource) {
        let holder = lease.body.text("spec.holderIdentity");
        if !holder.is_empty() {
            let key = (lease.meta.namespace.clone(), lease.meta.name.clone());
            self.leaders.insert(key, (lease.meta.uid, holder.clone()));
        }
    }

    pub(super) fn forget_pod(&mut self, uid: Uid) {
        self.kills.remove(&uid);
    }

    pub(super) fn forget_lease(&mut self, key: &Key) {
        self.leaders.remove(key);
    }

    /// Of pods that are not there any more nothing is remembered.
    pub(super) fn keep_pods(&mut self, is_there: impl Fn(Uid) -> bool) {
        self.kills.retain(|uid, _| is_there(*uid));
    }

    pub(super) fn keep_leases(&mut self, is_there: impl Fn(&Key) -> bool) {
        self.leaders.retain(|key, _| is_there(key));
    }
}

/// The kills for its memory that a container's status shows.
fn shown_kills(container: &Container) -> impl Iterator<Item = Time> {
    let now = match &container.state {
        ContainerState::Terminated(ended) => Some(ended),
        _ => None,
    };
    let killed = container.last.iter().chain(now).filter(|ended| ended.reason == "OOMKilled");
    killed.filter_map(|ended| ended.finished)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::kind::Kind;
    use crate::model::record::{Meta, Object, Termination};
    use crate::model::value::Value;
    use crate::model::world::{Delta, World};

    fn at(hour: i64) -> Time {
        Time::from_second(1_700_000_000 + hour * 3_600).unwrap()
    }

    fn killed(uid: u128, hour: i64) -> Delta {
        let reason = "OOMKilled".into();
        let last = Termination { reason, exit_code: 137, signal: 0, finished: Some(at(hour)) };
        let main = Container { name: "main".into(), last: Some(last), ..Container::default() };
        let meta = Meta { name: "web-1".into(), uid: Uid(uid), ..Meta::default() };
        Delta::Upsert(Object::Pod(Box::new(Pod {
            meta,
            containers: [main].into(),
            ..Pod::default()
        })))
    }

    fn lease(holder: &str) -> Delta {
        let body = Value::from(&serde_json::json!({"spec": {"holderIdentity": holder}}));
        let meta = Meta { namespace: "a".into(), name: "b".into(), ..Meta::default() };
        let (kind, conditions, renewed) = (Kind::Lease, Box::default(), None);
        let lease = Resource { kind, meta, conditions, body, renewed };
        Delta::Upsert(Object::Resource(Box::new(lease)))
    }

    /// What is left in a life that begins at an hour with what the one before remembered, and sees these.
    fn next_life(before: &World, seen: Vec<Delta>, hour: i64) -> World {
        let saved = postcard::to_allocvec(before.recall()).unwrap();
        let mut world = World::recalling(postcard::from_bytes(&saved).unwrap());
        seen.into_iter().for_each(|delta| world.apply(delta, at(hour)));
        world
    }

    #[test]
    fn kills_outlive_a_restart_and_go_with_their_pod_or_after_a_day() {
        let mut world = World::default();
        for hour in [1, 7] {
            world.apply(killed(1, hour), at(hour));
        }
        let kills = |world: &World| world.recall().kills(Uid(1), "main").to_vec();
        let seen = || vec![Delta::Listing(Kind::Pod), killed(1, 7), Delta::Synced(Kind::Pod)];
        assert_eq!(kills(&next_life(&world, seen(), 8)), [at(1), at(7)]);
        let later = next_life(&world, vec![killed(1, 26), Delta::Synced(Kind::Pod)], 26);
        assert_eq!(kills(&later), [at(7), at(26)]);
        let other = vec![Delta::Listing(Kind::Pod), killed(2, 7), Delta::Synced(Kind::Pod)];
        assert!(kills(&next_life(&world, other, 8)).is_empty(), "another pod");
        let (kind, key) = (Kind::Pod, (Text::default(), "web-1".into()));
        world.apply(Delta::Delete { kind, key, uid: Uid(1) }, at(8));
        assert_eq!(*world.recall(), Recall::default());
    }

    #[test]
    fn who_led_is_known_until_the_lease_goes() {
        let mut world = World::default();
        world.apply(lease("web-1_x"), at(0));
        let leader = |world: &World| {
            let lease = world.resources(Kind::Lease)?.get("a", "b")?;
            world.recall().leader(lease).map(ToString::to_string)
        };
        assert_eq!(leader(&world).as_deref(), Some("web-1_x"));
        let given_back = vec![lease(""), Delta::Synced(Kind::Lease)];
        let world = next_life(&world, given_back, 1);
        assert_eq!(leader(&world).as_deref(), Some("web-1_x"));
        let gone = vec![Delta::Listing(Kind::Lease), Delta::Synced(Kind::Lease), lease("")];
        assert_eq!(leader(&next_life(&world, gone, 2)), None);
    }
}
