//! How much of its quota has a namespace spent? Full is a fault only where somebody asks for more: creation failures
//! tell that.

use crate::labels;
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::quantity;
use crate::model::reading::Readings;
use crate::model::signal::{Direction, Profile, Read, Signal, Unit};
use crate::model::value::Value;
use crate::model::view::View;

pub(super) static USED: Signal = Signal {
    block: "S2.15",
    name: "compute_quota_used_ratio",
    layer: Layer::Compute,
    help: "Share of a resource quota that is used, by resource. 1 without pending demand is fine.",
    unit: Unit::Ratio,
    labels: &["namespace", "resourcequota", "resource"],
    reasons: &[],
    bound: "quotas × resources",
    needs: &[Kind::ResourceQuota],
    uses: &[],
    profile: Profile::Level { bad: Direction::High, floor: 0.1 },
    read: Read::Gauge(used),
};

fn used(view: &View<'_>, out: &mut Readings) {
    for quota in view.resources(Kind::ResourceQuota) {
        let used = quota.body.at("status.used");
        for (resource, hard) in quota.body.entries("status.hard") {
            let (Some(hard), Some(used)) = (amount(hard), amount(used.get(resource))) else {
                continue;
            };
            // A quota of nothing forbids; it is not spent.
            if hard > 0.0 {
                let labels = labels![&quota.meta.namespace, &quota.meta.name, resource];
                out.push(labels, used / hard);
            }
        }
    }
}

/// A quantity: a text, or a number where it was written as one.
fn amount(value: &Value) -> Option<f64> {
    match value {
        Value::Text(text) => quantity::number(text),
        Value::Number(number) => Some(*number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::{read, world};
    use super::*;
    use crate::layers::fixtures::resource;
    use crate::model::record::Object;

    #[test]
    fn shares_are_of_quantities_and_odd_ones_say_nothing() {
        let quota = resource(
            Kind::ResourceQuota,
            "q",
            json!({"status": {
                "hard": {"cpu": "4", "memory": "8Gi", "pods": "10", "x": "0", "y": "many", "z": 5},
                "used": {"cpu": "500m", "memory": "8Gi", "x": "0", "y": "1", "z": 1},
            }}),
        );
        let readings = read(&USED, &world([Object::Resource(Box::new(quota))]));
        let told: Vec<_> =
            readings.iter().map(|r| (r.labels.get(2).unwrap().as_str(), r.value)).collect();
        assert_eq!(told, [("cpu", 0.125), ("memory", 1.0), ("z", 0.2)]);
    }
}
