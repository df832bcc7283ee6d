//! Which containers cannot start, and is it the image, the configuration or the runtime?

use jiff::SignedDuration;

use super::group::{Groups, OWNERS, Telling};
use crate::model::finding::{Severity, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Container, ContainerState, Pod, Status};
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::text::Text;
use crate::model::view::View;

pub(super) static WAITING: Signal = Signal {
    block: "S2.6",
    name: "compute_container_waiting",
    layer: Layer::Compute,
    help: "Workloads with containers that cannot start: image, configuration, runtime, or creation that does not end; \
           registry is the image's host where the image is at fault. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "workload_kind", "workload", "reason", "registry"],
    reasons: REASONS,
    bound: "workloads × 13 reasons × registries",
    needs: &[Kind::Pod],
    uses: OWNERS,
    profile: Profile::None,
    read: Read::Rule(waiting),
};

const REASONS: &[&str] = &[
    "image_pull",
    "image_name",
    "image_never_pull",
    "image_inspect",
    "registry_unavailable",
    "image_signature",
    "config",
    "create",
    "hook",
    "run",
    "creating",
    "other",
];

/// Reasons of `state.waiting` and the class that they belong to. The two of a failing pull alternate and are one.
const CLASSES: &[(&str, &str)] = &[
    ("ErrImagePull", "image_pull"),
    ("ImagePullBackOff", "image_pull"),
    ("InvalidImageName", "image_name"),
    ("ErrImageNeverPull", "image_never_pull"),
    ("ImageInspectError", "image_inspect"),
    ("RegistryUnavailable", "registry_unavailable"),
    ("SignatureValidationFailed", "image_signature"),
    ("CreateContainerConfigError", "config"),
    ("CreateContainerError", "create"),
    ("PreCreateHookError", "hook"),
    ("PreStartHookError", "hook"),
    ("PostStartHookError", "hook"),
    ("RunContainerError", "run"),
    ("ContainerCreating", "creating"),
];

/// The class of a waiting container; `None` where waiting is part of the plan or told elsewhere.
fn class(pod: &Pod, container: &Container) -> Option<&'static str> {
    let ContainerState::Waiting { reason, .. } = &container.state else { return None };
    match &**reason {
        "" | "PodInitializing" | "CrashLoopBackOff" => None,
        // Without a sandbox it is the network or a volume that is waited for: their layers tell.
        "ContainerCreating" if lacks_sandbox(pod) => None,
        reason => {
            let known = CLASSES.iter().find(|(name, _)| *name == reason);
            Some(known.map_or("other", |(_, class)| class))
        }
    }
}

fn lacks_sandbox(pod: &Pod) -> bool {
    pod.condition("PodReadyToStartContainers").is_some_and(|c| c.status == Status::False)
}

fn waiting(view: &View<'_>, out: &mut Verdicts) {
    let mut groups = Groups::default();
    for (pod, workload) in view.counted_pods().filter(|(pod, _)| !pod.node.is_empty()) {
        // One container speaks for the pod: the first that has something to say.
        let first = pod.containers.iter().find_map(|c| class(pod, c).map(|class| (c, class)));
        let Some((container, class)) = first else { continue };
        let of_image = class.starts_with("image") || class.starts_with("registry");
        let registry = if of_image { container.registry.clone() } else { Text::from("none") };
        let words = match &container.state {
            ContainerState::Waiting { message, .. } => {
                let message = message.trim();
                let colon = if message.is_empty() { "" } else { ": " };
                format!("container {}{colon}{message}", container.name)
            }
            _ => String::new(),
        };
        groups.add((pod, workload), class, registry, None, &words);
    }
    groups.tell(out, telling);
}

fn telling(class: &'static str) -> Telling {
    let (what, severity, seconds) = match class {
        "creating" => ("whose containers are not created", Severity::Warning, 300),
        "config" => ("without their configuration", Severity::Critical, 60),
        "create" | "run" | "hook" | "other" => {
            ("whose containers cannot be started", Severity::Critical, 60)
        }
        _ => ("without their image", Severity::Critical, 90),
    };
    Telling { what, severity, dwell: SignedDuration::from_secs(seconds) }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{ago, condition, container, judge, pod, reasons, world};
    use super::*;
    use crate::model::record::Object;

    fn waits(reason: &str) -> Pod {
        let state = ContainerState::Waiting { reason: reason.into(), message: "why".into() };
        let waiting = Container { registry: "reg.example".into(), ..container(state) };
        Pod { containers: [waiting].into(), ..pod("web-1") }
    }

    fn seen(pods: impl IntoIterator<Item = Pod>) -> Vec<crate::model::finding::Verdict> {
        judge(&WAITING, &world(pods.into_iter().map(|p| Object::Pod(Box::new(p)))))
    }

    #[test]
    fn every_reason_of_waiting_has_a_class() {
        for (reason, class) in CLASSES {
            assert_eq!(reasons(&seen([waits(reason)])), [*class], "{reason}");
            assert!(REASONS.contains(class));
        }
        assert_eq!(reasons(&seen([waits("SomethingNew")])), ["other"]);
    }

    #[test]
    fn waiting_that_is_planned_or_told_elsewhere_is_silent() {
        let creating = waits("ContainerCreating");
        let sandbox = condition("PodReadyToStartContainers", Status::False, "", 400);
        let leaving = Pod {
            meta: crate::model::record::Meta { deleting: Some(ago(-30)), ..pod("web-1").meta },
            ..waits("ImagePullBackOff")
        };
        let silent = [
            waits("PodInitializing"),
            waits("CrashLoopBackOff"),
            Pod { conditions: [sandbox].into(), ..creating },
            leaving,
            Pod { node: Text::default(), ..waits("ContainerCreating") },
        ];
        for pod in silent {
            assert!(seen([pod]).is_empty());
        }
    }

    #[test]
    fn pods_of_a_workload_with_the_same_trouble_are_one_finding() {
        let mut second = waits("ErrImagePull");
        second.meta.name = "web-2".into();
        let found = seen([waits("ImagePullBackOff"), second]);
        assert_eq!(found.len(), 1);
        let finding = &found[0];
        assert_eq!(finding.subject.to_string(), "Deployment shop/web");
        assert_eq!(finding.labels.get(4).map(|t| &**t), Some("reg.example"));
        assert_eq!(finding.message, "2 pods without their image, as web-1: container main: why");
    }
}
