//! What does the API server remember from one request to the next?

use std::collections::BTreeMap;

use super::metrics::Requests;
use super::trouble::Troubles;
use crate::sim::kind::Kind;
use crate::sim::moment::{MINUTE, Moment};
use crate::sim::pulse::{Ear, Pulse};

/// How often etcd is told to forget, as by the real server: everything before the last time.
const FORGET_EVERY: Moment = 5 * MINUTE;

/// What the API servers of the cluster remember. They share everything but their troubles.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    troubles: BTreeMap<usize, Troubles>,
    /// Which of them answers: whoever has the lock.
    answering: usize,
    pub(super) requests: Requests,
    /// How many watches are open.
    pub(super) watches: u64,
    /// When the past was last forgotten, and the version then.
    marked: Option<(Moment, u64)>,
    compacted: u64,
    written: Pulse,
    /// When a watch of each kind has something to say whether anything changes or not.
    due: BTreeMap<Kind, Moment>,
}

impl Memory {
    /// The oldest version that can still be listed, now that the newest one is `version`.
    pub(super) fn compacted(&mut self, now: Moment, version: u64) -> u64 {
        match self.marked {
            Some((at, before)) if now - at >= FORGET_EVERY => {
                let once = now - at < 2 * FORGET_EVERY;
                self.compacted = if once { before } else { version };
                self.marked = Some((now, version));
            }
            Some(_) => {}
            None => self.marked = Some((now, version)),
        }
        self.compacted
    }

    /// Says which API server answers from here on.
    pub(super) fn answer_as(&mut self, server: usize) {
        self.answering = server;
    }

    /// The troubles of the API server that answers.
    pub(super) fn troubles(&mut self) -> &mut Troubles {
        self.troubles.entry(self.answering).or_default()
    }

    /// Wakes watches: something was written by a client.
    pub(super) fn wake(&self) {
        self.written.beat();
    }

    /// Wakes watches of a kind once at this moment, or before.
    pub(super) fn wake_at(&mut self, kind: Kind, at: Moment) {
        self.due.entry(kind).and_modify(|due| *due = at.min(*due)).or_insert(at);
    }

    /// Takes the kinds whose watches are to be woken by now.
    pub(crate) fn take_due(&mut self, now: Moment) -> Vec<Kind> {
        self.due.extract_if(.., |_, at| *at <= now).map(|(kind, _)| kind).collect()
    }

    /// Hears of writes by clients.
    pub(super) fn writes(&self) -> Ear {
        self.written.ear()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_past_can_be_listed_for_five_to_ten_minutes() {
        let mut memory = Memory::default();
        assert_eq!(memory.compacted(0, 10), 0);
        assert_eq!(memory.compacted(4 * MINUTE, 20), 0);
        assert_eq!(memory.compacted(5 * MINUTE, 30), 10);
        assert_eq!(memory.compacted(9 * MINUTE, 40), 10);
        assert_eq!(memory.compacted(10 * MINUTE, 50), 30);
        assert_eq!(memory.compacted(30 * MINUTE, 60), 60);
    }
}
