//! Are recordings of a real control plane read without loss, and counted as a plain count of them says?
//!
//! They lie in `KUBESTRATA_RECORDINGS`, by default beside the repository; where there are none the tests say so.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use kubestrata::config::Settings;
use kubestrata::model::kind::Kind;
use kubestrata::model::record::Time;
use kubestrata::model::report::Series;
use kubestrata::model::text::Interner;
use kubestrata::model::world::{Delta, World};
use kubestrata::pipeline::{Pipeline, State};
use kubestrata::sources::read_watch_event;
use serde_json::Value;

/// A line of a recording: when it came, of which kind, and the watch event.
struct Line {
    at: Time,
    kind: Kind,
    json: String,
}

fn folder() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/recordings");
    let folder = std::env::var_os("KUBESTRATA_RECORDINGS").map_or_else(beside, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("no recordings at {}: nothing is replayed", folder.display());
    None
}

/// All lines of all kinds that sources read, in the order in which they came.
fn lines(folder: &Path) -> Vec<Line> {
    let mut lines = Vec::new();
    for kind in Kind::ALL {
        let api = match kind.group() {
            // The recorded events are those of the core API, which shows the same objects.
            "" | "events.k8s.io" => "api_v1".to_owned(),
            group => format!("apis_{group}_{}", kind.version()),
        };
        let path = folder.join(format!("{api}_{}.jsonl.gz", kind.plural()));
        let Ok(file) = std::fs::File::open(&path) else { continue };
        let mut text = String::new();
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
        lines.extend(text.lines().map(|line| {
            let (at, json) = line.split_once(' ').unwrap();
            let millis = (at.parse::<f64>().unwrap() * 1000.0) as i64;
            Line { at: Time::from_millisecond(millis).unwrap(), kind: *kind, json: json.to_owned() }
        }));
    }
    lines.sort_by_key(|l| l.at);
    lines
}

/// Plays lines through the pipeline, which counts from the first of them on.
fn replay<'a>(lines: impl Iterator<Item = &'a Line>) -> (Pipeline, World, Time) {
    let mut pipeline = Pipeline::new(Settings::default(), State::default());
    let (mut world, mut texts, mut now) = (World::default(), Interner::default(), Time::UNIX_EPOCH);
    for kind in Kind::ALL {
        pipeline.absorb(&mut world, Delta::Listing(*kind), now);
        pipeline.absorb(&mut world, Delta::Synced(*kind), now);
    }
    for line in lines {
        now = line.at;
        if let Some(delta) = read_watch_event(line.kind, &line.json, &mut texts) {
            assert!(
                !matches!(delta, Delta::Keep { .. }),
                "{:?} can't be read: {}",
                line.kind,
                line.json
            );
            pipeline.absorb(&mut world, delta, now);
        }
    }
    (pipeline, world, now)
}

fn totals(lines: &[Line], order: impl Fn(usize) -> Vec<usize>) -> BTreeMap<String, f64> {
    let played = (0..lines.len()).flat_map(order).map(|i| &lines[i]);
    let (mut pipeline, world, now) = replay(played);
    let report = pipeline.step(&world, now);
    let counters = report.signals.iter().filter(|s| s.signal.is_counter());
    counters
        .filter_map(|s| match &s.series {
            Series::Values(values) => {
                Some((s.signal.name.to_owned(), values.iter().map(|r| r.value).sum()))
            }
            _ => None,
        })
        .collect()
}

/// What a plain look at the JSON says: pods that were put out, and restarts.
fn plain(lines: &[Line]) -> (usize, u64) {
    let causes = [
        "EvictionByEvictionAPI",
        "PreemptionByScheduler",
        "DeletionByTaintManager",
        "DeletionByPodGC",
    ];
    let (mut evicted, mut restarts) = (BTreeSet::new(), BTreeMap::new());
    for line in lines.iter().filter(|l| l.kind == Kind::Pod) {
        let event: Value = serde_json::from_str(&line.json).unwrap();
        let pod = &event["object"];
        if event["type"] == "BOOKMARK" || event["type"] == "DELETED" {
            continue;
        }
        let uid = pod["metadata"]["uid"].as_str().unwrap().to_owned();
        let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let disrupted = conditions.iter().any(|c| {
            c["type"] == "DisruptionTarget"
                && c["status"] == "True"
                && causes.iter().any(|cause| c["reason"] == *cause)
        });
        if disrupted || pod["status"]["reason"] == "Evicted" {
            evicted.insert(uid.clone());
        }
        let containers = pod["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
        let count: u64 = containers.iter().filter_map(|c| c["restartCount"].as_u64()).sum();
        let most = restarts.entry(uid).or_insert(0);
        *most = count.max(*most);
    }
    (evicted.len(), restarts.values().sum())
}

#[test]
fn every_object_of_the_recordings_is_read() {
    let Some(folder) = folder() else { return };
    let lines = lines(&folder);
    assert!(lines.len() > 1000, "{} lines", lines.len());
    replay(lines.iter());
}

#[test]
fn a_replay_counts_what_a_plain_count_says_and_repeats_change_nothing() {
    let Some(folder) = folder() else { return };
    let lines = lines(&folder);
    let once = totals(&lines, |i| vec![i]);
    let (evicted, restarts) = plain(&lines);
    assert!(evicted > 0, "the recordings show evictions");
    // Totals of namespaces that are gone at the end are not shown any more.
    assert!(once["compute_evictions_total"] <= evicted as f64);
    assert!(once["compute_evictions_total"] > 0.0);
    assert_eq!(once["compute_container_restarts_total"], restarts as f64);
    let repeated = totals(&lines, |i| vec![i, i.saturating_sub(1), i]);
    assert_eq!(repeated, once, "late and repeated events count once");
}
