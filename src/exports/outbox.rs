//! What is to be told though the daemon is killed? Each event, from before it is sent until a collector has taken it.
//!
//! It is saved with the state that it follows from, and sent after that: what the state knows is told, or still in here.

use std::collections::VecDeque;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::speaker::Saying;
use crate::model::record::Time;
use crate::model::report::Notice;

/// For how long events wait for a first full view: before that no state is saved.
const PATIENCE: SignedDuration = SignedDuration::from_mins(1);

/// Events that wait, with the number of the first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outbox {
    first: u64,
    waiting: VecDeque<Notice>,
    /// How many of them were handed out to be sent.
    #[serde(skip)]
    handed: usize,
    /// Since when there are some that were not.
    #[serde(skip)]
    held_since: Option<Time>,
}

impl Outbox {
    /// Goes on where all before this number were told.
    #[must_use]
    pub fn resume(mut self, told: u64) -> Self {
        let count = told.saturating_sub(self.first).min(self.waiting.len() as u64);
        self.waiting.drain(..count as usize);
        self.first = told.max(self.first);
        self
    }

    /// Takes in what is to be told. Says whether there is something that was not handed out yet.
    pub fn take_in(&mut self, notices: &[Notice], now: Time) -> bool {
        self.waiting.extend(notices.iter().cloned());
        let holds = self.waiting.len() > self.handed;
        if holds {
            self.held_since.get_or_insert(now);
        }
        holds
    }

    /// Gives what was not handed out yet, once it is `saved`, or can't be for long.
    pub fn hand_out(&mut self, saved: bool, now: Time) -> Vec<Saying> {
        let long = |since: Time| now.duration_since(since) >= PATIENCE;
        if !saved && !self.held_since.is_some_and(long) {
            return Vec::new();
        }
        self.held_since = None;
        let new = self.waiting.iter().skip(self.handed).cloned().map(Saying::Notice).collect();
        self.handed = self.waiting.len();
        new
    }

    /// Forgets the next so many, which were taken or dropped. Gives the number of the first that is left.
    pub fn settle(&mut self, count: usize) -> u64 {
        let count = count.min(self.handed);
        self.waiting.drain(..count);
        self.handed -= count;
        self.first += count as u64;
        self.first
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::finding::{Finding, Severity};
    use crate::model::layer::Layer;
    use crate::model::reading::Labels;
    use crate::model::subject::Subject;

    fn at(second: i64) -> Time {
        Time::from_second(second).unwrap()
    }

    fn opened(ids: &[&str]) -> Vec<Notice> {
        let opened = |id: &&str| {
            Notice::FindingOpened(Finding {
                id: (*id).to_owned(),
                layer: Layer::Compute,
                signal: "compute_test".into(),
                subject: Subject::cluster(),
                severity: Severity::Warning,
                since: at(0),
                reason: "broken".into(),
                message: "it is broken".to_owned(),
                labels: Labels::default(),
            })
        };
        ids.iter().map(opened).collect()
    }

    fn ids(sayings: &[Saying]) -> Vec<&str> {
        let id = |saying| match saying {
            &Saying::Notice(Notice::FindingOpened(ref finding)) => finding.id.as_str(),
            other => panic!("{other:?}"),
        };
        sayings.iter().map(id).collect()
    }

    /// As it is after a crash: what was saved, and up to which number it was noted as told.
    fn crashed(saved: &Outbox, told: u64) -> Outbox {
        let bytes = postcard::to_allocvec(saved).unwrap();
        postcard::from_bytes::<Outbox>(&bytes).unwrap().resume(told)
    }

    #[test]
    fn what_was_saved_and_not_taken_is_told_after_a_crash_and_nothing_else() {
        let mut outbox = Outbox::default();
        assert!(outbox.take_in(&opened(&["a", "b", "c"]), at(0)));
        let saved = outbox.clone();
        assert_eq!(ids(&outbox.hand_out(true, at(0))), ["a", "b", "c"]);
        assert!(!outbox.take_in(&opened(&[]), at(1)));
        assert_eq!(ids(&outbox.hand_out(true, at(1))), [""; 0]);
        assert_eq!(outbox.settle(2), 2);
        let mut next = crashed(&saved, 2);
        assert!(next.take_in(&opened(&["d"]), at(2)));
        assert_eq!(ids(&next.hand_out(true, at(2))), ["c", "d"]);
        assert_eq!(next.settle(9), 4);
        // Its numbers go on, though nothing of it is left.
        assert_eq!(crashed(&Outbox::default(), 4).settle(0), 4);
        assert!(!crashed(&saved, 4).take_in(&opened(&[]), at(3)));
    }

    #[test]
    fn what_can_not_be_saved_is_told_all_the_same_after_a_while() {
        let mut outbox = Outbox::default();
        for second in [0, 59] {
            assert!(outbox.take_in(&opened(&[["a", "b"][usize::from(second > 0)]]), at(second)));
            assert_eq!(ids(&outbox.hand_out(false, at(second))), [""; 0]);
        }
        assert_eq!(ids(&outbox.hand_out(false, at(60))), ["a", "b"]);
        assert_eq!(ids(&outbox.hand_out(false, at(200))), [""; 0]);
        assert_eq!(outbox.settle(2), 2);
    }
}
