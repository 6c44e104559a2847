//! When a loop is due (contract C51): on a grid, never in bursts, never drifting.
//!
//! Times are readings of one monotonic clock, as durations since its origin; the caller reads the clock, so
//! that tests need none.

use std::time::Duration;

/// What a failing loop waits at least before it is called again (C16).
pub const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// The grid of one loop: call `n` is due at `origin + n * interval`.
#[derive(Debug, Clone)]
pub struct Timer {
    interval: Duration,
    origin: Duration,
    next: Option<Duration>,
}

impl Timer {
    /// A stopped timer.
    pub fn new(interval: Duration) -> Self {
        Self { interval, origin: Duration::ZERO, next: None }
    }

    /// The time between two calls.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Changes the interval. A running timer is due one new interval after the last time it was due, so that
    /// a change takes effect now and not after the old interval; a first call still to come stays where it is.
    pub fn set_interval(&mut self, interval: Duration) {
        self.interval = interval;
        if let Some(next) = self.next
            && next != self.origin
        {
            self.next = Some(self.origin + interval);
        }
    }

    /// Starts a grid at `now`; the first call is due at once, or after one interval if `delayed`.
    pub fn start(&mut self, now: Duration, delayed: bool) {
        self.origin = now;
        self.next = Some(if delayed { now + self.interval } else { now });
    }

    /// Starts a grid whose first call is due at `first`.
    pub fn start_at(&mut self, first: Duration) {
        self.origin = first;
        self.next = Some(first);
    }

    /// No call is due any more.
    pub fn stop(&mut self) {
        self.next = None;
    }

    /// When the next call is due; `None` while stopped.
    pub fn next_due(&self) -> Option<Duration> {
        self.next
    }

    /// Whether a call is due at `now`.
    pub fn is_due(&self, now: Duration) -> bool {
        self.next.is_some_and(|next| next <= now)
    }

    /// A call begins at `now`: the next one is due at the first point of the grid after it. Points that have
    /// passed are covered by this call.
    pub fn called(&mut self, now: Duration) {
        let Some(due) = self.next else { return };
        self.origin = due;
        self.next = Some(self.grid_after(now));
    }

    /// A call that ended at `now` has failed: the next one waits [`FAILURE_PAUSE`], then is back on the grid.
    /// A loop that was stopped or restarted meanwhile is left alone.
    pub fn failed(&mut self, now: Duration) {
        let earliest = now + FAILURE_PAUSE;
        if let Some(next) = self.next
            && next < earliest
            && next > self.origin
        {
            self.next = Some(if self.interval.is_zero() {
                earliest
            } else {
                self.grid_after(earliest.saturating_sub(Duration::from_nanos(1)))
            });
        }
    }

    /// The first point of the grid later than `now`; `now` itself where the interval is zero.
    fn grid_after(&self, now: Duration) -> Duration {
        if self.interval.is_zero() {
            return now;
        }
        let passed = now.saturating_sub(self.origin).as_nanos() / self.interval.as_nanos();
        let ahead = self.interval.as_nanos() * (passed + 1);
        let nanos = self.origin.as_nanos() + ahead;
        Duration::new(
            u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX),
            u32::try_from(nanos % 1_000_000_000).unwrap_or(0),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn the_first_call_is_due_at_once_and_the_others_on_the_grid() {
        let mut timer = Timer::new(ms(250));
        timer.start(ms(1000), false);
        for n in 0..5 {
            let due = ms(1000 + 250 * n);
            assert_eq!(timer.next_due(), Some(due));
            timer.called(due + ms(3));
        }
    }

    #[test]
    fn a_late_loop_is_called_once_and_stays_on_its_grid() {
        let mut timer = Timer::new(ms(100));
        timer.start(ms(0), true);
        timer.called(ms(570));
        assert_eq!(timer.next_due(), Some(ms(600)));
    }

    #[test]
    fn a_call_that_takes_longer_than_the_interval_is_followed_at_once_by_one_call() {
        let mut timer = Timer::new(ms(1000));
        timer.start(ms(0), false);
        timer.called(ms(0));
        assert!(timer.is_due(ms(1500)));
        timer.called(ms(1500));
        assert_eq!(timer.next_due(), Some(ms(2000)));
    }

    #[test]
    fn a_failing_loop_waits_a_second_and_is_back_on_its_grid() {
        let mut timer = Timer::new(ms(300));
        timer.start(ms(0), false);
        timer.called(ms(0));
        timer.failed(ms(10));
        assert_eq!(timer.next_due(), Some(ms(1200)));
        let mut slow = Timer::new(ms(60_000));
        slow.start(ms(0), false);
        slow.called(ms(0));
        slow.failed(ms(10));
        assert_eq!(slow.next_due(), Some(ms(60_000)));
        let mut eager = Timer::new(Duration::ZERO);
        eager.start(ms(5), false);
        eager.called(ms(7));
        eager.failed(ms(8));
        assert_eq!(eager.next_due(), Some(ms(1008)));
    }

    #[test]
    fn interval_zero_is_always_due() {
        let mut timer = Timer::new(Duration::ZERO);
        timer.start(ms(5), false);
        timer.called(ms(7));
        assert!(timer.is_due(ms(7)));
    }

    #[test]
    fn a_new_interval_counts_from_the_last_call() {
        let mut timer = Timer::new(ms(60_000));
        timer.start(ms(0), false);
        timer.set_interval(ms(1000));
        assert_eq!(timer.next_due(), Some(ms(0)));
        timer.called(ms(0));
        timer.set_interval(ms(5000));
        assert_eq!(timer.next_due(), Some(ms(5000)));
    }

    #[test]
    fn a_stopped_timer_is_never_due_and_its_call_does_not_restart_it() {
        let mut timer = Timer::new(ms(10));
        timer.start(ms(0), false);
        timer.stop();
        timer.called(ms(50));
        assert!(!timer.is_due(ms(1_000_000)));
    }

    proptest! {
        #[test]
        fn every_due_time_is_on_the_grid_and_after_the_call(
            interval in 1u64..10_000_000_000, lateness in prop::collection::vec(0u64..30_000_000_000, 1..50)
        ) {
            let origin = Duration::from_nanos(123_456_789);
            let mut timer = Timer::new(Duration::from_nanos(interval));
            timer.start(origin, false);
            for late in lateness {
                let due = timer.next_due().unwrap();
                prop_assert_eq!(due.saturating_sub(origin).as_nanos() % u128::from(interval), 0);
                let now = due + Duration::from_nanos(late);
                timer.called(now);
                let next = timer.next_due().unwrap();
                prop_assert!(next > now);
                prop_assert!(next.saturating_sub(now) <= Duration::from_nanos(interval));
            }
        }
    }
}
