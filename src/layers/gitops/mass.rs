//! Is a whole application about to vanish? Objects that one revision removes, told before the last of them is gone.

use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::record::Resource;
use crate::model::signal::{Observation, Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::tally::Tallies;
use crate::model::view::View;

pub(super) static REMOVED: Signal = Signal {
    block: "S7.17",
    name: "gitops_inventory_removed_total",
    layer: Layer::Gitops,
    help: "Objects that left the inventory of a Kustomization, Helm release or application while it was kept.",
    unit: Unit::Count,
    labels: &["namespace", "kind", "name"],
    reasons: &[],
    bound: "applications, Kustomizations and Helm releases",
    needs: &[],
    uses: &[Kind::Kustomization, Kind::HelmRelease, Kind::ArgoApplication],
    profile: Profile::Rate,
    read: Read::Counter,
};

pub(super) static PRUNING: Signal = Signal {
    block: "S7.17",
    name: "gitops_mass_change",
    layer: Layer::Gitops,
    help: "Applications of which more than ten objects and a fifth wait to be pruned, or one whose loss takes others or \
           data along, and Kustomizations left with an empty inventory. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "kind", "name", "reason"],
    reasons: &["many", "precious", "emptied"],
    bound: "applications and Kustomizations × 3 reasons",
    needs: &[],
    uses: &[Kind::ArgoApplication, Kind::Kustomization],
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

fn pruning(view: &View<'_>, out: &mut Verdicts) {
    let mut tell = |object: &Resource, reason, told: String| {
        let labels = labels![&object.meta.namespace, object.kind.name(), &object.meta.name, reason];
        let verdict = Verdict::new(Subject::of(object), labels, reason, told);
        out.push(verdict.severity(Severity::Critical).dwell(0));
    };
    for app in view.resources(Kind::ArgoApplication).filter(|a| a.meta.deleting.is_none()) {
        let all = app.body.items("status.resources");
        let going: Vec<_> = all.iter().filter(|r| r.is_true("requiresPruning")).collect();
        if going.len() > 10 && going.len() * 5 > all.len() {
            tell(
                app,
                "many",
                format!("{} of its {} objects are to be pruned", going.len(), all.len()),
            );
        }
        let precious = going.iter().find(|r| PRECIOUS.contains(&r.text("kind").as_str()));
        if let Some(object) = precious {
            let (kind, name) = (object.text("kind"), object.text("name"));
            tell(
                app,
                "precious",
                format!("{kind} {name} is to be pruned, and what is in it goes along"),
            );
        }
    }
    for object in view.resources(Kind::Kustomization) {
        let applied = !object.body.text("status.lastAppliedRevision").is_empty();
        let live = object.meta.deleting.is_none() && !object.body.is_true("spec.suspend");
        if live && applied && object.body.is_true("spec.prune") && inventory(object) == Some(0) {
            let path = object.body.text("spec.path");
            tell(
                object,
                "emptied",
                format!("its path {path} renders nothing, and all that it had made is pruned"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::layers::fixtures::{Counted, objects, reasons, resource};
    use crate::layers::gitops::LAYER;

    fn app(total: usize, pruned: usize, kind: &str) -> Resource {
        let object =
            |i| json!({"kind": kind, "name": format!("o{i}"), "requiresPruning": i < pruned});
        let all: Vec<Value> = (0..total).map(object).collect();
        resource(Kind::ArgoApplication, "web", json!({"status": {"resources": all}}))
    }

    #[test]
    fn many_or_precious_objects_are_told_and_a_few_are_not() {
        assert_eq!(reasons(&PRUNING, objects![app(30, 12, "ConfigMap")]), ["many"]);
        assert!(reasons(&PRUNING, objects![app(100, 12, "ConfigMap")]).is_empty());
        assert!(reasons(&PRUNING, objects![app(5, 4, "ConfigMap")]).is_empty());
        assert_eq!(reasons(&PRUNING, objects![app(30, 1, "Namespace")]), ["precious"]);
    }

    #[test]
    fn an_empty_render_is_told_and_what_left_is_counted() {
        let kustomization = |entries: usize| {
            let entries: Vec<Value> = (0..entries).map(|i| json!({"id": i.to_string()})).collect();
            resource(
                Kind::Kustomization,
                "apps",
                json!({"spec": {"prune": true, "path": "./x"},
                "status": {"lastAppliedRevision": "main@a", "inventory": {"entries": entries}}}),
            )
        };
        assert_eq!(reasons(&PRUNING, objects![kustomization(0)]), ["emptied"]);
        assert!(reasons(&PRUNING, objects![kustomization(3)]).is_empty());
        let mut counted = Counted::new(&LAYER, objects![kustomization(20)]);
        counted.see(kustomization(22), 60).see(kustomization(4), 30);
        assert_eq!(counted.totals(&REMOVED), [("shop Kustomization apps".to_owned(), 18)]);
    }
}
