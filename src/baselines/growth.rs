//! When does something that fills up run out? As its trend says, at two time scales, with doubt on the careful side.
//!
//! Two lines are fitted by least squares whose samples lose weight exponentially, over an hour and over a day. What is
//! tested is whether the limit would be reached within [`HORIZON`] at this pace: H₀ says that the slope is no more than
//! (limit − value) / horizon. The p-value is the tail of Student's t at the distance of the day's slope from that, in
//! standard errors (Draper & Smith, Applied Regression Analysis, 3rd ed., §1.4), and 1 unless the hour's slope, less two
//! of its standard errors, exceeds it too: what has stopped growing runs out of nothing.
//!
//! It assumes that samples minutes apart are independent looks at a line. It is wrong for what grows in steps, which
//! shows as scatter around the line and makes it doubt longer; it forgets its past when what fills up is emptied.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::tails::student_upper;
use super::{Moment, TOLD};
use crate::model::expectation::Expectation;

/// What is full within this time is worth telling, in seconds.
const HORIZON: f64 = 86_400.0;

/// What is full later than this is not foretold, in seconds.
const FORETOLD: f64 = 14.0 * 86_400.0;

/// The two time constants, half of the hour and the day that they stand for, and the seconds that are worth one
/// independent look at each: values closer in time repeat each other.
const SCALES: [(f64, f64); 2] = [(1_800.0, 60.0), (43_200.0, 600.0)];

/// What was not seen for this long has no course, in seconds.
const UNSEEN: f64 = 3_600.0;

/// Fewer looks than this give no line.
const LEAST_LOOKS: f64 = 10.0;

/// Scatter that any measured share has, as a standard deviation.
const SCATTER: f64 = 0.002;

/// What has less than this share of its mean level was emptied.
const EMPTIED: f64 = 0.7;

/// Where a share ends.
const LIMIT: f64 = 1.0;

/// The recent course of a share that can run out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Growth {
    since: i64,
    last: i64,
    lines: [Line; 2],
    /// Whether the last judgement was surprising.
    restless: bool,
}

/// A line through weighted samples: sums of squares around their means, with a time that is counted from `since`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Line {
    /// In seconds: a sample weighs as long as it stood.
    weight: f64,
    time: f64,
    value: f64,
    times: f64,
    both: f64,
    values: f64,
}

/// What a line says.
struct Slope {
    each_second: f64,
    error: f64,
    looks: f64,
}

impl Line {
    fn add(&mut self, (time, value): (f64, f64), weight: f64, scale: f64) {
        let kept = (-weight / scale).exp();
        let before = self.weight * kept;
        self.weight = before + weight;
        let part = weight / self.weight;
        let (dt, dx) = (time - self.time, value - self.value);
        self.time += part * dt;
        self.value += part * dx;
        let spread = weight * (1.0 - part);
        self.times = self.times * kept + spread * dt * dt;
        self.both = self.both * kept + spread * dt * dx;
        self.values = self.values * kept + spread * dx * dx;
    }

    fn slope(&self, look: f64) -> Option<Slope> {
        let looks = self.weight / look;
        if looks < LEAST_LOOKS || self.times <= 0.0 {
            return None;
        }
        let each_second = self.both / self.times;
        let around = (self.values - each_second * self.both).max(0.0) / self.weight;
        let scatter = around * looks / (looks - 2.0) + SCATTER * SCATTER;
        let error = (scatter / (self.times / self.weight * looks)).sqrt();
        Some(Slope { each_second, error, looks })
    }
}

impl Growth {
    pub(super) fn new(now: i64) -> Self {
        Self { since: now, last: now, lines: [Line::default(); 2], restless: false }
    }

    /// Whether an anomaly may be open.
    pub(super) fn is_suspect(&self) -> bool {
        self.restless
    }

    /// Judges a share with its course, then learns it; `None` where it grows no faster than it may, unless `wanted`.
    pub(super) fn step(&mut self, value: f64, at: &Moment, wanted: bool) -> Option<Expectation> {
        if !value.is_finite() {
            return None;
        }
        let emptied = self.lines[0].weight > 0.0 && value < EMPTIED * self.lines[0].value;
        if emptied || at.now < self.last {
            *self = Self::new(at.now);
        }
        let weight = (at.now - self.last).max(0) as f64;
        if weight > UNSEEN {
            *self = Self::new(at.now);
        }
        self.last = at.now;
        if weight > 0.0 && weight <= UNSEEN {
            let sample = ((at.now - self.since) as f64, value);
            for (line, (scale, _)) in self.lines.iter_mut().zip(SCALES) {
                line.add(sample, weight, scale);
            }
        }
        let judged = self.judge(value, at);
        self.restless = judged.as_ref().is_some_and(|e| e.p_value < TOLD);
        let judged = judged?;
        (wanted || judged.p_value < TOLD).then_some(judged)
    }

    /// In how many seconds it is full at the pace of the hour, less two of its standard errors: 0 where it is full, `None`
    /// where hour and day do not both grow beyond two standard errors, or it will not be full within [`FORETOLD`].
    pub(super) fn full_in(&self) -> Option<f64> {
        let careful = |n: usize| {
            let slope = self.lines[n].slope(SCALES[n].1)?;
            Some(slope.each_second - 2.0 * slope.error).filter(|pace| *pace > 0.0)
        };
        let (pace, _) = (careful(0)?, careful(1)?);
        let [hour, _] = &self.lines;
        let now = (self.last - self.since) as f64;
        let room = LIMIT - (hour.value + hour.both / hour.times * (now - hour.time));
        let left = room.max(0.0) / pace;
        (left <= FORETOLD).then_some(left)
    }

    fn judge(&self, value: f64, at: &Moment) -> Option<Expectation> {
        let room = LIMIT - value;
        if room <= 0.0 {
            return None;
        }
        let [hour, day] = [0, 1].map(|n| self.lines[n].slope(SCALES[n].1));
        let (hour, day) = (hour?, day?);
        let allowed = room / HORIZON;
        let careful = hour.each_second - 2.0 * hour.error;
        let p_value = match careful > allowed {
            true => student_upper((day.each_second - allowed) / day.error, day.looks - 2.0),
            false => 1.0,
        };
        let history = at.now - self.since;
        let expected = self.lines[1].value;
        let left = (hour.each_second > 0.0).then(|| (room / hour.each_second).min(1e9) as i64);
        Some(Expectation {
            observed: value,
            expected,
            lower: 0.0,
            upper: (LIMIT - careful * HORIZON).max(expected),
            p_value,
            tail: 1.0,
            samples: day.looks as u64,
            history: SignedDuration::from_secs(history),
            window: None,
            runs_out: left.map(SignedDuration::from_secs),
            mature: history >= at.warm_up,
            baseline: "trend",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TICK: i64 = 15;

    fn at(tick: i64) -> Moment<'static> {
        let now = 1_000_000 + tick * TICK;
        Moment::of(now, now - TICK, 86_400, 3_600)
    }

    /// What is said at each tick of a course.
    fn told(ticks: i64, course: impl Fn(f64) -> f64) -> Vec<Option<Expectation>> {
        let mut growth = Growth::new(at(0).now);
        let hours = |tick: i64| (tick * TICK) as f64 / 3600.0;
        (1..=ticks).map(|tick| growth.step(course(hours(tick)), &at(tick), true)).collect()
    }

    fn noise(hours: f64) -> f64 {
        ((hours * 9173.0).sin() * 43_758.0).fract() * 0.01
    }

    fn least(told: &[Option<Expectation>]) -> f64 {
        told.iter().flatten().map(|e| e.p_value).fold(1.0, f64::min)
    }

    #[test]
    fn how_long_is_left_is_read_carefully_and_only_of_what_grows() {
        let left = |hours: i64, course: &dyn Fn(f64) -> f64| {
            let mut growth = Growth::new(at(0).now);
            for tick in 1..=hours * 240 {
                growth.step(course((tick * TICK) as f64 / 3600.0), &at(tick), true);
            }
            growth.full_in().map(|seconds| seconds / 3600.0)
        };
        // Full twelve hours later.
        let rising = |h: f64| 0.4 + noise(h) + 0.02 * h;
        let told = left(18, &rising).unwrap();
        assert!((12.0..18.0).contains(&told), "never too soon: {told}");
        assert_eq!(left(18, &|h| 0.4 + noise(h)), None, "it does not grow");
        assert_eq!(left(18, &|h| 0.2 + noise(h) + 0.0001 * h), None, "it grows too slowly");
        assert_eq!(
            left(18, &|h| if h < 12.0 { rising(h) } else { rising(12.0) }),
            None,
            "it stopped"
        );
        assert_eq!(left(1, &rising), None, "too young");
    }

    #[test]
    fn what_will_be_full_today_is_told_hours_before_and_says_when() {
        let rising = |h: f64| 0.4 + noise(h) + 0.1 * (h - 6.0).max(0.0);
        let told = told(11 * 240, rising);
        let first = told.iter().position(|e| e.as_ref().is_some_and(|e| e.p_value < 1e-8)).unwrap();
        let hours = first as f64 / 240.0;
        assert!((6.2..10.0).contains(&hours), "after {hours} h");
        let last = told.last().unwrap().as_ref().unwrap();
        let left = last.runs_out.unwrap().as_secs_f64() / 3600.0;
        assert!((0.8..1.3).contains(&left), "{left} h left, of 1.0 in truth");
        assert!(last.mature && last.baseline == "trend");
    }

    #[test]
    fn a_daily_sawtooth_a_step_and_a_slow_rise_are_not() {
        let sawtooth = |h: f64| 0.5 + noise(h) + 0.06 * (h / 24.0).fract();
        assert!(least(&told(3 * 5760, sawtooth)) > 1e-4);
        let step = |h: f64| 0.5 + noise(h) + 0.2 * f64::from(h > 8.0);
        assert!(least(&told(5760, step)) > 1e-7);
        let slow = |h: f64| 0.3 + noise(h) + 0.004 * h;
        assert!(least(&told(3 * 5760, slow)) > 1e-3);
    }

    #[test]
    fn what_has_stopped_growing_is_calm_though_the_day_still_shows_a_rise() {
        let stopped = |h: f64| 0.4 + 0.1 * (h - 6.0).clamp(0.0, 4.0);
        let told = told(13 * 240, stopped);
        assert!(least(&told[..10 * 240]) < 1e-8);
        assert_eq!(told.last().unwrap().as_ref().unwrap().p_value, 1.0);
    }

    #[test]
    fn what_was_emptied_begins_anew_and_what_is_full_is_left_to_others() {
        let emptied = |h: f64| if h < 9.0 { 0.2 + 0.08 * h } else { 0.2 };
        let told = told(9 * 240 + 200, emptied);
        assert!(told[9 * 240 - 2].is_some() && told.last().unwrap().is_none());
        let mut growth = Growth::new(at(0).now);
        for tick in 1..2000 {
            assert_eq!(growth.step(1.0, &at(tick), true), None);
        }
    }

    proptest! {
        #[test]
        fn no_number_that_leaves_is_infinite_or_none(
            values in proptest::collection::vec(
                prop_oneof![0.0..1.0_f64, prop::num::f64::ANY], 2..200),
            steps in proptest::collection::vec(-100..4000_i64, 200),
        ) {
            let mut growth = Growth::new(0);
            let mut now = 0;
            for (value, step) in values.into_iter().zip(steps) {
                now += step;
                let at = Moment::of(now, now - step, 86_400, 0);
                let value = value.clamp(-1e150, 1e150);
                let Some(e) = growth.step(value, &at, true) else { continue };
                prop_assert!((0.0..=1.0).contains(&e.p_value), "{:?}", e);
                let all = [e.observed, e.expected, e.lower, e.upper];
                prop_assert!(all.iter().all(|x| x.is_finite()), "{:?}", e);
            }
        }
    }
}
