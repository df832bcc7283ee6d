//! Which conditions of an object are bad? A table of types with their polarity and what they are called when they are
//! bad; types that it does not name inform people, and tell nothing.

use crate::model::finding::Severity;
use crate::model::kind::Kind;
use crate::model::record::{Condition, Resource, Status};

/// How a condition of a kind is to be read.
#[derive(Debug)]
pub(super) struct Polarity {
    /// Kinds that have it.
    pub(super) kinds: &'static [Kind],
    /// Its type.
    pub(super) condition: &'static str,
    /// The status that is bad; the opposite is good.
    pub(super) bad: Status,
    /// How long it must be bad, in seconds.
    pub(super) dwell: i64,
    /// How long it may be unknown, in seconds; `None`: for ever.
    pub(super) unknown: Option<i64>,
    /// Reasons that make the bad status harmless.
    pub(super) harmless: &'static [&'static str],
    /// The signal's reason for it; empty where its user has another way to tell.
    pub(super) reason: &'static str,
    /// How much it matters when it is bad.
    pub(super) severity: Severity,
}

impl Polarity {
    /// A condition that is bad when false, and may be unknown for as long as it likes.
    pub(super) const fn good(kinds: &'static [Kind], condition: &'static str, dwell: i64) -> Self {
        Self {
            kinds,
            condition,
            bad: Status::False,
            dwell,
            unknown: None,
            harmless: &[],
            reason: "",
            severity: Severity::Warning,
        }
    }

    /// A condition that is bad when true.
    pub(super) const fn problem(
        kinds: &'static [Kind],
        condition: &'static str,
        dwell: i64,
    ) -> Self {
        Self { bad: Status::True, ..Self::good(kinds, condition, dwell) }
    }

    /// The same, told with this reason, this severe.
    pub(super) const fn told(self, reason: &'static str, severity: Severity) -> Self {
        Self { reason, severity, ..self }
    }

    /// The same, bad too when unknown for so many seconds.
    pub(super) const fn or_unknown(self, seconds: i64) -> Self {
        Self { unknown: Some(seconds), ..self }
    }

    /// The same, harmless with these reasons.
    pub(super) const fn unless(self, harmless: &'static [&'static str]) -> Self {
        Self { harmless, ..self }
    }
}

/// The bad conditions of an object by a table, in the table's order, each with the seconds that it must hold. A status
/// older than the spec tells nothing.
pub(super) fn bad<'a>(
    resource: &'a Resource,
    table: &'static [Polarity],
) -> impl Iterator<Item = (&'static Polarity, &'a Condition, i64)> {
    let rows = table.iter().filter(|row| row.kinds.contains(&resource.kind));
    rows.filter_map(|row| {
        let condition = resource.condition(row.condition).filter(|c| resource.is_current(c))?;
        judge(row, condition).map(|dwell| (row, condition, dwell))
    })
}

/// How long a condition must hold to be told; `None` where it is well.
pub(super) fn judge(row: &Polarity, condition: &Condition) -> Option<i64> {
    if row.harmless.contains(&condition.reason.as_str()) {
        return None;
    }
    match condition.status {
        Status::Unknown => row.unknown,
        status if status == row.bad => Some(row.dwell),
        _ => None,
    }
}

/// A condition's own words on one line: `message (reason)`.
pub(super) fn words(condition: &Condition) -> String {
    match (one_line(&condition.message).as_str(), &*condition.reason) {
        ("", "") => format!("{} is {:?}", condition.kind, condition.status),
        ("", reason) => reason.to_owned(),
        (message, "") => message.to_owned(),
        (message, reason) => format!("{message} ({reason})"),
    }
}

/// Somebody else's words on one line.
pub(super) fn one_line(words: &str) -> String {
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::resource;

    static TABLE: &[Polarity] = &[
        Polarity::good(&[Kind::Gateway], "Programmed", 60).or_unknown(120).unless(&["Pending"]),
        Polarity::problem(&[Kind::Gateway], "Conflicted", 30),
    ];

    #[test]
    fn polarity_dwell_and_harmless_reasons_come_from_the_table() {
        let cases = [
            ("Programmed", "True", "", None),
            ("Programmed", "False", "Invalid", Some(60)),
            ("Programmed", "False", "Pending", None),
            ("Programmed", "Unknown", "X", Some(120)),
            ("Conflicted", "True", "", Some(30)),
            ("Conflicted", "False", "", None),
            ("Conflicted", "Unknown", "", None),
            ("NobodyKnows", "True", "", None),
        ];
        for (kind, status, reason, expected) in cases {
            let gateway = resource(
                Kind::Gateway,
                "g",
                json!({"status": {"conditions": [{"type": kind, "status": status, "reason": reason}]}}),
            );
            let found = bad(&gateway, TABLE).map(|(_, _, dwell)| dwell).next();
            assert_eq!(found, expected, "{kind} {status} {reason}");
        }
    }

    #[test]
    fn a_condition_of_an_older_spec_is_no_evidence() {
        let told = |status: i64, own: i64| {
            let conditions = json!([{"type": "Conflicted", "status": "True",
                "observedGeneration": own}]);
            let status = json!({"observedGeneration": status, "conditions": conditions});
            let mut gateway = resource(Kind::Gateway, "g", json!({"status": status}));
            gateway.meta.generation = 3;
            bad(&gateway, TABLE).count()
        };
        assert_eq!((told(2, 0), told(3, 0)), (0, 1), "the status says of what it speaks");
        assert_eq!((told(3, 2), told(-1, 3)), (0, 1), "the condition knows better");
    }

    #[test]
    fn words_stay_on_one_line() {
        let said = |message: &str, reason: &str| {
            let (message, reason) = (message.into(), reason.into());
            words(&Condition { kind: "Ready".into(), message, reason, ..Condition::default() })
        };
        assert_eq!(
            said("apply failed:\n  no such kind\n", "Failed"),
            "apply failed: no such kind (Failed)"
        );
        assert_eq!(said("", "Failed"), "Failed");
        assert_eq!(said("", ""), "Ready is Unknown");
    }
}
