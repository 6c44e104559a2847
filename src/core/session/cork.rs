//! What a handler or a loop publishes goes out together, in one write, when it ends.
//!
//! The network thread is quicker than Python: without this it would be woken for each message, and make a
//! system call for each. A handler that goes on for long does not hold its messages back for long: see
//! [`HOLD`].

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

/// How long a message may be held back, in the network thread's timer, which counts in milliseconds.
pub const HOLD: Duration = Duration::from_millis(1);

/// Nothing is held back.
const OPEN: u8 = 0;
/// The service is at work; the network thread does not know of a message yet.
const CORKED: u8 = 1;
/// The service is at work, and the network thread holds its messages back: it need not be told of more.
const HOLDING: u8 = 2;

/// See the module. Shared by the service, its publishing threads and the network thread.
#[derive(Debug, Default)]
pub struct Cork {
    state: AtomicU8,
    /// It was opened while the network thread held back; it may be closed again by now.
    opened: AtomicBool,
}

impl Cork {
    /// The service begins to work; `false` if it was at work already.
    pub fn close(&self) -> bool {
        // The network thread may hold messages back already, from a step inside this one.
        self.state.compare_exchange(OPEN, CORKED, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// The service has nothing more to say for now; whether the network thread has to be told.
    pub fn open(&self) -> bool {
        let held = self.state.swap(OPEN, Ordering::SeqCst) == HOLDING;
        if held {
            self.opened.store(true, Ordering::SeqCst);
        }
        held
    }

    /// Whether the network thread has to be told of a message.
    pub fn wants_to_know(&self) -> bool {
        self.state.load(Ordering::SeqCst) != HOLDING
    }

    /// The network thread holds back; `false` if there is no reason to.
    pub fn hold(&self) -> bool {
        self.state.compare_exchange(CORKED, HOLDING, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Whether something is held back.
    pub fn is_holding(&self) -> bool {
        self.state.load(Ordering::SeqCst) == HOLDING
    }

    /// Whether it was opened since the network thread began to hold back. Asked once: then it writes.
    pub fn was_opened(&self) -> bool {
        self.opened.swap(false, Ordering::SeqCst)
    }

    /// The network thread has held back for long enough: it writes, and wants to know of the next message.
    pub fn release(&self) {
        let _ = self.state.compare_exchange(HOLDING, CORKED, Ordering::SeqCst, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_thread_is_told_of_the_first_message_and_of_the_end() {
        let cork = Cork::default();
        assert!(!cork.hold());
        assert!(cork.close() && !cork.close());
        assert!(cork.wants_to_know());
        assert!(cork.hold() && !cork.was_opened());
        assert!(!cork.wants_to_know());
        assert!(cork.open());
        assert!(cork.close());
        assert!(cork.wants_to_know() && cork.was_opened() && !cork.was_opened());
    }

    #[test]
    fn after_a_release_the_next_message_is_told_again() {
        let cork = Cork::default();
        assert!(cork.close());
        assert!(cork.hold());
        cork.release();
        assert!(cork.wants_to_know());
        assert!(!cork.open());
    }
}
