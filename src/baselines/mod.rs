//! Readings → expectations. What would have been normal, and how surprising is what was seen?
//!
//! Each series has a past of its own, judged before it learns: what is expected of a tick depends on earlier ticks
//! alone. Constant series cost one entry and are skipped.

mod level;
mod rate;
mod tails;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::BaselineSettings;
use crate::model::expectation::Expectation;
use crate::model::reading::{Labels, Reading, SeriesKey};
use crate::model::record::Time;
use crate::model::signal::{Profile, Signal, Unit};
use crate::model::text::Text;

use level::{Level, Sample};
use rate::Rate;

/// The pasts of all judged series.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Baselines {
    series: BTreeMap<Text, BTreeMap<Labels, Past>>,
    dropped: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Past {
    Level(Level),
    Rate(Rate),
}

/// The circumstances of a tick.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The tick's time.
    pub now: Time,
    /// Since when the cluster is watched: a count that was not there has stood at zero since.
    pub watching_since: Time,
    /// Whether numbers may be judged; not right after a list, when they jump for reasons of ours.
    pub settled: bool,
    /// How the past is kept.
    pub settings: &'a BaselineSettings,
    /// How many series may have a past.
    pub limit: usize,
}

impl Baselines {
    /// Judges the readings of a signal, then learns them. Only what is not quiet, is `watched` (in an open anomaly),
    /// or concerns the whole cluster gets an expectation.
    pub fn judge(
        &mut self,
        signal: &Signal,
        readings: &[Reading],
        at: Circumstances<'_>,
        watched: impl Fn(&SeriesKey) -> bool,
    ) -> Vec<(SeriesKey, Expectation)> {
        let held = self.len();
        let gone = self.unseen(signal, readings);
        // No series is no object in that state, and no further event.
        let gone =
            gone.into_iter().map(|labels| Reading { labels, value: f64::NAN, population: None });
        let gone: Vec<Reading> = gone.collect();
        let pasts = self.series.entry(signal.name.into()).or_default();
        let (mut room, mut expectations) = (at.limit.saturating_sub(held), Vec::new());
        for reading in readings.iter().chain(&gone) {
            if !pasts.contains_key(&reading.labels) {
                if room == 0 {
                    self.dropped += 1;
                    continue;
                }
                let Some(past) = Past::new(signal.profile, at.watching_since) else { break };
                pasts.insert(reading.labels.clone(), past);
                room -= 1;
            }
            let Some(past) = pasts.get_mut(&reading.labels) else { continue };
            let of_cluster = reading.labels.is_empty();
            if past.is_quiet(reading.value) && !of_cluster {
                continue;
            }
            let key = SeriesKey { signal: signal.name.into(), labels: reading.labels.clone() };
            let frozen = watched(&key);
            if let Some(expectation) = past.step(signal.profile, reading, at, frozen)
                && (of_cluster || frozen || expectation.p_value < 0.05)
            {
                expectations.push((key, expectation));
            }
        }
        expectations
    }

    /// How many series have a past.
    #[must_use]
    pub fn len(&self) -> usize {
        self.series.values().map(BTreeMap::len).sum()
    }

    /// Whether no series has a past.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// How many times a series was not judged because the limit was reached.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Known series of the signal without a reading; those that no longer matter are forgotten.
    fn unseen(&mut self, signal: &Signal, readings: &[Reading]) -> Vec<Labels> {
        let Some(known) = self.series.get_mut(signal.name) else { return Vec::new() };
        if known.len() == readings.len() {
            return Vec::new();
        }
        let seen = |labels: &Labels| readings.binary_search_by(|r| r.labels.cmp(labels)).is_ok();
        known.retain(|labels, past| seen(labels) || past.matters_unseen(signal.unit));
        known.keys().filter(|labels| !seen(labels)).cloned().collect()
    }
}

impl Past {
    fn new(profile: Profile, watching_since: Time) -> Option<Self> {
        match profile {
            Profile::None => None,
            Profile::Level { .. } => Some(Self::Level(Level::default())),
            Profile::Rate => Some(Self::Rate(Rate::new(0.0, watching_since))),
        }
    }

    /// Whether a series without a reading still has something to say: a count of objects is zero then.
    fn matters_unseen(&self, unit: Unit) -> bool {
        match self {
            Self::Level(level) => unit == Unit::Count && !level.is_quiet(0.0),
            Self::Rate(rate) => !rate.is_quiet(0.0),
        }
    }

    fn is_quiet(&self, value: f64) -> bool {
        match self {
            Self::Level(level) => level.is_quiet(value),
            Self::Rate(rate) => rate.is_quiet(value),
        }
    }

    fn step(
        &mut self,
        profile: Profile,
        reading: &Reading,
        at: Circumstances<'_>,
        frozen: bool,
    ) -> Option<Expectation> {
        let BaselineSettings { warm_up, window, .. } = *at.settings;
        match (self, profile) {
            (Self::Level(level), Profile::Level { bad, floor }) => {
                let value = if reading.value.is_nan() { 0.0 } else { reading.value };
                if !at.settled {
                    return None;
                }
                let sample = Sample { value, population: reading.population, bad, floor };
                let expectation = level.judge(&sample, at.now, warm_up);
                let band = expectation.as_ref().filter(|e| e.mature).map(|e| (e.lower, e.upper));
                level.learn(value, band, at.now, window, frozen);
                expectation
            }
            (Self::Rate(rate), _) => {
                if at.settled {
                    // A series that is gone adds nothing; one that comes back begins at what it is.
                    let total = if reading.value.is_nan() { 0.0 } else { reading.value };
                    if reading.value.is_nan() {
                        rate.rebase(0.0);
                    }
                    rate.observe(total, at.now, window);
                    rate.judge(at.now, warm_up)
                } else {
                    rate.rebase(reading.value.max(0.0));
                    None
                }
            }
            _ => None,
        }
    }
}
