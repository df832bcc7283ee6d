//! What does a signal say at one tick? A number for each set of label values.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::text::Text;

/// One label value: a name of the cluster's, or one of the words that a signal declares.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Label(Text);

impl Label {
    /// The value itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl From<&Text> for Label {
    fn from(t: &Text) -> Self {
        Self(t.clone())
    }
}

impl From<&str> for Label {
    fn from(s: &str) -> Self {
        Self(s.into())
    }
}

/// The values of a signal's labels, in the order in which the signal declares their names.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Labels(Arc<[Label]>);

impl Labels {
    /// The labels with these values.
    #[must_use]
    pub fn new(values: impl IntoIterator<Item = Label>) -> Self {
        Self(values.into_iter().collect())
    }

    /// The values in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(Label::as_str)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none: a cluster-wide series.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value at this position.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&Text> {
        self.0.get(index).map(|l| &l.0)
    }
}

/// `labels![a, &b, "c"]`: label values from texts and words, in declared order.
#[macro_export]
macro_rules! labels {
    ($($value:expr),* $(,)?) => {
        $crate::model::reading::Labels::new([$($crate::model::reading::Label::from($value)),*])
    };
}

/// The value of one series at one tick.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The values of the signal's labels.
    pub labels: Labels,
    /// The value, in the signal's unit. Never NaN or infinite.
    pub value: f64,
    /// For a ratio: out of how many. 1 of 2 and 500 of 1,000 are not the same evidence.
    pub population: Option<u64>,
}

/// What a signal's function fills.
#[derive(Debug, Default)]
pub struct Readings(Vec<Reading>);

impl Readings {
    /// Adds a value. A value that is no number is left out: a series says nothing rather than NaN.
    pub fn push(&mut self, labels: Labels, value: f64) {
        if value.is_finite() {
            self.0.push(Reading { labels, value, population: None });
        }
    }

    /// Adds `part / whole`; nothing where there is no whole.
    #[allow(clippy::cast_precision_loss)]
    pub fn push_ratio(&mut self, labels: Labels, part: u64, whole: u64) {
        if whole > 0 {
            self.0.push(Reading {
                labels,
                value: part as f64 / whole as f64,
                population: Some(whole),
            });
        }
    }

    /// The readings, in the order of their labels, so that the world's order does not matter.
    #[must_use]
    pub fn into_sorted(mut self) -> Vec<Reading> {
        self.0.sort_by(|a, b| a.labels.cmp(&b.labels));
        self.0
    }
}

/// Which series: a signal's name and the values of its labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SeriesKey {
    /// [`Signal::name`](super::signal::Signal::name).
    pub signal: Text,
    /// The values of the signal's labels.
    pub labels: Labels,
}
