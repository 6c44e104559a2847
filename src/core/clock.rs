//! Monotonic time behind a trait, so that tests move it by hand instead of waiting.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, ThreadId};
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

/// The clock that the services of this process go by: the system's monotonic one, until a test holds it.
///
/// While it is held it stands still but for [`ServiceClock::advance`], and a [`super::wake::Wake`] that the holder
/// waits on moves it on instead of waiting. Let go, it runs on from there: it never goes back.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServiceClock;

/// Where the hands of the service clock stand.
struct Hands {
    held: Option<(Duration, ThreadId)>,
    /// At this time by the monotonic clock, this one showed this.
    released: (Duration, Duration),
}

static HANDS: Mutex<Hands> = Mutex::new(Hands { held: None, released: (Duration::ZERO, Duration::ZERO) });
/// Whether the clock was ever held: a service that no test has touched takes no lock to know the time.
static EVER_HELD: AtomicBool = AtomicBool::new(false);

fn hands() -> MutexGuard<'static, Hands> {
    HANDS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hands {
    fn now(&self) -> Duration {
        let (monotonic, shown) = self.released;
        self.held.map_or_else(|| shown + MonotonicClock.now().saturating_sub(monotonic), |(at, _)| at)
    }
}

impl ServiceClock {
    /// Holds it for the calling thread. `false`: somebody holds it already.
    pub fn hold() -> bool {
        let mut hands = hands();
        let free = hands.held.is_none();
        if free {
            hands.held = Some((hands.now(), thread::current().id()));
            EVER_HELD.store(true, Ordering::SeqCst);
        }
        free
    }

    /// Moves it on by `by`, if it is held; at most to its end, centuries away.
    pub fn advance(by: Duration) {
        let by = by.min(Duration::from_secs(u64::from(u32::MAX)));
        if let Some((at, _)) = &mut hands().held {
            *at = at.saturating_add(by);
        }
    }

    /// Lets it run on.
    pub fn release() {
        let mut hands = hands();
        hands.released = (MonotonicClock.now(), hands.now());
        hands.held = None;
    }

    /// Whether the calling thread holds it.
    pub fn is_held() -> bool {
        EVER_HELD.load(Ordering::SeqCst) && hands().held.is_some_and(|(_, by)| by == thread::current().id())
    }
}

impl Clock for ServiceClock {
    fn now(&self) -> Duration {
        if EVER_HELD.load(Ordering::SeqCst) { hands().now() } else { MonotonicClock.now() }
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
    use std::sync::Arc;

    use super::*;
    use crate::core::wake::{Wake, Woken};

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
    fn the_service_clock_is_moved_by_its_holder_only_and_never_goes_back() {
        let hour = Duration::from_secs(3600);
        let begin = ServiceClock.now();
        ServiceClock::advance(hour);
        assert!(ServiceClock.now() < begin + hour, "nobody holds it");
        assert!(ServiceClock::hold());
        assert!(!ServiceClock::hold(), "it is held already");
        let held = ServiceClock.now();
        assert!(begin <= held);

        let wake = Arc::new(Wake::new().unwrap());
        assert_eq!(wake.wait(Some(hour)).unwrap(), Woken::TimedOut);
        assert_eq!(ServiceClock.now(), held + hour, "the wait took no time, and an hour by this clock");
        wake.notify();
        assert_eq!(wake.wait(Some(hour)).unwrap(), Woken::Notified);
        wake.clear();
        let other = Arc::clone(&wake);
        let theirs = thread::spawn(move || other.wait(Some(Duration::from_millis(1))).unwrap());
        assert_eq!(theirs.join().unwrap(), Woken::TimedOut);
        assert_eq!(ServiceClock.now(), held + hour, "another thread's wait does not move it");

        ServiceClock::advance(hour);
        ServiceClock::release();
        assert!(!ServiceClock::is_held());
        let released = ServiceClock.now();
        assert!(released >= held + 2 * hour);
        assert!(released < held + 3 * hour, "it runs on from where it stood");
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
