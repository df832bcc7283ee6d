//! Which applications of Argo CD differ from Git, are unwell, or cannot be compared? Three axes that mean three things:
//! a commit may be live and broken, or refused while users are fine.

use std::collections::BTreeMap;

use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::reading::Readings;
use crate::model::record::{Resource, Time};
use crate::model::signal::{Direction, Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::text::Text;
use crate::model::view::View;

pub(super) static OUT_OF_SYNC: Signal = Signal {
    block: "S7.1",
    name: "gitops_argo_out_of_sync",
    layer: Layer::Gitops,
    help: "Applications with automated sync whose live state differs from Git for 10 minutes, and manual ones after 7 \
           days. An application that syncs just now is healthy. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "project", "application", "reason"],
    reasons: &["automated", "manual", "unknown"],
    bound: "applications × 3 reasons",
    needs: &[Kind::ArgoApplication],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(out_of_sync),
};

pub(super) static OUT_OF_SYNC_RESOURCES: Signal = Signal {
    block: "S7.1",
    name: "gitops_argo_out_of_sync_resources",
    layer: Layer::Gitops,
    help: "Objects of applications that differ from Git, by project.",
    unit: Unit::Count,
    labels: &["project"],
    reasons: &[],
    bound: "projects",
    needs: &[Kind::ArgoApplication],
    uses: &[],
    profile: Profile::Level { bad: Direction::High, floor: 3.0 },
    read: Read::Gauge(resources),
};

pub(super) static UNHEALTHY: Signal = Signal {
    block: "S7.2",
    name: "gitops_argo_unhealthy",
    layer: Layer::Gitops,
    help: "Applications that Argo CD calls degraded, missing, or progressing for half an hour: a symptom of what their \
           objects suffer. Suspended is healthy. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "project", "application", "reason"],
    reasons: &["degraded", "missing", "progressing"],
    bound: "applications × 3 reasons",
    needs: &[Kind::ArgoApplication],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(unhealthy),
};

pub(super) static CONDITION: Signal = Signal {
    block: "S7.4",
    name: "gitops_argo_condition",
    layer: Layer::Gitops,
    help: "Applications that cannot be compared, synced or deleted, or are not valid, by the host of their repository: \
           many of one host mean the repository or its credentials. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "project", "application", "repo_host", "reason"],
    reasons: &["comparison", "sync", "invalid_spec", "deletion", "unknown", "warning"],
    bound: "applications × 6 reasons",
    needs: &[Kind::ArgoApplication],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(conditions),
};

pub(super) static STALE: Signal = Signal {
    block: "S7.6",
    name: "gitops_argo_reconcile_age_seconds",
    layer: Layer::Gitops,
    help: "Time since applications were last compared with Git, 95th percentile, by the namespace of their controller. \
           Those told to skip it do not count. Healthy is below 300.",
    unit: Unit::Seconds,
    labels: &["namespace"],
    reasons: &[],
    bound: "namespaces with applications",
    needs: &[Kind::ArgoApplication],
    uses: &[],
    profile: Profile::Level { bad: Direction::High, floor: 300.0 },
    read: Read::Gauge(reconcile_age),
};

/// The labels that every signal of an application begins with.
fn labelled(app: &Resource, more: &[&str]) -> crate::model::reading::Labels {
    let own = [&app.meta.namespace, app.body.text("spec.project"), &app.meta.name];
    let own = own.map(crate::model::reading::Label::from);
    let more = more.iter().map(|m| crate::model::reading::Label::from(*m));
    crate::model::reading::Labels::new(own.into_iter().chain(more))
}

/// Applications that are meant to be there.
fn applications<'a>(view: &'a View<'_>) -> impl Iterator<Item = &'a Resource> {
    view.resources(Kind::ArgoApplication).filter(|a| a.meta.deleting.is_none())
}

/// Whether a sync is under way.
pub(super) fn syncing(app: &Resource) -> bool {
    matches!(app.body.text("status.operationState.phase").as_str(), "Running" | "Terminating")
}

/// Whether syncs come by themselves: `automated` is there and not switched off.
pub(super) fn automated(app: &Resource) -> bool {
    app.body.has("spec.syncPolicy.automated")
        && !app.body.is_false("spec.syncPolicy.automated.enabled")
}

fn out_of_sync(view: &View<'_>, out: &mut Verdicts) {
    for app in applications(view).filter(|a| !syncing(a)) {
        let (reason, severity, dwell) = match app.body.text("status.sync.status").as_str() {
            "OutOfSync" if automated(app) => ("automated", Severity::Warning, 600),
            "OutOfSync" => ("manual", Severity::Info, 7 * 86_400),
            "Unknown" => ("unknown", Severity::Warning, 300),
            _ => continue,
        };
        let differing: Vec<String> = (app.body.items("status.resources").iter())
            .filter(|r| r.text("status") == "OutOfSync")
            .map(|r| format!("{} {}", r.text("kind"), r.text("name")))
            .collect();
        let told = match (reason, differing.as_slice()) {
            ("unknown", _) => "cannot be compared with Git".to_owned(),
            (_, []) => "differs from Git".to_owned(),
            (_, [first, rest @ ..]) => {
                format!("{} of its objects differ from Git, such as {first}", rest.len() + 1)
            }
        };
        let verdict = Verdict::new(Subject::of(app), labelled(app, &[reason]), reason, told);
        out.push(verdict.severity(severity).dwell(dwell));
    }
}

fn resources(view: &View<'_>, out: &mut Readings) {
    let mut projects: BTreeMap<&Text, u64> = BTreeMap::new();
    for app in applications(view) {
        let differing = app.body.items("status.resources").iter();
        let count = differing.filter(|r| r.text("status") == "OutOfSync").count() as u64;
        *projects.entry(app.body.text("spec.project")).or_default() += count;
    }
    for (project, count) in projects {
        out.push(labels![project], count as f64);
    }
}

fn unhealthy(view: &View<'_>, out: &mut Verdicts) {
    for app in applications(view) {
        let (reason, severity, dwell) = match app.body.text("status.health.status").as_str() {
            "Degraded" => ("degraded", Severity::Critical, 120),
            "Missing" => ("missing", Severity::Warning, 300),
            "Progressing" => ("progressing", Severity::Warning, 1800),
            _ => continue,
        };
        let words = app.body.text("status.health.message");
        let told = match words.as_str() {
            "" => format!("Argo CD calls it {reason}"),
            words => format!("Argo CD calls it {reason}: {words}"),
        };
        let since: Option<Time> = app.body.time("status.health.lastTransitionTime");
        let verdict = Verdict::new(Subject::of(app), labelled(app, &[reason]), reason, told);
        out.push(verdict.severity(severity).since(since).dwell(dwell));
    }
}

/// The host of a repository's URL, as in `https://host/…` and `git@host:…`.
pub(super) fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    rest.split(['/', ':']).next().unwrap_or_default()
}

fn repository(app: &Resource) -> &str {
    let single = app.body.text("spec.source.repoURL").as_str();
    let first = || app.body.items("spec.sources").first().map_or("", |s| s.text("repoURL"));
    host(if single.is_empty() { first() } else { single })
}

fn conditions(view: &View<'_>, out: &mut Verdicts) {
    for app in applications(view) {
        let mut told: Vec<&str> = Vec::new();
        for condition in &app.conditions {
            // Argo CD's conditions have no status: to be there is to hold.
            let (reason, severity) = match condition.kind.as_str() {
                "ComparisonError" => ("comparison", Severity::Warning),
                "SyncError" => ("sync", Severity::Warning),
                "InvalidSpecError" => ("invalid_spec", Severity::Warning),
                "DeletionError" => ("deletion", Severity::Warning),
                kind if kind.ends_with("Error") => ("unknown", Severity::Warning),
                kind if kind.ends_with("Warning") => ("warning", Severity::Info),
                _ => continue,
            };
            if told.contains(&reason) {
                continue;
            }
            told.push(reason);
            let labels = labelled(app, &[repository(app), reason]);
            let message = format!("{}: {}", condition.kind, condition.message);
            let verdict = Verdict::new(Subject::of(app), labels, reason, message);
            out.push(verdict.severity(severity).since(condition.since).dwell(180));
        }
    }
}

fn reconcile_age(view: &View<'_>, out: &mut Readings) {
    let mut ages: BTreeMap<&Text, Vec<i64>> = BTreeMap::new();
    for app in applications(view) {
        let skipped = app.meta.annotations.value("argocd.argoproj.io/skip-reconcile") == "true";
        if let Some(at) = app.body.time("status.reconciledAt").filter(|_| !skipped) {
            ages.entry(&app.meta.namespace).or_default().push(view.age_seconds(at));
        }
    }
    for (namespace, mut ages) in ages {
        ages.sort_unstable();
        let at = (ages.len() - 1) * 95 / 100;
        out.push(labels![namespace], ages[at] as f64);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::layers::fixtures::{ago, objects, readings, reasons, resource};

    fn app(spec: &Value, status: &Value) -> Resource {
        let mut spec = spec.clone();
        spec["project"] = json!("shop");
        resource(Kind::ArgoApplication, "web", json!({"spec": spec, "status": status}))
    }

    fn automatic() -> Value {
        json!({"syncPolicy": {"automated": {"prune": true}}, "source": {"repoURL": "https://git.example/a"}})
    }

    #[test]
    fn an_application_out_of_sync_is_told_by_who_should_sync_it() {
        let out = json!({"sync": {"status": "OutOfSync"}});
        let off = json!({"syncPolicy": {"automated": {"enabled": false}}});
        let syncing =
            json!({"sync": {"status": "OutOfSync"}, "operationState": {"phase": "Running"}});
        let cases = [
            (automatic(), out.clone(), vec!["automated"]),
            (json!({}), out.clone(), vec!["manual"]),
            (off, out, vec!["manual"]),
            (automatic(), syncing, vec![]),
            (automatic(), json!({"sync": {"status": "Synced"}}), vec![]),
            (automatic(), json!({"sync": {"status": "Unknown"}}), vec!["unknown"]),
            (automatic(), json!({}), vec![]),
        ];
        for (spec, status, expected) in cases {
            assert_eq!(reasons(&OUT_OF_SYNC, objects![app(&spec, &status)]), expected, "{status}");
        }
        let differing = json!({"resources": [{"status": "OutOfSync"}, {"status": "Synced"}, 3]});
        assert_eq!(
            readings(&OUT_OF_SYNC_RESOURCES, objects![app(&automatic(), &differing)])[0].value,
            1.0
        );
    }

    #[test]
    fn health_is_argo_cds_word_and_suspended_is_well() {
        for (status, expected) in [
            ("Degraded", vec!["degraded"]),
            ("Missing", vec!["missing"]),
            ("Progressing", vec!["progressing"]),
            ("Suspended", vec![]),
            ("Healthy", vec![]),
        ] {
            let app = app(&automatic(), &json!({"health": {"status": status}}));
            assert_eq!(reasons(&UNHEALTHY, objects![app]), expected, "{status}");
        }
    }

    #[test]
    fn a_condition_holds_by_being_there_and_names_its_repository() {
        let app = app(
            &automatic(),
            &json!({"conditions": [{"type": "ComparisonError", "message": "no"}, {"type": "OrphanedResourceWarning"},
                {"type": "Nothing"}]}),
        );
        assert_eq!(reasons(&CONDITION, objects![app]), ["comparison", "warning"]);
        for (url, expected) in [
            ("https://u@git.example:8443/a.git", "git.example"),
            ("git@host:a/b", "host"),
            ("", ""),
        ] {
            assert_eq!(host(url), expected);
        }
    }

    #[test]
    fn the_age_of_comparison_leaves_out_what_is_told_to_skip() {
        let mut skipped = app(&automatic(), &json!({"reconciledAt": ago(9000).to_string()}));
        skipped.meta.name = "skipped".into();
        skipped.meta.annotations =
            crate::model::record::Labelled::from([("argocd.argoproj.io/skip-reconcile", "true")]);
        let fresh = app(&automatic(), &json!({"reconciledAt": ago(100).to_string()}));
        assert_eq!(readings(&STALE, objects![skipped, fresh])[0].value, 100.0);
    }
}
