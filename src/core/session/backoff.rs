//! How long to wait before the next attempt to connect.

use std::time::Duration;

/// A connection shorter than this has not proved that things are well again.
const STABLE_AFTER: Duration = Duration::from_secs(10);

/// No delay at all would have a broker that refuses us asked again as fast as the processor can.
const SHORTEST: Duration = Duration::from_millis(10);

/// Exponential, with jitter, and not reset by connections that do not last: two clients with one id would
/// otherwise throw each other out every second for ever.
#[derive(Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    ceiling: Duration,
}

impl Backoff {
    /// Delays between `min`, 10 ms at least, and `max`.
    pub fn new(min: Duration, max: Duration) -> Self {
        let min = min.max(SHORTEST);
        Self { min, max: max.max(min), ceiling: min }
    }

    /// Delays between these from now on.
    pub fn set_limits(&mut self, min: Duration, max: Duration) {
        let ceiling = self.ceiling;
        *self = Self::new(min, max);
        self.ceiling = ceiling.clamp(self.min, self.max);
    }

    /// The next delay. `random` is uniform in 0..1: half of the delay is fixed and half is drawn, so that the
    /// clients of a broker that comes back do not come back together.
    pub fn next_delay(&mut self, random: f64) -> Duration {
        let delay = self.ceiling.mul_f64(0.5 + 0.5 * random.clamp(0.0, 1.0));
        self.ceiling = (self.ceiling * 2).min(self.max);
        delay
    }

    /// A connection has ended after `lived`; one that lasted resets the delays.
    pub fn connection_ended(&mut self, lived: Duration) {
        if lived >= STABLE_AFTER.max(self.ceiling * 2) {
            self.ceiling = self.min;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn new_limits_hold_from_the_next_delay_on() {
        let mut backoff = Backoff::new(SECOND, 60 * SECOND);
        for _ in 0..10 {
            backoff.next_delay(1.0);
        }
        backoff.set_limits(SECOND, 5 * SECOND);
        assert_eq!(backoff.next_delay(1.0), 5 * SECOND);
        backoff.set_limits(10 * SECOND, 20 * SECOND);
        assert_eq!(backoff.next_delay(1.0), 10 * SECOND);
        assert_eq!(backoff.next_delay(1.0), 20 * SECOND);
    }

    #[test]
    fn delays_double_up_to_the_limit_and_stay_within_their_jitter() {
        let mut backoff = Backoff::new(SECOND, SECOND * 8);
        let delays: Vec<_> = (0..6).map(|_| backoff.next_delay(1.0)).collect();
        assert_eq!(delays, [1, 2, 4, 8, 8, 8].map(|n| SECOND * n));
        assert_eq!(backoff.next_delay(0.0), SECOND * 4);
    }

    #[test]
    fn a_delay_of_zero_does_not_make_it_spin() {
        let mut backoff = Backoff::new(Duration::ZERO, Duration::ZERO);
        assert!((0..100).all(|_| backoff.next_delay(0.0) >= SHORTEST / 2));
    }

    #[test]
    fn only_a_connection_that_lasts_resets_the_delay() {
        let mut backoff = Backoff::new(SECOND, SECOND * 60);
        for _ in 0..5 {
            backoff.next_delay(1.0);
            backoff.connection_ended(SECOND * 2);
        }
        assert_eq!(backoff.next_delay(1.0), SECOND * 32);
        backoff.connection_ended(SECOND * 200);
        assert_eq!(backoff.next_delay(1.0), SECOND);
    }
}
