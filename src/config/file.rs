//! What does the file say, line by line? YAML with locations, checked against the fields; every mistake at once.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_saphyr::Spanned;
use thiserror::Error;

use super::duration::format_duration;
use super::fields::{FIELDS, Field, Value};
use super::settings::Settings;
use super::yaml::{self, Node, closest};

/// The configuration as written: values by field, each with where it stands.
#[derive(Debug, Default)]
pub struct Config {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    origin: Origin,
    path: String,
    value: Value,
}

#[derive(Clone, Debug)]
enum Origin {
    File { path: PathBuf, line: u64 },
    Environment { variable: String },
    Flag { name: &'static str },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment { variable } => write!(f, "environment {variable}"),
            Self::Flag { name } => write!(f, "flag --{name}"),
        }
    }
}

/// One mistake: where, which field, what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake(String);

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a configuration can't be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("could not read the configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no YAML.
    #[error("could not parse the configuration {}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The parser's words, with line and column.
        message: String,
    },
    /// Fields that are not known or hold what they can't.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Mistakes(Vec<Mistake>),
}

impl Config {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// Reads the text of a file; `path` is for messages.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        let root = yaml::parse(text)
            .map_err(|message| ConfigError::Syntax { path: path.to_owned(), message })?;
        let Some(root) = root else { return Ok(config) };
        let mut mistakes = Vec::new();
        config.collect("", root.value, root.referenced.line(), path, &mut mistakes);
        if mistakes.is_empty() { Ok(config) } else { Err(ConfigError::Mistakes(mistakes)) }
    }

    /// Adds the `KUBESTRATA_…` variables. Ones that name no field are mistakes, but for those that flags read.
    pub fn overlay_environment(
        &mut self,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<(), ConfigError> {
        let mut mistakes = Vec::new();
        for (variable, text) in variables {
            if !variable.starts_with("KUBESTRATA_") || RESERVED.contains(&variable.as_str()) {
                continue;
            }
            let Some(field) = FIELDS.iter().find(|f| f.env() == variable) else {
                let known = nearest(&variable, FIELDS.iter().map(Field::env));
                mistakes.push(Mistake(format!("environment {variable}: no such field{known}")));
                continue;
            };
            let value = from_environment(field, &text);
            let origin = Origin::Environment { variable };
            self.entries.push(Entry { origin, path: field.path.to_owned(), value });
        }
        if mistakes.is_empty() { Ok(()) } else { Err(ConfigError::Mistakes(mistakes)) }
    }

    /// Adds a flag's value.
    pub fn overlay_flag(&mut self, name: &'static str, path: &str, value: &str) {
        self.entries.push(Entry {
            origin: Origin::Flag { name },
            path: path.to_owned(),
            value: Value::Scalar(value.to_owned()),
        });
    }

    /// What is meant: the defaults with every entry laid over, later ones winning.
    pub fn settings(&self) -> Result<Settings, ConfigError> {
        let mut settings = Settings::default();
        let mut mistakes = Vec::new();
        for entry in &self.entries {
            let Some(field) = FIELDS.iter().find(|f| f.path == entry.path) else { continue };
            if let Err(why) = (field.set)(&mut settings, &entry.value) {
                let found = if field.secret {
                    "something else".to_owned()
                } else {
                    entry.value.to_string()
                };
                let why = match why.as_str() {
                    "" => format!("expected {}, found {found}", field.expected),
                    why if why.starts_with("expected") => why.to_owned(),
                    why => format!("{why}; expected {}", field.expected),
                };
                mistakes.push(Mistake(format!("{}: {}: {why}", entry.origin, field.path)));
            }
        }
        let election = &settings.leader_election;
        if mistakes.is_empty()
            && !(election.lease_duration > election.renew_deadline
                && election.renew_deadline > election.retry_period)
        {
            mistakes.push(Mistake(format!(
                "leader_election: expected lease_duration > renew_deadline > retry_period, found {}, {} and {}",
                format_duration(election.lease_duration),
                format_duration(election.renew_deadline),
                format_duration(election.retry_period)
            )));
        }
        if mistakes.is_empty() { Ok(settings) } else { Err(ConfigError::Mistakes(mistakes)) }
    }

    fn collect(
        &mut self,
        path: &str,
        node: Node,
        line: u64,
        file: &Path,
        mistakes: &mut Vec<Mistake>,
    ) {
        let field = FIELDS.iter().find(|f| f.path == path);
        let is_section = path.is_empty() || FIELDS.iter().any(|f| is_below(f.path, path));
        let origin = Origin::File { path: file.to_owned(), line };
        match (field, node) {
            (Some(_), Node::Null) => {}
            (None, Node::Null) if is_section => {}
            (Some(field), node) => match value_of(node) {
                Some(value) => self.entries.push(Entry { origin, path: path.to_owned(), value }),
                None => mistakes.push(Mistake(format!(
                    "{origin}: {path}: expected {}, found a nested structure",
                    field.expected
                ))),
            },
            (None, Node::Map(entries)) if is_section => {
                for (key, value) in entries {
                    let below =
                        if path.is_empty() { key.value } else { format!("{path}.{}", key.value) };
                    let line = key.referenced.line();
                    self.collect(&below, value.value, line, file, mistakes);
                }
            }
            (None, _) if is_section => {
                let name = if path.is_empty() { "the configuration" } else { path };
                mistakes.push(Mistake(format!("{origin}: {name}: expected a map of fields")));
            }
            (None, _) => {
                let known = nearest(path, FIELDS.iter().flat_map(|f| prefixes(f.path)));
                mistakes.push(Mistake(format!("{origin}: {path}: no such field{known}")));
            }
        }
    }
}

/// Variables that flags of the command line read.
const RESERVED: [&str; 4] =
    ["KUBESTRATA_CONFIG", "KUBESTRATA_LOG_LEVEL", "KUBESTRATA_LOG_FORMAT", "KUBESTRATA_SERVER"];

fn is_below(path: &str, section: &str) -> bool {
    path.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'))
}

fn prefixes(path: &'static str) -> Vec<String> {
    let sections = path.match_indices('.').map(|(end, _)| path[..end].to_owned());
    sections.chain([path.to_owned()]).collect()
}

fn from_environment(field: &Field, text: &str) -> Value {
    let items = || text.split(',').map(str::trim).filter(|i| !i.is_empty());
    if field.expected.starts_with("a list") {
        Value::List(items().map(str::to_owned).collect())
    } else if field.expected.starts_with("a map") {
        let pairs = items().map(|i| i.split_once('=').unwrap_or((i, "")));
        Value::Map(pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect())
    } else {
        Value::Scalar(text.to_owned())
    }
}

/// `; did you mean …?` where some candidate is close.
fn nearest(path: &str, candidates: impl Iterator<Item = String>) -> String {
    match closest(path, candidates) {
        Some(candidate) => format!("; did you mean {candidate}?"),
        None => "; `kubestrata config print` lists those that exist".to_owned(),
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(text) => write!(f, "{text:?}"),
            Self::List(_) => f.write_str("a list"),
            Self::Map(_) => f.write_str("a map"),
            Self::Records(_) => f.write_str("a list of maps"),
        }
    }
}

/// The value of a field, if it is one that a field can hold.
fn value_of(node: Node) -> Option<Value> {
    let scalar = |node: Node| match node {
        Node::Null => Some(String::new()),
        node => node.scalar(),
    };
    match node {
        Node::Null => None,
        Node::List(items) if items.iter().any(|i| matches!(i.value, Node::Map(_))) => {
            let record = |item: Spanned<Node>| match item.value {
                Node::Map(entries) => (entries.into_iter())
                    .map(|(k, v)| Some((k.value, value_of(v.value)?)))
                    .collect::<Option<Vec<_>>>(),
                _ => None,
            };
            items.into_iter().map(record).collect::<Option<_>>().map(Value::Records)
        }
        Node::List(items) => {
            items.into_iter().map(|i| scalar(i.value)).collect::<Option<_>>().map(Value::List)
        }
        Node::Map(entries) => (entries.into_iter())
            .map(|(k, v)| scalar(v.value).map(|v| (k.value, v)))
            .collect::<Option<_>>()
            .map(Value::Map),
        node => node.scalar().map(Value::Scalar),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{OtlpProtocol, effective_yaml};
    use crate::model::layer::Layer;

    fn read(text: &str) -> Result<Settings, ConfigError> {
        Config::parse(text, Path::new("k.yaml"))?.settings()
    }

    #[test]
    fn a_file_lays_over_the_defaults() {
        let settings = read(
            "tick: 30s\nlayers: [storage]\notlp:\n  endpoint: http://c:4318\n  protocol: http/protobuf\n  headers:\n    a: b\n",
        )
        .unwrap();
        assert_eq!(settings.tick, Duration::from_secs(30));
        assert_eq!(settings.layers, [Layer::Storage]);
        assert_eq!(settings.otlp.protocol, OtlpProtocol::HttpProtobuf);
        assert_eq!(settings.otlp.headers, [("a".to_owned(), "b".to_owned())]);
        assert_eq!(settings.baseline, Settings::default().baseline);
    }

    #[test]
    fn an_empty_file_means_the_defaults() {
        for text in ["", "# nothing\n", "otlp:\n", "state: {}\n"] {
            assert_eq!(read(text).unwrap(), Settings::default(), "{text:?}");
        }
    }

    #[test]
    fn each_mistake_names_line_field_and_what_was_expected() {
        let cases = [
            ("tick: soon\n", "k.yaml:1: tick: expected a duration from 1s to 5m, found \"soon\""),
            ("\ntick: 1h\n", "k.yaml:2: tick: expected a duration from 1s to 5m, found \"1h\""),
            ("tikc: 5s\n", "k.yaml:1: tikc: no such field; did you mean tick?"),
            (
                "otlp:\n  endpont: x\n",
                "k.yaml:2: otlp.endpont: no such field; did you mean otlp.endpoint?",
            ),
            ("otlp: 5\n", "k.yaml:1: otlp: expected a map of fields"),
            ("- a\n", "k.yaml:1: the configuration: expected a map of fields"),
            (
                "listen: 9868\n",
                "k.yaml:1: listen: expected an address and a port such as 127.0.0.1:9868 or [::]:9868, found \"9868\"",
            ),
            (
                "limits:\n  events: 5\n",
                "k.yaml:2: limits.events: expected a whole number from 100 to 10000000, found 5",
            ),
            (
                "tick: {a: {b: c}}\n",
                "k.yaml:1: tick: expected a duration from 1s to 5m, found a nested structure",
            ),
            (
                "otlp:\n  endpoint: ftp://x\n",
                "k.yaml:2: otlp.endpoint: expected a URL such as http://collector:4317, found \"ftp://x\"",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text).expect_err(text).to_string(), expected);
        }
        let layers = read("layers: [storage, sky]\n").expect_err("sky").to_string();
        assert!(layers.starts_with("k.yaml:1: layers: \"sky\" is no layer; expected"), "{layers}");
    }

    #[test]
    fn a_leader_that_would_speak_for_longer_than_its_lease_lasts_is_a_mistake() {
        let election = |lasts: &str, deadline: &str| {
            read(&format!(
                "leader_election:\n  lease_duration: {lasts}\n  renew_deadline: {deadline}\n"
            ))
        };
        let error = election("10s", "10s").expect_err("as long").to_string();
        let expected = "leader_election: expected lease_duration > renew_deadline > retry_period, found 10s, 10s and 2s";
        assert_eq!(error, expected);
        assert!(election("10s", "2s").is_err());
        assert!(!election("10s", "3s").unwrap().leader_election.enabled);
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let error =
            read("tick: soon\nlisten: here\nstate:\n  interval: never\n").expect_err("three");
        assert_eq!(error.to_string().lines().count(), 3, "{error}");
        let error = read("a: 1\nb: 2\n").expect_err("two");
        assert_eq!(error.to_string().lines().count(), 2, "{error}");
    }

    #[test]
    fn what_is_no_yaml_says_where() {
        let error = read("tick: [1\n").expect_err("open list").to_string();
        assert!(error.contains("k.yaml") && error.contains("line"), "{error}");
        let error = read("tick: 5s\ntick: 6s\n").expect_err("twice").to_string();
        assert!(error.contains("k.yaml"), "{error}");
    }

    #[test]
    fn the_environment_wins_over_the_file_and_flags_win_over_both() {
        let mut config = Config::parse("tick: 5s\n", Path::new("k.yaml")).unwrap();
        let variables =
            [("KUBESTRATA_TICK", "6s"), ("KUBESTRATA_LAYERS", "compute, storage"), ("HOME", "/")];
        let variables = variables.map(|(k, v)| (k.to_owned(), v.to_owned()));
        config.overlay_environment(variables.into_iter()).unwrap();
        let settings = config.settings().unwrap();
        assert_eq!(settings.tick, Duration::from_secs(6));
        assert_eq!(settings.layers, [Layer::Compute, Layer::Storage]);
        config.overlay_flag("listen", "listen", "nowhere");
        let error = config.settings().expect_err("listen").to_string();
        assert!(error.starts_with("flag --listen: listen: expected"), "{error}");
        let unknown = [("KUBESTRATA_TIKC".to_owned(), "1".to_owned())];
        let error = config.overlay_environment(unknown.into_iter()).expect_err("tikc").to_string();
        assert!(error.contains("did you mean KUBESTRATA_TICK?"), "{error}");
    }

    #[test]
    fn what_is_printed_is_read_back_and_keeps_secrets() {
        let mut settings = Settings::default();
        settings.otlp.headers = vec![("api-key".to_owned(), "s3cret".to_owned())];
        settings.cluster.name = "it's".to_owned();
        settings.prometheus.url = Some("http://me:let-me-in@prometheus:9090/a@b".to_owned());
        let yaml = effective_yaml(&settings);
        assert!(!yaml.contains("s3cret") && !yaml.contains("let-me-in"), "{yaml}");
        assert!(yaml.contains("http://me:***@prometheus:9090/a@b"), "{yaml}");
        let mut back = read(&yaml).unwrap();
        back.otlp.headers.clone_from(&settings.otlp.headers);
        back.prometheus.url.clone_from(&settings.prometheus.url);
        assert_eq!(back, settings);
    }
}
