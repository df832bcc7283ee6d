//! Do objects in give the exposition that they should? One golden file per layer: manifests through the real decoder
//! and pipeline, compared line by line. A stale file is written anew and fails the test.

#![allow(clippy::unwrap_used)]

mod bed;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use kubestrata::config::Settings;
use kubestrata::exports::prometheus::{About, Format, encode};
use kubestrata::layers;
use kubestrata::model::Time;
use kubestrata::model::kind::Kind;
use kubestrata::model::layer::Layer;
use kubestrata::model::report::Report;
use kubestrata::model::signal::{Read, Signal};
use kubestrata::model::source::{Availability, SourceNote};
use kubestrata::model::text::Interner;
use kubestrata::model::world::{Delta, World};
use kubestrata::pipeline::{Pipeline, State};
use kubestrata::sources;
use serde_json::{Value, json};

/// The moment at which the manifests are looked at; what is wrong in them has been so for a day.
const NOW: &str = "2026-01-02T00:00:00Z";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// The manifests of a layer as changes, and those that come once all has been listed: with `later: true`.
/// `kind: APIServerMetrics` and its like carry their text in `exposition`; `kind: SourceFailure` is the source of a kind
/// that may not be read from then on.
fn changes(layer: Layer, now: Time) -> (Vec<Delta>, Vec<Delta>) {
    let path = folder().join(format!("{layer}.yaml"));
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut texts = Interner::default();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let (mut first, mut later) = (Vec::new(), Vec::new());
    for document in documents.into_iter().filter(|d| !d.is_null()) {
        let changes = if document["later"] == true { &mut later } else { &mut first };
        let field = |name: &str| document[name].as_str().unwrap_or_default().to_owned();
        let (api_version, name) = (field("apiVersion"), field("kind"));
        if let Some(kind) = Kind::by_name(&name).filter(|k| !k.is_resource()) {
            let checks = document["checks"].as_array().into_iter().flatten();
            let checks: Vec<&str> = checks.filter_map(Value::as_str).collect();
            let text = field("exposition") + &checks.join("\n");
            changes.push(sources::read_exposition(kind, "one", text.as_bytes(), now, &mut texts));
            continue;
        }
        if name == "EventList" {
            let (told, left_out) =
                sources::read_audit(document.to_string().as_bytes(), now).unwrap();
            assert_eq!(left_out, 0);
            changes.extend(told.into_iter().map(Delta::Upsert));
            continue;
        }
        if name == "SourceFailure" {
            changes.push(refusal(Kind::by_name(&field("source")).unwrap(), field("message")));
            continue;
        }
        let kind = Kind::of_manifest(&api_version, &name)
            .unwrap_or_else(|| panic!("{}: no kind {api_version} {name}", path.display()));
        let mut object = document;
        if kind == Kind::Constraint {
            let own = object["metadata"]["name"].as_str().unwrap().to_owned();
            object["metadata"]["name"] = json!(format!("{name}/{own}"));
        }
        // In the order in which the API server writes it.
        let event = format!("{{\"type\":\"ADDED\",\"object\":{object}}}");
        let change = sources::read_watch_event(kind, &event, &mut texts).unwrap();
        assert!(matches!(change, Delta::Upsert(_)), "{}: not read: {event}", path.display());
        changes.push(change);
    }
    (first, later)
}

/// The API server refuses to let the kind be read.
fn refusal(kind: Kind, message: String) -> Delta {
    let availability = Availability::Forbidden;
    Delta::Note(kind, SourceNote::Failed { availability, message, backoff_seconds: 0.0 })
}

/// All that is told when everything is as the layer's manifests say.
fn report(layer: Layer) -> Report {
    let now: Time = NOW.parse().unwrap();
    // States whose start the API does not tell are seen for their dwell.
    let earlier = now - jiff::SignedDuration::from_hours(30);
    // Sources that are read only on demand are, here: the test is about what signals say.
    let opt_in = Kind::ALL.iter().copied().filter(|k| k.is_opt_in()).collect();
    let settings = Settings { layers: vec![layer], opt_in, ..Settings::default() };
    let mut pipeline = Pipeline::new(settings, State::default());
    let mut world = World::default();
    for kind in pipeline.kinds() {
        pipeline.absorb(&mut world, Delta::Listing(kind), earlier);
    }
    let (first, later) = changes(layer, now);
    let (refusals, first): (Vec<_>, Vec<_>) =
        first.into_iter().partition(|change| matches!(change, Delta::Note(..)));
    for change in first {
        pipeline.absorb(&mut world, change, earlier);
    }
    for kind in pipeline.kinds() {
        pipeline.absorb(&mut world, Delta::Synced(kind), earlier);
    }
    // Refused for so long that layers read without these kinds.
    for refusal in refusals {
        pipeline.absorb(&mut world, refusal, earlier - jiff::SignedDuration::from_hours(1));
    }
    pipeline.step(&world, earlier);
    for kind in pipeline.kinds() {
        if world.source(kind).availability == Availability::Served {
            pipeline.absorb(&mut world, Delta::Note(kind, SourceNote::Alive), now);
        }
    }
    for change in later {
        pipeline.absorb(&mut world, change, now);
    }
    pipeline.step(&world, now)
}

/// All that is exported of it.
fn whole_exposition(layer: Layer) -> String {
    encode(&report(layer).into(), &About::default(), Format::Text).unwrap()
}

/// Of it, what is about the layer.
fn exposition(layer: Layer) -> String {
    let text = whole_exposition(layer);
    let mine = format!("kubestrata_{layer}_");
    let health = format!("layer=\"{layer}\"");
    let wanted = |line: &&str| {
        let of_layer = line.starts_with("kubestrata_layer_health") && line.contains(&health);
        line.starts_with(&mine) || of_layer || line.starts_with("kubestrata_signal_absent")
    };
    let lines: Vec<&str> = text.lines().filter(wanted).collect();
    format!("{}\n", lines.join("\n"))
}

fn check(layer: Layer) {
    let path = folder().join(format!("{layer}.prom"));
    let (now, held) = (exposition(layer), fs::read_to_string(&path).unwrap_or_default());
    if now != held {
        fs::write(&path, &now).unwrap();
        let differs = now.lines().filter(|l| !held.lines().any(|h| h == *l)).take(5);
        let differs: Vec<&str> = differs.collect();
        panic!(
            "{} was stale and is written anew; new lines begin with {differs:#?}",
            path.display()
        );
    }
}

/// Signals that no manifest of their layer can show, with the reason why.
const NOT_SHOWN: &[(&str, &str)] =
    &[("observability_alerts_removed", "manifests have no rules that are gone; its file has them")];

/// Every signal but those that a Prometheus is asked for is seen at work.
#[test]
fn every_signal_is_shown_by_its_layers_golden_file() {
    let mut missing = Vec::new();
    for signal in layers::signals().filter(|s| !matches!(s.read, Read::Query(_))) {
        let path = folder().join(format!("{}.prom", signal.layer));
        let text = fs::read_to_string(path).unwrap_or_default();
        let suffix = if matches!(signal.read, Read::Histogram(_)) { "_count{" } else { "{" };
        let begin = format!("kubestrata_{}{suffix}", signal.name);
        let shown = text.lines().any(|line| line.starts_with(&begin));
        let excepted = NOT_SHOWN.iter().any(|(name, _)| *name == signal.name);
        assert!(!(shown && excepted), "{} is shown, so it is no exception", signal.name);
        missing.extend((!shown && !excepted).then_some(signal.name));
    }
    assert!(missing.is_empty(), "shown by no manifest: {missing:#?}");
}

/// Rules about what is no object, with what is well beside what is told of them.
const NO_TWIN: &[(&str, &str)] = &[
    ("networking_addresses_low", "the node ports in the same answer"),
    ("observability_apiserver_check_failed", "the other checks in the same answer"),
    ("observability_etcd_nearly_full", "one store; tests/apiserver.rs has it with room"),
    ("observability_kubestrata_blind", "every source that may be read"),
    ("security_deprecated_api_used", "an API in the same answer that no release takes away"),
];

/// Kinds that stand for what a finding is about: a workload is seen by its pods, a zone by its nodes.
const STANDS_FOR: &[(&str, &str)] = &[
    ("Cluster", "Node"),
    ("Cluster", "ReplicaSet"),
    ("Cluster", "K8sRequiredLabels"),
    ("ClusterPolicy", "UpdateRequest"),
    ("Constraint", "K8sRequiredLabels"),
    ("CSIDriver", "CSINode"),
    ("Deployment", "Pod"),
    ("Deployment", "StatefulSet"),
    ("Namespace", "PolicyReport"),
    ("Namespace", "VulnerabilityReport"),
    ("ReplicaSet", "ExposedSecretReport"),
    ("StatefulSet", "Pod"),
    ("StorageClass", "CSIStorageCapacity"),
    ("Zone", "Node"),
];

/// Whether a manifest calls itself well: by its name, its namespace or its workload's name.
fn is_called_well(manifest: &Value) -> bool {
    let metadata = &manifest["metadata"];
    let names =
        [&metadata["name"], &metadata["namespace"], &metadata["ownerReferences"][0]["name"]];
    names.iter().any(|name| name.as_str().is_some_and(|name| name.contains("-fine")))
}

#[test]
fn each_rule_has_its_healthy_counter_example() {
    let text = fs::read_to_string(folder().join("twins.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let mut twins: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    for line in lines {
        let (signal, named) = line.split_once(' ').unwrap();
        let named = named.split(' ').map(|twin| twin.split_once('/').unwrap());
        assert!(twins.insert(signal, named.collect()).is_none(), "{signal} twice");
    }
    let mut wrong = Vec::new();
    for layer in Layer::ALL {
        let (report, manifests) = (report(layer), bed::manifests::of(layer));
        let is_rule = |s: &&Signal| s.layer == layer && matches!(s.read, Read::Rule(_));
        for signal in layers::signals().filter(is_rule) {
            let own = twins.remove(signal.name).unwrap_or_default();
            let excepted = NO_TWIN.iter().any(|(name, _)| *name == signal.name);
            if excepted != own.is_empty() {
                wrong.push(format!("{}: a twin, or a reason why there is none", signal.name));
            }
            for (kind, name) in &own {
                let is = |m: &&Value| m["kind"] == *kind && m["metadata"]["name"] == *name;
                if !manifests.iter().filter(is).any(is_called_well) {
                    wrong.push(format!("{}: no {kind}/{name} that is well", signal.name));
                }
            }
            let findings = report.findings.iter().filter(|f| *f.signal == *signal.name);
            for finding in findings.filter(|_| !excepted) {
                let about = finding.subject.kind.as_str();
                let stands = |kind: &str| kind == about || STANDS_FOR.contains(&(about, kind));
                if !own.iter().any(|(kind, _)| stands(kind)) {
                    wrong.push(format!("{}: no {about} that is well", signal.name));
                }
            }
        }
        let told = report.findings.iter().filter(|f| f.subject.name.contains("-fine"));
        wrong.extend(told.map(|f| format!("told though it is well: {} {}", f.signal, f.subject)));
    }
    wrong.extend(twins.keys().map(|signal| format!("{signal} is no rule")));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

macro_rules! layers {
    ($($test:ident $layer:ident),* $(,)?) => {
        $(#[test] fn $test() { check(Layer::$layer); })*
    };
}

layers!(
    storage_objects_give_their_exposition Storage,
    compute_objects_give_their_exposition Compute,
    networking_objects_give_their_exposition Networking,
    observability_objects_give_their_exposition Observability,
    security_objects_give_their_exposition Security,
    tooling_objects_give_their_exposition Tooling,
    gitops_objects_give_their_exposition Gitops,
);

#[test]
fn promtool_finds_no_fault_with_any_signal() {
    for layer in Layer::ALL {
        bed::check_metrics(&whole_exposition(layer)).unwrap_or_else(|e| panic!("{layer}: {e}"));
    }
}
