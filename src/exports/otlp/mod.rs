//! How are events and metrics sent? Over OTLP, from a queue of their own, so that a collector that is away delays
//! nothing and loses nothing until the queue is full.

mod env;
mod event;
mod metrics;
mod queue;
mod transport;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use opentelemetry::KeyValue;
use opentelemetry::logs::{Logger, LoggerProvider};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{LogExporter, SdkLogger, SdkLoggerProvider};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use thiserror::Error;
use tokio::task::JoinSet;

use crate::config::OtlpSettings;
use crate::exports::prometheus::OtlpFigures;
use crate::exports::speaker::Saying;
use crate::model::report::Report;
use crate::model::signal::Signal;

pub use env::{EnvironmentError, from_env};
pub use queue::{Settled, Turn};

/// The name under which everything is sent: OpenTelemetry's instrumentation scope and service.
const NAME: &str = "kubestrata";

/// Why the export can't be set up.
#[derive(Debug, Error)]
pub enum OtlpError {
    /// The exporter can't be built from the settings.
    #[error("could not set up the OTLP export to {endpoint}: {why}")]
    Setup {
        /// The collector.
        endpoint: String,
        /// Why.
        why: String,
    },
    /// A file of the TLS settings can't be read.
    #[error("could not read {field} {path}")]
    File {
        /// The field of the configuration.
        field: &'static str,
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

/// Which cluster the events and metrics are about.
#[derive(Clone, Debug, Default)]
pub struct ResourceInfo {
    /// `k8s.cluster.name`; empty where none is given.
    pub cluster_name: String,
    /// `k8s.cluster.uid`; empty where it can't be read.
    pub cluster_uid: String,
}

/// The running export.
pub struct Otlp {
    logger: SdkLogger,
    // Held for the logger, whose records go nowhere without it.
    _logs: SdkLoggerProvider,
    metrics: Option<SdkMeterProvider>,
    latest: Arc<ArcSwapOption<Report>>,
    queue: queue::Queue,
    // Ends with the export.
    sender: JoinSet<()>,
}

impl Otlp {
    /// Sets the export up and starts to send; with a `turn` only in the term that was begun. Must be called within a
    /// runtime.
    pub fn start(
        settings: &OtlpSettings,
        about: &ResourceInfo,
        signals: &[&'static Signal],
        figures: Arc<OtlpFigures>,
        turn: Option<Turn>,
    ) -> Result<Self, OtlpError> {
        let exporter = transport::logs(settings)?;
        let mut otlp = Self::through(exporter, settings.queue, about, figures, turn);
        if settings.metrics {
            let metrics = metrics::start(settings, resource(about), signals, &otlp.latest)?;
            otlp.metrics = Some(metrics);
        }
        Ok(otlp)
    }

    /// Sends events alone, through this exporter, at most `bound` of which wait. Must be called within a runtime.
    pub fn through(
        mut exporter: impl LogExporter + 'static,
        bound: usize,
        about: &ResourceInfo,
        figures: Arc<OtlpFigures>,
        turn: Option<Turn>,
    ) -> Self {
        let resource = resource(about);
        let queue = queue::Queue::new(bound, figures, turn);
        exporter.set_resource(&resource);
        let mut sender = JoinSet::new();
        sender.spawn(queue.clone().send(exporter));
        let logs = SdkLoggerProvider::builder()
            .with_resource(resource)
            .with_log_processor(queue.clone())
            .build();
        let latest = Arc::new(ArcSwapOption::empty());
        Self { logger: logs.logger(NAME), _logs: logs, metrics: None, latest, queue, sender }
    }

    /// Queues what opened, changed or closed, and makes the report the one that metrics are read from. Never waits.
    pub fn publish(&self, report: &Arc<Report>) {
        for notice in &report.notices {
            let mut record = self.logger.create_log_record();
            event::fill(&mut record, notice, report);
            self.logger.emit(record);
        }
        self.latest.store(Some(Arc::clone(report)));
    }

    /// Queues what is said, and makes the report the one that metrics are read from. Never waits.
    pub fn say(&self, sayings: &[Saying], report: &Arc<Report>) {
        for saying in sayings {
            let mut record = self.logger.create_log_record();
            match saying {
                Saying::Notice(notice) => event::fill(&mut record, notice, report),
                Saying::Gone(gone) => event::fill_gone(&mut record, gone, report),
            }
            self.logger.emit(record);
        }
        self.latest.store(Some(Arc::clone(report)));
    }

    /// Begins a term, or falls silent: what waits is dropped.
    pub fn turn_to(&self, term: Option<u64>) {
        self.queue.turn_to(term);
        self.latest.store(None);
    }

    /// Notes what becomes of events, where there are no terms.
    pub fn account(&self) {
        self.queue.account();
    }

    /// What became of the events of this term, since it was asked last.
    #[must_use]
    pub fn take_settled(&self) -> Vec<Settled> {
        self.queue.take_settled()
    }

    /// Returns when something has become of an event of this term.
    pub async fn settled(&self) {
        self.queue.settled().await;
    }

    /// Returns when no event waits.
    pub async fn drained(&self) {
        self.queue.drained().await;
    }

    /// Sends nothing any more.
    pub async fn fall_silent(&mut self) {
        self.sender.shutdown().await;
    }

    /// Sends what is left, for as long as `patience` lasts.
    pub async fn shutdown(&mut self, patience: Duration) {
        let _ = tokio::time::timeout(patience, self.drained()).await;
        self.fall_silent().await;
        if let Some(metrics) = self.metrics.take() {
            // It blocks its thread until the last export is done.
            let last = tokio::task::spawn_blocking(move || metrics.shutdown());
            let _ = tokio::time::timeout(patience, last).await;
        }
    }
}

/// `service.*` and `k8s.cluster.*`; `OTEL_RESOURCE_ATTRIBUTES` adds, `OTEL_SERVICE_NAME` renames.
fn resource(about: &ResourceInfo) -> Resource {
    let instance = std::env::var("HOSTNAME").unwrap_or_else(|_| std::process::id().to_string());
    let mut attributes = vec![
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", instance),
    ];
    let named =
        [("k8s.cluster.name", &about.cluster_name), ("k8s.cluster.uid", &about.cluster_uid)];
    for (key, value) in named.into_iter().filter(|(_, value)| !value.is_empty()) {
        attributes.push(KeyValue::new(key, value.clone()));
    }
    let name = std::env::var("OTEL_SERVICE_NAME").unwrap_or_else(|_| NAME.to_owned());
    Resource::builder().with_service_name(name).with_attributes(attributes).build()
}
