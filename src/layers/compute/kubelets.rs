//! What do the kubelets count that events lose? Every probe, by its outcome.

use crate::labels;
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Object, Scrape};
use crate::model::signal::{Observation, Profile, Read, Signal, Unit};
use crate::model::tally::Tallies;
use crate::model::view::roll_up;

pub(super) static PROBES: Signal = Signal {
    block: "S2.9",
    name: "compute_probes_total",
    layer: Layer::Compute,
    help: "Probes by type and outcome as kubelets count them, which loses none, unlike events. Failures before a \
           container has started are expected.",
    unit: Unit::Count,
    labels: &["namespace", "workload_kind", "workload", "probe", "result"],
    reasons: &[],
    bound: "workloads × 3 types × 3 outcomes",
    needs: &[Kind::KubeletMetrics],
    uses: &[Kind::Pod],
    profile: Profile::None,
    read: Read::Counter,
};

pub(super) static FAILED: Signal = Signal {
    block: "S2.9",
    name: "compute_failed_probes_total",
    layer: Layer::Compute,
    help: "Probes that failed, by type, as kubelets count them. Healthy is a steady few.",
    unit: Unit::Count,
    labels: &["namespace", "workload_kind", "workload", "probe"],
    reasons: &[],
    bound: "workloads × 3 types",
    needs: &[Kind::KubeletMetrics],
    uses: &[Kind::Pod],
    profile: Profile::Rate,
    read: Read::Counter,
};

/// Counts what a kubelet has counted since it was asked last.
pub(super) fn observe(o: &Observation<'_>, scrape: &Scrape, tallies: &mut Tallies) {
    for sample in scrape.of("prober_probe_total").filter(|s| s.value.is_finite()) {
        let label = |name: &str| sample.labels.value(name);
        let (namespace, pod) = (label("namespace"), label("pod"));
        let (probe, result) = (label("probe_type"), label("result"));
        let slot = [namespace, pod, label("container"), probe, result, label("pod_uid")].join("/");
        let grown = tallies.advance(
            scrape.kind,
            scrape.meta.uid,
            &slot,
            sample.value.clamp(0.0, 1e15) as u64,
        );
        // Of a pod that is gone nobody can say under which workload it counts.
        let Some(pod) = o.world.pods.get(namespace, pod).filter(|_| grown > 0) else { continue };
        let workload = roll_up(o.world, pod);
        let probe = match probe {
            "Liveness" => "liveness",
            "Readiness" => "readiness",
            "Startup" => "startup",
            _ => continue,
        };
        let result = match result {
            "successful" => "successful",
            "failed" => "failed",
            _ => "unknown",
        };
        let (ns, kind, name) = (&workload.namespace, &workload.kind, &workload.name);
        tallies.add(&PROBES, labels![ns, kind, name, probe, result], grown);
        if result == "failed" {
            tallies.add(&FAILED, labels![ns, kind, name, probe], grown);
        }
    }
}

/// The answer of a kubelet, if the object is one.
pub(super) fn kubelet(object: &Object) -> Option<&Scrape> {
    match object {
        Object::Scrape(scrape) if scrape.kind == Kind::KubeletMetrics => Some(scrape),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{ago, pod, world};
    use super::*;
    use crate::layers::fixtures::meta;
    use crate::model::record::{Labelled, Sample};

    #[test]
    fn failures_count_under_the_workload_of_their_pod() {
        let world = world([Object::Pod(Box::new(pod("web-1")))]);
        let mut tallies = Tallies::default();
        tallies.synced(Kind::KubeletMetrics, std::iter::empty());
        for value in [3.0, 5.0, 1.0] {
            let labels = |pod: &str| {
                Labelled::from([
                    ("namespace", "shop"),
                    ("pod", pod),
                    ("container", "main"),
                    ("probe_type", "Readiness"),
                    ("result", "failed"),
                ])
            };
            let sample =
                |pod| Sample { name: "prober_probe_total".into(), labels: labels(pod), value };
            let samples = [sample("web-1"), sample("gone")].into();
            let scrape = Scrape {
                kind: Kind::KubeletMetrics,
                meta: meta("", "n1", 60),
                at: ago(0),
                samples,
            };
            let object = Object::Scrape(Box::new(scrape));
            let o = Observation { world: &world, object: &object, now: ago(0) };
            observe(&o, kubelet(&object).unwrap(), &mut tallies);
        }
        let told: Vec<_> = tallies.counters(&FAILED).collect();
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].1, 6, "3, 2 more, and 1 after a restart");
    }
}
