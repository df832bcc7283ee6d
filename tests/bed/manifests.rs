//! Which objects show what a layer tells? The manifests of its golden file.

use std::path::{Path, PathBuf};

use kubestrata::model::Time;
use kubestrata::model::layer::Layer;
use serde_json::Value;

/// The moment at which the manifests are looked at; what is wrong in them has been so for a day.
pub const NOW: &str = "2026-01-02T00:00:00Z";

/// Where the golden files are.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// The manifests of a layer.
pub fn of(layer: Layer) -> Vec<Value> {
    let path = folder().join(format!("{layer}.yaml"));
    let text = std::fs::read_to_string(&path);
    let text = text.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let documents: Result<Vec<Value>, _> = serde_saphyr::from_multiple(&text);
    let documents = documents.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    documents.into_iter().filter(|d| !d.is_null()).collect()
}

/// Moves every time in a manifest, so that it is as old at another moment as it was at [`NOW`].
pub fn shift(value: &mut Value, by: jiff::SignedDuration) {
    match value {
        Value::String(text) => {
            let looks_like_one = text.len() >= 20 && text.ends_with('Z') && text.contains('T');
            if let Some(time) = looks_like_one.then(|| text.parse::<Time>().ok()).flatten() {
                let micros = if text.contains('.') { 6 } else { 0 };
                *text = format!("{:.*}", micros, time + by);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| shift(item, by)),
        Value::Object(fields) => {
            for (key, value) in fields.iter_mut() {
                match (key.as_str(), &value) {
                    // Helm writes seconds since the epoch into labels.
                    ("createdAt" | "modifiedAt", Value::String(seconds)) => {
                        let seconds: i64 = seconds.parse().unwrap_or_default();
                        *value = Value::String((seconds + by.as_secs()).to_string());
                    }
                    _ => shift(value, by),
                }
            }
        }
        _ => {}
    }
}
