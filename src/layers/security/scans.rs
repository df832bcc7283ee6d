//! What do the scanners find in what runs, and do they still look?

use std::collections::{BTreeMap, BTreeSet};

use super::reports::count;
use crate::labels;
use crate::model::finding::{Severity, Verdict, Verdicts};
use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::reading::Readings;
use crate::model::record::{Resource, Time};
use crate::model::signal::{Direction, Profile, Read, Signal, Unit};
use crate::model::subject::{Subject, WorkloadRef};
use crate::model::text::Text;
use crate::model::value::Value;
use crate::model::view::View;

pub(super) static VULNERABILITIES: Signal = Signal {
    block: "S5.14",
    name: "security_vulnerabilities",
    layer: Layer::Security,
    help: "Vulnerabilities that Trivy found in the images that run, each image once a namespace; old revisions are left \
           out. It moves in steps.",
    unit: Unit::Count,
    labels: &["namespace", "severity"],
    reasons: &[],
    bound: "namespaces × 5 severities",
    needs: &[Kind::VulnerabilityReport],
    uses: &[Kind::ReplicaSet],
    profile: Profile::Level { bad: Direction::High, floor: 5.0 },
    read: Read::Gauge(vulnerabilities),
};

pub(super) static CONFIGURATION: Signal = Signal {
    block: "S5.14",
    name: "security_config_audit_failures",
    layer: Layer::Security,
    help: "Failed checks of workloads' configuration that Trivy found; old revisions are left out. It moves in steps.",
    unit: Unit::Count,
    labels: &["namespace", "severity"],
    reasons: &[],
    bound: "namespaces × 4 severities",
    needs: &[Kind::ConfigAuditReport],
    uses: &[Kind::ReplicaSet],
    profile: Profile::Level { bad: Direction::High, floor: 5.0 },
    read: Read::Gauge(configuration),
};

pub(super) static SECRETS: Signal = Signal {
    block: "S5.14",
    name: "security_exposed_secrets",
    layer: Layer::Security,
    help: "Workloads in whose images Trivy found secrets. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "workload_kind", "workload", "reason"],
    reasons: &["exposed_secret"],
    bound: "workloads",
    needs: &[Kind::ExposedSecretReport],
    uses: &[Kind::ReplicaSet],
    profile: Profile::None,
    read: Read::Rule(secrets),
};

pub(super) static COVERAGE: Signal = Signal {
    block: "S5.14",
    name: "security_scan_coverage_ratio",
    layer: Layer::Security,
    help: "Share of a namespace's workloads that have a vulnerability report; none before there is a report anywhere. \
           Namespaces that are not scanned on purpose stay at 0.",
    unit: Unit::Ratio,
    labels: &["namespace"],
    reasons: &[],
    bound: "namespaces",
    needs: &[Kind::VulnerabilityReport, Kind::Deployment, Kind::ReplicaSet],
    uses: &[Kind::StatefulSet, Kind::DaemonSet],
    profile: Profile::Level { bad: Direction::Low, floor: 0.1 },
    read: Read::Gauge(coverage),
};

pub(super) static STALE: Signal = Signal {
    block: "S5.14",
    name: "security_scan_stale",
    layer: Layer::Security,
    help: "Namespaces with vulnerability reports older than twice the time for which the scanner means to keep them: it no \
           longer looks. Reports that are kept for ever cannot be old. Healthy is none.",
    unit: Unit::Count,
    labels: &["namespace", "reason"],
    reasons: &["not_rescanned"],
    bound: "namespaces",
    needs: &[Kind::VulnerabilityReport],
    uses: &[Kind::ReplicaSet],
    profile: Profile::None,
    read: Read::Rule(stale),
};

/// Severities, with their column and their field.
const SEVERITIES: [(&str, &str); 5] = [
    ("critical", "report.summary.criticalCount"),
    ("high", "report.summary.highCount"),
    ("medium", "report.summary.mediumCount"),
    ("low", "report.summary.lowCount"),
    ("unknown", "report.summary.unknownCount"),
];

/// The workload that a report is about, under its top-most owner.
fn workload(view: &View<'_>, report: &Resource) -> WorkloadRef {
    let label = |key: &str| report.meta.labels.value(&format!("trivy-operator.resource.{key}"));
    let namespace = report.meta.namespace.clone();
    let owner = report.meta.owner.as_deref();
    let (kind, name) = match (label("kind"), owner) {
        ("", Some(owner)) => (&*owner.kind, &*owner.name),
        (kind, _) => (kind, label("name")),
    };
    let set = view.world.replica_sets.get(&namespace, name).filter(|_| kind == "ReplicaSet");
    match set.and_then(|s| s.meta.owner.as_deref()) {
        Some(top) => WorkloadRef { namespace, kind: top.kind.clone(), name: top.name.clone() },
        None => WorkloadRef { namespace, kind: kind.into(), name: name.into() },
    }
}

/// Reports of what runs: those of a ReplicaSet that is scaled down are of an old revision.
fn current<'s>(view: &'s View<'_>, kind: Kind) -> impl Iterator<Item = &'s Resource> + 's {
    view.resources(kind).filter(|report| {
        let label = |key: &str| report.meta.labels.value(key);
        let name = match report.meta.owner.as_deref() {
            Some(owner) if owner.kind == "ReplicaSet" => &*owner.name,
            _ if label("trivy-operator.resource.kind") == "ReplicaSet" => {
                label("trivy-operator.resource.name")
            }
            _ => return true,
        };
        view.world.replica_sets.get(&report.meta.namespace, name).is_none_or(|s| s.desired > 0)
    })
}

/// What was scanned, as far as the report says.
fn image(report: &Resource) -> Option<(&Text, &Text)> {
    let (table, artifact) = (report.body.at("table"), report.body.at("report.artifact"));
    let from = if matches!(table, Value::Null) { artifact } else { table };
    let repository = from.text("repository");
    (!repository.is_empty()).then(|| (repository, from.text("tag")))
}

fn vulnerabilities(view: &View<'_>, out: &mut Readings) {
    let mut seen: BTreeSet<(&Text, (&Text, &Text))> = BTreeSet::new();
    let reports = current(view, Kind::VulnerabilityReport);
    let once = reports.filter(|r| image(r).is_none_or(|i| seen.insert((&r.meta.namespace, i))));
    push_sums(once, out);
}

fn configuration(view: &View<'_>, out: &mut Readings) {
    push_sums(current(view, Kind::ConfigAuditReport), out);
}

fn push_sums<'s>(reports: impl Iterator<Item = &'s Resource>, out: &mut Readings) {
    let mut sums: BTreeMap<(&Text, &str), u64> = BTreeMap::new();
    for report in reports {
        for (severity, field) in SEVERITIES {
            if let Some(n) = count(report, severity, field) {
                *sums.entry((&report.meta.namespace, severity)).or_default() += n;
            }
        }
    }
    for ((namespace, severity), n) in sums {
        out.push(labels![namespace, severity], n as f64);
    }
}

fn secrets(view: &View<'_>, out: &mut Verdicts) {
    let mut found: BTreeMap<WorkloadRef, (u64, u64)> = BTreeMap::new();
    for report in current(view, Kind::ExposedSecretReport) {
        let of = |i: usize| count(report, SEVERITIES[i].0, SEVERITIES[i].1).unwrap_or(0);
        let (grave, others) = (of(0) + of(1), of(2) + of(3));
        if grave + others > 0 {
            let sums = found.entry(workload(view, report)).or_default();
            *sums = (sums.0 + grave, sums.1 + others);
        }
    }
    for (workload, (grave, others)) in found {
        let reason = "exposed_secret";
        let labels = labels![&workload.namespace, &workload.kind, &workload.name, reason];
        let message = format!(
            "secrets found in its images: {} ({grave} critical or high); rotate them, and build without them",
            grave + others
        );
        let severity = if grave > 0 { Severity::Warning } else { Severity::Info };
        let verdict = Verdict::new(workload.subject(), labels, reason, message);
        // The scanner deletes its reports and makes them again: one poll is no evidence.
        out.push(verdict.severity(severity).dwell(300));
    }
}

fn coverage(view: &View<'_>, out: &mut Readings) {
    let scanned: BTreeSet<WorkloadRef> =
        current(view, Kind::VulnerabilityReport).map(|r| workload(view, r)).collect();
    if scanned.is_empty() {
        return;
    }
    let mut counts: BTreeMap<Text, (u64, u64)> = BTreeMap::new();
    for workload in view.counted_workloads() {
        let (with, all) = counts.entry(workload.meta.namespace.clone()).or_default();
        *with += u64::from(scanned.contains(&View::reference(workload)));
        *all += 1;
    }
    for (namespace, (with, all)) in counts {
        out.push_ratio(labels![&namespace], with, all);
    }
}

fn stale(view: &View<'_>, out: &mut Verdicts) {
    let mut old: BTreeMap<&Text, (u64, Time, i64)> = BTreeMap::new();
    for report in current(view, Kind::VulnerabilityReport) {
        let kept =
            report.meta.annotations.value("trivy-operator.aquasecurity.github.io/report-ttl");
        let Some(kept) = super::duration::seconds(kept).filter(|s| *s > 0) else { continue };
        // A row of a table has no times but that of the object, which is made anew with each scan.
        let scanned = report.body.time("report.updateTimestamp").unwrap_or(report.meta.created);
        if view.age_seconds(scanned) > 2 * kept {
            let (count, first, limit) =
                old.entry(&report.meta.namespace).or_insert((0, scanned, 2 * kept));
            *count += 1;
            if scanned < *first {
                (*first, *limit) = (scanned, 2 * kept);
            }
        }
    }
    for (namespace, (count, first, limit)) in old {
        let reason = "not_rescanned";
        let message =
            format!("vulnerability reports past their time: {count}, the oldest of {first}");
        let subject = Subject::new(Kind::Namespace, &Text::default(), namespace);
        let verdict = Verdict::new(subject, labels![namespace, reason], reason, message);
        out.push(verdict.since(first).dwell(limit));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::layers::fixtures::{
        ago, deployment, judge, meta, objects, readings, reasons, resource, world,
    };
    use crate::model::record::{Meta, Object, Owner, Workload};

    fn report(kind: Kind, name: &str, set: &str, body: &serde_json::Value) -> Resource {
        let mut manifest = body.clone();
        manifest["metadata"]["labels"] = json!({"trivy-operator.resource.kind": "ReplicaSet", "trivy-operator.resource.name": set});
        resource(kind, name, manifest)
    }

    fn set(name: &str, desired: u32) -> Workload {
        let owner = Owner { kind: "Deployment".into(), name: "web".into(), ..Owner::default() };
        let meta = Meta { owner: Some(Box::new(owner)), ..meta("shop", name, 3600) };
        Workload {
            kind: Kind::ReplicaSet,
            meta,
            template: None,
            ..deployment(name, desired, desired)
        }
    }

    fn told(signal: &Signal, objects: Vec<Object>) -> Vec<(String, f64)> {
        let readings = readings(signal, objects);
        readings.iter().map(|r| (r.labels.iter().collect::<Vec<_>>().join(" "), r.value)).collect()
    }

    #[test]
    fn each_image_counts_once_and_old_revisions_do_not() {
        let kind = Kind::VulnerabilityReport;
        let row = |tag: &str| json!({"table": {"repository": "app", "tag": tag, "critical": 2, "high": "3"}});
        let whole = json!({"report": {"artifact": {"repository": "db", "tag": "1"}, "summary": {"criticalCount": 1}}});
        let objects = objects![
            set("web-new", 2),
            set("web-old", 0),
            report(kind, "a", "web-new", &row("2")),
            report(kind, "b", "web-new", &row("2")),
            report(kind, "c", "web-old", &row("1")),
            report(kind, "d", "web-new", &whole),
            report(kind, "e", "web-new", &json!({"table": "odd"})),
        ];
        let expected = [("shop critical".to_owned(), 3.0), ("shop high".to_owned(), 3.0)];
        assert_eq!(told(&VULNERABILITIES, objects), expected);
    }

    #[test]
    fn failed_checks_are_summed() {
        let kind = Kind::ConfigAuditReport;
        let objects = objects![
            report(kind, "a", "x", &json!({"table": {"critical": 0, "high": 1}})),
            report(kind, "b", "y", &json!({"table": {"high": 1}})),
        ];
        let expected = [("shop critical".to_owned(), 0.0), ("shop high".to_owned(), 2.0)];
        assert_eq!(told(&CONFIGURATION, objects), expected);
    }

    #[test]
    fn secrets_are_told_by_workload() {
        let kind = Kind::ExposedSecretReport;
        let objects = objects![
            set("web-new", 2),
            report(kind, "a", "web-new", &json!({"table": {"critical": 1, "low": 1}})),
            report(kind, "b", "web-new", &json!({"table": {"critical": 0}})),
        ];
        let found = judge(&SECRETS, &world(&[], objects));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].subject.to_string(), "Deployment shop/web");
        assert!(found[0].message.starts_with("secrets found in its images: 2 (1 critical"));
        let clean = objects![report(kind, "b", "x", &json!({"table": {"critical": 0}}))];
        assert!(reasons(&SECRETS, clean).is_empty());
    }

    #[test]
    fn coverage_is_of_workloads_that_run() {
        let kind = Kind::VulnerabilityReport;
        let all = || {
            objects![
                deployment("web", 2, 2),
                deployment("db", 1, 1),
                deployment("off", 0, 0),
                set("web-new", 2)
            ]
        };
        let mut scanned = all();
        scanned.push(report(kind, "a", "web-new", &json!({"table": {"critical": 0}})).into());
        assert_eq!(told(&COVERAGE, scanned), [("shop".to_owned(), 0.5)]);
        assert!(told(&COVERAGE, all()).is_empty(), "no scanner has reported yet");
    }

    #[test]
    fn a_report_is_old_by_the_time_for_which_it_is_kept() {
        let kept = |ttl: &str, age: i64| {
            let body = json!({"metadata": {"age": age, "annotations":
                {"trivy-operator.aquasecurity.github.io/report-ttl": ttl}}, "table": {"critical": 0}});
            report(Kind::VulnerabilityReport, "a", "x", &body)
        };
        let day = 86_400;
        let cases = [
            ("24h0m0s", 3 * day, vec!["not_rescanned"]),
            ("24h0m0s", day, vec![]),
            ("", 30 * day, vec![]),
            ("odd", 30 * day, vec![]),
        ];
        for (ttl, age, expected) in cases {
            let report = kept(ttl, age.min(crate::layers::fixtures::NOW));
            assert_eq!(reasons(&STALE, objects![report]), expected, "{ttl} {age}");
        }
        let found = judge(&STALE, &world(&[], objects![kept("24h", 3 * day)]));
        assert_eq!((found[0].since, found[0].dwell.as_secs()), (Some(ago(3 * day)), 2 * day));
    }
}
