//! What does not follow Git just now, because somebody said so?

use std::collections::BTreeMap;

use crate::labels;
use crate::layers::switches::{SWITCHED, switched_off};
use crate::model::layer::Layer;
use crate::model::reading::Readings;
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::text::Text;
use crate::model::view::View;

pub(super) static SUSPENDED: Signal = Signal {
    block: "S7.14",
    name: "gitops_suspended",
    layer: Layer::Gitops,
    help: "Objects of Flux that are suspended, and applications of Argo CD that are told to skip reconciliation or whose \
           automated sync is switched off, however long. Each is meant; those that stand for a day are told by \
           tooling_forgotten_state.",
    unit: Unit::Count,
    labels: &["namespace", "kind"],
    reasons: &[],
    bound: "namespaces × 13 kinds",
    needs: &[],
    uses: SWITCHED,
    profile: Profile::None,
    read: Read::Gauge(suspended),
};

fn suspended(view: &View<'_>, out: &mut Readings) {
    let mut counts: BTreeMap<(&Text, &str), u64> = BTreeMap::new();
    for object in view.resources_of(SWITCHED).filter(|o| o.meta.deleting.is_none()) {
        if switched_off(object).is_some() {
            *counts.entry((&object.meta.namespace, object.kind.name())).or_default() += 1;
        }
    }
    for ((namespace, kind), count) in counts {
        out.push(labels![namespace, kind], count as f64);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{objects, readings, resource};
    use crate::model::kind::Kind;

    #[test]
    fn what_stands_still_is_counted_by_kind() {
        let flux = |name, suspend| {
            resource(Kind::Kustomization, name, json!({"spec": {"suspend": suspend}}))
        };
        let off = json!({"spec": {"syncPolicy": {"automated": {"enabled": false}}}});
        let app = resource(Kind::ArgoApplication, "web", off);
        let found =
            readings(&SUSPENDED, objects![flux("a", true), flux("b", true), flux("c", false), app]);
        let found: Vec<_> =
            found.iter().map(|r| (r.labels.get(1).unwrap().to_string(), r.value)).collect();
        assert_eq!(found, [("Application".to_owned(), 1.0), ("Kustomization".to_owned(), 2.0)]);
    }
}
