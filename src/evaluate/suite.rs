//! What is played? The scenario files that are shipped, each with its set.

use std::path::Path;

use crate::layers;
use crate::sim::{Scenario, ScenarioError};

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../tests/scenarios/", $name)))),*]
    };
}

/// Every file of `tests/scenarios`.
const FILES: &[(&str, &str)] = files![
    "before-the-daemon.yaml",
    "fault-during-rollout.yaml",
    "flapping-memory.yaml",
    "held-out-claims.yaml",
    "held-out-nodes.yaml",
    "held-out-quiet-morning.yaml",
    "held-out-releases.yaml",
    "held-out-too-many.yaml",
    "held-out-volumes.yaml",
    "held-out-wear.yaml",
    "maintenance-window.yaml",
    "ordinary-day.yaml",
    "two-at-once.yaml",
    "volumes.yaml",
    "wearing-on.yaml",
];

/// The names of all signals, without `kubestrata_`.
#[must_use]
pub fn signal_names() -> Vec<&'static str> {
    layers::signals().map(|signal| signal.name).collect()
}

/// The scenarios that are shipped, in the order of their files' names.
pub fn shipped() -> Result<Vec<Scenario>, ScenarioError> {
    let signals = signal_names();
    FILES.iter().map(|(name, text)| Scenario::read(text, Path::new(name), &signals)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::sim::{Set, faults};

    #[test]
    fn every_file_of_the_folder_is_shipped_and_is_called_as_its_scenario() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
        let files = std::fs::read_dir(folder).expect("the folder");
        let files: BTreeSet<_> =
            files.map(|f| f.expect("a file").file_name().into_string().expect("text")).collect();
        assert_eq!(files, FILES.iter().map(|(name, _)| (*name).to_owned()).collect());
        for ((file, _), scenario) in FILES.iter().zip(shipped().expect("readable")) {
            assert_eq!(*file, format!("{}.yaml", scenario.name));
            let held_out = scenario.name.starts_with("held-out-");
            assert_eq!(scenario.set == Set::HeldOut, held_out, "{file}");
        }
    }

    #[test]
    fn every_signal_that_a_fault_names_is_declared() {
        let known: BTreeSet<_> = signal_names().into_iter().collect();
        for fault in faults() {
            for name in fault.names() {
                assert!(known.contains(name), "{}: no signal {name}", fault.name);
            }
        }
    }
}
