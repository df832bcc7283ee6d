//! Which applications of Argo CD differ from Git, are unwell, or cannot be compared? Three axes that mean three things:
//! a commit may be live and broken, or refused while users are fine.

use std::collections::BTreeMap;

use crate::labels;
use crate::layers::conditions::one_line;
use crate::layers::switches::skipped;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::reading::Readings;
use crate::model::record::{ClaimPhase, Resource, Time};
use crate::model::signal::{Direction, Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::text::Text;
use crate::model::value::Value;
use crate::model::view::View;

use super::windows::forbidden;

pub(super) static OUT_OF_SYNC: Signal = Signal {
    block: "S7.1",
    name: "gitops_argo_out_of_sync",
    layer: Layer::Gitops,
    help: "Applications with automated sync whose live state differs from Git for 10 minutes, and manual ones, or those \
           that would have to prune and may not, after 7 days. One that syncs just now, that a sync window of its project \
           holds back, or that Argo CD was told to skip, is healthy. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "project", "application", "reason"],
    reasons: &["automated", "manual", "prune_off", "unknown"],
    bound: "applications × 4 reasons",
    needs: &[Kind::ArgoApplication],
    uses: &[Kind::ArgoAppProject],
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
           objects suffer. Suspended, one that nobody has synced yet, and one that progresses for the sake of a claim \
           that nobody uses, are healthy. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "project", "application", "reason"],
    reasons: &["degraded", "missing", "progressing"],
    bound: "applications × 3 reasons",
    needs: &[Kind::ArgoApplication],
    uses: &[Kind::PersistentVolumeClaim, Kind::Pod],
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

pub(super) static NOT_RECONCILED: Signal = Signal {
    block: "S7.6",
    name: "gitops_argo_not_reconciled",
    layer: Layer::Gitops,
    help: "Applications that no controller has looked at for 15 minutes after they were made, as in a namespace that Argo \
           CD does not watch, or after somebody asked for a refresh. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "project", "application", "reason"],
    reasons: &["never", "refresh_ignored"],
    bound: "applications × 2 reasons",
    needs: &[Kind::ArgoApplication],
    uses: &[],
    profile: Profile::None,
    read: Read::Rule(not_reconciled),
};

/// The labels that every signal of an application begins with.
fn labelled(app: &Resource, more: &[&str]) -> crate::model::reading::Labels {
    let own = [&app.meta.namespace, app.body.text("spec.project"), &app.meta.name];
    let own = own.map(crate::model::reading::Label::from);
    let more = more.iter().map(|m| crate::model::reading::Label::from(*m));
    crate::model::reading::Labels::new(own.into_iter().chain(more))
}

/// Applications that are meant to be there and to be looked at: the status of one that is skipped is an old one.
fn applications<'a>(view: &'a View<'_>) -> impl Iterator<Item = &'a Resource> {
    view.resources(Kind::ArgoApplication).filter(|a| a.meta.deleting.is_none() && !skipped(a))
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
        let all = app.body.items("status.resources").iter();
        let differing: Vec<_> = all.filter(|r| r.text("status") == "OutOfSync").collect();
        let policy = app.body.at("spec.syncPolicy.automated");
        let surplus = |r: &&Value| r.is_true("requiresPruning");
        let only_surplus = !differing.is_empty() && differing.iter().all(surplus);
        let (reason, severity, dwell, next) = match app.body.text("status.sync.status").as_str() {
            "OutOfSync" if !automated(app) => {
                ("manual", Severity::Info, 7 * 86_400, "it waits for somebody to sync it")
            }
            "OutOfSync" if only_surplus && !policy.is_true("prune") => {
                let next = "Git no longer has what differs, and pruning is off";
                ("prune_off", Severity::Info, 7 * 86_400, next)
            }
            "OutOfSync" if forbidden(view, app) => continue,
            "OutOfSync" if !policy.is_true("selfHeal") => {
                let next = "a change in the cluster stays, for self-healing is off";
                ("automated", Severity::Warning, 600, next)
            }
            "OutOfSync" => {
                ("automated", Severity::Warning, 600, "its automated sync does not help")
            }
            // Where a condition says why, that is told.
            "Unknown" if !app.conditions.iter().any(|c| c.kind.ends_with("Error")) => {
                let next = "nobody knows whether Git is what runs";
                ("unknown", Severity::Warning, 300, next)
            }
            _ => continue,
        };
        let told = match (reason, differing.as_slice()) {
            ("unknown", _) => "cannot be compared with Git".to_owned(),
            (_, []) => "differs from Git".to_owned(),
            (_, [first, rest @ ..]) => {
                let (kind, name) = (first.text("kind"), first.text("name"));
                format!("{} of its objects differ from Git, such as {kind} {name}", rest.len() + 1)
            }
        };
        let (subject, told) = (Subject::of(app), format!("{told}: {next}"));
        let verdict = Verdict::new(subject, labelled(app, &[reason]), reason, told);
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
            "Missing" if never_synced(app) => continue,
            "Missing" => ("missing", Severity::Warning, 300),
            "Progressing" if idle_claim(view, app) => continue,
            "Progressing" => ("progressing", Severity::Warning, 1800),
            _ => continue,
        };
        let words = one_line(app.body.text("status.health.message"));
        let told = match words.as_str() {
            "" => format!("Argo CD calls it {reason}"),
            words => format!("Argo CD calls it {reason}: {words}"),
        };
        let since: Option<Time> = app.body.time("status.health.lastTransitionTime");
        let verdict = Verdict::new(Subject::of(app), labelled(app, &[reason]), reason, told);
        out.push(verdict.severity(severity).since(since).dwell(dwell));
    }
}

/// Whether an application that a person syncs has waited for the first time ever since it was made.
fn never_synced(app: &Resource) -> bool {
    !automated(app)
        && app.body.items("status.history").is_empty()
        && !app.body.has("status.operationState")
}

/// Whether one of its claims waits for a first pod: Argo CD calls that progress, for ever.
fn idle_claim(view: &View<'_>, app: &Resource) -> bool {
    let claims = app.body.items("status.resources").iter();
    let claims = claims.filter(|r| r.text("kind") == "PersistentVolumeClaim");
    claims.filter_map(|r| view.world.claims.get(r.text("namespace"), r.text("name"))).any(|claim| {
        claim.phase == ClaimPhase::Pending
            && view.pods_using(&claim.meta.namespace, &claim.meta.name).next().is_none()
    })
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
            let message = format!("{}: {}", condition.kind, one_line(&condition.message));
            let verdict = Verdict::new(Subject::of(app), labels, reason, message);
            out.push(verdict.severity(severity).since(condition.since).dwell(180));
        }
    }
}

fn reconcile_age(view: &View<'_>, out: &mut Readings) {
    let mut ages: BTreeMap<&Text, Vec<i64>> = BTreeMap::new();
    for app in applications(view) {
        if let Some(at) = app.body.time("status.reconciledAt") {
            ages.entry(&app.meta.namespace).or_default().push(view.age_seconds(at));
        }
    }
    for (namespace, mut ages) in ages {
        ages.sort_unstable();
        // The nearest rank: of a few, the oldest.
        let rank = (ages.len() * 95).div_ceil(100);
        if let Some(age) = rank.checked_sub(1).and_then(|at| ages.get(at)) {
            out.push(labels![namespace], *age as f64);
        }
    }
}

fn not_reconciled(view: &View<'_>, out: &mut Verdicts) {
    for app in applications(view) {
        let asked = !app.meta.annotations.value("argocd.argoproj.io/refresh").is_empty();
        let looked = app.body.has("status.reconciledAt") || app.body.has("status.sync.status");
        let (reason, since, told) = match (looked, asked) {
            (false, _) => {
                let told = "no controller has ever looked at it: is its namespace one that Argo CD watches?";
                ("never", Some(app.meta.created), told)
            }
            (true, true) => {
                ("refresh_ignored", None, "the refresh that somebody asked for does not happen")
            }
            (true, false) => continue,
        };
        let verdict =
            Verdict::new(Subject::of(app), labelled(app, &[reason]), reason, told.to_owned());
        out.push(verdict.since(since).dwell(900));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::layers::fixtures::{ago, meta, objects, pod_of, readings, reasons, resource};
    use crate::model::record::{Claim, Labelled, Object, Pod};

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
        let mut skipped = app(&automatic(), &json!({"sync": {"status": "OutOfSync"}}));
        skipped.meta.annotations = skip();
        assert!(reasons(&OUT_OF_SYNC, objects![skipped]).is_empty(), "its status is an old one");
        let why =
            json!({"sync": {"status": "Unknown"}, "conditions": [{"type": "ComparisonError"}]});
        assert!(reasons(&OUT_OF_SYNC, objects![app(&automatic(), &why)]).is_empty());
        let differing = json!({"resources": [{"status": "OutOfSync"}, {"status": "Synced"}, 3]});
        assert_eq!(
            readings(&OUT_OF_SYNC_RESOURCES, objects![app(&automatic(), &differing)])[0].value,
            1.0
        );
    }

    #[test]
    fn what_may_not_be_synced_or_pruned_now_is_not_late() {
        let window = json!([{"kind": "deny", "schedule": "* * * * *", "duration": "1h",
            "applications": ["*"]}]);
        let project = |windows: &Value| {
            resource(Kind::ArgoAppProject, "shop", json!({"spec": {"syncWindows": windows}}))
        };
        let late = || app(&automatic(), &json!({"sync": {"status": "OutOfSync"}}));
        assert!(reasons(&OUT_OF_SYNC, objects![late(), project(&window)]).is_empty());
        assert_eq!(reasons(&OUT_OF_SYNC, objects![late(), project(&json!([]))]), ["automated"]);
        let surplus = json!({"sync": {"status": "OutOfSync"},
            "resources": [{"status": "OutOfSync", "requiresPruning": true}]});
        let off = json!({"syncPolicy": {"automated": {}}});
        assert_eq!(reasons(&OUT_OF_SYNC, objects![app(&off, &surplus)]), ["prune_off"]);
        assert_eq!(reasons(&OUT_OF_SYNC, objects![app(&automatic(), &surplus)]), ["automated"]);
    }

    #[test]
    fn an_idle_claim_and_a_first_sync_to_come_are_not_ill() {
        let waits = json!({"health": {"status": "Progressing"}, "resources": [
            {"kind": "PersistentVolumeClaim", "namespace": "shop", "name": "data"}]});
        let claim = || Claim { meta: meta("shop", "data", 9000), ..Claim::default() };
        let told = |objects: Vec<Object>| reasons(&UNHEALTHY, objects);
        assert!(told(objects![app(&automatic(), &waits), claim()]).is_empty());
        let user = Pod { claims: ["data".into()].into(), ..pod_of("web", "web-1") };
        assert_eq!(told(objects![app(&automatic(), &waits), claim(), user]), ["progressing"]);
        assert_eq!(told(objects![app(&automatic(), &waits)]), ["progressing"]);
        let missing = json!({"health": {"status": "Missing"}});
        assert!(told(objects![app(&json!({}), &missing)]).is_empty(), "nobody has synced it");
        let gone = json!({"health": {"status": "Missing"}, "history": [{"id": 1}]});
        assert_eq!(told(objects![app(&json!({}), &gone)]), ["missing"]);
    }

    #[test]
    fn an_application_that_nobody_looks_at_is_told() {
        let told = |app| reasons(&NOT_RECONCILED, objects![app]);
        assert_eq!(told(app(&automatic(), &json!({}))), ["never"]);
        let looked = json!({"reconciledAt": ago(9000).to_string()});
        assert!(told(app(&automatic(), &looked)).is_empty());
        let mut asked = app(&automatic(), &looked);
        asked.meta.annotations = Labelled::from([("argocd.argoproj.io/refresh", "hard")]);
        assert_eq!(told(asked), ["refresh_ignored"]);
        let mut skipped = app(&automatic(), &json!({}));
        skipped.meta.annotations = skip();
        assert!(told(skipped).is_empty());
    }

    fn skip() -> Labelled {
        Labelled::from([("argocd.argoproj.io/skip-reconcile", "true")])
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
        let looked = |name: &str, age: i64| {
            let mut app = app(&automatic(), &json!({"reconciledAt": ago(age).to_string()}));
            app.meta.name = name.into();
            app
        };
        let mut skipped = looked("skipped", 90_000);
        skipped.meta.annotations = skip();
        let some = readings(&STALE, objects![skipped, looked("a", 100), looked("b", 9000)]);
        assert_eq!(some[0].value, 9000.0, "of two, the older");
        let mut many: Vec<Object> = (0..40).map(|i| looked(&format!("a{i}"), 60).into()).collect();
        many.push(looked("b", 9000).into());
        assert_eq!(readings(&STALE, many)[0].value, 60.0, "one of many is no trend");
    }
}
