//! What does every object carry on the wire? `metadata`, conditions and times.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{message, text};
use crate::model::record::{Condition, Labelled, Manager, Meta, Owner, Status, Time, Uid};
use crate::model::text::Interner;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::sources) struct WireMeta {
    pub(in crate::sources) name: Option<String>,
    pub(in crate::sources) namespace: Option<String>,
    pub(in crate::sources) uid: Option<String>,
    pub(in crate::sources) resource_version: Option<String>,
    #[serde(deserialize_with = "super::time")]
    creation_timestamp: Option<Time>,
    #[serde(deserialize_with = "super::time")]
    deletion_timestamp: Option<Time>,
    generation: Option<i64>,
    owner_references: Option<Vec<WireOwner>>,
    finalizers: Option<Vec<String>>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<Chosen>,
    managed_fields: Option<Vec<WireManager>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireManager {
    manager: Option<String>,
    #[serde(deserialize_with = "super::time")]
    time: Option<Time>,
    subresource: Option<String>,
    #[serde(rename = "fieldsV1")]
    fields: Option<Owned>,
}

/// Of the fields that a manager owns, those by which an object is told to stand still.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Owned {
    #[serde(rename = "f:spec")]
    spec: Option<OwnedSpec>,
    #[serde(rename = "f:metadata")]
    metadata: Option<OwnedMetadata>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OwnedSpec {
    #[serde(rename = "f:suspend")]
    suspend: Option<IgnoredAny>,
    #[serde(rename = "f:paused")]
    paused: Option<IgnoredAny>,
    #[serde(rename = "f:unschedulable")]
    unschedulable: Option<IgnoredAny>,
    #[serde(rename = "f:syncPolicy")]
    sync_policy: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OwnedMetadata {
    #[serde(rename = "f:annotations")]
    annotations: Option<OwnedAnnotations>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OwnedAnnotations {
    #[serde(rename = "f:argocd.argoproj.io/skip-reconcile")]
    argo: Option<IgnoredAny>,
    #[serde(rename = "f:fluxcd.controlplane.io/reconcile")]
    flux: Option<IgnoredAny>,
}

impl Owned {
    fn has_switch(&self) -> bool {
        let spec = self.spec.as_ref().is_some_and(|s| {
            let switches = [&s.suspend, &s.paused, &s.unschedulable, &s.sync_policy];
            switches.into_iter().any(Option::is_some)
        });
        let annotations = self.metadata.as_ref().and_then(|m| m.annotations.as_ref());
        spec || annotations.is_some_and(|a| a.argo.is_some() || a.flux.is_some())
    }
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

/// The few annotations that signals read: `kubectl.kubernetes.io/last-applied-configuration` and its like hold whole
/// objects, secrets included.
const CHOSEN: &[&str] = &[
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

/// Those of them that stay with the object's metadata, because no record has a field for them.
const KEPT: &[&str] = &[
    "argocd.argoproj.io/refresh",
    "argocd.argoproj.io/skip-reconcile",
    "argocd.argoproj.io/tracking-id",
    "fluxcd.controlplane.io/reconcile",
    "helm.sh/resource-policy",
    "ingressclass.kubernetes.io/is-default-class",
    "instrumentation.opentelemetry.io/inject-apache-httpd",
    "instrumentation.opentelemetry.io/inject-dotnet",
    "instrumentation.opentelemetry.io/inject-go",
    "instrumentation.opentelemetry.io/inject-java",
    "instrumentation.opentelemetry.io/inject-nginx",
    "instrumentation.opentelemetry.io/inject-nodejs",
    "instrumentation.opentelemetry.io/inject-python",
    "instrumentation.opentelemetry.io/inject-sdk",
    "kubectl.kubernetes.io/last-applied-configuration",
    "kubernetes.io/ingress.class",
    "kustomize.toolkit.fluxcd.io/revision",
    "kyverno.io/last-request-time",
    "meta.helm.sh/release-name",
    "meta.helm.sh/release-namespace",
    "prometheus.io/scrape",
    "sidecar.opentelemetry.io/inject",
    "trivy-operator.aquasecurity.github.io/report-ttl",
];

/// The one of which only the presence is kept.
const PRESENCE: &str = "kubectl.kubernetes.io/last-applied-configuration";

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
                    match CHOSEN.iter().chain(KEPT).find(|c| **c == key) {
                        Some(key) if *key != PRESENCE => {
                            chosen.0.insert(key, map.next_value()?);
                        }
                        Some(key) => {
                            map.next_value::<IgnoredAny>()?;
                            chosen.0.insert(key, String::new());
                        }
                        None => {
                            map.next_value::<IgnoredAny>()?;
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
        self.labels.as_ref()?.get(key).map(String::as_str)
    }

    /// An annotation that signals read.
    pub(super) fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.0.get(key).map(String::as_str)
    }

    /// Whether a controller owns the object.
    pub(super) fn is_owned(&self) -> bool {
        self.owner_references.iter().flatten().any(|o| o.controller == Some(true))
    }

    /// When somebody last changed the status.
    pub(super) fn status_written(&self) -> Option<Time> {
        let of_status = |m: &&WireManager| m.subresource.as_deref() == Some("status");
        self.managed_fields.iter().flatten().filter(of_status).filter_map(|m| m.time).max()
    }

    /// The metadata with its labels and who wrote the spec, for the kinds of which signals ask for them.
    pub(super) fn record_whole(&self, texts: &mut Interner) -> Meta {
        Meta { labels: self.labelled(texts), ..self.record_managed(texts) }
    }

    /// The metadata with who wrote the spec.
    pub(super) fn record_managed(&self, texts: &mut Interner) -> Meta {
        let managers = self
            .managed_fields
            .iter()
            .flatten()
            .filter(|m| matches!(m.subresource.as_deref().unwrap_or_default(), "" | "scale"));
        let managers = managers.map(|m| Manager {
            name: text(texts, m.manager.as_deref()),
            at: m.time,
            subresource: text(texts, m.subresource.as_deref()),
            switch: m.fields.as_ref().is_some_and(Owned::has_switch),
        });
        Meta { managers: managers.collect(), ..self.record(texts) }
    }

    /// The metadata with its labels.
    pub(super) fn record_labelled(&self, texts: &mut Interner) -> Meta {
        Meta { labels: self.labelled(texts), ..self.record(texts) }
    }

    pub(super) fn labelled(&self, texts: &mut Interner) -> Labelled {
        let labels = self.labels.iter().flatten();
        texts.labels(labels.map(|(k, v)| (k.as_str(), v.as_str())))
    }

    pub(super) fn annotated(&self, texts: &mut Interner) -> Labelled {
        let chosen = self.annotations.iter().flat_map(|a| a.0.iter());
        let kept = chosen.filter(|(key, _)| KEPT.contains(key));
        texts.labels(kept.map(|(k, v)| (*k, v.as_str())))
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
            labels: Labelled::default(),
            annotations: self.annotated(texts),
            managers: Box::default(),
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
    #[serde(deserialize_with = "super::time")]
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
            generation: 0,
        }
    };
    wire.unwrap_or_default().iter().map(read).collect()
}
