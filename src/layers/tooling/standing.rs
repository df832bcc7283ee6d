//! What was switched off for a moment and forgotten? The ledger of states that are each meant, until nobody remembers.

use crate::labels;
use crate::layers::switches::{SWITCHED, switched_by, switched_off};
use crate::model::finding::{Severity, Verdict, Verdicts, short_age};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Meta, Status, Time};
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::text::Text;
use crate::model::view::{NodeContext, View};

pub(super) static FORGOTTEN: Signal = Signal {
    block: "S6.7",
    name: "tooling_forgotten_state",
    layer: Layer::Tooling,
    help: "What was switched off and may have been forgotten: for a day, nodes cordoned, Deployments paused, objects of \
           Flux and Argo CD that no longer follow Git and their controllers scaled to zero; for a week, CronJobs and \
           Jobs suspended and disruption budgets that forbid every drain. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "kind", "name", "reason"],
    reasons: &[
        "cordoned",
        "paused",
        "suspended",
        "skip_reconcile",
        "automation_off",
        "scaled_to_zero",
        "forbids_drain",
    ],
    bound: "nodes, Deployments, CronJobs, Jobs, budgets and objects of Flux and Argo CD",
    needs: &[],
    uses: &[
        Kind::Node,
        Kind::Deployment,
        Kind::StatefulSet,
        Kind::CronJob,
        Kind::Job,
        Kind::PodDisruptionBudget,
        Kind::GitRepository,
        Kind::OciRepository,
        Kind::HelmRepository,
        Kind::HelmChart,
        Kind::Bucket,
        Kind::Kustomization,
        Kind::HelmRelease,
        Kind::FluxReceiver,
        Kind::FluxProvider,
        Kind::FluxAlert,
        Kind::FluxInstance,
        Kind::ResourceSet,
        Kind::ArgoApplication,
    ],
    profile: Profile::None,
    read: Read::Rule(forgotten),
};

const DAY: i64 = 86_400;

/// Parts of Argo CD and Flux without which nothing follows Git; the others may be there or not.
const ENGINES: &[(&str, &str)] = &[
    ("argocd", "application-controller"),
    ("argocd", "repo-server"),
    ("flux", "source-controller"),
    ("flux", "kustomize-controller"),
    ("flux", "helm-controller"),
];

/// A state that is meant, and how long it may stand before somebody is asked.
struct Standing<'a> {
    kind: Kind,
    meta: &'a Meta,
    reason: &'static str,
    /// Not earlier than it began; `None` where only looking can tell.
    since: Option<Time>,
    seconds: i64,
    told: String,
}

fn forgotten(view: &View<'_>, out: &mut Verdicts) {
    let ledger = (nodes(view).chain(rollouts(view)).chain(engines(view)))
        .chain(cron_jobs(view))
        .chain(jobs(view))
        .chain(budgets(view))
        .chain(followers(view));
    for entry in ledger {
        let Standing { kind, meta, reason, since, seconds, told } = entry;
        if meta.deleting.is_some() || view.is_terminating(&meta.namespace) {
            continue;
        }
        let by = switched_by(meta).map_or_else(String::new, |(m, _)| format!(" by {}", m.name));
        let age = since
            .map_or_else(String::new, |at| format!(" for {}", short_age(view.age_seconds(at))));
        let none = Text::default();
        let namespace = if kind.namespaced() { &meta.namespace } else { &none };
        let labels = labels![namespace, kind.name(), &meta.name, reason];
        let told = format!("{}{by}{age}: {told}", reason.replace('_', " "));
        let verdict = Verdict::new(Subject::new(kind, namespace, &meta.name), labels, reason, told);
        out.push(verdict.severity(Severity::Info).since(since).dwell(seconds));
    }
}

/// Nodes that nobody but a person keeps empty: scale-downs and announced maintenance end by themselves.
fn nodes<'a>(view: &'a View<'_>) -> impl Iterator<Item = Standing<'a>> {
    let cordoned = |node| view.node_context(node) == Some(NodeContext::Cordoned);
    view.world.nodes.iter().filter(move |node| cordoned(node)).map(|node| {
        let taint = node.taints.iter().find(|t| t.key == "node.kubernetes.io/unschedulable");
        let since = taint.and_then(|t| t.added).max(switched_by(&node.meta).map(|(_, at)| at));
        let pods = view.pods_on(&node.meta.name).count();
        let told =
            format!("no pod may come to it, and {pods} are still there; uncordon or drain it");
        let (kind, meta) = (Kind::Node, &node.meta);
        Standing { kind, meta, reason: "cordoned", since, seconds: DAY, told }
    })
}

fn rollouts<'a>(view: &'a View<'_>) -> impl Iterator<Item = Standing<'a>> {
    view.world.deployments.iter().filter(|d| d.paused).map(|deployment| {
        let meta = &deployment.meta;
        let says = deployment.condition("Progressing").filter(|c| c.reason == "DeploymentPaused");
        let says = says.and_then(|c| c.since);
        let since = says.max(switched_by(meta).map(|(_, at)| at));
        let told = "changes of its template have no effect until its rollout is resumed".to_owned();
        Standing { kind: Kind::Deployment, meta, reason: "paused", since, seconds: DAY, told }
    })
}

fn engines<'a>(view: &'a View<'_>) -> impl Iterator<Item = Standing<'a>> {
    let world = view.world;
    let idle =
        world.deployments.iter().chain(world.stateful_sets.iter()).filter(|w| w.desired == 0);
    let engine = |meta: &Meta| {
        let label = |key| meta.labels.value(key);
        let part = (label("app.kubernetes.io/part-of"), label("app.kubernetes.io/component"));
        ENGINES.contains(&part)
    };
    idle.filter(move |w| engine(&w.meta)).map(|workload| {
        let scaled = workload.meta.managers.iter().filter(|m| m.subresource == "scale");
        let since = scaled.filter_map(|m| m.at).max();
        let told = "nothing that it does for GitOps is done until it is scaled up".to_owned();
        let (kind, meta) = (workload.kind, &workload.meta);
        Standing { kind, meta, reason: "scaled_to_zero", since, seconds: DAY, told }
    })
}

fn cron_jobs<'a>(view: &'a View<'_>) -> impl Iterator<Item = Standing<'a>> {
    view.world.cron_jobs.iter().filter(|c| c.suspended).map(|cron| {
        let meta = &cron.meta;
        // It ran last before it was suspended, maybe long before: a monthly one is not forgotten after an hour.
        let since = switched_by(meta).map(|(_, at)| at);
        let since = since.map(|at| cron.last_scheduled.map_or(at, |ran| at.max(ran)));
        let told = match cron.last_scheduled {
            Some(at) => format!("it last ran at {at:.0}"),
            None => "it has never run".to_owned(),
        };
        Standing { kind: Kind::CronJob, meta, reason: "suspended", since, seconds: 7 * DAY, told }
    })
}

/// Jobs that a person suspended: those of an owner or of a queue wait for their turn.
fn jobs<'a>(view: &'a View<'_>) -> impl Iterator<Item = Standing<'a>> {
    let ended = |kind| {
        move |c: &crate::model::record::Condition| c.kind == kind && c.status == Status::True
    };
    let waits = move |job: &&crate::model::record::Job| {
        let over = job.conditions.iter().any(|c| ended("Complete")(c) || ended("Failed")(c));
        job.suspended && !over && !job.queued && job.meta.owner.is_none()
    };
    view.world.jobs.iter().filter(waits).map(|job| {
        let since = job.condition("Suspended").filter(|c| c.status == Status::True);
        let since = since.and_then(|c| c.since);
        let told = "it has no pods until it is resumed".to_owned();
        let (kind, meta) = (Kind::Job, &job.meta);
        Standing { kind, meta, reason: "suspended", since, seconds: 7 * DAY, told }
    })
}

/// Budgets that want every pod of theirs to stay.
fn budgets<'a>(view: &'a View<'_>) -> impl Iterator<Item = Standing<'a>> {
    let budgets = view.resources(Kind::PodDisruptionBudget).filter(|b| b.observed());
    budgets.filter_map(|budget| {
        let count = |field: &str| budget.body.count(&format!("status.{field}"));
        let (expected, desired) = (count("expectedPods"), count("desiredHealthy"));
        if expected == 0 || desired < expected || count("disruptionsAllowed") > 0 {
            return None;
        }
        let meta = &budget.meta;
        let says = budget.condition("DisruptionAllowed").filter(|c| c.status == Status::False);
        let written = meta.managers.iter().filter(|m| m.subresource.is_empty());
        // An edit may have made it so since the condition turned for another reason.
        let since = says.and_then(|c| c.since).max(written.filter_map(|m| m.at).max());
        let told =
            format!("all of its {expected} pods must stay, so no node with one can be drained");
        let (kind, reason) = (Kind::PodDisruptionBudget, "forbids_drain");
        Some(Standing { kind, meta, reason, since, seconds: 7 * DAY, told })
    })
}

/// Objects of Flux and Argo CD that no longer follow Git because somebody said so.
fn followers<'a>(view: &'a View<'_>) -> impl Iterator<Item = Standing<'a>> {
    view.resources_of(SWITCHED).filter_map(|object| {
        let reason = switched_off(object)?;
        let since = switched_by(&object.meta).map(|(_, at)| at);
        let told = match reason {
            "automation_off" => "changes in Git wait for a person to sync them",
            _ => "what changes in Git or in the cluster goes unnoticed until it is resumed",
        };
        let (kind, meta, told) = (object.kind, &object.meta, told.to_owned());
        Some(Standing { kind, meta, reason, since, seconds: DAY, told })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{
        ago, condition, deployment, judge, meta, objects, resource, world,
    };
    use crate::model::record::{
        CronJob, Job, Labelled, Manager, Node, Object, Resource, Taint, Workload,
    };

    /// Kind, reason, standing time so far (`None`: from the first look) and standing time needed.
    fn told(objects: Vec<Object>) -> Vec<(String, &'static str, Option<Time>, i64)> {
        let verdicts = judge(&FORGOTTEN, &world(&[], objects));
        let told = |v: &Verdict| (v.subject.kind.to_string(), v.reason, v.since, v.dwell.as_secs());
        verdicts.iter().map(told).collect()
    }

    fn switch(by: &str, age: i64) -> Box<[Manager]> {
        let (name, at) = (by.into(), Some(ago(age)));
        [Manager { name, at, switch: true, ..Manager::default() }].into()
    }

    fn cron(suspended: bool, ran: Option<i64>, managers: Box<[Manager]>) -> Object {
        let meta = Meta { managers, ..meta("shop", "backup", 9_000_000) };
        let last_scheduled = ran.map(ago);
        Object::CronJob(Box::new(CronJob { meta, suspended, last_scheduled, ..CronJob::default() }))
    }

    #[test]
    fn a_cordoned_node_is_as_old_as_its_taint_and_maintenance_is_no_cordon() {
        let taint =
            |key: &str| Taint { key: key.into(), added: Some(ago(200_000)), ..Taint::default() };
        let cordon = taint("node.kubernetes.io/unschedulable");
        let node = |taints: &[Taint], unschedulable| Node {
            meta: meta("", "n1", 900_000),
            unschedulable,
            taints: taints.into(),
            ..Node::default()
        };
        let found = told(objects![node(std::slice::from_ref(&cordon), true)]);
        assert_eq!(found, [("Node".to_owned(), "cordoned", Some(ago(200_000)), DAY)]);
        assert!(told(objects![node(&[], false)]).is_empty());
        let leaving = [cordon, taint("ToBeDeletedByClusterAutoscaler")];
        assert!(told(objects![node(&leaving, true)]).is_empty(), "the autoscaler takes it away");
    }

    #[test]
    fn a_paused_rollout_is_as_old_as_its_condition() {
        let paused = Workload {
            paused: true,
            conditions: [condition("Progressing", Status::Unknown, "DeploymentPaused", 90_000)]
                .into(),
            ..deployment("web", 2, 2)
        };
        let found = told(objects![paused]);
        assert_eq!(found, [("Deployment".to_owned(), "paused", Some(ago(90_000)), DAY)]);
        assert!(told(objects![deployment("web", 2, 2)]).is_empty());
    }

    #[test]
    fn a_suspended_cron_job_is_not_as_old_as_its_last_run() {
        let month = 30 * DAY;
        let one = |object| told(vec![object]).remove(0).2;
        assert_eq!(one(cron(true, Some(month), switch("kubectl-patch", 600))), Some(ago(600)));
        assert_eq!(one(cron(true, Some(month), Box::default())), None, "the first look decides");
        assert_eq!(one(cron(true, None, switch("helm", month))), Some(ago(month)));
        assert!(told(vec![cron(false, Some(month), switch("helm", month))]).is_empty());
    }

    #[test]
    fn a_job_that_waits_in_a_queue_or_is_over_is_not_forgotten() {
        let job = Job {
            meta: meta("shop", "once", 900_000),
            suspended: true,
            conditions: [condition("Suspended", Status::True, "JobSuspended", 800_000)].into(),
            ..Job::default()
        };
        let found = told(objects![job.clone()]);
        assert_eq!(found, [("Job".to_owned(), "suspended", Some(ago(800_000)), 7 * DAY)]);
        assert!(told(objects![Job { queued: true, ..job.clone() }]).is_empty());
        let over = [condition("Complete", Status::True, "", 5)].into();
        assert!(told(objects![Job { conditions: over, ..job }]).is_empty());
    }

    #[test]
    fn a_budget_that_forbids_every_drain_is_told_and_one_that_is_short_is_not() {
        let budget = |expected: u32, desired: u32, allowed: u32, written: i64| {
            let mut budget = resource(
                Kind::PodDisruptionBudget,
                "web",
                json!({"status": {"expectedPods": expected, "desiredHealthy": desired,
                    "disruptionsAllowed": allowed, "conditions": [
                    {"type": "DisruptionAllowed", "status": "False", "age": 800_000}]}}),
            );
            let at = Some(ago(written));
            budget.meta.managers = [Manager { at, ..Manager::default() }].into();
            budget
        };
        let found = told(objects![budget(2, 2, 0, 900_000)]);
        let kind = "PodDisruptionBudget".to_owned();
        assert_eq!(found, [(kind, "forbids_drain", Some(ago(800_000)), 7 * DAY)]);
        assert_eq!(told(objects![budget(2, 2, 0, 60)])[0].2, Some(ago(60)), "edited since");
        assert!(told(objects![budget(3, 2, 0, 900_000)]).is_empty(), "short of healthy pods");
        assert!(told(objects![budget(3, 3, 1, 900_000)]).is_empty());
        assert!(told(objects![budget(0, 0, 0, 900_000)]).is_empty(), "it is about no pods");
    }

    #[test]
    fn a_follower_of_git_is_told_with_who_stopped_it() {
        let object = |suspend, managers| -> Resource {
            let mut object =
                resource(Kind::HelmRelease, "cart", json!({"spec": {"suspend": suspend}}));
            object.meta.managers = managers;
            object
        };
        let verdicts =
            judge(&FORGOTTEN, &world(&[], objects![object(true, switch("flux", 100_000))]));
        assert_eq!((verdicts[0].reason, verdicts[0].since), ("suspended", Some(ago(100_000))));
        let words = &verdicts[0].message;
        assert!(words.starts_with("suspended by flux for 27h: "), "{words}");
        assert!(told(objects![object(false, switch("flux", 100_000))]).is_empty());
    }

    #[test]
    fn an_engine_of_gitops_at_zero_is_told_and_other_workloads_at_zero_are_not() {
        let at = |component: &str, desired| {
            let base = deployment("c", desired, desired);
            let labels = Labelled::from([
                ("app.kubernetes.io/part-of", "flux"),
                ("app.kubernetes.io/component", component),
            ]);
            Workload { meta: Meta { labels, ..base.meta.clone() }, ..base }
        };
        let found = told(objects![at("source-controller", 0)]);
        assert_eq!(found, [("Deployment".to_owned(), "scaled_to_zero", None, DAY)]);
        assert!(told(objects![at("source-controller", 1)]).is_empty());
        assert!(told(objects![at("image-reflector-controller", 0)]).is_empty());
    }
}
