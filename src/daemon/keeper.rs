//! When is the state saved, and what is said when it can't be?

use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info, warn};

use crate::config::Settings;
use crate::model::record::Time;
use crate::pipeline::State;
use crate::snapshot::{Loaded, SnapshotError, Snapshots, encode};

pub(super) struct Keeper {
    snapshots: Option<Arc<Snapshots>>,
    interval: Duration,
    saved_at: Option<Time>,
    failing: bool,
}

impl Keeper {
    /// Opens the state directory, if there is one, and reads the state.
    pub(super) fn open(settings: &Settings) -> Result<(Self, State), SnapshotError> {
        let mut keeper = Self {
            snapshots: None,
            interval: settings.state.interval,
            saved_at: None,
            failing: false,
        };
        let Some(directory) = &settings.state.directory else {
            return Ok((keeper, State::default()));
        };
        let snapshots = Snapshots::open(directory)?;
        let state = match snapshots.load::<State>()? {
            Loaded::Nothing => {
                info!(directory = %directory.display(), "no saved state, starting afresh");
                State::default()
            }
            Loaded::State(state) => {
                info!(directory = %directory.display(), "going on from the saved state");
                *state
            }
            Loaded::SetAside { to, why } => {
                warn!(to = %to.display(), why, "saved state set aside, starting afresh");
                State::default()
            }
        };
        keeper.snapshots = Some(Arc::new(snapshots));
        Ok((keeper, state))
    }

    pub(super) fn is_due(&self, now: Time) -> bool {
        let since = |saved: Time| now.duration_since(saved).unsigned_abs();
        self.snapshots.is_some() && self.saved_at.is_none_or(|saved| since(saved) >= self.interval)
    }

    /// Saves the state. A failure is told once, and its end too; the daemon goes on.
    pub(super) async fn save(&mut self, state: &State, now: Time) {
        let Some(snapshots) = self.snapshots.clone() else { return };
        self.saved_at = Some(now);
        let outcome = match encode(state) {
            Ok(bytes) => match tokio::task::spawn_blocking(move || snapshots.save(&bytes)).await {
                Ok(outcome) => outcome,
                // The runtime is ending; the state saved before stands.
                Err(_) => return,
            },
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) if self.failing => {
                self.failing = false;
                info!("state is saved again");
            }
            Err(error) if !self.failing => {
                self.failing = true;
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                error!(cause, "{error}; a restart would lose what came since");
            }
            _ => {}
        }
    }
}
