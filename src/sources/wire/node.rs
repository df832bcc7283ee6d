//! What of a node is read? Its images, the bulk of it, are not.

use serde::Deserialize;

use super::meta::{WireCondition, WireMeta, conditions};
use super::pod::Amounts;
use super::{Wire, text};
use crate::model::kind::Kind;
use crate::model::record::{Effect, Node, Object, Taint, Time};
use crate::model::text::Interner;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct WireNode {
    metadata: WireMeta,
    spec: Spec,
    status: NodeStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    unschedulable: bool,
    taints: Option<Vec<WireTaint>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WireTaint {
    key: Option<String>,
    effect: Option<String>,
    #[serde(deserialize_with = "super::time")]
    time_added: Option<Time>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct NodeStatus {
    conditions: Option<Vec<WireCondition>>,
    allocatable: Option<Amounts>,
    volumes_attached: Option<Vec<Attached>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Attached {
    name: Option<String>,
}

impl Wire for WireNode {
    fn record(self, _: Kind, texts: &mut Interner) -> Object {
        let Self { metadata, spec, status } = self;
        let zone = metadata.label("topology.kubernetes.io/zone");
        let zone = zone.or_else(|| metadata.label("failure-domain.beta.kubernetes.io/zone"));
        let instance_type = metadata.label("node.kubernetes.io/instance-type");
        let attached = status.volumes_attached.iter().flatten();
        Object::Node(Box::new(Node {
            meta: metadata.record_managed(texts),
            unschedulable: spec.unschedulable,
            taints: spec.taints.iter().flatten().map(|t| taint(t, texts)).collect(),
            conditions: conditions(status.conditions.as_deref(), true, texts),
            zone: text(texts, zone),
            instance_type: text(texts, instance_type),
            allocatable: status.allocatable.as_ref().map(Amounts::resources).unwrap_or_default(),
            volumes_attached: attached.map(|a| text(texts, a.name.as_deref())).collect(),
        }))
    }
}

fn taint(wire: &WireTaint, texts: &mut Interner) -> Taint {
    Taint {
        key: text(texts, wire.key.as_deref()),
        effect: match wire.effect.as_deref() {
            Some("PreferNoSchedule") => Effect::PreferNoSchedule,
            Some("NoExecute") => Effect::NoExecute,
            _ => Effect::NoSchedule,
        },
        added: wire.time_added,
    }
}
