//! Is a whole application about to vanish? Objects that one revision removes, told before the last of them is gone.

use jiff::SignedDuration;

use crate::labels;
use crate::layers::switches::switched_off;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::Resource;
use crate::model::signal::{Observation, Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::tally::Tallies;
use crate::model::value::Value;
use crate::model::view::View;

use super::argo::automated;

pub(super) static REMOVED: Signal = Signal {
    block: "S7.17",
    name: "gitops_inventory_removed_total",
    layer: Layer::Gitops,
    help: "Objects that left the inventory of a Kustomization, Helm release, application or application set while it was \
           kept.",
    unit: Unit::Count,
    labels: &["namespace", "kind", "name"],
    reasons: &[],
    bound: "applications, application sets, Kustomizations and Helm releases",
    needs: &[],
    uses: &[
        Kind::Kustomization,
        Kind::HelmRelease,
        Kind::ArgoApplication,
        Kind::ArgoApplicationSet,
    ],
    profile: Profile::Rate,
    read: Read::Counter,
};

pub(super) static PRUNING: Signal = Signal {
    block: "S7.17",
    name: "gitops_mass_change",
    layer: Layer::Gitops,
    help: "Applications and Kustomizations that prune, or pruned within the hour, more than ten objects and a fifth of \
           them, or one whose loss takes others or data along; Kustomizations that render nothing; application sets of \
           which a third of the applications is being deleted. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "kind", "name", "reason"],
    reasons: &["many", "precious", "emptied", "applications"],
    bound: "applications, application sets and Kustomizations × 4 reasons",
    needs: &[],
    uses: &[Kind::ArgoApplication, Kind::ArgoApplicationSet, Kind::Kustomization, Kind::Event],
    profile: Profile::None,
    read: Read::Rule(pruning),
};

/// Kinds whose loss takes others, or data, along.
const PRECIOUS: [&str; 3] = ["Namespace", "PersistentVolumeClaim", "CustomResourceDefinition"];

/// How many objects an application has, by its own books; `None` for a kind that keeps none.
fn inventory(object: &Resource) -> Option<usize> {
    match object.kind {
        Kind::Kustomization | Kind::HelmRelease => object
            .body
            .has("status.inventory")
            .then(|| object.body.items("status.inventory.entries").len()),
        Kind::ArgoApplication => Some(object.body.items("status.resources").len()),
        Kind::ArgoApplicationSet => {
            object.body.number("status.resourcesCount").map(|count| count.max(0.0) as usize)
        }
        _ => None,
    }
}

/// Counts what left an inventory.
pub(super) fn observe(o: &Observation<'_>, object: &Resource, tallies: &mut Tallies) {
    let Some(now) = inventory(object).filter(|_| object.meta.deleting.is_none()) else { return };
    let store = o.world.resources(object.kind);
    let before = store.and_then(|s| s.get(&object.meta.namespace, &object.meta.name));
    let Some(before) = before.filter(|b| b.meta.uid == object.meta.uid).and_then(inventory) else {
        return;
    };
    let removed = before.saturating_sub(now) as u64;
    if tallies.is_counting(object.kind) {
        let labels = labels![&object.meta.namespace, object.kind.name(), &object.meta.name];
        tallies.add(&REMOVED, labels, removed);
    }
}

/// How long a loss is told after it happened.
const LATELY: SignedDuration = SignedDuration::from_hours(1);

fn pruning(view: &View<'_>, out: &mut Verdicts) {
    for app in view.resources(Kind::ArgoApplication).filter(|a| a.meta.deleting.is_none()) {
        pruned_by_argo(view, app, out);
    }
    for set in view.resources(Kind::ArgoApplicationSet).filter(|s| s.meta.deleting.is_none()) {
        deleted_by_set(view, set, out);
    }
    let live = |k: &&Resource| k.meta.deleting.is_none() && switched_off(k).is_none();
    for object in view.resources(Kind::Kustomization).filter(live) {
        pruned_by_flux(view, object, out);
    }
}

fn tell(out: &mut Verdicts, object: &Resource, reason: &'static str, told: String) {
    let labels = labels![&object.meta.namespace, object.kind.name(), &object.meta.name, reason];
    let verdict = Verdict::new(Subject::of(object), labels, reason, told);
    out.push(verdict.severity(Severity::Critical).dwell(0));
}

/// Tells what goes, of so many; each as its kind and a name.
fn tell_of(out: &mut Verdicts, object: &Resource, going: &[(&str, String)], all: usize, how: &str) {
    if going.len() > 10 && going.len() * 5 > all {
        let told = format!("{} of its {all} objects {how}", going.len());
        tell(out, object, "many", told);
    }
    if let Some((kind, name)) = going.iter().find(|(kind, _)| PRECIOUS.contains(kind)) {
        tell(out, object, "precious", format!("{kind} {name} {how}, and what is in it goes along"));
    }
}

fn pruned_by_argo(view: &View<'_>, app: &Resource, out: &mut Verdicts) {
    let named = |r: &'_ Value| r.text("name").to_string();
    let all = app.body.items("status.resources");
    // Where nobody prunes by himself, what Git no longer has waits for a person.
    let prunes = automated(app) && app.body.is_true("spec.syncPolicy.automated.prune");
    let waiting = all.iter().filter(|r| prunes && r.is_true("requiresPruning"));
    let waiting: Vec<_> = waiting.map(|r| (r.text("kind").as_str(), named(r))).collect();
    let operation = app.body.at("status.operationState");
    let at = operation.time("finishedAt").or_else(|| operation.time("startedAt"));
    let lately = at.is_some_and(|at| at >= view.now() - LATELY);
    let gone = operation.items("syncResult.resources").iter();
    let gone = gone.filter(|r| lately && r.text("status") == "Pruned");
    let gone: Vec<_> = gone.map(|r| (r.text("kind").as_str(), named(r))).collect();
    if gone.is_empty() {
        tell_of(out, app, &waiting, all.len(), "will be pruned");
    } else {
        tell_of(out, app, &gone, all.len() + gone.len(), "were pruned by its last sync");
    }
}

/// A generator that lost its input takes applications with all that they had made.
fn deleted_by_set(view: &View<'_>, set: &Resource, out: &mut Verdicts) {
    let mine = view.resources(Kind::ArgoApplication).filter(|app| {
        let owner = app.meta.owner.as_ref();
        owner.is_some_and(|o| o.kind == "ApplicationSet" && o.name == set.meta.name)
            && app.meta.namespace == set.meta.namespace
    });
    let (all, going) = mine.fold((0, 0), |(all, going), app| {
        (all + 1, going + usize::from(app.meta.deleting.is_some()))
    });
    if going >= 3 && going * 10 > all * 3 {
        let told =
            format!("{going} of its {all} applications are being deleted with their objects");
        tell(out, set, "applications", told);
    }
}

fn pruned_by_flux(view: &View<'_>, object: &Resource, out: &mut Verdicts) {
    let events = view.recent_events(Kind::Kustomization, &object.meta, LATELY);
    let lines = events.flat_map(|e| e.note.lines());
    let deleted = lines.filter_map(|l| l.strip_suffix(" deleted")?.split_once('/'));
    let mut gone: Vec<_> = deleted.map(|(kind, name)| (kind, name.to_owned())).collect();
    gone.sort_unstable();
    gone.dedup();
    let left = inventory(object);
    tell_of(out, object, &gone, left.unwrap_or_default() + gone.len(), "were deleted by it");
    let applied = !object.body.text("status.lastAppliedRevision").is_empty();
    if left == Some(0) && applied && object.body.is_true("spec.prune") {
        let path = object.body.text("spec.path");
        let labels =
            labels![&object.meta.namespace, object.kind.name(), &object.meta.name, "emptied"];
        // It may never have had any: an empty folder is no loss.
        let (severity, told) = match gone.len() {
            0 => (Severity::Info, format!("its path {path} renders nothing")),
            n => (
                Severity::Critical,
                format!("its path {path} renders nothing, and all {n} objects were deleted"),
            ),
        };
        let verdict = Verdict::new(Subject::of(object), labels, "emptied", told);
        out.push(verdict.severity(severity).dwell(0));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::layers::fixtures::{Counted, ago, event, judge, objects, reasons, resource, world};
    use crate::layers::gitops::LAYER;
    use crate::model::record::{Object, Owner};

    fn app(total: usize, pruned: usize, kind: &str, prune: bool) -> Resource {
        let object =
            |i| json!({"kind": kind, "name": format!("o{i}"), "requiresPruning": i < pruned});
        let all: Vec<Value> = (0..total).map(object).collect();
        let spec = json!({"syncPolicy": {"automated": {"prune": prune}}});
        resource(Kind::ArgoApplication, "web", json!({"spec": spec, "status": {"resources": all}}))
    }

    #[test]
    fn many_or_precious_objects_are_told_and_a_few_are_not() {
        let told = |app| reasons(&PRUNING, objects![app]);
        assert_eq!(told(app(30, 12, "ConfigMap", true)), ["many"]);
        assert!(told(app(100, 12, "ConfigMap", true)).is_empty());
        assert!(told(app(5, 4, "ConfigMap", true)).is_empty());
        assert_eq!(told(app(30, 1, "Namespace", true)), ["precious"]);
        assert!(told(app(30, 12, "Namespace", false)).is_empty(), "it waits for a person");
    }

    #[test]
    fn what_a_sync_has_pruned_is_told_for_an_hour() {
        let told = |kind: &str, count: usize, age: i64| {
            let gone = |i| json!({"kind": kind, "name": format!("o{i}"), "status": "Pruned"});
            let gone: Vec<Value> = (0..count).map(gone).collect();
            let operation = json!({"finishedAt": ago(age).to_string(),
                "syncResult": {"resources": gone}});
            let body = json!({"status": {"operationState": operation}});
            reasons(&PRUNING, objects![resource(Kind::ArgoApplication, "web", body)])
        };
        assert_eq!(told("ConfigMap", 12, 600), ["many"]);
        assert_eq!(told("PersistentVolumeClaim", 1, 600), ["precious"]);
        assert!(told("ConfigMap", 9, 600).is_empty());
        assert!(told("ConfigMap", 12, 9000).is_empty());
    }

    #[test]
    fn a_set_that_deletes_its_applications_is_told() {
        let told = |going: usize, all: usize| {
            let owner = || Owner {
                kind: "ApplicationSet".into(),
                name: "teams".into(),
                ..Owner::default()
            };
            let mut objects: Vec<Object> =
                objects![resource(Kind::ArgoApplicationSet, "teams", json!({}))];
            for i in 0..all {
                let mut app = resource(Kind::ArgoApplication, &format!("a{i}"), json!({}));
                app.meta.owner = Some(Box::new(owner()));
                app.meta.deleting = (i < going).then(|| ago(5));
                objects.push(app.into());
            }
            reasons(&PRUNING, objects)
        };
        assert_eq!(told(4, 10), ["applications"]);
        assert!(told(3, 10).is_empty());
        assert!(told(2, 2).is_empty());
    }

    fn kustomization(entries: usize) -> Resource {
        let entries: Vec<Value> = (0..entries).map(|i| json!({"id": i.to_string()})).collect();
        resource(
            Kind::Kustomization,
            "apps",
            json!({"spec": {"prune": true, "path": "./x"},
            "status": {"lastAppliedRevision": "main@a", "inventory": {"entries": entries}}}),
        )
    }

    #[test]
    fn what_flux_deletes_is_read_from_its_events() {
        let told = |left, lines: &[String], age| {
            let note = lines.join("\n");
            let event = event((Kind::Kustomization, "apps"), "Progressing", &note, age, age);
            let verdicts = judge(&PRUNING, &world(&[], objects![kustomization(left), event]));
            verdicts.iter().map(|v| (v.reason, v.severity)).collect::<Vec<_>>()
        };
        let maps: Vec<String> = (0..12).map(|i| format!("ConfigMap/shop/m{i} deleted")).collect();
        assert_eq!(told(20, &maps, 600), [("many", Severity::Critical)]);
        assert!(told(200, &maps, 600).is_empty(), "less than a fifth");
        assert!(told(20, &maps, 9000).is_empty());
        let claim = ["PersistentVolumeClaim/shop/data deleted".to_owned()];
        assert_eq!(told(20, &claim, 600), [("precious", Severity::Critical)]);
        assert!(told(20, &["ConfigMap/shop/a configured".to_owned()], 600).is_empty());
        assert_eq!(told(0, &maps[..3], 600), [("emptied", Severity::Critical)]);
    }

    #[test]
    fn an_empty_render_is_told_and_what_left_is_counted() {
        let empty = judge(&PRUNING, &world(&[], objects![kustomization(0)]));
        let told: Vec<_> = empty.iter().map(|v| (v.reason, v.severity)).collect();
        assert_eq!(told, [("emptied", Severity::Info)], "it may never have had any");
        assert!(reasons(&PRUNING, objects![kustomization(3)]).is_empty());
        let mut counted = Counted::new(&LAYER, objects![kustomization(20)]);
        counted.see(kustomization(22), 60).see(kustomization(4), 30);
        assert_eq!(counted.totals(&REMOVED), [("shop Kustomization apps".to_owned(), 18)]);
    }
}
