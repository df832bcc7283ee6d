//! How rare must a series be, so that no more is told by mistake than is accepted?
//!
//! Where all p-values are right, the accepted number a day over the number of tests a day (Bonferroni). They are not:
//! most counts are silent and can hardly surprise, some models are wrong. So episodes of rarity that nothing came of
//! are counted while nothing else is told, at several levels. Few of them allow a higher threshold, as far as a tail
//! that falls with the power [`SLOPE`] of p says; many times the promised number ask for a lower one.
//!
//! It is wrong where faults that stay below it go on all the time: then it is stricter than it need be.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::model::reading::SeriesKey;
use crate::model::record::Time;

/// Where episodes are counted. Nothing above the first is ever told.
const LEVELS: [f64; 5] = [1e-5, 1e-6, 1e-7, 1e-8, 1e-9];

/// How slowly the number of episodes may fall with p: models promise 1, their tails are heavier.
const SLOPE: f64 = 0.75;

/// Ticks within a minute are one test: what is judged are windows of ten minutes or more, or values that were confirmed.
pub(super) const TESTS_PER_DAY: f64 = 1440.0;

/// The median of the rate when none has come: ln 2 over the time.
const NONE_CAME: f64 = std::f64::consts::LN_2;

/// How many times the promised number may come, and the fewest that say something.
const TOLERATED: (f64, f64) = (3.0, 3.0);

/// In seconds: what a series does within this is one episode; what was rare so long before something was told, or so
/// long after, may be part of it; and the slots in which that waits.
const EPISODE: i64 = 1_800;
const AROUND: i64 = 3_600;
const SLOT: i64 = 600;

/// Ticks further apart than this have a gap between them, of which nothing is known.
const GAP: i64 = 600;

const HALF_LIFE: f64 = 7.0 * 86_400.0;

/// What came of late while nothing was told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Threshold {
    at: Option<i64>,
    /// Since when nothing is told.
    quiet_since: Option<i64>,
    /// Days, and how many episodes reached each level in them.
    days: f64,
    episodes: [f64; LEVELS.len()],
    /// What may yet turn out to be part of something.
    waiting: VecDeque<Slot>,
    /// When each series was last rare, and how many levels it has reached.
    rare: BTreeMap<SeriesKey, (i64, usize)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Slot {
    begin: i64,
    seconds: f64,
    episodes: [f64; LEVELS.len()],
}

impl Threshold {
    /// Takes a tick in: whether something is told at it, and the series that are rare.
    pub(super) fn take<'a>(
        &mut self,
        told: bool,
        rare: impl Iterator<Item = (&'a SeriesKey, f64)>,
        now: Time,
    ) {
        let now = now.as_second();
        let passed = now - self.at.replace(now).unwrap_or(now);
        if told {
            (self.quiet_since, self.waiting) = (None, VecDeque::new());
            return;
        }
        let quiet_since = *self.quiet_since.get_or_insert(now);
        self.rare.retain(|_, (last, _)| (0..=EPISODE).contains(&(now - *last)));
        let begin = now - now.rem_euclid(SLOT);
        if self.waiting.back().is_none_or(|slot| slot.begin != begin) {
            self.waiting.push_back(Slot { begin, ..Slot::default() });
        }
        let counts = now - quiet_since >= AROUND && (1..=GAP).contains(&passed);
        let Some(slot) = self.waiting.back_mut() else { return };
        slot.seconds += if counts { passed as f64 } else { 0.0 };
        for (key, p_value) in rare {
            let reached = LEVELS.iter().filter(|level| p_value <= **level).count();
            if reached == 0 {
                continue;
            }
            let before = self.rare.get(key).map_or(0, |(_, levels)| *levels);
            if counts {
                slot.episodes.iter_mut().take(reached).skip(before).for_each(|n| *n += 1.0);
            }
            self.rare.insert(key.clone(), (now, reached.max(before)));
        }
        while let Some(slot) = self.waiting.pop_front_if(|slot| slot.begin < now - AROUND) {
            let kept = (-slot.seconds / HALF_LIFE).exp2();
            self.days = self.days * kept + slot.seconds / 86_400.0;
            for (sum, new) in self.episodes.iter_mut().zip(slot.episodes) {
                *sum = *sum * kept + new;
            }
        }
    }

    /// Whether nothing is told, nor was within the hour.
    pub(super) fn is_quiet(&self, now: Time) -> bool {
        self.quiet_since.is_some_and(|since| now.as_second() - since >= AROUND)
    }

    /// The p-value at or below which a series is rare enough, where so many false anomalies are accepted a day and so
    /// many tests are made.
    pub(super) fn of(&self, accepted: f64, tests: f64) -> f64 {
        let promised = (accepted / tests.max(1.0)).min(LEVELS[0]);
        if self.days <= 0.0 {
            return promised;
        }
        let (mut threshold, mut cap, mut excess) = (promised, LEVELS[0], 1.0_f64);
        for (level, episodes) in LEVELS.into_iter().zip(self.episodes) {
            let came = episodes / self.days;
            let unseen = (NONE_CAME / self.days).min(tests * level);
            let allowed = level * (accepted / (came + unseen)).min(1.0).powf(1.0 / SLOPE);
            threshold = threshold.max(allowed);
            if came > accepted {
                cap = cap.min(allowed);
            }
            if episodes >= TOLERATED.1 && came > TOLERATED.0 * tests * level {
                excess = excess.max(came / (tests * level));
            }
        }
        if excess > 1.0 { promised / excess } else { threshold.min(cap).max(promised) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::labels;

    const ACCEPTED: f64 = 1.0 / 7.0;
    const TESTS: f64 = 1_000.0 * TESTS_PER_DAY;
    const TICK: i64 = 60;

    fn key(name: &str) -> SeriesKey {
        SeriesKey { signal: name.into(), labels: labels!["shop"] }
    }

    fn at(second: i64) -> Time {
        Time::from_second(1_800_000_000 + second).unwrap()
    }

    /// So many hours, at each tick of which `seen` says whether something is told, and the p-value of a series.
    fn lived(hours: i64, seen: impl Fn(i64) -> (bool, f64)) -> Threshold {
        let mut threshold = Threshold::default();
        for second in (0..hours * 3600).step_by(TICK as usize) {
            let (told, p_value) = seen(second);
            threshold.take(told, [(&key("a"), p_value)].into_iter(), at(second));
        }
        threshold
    }

    #[test]
    fn at_first_it_is_what_bonferroni_says() {
        let promised = ACCEPTED / TESTS;
        assert_eq!(Threshold::default().of(ACCEPTED, TESTS), promised);
        // Nothing is known of the first hour, nor of the last.
        assert_eq!(lived(2, |_| (false, 1.0)).of(ACCEPTED, TESTS), promised);
    }

    #[test]
    fn the_longer_nothing_is_rare_the_higher_it_is() {
        let days = [1, 3, 14].map(|d| lived(d * 24, |_| (false, 1e-3)).of(ACCEPTED, TESTS));
        assert!(days[0] > 5.0 * ACCEPTED / TESTS, "{days:?}");
        assert!(days[0] < 2e-6 && days[0] < days[1] && days[1] < days[2], "{days:?}");
        assert_eq!(days[2], LEVELS[0]);
    }

    #[test]
    fn episodes_that_nothing_came_of_hold_it_down() {
        let rare = |p: f64| move |s: i64| (false, if s % 43_200 < 600 { p } else { 1.0 });
        let quiet = lived(240, |_| (false, 1.0)).of(ACCEPTED, TESTS);
        let some = lived(240, rare(5e-7)).of(ACCEPTED, TESTS);
        let many = lived(240, rare(1e-12)).of(ACCEPTED, TESTS);
        let promised = ACCEPTED / TESTS;
        assert!(many < promised && (promised..1e-6).contains(&some) && some < quiet);
    }

    #[test]
    fn one_episode_counts_once_and_what_belongs_to_something_told_does_not() {
        let long = lived(48, |s| (false, if (86_400..93_600).contains(&s) { 1e-6 } else { 1.0 }));
        assert_eq!(long.episodes, [1.0, 1.0, 0.0, 0.0, 0.0].map(|n| n * long.episodes[0]));
        assert!((0.8..=1.0).contains(&long.episodes[0]), "{:?}", long.episodes);
        let around = lived(48, |s| {
            let told = (90_000..91_000).contains(&s);
            (told, if (87_000..94_000).contains(&s) && !told { 1e-6 } else { 1.0 })
        });
        assert_eq!(around.episodes, [0.0; 5]);
    }

    #[test]
    fn a_gap_is_no_time() {
        let mut threshold = lived(24, |_| (false, 1.0));
        let days = threshold.days;
        threshold.take(false, std::iter::empty(), at(30 * 86_400));
        threshold.take(false, std::iter::empty(), at(0));
        assert!((threshold.days - days).abs() < 0.1);
    }

    proptest! {
        #[test]
        fn it_is_a_probability_that_grows_with_what_is_accepted_and_falls_with_what_came(
            days in 0.0..20.0_f64, episodes in prop::array::uniform5(0.0..100.0_f64), accepted in 1e-3..10.0_f64,
            tests in 0.0..1e9_f64, more in 1.0..10.0_f64,
        ) {
            let of = |episodes, accepted| Threshold { days, episodes, ..Threshold::default() }.of(accepted, tests);
            let threshold = of(episodes, accepted);
            prop_assert!(threshold > 0.0 && threshold <= LEVELS[0]);
            prop_assert!(of(episodes, accepted * more) >= threshold);
            prop_assert!(of(episodes.map(|n| n * more), accepted) <= threshold);
        }
    }
}
