//! What changed, by whom, and how long did it take from Git to the cluster?

use std::borrow::Cow;

use crate::labels;
use crate::layers::switches::switched_off;
use crate::model::finding::{Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::{Resource, Status, Time};
use crate::model::signal::{Observation, Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::tally::Tallies;
use crate::model::text::Text;
use crate::model::value::Value;
use crate::model::view::View;

use super::flux::source_of;

pub(super) static LAG: Signal = Signal {
    block: "S7.12",
    name: "gitops_flux_revision_lag",
    layer: Layer::Gitops,
    help: "Kustomizations that have not applied their source's newest revision 10 minutes after it was fetched. Healthy \
           is none.",
    unit: Unit::Count,
    labels: &["namespace", "kustomization", "reason"],
    reasons: &["failing", "behind"],
    bound: "Kustomizations × 2 reasons",
    needs: &[Kind::Kustomization],
    uses: SOURCES,
    profile: Profile::None,
    read: Read::Rule(lag),
};

pub(super) static TIME_TO_APPLY: Signal = Signal {
    block: "S7.12",
    name: "gitops_time_to_apply_seconds",
    layer: Layer::Gitops,
    help: "Time from a new revision to its being applied: for Flux from when its source had it, for Argo CD from when an \
           application was first compared with it. Syncs that wait for a person are left out.",
    unit: Unit::Seconds,
    labels: &["namespace", "kind"],
    reasons: &[],
    bound: "namespaces × 3 kinds",
    needs: &[],
    uses: &[
        Kind::Kustomization,
        Kind::HelmRelease,
        Kind::ArgoApplication,
        Kind::GitRepository,
        Kind::OciRepository,
        Kind::Bucket,
        Kind::HelmChart,
    ],
    profile: Profile::None,
    read: Read::Histogram(&[5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0]),
};

pub(super) static CHANGES: Signal = Signal {
    block: "S7.18",
    name: "gitops_changes_total",
    layer: Layer::Gitops,
    help: "Revisions that were applied, by what applied them and whether a person asked for it.",
    unit: Unit::Count,
    labels: &["namespace", "kind", "name", "initiator"],
    reasons: &[],
    bound: "applications, Kustomizations and Helm releases × 2",
    needs: &[],
    uses: &[Kind::ArgoApplication, Kind::Kustomization, Kind::HelmRelease],
    profile: Profile::Rate,
    read: Read::Counter,
};

const SOURCES: &[Kind] = &[Kind::GitRepository, Kind::OciRepository, Kind::Bucket, Kind::HelmChart];

fn source(kind: &str) -> Option<Kind> {
    SOURCES.iter().copied().find(|k| k.name() == kind)
}

fn lag(view: &View<'_>, out: &mut Verdicts) {
    for object in view.resources(Kind::Kustomization) {
        if switched_off(object).is_some() || object.meta.deleting.is_some() {
            continue;
        }
        let Some((kind, namespace, name)) = source_of(object) else { continue };
        let Some(source) = source(&kind).and_then(|k| view.resource(k, &namespace, &name)) else {
            continue;
        };
        let artifact = source.body.at("status.artifact");
        let (newest, applied) =
            (artifact.text("revision"), object.body.text("status.lastAppliedRevision"));
        let Some(since) = artifact.time("lastUpdateTime") else { continue };
        if newest.is_empty() || newest == applied {
            continue;
        }
        let attempted = object.body.text("status.lastAttemptedRevision") == newest;
        // While it waits for what it has applied to become ready, it is at it.
        let at_it = object.condition("Ready").is_some_and(|c| c.status == Status::Unknown);
        let (reason, dwell) = match (attempted, at_it) {
            (true, true) => ("failing", 1800),
            (true, false) => ("failing", 600),
            (false, _) => ("behind", 600),
        };
        let runs = match applied.as_str() {
            "" => "has applied nothing yet".to_owned(),
            applied => format!("still runs {applied}"),
        };
        let told = match attempted {
            true => format!("tried to apply {newest} and {runs}"),
            false => format!("{runs}, though its source has had {newest} since {since:.0}"),
        };
        let labels = labels![&object.meta.namespace, &object.meta.name, reason];
        out.push(Verdict::new(Subject::of(object), labels, reason, told).since(since).dwell(dwell));
    }
}

/// What an object has applied last.
struct Applied<'a> {
    /// Grows or changes with each application, even of the same revision.
    id: String,
    revision: Cow<'a, str>,
    /// Whether a person asked for it.
    initiator: &'static str,
}

fn applied(object: &Resource) -> Option<Applied<'_>> {
    let number = |entry: &Value, field: &str| {
        entry.number(field).map_or_else(String::new, |n| n.to_string())
    };
    let (id, revision, initiator) = match object.kind {
        Kind::ArgoApplication => {
            let newest = object.body.items("status.history").last()?;
            let by = newest.text("initiatedBy.username");
            let initiator = if by.is_empty() { "automated" } else { "person" };
            (number(newest, "id"), revision_of(newest), initiator)
        }
        Kind::Kustomization => {
            let revision = object.body.text("status.lastAppliedRevision").as_str();
            (String::new(), Cow::Borrowed(revision), "automated")
        }
        Kind::HelmRelease => {
            let newest = object.body.items("status.history").first()?;
            let revision = Cow::Borrowed(newest.text("chartVersion").as_str());
            (number(newest, "version"), revision, "automated")
        }
        _ => return None,
    };
    (!revision.is_empty()).then_some(Applied { id, revision, initiator })
}

/// The revision of an Argo CD record: that of its source, or those of all its sources.
pub(super) fn revision_of(record: &Value) -> Cow<'_, str> {
    match record.text("revision").as_str() {
        "" => record.texts("revisions").map(Text::as_str).collect::<Vec<_>>().join(" ").into(),
        one => one.into(),
    }
}

/// The slot in which is kept when an application was first compared with its newest revision.
const CAME: &str = "revision";

/// Counts what was applied since, and times what is new of it.
pub(super) fn observe(o: &Observation<'_>, object: &Resource, tallies: &mut Tallies) {
    let (namespace, name) = (&object.meta.namespace, &object.meta.name);
    let before = o.world.resources(object.kind).and_then(|s| s.get(namespace, name));
    let Some(before) = before.filter(|b| b.meta.uid == object.meta.uid) else { return };
    if !tallies.is_counting(object.kind) {
        return;
    }
    if object.kind == Kind::ArgoApplication {
        note_arrival(o, before, object, tallies);
    }
    let (Some(then), Some(now)) = (applied(before), applied(object)) else { return };
    if then.id == now.id && then.revision == now.revision {
        return;
    }
    tallies.add(&CHANGES, labels![namespace, object.kind.name(), name, now.initiator], 1);
    let seconds = match object.kind {
        Kind::ArgoApplication => arrived(object, tallies),
        _ => fetched(o, object, &now.revision).map(|at| seconds_between(at, o.now)),
    };
    if then.revision != now.revision
        && now.initiator == "automated"
        && let Some(seconds) = seconds
    {
        tallies.record(&TIME_TO_APPLY, labels![namespace, object.kind.name()], seconds);
    }
}

fn seconds_between(from: Time, to: Time) -> f64 {
    to.duration_since(from).as_secs_f64()
}

/// Notes when a revision is compared for the first time that is not applied yet.
fn note_arrival(o: &Observation<'_>, before: &Resource, app: &Resource, tallies: &mut Tallies) {
    let newest = revision_of(app.body.at("status.sync"));
    let known = newest == revision_of(before.body.at("status.sync"))
        || [before, app].into_iter().filter_map(applied).any(|a| a.revision == newest);
    if !newest.is_empty() && !known {
        let at = app.body.time("status.reconciledAt").unwrap_or(o.now);
        let second = u64::try_from(at.as_second()).unwrap_or_default();
        tallies.advance(app.kind, app.meta.uid, CAME, second);
    }
}

/// How long the revision that an application has just applied took: since it was noted, or since its sync began.
fn arrived(app: &Resource, tallies: &mut Tallies) -> Option<f64> {
    let noted = tallies.mark(app.kind, app.meta.uid, CAME);
    tallies.advance(app.kind, app.meta.uid, CAME, 0);
    let newest = app.body.items("status.history").last()?;
    let done = newest.time("deployedAt")?;
    let noted = i64::try_from(noted).ok().filter(|second| *second > 0);
    let noted = noted.and_then(|second| Time::from_second(second).ok());
    let from = noted.or_else(|| newest.time("deployStartedAt"))?;
    Some(seconds_between(from, done))
}

/// When the source of an object had this revision; only of its newest can be said.
fn fetched(o: &Observation<'_>, object: &Resource, revision: &str) -> Option<Time> {
    let (kind, namespace, name) = match object.body.text("status.helmChart").split_once('/') {
        Some((namespace, name)) => {
            (Kind::HelmChart.name().to_owned(), namespace.to_owned(), name.to_owned())
        }
        None => source_of(object)?,
    };
    let store = source(&kind).and_then(|k| o.world.resources(k))?;
    let artifact = store.get(&namespace, &name)?.body.at("status.artifact");
    let newest = artifact.text("revision").as_str();
    // A chart from a registry is `version@digest` there and `version+digest` in the release.
    let version = |text: &str| text.split(['@', '+']).next().unwrap_or_default().to_owned();
    let same = match object.kind {
        Kind::HelmRelease => version(newest) == version(revision),
        _ => newest == revision,
    };
    artifact.time("lastUpdateTime").filter(|_| same)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::layers::fixtures::{
        Counted, ago, condition, judge, objects, reasons, resource, world,
    };
    use crate::layers::gitops::LAYER;

    fn repository(revision: &str, age: i64) -> Resource {
        let artifact = json!({"revision": revision, "lastUpdateTime": ago(age).to_string()});
        resource(Kind::GitRepository, "repo", json!({"status": {"artifact": artifact}}))
    }

    fn kustomization(applied: &str, attempted: &str) -> Resource {
        resource(
            Kind::Kustomization,
            "apps",
            json!({
            "spec": {"sourceRef": {"kind": "GitRepository", "name": "repo"}},
            "status": {"lastAppliedRevision": applied, "lastAttemptedRevision": attempted}}),
        )
    }

    #[test]
    fn a_revision_that_does_not_arrive_is_told() {
        let told = |applied, attempted| {
            reasons(&LAG, objects![repository("main@b", 900), kustomization(applied, attempted)])
        };
        assert_eq!(told("main@a", "main@b"), ["failing"]);
        assert_eq!(told("main@a", "main@a"), ["behind"]);
        assert!(told("main@b", "main@b").is_empty());
        let mut waiting = kustomization("main@a", "main@b");
        waiting.conditions = [condition("Ready", Status::Unknown, "Progressing", 800)].into();
        let verdicts = judge(&LAG, &world(&[], objects![repository("main@b", 900), waiting]));
        assert_eq!(verdicts[0].dwell.as_secs(), 1800, "it waits for its objects");
    }

    #[test]
    fn a_change_counts_once_and_is_timed_from_its_source() {
        let mut counted = Counted::new(&LAYER, objects![kustomization("main@a", "main@a")]);
        counted.see(repository("main@b", 100), 100);
        counted
            .see(kustomization("main@b", "main@b"), 40)
            .see(kustomization("main@b", "main@b"), 10);
        assert_eq!(counted.totals(&CHANGES), [("shop Kustomization apps automated".to_owned(), 1)]);
        let took = ("shop Kustomization".to_owned(), 1, 60.0);
        assert_eq!(counted.durations(&TIME_TO_APPLY), [took]);
        let app = |id: u32, by: &str| {
            resource(
                Kind::ArgoApplication,
                "web",
                json!({"status": {"history": [
            {"id": id, "revision": "r", "initiatedBy": {"username": by}}]}}),
            )
        };
        let mut counted = Counted::new(&LAYER, objects![app(1, "")]);
        counted.see(app(2, "jane"), 40);
        assert_eq!(counted.totals(&CHANGES), [("shop Application web person".to_owned(), 1)]);
    }

    /// An application that is compared with `newest` and has applied `applied`, the last of them lately.
    fn app(newest: &str, compared: i64, applied: &[(&str, i64)], by: &Json) -> Resource {
        let entry = |(id, (revision, done)): (usize, &(&str, i64))| {
            json!({"id": id, "revision": revision, "initiatedBy": by,
                "deployStartedAt": ago(done + 5).to_string(), "deployedAt": ago(*done).to_string()})
        };
        let history: Vec<Json> = applied.iter().enumerate().map(entry).collect();
        let status = json!({"sync": {"revision": newest}, "history": history,
            "reconciledAt": ago(compared).to_string()});
        resource(Kind::ArgoApplication, "web", json!({"status": status}))
    }

    #[test]
    fn argo_cd_is_timed_from_the_first_comparison_to_the_end_of_the_sync() {
        let auto = json!({"automated": true});
        let took = |changes: Vec<Resource>| {
            let mut counted = Counted::new(&LAYER, objects![app("a", 900, &[("a", 900)], &auto)]);
            for change in changes {
                counted.see(change, 10);
            }
            counted.durations(&TIME_TO_APPLY)
        };
        let both = [("a", 900), ("b", 440)];
        let (came, done) = (app("b", 500, &[("a", 900)], &auto), app("b", 430, &both, &auto));
        let expected = |seconds| vec![("shop Application".to_owned(), 1, seconds)];
        assert_eq!(took(vec![came.clone(), came.clone(), done.clone()]), expected(60.0));
        assert_eq!(took(vec![done.clone()]), expected(5.0), "seen together: from its sync on");
        let again = app("b", 300, &[("a", 900), ("b", 440), ("b", 300)], &auto);
        assert_eq!(took(vec![came.clone(), done, again]), expected(60.0), "nothing new");
        let by_hand = app("b", 430, &both, &json!({"username": "jane"}));
        assert!(took(vec![came, by_hand]).is_empty(), "it waited for a person");
    }

    #[test]
    fn a_chart_is_timed_from_when_it_was_fetched() {
        let chart = |version: &str, age: i64| {
            let artifact = json!({"revision": version, "lastUpdateTime": ago(age).to_string()});
            resource(Kind::HelmChart, "flux-cart", json!({"status": {"artifact": artifact}}))
        };
        let release = |version: &str, number: u32| {
            let history = json!([{"chartVersion": version, "version": number}]);
            let status = json!({"helmChart": "shop/flux-cart", "history": history});
            resource(Kind::HelmRelease, "cart", json!({"status": status}))
        };
        let mut counted = Counted::new(&LAYER, objects![release("1.0.0", 1)]);
        counted.see(chart("1.1.0", 100), 100).see(release("1.1.0", 2), 40);
        counted.see(release("1.1.0", 3), 10);
        let took = ("shop HelmRelease".to_owned(), 1, 60.0);
        assert_eq!(counted.durations(&TIME_TO_APPLY), [took], "new values are no new chart");
    }
}
