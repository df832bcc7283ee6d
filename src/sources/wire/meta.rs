//! What does every object carry on the wire? `metadata`, conditions and times.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{message, text};
use crate::model::record::{Condition, Meta, Owner, Status, Time, Uid};
use crate::model::text::Interner;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::sources) struct WireMeta {
    pub(in crate::sources) name: Option<String>,
    pub(in crate::sources) namespace: Option<String>,
    pub(in crate::sources) uid: Option<String>,
    pub(in crate::sources) resource_version: Option<String>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    generation: Option<i64>,
    owner_references: Option<Vec<WireOwner>>,
    finalizers: Option<Vec<String>>,
    labels: Option<Chosen>,
    annotations: Option<Chosen>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireOwner {
    kind: String,
    name: String,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    controller: Option<bool>,
}

/// The few labels and annotations that signals read: `kubectl.kubernetes.io/last-applied-configuration` and its like
/// hold whole objects, secrets included.
const CHOSEN: [&str; 16] = [
    "pod-template-hash",
    "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/zone",
    "node.kubernetes.io/instance-type",
    "kubernetes.io/config.mirror",
    "deployment.kubernetes.io/revision",
    "helm.sh/hook",
    "argocd.argoproj.io/hook",
    "volume.kubernetes.io/selected-node",
    "volume.kubernetes.io/storage-provisioner",
    "volume.beta.kubernetes.io/storage-provisioner",
    "volume.beta.kubernetes.io/storage-class",
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
    "starved_resource",
    "offending_containers",
];

#[derive(Default)]
struct Chosen(BTreeMap<&'static str, String>);

impl<'de> Deserialize<'de> for Chosen {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Chosen;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a map of strings")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Chosen, A::Error> {
                let mut chosen = Chosen::default();
                while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
                    match CHOSEN.iter().find(|c| **c == key) {
                        Some(key) => {
                            chosen.0.insert(key, map.next_value()?);
                        }
                        None => {
                            map.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(chosen)
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

impl WireMeta {
    /// A label that signals read.
    pub(super) fn label(&self, key: &str) -> Option<&str> {
        self.labels.as_ref()?.0.get(key).map(String::as_str)
    }

    /// An annotation that signals read.
    pub(super) fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.0.get(key).map(String::as_str)
    }

    pub(super) fn record(&self, texts: &mut Interner) -> Meta {
        let owners = self.owner_references.as_deref().unwrap_or_default();
        let owner = owners.iter().find(|o| o.controller == Some(true)).map(|o| {
            Box::new(Owner {
                kind: texts.text(&o.kind),
                name: texts.text(&o.name),
                uid: Uid::parse(&o.uid),
            })
        });
        let version = self.resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or(0);
        let finalizers = self.finalizers.as_deref().unwrap_or_default();
        Meta {
            namespace: text(texts, self.namespace.as_deref()),
            name: text(texts, self.name.as_deref()),
            uid: Uid::parse(self.uid.as_deref().unwrap_or_default()),
            version,
            created: self.creation_timestamp.unwrap_or(Time::UNIX_EPOCH),
            deleting: self.deletion_timestamp,
            generation: self.generation.unwrap_or(0),
            owner,
            finalizers: finalizers.iter().map(|f| texts.text(f)).collect(),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct WireCondition {
    #[serde(rename = "type")]
    kind: Option<String>,
    status: Option<String>,
    reason: Option<String>,
    message: Option<String>,
    last_transition_time: Option<Time>,
}

/// The conditions as records. Messages of conditions that hold are kept only where `all_messages` says so.
pub(super) fn conditions(
    wire: Option<&[WireCondition]>,
    all_messages: bool,
    texts: &mut Interner,
) -> Box<[Condition]> {
    let read = |c: &WireCondition| {
        let status = match c.status.as_deref() {
            Some("True") => Status::True,
            Some("False") => Status::False,
            _ => Status::Unknown,
        };
        let told = all_messages || status != Status::True;
        Condition {
            kind: text(texts, c.kind.as_deref()),
            status,
            reason: text(texts, c.reason.as_deref()),
            message: message(texts, c.message.as_deref().filter(|_| told)),
            since: c.last_transition_time,
        }
    };
    wire.unwrap_or_default().iter().map(read).collect()
}
