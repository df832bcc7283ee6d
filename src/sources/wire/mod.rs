//! What does the API send? Slim wire types that name only the fields which signals read; the rest is never built.

mod batch;
mod event;
mod meta;
mod node;
mod pod;
mod resource;
mod slice;
mod storage;
mod template;
mod workload;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use crate::model::kind::Kind;
use crate::model::record::{Namespace, Object, Time, is_credible};
use crate::model::text::{Interner, Text};

pub(super) use meta::WireMeta;

/// The longest text that is kept of a message, in bytes.
const TEXT_LIMIT: usize = 1024;

/// An object as the API sends it, which becomes a record.
pub(super) trait Wire: DeserializeOwned + Send + 'static {
    /// The record, with its strings shared.
    fn record(self, kind: Kind, texts: &mut Interner) -> Object;
}

/// Reads an object of this kind; the error names the field and what was expected, and nothing of the content.
pub(super) fn decode(kind: Kind, json: &str, texts: &mut Interner) -> Result<Object, String> {
    match kind {
        Kind::Namespace => read::<WireNamespace>(kind, json, texts),
        Kind::Node => read::<node::WireNode>(kind, json, texts),
        Kind::Deployment | Kind::ReplicaSet | Kind::StatefulSet | Kind::DaemonSet => {
            read::<workload::WireWorkload>(kind, json, texts)
        }
        Kind::Job => read::<batch::WireJob>(kind, json, texts),
        Kind::CronJob => read::<batch::WireCronJob>(kind, json, texts),
        Kind::Pod => read::<pod::WirePod>(kind, json, texts),
        Kind::PersistentVolumeClaim => read::<storage::WireClaim>(kind, json, texts),
        Kind::PersistentVolume => read::<storage::WireVolume>(kind, json, texts),
        Kind::StorageClass => read::<storage::WireClass>(kind, json, texts),
        Kind::VolumeAttachment => read::<storage::WireAttachment>(kind, json, texts),
        Kind::CsiDriver => read::<storage::WireDriver>(kind, json, texts),
        Kind::CsiNode => read::<storage::WireCsiNode>(kind, json, texts),
        Kind::Event => read::<event::WireEvent>(kind, json, texts),
        Kind::EndpointSlice => read::<slice::WireSlice>(kind, json, texts),
        _ => resource::read(kind, json, texts),
    }
}

/// Reads the metadata of a row of a table, with its cells under `table.<column>`.
pub(super) fn decode_row<'a>(
    kind: Kind,
    metadata: &str,
    cells: impl Iterator<Item = (&'a str, &'a serde_json::Value)>,
    texts: &mut Interner,
) -> Result<Object, String> {
    resource::read_row(kind, metadata, cells, texts)
}

fn read<W: Wire>(kind: Kind, json: &str, texts: &mut Interner) -> Result<Object, String> {
    // To know the path costs an allocation a field, so only what can't be read is read again for it.
    if let Ok(wire) = serde_json::from_str::<W>(json) {
        return Ok(wire.record(kind, texts));
    }
    let mut reader = serde_json::Deserializer::from_str(json);
    match serde_path_to_error::deserialize::<_, W>(&mut reader) {
        Ok(wire) => Ok(wire.record(kind, texts)),
        Err(error) => Err(complaint(&error.path().to_string(), error.inner())),
    }
}

/// `field: expected …`. serde quotes the value that it found; that part is content and is cut out.
fn complaint(path: &str, error: &serde_json::Error) -> String {
    let words = error.to_string();
    let expected = words.split_once(", expected ").map_or("another type", |(_, rest)| rest);
    let expected = expected.split(" at line ").next().unwrap_or(expected);
    format!("{path}: expected {expected}")
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireNamespace {
    metadata: WireMeta,
    status: Phase,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Phase {
    phase: Option<String>,
}

impl Wire for WireNamespace {
    fn record(self, _: Kind, texts: &mut Interner) -> Object {
        let terminating = self.status.phase.as_deref() == Some("Terminating");
        Object::Namespace(Namespace { meta: self.metadata.record_labelled(texts), terminating })
    }
}

/// A time that may be absent. One that no clock can have told is as good as absent, and nothing overflows by it.
fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Time>, D::Error> {
    Ok(Option::<Time>::deserialize(deserializer)?.filter(is_credible))
}

/// A text that may be absent, shared.
fn text(texts: &mut Interner, value: Option<&str>) -> Text {
    value.map_or_else(Text::default, |v| texts.text(v))
}

/// A message, cut at a character's boundary.
fn message(texts: &mut Interner, value: Option<&str>) -> Text {
    let value = value.unwrap_or_default();
    let end = value.floor_char_boundary(TEXT_LIMIT);
    texts.text(&value[..end])
}
