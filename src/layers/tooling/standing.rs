//! What was switched off for a moment and forgotten? The ledger of states that are each meant, until nobody remembers.

use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Meta, Time};
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::text::Text;
use crate::model::view::View;

pub(super) static FORGOTTEN: Signal = Signal {
    block: "S6.7",
    name: "tooling_forgotten_state",
    layer: Layer::Tooling,
    help: "Nodes cordoned and Deployments paused for a day, CronJobs and Jobs suspended for a week: each was meant, and \
           may have been forgotten. Suspended objects of Flux and Argo CD are gitops_suspended. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "kind", "name", "reason"],
    reasons: &["cordoned", "paused", "suspended"],
    bound: "nodes, Deployments, CronJobs and Jobs",
    needs: &[],
    uses: &[Kind::Node, Kind::Deployment, Kind::CronJob, Kind::Job],
    profile: Profile::None,
    read: Read::Rule(forgotten),
};

const DAY: i64 = 86_400;

fn forgotten(view: &View<'_>, out: &mut Verdicts) {
    let mut tell = |kind: Kind,
                    meta: &Meta,
                    reason: &'static str,
                    since: Option<Time>,
                    dwell: i64,
                    told: String| {
        if meta.deleting.is_some() || view.is_terminating(&meta.namespace) {
            return;
        }
        let none = Text::default();
        let namespace = if kind.namespaced() { &meta.namespace } else { &none };
        let labels = labels![namespace, kind.name(), &meta.name, reason];
        let verdict = Verdict::new(Subject::new(kind, namespace, &meta.name), labels, reason, told);
        out.push(verdict.severity(Severity::Info).since(since).dwell(dwell));
    };
    for node in view.world.nodes.iter().filter(|n| n.unschedulable) {
        let taint = node.taints.iter().find(|t| t.key == "node.kubernetes.io/unschedulable");
        let pods = view.pods_on(&node.meta.name).count();
        let told = format!("cordoned, with {pods} pods still on it");
        tell(Kind::Node, &node.meta, "cordoned", taint.and_then(|t| t.added), DAY, told);
    }
    for deployment in view.world.deployments.iter().filter(|d| d.paused) {
        let since = deployment.condition("Progressing").filter(|c| c.reason == "DeploymentPaused");
        let since = since.and_then(|c| c.since).or_else(|| written(&deployment.meta));
        let told = "its rollout is paused: changes of its template have no effect".to_owned();
        tell(Kind::Deployment, &deployment.meta, "paused", since, DAY, told);
    }
    for cron in view.world.cron_jobs.iter().filter(|c| c.suspended) {
        let since = cron.last_scheduled.or_else(|| written(&cron.meta));
        let told = match cron.last_scheduled {
            Some(at) => format!("suspended; it last ran {at:.0}"),
            None => "suspended; it has never run".to_owned(),
        };
        tell(Kind::CronJob, &cron.meta, "suspended", since, 7 * DAY, told);
    }
    // A queue controller suspends the Jobs that wait for it.
    for job in view.world.jobs.iter().filter(|j| j.suspended && j.meta.owner.is_none()) {
        let since = job.condition("Suspended").and_then(|c| c.since);
        tell(Kind::Job, &job.meta, "suspended", since, 7 * DAY, "suspended".to_owned());
    }
}

/// When the spec was last written, as far as the object says.
fn written(meta: &Meta) -> Option<Time> {
    meta.managers.iter().filter(|m| m.subresource.is_empty()).filter_map(|m| m.at).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::fixtures::{ago, deployment, judge, meta, objects, world};
    use crate::model::record::{CronJob, Job, Node, Taint, Workload};

    #[test]
    fn each_standing_state_has_an_age() {
        let taint = Taint {
            key: "node.kubernetes.io/unschedulable".into(),
            added: Some(ago(200_000)),
            ..Taint::default()
        };
        let node = Node {
            meta: meta("", "n1", 900_000),
            unschedulable: true,
            taints: [taint].into(),
            ..Node::default()
        };
        let paused = Workload { paused: true, ..deployment("web", 2, 2) };
        let cron = CronJob {
            meta: meta("shop", "backup", 900_000),
            suspended: true,
            last_scheduled: Some(ago(700_000)),
            ..CronJob::default()
        };
        let job = Job { meta: meta("shop", "once", 900_000), suspended: true, ..Job::default() };
        let told = judge(
            &FORGOTTEN,
            &world(
                &[],
                vec![
                    node.into(),
                    paused.into(),
                    crate::model::record::Object::CronJob(Box::new(cron)),
                    job.into(),
                ],
            ),
        );
        let told: Vec<_> =
            told.iter().map(|v| (v.subject.kind.to_string(), v.reason, v.since)).collect();
        assert_eq!(told.len(), 4, "{told:?}");
        assert!(told.contains(&("Node".to_owned(), "cordoned", Some(ago(200_000)))));
        assert!(told.contains(&("CronJob".to_owned(), "suspended", Some(ago(700_000)))));
        assert!(judge(&FORGOTTEN, &world(&[], objects![deployment("web", 2, 2)])).is_empty());
    }
}
