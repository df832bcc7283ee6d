//! When is the world read? At each tick of the clock; between ticks it takes in what sources tell.

use std::pin::Pin;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::config::Settings;
use crate::model::record::Time;
use crate::model::report::Report;
use crate::model::world::{Delta, World};
use crate::pipeline::{Pipeline, State};

/// Batches of changes that wait for the pipeline; beyond it sources wait, and the API server with them.
const PENDING_BATCHES: usize = 64;

/// What is to be done next, and the moment that it is done for.
#[derive(Debug)]
pub enum Step {
    /// Taking in what a source tells.
    Absorb(Time, Vec<Delta>),
    /// Reading the world.
    Look(Time),
}

/// Tells the steps: waits for the clock and for sources, and knows nothing of the world.
pub struct Beat {
    clock: Clock,
    inbox: mpsc::Receiver<Vec<Delta>>,
    every: Duration,
    /// `None`: it is time to wait for the next tick.
    next: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Beat {
    /// A beat, and where sources put what they tell.
    #[must_use]
    pub fn new(every: Duration, clock: Clock) -> (Self, mpsc::Sender<Vec<Delta>>) {
        let (changes, inbox) = mpsc::channel(PENDING_BATCHES);
        (Self { clock, inbox, every, next: None }, changes)
    }

    /// Waits for the next step; `None` when no source is left. The time until the first tick runs from the first call,
    /// that until the next from the first call after a tick.
    pub async fn step(&mut self) -> Option<Step> {
        let next = self.next.get_or_insert_with(|| wait(&self.clock, self.every));
        tokio::select! {
            // In this order, so that it is no matter of luck; and a flood of changes does not hold the tick up.
            biased;
            () = next => {
                self.next = None;
                Some(Step::Look(self.clock.now()))
            }
            batch = self.inbox.recv() => Some(Step::Absorb(self.clock.now(), batch?)),
        }
    }
}

/// Carries the steps out: a pipeline with its world.
#[derive(Debug)]
pub struct Reader {
    pipeline: Pipeline,
    world: World,
    was_ready: bool,
}

impl Reader {
    /// Begins with an empty world, and with what the pipeline's state remembers of the one before.
    #[must_use]
    pub fn new(pipeline: Pipeline) -> Self {
        let world = World::recalling(pipeline.state().recall().clone());
        Self { pipeline, world, was_ready: false }
    }

    /// Carries a step out; what it has to report, if anything.
    pub fn carry_out(&mut self, step: Step) -> Option<Report> {
        match step {
            Step::Look(now) => Some(self.look(now)),
            Step::Absorb(now, batch) => {
                for delta in batch {
                    self.pipeline.absorb(&mut self.world, delta, now);
                }
                // The first full view is told at once, not a tick later.
                let first = !self.was_ready && self.ready();
                self.was_ready |= first;
                first.then(|| self.look(now))
            }
        }
    }

    /// Reads the world as of this moment.
    pub fn look(&mut self, now: Time) -> Report {
        self.pipeline.step(&self.world, now)
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

    /// Takes over findings that another replica has told, by signal and id.
    pub fn adopt<'a>(&mut self, told: impl Iterator<Item = (&'a str, &'a str)>) {
        self.pipeline.adopt(told);
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

/// A reader that follows a beat.
pub struct Ticker {
    beat: Beat,
    reader: Reader,
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
        let (beat, changes) = Beat::new(settings.tick, clock);
        (Self { beat, reader: Reader::new(pipeline), took: Duration::ZERO }, changes)
    }

    /// Waits for the next tick and reads the world; `None` when no source is left. The time until the first tick runs from
    /// the first call.
    pub async fn tick(&mut self) -> Option<Report> {
        loop {
            let step = self.beat.step().await?;
            let started = tokio::time::Instant::now();
            if let Some(report) = self.reader.carry_out(step) {
                self.took = started.elapsed();
                return Some(report);
            }
        }
    }

    /// Reads the world now.
    pub fn look(&mut self) -> Report {
        self.reader.look(self.beat.clock.now())
    }

    /// Takes over findings that another replica has told, by signal and id.
    pub fn adopt<'a>(&mut self, told: impl Iterator<Item = (&'a str, &'a str)>) {
        self.reader.adopt(told);
    }

    /// How long the last look took, by the runtime's timers.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.took
    }

    /// What it reads.
    #[must_use]
    pub fn reader(&self) -> &Reader {
        &self.reader
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
        assert!(!ticker.reader().has_been_ready());
        changes.send(kinds.into_iter().map(Delta::Synced).collect()).await.unwrap();
        ticker.tick().await.unwrap();
        let kind = Kind::Certificate;
        let back = [Delta::Unserved(kind), Delta::Note(kind, SourceNote::Alive)];
        changes.send(back.into()).await.unwrap();
        ticker.tick().await.unwrap();
        assert!(!ticker.reader().ready() && ticker.reader().has_been_ready());
    }
}
