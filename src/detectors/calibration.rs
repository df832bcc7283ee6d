//! Do p-values keep what they promise? Of all tests of series that nothing is told of, at most p may have a p-value of
//! at most p.
//!
//! Counts decay with a half-life of a day. What is told of is left out: what it is made of is no null hypothesis.

use serde::{Deserialize, Serialize};

use crate::model::record::Time;
use crate::model::report::{NOMINAL, Rarities};

const HALF_LIFE: f64 = 86_400.0;

/// Where fewer than this are promised, nothing can be said.
const PROMISED: f64 = 5.0;

/// How many tests there were of late, and how many of them were rare.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Calibration {
    at: i64,
    tests: f64,
    at_most: [f64; NOMINAL.len()],
}

impl Calibration {
    /// Takes the tests of a tick in.
    pub(super) fn take(&mut self, tick: &Rarities, now: Time) {
        let now = now.as_second();
        let kept = (-((now - self.at).max(0) as f64) / HALF_LIFE).exp2();
        self.at = now;
        self.tests = self.tests * kept + tick.tests as f64;
        for (sum, new) in self.at_most.iter_mut().zip(tick.at_most) {
            *sum = *sum * kept + new as f64;
        }
    }

    /// How many times as many as promised were at most each of [`NOMINAL`]; `None` where too few were promised to say.
    pub(super) fn ratios(&self) -> [Option<f64>; NOMINAL.len()] {
        std::array::from_fn(|place| {
            let promised = self.tests * NOMINAL[place];
            (promised >= PROMISED).then(|| self.at_most[place] / promised)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Time {
        Time::from_second(1_800_000_000 + seconds).unwrap()
    }

    #[test]
    fn what_comes_as_often_as_promised_gives_one_and_the_past_fades() {
        let mut calibration = Calibration::default();
        assert_eq!(calibration.ratios(), [None; 4]);
        for tick in 0..1000 {
            let rare = Rarities { tests: 1000, at_most: [10, u64::from(tick % 2 == 0), 0, 0] };
            calibration.take(&rare, at(tick * 15));
        }
        let [often, seldom, never, unknown] = calibration.ratios();
        assert!((often.unwrap() - 1.0).abs() < 1e-9);
        assert!((seldom.unwrap() - 0.5).abs() < 0.01);
        assert_eq!((never, unknown), (Some(0.0), Some(0.0)));
        // A week later the same number of tests, of which ten times as many are rare.
        let rare = Rarities { tests: 1_000_000, at_most: [100_000, 0, 0, 0] };
        calibration.take(&rare, at(8 * 86_400));
        let often = calibration.ratios()[0].unwrap();
        assert!((9.8..10.0).contains(&often), "{often}");
    }

    #[test]
    fn a_clock_that_goes_back_forgets_nothing() {
        let mut calibration = Calibration::default();
        let rare = Rarities { tests: 1000, at_most: [10, 0, 0, 0] };
        calibration.take(&rare, at(900));
        calibration.take(&rare, at(0));
        assert_eq!(calibration.ratios()[0], Some(1.0));
    }
}
