//! How busy is a program? By the hour, the day of the week, and what happens to it.

use std::f64::consts::TAU;

use super::chance::Chance;
use super::moment::{DAY, HOUR, MINUTE, Moment};

/// Least busy at four in the morning, busiest in the afternoon; quieter at weekends.
const QUIETEST: Moment = 4 * HOUR;
const SWING: f64 = 0.25;
const WEEKEND: f64 = 0.85;
/// How much the load wanders within a few minutes.
const NOISE: f64 = 0.03;
const SLOT: Moment = 5 * MINUTE;

/// The load of a program at this moment, of which 1 is the mean.
pub(crate) fn at(chance: Chance, program: &str, now: Moment) -> f64 {
    let of_day = (now - QUIETEST).rem_euclid(DAY) as f64 / DAY as f64;
    let season = 1.0 - SWING * (TAU * of_day).cos();
    // The epoch was a Thursday.
    let weekday = (now.div_euclid(DAY) + 3).rem_euclid(7);
    let week = if weekday >= 5 { WEEKEND } else { 1.0 };
    season * week * (1.0 + NOISE * wander(chance, program, now))
}

/// A path between draws, one for each slot, in [-1, 1).
fn wander(chance: Chance, program: &str, now: Moment) -> f64 {
    let slot = now.div_euclid(SLOT);
    let draw = |slot: Moment| chance.of("load", &format!("{program}/{slot}")).unit() * 2.0 - 1.0;
    let part = now.rem_euclid(SLOT) as f64 / SLOT as f64;
    draw(slot) * (1.0 - part) + draw(slot + 1) * part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_afternoon_is_busier_than_the_night_and_the_path_has_no_steps() {
        let chance = Chance::new(1);
        let monday = 4 * DAY;
        assert!(at(chance, "a", monday + 16 * HOUR) > 1.4 * at(chance, "a", monday + 4 * HOUR));
        let steps = (0..DAY / 15_000).map(|n| at(chance, "a", monday + n * 15_000));
        let steps: Vec<f64> = steps.collect();
        assert!(steps.windows(2).all(|w| (w[1] - w[0]).abs() < 0.02));
    }
}
