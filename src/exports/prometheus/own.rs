//! What is said beside the signals? Health, findings, anomalies, sources, and kubestrata itself.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::describe;
use super::process::Process;
use crate::model::anomaly::{Phase, State};
use crate::model::expectation::Expectation;
use crate::model::reading::SeriesKey;
use crate::model::report::{NOMINAL, Report, Series};
use crate::model::signal::Unit;
use crate::model::source::{Availability, SourceStatus};

/// What a Report does not know.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// How long the last tick took to read and judge the world.
    pub tick: Duration,
    /// How the OTLP export is doing; `None` where there is none.
    pub otlp: Option<Arc<OtlpFigures>>,
    /// Whether another replica speaks, or none.
    pub silent: bool,
}

/// How the OTLP export is doing.
#[derive(Debug, Default)]
pub struct OtlpFigures {
    /// Events that a collector has taken.
    pub sent: AtomicU64,
    /// Events that were dropped: the queue was full, or the collector refused them for good.
    pub dropped: AtomicU64,
    /// Requests that failed.
    pub errors: AtomicU64,
    /// Events that wait.
    pub queued: AtomicU64,
}

/// A metric beside the signals.
pub struct OwnMetric {
    /// Its whole name.
    pub name: &'static str,
    /// Whether it is a running total.
    pub counter: bool,
    /// Its unit.
    pub unit: Unit,
    /// Its labels, for the reference.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
    values: fn(&Context<'_>, &mut Samples),
}

struct Context<'a> {
    report: &'a Report,
    about: &'a About,
    process: Option<Process>,
}

type Pair = (Cow<'static, str>, String);

#[derive(Default)]
struct Samples(Vec<(Vec<Pair>, f64)>);

impl Samples {
    fn push(&mut self, labels: &[(&'static str, &str)], value: f64) {
        let labels = labels.iter().map(|(n, v)| (Cow::Borrowed(*n), (*v).to_owned())).collect();
        self.0.push((labels, value));
    }

    /// A sample of a series: its signal and its own labels.
    fn push_series(&mut self, report: &Report, key: &SeriesKey, value: f64) {
        let signal = report.signals.iter().find(|s| key.signal == s.signal.name);
        let Some(signal) = signal else { return };
        let own = signal.signal.labels.iter().zip(key.labels.iter());
        let own = own.map(|(name, value)| (Cow::Borrowed(*name), value.to_owned()));
        let first = (Cow::Borrowed("signal"), key.signal.to_string());
        self.0.push((std::iter::once(first).chain(own).collect(), value));
    }

    /// The same with the layer before it.
    fn push_series_of_layer(&mut self, report: &Report, key: &SeriesKey, value: f64) {
        self.push_series(report, key, value);
        let layer = report.signals.iter().find(|s| key.signal == s.signal.name);
        if let (Some((labels, _)), Some(signal)) = (self.0.last_mut(), layer) {
            labels.insert(0, (Cow::Borrowed("layer"), signal.signal.layer.name().to_owned()));
        }
    }
}

macro_rules! own {
    ($kind:ident $name:literal, $unit:ident, [$($label:literal),*], $help:literal, $values:expr) => {
        OwnMetric {
            name: $name,
            counter: own!(@ $kind),
            unit: Unit::$unit,
            labels: &[$($label),*],
            help: $help,
            values: $values,
        }
    };
    (@ gauge) => { false };
    (@ counter) => { true };
}

/// Every metric beside the signals, in the order of the exposition.
pub static OWN_METRICS: &[OwnMetric] = &[
    own!(gauge "kubestrata_layer_health_ratio", Ratio, ["layer"],
    "Health of a layer, 1 is healthy. A layer that cannot see has none.",
    |c, out| for layer in &c.report.layers {
        if let Some(health) = layer.health {
            out.push(&[("layer", layer.layer.name())], health);
        }
    }),
    own!(gauge "kubestrata_layer_health_loss_ratio", Ratio, ["layer", "signal", "because"],
    "What a signal takes off its layer's health, by a finding or by an anomaly. The losses of a layer and its health \
     sum to 1.",
    |c, out| for layer in &c.report.layers {
        for d in &layer.deductions {
            let because = if d.finding.is_some() { "finding" } else { "anomaly" };
            out.push(
                &[("layer", layer.layer.name()), ("signal", d.signal), ("because", because)],
                d.points / 100.0,
            );
        }
    }),
    own!(gauge "kubestrata_findings", Count, ["layer", "signal", "severity"],
        "Open findings: deterministic bad states that have held for their dwell.",
        findings),
    own!(gauge "kubestrata_finding_oldest_seconds", Seconds,
        ["layer", "signal", "severity", "reason", "namespace"],
        "Age of the oldest open finding.",
        oldest),
    own!(gauge "kubestrata_anomaly_active", Count,
    ["layer", "signal", "severity", "namespace", "kind", "name"],
    "1 for each open anomaly.",
    |c, out| for a in c.report.anomalies.iter().filter(|a| a.state == State::Open) {
        out.push(&[
            ("layer", a.layer.name()), ("signal", &a.signal), ("severity", a.severity.name()),
            ("namespace", &a.subject.namespace), ("kind", &a.subject.kind), ("name", &a.subject.name),
        ], 1.0);
    }),
    own!(counter "kubestrata_anomalies_total", Count,
    ["layer", "signal", "severity", "namespace", "kind", "name"],
    "Anomalies that have opened, by their severity at that time.",
    |c, out| for (l, n) in &c.report.anomalies_opened {
        out.push(&[
            ("layer", l.layer.name()), ("signal", &l.signal), ("severity", l.severity.name()),
            ("namespace", &l.namespace), ("kind", &l.kind), ("name", &l.name),
        ], *n as f64);
    }),
    own!(gauge "kubestrata_anomaly_series", Count, ["phase"],
        "Series in each phase of an anomaly: suspected (rare, not yet confirmed), open, escalated (worse since it \
         opened) or recovering (calm of late).",
        phases),
    own!(gauge "kubestrata_anomaly_score_ratio", Ratio, ["signal", "…"],
    "How unusual a series is, from 0 to 1, comparable across series. Quiet series have none.",
    |c, out| for (key, score) in &c.report.scores {
        out.push_series(c.report, key, *score);
    }),
    own!(gauge "kubestrata_baseline_expected", Count, ["signal", "…"],
        "Expected value of a series, in its unit; of cluster-wide series and open anomalies.",
        |c, out| band(c, out, |e| e.expected)),
    own!(gauge "kubestrata_baseline_lower", Count, ["signal", "…"],
        "Lower end of the expected band of a series, in its unit.",
        |c, out| band(c, out, |e| e.lower)),
    own!(gauge "kubestrata_baseline_upper", Count, ["signal", "…"],
        "Upper end of the expected band of a series, in its unit.",
        |c, out| band(c, out, |e| e.upper)),
    own!(gauge "kubestrata_limit_reached_seconds", Seconds, ["layer", "signal", "…"],
    "In how long a series reaches its limit: a share that fills up at its pace of the last hour, less two standard \
         errors, where the day's course rises too, up to 14 days ahead; a certificate when it expires, below 0 where it has.",
    |c, out| for (key, left) in &c.report.limits {
        out.push_series_of_layer(c.report, key, *left);
    }),
    own!(gauge "kubestrata_signal_absent", Count, ["layer", "signal", "source", "reason"],
    "1 for each signal that cannot see: a source that it needs, and why.",
    |c, out| for s in &c.report.signals {
        if let Series::Absent { kind, reason } = s.series {
            out.push(&[
                ("layer", s.signal.layer.name()), ("signal", s.signal.name),
                ("source", kind.source()), ("reason", reason.name()),
            ], 1.0);
        }
    }),
    own!(gauge "kubestrata_source_up", Count, ["source"],
        "Whether a source follows the cluster.",
        |c, out| source(c, out, |s, _| Some(f64::from(u8::from(s.availability == Availability::Served))))),
    own!(gauge "kubestrata_source_state", Count, ["source", "state"],
    "1 for the state of a source: syncing, served, stale (served, but not heard of for 5 minutes and 3 of its \
     intervals), absent, forbidden, unauthorized or unreachable.",
    |c, out| for (kind, status, _) in &c.report.sources {
        let state = if status.is_stale(*kind, c.report.at) { "stale" } else { status.availability.name() };
        out.push(&[("source", kind.source()), ("state", state)], 1.0);
    }),
    own!(gauge "kubestrata_source_last_sync_timestamp_seconds", Seconds, ["source"],
        "When a source last heard of the cluster, in seconds since the epoch.",
        |c, out| source(c, out, |s, _| s.last_sync.map(|t| t.as_second() as f64))),
    own!(gauge "kubestrata_source_objects", Count, ["source"],
        "Objects that a source holds.",
        |c, out| source(c, out, |_, objects| Some(objects as f64))),
    own!(counter "kubestrata_source_errors_total", Count, ["source"],
        "Lists and watches of a source that failed.",
        |c, out| source(c, out, |s, _| Some(s.errors as f64))),
    own!(counter "kubestrata_source_relists_total", Count, ["source"],
        "Complete lists of a source after the first.",
        |c, out| source(c, out, |s, _| Some(s.relists as f64))),
    own!(counter "kubestrata_source_undecodable_objects_total", Count, ["source"],
        "Objects of a source that could not be read and were left out.",
        |c, out| source(c, out, |s, _| Some(s.undecodable as f64))),
    own!(gauge "kubestrata_source_backoff_seconds", Seconds, ["source"],
        "How long a source waits before it tries again; 0 while it follows the cluster.",
        |c, out| source(c, out, |s, _| Some(s.backoff_seconds))),
    own!(gauge "kubestrata_series", Count, [], "Series of signals in the exposition.",
        |c, out| out.push(&[], c.report.myself.series as f64)),
    own!(gauge "kubestrata_baselines", Count, [], "Series that have a baseline.",
        |c, out| out.push(&[], c.report.myself.baselines as f64)),
    own!(gauge "kubestrata_baselines_mature", Count, [],
        "Series whose past is as long as `baseline.warm_up`: the others are not told as anomalies yet.",
        |c, out| out.push(&[], c.report.myself.mature_baselines as f64)),
    own!(gauge "kubestrata_baseline_observed_to_nominal", Count, ["p_value"],
    "How many times as often as a p-value promises series surprised of late that nothing is told of: 1 is as promised, \
     far more says that anomalies are told for too little. Nothing where there were too few tests to say.",
    |c, out| for (nominal, ratio) in NOMINAL.into_iter().zip(c.report.myself.calibration) {
        if let Some(ratio) = ratio {
            out.push(&[("p_value", &format!("{nominal:e}"))], ratio);
        }
    }),
    own!(gauge "kubestrata_anomaly_threshold_p_value", Count, [],
        "A series is told as an anomaly when its p-value is at most this on two of three ticks. It follows from \
         `baseline.false_per_day`, the number of series, and how often they surprised without cause.",
        |c, out| out.push(&[], c.report.myself.threshold)),
    own!(gauge "kubestrata_series_explained", Count, [],
        "Series that baselines do not judge just now, because they are about a node that is cordoned, drained, about to \
         go or new, or about its zone.",
        |c, out| out.push(&[], c.report.myself.explained_series as f64)),
    own!(counter "kubestrata_series_dropped_total", Count, [],
        "Series that were left out or not judged because a limit was reached, at each tick.",
        |c, out| out.push(&[], c.report.myself.dropped_series as f64)),
    own!(counter "kubestrata_events_dropped_total", Count, [],
        "Events of the cluster that were dropped because a limit was reached.",
        |c, out| out.push(&[], c.report.myself.dropped_events as f64)),
    own!(gauge "kubestrata_tick_duration_seconds", Seconds, [],
        "How long the last tick took to read and judge the state of the cluster.",
        |c, out| out.push(&[], c.about.tick.as_secs_f64())),
    own!(gauge "kubestrata_build_info", Count, ["version"], "1, with the version as label.",
        |_, out| out.push(&[("version", env!("CARGO_PKG_VERSION"))], 1.0)),
    own!(gauge "kubestrata_leader", Count, [], "Whether this replica speaks; a single one always does.",
        |c, out| out.push(&[], f64::from(u8::from(!c.about.silent)))),
    own!(counter "kubestrata_otlp_sent_total", Count, [], "Events that the collector has taken.",
        |c, out| otlp(c, out, |o| &o.sent)),
    own!(counter "kubestrata_otlp_dropped_total", Count, [],
        "Events that were dropped: the queue was full, or the collector refused them for good.",
        |c, out| otlp(c, out, |o| &o.dropped)),
    own!(counter "kubestrata_otlp_errors_total", Count, [], "Requests to the collector that failed.",
        |c, out| otlp(c, out, |o| &o.errors)),
    own!(gauge "kubestrata_otlp_queue_length", Count, [], "Events that wait for the collector.",
        |c, out| otlp(c, out, |o| &o.queued)),
    own!(counter "process_cpu_seconds_total", Seconds, [], "User and system CPU time of this process.",
        |c, out| process(c, out, |p| p.cpu_seconds)),
    own!(gauge "process_resident_memory_bytes", Bytes, [], "Resident memory of this process.",
        |c, out| process(c, out, |p| p.resident_bytes as f64)),
    own!(gauge "process_virtual_memory_bytes", Bytes, [], "Virtual memory of this process.",
        |c, out| process(c, out, |p| p.virtual_bytes as f64)),
    own!(gauge "process_start_time_seconds", Seconds, [],
        "Start of this process in seconds since the epoch.",
        |c, out| process(c, out, |p| p.start_seconds)),
    own!(gauge "process_open_fds", Count, [], "Open file descriptors of this process.",
        |c, out| process(c, out, |p| p.open_files as f64)),
    own!(gauge "process_max_fds", Count, [], "File descriptors that this process may open.",
        |c, out| process(c, out, |p| p.max_files as f64)),
];

fn findings(context: &Context<'_>, out: &mut Samples) {
    let mut counts = BTreeMap::new();
    for f in &context.report.findings {
        *counts.entry((f.layer, f.signal.as_str(), f.severity)).or_insert(0_u32) += 1;
    }
    for ((layer, signal, severity), count) in counts {
        let labels = [("layer", layer.name()), ("signal", signal), ("severity", severity.name())];
        out.push(&labels, f64::from(count));
    }
}

fn phases(context: &Context<'_>, out: &mut Samples) {
    let report = context.report;
    for phase in Phase::ALL.into_iter().filter(|phase| *phase != Phase::Closed) {
        let series = match phase {
            Phase::Suspected => report.suspected.series,
            _ => report.anomalies.iter().filter(|a| a.phase == phase).count(),
        };
        out.push(&[("phase", phase.name())], series as f64);
    }
}

fn oldest(context: &Context<'_>, out: &mut Samples) {
    let mut groups = BTreeMap::new();
    for f in &context.report.findings {
        let key = (f.layer, &*f.signal, f.severity, &*f.reason, &*f.subject.namespace);
        let since = groups.entry(key).or_insert(f.since);
        *since = f.since.min(*since);
    }
    for ((layer, signal, severity, reason, namespace), since) in groups {
        let age = context.report.at.duration_since(since).as_secs_f64().max(0.0);
        let labels = [
            ("layer", layer.name()),
            ("signal", signal),
            ("severity", severity.name()),
            ("reason", reason),
            ("namespace", namespace),
        ];
        out.push(&labels, age);
    }
}

fn band(context: &Context<'_>, out: &mut Samples, end: fn(&Expectation) -> f64) {
    for (key, expectation) in &context.report.bands {
        out.push_series(context.report, key, end(expectation));
    }
}

fn source(
    context: &Context<'_>,
    out: &mut Samples,
    value: fn(&SourceStatus, usize) -> Option<f64>,
) {
    for (kind, status, objects) in &context.report.sources {
        if let Some(value) = value(status, *objects) {
            out.push(&[("source", kind.source())], value);
        }
    }
}

fn otlp(context: &Context<'_>, out: &mut Samples, value: fn(&OtlpFigures) -> &AtomicU64) {
    if let Some(figures) = &context.about.otlp {
        out.push(&[], value(figures).load(Ordering::Relaxed) as f64);
    }
}

fn process(context: &Context<'_>, out: &mut Samples, value: fn(&Process) -> f64) {
    if let Some(process) = &context.process {
        out.push(&[], value(process));
    }
}

pub(super) fn encode(
    report: &Report,
    about: &About,
    encoder: &mut DescriptorEncoder<'_>,
) -> fmt::Result {
    let context = Context { report, about, process: Process::read() };
    for metric in OWN_METRICS {
        let mut samples = Samples::default();
        (metric.values)(&context, &mut samples);
        if samples.0.is_empty() {
            continue;
        }
        let kind = if metric.counter { MetricType::Counter } else { MetricType::Gauge };
        let mut family = describe(encoder, metric.name, metric.help, metric.unit, kind)?;
        for (labels, value) in samples.0 {
            let mut series = family.encode_family(&labels)?;
            if metric.counter {
                series.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
            } else {
                series.encode_gauge(&value)?;
            }
        }
    }
    Ok(())
}

/// `docs/metrics.md`.
#[must_use]
pub fn own_metrics_markdown() -> String {
    let mut page = String::from(
        "<!-- Generated from src/exports/prometheus/own.rs by tests/generated.rs. Do not edit. -->\n\
         # Metrics beside the signals\n\n\
         The signals themselves are in [signals.md](signals.md).\n\
         `…` stands for the labels of the series in question.\n\n\
         | metric | type | labels | meaning |\n|---|---|---|---|\n",
    );
    for metric in OWN_METRICS {
        let kind = if metric.counter { "counter" } else { "gauge" };
        let labels: Vec<String> = metric.labels.iter().map(|l| format!("`{l}`")).collect();
        let labels = labels.join(", ");
        let _ = writeln!(page, "| `{}` | {kind} | {labels} | {} |", metric.name, metric.help);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_end_with_their_unit() {
        let mut seen = std::collections::BTreeSet::new();
        for metric in OWN_METRICS {
            assert!(seen.insert(metric.name), "{} stands twice", metric.name);
            assert_eq!(metric.counter, metric.name.ends_with("_total"), "{}", metric.name);
            let stem = metric.name.trim_end_matches("_total");
            let suffix = match metric.unit {
                Unit::Count => "",
                Unit::Ratio => "_ratio",
                Unit::Seconds => "_seconds",
                Unit::Bytes => "_bytes",
            };
            assert!(stem.ends_with(suffix), "{}", metric.name);
            assert!(metric.help.ends_with('.') && !metric.help.contains('\n'), "{}", metric.name);
        }
    }
}
