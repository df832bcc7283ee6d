//! What does a patch make of an object? Merge patches, JSON patches, and as much of strategic ones as lists with keys.

use http::HeaderValue;
use serde_json::{Map, Value};

use super::status::Failure;

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Merge,
    Json,
    Strategic,
}

/// The kinds of patches that are understood, for one of Kubernetes' own kinds or a custom one.
pub(super) fn kind(content_type: Option<&HeaderValue>, custom: bool) -> Result<Kind, Failure> {
    let text = content_type.and_then(|v| v.to_str().ok()).unwrap_or("");
    let accepted = if custom {
        "application/json-patch+json, application/merge-patch+json"
    } else {
        "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json"
    };
    match text.split(';').next().unwrap_or("").trim() {
        "application/merge-patch+json" => Ok(Kind::Merge),
        "application/json-patch+json" => Ok(Kind::Json),
        "application/strategic-merge-patch+json" if !custom => Ok(Kind::Strategic),
        other if other.starts_with("application/") && other.ends_with("+json") => {
            Err(Failure::unsupported_media_type(accepted))
        }
        other if other.ends_with("+yaml") => Err(Failure::unsupported_media_type(accepted)),
        _ => Err(Failure::odd_media_type()),
    }
}

/// Applies a patch.
pub(super) fn apply(kind: Kind, object: &mut Value, body: &[u8]) -> Result<(), Failure> {
    if kind == Kind::Json {
        let patch: json_patch::Patch = serde_json::from_slice(body)
            .map_err(|e| Failure::bad_request(format!("error decoding patch: json: {e}")))?;
        return json_patch::patch(object, &patch).map_err(|_| Failure::unfit_patch());
    }
    let patch: Value =
        serde_json::from_slice(body).map_err(|_| Failure::bad_request("invalid JSON patch"))?;
    if !patch.is_object() {
        return Err(Failure::bad_request("invalid JSON patch"));
    }
    match kind {
        Kind::Strategic => merge(object, &patch, ""),
        _ => json_patch::merge(object, &patch),
    }
    Ok(())
}

/// By which field items of a list are told apart, by the list's name (`patchMergeKey` in `k8s.io/api`).
const KEYS: [(&str, &str); 14] = [
    ("addresses", "type"),
    ("conditions", "type"),
    ("containers", "name"),
    ("env", "name"),
    ("ephemeralContainers", "name"),
    ("hostAliases", "ip"),
    ("imagePullSecrets", "name"),
    ("initContainers", "name"),
    ("ownerReferences", "uid"),
    ("secrets", "name"),
    ("taints", "key"),
    ("volumeDevices", "devicePath"),
    ("volumeMounts", "mountPath"),
    ("volumes", "name"),
];

fn merge(into: &mut Value, patch: &Value, name: &str) {
    match patch {
        Value::Object(fields) if fields.get("$patch").is_some_and(|p| p == "replace") => {
            *into = without_directives(patch);
        }
        Value::Object(fields) => {
            if !into.is_object() {
                *into = Value::Object(Map::new());
            }
            let Some(map) = into.as_object_mut() else { return };
            for (key, value) in fields.iter().filter(|(key, _)| !key.starts_with('$')) {
                if value.is_null() {
                    map.remove(key);
                } else {
                    merge(map.entry(key.clone()).or_insert(Value::Null), value, key);
                }
            }
        }
        Value::Array(items) => merge_list(into, items, name),
        other => *into = other.clone(),
    }
}

fn merge_list(into: &mut Value, items: &[Value], name: &str) {
    let key = KEYS.iter().find(|(list, _)| *list == name).map(|(_, key)| *key);
    let Value::Array(old) = into else {
        *into = items.iter().map(without_directives).collect();
        return;
    };
    match key {
        Some(key) => *old = merge_by(key, old, items),
        None if name == "finalizers" => {
            let new: Vec<_> = items.iter().filter(|i| !old.contains(i)).cloned().collect();
            old.extend(new);
        }
        None => *old = items.iter().map(without_directives).collect(),
    }
}

/// Items with the same key are merged. What the patch names comes in the patch's order; what it leaves alone stays before
/// those that it stood before.
fn merge_by(key: &str, old: &[Value], items: &[Value]) -> Vec<Value> {
    let place = |item: &Value| old.iter().position(|o| o.get(key) == item.get(key));
    let named: Vec<_> = items.iter().map(place).collect();
    let mut left = (0..old.len()).filter(|at| !named.contains(&Some(*at))).peekable();
    let mut merged = Vec::new();
    for (item, at) in items.iter().zip(&named) {
        while let Some(other) = left.next_if(|other| at.is_some_and(|at| *other < at)) {
            merged.push(old[other].clone());
        }
        if item.get("$patch").is_some_and(|p| p == "delete") {
            continue;
        }
        let mut one = at.map_or(Value::Null, |at| old[at].clone());
        merge(&mut one, item, "");
        merged.push(one);
    }
    merged.extend(left.map(|other| old[other].clone()));
    merged
}

/// What is new is stored without its instructions.
fn without_directives(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(key, _)| !key.starts_with('$'));
            Value::Object(kept.map(|(k, v)| (k.clone(), without_directives(v))).collect())
        }
        Value::Array(items) => items.iter().map(without_directives).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patched(kind: Kind, object: &Value, patch: &Value) -> Result<Value, Failure> {
        let mut object = object.clone();
        apply(kind, &mut object, patch.to_string().as_bytes()).map(|()| object)
    }

    #[test]
    fn a_strategic_patch_merges_conditions_by_type() {
        let before = json!({"status": {"conditions": [{"type": "A", "status": "True", "x": 1},
            {"type": "B", "status": "True"}], "list": [1]}});
        let patch = json!({"status": {"conditions": [{"type": "A", "status": "False"},
            {"type": "C", "status": "True"}, {"type": "B", "$patch": "delete"}], "list": [2]}});
        let expected = json!({"status": {"conditions": [{"type": "A", "status": "False", "x": 1},
            {"type": "C", "status": "True"}], "list": [2]}});
        assert_eq!(patched(Kind::Strategic, &before, &patch), Ok(expected));
    }

    #[test]
    fn a_merge_patch_replaces_lists_and_removes_nulls() {
        let before = json!({"a": {"b": 1, "c": 2}, "l": [1, 2]});
        let patch = json!({"a": {"b": null}, "l": [3]});
        assert_eq!(patched(Kind::Merge, &before, &patch), Ok(json!({"a": {"c": 2}, "l": [3]})));
    }

    #[test]
    fn a_json_patch_whose_test_fails_changes_nothing() {
        let before = json!({"a": 1});
        let fine = json!([{"op": "test", "path": "/a", "value": 1}, {"op": "add", "path": "/b", "value": 2}]);
        assert_eq!(patched(Kind::Json, &before, &fine), Ok(json!({"a": 1, "b": 2})));
        let wrong = json!([{"op": "test", "path": "/a", "value": 2}]);
        assert_eq!(patched(Kind::Json, &before, &wrong).map_err(|f| f.code), Err(422));
        assert_eq!(patched(Kind::Json, &before, &json!({"a": 1})).map_err(|f| f.code), Err(400));
    }

    #[test]
    fn custom_resources_take_no_strategic_patches() {
        let header = HeaderValue::from_static("application/strategic-merge-patch+json");
        assert_eq!(kind(Some(&header), false), Ok(Kind::Strategic));
        assert_eq!(kind(Some(&header), true).map_err(|f| f.code), Err(415));
    }
}
