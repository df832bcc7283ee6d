//! Is the scoreboard what a play of today gives? Writes it where it is not, and fails; CI only fails.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::time::Duration;

use kubestrata::evaluate::{Plan, mark, scoreboard_markdown, settings, shipped};
use kubestrata::sim::{Class, Scenario};

#[test]
fn the_scoreboard_is_fresh() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/scoreboard.md");
    let fresh = scoreboard_markdown().unwrap();
    if fs::read_to_string(&file).unwrap_or_default() != fresh {
        if std::env::var_os("CI").is_none() {
            fs::write(file, fresh).unwrap();
        }
        panic!("docs/scoreboard.md is stale; run `cargo test --test scoreboard` and commit it");
    }
}

/// A cluster that nobody has seen before: what the API says outright is told there too.
#[test]
fn obvious_faults_are_told_whatever_the_seed() {
    let seed = match std::env::var("KUBESTRATA_TEST_SEED") {
        Ok(seed) => seed.parse().expect("a number"),
        Err(_) => RandomState::new().hash_one("seed") % 1_000_000,
    };
    println!("seed {seed}; KUBESTRATA_TEST_SEED={seed} plays it again");
    let scenarios = shipped().unwrap();
    let scenario = scenarios.iter().find(|s| s.name == "held-out-releases").unwrap();
    let played = mark(&Plan::new(scenario.clone(), seed, None), &settings()).unwrap();
    assert_eq!(played.marks[0].faults.len(), 3, "seed {seed}");
    for fault in &played.marks[0].faults {
        let kind = fault.episode.fault.kind;
        println!("{}: told after {:?}", kind.name, fault.told_after);
        if kind.class == Class::Obvious {
            assert!(fault.told_after.is_some(), "seed {seed}: {} was not told", kind.name);
        }
    }
}

/// Nothing happens in this cluster, so nothing is to be told.
#[test]
fn a_cluster_in_which_nothing_happens_is_quiet() {
    let healthy = Scenario { cluster: Some((6, 90)), ..Scenario::healthy() };
    let plan = Plan::new(healthy, 1, Some(Duration::from_hours(2)));
    let played = mark(&plan, &settings()).unwrap();
    assert!(played.marks[0].false_alarms.is_empty(), "{:?}", played.marks[0].false_alarms);
    assert!(played.calm.tests > 0, "series are judged meanwhile");
}
