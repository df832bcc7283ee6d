//! How do tests of this layer build a cluster? From volumes and claims with sensible defaults.

use crate::model::record::{
    BindingMode, Claim, ClaimPhase, ClaimRef, Condition, CsiDriver, CsiNode, Node, NodeDriver,
    Phase, Pod, Reclaim, Status, StorageClass, Volume, VolumeAttachment, VolumePhase,
};
use crate::model::text::Text;

pub(super) use crate::layers::fixtures::{
    ago, event, judge, meta, objects, readings, reasons, uid, world,
};

pub(super) struct Counted;

impl Counted {
    /// A world with these objects whose lists were complete before anything else happened.
    #[allow(clippy::new_ret_no_self)]
    pub(super) fn new(
        objects: Vec<crate::model::record::Object>,
    ) -> crate::layers::fixtures::Counted {
        crate::layers::fixtures::Counted::new(&super::LAYER, objects)
    }
}

/// A claim `shop/<name>`, an hour old, of class `fast`.
pub(super) fn claim(name: &str, phase: ClaimPhase) -> Claim {
    Claim {
        meta: meta("shop", name, 3600),
        phase,
        class: Some("fast".into()),
        single_node: true,
        ..Claim::default()
    }
}

/// The claim `shop/<name>`, bound to the volume `pv-<name>`.
pub(super) fn bound(name: &str) -> Claim {
    Claim { volume: format!("pv-{name}").as_str().into(), ..claim(name, ClaimPhase::Bound) }
}

/// The volume `pv-<claim>` of driver `csi.example`, bound to the claim `shop/<claim>`.
pub(super) fn volume(claim: &str) -> Volume {
    Volume {
        meta: meta("", &format!("pv-{claim}"), 3600),
        phase: VolumePhase::Bound,
        phase_since: Some(ago(3500)),
        reclaim: Reclaim::Delete,
        claim: Some(ClaimRef {
            namespace: "shop".into(),
            name: claim.into(),
            uid: uid("shop", claim),
        }),
        driver: "csi.example".into(),
        class: "fast".into(),
        capacity: 1 << 30,
        ..Volume::default()
    }
}

pub(super) fn class(name: &str, provisioner: &str) -> StorageClass {
    StorageClass {
        meta: meta("", name, 86_400),
        provisioner: provisioner.into(),
        ..StorageClass::default()
    }
}

pub(super) fn waiting_class(name: &str, provisioner: &str) -> StorageClass {
    StorageClass { binding: BindingMode::WaitForFirstConsumer, ..class(name, provisioner) }
}

/// A pod `shop/<name>` that uses these claims, on this node (none: not bound), with nothing started.
pub(super) fn pod(name: &str, node: &str, claims: &[&str]) -> Pod {
    Pod {
        meta: meta("shop", name, 1800),
        node: node.into(),
        phase: Phase::Pending,
        claims: claims.iter().map(|c| Text::from(*c)).collect(),
        ..Pod::default()
    }
}

/// A node that is Ready since long.
pub(super) fn node(name: &str, zone: &str) -> Node {
    Node {
        meta: meta("", name, 86_400),
        zone: zone.into(),
        conditions: [condition("Ready", Status::True, 80_000)].into(),
        ..Node::default()
    }
}

pub(super) fn condition(kind: &str, status: Status, age: i64) -> Condition {
    Condition { kind: kind.into(), status, since: Some(ago(age)), ..Condition::default() }
}

pub(super) fn csi_driver(name: &str) -> CsiDriver {
    CsiDriver { meta: meta("", name, 86_400), attach_required: true, ..CsiDriver::default() }
}

pub(super) fn csi_node(node: &str, drivers: &[(&str, Option<u32>)]) -> CsiNode {
    let driver = |(name, limit): &(&str, Option<u32>)| NodeDriver {
        name: (*name).into(),
        volume_limit: *limit,
    };
    CsiNode { meta: meta("", node, 86_400), drivers: drivers.iter().map(driver).collect() }
}

/// The attachment of the volume `pv-<claim>` to a node by `csi.example`, done.
pub(super) fn attachment(claim: &str, node: &str) -> VolumeAttachment {
    VolumeAttachment {
        meta: meta("", &format!("csi-{claim}-{node}"), 3600),
        driver: "csi.example".into(),
        node: node.into(),
        volume: format!("pv-{claim}").as_str().into(),
        attached: true,
        ..VolumeAttachment::default()
    }
}
