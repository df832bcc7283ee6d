//! What is meant? Checked values with units, ready for use.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::model::kind::Kind;
use crate::model::layer::Layer;
use crate::model::signal::Signal;

/// The effective configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Which cluster, and how it is called outside.
    pub cluster: ClusterSettings,
    /// Where `/metrics`, the page and the API are served.
    pub listen: SocketAddr,
    /// How often the world is read.
    pub tick: Duration,
    /// The layers that are watched.
    pub layers: Vec<Layer>,
    /// Signals that are left out, by name.
    pub disabled_signals: Vec<String>,
    /// Sources that are read only on demand, for the rights that they take or for their cost.
    pub opt_in: Vec<Kind>,
    /// Whether a kubelet's certificate is taken as it is.
    pub kubelet_skip_verify: bool,
    /// The longest interval at which anything is polled.
    pub longest_interval: Duration,
    /// A Prometheus that knows more.
    pub prometheus: PrometheusSettings,
    /// Where the API server may post its audit events.
    pub audit: AuditSettings,
    /// Where totals, baselines and open anomalies survive a restart.
    pub state: StateSettings,
    /// How series are judged against their past.
    pub baseline: BaselineSettings,
    /// Where events and metrics are sent.
    pub otlp: OtlpSettings,
    /// Whether one of several replicas is elected to speak.
    pub leader_election: LeaderElectionSettings,
    /// What bounds memory.
    pub limits: LimitSettings,
}

/// Which cluster, and how it is called outside.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterSettings {
    /// `k8s.cluster.name` of the OTLP resource; empty where none is given.
    pub name: String,
    /// The kubeconfig; `None`: in-cluster, else `KUBECONFIG`, else `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; `None`: its current one.
    pub context: Option<String>,
}

/// A Prometheus, or what speaks its query API, that knows more than the cluster's API.
#[derive(Clone, Debug, Default)]
pub struct PrometheusSettings {
    /// Such as `http://prometheus:9090`, with the path before `/api/v1` if any; `None`: nobody is asked.
    pub url: Option<String>,
    /// File that holds a bearer token; read again for each question, so that it may be renewed.
    pub bearer_token_file: Option<PathBuf>,
    /// PEM file of the authority that signed its certificate; `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// Label matchers of kubestrata's own series in it; empty: baselines are not begun with them.
    pub history: String,
    /// Signals of the user's own, each read by a query.
    pub signals: Vec<&'static Signal>,
}

impl PartialEq for PrometheusSettings {
    fn eq(&self, other: &Self) -> bool {
        let names = |s: &Self| s.signals.iter().map(|s| s.name).collect::<Vec<_>>();
        (&self.url, &self.bearer_token_file, &self.ca_file, &self.history, names(self))
            == (&other.url, &other.bearer_token_file, &other.ca_file, &other.history, names(other))
    }
}

/// Where the API server may post its audit events.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AuditSettings {
    /// The address; `None`: nowhere.
    pub listen: Option<SocketAddr>,
    /// PEM file of our certificate; needed unless the address is a loopback one.
    pub cert_file: Option<PathBuf>,
    /// PEM file of our key.
    pub key_file: Option<PathBuf>,
    /// PEM file of the authority that signed the API server's certificate; `None`: it needs none.
    pub client_ca_file: Option<PathBuf>,
}

/// Where state survives a restart.
#[derive(Clone, Debug, PartialEq)]
pub struct StateSettings {
    /// The directory; `None`: state lives in memory only.
    pub directory: Option<PathBuf>,
    /// How often it is saved.
    pub interval: Duration,
}

/// Of which series the expected band is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bands {
    /// Of cluster-wide series and of those in an open anomaly.
    Told,
    /// Of every series that has a past.
    All,
}

/// How series are judged against their past.
#[derive(Clone, Debug, PartialEq)]
pub struct BaselineSettings {
    /// How much history a series needs before it is judged.
    pub warm_up: Duration,
    /// How far back the past reaches.
    pub window: Duration,
    /// By whose clocks people work, and so the day goes.
    pub time_zone: TimeZone,
    /// How long an anomaly's series must be back in its band before the anomaly closes, unless it flaps.
    pub close_after: Duration,
    /// How many anomalies a day may be false.
    pub false_per_day: f64,
    /// Of which series the band is exported.
    pub bands: Bands,
}

/// Where events and metrics are sent.
#[derive(Clone, Debug, PartialEq)]
pub struct OtlpSettings {
    /// The collector, such as `http://collector:4317`; `None`: nothing is sent.
    pub endpoint: Option<String>,
    /// Another endpoint for events, used as it is (`OTEL_EXPORTER_OTLP_LOGS_ENDPOINT`).
    pub logs_endpoint: Option<String>,
    /// Another endpoint for metrics, used as it is (`OTEL_EXPORTER_OTLP_METRICS_ENDPOINT`).
    pub metrics_endpoint: Option<String>,
    /// How it is spoken to.
    pub protocol: OtlpProtocol,
    /// Sent with each request. Values are secret and never printed.
    pub headers: Vec<(String, String)>,
    /// How bodies are compressed.
    pub compression: Compression,
    /// How long one request may take.
    pub timeout: Duration,
    /// PEM file of the authority that signed the collector's certificate; `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM file of our certificate, for mutual TLS.
    pub cert_file: Option<PathBuf>,
    /// PEM file of our key, for mutual TLS.
    pub key_file: Option<PathBuf>,
    /// Whether signals and layer health are sent as metrics.
    pub metrics: bool,
    /// How often metrics are sent.
    pub metrics_interval: Duration,
    /// How many events wait while the collector is away; the oldest go first, counted.
    pub queue: usize,
}

/// Whether one of several replicas is elected to speak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderElectionSettings {
    /// Whether; a single replica need not be.
    pub enabled: bool,
    /// The Lease's namespace; empty: our own.
    pub namespace: String,
    /// The Lease's name.
    pub name: String,
    /// For how long others leave a leader alone of which they see no sign of life.
    pub lease_duration: Duration,
    /// For how long a leader speaks that can't give one.
    pub renew_deadline: Duration,
    /// How often the Lease is read or renewed.
    pub retry_period: Duration,
}

/// OTLP's transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum OtlpProtocol {
    Grpc,
    HttpProtobuf,
}

/// How bodies are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Compression {
    None,
    Gzip,
}

/// What bounds memory. Reaching a limit is a metric and a log line.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitSettings {
    /// Series of all signals in a report.
    pub series: usize,
    /// Series of one signal.
    pub family: usize,
    /// Series with a baseline.
    pub baselines: usize,
    /// Events held; the oldest go first.
    pub events: usize,
    /// Closed anomalies held.
    pub closed_anomalies: usize,
}

impl Settings {
    /// The sources that are read although nobody has to: those opted in to, and those that have been given an address.
    #[must_use]
    pub fn opted(&self) -> Vec<Kind> {
        let prometheus = self.prometheus.url.is_some().then_some(Kind::PrometheusQuery);
        let audit = self.audit.listen.is_some().then_some(Kind::Audit);
        self.opt_in.iter().copied().chain(prometheus).chain(audit).collect()
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cluster: ClusterSettings::default(),
            listen: SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 9868)),
            tick: Duration::from_secs(15),
            layers: Layer::ALL.to_vec(),
            disabled_signals: Vec::new(),
            opt_in: Vec::new(),
            kubelet_skip_verify: false,
            prometheus: PrometheusSettings::default(),
            audit: AuditSettings::default(),
            longest_interval: Duration::from_mins(5),
            state: StateSettings { directory: None, interval: Duration::from_secs(30) },
            baseline: BaselineSettings {
                warm_up: Duration::from_hours(1),
                window: Duration::from_hours(24),
                time_zone: TimeZone::UTC,
                close_after: Duration::from_mins(10),
                false_per_day: 0.14,
                bands: Bands::Told,
            },
            otlp: OtlpSettings::default(),
            leader_election: LeaderElectionSettings {
                enabled: false,
                namespace: String::new(),
                name: "kubestrata".to_owned(),
                lease_duration: Duration::from_secs(15),
                renew_deadline: Duration::from_secs(10),
                retry_period: Duration::from_secs(2),
            },
            limits: LimitSettings {
                series: 50_000,
                family: 10_000,
                baselines: 50_000,
                events: 20_000,
                closed_anomalies: 500,
            },
        }
    }
}

impl Default for OtlpSettings {
    fn default() -> Self {
        Self {
            endpoint: None,
            logs_endpoint: None,
            metrics_endpoint: None,
            protocol: OtlpProtocol::Grpc,
            headers: Vec::new(),
            compression: Compression::None,
            timeout: Duration::from_secs(10),
            ca_file: None,
            cert_file: None,
            key_file: None,
            metrics: true,
            metrics_interval: Duration::from_mins(1),
            queue: 20_000,
        }
    }
}
