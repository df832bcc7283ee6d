//! Which objects does a label selector mean? `matchLabels` and `matchExpressions` (apimachinery `LabelSelector`).

use super::record::Labelled;
use super::value::Value;

/// Whether a `LabelSelector` selects these labels. The empty selector selects everything; an absent one is the
/// caller's to tell, for it means nothing to some and everything to others.
#[must_use]
pub fn selects(selector: &Value, labels: &Labelled) -> bool {
    holds(selector.get("matchLabels"), labels)
        && selector.items("matchExpressions").iter().all(|e| expression(e, labels))
}

/// Whether each entry of a map is one of these labels, as a Service's selector asks.
#[must_use]
pub fn holds(map: &Value, labels: &Labelled) -> bool {
    map.entries("").iter().all(|(key, wanted)| {
        matches!((wanted, labels.get(key)), (Value::Text(wanted), Some(found)) if wanted == found)
    })
}

fn expression(expression: &Value, labels: &Labelled) -> bool {
    let found = labels.get(expression.text("key"));
    let listed = |value: &str| expression.texts("values").any(|v| v == value);
    match expression.text("operator").as_str() {
        "In" => found.is_some_and(|v| listed(v)),
        "NotIn" => !found.is_some_and(|v| listed(v)),
        "Exists" => found.is_some(),
        "DoesNotExist" => found.is_none(),
        // An operator of a later version: nobody can say, so it selects nothing.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_selector_means_what_kubernetes_says() {
        let labels = Labelled::from([("app", "web"), ("tier", "front")]);
        let cases = [
            (json!({}), true),
            (json!({"matchLabels": {"app": "web"}}), true),
            (json!({"matchLabels": {"app": "db"}}), false),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["db", "web"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}),
                false,
            ),
            (
                json!({"matchExpressions": [{"key": "x", "operator": "NotIn", "values": ["web"]}]}),
                true,
            ),
            (json!({"matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]}), true),
            (json!({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}), true),
            (
                json!({"matchExpressions": [{"key": "tier", "operator": "Gt", "values": ["1"]}]}),
                false,
            ),
        ];
        for (selector, expected) in cases {
            assert_eq!(selects(&Value::from(&selector), &labels), expected, "{selector}");
        }
    }
}
