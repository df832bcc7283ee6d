//! What becomes of events while the collector is away? They wait, and all come in their order when it is back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kubestrata::exports::otlp::{Otlp, ResourceInfo};
use kubestrata::exports::prometheus::OtlpFigures;
use opentelemetry::logs::AnyValue;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::logs::{LogBatch, LogExporter};
use tokio::time::Instant;

/// Attributes that say what an event is about.
const IDS: &[&str] = &["kubestrata.finding.id", "kubestrata.anomaly.id"];

/// Room for all that a play has to tell.
const ROOM: usize = 10_000;

/// A collector that is away at first, for about an hour of virtual time.
#[derive(Clone, Debug)]
pub struct Collector {
    back_at: Instant,
    taken: Arc<Mutex<Vec<String>>>,
    figures: Arc<OtlpFigures>,
}

impl LogExporter for Collector {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        if Instant::now() < self.back_at {
            return Err(OTelSdkError::InternalFailure("connection refused".to_owned()));
        }
        let mut taken = self.taken.lock().expect("a lock");
        for (record, _) in batch.iter() {
            let mut named = record.attributes_iter();
            let id = named.find(|(key, _)| IDS.contains(&key.as_str()));
            let id = match id {
                Some((_, AnyValue::String(id))) => id.as_str().to_owned(),
                _ => String::new(),
            };
            taken.push(format!("{} {id}", record.event_name().unwrap_or_default()));
        }
        Ok(())
    }
}

impl Collector {
    /// One that comes back when so much time has passed.
    pub fn new(origin: Instant, away_for: Duration) -> Self {
        let back_at = origin + away_for;
        Self { back_at, taken: Arc::default(), figures: Arc::default() }
    }

    /// The real export, to this collector.
    pub fn export(&self) -> Otlp {
        let (about, figures) = (ResourceInfo::default(), Arc::clone(&self.figures));
        Otlp::through(self.clone(), ROOM, &about, figures, None)
    }

    /// What differs between what was told and what was taken.
    pub async fn compare(&self, mut export: Otlp, told: &[String]) -> Vec<String> {
        use std::sync::atomic::Ordering::Relaxed;
        export.shutdown(Duration::from_mins(1)).await;
        let taken = self.taken.lock().expect("a lock");
        let (sent, dropped) = (self.figures.sent.load(Relaxed), self.figures.dropped.load(Relaxed));
        let mut broken = Vec::new();
        if *taken != told {
            let at = taken.iter().zip(told).take_while(|(a, b)| a == b).count();
            broken.push(format!(
                "the collector took {} of {} events, and others from the {at}th on",
                taken.len(),
                told.len()
            ));
        }
        if sent != told.len() as u64 || dropped != 0 {
            broken.push(format!("{sent} of {} events sent, {dropped} dropped", told.len()));
        }
        broken
    }
}
