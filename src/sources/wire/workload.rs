//! What of Deployments, ReplicaSets, StatefulSets and DaemonSets is read? One wire type: their fields do not clash.

use serde::Deserialize;

use super::meta::{WireCondition, WireMeta, conditions};
use super::template::WireTemplate;
use super::{Wire, text};
use crate::model::kind::Kind;
use crate::model::record::{Object, Strategy, Workload};
use crate::model::text::Interner;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct WireWorkload {
    metadata: WireMeta,
    spec: Spec,
    status: WorkloadStatus,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    replicas: Option<u32>,
    paused: bool,
    progress_deadline_seconds: Option<u32>,
    strategy: Option<WireStrategy>,
    update_strategy: Option<WireStrategy>,
    volume_claim_templates: Option<Vec<Template>>,
    template: Option<WireTemplate>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WireStrategy {
    #[serde(rename = "type")]
    kind: Option<String>,
    rolling_update: Option<RollingUpdate>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RollingUpdate {
    max_unavailable: Option<IntOrPercent>,
    partition: Option<u32>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum IntOrPercent {
    Int(u32),
    Percent(String),
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Template {
    metadata: WireMeta,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WorkloadStatus {
    observed_generation: i64,
    replicas: u32,
    updated_replicas: u32,
    ready_replicas: u32,
    available_replicas: u32,
    desired_number_scheduled: u32,
    current_number_scheduled: u32,
    updated_number_scheduled: u32,
    number_ready: u32,
    number_available: u32,
    number_misscheduled: u32,
    current_revision: Option<String>,
    update_revision: Option<String>,
    conditions: Option<Vec<WireCondition>>,
}

impl Wire for WireWorkload {
    fn record(self, kind: Kind, texts: &mut Interner) -> Object {
        let Self { metadata, spec, status } = self;
        let daemon = kind == Kind::DaemonSet;
        let owned = kind == Kind::ReplicaSet && metadata.is_owned();
        let pick = |of_daemon: u32, of_others: u32| if daemon { of_daemon } else { of_others };
        let desired = pick(status.desired_number_scheduled, spec.replicas.unwrap_or(1));
        let strategy = spec.strategy.as_ref().or(spec.update_strategy.as_ref());
        let rolling = strategy.and_then(|s| s.rolling_update.as_ref());
        let templates = spec.volume_claim_templates.iter().flatten();
        let revision = metadata.annotation("deployment.kubernetes.io/revision");
        Object::Workload(Box::new(Workload {
            kind,
            observed_generation: status.observed_generation,
            desired,
            current: pick(status.current_number_scheduled, status.replicas),
            updated: pick(status.updated_number_scheduled, status.updated_replicas),
            ready: pick(status.number_ready, status.ready_replicas),
            available: pick(status.number_available, status.available_replicas),
            misscheduled: status.number_misscheduled,
            paused: spec.paused,
            progress_deadline: spec.progress_deadline_seconds.unwrap_or(600),
            strategy: match strategy.and_then(|s| s.kind.as_deref()) {
                Some("Recreate") => Strategy::Recreate,
                Some("OnDelete") => Strategy::OnDelete,
                _ => Strategy::RollingUpdate,
            },
            max_unavailable: max_unavailable(kind, rolling, desired),
            partition: rolling.and_then(|r| r.partition).unwrap_or(0),
            revisions_differ: status.current_revision != status.update_revision,
            revision: revision.and_then(|r| r.parse().ok()).unwrap_or(0),
            claim_templates: templates.map(|t| text(texts, t.metadata.name.as_deref())).collect(),
            conditions: conditions(status.conditions.as_deref(), true, texts),
            template: (spec.template.as_ref().filter(|_| !owned))
                .map(|t| Box::new(t.record(texts))),
            meta: if owned { metadata.record(texts) } else { metadata.record_whole(texts) },
        }))
    }
}

/// `maxUnavailable` in pods. Of a Deployment a percentage is rounded down, and 25 % where absent; a DaemonSet's is
/// rounded up, a StatefulSet's is one at least, and both replace one pod at a time where it is absent.
fn max_unavailable(kind: Kind, rolling: Option<&RollingUpdate>, desired: u32) -> u32 {
    let hundredths = |p: u32| u64::from(desired) * u64::from(p);
    let percent = |p: u32| match kind {
        Kind::DaemonSet => hundredths(p).div_ceil(100) as u32,
        Kind::StatefulSet => (hundredths(p) / 100).max(1) as u32,
        _ => (hundredths(p) / 100) as u32,
    };
    match rolling.and_then(|r| r.max_unavailable.as_ref()) {
        Some(IntOrPercent::Int(n)) => *n,
        Some(IntOrPercent::Percent(text)) => {
            text.strip_suffix('%').and_then(|t| t.parse().ok()).map_or(0, percent)
        }
        None if kind == Kind::Deployment => percent(25),
        None => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::wire::decode;

    #[test]
    fn a_rollout_may_lack_what_its_kind_allows() {
        let cases = [
            (Kind::Deployment, r#"{"spec":{"replicas":10}}"#, 2),
            (
                Kind::Deployment,
                r#"{"spec":{"replicas":3,"strategy":{"rollingUpdate":{"maxUnavailable":"50%"}}}}"#,
                1,
            ),
            (Kind::StatefulSet, r#"{"spec":{"replicas":3}}"#, 1),
            (
                Kind::StatefulSet,
                r#"{"spec":{"replicas":3,"updateStrategy":{"rollingUpdate":{"maxUnavailable":"10%"}}}}"#,
                1,
            ),
            (Kind::DaemonSet, r#"{"status":{"desiredNumberScheduled":9}}"#, 1),
            (
                Kind::DaemonSet,
                r#"{"spec":{"updateStrategy":{"rollingUpdate":{"maxUnavailable":"10%"}}},
                    "status":{"desiredNumberScheduled":11}}"#,
                2,
            ),
        ];
        for (kind, json, expected) in cases {
            let Ok(Object::Workload(w)) = decode(kind, json, &mut Interner::default()) else {
                panic!("{json}")
            };
            assert_eq!(w.max_unavailable, expected, "{kind:?} {json}");
        }
    }
}
