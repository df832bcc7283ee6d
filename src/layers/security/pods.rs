//! Which pods run with a certificate that is late or over? The kubelet tells, from Kubernetes 1.35 on.

use std::collections::{BTreeMap, BTreeSet};

use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Event, Time};
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::WorkloadRef;
use crate::model::text::Text;
use crate::model::view::{STILL_SPEAKS, View};

pub(super) static CERTIFICATES: Signal = Signal {
    block: "S5.17",
    name: "security_pod_certificate_late",
    layer: Layer::Security,
    help: "Workloads with pods whose projected certificate is overdue for its refresh, or has run out. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "workload_kind", "workload", "reason"],
    reasons: &["overdue", "expired"],
    bound: "workloads × 2 reasons",
    needs: &[Kind::Event, Kind::Pod],
    uses: &[Kind::ReplicaSet, Kind::Job],
    profile: Profile::None,
    read: Read::Rule(late),
};

fn reason_of(event: &Event) -> Option<&'static str> {
    match event.reason.as_str() {
        "CertificateExpired" => Some("expired"),
        "CertificateOverdueForRefresh" => Some("overdue"),
        _ => None,
    }
}

fn late(view: &View<'_>, out: &mut Verdicts) {
    // Hardly ever is there one: to look for those of every pod would cost more than to look at every event.
    if !view.world.events.iter().any(|event| reason_of(event).is_some()) {
        return;
    }
    let mut found: BTreeMap<(WorkloadRef, &'static str), (BTreeSet<&Text>, Time)> = BTreeMap::new();
    for (pod, workload) in view.counted_pods() {
        for event in view.recent_events(Kind::Pod, &pod.meta, STILL_SPEAKS) {
            let Some(reason) = reason_of(event) else { continue };
            let key = (workload.clone(), reason);
            let (pods, since) = found.entry(key).or_insert_with(|| (BTreeSet::new(), event.first));
            pods.insert(&pod.meta.name);
            *since = (*since).min(event.first);
        }
    }
    for ((workload, reason), (pods, since)) in found {
        let labels = labels![&workload.namespace, &workload.kind, &workload.name, reason];
        let message = format!("pods that hold a certificate that is {reason}: {}", pods.len());
        let severity = if reason == "expired" { Severity::Critical } else { Severity::Warning };
        let verdict = Verdict::new(workload.subject(), labels, reason, message);
        out.push(verdict.severity(severity).since(since).dwell(60));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::fixtures::{event, judge, objects, pod_of, reasons, world};

    #[test]
    fn pods_are_told_by_workload_while_the_kubelet_reports() {
        let report =
            |pod: &str, reason: &str, last| event((Kind::Pod, pod), reason, "late", 900, last);
        let objects = objects![
            pod_of("web", "web-1"),
            pod_of("web", "web-2"),
            report("web-1", "CertificateExpired", 60),
            report("web-2", "CertificateExpired", 60),
        ];
        let told = judge(&CERTIFICATES, &world(&[], objects));
        assert_eq!((told.len(), told[0].reason), (1, "expired"));
        assert_eq!(told[0].message, "pods that hold a certificate that is expired: 2");
        let with = |reason, last| {
            reasons(&CERTIFICATES, objects![pod_of("web", "web-1"), report("web-1", reason, last)])
        };
        assert_eq!(with("CertificateOverdueForRefresh", 60), ["overdue"]);
        assert!(with("CertificateOverdueForRefresh", 3000).is_empty());
        assert!(with("Unhealthy", 60).is_empty());
    }
}
