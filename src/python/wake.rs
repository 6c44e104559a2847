//! [`crate::core::wake`] for Python.
#![expect(clippy::doc_markdown, reason = "these comments are docstrings for Python, in Google style")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use crate::core::fork;
use crate::core::wake::{Wake as CoreWake, Woken};

/// Seconds as Python has them: none below zero, and what no `Duration` can hold is for ever.
pub fn to_duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}

/// A descriptor to sleep on. `fileno()` becomes readable when somebody calls `notify()`.
#[pyclass(frozen, module = "miqro._native")]
pub struct Wake {
    pub inner: Arc<CoreWake>,
}

/// To be called in the child after each `fork()`, by `os.register_at_fork`.
#[pyfunction]
pub fn forked() {
    fork::forked();
}

#[pymethods]
impl Wake {
    /// Opens the descriptors.
    ///
    /// Raises:
    ///     OSError: The process has none left.
    #[new]
    fn new() -> PyResult<Self> {
        Ok(Self { inner: Arc::new(CoreWake::new()?) })
    }

    /// Wakes whoever waits, now or at their next wait. Any thread may call it.
    fn notify(&self) {
        self.inner.notify();
    }

    /// Takes the notification back. Look at the work after this call, not before.
    fn clear(&self) {
        self.inner.clear();
    }

    /// Sleeps until notified, or for `timeout` seconds (None: for ever).
    ///
    /// Returns:
    ///     Whether it was notified. Signal handlers of Python run meanwhile, and what they raise is raised.
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let timeout = timeout.map(to_duration);
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut left = timeout;
        loop {
            match py.detach(|| self.inner.wait(left))? {
                Woken::Notified => return Ok(true),
                Woken::TimedOut => return Ok(false),
                Woken::Interrupted => py.check_signals()?,
            }
            left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        }
    }

    /// As `wait`, and takes the notification back.
    fn sleep(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        if self.wait(py, timeout)? {
            self.inner.clear();
        }
        Ok(())
    }

    /// The descriptor that becomes readable: for `select`, `add_reader`.
    fn fileno(&self) -> i32 {
        self.inner.fileno()
    }

    /// The descriptor for `signal.set_wakeup_fd`: a signal then ends the wait, whichever thread receives it.
    fn signal_fileno(&self) -> i32 {
        self.inner.signal_fileno()
    }
}
