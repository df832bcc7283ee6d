//! How is an object read whose kind has no record of its own? Only the fields that the kind lists are built; what has
//! another type than signals expect is kept as it is, and says nothing to them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::meta::WireMeta;
use super::{TEXT_LIMIT, complaint};
use crate::model::fields::fields;
use crate::model::kind::Kind;
use crate::model::record::{Condition, Object, Resource, Status};
use crate::model::text::{Interner, Text};
use crate::model::value::Value;

/// Items of a list that are kept: status lists of custom resources are as long as their authors let them be.
const ITEMS: usize = 5_000;

/// Levels below a listed field that are kept.
const DEPTH: u8 = 12;

/// What is kept below a field.
#[derive(Debug, Default)]
enum Mask {
    /// Everything.
    #[default]
    All,
    /// The fields of these names; `*` stands for any.
    Some(BTreeMap<&'static str, Mask>),
}

impl Mask {
    fn of(kind: Kind) -> Self {
        let mut root = Mask::Some(BTreeMap::new());
        for path in fields(kind) {
            root.add(path);
        }
        for path in CONDITIONS {
            root.add(path);
        }
        root
    }

    fn add(&mut self, path: &'static str) {
        let Mask::Some(below) = self else { return };
        match path.split_once('.') {
            None => {
                below.insert(path, Mask::All);
            }
            Some((first, rest)) => {
                let empty = || Mask::Some(BTreeMap::new());
                below.entry(first).or_insert_with(empty).add(rest);
            }
        }
    }

    fn below(&self, key: &str) -> Option<&Mask> {
        match self {
            Mask::All => Some(self),
            Mask::Some(below) => below.get(key).or_else(|| below.get("*")),
        }
    }
}

const CONDITIONS: [&str; 6] = [
    "status.conditions.type",
    "status.conditions.status",
    "status.conditions.reason",
    "status.conditions.message",
    "status.conditions.lastTransitionTime",
    "status.conditions.observedGeneration",
];

static MASKS: LazyLock<BTreeMap<Kind, Mask>> =
    LazyLock::new(|| Kind::ALL.iter().map(|kind| (*kind, Mask::of(*kind))).collect());

/// Reads an object of this kind; the error names the field and what was expected, and nothing of the content.
pub(super) fn read(kind: Kind, json: &str, texts: &mut Interner) -> Result<Object, String> {
    let mask = &MASKS[&kind];
    let plain = serde_json::Deserializer::from_str(json).deserialize_map(Whole { mask, texts });
    // As in `read` of the other wire types.
    let (metadata, mut body) = plain.or_else(|_| read_tracked(mask, json, texts))?;
    let conditions = take_conditions(&mut body);
    let meta = metadata.record_whole(texts);
    Ok(Object::Resource(Box::new(Resource { kind, meta, conditions, body, renewed: None })))
}

fn read_tracked(
    mask: &Mask,
    json: &str,
    texts: &mut Interner,
) -> Result<(WireMeta, Value), String> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let mut track = serde_path_to_error::Track::new();
    let reader = serde_path_to_error::Deserializer::new(&mut reader, &mut track);
    let read = reader.deserialize_map(Whole { mask, texts });
    read.map_err(|error| complaint(&track.path().to_string(), &error))
}

/// Reads the metadata of a row of a table, with its cells under `table.<column>`.
pub(super) fn read_row<'a>(
    kind: Kind,
    metadata: &str,
    cells: impl Iterator<Item = (&'a str, &'a serde_json::Value)>,
    texts: &mut Interner,
) -> Result<Object, String> {
    let Object::Resource(mut row) = read(kind, metadata, texts)? else {
        return Err("expected an object".to_owned());
    };
    let cells = cells.map(|(name, cell)| (texts.text(name), Value::from(cell))).collect();
    row.body = Value::Map([(texts.text("table"), Value::Map(cells))].into());
    Ok(Object::Resource(row))
}

/// The conditions as records; they leave the body.
fn take_conditions(body: &mut Value) -> Box<[Condition]> {
    let conditions = body.items("status.conditions").iter().map(condition).collect();
    let Value::Map(entries) = body else { return conditions };
    for (_, value) in entries.iter_mut().filter(|(key, _)| key == "status") {
        if let Value::Map(status) = value {
            *status =
                std::mem::take(status).into_iter().filter(|(k, _)| k != "conditions").collect();
        }
    }
    conditions
}

/// A condition as a record. One without a status, as Argo CD writes them, is unknown.
pub(super) fn condition(value: &Value) -> Condition {
    Condition {
        kind: value.text("type").clone(),
        status: match value.text("status").as_str() {
            "True" => Status::True,
            "False" => Status::False,
            _ => Status::Unknown,
        },
        reason: value.text("reason").clone(),
        message: value.text("message").clone(),
        since: value.time("lastTransitionTime"),
        generation: value.number("observedGeneration").map_or(0, |n| n as i64),
    }
}

/// The object: its metadata, and its body under the mask.
struct Whole<'a> {
    mask: &'a Mask,
    texts: &'a mut Interner,
}

impl<'de> Visitor<'de> for Whole<'_> {
    type Value = (WireMeta, Value);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut meta, mut body) = (WireMeta::default(), Vec::new());
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match self.mask.below(&key) {
                _ if key == "metadata" => meta = map.next_value()?,
                Some(mask) => {
                    let key = self.texts.text(&key);
                    body.push((
                        key,
                        map.next_value_seed(Field { mask, depth: 0, texts: self.texts })?,
                    ));
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok((meta, Value::Map(body.into())))
    }
}

/// One field under its mask.
struct Field<'a> {
    mask: &'a Mask,
    depth: u8,
    texts: &'a mut Interner,
}

impl<'de> DeserializeSeed<'de> for Field<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Field<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(if value.is_finite() { Value::Number(value) } else { Value::Null })
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        let end = value.floor_char_boundary(TEXT_LIMIT);
        Ok(Value::Text(self.texts.text(&value[..end])))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while items.len() < ITEMS && self.depth < DEPTH {
            let item = Field { mask: self.mask, depth: self.depth + 1, texts: self.texts };
            match seq.next_element_seed(item)? {
                Some(item) => items.push(item),
                None => return Ok(Value::List(items.into())),
            }
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::List(items.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries: Vec<(Text, Value)> = Vec::new();
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            let mask =
                self.mask.below(&key).filter(|_| entries.len() < ITEMS && self.depth < DEPTH);
            match mask {
                Some(mask) => {
                    let key = self.texts.text(&key);
                    let field = Field { mask, depth: self.depth + 1, texts: self.texts };
                    entries.push((key, map.next_value_seed(field)?));
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Value::Map(entries.into()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn resource(kind: Kind, json: &serde_json::Value) -> Resource {
        match read(kind, &json.to_string(), &mut Interner::default()) {
            Ok(Object::Resource(resource)) => *resource,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_condition_about_an_older_spec_is_no_evidence() {
        let kept = |kind, observed: serde_json::Value| {
            let condition =
                json!({"type": "Programmed", "status": "False", "observedGeneration": observed});
            let manifest = json!({
                "metadata": {"name": "edge", "generation": 3}, "status": {"conditions": [condition]},
            });
            resource(kind, &manifest).condition("Programmed").is_some()
        };
        assert!(kept(Kind::Gateway, json!(3)) && kept(Kind::Gateway, json!(null)));
        assert!(!kept(Kind::Gateway, json!(2)));
        assert!(kept(Kind::ApiService, json!(2)), "its controller writes changes only");
    }

    #[test]
    fn only_listed_fields_are_kept_and_conditions_are_records() {
        let service = resource(
            Kind::Service,
            &json!({
                "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
                "spec": {"type": "ClusterIP", "selector": {"app": "web"}, "sessionAffinity": "None",
                    "ports": [{"name": "http", "port": 80}]},
                "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4", "ipMode": "VIP"}]},
                    "conditions": [{"type": "Ready", "status": "False", "reason": "No",
                        "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 4,
                        "extra": 1}]},
            }),
        );
        assert_eq!(service.meta.labels.value("app"), "web");
        assert_eq!(service.body.text("spec.type").as_str(), "ClusterIP");
        assert!(!service.body.has("spec.sessionAffinity"));
        assert_eq!(service.body.items("spec.ports")[0].count("port"), 80);
        let address = &service.body.items("status.loadBalancer.ingress")[0];
        assert!(address.has("ip") && !address.has("ipMode"));
        assert!(!service.body.has("status.conditions"));
        let ready = service.condition("Ready").unwrap();
        assert_eq!((ready.status, &*ready.reason), (Status::False, "No"));
        assert!(ready.since.is_some() && ready.generation == 4);
    }

    #[test]
    fn a_manager_that_owns_a_switch_is_marked() {
        let by = |name: &str, fields: serde_json::Value| json!({"manager": name, "time": "2026-01-01T00:00:00Z", "fieldsV1": fields});
        let paused = resource(
            Kind::Kustomization,
            &json!({"metadata": {"name": "apps", "managedFields": [
                by("a", json!({"f:spec": {"f:suspend": {}}})),
                by("b", json!({"f:spec": {"f:path": {}}, "f:metadata": {"f:labels": {}}})),
                by("c", json!({"f:metadata": {"f:annotations": {"f:argocd.argoproj.io/skip-reconcile": {}}}})),
                by("d", json!(null)),
            ]}}),
        );
        let switches: Vec<bool> = paused.meta.managers.iter().map(|m| m.switch).collect();
        assert_eq!(switches, [true, false, true, false]);
    }

    #[test]
    fn odd_values_say_nothing_and_bounds_hold() {
        let deep = (0..200).fold(json!(1), |inner, _| json!({"x": inner}));
        let long = "9".repeat(1 << 20);
        let quota = resource(
            Kind::ResourceQuota,
            &json!({"metadata": {"name": "q"}, "spec": 3,
                "status": {"hard": {"cpu": long, "deep": deep}, "used": [1, null], "conditions": "x"}}),
        );
        assert_eq!(quota.body.text("status.hard.cpu").len(), TEXT_LIMIT);
        assert!(quota.conditions.is_empty() && quota.body.entries("status.used").is_empty());
        let error = read(Kind::Service, r#"{"metadata": {"name": 7}}"#, &mut Interner::default());
        assert_eq!(error.unwrap_err(), "metadata.name: expected a string");
        assert!(read(Kind::Service, "[1]", &mut Interner::default()).is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*") {
            for kind in [Kind::Service, Kind::ArgoApplication, Kind::Constraint] {
                let _ = read(kind, &text, &mut Interner::default());
                let _ = read(kind, &format!("{{\"spec\": {text}}}"), &mut Interner::default());
            }
        }
    }
}
