//! What time is it? The only reader of the system's clock; everything else is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// A clock: the system's, one that runs at another speed, one that goes with the runtime's timers, or one that is moved
/// by hand.
#[derive(Clone, Debug)]
pub struct Clock(Inner);

#[derive(Clone, Debug)]
enum Inner {
    System,
    Scaled { origin: Instant, start: Timestamp, speed: f64 },
    Timers { origin: tokio::time::Instant, start: Timestamp },
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub const fn system() -> Self {
        Self(Inner::System)
    }

    /// A clock that stands at `start` now and runs `speed` times as fast as the system's. A speed that is not
    /// positive and finite is taken as 1.
    #[must_use]
    #[allow(clippy::disallowed_methods)]
    pub fn scaled(start: Timestamp, speed: f64) -> Self {
        let speed = if speed.is_finite() && speed > 0.0 { speed } else { 1.0 };
        Self(Inner::Scaled { origin: Instant::now(), start, speed })
    }

    /// A clock that stands at `start` now and goes with the timers of the runtime in which it is made: where those are
    /// paused, as with `start_paused`, time passes only while everybody waits, and then at once.
    #[must_use]
    pub fn of_timers(start: Timestamp) -> Self {
        Self(Inner::Timers { origin: tokio::time::Instant::now(), start })
    }

    /// A clock that stands at `start` until it is moved.
    #[must_use]
    pub fn manual(start: Timestamp) -> Self {
        Self(Inner::Manual(Arc::new(AtomicI64::new(start.as_millisecond()))))
    }

    /// The time, UTC.
    #[must_use]
    #[allow(clippy::disallowed_methods)]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            // No source is finer, and what is saved and told should read well.
            Inner::System => millis(Timestamp::now().as_millisecond()),
            Inner::Scaled { origin, start, speed } => {
                let passed = origin.elapsed().as_secs_f64() * speed;
                let passed = jiff::SignedDuration::try_from_secs_f64(passed);
                passed.ok().and_then(|d| start.checked_add(d).ok()).unwrap_or(Timestamp::MAX)
            }
            Inner::Timers { origin, start } => {
                let passed = jiff::SignedDuration::try_from(origin.elapsed());
                passed.ok().and_then(|d| start.checked_add(d).ok()).unwrap_or(Timestamp::MAX)
            }
            Inner::Manual(millis) => Timestamp::from_millisecond(millis.load(Ordering::Relaxed))
                .unwrap_or(Timestamp::MAX),
        }
    }

    /// How many seconds of this clock pass in one of the system's; 1 for one that is moved by hand.
    #[must_use]
    pub const fn speed(&self) -> f64 {
        match &self.0 {
            Inner::Scaled { speed, .. } => *speed,
            Inner::System | Inner::Manual(_) | Inner::Timers { .. } => 1.0,
        }
    }

    /// Moves a manual clock forward; does nothing to others.
    pub fn advance(&self, by: Duration) {
        if let Inner::Manual(millis) = &self.0 {
            millis.fetch_add(by.as_millis() as i64, Ordering::Relaxed);
        }
    }

    /// Waits until this clock has advanced by `duration`. A manual clock does not wait.
    pub async fn sleep(&self, duration: Duration) {
        match &self.0 {
            Inner::System | Inner::Timers { .. } => tokio::time::sleep(duration).await,
            Inner::Scaled { speed, .. } => tokio::time::sleep(duration.div_f64(*speed)).await,
            Inner::Manual(_) => tokio::task::yield_now().await,
        }
    }
}

fn millis(since_epoch: i64) -> Timestamp {
    Timestamp::from_millisecond(since_epoch).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_by_hand() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        assert_eq!(clock.now(), Timestamp::UNIX_EPOCH);
        clock.advance(Duration::from_secs(90));
        assert_eq!(clock.now().as_second(), 90);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_of_paused_timers_passes_a_day_at_once() {
        let clock = Clock::of_timers(Timestamp::UNIX_EPOCH);
        assert_eq!(clock.now(), Timestamp::UNIX_EPOCH);
        clock.sleep(Duration::from_hours(24)).await;
        assert_eq!(clock.now().as_second(), 86_400);
    }

    #[test]
    fn a_scaled_clock_never_runs_backwards() {
        let clock = Clock::scaled(Timestamp::UNIX_EPOCH, 1000.0);
        let (a, b) = (clock.now(), clock.now());
        assert!(a <= b && a >= Timestamp::UNIX_EPOCH);
    }
}
