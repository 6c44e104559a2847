//! How a publisher learns what became of its message.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::core::wake::Wake;

/// Why an accepted message will never be acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishFailure {
    /// It made room for newer ones while the broker was away.
    #[error("the message was dropped: the queue was full while the broker was away")]
    Dropped,
    /// The session ended first.
    #[error("the session was closed before the broker acknowledged the message")]
    Closed,
    /// Its time was over before it could be sent.
    #[error("the message expired before it could be sent")]
    Expired,
    /// The broker does not take it: why, in words.
    #[error("{0}")]
    Refused(Arc<str>),
}

/// What is known so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing.
    Pending,
    /// Acknowledged (QoS 0: written to the socket).
    Done,
    /// Will not be.
    Failed(PublishFailure),
}

/// Resolved once, on the broker's acknowledgement, never on "queued".
#[derive(Debug)]
pub struct Completion {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    outcome: Outcome,
    /// Threads in [`Completion::wait`]: without any, telling them is not worth a system call.
    waiters: usize,
    watchers: Vec<Arc<Wake>>,
}

impl Default for Completion {
    fn default() -> Self {
        Self {
            state: Mutex::new(State { outcome: Outcome::Pending, waiters: 0, watchers: Vec::new() }),
            changed: Condvar::new(),
        }
    }
}

impl Completion {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known now.
    pub fn outcome(&self) -> Outcome {
        self.state().outcome.clone()
    }

    /// Settles it; later calls change nothing.
    pub fn resolve(&self, outcome: Outcome) {
        let mut state = self.state();
        if state.outcome == Outcome::Pending {
            state.outcome = outcome;
            for watcher in state.watchers.drain(..) {
                watcher.notify();
            }
            let waiters = state.waiters;
            drop(state);
            if waiters > 0 {
                self.changed.notify_all();
            }
        }
    }

    /// Waits until it is settled, `timeout` at most, and says what is known then.
    pub fn wait(&self, timeout: Duration) -> Outcome {
        let deadline = Instant::now().checked_add(timeout);
        let mut state = self.state();
        while state.outcome == Outcome::Pending {
            let left =
                deadline.map_or(timeout, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                break;
            }
            state.waiters += 1;
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            state.waiters -= 1;
        }
        state.outcome.clone()
    }

    /// Has `wake` notified when it is settled; at once if it is.
    pub fn watch(&self, wake: &Arc<Wake>) {
        let mut state = self.state();
        if state.outcome == Outcome::Pending {
            state.watchers.push(Arc::clone(wake));
        } else {
            wake.notify();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_outcome_stays() {
        let completion = Completion::default();
        completion.resolve(Outcome::Failed(PublishFailure::Closed));
        completion.resolve(Outcome::Done);
        assert_eq!(completion.outcome(), Outcome::Failed(PublishFailure::Closed));
    }

    #[test]
    fn a_waiter_and_a_watcher_learn_of_it() {
        let completion = Arc::new(Completion::default());
        assert_eq!(completion.wait(Duration::ZERO), Outcome::Pending);
        let wake = Arc::new(Wake::new().unwrap());
        completion.watch(&wake);
        let other = Arc::clone(&completion);
        let thread = std::thread::spawn(move || other.wait(Duration::from_secs(30)));
        completion.resolve(Outcome::Done);
        assert_eq!(thread.join().unwrap(), Outcome::Done);
        assert_eq!(wake.wait(Some(Duration::ZERO)).unwrap(), crate::core::wake::Woken::Notified);
    }
}
