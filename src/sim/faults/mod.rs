//! What can go wrong, and what only looks so? One record for each fault and each healthy disturbance: how it is caused
//! and ended, what its root is, and what a watcher should tell of it. Only causes are scripted: effects follow.

mod across;
mod capacity;
mod compute;
mod follows;
mod gitops;
mod healthy;
mod means;
mod networking;
mod observability;
#[cfg(test)]
mod played;
mod security;
mod storage;
mod supplies;
mod tooling;
mod volumes;
mod wear;

use std::collections::BTreeMap;
use std::fmt;

use super::simulation::Simulation;

/// How plainly a fault shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// The API says it outright.
    Obvious,
    /// It shows in one number or after a dwell.
    Moderate,
    /// It shows only as a small change, or in several numbers together.
    Weak,
    /// It grows from nothing over hours, or is told by its age: when it begins there is nothing to see.
    Creeping,
    /// Nothing is wrong, though something happens: it must stay quiet.
    Healthy,
}

impl Class {
    /// As reports write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Obvious => "obvious",
            Self::Moderate => "moderate",
            Self::Weak => "weak",
            Self::Creeping => "creeping",
            Self::Healthy => "healthy",
        }
    }
}

/// A kind of fault, or of healthy disturbance.
#[derive(Debug)]
pub struct FaultKind {
    /// What scenarios call it.
    pub name: &'static str,
    /// The layer in which it originates.
    pub layer: &'static str,
    /// How plainly it shows.
    pub class: Class,
    /// What happens, in one line; `{name}` stands for a parameter.
    pub summary: &'static str,
    /// The root cause, `Kind namespace/name` or `Kind name`; `{name}` stands for a parameter.
    pub root: &'static str,
    /// Signals of which any one tells of the fault itself; empty for a healthy disturbance.
    pub tells: &'static [&'static str],
    /// Further signals, by groups, that may speak because of it: consequences, not false alarms. For a healthy
    /// disturbance, what may be counted or noted without being a false alarm.
    pub follows: &'static [&'static [&'static str]],
    /// Within how many seconds of its begin it should be told.
    pub within: u32,
    /// For how many seconds it lasts unless a scenario says otherwise.
    pub lasts: u32,
    /// Its parameters with their defaults, which fit the simulated house.
    pub parameters: &'static [(&'static str, &'static str)],
    pub(crate) begin: fn(&mut Simulation, &Fault),
    pub(crate) end: fn(&mut Simulation, &Fault),
}

impl FaultKind {
    /// Every signal that it names: those that tell of it, and those that may speak because of it.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        let Self { tells, follows, .. } = *self;
        tells.iter().chain(follows.iter().copied().flatten()).copied()
    }
}

/// A fault with its parameters.
#[derive(Clone, Debug)]
pub struct Fault {
    /// What kind of fault.
    pub kind: &'static FaultKind,
    with: BTreeMap<&'static str, String>,
}

/// A fault that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownFault {
    /// No record has this name.
    #[error("no fault is called {name:?}; the nearest is {nearest:?}")]
    Name {
        /// The name that was asked for.
        name: String,
        /// The most similar one.
        nearest: &'static str,
    },
    /// The fault has no such parameter.
    #[error("fault {fault} has no parameter {name:?}; expected {known}")]
    Parameter {
        /// The fault.
        fault: &'static str,
        /// The parameter that was given.
        name: String,
        /// Those that it has.
        known: String,
    },
}

/// Every fault and every healthy disturbance, by layer.
pub fn all() -> impl Iterator<Item = &'static FaultKind> {
    [
        storage::FAULTS,
        supplies::FAULTS,
        volumes::FAULTS,
        compute::FAULTS,
        capacity::FAULTS,
        networking::FAULTS,
        observability::FAULTS,
        security::FAULTS,
        tooling::FAULTS,
        gitops::FAULTS,
        across::FAULTS,
        wear::FAULTS,
    ]
    .into_iter()
    .flatten()
    .chain(healthy::all())
}

impl Fault {
    /// The fault of this name with its default parameters.
    pub fn named(name: &str) -> Result<Self, UnknownFault> {
        let Some(kind) = all().find(|kind| kind.name == name) else {
            let nearest = all().map(|k| k.name).max_by(|a, b| {
                strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name))
            });
            let nearest = nearest.unwrap_or_default();
            return Err(UnknownFault::Name { name: name.to_owned(), nearest });
        };
        let with = kind.parameters.iter().map(|(name, value)| (*name, (*value).to_owned()));
        Ok(Self { kind, with: with.collect() })
    }

    /// The same fault with one parameter set.
    pub fn with(mut self, name: &str, value: &str) -> Result<Self, UnknownFault> {
        let Some((known, _)) = self.kind.parameters.iter().find(|(known, _)| *known == name) else {
            let known: Vec<_> = self.kind.parameters.iter().map(|(known, _)| *known).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let fault = self.kind.name;
            return Err(UnknownFault::Parameter { fault, name: name.to_owned(), known });
        };
        self.with.insert(known, value.to_owned());
        Ok(self)
    }

    /// A parameter; empty if the fault has none of this name.
    #[must_use]
    pub fn parameter(&self, name: &str) -> &str {
        self.with.get(name).map_or("", String::as_str)
    }

    /// Its parameters with their values.
    pub fn parameters(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.with.iter().map(|(name, value)| (*name, value.as_str()))
    }

    /// The root cause: its kind, its namespace (empty for cluster scope) and its name.
    #[must_use]
    pub fn root(&self) -> (String, String, String) {
        let filled = self.filled(self.kind.root);
        let (kind, at) = filled.split_once(' ').unwrap_or(("", &filled));
        let (namespace, name) = at.split_once('/').unwrap_or(("", at));
        (kind.to_owned(), namespace.to_owned(), name.to_owned())
    }

    fn filled(&self, text: &str) -> String {
        self.with.iter().fold(text.to_owned(), |text, (name, value)| {
            text.replace(&format!("{{{name}}}"), value)
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.filled(self.kind.summary))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_record_is_whole() {
        let mut names = BTreeSet::new();
        for kind in all() {
            let name = kind.name;
            assert!(names.insert(name), "{name} stands twice");
            let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(name.chars().all(word), "{name}");
            assert_eq!(kind.tells.is_empty(), kind.class == Class::Healthy, "{name}");
            assert!(kind.lasts > 0 && (kind.within > 0 || kind.class == Class::Healthy), "{name}");
            let fault = Fault::named(name).unwrap();
            assert!(!fault.to_string().contains('{'), "{name}: {fault}");
            let (of, _, root) = fault.root();
            assert!(!of.is_empty() && !root.is_empty() && !root.contains('{'), "{name}: {root}");
        }
    }

    #[test]
    fn what_is_unknown_is_told_with_what_is_near() {
        let told = Fault::named("node-los").unwrap_err().to_string();
        assert!(told.contains("node-loss"), "{told}");
        let told = Fault::named("node-loss").unwrap().with("nod", "x").unwrap_err().to_string();
        assert!(told.contains("expected node"), "{told}");
    }
}
