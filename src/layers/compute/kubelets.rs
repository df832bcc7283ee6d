//! What do the kubelets count that events lose? Every probe, by its outcome.

use crate::labels;
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Object, Scrape, Uid};
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
    help: "Probes that failed, by type, as kubelets count them. Healthy is a steady few. Anomalies are told of \
           `compute_probe_failures_total`, which knows why.",
    unit: Unit::Count,
    labels: &["namespace", "workload_kind", "workload", "probe"],
    reasons: &[],
    bound: "workloads × 3 types",
    needs: &[Kind::KubeletMetrics],
    uses: &[Kind::Pod],
    profile: Profile::None,
    read: Read::Counter,
};

/// Counts what a kubelet has counted since it was asked last.
pub(super) fn observe(o: &Observation<'_>, scrape: &Scrape, tallies: &mut Tallies) {
    for sample in scrape.of("prober_probe_total").filter(|s| s.value.is_finite()) {
        let label = |name: &str| sample.labels.value(name);
        let (namespace, pod) = (label("namespace"), label("pod"));
        let (probe, result) = (label("probe_type"), label("result"));
        let uid = Uid::parse(label("pod_uid"));
        let pod = o.world.pods.get(namespace, pod).filter(|pod| pod.meta.uid == uid);
        // Of a pod that is gone nobody can say under which workload it counts; one that is not listed yet will be.
        if pod.is_none() && tallies.is_counting(scrape.kind) {
            continue;
        }
        let slot = [label("container"), probe, result].join("/");
        let total = sample.value.clamp(0.0, 1e15) as u64;
        let grown = tallies.advance_told(scrape.kind, Kind::Pod, uid, &slot, total);
        let Some(pod) = pod.filter(|_| grown > 0) else { continue };
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

    fn told(values: &[(&str, f64)]) -> Scrape {
        let sample = |(pod, value): &(&str, f64)| Sample {
            name: "prober_probe_total".into(),
            labels: Labelled::from([
                ("namespace", "shop"),
                ("pod", *pod),
                ("pod_uid", "7"),
                ("container", "main"),
                ("probe_type", "Readiness"),
                ("result", "failed"),
            ]),
            value: *value,
        };
        let samples = values.iter().map(sample).collect();
        Scrape { kind: Kind::KubeletMetrics, meta: meta("", "n1", 60), at: ago(0), samples }
    }

    #[test]
    fn failures_count_under_the_workload_of_their_pod() {
        let mut seen = pod("web-1");
        seen.meta.uid = Uid::parse("7");
        let world = world([Object::Pod(Box::new(seen))]);
        let mut tallies = Tallies::default();
        tallies.synced(Kind::KubeletMetrics, std::iter::empty());
        let see = |value: f64, tallies: &mut Tallies| {
            let object = Object::Scrape(Box::new(told(&[("web-1", value), ("gone", value)])));
            let o = Observation { world: &world, object: &object, now: ago(0) };
            observe(&o, kubelet(&object).unwrap(), tallies);
        };
        [3.0, 5.0, 1.0].into_iter().for_each(|value| see(value, &mut tallies));
        let counted: Vec<_> = tallies.counters(&FAILED).collect();
        assert_eq!(counted.len(), 1);
        assert_eq!(counted[0].1, 6, "3, 2 more, and 1 after a restart");
        tallies.forget(Kind::Pod, Uid::parse("7"));
        assert_eq!(tallies.mark(Kind::Pod, Uid::parse("7"), "main/Readiness/failed"), 0);
    }

    #[test]
    fn what_was_counted_before_anybody_looked_is_marked_also_of_pods_that_are_not_listed_yet() {
        let mut tallies = Tallies::default();
        let object = Object::Scrape(Box::new(told(&[("web-1", 40.0)])));
        let empty = world([]);
        let o = Observation { world: &empty, object: &object, now: ago(0) };
        observe(&o, kubelet(&object).unwrap(), &mut tallies);
        tallies.synced(Kind::KubeletMetrics, std::iter::empty());
        let mut seen = pod("web-1");
        seen.meta.uid = Uid::parse("7");
        let world = world([Object::Pod(Box::new(seen))]);
        let object = Object::Scrape(Box::new(told(&[("web-1", 41.0)])));
        let o = Observation { world: &world, object: &object, now: ago(60) };
        observe(&o, kubelet(&object).unwrap(), &mut tallies);
        assert_eq!(tallies.counters(&FAILED).next().unwrap().1, 1);
    }
}
