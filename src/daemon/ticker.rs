//! When is the world read? At each tick of the clock; between ticks it takes in what sources tell.

use std::pin::Pin;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::config::Settings;
use crate::model::report::Report;
use crate::model::world::{Delta, World};
use crate::pipeline::{Pipeline, State};

/// Batches of changes that wait for the pipeline; beyond it sources wait, and the API server with them.
const PENDING_BATCHES: usize = 64;

/// A pipeline with its world and what sources tell of it.
pub struct Ticker {
    pipeline: Pipeline,
    world: World,
    clock: Clock,
    inbox: mpsc::Receiver<Vec<Delta>>,
    every: Duration,
    next: Pin<Box<dyn Future<Output = ()> + Send>>,
    was_ready: bool,
    took: Duration,
}

impl Ticker {
    /// An empty world, and where sources put what they tell of it.
    #[must_use]
    pub fn new(
        pipeline: Pipeline,
        settings: &Settings,
        clock: Clock,
    ) -> (Self, mpsc::Sender<Vec<Delta>>) {
        let (changes, inbox) = mpsc::channel(PENDING_BATCHES);
        let (world, every) = (World::default(), settings.tick);
        let next = wait(&clock, every);
        (
            Self {
                pipeline,
                world,
                clock,
                inbox,
                every,
                next,
                was_ready: false,
                took: Duration::ZERO,
            },
            changes,
        )
    }

    /// Waits for the next tick and reads the world; `None` when no source is left. The time until the first tick runs from
    /// the first call.
    pub async fn tick(&mut self) -> Option<Report> {
        loop {
            tokio::select! {
                // In this order, so that it is no matter of luck; and a flood of changes does not hold the tick up.
                biased;
                () = &mut self.next => {
                    let report = self.look();
                    self.next = wait(&self.clock, self.every);
                    return Some(report);
                }
                batch = self.inbox.recv() => {
                    let now = self.clock.now();
                    for delta in batch? {
                        self.pipeline.absorb(&mut self.world, delta, now);
                    }
                    // The first full view is told at once, not a tick later.
                    if !self.was_ready && self.ready() {
                        self.was_ready = true;
                        return Some(self.look());
                    }
                }
            }
        }
    }

    /// Reads the world now.
    pub fn look(&mut self) -> Report {
        let started = tokio::time::Instant::now();
        let report = self.pipeline.step(&self.world, self.clock.now());
        self.took = started.elapsed();
        report
    }

    /// How long the last look took, by the runtime's timers.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.took
    }

    /// Whether every reachable source has synced.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.pipeline.ready(&self.world)
    }

    /// Whether every reachable source has synced since the start, though one may have to sync anew now: from then on
    /// the state knows better than the one that was saved before.
    #[must_use]
    pub fn has_been_ready(&self) -> bool {
        self.was_ready
    }

    /// What has to survive a restart.
    #[must_use]
    pub fn state(&self) -> &State {
        self.pipeline.state()
    }

    /// The world as it is known.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.world
    }

    /// What reads the world.
    #[must_use]
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }
}

fn wait(clock: &Clock, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let clock = clock.clone();
    Box::pin(async move { clock.sleep(time).await })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::kind::Kind;
    use crate::model::source::SourceNote;
    use jiff::Timestamp;

    #[tokio::test(start_paused = true)]
    async fn the_first_full_view_is_told_at_once_and_then_each_tick() {
        let clock = Clock::of_timers(Timestamp::UNIX_EPOCH);
        let settings = Settings::default();
        let pipeline = Pipeline::new(settings.clone(), State::default());
        let kinds = pipeline.kinds();
        let (mut ticker, changes) = Ticker::new(pipeline, &settings, clock.clone());
        let synced: Vec<Delta> = kinds.into_iter().map(Delta::Synced).collect();
        assert!(!ticker.look().myself.ready);
        clock.sleep(Duration::from_secs(4)).await;
        changes.send(synced).await.unwrap();
        let (first, second) = (ticker.tick().await.unwrap(), ticker.tick().await.unwrap());
        assert!(first.myself.ready);
        assert_eq!((first.at.as_second(), second.at.as_second()), (4, 19));
        drop(changes);
        assert!(ticker.tick().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_kind_that_syncs_anew_does_not_make_the_state_worthless() {
        let clock = Clock::of_timers(Timestamp::UNIX_EPOCH);
        let settings = Settings::default();
        let pipeline = Pipeline::new(settings.clone(), State::default());
        let kinds = pipeline.kinds();
        let (mut ticker, changes) = Ticker::new(pipeline, &settings, clock.clone());
        assert!(!ticker.has_been_ready());
        changes.send(kinds.into_iter().map(Delta::Synced).collect()).await.unwrap();
        ticker.tick().await.unwrap();
        let kind = Kind::Certificate;
        let back = [Delta::Unserved(kind), Delta::Note(kind, SourceNote::Alive)];
        changes.send(back.into()).await.unwrap();
        ticker.tick().await.unwrap();
        assert!(!ticker.ready() && ticker.has_been_ready());
    }
}
