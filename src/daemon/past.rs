//! What do baselines begin with where no state was saved? With what a Prometheus has kept of our own series, if asked to.

use std::time::Duration;

use tracing::{info, warn};

use super::access;
use crate::clock::Clock;
use crate::config::Settings;
use crate::pipeline::Pipeline;
use crate::sources;

/// How long Prometheus may take for all of it: the daemon does not wait for a past that it can do without.
const PATIENCE: Duration = Duration::from_secs(30);

/// Takes the past over, and says what became of it.
pub(super) async fn take_over(pipeline: &mut Pipeline, settings: &Settings, clock: &Clock) {
    let (matchers, window) = (&settings.prometheus.history, settings.baseline.window);
    if matchers.is_empty() || settings.prometheus.url.is_none() || pipeline.has_pasts() {
        return;
    }
    let (access, signals) = (access(settings), pipeline.signals().to_vec());
    let asked = sources::history(&access, matchers, &signals, window, clock.now());
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(history)) => {
            let series = pipeline.relive(&history);
            info!(series, matchers, "baselines begin with what Prometheus has kept");
        }
        Ok(Err(error)) => {
            warn!(%error, "could not take over a past from Prometheus, baselines begin without one");
        }
        Err(_) => {
            let after = PATIENCE.as_secs();
            warn!(
                "Prometheus took longer than {after}s to tell the past, baselines begin without one"
            );
        }
    }
}
