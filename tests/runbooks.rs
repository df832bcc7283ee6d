//! Does whoever is woken find what to do? Each signal that tells has a runbook, each runbook its parts, each link its page.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use kubestrata::model::signal::Read;
use kubestrata::{catalog, layers};
use regex::Regex;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbooks")
}

/// The runbooks by name, without the index.
fn pages() -> Vec<(String, String)> {
    let files = std::fs::read_dir(folder()).unwrap().map(|file| file.unwrap().path());
    let name = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
    let all = files.map(|path| (name(&path), std::fs::read_to_string(&path).unwrap()));
    all.filter(|(name, _)| name != "README").collect()
}

#[test]
fn each_signal_that_makes_findings_has_one_runbook_that_is_there() {
    let mut mapped = BTreeSet::new();
    for (file, signals) in catalog::families() {
        assert!(folder().join(format!("{file}.md")).exists(), "{file}");
        for name in *signals {
            let signal = layers::signals().find(|s| s.name == *name);
            let signal = signal.unwrap_or_else(|| panic!("{file}: {name} is no signal"));
            assert!(file.starts_with(signal.layer.name()), "{file}: {name} is of another layer");
            assert!(mapped.insert(*name), "{name} has two runbooks");
        }
    }
    let rules = layers::signals().filter(|s| matches!(s.read, Read::Rule(_)));
    let without: Vec<&str> = rules.map(|s| s.name).filter(|name| !mapped.contains(name)).collect();
    assert!(without.is_empty(), "no runbook: {without:?}");
}

#[test]
fn each_runbook_belongs_to_an_alert_or_a_family_and_has_its_parts_in_order() {
    let families = catalog::families().iter().map(|(file, _)| (*file).to_owned());
    let alerts = catalog::alerts().into_iter().map(|alert| alert.name.to_owned());
    let known: BTreeSet<String> = families.chain(alerts).collect();
    let found: BTreeSet<String> = pages().into_iter().map(|(name, _)| name).collect();
    assert_eq!(known, found);
    for (name, page) in pages() {
        assert!(page.starts_with("# "), "{name}");
        let mut rest = page.as_str();
        for heading in ["## Meaning", "## Impact", "## Diagnosis", "## Mitigation"] {
            let (_, after) =
                rest.split_once(heading).unwrap_or_else(|| panic!("{name}: {heading}"));
            let words = after.split("\n## ").next().unwrap().trim();
            assert!(words.len() > 20, "{name}: {heading} says nothing");
            rest = after;
        }
        let (_, diagnosis) = page.split_once("## Diagnosis").unwrap();
        let commands = ["kubectl ", "curl ", "amtool "];
        assert!(commands.iter().any(|c| diagnosis.contains(c)), "{name}: no command to look with");
        assert_eq!(page.matches("```").count() % 2, 0, "{name}: a block that does not end");
    }
}

#[test]
fn each_reason_of_a_finding_stands_in_its_runbook() {
    for (file, signals) in catalog::families() {
        let page = std::fs::read_to_string(folder().join(format!("{file}.md"))).unwrap();
        let (_, diagnosis) = page.split_once("## Diagnosis").unwrap();
        let rules = layers::signals()
            .filter(|s| signals.contains(&s.name) && matches!(s.read, Read::Rule(_)));
        for signal in rules {
            let told = signal.reasons.iter().filter(|reason| **reason != "other");
            let silent: Vec<_> =
                told.filter(|reason| !diagnosis.contains(&format!("`{reason}`"))).collect();
            assert!(silent.is_empty(), "{file} says nothing of {}: {silent:?}", signal.name);
        }
    }
}

#[test]
fn each_link_leads_to_a_page_that_is_there() {
    let link = Regex::new(r"\]\(([^)#]+)(#[^)]*)?\)").unwrap();
    let index = std::fs::read_to_string(folder().join("README.md")).unwrap();
    let mut links = 0;
    for (name, page) in pages().into_iter().chain([("README".to_owned(), index)]) {
        for found in link.captures_iter(&page) {
            let target = folder().join(&found[1]);
            assert!(target.exists(), "{name}: {} is not there", &found[1]);
            links += 1;
        }
    }
    assert!(links > 200, "{links}");
}

#[test]
fn each_metric_that_a_runbook_names_is_exported() {
    let metric = Regex::new(r"\bkubestrata_[a-z0-9_]+").unwrap();
    let signals = layers::signals().map(|s| format!("kubestrata_{}", s.name));
    let own = kubestrata::exports::prometheus::OWN_METRICS.iter().map(|m| m.name.to_owned());
    let known: BTreeSet<String> = signals.chain(own).collect();
    for (name, page) in pages() {
        for found in metric.find_iter(&page) {
            // A pattern of grep ends where names differ.
            let begins = known.iter().any(|metric| metric.starts_with(found.as_str()));
            assert!(begins, "{name}: {} is not exported", found.as_str());
        }
    }
}
