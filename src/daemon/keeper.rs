//! When is the state saved, and what is said when it can't be?

use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info, warn};

use crate::config::Settings;
use crate::exports::outbox::Outbox;
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
    /// Opens the state directory, if there is one, and reads the state, and what of it is still to be told.
    pub(super) fn open(settings: &Settings) -> Result<(Self, State, Outbox), SnapshotError> {
        let mut keeper = Self {
            snapshots: None,
            interval: settings.state.interval,
            saved_at: None,
            failing: false,
        };
        let Some(directory) = &settings.state.directory else {
            return Ok((keeper, State::default(), Outbox::default()));
        };
        let snapshots = Snapshots::open(directory)?;
        let (state, outbox) = match snapshots.load::<(State, Option<Outbox>)>()? {
            Loaded::Nothing => {
                info!(directory = %directory.display(), "no saved state, starting afresh");
                Default::default()
            }
            Loaded::State(state) => {
                info!(directory = %directory.display(), "going on from the saved state");
                *state
            }
            Loaded::SetAside { to, why } => {
                warn!(to = %to.display(), why, "saved state set aside, starting afresh");
                Default::default()
            }
        };
        let outbox = outbox.unwrap_or_default().resume(snapshots.marked());
        keeper.snapshots = Some(Arc::new(snapshots));
        Ok((keeper, state, outbox))
    }

    /// Whether there is a state directory.
    pub(super) fn keeps(&self) -> bool {
        self.snapshots.is_some()
    }

    pub(super) fn is_due(&self, now: Time) -> bool {
        let since = |saved: Time| now.duration_since(saved).unsigned_abs();
        self.snapshots.is_some() && self.saved_at.is_none_or(|saved| since(saved) >= self.interval)
    }

    /// Saves the state, and what of it is to be told. A failure is told once, and its end too; the daemon goes on.
    pub(super) async fn save(&mut self, state: &State, outbox: Option<&Outbox>, now: Time) {
        let Some(snapshots) = self.snapshots.clone() else { return };
        self.saved_at = Some(now);
        let outcome = match encode(&(state, outbox)) {
            Ok(bytes) => match tokio::task::spawn_blocking(move || snapshots.save(&bytes)).await {
                Ok(outcome) => outcome,
                // The runtime is ending; the state saved before stands.
                Err(_) => return,
            },
            Err(error) => Err(error),
        };
        self.tell(outcome);
    }

    /// Notes up to which number events were told.
    pub(super) fn mark(&mut self, told: u64) {
        if let Some(Err(error)) = self.snapshots.as_ref().map(|snapshots| snapshots.mark(told)) {
            self.tell(Err(error));
        }
    }

    fn tell(&mut self, outcome: Result<(), SnapshotError>) {
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
