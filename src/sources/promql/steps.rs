//! At which times is a range query evaluated, and how is it cut into what a Prometheus answers at once?

use std::ops::Range;
use std::time::Duration;

use jiff::Timestamp;
use thiserror::Error;

/// Prometheus refuses more than 11,000 steps at once.
const AT_ONCE: usize = 10_000;

/// Samples that are held at most, of all series together.
pub(super) const MOST: usize = 3_000_000;

/// Times a step apart: the whole multiples of the step since the epoch within a range, so that each asking asks for
/// the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// Milliseconds since the epoch, as Prometheus counts.
    first: i64,
    step: i64,
    count: usize,
}

/// Why a range can't be asked for.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum StepsError {
    /// It ends before it begins.
    #[error("the end, {end}, is not after the start, {start}")]
    Backwards {
        /// When it begins.
        start: Timestamp,
        /// When it ends.
        end: Timestamp,
    },
    /// It is shorter than its step.
    #[error("no whole step lies between the start, {start}, and the end, {end}")]
    None {
        /// When it begins.
        start: Timestamp,
        /// When it ends.
        end: Timestamp,
    },
    /// It is more than can be held.
    #[error("{0} steps are more than {MOST}: a longer step or a shorter range has fewer")]
    Many(i64),
}

impl Steps {
    /// The steps from `start` to `end`, both included where they are one.
    pub fn between(start: Timestamp, end: Timestamp, step: Duration) -> Result<Self, StepsError> {
        if end <= start {
            return Err(StepsError::Backwards { start, end });
        }
        let step = i64::try_from(step.as_millis()).unwrap_or(i64::MAX).max(1);
        let (from, until) = (start.as_millisecond(), end.as_millisecond());
        // In steps since the epoch: the first at or after the start, the last at or before the end.
        let first = from.div_euclid(step) + i64::from(from.rem_euclid(step) > 0);
        let count = until.div_euclid(step) - first + 1;
        match usize::try_from(count) {
            Ok(0) | Err(_) => Err(StepsError::None { start, end }),
            Ok(some) if some > MOST => Err(StepsError::Many(count)),
            Ok(count) => Ok(Self { first: first * step, step, count }),
        }
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// When a step is, in seconds since the epoch.
    #[must_use]
    pub fn time(&self, place: usize) -> f64 {
        (self.first + place as i64 * self.step) as f64 / 1000.0
    }

    /// How far apart they are, in seconds.
    pub(super) fn seconds(&self) -> f64 {
        self.step as f64 / 1000.0
    }

    /// Which step is at this time, in seconds since the epoch; `None` where none is.
    pub(super) fn place(&self, time: f64) -> Option<usize> {
        let millis = (time * 1000.0).round();
        let since = (millis.abs() < 1e18).then_some(millis as i64)? - self.first;
        let place = usize::try_from(since / self.step).ok().filter(|_| since % self.step == 0)?;
        (since >= 0 && place < self.count).then_some(place)
    }

    /// The parts that are asked for one after the other, as places of steps.
    pub(super) fn chunks(&self) -> impl ExactSizeIterator<Item = Range<usize>> {
        let count = self.count;
        (0..count.div_ceil(AT_ONCE)).map(move |n| n * AT_ONCE..((n + 1) * AT_ONCE).min(count))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).expect("a time")
    }

    #[test]
    fn both_ends_are_steps_where_they_are_multiples() {
        let steps = |from, until, step| {
            let steps = Steps::between(at(from), at(until), Duration::from_millis(step))?;
            Ok((steps.first, steps.count()))
        };
        for (from, until, step, found) in [
            (60_000, 180_000, 60_000, Ok((60_000, 3))),
            (60_001, 179_999, 60_000, Ok((120_000, 1))),
            (-90_000, 30_000, 60_000, Ok((-60_000, 2))),
            (1, 2, 60_000, Err(StepsError::None { start: at(1), end: at(2) })),
            (2, 2, 1, Err(StepsError::Backwards { start: at(2), end: at(2) })),
            (0, MOST as i64 * 1000, 1000, Err(StepsError::Many(MOST as i64 + 1))),
            (0, (MOST as i64 - 1) * 1000, 1000, Ok((0, MOST))),
        ] {
            assert_eq!(steps(from, until, step), found, "{from} to {until} by {step}");
        }
    }

    proptest! {
        #[test]
        fn chunks_cover_every_step_of_the_range_once(
            from in 0_i64..4_000_000_000_000,
            step in 1_000_i64..200_000_000,
            length in 0_i64..50_000,
            more in 0_i64..200_000_000,
        ) {
            let until = from + length * step + more % step + 1;
            let steps = Steps::between(at(from), at(until), Duration::from_millis(step as u64));
            let Ok(steps) = steps else {
                prop_assert_eq!(length, 0);
                prop_assert!(from.rem_euclid(step) > 0 && until / step == from / step);
                return Ok(());
            };
            let mut next = 0;
            for chunk in steps.chunks() {
                prop_assert!(chunk.start == next && chunk.len() <= AT_ONCE && !chunk.is_empty());
                next = chunk.end;
            }
            prop_assert_eq!(next, steps.count());
            let last = steps.first + (steps.count() as i64 - 1) * step;
            prop_assert!(steps.first % step == 0 && last % step == 0);
            prop_assert!(steps.first - step < from && from <= steps.first);
            prop_assert!(last <= until && until < last + step);
            for place in [0, steps.count() / 2, steps.count() - 1] {
                prop_assert_eq!(steps.place(steps.time(place)), Some(place));
            }
            prop_assert_eq!(steps.place(steps.time(steps.count())), None);
            prop_assert_eq!(steps.place(steps.time(0) - steps.seconds()), None);
            prop_assert_eq!(steps.place(steps.time(0) + 0.5), None);
        }

        #[test]
        fn no_time_panics(time in any::<f64>()) {
            let steps = Steps::between(at(0), at(60_000), Duration::from_secs(1)).expect("steps");
            let _ = steps.place(time);
        }
    }
}
