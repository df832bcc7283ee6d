//! Which fields does the configuration have? Each says everything about itself once: its key in the file, its
//! environment variable, its row in the reference and its check follow from it.

use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::duration::{format_duration, parse_duration};
use super::own_signals;
use super::settings::{Bands, Compression, OtlpProtocol, Settings};
use crate::model::kind::Kind;
use crate::model::layer::Layer;

/// A value as written, in the file, the environment or a flag.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// One word.
    Scalar(String),
    /// `[a, b]`, or `a,b` in the environment.
    List(Vec<String>),
    /// `{a: b}`, or `a=b,c=d` in the environment.
    Map(Vec<(String, String)>),
    /// `[{a: b}, {a: c}]`; only in the file.
    Records(Vec<Vec<(String, Value)>>),
}

/// A field of the configuration.
#[derive(Debug)]
pub struct Field {
    /// Its key, with dots between levels.
    pub path: &'static str,
    /// What it means.
    pub help: &'static str,
    /// What is expected, as an error says it.
    pub expected: &'static str,
    /// Whether its value is secret: never printed.
    pub secret: bool,
    /// Takes a value in; the error says what was expected.
    pub set: fn(&mut Settings, &Value) -> Result<(), String>,
    /// The effective value as YAML.
    pub show: fn(&Settings) -> String,
}

impl Field {
    /// The environment variable that overrides the file.
    #[must_use]
    pub fn env(&self) -> String {
        format!("KUBESTRATA_{}", self.path.to_uppercase().replace('.', "_"))
    }
}

const WHOLE: &str = "a whole number";

macro_rules! field {
    ($path:literal, $expected:expr, $help:literal, $set:expr, $show:expr) => {
        Field {
            path: $path,
            help: $help,
            expected: $expected,
            secret: false,
            set: $set,
            show: $show,
        }
    };
}

/// Every field, in the order of the reference.
pub static FIELDS: &[Field] = &[
    field!(
        "cluster.name",
        "a name",
        "Name of the cluster, the resource attribute `k8s.cluster.name` of all that is sent.",
        |s, v| text(v).map(|t| s.cluster.name = t),
        |s| quoted(&s.cluster.name)
    ),
    field!(
        "cluster.kubeconfig",
        "a path",
        "Kubeconfig to use outside a cluster; empty: the service account, else `KUBECONFIG`, else `~/.kube/config`.",
        |s, v| path(v).map(|p| s.cluster.kubeconfig = p),
        |s| shown_path(s.cluster.kubeconfig.as_ref())
    ),
    field!(
        "cluster.context",
        "a context's name",
        "Context of the kubeconfig; empty: its current one.",
        |s, v| text(v).map(|t| s.cluster.context = Some(t).filter(|t| !t.is_empty())),
        |s| quoted(s.cluster.context.as_deref().unwrap_or_default())
    ),
    field!(
        "listen",
        "an address and a port such as 127.0.0.1:9868 or [::]:9868",
        "Where `/metrics`, the status page and the API are served.",
        |s, v| {
            let parsed = text(v)?.parse().map_err(|_| String::new())?;
            s.listen = parsed;
            Ok(())
        },
        |s| quoted(&s.listen.to_string())
    ),
    field!(
        "tick",
        "a duration from 1s to 5m",
        "How often the state of the cluster is read and judged.",
        |s, v| duration(v, 1, 300).map(|d| s.tick = d),
        |s| format_duration(s.tick)
    ),
    field!(
        "layers",
        "a list of layers: storage, compute, networking, observability, security, tooling, gitops",
        "Layers that are watched. A layer left out needs no rights and says nothing.",
        |s, v| {
            let named =
                |name: &String| Layer::by_name(name).ok_or_else(|| format!("{name:?} is no layer"));
            s.layers = list(v)?.iter().map(named).collect::<Result<_, _>>()?;
            Ok(())
        },
        |s| shown_list(s.layers.iter().map(|l| l.name()))
    ),
    field!(
        "disabled_signals",
        "a list of signal names as `kubestrata signals` prints them",
        "Signals that are left out.",
        |s, v| list(v).map(|l| s.disabled_signals = l),
        |s| shown_list(s.disabled_signals.iter().map(String::as_str))
    ),
    field!(
        "sources.opt_in",
        "a list of sources: secrets, configmaps, kubelet_metrics",
        "Sources that are read only on demand: Helm's Secrets and the ConfigMaps that pods name (metadata only, though \
         the right to list them is the right to read them), and each kubelet's metrics.",
        |s, v| {
            let named = |name: &String| {
                let kind = Kind::by_source(name).filter(|k| {
                    matches!(k, Kind::HelmSecret | Kind::ConfigMap | Kind::KubeletMetrics)
                });
                kind.ok_or_else(|| format!("{name:?} is no source to opt in to"))
            };
            s.opt_in = list(v)?.iter().map(named).collect::<Result<_, _>>()?;
            Ok(())
        },
        |s| shown_list(s.opt_in.iter().map(|k| k.source()))
    ),
    field!(
        "sources.kubelet_skip_verify",
        "true or false",
        "Whether a kubelet's certificate is taken as it is; many kubelets sign their own.",
        |s, v| {
            s.kubelet_skip_verify = text(v)?.parse().map_err(|_| String::new())?;
            Ok(())
        },
        |s| s.kubelet_skip_verify.to_string()
    ),
    field!(
        "sources.longest_interval",
        "a duration from 1s to 1h",
        "The longest interval at which anything is polled: leases are read every 30s, metrics every minute, reports \
         every 5m, or as often as this says where it is shorter.",
        |s, v| duration(v, 1, 3600).map(|d| s.longest_interval = d),
        |s| format_duration(s.longest_interval)
    ),
    field!(
        "prometheus.url",
        "a URL such as http://prometheus:9090",
        "A Prometheus, or what speaks its query API, that is asked for what the cluster's API does not tell; empty: \
         nobody is asked.",
        |s, v| url(v).map(|u| s.prometheus.url = u),
        |s| shown_url(s.prometheus.url.as_deref().unwrap_or_default())
    ),
    field!(
        "prometheus.bearer_token_file",
        "a path",
        "File that holds a bearer token for it; read again for each question.",
        |s, v| path(v).map(|p| s.prometheus.bearer_token_file = p),
        |s| shown_path(s.prometheus.bearer_token_file.as_ref())
    ),
    field!(
        "prometheus.ca_file",
        "a path",
        "PEM file of the authority that signed its certificate; empty: the system's.",
        |s, v| path(v).map(|p| s.prometheus.ca_file = p),
        |s| shown_path(s.prometheus.ca_file.as_ref())
    ),
    field!(
        "prometheus.history",
        "label matchers such as job=\"kubestrata\"",
        "Label matchers of kubestrata's own series in it: without a saved state, baselines begin with what it kept of them \
         over `baseline.window`, so nothing has to warm up. Name the cluster where it keeps several. Empty: they begin \
         with nothing.",
        |s, v| {
            let matchers = text(v)?;
            if matchers.contains(['{', '}']) {
                return Err(String::new());
            }
            s.prometheus.history = matchers;
            Ok(())
        },
        |s| quoted(&s.prometheus.history)
    ),
    field!(
        "prometheus.signals",
        "a list of maps, each with name, layer, query and help, and if wanted unit, labels, bad and floor",
        "Signals of your own, each read by a PromQL query: `name` (without `kubestrata_` and the layer), `layer`, \
         `query`, `help` (a sentence), `unit` (count, ratio, seconds or bytes; count), `labels` (those of the result \
         that are kept; none), `bad` (high, low or both; high) and `floor` (the least spread that matters; 0).",
        own_signals::set,
        own_signals::show
    ),
    field!(
        "audit.listen",
        "an address and a port such as [::]:9869",
        "Where the API server may post its audit events, under `/audit`; empty: nowhere.",
        |s, v| {
            let address = text(v)?;
            let parsed = (!address.is_empty()).then(|| address.parse().map_err(|_| String::new()));
            s.audit.listen = parsed.transpose()?;
            Ok(())
        },
        |s| quoted(&s.audit.listen.map(|a| a.to_string()).unwrap_or_default())
    ),
    field!(
        "audit.cert_file",
        "a path",
        "PEM file of the certificate that the receiver shows; needed unless it listens on a loopback address.",
        |s, v| path(v).map(|p| s.audit.cert_file = p),
        |s| shown_path(s.audit.cert_file.as_ref())
    ),
    field!(
        "audit.key_file",
        "a path",
        "PEM file of its key.",
        |s, v| path(v).map(|p| s.audit.key_file = p),
        |s| shown_path(s.audit.key_file.as_ref())
    ),
    field!(
        "audit.client_ca_file",
        "a path",
        "PEM file of the authority that signed the API server's client certificate; empty: none is asked for.",
        |s, v| path(v).map(|p| s.audit.client_ca_file = p),
        |s| shown_path(s.audit.client_ca_file.as_ref())
    ),
    field!(
        "state.directory",
        "a path",
        "Directory in which totals, baselines and open anomalies survive a restart; empty: they live in memory only.",
        |s, v| path(v).map(|p| s.state.directory = p),
        |s| shown_path(s.state.directory.as_ref())
    ),
    field!(
        "state.interval",
        "a duration from 1s to 1h",
        "How often the state is saved; it is also saved at the end.",
        |s, v| duration(v, 1, 3600).map(|d| s.state.interval = d),
        |s| format_duration(s.state.interval)
    ),
    field!(
        "baseline.warm_up",
        "a duration from 1m to 7d",
        "History that a series needs before it is judged.",
        |s, v| duration(v, 60, 7 * 86_400).map(|d| s.baseline.warm_up = d),
        |s| format_duration(s.baseline.warm_up)
    ),
    field!(
        "baseline.window",
        "a duration from 10m to 14d",
        "How far back the past reaches against which a series is judged.",
        |s, v| duration(v, 600, 14 * 86_400).map(|d| s.baseline.window = d),
        |s| format_duration(s.baseline.window)
    ),
    field!(
        "baseline.time_zone",
        "the name of a time zone such as Europe/Berlin",
        "By whose clocks the hour of the day is taken that a season goes by, in summer as in winter.",
        |s, v| {
            s.baseline.time_zone = TimeZone::get(&text(v)?).map_err(|_| String::new())?;
            Ok(())
        },
        |s| s.baseline.time_zone.iana_name().unwrap_or("UTC").to_owned()
    ),
    field!(
        "baseline.close_after",
        "a duration from 1m to 6h",
        "How long a series must be back in its band before its anomaly closes; one that flaps up to eight times as long.",
        |s, v| duration(v, 60, 6 * 3600).map(|d| s.baseline.close_after = d),
        |s| format_duration(s.baseline.close_after)
    ),
    field!(
        "baseline.false_per_day",
        "a number from 0.001 to 100",
        "How many anomalies a day you accept that have no cause; 0.14 is one a week.",
        |s, v| number(v, 0.001, 100.0).map(|n| s.baseline.false_per_day = n),
        |s| s.baseline.false_per_day.to_string()
    ),
    field!(
        "baseline.bands",
        "told or all",
        "Of which series the expected band is exported: of those in an open anomaly and cluster-wide ones, or of all that \
         are judged, which is up to three more series for each.",
        |s, v| {
            s.baseline.bands = match text(v)?.as_str() {
                "told" => Bands::Told,
                "all" => Bands::All,
                _ => return Err(String::new()),
            };
            Ok(())
        },
        |s| match s.baseline.bands {
            Bands::Told => "told".to_owned(),
            Bands::All => "all".to_owned(),
        }
    ),
    field!(
        "otlp.endpoint",
        "a URL such as http://collector:4317",
        "OpenTelemetry Collector that gets events and metrics; empty: nothing is sent. `OTEL_EXPORTER_OTLP_ENDPOINT` works too.",
        |s, v| url(v).map(|u| s.otlp.endpoint = u),
        |s| shown_url(s.otlp.endpoint.as_deref().unwrap_or_default())
    ),
    field!(
        "otlp.protocol",
        "grpc or http/protobuf",
        "How the collector is spoken to.",
        |s, v| {
            s.otlp.protocol = match text(v)?.as_str() {
                "grpc" => OtlpProtocol::Grpc,
                "http/protobuf" => OtlpProtocol::HttpProtobuf,
                _ => return Err(String::new()),
            };
            Ok(())
        },
        |s| match s.otlp.protocol {
            OtlpProtocol::Grpc => "grpc".to_owned(),
            OtlpProtocol::HttpProtobuf => "http/protobuf".to_owned(),
        }
    ),
    Field {
        path: "otlp.headers",
        help: "Headers of each request, such as an API key; better given by `OTEL_EXPORTER_OTLP_HEADERS`.",
        expected: "a map of header names and values",
        secret: true,
        set: |s, v| map(v).map(|m| s.otlp.headers = m),
        show: |s| {
            let masked = s.otlp.headers.iter().map(|(name, _)| format!("{}: '***'", quoted(name)));
            format!("{{{}}}", masked.collect::<Vec<_>>().join(", "))
        },
    },
    field!(
        "otlp.compression",
        "none or gzip",
        "How bodies are compressed.",
        |s, v| {
            s.otlp.compression = match text(v)?.as_str() {
                "none" => Compression::None,
                "gzip" => Compression::Gzip,
                _ => return Err(String::new()),
            };
            Ok(())
        },
        |s| match s.otlp.compression {
            Compression::None => "none".to_owned(),
            Compression::Gzip => "gzip".to_owned(),
        }
    ),
    field!(
        "otlp.timeout",
        "a duration from 1s to 5m",
        "How long one request may take.",
        |s, v| duration(v, 1, 300).map(|d| s.otlp.timeout = d),
        |s| format_duration(s.otlp.timeout)
    ),
    field!(
        "otlp.ca_file",
        "a path",
        "PEM file of the authority that signed the collector's certificate; empty: the system's.",
        |s, v| path(v).map(|p| s.otlp.ca_file = p),
        |s| shown_path(s.otlp.ca_file.as_ref())
    ),
    field!(
        "otlp.cert_file",
        "a path",
        "PEM file of our certificate, for mutual TLS.",
        |s, v| path(v).map(|p| s.otlp.cert_file = p),
        |s| shown_path(s.otlp.cert_file.as_ref())
    ),
    field!(
        "otlp.key_file",
        "a path",
        "PEM file of our key, for mutual TLS.",
        |s, v| path(v).map(|p| s.otlp.key_file = p),
        |s| shown_path(s.otlp.key_file.as_ref())
    ),
    field!(
        "otlp.metrics",
        "true or false",
        "Whether signals and layer health are sent as metrics too.",
        |s, v| {
            s.otlp.metrics = text(v)?.parse().map_err(|_| String::new())?;
            Ok(())
        },
        |s| s.otlp.metrics.to_string()
    ),
    field!(
        "otlp.metrics_interval",
        "a duration from 1s to 1h",
        "How often metrics are sent.",
        |s, v| duration(v, 1, 3600).map(|d| s.otlp.metrics_interval = d),
        |s| format_duration(s.otlp.metrics_interval)
    ),
    field!(
        "otlp.queue",
        "a whole number from 1 to 1000000",
        "Events that wait while the collector is away; beyond it the oldest are dropped and counted.",
        |s, v| whole(v, 1, 1_000_000).map(|n| s.otlp.queue = n),
        |s| s.otlp.queue.to_string()
    ),
    field!(
        "leader_election.enabled",
        "true or false",
        "Whether one of several replicas is elected to send events and metrics over OTLP, by a Lease. A single replica \
         needs no election.",
        |s, v| {
            s.leader_election.enabled = text(v)?.parse().map_err(|_| String::new())?;
            Ok(())
        },
        |s| s.leader_election.enabled.to_string()
    ),
    field!(
        "leader_election.namespace",
        "a namespace's name",
        "Namespace of the Lease; empty: `POD_NAMESPACE`, else that of the service account or of the kubeconfig's context.",
        |s, v| text(v).map(|t| s.leader_election.namespace = t),
        |s| quoted(&s.leader_election.namespace)
    ),
    field!(
        "leader_election.name",
        "a name",
        "Name of the Lease; replicas that share it are one.",
        |s, v| {
            s.leader_election.name = text(v)?;
            if s.leader_election.name.is_empty() { Err(String::new()) } else { Ok(()) }
        },
        |s| quoted(&s.leader_election.name)
    ),
    field!(
        "leader_election.lease_duration",
        "a duration from 1s to 10m",
        "For how long the others leave a leader alone of which they see no sign of life.",
        |s, v| duration(v, 1, 600).map(|d| s.leader_election.lease_duration = d),
        |s| format_duration(s.leader_election.lease_duration)
    ),
    field!(
        "leader_election.renew_deadline",
        "a duration from 1s to 10m",
        "For how long a leader goes on speaking that can't renew the Lease; less than `lease_duration`.",
        |s, v| duration(v, 1, 600).map(|d| s.leader_election.renew_deadline = d),
        |s| format_duration(s.leader_election.renew_deadline)
    ),
    field!(
        "leader_election.retry_period",
        "a duration from 1s to 10m",
        "How often the Lease is read, and renewed by the leader; less than `renew_deadline`.",
        |s, v| duration(v, 1, 600).map(|d| s.leader_election.retry_period = d),
        |s| format_duration(s.leader_election.retry_period)
    ),
    field!(
        "limits.series",
        WHOLE,
        "Series of all signals; beyond it the smallest of the last signals are folded into `other`, and counted.",
        |s, v| whole(v, 100, 10_000_000).map(|n| s.limits.series = n),
        |s| s.limits.series.to_string()
    ),
    field!(
        "limits.family",
        WHOLE,
        "Series of one signal; beyond it the smallest are folded into one whose labels say `other`, and counted.",
        |s, v| whole(v, 10, 1_000_000).map(|n| s.limits.family = n),
        |s| s.limits.family.to_string()
    ),
    field!(
        "limits.baselines",
        WHOLE,
        "Series that have a baseline; beyond it further ones are not judged, and counted.",
        |s, v| whole(v, 100, 10_000_000).map(|n| s.limits.baselines = n),
        |s| s.limits.baselines.to_string()
    ),
    field!(
        "limits.events",
        WHOLE,
        "Events of the cluster that are held; beyond it the oldest go.",
        |s, v| whole(v, 100, 10_000_000).map(|n| s.limits.events = n),
        |s| s.limits.events.to_string()
    ),
    field!(
        "limits.closed_anomalies",
        WHOLE,
        "Closed anomalies that the API still shows.",
        |s, v| whole(v, 0, 100_000).map(|n| s.limits.closed_anomalies = n),
        |s| s.limits.closed_anomalies.to_string()
    ),
];

// An empty error stands for "expected …, found …", which the caller writes.

fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::Scalar(text) => Ok(text.clone()),
        _ => Err(String::new()),
    }
}

fn list(value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::List(items) => Ok(items.clone()),
        Value::Scalar(text) if text.is_empty() => Ok(Vec::new()),
        _ => Err(String::new()),
    }
}

fn map(value: &Value) -> Result<Vec<(String, String)>, String> {
    match value {
        Value::Map(entries) => Ok(entries.clone()),
        Value::Scalar(text) if text.is_empty() => Ok(Vec::new()),
        _ => Err(String::new()),
    }
}

fn url(value: &Value) -> Result<Option<String>, String> {
    match text(value)? {
        url if url.is_empty() => Ok(None),
        url => check_url(&url).map(|()| Some(url)).map_err(|_| String::new()),
    }
}

/// Whether this is a URL that can be asked; the error says what was expected.
pub fn check_url(text: &str) -> Result<(), String> {
    let askable =
        |url: http::Uri| matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some();
    match text.parse().is_ok_and(askable) {
        true => Ok(()),
        false => Err("expected a URL such as http://prometheus:9090".to_owned()),
    }
}

fn path(value: &Value) -> Result<Option<PathBuf>, String> {
    text(value).map(|t| Some(t).filter(|t| !t.is_empty()).map(PathBuf::from))
}

fn duration(value: &Value, min_seconds: u64, max_seconds: u64) -> Result<Duration, String> {
    let duration = parse_duration(&text(value)?).map_err(|_| String::new())?;
    let (min, max) = (Duration::from_secs(min_seconds), Duration::from_secs(max_seconds));
    if duration < min || duration > max { Err(String::new()) } else { Ok(duration) }
}

fn number(value: &Value, min: f64, max: f64) -> Result<f64, String> {
    let number: f64 = text(value)?.parse().map_err(|_| String::new())?;
    if (min..=max).contains(&number) {
        Ok(number)
    } else {
        Err(format!("expected a number from {min} to {max}, found {number}"))
    }
}

fn whole(value: &Value, min: usize, max: usize) -> Result<usize, String> {
    let number: usize = text(value)?.parse().map_err(|_| String::new())?;
    if (min..=max).contains(&number) {
        Ok(number)
    } else {
        Err(format!("expected a whole number from {min} to {max}, found {number}"))
    }
}

pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A URL without the password that may stand in it.
fn shown_url(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.find('/').map_or(rest, |end| &rest[..end]);
    let masked = authority.rsplit_once('@').and_then(|(user, _)| {
        let (name, password) = user.split_once(':')?;
        Some(format!("{scheme}://{name}:***{}", &rest[name.len() + 1 + password.len()..]))
    });
    quoted(masked.as_deref().unwrap_or(url))
}

fn shown_path(path: Option<&PathBuf>) -> String {
    quoted(&path.map(|p| p.display().to_string()).unwrap_or_default())
}

fn shown_list<'a>(items: impl Iterator<Item = &'a str>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_a_path_of_its_own_and_says_what_it_expects() {
        let mut seen = std::collections::BTreeSet::new();
        for field in FIELDS {
            assert!(seen.insert(field.path), "{} stands twice", field.path);
            assert!(!field.expected.is_empty() && field.help.ends_with('.'), "{}", field.path);
        }
    }
}
