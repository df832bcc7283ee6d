//! Did the pods that asked for instrumentation get it? A webhook that fails open leaves them mute for life.

use std::collections::BTreeMap;

use crate::labels;
use crate::model::finding::{Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::Pod;
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::WorkloadRef;
use crate::model::view::View;

pub(super) static GAP: Signal = Signal {
    block: "S4.8",
    name: "observability_injection_gap",
    layer: Layer::Observability,
    help: "Workloads with pods that asked for OpenTelemetry instrumentation or a sidecar and run without it: the webhook \
           failed open when they were made. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "workload_kind", "workload", "reason"],
    reasons: &["instrumentation", "sidecar"],
    bound: "workloads × 2 reasons",
    needs: &[Kind::Pod],
    uses: &[Kind::ReplicaSet, Kind::OpenTelemetryCollector],
    profile: Profile::None,
    read: Read::Rule(gap),
};

const INJECT: &str = "instrumentation.opentelemetry.io/inject-";
const SIDECAR: &str = "sidecar.opentelemetry.io/inject";

/// How the containers begin that the operator adds; the second is that for web servers.
const INJECTED: &[&str] = &["opentelemetry-auto-instrumentation", "otel-agent-attach-"];

/// What a pod asked for and did not get.
fn missing(pod: &Pod) -> Option<&'static str> {
    let asked = |value: &str| !value.is_empty() && !value.eq_ignore_ascii_case("false");
    let has = |begin: &str| pod.containers.iter().any(|c| c.name.starts_with(begin));
    let instrumented = pod.meta.annotations.iter().any(|(key, value)| {
        // The one for SDKs sets variables only, which leave no container.
        key.strip_prefix(INJECT).is_some_and(|language| language != "sdk") && asked(value)
    });
    if instrumented && !INJECTED.iter().any(|begin| has(begin)) {
        return Some("instrumentation");
    }
    (asked(pod.meta.annotations.value(SIDECAR)) && !has("otc-container")).then_some("sidecar")
}

fn gap(view: &View<'_>, out: &mut Verdicts) {
    let mut gaps: BTreeMap<(&WorkloadRef, &'static str), (u32, &Pod)> = BTreeMap::new();
    for (pod, workload) in view.counted_pods() {
        if let Some(reason) = missing(pod) {
            let (count, oldest) = gaps.entry((workload, reason)).or_insert((0, pod));
            *count += 1;
            if pod.meta.created < oldest.meta.created {
                *oldest = pod;
            }
        }
    }
    for ((workload, reason), (count, oldest)) in gaps {
        let told = format!(
            "{count} pods asked for the {reason} of OpenTelemetry and run without it, such as {}",
            oldest.meta.name
        );
        let labels = labels![&workload.namespace, &workload.kind, &workload.name, reason];
        let verdict = Verdict::new(workload.subject(), labels, reason, told);
        out.push(verdict.since(oldest.meta.created).dwell(60));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::fixtures::{objects, pod_of, reasons};
    use crate::model::record::{Container, Labelled};

    #[test]
    fn a_pod_without_what_it_asked_for_is_told() {
        let pod = |asked: &str, value: &str, container: &str| {
            let mut pod = pod_of("web", "web-1");
            pod.meta.annotations = Labelled::from([(asked, value)]);
            pod.containers = [Container { name: container.into(), ..Container::default() }].into();
            reasons(&GAP, objects![pod])
        };
        let java = "instrumentation.opentelemetry.io/inject-java";
        assert_eq!(pod(java, "true", "main"), ["instrumentation"]);
        assert!(pod(java, "false", "main").is_empty() && pod(java, "False", "main").is_empty());
        let nginx = "instrumentation.opentelemetry.io/inject-nginx";
        assert!(pod(nginx, "true", "otel-agent-attach-nginx").is_empty());
        assert_eq!(pod(nginx, "true", "main"), ["instrumentation"]);
        assert!(pod(java, "true", "opentelemetry-auto-instrumentation-java").is_empty());
        assert!(pod("instrumentation.opentelemetry.io/inject-sdk", "true", "main").is_empty());
        assert_eq!(pod("sidecar.opentelemetry.io/inject", "true", "main"), ["sidecar"]);
    }
}
