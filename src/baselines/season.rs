//! What is usual of a level or a count at this hour? How far it is from its median or mean, by the hour of the day, on
//! weekdays and at weekends.
//!
//! The profile is about its own mean: what is far from the median at all hours alike has a trend and no season.
//!
//! An hour's mean is learned when the hour is over, so a minute says no more in it than another. Of each hour the mean
//! over days is kept: of the first seven all alike, then with a weight of [`LEARNS`] for the newest. Once two weeks have
//! been seen, what each day of the week is above that or below is added, if that predicts better. The profile is used
//! only while it predicts the next hour's mean better than no profile does, by [`BETTER`] over about the last day.
//!
//! It is wrong on holidays, for what comes by the day of the month, and for hours of the week that are not their day's
//! level and their hour's together.

use serde::{Deserialize, Serialize};

use super::gauge::season::{BINS, Place};

/// The least weight of a new day in its hour's mean.
const LEARNS: f32 = 0.15;

/// The weight of an hour's error in the mean error.
const ERRORS: f32 = 1.0 / 24.0;

/// How many times smaller the error must be.
const BETTER: f32 = 1.25;

/// So many hours must have been predicted before the profile is used, and the days of the week.
const PROVEN: u8 = 24;
const TWO_WEEKS: u16 = 14 * 24;

/// Deviations by hour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Profile {
    means: [[f32; BINS]; 2],
    days: [[u8; BINS]; 2],
    /// The hour that goes on: which, and the sum of its deviations.
    hour: (u8, u8),
    day: u8,
    sum: f32,
    count: u32,
    /// The mean of the profile, over the hours that were seen.
    mean: f32,
    /// Mean errors with the profile and without.
    with: f32,
    without: f32,
    predicted: u8,
    week: Week,
}

/// What the days of the week are above their hours, or below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Week {
    levels: [f32; 7],
    with: f32,
    without: f32,
    hours: u16,
}

impl Week {
    /// The weight of an hour in its day's level: of the first three weeks all count alike.
    const LEARNS: f32 = 1.0 / 72.0;

    /// Takes in how far an hour was from what hours alone predict.
    fn learn(&mut self, day: u8, residual: f32) {
        let Some(level) = self.levels.get_mut(usize::from(day)) else { return };
        let rate = (1.0 / 168.0_f32).max(1.0 / (f32::from(self.hours) + 1.0));
        self.with += rate * ((residual - *level).abs() - self.with);
        self.without += rate * (residual.abs() - self.without);
        *level += Self::LEARNS.max(7.0 / (f32::from(self.hours) + 7.0)) * (residual - *level);
        self.hours = self.hours.saturating_add(1);
    }

    /// The day's level; 0 while days do not predict better.
    fn of(&self, day: usize) -> f32 {
        let used = self.hours >= TWO_WEEKS && self.with * BETTER < self.without;
        if used { self.levels.get(day).copied().unwrap_or_default() } else { 0.0 }
    }
}

impl Profile {
    pub(super) const fn new() -> Self {
        Self {
            means: [[0.0; BINS]; 2],
            days: [[0; BINS]; 2],
            hour: (0, 0),
            day: 0,
            sum: 0.0,
            count: 0,
            mean: 0.0,
            with: 0.0,
            without: 0.0,
            predicted: 0,
            week: Week { levels: [0.0; 7], with: 0.0, without: 0.0, hours: 0 },
        }
    }

    /// Takes in how far the value is from the median.
    pub(super) fn learn(&mut self, at: Place, deviation: f64) {
        let hour = (at.table as u8, at.bin as u8);
        if hour != self.hour {
            self.end_hour();
            (self.hour, self.day) = (hour, at.day as u8);
        }
        let deviation = deviation as f32;
        if deviation.is_finite() {
            self.sum += deviation;
            self.count = self.count.saturating_add(1);
        }
    }

    fn end_hour(&mut self) {
        let (count, sum) = (self.count as f32, self.sum);
        (self.count, self.sum) = (0, 0.0);
        if count == 0.0 {
            return;
        }
        let (mean, (table, bin)) = (sum / count, (self.hour.0.into(), self.hour.1.into()));
        let of_day = self.week.of(self.day.into());
        if let Some(known) = self.known(table, bin) {
            self.week.learn(self.day, mean - known);
            let known = known + of_day;
            let rate = ERRORS.max(1.0 / (f32::from(self.predicted) + 1.0));
            self.with += rate * ((mean - known).abs() - self.with);
            self.without += rate * ((mean - self.mean).abs() - self.without);
            self.predicted = self.predicted.saturating_add(1);
        }
        let days = &mut self.days[table][bin];
        *days = days.saturating_add(1);
        let rate = LEARNS.max(1.0 / f32::from(*days));
        self.means[table][bin] += rate * (mean - of_day - self.means[table][bin]);
        let all = self.means.iter().flatten().zip(self.days.iter().flatten());
        let seen = all.filter(|(_, days)| **days > 0);
        let (sum, count) = seen.fold((0.0, 0.0), |(sum, n), (mean, _)| (sum + mean, n + 1.0));
        self.mean = sum / count;
    }

    /// The mean of an hour; of one that was never seen, that of the other table.
    fn known(&self, table: usize, bin: usize) -> Option<f32> {
        let seen = |table: &usize| self.days[*table][bin] > 0;
        [table, 1 - table].into_iter().find(seen).map(|table| self.means[table][bin])
    }

    /// Whether the profile predicts better than nothing does, where nothing is wrong by more than `least`.
    pub(super) fn is_used(&self, least: f64) -> bool {
        let proven = self.predicted >= PROVEN && self.with * BETTER < self.without;
        proven && f64::from(self.without) > least
    }

    /// The variance of the hours' usual deviations.
    pub(super) fn variance(&self) -> f64 {
        let all = self.means.iter().flatten().zip(self.days.iter().flatten());
        let seen = all.filter(|(_, days)| **days > 0);
        let square = |mean: f32| f64::from(mean - self.mean).powi(2);
        let (sum, count) =
            seen.fold((0.0, 0.0), |(sum, n), (mean, _)| (sum + square(*mean), n + 1.0));
        if count > 0.0 { sum / count } else { 0.0 }
    }

    /// How far the level usually is from its mean at this time, on a straight line between the middles of two hours; 0
    /// while no profile is proven.
    pub(super) fn at(&self, place: Place) -> f64 {
        if !self.is_used(0.0) {
            return 0.0;
        }
        let of = |bin| f64::from(self.known(place.table, bin).unwrap_or(self.mean) - self.mean);
        let of_day = f64::from(self.week.of(place.day));
        (1.0 - place.share) * of(place.bin) + place.share * of(place.beside) + of_day
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600;

    /// Days of quarter hours since a Monday, at which the deviation is as the hour says.
    fn lived(days: i64, deviation: impl Fn(i64) -> f64) -> Profile {
        let mut profile = Profile::new();
        for quarter in 0..days * 96 {
            let second = 4 * 86_400 + quarter * 900;
            profile.learn(Place::of(second as f64), deviation(second / HOUR));
        }
        profile
    }

    fn noise(hour: i64) -> f64 {
        let mixed = (hour as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 40) as f64 / f64::from(1_u32 << 23) - 1.0
    }

    #[test]
    fn a_season_is_used_once_it_has_predicted_a_day() {
        let of_day = |hour: i64| if (8..18).contains(&(hour % 24)) { 5.0 } else { -5.0 };
        for (days, used) in [(1, false), (2, false), (3, true), (5, true)] {
            assert_eq!(lived(days, of_day).is_used(1.0), used, "{days} days");
        }
        let profile = lived(5, of_day);
        assert!(!profile.is_used(5.5), "it is too small to matter");
        let at = |hour: f64| profile.at(Place::of((4.0 * 24.0 + hour) * 3600.0));
        let (day, night) = (at(12.5), at(3.5));
        assert!((day - night - 10.0).abs() < 0.1 && day > 4.0, "{day} {night}");
        assert!((at(18.0) - f64::midpoint(day, night)).abs() < 0.1, "between both");
    }

    #[test]
    fn noise_is_no_season() {
        assert!(!lived(14, noise).is_used(0.0));
    }

    #[test]
    fn a_trend_is_no_season() {
        assert!(!lived(14, |_| 3.0).is_used(0.0));
        assert!(!lived(14, |hour| 3.0 + noise(hour)).is_used(0.0));
    }

    #[test]
    fn a_day_of_the_week_counts_once_two_weeks_have_been_seen() {
        let mondays = |hour: i64| {
            let monday = (hour / 24 + 4) % 7 == 1;
            if monday { 5.0 } else { noise(hour) / 5.0 }
        };
        let noon =
            |profile: &Profile, day: i64| profile.at(Place::of((day * 24 + 12) as f64 * 3600.0));
        let (young, old) = (lived(13, mondays), lived(42, mondays));
        assert_eq!(young.week.of(1), 0.0);
        assert!(old.is_used(0.0));
        // Day 4 is a Monday.
        let (monday, tuesday) = (noon(&old, 4), noon(&old, 5));
        assert!(monday - tuesday > 4.0, "{monday} {tuesday} {:?}", old.week);
    }

    #[test]
    fn the_hour_is_that_of_the_zone_in_summer_as_in_winter() {
        let zone = jiff::tz::TimeZone::get("Europe/Berlin").unwrap();
        let bin = |utc: &str| {
            let second = utc.parse::<jiff::Timestamp>().unwrap().as_second();
            super::super::Moment { zone: &zone, ..super::super::Moment::of(0, 0, 1, 1) }
                .place(second)
                .bin
        };
        assert_eq!((bin("2026-01-15T08:30:00Z"), bin("2026-07-15T07:30:00Z")), (9, 9));
    }

    #[test]
    fn a_season_that_ends_is_given_up() {
        let profile = lived(20, |hour| match hour {
            0..240 if hour % 24 < 12 => 5.0,
            0..240 => -5.0,
            _ => noise(hour) / 10.0,
        });
        assert!(!profile.is_used(0.0), "{} {}", profile.with, profile.without);
    }

    #[test]
    fn whatever_is_learned_it_stays_a_number() {
        let mut profile = Profile::new();
        for (nth, value) in [f64::MAX, f64::NAN, f64::INFINITY, -1e30, 0.0]
            .into_iter()
            .cycle()
            .take(9_000)
            .enumerate()
        {
            profile.learn(Place::of(nth as f64 * 900.0), value);
            assert!(profile.at(Place::of(nth as f64 * 900.0)).is_finite());
        }
    }
}
