//! What of a pod is read?

use std::collections::HashMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::meta::{WireCondition, WireMeta, conditions};
use super::storage::WireHealth;
use super::{Wire, message, text};
use crate::model::kind::Kind;
use crate::model::quantity::{cpu_milli, whole};
use crate::model::record::{
    Container, ContainerState, Object, Phase, Pod, Resources, Role, Termination, Time, registry,
};
use crate::model::text::Interner;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct WirePod {
    metadata: WireMeta,
    spec: Spec,
    status: PodStatus,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    node_name: Option<String>,
    priority_class_name: Option<String>,
    restart_policy: Option<String>,
    scheduling_gates: Option<Vec<IgnoredAny>>,
    containers: Option<Vec<ContainerSpec>>,
    init_containers: Option<Vec<ContainerSpec>>,
    volumes: Option<Vec<PodVolume>>,
    overhead: Option<Amounts>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ContainerSpec {
    name: Option<String>,
    image: Option<String>,
    restart_policy: Option<String>,
    resources: Option<Requirements>,
    liveness_probe: Option<IgnoredAny>,
    readiness_probe: Option<IgnoredAny>,
    startup_probe: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Requirements {
    requests: Option<Amounts>,
    limits: Option<Amounts>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Amounts {
    cpu: Option<String>,
    memory: Option<String>,
    pods: Option<String>,
}

impl Amounts {
    pub(super) fn resources(&self) -> Resources {
        Resources {
            cpu_milli: self.cpu.as_deref().map_or(0, cpu_milli),
            memory: self.memory.as_deref().map_or(0, whole),
            pods: self.pods.as_deref().map_or(0, |p| u32::try_from(whole(p)).unwrap_or(u32::MAX)),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodVolume {
    name: Option<String>,
    persistent_volume_claim: Option<ClaimSource>,
    ephemeral: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ClaimSource {
    claim_name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodStatus {
    phase: Option<String>,
    reason: Option<String>,
    message: Option<String>,
    #[serde(deserialize_with = "super::time")]
    start_time: Option<Time>,
    nominated_node_name: Option<String>,
    conditions: Option<Vec<WireCondition>>,
    container_statuses: Option<Vec<ContainerStatus>>,
    init_container_statuses: Option<Vec<ContainerStatus>>,
    volume_health: Option<Vec<VolumeHealth>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct VolumeHealth {
    health_conditions: Option<Vec<WireHealth>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ContainerStatus {
    name: String,
    restart_count: u32,
    ready: bool,
    started: Option<bool>,
    state: Option<State>,
    last_state: Option<State>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct State {
    waiting: Option<Waiting>,
    running: Option<Running>,
    terminated: Option<Terminated>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Waiting {
    reason: Option<String>,
    message: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Running {
    #[serde(deserialize_with = "super::time")]
    started_at: Option<Time>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Terminated {
    reason: Option<String>,
    exit_code: i32,
    signal: Option<i32>,
    #[serde(deserialize_with = "super::time")]
    finished_at: Option<Time>,
}

impl Wire for WirePod {
    fn record(self, _: Kind, texts: &mut Interner) -> Object {
        let Self { metadata, spec, status } = self;
        let meta = metadata.record_labelled(texts);
        let phase = match status.phase.as_deref() {
            Some("Running") => Phase::Running,
            Some("Succeeded") => Phase::Succeeded,
            Some("Failed") => Phase::Failed,
            Some("Pending") | None => Phase::Pending,
            Some(_) => Phase::Unknown,
        };
        let failed = phase == Phase::Failed;
        let health = status.volume_health.iter().flatten();
        let health = health.flat_map(|v| v.health_conditions.iter().flatten());
        Object::Pod(Box::new(Pod {
            template_hash: text(texts, metadata.label("pod-template-hash")),
            node: text(texts, spec.node_name.as_deref()),
            nominated_node: text(texts, status.nominated_node_name.as_deref()),
            priority_class: text(texts, spec.priority_class_name.as_deref()),
            phase,
            reason: text(texts, status.reason.as_deref()),
            message: message(texts, status.message.as_deref().filter(|_| failed)),
            started: status.start_time,
            gated: spec.scheduling_gates.as_ref().is_some_and(|g| !g.is_empty()),
            restart_always: spec.restart_policy.as_deref().is_none_or(|p| p == "Always"),
            mirror: metadata.annotation("kubernetes.io/config.mirror").is_some(),
            conditions: conditions(status.conditions.as_deref(), false, texts),
            claims: claims(&meta.name, spec.volumes.as_deref().unwrap_or_default(), texts),
            requests: requests(&spec),
            volume_health: health.map(|h| h.record(texts)).collect(),
            containers: containers(&spec, &status, texts),
            meta,
        }))
    }
}

fn claims(
    pod: &str,
    volumes: &[PodVolume],
    texts: &mut Interner,
) -> Box<[crate::model::text::Text]> {
    let mut claims = Vec::new();
    for volume in volumes {
        if let Some(claim) = volume.persistent_volume_claim.as_ref() {
            claims.extend(claim.claim_name.as_deref().map(|name| texts.text(name)));
        } else if volume.ephemeral.is_some()
            && let Some(name) = &volume.name
        {
            claims.push(texts.text(&format!("{pod}-{name}")));
        }
    }
    claims.into_boxed_slice()
}

/// What the scheduler reserves: the larger of what runs side by side and of the largest init container together with
/// the sidecars started before it, plus overhead (KEP-753).
fn requests(spec: &Spec) -> Resources {
    let of = |c: &ContainerSpec| {
        let requests = c.resources.as_ref().and_then(|r| r.requests.as_ref());
        requests.map(Amounts::resources).unwrap_or_default()
    };
    let add = |a: Resources, b: Resources| Resources {
        cpu_milli: a.cpu_milli.saturating_add(b.cpu_milli),
        memory: a.memory.saturating_add(b.memory),
        pods: 1,
    };
    let max = |a: Resources, b: Resources| Resources {
        cpu_milli: a.cpu_milli.max(b.cpu_milli),
        memory: a.memory.max(b.memory),
        pods: 1,
    };
    let (mut sidecars, mut starting) = (Resources::default(), Resources::default());
    for init in spec.init_containers.iter().flatten() {
        if is_sidecar(init) {
            sidecars = add(sidecars, of(init));
            starting = max(starting, sidecars);
        } else {
            starting = max(starting, add(sidecars, of(init)));
        }
    }
    let running = spec.containers.iter().flatten().map(of).fold(sidecars, add);
    let overhead = spec.overhead.as_ref().map(Amounts::resources).unwrap_or_default();
    add(max(running, starting), overhead)
}

fn is_sidecar(init: &ContainerSpec) -> bool {
    init.restart_policy.as_deref() == Some("Always")
}

fn containers(spec: &Spec, status: &PodStatus, texts: &mut Interner) -> Box<[Container]> {
    let statuses: HashMap<&str, &ContainerStatus> = (status
        .container_statuses
        .iter()
        .flatten()
        .chain(status.init_container_statuses.iter().flatten()))
    .map(|s| (s.name.as_str(), s))
    .collect();
    let inits = spec.init_containers.iter().flatten().map(|c| {
        let role = if is_sidecar(c) { Role::Sidecar } else { Role::Init };
        (c, role)
    });
    let mains = spec.containers.iter().flatten().map(|c| (c, Role::Main));
    let mut read = |(spec, role): (&ContainerSpec, Role)| {
        let name = spec.name.as_deref().unwrap_or_default();
        container(spec, role, statuses.get(name).copied(), texts)
    };
    inits.chain(mains).map(&mut read).collect()
}

fn container(
    spec: &ContainerSpec,
    role: Role,
    status: Option<&ContainerStatus>,
    texts: &mut Interner,
) -> Container {
    let requests = spec.resources.as_ref().and_then(|r| r.requests.as_ref());
    let limits = spec.resources.as_ref().and_then(|r| r.limits.as_ref());
    let state = status.and_then(|s| s.state.as_ref());
    let last = status.and_then(|s| s.last_state.as_ref()).and_then(|s| s.terminated.as_ref());
    Container {
        name: text(texts, spec.name.as_deref()),
        role,
        registry: texts.text(registry(spec.image.as_deref().unwrap_or_default())),
        restarts: status.map_or(0, |s| s.restart_count),
        ready: status.is_some_and(|s| s.ready),
        started: status.is_some_and(|s| s.started != Some(false)),
        has_requests: requests.is_some_and(|r| r.cpu.is_some() && r.memory.is_some()),
        memory_limit: text(texts, limits.and_then(|l| l.memory.as_deref())),
        has_probes: spec.liveness_probe.is_some()
            || spec.readiness_probe.is_some()
            || spec.startup_probe.is_some(),
        state: state.map(|s| container_state(s, texts)).unwrap_or_default(),
        last: last.map(|t| termination(t, texts)),
    }
}

fn container_state(state: &State, texts: &mut Interner) -> ContainerState {
    if let Some(terminated) = &state.terminated {
        ContainerState::Terminated(termination(terminated, texts))
    } else if let Some(running) = &state.running {
        ContainerState::Running { since: running.started_at }
    } else if let Some(waiting) = &state.waiting {
        ContainerState::Waiting {
            reason: text(texts, waiting.reason.as_deref()),
            message: message(texts, waiting.message.as_deref()),
        }
    } else {
        ContainerState::Absent
    }
}

fn termination(wire: &Terminated, texts: &mut Interner) -> Termination {
    Termination {
        reason: text(texts, wire.reason.as_deref()),
        exit_code: wire.exit_code,
        signal: wire.signal.unwrap_or(0),
        finished: wire.finished_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::wire::decode;

    fn read(json: &str) -> Pod {
        match decode(Kind::Pod, json, &mut Interner::default()) {
            Ok(Object::Pod(pod)) => *pod,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn requests_are_what_the_scheduler_reserves() {
        let pod = read(
            r#"{"spec":{"overhead":{"cpu":"10m"},
            "initContainers":[
                {"name":"s","restartPolicy":"Always","resources":{"requests":{"cpu":"100m","memory":"1Mi"}}},
                {"name":"i","resources":{"requests":{"cpu":"1"}}}],
            "containers":[{"name":"a","resources":{"requests":{"cpu":"200m","memory":"2Mi"}}}]}}"#,
        );
        assert_eq!(pod.requests, Resources { cpu_milli: 1110, memory: 3 << 20, pods: 1 });
    }

    #[test]
    fn every_container_has_its_spec_and_its_status() {
        let pod = read(
            r#"{"spec":{"containers":[{"name":"a","image":"x","readinessProbe":{}}],"initContainers":[{"name":"i"}],
                "volumes":[{"name":"v","persistentVolumeClaim":{"claimName":"c"}},{"name":"e","ephemeral":{}}]},
            "metadata":{"name":"p"},
            "status":{"containerStatuses":[{"name":"a","restartCount":3,"ready":false,
                "state":{"waiting":{"reason":"CrashLoopBackOff"}},
                "lastState":{"terminated":{"exitCode":137,"reason":"OOMKilled","finishedAt":"2026-01-01T00:00:00Z"}}}]}}"#,
        );
        let names: Vec<_> = pod.containers.iter().map(|c| (&*c.name, c.role)).collect();
        assert_eq!(names, [("i", Role::Init), ("a", Role::Main)]);
        let main = &pod.containers[1];
        assert!(main.has_probes && main.restarts == 3);
        assert_eq!(main.last.as_ref().map(|l| (&*l.reason, l.exit_code)), Some(("OOMKilled", 137)));
        assert!(
            matches!(&main.state, ContainerState::Waiting { reason, .. } if reason == "CrashLoopBackOff")
        );
        assert_eq!(pod.claims.iter().map(|c| &**c).collect::<Vec<_>>(), ["c", "p-e"]);
    }

    #[test]
    fn a_field_of_another_type_is_named_without_its_content() {
        let json = r#"{"status":{"containerStatuses":[{"name":"a","restartCount":"s3cret"}]}}"#;
        let error = decode(Kind::Pod, json, &mut Interner::default()).expect_err("a string");
        assert_eq!(error, "status.containerStatuses[0].restartCount: expected u32");
    }
}
