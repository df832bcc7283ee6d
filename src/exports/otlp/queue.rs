//! What happens to events while the collector is away? They wait, the oldest are dropped when there are too many,
//! and what was dropped is counted. The SDK's own batching gives up after a second.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::InstrumentationScope;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::logs::{LogBatch, LogExporter, LogProcessor, SdkLogRecord};
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

use crate::exports::prometheus::OtlpFigures;
use crate::model::term::Term;
use crate::model::text::stable_hash;

/// Events in one request.
const BATCH: usize = 256;

/// The wait after the first failure; it doubles up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

type Entry = (SdkLogRecord, InstrumentationScope);

/// The term of the replica that leads, for one of several that only speaks while it does.
pub type Turn = watch::Receiver<Option<Term>>;

/// What became of so many events, in the order in which they were queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// How many.
    pub count: usize,
    /// Whether a collector has taken them; otherwise they were dropped.
    pub taken: bool,
}

/// Events with the number of the first: what was sent is removed exactly, though older ones were dropped meanwhile.
#[derive(Debug, Default)]
struct Waiting {
    entries: VecDeque<Entry>,
    first: u64,
    /// The term in which they were said, where only a leader speaks, and the number of its first.
    term: Option<u64>,
    begin: u64,
    /// Whether somebody wants to know what becomes of events, also where there are no terms.
    accounts: bool,
    settled: Vec<Settled>,
}

impl Waiting {
    /// Removes all events before the one with this number.
    fn remove_before(&mut self, number: u64, taken: bool) {
        let count = number.saturating_sub(self.first).min(self.entries.len() as u64);
        self.entries.drain(..count as usize);
        self.first += count;
        if (self.accounts || self.term.is_some()) && count > 0 {
            self.settled.push(Settled { count: count as usize, taken });
        }
    }

    /// How many of them may be said in this term.
    fn cleared(&self, term: Option<&Term>) -> usize {
        let term = term.filter(|term| self.term == Some(term.number));
        let end = term.map_or(0, |term| self.begin + term.cleared);
        usize::try_from(end.saturating_sub(self.first)).unwrap_or(usize::MAX)
    }

    /// Removes all events, of which nobody wants to know what became.
    fn clear(&mut self) {
        self.first += self.entries.len() as u64;
        self.entries.clear();
        self.settled.clear();
    }
}

/// Events that wait for the collector; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Queue(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    waiting: Mutex<Waiting>,
    bound: usize,
    arrived: Notify,
    emptied: Notify,
    settled: Notify,
    figures: Arc<OtlpFigures>,
    turn: Option<Turn>,
}

impl Queue {
    pub(super) fn new(bound: usize, figures: Arc<OtlpFigures>, turn: Option<Turn>) -> Self {
        Self(Arc::new(Inner {
            waiting: Mutex::default(),
            bound,
            arrived: Notify::new(),
            emptied: Notify::new(),
            settled: Notify::new(),
            figures,
            turn,
        }))
    }

    /// Sends for ever, in order, a batch at a time.
    pub(super) async fn send(self, exporter: impl LogExporter) {
        let (mut wait, mut away) = (FIRST_WAIT, false);
        loop {
            let (first, batch, term) = self.next_batch().await;
            let borrowed: Vec<_> = batch.iter().map(|(record, scope)| (record, scope)).collect();
            let count = borrowed.len();
            let outcome = tokio::select! {
                biased;
                // Not a word more: another replica may speak soon, and says what was not said.
                () = self.end_of(term) => {
                    self.clear_of(term);
                    continue;
                }
                outcome = exporter.export(LogBatch::new(&borrowed)) => outcome,
            };
            match outcome {
                Ok(()) => {
                    self.0.figures.sent.fetch_add(count as u64, Ordering::Relaxed);
                    self.remove_before(first + count as u64, true);
                    if std::mem::take(&mut away) {
                        info!("the collector takes events again");
                    }
                    wait = FIRST_WAIT;
                }
                Err(error) if is_refusal(&error) => {
                    self.0.figures.errors.fetch_add(1, Ordering::Relaxed);
                    self.0.figures.dropped.fetch_add(count as u64, Ordering::Relaxed);
                    self.remove_before(first + count as u64, false);
                    warn!(%error, events = count, "the collector refuses events for good, they are dropped");
                }
                Err(error) => {
                    self.0.figures.errors.fetch_add(1, Ordering::Relaxed);
                    if !std::mem::replace(&mut away, true) {
                        warn!(%error, "the collector does not take events, they wait");
                    }
                    tokio::time::sleep(jittered(wait, first)).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            }
        }
    }

    /// Returns when nothing waits.
    pub(super) async fn drained(&self) {
        loop {
            let emptied = self.0.emptied.notified();
            if self.lock().entries.is_empty() {
                return;
            }
            emptied.await;
        }
    }

    /// Begins a term, or ends it: what was queued before is dropped.
    pub(super) fn turn_to(&self, term: Option<u64>) {
        let mut waiting = self.lock();
        waiting.clear();
        (waiting.term, waiting.begin) = (term, waiting.first);
        self.0.figures.queued.store(0, Ordering::Relaxed);
        self.0.emptied.notify_waiters();
    }

    /// Notes what becomes of events from now on, where there are no terms.
    pub(super) fn account(&self) {
        self.lock().accounts = true;
    }

    /// What became of the events of this term, since it was asked last.
    pub(super) fn take_settled(&self) -> Vec<Settled> {
        std::mem::take(&mut self.lock().settled)
    }

    /// Returns when something has become of an event of this term.
    pub(super) async fn settled(&self) {
        loop {
            let settled = self.0.settled.notified();
            if !self.lock().settled.is_empty() {
                return;
            }
            settled.await;
        }
    }

    /// Returns when a term is over; never where there are none.
    async fn end_of(&self, term: Option<u64>) {
        let Some(mut turn) = self.0.turn.clone() else { return std::future::pending().await };
        let number = |turn: &Option<Term>| turn.as_ref().map(|term| term.number);
        // A leader that is no more there leads no more either.
        let _ = turn.wait_for(|turn| term.is_none() || number(turn) != term).await;
    }

    /// Drops what was said in a term that is over.
    fn clear_of(&self, term: Option<u64>) {
        let mut waiting = self.lock();
        if waiting.term == term {
            waiting.clear();
            self.0.figures.queued.store(0, Ordering::Relaxed);
            self.0.emptied.notify_waiters();
        }
    }

    async fn next_batch(&self) -> (u64, Vec<Entry>, Option<u64>) {
        let mut turn = self.0.turn.clone();
        loop {
            let arrived = self.0.arrived.notified();
            let term = turn.as_mut().and_then(|turn| turn.borrow_and_update().clone());
            {
                let waiting = self.lock();
                let count = match self.0.turn {
                    Some(_) => waiting.cleared(term.as_ref()).min(BATCH),
                    None => BATCH,
                };
                let batch: Vec<_> = waiting.entries.iter().take(count).cloned().collect();
                if !batch.is_empty() {
                    return (waiting.first, batch, waiting.term);
                }
            }
            tokio::select! {
                biased;
                () = arrived => {}
                () = changed(&mut turn) => {}
            }
        }
    }

    fn push(&self, entry: Entry) {
        let mut waiting = self.lock();
        waiting.entries.push_back(entry);
        let excess = waiting.entries.len().saturating_sub(self.0.bound) as u64;
        if excess > 0 {
            let first = waiting.first;
            waiting.remove_before(first + excess, false);
            self.0.figures.dropped.fetch_add(excess, Ordering::Relaxed);
        }
        self.0.figures.queued.store(waiting.entries.len() as u64, Ordering::Relaxed);
        drop(waiting);
        self.0.arrived.notify_one();
    }

    fn remove_before(&self, number: u64, taken: bool) {
        let mut waiting = self.lock();
        waiting.remove_before(number, taken);
        self.0.settled.notify_waiters();
        self.0.figures.queued.store(waiting.entries.len() as u64, Ordering::Relaxed);
        if waiting.entries.is_empty() {
            self.0.emptied.notify_waiters();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogProcessor for Queue {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        self.push((record.clone(), scope.clone()));
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Waits until a leader may say more, or another leads; for ever where all speak.
async fn changed(turn: &mut Option<Turn>) {
    let changed = match turn {
        Some(turn) => turn.changed().await.is_ok(),
        None => false,
    };
    if !changed {
        std::future::pending::<()>().await;
    }
}

/// Whether the collector will refuse the same events again: its status says that they are at fault. The SDK hands
/// the status over in words only.
fn is_refusal(error: &OTelSdkError) -> bool {
    let words = error.to_string();
    [
        "InvalidArgument",
        "invalid argument",
        "status: 400",
        "Status: 400",
        "status: 413",
        "Status: 413",
    ]
    .iter()
    .any(|refusal| words.contains(refusal))
}

/// Between half and all of a wait, so that many senders do not come back at once; by what waits rather than by chance: in
/// virtual time the same run waits as long.
fn jittered(wait: Duration, first: u64) -> Duration {
    let mixed = stable_hash([&first.to_le_bytes()[..], &wait.as_millis().to_le_bytes()]);
    wait.mul_f64(0.5 + (mixed % 1000) as f64 / 2000.0)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use opentelemetry::logs::{LogRecord, Logger, LoggerProvider};
    use opentelemetry_sdk::logs::SdkLoggerProvider;

    use super::*;

    /// A collector that is away for the first so many requests.
    #[derive(Clone, Debug, Default)]
    struct Collector {
        away_for: usize,
        refuses: bool,
        asked: Arc<AtomicUsize>,
        taken: Arc<Mutex<Vec<String>>>,
    }

    impl LogExporter for Collector {
        async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
            if self.asked.fetch_add(1, Ordering::Relaxed) < self.away_for {
                let why = if self.refuses { "Status: 400" } else { "connection refused" };
                return Err(OTelSdkError::InternalFailure(why.to_owned()));
            }
            let names = batch.iter().map(|(r, _)| r.event_name().unwrap_or_default().to_owned());
            self.taken.lock().unwrap().extend(names);
            Ok(())
        }
    }

    const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

    fn emit(queue: &Queue) {
        let provider = SdkLoggerProvider::builder().with_log_processor(queue.clone()).build();
        let logger = provider.logger("test");
        for name in NAMES {
            let mut record = logger.create_log_record();
            record.set_event_name(name);
            logger.emit(record);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_collector_that_comes_back_gets_all_in_order() {
        let figures = Arc::new(OtlpFigures::default());
        let queue = Queue::new(100, Arc::clone(&figures), None);
        emit(&queue);
        let collector = Collector { away_for: 120, ..Collector::default() };
        let sender = tokio::spawn(queue.clone().send(collector.clone()));
        queue.drained().await;
        sender.abort();
        assert_eq!(*collector.taken.lock().unwrap(), NAMES);
        assert_eq!(figures.dropped.load(Ordering::Relaxed), 0);
        assert_eq!(figures.sent.load(Ordering::Relaxed), 5);
        assert_eq!(figures.errors.load(Ordering::Relaxed), 120, "about an hour of back-off");
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_drops_the_oldest_and_counts_them() {
        let figures = Arc::new(OtlpFigures::default());
        let queue = Queue::new(3, Arc::clone(&figures), None);
        queue.account();
        emit(&queue);
        assert_eq!(figures.dropped.load(Ordering::Relaxed), 2);
        let collector = Collector::default();
        let sender = tokio::spawn(queue.clone().send(collector.clone()));
        queue.drained().await;
        sender.abort();
        assert_eq!(*collector.taken.lock().unwrap(), ["c", "d", "e"]);
        let became = [(1, false), (1, false), (3, true)];
        let became = became.map(|(count, taken)| Settled { count, taken });
        assert_eq!(queue.take_settled(), became, "somebody wants to know");
    }

    fn term(number: u64) -> Term {
        Term { number, found: "".into(), cleared: u64::MAX >> 1 }
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_says_no_more_than_its_successor_would_know_of() {
        let (lease, turn) = watch::channel(Some(Term { cleared: 0, ..term(1) }));
        let queue = Queue::new(100, Arc::default(), Some(turn));
        queue.turn_to(Some(1));
        emit(&queue);
        let collector = Collector::default();
        let sender = tokio::spawn(queue.clone().send(collector.clone()));
        for cleared in [0, 2, 2, 3] {
            lease.send_replace(Some(Term { cleared, ..term(1) }));
            tokio::time::sleep(LONGEST_WAIT).await;
            assert_eq!(collector.taken.lock().unwrap().len() as u64, cleared);
        }
        // In the next term the numbers begin anew.
        lease.send_replace(Some(Term { cleared: 0, ..term(2) }));
        queue.turn_to(Some(2));
        emit(&queue);
        lease.send_replace(Some(Term { cleared: 1, ..term(2) }));
        tokio::time::sleep(LONGEST_WAIT).await;
        sender.abort();
        assert_eq!(*collector.taken.lock().unwrap(), ["a", "b", "c", "a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_leads_no_more_says_nothing_more_and_who_leads_knows_what_became_of_its_words() {
        let figures = Arc::new(OtlpFigures::default());
        let (elected, turn) = watch::channel(Some(term(1)));
        let queue = Queue::new(4, Arc::clone(&figures), Some(turn));
        queue.turn_to(Some(1));
        emit(&queue);
        let collector = Collector { away_for: 3, ..Collector::default() };
        let sender = tokio::spawn(queue.clone().send(collector.clone()));
        queue.drained().await;
        let became = [Settled { count: 1, taken: false }, Settled { count: 4, taken: true }];
        assert_eq!(queue.take_settled(), became);
        emit(&queue);
        elected.send_replace(None);
        tokio::time::sleep(LONGEST_WAIT).await;
        // Neither what was queued before it was noticed, nor what is queued after.
        emit(&queue);
        tokio::time::sleep(LONGEST_WAIT).await;
        queue.turn_to(None);
        elected.send_replace(Some(term(2)));
        queue.turn_to(Some(2));
        assert_eq!(collector.taken.lock().unwrap().len(), 4);
        emit(&queue);
        queue.settled().await;
        queue.drained().await;
        assert_eq!(queue.take_settled(), became);
        sender.abort();
        assert_eq!(*collector.taken.lock().unwrap(), ["b", "c", "d", "e", "b", "c", "d", "e"]);
    }

    #[tokio::test(start_paused = true)]
    async fn events_that_are_refused_for_good_are_dropped_and_counted() {
        let figures = Arc::new(OtlpFigures::default());
        let queue = Queue::new(100, Arc::clone(&figures), None);
        emit(&queue);
        let collector = Collector { away_for: 1, refuses: true, ..Collector::default() };
        let sender = tokio::spawn(queue.clone().send(collector));
        queue.drained().await;
        sender.abort();
        assert_eq!(figures.dropped.load(Ordering::Relaxed), 5);
    }
}
