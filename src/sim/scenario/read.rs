//! What does a scenario file say, and where is it wrong? Every mistake at once, with line, field and what was expected.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_saphyr::Spanned;
use thiserror::Error;

use super::{Action, Expected, Planned, Scenario, Set};
use crate::config::{Node, closest, parse_duration, parse_yaml};
use crate::sim::faults::Fault;
use crate::sim::fields::Fields;
use crate::sim::kind::{Kind, SERVED};
use crate::sim::store::Key;

/// Why a scenario can't be read.
#[derive(Debug, Error)]
pub enum ScenarioError {
    /// The file can't be read.
    #[error("could not read the scenario {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no YAML.
    #[error("could not parse the scenario {}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The parser's words, with line and column.
        message: String,
    },
    /// Fields that are not known or hold what they can't, one a line.
    #[error("{}", .0.join("\n"))]
    Mistakes(Vec<String>),
}

const TOP: &[&str] =
    &["name", "summary", "set", "cluster", "life", "every", "lasts", "timeline", "expect", "quiet"];
const STEP: &[&str] = &["at", "fault", "lasts", "with", "apply", "patch", "delete"];
const EXPECTED: &[&str] = &["signal", "namespace", "name", "after", "by"];
const PATCH: &[&str] = &["apiVersion", "kind", "namespace", "name", "patch"];
const DELETE: &[&str] = &["apiVersion", "kind", "namespace", "name"];

impl Scenario {
    /// Reads a file. `signals` are the names that may be expected, without `kubestrata_`.
    pub fn read_file(path: &Path, signals: &[&str]) -> Result<Self, ScenarioError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ScenarioError::Read { path: path.to_owned(), source })?;
        Self::read(&text, path, signals)
    }

    /// Reads the text of a file; `path` is for messages.
    pub fn read(text: &str, path: &Path, signals: &[&str]) -> Result<Self, ScenarioError> {
        let root = parse_yaml(text)
            .map_err(|message| ScenarioError::Syntax { path: path.to_owned(), message })?;
        let mut reader = Reader { path, signals, mistakes: Vec::new() };
        let scenario = match root {
            None => {
                reader.mistake(1, "the scenario", "expected a map of fields, found nothing");
                None
            }
            Some(root) => reader.scenario(Place { at: String::new(), line: 1, node: root.value }),
        };
        match scenario {
            Some(scenario) if reader.mistakes.is_empty() => Ok(scenario),
            _ => Err(ScenarioError::Mistakes(reader.mistakes)),
        }
    }
}

/// A value with its name and line.
struct Place {
    at: String,
    line: u64,
    node: Node,
}

/// The fields of a map that were not asked for yet.
struct Map {
    at: String,
    line: u64,
    entries: Vec<(Spanned<String>, Spanned<Node>)>,
}

impl Map {
    fn name_of(&self, field: &str) -> String {
        if self.at.is_empty() { field.to_owned() } else { format!("{}.{field}", self.at) }
    }

    fn take(&mut self, field: &str) -> Option<Place> {
        let index = self.entries.iter().position(|(key, _)| key.value == field)?;
        let (key, value) = self.entries.swap_remove(index);
        if matches!(value.value, Node::Null) {
            return None;
        }
        let line = key.referenced.line();
        Some(Place { at: self.name_of(field), line, node: value.value })
    }
}

struct Reader<'a> {
    path: &'a Path,
    signals: &'a [&'a str],
    mistakes: Vec<String>,
}

impl Reader<'_> {
    fn mistake(&mut self, line: u64, at: &str, what: impl Display) {
        let at = if at.is_empty() { "the scenario" } else { at };
        self.mistakes.push(format!("{}:{line}: {at}: {what}", self.path.display()));
    }

    fn wrong<T>(&mut self, place: &Place, expected: &str) -> Option<T> {
        let found = match &place.node {
            Node::Null => "nothing".to_owned(),
            Node::Bool(value) => value.to_string(),
            Node::Number(number) => number.to_string(),
            Node::Text(text) => format!("{text:?}"),
            Node::List(_) => "a list".to_owned(),
            Node::Map(_) => "a map".to_owned(),
        };
        self.mistake(place.line, &place.at, format_args!("expected {expected}, found {found}"));
        None
    }

    /// A map that holds none but the known fields.
    fn map(&mut self, place: Place, known: &[&str]) -> Option<Map> {
        let Place { at, line, node } = place;
        let Node::Map(entries) = node else {
            return self.wrong(&Place { at, line, node }, "a map of fields");
        };
        let map = Map { at, line, entries };
        for (key, _) in map.entries.iter().filter(|(k, _)| !known.contains(&k.value.as_str())) {
            let known = match closest(&key.value, known.iter().copied()) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("expected one of {}", known.join(", ")),
            };
            let what = format!("no such field; {known}");
            self.mistake(key.referenced.line(), &map.name_of(&key.value), what);
        }
        Some(map)
    }

    fn list(&mut self, map: &mut Map, field: &str) -> Vec<Place> {
        let Some(Place { at, line, node }) = map.take(field) else { return Vec::new() };
        let Node::List(items) = node else {
            self.wrong::<()>(&Place { at, line, node }, "a list");
            return Vec::new();
        };
        let place = |(index, item): (usize, Spanned<Node>)| Place {
            at: format!("{at}[{index}]"),
            line: item.referenced.line(),
            node: item.value,
        };
        items.into_iter().enumerate().map(place).collect()
    }

    fn needed<T>(&mut self, map: &Map, field: &str, found: Option<T>, expected: &str) -> Option<T> {
        if found.is_none() {
            let (line, at) = (map.line, map.name_of(field));
            // A value that was wrong is told already.
            if !self.mistakes.iter().any(|m| m.contains(&format!(": {at}"))) {
                self.mistake(line, &at, format_args!("missing; expected {expected}"));
            }
        }
        found
    }

    fn text(&mut self, map: &mut Map, field: &str) -> Option<String> {
        let place = map.take(field)?;
        match place.node {
            Node::Text(text) => Some(text),
            _ => self.wrong(&place, "a text"),
        }
    }

    fn truth(&mut self, map: &mut Map, field: &str) -> Option<bool> {
        let place = map.take(field)?;
        match place.node {
            Node::Bool(value) => Some(value),
            _ => self.wrong(&place, "true or false"),
        }
    }

    fn duration(&mut self, map: &mut Map, field: &str) -> Option<Duration> {
        let place = map.take(field)?;
        let read = match &place.node {
            Node::Text(text) => parse_duration(text).ok(),
            Node::Number(number) if number.as_u64() == Some(0) => Some(Duration::ZERO),
            _ => None,
        };
        read.or_else(|| self.wrong(&place, "a duration such as 30s, 5m, 2h or 14d"))
    }

    fn count(&mut self, map: &mut Map, field: &str, least: u32, most: u32) -> Option<u32> {
        let place = map.take(field)?;
        let count = match &place.node {
            Node::Number(number) => number.as_u64().and_then(|n| u32::try_from(n).ok()),
            _ => None,
        };
        let count = count.filter(|n| (least..=most).contains(n));
        count.or_else(|| self.wrong(&place, &format!("a whole number from {least} to {most}")))
    }

    fn signal(&mut self, place: &Place) -> Option<String> {
        let Node::Text(name) = &place.node else { return self.wrong(place, "a signal's name") };
        if self.signals.contains(&name.as_str()) {
            return Some(name.clone());
        }
        let near = closest(name, self.signals.iter().copied());
        let near = near.map_or_else(
            || "`kubestrata signals` lists them".to_owned(),
            |near| format!("did you mean {near}?"),
        );
        self.mistake(place.line, &place.at, format_args!("no signal is called {name:?}; {near}"));
        None
    }

    fn scenario(&mut self, root: Place) -> Option<Scenario> {
        let mut top = self.map(root, TOP)?;
        let name = self.text(&mut top, "name");
        let name = self.needed(&top, "name", name, "a text");
        let summary = self.text(&mut top, "summary");
        let summary = self.needed(&top, "summary", summary, "one line of text");
        let set = self.set(&mut top);
        let cluster = top.take("cluster").and_then(|place| self.cluster(place));
        let life = self.truth(&mut top, "life").unwrap_or(false);
        let every = self.duration(&mut top, "every");
        let lasts = self.duration(&mut top, "lasts");
        let steps = self.list(&mut top, "timeline");
        let timeline: Vec<_> = steps.into_iter().filter_map(|p| self.step(p)).collect();
        let expect = self.list(&mut top, "expect");
        let expect = expect.into_iter().filter_map(|p| self.expected(p)).collect();
        let quiet = self.list(&mut top, "quiet");
        let quiet = quiet.into_iter().filter_map(|p| self.signal(&p)).collect();
        let end = timeline.iter().map(Planned::ends).max().unwrap_or_default();
        for (field, limit) in [("every", every), ("lasts", lasts)] {
            if limit.is_some_and(|limit| limit < end || limit.is_zero()) {
                let what = format!("expected no less than the timeline, {} s", end.as_secs());
                self.mistake(top.line, field, what);
            }
        }
        let (name, summary) = (name?, summary?);
        Some(Scenario { name, summary, set, timeline, every, life, expect, quiet, lasts, cluster })
    }

    fn set(&mut self, top: &mut Map) -> Set {
        let Some(place) = top.take("set") else { return Set::Tuning };
        match &place.node {
            Node::Text(text) if text == "tuning" => Set::Tuning,
            Node::Text(text) if text == "held-out" => Set::HeldOut,
            _ => self.wrong(&place, "tuning or held-out").unwrap_or(Set::Tuning),
        }
    }

    fn cluster(&mut self, place: Place) -> Option<(u32, u32)> {
        let mut map = self.map(place, &["nodes", "pods"])?;
        let nodes = self.count(&mut map, "nodes", 3, 5_000);
        let nodes = self.needed(&map, "nodes", nodes, "a whole number from 3 to 5000");
        let pods = self.count(&mut map, "pods", 20, 150_000);
        let pods = self.needed(&map, "pods", pods, "a whole number from 20 to 150000");
        Some((nodes?, pods?))
    }

    fn step(&mut self, place: Place) -> Option<Planned> {
        let mut map = self.map(place, STEP)?;
        let at = self.duration(&mut map, "at");
        let at = self.needed(&map, "at", at, "a duration such as 30s, 5m, 2h or 14d");
        let deeds: Vec<&str> = ["fault", "apply", "patch", "delete"]
            .into_iter()
            .filter(|deed| map.entries.iter().any(|(key, _)| key.value == *deed))
            .collect();
        let [deed] = deeds[..] else {
            let (line, at) = (map.line, map.at.clone());
            self.mistake(line, &at, "expected exactly one of fault, apply, patch and delete");
            return None;
        };
        if deed != "fault" {
            for field in ["lasts", "with"] {
                if let Some(place) = map.take(field) {
                    self.mistake(place.line, &place.at, "only a fault has this field");
                }
            }
        }
        let action = match deed {
            "fault" => self.fault(&mut map),
            "apply" => map.take(deed).and_then(|place| self.apply(place)),
            "patch" => map.take(deed).and_then(|place| self.patch(place)),
            _ => map.take(deed).and_then(|place| self.delete(place)),
        };
        Some(Planned { at: at?, action: self.needed(&map, deed, action, "something to do")? })
    }

    fn fault(&mut self, map: &mut Map) -> Option<Action> {
        let place = map.take("fault")?;
        let Node::Text(name) = &place.node else { return self.wrong(&place, "a fault's name") };
        let mut fault = match Fault::named(name) {
            Ok(fault) => fault,
            Err(error) => {
                self.mistake(place.line, &place.at, error);
                return None;
            }
        };
        let lasts = self.duration(map, "lasts");
        let lasts = lasts.unwrap_or_else(|| Duration::from_secs(u64::from(fault.kind.lasts)));
        let Some(with) = map.take("with") else { return Some(Action::Fault { fault, lasts }) };
        let Node::Map(entries) = with.node else { return self.wrong(&with, "a map of parameters") };
        for (key, value) in entries {
            let (line, at) = (key.referenced.line(), format!("{}.{}", with.at, key.value));
            let Some(value) = value.value.scalar() else {
                self.mistake(line, &at, "expected a text or a number");
                continue;
            };
            match fault.clone().with(&key.value, &value) {
                Ok(changed) => fault = changed,
                Err(error) => self.mistake(line, &at, error),
            }
        }
        Some(Action::Fault { fault, lasts })
    }

    fn apply(&mut self, place: Place) -> Option<Action> {
        let Place { at, line, node } = place;
        if !matches!(node, Node::Map(_)) {
            return self.wrong(&Place { at, line, node }, "an object of the API");
        }
        let object = node.into_json();
        let kind = self.kind(line, &at, object.text("apiVersion"), object.text("kind"))?;
        let metadata = (object.text("metadata/namespace"), object.text("metadata/name"));
        self.key(line, &format!("{at}.metadata"), kind, metadata)?;
        Some(Action::Apply(object))
    }

    fn patch(&mut self, place: Place) -> Option<Action> {
        let mut map = self.map(place, PATCH)?;
        let (kind, key) = self.target(&mut map)?;
        let patch = map.take("patch");
        match self.needed(&map, "patch", patch, "a JSON merge patch")? {
            Place { node: node @ Node::Map(_), .. } => {
                Some(Action::Patch { kind, key, patch: node.into_json() })
            }
            other => self.wrong(&other, "a JSON merge patch"),
        }
    }

    fn delete(&mut self, place: Place) -> Option<Action> {
        let mut map = self.map(place, DELETE)?;
        let (kind, key) = self.target(&mut map)?;
        Some(Action::Delete { kind, key })
    }

    fn target(&mut self, map: &mut Map) -> Option<(Kind, Key)> {
        let mut text = |field: &str| self.text(map, field).unwrap_or_default();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        let (namespace, name) = (text("namespace"), text("name"));
        let kind = self.kind(map.line, &map.at, &api_version, &kind)?;
        self.key(map.line, &map.at, kind, (&namespace, &name)).map(|key| (kind, key))
    }

    fn kind(&mut self, line: u64, at: &str, api_version: &str, name: &str) -> Option<Kind> {
        let kind = Kind::of_manifest(api_version, name);
        if kind.is_none() {
            let near = closest(name, SERVED.iter().map(|served| served.name));
            let near = SERVED.iter().find(|s| Some(s.name) == near.as_deref());
            let near = near.map_or_else(
                || "the simulated cluster serves no such kind".to_owned(),
                |s| format!("did you mean {} {}?", s.api_version(), s.name),
            );
            let found = format!("found {:?}", format!("{api_version} {name}"));
            let what = format!("expected apiVersion and kind of a served kind, {found}; {near}");
            self.mistake(line, at, what);
        }
        kind
    }

    fn key(&mut self, line: u64, at: &str, kind: Kind, key: (&str, &str)) -> Option<Key> {
        let (namespace, name) = key;
        if name.is_empty() {
            self.mistake(line, &format!("{at}.name"), "missing; expected the object's name");
            return None;
        }
        if kind.served().namespaced == namespace.is_empty() {
            let expected = if namespace.is_empty() { "missing; expected" } else { "expected no" };
            let what = format!("{expected} namespace: {} has its scope", kind.name());
            self.mistake(line, &format!("{at}.namespace"), what);
            return None;
        }
        Some(Key::new(namespace, name))
    }

    fn expected(&mut self, place: Place) -> Option<Expected> {
        let mut map = self.map(place, EXPECTED)?;
        let signal = map.take("signal");
        let signal = self.needed(&map, "signal", signal, "a signal's name");
        let signal = signal.and_then(|place| self.signal(&place));
        let namespace = self.text(&mut map, "namespace").unwrap_or_default();
        let name = self.text(&mut map, "name").unwrap_or_default();
        let after = self.duration(&mut map, "after").unwrap_or_default();
        let by = self.duration(&mut map, "by");
        let by = self.needed(&map, "by", by, "a duration from the scenario's start")?;
        if by <= after {
            self.mistake(map.line, &map.name_of("by"), "expected a time later than `after`");
        }
        Some(Expected { signal: signal?, namespace, name, after, by })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNALS: &[&str] = &["compute_crashloop", "storage_class_sanity"];

    fn read(text: &str) -> Result<Scenario, ScenarioError> {
        Scenario::read(text, Path::new("s.yaml"), SIGNALS)
    }

    const WHOLE: &str = "name: outage
summary: what we had in March
set: held-out
cluster: {nodes: 5, pods: 80}
life: true
every: 3h
lasts: 3h
timeline:
  - {at: 1h, fault: crashloop, lasts: 10m, with: {deployment: shop/cart}}
  - at: 90m
    apply: {apiVersion: v1, kind: Namespace, metadata: {name: new}}
  - at: 95m
    patch: {apiVersion: apps/v1, kind: Deployment, namespace: shop, name: cart, patch: {spec: {replicas: 9}}}
  - {at: 100m, delete: {apiVersion: v1, kind: Namespace, name: new}}
expect:
  - {signal: compute_crashloop, namespace: shop, name: cart, after: 1h, by: 65m}
quiet: [storage_class_sanity]
";

    #[test]
    fn a_file_gives_its_scenario() {
        let scenario = read(WHOLE).unwrap();
        assert_eq!((scenario.set, scenario.cluster), (Set::HeldOut, Some((5, 80))));
        assert_eq!((scenario.every, scenario.life), (Some(Duration::from_hours(3)), true));
        let told = scenario.describe();
        assert_eq!(told.len(), 4, "{told:?}");
        assert_eq!(told[0], "minute 60 to 70: a release of Deployment shop/cart crashes");
        assert!(told[2].contains("patch Deployment shop/cart"), "{told:?}");
        let Action::Patch { patch, .. } = &scenario.timeline[2].action else { panic!("no patch") };
        assert_eq!(patch.int("spec/replicas"), 9);
        assert_eq!(scenario.expect[0].by, Duration::from_mins(65));
        assert_eq!(scenario.quiet, ["storage_class_sanity"]);
    }

    /// What stands after the head, and what is told of it.
    const MISTAKES: &[(&str, &str)] = &[
        ("timelin: []\n", "s.yaml:3: timelin: no such field; did you mean timeline?"),
        (
            "every: soon\n",
            "s.yaml:3: every: expected a duration such as 30s, 5m, 2h or 14d, found \"soon\"",
        ),
        ("set: both\n", "s.yaml:3: set: expected tuning or held-out, found \"both\""),
        (
            "cluster: {nodes: 1, pods: 80}\n",
            "s.yaml:3: cluster.nodes: expected a whole number from 3 to 5000, found 1",
        ),
        (
            "cluster: {nodes: 5}\n",
            "s.yaml:3: cluster.pods: missing; expected a whole number from 20 to 150000",
        ),
        ("timeline: 5\n", "s.yaml:3: timeline: expected a list, found 5"),
        (
            "timeline:\n  - {at: 1m, fault: crashlop}\n",
            "s.yaml:4: timeline[0].fault: no fault is called \"crashlop\"; the nearest is \"crashloop\"",
        ),
        (
            "timeline:\n  - {at: 1m, fault: oom, with: {x: 1}}\n",
            "s.yaml:4: timeline[0].with.x: fault oom has no parameter \"x\"; expected deployment",
        ),
        (
            "timeline:\n  - {at: 1m}\n",
            "s.yaml:4: timeline[0]: expected exactly one of fault, apply, patch and delete",
        ),
        (
            "timeline:\n  - {fault: oom}\n",
            "s.yaml:4: timeline[0].at: missing; expected a duration such as 30s, 5m, 2h or 14d",
        ),
        (
            "timeline:\n  - {at: 1m, delete: {apiVersion: v1, kind: Pot, namespace: a, name: b}}\n",
            "s.yaml:4: timeline[0].delete: expected apiVersion and kind of a served kind, found \"v1 Pot\"; did you mean v1 Pod?",
        ),
        (
            "timeline:\n  - {at: 1m, delete: {apiVersion: v1, kind: Pod, name: b}}\n",
            "s.yaml:4: timeline[0].delete.namespace: missing; expected namespace: Pod has its scope",
        ),
        (
            "timeline:\n  - {at: 1m, apply: {apiVersion: v1, kind: Namespace}}\n",
            "s.yaml:4: timeline[0].apply.metadata.name: missing; expected the object's name",
        ),
        (
            "timeline:\n  - {at: 1m, lasts: 1m, delete: {apiVersion: v1, kind: Namespace, name: b}}\n",
            "s.yaml:4: timeline[0].lasts: only a fault has this field",
        ),
        (
            "timeline:\n  - {at: 1h, fault: oom}\nlasts: 10m\n",
            "s.yaml:1: lasts: expected no less than the timeline, 4140 s",
        ),
        (
            "expect:\n  - {signal: compute_crashlop, by: 5m}\n",
            "s.yaml:4: expect[0].signal: no signal is called \"compute_crashlop\"; did you mean compute_crashloop?",
        ),
        (
            "expect:\n  - {signal: compute_crashloop}\n",
            "s.yaml:4: expect[0].by: missing; expected a duration from the scenario's start",
        ),
        (
            "quiet: [x]\n",
            "s.yaml:3: quiet[0]: no signal is called \"x\"; `kubestrata signals` lists them",
        ),
    ];

    #[test]
    fn each_mistake_names_file_line_field_and_what_was_expected() {
        let head = "name: a\nsummary: b\n";
        for &(text, expected) in MISTAKES {
            let told = read(&format!("{head}{text}")).expect_err(text).to_string();
            assert_eq!(told, expected);
        }
        let told = read("summary: b\nset: 3\nevery: x\n").expect_err("three").to_string();
        assert_eq!(told.lines().count(), 3, "all at once: {told}");
        assert_eq!(
            read("").expect_err("empty").to_string(),
            "s.yaml:1: the scenario: expected a map of fields, found nothing"
        );
        assert!(read("name: [").expect_err("no YAML").to_string().contains("line"));
    }
}
