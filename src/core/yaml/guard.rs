//! A net under `libyaml-safer`: it panics on some malformed input, and a panic is no answer to a broken file.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`; `None` if it panicked. The panic prints nothing: the hook in place before still sees every panic
/// of other code, on this thread and on others.
pub(super) fn catch<T>(work: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                before(info);
            }
        }));
    });
    let was_quiet = QUIET.replace(true);
    // What `work` touched is dropped with it, so nothing half-done is ever seen.
    let outcome = panic::catch_unwind(AssertUnwindSafe(work)).ok();
    QUIET.set(was_quiet);
    outcome
}
