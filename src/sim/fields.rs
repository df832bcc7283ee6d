//! How are the fields of a JSON object read and written, without a type for each kind?

use serde_json::{Map, Value, json};

/// Paths such as `spec/nodeName`; a number selects an item of an array. What is absent reads as empty, zero, false.
pub(crate) trait Fields {
    /// The value at `path`.
    fn at(&self, path: &str) -> Option<&Value>;
    /// The text at `path`.
    fn text(&self, path: &str) -> &str;
    /// The number at `path`.
    fn int(&self, path: &str) -> i64;
    /// The truth at `path`.
    fn truth(&self, path: &str) -> bool;
    /// The items at `path`.
    fn items(&self, path: &str) -> &[Value];
    /// `metadata.labels[key]`.
    fn label(&self, key: &str) -> &str;
    /// `metadata.annotations[key]`.
    fn annotation(&self, key: &str) -> &str;
    /// Writes `value` at `path`, making the objects on the way.
    fn put(&mut self, path: &str, value: Value);
    /// Writes the number at `path`, or removes the field: the API leaves out most counts of zero.
    fn put_count(&mut self, path: &str, count: usize);
    /// Removes what is at `path`.
    fn drop_field(&mut self, path: &str);
    /// Writes `metadata.annotations[key]`.
    fn annotate(&mut self, key: &str, value: &str);
}

fn step<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Object(map) => map.get(name),
        Value::Array(items) => items.get(name.parse::<usize>().ok()?),
        _ => None,
    }
}

fn step_mut<'a>(value: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    if let Value::Array(items) = value {
        return items.get_mut(name.parse::<usize>().ok()?);
    }
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    Some(value.as_object_mut()?.entry(name).or_insert(Value::Null))
}

impl Fields for Value {
    fn at(&self, path: &str) -> Option<&Value> {
        path.split('/').try_fold(self, step)
    }

    fn text(&self, path: &str) -> &str {
        self.at(path).and_then(Value::as_str).unwrap_or("")
    }

    fn int(&self, path: &str) -> i64 {
        self.at(path).and_then(Value::as_i64).unwrap_or(0)
    }

    fn truth(&self, path: &str) -> bool {
        self.at(path).and_then(Value::as_bool).unwrap_or(false)
    }

    fn items(&self, path: &str) -> &[Value] {
        self.at(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn label(&self, key: &str) -> &str {
        self.at("metadata/labels").and_then(|m| m.get(key)).and_then(Value::as_str).unwrap_or("")
    }

    fn annotation(&self, key: &str) -> &str {
        let all = self.at("metadata/annotations");
        all.and_then(|m| m.get(key)).and_then(Value::as_str).unwrap_or("")
    }

    fn put(&mut self, path: &str, value: Value) {
        if let Some(place) = path.split('/').try_fold(self, step_mut) {
            *place = value;
        }
    }

    fn put_count(&mut self, path: &str, count: usize) {
        if count == 0 {
            self.drop_field(path);
        } else {
            self.put(path, json!(count));
        }
    }

    fn drop_field(&mut self, path: &str) {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut place = Some(self);
        for part in parent.split('/').filter(|p| !p.is_empty()) {
            place = place.and_then(|v| v.get_mut(part));
        }
        if let Some(Value::Object(map)) = place {
            map.remove(name);
        }
    }

    fn annotate(&mut self, key: &str, value: &str) {
        if let Some(metadata) = step_mut(self, "metadata")
            && let Some(all) = step_mut(metadata, "annotations")
            && let Some(place) = step_mut(all, key)
        {
            *place = json!(value);
        }
    }
}

/// The condition of this type in `status.conditions`.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object.items("status/conditions").iter().find(|c| c.text("type") == kind)
}

/// Whether the condition of this type is `True`.
pub(crate) fn holds(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|c| c.text("status") == "True")
}

/// A condition to be written; an empty reason or message is left out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Condition<'a> {
    pub(crate) kind: &'a str,
    pub(crate) status: &'a str,
    pub(crate) reason: &'a str,
    pub(crate) message: &'a str,
}

impl Condition<'_> {
    /// Whether the object has it, in these words.
    pub(crate) fn is_in(&self, object: &Value) -> bool {
        condition(object, self.kind).is_some_and(|held| self.is(held))
    }

    fn is(&self, held: &Value) -> bool {
        [("status", self.status), ("reason", self.reason), ("message", self.message)]
            .into_iter()
            .all(|(field, text)| held.text(field) == text)
    }
}

/// Writes the condition into `status.conditions`. `lastTransitionTime` moves with the status only; each of `touch`
/// (`lastUpdateTime`, `lastProbeTime`, …) moves with any change. Tells whether anything changed.
pub(crate) fn set_condition(
    object: &mut Value,
    wanted: Condition<'_>,
    stamp: &str,
    touch: &[&str],
) -> bool {
    let list = object.items("status/conditions");
    let place = list.iter().position(|c| c.text("type") == wanted.kind);
    let before = place.map(|place| &list[place]);
    if before.is_some_and(|old| wanted.is(old)) {
        return false;
    }
    let held = before.filter(|old| old.text("status") == wanted.status);
    let since = held.map_or(stamp, |old| old.text("lastTransitionTime"));
    let mut after =
        json!({"type": wanted.kind, "status": wanted.status, "lastTransitionTime": since});
    for (name, text) in [("reason", wanted.reason), ("message", wanted.message)] {
        if !text.is_empty() {
            after.put(name, json!(text));
        }
    }
    for name in touch {
        after.put(name, json!(stamp));
    }
    if let Some(place) = place {
        object.put(&format!("status/conditions/{place}"), after);
    } else {
        let mut all = object.items("status/conditions").to_vec();
        all.push(after);
        object.put("status/conditions", Value::Array(all));
    }
    true
}

/// A list of conditions as custom resources write them: each of `wanted` with `observedGeneration`, and with the time
/// at which its status last changed.
pub(crate) fn judged(
    held: &[Value],
    wanted: &[Condition<'_>],
    generation: i64,
    stamp: &str,
) -> Value {
    let all = wanted.iter().map(|new| {
        let old = held.iter().find(|c| c.text("type") == new.kind);
        let same = old.filter(|c| c.text("status") == new.status);
        json!({
            "type": new.kind,
            "status": new.status,
            "reason": new.reason,
            "message": new.message,
            "observedGeneration": generation,
            "lastTransitionTime": same.map_or(stamp, |c| c.text("lastTransitionTime")),
        })
    });
    Value::Array(all.collect())
}

/// `metadata.namespace`, `metadata.name`, `metadata.uid` of an object, and its owner's reference to itself.
pub(crate) fn owner_reference(owner: &Value) -> Value {
    json!({
        "apiVersion": owner.text("apiVersion"),
        "kind": owner.text("kind"),
        "name": owner.text("metadata/name"),
        "uid": owner.text("metadata/uid"),
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// The reference to the object's controller.
pub(crate) fn controller(object: &Value) -> Option<&Value> {
    object.items("metadata/ownerReferences").iter().find(|r| r.truth("controller"))
}

/// Whether the object is being deleted.
pub(crate) fn deleting(object: &Value) -> bool {
    object.at("metadata/deletionTimestamp").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_fields_read_as_nothing() {
        let object = json!({"spec": {"replicas": 3, "items": [{"name": "a"}]}});
        assert_eq!(object.int("spec/replicas"), 3);
        assert_eq!(object.text("spec/items/0/name"), "a");
        assert_eq!(object.text("spec/items/1/name"), "");
        assert_eq!(object.int("status/replicas"), 0);
        assert!(object.items("spec/absent").is_empty());
    }

    #[test]
    fn writing_makes_the_way_and_counts_of_zero_vanish() {
        let mut object = json!({"items": [{}]});
        object.put("status/a/b", json!(1));
        object.put("items/0/x", json!(2));
        object.annotate("example.com/key", "v");
        object.put_count("status/a/b", 0);
        object.drop_field("absent/field");
        assert_eq!(object.annotation("example.com/key"), "v");
        assert_eq!(object.at("status/a"), Some(&json!({})));
        assert_eq!(object.int("items/0/x"), 2);
    }

    #[test]
    fn a_condition_keeps_its_transition_time_while_its_status_stays() {
        let mut object = json!({});
        let ready = Condition { kind: "Ready", status: "True", reason: "A", message: "" };
        assert!(set_condition(&mut object, ready, "t1", &["lastUpdateTime"]));
        assert!(!set_condition(&mut object, ready, "t2", &["lastUpdateTime"]));
        assert!(set_condition(
            &mut object,
            Condition { reason: "B", ..ready },
            "t3",
            &["lastUpdateTime"]
        ));
        let written = condition(&object, "Ready").expect("written");
        assert_eq!(written.text("lastTransitionTime"), "t1");
        assert_eq!(written.text("lastUpdateTime"), "t3");
        assert!(holds(&object, "Ready"));
    }
}
