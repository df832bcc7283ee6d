//! What of claims, volumes, classes, attachments and CSI drivers is read?

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::meta::{WireCondition, WireMeta, conditions};
use super::{Wire, message, text};
use crate::model::kind::Kind;
use crate::model::quantity::whole;
use crate::model::record::{
    AttachError, BindingMode, Claim, ClaimPhase, ClaimRef, CsiDriver, CsiNode, NodeDriver, Object,
    Reclaim, StorageClass, Time, Uid, Volume, VolumeAttachment, VolumeCondition, VolumePhase,
};
use crate::model::text::{Interner, Text};

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct WireHealth {
    status: Option<String>,
    reason: Option<String>,
    message: Option<String>,
}

impl WireHealth {
    pub(super) fn record(&self, texts: &mut Interner) -> VolumeCondition {
        VolumeCondition {
            status: text(texts, self.status.as_deref()),
            reason: text(texts, self.reason.as_deref()),
            message: message(texts, self.message.as_deref()),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Storage {
    storage: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct WireClaim {
    metadata: WireMeta,
    spec: ClaimSpec,
    status: ClaimStatus,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ClaimSpec {
    storage_class_name: Option<String>,
    volume_name: Option<String>,
    access_modes: Option<Vec<String>>,
    resources: Option<ClaimResources>,
    data_source: Option<IgnoredAny>,
    data_source_ref: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ClaimResources {
    requests: Option<Storage>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ClaimStatus {
    phase: Option<String>,
    conditions: Option<Vec<WireCondition>>,
    allocated_resource_statuses: Option<Storage>,
    modify_volume_status: Option<Modify>,
    health_status: Option<Health>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Modify {
    status: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Health {
    health_conditions: Option<Vec<WireHealth>>,
}

impl Wire for WireClaim {
    fn record(self, _: Kind, texts: &mut Interner) -> Object {
        let Self { metadata, spec, status } = self;
        let annotation = |key| metadata.annotation(key);
        let provisioner = annotation("volume.kubernetes.io/storage-provisioner")
            .or_else(|| annotation("volume.beta.kubernetes.io/storage-provisioner"));
        // The beta annotation still wins over the field, as in the API server.
        let class = annotation("volume.beta.kubernetes.io/storage-class");
        let class = class.or(spec.storage_class_name.as_deref());
        let requested = spec.resources.and_then(|r| r.requests).and_then(|s| s.storage);
        let modes = spec.access_modes.as_deref().unwrap_or_default();
        let single = |mode: &String| mode == "ReadWriteOnce" || mode == "ReadWriteOncePod";
        let resize = status.allocated_resource_statuses.and_then(|s| s.storage);
        let modify = status.modify_volume_status.and_then(|m| m.status);
        let health = status.health_status.and_then(|h| h.health_conditions);
        Object::Claim(Box::new(Claim {
            phase: match status.phase.as_deref() {
                Some("Pending") | None => ClaimPhase::Pending,
                Some("Bound") => ClaimPhase::Bound,
                Some("Lost") => ClaimPhase::Lost,
                Some(_) => ClaimPhase::Other,
            },
            class: class.map(|c| texts.text(c)),
            volume: text(texts, spec.volume_name.as_deref()),
            selected_node: text(texts, annotation("volume.kubernetes.io/selected-node")),
            provisioner: text(texts, provisioner),
            requested: requested.as_deref().map_or(0, whole),
            single_node: !modes.is_empty() && modes.iter().all(single),
            from_source: spec.data_source.is_some() || spec.data_source_ref.is_some(),
            conditions: conditions(status.conditions.as_deref(), true, texts),
            resize: text(texts, resize.as_deref()),
            modify: text(texts, modify.as_deref()),
            health: health.iter().flatten().map(|h| h.record(texts)).collect(),
            meta: metadata.record(texts),
        }))
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct WireVolume {
    metadata: WireMeta,
    spec: VolumeSpec,
    status: VolumeStatus,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct VolumeSpec {
    persistent_volume_reclaim_policy: Option<String>,
    storage_class_name: Option<String>,
    capacity: Option<Storage>,
    claim_ref: Option<WireClaimRef>,
    csi: Option<Csi>,
    node_affinity: Option<Affinity>,
    /// The in-tree source stands under its own name: `hostPath`, `nfs`, `local`, …
    #[serde(flatten)]
    others: Names,
}

/// The keys of a map, whatever they hold.
#[derive(Default)]
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Names;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a map")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some((name, IgnoredAny)) = map.next_entry()? {
                    names.push(name);
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Csi {
    driver: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireClaimRef {
    namespace: Option<String>,
    name: Option<String>,
    uid: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Affinity {
    required: Option<Selector>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Selector {
    node_selector_terms: Option<Vec<Term>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Term {
    match_expressions: Option<Vec<Expression>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Expression {
    key: Option<String>,
    values: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct VolumeStatus {
    phase: Option<String>,
    reason: Option<String>,
    message: Option<String>,
    #[serde(deserialize_with = "super::time")]
    last_phase_transition_time: Option<Time>,
}

impl Wire for WireVolume {
    fn record(self, _: Kind, texts: &mut Interner) -> Object {
        let Self { metadata, spec, status } = self;
        Object::Volume(Box::new(Volume {
            phase: match status.phase.as_deref() {
                Some("Pending") | None => VolumePhase::Pending,
                Some("Available") => VolumePhase::Available,
                Some("Bound") => VolumePhase::Bound,
                Some("Released") => VolumePhase::Released,
                Some("Failed") => VolumePhase::Failed,
                Some(_) => VolumePhase::Other,
            },
            reason: text(texts, status.reason.as_deref()),
            message: message(texts, status.message.as_deref()),
            phase_since: status.last_phase_transition_time,
            reclaim: match spec.persistent_volume_reclaim_policy.as_deref() {
                Some("Delete") => Reclaim::Delete,
                Some("Recycle") => Reclaim::Recycle,
                _ => Reclaim::Retain,
            },
            claim: spec.claim_ref.as_ref().map(|c| ClaimRef {
                namespace: text(texts, c.namespace.as_deref()),
                name: text(texts, c.name.as_deref()),
                uid: Uid::parse(c.uid.as_deref().unwrap_or_default()),
            }),
            driver: text(texts, driver(&spec)),
            class: text(texts, spec.storage_class_name.as_deref()),
            capacity: spec.capacity.as_ref().and_then(|c| c.storage.as_deref()).map_or(0, whole),
            zones: zones(&metadata, spec.node_affinity.as_ref(), texts),
            meta: metadata.record(texts),
        }))
    }
}

fn driver(spec: &VolumeSpec) -> Option<&str> {
    let plain = ["accessModes", "mountOptions", "volumeMode", "volumeAttributesClassName"];
    let csi = spec.csi.as_ref().and_then(|c| c.driver.as_deref());
    let in_tree = || spec.others.0.iter().map(String::as_str).find(|k| !plain.contains(k));
    csi.or_else(in_tree)
}

/// The zones of a volume: of the zone label, else of node affinity, whose key is the standard one or a driver's own
/// (`topology.<driver>/zone`).
fn zones(meta: &WireMeta, affinity: Option<&Affinity>, texts: &mut Interner) -> Box<[Text]> {
    if let Some(zone) = meta.label("topology.kubernetes.io/zone") {
        // In-tree regional volumes joined their zones by two underscores.
        return zone.split("__").map(|z| texts.text(z)).collect();
    }
    let terms =
        affinity.and_then(|a| a.required.as_ref()).and_then(|r| r.node_selector_terms.as_ref());
    let expressions =
        terms.into_iter().flatten().flat_map(|t| t.match_expressions.iter().flatten());
    let zonal = expressions.filter(|e| e.key.as_deref().is_some_and(|k| k.ends_with("/zone")));
    let mut zones: Vec<Text> =
        zonal.flat_map(|e| e.values.iter().flatten()).map(|z| texts.text(z)).collect();
    zones.sort_unstable();
    zones.dedup();
    zones.into_boxed_slice()
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct WireClass {
    metadata: WireMeta,
    provisioner: Option<String>,
    volume_binding_mode: Option<String>,
    allow_volume_expansion: Option<bool>,
}

impl Wire for WireClass {
    fn record(self, _: Kind, texts: &mut Interner) -> Object {
        let marks = [
            "storageclass.kubernetes.io/is-default-class",
            "storageclass.beta.kubernetes.io/is-default-class",
        ];
        Object::StorageClass(Box::new(StorageClass {
            provisioner: text(texts, self.provisioner.as_deref()),
            binding: match self.volume_binding_mode.as_deref() {
                Some("WaitForFirstConsumer") => BindingMode::WaitForFirstConsumer,
                _ => BindingMode::Immediate,
            },
            default: marks.iter().any(|m| self.metadata.annotation(m) == Some("true")),
            expandable: self.allow_volume_expansion == Some(true),
            meta: self.metadata.record(texts),
        }))
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct WireAttachment {
    metadata: WireMeta,
    spec: AttachmentSpec,
    status: AttachmentStatus,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct AttachmentSpec {
    attacher: Option<String>,
    node_name: Option<String>,
    source: AttachmentSource,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct AttachmentSource {
    persistent_volume_name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct AttachmentStatus {
    attached: bool,
    attach_error: Option<WireError>,
    detach_error: Option<WireError>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WireError {
    #[serde(deserialize_with = "super::time")]
    time: Option<Time>,
    message: Option<String>,
    error_code: Option<i32>,
}

impl Wire for WireAttachment {
    fn record(self, _: Kind, texts: &mut Interner) -> Object {
        let Self { metadata, spec, status } = self;
        let mut error = |e: WireError| AttachError {
            time: e.time,
            message: message(texts, e.message.as_deref()),
            code: e.error_code,
        };
        let attach_error = status.attach_error.map(&mut error);
        let detach_error = status.detach_error.map(&mut error);
        Object::VolumeAttachment(Box::new(VolumeAttachment {
            driver: text(texts, spec.attacher.as_deref()),
            node: text(texts, spec.node_name.as_deref()),
            volume: text(texts, spec.source.persistent_volume_name.as_deref()),
            attached: status.attached,
            attached_at: metadata.status_written().filter(|_| status.attached),
            attach_error,
            detach_error,
            meta: metadata.record(texts),
        }))
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct WireDriver {
    metadata: WireMeta,
    spec: DriverSpec,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DriverSpec {
    attach_required: Option<bool>,
    storage_capacity: Option<bool>,
}

impl Wire for WireDriver {
    fn record(self, _: Kind, texts: &mut Interner) -> Object {
        Object::CsiDriver(Box::new(CsiDriver {
            attach_required: self.spec.attach_required != Some(false),
            storage_capacity: self.spec.storage_capacity == Some(true),
            meta: self.metadata.record(texts),
        }))
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct WireCsiNode {
    metadata: WireMeta,
    spec: CsiNodeSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CsiNodeSpec {
    drivers: Option<Vec<WireNodeDriver>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireNodeDriver {
    name: Option<String>,
    allocatable: Option<Allocatable>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Allocatable {
    count: Option<u32>,
}

impl Wire for WireCsiNode {
    fn record(self, _: Kind, texts: &mut Interner) -> Object {
        let drivers = self.spec.drivers.iter().flatten().map(|d| NodeDriver {
            name: text(texts, d.name.as_deref()),
            volume_limit: d.allocatable.as_ref().and_then(|a| a.count),
        });
        let drivers = drivers.collect();
        Object::CsiNode(Box::new(CsiNode { meta: self.metadata.record(texts), drivers }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::wire;

    #[test]
    fn an_attachment_was_made_when_its_status_was_written_last() {
        let read = |attached: bool| {
            let by = |subresource: &str, second: u8| {
                format!(
                    r#"{{"manager":"csi-attacher","time":"2026-01-01T00:00:0{second}Z","subresource":"{subresource}"}}"#
                )
            };
            let managers = [by("", 9), by("status", 2), by("status", 4)].join(",");
            let json = format!(
                r#"{{"metadata":{{"name":"a","managedFields":[{managers}]}},"status":{{"attached":{attached}}}}}"#
            );
            let object = wire::read::<WireAttachment>(
                Kind::VolumeAttachment,
                &json,
                &mut Interner::default(),
            );
            let Ok(Object::VolumeAttachment(attachment)) = object else { panic!("{object:?}") };
            attachment.attached_at.map(|at| at.to_string())
        };
        assert_eq!(read(true).as_deref(), Some("2026-01-01T00:00:04Z"));
        assert_eq!(read(false), None);
    }
}
