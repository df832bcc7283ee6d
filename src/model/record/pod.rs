//! What is kept of a pod and its containers?

use super::meta::{Condition, Meta, Time, condition};
use super::node::Resources;
use crate::model::text::Text;

/// `status.phase`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Phase {
    #[default]
    Pending,
    Running,
    Succeeded,
    Failed,
    Unknown,
}

/// A Pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pod {
    /// What every object has.
    pub meta: Meta,
    /// Label `pod-template-hash`: what a ReplicaSet's name ends with when a Deployment made it.
    pub template_hash: Text,
    /// `spec.nodeName`; empty until the pod is bound.
    pub node: Text,
    /// `status.nominatedNodeName`: set while the scheduler waits for a volume or a preemption.
    pub nominated_node: Text,
    /// `spec.priorityClassName`.
    pub priority_class: Text,
    /// `status.phase`.
    pub phase: Phase,
    /// `status.reason`, such as `Evicted`.
    pub reason: Text,
    /// `status.message`, kept while the phase is `Failed`.
    pub message: Text,
    /// `status.startTime`.
    pub started: Option<Time>,
    /// `spec.schedulingGates` is not empty.
    pub gated: bool,
    /// `spec.restartPolicy` is `Always`.
    pub restart_always: bool,
    /// A static pod's mirror (annotation `kubernetes.io/config.mirror`).
    pub mirror: bool,
    /// `status.conditions`.
    pub conditions: Box<[Condition]>,
    /// Init containers, sidecars and containers, each with its spec's and its status' fields.
    pub containers: Box<[Container]>,
    /// Names of the PersistentVolumeClaims in use, generic ephemeral volumes included (`<pod>-<volume>`).
    pub claims: Box<[Text]>,
    /// What the scheduler reserves for the pod: the larger of the sum over containers and sidecars and of the
    /// largest init container, plus overhead.
    pub requests: Resources,
    /// `status.volumeHealth[].healthConditions[]`, Kubernetes 1.37 and later, behind a gate.
    pub volume_health: Box<[super::storage::VolumeCondition]>,
}

impl Pod {
    /// The condition of this type, if the pod has it.
    #[must_use]
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        condition(&self.conditions, kind)
    }
}

/// Which list of the pod's spec a container stands in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// `initContainers`.
    Init,
    /// `initContainers` with `restartPolicy: Always`.
    Sidecar,
    /// `containers`.
    #[default]
    Main,
}

/// A container of a pod: what its spec asks for and what its status says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Container {
    /// The container's name.
    pub name: Text,
    /// Where it stands in the spec.
    pub role: Role,
    /// The host part of the image, `docker.io` where none is written.
    pub registry: Text,
    /// `status.restartCount`: how many terminations were followed by a restart.
    pub restarts: u32,
    /// `status.ready`.
    pub ready: bool,
    /// `status.started` is not false: no startup probe is waited for.
    pub started: bool,
    /// The spec requests CPU and memory.
    pub has_requests: bool,
    /// The spec's memory limit as it is written there; empty without one.
    pub memory_limit: Text,
    /// The spec has a liveness, readiness or startup probe.
    pub has_probes: bool,
    /// `status.state`.
    pub state: ContainerState,
    /// `status.lastState.terminated`.
    pub last: Option<Termination>,
}

/// `status.state` of a container.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub enum ContainerState {
    /// No status yet.
    #[default]
    Absent,
    Waiting {
        reason: Text,
        message: Text,
    },
    Running {
        since: Option<Time>,
    },
    Terminated(Termination),
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Termination {
    /// Such as `OOMKilled`, `Error`, `Completed`.
    pub reason: Text,
    /// The exit code; 128 + the signal for one killed by a signal.
    pub exit_code: i32,
    /// The signal, where the runtime says it.
    pub signal: i32,
    /// `finishedAt`.
    pub finished: Option<Time>,
}

/// The host of an image reference: the part before the first `/` when it looks like a host (distribution/reference).
#[must_use]
pub fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_the_host_of_the_image() {
        let cases = [
            ("nginx", "docker.io"),
            ("library/nginx:1", "docker.io"),
            ("localhost/x", "localhost"),
            ("reg:5000/x", "reg:5000"),
            ("ghcr.io/a/b@sha256:0", "ghcr.io"),
        ];
        for (image, expected) in cases {
            assert_eq!(registry(image), expected, "{image}");
        }
    }
}
