//! What do the daemon and the server share? The last Report, and when it was made.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;

use crate::clock::Clock;
use crate::config::Settings;
use crate::exports::prometheus::{About, OtlpFigures};
use crate::model::report::Report;

/// Ticks that may be missed before the daemon counts as stuck, and a grace besides.
const MISSED_TICKS: u32 = 3;
const GRACE: Duration = Duration::from_secs(30);

/// The last Report; cheap to clone.
#[derive(Clone)]
pub struct Shared(Arc<Inner>);

struct Inner {
    latest: ArcSwap<Latest>,
    otlp: Option<Arc<OtlpFigures>>,
    silent: Arc<AtomicBool>,
    clock: Clock,
    patience: Duration,
}

struct Latest {
    report: Arc<Report>,
    at: Timestamp,
    took: Duration,
}

impl Shared {
    /// Begins with a first report.
    #[must_use]
    pub fn new(report: Report, settings: &Settings, clock: Clock) -> Self {
        let latest = Latest { report: Arc::new(report), at: clock.now(), took: Duration::ZERO };
        let otlp = settings.otlp.endpoint.as_ref().map(|_| Arc::default());
        let patience = settings.tick * MISSED_TICKS + GRACE;
        let silent = Arc::new(AtomicBool::new(settings.leader_election.enabled));
        let latest = ArcSwap::from_pointee(latest);
        Self(Arc::new(Inner { latest, otlp, silent, clock, patience }))
    }

    /// Replaces the report.
    pub fn publish(&self, report: Arc<Report>, took: Duration) {
        let at = self.0.clock.now();
        self.0.latest.store(Arc::new(Latest { report, at, took }));
    }

    /// The last report.
    #[must_use]
    pub fn report(&self) -> Arc<Report> {
        Arc::clone(&self.0.latest.load().report)
    }

    /// What the report does not know.
    #[must_use]
    pub fn about(&self) -> About {
        About {
            tick: self.0.latest.load().took,
            otlp: self.0.otlp.clone(),
            silent: self.0.silent.load(Ordering::Relaxed),
        }
    }

    /// Where the OTLP export counts; there only where it is set up.
    #[must_use]
    pub fn otlp_figures(&self) -> Arc<OtlpFigures> {
        self.0.otlp.clone().unwrap_or_default()
    }

    /// Where it is noted that another replica speaks, or none.
    #[must_use]
    pub fn silent(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0.silent)
    }

    /// For how long no report has come, if longer than a daemon that lives would take.
    #[must_use]
    pub(super) fn silent_for(&self) -> Option<Duration> {
        let since = self.0.clock.now().duration_since(self.0.latest.load().at).unsigned_abs();
        (since > self.0.patience).then_some(since)
    }
}
