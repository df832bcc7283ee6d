//! How do tests of this layer build a cluster? From small records with sensible defaults, seen at [`NOW`].

use crate::model::finding::{Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::reading::{Reading, Readings};
use crate::model::record::{
    Container, ContainerState, Event, Meta, Node, Object, ObjectRef, Owner, Phase, Pod, Resources,
    Status, Uid, Workload,
};
use crate::model::signal::{Read, Signal};
use crate::model::view::View;
use crate::model::world::{Delta, World};

pub(super) use crate::layers::fixtures::{ago, condition, meta};

/// The pod `shop/<name>` of the Deployment `web`, an hour old, running on `n1`.
pub(super) fn pod(name: &str) -> Pod {
    let owner = Owner { kind: "ReplicaSet".into(), name: "web-abc".into(), uid: Uid::default() };
    Pod {
        meta: Meta { owner: Some(Box::new(owner)), ..meta("shop", name, 3600) },
        template_hash: "abc".into(),
        node: "n1".into(),
        phase: Phase::Running,
        ..Pod::default()
    }
}

/// The container `main` in this state.
pub(super) fn container(state: ContainerState) -> Container {
    let ready = matches!(state, ContainerState::Running { .. });
    Container { name: "main".into(), ready, started: ready, state, ..Container::default() }
}

/// The Deployment `shop/web` of three pods, all of them there.
pub(super) fn deployment() -> Workload {
    Workload {
        meta: meta("shop", "web", 86_400),
        desired: 3,
        current: 3,
        updated: 3,
        ready: 3,
        available: 3,
        ..Workload::new(Kind::Deployment)
    }
}

/// A Ready node in zone `a` with 4 CPUs.
pub(super) fn node(name: &str) -> Node {
    Node {
        meta: meta("", name, 86_400),
        zone: "a".into(),
        allocatable: Resources { cpu_milli: 4000, memory: 8 << 30, pods: 110 },
        conditions: [condition("Ready", Status::True, "KubeletReady", 86_400)].into(),
        ..Node::default()
    }
}

/// An event about an object of `shop`, last seen a minute ago.
pub(super) fn event(kind: Kind, name: &str, reason: &str, note: &str) -> Event {
    let namespace = if kind.namespaced() { "shop" } else { "" };
    Event {
        meta: meta(namespace, &format!("{name}.{reason}.{}", note.len()), 60),
        regarding: ObjectRef {
            kind: kind.name().into(),
            namespace: namespace.into(),
            name: name.into(),
            ..ObjectRef::default()
        },
        reason: reason.into(),
        warning: true,
        count: 1,
        first: ago(60),
        last: ago(60),
        note: note.into(),
        ..Event::default()
    }
}

/// A world in which every kind can be seen and holds these objects.
pub(super) fn world(objects: impl IntoIterator<Item = Object>) -> World {
    let mut world = World::default();
    for kind in Kind::ALL {
        world.apply(Delta::Listing(*kind), ago(0));
    }
    let shop = Object::Namespace(crate::model::record::Namespace {
        meta: meta("", "shop", 86_400),
        terminating: false,
    });
    for object in std::iter::once(shop).chain(objects) {
        world.apply(Delta::Upsert(object), ago(0));
    }
    for kind in Kind::ALL {
        world.apply(Delta::Synced(*kind), ago(0));
    }
    world
}

pub(super) fn judge(signal: &Signal, world: &World) -> Vec<Verdict> {
    let Read::Rule(read) = signal.read else { panic!("{} is no rule", signal.name) };
    let mut verdicts = Verdicts::default();
    read(&View::new(world, ago(0)), &mut verdicts);
    for verdict in &verdicts.0 {
        assert!(signal.reasons.contains(&verdict.reason), "{} is not declared", verdict.reason);
        assert_eq!(verdict.labels.len(), signal.labels.len(), "{}", signal.name);
    }
    verdicts.0
}

pub(super) fn read(signal: &Signal, world: &World) -> Vec<Reading> {
    let Read::Gauge(read) = signal.read else { panic!("{} is no gauge", signal.name) };
    let mut readings = Readings::default();
    read(&View::new(world, ago(0)), &mut readings);
    let readings = readings.into_sorted();
    assert!(readings.iter().all(|r| r.labels.len() == signal.labels.len()), "{}", signal.name);
    readings
}

pub(super) fn reasons(verdicts: &[Verdict]) -> Vec<&'static str> {
    verdicts.iter().map(|v| v.reason).collect()
}
