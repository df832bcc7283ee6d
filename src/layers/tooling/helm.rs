//! Are Helm's releases whole? Their Secrets' metadata says so, without a look inside.

use std::collections::BTreeMap;

use crate::labels;
use crate::layers::conditions::words;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::reading::Readings;
use crate::model::record::{Job, Meta, Resource, Status, Time};
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::tally::Tallies;
use crate::model::text::Text;
use crate::model::view::View;

pub(super) static UNHEALTHY: Signal = Signal {
    block: "S6.1",
    name: "tooling_helm_release_unhealthy",
    layer: Layer::Tooling,
    help: "Helm releases whose newest revision failed, with an older one still live or with none, or has been pending for \
           15 minutes: then every later upgrade is refused. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "release", "reason"],
    reasons: &["never_installed", "upgrade_failed", "pending", "uninstalling"],
    bound: "releases × 4 reasons",
    needs: &[Kind::HelmSecret],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(unhealthy),
};

pub(super) static REVISIONS: Signal = Signal {
    block: "S6.3",
    name: "tooling_helm_revisions_total",
    layer: Layer::Tooling,
    help: "New revisions of Helm releases: each is a change, and one a minute is a loop.",
    unit: Unit::Count,
    labels: &["namespace", "release"],
    reasons: &[],
    bound: "releases",
    needs: &[Kind::HelmSecret],
    uses: &[],
    profile: Profile::Rate,
    read: Read::Counter,
};

pub(super) static HISTORY: Signal = Signal {
    block: "S6.4",
    name: "tooling_helm_release_secrets",
    layer: Layer::Tooling,
    help: "Secrets in which Helm keeps revisions, by namespace; up to a megabyte of etcd each.",
    unit: Unit::Count,
    labels: &["namespace"],
    reasons: &[],
    bound: "namespaces with releases",
    needs: &[Kind::HelmSecret],
    uses: &[],
    profile: Profile::None,
    read: Read::Gauge(history),
};

pub(super) static BLOATED: Signal = Signal {
    block: "S6.4",
    name: "tooling_helm_history_bloated",
    layer: Layer::Tooling,
    help: "Helm releases that keep more than 20 revisions (ten is Helm's default). Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "release", "reason"],
    reasons: &["many_revisions"],
    bound: "releases",
    needs: &[Kind::HelmSecret],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(bloated),
};

pub(super) static HOOK_FAILED: Signal = Signal {
    block: "S6.8",
    name: "tooling_hook_failed",
    layer: Layer::Tooling,
    help: "Jobs that are hooks of Helm or Argo CD and failed: what they were to prepare did not happen. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "workload_kind", "workload", "reason"],
    reasons: &["failed"],
    bound: "hook Jobs",
    needs: &[Kind::Job],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(hooks),
};

pub(super) static HOOK_FAILURES: Signal = Signal {
    block: "S6.8",
    name: "tooling_hook_failures_total",
    layer: Layer::Tooling,
    help: "Jobs that are hooks of Helm or Argo CD and failed, also those that were deleted at once, as hooks often are.",
    unit: Unit::Count,
    labels: &["namespace"],
    reasons: &[],
    bound: "namespaces with hooks",
    needs: &[Kind::Job],
    uses: &[],
    profile: Profile::Rate,
    read: Read::Counter,
};

/// Revisions beyond which a history is bloated: twice Helm's default.
const MANY: usize = 20;

/// The revisions of each release, oldest first.
type Releases<'a> = BTreeMap<(&'a Text, String), Vec<(u64, &'a Resource)>>;

fn releases<'a>(view: &'a View<'_>) -> Releases<'a> {
    let mut releases: Releases<'a> = BTreeMap::new();
    for secret in view.resources(Kind::HelmSecret) {
        let Some((name, version)) = revision(secret) else { continue };
        releases.entry((&secret.meta.namespace, name)).or_default().push((version, secret));
    }
    for revisions in releases.values_mut() {
        revisions.sort_by_key(|(version, _)| *version);
    }
    releases
}

/// The release and the number of the revision that a Secret holds.
fn revision(secret: &Resource) -> Option<(String, u64)> {
    let labels = &secret.meta.labels;
    let version = labels.value("version").parse().ok()?;
    (labels.value("owner") == "helm").then(|| (labels.value("name").to_owned(), version))
}

/// When a revision last changed its status.
fn changed(secret: &Resource) -> Time {
    let seconds = |label: &str| secret.meta.labels.value(label).parse().ok();
    let at = seconds("modifiedAt").or_else(|| seconds("createdAt"));
    at.and_then(|s| Time::from_second(s).ok()).unwrap_or(secret.meta.created)
}

fn unhealthy(view: &View<'_>, out: &mut Verdicts) {
    for ((namespace, release), revisions) in releases(view) {
        let Some((version, newest)) = revisions.last() else { continue };
        let status = |secret: &Resource| secret.meta.labels.value("status").to_owned();
        let is = |wanted: &[&str]| {
            revisions.iter().rev().find(|(_, s)| wanted.contains(&status(s).as_str()))
        };
        let live = match is(&["deployed"]) {
            Some((older, _)) => format!("; revision {older} is still live"),
            None => String::new(),
        };
        // What was superseded was live once, though its successor has failed.
        let installed = is(&["deployed", "superseded"]).is_some();
        let (reason, severity, dwell, next) = match status(newest).as_str() {
            "failed" if installed => ("upgrade_failed", Severity::Warning, 120, ""),
            "failed" => ("never_installed", Severity::Warning, 120, ""),
            "uninstalling" => {
                ("uninstalling", Severity::Warning, 900, ": uninstall it again to end it")
            }
            pending if pending.starts_with("pending-") => {
                let next =
                    ": whoever did it is gone, and no upgrade is accepted until it is rolled back";
                ("pending", Severity::Warning, 900, next)
            }
            _ => continue,
        };
        let told = format!("revision {version} is {}{live}{next}", status(newest));
        let labels = labels![namespace, release.as_str(), reason];
        let verdict = Verdict::new(Subject::of(newest), labels, reason, told);
        out.push(verdict.severity(severity).since(changed(newest)).dwell(dwell));
    }
}

fn history(view: &View<'_>, out: &mut Readings) {
    let mut namespaces: BTreeMap<&Text, usize> = BTreeMap::new();
    for ((namespace, _), revisions) in releases(view) {
        *namespaces.entry(namespace).or_default() += revisions.len();
    }
    for (namespace, count) in namespaces {
        out.push(labels![namespace], count as f64);
    }
}

fn bloated(view: &View<'_>, out: &mut Verdicts) {
    for ((namespace, release), revisions) in releases(view) {
        if let Some((_, newest)) = revisions.last().filter(|_| revisions.len() > MANY) {
            let told = format!("keeps {} revisions; `--history-max` bounds them", revisions.len());
            let labels = labels![namespace, release.as_str(), "many_revisions"];
            let verdict = Verdict::new(Subject::of(newest), labels, "many_revisions", told);
            out.push(verdict.severity(Severity::Info).dwell(0));
        }
    }
}

fn hooks(view: &View<'_>, out: &mut Verdicts) {
    let here = |meta: &Meta| meta.deleting.is_none() && !view.is_terminating(&meta.namespace);
    for job in view.world.jobs.iter().filter(|j| j.hook && here(&j.meta)) {
        let Some(failed) = job.condition("Failed").filter(|c| c.status == Status::True) else {
            continue;
        };
        let told = format!("the hook failed, and what follows it was not done: {}", words(failed));
        let subject = Subject::new(Kind::Job, &job.meta.namespace, &job.meta.name);
        let labels = labels![&job.meta.namespace, "Job", &job.meta.name, "failed"];
        out.push(Verdict::new(subject, labels, "failed", told).since(failed.since).dwell(0));
    }
}

/// Counts a hook when it fails.
pub(super) fn observe_job(job: &Job, tallies: &mut Tallies) {
    let failed = job.condition("Failed").is_some_and(|c| c.status == Status::True);
    if job.hook && failed {
        let n = tallies.advance(Kind::Job, job.meta.uid, "hook_failed", 1);
        tallies.add(&HOOK_FAILURES, labels![&job.meta.namespace], n);
    }
}

/// Counts a revision that was not there before.
pub(super) fn observe(resource: &Resource, tallies: &mut Tallies) {
    if resource.kind != Kind::HelmSecret {
        return;
    }
    let Some((release, _)) = revision(resource) else { return };
    let n = tallies.advance(resource.kind, resource.meta.uid, "revision", 1);
    tallies.add(&REVISIONS, labels![&resource.meta.namespace, release.as_str()], n);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{
        Counted, NOW, ago, condition, meta, objects, readings, reasons, resource,
    };
    use crate::layers::tooling::LAYER;
    use crate::model::record::Object;

    fn secret(version: u32, status: &str, age: i64) -> Resource {
        let name = format!("sh.helm.release.v1.web.v{version}");
        resource(
            Kind::HelmSecret,
            &name,
            json!({"metadata": {"labels": {"owner": "helm", "name": "web",
            "version": version.to_string(), "status": status, "modifiedAt": (NOW - age).to_string()}}}),
        )
    }

    #[test]
    fn the_newest_revision_speaks_and_an_older_live_one_softens() {
        let cases = [
            (objects![secret(1, "deployed", 9000)], vec![]),
            (objects![secret(1, "superseded", 9000), secret(2, "deployed", 900)], vec![]),
            (
                objects![secret(1, "deployed", 9000), secret(2, "failed", 900)],
                vec!["upgrade_failed"],
            ),
            (objects![secret(1, "failed", 900)], vec!["never_installed"]),
            (
                objects![secret(1, "superseded", 9000), secret(2, "failed", 900)],
                vec!["upgrade_failed"],
            ),
            (
                objects![secret(9, "deployed", 900), secret(10, "pending-upgrade", 2000)],
                vec!["pending"],
            ),
            (objects![secret(1, "failed", 900), secret(2, "deployed", 800)], vec![]),
        ];
        for (objects, expected) in cases {
            assert_eq!(reasons(&UNHEALTHY, objects), expected);
        }
    }

    #[test]
    fn revisions_are_counted_and_a_long_history_is_told() {
        let many: Vec<Object> = (1..=21).map(|v| secret(v, "superseded", 900).into()).collect();
        assert_eq!(readings(&HISTORY, many.clone())[0].value, 21.0);
        assert_eq!(reasons(&BLOATED, many), ["many_revisions"]);
        assert!(reasons(&BLOATED, objects![secret(1, "deployed", 9)]).is_empty());
        let mut counted = Counted::new(&LAYER, objects![]);
        counted.see(secret(1, "pending-install", 60), 60).see(secret(1, "deployed", 30), 30);
        counted.see(secret(2, "deployed", 10), 10);
        assert_eq!(counted.totals(&REVISIONS), [("shop web".to_owned(), 2)]);
    }

    #[test]
    fn only_a_hook_that_failed_is_told() {
        let job = |hook, kind: &str| Job {
            meta: meta("shop", "migrate", 600),
            hook,
            conditions: [condition(kind, Status::True, "BackoffLimitExceeded", 300)].into(),
            ..Job::default()
        };
        assert_eq!(reasons(&HOOK_FAILED, objects![job(true, "Failed")]), ["failed"]);
        assert!(reasons(&HOOK_FAILED, objects![job(false, "Failed")]).is_empty());
        assert!(reasons(&HOOK_FAILED, objects![job(true, "Complete")]).is_empty());
        let mut going = job(true, "Failed");
        going.meta.deleting = Some(ago(5));
        assert!(reasons(&HOOK_FAILED, objects![going]).is_empty());
        let mut counted = Counted::new(&LAYER, objects![]);
        counted.see(job(true, "Failed"), 9).see(job(true, "Failed"), 5);
        counted.see(Job { meta: meta("shop", "other", 9), ..job(false, "Failed") }, 3);
        assert_eq!(counted.totals(&HOOK_FAILURES), [("shop".to_owned(), 1)]);
    }
}
