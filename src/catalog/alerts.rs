//! Which alerts are shipped, and when does each fire? Those of `alerts/kubestrata.rules.yaml`.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::explained;
use crate::layers;
use crate::model::signal::{Profile, Signal};

/// Where the runbooks are; whoever hosts them elsewhere replaces it.
pub const RUNBOOKS: &str = "https://github.com/kubestrata/kubestrata/blob/main/docs/runbooks";
/// Where the dashboards are; whoever installs the rules replaces it.
pub const GRAFANA: &str = "https://grafana.example.com";
/// What every scraped series matches, so that a mixin can narrow it.
pub const SELECTOR: &str = "job=~\".+\"";

/// The share of health that a layer may lose over 30 days.
const BUDGET: f64 = 0.05;
/// The windows over which the loss of health is recorded.
const WINDOWS: [&str; 8] = ["5m", "30m", "1h", "2h", "6h", "1d", "3d", "30d"];

/// An alert.
#[derive(Debug)]
pub struct Alert {
    /// Its name.
    pub name: &'static str,
    /// The PromQL that gives a series for each thing to tell.
    pub expr: String,
    /// How long it must give one.
    pub hold: &'static str,
    /// How urgent it is: critical wakes somebody, warning waits for the day, none is for Alertmanager alone.
    pub severity: &'static str,
    /// Labels beside those of the expression.
    pub labels: &'static [(&'static str, &'static str)],
    /// One constant sentence.
    pub summary: &'static str,
    /// What it means for these labels and this value.
    pub description: &'static str,
    /// The dashboard that shows it, as the end of its uid.
    pub dashboard: &'static str,
}

/// The selector of one of our metrics, narrowed by more matchers.
pub(super) fn of(metric: &str, more: &str) -> String {
    let comma = if more.is_empty() { "" } else { "," };
    format!("kubestrata_{metric}{{{SELECTOR}{comma}{more}}}")
}

/// Every alert, the most urgent kinds first.
#[must_use]
pub fn alerts() -> Vec<Alert> {
    [about_layers(), about_objects(), about_itself(), about_its_export(), about_its_sight()]
        .into_iter()
        .flatten()
        .collect()
}

fn about_layers() -> Vec<Alert> {
    let finding = |severity: &str| {
        let open = of("findings", &format!("severity=\"{severity}\""));
        format!("max by (cluster, layer, signal) ({open}) > 0")
    };
    let burn = |pairs: [(&str, &str, f64); 2]| {
        let pair = |(long, short, rate): (&str, &str, f64)| {
            let loss =
                |window| format!("kubestrata:layer_health_loss:avg{window} > {rate} * {BUDGET}");
            format!("({} and {})", loss(long), loss(short))
        };
        pairs.map(pair).join("\nor\n")
    };
    let layer = "{{ $labels.layer }}";
    vec![
        Alert {
            name: "KubestrataFindingCritical",
            expr: finding("critical"),
            hold: "1m",
            severity: "critical",
            labels: &[],
            summary: "A layer has a critical finding.",
            description: "{{ $value }} critical finding(s) of {{ $labels.signal }} are open in the layer {{ $labels.layer }}. \
                          The page of kubestrata and /api/v1/findings name each object with its reason and since when.",
            dashboard: layer,
        },
        Alert {
            name: "KubestrataFindingWarning",
            expr: finding("warning"),
            hold: "15m",
            severity: "warning",
            labels: &[],
            summary: "A layer has a finding that can wait for the day.",
            description: "{{ $value }} finding(s) of {{ $labels.signal }} are open in the layer {{ $labels.layer }}.",
            dashboard: layer,
        },
        Alert {
            name: "KubestrataLayerHealthBurnFast",
            expr: burn([("1h", "5m", 14.4), ("6h", "30m", 6.0)]),
            hold: "2m",
            severity: "critical",
            labels: &[],
            summary: "A layer loses its health so fast that the budget of 30 days is gone within days.",
            description: "The layer {{ $labels.layer }} has lost {{ $value | humanizePercentage }} of its health on average.",
            dashboard: layer,
        },
        Alert {
            name: "KubestrataLayerHealthBurnSlow",
            expr: burn([("1d", "2h", 3.0), ("3d", "6h", 1.0)]),
            hold: "15m",
            severity: "warning",
            labels: &[],
            summary: "A layer loses its health faster than the budget of 30 days allows.",
            description: "The layer {{ $labels.layer }} has lost {{ $value | humanizePercentage }} of its health on average.",
            dashboard: layer,
        },
    ]
}

fn about_objects() -> Vec<Alert> {
    let anomaly = |severity: &str| {
        let open = of("anomaly_active", &format!("severity=\"{severity}\""));
        format!("max by (cluster, layer, signal, namespace, kind, name) ({open})")
    };
    vec![
        Alert {
            name: "KubestrataAnomalyCritical",
            expr: anomaly("critical"),
            hold: "1m",
            severity: "critical",
            labels: &[],
            summary: "A series is far outside of what its past makes expect.",
            description: "{{ $labels.signal }} of {{ $labels.kind }} {{ $labels.namespace }}/{{ $labels.name }} is far from its past. \
                          /api/v1/anomalies says in one sentence why.",
            dashboard: "baselines",
        },
        Alert {
            name: "KubestrataAnomalyWarning",
            expr: anomaly("warning"),
            hold: "15m",
            severity: "warning",
            labels: &[],
            summary: "A series has been outside of what its past makes expect for a while.",
            description: "{{ $labels.signal }} of {{ $labels.kind }} {{ $labels.namespace }}/{{ $labels.name }} is unusual.",
            dashboard: "baselines",
        },
        Alert {
            name: "KubestrataLimitReachedSoon",
            expr: full_soon(),
            hold: "15m",
            severity: "warning",
            labels: &[],
            summary: "A share that can run out is full within four hours at its pace.",
            description: "{{ $labels.signal }} {{ with $labels.persistentvolumeclaim }}of the claim {{ $labels.namespace }}/{{ . }} {{ end }}\
                          is full in {{ $value | humanizeDuration }} at the pace of the last hour.",
            dashboard: "{{ $labels.layer }}",
        },
        Alert {
            name: "KubestrataExplains",
            expr: explained::expression(),
            hold: "0m",
            severity: "none",
            labels: &[],
            summary: "An object whose trouble kubestrata tells already.",
            description: "Notifies nobody. Alertmanager silences by it what other rules tell of the same {{ $labels.explains }}.",
            dashboard: "overview",
        },
    ]
}

/// What is left of a share that fills up, where that is less than four hours. Certificates have findings of their own.
fn full_soon() -> String {
    let filling = |s: &&Signal| matches!(s.profile, Profile::Filling { .. });
    let fills: Vec<&Signal> = layers::signals().filter(filling).collect();
    let labels: BTreeSet<&str> = fills.iter().flat_map(|s| s.labels).copied().collect();
    let labels: Vec<&str> = labels.into_iter().collect();
    let signals: Vec<&str> = fills.iter().map(|s| s.name).collect();
    let left = of("limit_reached_seconds", &format!("signal=~\"{}\"", signals.join("|")));
    format!("min by (cluster, layer, signal, {}) ({left}) < 4 * 3600", labels.join(", "))
}

fn about_itself() -> Vec<Alert> {
    let built = of("build_info", "");
    vec![
        Alert {
            name: "KubestrataDown",
            expr: format!(
                "(\n  group by (cluster) (last_over_time({built}[1h]))\n  unless on (cluster)\n  group by (cluster) ({built})\n)\n\
                 or\nabsent(last_over_time({built}[1h]))"
            ),
            hold: "5m",
            severity: "critical",
            labels: &[],
            summary: "Nobody scrapes kubestrata.",
            description: "kubestrata is down or is not scraped: nothing is told of the layers of the cluster {{ $labels.cluster }}.",
            dashboard: "self",
        },
        Alert {
            name: "KubestrataStale",
            expr: format!(
                "max by (cluster) (changes({}[10m])) == 0",
                of("source_last_sync_timestamp_seconds", "")
            ),
            hold: "5m",
            severity: "critical",
            labels: &[],
            summary: "No source of kubestrata has heard of the cluster for a while.",
            description: "Nothing has come from the API server of {{ $labels.cluster }} for ten minutes: what kubestrata says is of the past.",
            dashboard: "self",
        },
        Alert {
            name: "KubestrataTickSlow",
            expr: format!("max by (cluster) ({}) > 10", of("tick_duration_seconds", "")),
            hold: "10m",
            severity: "warning",
            labels: &[],
            summary: "kubestrata takes almost as long to judge the cluster as it has time.",
            description: "A tick takes {{ $value | humanizeDuration }}; ticks come every 15 s by default.",
            dashboard: "self",
        },
    ]
}

fn about_its_export() -> Vec<Alert> {
    let dropped =
        |metric: &str| format!("sum by (cluster) (increase({}[15m])) > 0", of(metric, ""));
    vec![
        Alert {
            name: "KubestrataNotLeading",
            expr: format!("max by (cluster) ({}) == 0", of("leader", "")),
            hold: "5m",
            severity: "warning",
            labels: &[],
            summary: "No replica of kubestrata leads.",
            description: "All replicas in {{ $labels.cluster }} are silent: no event and no metric goes out over OTLP.",
            dashboard: "self",
        },
        Alert {
            name: "KubestrataEventsDropped",
            expr: dropped("otlp_dropped_total"),
            hold: "0m",
            severity: "warning",
            labels: &[],
            summary: "kubestrata dropped events that were to go out over OTLP.",
            description: "{{ $value | humanize }} events were dropped within 15 minutes: the queue was full, or the collector refused them.",
            dashboard: "self",
        },
        Alert {
            name: "KubestrataSeriesDropped",
            expr: format!(
                "{}\nor\n{}",
                dropped("series_dropped_total"),
                dropped("events_dropped_total")
            ),
            hold: "15m",
            severity: "warning",
            labels: &[],
            summary: "kubestrata has reached one of its limits.",
            description: "Series or events of the cluster are left out because limits.* of the configuration is reached.",
            dashboard: "self",
        },
    ]
}

fn about_its_sight() -> Vec<Alert> {
    let absent = of("signal_absent", "reason!~\"absent|disabled\"");
    let state = of("source_state", "state=~\"syncing|stale|forbidden|unauthorized|unreachable\"");
    vec![
        Alert {
            name: "KubestrataLayerBlind",
            expr: format!(
                "max by (cluster, layer) ({absent})\nunless on (cluster, layer)\nkubestrata:layer_health:ratio"
            ),
            hold: "10m",
            severity: "warning",
            labels: &[],
            summary: "A layer can't be seen: it is unknown, not healthy.",
            description: "kubestrata sees too little of the layer {{ $labels.layer }}; kubestrata_signal_absent says which sources it lacks and why.",
            dashboard: "{{ $labels.layer }}",
        },
        Alert {
            name: "KubestrataSourceDown",
            expr: format!("max by (cluster, source, state) ({state}) == 1"),
            hold: "15m",
            severity: "warning",
            labels: &[],
            summary: "kubestrata can't follow a kind that the cluster serves.",
            description: "The source {{ $labels.source }} is {{ $labels.state }}: signals that need it are silent.",
            dashboard: "self",
        },
    ]
}

/// A recording rule: its name and its PromQL.
fn recordings() -> Vec<(String, String)> {
    let health = format!("max by (cluster, layer) ({})", of("layer_health_ratio", ""));
    let mut rules = vec![("kubestrata:layer_health:ratio".to_owned(), health)];
    rules.extend(WINDOWS.map(|window| {
        let loss = format!("1 - avg_over_time(kubestrata:layer_health:ratio[{window}])");
        (format!("kubestrata:layer_health_loss:avg{window}"), loss)
    }));
    let left = format!("1 - kubestrata:layer_health_loss:avg30d / {BUDGET}");
    rules.push(("kubestrata:layer_health_budget_left:ratio30d".to_owned(), left));
    rules
}

/// `alerts/kubestrata.rules.yaml`.
#[must_use]
pub fn alert_rules_yaml() -> String {
    let mut page = String::from(
        "# Generated from src/catalog/alerts.rs by tests/generated.rs. Do not edit.\n\
         # docs/alerts.md says what each means; replace the two bases of its URLs by your own.\n\
         groups:\n- name: kubestrata-recordings\n  interval: 1m\n  rules:\n",
    );
    for (record, expr) in recordings() {
        let _ = write!(page, "  - record: {record}\n    expr: {expr}\n");
    }
    page.push_str("- name: kubestrata-explained\n  interval: 1m\n  rules:\n");
    for (record, expr) in explained::recordings() {
        let _ = write!(page, "  - record: {record}\n    expr: {}\n", block(&expr));
    }
    page.push_str("- name: kubestrata-alerts\n  interval: 1m\n  rules:\n");
    for alert in alerts() {
        write_alert(&mut page, &alert);
    }
    page
}

fn write_alert(page: &mut String, alert: &Alert) {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let Alert { name, hold, severity, .. } = alert;
    let _ = write!(
        page,
        "  - alert: {name}\n    expr: {}\n    for: {hold}\n    labels:\n      severity: {severity}\n",
        block(&alert.expr)
    );
    for (label, value) in alert.labels {
        let _ = writeln!(page, "      {label}: {value}");
    }
    let dashboard = format!("{GRAFANA}/d/kubestrata-{}", alert.dashboard);
    let annotations = [
        ("summary", quoted(alert.summary)),
        ("description", quoted(alert.description)),
        ("runbook_url", quoted(&format!("{RUNBOOKS}/{name}.md"))),
        ("dashboard_url", quoted(&dashboard)),
    ];
    page.push_str("    annotations:\n");
    for (annotation, text) in annotations {
        let _ = writeln!(page, "      {annotation}: {text}");
    }
    if alert.description.contains("$labels.signal") {
        let url = format!("{RUNBOOKS}/README.md#{{{{ $labels.signal }}}}");
        let _ = writeln!(page, "      signal_runbook_url: {}", quoted(&url));
    }
}

/// PromQL as a block of YAML.
fn block(expr: &str) -> String {
    let lines: String = expr.lines().map(|line| format!("\n      {line}")).collect();
    format!("|-{lines}")
}
