//! Does an anomaly come and go? The more often of late, the longer its series must be calm before it closes.
//!
//! A relapse of one that is held open counts as an opening: without that hold it would have been one.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::model::record::Time;

/// Openings count for so long.
const LATELY: SignedDuration = SignedDuration::from_hours(6);

/// So many openings are no flapping: what comes back once may have been ended too early.
const STEADY: usize = 2;

/// Each further opening doubles the time, at most so often.
const DOUBLINGS: usize = 3;

/// How often an anomaly has opened of late.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Flaps {
    /// The last ones, oldest first.
    openings: Vec<Time>,
    /// How often the time doubles; it stands while the anomaly is open, as was told.
    doublings: u8,
    /// Whether the series has been calm for as long as ends an anomaly that does not flap.
    rested: bool,
}

impl Flaps {
    /// The anomaly opens.
    pub(super) fn open(&mut self, now: Time) {
        self.count(now);
        let beyond = self.openings.len().saturating_sub(STEADY).min(DOUBLINGS);
        (self.doublings, self.rested) = (u8::try_from(beyond).unwrap_or(0), false);
    }

    /// The series of an open anomaly has been calm for so long, where `after` ends one that does not flap.
    pub(super) fn calm(&mut self, lasts: SignedDuration, after: SignedDuration) {
        self.rested |= lasts >= after;
    }

    /// The series of an open anomaly is rare.
    pub(super) fn rare(&mut self, now: Time) {
        if std::mem::take(&mut self.rested) {
            self.count(now);
        }
    }

    fn count(&mut self, now: Time) {
        self.openings.retain(|at| now.duration_since(*at) < LATELY);
        self.openings.push(now);
        let excess = self.openings.len().saturating_sub(STEADY + DOUBLINGS);
        self.openings.drain(..excess);
    }

    /// Whether it opened too often of late to be believed when it is calm.
    pub(super) const fn is_flapping(&self) -> bool {
        self.doublings > 0
    }

    /// For how long the series must be calm, where `after` ends an anomaly that does not flap.
    pub(super) fn hold(&self, after: SignedDuration) -> SignedDuration {
        after.saturating_mul(1 << self.doublings.min(DOUBLINGS as u8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: SignedDuration = SignedDuration::from_mins(10);

    fn at(minute: i64) -> Time {
        Time::from_second(minute * 60).unwrap()
    }

    /// For how many minutes it must be calm after it has opened at each of these minutes.
    fn holds(openings: &[i64]) -> Vec<i64> {
        let mut flaps = Flaps::default();
        let mut hold = |minute: &i64| {
            flaps.open(at(*minute));
            flaps.hold(AFTER).as_mins()
        };
        openings.iter().map(&mut hold).collect()
    }

    #[test]
    fn the_more_often_it_opens_in_six_hours_the_longer_it_is_held() {
        let cases: [(&[i64], &[i64]); 4] = [
            (&[0, 30], &[10, 10]),
            (&[0, 30, 60, 100, 160, 200], &[10, 10, 20, 40, 80, 80]),
            (&[0, 170, 350, 530], &[10, 10, 20, 10]),
            (&[0, 300, 600, 900], &[10, 10, 10, 10]),
        ];
        for (openings, expected) in cases {
            assert_eq!(holds(openings), expected, "{openings:?}");
        }
    }

    #[test]
    fn a_relapse_counts_where_it_would_have_been_an_opening() {
        for (calm, expected) in [(9, 40), (10, 80)] {
            let mut flaps = Flaps::default();
            for minute in [0, 20, 40] {
                flaps.open(at(minute));
            }
            flaps.calm(SignedDuration::from_mins(calm), AFTER);
            flaps.rare(at(55));
            flaps.rare(at(56));
            assert_eq!(flaps.hold(AFTER).as_mins(), 20, "as was told");
            flaps.open(at(100));
            assert_eq!(flaps.hold(AFTER).as_mins(), expected, "calm for {calm} minutes");
        }
    }
}
