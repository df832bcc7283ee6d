//! Do all signals stand whatever world they are shown? An empty one, a half-blind one, one in another order, and one
//! whose objects hold odd values: made from the manifests of the golden files, through the real decoders.

#![allow(clippy::unwrap_used)]

mod bed;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bed::manifests;
use kubestrata::config::Settings;
use kubestrata::exports::prometheus::{About, Format, encode};
use kubestrata::model::Time;
use kubestrata::model::kind::Kind;
use kubestrata::model::layer::Layer;
use kubestrata::model::record::Uid;
use kubestrata::model::report::{Report, Series};
use kubestrata::model::source::{Availability, SourceNote};
use kubestrata::model::text::Interner;
use kubestrata::model::world::{Delta, World};
use kubestrata::pipeline::{Pipeline, State};
use kubestrata::sources::read_watch_event;
use proptest::prelude::*;
use serde_json::{Value, json};

/// Every manifest of every golden file that stands for an object.
fn objects() -> Vec<Value> {
    let all = Layer::ALL.into_iter().filter(|l| {
        let path = manifests::folder().join(format!("{l}.yaml"));
        path.exists()
    });
    let mut objects: Vec<Value> =
        all.flat_map(manifests::of).filter(|d| d["apiVersion"].is_string()).collect();
    // The same name in two files is one object: the first counts.
    let mut seen = BTreeSet::new();
    objects.retain(|o| {
        let text = |path: &str| o.pointer(path).map(ToString::to_string).unwrap_or_default();
        seen.insert([
            text("/apiVersion"),
            text("/kind"),
            text("/metadata/namespace"),
            text("/metadata/name"),
        ])
    });
    objects
}

fn kind_of(object: &Value) -> Option<Kind> {
    Kind::of_manifest(object["apiVersion"].as_str()?, object["kind"].as_str()?)
}

fn read(objects: &[Value]) -> Vec<Delta> {
    let mut texts = Interner::default();
    let read = objects.iter().filter_map(|object| {
        let event = format!("{{\"type\":\"ADDED\",\"object\":{object}}}");
        read_watch_event(kind_of(object)?, &event, &mut texts)
    });
    read.collect()
}

/// Reads the objects as the world was for thirty hours; sources fail as `sight` says.
fn look(objects: &[Value], sight: impl Fn(Kind) -> Option<Availability>) -> Report {
    let now: Time = manifests::NOW.parse().unwrap();
    let earlier = now - jiff::SignedDuration::from_hours(30);
    let opt_in = Kind::ALL.iter().copied().filter(|k| k.is_opt_in()).collect();
    let mut pipeline = Pipeline::new(Settings { opt_in, ..Settings::default() }, State::default());
    let mut world = World::default();
    let kinds = pipeline.kinds();
    let changes = read(objects);
    for (kind, blindness) in kinds.iter().map(|k| (*k, sight(*k))) {
        let Some(availability) = blindness else {
            pipeline.absorb(&mut world, Delta::Listing(kind), earlier);
            continue;
        };
        let note = SourceNote::Failed { availability, message: "no".into(), backoff_seconds: 1.0 };
        pipeline.absorb(&mut world, Delta::Note(kind, note), earlier);
    }
    for change in changes {
        let of = match &change {
            Delta::Upsert(object) => object.kind(),
            Delta::Keep { kind, .. } => *kind,
            _ => unreachable!("only additions are read"),
        };
        if sight(of).is_none() {
            pipeline.absorb(&mut world, change, earlier);
        }
    }
    let seeing: Vec<Kind> = kinds.into_iter().filter(|k| sight(*k).is_none()).collect();
    for kind in &seeing {
        pipeline.absorb(&mut world, Delta::Synced(*kind), earlier);
    }
    pipeline.step(&world, earlier);
    for kind in &seeing {
        pipeline.absorb(&mut world, Delta::Note(*kind, SourceNote::Alive), now);
    }
    pipeline.step(&world, now)
}

fn exposition(report: Report) -> String {
    let text = encode(&Arc::new(report), &About::default(), Format::OpenMetrics).unwrap();
    let told = |l: &&str| !l.contains("process_") && !l.contains("kubestrata_tick");
    text.lines().filter(told).collect::<Vec<_>>().join("\n")
}

/// What holds of every report, whatever the world.
fn sound(report: &Report) {
    for signal in &report.signals {
        match &signal.series {
            Series::Values(readings) => {
                let keys: BTreeSet<_> = readings.iter().map(|r| &r.labels).collect();
                assert_eq!(keys.len(), readings.len(), "{}: a series twice", signal.signal.name);
                for reading in readings {
                    let name = signal.signal.name;
                    assert!(reading.value.is_finite(), "{name}: {reading:?}");
                    assert_eq!(reading.labels.iter().count(), signal.signal.labels.len(), "{name}");
                    let labels = signal.signal.labels.iter().zip(reading.labels.iter());
                    for (_, reason) in labels.filter(|(label, _)| **label == "reason") {
                        let known = signal.signal.reasons.contains(&reason);
                        assert!(known || reason == "unobserved", "{name}: reason {reason:?}");
                    }
                }
            }
            Series::Histograms(histograms) => {
                assert!(histograms.iter().all(|(_, h)| h.sum.is_finite() && h.sum >= 0.0));
            }
            Series::Absent { .. } => {}
        }
    }
    for finding in &report.findings {
        assert!(finding.since <= report.at, "{finding:?}: from the future");
        assert!(
            !finding.message.is_empty() && !finding.message.contains(char::is_control),
            "{finding:?}"
        );
    }
    for layer in &report.layers {
        let lost: f64 = layer.deductions.iter().map(|d| d.points).sum();
        let health = layer.health.unwrap_or(1.0 - lost / 100.0);
        assert!((health * 100.0 + lost - 100.0).abs() < 1e-6, "{}: {lost}", layer.layer);
    }
}

#[test]
fn an_empty_world_is_healthy_and_says_little() {
    let report = look(&[], |_| None);
    sound(&report);
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
    assert!(report.layers.iter().all(|l| l.health == Some(1.0)));
}

#[test]
fn a_blind_world_is_unknown_and_never_healthy() {
    for blindness in [Availability::Forbidden, Availability::Absent, Availability::Unreachable] {
        let report = look(&objects(), |_| Some(blindness));
        sound(&report);
        for signal in &report.signals {
            let absent =
                matches!(signal.series, Series::Absent { reason, .. } if reason == blindness);
            assert!(absent, "{}: {:?}", signal.signal.name, signal.series);
        }
        assert!(report.layers.iter().all(|l| l.health.is_none()), "{blindness:?} is not health");
        assert!(report.findings.is_empty());
    }
}

/// Each kind is blind once: what needs it is absent, what does not stays as it was.
#[test]
fn a_blind_kind_silences_what_needs_it_and_nothing_else_is_lost() {
    let objects = objects();
    let whole = look(&objects, |_| None);
    for blind in Kind::ALL.iter().copied().filter(|k| k.is_resource()) {
        let report = look(&objects, |k| (k == blind).then_some(Availability::Forbidden));
        sound(&report);
        // The one signal that is about blindness itself sees it.
        let others = report.signals.iter().zip(&whole.signals);
        let others = others.filter(|(s, _)| s.signal.name != "observability_kubestrata_blind");
        for (signal, before) in others {
            let needs = before.signal.needs.contains(&blind);
            let absent = matches!(signal.series, Series::Absent { kind, .. } if kind == blind);
            let only = before.signal.needs.is_empty() && before.signal.uses == [blind];
            assert_eq!(absent, needs || only, "{} without {blind:?}", signal.signal.name);
            // Kinds that are named nowhere in its record change nothing of it, but for owners and namespaces, which
            // every rule about the population asks for.
            let asks = needs
                || before.signal.uses.contains(&blind)
                || matches!(blind, Kind::Namespace | Kind::ReplicaSet | Kind::Job);
            if !asks {
                let (told, was) = (format!("{:?}", signal.series), format!("{:?}", before.series));
                assert_eq!(told, was, "{} without {blind:?}", signal.signal.name);
            }
        }
    }
}

/// Values that fields hold when they should not; a quantity of 300 MB of digits among them would only slow the test
/// down, so it is tried once by itself.
fn odd() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!({})),
        Just(json!([])),
        Just(json!([null])),
        Just(json!("")),
        Just(json!(true)),
        Just(json!(-1)),
        Just(json!(u64::MAX)),
        Just(json!(1e308)),
        Just(json!("NotAValueOfThisEnum")),
        Just(json!("True")),
        Just(json!("1970-01-01T00:00:00Z")),
        Just(json!("2026-01-02T00:05:00Z")),
        Just(json!("9999-12-31T23:59:59Z")),
        Just(json!("-3Ei")),
        Just(json!("1e9999")),
        Just(json!("\u{0}\"\\\n")),
    ]
}

/// Replaces what stands at the `place`th place of a value, counted depth first.
fn put(value: &mut Value, place: &mut usize, with: &Value) -> bool {
    if *place == 0 {
        *value = with.clone();
        return true;
    }
    *place -= 1;
    match value {
        Value::Array(items) => items.iter_mut().any(|item| put(item, place, with)),
        Value::Object(fields) => fields.values_mut().any(|field| put(field, place, with)),
        _ => false,
    }
}

fn places(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(places).sum(),
        Value::Object(fields) => fields.values().map(places).sum(),
        _ => 0,
    }
}

/// Something that happens to the object, or to the source of its kind, at this place.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Changes,
    Beats,
    Goes,
    Comes,
    Fails(Availability),
    Sees,
    IsRelisted,
    Waits,
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        4 => Just(Turn::Changes),
        2 => Just(Turn::Beats),
        3 => Just(Turn::Goes),
        3 => Just(Turn::Comes),
        1 => Just(Turn::Fails(Availability::Unreachable)),
        1 => Just(Turn::Fails(Availability::Forbidden)),
        1 => Just(Turn::Sees),
        1 => Just(Turn::IsRelisted),
        4 => Just(Turn::Waits),
    ]
}

/// The changes that make a turn of an object, which is changed with it.
fn changes(object: &mut Value, turn: Turn, version: usize, odd: &Value) -> Vec<Delta> {
    let Some(kind) = kind_of(object) else { return Vec::new() };
    let before = read(std::slice::from_ref(object));
    if let Turn::Changes = turn {
        let fields: Vec<String> = object.as_object().unwrap().keys().cloned().collect();
        let body =
            fields.iter().find(|k| !["apiVersion", "kind", "metadata"].contains(&k.as_str()));
        if let Some(body) = body {
            let mut place = version % places(&object[body]);
            put(&mut object[body], &mut place, odd);
        }
    }
    object["metadata"]["resourceVersion"] = json!((version + 1_000_000).to_string());
    let after = read(std::slice::from_ref(object));
    match turn {
        Turn::Changes | Turn::Beats | Turn::Comes => after,
        Turn::Goes => match before.first() {
            Some(Delta::Upsert(o)) => {
                let key = (o.meta().namespace.clone(), o.meta().name.clone());
                vec![Delta::Delete { kind, key, uid: Uid::default() }]
            }
            _ => Vec::new(),
        },
        Turn::Fails(availability) => {
            let (message, backoff_seconds) = ("no".to_owned(), 1.0);
            vec![Delta::Note(kind, SourceNote::Failed { availability, message, backoff_seconds })]
        }
        Turn::Sees => vec![Delta::Note(kind, SourceNote::Alive)],
        Turn::IsRelisted => std::iter::once(Delta::Listing(kind))
            .chain(after)
            .chain([Delta::Synced(kind)])
            .collect(),
        Turn::Waits => Vec::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_objects_does_not_matter(shuffled in Just(objects()).prop_shuffle()) {
        let (told, expected) = (look(&shuffled, |_| None), look(&objects(), |_| None));
        prop_assert_eq!(exposition(told), exposition(expected));
    }

    /// A pipeline that reads everything anew at each tick says the same as one that remembers what has not changed.
    #[test]
    fn what_is_remembered_is_what_would_be_read(
        turns in proptest::collection::vec(
            (any::<prop::sample::Index>(), turn(), odd(), prop::sample::select(&[0, 1, 15, 61, 290, 700, 3_601][..])),
            60,
        )
    ) {
        let mut objects = objects();
        let opt_in: Vec<Kind> = Kind::ALL.iter().copied().filter(|k| k.is_opt_in()).collect();
        let settings = Settings { opt_in, ..Settings::default() };
        let mut world = World::default();
        let mut pipelines =
            [(); 2].map(|()| Pipeline::new(settings.clone(), State::default()));
        let mut now: Time = manifests::NOW.parse::<Time>().unwrap() - jiff::SignedDuration::from_mins(20);
        let kinds = pipelines[0].kinds();
        let mut batch: Vec<Delta> = read(&objects);
        batch.extend(kinds.into_iter().map(Delta::Synced));
        for (version, (place, turn, odd, seconds)) in turns.into_iter().enumerate() {
            let mut other = world.clone();
            let [remembers, forgets] = &mut pipelines;
            for delta in batch {
                forgets.absorb(&mut other, delta.clone(), now);
                remembers.absorb(&mut world, delta, now);
            }
            forgets.forget();
            let (told, anew) = (remembers.step(&world, now), forgets.step(&other, now));
            prop_assert_eq!(format!("{told:?}"), format!("{anew:?}"));
            now += jiff::SignedDuration::from_secs(seconds);
            let count = objects.len();
            let object = &mut objects[place.index(count)];
            batch = changes(object, turn, version, &odd);
        }
    }

    /// Each object holds one odd value somewhere below its identity.
    #[test]
    fn odd_values_bring_nothing_down(
        odd in proptest::collection::vec((any::<prop::sample::Index>(), odd()), 400)
    ) {
        let mut objects = objects();
        for (object, (place, with)) in objects.iter_mut().zip(odd.iter().cycle()) {
            let body: Vec<String> = object.as_object().unwrap().keys()
                .filter(|k| !["apiVersion", "kind", "metadata"].contains(&k.as_str())).cloned().collect();
            let Some(field) = body.get(place.index(body.len().max(1))) else { continue };
            let below = &mut object[field];
            let mut place = place.index(places(below));
            put(below, &mut place, with);
        }
        let report = look(&objects, |_| None);
        sound(&report);
        exposition(report);
    }
}

#[test]
fn objects_without_bodies_say_nothing() {
    let mut objects = objects();
    for object in &mut objects {
        object
            .as_object_mut()
            .unwrap()
            .retain(|k, _| ["apiVersion", "kind", "metadata"].contains(&k.as_str()));
    }
    let report = look(&objects, |_| None);
    sound(&report);
    let mut whole = look(&self::objects(), |_| None);
    whole.findings.retain(|f| !report.findings.iter().any(|told| told.id == f.id));
    assert!(!whole.findings.is_empty(), "the bodies are what most findings speak of");
}

#[test]
fn a_quantity_of_300_megabytes_is_left_out() {
    let digits = "9".repeat(300 << 20);
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "huge", "namespace": "default"},
        "spec": {"resources": {"requests": {"storage": digits}}}, "status": {"phase": "Pending"}});
    sound(&look(&[claim], |_| None));
}

/// A clock that is an hour behind or ahead of the cluster's neither makes ages negative nor findings young for ever.
#[test]
fn clocks_that_differ_only_shift_ages() {
    let kinds = |report: &Report| -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for finding in &report.findings {
            *counts.entry(finding.signal.to_string()).or_default() += 1;
        }
        counts
    };
    let expected = kinds(&look(&objects(), |_| None));
    for minutes in [-5, 5] {
        let mut shifted = objects();
        let by = jiff::SignedDuration::from_mins(minutes);
        shifted.iter_mut().for_each(|object| manifests::shift(object, by));
        let report = look(&shifted, |_| None);
        sound(&report);
        let told = kinds(&report);
        let missing: Vec<_> = expected.keys().filter(|k| !told.contains_key(*k)).collect();
        assert!(missing.is_empty(), "{minutes} min: {missing:?}");
    }
}
