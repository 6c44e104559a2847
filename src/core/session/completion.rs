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

/// The messages that one watcher has been told of: it may watch thousands, and looks only at those that have
/// changed.
#[derive(Debug)]
pub struct Settled {
    wake: Arc<Wake>,
    tokens: Mutex<Vec<u64>>,
}

impl Settled {
    /// `wake` is notified when there is something to [`Self::take`].
    pub fn new(wake: Arc<Wake>) -> Self {
        Self { wake, tokens: Mutex::new(Vec::new()) }
    }

    fn tokens(&self) -> MutexGuard<'_, Vec<u64>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, token: u64) {
        self.tokens().push(token);
        self.wake.notify();
    }

    /// The tokens of what was settled since the last call, in that order.
    pub fn take(&self) -> Vec<u64> {
        std::mem::take(&mut *self.tokens())
    }
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
    watchers: Vec<(Arc<Settled>, u64)>,
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
            for (settled, token) in state.watchers.drain(..) {
                settled.push(token);
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

    /// Puts `token` into `settled` when it is settled; at once if it is.
    pub fn watch(&self, settled: &Arc<Settled>, token: u64) {
        let mut state = self.state();
        if state.outcome == Outcome::Pending {
            state.watchers.push((Arc::clone(settled), token));
        } else {
            settled.push(token);
        }
    }

    /// Takes a [`Self::watch`] back: whoever waited has given up.
    pub fn unwatch(&self, settled: &Arc<Settled>, token: u64) {
        let mut state = self.state();
        state.watchers.retain(|(other, number)| *number != token || !Arc::ptr_eq(other, settled));
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
        let settled = Arc::new(Settled::new(Arc::clone(&wake)));
        completion.watch(&settled, 7);
        let other = Arc::clone(&completion);
        let thread = std::thread::spawn(move || other.wait(Duration::from_secs(30)));
        completion.resolve(Outcome::Done);
        assert_eq!(thread.join().unwrap(), Outcome::Done);
        assert_eq!(wake.wait(Some(Duration::ZERO)).unwrap(), crate::core::wake::Woken::Notified);
        completion.watch(&settled, 8);
        assert_eq!(settled.take(), [7, 8]);
        assert!(settled.take().is_empty());
    }

    #[test]
    fn watchers_that_have_given_up_leave_nothing_behind() {
        let completion = Completion::default();
        let settled = Arc::new(Settled::new(Arc::new(Wake::new().unwrap())));
        let other = Arc::new(Settled::new(Arc::new(Wake::new().unwrap())));
        completion.watch(&other, 3);
        for token in 0..1000 {
            completion.watch(&settled, token);
            completion.unwatch(&settled, token);
        }
        assert_eq!(completion.state().watchers.len(), 1);
        completion.resolve(Outcome::Done);
        assert!(settled.take().is_empty());
        assert_eq!(other.take(), [3]);
    }
}
