//! [`crate::core::clock`] for Python: what `miqro.test.tools` moves, and the rest of the package reads.

use std::time::Duration;

use pyo3::prelude::*;

use crate::core::clock::{Clock, ServiceClock};

/// The time by the clock that services go by, in nanoseconds since some moment of the past. It never goes back.
#[pyfunction]
pub fn clock_now() -> u64 {
    u64::try_from(ServiceClock.now().as_nanos()).unwrap_or(u64::MAX)
}

/// Holds the clock for this thread: it stands still, and waiting moves it on instead of taking time.
///
/// Returns:
///     `False` if it is held already.
#[pyfunction]
pub fn clock_hold() -> bool {
    ServiceClock::hold()
}

/// Whether this thread holds the clock.
#[pyfunction]
pub fn clock_is_held() -> bool {
    ServiceClock::is_held()
}

/// Moves the clock on by `seconds`, while it is held.
#[pyfunction]
pub fn clock_advance(seconds: f64) {
    ServiceClock::advance(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO));
}

/// Lets the clock run on from where it stands.
#[pyfunction]
pub fn clock_release() {
    ServiceClock::release();
}
