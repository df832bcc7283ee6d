//! Which schemas does kubeconform hold the chart against? Those that the API server itself publishes, made strict.

use std::fs;
use std::path::Path;

use kube::Client;
use serde_json::{Value, json};

use crate::bed::objects;

/// Writes `<kind>-<group>-<version>.json` for each kind that the API server serves, as kubeconform looks for them.
pub async fn write(client: &Client, folder: &Path) {
    let index = objects::get(client, "/openapi/v3").await.unwrap();
    let mut written = 0;
    for path in index["paths"].as_object().unwrap().keys() {
        // One document a group and version.
        let of_group = path.starts_with("apis/") && path.matches('/').count() == 2;
        if !path.starts_with("api/v") && !of_group {
            continue;
        }
        let mut spec = objects::get(client, &format!("/openapi/v3/{path}")).await.unwrap();
        let mut schemas = spec["components"]["schemas"].take();
        schemas.as_object_mut().unwrap().values_mut().for_each(close);
        for (name, schema) in schemas.as_object().unwrap() {
            let kinds = schema["x-kubernetes-group-version-kind"].as_array();
            // An options kind belongs to many groups, and nobody applies one.
            let Some([kind]) = kinds.map(Vec::as_slice) else { continue };
            let text = |field: &str| kind[field].as_str().unwrap_or_default().to_lowercase();
            let (kind, group, version) = (text("kind"), text("group"), text("version"));
            let group = group.split('.').next().unwrap_or_default();
            let group = if group.is_empty() { String::new() } else { format!("-{group}") };
            let reference = format!("#/components/schemas/{name}");
            let whole = json!({"$ref": reference, "components": {"schemas": schemas}});
            fs::write(folder.join(format!("{kind}{group}-{version}.json")), whole.to_string())
                .unwrap();
            written += 1;
        }
    }
    assert!(written > 50, "{written} kinds");
}

/// Refuses fields that a schema does not name, wherever it names some.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let open = fields.contains_key("additionalProperties")
                || fields.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true));
            if fields.get("properties").is_some_and(Value::is_object) && !open {
                fields.insert("additionalProperties".to_owned(), json!(false));
            }
            fields.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}
