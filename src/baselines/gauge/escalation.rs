//! Which of many surprises are worth telling? Those that go beyond what was told of late, and less the more often a
//! series has cried wolf.

use serde::{Deserialize, Serialize};

use super::recipe::Recipe;

/// In how many samples the memory of the last event loses half of its height.
const FORGETS: f64 = 200.0;
/// The same for the long memory.
const FORGETS_LATE: f64 = 2000.0;
/// A surprise below this is no event.
const FLOOR: f64 = 2.0;
/// Heights at which events are counted, from [`FLOOR`] in steps of [`WIDTH`].
const LEVELS: usize = 24;
const WIDTH: f64 = 0.25;
/// In how many samples a count loses all but 1/e.
const COUNTED: f64 = 5000.0;

/// What was told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Escalation {
    /// The height that has to be passed.
    height: f64,
    late: f64,
    /// How many earlier events were at each height or above, as of `aged` samples ago.
    counts: [f64; LEVELS],
    aged: u32,
}

impl Escalation {
    pub(super) const fn new() -> Self {
        Self { height: 0.0, late: 0.0, counts: [0.0; LEVELS], aged: 0 }
    }

    /// What is left of a surprise after it is compared with what was told; 0 where there is nothing to tell.
    pub(super) fn told(&mut self, surprise: f64, recipe: &Recipe) -> f64 {
        self.height *= 0.5_f64.powf(1.0 / FORGETS);
        self.late *= 0.5_f64.powf(1.0 / FORGETS_LATE);
        self.aged = self.aged.saturating_add(1);
        if recipe.escalation && surprise <= self.height {
            return 0.0;
        }
        self.height = surprise;
        let mut left = 0.0;
        if surprise >= FLOOR {
            let decay = (-f64::from(self.aged) / COUNTED).exp();
            self.counts.iter_mut().for_each(|count| *count *= decay);
            self.aged = 0;
            let level = (((surprise - FLOOR) / WIDTH) as usize).min(LEVELS - 1);
            let habit = recipe.habituation * (1.0 + self.counts[level]).log10();
            let late = recipe.long_memory * self.late.min(surprise);
            left = (surprise - habit - late).max(0.0);
            self.counts[..=level].iter_mut().for_each(|count| *count += 1.0);
        }
        self.late = self.late.max(surprise);
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_episode_is_told_once_and_again_when_it_grows() {
        let mut events = Escalation::new();
        assert!(events.told(6.0, &Recipe::WHOLE) > 5.9);
        assert_eq!(events.told(5.9, &Recipe::WHOLE), 0.0);
        assert_eq!(events.told(5.0, &Recipe::WHOLE), 0.0);
        assert!(events.told(9.0, &Recipe::WHOLE) > 5.0);
        assert_eq!(events.told(1.0, &Recipe::WHOLE), 0.0);
    }

    #[test]
    fn what_happens_every_day_is_told_less_and_less() {
        let mut events = Escalation::new();
        let daily: Vec<f64> = (0..20)
            .map(|_| {
                let told = events.told(6.0, &Recipe::WHOLE);
                for _ in 1..1440 {
                    events.told(0.5, &Recipe::WHOLE);
                }
                told
            })
            .collect();
        assert!(daily.windows(2).take(4).all(|two| two[1] < two[0]), "{daily:?}");
        assert!(daily[19] > 5.0, "{daily:?}");
    }
}
