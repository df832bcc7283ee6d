//! When are two answers the same? When they are after identities, versions, times and words of the day are masked.

use std::fmt;

use serde_json::{Map, Value};

use super::calls::Call;

/// One place in which two answers differ.
pub struct Difference {
    pub call: &'static str,
    /// A JSON pointer with `*` for the items of arrays.
    pub path: String,
    real: String,
    simulated: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { call, path, real, simulated } = self;
        write!(f, "{call} {path}:\n  real      {real}\n  simulated {simulated}")
    }
}

/// Finds the differences between two answers to a call.
pub fn compare(call: &Call, real: &Value, simulated: &Value, found: &mut Vec<Difference>) {
    let masked = |answer: &Value| {
        let answer = if call.keep.is_empty() { answer.clone() } else { kept(answer, call.keep) };
        mask("", &answer)
    };
    walk(call.name, "", &masked(real), &masked(simulated), found);
}

/// An answer in which lists of named things hold those of these names only.
fn kept(answer: &Value, names: &[&str]) -> Value {
    let named = |item: &Value| {
        let name = ["/name", "/resource", "/metadata/name"].iter().find_map(|p| item.pointer(p));
        name.and_then(Value::as_str).is_none_or(|name| names.contains(&name))
    };
    match answer {
        Value::Array(items) => {
            let mut out: Vec<_> =
                items.iter().filter(|i| named(i)).map(|i| kept(i, names)).collect();
            out.dedup();
            Value::Array(out)
        }
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(k, v)| (k.clone(), kept(v, names))).collect())
        }
        other => other.clone(),
    }
}

const MASKED: [&str; 6] =
    ["uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "continue", "eventTime"];

fn mask(name: &str, value: &Value) -> Value {
    match value {
        // A custom resource's list has the empty token where others have none.
        Value::String(text) if name == "continue" && text.is_empty() => Value::Null,
        Value::String(_) if MASKED.contains(&name) => Value::from("…"),
        Value::String(text) if matches!(name, "message" | "name" | "cell" | "body") => {
            Value::from(words(name, text))
        }
        Value::Array(items) => {
            let inner = if name == "cells" { "cell" } else { name };
            let mut items: Vec<_> = items.iter().map(|i| mask(inner, i)).collect();
            // How many bookmarks come in a row depends on the day.
            items.dedup_by(|a, b| a["type"] == "BOOKMARK" && a == b);
            Value::Array(items)
        }
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(name, _)| *name != "managedFields");
            let masked = fields.map(|(name, value)| (name.clone(), mask(name, value)));
            Value::Object(masked.filter(|(_, v)| !v.is_null()).collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}

/// Numbers and uids in a message, the suffix of a generated name, a cell's age.
fn words(name: &str, text: &str) -> String {
    match name {
        "name" if text.starts_with("made-") => "made-…".to_owned(),
        "cell"
            if text.starts_with(|c: char| c.is_ascii_digit())
                && text.ends_with(['s', 'm', 'h', 'd']) =>
        {
            "age".to_owned()
        }
        "message" => {
            let word = |word: &str| {
                let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
                let uid = bare.len() == 36 && bare.matches('-').count() == 4;
                if uid { word.replace(bare, "…") } else { word.to_owned() }
            };
            let all: Vec<_> = text.split(' ').map(word).collect();
            numbers(&all.join(" "))
        }
        _ => text.to_owned(),
    }
}

fn numbers(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            c if !c.is_ascii_digit() => out.push(c),
            _ if out.ends_with('#') => {}
            _ => out.push('#'),
        }
    }
    out
}

fn walk(call: &'static str, path: &str, a: &Value, b: &Value, found: &mut Vec<Difference>) {
    let mut differ = |path: String, a: &Value, b: &Value| {
        let short = |v: &Value| v.to_string().chars().take(400).collect();
        found.push(Difference { call, path, real: short(a), simulated: short(b) });
    };
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            let names: std::collections::BTreeSet<_> = x.keys().chain(y.keys()).collect();
            for name in names {
                let get = |m: &Map<String, Value>| m.get(name).cloned().unwrap_or_default();
                walk(call, &format!("{path}/{name}"), &get(x), &get(y), found);
            }
        }
        (Value::Array(x), Value::Array(y)) => {
            if x.len() != y.len() {
                differ(format!("{path}/#"), a, b);
            }
            for (x, y) in x.iter().zip(y) {
                walk(call, &format!("{path}/*"), x, y, found);
            }
        }
        (x, y) if x != y => differ(path.to_owned(), x, y),
        _ => {}
    }
}
