//! Do the ConfigMaps and Secrets exist that workloads cannot start without?

use std::collections::BTreeSet;

use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::reading::Readings;
use crate::model::record::{ContainerState, CronJob, Phase, Template};
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::WorkloadRef;
use crate::model::text::Text;
use crate::model::view::{STILL_SPEAKS, View};

pub(super) static BROKEN: Signal = Signal {
    block: "S6.10",
    name: "tooling_config_reference_broken",
    layer: Layer::Tooling,
    help: "Workloads whose template names a ConfigMap that does not exist, where ConfigMaps may be listed, or whose pods \
           say that a ConfigMap or Secret, or a key of it, is not found. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "workload_kind", "workload", "reason"],
    reasons: &["configmap_missing", "secret_missing"],
    bound: "workloads × 2 reasons",
    needs: &[Kind::Pod],
    uses: &[
        Kind::ConfigMap,
        Kind::Event,
        Kind::Deployment,
        Kind::StatefulSet,
        Kind::DaemonSet,
        Kind::CronJob,
    ],
    profile: Profile::None,
    read: Read::Rule(broken),
};

pub(super) static UNUSED: Signal = Signal {
    block: "S6.10",
    name: "tooling_generated_configmaps_unused",
    layer: Layer::Tooling,
    help: "ConfigMaps that kustomize generated, by their hash, and that no workload has named for 7 days: litter of old \
           rollouts.",
    unit: Unit::Count,
    labels: &["namespace"],
    reasons: &[],
    bound: "namespaces",
    needs: &[Kind::ConfigMap, Kind::Deployment, Kind::StatefulSet, Kind::DaemonSet, Kind::CronJob],
    uses: &[],
    profile: Profile::None,
    read: Read::Gauge(unused),
};

/// How old an unused ConfigMap must be: pods of an old revision may still come back to it.
const LITTER: i64 = 7 * 86_400;

fn broken(view: &View<'_>, out: &mut Verdicts) {
    let mut told: BTreeSet<(Text, Text, Text, &str)> = BTreeSet::new();
    for (workload, template) in templates(view).filter(|_| view.sees(Kind::ConfigMap)) {
        let named = template.references.iter().filter(|r| r.kind == Kind::ConfigMap);
        let gone =
            |name: &Text| view.resource(Kind::ConfigMap, &workload.namespace, name).is_none();
        let missing: Vec<&str> =
            named.map(|r| &r.name).filter(|n| gone(n)).map(Text::as_str).collect();
        if missing.is_empty() {
            continue;
        }
        let reason = "configmap_missing";
        let WorkloadRef { namespace, kind, name } = &workload;
        told.insert((namespace.clone(), kind.clone(), name.clone(), reason));
        let labels = labels![namespace, kind, name, reason];
        let message = format!(
            "its template names ConfigMaps that do not exist, so no new pod of it can start: {}",
            missing.join(", ")
        );
        out.push(Verdict::new(workload.subject(), labels, reason, message));
    }
    for (pod, workload) in view.counted_pods() {
        let Some((reason, words)) = complaint(view, pod) else { continue };
        let WorkloadRef { namespace, kind, name } = workload;
        if !told.insert((namespace.clone(), kind.clone(), name.clone(), reason)) {
            continue;
        }
        let labels = labels![namespace, kind, name, reason];
        let verdict = Verdict::new(workload.subject(), labels, reason, words);
        out.push(verdict.severity(Severity::Critical));
    }
}

/// The templates of what is meant to run pods now, or at its next time.
fn templates<'a>(view: &'a View<'_>) -> impl Iterator<Item = (WorkloadRef, &'a Template)> {
    let workloads = view.counted_workloads();
    let workloads = workloads.filter_map(|w| Some((View::reference(w), w.template.as_deref()?)));
    let here = |c: &&CronJob| c.meta.deleting.is_none() && !view.is_terminating(&c.meta.namespace);
    let crons = view.world.cron_jobs.iter().filter(here).filter(|c| !c.suspended);
    let crons = crons.filter_map(|c| {
        let (namespace, name) = (c.meta.namespace.clone(), c.meta.name.clone());
        let reference = WorkloadRef { namespace, kind: Kind::CronJob.name().into(), name };
        Some((reference, c.template.as_deref()?))
    });
    workloads.chain(crons)
}

/// What a pod says of a missing ConfigMap or Secret, in its kubelet's words.
fn complaint(view: &View<'_>, pod: &crate::model::record::Pod) -> Option<(&'static str, String)> {
    let waiting = pod.containers.iter().find_map(|c| match &c.state {
        ContainerState::Waiting { reason, message } if reason == "CreateContainerConfigError" => {
            Some(message.to_string())
        }
        _ => None,
    });
    // An event outlives what it tells of: a pod that has started has found what it missed.
    let mount = || {
        if pod.phase != Phase::Pending {
            return None;
        }
        let mut events = view.recent_events(Kind::Pod, &pod.meta, STILL_SPEAKS);
        events
            .find(|e| e.reason == "FailedMount" && lacks(&e.note.to_ascii_lowercase()))
            .map(|e| e.note.to_string())
    };
    let words = waiting.or_else(mount)?;
    let lower = words.to_ascii_lowercase();
    if !lacks(&lower) {
        None
    } else if lower.contains("configmap") {
        Some(("configmap_missing", words))
    } else if lower.contains("secret") {
        Some(("secret_missing", words))
    } else {
        None
    }
}

/// Whether a kubelet speaks of something that is not there: the object, or a key of it.
fn lacks(words: &str) -> bool {
    ["not found", "couldn't find key", "non-existent config key", "non-existent secret key"]
        .iter()
        .any(|text| words.contains(text))
}

/// Whether a name ends with the hash that kustomize appends: ten characters of its alphabet (kustomize `hasher`).
fn generated(name: &str) -> bool {
    let hash = name.rsplit_once('-').map_or("", |(_, hash)| hash);
    hash.len() == 10 && hash.bytes().all(|b| b"2456789bcdfghkmt".contains(&b))
}

fn unused(view: &View<'_>, out: &mut Readings) {
    let workloads = view.top_workloads().map(|w| (&w.meta.namespace, w.template.as_deref()));
    let crons = view.world.cron_jobs.iter();
    let crons = crons.map(|c| (&c.meta.namespace, c.template.as_deref()));
    let named: BTreeSet<(&Text, &Text)> = (workloads.chain(crons))
        .filter_map(|(namespace, template)| Some((namespace, template?)))
        .flat_map(|(namespace, t)| t.references.iter().map(move |r| (namespace, &r.name)))
        .collect();
    let mut namespaces: std::collections::BTreeMap<&Text, u64> = std::collections::BTreeMap::new();
    for map in view.resources(Kind::ConfigMap).filter(|m| generated(&m.meta.name)) {
        let old = view.is_older(map.meta.created, LITTER);
        let litter = old && !named.contains(&(&map.meta.namespace, &map.meta.name));
        *namespaces.entry(&map.meta.namespace).or_default() += u64::from(litter);
    }
    for (namespace, count) in namespaces {
        out.push(labels![namespace], count as f64);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{
        deployment, event, judge, meta, objects, pod_of, readings, reasons, resource, world,
    };
    use crate::model::record::{Container, Object, Pod, Reference, Resource, Workload};

    fn naming(map: &str) -> Workload {
        let references = [Reference { kind: Kind::ConfigMap, name: map.into() }].into();
        Workload {
            template: Some(Box::new(Template { references, ..Template::default() })),
            ..deployment("web", 1, 0)
        }
    }

    fn map(name: &str, age: i64) -> Resource {
        resource(Kind::ConfigMap, name, json!({"metadata": {"age": age}}))
    }

    #[test]
    fn a_template_that_names_what_is_not_there_is_told() {
        assert_eq!(reasons(&BROKEN, objects![naming("settings")]), ["configmap_missing"]);
        assert!(reasons(&BROKEN, objects![naming("settings"), map("settings", 9)]).is_empty());
        let blind = world(&[Kind::ConfigMap], objects![naming("settings")]);
        assert!(judge(&BROKEN, &blind).is_empty(), "nobody can tell");
        let cron = |suspended| {
            let cron = CronJob {
                meta: meta("shop", "nightly", 9),
                suspended,
                template: naming("settings").template,
                ..CronJob::default()
            };
            vec![Object::CronJob(Box::new(cron))]
        };
        assert_eq!(reasons(&BROKEN, cron(false)), ["configmap_missing"]);
        assert!(reasons(&BROKEN, cron(true)).is_empty(), "it does not run");
    }

    #[test]
    fn a_mount_that_failed_before_the_pod_started_is_over() {
        let told = |phase, note: &str| {
            let pod = Pod { phase, ..pod_of("web", "web-1") };
            let event = event((Kind::Pod, "web-1"), "FailedMount", note, 120, 60);
            reasons(&BROKEN, objects![pod, event])
        };
        let missing = "MountVolume.SetUp failed for volume \"c\" : configmap \"c\" not found";
        assert_eq!(told(Phase::Pending, missing), ["configmap_missing"]);
        let key =
            "MountVolume.SetUp failed for volume \"s\" : references non-existent secret key: a";
        assert_eq!(told(Phase::Pending, key), ["secret_missing"]);
        assert!(told(Phase::Pending, "MountVolume.SetUp failed: timed out").is_empty());
        assert!(told(Phase::Running, missing).is_empty(), "it came");
    }

    #[test]
    fn pods_speak_where_nobody_may_look() {
        let waiting = |message: &str| {
            let state = ContainerState::Waiting {
                reason: "CreateContainerConfigError".into(),
                message: message.into(),
            };
            let container = Container { state, ..Container::default() };
            Pod { containers: [container].into(), ..pod_of("web", "web-1") }
        };
        let blind = |pod: Pod| {
            let world = world(&[Kind::ConfigMap], objects![pod]);
            judge(&BROKEN, &world).iter().map(|v| v.reason).collect::<Vec<_>>()
        };
        assert_eq!(blind(waiting("secret \"x\" not found")), ["secret_missing"]);
        assert_eq!(blind(waiting("configmap \"x\" not found")), ["configmap_missing"]);
        assert_eq!(blind(waiting("couldn't find key a in Secret shop/x")), ["secret_missing"]);
        assert!(blind(waiting("something else")).is_empty());
    }

    #[test]
    fn old_generated_maps_that_nobody_names_are_litter() {
        let (used, old, fresh) = ("a-g4hk9g2ff8", "b-g4hk9g2ff8", "c-g4hk9g2ff8");
        let month = 30 * 86_400;
        let objects = objects![
            naming(used),
            map(used, month),
            map(old, month),
            map(fresh, 60),
            map("plain", month)
        ];
        assert_eq!(readings(&UNUSED, objects)[0].value, 1.0);
        let cron = CronJob {
            meta: meta("shop", "nightly", 9),
            template: naming(old).template,
            ..CronJob::default()
        };
        let objects = vec![map(old, month).into(), Object::CronJob(Box::new(cron))];
        assert_eq!(readings(&UNUSED, objects)[0].value, 0.0, "a CronJob names it");
    }
}
