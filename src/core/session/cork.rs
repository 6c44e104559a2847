//! What a handler or a loop publishes goes out in two writes at most: the first message at once, what follows
//! together, when it ends.
//!
//! The network thread is quicker than Python: without this it would be woken for each message, and make a
//! system call for each. A handler that goes on for long does not hold its messages back for long: see
//! [`HOLD`]. The first message is not held back, for most handlers have no more to say, and watching over one
//! that is held back costs more than to write it.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

/// How long a message may be held back.
pub const HOLD: Duration = Duration::from_millis(1);

/// Nothing is held back.
const OPEN: u8 = 0;
/// The service is at work, and has said nothing yet.
const CORKED: u8 = 1;
/// The service is at work, and has said something; the network thread does not know of more.
const SPOKEN: u8 = 2;
/// The service is at work, and its messages are held back: the network thread need not be told of more.
const HOLDING: u8 = 3;

/// See the module. Shared by the service, its publishing threads and the network thread.
#[derive(Debug, Default)]
pub struct Cork {
    state: AtomicU8,
    /// It was opened while something was held back; it may be closed again by now.
    opened: AtomicBool,
}

/// What is to be done about a message that could be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Now {
    /// It is the first one: it leaves at once, from this thread.
    Send,
    /// It is held back; the network thread is to be told if that lasts for [`HOLD`].
    Hold,
    /// It is held back with others.
    Nothing,
    /// The network thread has to know of it.
    Tell,
}

impl Cork {
    /// The service begins to work; `false` if it was at work already.
    pub fn close(&self) -> bool {
        // The network thread may hold messages back already, from a step inside this one.
        self.state.compare_exchange(OPEN, CORKED, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// The service has nothing more to say for now; whether something was held back.
    pub fn open(&self) -> bool {
        let held = self.state.swap(OPEN, Ordering::SeqCst) == HOLDING;
        if held {
            self.opened.store(true, Ordering::SeqCst);
        }
        held
    }

    /// A message waits that could be sent. `is_direct` says whether this thread could do that.
    pub fn message(&self, is_direct: impl FnOnce() -> bool) -> Now {
        let state = self.state.load(Ordering::SeqCst);
        if state == HOLDING {
            return Now::Nothing;
        }
        if state == OPEN || !is_direct() {
            return Now::Tell;
        }
        let (next, what) = if state == CORKED { (SPOKEN, Now::Send) } else { (HOLDING, Now::Hold) };
        let changed = self.state.compare_exchange(state, next, Ordering::SeqCst, Ordering::SeqCst);
        changed.map_or(Now::Tell, |_| what)
    }

    /// Holds back what there is to send; `false` if the service is not at work.
    pub fn hold(&self) -> bool {
        let hold = |state| matches!(state, CORKED | SPOKEN).then_some(HOLDING);
        self.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, hold).is_ok()
    }

    /// Whether something is held back.
    pub fn is_holding(&self) -> bool {
        self.state.load(Ordering::SeqCst) == HOLDING
    }

    /// Whether it was opened since something began to be held back. Asked once: then it is written.
    pub fn was_opened(&self) -> bool {
        self.opened.swap(false, Ordering::SeqCst)
    }

    /// It was held back for long enough: it is written, and the next message is told of again.
    pub fn release(&self) {
        let _ = self.state.compare_exchange(HOLDING, SPOKEN, Ordering::SeqCst, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message_leaves_and_the_next_are_held_back() {
        let cork = Cork::default();
        assert_eq!(cork.message(|| true), Now::Tell);
        assert!(cork.close() && !cork.close());
        assert_eq!(cork.message(|| true), Now::Send);
        assert_eq!(cork.message(|| true), Now::Hold);
        assert_eq!(cork.message(|| true), Now::Nothing);
        assert!(cork.open() && cork.was_opened() && !cork.was_opened());
        assert!(cork.close() && !cork.open());
    }

    #[test]
    fn where_the_network_thread_writes_it_is_told_until_it_holds_back() {
        let cork = Cork::default();
        assert!(!cork.hold());
        assert!(cork.close());
        assert_eq!(cork.message(|| false), Now::Tell);
        assert!(cork.hold() && !cork.hold());
        assert_eq!(cork.message(|| false), Now::Nothing);
        assert!(cork.open());
    }

    #[test]
    fn after_a_release_the_next_message_is_told_again() {
        let cork = Cork::default();
        assert!(cork.close());
        assert!(cork.hold());
        cork.release();
        assert_eq!(cork.message(|| true), Now::Hold);
        cork.release();
        assert!(!cork.open());
    }
}
