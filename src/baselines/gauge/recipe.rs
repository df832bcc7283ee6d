//! Which parts of the detector are at work, and with what weight? All of them, but where it is measured what each is
//! worth.

/// The parts that are at work. It is no part of a past: who judges by another recipe than [`Recipe::WHOLE`] hands it
/// in with each sample, and stays with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recipe {
    /// Which of the statistics surprise, in the order of [`super::Statistic`].
    pub statistics: [bool; 4],
    /// Whether the time of day is part of the expectation.
    pub season: bool,
    /// How many times as fast as usual the running means forget.
    pub pace: f64,
    /// How a statistic's tail is shaped.
    pub tail: Tail,
    /// How the statistics' surprises become one.
    pub pooling: Pooling,
    /// How much surprise that persists weighs.
    pub persistence: f64,
    /// Whether only what goes beyond what was told of late is told.
    pub escalation: bool,
    /// What ten earlier events as strong as this take off.
    pub habituation: f64,
    /// Share of the long memory that is taken off.
    pub long_memory: f64,
}

/// The distribution of what exceeds a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Generalised Pareto, of a learned shape.
    Pareto,
    /// Exponential.
    Exponential,
}

/// How surprises become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// Their sum.
    Sum,
    /// The root of the sum of their squares.
    Norm,
    /// The largest.
    Largest,
}

impl Recipe {
    /// All parts, as they are shipped.
    pub const WHOLE: Self = Self {
        statistics: [true; 4],
        season: true,
        pace: 1.0,
        tail: Tail::Pareto,
        pooling: Pooling::Norm,
        persistence: 0.5,
        escalation: true,
        habituation: 0.4,
        long_memory: 0.1,
    };

    /// The least share of a new sample in a running mean.
    #[inline]
    pub(super) fn paced(&self, share: f64) -> f64 {
        (share * self.pace).min(1.0)
    }
}

impl Default for Recipe {
    fn default() -> Self {
        Self::WHOLE
    }
}

impl Pooling {
    #[inline]
    pub(super) fn together(self, surprises: [f64; 4]) -> f64 {
        match self {
            Self::Sum => surprises.iter().sum(),
            Self::Norm => surprises.iter().map(|s| s * s).sum::<f64>().sqrt(),
            Self::Largest => surprises.into_iter().fold(0.0, f64::max),
        }
    }
}
