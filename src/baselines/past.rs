//! What is kept of one series, by family? Two numbers, as long as nothing happens to it.

use serde::{Deserialize, Serialize};

use super::Seen;
use super::durations::Durations;
use super::growth::Growth;
use super::level::Level;
use super::rate::Rate;
use super::staircase::kept;
use crate::model::signal::{Profile, Unit};

/// The past of a series. What is constant needs no memory, and most series are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Past {
    /// A level that has had this value since then.
    Constant {
        value: f64,
        since: i64,
    },
    /// A count that has stood there since then, as far as is remembered.
    Standing {
        total: f64,
        since: i64,
    },
    Level(Box<Level>),
    Filling(Box<(Level, Growth)>),
    Rate(Box<Rate>),
    Durations(Box<Durations>),
}

impl Past {
    /// Whether a signal that is judged like this has such a past.
    pub(super) fn fits(&self, profile: Profile) -> bool {
        match self {
            Self::Constant { .. } | Self::Level(_) => matches!(profile, Profile::Level { .. }),
            Self::Filling(_) => matches!(profile, Profile::Filling { .. }),
            Self::Standing { .. } | Self::Rate(_) => profile.is_rate(),
            Self::Durations(_) => matches!(profile, Profile::Durations),
        }
    }

    /// Whether an anomaly may be open.
    pub(super) fn is_suspect(&self) -> bool {
        match self {
            Self::Constant { .. } | Self::Standing { .. } => false,
            Self::Level(level) => level.is_suspect(),
            Self::Filling(both) => both.0.is_suspect() || both.1.is_suspect(),
            Self::Rate(rate) => rate.is_suspect(),
            Self::Durations(durations) => durations.is_suspect(),
        }
    }

    /// Since when it is known; `None` where nothing was learned yet.
    pub(super) fn since(&self) -> Option<i64> {
        match self {
            Self::Constant { since, .. } | Self::Standing { since, .. } => Some(*since),
            Self::Level(level) => level.begin(),
            Self::Filling(both) => both.0.begin(),
            Self::Rate(rate) => Some(rate.begin()),
            Self::Durations(durations) => Some(durations.begin()),
        }
    }

    /// Whether there is nothing to judge and nothing to learn: it is as it has always been.
    pub(super) fn is_quiet(&self, seen: Seen<'_>) -> bool {
        match (self, seen) {
            (Self::Constant { value, .. }, Seen::Value(seen, _)) => kept(*value) == kept(seen),
            (Self::Standing { total, .. }, Seen::Value(seen, _)) => *total == seen,
            (Self::Rate(rate), Seen::Value(seen, _)) => rate.is_quiet(seen),
            (Self::Durations(held), Seen::Durations(seen)) => held.is_quiet(Some(seen)),
            (Self::Durations(held), _) => held.is_quiet(None),
            _ => false,
        }
    }

    /// What a series is taken to show that is not there: no object in that state, and no further event. `None` where
    /// nothing can be said.
    pub(super) fn unseen(&self, unit: Unit) -> Option<Seen<'static>> {
        let value = |value| Some(Seen::Value(value, None));
        match self {
            Self::Standing { total, .. } => value(*total),
            Self::Rate(rate) => value(rate.total()),
            Self::Constant { .. } | Self::Level(_) if unit == Unit::Count => value(0.0),
            Self::Durations(_) => Some(Seen::Nothing),
            Self::Constant { .. } | Self::Level(_) | Self::Filling(_) => None,
        }
    }

    /// Takes on the form in which it can be judged and learn. `phase` says when a level is sampled.
    pub(super) fn wake(&mut self, phase: impl FnOnce() -> u32) {
        match *self {
            Self::Constant { value, since } => {
                *self = Self::Level(Box::new(Level::constant(value, since, phase())));
            }
            Self::Standing { total, since } => {
                *self = Self::Rate(Box::new(Rate::new(total, since)));
            }
            _ => {}
        }
    }

    /// Takes on the small form again, where that says everything.
    pub(super) fn rest(&mut self) {
        match self {
            Self::Level(level) => {
                if let Some((value, since)) = level.as_constant() {
                    *self = Self::Constant { value, since };
                }
            }
            Self::Rate(rate) => {
                if let Some((total, since)) = rate.as_standing() {
                    *self = Self::Standing { total, since };
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_to_which_nothing_happens_is_two_numbers() {
        assert_eq!(size_of::<Past>(), 24);
        for quiet in
            [Past::Constant { value: 0.5, since: 100 }, Past::Standing { total: 7.0, since: 100 }]
        {
            let mut past = quiet.clone();
            past.wake(|| 5);
            assert!(!matches!(past, Past::Constant { .. } | Past::Standing { .. }));
            past.rest();
            assert_eq!(past, quiet);
        }
    }
}
