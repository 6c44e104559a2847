//! Which side of a `fork()` this is. A child has the memory of its parent but none of its threads: a session that
//! runs in the parent cannot be used in the child, and what both would write to must become the child's own.

use std::sync::atomic::{AtomicU32, Ordering};

static GENERATION: AtomicU32 = AtomicU32::new(0);

/// To be called in the child, right after a `fork()`.
pub fn forked() {
    GENERATION.fetch_add(1, Ordering::SeqCst);
}

/// How many forks lie between the first process and this one.
pub fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}
