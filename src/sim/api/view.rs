//! How is an object written, for this resource and in the form that was asked for?

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::accept::Form;
use super::resource;
use super::table::Columns;
use crate::sim::fields::Fields;
use crate::sim::kind::{EVENTS, Served};
use crate::sim::moment::Moment;

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

/// Writes a resource's objects in one form.
#[derive(Debug)]
pub(super) struct View {
    served: &'static Served,
    form: Form,
    /// `includeObject` of tables: `Metadata`, `Object` or `None`.
    include: String,
    columns: Columns,
    /// The columns' definitions are told once a stream.
    told: bool,
}

impl View {
    pub(super) fn new(
        served: &'static Served,
        form: Form,
        include: &str,
        columns: Columns,
    ) -> Self {
        Self { served, form, include: include.to_owned(), columns, told: false }
    }

    /// One object.
    pub(super) fn one(&mut self, object: &Value, now: Moment) -> Value {
        let object = as_served(self.served, object);
        match self.form {
            Form::Metadata | Form::MetadataList => metadata_of(&object),
            Form::Table => {
                let metadata = json!({"resourceVersion": object.text("metadata/resourceVersion")});
                let row = self.row(&object, now);
                self.table(&metadata, &[row])
            }
            Form::Whole | Form::Discovery => object.into_owned(),
        }
    }

    /// Writes one object into a stream.
    pub(super) fn write(&mut self, out: &mut Vec<u8>, object: &Value, now: Moment) {
        let done = match self.form {
            Form::Whole => serde_json::to_writer(&mut *out, &*as_served(self.served, object)),
            _ => serde_json::to_writer(&mut *out, &self.one(object, now)),
        };
        debug_assert!(done.is_ok(), "a JSON value is written to memory");
    }

    /// Writes one object into a list; a custom resource says in each what it is.
    pub(super) fn item(&self, out: &mut Vec<u8>, object: &Value) {
        let object = as_served(self.served, object);
        let done = match (self.form, &*object) {
            (Form::MetadataList, object) => serde_json::to_writer(&mut *out, &metadata_of(object)),
            (_, Value::Object(fields)) if !resource::custom(self.served) => {
                let inner = |name: &str| name != "kind" && name != "apiVersion";
                let fields = fields.iter().filter(|(name, _)| inner(name));
                serde::Serializer::collect_map(&mut serde_json::Serializer::new(&mut *out), fields)
            }
            (_, object) => serde_json::to_writer(&mut *out, object),
        };
        debug_assert!(done.is_ok(), "a JSON value is written to memory");
    }

    /// `kind` and `apiVersion` of a list.
    pub(super) fn list_of(&self) -> (String, String) {
        match self.form {
            Form::MetadataList | Form::Metadata => {
                ("PartialObjectMetadataList".into(), "meta.k8s.io/v1".into())
            }
            _ => (format!("{}List", self.served.name), self.served.api_version()),
        }
    }

    pub(super) const fn is_table(&self) -> bool {
        matches!(self.form, Form::Table)
    }

    /// A table of many objects.
    pub(super) fn rows<'a>(
        &mut self,
        metadata: &Value,
        objects: impl Iterator<Item = &'a Value>,
        now: Moment,
    ) -> Value {
        let rows: Vec<_> = objects.map(|o| self.row(&as_served(self.served, o), now)).collect();
        self.table(metadata, &rows)
    }

    /// A bookmark: nothing but a version, in the stream's form.
    pub(super) fn bookmark(&mut self, metadata: &Value) -> Value {
        match self.form {
            Form::Metadata | Form::MetadataList => json!({"kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1", "metadata": metadata}),
            Form::Table => {
                let version = json!({"resourceVersion": metadata.text("resourceVersion")});
                let object = json!({"kind": self.served.name,
                    "apiVersion": self.served.api_version(), "metadata": metadata});
                let row = json!({"cells": [""], "object": metadata_of(&object)});
                self.table(&version, &[row])
            }
            Form::Whole | Form::Discovery => json!({"kind": self.served.name,
                "apiVersion": self.served.api_version(), "metadata": metadata}),
        }
    }

    fn row(&self, object: &Value, now: Moment) -> Value {
        let cells = self.columns.cells(object, now);
        match self.include.as_str() {
            "None" => json!({"cells": cells, "object": null}),
            "Object" => json!({"cells": cells, "object": object}),
            _ => json!({"cells": cells, "object": metadata_of(object)}),
        }
    }

    fn table(&mut self, metadata: &Value, rows: &[Value]) -> Value {
        let told = std::mem::replace(&mut self.told, true);
        let definitions = if told { Value::Null } else { self.columns.definitions() };
        json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
            "columnDefinitions": definitions, "rows": rows})
    }
}

/// `PartialObjectMetadata` of an object.
fn metadata_of(object: &Value) -> Value {
    let metadata = object.at("metadata").cloned().unwrap_or_default();
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}

/// The object in the resource's group and version. Events of the newer group have other names for their fields.
pub(super) fn as_served<'a>(served: &Served, object: &'a Value) -> Cow<'a, Value> {
    if served.name == "Event" && served.group == EVENTS {
        return Cow::Owned(renamed(object));
    }
    let version = object.text("apiVersion");
    let same = version.rsplit_once('/').map_or(version, |(_, version)| version) == served.version;
    if same {
        return Cow::Borrowed(object);
    }
    let mut other = object.clone();
    other.put("apiVersion", json!(served.api_version()));
    Cow::Owned(other)
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

/// The object as it is stored, where the newer group's words came in.
pub(super) fn as_stored(served: &Served, object: Value) -> Value {
    if served.name != "Event" || served.group != EVENTS {
        return object;
    }
    let Value::Object(fields) = object else { return object };
    let old = |name: String| {
        let found = RENAMED.iter().find(|(_, new)| *new == name);
        found.map_or(name, |(old, _)| (*old).to_owned())
    };
    Value::Object(fields.into_iter().map(|(name, value)| (old(name), value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_goes_both_ways() {
        let newer = resource::find(EVENTS, "v1", "events").expect("served");
        let stored = json!({"apiVersion": "v1", "kind": "Event", "message": "m", "count": 2,
            "involvedObject": {"kind": "Pod"}});
        let shown = as_served(newer, &stored).into_owned();
        assert_eq!(shown.text("note"), "m");
        assert_eq!(shown.text("regarding/kind"), "Pod");
        assert_eq!(shown.text("apiVersion"), "events.k8s.io/v1");
        let mut back = as_stored(newer, shown);
        back.put("apiVersion", json!("v1"));
        assert_eq!(back, stored);
    }
}
