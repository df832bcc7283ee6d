//! Which value did a level have, and for how long? A value counts for as long as it held, so a constant series is one
//! step, and memory does not grow with time: of a restless series one value in each cell of `stride` seconds is kept.
//!
//! Values are kept to seven digits.

use serde::{Deserialize, Serialize};

use super::Moment;

/// Steps that are kept; beyond it the stride doubles.
pub(super) const KEPT: usize = 60;

/// Values beyond this are taken as this, so that no sum or square of them is infinite.
const LARGEST: f64 = 1e30;

/// So many seconds after the origin the series took this value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Step {
    after: u32,
    value: f32,
}

/// The values of a level, as far as they are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Staircase {
    origin: i64,
    steps: Vec<Step>,
    /// Length of a cell in seconds; 0: each tick is one.
    stride: u32,
    /// Shifts the cells, so that not all series are sampled at the same tick.
    phase: u32,
}

/// A stretch of time in which the series had one value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Held {
    pub(super) from: i64,
    pub(super) until: i64,
    pub(super) value: f64,
}

impl Staircase {
    /// Without a step, sampled with this phase.
    pub(super) fn new(phase: u32) -> Self {
        Self { origin: 0, steps: Vec::new(), stride: 0, phase }
    }

    /// One step.
    pub(super) fn of(value: f64, since: i64, phase: u32) -> Self {
        let steps = vec![Step { after: 0, value: kept(value) }];
        Self { origin: since, steps, ..Self::new(phase) }
    }

    pub(super) fn phase(&self) -> u32 {
        self.phase
    }

    pub(super) fn len(&self) -> usize {
        self.steps.len()
    }

    /// Seconds between two values at least.
    pub(super) fn stride(&self) -> i64 {
        i64::from(self.stride)
    }

    /// The only value there has been, and since when.
    pub(super) fn only(&self) -> Option<(f64, i64)> {
        match &self.steps[..] {
            [only] => Some((f64::from(only.value), self.origin + i64::from(only.after))),
            _ => None,
        }
    }

    /// When the first step began.
    pub(super) fn begin(&self) -> Option<i64> {
        self.steps.first().map(|step| self.origin + i64::from(step.after))
    }

    /// Takes the value of this tick in, and forgets what is older than the window.
    pub(super) fn learn(&mut self, value: f64, at: &Moment) {
        let value = kept(value);
        if self.steps.is_empty() {
            self.origin = at.now;
        }
        let same = self.steps.last().is_some_and(|step| step.value == value);
        if !same && (self.steps.is_empty() || self.begins_cell(at)) {
            let after = u32::try_from(at.now - self.origin).unwrap_or(0);
            // Where the clock went back, the value begins where time stood.
            let after = after.max(self.steps.last().map_or(0, |step| step.after));
            self.steps.push(Step { after, value });
        }
        let horizon = at.now - at.window - self.origin;
        // A step ends where the next begins.
        let next = self.steps.iter().skip(1);
        let gone = next.take_while(|next| i64::from(next.after) <= horizon).count();
        self.steps.drain(..gone);
        if self.steps.len() > KEPT {
            let stride = (2 * self.stride().max(at.tick())).max(1);
            self.stride = u32::try_from(stride).unwrap_or(u32::MAX);
            self.thin(at.now);
        }
    }

    /// Keeps the value at the begin of each cell, as if the series had been sampled at this stride from the start.
    fn thin(&mut self, now: i64) {
        let mut kept: Vec<Step> = Vec::with_capacity(KEPT);
        for (nth, step) in self.steps.iter().enumerate() {
            let since = self.origin + i64::from(step.after);
            let begin = if kept.is_empty() { since } else { self.cell_from(since) };
            let next = self.steps.get(nth + 1);
            let end = next.map_or(now + 1, |next| self.origin + i64::from(next.after));
            if begin < end && kept.last().is_none_or(|last| last.value != step.value) {
                let after = u32::try_from(begin - self.origin).unwrap_or(step.after);
                kept.push(Step { after, value: step.value });
            }
        }
        self.steps = kept;
    }

    fn begins_cell(&self, at: &Moment) -> bool {
        self.stride == 0 || self.cell(at.now) != self.cell(at.previous)
    }

    fn cell(&self, second: i64) -> i64 {
        (second + i64::from(self.phase)).div_euclid(self.stride().max(1))
    }

    /// When the first cell begins that begins no earlier than this.
    fn cell_from(&self, second: i64) -> i64 {
        (self.cell(second - 1) + 1) * self.stride().max(1) - i64::from(self.phase)
    }

    /// Moves everything on, and changes each value by what is due to the other time.
    pub(super) fn shift(&mut self, by: i64, change: impl Fn(i64, i64) -> f64) {
        self.origin += by;
        for step in &mut self.steps {
            let now = self.origin + i64::from(step.after);
            step.value = kept(f64::from(step.value) + change(now - by, now));
        }
    }

    /// What the series was within the window before this time.
    pub(super) fn held(&self, clock: i64, window: i64) -> impl Iterator<Item = Held> + '_ {
        let since = |step: &Step| self.origin + i64::from(step.after);
        let ends = self.steps.iter().skip(1).map(since).chain([clock]);
        self.steps.iter().zip(ends).filter_map(move |(step, end)| {
            let (from, until) = (since(step).max(clock - window), end.min(clock));
            let value = f64::from(step.value);
            (from < until).then_some(Held { from, until, value })
        })
    }
}

/// A value as it is kept.
pub(super) fn kept(value: f64) -> f32 {
    value.clamp(-LARGEST, LARGEST) as f32
}

/// The shortest number that is kept as this one: 0.95 rather than 0.949999988.
pub(super) fn shown(value: f64) -> f64 {
    kept(value).to_string().parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(now: i64) -> Moment<'static> {
        Moment::of(now, now - 15, 86_400, 3_600)
    }

    #[test]
    fn a_value_counts_for_as_long_as_it_held_within_the_window() {
        let mut stairs = Staircase::new(0);
        for (now, value) in [(0, 1.0), (15, 1.0), (30, 2.5), (90, 1.0)] {
            stairs.learn(value, &at(now));
        }
        let held = |clock, window| {
            let all = stairs.held(clock, window);
            all.map(|h| (h.from, h.until, h.value)).collect::<Vec<_>>()
        };
        assert_eq!(held(100, 1000), [(0, 30, 1.0), (30, 90, 2.5), (90, 100, 1.0)]);
        assert_eq!(held(100, 50), [(50, 90, 2.5), (90, 100, 1.0)]);
        assert_eq!(held(60, 1000), [(0, 30, 1.0), (30, 60, 2.5)]);
    }

    #[test]
    fn a_clock_that_goes_back_leaves_the_order_as_it_is() {
        let mut stairs = Staircase::new(0);
        for (now, value) in [(1000, 1.0), (1015, 2.0), (400, 3.0), (1060, 4.0)] {
            stairs.learn(value, &at(now));
        }
        let all: Vec<_> = stairs.held(1100, 86_400).map(|h| (h.from, h.value)).collect();
        assert_eq!(all, [(1000, 1.0), (1015, 3.0), (1060, 4.0)]);
    }

    #[test]
    fn what_is_shown_has_no_digits_that_were_not_there() {
        for value in [0.95, 3.0, 1e-7, 123_456_790.0, -0.1, 1e30] {
            assert_eq!(shown(value), value);
        }
        assert_eq!(shown(f64::MAX), 1e30);
    }

    #[test]
    fn what_moves_in_time_changes_as_it_is_told() {
        let mut stairs = Staircase::of(5.0, 100, 3);
        stairs.shift(50, |from, to| (to - from) as f64 / 10.0);
        assert_eq!(stairs.only(), Some((10.0, 150)));
    }
}
