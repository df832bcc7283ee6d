//! How do tests of this layer build a cluster? From small records with sensible defaults, seen at [`NOW`].

use crate::model::finding::{Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::reading::{Labels, Reading, Readings};
use crate::model::record::{
    BindingMode, Claim, ClaimPhase, ClaimRef, Condition, CsiDriver, CsiNode, Event, Meta, Node,
    NodeDriver, Object, ObjectRef, Phase, Pod, Reclaim, Status, StorageClass, Time, Uid, Volume,
    VolumeAttachment, VolumePhase,
};
use crate::model::signal::{Observation, Read, Signal};
use crate::model::source::{Availability, SourceNote};
use crate::model::tally::Tallies;
use crate::model::text::Text;
use crate::model::view::View;
use crate::model::world::{Delta, World};

/// The moment at which tests look, in seconds since the epoch.
pub(super) const NOW: i64 = 1_000_000;

pub(super) fn ago(seconds: i64) -> Time {
    Time::from_second(NOW - seconds).unwrap()
}

pub(super) fn uid(namespace: &str, name: &str) -> Uid {
    Uid::parse(&format!("{namespace}/{name}"))
}

pub(super) fn meta(namespace: &str, name: &str, age: i64) -> Meta {
    Meta {
        namespace: namespace.into(),
        name: name.into(),
        uid: uid(namespace, name),
        created: ago(age),
        ..Meta::default()
    }
}

/// A claim `shop/<name>`, an hour old, of class `fast`.
pub(super) fn claim(name: &str, phase: ClaimPhase) -> Claim {
    Claim {
        meta: meta("shop", name, 3600),
        phase,
        class: Some("fast".into()),
        single_node: true,
        ..Claim::default()
    }
}

/// The claim `shop/<name>`, bound to the volume `pv-<name>`.
pub(super) fn bound(name: &str) -> Claim {
    Claim { volume: format!("pv-{name}").as_str().into(), ..claim(name, ClaimPhase::Bound) }
}

/// The volume `pv-<claim>` of driver `csi.example`, bound to the claim `shop/<claim>`.
pub(super) fn volume(claim: &str) -> Volume {
    Volume {
        meta: meta("", &format!("pv-{claim}"), 3600),
        phase: VolumePhase::Bound,
        phase_since: Some(ago(3500)),
        reclaim: Reclaim::Delete,
        claim: Some(ClaimRef {
            namespace: "shop".into(),
            name: claim.into(),
            uid: uid("shop", claim),
        }),
        driver: "csi.example".into(),
        class: "fast".into(),
        capacity: 1 << 30,
        ..Volume::default()
    }
}

pub(super) fn class(name: &str, provisioner: &str) -> StorageClass {
    StorageClass {
        meta: meta("", name, 86_400),
        provisioner: provisioner.into(),
        ..StorageClass::default()
    }
}

pub(super) fn waiting_class(name: &str, provisioner: &str) -> StorageClass {
    StorageClass { binding: BindingMode::WaitForFirstConsumer, ..class(name, provisioner) }
}

/// A pod `shop/<name>` that uses these claims, on this node (none: not bound), with nothing started.
pub(super) fn pod(name: &str, node: &str, claims: &[&str]) -> Pod {
    Pod {
        meta: meta("shop", name, 1800),
        node: node.into(),
        phase: Phase::Pending,
        claims: claims.iter().map(|c| Text::from(*c)).collect(),
        ..Pod::default()
    }
}

/// A node that is Ready since long.
pub(super) fn node(name: &str, zone: &str) -> Node {
    Node {
        meta: meta("", name, 86_400),
        zone: zone.into(),
        conditions: [condition("Ready", Status::True, 80_000)].into(),
        ..Node::default()
    }
}

pub(super) fn condition(kind: &str, status: Status, age: i64) -> Condition {
    Condition { kind: kind.into(), status, since: Some(ago(age)), ..Condition::default() }
}

pub(super) fn csi_driver(name: &str) -> CsiDriver {
    CsiDriver { meta: meta("", name, 86_400), attach_required: true, ..CsiDriver::default() }
}

pub(super) fn csi_node(node: &str, drivers: &[(&str, Option<u32>)]) -> CsiNode {
    let driver = |(name, limit): &(&str, Option<u32>)| NodeDriver {
        name: (*name).into(),
        volume_limit: *limit,
    };
    CsiNode { meta: meta("", node, 86_400), drivers: drivers.iter().map(driver).collect() }
}

/// The attachment of the volume `pv-<claim>` to a node by `csi.example`, done.
pub(super) fn attachment(claim: &str, node: &str) -> VolumeAttachment {
    VolumeAttachment {
        meta: meta("", &format!("csi-{claim}-{node}"), 3600),
        driver: "csi.example".into(),
        node: node.into(),
        volume: format!("pv-{claim}").as_str().into(),
        attached: true,
        ..VolumeAttachment::default()
    }
}

/// A warning about an object of namespace `shop` (or of none), first and last seen so many seconds ago.
pub(super) fn event(about: (Kind, &str), reason: &str, note: &str, first: i64, last: i64) -> Event {
    let (kind, name) = about;
    let namespace = if kind.namespaced() { "shop" } else { "" };
    Event {
        meta: meta("shop", &format!("{name}.{reason}.{}", note.len()), first),
        regarding: ObjectRef {
            kind: kind.name().into(),
            namespace: namespace.into(),
            name: name.into(),
            uid: uid(namespace, name),
            field_path: Text::default(),
        },
        reason: reason.into(),
        warning: true,
        count: 5,
        first: ago(first),
        last: ago(last),
        note: note.into(),
        ..Event::default()
    }
}

macro_rules! objects {
    ($($value:expr),* $(,)?) => {
        vec![$(crate::model::record::Object::from($value)),*]
    };
}
pub(super) use objects;

macro_rules! into_object {
    ($($record:ident => $variant:ident),*) => {
        $(impl From<$record> for Object {
            fn from(record: $record) -> Self {
                Self::$variant(Box::new(record))
            }
        })*
    };
}
into_object!(
    Claim => Claim,
    Volume => Volume,
    StorageClass => StorageClass,
    Pod => Pod,
    Node => Node,
    CsiDriver => CsiDriver,
    CsiNode => CsiNode,
    VolumeAttachment => VolumeAttachment,
    Event => Event
);

/// A world with these objects in which every kind is seen but the `forbidden` ones.
pub(super) fn world(forbidden: &[Kind], objects: impl IntoIterator<Item = Object>) -> World {
    let mut world = World::default();
    for object in objects.into_iter().filter(|o| !forbidden.contains(&o.kind())) {
        world.apply(Delta::Upsert(object), ago(0));
    }
    for kind in Kind::ALL {
        let delta = if forbidden.contains(kind) {
            let availability = Availability::Forbidden;
            let message = "forbidden".to_owned();
            Delta::Note(*kind, SourceNote::Failed { availability, message, backoff_seconds: 60.0 })
        } else {
            Delta::Synced(*kind)
        };
        world.apply(delta, ago(0));
    }
    world
}

/// What a rule says of a world, by subject, after checks that hold for all rules.
pub(super) fn judge(signal: &Signal, world: &World) -> Vec<Verdict> {
    let Read::Rule(read) = signal.read else { panic!("{} is no rule", signal.name) };
    let mut verdicts = Verdicts::default();
    read(&View::new(world, ago(0)), &mut verdicts);
    let mut verdicts = verdicts.0;
    verdicts
        .sort_by(|a, b| (&a.subject, a.reason, &a.labels).cmp(&(&b.subject, b.reason, &b.labels)));
    for verdict in &verdicts {
        let at = signal.labels.iter().position(|label| *label == "reason").unwrap();
        assert!(signal.reasons.contains(&verdict.reason), "{} is not declared", verdict.reason);
        assert_eq!(verdict.labels.len(), signal.labels.len());
        assert_eq!(verdict.labels.get(at).unwrap(), verdict.reason);
        assert!(!verdict.message.is_empty() && !verdict.message.contains('\n'));
    }
    for pair in verdicts.windows(2) {
        let key = |v: &Verdict| (v.subject.clone(), v.reason, v.labels.clone());
        assert_ne!(key(&pair[0]), key(&pair[1]), "two verdicts would be one finding");
    }
    verdicts
}

/// The reasons that a rule gives for a world with these objects, with every kind seen.
pub(super) fn reasons(signal: &Signal, objects: Vec<Object>) -> Vec<&'static str> {
    judge(signal, &world(&[], objects)).into_iter().map(|verdict| verdict.reason).collect()
}

/// What a gauge says of a world with these objects, with every kind seen.
pub(super) fn readings(signal: &Signal, objects: Vec<Object>) -> Vec<Reading> {
    let Read::Gauge(read) = signal.read else { panic!("{} is no gauge", signal.name) };
    let mut readings = Readings::default();
    read(&View::new(&world(&[], objects), ago(0)), &mut readings);
    readings.into_sorted()
}

/// A world and what was counted while it came to be.
pub(super) struct Counted {
    pub(super) world: World,
    pub(super) tallies: Tallies,
}

impl Counted {
    /// A world with these objects whose lists were complete before anything else happened.
    pub(super) fn new(objects: Vec<Object>) -> Self {
        let mut tallies = Tallies::default();
        let mut world = world(&[], objects);
        for kind in Kind::ALL {
            let alive = world.uids(*kind);
            tallies.synced(*kind, alive.into_iter());
        }
        Self { world, tallies }
    }

    /// An object comes or changes, so many seconds ago.
    pub(super) fn see(&mut self, object: impl Into<Object>, age: i64) -> &mut Self {
        let (object, now) = (object.into(), ago(age));
        let observation = Observation { world: &self.world, object: &object, now };
        (super::LAYER.observe)(&observation, &mut self.tallies);
        self.world.apply(Delta::Upsert(object), now);
        self
    }

    /// A counter's series: their labels' values and their totals.
    pub(super) fn totals(&self, signal: &'static Signal) -> Vec<(String, u64)> {
        let values = |l: &Labels| l.iter().collect::<Vec<_>>().join(" ");
        self.tallies.counters(signal).map(|(labels, n)| (values(labels), n)).collect()
    }

    /// A histogram's series: their labels' values, counts and sums.
    pub(super) fn durations(&self, signal: &'static Signal) -> Vec<(String, u64, f64)> {
        let values = |l: &Labels| l.iter().collect::<Vec<_>>().join(" ");
        let histograms = self.tallies.histograms(signal);
        histograms.map(|(labels, h)| (values(labels), h.count, h.sum)).collect()
    }
}
