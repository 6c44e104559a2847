//! [`crate::core::schedule`] for Python.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::core::clock::{Clock, ServiceClock};
use crate::core::schedule::Timer as CoreTimer;

fn now() -> Duration {
    ServiceClock.now()
}

fn seconds_until(due: Duration, now: Duration) -> f64 {
    // The difference first: as numbers, two times that are far from zero have lost what is between them.
    match due.checked_sub(now) {
        Some(left) => left.as_secs_f64(),
        None => -(now.saturating_sub(due).as_secs_f64()),
    }
}

/// Seconds until the first of `timers` is due, zero or less if one is. Those that are stopped or busy do not count;
/// None: there are no others.
#[pyfunction]
#[pyo3(signature = (timers: "list[Timer]"))]
pub fn due_in(timers: &Bound<'_, PyList>) -> PyResult<Option<f64>> {
    let mut first: Option<Duration> = None;
    for timer in timers {
        let timer = timer.cast::<Timer>()?.get();
        if !timer.busy.load(Ordering::SeqCst)
            && let Some(due) = timer.inner().next_due()
        {
            first = Some(first.map_or(due, |first| first.min(due)));
        }
    }
    Ok(first.map(|due| seconds_until(due, now())))
}

/// When a loop is due: on a grid of `interval_us` microseconds, by the clock of the services. Starts stopped.
#[pyclass(frozen, module = "miqro._native")]
pub struct Timer {
    inner: Mutex<CoreTimer>,
    /// A call goes on that the next one must not overlap.
    busy: AtomicBool,
}

impl Timer {
    fn inner(&self) -> MutexGuard<'_, CoreTimer> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Timer {
    #[new]
    fn new(interval_us: u64) -> Self {
        let inner = Mutex::new(CoreTimer::new(Duration::from_micros(interval_us)));
        Self { inner, busy: AtomicBool::new(false) }
    }

    /// Changes the interval, counted from the last time the timer was due.
    fn set_interval(&self, interval_us: u64) {
        self.inner().set_interval(Duration::from_micros(interval_us));
    }

    /// Starts a new grid: due at once, or after one interval if `delayed`.
    fn start(&self, delayed: bool) {
        self.inner().start(now(), delayed);
    }

    /// Starts a new grid: due in `seconds`, at once if that is negative.
    fn start_in(&self, seconds: f64) {
        self.inner().start_at(now() + Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO));
    }

    /// Not due any more.
    fn stop(&self) {
        self.inner().stop();
    }

    /// Seconds until it is due, zero or less if it is; None while stopped.
    fn remaining(&self) -> Option<f64> {
        Some(seconds_until(self.inner().next_due()?, now()))
    }

    /// Says whether a call goes on that the next one must not overlap: until it has ended, none begins.
    fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::SeqCst);
    }

    /// Whether it is due; if so, the next time is set: a call begins.
    fn take_due(&self) -> bool {
        if self.busy.load(Ordering::SeqCst) {
            return false;
        }
        let mut timer = self.inner();
        let now = now();
        let due = timer.is_due(now);
        if due {
            timer.called(now);
        }
        due
    }

    /// The call has failed: the next one waits a second at least, then is back on the grid.
    fn failed(&self) {
        self.inner().failed(now());
    }
}
