//! How often does something so rare really come? One scale for all families: the p-values of their models, as far as the
//! cluster bears them out.
//!
//! Of each family it is counted how many tests there were of late, and how many of them had a p-value at or below each
//! half power of ten. A test is a series at a tick at which it was not quiet; tests at which something is told, or was
//! within the hour, are left out. Where o of n tests were so rare, the tail is max(o, min(u, n p)) / n: with few tests p
//! itself, with many what was seen. What was not seen may have come u times, in ln 2 times ten minutes of one series, for a
//! series that is off is off for a window: that is the median of the rate of such windows where none came. Beyond the rarest
//! level it is taken to fall no faster than p^¾, for real tails are heavier than models'.
//!
//! It is wrong where series depend on each other: ten that are off together count as ten.

use serde::{Deserialize, Serialize};

use crate::model::record::Time;
use crate::model::signal::{FAMILIES, Family};

/// Levels 10^-1½, 10^-2 … 10^-8.
const LEVELS: usize = 14;

/// Above this p-values are not looked at.
const LOOKED_AT: f64 = 0.05;

/// What was not seen may have come for so many hours of a series: ln 2 windows of ten minutes.
const UNSEEN: f64 = std::f64::consts::LN_2 / 6.0;

/// How slowly the tail may fall beyond the rarest level that was seen.
const SLOPE: f64 = 0.75;

/// In seconds.
const HALF_LIFE: f64 = 7.0 * 86_400.0;

/// The tests of late, by family.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Scale {
    at: i64,
    ticks_an_hour: f64,
    tails: [Tail; FAMILIES],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Tail {
    tests: f64,
    at_most: [f64; LEVELS],
}

fn level(place: usize) -> f64 {
    10_f64.powf(-0.5 * (place as f64 + 3.0))
}

impl Scale {
    /// Takes in a tick: how many tests of each family there were, and the p-values of those that were rare at all.
    pub(super) fn take(
        &mut self,
        (tests, ticks_an_hour): ([u64; FAMILIES], f64),
        rare: impl Iterator<Item = (Family, f64)>,
        now: Time,
    ) {
        let now = now.as_second();
        let kept = (-((now - self.at).max(0) as f64) / HALF_LIFE).exp2();
        (self.at, self.ticks_an_hour) = (now, ticks_an_hour);
        for (tail, tests) in self.tails.iter_mut().zip(tests) {
            tail.tests = tail.tests * kept + tests as f64;
            tail.at_most.iter_mut().for_each(|count| *count *= kept);
        }
        for (family, p_value) in rare {
            let tail = &mut self.tails[family as usize];
            let reached = (0..LEVELS).take_while(|place| p_value <= level(*place)).count();
            tail.at_most.iter_mut().take(reached).for_each(|count| *count += 1.0);
        }
    }

    /// How often a p-value at or below this comes, in (0, 1].
    pub(super) fn of(&self, family: Family, p_value: f64) -> f64 {
        let tail = &self.tails[family as usize];
        let p_value = p_value.clamp(f64::MIN_POSITIVE, 1.0);
        if tail.tests < 1.0 {
            return p_value;
        }
        let unseen = (UNSEEN * self.ticks_an_hour).min(tail.tests * p_value);
        let share = tail.count(p_value).max(unseen) / tail.tests;
        if p_value < LOOKED_AT { share } else { share.max(p_value) }.clamp(f64::MIN_POSITIVE, 1.0)
    }
}

impl Tail {
    /// How many tests were at least so rare, on a straight line between two levels' logarithms.
    fn count(&self, p_value: f64) -> f64 {
        let position = -2.0 * p_value.log10() - 3.0;
        let count = |place: usize| self.at_most[place.min(LEVELS - 1)];
        if position <= 0.0 {
            let begin = -2.0 * LOOKED_AT.log10() - 3.0;
            let share = ((position - begin) / -begin).clamp(0.0, 1.0);
            let most = count(0).max(LOOKED_AT * self.tests);
            return most + (count(0) - most) * share;
        }
        let Some(rarest) = self.at_most.iter().rposition(|count| *count > 0.0) else { return 0.0 };
        let (place, share) = (position.floor() as usize, position.fract());
        if place >= rarest {
            return count(rarest) * (p_value / level(rarest)).powf(SLOPE);
        }
        count(place) + (count(place + 1) - count(place)) * share
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LEVEL: Family = Family::Level;

    fn at(second: i64) -> Time {
        Time::from_second(1_800_000_000 + second).unwrap()
    }

    /// So many ticks of a thousand tests each, with these p-values among them.
    fn seen(ticks: i64, rare: impl Fn(i64) -> Vec<f64>) -> Scale {
        let mut scale = Scale::default();
        for tick in 0..ticks {
            let rare = rare(tick).into_iter().map(|p| (LEVEL, p));
            scale.take(([1_000, 0, 0, 0], 240.0), rare, at(tick * 15));
        }
        scale
    }

    #[test]
    fn without_tests_a_p_value_is_what_it_says() {
        for p in [1.0, 0.3, 1e-4, 1e-300] {
            assert_eq!(Scale::default().of(LEVEL, p), p);
        }
    }

    #[test]
    fn what_is_seen_less_often_than_promised_is_rarer_and_what_is_seen_more_often_is_not() {
        let promised = seen(1_000, |tick| if tick % 10 == 0 { vec![1e-4] } else { vec![] });
        assert!((promised.of(LEVEL, 1e-4) / 1e-4 - 1.0).abs() < 0.1);
        let seldom = seen(10_000, |_| vec![]);
        assert!((2e-6..4e-6).contains(&seldom.of(LEVEL, 1e-2)));
        let often = seen(10_000, |tick| if tick % 100 == 0 { vec![1e-7] } else { vec![] });
        assert!((9e-6..2e-5).contains(&often.of(LEVEL, 1e-7)), "{}", often.of(LEVEL, 1e-7));
        assert!(often.of(LEVEL, 1e-12) > 1e-10, "its tail is heavier");
        assert_eq!(often.of(Family::Count, 1e-7), 1e-7, "families are apart");
    }

    #[test]
    fn what_was_is_forgotten() {
        let mut scale = seen(1_000, |_| vec![1e-6; 10]);
        let before = scale.of(LEVEL, 1e-6);
        for tick in 0..1_000 {
            scale.take(([1_000, 0, 0, 0], 240.0), std::iter::empty(), at(60 * 86_400 + tick * 15));
        }
        assert!(scale.of(LEVEL, 1e-6) < before / 10.0);
    }

    proptest! {
        #[test]
        fn it_is_a_probability_and_keeps_the_order(
            rare in prop::collection::vec(0.0..0.1_f64, 0..50), ticks in 0..50_i64,
            p in 1e-20..1.0_f64, less in 0.0..1.0_f64,
        ) {
            let scale = seen(ticks, |_| rare.clone());
            let (one, rarer) = (scale.of(LEVEL, p), scale.of(LEVEL, p * less));
            prop_assert!(one > 0.0 && one <= 1.0);
            prop_assert!(rarer <= one * (1.0 + 1e-9), "{} {}", rarer, one);
        }
    }
}
