//! How does a notice become an OpenTelemetry event? Name, severity, time, sentence, and every field as attribute.

use std::time::SystemTime;

use opentelemetry::logs::{AnyValue, LogRecord, Severity as LogSeverity};

use crate::exports::speaker::{Gone, What};
use crate::model::anomaly::Anomaly;
use crate::model::finding::{Finding, Severity};
use crate::model::reading::Labels;
use crate::model::record::Time;
use crate::model::report::{Notice, Report};
use crate::model::subject::Subject;

/// Fills a record with what a notice tells.
pub(super) fn fill(record: &mut impl LogRecord, notice: &Notice, report: &Report) {
    match notice {
        Notice::AnomalyOpened(a) => {
            anomaly(record, "kubestrata.anomaly.opened", a, a.opened_at, report);
        }
        Notice::AnomalyUpdated(a) => {
            anomaly(record, "kubestrata.anomaly.updated", a, report.at, report);
        }
        Notice::AnomalyClosed(a) => {
            anomaly(
                record,
                "kubestrata.anomaly.closed",
                a,
                a.closed_at.unwrap_or(report.at),
                report,
            );
            closed(record);
        }
        Notice::FindingOpened(f) => {
            finding(record, "kubestrata.finding.opened", f, report.at, report);
        }
        Notice::FindingClosed(f) => {
            finding(record, "kubestrata.finding.closed", f, report.at, report);
            closed(record);
        }
    }
}

/// Fills a record with the end of what another replica has told and this one has never seen.
pub(super) fn fill_gone(record: &mut impl LogRecord, gone: &Gone, report: &Report) {
    let (name, what) = match gone.what {
        What::Finding => ("kubestrata.finding.closed", "finding"),
        What::Anomaly => ("kubestrata.anomaly.closed", "anomaly"),
    };
    let told = format!("{} is over; the replica that told it is gone", gone.signal);
    head(record, name, gone.severity, report.at, &told);
    record.add_attribute(format!("kubestrata.{what}.id"), gone.id.clone());
    record.add_attribute(format!("kubestrata.{what}.severity"), gone.severity.name());
    if gone.what == What::Anomaly {
        record.add_attribute("kubestrata.anomaly.state", "closed");
        record.add_attribute("kubestrata.anomaly.phase", "closed");
    }
    let signal = report.signals.iter().find(|s| gone.signal == *s.signal.name);
    if let Some(signal) = signal {
        record.add_attribute("kubestrata.layer", signal.signal.layer.name());
    }
    record.add_attribute("kubestrata.signal", gone.signal.clone());
    closed(record);
}

/// The end of a bad state is information, however bad it was.
fn closed(record: &mut impl LogRecord) {
    record.set_severity_number(LogSeverity::Info);
    record.set_severity_text("INFO");
}

fn anomaly(
    record: &mut impl LogRecord,
    name: &'static str,
    a: &Anomaly,
    at: Time,
    report: &Report,
) {
    head(record, name, a.severity, at, &a.explanation);
    let numbers = [
        ("kubestrata.anomaly.observed", a.observed),
        ("kubestrata.anomaly.expected", a.expected),
        ("kubestrata.anomaly.lower", a.lower),
        ("kubestrata.anomaly.upper", a.upper),
        ("kubestrata.anomaly.score", a.score),
        ("kubestrata.anomaly.p_value", a.p_value),
    ];
    for (key, value) in numbers {
        record.add_attribute(key, AnyValue::Double(value));
    }
    let state = if a.closed_at.is_some() { "closed" } else { "open" };
    let texts = [
        ("kubestrata.anomaly.id", a.id.as_str()),
        ("kubestrata.anomaly.state", state),
        ("kubestrata.anomaly.phase", a.phase.name()),
        ("kubestrata.anomaly.severity", a.severity.name()),
        ("kubestrata.anomaly.detector", a.detector.as_str()),
        ("kubestrata.anomaly.explanation", a.explanation.as_str()),
        ("kubestrata.anomaly.opened_at", &a.opened_at.to_string()),
        ("kubestrata.layer", a.layer.name()),
        ("kubestrata.signal", a.signal.as_str()),
    ];
    for (key, value) in texts {
        record.add_attribute(key, value.to_owned());
    }
    subject(record, &a.subject);
    labels(record, &a.signal, &a.labels, report);
}

fn finding(
    record: &mut impl LogRecord,
    name: &'static str,
    f: &Finding,
    at: Time,
    report: &Report,
) {
    head(record, name, f.severity, at, &f.message);
    let texts = [
        ("kubestrata.finding.id", f.id.as_str()),
        ("kubestrata.finding.severity", f.severity.name()),
        ("kubestrata.finding.reason", f.reason.as_str()),
        ("kubestrata.finding.since", &f.since.to_string()),
        ("kubestrata.layer", f.layer.name()),
        ("kubestrata.signal", f.signal.as_str()),
    ];
    for (key, value) in texts {
        record.add_attribute(key, value.to_owned());
    }
    subject(record, &f.subject);
    labels(record, &f.signal, &f.labels, report);
}

fn head(record: &mut impl LogRecord, name: &'static str, severity: Severity, at: Time, body: &str) {
    // Numbers as the log data model gives them: INFO 9, WARN 13, ERROR 17.
    let (number, text) = match severity {
        Severity::Info => (LogSeverity::Info, "INFO"),
        Severity::Warning => (LogSeverity::Warn, "WARN"),
        Severity::Critical => (LogSeverity::Error, "ERROR"),
    };
    record.set_event_name(name);
    record.set_timestamp(SystemTime::from(at));
    record.set_severity_number(number);
    record.set_severity_text(text);
    record.set_body(AnyValue::from(body.to_owned()));
}

/// The subject under OpenTelemetry's semantic conventions for Kubernetes, and as it is.
fn subject(record: &mut impl LogRecord, subject: &Subject) {
    record.add_attribute("kubestrata.subject.kind", subject.kind.to_string());
    record.add_attribute("kubestrata.subject.api_version", subject.api_version.to_string());
    record.add_attribute("kubestrata.subject.name", subject.name.to_string());
    record.add_attribute("kubestrata.subject.namespace", subject.namespace.to_string());
    if !subject.namespace.is_empty() {
        record.add_attribute("k8s.namespace.name", subject.namespace.to_string());
    }
    let key = match &*subject.kind {
        "Namespace" => "k8s.namespace.name",
        "Node" => "k8s.node.name",
        "Pod" => "k8s.pod.name",
        "Deployment" => "k8s.deployment.name",
        "ReplicaSet" => "k8s.replicaset.name",
        "StatefulSet" => "k8s.statefulset.name",
        "DaemonSet" => "k8s.daemonset.name",
        "Job" => "k8s.job.name",
        "CronJob" => "k8s.cronjob.name",
        "PersistentVolumeClaim" => "k8s.persistentvolumeclaim.name",
        "PersistentVolume" => "k8s.persistentvolume.name",
        "StorageClass" => "k8s.storageclass.name",
        _ => return,
    };
    record.add_attribute(key, subject.name.to_string());
}

fn labels(record: &mut impl LogRecord, signal: &str, labels: &Labels, report: &Report) {
    let signal = report.signals.iter().find(|s| *signal == *s.signal.name);
    let names = signal.map_or(&[][..], |s| s.signal.labels);
    for (name, value) in names.iter().zip(labels.iter()) {
        record.add_attribute(format!("kubestrata.label.{name}"), value.to_owned());
    }
}
