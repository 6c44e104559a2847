//! Monotonic time behind a trait, so that tests move it by hand instead of waiting.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Where monotonic time comes from. Times of one clock can be compared with each other, with nothing else.
pub trait Clock: Send + Sync {
    /// The time since this clock's origin. It never goes back.
    fn now(&self) -> Duration;
}

/// The system's monotonic clock. All values share one origin (the first look at any of them in this process),
/// so parts that hold a `MonotonicClock` each can still compare times.
#[derive(Clone, Copy, Debug, Default)]
pub struct MonotonicClock;

impl Clock for MonotonicClock {
    fn now(&self) -> Duration {
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        ORIGIN.get_or_init(Instant::now).elapsed()
    }
}

/// A clock that stands still until [`TestClock::advance`] moves it. It starts at zero.
#[derive(Debug, Default)]
pub struct TestClock {
    nanos: AtomicU64,
}

impl TestClock {
    /// Moves the clock on by `by`. It stops at its end, 584 years after its start.
    pub fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        let moved = |now: u64| Some(now.saturating_add(by));
        // The closure never refuses, so neither does the update.
        let _ = self.nanos.fetch_update(Ordering::SeqCst, Ordering::SeqCst, moved);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_clock_moves_only_when_told_and_stops_at_its_end() {
        let clock = TestClock::default();
        assert_eq!(clock.now(), Duration::ZERO);
        clock.advance(Duration::from_millis(1500));
        clock.advance(Duration::from_millis(500));
        assert_eq!(clock.now(), Duration::from_secs(2));
        clock.advance(Duration::MAX);
        assert_eq!(clock.now(), Duration::from_nanos(u64::MAX));
    }

    #[test]
    fn two_monotonic_clocks_share_their_origin() {
        let first = MonotonicClock;
        while first.now() < Duration::from_millis(1) {
            std::hint::spin_loop();
        }
        let before = first.now();
        let second = MonotonicClock.now();
        assert!(before <= second, "a clock with an origin of its own would begin anew");
    }
}
