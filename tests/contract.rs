//! Do all signals keep the rules of their family? Names, units, labels, bounds: what one declares, all must.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use kubestrata::layers;
use kubestrata::model::layer::Layer;
use kubestrata::model::signal::{Profile, Read, Signal, Unit};

/// Labels that no signal may have: without bound, or nobody's business.
const FORBIDDEN: &[&str] = &[
    "pod",
    "uid",
    "message",
    "image",
    "digest",
    "ip",
    "address",
    "user",
    "username",
    "instance",
    "job",
    "le",
    "quantile",
    "container_id",
    "pod_uid",
    "revision",
];

fn broken(rule: &str, holds: impl Fn(&Signal) -> bool) {
    let broken: Vec<_> = layers::signals().filter(|s| !holds(s)).map(|s| s.name).collect();
    assert!(broken.is_empty(), "{rule}: {broken:?}");
}

#[test]
fn names_are_unique_and_say_layer_and_unit() {
    let mut seen = BTreeSet::new();
    broken("a name of its own", |s| layers::signals().filter(|o| o.name == s.name).count() == 1);
    broken("begins with its layer", |s| s.name.starts_with(&format!("{}_", s.layer)));
    broken("counters and nothing else end with _total", |s| {
        s.is_counter() == s.name.ends_with("_total")
    });
    broken("ends with its unit", |s| match s.unit {
        Unit::Count => !["_ratio", "_seconds", "_bytes"].iter().any(|u| s.name.ends_with(u)),
        Unit::Ratio => s.name.ends_with("_ratio"),
        Unit::Seconds => s.name.ends_with("_seconds"),
        Unit::Bytes => s.name.ends_with("_bytes"),
    });
    broken("snake case", |s| {
        s.name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    });
    for signal in layers::signals() {
        assert!(seen.insert(signal.name));
    }
    assert!(seen.len() >= 40, "{} signals", seen.len());
}

#[test]
fn labels_are_few_bounded_and_known() {
    broken("bounded labels", |s| s.labels.iter().all(|l| !FORBIDDEN.contains(l)));
    broken("snake case labels", |s| {
        let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        s.labels.iter().all(|l| l.chars().all(word))
    });
    broken("no label twice", |s| s.labels.iter().collect::<BTreeSet<_>>().len() == s.labels.len());
    broken("at most seven labels", |s| s.labels.len() <= 7);
    broken("a reason has its values, and values their label", |s| {
        s.labels.contains(&"reason") != s.reasons.is_empty()
    });
    broken("no reason twice", |s| {
        s.reasons.iter().collect::<BTreeSet<_>>().len() == s.reasons.len()
    });
    broken("a bound in words", |s| !s.bound.is_empty());
    broken("a workload has its kind and namespace", |s| {
        !s.labels.contains(&"workload")
            || (s.labels.contains(&"workload_kind") && s.labels.contains(&"namespace"))
    });
}

#[test]
fn every_signal_says_what_it_is_and_what_it_needs() {
    broken("help is a sentence", |s| s.help.ends_with('.') && !s.help.contains('\n'));
    broken("a block of the catalogue", |s| s.block.starts_with('S') && s.block.contains('.'));
    broken("needs a kind", |s| !s.needs.is_empty() || !s.uses.is_empty());
    broken("needs and uses are apart", |s| s.needs.iter().all(|k| !s.uses.contains(k)));
    broken("rates are of counters", |s| (s.profile != Profile::Rate) || s.is_counter());
    broken("buckets rise", |s| match s.read {
        Read::Histogram(bounds) => bounds.windows(2).all(|w| w[0] < w[1]),
        _ => true,
    });
    for layer in layers::ALL {
        assert!(layer.signals.iter().all(|s| s.layer == layer.layer), "{}", layer.layer);
    }
    assert_eq!(Layer::ALL.len(), 7);
}
