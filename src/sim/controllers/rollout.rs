//! How far may a rollout go at once, and which revision does a template make?

use serde_json::Value;

use crate::sim::chance::Chance;
use crate::sim::fields::Fields;

/// How many pods a rollout of so many may add and lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) surge: i64,
    pub(crate) unavailable: i64,
}

/// `ResolveFenceposts` of the Deployment controller.
pub(crate) fn bounds(deployment: &Value) -> Bounds {
    let replicas = deployment.int("spec/replicas");
    let read = |field: &str, up| {
        let value = deployment.at(&format!("spec/strategy/rollingUpdate/{field}"));
        match value {
            Some(Value::Number(n)) => n.as_i64().unwrap_or(0),
            Some(Value::String(text)) => {
                let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(25);
                (percent * replicas + if up { 99 } else { 0 }) / 100
            }
            _ => (25 * replicas + if up { 99 } else { 0 }) / 100,
        }
    };
    let bounds =
        Bounds { surge: read("maxSurge", true), unavailable: read("maxUnavailable", false) };
    if bounds.surge == 0 && bounds.unavailable == 0 {
        Bounds { unavailable: 1, ..bounds }
    } else {
        bounds
    }
}

/// A name for a template: equal templates, equal names, whatever the seed.
pub(crate) fn revision(template: &Value) -> String {
    Chance::new(0).of("template", &template.to_string()).letters(10)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn percentages_round_surge_up_and_unavailable_down() {
        for (replicas, surge, unavailable) in [(1, 1, 0), (3, 1, 0), (4, 1, 1), (10, 3, 2)] {
            let deployment = json!({"spec": {"replicas": replicas}});
            assert_eq!(bounds(&deployment), Bounds { surge, unavailable }, "{replicas}");
        }
        let stuck = json!({"spec": {"replicas": 2, "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}}});
        assert_eq!(bounds(&stuck), Bounds { surge: 0, unavailable: 1 });
    }
}
