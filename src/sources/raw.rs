//! How does one object that can't be read leave the others alone? It is kept as text until it is read by itself.
//!
//! The client library reads a LIST in one piece: one field of another type in one object fails all of them, for ever.

use std::borrow::Cow;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::{ApiResource, PartialObjectMeta};
use kube::runtime::watcher;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::wire::{self, WireMeta};
use crate::model::kind::Kind;
use crate::model::record::Uid;
use crate::model::source::SourceNote;
use crate::model::text::{Interner, Text};
use crate::model::world::{Delta, Key};

/// An object as it came, with as much of its metadata read as the watcher needs.
#[derive(Clone)]
pub(super) struct Raw {
    meta: ObjectMeta,
    json: Box<RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Head {
    metadata: WireMeta,
}

/// What every object has had since Kubernetes 1.0, for one whose other metadata can't be read.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Names {
    metadata: NamesMeta,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct NamesMeta {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(deserializer)?;
        let names = match serde_json::from_str::<Head>(json.get()) {
            Ok(Head { metadata: m }) => NamesMeta {
                name: m.name,
                namespace: m.namespace,
                uid: m.uid,
                resource_version: m.resource_version,
            },
            Err(_) => serde_json::from_str::<Names>(json.get()).unwrap_or_default().metadata,
        };
        let meta = ObjectMeta {
            name: names.name,
            namespace: names.namespace,
            uid: names.uid,
            resource_version: names.resource_version,
            ..ObjectMeta::default()
        };
        Ok(Self { meta, json })
    }
}

/// Never the content: it may be secret.
impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raw").field("name", &self.meta.name).finish_non_exhaustive()
    }
}

/// An event about an object of which only the metadata is read, as one about an object without a body.
pub(super) fn of_metadata(event: watcher::Event<PartialObjectMeta<Raw>>) -> watcher::Event<Raw> {
    use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
    match event {
        Init => Init,
        InitApply(object) => InitApply(Raw::of_meta(object.metadata)),
        InitDone => InitDone,
        Apply(object) => Apply(Raw::of_meta(object.metadata)),
        Delete(object) => Delete(Raw::of_meta(object.metadata)),
    }
}

impl Resource for Raw {
    type DynamicType = ApiResource;
    type Scope = kube::core::DynamicResourceScope;

    fn kind(api: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&api.kind)
    }

    fn group(api: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&api.group)
    }

    fn version(api: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&api.version)
    }

    fn api_version(api: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&api.api_version)
    }

    fn plural(api: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&api.plural)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

impl Raw {
    /// An object of which only the metadata is read.
    pub(super) fn of_meta(meta: ObjectMeta) -> Self {
        let json = serde_json::to_string(&serde_json::json!({ "metadata": meta }));
        let json =
            json.and_then(RawValue::from_string).unwrap_or_else(|_| RawValue::NULL.to_owned());
        Self { meta, json }
    }

    fn key(&self, texts: &mut Interner) -> Key {
        let mut text =
            |value: &Option<String>| value.as_deref().map_or_else(Text::default, |v| texts.text(v));
        (text(&self.meta.namespace), text(&self.meta.name))
    }

    /// The object as a change; one that can't be read keeps what is known of it.
    pub(super) fn upsert(&self, kind: Kind, texts: &mut Interner) -> Delta {
        match wire::decode(kind, self.json.get(), texts) {
            Ok(object) => Delta::Upsert(object),
            Err(_) => Delta::Keep { kind, key: self.key(texts) },
        }
    }

    /// What is wrong with the object, if anything: which object, which field, what was expected.
    pub(super) fn complaint(&self, kind: Kind, texts: &mut Interner) -> SourceNote {
        let why = wire::decode(kind, self.json.get(), texts).err().unwrap_or_default();
        let (namespace, name) = self.key(texts);
        let slash = if namespace.is_empty() { "" } else { "/" };
        SourceNote::Undecodable {
            message: format!("{} {namespace}{slash}{name}: {why}", kind.name()),
        }
    }

    /// The object as a deletion.
    pub(super) fn delete(&self, kind: Kind, texts: &mut Interner) -> Delta {
        let uid = Uid::parse(self.meta.uid.as_deref().unwrap_or_default());
        Delta::Delete { kind, key: self.key(texts), uid }
    }
}
