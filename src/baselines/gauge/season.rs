//! What is usual at this time of the day? A profile of 24 bins, one for weekdays and one for weekends.

use serde::{Deserialize, Serialize};

/// Bins of the day.
pub(in crate::baselines) const BINS: usize = 24;
const DAY: f64 = 86_400.0;

/// The least share of a new sample in its bin's mean.
const LEARNS: f64 = 0.05;

/// Deviations from the level by time of day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Season {
    profile: [[f64; BINS]; 2],
    /// Saturates: beyond 1 / [`LEARNS`] more visits make no difference.
    visits: [[u8; BINS]; 2],
}

/// A time as the profile sees it: between the centres of two bins.
#[derive(Clone, Copy, Debug)]
pub(in crate::baselines) struct Place {
    /// Of the week; 0 is Sunday.
    pub(in crate::baselines) day: usize,
    pub(in crate::baselines) table: usize,
    pub(in crate::baselines) bin: usize,
    pub(in crate::baselines) beside: usize,
    /// Share of the bin beside, in [0, 0.5].
    pub(in crate::baselines) share: f64,
}

impl Place {
    /// Where a time is, in seconds since the epoch, as clocks show it that know no summer time.
    pub(in crate::baselines) fn of(time: f64) -> Self {
        let day = (time / DAY).floor();
        // The epoch was a Thursday; 0 is Sunday here.
        let weekday = (day + 4.0).rem_euclid(7.0);
        let position = (time / DAY - day) * BINS as f64;
        let bin = position as usize % BINS;
        let within = position.fract();
        let (beside, share) = match within < 0.5 {
            true => ((bin + BINS - 1) % BINS, 0.5 - within),
            false => ((bin + 1) % BINS, within - 0.5),
        };
        let table = usize::from(!(1.0..6.0).contains(&weekday));
        Self { day: weekday as usize, table, bin, beside, share }
    }
}

impl Season {
    pub(super) const fn new() -> Self {
        Self { profile: [[0.0; BINS]; 2], visits: [[0; BINS]; 2] }
    }

    /// The usual deviation at this time; 0 where nothing is known of it.
    pub(super) fn expected(&self, at: Place) -> f64 {
        (1.0 - at.share) * self.bin(at.table, at.bin) + at.share * self.bin(at.table, at.beside)
    }

    /// A bin that was never visited is taken from the other table.
    fn bin(&self, table: usize, bin: usize) -> f64 {
        let table = if self.visits[table][bin] > 0 { table } else { 1 - table };
        self.profile[table][bin]
    }

    pub(super) fn learn(&mut self, at: Place, deviation: f64) {
        let visits = &mut self.visits[at.table][at.bin];
        *visits = visits.saturating_add(1);
        let rate = LEARNS.max(1.0 / f64::from(*visits));
        let mean = &mut self.profile[at.table][at.bin];
        *mean += rate * (deviation - *mean);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MONDAY: f64 = 4.0 * DAY;

    #[test]
    fn between_two_centres_the_profile_is_a_straight_line() {
        let mut season = Season::new();
        for (hour, deviation) in [(9.0, 2.0), (10.0, 4.0)] {
            season.learn(Place::of(MONDAY + (hour + 0.2) * 3600.0), deviation);
        }
        let at = |hour: f64| season.expected(Place::of(MONDAY + hour * 3600.0));
        for (hour, expected) in [(9.5, 2.0), (10.0, 3.0), (10.25, 3.5), (10.5, 4.0)] {
            assert!((at(hour) - expected).abs() < 1e-9, "{hour}: {}", at(hour));
        }
    }

    #[test]
    fn what_a_weekend_has_not_shown_yet_is_taken_from_weekdays() {
        let mut season = Season::new();
        let noon = |day: f64| Place::of(MONDAY + day * DAY + 12.5 * 3600.0);
        season.learn(noon(0.0), 5.0);
        let is = |season: &Season, day: f64, expected: f64| {
            assert!((season.expected(noon(day)) - expected).abs() < 1e-4, "day {day}");
        };
        is(&season, 5.0, 5.0);
        season.learn(noon(5.0), 1.0);
        is(&season, 6.0, 1.0);
        is(&season, 4.0, 5.0);
    }

    #[test]
    fn every_time_has_a_place() {
        for time in [-1e18, -1.0, 0.0, DAY - 1e-9, 1e18] {
            let place = Place::of(time);
            assert!(place.bin < BINS && place.beside < BINS, "{place:?}");
            assert!((0.0..=0.5).contains(&place.share), "{place:?}");
        }
    }
}
