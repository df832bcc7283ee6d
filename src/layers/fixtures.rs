//! How do tests of the layers build a cluster? From small records and manifests with sensible defaults, seen at
//! [`NOW`].

use serde_json::json;

use crate::model::finding::{Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::reading::{Labels, Reading, Readings};
use crate::model::record::{
    Claim, Condition, CsiDriver, CsiNode, Endpoint, Event, Job, Labelled, Meta, Node, Object,
    ObjectRef, Phase, Pod, Resource, Scrape, Slice, Status, StorageClass, Template, Time, Uid,
    Volume, VolumeAttachment, Workload,
};
use crate::model::signal::{LayerSignals, Observation, Read, Signal};
use crate::model::source::{Availability, SourceNote};
use crate::model::tally::Tallies;
use crate::model::text::Text;
use crate::model::value::Value;
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

pub(super) fn condition(kind: &str, status: Status, reason: &str, age: i64) -> Condition {
    let (kind, reason) = (kind.into(), reason.into());
    Condition { kind, status, reason, since: Some(ago(age)), ..Condition::default() }
}

/// An object of a kind without a record of its own, from the body of its manifest: in namespace `shop`, an hour old
/// unless `metadata` says `namespace` or `age` (seconds). `metadata.labels` and `metadata.annotations` are kept.
/// A condition's `age` (seconds) stands for its `lastTransitionTime`.
#[expect(clippy::needless_pass_by_value, reason = "reads better where it is called")]
pub(super) fn resource(kind: Kind, name: &str, manifest: serde_json::Value) -> Resource {
    let body = Value::from(&manifest);
    let namespace = match body.text("metadata.namespace").as_str() {
        _ if !kind.namespaced() => "",
        "" => "shop",
        own => own,
    };
    let age = body.number("metadata.age").map_or(3600, |age| age as i64);
    let map = |path: &str| -> Labelled {
        let texts = body.entries(path).iter();
        texts.map(|(key, value)| (key.clone(), value.text("").clone())).collect()
    };
    let conditions = body.items("status.conditions").iter().map(|c| Condition {
        kind: c.text("type").clone(),
        status: match c.text("status").as_str() {
            "True" => Status::True,
            "False" => Status::False,
            _ => Status::Unknown,
        },
        reason: c.text("reason").clone(),
        message: c.text("message").clone(),
        since: Some(ago(c.number("age").map_or(1800, |age| age as i64))),
        generation: c.number("observedGeneration").map_or(0, |n| n as i64),
    });
    Resource {
        kind,
        meta: Meta {
            labels: map("metadata.labels"),
            annotations: map("metadata.annotations"),
            ..meta(namespace, name, age)
        },
        conditions: conditions.collect(),
        body,
        renewed: None,
    }
}

/// The Service `shop/<name>` that selects `app=<name>`.
pub(super) fn service(name: &str) -> Resource {
    let spec = json!({
        "spec": {"type": "ClusterIP", "selector": {"app": name}, "ports": [{"name": "http", "port": 80}]},
        "metadata": {"labels": {"app": name}},
    });
    resource(Kind::Service, name, spec)
}

/// The slice of the Service `shop/<service>` with endpoints `<service>-0…`, ready or not.
pub(super) fn slice(service: &str, ready: &[bool]) -> Slice {
    let endpoint = |(i, ready): (usize, &bool)| Endpoint {
        target: format!("{service}-{i}").as_str().into(),
        ready: *ready,
        serving: *ready,
        terminating: false,
        node: format!("n{i}").as_str().into(),
        zone: ["a", "b", "c"][i % 3].into(),
    };
    Slice {
        meta: meta("shop", &format!("{service}-slice"), 3600),
        service: service.into(),
        endpoints: ready.iter().enumerate().map(endpoint).collect(),
        ..Slice::default()
    }
}

/// The Deployment `shop/<name>` of so many pods labelled `app=<name>`, of which so many are available.
pub(super) fn deployment(name: &str, desired: u32, available: u32) -> Workload {
    let template = Template {
        labels: Labelled::from([("app", name)]),
        ports: [("http".into(), 8080)].into(),
        ..Template::default()
    };
    Workload {
        meta: meta("shop", name, 86_400),
        desired,
        current: desired,
        updated: desired,
        ready: available,
        available,
        template: Some(Box::new(template)),
        ..Workload::new(Kind::Deployment)
    }
}

/// The running pod `shop/<name>` of the Deployment `<app>`, on node `n1`, an hour old, labelled `app=<app>`.
pub(super) fn pod_of(app: &str, name: &str) -> Pod {
    let owner = crate::model::record::Owner {
        kind: "ReplicaSet".into(),
        name: format!("{app}-abc").as_str().into(),
        uid: Uid::default(),
    };
    Pod {
        meta: Meta {
            owner: Some(Box::new(owner)),
            labels: Labelled::from([("app", app)]),
            ..meta("shop", name, 3600)
        },
        template_hash: "abc".into(),
        node: "n1".into(),
        phase: Phase::Running,
        ..Pod::default()
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
    Event => Event,
    Workload => Workload,
    Job => Job,
    Resource => Resource,
    Slice => Slice,
    Scrape => Scrape
);

impl From<crate::model::record::Namespace> for Object {
    fn from(namespace: crate::model::record::Namespace) -> Self {
        Self::Namespace(namespace)
    }
}

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
    layer: &'static LayerSignals,
    pub(super) world: World,
    pub(super) tallies: Tallies,
}

impl Counted {
    /// A world with these objects whose lists were complete before anything else happened.
    pub(super) fn new(layer: &'static LayerSignals, objects: Vec<Object>) -> Self {
        let mut tallies = Tallies::default();
        let world = world(&[], objects);
        for kind in Kind::ALL {
            let alive = world.uids(*kind);
            tallies.synced(*kind, alive.into_iter());
        }
        Self { layer, world, tallies }
    }

    /// An object comes or changes, so many seconds ago.
    pub(super) fn see(&mut self, object: impl Into<Object>, age: i64) -> &mut Self {
        let (object, now) = (object.into(), ago(age));
        let observation = Observation { world: &self.world, object: &object, now };
        (self.layer.observe)(&observation, &mut self.tallies);
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
