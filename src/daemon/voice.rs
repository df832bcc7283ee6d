//! What is said outside, and when? What each report tells, at once; of several replicas, by the one that leads.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tracing::warn;

use super::Ticker;
use crate::config::Settings;
use crate::exports::otlp::Otlp;
use crate::exports::outbox::Outbox;
use crate::exports::speaker::{Speaker, Told};
use crate::model::report::Report;
use crate::model::term::Term;
use crate::sources::Candidate;

/// Speaks for the daemon.
pub struct Voice {
    otlp: Option<Otlp>,
    seat: Option<Seat>,
    outbox: Option<Outbox>,
    silent: Arc<AtomicBool>,
}

/// A place among several replicas.
struct Seat {
    candidate: Candidate,
    turn: watch::Receiver<Option<Term>>,
    speaker: Speaker,
    /// The term that this one speaks in.
    term: Option<u64>,
}

impl Voice {
    /// A voice; that of a `candidate` is heard only while it leads, which `silent` tells.
    #[must_use]
    pub fn new(
        otlp: Option<Otlp>,
        candidate: Option<Candidate>,
        settings: &Settings,
        silent: Arc<AtomicBool>,
    ) -> Self {
        let baseline = &settings.baseline;
        let maturity = baseline.warm_up + baseline.close_after;
        let seat = candidate.map(|candidate| {
            let speaker = Speaker::new(candidate.identity(), maturity);
            Seat { turn: candidate.term(), candidate, speaker, term: None }
        });
        silent.store(seat.is_some(), Ordering::Relaxed);
        Self { otlp, seat, outbox: None, silent }
    }

    /// One that tells what is in this outbox, and goes on to put there what it tells: it is for one that has nobody to
    /// succeed it but itself.
    #[must_use]
    pub fn with(mut self, outbox: Outbox) -> Self {
        if let (Some(otlp), None) = (&self.otlp, &self.seat) {
            otlp.account();
            self.outbox = Some(outbox);
        }
        self
    }

    /// What is still to be told, for the state file.
    pub fn outbox(&self) -> Option<&Outbox> {
        self.outbox.as_ref()
    }

    /// Returns when there is something to [attend](Self::attend) to.
    pub async fn stirred(&mut self) {
        let settled = async {
            match &self.otlp {
                Some(otlp) => otlp.settled().await,
                None => pending().await,
            }
        };
        let Some(seat) = &mut self.seat else { return settled.await };
        tokio::select! {
            // In this order, so that it is no matter of luck.
            biased;
            changed = seat.turn.changed() => if changed.is_err() {
                pending::<()>().await;
            },
            () = settled => {}
        }
    }

    /// Begins or ends to speak where the election says so, and notes what was told.
    pub fn attend(&mut self, ticker: &mut Ticker) {
        let Some(seat) = &mut self.seat else { return };
        if let Some(otlp) = &self.otlp {
            seat.note(otlp);
        }
        let term = seat.turn.borrow_and_update().clone();
        let number = term.as_ref().map(|term| term.number);
        if number == seat.term {
            return;
        }
        seat.term = number;
        self.silent.store(term.is_none(), Ordering::Relaxed);
        if let Some(otlp) = &self.otlp {
            otlp.turn_to(number);
        }
        let Some(term) = term else { return seat.speaker.fall_silent() };
        let found = Told::read(&term.found).unwrap_or_else(|| {
            warn!("what the leader before has told can't be read; what is open is told again");
            Told::default()
        });
        ticker.adopt(seat.speaker.lead(found).findings());
    }

    /// Notes what became of what is in the outbox. Gives the number up to which all is told, where that is news.
    pub fn settle(&mut self) -> Option<u64> {
        let (otlp, outbox) = (self.otlp.as_ref()?, self.outbox.as_mut()?);
        let count = otlp.take_settled().into_iter().map(|settled| settled.count).sum();
        (count > 0).then(|| outbox.settle(count))
    }

    /// Takes a report into the outbox. Says whether there is something to save before it is told.
    pub fn take_in(&mut self, report: &Report) -> bool {
        self.outbox.as_mut().is_some_and(|outbox| outbox.take_in(&report.notices, report.at))
    }

    /// Says what a report tells. Never waits.
    pub fn publish(&mut self, report: &Arc<Report>, ticker: &mut Ticker) {
        self.attend(ticker);
        let Some(seat) = &mut self.seat else {
            match (&self.otlp, &mut self.outbox) {
                (Some(otlp), Some(outbox)) => {
                    let saved = ticker.reader().has_been_ready();
                    otlp.say(&outbox.hand_out(saved, report.at), report);
                }
                (Some(otlp), None) => otlp.publish(report),
                (None, _) => {}
            }
            return;
        };
        if let Some(otlp) = &self.otlp {
            let sayings = seat.speaker.hear(report);
            if seat.term.is_some() {
                otlp.say(&sayings, report);
            }
            seat.leave(!sayings.is_empty());
        }
        seat.candidate.set_ready(report.myself.ready);
    }

    /// Says what is left, for as long as `patience` lasts, and leaves the lead to another. Gives the number up to which
    /// all of the outbox is told, where that is news.
    pub async fn end(mut self, patience: Duration) -> Option<u64> {
        if let Some(mut seat) = self.seat.take() {
            if let Some(otlp) = &mut self.otlp {
                let _ = tokio::time::timeout(patience, seat.say_all(otlp)).await;
                otlp.fall_silent().await;
                seat.note(otlp);
            }
            seat.candidate.give_back(patience).await;
        }
        if let Some(otlp) = &mut self.otlp {
            otlp.shutdown(patience).await;
        }
        self.settle()
    }
}

impl Seat {
    /// Notes what became of what was said.
    fn note(&mut self, otlp: &Otlp) {
        let mut told = false;
        for settled in otlp.take_settled() {
            told |= self.speaker.settle(settled.count, settled.taken);
        }
        if told {
            self.leave(true);
        }
    }

    /// Leaves to a successor what was told and what is about to be.
    fn leave(&mut self, at_once: bool) {
        let Some(term) = self.term else { return };
        if let Some((told, clears)) = self.speaker.told() {
            self.candidate.leave(term, &told.write(), clears, at_once);
        }
    }

    /// Returns when all is said.
    async fn say_all(&mut self, otlp: &Otlp) {
        loop {
            tokio::select! {
                biased;
                () = otlp.settled() => self.note(otlp),
                () = otlp.drained() => return,
            }
        }
    }
}
