//! A descriptor to sleep on: anything that has work for the service writes to it, the service waits in
//! `poll(2)`, and asyncio can watch it with `add_reader`.
//!
//! It is a non-blocking pipe, not an eventfd: Python's `signal.set_wakeup_fd` writes single bytes, which an
//! eventfd refuses, and with the signal's byte in the same descriptor Ctrl-C ends a wait even when another
//! thread of the process was the one to receive the signal.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::SigSet;
use nix::unistd::{pipe, read, write};

use super::clock::ServiceClock;
use super::fork;

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// Somebody called [`Wake::notify`] (or wrote to the descriptor).
    Notified,
    /// The timeout passed.
    TimedOut,
    /// A signal was delivered to this thread; look at it and wait again.
    Interrupted,
}

/// A wake-up flag with a file descriptor.
#[derive(Debug)]
pub struct Wake {
    reader: OwnedFd,
    writer: OwnedFd,
    /// Set while a byte of ours is in the pipe: a thousand notifications cost one write.
    signalled: AtomicBool,
    /// The process it belongs to.
    generation: u32,
    /// What a child of that process has instead: a pipe that both read would wake the wrong one.
    of_child: OnceLock<Box<Self>>,
}

impl Wake {
    /// Opens the pipe.
    ///
    /// # Errors
    /// The operating system's, when the process has no descriptors left.
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = pipe()?;
        for end in [&reader, &writer] {
            fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        }
        Ok(Self {
            reader,
            writer,
            signalled: AtomicBool::new(false),
            generation: fork::generation(),
            of_child: OnceLock::new(),
        })
    }

    /// The one of this process.
    fn own(&self) -> &Self {
        if self.generation == fork::generation() {
            return self;
        }
        let own = self.of_child.get().or_else(|| {
            let new = Self::new().ok()?;
            Some(self.of_child.get_or_init(|| Box::new(new)))
        });
        // Without descriptors left, the parent's is better than none.
        own.map_or(self, |own| own.own())
    }

    /// Wakes whoever waits, now or at their next wait. Any thread may call it.
    pub fn notify(&self) {
        let own = self.own();
        if !own.signalled.swap(true, Ordering::SeqCst) {
            // A full pipe is readable already, which is all we want; nothing else can go wrong here.
            let _ = write(&own.writer, &[0]);
        }
    }

    /// Takes the notification back. Look at the work after this call, not before: what is announced between
    /// the two is then either seen or announced again.
    pub fn clear(&self) {
        let mut sink = [0u8; 64];
        let own = self.own();
        while matches!(read(&own.reader, &mut sink), Ok(n) if n == sink.len()) {}
        own.signalled.store(false, Ordering::SeqCst);
    }

    /// Sleeps until notified, or until `timeout` has passed (`None`: for ever). Does not clear. For a thread that
    /// holds the [`ServiceClock`], the timeout passes at once, by that clock.
    ///
    /// # Errors
    /// The operating system's.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<Woken> {
        let mut fds = [PollFd::new(self.own().reader.as_fd(), PollFlags::POLLIN)];
        let passes_at_once = timeout.filter(|_| ServiceClock::is_held());
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut left = passes_at_once.map_or(timeout, |_| Some(Duration::ZERO));
        loop {
            match poll(&mut fds, left.map(punctual)) {
                Ok(0) => {
                    passes_at_once.inspect(|timeout| ServiceClock::advance(*timeout));
                    left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
                    if passes_at_once.is_some() || left.is_none_or(|left| left.is_zero()) {
                        return Ok(Woken::TimedOut);
                    }
                }
                Ok(_) => return Ok(Woken::Notified),
                Err(Errno::EINTR) => return Ok(Woken::Interrupted),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// The end that becomes readable: for `poll`, `select`, `add_reader`.
    pub fn fileno(&self) -> RawFd {
        self.own().reader.as_raw_fd()
    }

    /// The same, borrowed.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.own().reader.as_fd()
    }

    /// The end that `signal.set_wakeup_fd` takes.
    pub fn signal_fileno(&self) -> RawFd {
        self.own().writer.as_raw_fd()
    }
}

/// The timeout to ask for, to be woken after this one. Linux lets a thousandth of a timeout go by, up to 100 ms, so
/// that it can serve several sleepers at once: a loop of one second would be a millisecond late. What it wakes too
/// early goes on sleeping.
fn punctual(timeout: Duration) -> Duration {
    const SLACK: u32 = 1000;
    const MOST: Duration = Duration::from_millis(100);
    // A little less than all of it, or half of the waits would end some nanoseconds too early.
    let slack = (timeout / (SLACK + 1)).min(MOST).saturating_sub(Duration::from_micros(1));
    if cfg!(target_os = "linux") { timeout.saturating_sub(slack) } else { timeout }
}

/// `ppoll` where there is one: a loop is due to the microsecond, and `poll` counts in milliseconds.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
fn poll(fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> nix::Result<i32> {
    nix::poll::ppoll(fds, timeout.map(Into::into), None)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
fn poll(fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> nix::Result<i32> {
    use nix::poll::PollTimeout;
    let timeout = timeout.map_or(PollTimeout::NONE, |t| {
        // Rounded up, so that a wait never ends just before the time it waits for.
        PollTimeout::try_from(t.as_nanos().div_ceil(1_000_000)).unwrap_or(PollTimeout::MAX)
    });
    nix::poll::poll(fds, timeout)
}

/// Keeps signals away from the calling thread and from the threads it starts, so that they reach Python's.
pub fn block_signals() {
    // Cannot fail for a full set; and a thread that then does get signals would still run.
    let _ = SigSet::all().thread_block();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_notification_from_another_thread_ends_the_wait() {
        let wake = Arc::new(Wake::new().unwrap());
        let other = Arc::clone(&wake);
        let thread = std::thread::spawn(move || other.notify());
        assert_eq!(wake.wait(Some(Duration::from_secs(30))).unwrap(), Woken::Notified);
        thread.join().unwrap();
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn with_what_the_kernel_lets_go_by_a_wait_is_as_long_as_asked_for() {
        for micros in [0, 1, 50, 1000, 250_000, 1_000_000, 60_000_000, 100_000_000, 86_400_000_000] {
            let wanted = Duration::from_micros(micros);
            let asked = punctual(wanted);
            let latest = asked + (asked / 1000).min(Duration::from_millis(100));
            assert!(asked <= wanted && wanted <= latest, "{wanted:?} {asked:?} {latest:?}");
            assert!(latest <= wanted + Duration::from_micros(2), "{wanted:?} {latest:?}");
        }
    }

    #[test]
    fn a_thousand_notifications_are_one_and_clear_takes_them_all() {
        let wake = Wake::new().unwrap();
        for _ in 0..1000 {
            wake.notify();
        }
        wake.clear();
        assert_eq!(wake.wait(Some(Duration::ZERO)).unwrap(), Woken::TimedOut);
        wake.notify();
        assert_eq!(wake.wait(Some(Duration::ZERO)).unwrap(), Woken::Notified);
    }

    #[test]
    fn bytes_written_by_a_signal_handler_are_cleared_too() {
        let wake = Wake::new().unwrap();
        for _ in 0..500 {
            write(&wake.writer, &[2]).unwrap();
        }
        assert_eq!(wake.wait(None).unwrap(), Woken::Notified);
        wake.clear();
        assert_eq!(wake.wait(Some(Duration::ZERO)).unwrap(), Woken::TimedOut);
    }

    #[test]
    fn nothing_announced_between_clear_and_wait_is_missed() {
        let wake = Arc::new(Wake::new().unwrap());
        let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let thread = {
            let (wake, count) = (Arc::clone(&wake), Arc::clone(&count));
            std::thread::spawn(move || {
                for _ in 0..20_000 {
                    count.fetch_add(1, Ordering::SeqCst);
                    wake.notify();
                }
            })
        };
        let mut seen = 0;
        while seen < 20_000 {
            assert_eq!(wake.wait(Some(Duration::from_secs(30))).unwrap(), Woken::Notified);
            wake.clear();
            seen = count.load(Ordering::SeqCst);
        }
        thread.join().unwrap();
    }
}
