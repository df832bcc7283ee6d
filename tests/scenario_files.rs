//! Does the schema of scenario files say what the reader takes? Every shipped file, the page's example and broken files
//! go through both.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use kubestrata::config::Settings;
use kubestrata::evaluate::{Plan, mark, signal_names};
use kubestrata::sim::Scenario;
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn schema() -> Value {
    serde_json::from_str(&fs::read_to_string(root().join("docs/scenario.schema.json")).unwrap())
        .unwrap()
}

/// The annotated example of the page.
fn example() -> String {
    let page = fs::read_to_string(root().join("docs/scenarios.md")).unwrap();
    let (_, rest) = page.split_once("```yaml\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

fn files() -> BTreeMap<PathBuf, String> {
    let folder = fs::read_dir(root().join("tests/scenarios")).unwrap();
    let paths = folder.map(|entry| entry.unwrap().path());
    let mut files: BTreeMap<_, _> =
        paths.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect();
    files.insert("docs/scenarios.md".into(), example());
    files
}

fn read(path: &Path, text: &str) -> Result<Scenario, String> {
    Scenario::read(text, path, &signal_names()).map_err(|error| error.to_string())
}

fn by_schema(text: &str) -> Result<(), String> {
    let value: Value = serde_saphyr::from_str(text).unwrap();
    let schema = schema();
    Checker { root: &schema }.check(&schema, &value, "")
}

#[test]
fn every_file_is_as_the_schema_and_the_reader_want_it() {
    let files = files();
    assert!(files.len() > 5);
    for (path, text) in files {
        by_schema(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        read(&path, &text).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn what_the_schema_refuses_the_reader_refuses_too() {
    let head = "name: a\nsummary: b\n";
    let broken = [
        "timelin: []",
        "set: both",
        "life: 5",
        "every: soon",
        "every: 5",
        "cluster: {nodes: 1, pods: 80}",
        "cluster: {nodes: 5}",
        "timeline: 5",
        "timeline: [{fault: oom}]",
        "timeline: [{at: 1m}]",
        "timeline: [{at: 1m, fault: oom, delete: {apiVersion: v1, kind: Namespace, name: a}}]",
        "timeline: [{at: 1m, delete: {apiVersion: v1, kind: Namespace}}]",
        "timeline: [{at: 1m, patch: {apiVersion: v1, kind: Namespace, name: a}}]",
        "timeline: [{at: 1m, apply: {kind: Namespace}}]",
        "timeline: [{at: 1m, fault: oom, with: [1]}]",
        "expect: [{signal: compute_crashloop}]",
        "expect: [{by: 5m}]",
        "quiet: [5]",
    ];
    for text in broken {
        let text = format!("{head}{text}\n");
        assert!(by_schema(&text).is_err(), "the schema takes\n{text}");
        assert!(read(Path::new("s.yaml"), &text).is_err(), "the reader takes\n{text}");
    }
    for text in ["summary: b\n", "name: a\n", "[]\n"] {
        assert!(by_schema(text).is_err() && read(Path::new("s.yaml"), text).is_err(), "{text}");
    }
}

#[test]
fn the_example_of_the_page_is_found() {
    let scenario = read(Path::new("docs/scenarios.md"), &example()).unwrap();
    let played = mark(&Plan::new(scenario, 1, None), &Settings::default()).unwrap();
    let marks = &played.marks[0];
    assert!(marks.expected.iter().all(|(_, met)| *met), "{:?}", marks.expected);
    assert_eq!(marks.faults.len(), 1);
    assert!(marks.faults[0].told_after.is_some());
    assert!(marks.broken_quiet.is_empty(), "{:?}", marks.broken_quiet);
}

/// The words of JSON Schema that the schema uses; one that is not known here is an error, so that none is overlooked.
struct Checker<'a> {
    root: &'a Value,
}

impl Checker<'_> {
    fn check(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        for (word, argument) in schema.as_object().unwrap() {
            let holds = match word.as_str() {
                "$schema" | "$defs" | "title" | "description" => true,
                "$ref" => {
                    let pointer = argument.as_str().unwrap().trim_start_matches('#');
                    self.check(self.root.pointer(pointer).unwrap(), value, at)?;
                    true
                }
                "type" => names(argument).iter().any(|name| is_a(value, name)),
                "enum" => argument.as_array().unwrap().contains(value),
                "required" => value
                    .as_object()
                    .is_none_or(|map| names(argument).iter().all(|name| map.contains_key(*name))),
                "minimum" => value.as_i64().is_none_or(|n| n >= argument.as_i64().unwrap()),
                "maximum" => value.as_i64().is_none_or(|n| n <= argument.as_i64().unwrap()),
                "minLength" => {
                    let least = argument.as_u64().unwrap();
                    value.as_str().is_none_or(|text| text.chars().count() as u64 >= least)
                }
                "pattern" => {
                    let pattern = regex::Regex::new(argument.as_str().unwrap()).unwrap();
                    value.as_str().is_none_or(|text| pattern.is_match(text))
                }
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(argument, item, &format!("{at}[{index}]"))?;
                    }
                    true
                }
                "oneOf" => {
                    let fits = |s: &&Value| self.check(s, value, at).is_ok();
                    argument.as_array().unwrap().iter().filter(fits).count() == 1
                }
                "properties" | "additionalProperties" => {
                    self.fields(schema, value, at)?;
                    true
                }
                unknown => panic!("the schema uses {unknown}"),
            };
            if !holds {
                return Err(format!("{at}: {word} {argument} does not hold of {value}"));
            }
        }
        Ok(())
    }

    fn fields(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        for (name, field) in value.as_object().into_iter().flatten() {
            let at = format!("{at}.{name}");
            match (schema.pointer(&format!("/properties/{name}")), &schema["additionalProperties"])
            {
                (Some(of), _) => self.check(of, field, &at)?,
                (None, Value::Bool(false)) => return Err(format!("{at}: no such field")),
                (None, of @ Value::Object(_)) => self.check(of, field, &at)?,
                (None, _) => {}
            }
        }
        Ok(())
    }
}

fn names(argument: &Value) -> Vec<&str> {
    match argument {
        Value::Array(names) => names.iter().map(|name| name.as_str().unwrap()).collect(),
        one => vec![one.as_str().unwrap()],
    }
}

fn is_a(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        _ => panic!("the schema uses type {name}"),
    }
}
