//! How many results of policies fail, and which could not be evaluated? Policy reports, whoever writes them.

use std::collections::BTreeMap;

use crate::labels;
use crate::model::finding::{Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::reading::Readings;
use crate::model::record::Resource;
use crate::model::signal::{Direction, Profile, Read, Signal, Unit};
use crate::model::subject::Subject;
use crate::model::text::Text;
use crate::model::value::Value;
use crate::model::view::View;

pub(super) static RESULTS: Signal = Signal {
    block: "S5.12",
    name: "security_policy_report_results",
    layer: Layer::Security,
    help: "Results of policy reports that fail, warn or end in errors, by namespace and by who wrote the report. Background \
           scans run by the hour, so it moves in steps.",
    unit: Unit::Count,
    labels: &["namespace", "source", "result"],
    reasons: &[],
    bound: "namespaces × 5 sources × 3 results",
    needs: &[],
    uses: REPORTS,
    profile: Profile::Level { bad: Direction::High, floor: 5.0 },
    read: Read::Gauge(results),
};

pub(super) static ERRORS: Signal = Signal {
    block: "S5.12",
    name: "security_policy_report_errors",
    layer: Layer::Security,
    help: "Namespaces whose policy reports have held errors for 15 minutes: a policy that cannot be evaluated there. \
           Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "source", "reason"],
    reasons: &["cannot_evaluate"],
    bound: "namespaces × 5 sources",
    needs: &[],
    uses: REPORTS,
    profile: Profile::None,
    read: Read::Rule(errors),
};

const REPORTS: &[Kind] =
    &[Kind::PolicyReport, Kind::ClusterPolicyReport, Kind::OpenReport, Kind::ClusterOpenReport];

/// A count of a report: its column where it came as a row of a table, else the field of the object. A cell may hold a
/// number or the text of one.
pub(super) fn count(report: &Resource, column: &str, field: &str) -> Option<u64> {
    let value = match report.body.at("table") {
        Value::Null => report.body.at(field),
        table => table.get(column),
    };
    let number = match value {
        Value::Number(number) => *number,
        Value::Text(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    // More than anybody has; a sum of them overflows nothing.
    Some(number.clamp(0.0, 1e12) as u64)
}

/// Who wrote it, as a bounded word.
fn source(report: &Resource) -> &'static str {
    let by = report.meta.labels.value("app.kubernetes.io/managed-by");
    let known = ["kyverno", "trivy", "falco", "kubewarden"];
    known.into_iter().find(|word| by.contains(word)).unwrap_or("other")
}

const RESULT: [(&str, &str); 3] =
    [("fail", "summary.fail"), ("warn", "summary.warn"), ("error", "summary.error")];

/// Sums by namespace, source and result.
type Sums<'a> = BTreeMap<(&'a Text, &'static str, &'static str), u64>;

fn sums<'a>(view: &View<'a>) -> Sums<'a> {
    let mut sums = Sums::new();
    for report in view.resources_of(REPORTS) {
        for (result, field) in RESULT {
            if let Some(n) = count(report, result, field) {
                *sums.entry((&report.meta.namespace, source(report), result)).or_default() += n;
            }
        }
    }
    sums
}

fn results(view: &View<'_>, out: &mut Readings) {
    for ((namespace, source, result), n) in sums(view) {
        out.push(labels![namespace, source, result], n as f64);
    }
}

fn errors(view: &View<'_>, out: &mut Verdicts) {
    for ((namespace, source, result), n) in sums(view) {
        if result != "error" || n == 0 {
            continue;
        }
        let subject = if namespace.is_empty() {
            Subject::cluster()
        } else {
            Subject::new(Kind::Namespace, &Text::default(), namespace)
        };
        let reason = "cannot_evaluate";
        let message = format!(
            "errors in its policy reports: {n}; there are policies that could not be evaluated"
        );
        let labels = labels![namespace, source, reason];
        out.push(Verdict::new(subject, labels, reason, message).dwell(900));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{judge, objects, readings, resource, world};

    fn report(name: &str, body: &serde_json::Value) -> Resource {
        let mut manifest = body.clone();
        manifest["metadata"] = json!({"labels": {"app.kubernetes.io/managed-by": "kyverno"}});
        resource(Kind::PolicyReport, name, manifest)
    }

    #[test]
    fn rows_and_objects_are_summed_alike() {
        let objects = objects![
            report("a", &json!({"table": {"pass": 3, "fail": 1, "error": "2", "age": "5m"}})),
            report("b", &json!({"summary": {"pass": 3, "fail": 4}})),
            report("c", &json!({"table": {"fail": null}})),
            report("d", &json!({"summary": "odd"})),
            resource(Kind::ClusterPolicyReport, "e", json!({"summary": {"warn": 1}})),
        ];
        let told: Vec<_> = readings(&RESULTS, objects)
            .iter()
            .map(|r| (r.labels.iter().collect::<Vec<_>>().join(" "), r.value))
            .collect();
        let expected =
            [(" other warn", 1.0), ("shop kyverno error", 2.0), ("shop kyverno fail", 5.0)];
        assert_eq!(told, expected.map(|(l, v)| (l.to_owned(), v)));
    }

    #[test]
    fn errors_are_told_by_namespace_and_failures_are_not() {
        let objects = objects![
            report("a", &json!({"table": {"fail": 9, "error": 1}})),
            report("b", &json!({"table": {"error": 2}})),
        ];
        let told = judge(&ERRORS, &world(&[], objects));
        assert_eq!((told.len(), told[0].dwell.as_secs()), (1, 900));
        assert!(told[0].message.starts_with("errors in its policy reports: 3"));
        let fails = objects![report("a", &json!({"table": {"fail": 9, "error": 0}}))];
        assert!(judge(&ERRORS, &world(&[], fails)).is_empty());
    }
}
