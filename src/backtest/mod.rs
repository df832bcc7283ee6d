//! What would the generic baseline have said of past data? A series goes through it sample by sample; each is judged
//! by those before it alone.

pub mod nab;
mod picture;
mod read;

use serde::Serialize;

use crate::baselines::gauge::{Gauge, Statistic};

pub use crate::baselines::gauge::Judgement;
pub use picture::{short, svg, terminal};
pub use read::{ReadError, TIMES, parse_time, read};

/// One sample of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Seconds since the epoch.
    pub time: f64,
    /// NaN where nothing is known.
    pub value: f64,
    /// The time as it was written.
    pub stamp: String,
}

/// A series with what was said of it.
#[derive(Clone, Debug)]
pub struct Judged {
    /// Where it comes from.
    pub name: String,
    /// All samples, in their order.
    pub samples: Vec<Sample>,
    /// One for each sample; `None` where nothing is known of the value.
    pub judgements: Vec<Option<Judgement>>,
}

/// Flagged samples that follow each other closely: what an operator would have been told as one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Episode {
    /// When the first was flagged.
    pub from: String,
    /// When the last was.
    pub until: String,
    /// How many samples were flagged.
    pub flagged: usize,
    /// The value at the strongest.
    pub observed: f64,
    /// What was expected there.
    pub expected: f64,
    /// The normal range there.
    pub lower: f64,
    /// Its upper end.
    pub upper: f64,
    /// The highest score, in [0, 1).
    pub score: f64,
    /// What was looked at that was the most surprised.
    pub statistic: Statistic,
}

/// Flags that are no more than so many samples apart are of one episode.
const APART: usize = 50;

/// Plays a series through the baseline.
#[must_use]
pub fn judge(name: String, samples: Vec<Sample>) -> Judged {
    let mut gauge = Gauge::default();
    let judgements = samples.iter().map(|sample| gauge.judge(sample.time, sample.value)).collect();
    Judged { name, samples, judgements }
}

impl Judged {
    /// The flagged samples: place and judgement.
    fn flagged(&self) -> impl Iterator<Item = (usize, &Judgement)> {
        let all = self.judgements.iter().enumerate();
        all.filter_map(|(place, judged)| Some((place, judged.as_ref()?)))
            .filter(|(_, judged)| judged.is_anomaly())
    }

    /// Flags that belong together, in order of time.
    #[must_use]
    pub fn episodes(&self) -> Vec<Episode> {
        let mut groups: Vec<Vec<(usize, &Judgement)>> = Vec::new();
        for flag in self.flagged() {
            match groups.last_mut() {
                Some(group) if group.last().is_some_and(|last| flag.0 - last.0 <= APART) => {
                    group.push(flag);
                }
                _ => groups.push(vec![flag]),
            }
        }
        groups.iter().filter_map(|group| self.episode(group)).collect()
    }

    fn episode(&self, group: &[(usize, &Judgement)]) -> Option<Episode> {
        let (first, last) = (group.first()?, group.last()?);
        let strongest = group.iter().max_by(|a, b| a.1.told.total_cmp(&b.1.told))?;
        let (lower, upper) = strongest.1.band?;
        Some(Episode {
            from: self.samples[first.0].stamp.clone(),
            until: self.samples[last.0].stamp.clone(),
            flagged: group.len(),
            observed: self.samples[strongest.0].value,
            expected: strongest.1.expected,
            lower,
            upper,
            score: strongest.1.score(),
            statistic: strongest.1.led_by,
        })
    }

    /// The samples whose values are known, with their judgements.
    fn known(&self) -> impl Iterator<Item = (&Sample, &Judgement)> {
        self.samples.iter().zip(&self.judgements).filter_map(|(s, j)| Some((s, j.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_sample_depends_on_earlier_ones_alone() {
        let sample = |n: u32| Sample {
            time: f64::from(n) * 60.0,
            value: if n == 700 {
                f64::NAN
            } else {
                f64::from(n * 7919 % 101) + f64::from(n / 900) * 800.0
            },
            stamp: n.to_string(),
        };
        let all: Vec<_> = (0..1500).map(sample).collect();
        let whole = judge("whole".to_owned(), all.clone());
        assert!(whole.judgements[700].is_none());
        for cut in [1, 150, 701, 901, 1499] {
            let part = judge("part".to_owned(), all[..cut].to_vec());
            assert_eq!(part.judgements[..], whole.judgements[..cut]);
        }
        let episodes = whole.episodes();
        let begins = |e: &&Episode| e.from == "900";
        let shift = episodes.iter().find(begins).expect("the shift is told");
        assert!(shift.observed > shift.upper && shift.score > 0.5, "{shift:?}");
    }
}
