//! How does a daemon live, end, and begin again? As `daemon::run` has it: sources, ticks, and its state saved at
//! intervals and at the end, here into memory.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kubestrata::clock::Clock;
use kubestrata::config::Settings;
use kubestrata::daemon::{self, Ticker, Voice};
use kubestrata::exports::otlp::{Otlp, ResourceInfo};
use kubestrata::model::report::Report;
use kubestrata::pipeline::{Pipeline, State};
use kubestrata::snapshot;
use kubestrata::sources::{self, Candidate, Connection, KubeletAccess};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::book::{Book, Looks};
use super::ledger::Ledger;
use super::plan::Stop;

/// A daemon over all its lives.
pub struct Replica {
    pub client: Client,
    pub kubelets: KubeletAccess,
    pub settings: Settings,
    pub book: Book,
    /// What the next life begins with: the state file, and what had been told when it was written.
    saved: Option<(Vec<u8>, Book)>,
    /// Who hears it, where it is one of two.
    ledger: Option<Ledger>,
    lives: u32,
}

/// One life.
pub struct Life {
    pub ticker: Ticker,
    sources: JoinSet<()>,
    saved_at: Option<Timestamp>,
    voice: Option<Voice>,
    /// What it has said last.
    pub last: Option<Arc<Report>>,
}

/// How long a daemon gets at its end for what it has to say, and for giving the Lease back.
const FAREWELL: Duration = Duration::from_secs(5);

/// Room for all that a play has to tell.
const ROOM: usize = 10_000;

impl Replica {
    pub fn new(
        name: &'static str,
        (client, kubelets): (Client, KubeletAccess),
        settings: Settings,
    ) -> Self {
        let book = Book::new(name);
        Self { client, kubelets, settings, book, saved: None, ledger: None, lives: 0 }
    }

    /// One of two that elect a leader, whom this one hears.
    pub fn heard_by(self, ledger: &Ledger) -> Self {
        Self { ledger: Some(ledger.clone()), ..self }
    }

    /// One that also notes what looks without a past say.
    pub fn looking(mut self) -> Self {
        self.book.looks = Some(Looks::default());
        self
    }

    /// Lives and ends as planned, and is left alive at `until`; `start` is when the play began.
    pub async fn live(
        &mut self,
        (origin, start): (Instant, Timestamp),
        stops: &[Stop],
        until: Instant,
        mut publish: impl FnMut(&Arc<Report>),
    ) -> Life {
        let mut skew = SignedDuration::ZERO;
        for stop in stops {
            let mut life = self.begin((origin, start), skew);
            self.follow(&mut life, origin + stop.at, &mut publish).await;
            if stop.killed {
                self.lose();
            } else {
                self.keep(&mut life);
                // Of a life that has seen nothing whole, nothing is kept.
                if !life.ticker.reader().has_been_ready() {
                    self.lose();
                }
                if let Some(voice) = life.voice.take() {
                    voice.end(FAREWELL).await;
                }
            }
            drop(life);
            let back = origin + stop.at + stop.down;
            sleep_until(back.max(Instant::now())).await;
            skew = SignedDuration::from_secs(stop.skew);
        }
        let mut life = self.begin((origin, start), skew);
        self.follow(&mut life, until, &mut publish).await;
        life
    }

    fn begin(&mut self, (origin, start): (Instant, Timestamp), skew: SignedDuration) -> Life {
        let passed = SignedDuration::try_from(origin.elapsed()).unwrap();
        let clock = Clock::of_timers(start + passed + skew);
        let state = match &self.saved {
            None => State::default(),
            Some((bytes, _)) => snapshot::decode(bytes).expect("a state file"),
        };
        let server = "simulated".to_owned();
        let kubelets = Some(self.kubelets.clone());
        let connection = Connection { client: self.client.clone(), server, kubelets };
        let pipeline = Pipeline::new(self.settings.clone(), state);
        let options = daemon::watch_options(&pipeline, &self.settings, &clock, &connection);
        let (ticker, changes) = Ticker::new(pipeline, &self.settings, clock.clone());
        let sources = sources::start(&self.client, &options, &changes).expect("sources");
        self.book.begin(skew);
        self.lives += 1;
        let voice = self.ledger.as_ref().map(|ledger| self.voice(ledger, &clock));
        Life { ticker, sources, saved_at: None, voice, last: None }
    }

    /// Speaks to the ledger, as long as it leads.
    fn voice(&self, ledger: &Ledger, clock: &Clock) -> Voice {
        let (name, clock) = (self.book.name, clock.clone());
        let (election, identity) =
            (&self.settings.leader_election, format!("{name}_{}", self.lives));
        let now = Arc::new(move || clock.now());
        let candidate = Candidate::start(&self.client, election, identity, now);
        let turn = candidate.term();
        tokio::spawn(ledger.clone().watch(name, turn.clone()));
        let (ear, about) = (ledger.ear(name, turn.clone()), ResourceInfo::default());
        let otlp = Otlp::through(ear, ROOM, &about, Arc::default(), Some(turn));
        Voice::new(Some(otlp), Some(candidate), &self.settings, Arc::new(AtomicBool::default()))
    }

    async fn follow(
        &mut self,
        life: &mut Life,
        until: Instant,
        publish: &mut impl FnMut(&Arc<Report>),
    ) {
        loop {
            let stirred = async {
                match &mut life.voice {
                    Some(voice) => voice.stirred().await,
                    None => std::future::pending().await,
                }
            };
            let report = tokio::select! {
                biased;
                () = sleep_until(until) => return,
                report = life.ticker.tick() => report,
                _ = life.sources.join_next() => None,
                () = stirred => {
                    life.voice.iter_mut().for_each(|voice| voice.attend(&mut life.ticker));
                    continue;
                }
            };
            let Some(report) = report else { return self.book.complain("a source has ended") };
            self.see(life, &report);
            let (at, every) = (report.at, self.settings.state.interval);
            let report = Arc::new(report);
            life.voice.iter_mut().for_each(|voice| voice.publish(&report, &mut life.ticker));
            publish(&report);
            life.last = Some(report);
            let since = |saved| at.duration_since(saved).unsigned_abs();
            if life.saved_at.is_none_or(|saved: Timestamp| since(saved) >= every) {
                self.keep(life);
            }
        }
    }

    pub fn see(&mut self, life: &Life, report: &Report) {
        self.book.see(report, life.ticker.reader().world(), &self.settings);
        if report.at.as_second() / 15 % 40 == 0 {
            self.is_pure(life, report.at);
        }
    }

    /// Saves the state, unless the saved one knows better.
    fn keep(&mut self, life: &mut Life) {
        if life.ticker.reader().has_been_ready() {
            let bytes = snapshot::encode(life.ticker.reader().state()).expect("bytes");
            self.saved = Some((bytes, self.book.clone()));
            life.saved_at = Some(self.book.last);
        }
    }

    /// What was told since the state was saved last, nobody remembers.
    fn lose(&mut self) {
        match &self.saved {
            Some((_, book)) => self.book.rewind(book),
            None => self.book.rewind(&Book::new(self.book.name)),
        }
    }

    /// The same state, world and time give the same report and the same state.
    fn is_pure(&mut self, life: &Life, now: Timestamp) {
        let bytes = snapshot::encode(life.ticker.reader().state()).expect("bytes");
        let look = || {
            let state = snapshot::decode(&bytes).expect("a state file");
            let mut pipeline = Pipeline::new(self.settings.clone(), state);
            let report = pipeline.step(&life.ticker.reader().world().clone(), now);
            (format!("{report:?}"), snapshot::encode(pipeline.state()).expect("bytes"))
        };
        if look() != look() {
            self.book.complain("the same state, world and time gave two reports");
        }
    }
}
