//! In which form does a group serve an object? Only events have two: the core group's, as stored, and the newer one.

use serde_json::{Map, Value, json};

use crate::sim::kind::{EVENTS, Kind, Served};

/// What events.k8s.io calls the core group's fields (`k8s.io/kubernetes/pkg/apis/events/v1` conversion).
const RENAMED: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// Writes the object into `out` as this resource shows it.
pub(super) fn write(out: &mut Vec<u8>, served: &Served, object: &Value) {
    let done = if served.kind == Kind::Event && served.group == EVENTS {
        serde_json::to_writer(&mut *out, &renamed(object))
    } else {
        serde_json::to_writer(&mut *out, object)
    };
    debug_assert!(done.is_ok(), "a JSON value is written to memory");
}

/// The object as this resource shows it.
pub(super) fn show(served: &Served, object: &Value) -> Value {
    if served.kind == Kind::Event && served.group == EVENTS {
        renamed(object)
    } else {
        object.clone()
    }
}

fn renamed(event: &Value) -> Value {
    let Value::Object(fields) = event else { return event.clone() };
    let mut shown = Map::new();
    for (name, value) in fields {
        let new = RENAMED.iter().find(|(old, _)| old == name).map_or(name.as_str(), |(_, new)| new);
        shown.insert(new.to_owned(), value.clone());
    }
    shown.insert("apiVersion".to_owned(), json!("events.k8s.io/v1"));
    Value::Object(shown)
}
