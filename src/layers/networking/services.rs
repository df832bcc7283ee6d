//! Can each Service serve, where it is meant to?

use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::reading::Readings;
use crate::model::record::{Pod, Resource, Status, Strategy, Time, Workload};
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::view::{View, roll_up};

pub(super) static NOT_SERVING: Signal = Signal {
    block: "S3.1",
    name: "networking_service_not_serving",
    layer: Layer::Networking,
    help: "Services without a ready endpoint although their workloads are meant to run. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "service", "reason"],
    reasons: &["no_ready", "serving_only"],
    bound: "services × 2 reasons",
    needs: &[Kind::Service, Kind::EndpointSlice, Kind::Pod],
    uses: WORKLOADS,
    profile: Profile::None,
    read: Read::Rule(not_serving),
};

pub(super) static READY: Signal = Signal {
    block: "S3.1",
    name: "networking_service_ready_ratio",
    layer: Layer::Networking,
    help: "Share of the endpoints of a Service that are ready, of those that are not leaving; only of Services that \
           lack some. Healthy is no series.",
    unit: Unit::Ratio,
    labels: &["namespace", "service"],
    reasons: &[],
    bound: "services",
    needs: &[Kind::Service, Kind::EndpointSlice],
    uses: &[],
    profile: Profile::None,
    read: Read::Gauge(ready),
};

pub(super) const WORKLOADS: &[Kind] =
    &[Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet, Kind::ReplicaSet];

/// Seconds that a workload may take to start before a Service without an endpoint is told: the same as most images
/// need to be pulled and most processes to begin.
const START: i64 = 300;

/// Whether a Service stands for pods that it selects; what others put behind a Service is theirs to judge.
pub(super) fn selects(service: &Resource) -> bool {
    service.meta.deleting.is_none()
        && service.body.text("spec.type") != "ExternalName"
        && !service.body.entries("spec.selector").is_empty()
}

/// Why a Service cannot serve although it is meant to, since when, and how long that may last.
pub(super) struct Outage {
    pub(super) reason: &'static str,
    pub(super) since: Option<Time>,
    pub(super) dwell: i64,
    /// Pods that are meant to run behind it.
    pub(super) pods: usize,
}

/// Tells whether a Service lacks ready endpoints that it is meant to have.
///
/// One without a selector, or whose workloads are scaled to zero, says nothing; nor does one that publishes pods that
/// are not ready.
pub(super) fn outage(view: &View<'_>, service: &Resource) -> Option<Outage> {
    let (namespace, name) = (&service.meta.namespace, &service.meta.name);
    if !selects(service)
        || service.body.is_true("spec.publishNotReadyAddresses")
        || view.ready_endpoints(namespace, name) != Some(0)
    {
        return None;
    }
    let workloads: Vec<&Workload> = view
        .selected_workloads(service)
        .filter(|w| w.desired > 0 && w.meta.deleting.is_none())
        .collect();
    let pods: Vec<&Pod> = view
        .selected_pods(service)
        .filter(|pod| view.counts(pod, &roll_up(view.world, pod)))
        .collect();
    if workloads.is_empty() && pods.is_empty() {
        return None;
    }
    let starting = |w: &&Workload| {
        view.is_younger(w.meta.created, START)
            || (w.strategy == Strategy::Recreate && view.in_rollout(w))
            || scaled_up(view, w, &pods)
    };
    let young = |pod: &&Pod| view.is_younger(pod.meta.created, START);
    let starts = match workloads.is_empty() {
        false => workloads.iter().all(starting),
        // Pods of a Job or of somebody's own kind.
        true => pods.iter().all(young),
    };
    let dwell = if starts { START } else { 30 };
    let draining = !view.endpoints(namespace, name).draining.is_empty();
    Some(Outage {
        reason: if draining { "serving_only" } else { "no_ready" },
        since: lasting(view, since(&pods), dwell),
        dwell,
        pods: pods.len(),
    })
}

/// Whether a workload may just come from zero: it was scaled lately, and all pods there are came after that.
fn scaled_up(view: &View<'_>, workload: &Workload, pods: &[&Pod]) -> bool {
    let scaled = workload.meta.managers.iter().filter(|m| m.subresource == "scale");
    let scaled = scaled.filter_map(|m| m.at).max();
    scaled.is_some_and(|at| {
        view.is_younger(at, START) && pods.iter().all(|pod| pod.meta.created >= at)
    })
}

/// A start that pods tell, if it is long ago: pods that come and go faster than the dwell would put it off for ever, and
/// what kubestrata has seen itself is the better witness.
pub(super) fn lasting(view: &View<'_>, since: Option<Time>, dwell: i64) -> Option<Time> {
    since.filter(|since| view.age_seconds(*since) >= dwell)
}

/// Since when no pod is ready. Where one says that it is, its endpoints know better than it, or are behind: when that
/// began nobody tells.
fn since(pods: &[&Pod]) -> Option<Time> {
    let ready = |pod: &&Pod| pod.condition("Ready").is_some_and(|c| c.status == Status::True);
    if pods.iter().any(ready) {
        return None;
    }
    pods.iter().map(|pod| changed(pod)).max()
}

/// When the pod's readiness last changed.
pub(super) fn changed(pod: &Pod) -> Time {
    pod.condition("Ready").and_then(|c| c.since).unwrap_or(pod.meta.created)
}

fn not_serving(view: &View<'_>, out: &mut Verdicts) {
    for service in view.resources(Kind::Service) {
        let Some(outage) = outage(view, service) else { continue };
        let (severity, message) = match (outage.reason, outage.pods) {
            ("serving_only", _) => {
                (Severity::Warning, "only endpoints that are leaving still serve".to_owned())
            }
            (_, 0) => (Severity::Critical, "no endpoint: its workload has no pods".to_owned()),
            (_, n) => (Severity::Critical, format!("no endpoint is ready, of {n} pods selected")),
        };
        let labels = labels![&service.meta.namespace, &service.meta.name, outage.reason];
        let verdict = Verdict::new(Subject::of(service), labels, outage.reason, message);
        out.push(verdict.severity(severity).since(outage.since).dwell(outage.dwell));
    }
}

fn ready(view: &View<'_>, out: &mut Readings) {
    for service in view.resources(Kind::Service).filter(|s| selects(s)) {
        let endpoints = view.endpoints(&service.meta.namespace, &service.meta.name);
        let staying = endpoints.all.difference(&endpoints.draining).count();
        if endpoints.ready.len() < staying {
            let labels = labels![&service.meta.namespace, &service.meta.name];
            out.push_ratio(labels, endpoints.ready.len() as u64, staying as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{
        condition, deployment, judge, meta, objects, pod_of, readings, reasons, resource, service,
        slice, world,
    };
    use crate::model::record::{Endpoint, Manager, Meta, Object, Slice};

    fn unready(app: &str) -> Pod {
        let ready = condition("Ready", Status::False, "ContainersNotReady", 90);
        Pod { conditions: [ready].into(), ..pod_of(app, &format!("{app}-1")) }
    }

    fn leaving(service: &str) -> Slice {
        let endpoint = Endpoint {
            target: "old".into(),
            serving: true,
            terminating: true,
            ..Endpoint::default()
        };
        Slice { endpoints: [endpoint].into(), ..slice(service, &[]) }
    }

    #[test]
    fn a_pod_that_is_ready_does_not_tell_since_when_it_does_not_serve() {
        let unready = unready("web");
        let ready = unready
            .conditions
            .iter()
            .cloned()
            .map(|c| crate::model::record::Condition { status: Status::True, ..c });
        let ready = Pod { conditions: ready.collect(), ..unready };
        let all = objects![service("web"), slice("web", &[false]), ready];
        assert_eq!(judge(&NOT_SERVING, &world(&[], all))[0].since, None);
    }

    #[test]
    fn a_service_without_a_ready_endpoint_is_told_with_its_age() {
        let all = objects![
            service("web"),
            slice("web", &[false]),
            deployment("web", 1, 0),
            unready("web")
        ];
        let found = judge(&NOT_SERVING, &world(&[], all));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].reason, found[0].severity), ("no_ready", Severity::Critical));
        assert_eq!(found[0].subject.to_string(), "Service shop/web");
        assert_eq!(found[0].since, Some(crate::layers::fixtures::ago(90)));
        assert_eq!(found[0].dwell.as_secs(), 30);
        let drained = objects![service("web"), leaving("web"), deployment("web", 1, 0)];
        assert_eq!(reasons(&NOT_SERVING, drained), ["serving_only"]);
    }

    #[test]
    fn a_workload_that_has_just_come_has_time_to_start() {
        let young = Workload { meta: meta("shop", "web", 60), ..deployment("web", 1, 0) };
        let found =
            judge(&NOT_SERVING, &world(&[], objects![service("web"), young, unready("web")]));
        assert_eq!(found[0].dwell.as_secs(), START);
    }

    #[test]
    fn pods_that_come_from_zero_or_of_a_job_have_time_to_start() {
        let dwell = |scaled: i64, pod: Pod| {
            let by = Manager {
                name: "keda".into(),
                at: Some(crate::layers::fixtures::ago(scaled)),
                subresource: "scale".into(),
                ..Manager::default()
            };
            let plain = deployment("web", 1, 0);
            let scaled = Workload { meta: Meta { managers: [by].into(), ..plain.meta }, ..plain };
            let all = objects![service("web"), slice("web", &[false]), scaled, pod];
            judge(&NOT_SERVING, &world(&[], all))[0].dwell.as_secs()
        };
        let aged = |age| {
            let pod = unready("web");
            let created = crate::layers::fixtures::ago(age);
            Pod { meta: Meta { created, ..pod.meta }, ..pod }
        };
        assert_eq!(dwell(60, aged(50)), START);
        assert_eq!(dwell(60, aged(3600)), 30, "one was there before");
        assert_eq!(dwell(900, aged(50)), 30, "long ago");
        let alone = |pod| {
            let all = objects![service("web"), slice("web", &[false]), pod];
            judge(&NOT_SERVING, &world(&[], all))[0].dwell.as_secs()
        };
        assert_eq!((alone(aged(50)), alone(aged(3600))), (START, 30));
    }

    #[test]
    fn pods_that_come_and_go_do_not_put_the_start_off() {
        let fresh = Pod { meta: meta("shop", "web-2", 5), conditions: [].into(), ..unready("web") };
        let fresh = Pod {
            meta: crate::model::record::Meta { labels: unready("web").meta.labels, ..fresh.meta },
            ..fresh
        };
        let all = objects![service("web"), deployment("web", 2, 0), unready("web"), fresh];
        assert_eq!(judge(&NOT_SERVING, &world(&[], all))[0].since, None);
    }

    #[test]
    fn what_is_not_meant_to_serve_is_silent() {
        let spec = |spec: serde_json::Value| resource(Kind::Service, "web", json!({"spec": spec}));
        let published = spec(
            json!({"selector": {"app": "web"}, "clusterIP": "None", "publishNotReadyAddresses": true}),
        );
        let external = spec(json!({"type": "ExternalName", "selector": {"app": "web"}}));
        let cases: Vec<Vec<Object>> = vec![
            objects![service("web"), slice("web", &[true, false]), deployment("web", 2, 1)],
            objects![service("web"), slice("web", &[]), deployment("web", 0, 0)],
            objects![service("web"), slice("web", &[]), deployment("other", 1, 1)],
            objects![spec(json!({"ports": []})), deployment("web", 1, 0)],
            objects![spec(json!({"selector": "odd"})), deployment("web", 1, 0)],
            objects![published, deployment("web", 1, 0), unready("web")],
            objects![external, deployment("web", 1, 0), unready("web")],
        ];
        for (i, case) in cases.into_iter().enumerate() {
            assert!(reasons(&NOT_SERVING, case).is_empty(), "case {i}");
        }
    }

    #[test]
    fn the_ratio_is_of_those_that_stay_and_silent_when_whole() {
        let found = readings(&READY, objects![service("web"), slice("web", &[true, false, false])]);
        assert_eq!((found[0].value, found[0].population), (1.0 / 3.0, Some(3)));
        assert!(readings(&READY, objects![service("web"), slice("web", &[true])]).is_empty());
        assert!(readings(&READY, objects![service("web"), leaving("web")]).is_empty());
    }
}
