//! Who reports, and how much? A controller that falls silent, or that floods.

use crate::labels;
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::Event;
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::tally::Tallies;

pub(super) static EVENTS: Signal = Signal {
    block: "S4.13",
    name: "observability_events_total",
    layer: Layer::Observability,
    help: "Occurrences that events tell of, by who reports them: a flood is a fault of the reporter, silence of one that \
           should speak too. Routine steps of healthy pods are not read.",
    unit: Unit::Count,
    labels: &["actor", "severity"],
    reasons: &[],
    bound: "23 known reporters and other × 2",
    needs: &[Kind::Event],
    uses: &[],
    profile: Profile::Flood { least: FLOOD },
    read: Read::Counter,
};

/// Events come in bursts: a batch of Jobs brings dozens in ten minutes. A reporter that floods brings hundreds.
const FLOOD: f64 = 100.0;

/// Reporters that are told by name; names of others have no bound.
const KNOWN: &[&str] = &[
    "kubelet",
    "default-scheduler",
    "deployment-controller",
    "replicaset-controller",
    "statefulset-controller",
    "daemonset-controller",
    "job-controller",
    "cronjob-controller",
    "node-controller",
    "taint-eviction-controller",
    "attachdetach-controller",
    "persistentvolume-controller",
    "horizontal-pod-autoscaler",
    "endpoint-slice-controller",
    "service-controller",
    "cluster-autoscaler",
    "karpenter",
    "cert-manager-certificates-issuing",
    "argocd-application-controller",
    "kustomize-controller",
    "helm-controller",
    "source-controller",
    "kyverno-admission",
];

/// Counts what an event has grown by.
pub(super) fn observe(event: &Event, tallies: &mut Tallies) {
    let n = tallies.advance(Kind::Event, event.meta.uid, "actor", u64::from(event.count));
    let actor = KNOWN.iter().find(|known| event.actor == **known).copied().unwrap_or("other");
    let severity = if event.warning { "warning" } else { "normal" };
    tallies.add(&EVENTS, labels![actor, severity], n);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::fixtures::{Counted, event, objects};
    use crate::layers::observability::LAYER;

    #[test]
    fn occurrences_count_by_their_reporter() {
        let by = |actor: &str, count| Event {
            actor: actor.into(),
            count,
            ..event((Kind::Pod, actor), "X", "y", 60, 60)
        };
        let mut counted = Counted::new(&LAYER, objects![]);
        counted.see(by("kubelet", 3), 60).see(by("kubelet", 5), 30).see(by("somebody", 1), 30);
        let expected = [("kubelet warning".to_owned(), 5), ("other warning".to_owned(), 1)];
        assert_eq!(counted.totals(&EVENTS), expected);
    }
}
