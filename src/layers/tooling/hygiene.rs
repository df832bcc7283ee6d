//! How well are workloads looked after? Posture by namespace, never an alarm: a missing probe makes Ready mean little.

use std::collections::BTreeMap;

use crate::labels;
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::reading::Readings;
use crate::model::record::{Labelled, Workload};
use crate::model::selector;
use crate::model::signal::{Profile, Read, Signal, Unit};
use crate::model::text::Text;
use crate::model::view::View;

pub(super) static LACKING: Signal = Signal {
    block: "S6.12",
    name: "tooling_workload_hygiene_lacking_ratio",
    layer: Layer::Tooling,
    help: "Share of a namespace's workloads that lack what they should have: a readiness probe, requests, a memory limit, \
           a fixed image, a second replica behind a Service, a disruption budget, or distance from the node.",
    unit: Unit::Ratio,
    labels: &["namespace", "lack"],
    reasons: &[],
    bound: "namespaces × 8",
    needs: &[Kind::Deployment, Kind::StatefulSet],
    uses: &[Kind::Service, Kind::PodDisruptionBudget],
    profile: Profile::None,
    read: Read::Gauge(lacking),
};

fn lacking(view: &View<'_>, out: &mut Readings) {
    let mut counts: BTreeMap<&Text, [(&str, u64, u64); 8]> = BTreeMap::new();
    for workload in view.counted_workloads().filter(|w| w.kind != Kind::DaemonSet) {
        let Some(template) = workload.template.as_deref() else { continue };
        let served = || selected(view, workload, Kind::Service, &template.labels);
        let budgeted = || selected(view, workload, Kind::PodDisruptionBudget, &template.labels);
        let lacks = [
            ("readiness_probe", Some(!template.has_readiness)),
            ("requests", Some(!template.has_requests)),
            ("memory_limit", Some(!template.has_memory_limit)),
            ("fixed_image", Some(template.floating_image)),
            ("unprivileged", Some(template.privileged)),
            ("no_host_path", Some(template.host_path)),
            ("second_replica", view.sees(Kind::Service).then(|| workload.desired == 1 && served())),
            (
                "disruption_budget",
                (view.sees(Kind::PodDisruptionBudget) && workload.desired > 1).then(|| !budgeted()),
            ),
        ];
        let held = counts.entry(&workload.meta.namespace).or_default();
        for (held, (lack, lacks)) in held.iter_mut().zip(lacks) {
            held.0 = lack;
            held.1 += u64::from(lacks == Some(true));
            held.2 += u64::from(lacks.is_some());
        }
    }
    for (namespace, lacks) in counts {
        for (lack, lacking, all) in lacks {
            out.push_ratio(labels![namespace, lack], lacking, all);
        }
    }
}

/// Whether an object of this kind selects pods with these labels. A Service selects by a plain map.
fn selected(view: &View<'_>, workload: &Workload, kind: Kind, labels: &Labelled) -> bool {
    view.resources_in(kind, &workload.meta.namespace).any(|r| {
        let wanted = r.body.at("spec.selector");
        if wanted.entries("").is_empty() {
            false
        } else if kind == Kind::Service {
            selector::holds(wanted, labels)
        } else {
            selector::selects(wanted, labels)
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{deployment, objects, readings, resource, service};
    use crate::model::record::{Object, Template};

    fn shares(objects: Vec<Object>) -> BTreeMap<String, f64> {
        let readings = readings(&LACKING, objects);
        readings.iter().map(|r| (r.labels.get(1).unwrap().to_string(), r.value)).collect()
    }

    #[test]
    fn each_lack_is_a_share_of_those_that_it_applies_to() {
        let mut good = deployment("good", 2, 2);
        good.template = Some(Box::new(Template {
            has_readiness: true,
            has_requests: true,
            has_memory_limit: true,
            ..*good.template.clone().unwrap()
        }));
        let single = deployment("single", 1, 1);
        let budget = resource(
            Kind::PodDisruptionBudget,
            "good",
            json!({"spec": {"selector": {"matchLabels": {"app": "good"}}}}),
        );
        let shares = shares(objects![good, single, service("single"), budget]);
        assert_eq!(shares["readiness_probe"], 0.5);
        assert_eq!(shares["second_replica"], 0.5);
        assert_eq!(shares["disruption_budget"], 0.0, "a single replica needs none");
        assert_eq!(shares["fixed_image"], 0.0);
    }
}
