//! One deadline of the network thread, kept by the kernel.
//!
//! tokio's own timers wake an idle thread more than once on the way to a deadline a minute ahead (its timer
//! wheel has levels), and count in milliseconds. A timerfd wakes it once, when it is due.

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

/// How far a deadline may move back before the timer follows. Traffic moves the keepalive's with each packet,
/// which is to cost nothing; but the end of an answered ping's patience must not wake an idle thread.
const SLACK: Duration = Duration::from_secs(5);

pub(super) use imp::{Bell, Remote, Timer};

/// A deadline that can be polled. It may fire too early, by [`SLACK`] at most, and is set anew then.
#[derive(Debug)]
pub struct Alarm {
    timer: Timer,
    /// The time of the session's clock that the timer is set to.
    set_to: Option<Duration>,
}

impl Alarm {
    /// An alarm that is not set. Needs a tokio runtime.
    ///
    /// # Errors
    /// The operating system's, when it gives no timer.
    pub fn new() -> io::Result<Self> {
        Ok(Self { timer: Timer::new()?, set_to: None })
    }

    /// Has it fire at `deadline`, or a little before; `None`: it need not fire.
    pub fn set(&mut self, deadline: Option<Duration>, now: Duration) {
        let Some(deadline) = deadline else { return };
        if self.set_to.is_none_or(|set_to| deadline < set_to || deadline > set_to + SLACK) {
            self.timer.set(deadline.saturating_sub(now));
            self.set_to = Some(deadline);
        }
    }

    /// Ready when it fires; it is not set then.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.set_to.is_none() {
            return Poll::Pending;
        }
        let fired = self.timer.poll(cx);
        if fired.is_ready() {
            self.set_to = None;
        }
        fired
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod imp {
    use std::io;
    use std::os::fd::AsFd;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::{Context, Poll};
    use std::time::Duration;

    use nix::sys::time::TimeSpec;
    use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
    use tokio::io::{AsyncRead, ReadBuf};
    use tokio::net::unix::pipe::Receiver;

    /// See [`Timer::remote`].
    #[derive(Debug)]
    pub struct Remote(Arc<TimerFd>);

    impl Remote {
        /// Has the timer fire.
        pub fn set(&self, after: Duration) {
            set(&self.0, after);
        }

        /// Has it not fire.
        pub fn unset(&self) {
            let _ = self.0.unset();
        }
    }

    /// A timer that one thread waits for and others set.
    #[derive(Debug)]
    pub struct Bell(TimerFd);

    impl Bell {
        /// A silent one.
        pub fn new() -> io::Result<Option<Self>> {
            Ok(Some(Self(TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC)?)))
        }

        /// Has it ring once, and not when it was to ring before.
        pub fn ring_in(&self, after: Duration) {
            set(&self.0, after);
        }

        /// Has it not ring.
        pub fn silence(&self) {
            let _ = self.0.unset();
        }

        /// Waits until it rings.
        pub fn wait(&self) {
            // Interrupted by no signal, which this thread gets none of; and then it would only ring too early.
            let _ = self.0.wait();
        }
    }

    fn set(timer: &TimerFd, after: Duration) {
        // Zero would disarm it.
        let after = TimeSpec::from_duration(after.max(Duration::from_nanos(1)));
        // Fails only for times that a duration cannot express.
        let _ = timer.set(Expiration::OneShot(after), TimerSetTimeFlags::empty());
    }

    #[derive(Debug)]
    pub struct Timer {
        timer: Arc<TimerFd>,
        /// The same timer as tokio watches it. It is no pipe, but it is read like one, and of tokio's ways to
        /// watch a descriptor this is the one that is safe to call.
        watched: Receiver,
    }

    impl Timer {
        pub fn new() -> io::Result<Self> {
            let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
            let timer = Arc::new(TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?);
            let watched = Receiver::from_owned_fd_unchecked(timer.as_fd().try_clone_to_owned()?)?;
            Ok(Self { timer, watched })
        }

        pub fn set(&mut self, after: Duration) {
            set(&self.timer, after);
        }

        /// What other threads set it with; `None` where they cannot.
        #[expect(clippy::unnecessary_wraps, reason = "elsewhere there is none")]
        pub fn remote(&self) -> Option<Remote> {
            Some(Remote(Arc::clone(&self.timer)))
        }

        pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
            let mut expirations = [0; 8];
            let mut buffer = ReadBuf::new(&mut expirations);
            Pin::new(&mut self.watched).poll_read(cx, &mut buffer).map(drop)
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod imp {
    use std::future::Future;
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use std::time::Duration;

    /// There is none that threads could share.
    #[derive(Debug)]
    pub enum Bell {}

    impl Bell {
        pub fn new() -> io::Result<Option<Self>> {
            Ok(None)
        }

        pub fn ring_in(&self, _after: Duration) {
            match *self {}
        }

        pub fn silence(&self) {
            match *self {}
        }

        pub fn wait(&self) {
            match *self {}
        }
    }

    /// tokio's timers are of one thread: nobody else sets them.
    #[derive(Debug)]
    pub enum Remote {}

    impl Remote {
        pub fn set(&self, _after: Duration) {
            match *self {}
        }

        pub fn unset(&self) {
            match *self {}
        }
    }

    #[derive(Debug)]
    pub struct Timer(Pin<Box<tokio::time::Sleep>>);

    impl Timer {
        pub fn new() -> io::Result<Self> {
            Ok(Self(Box::pin(tokio::time::sleep(Duration::ZERO))))
        }

        pub fn set(&mut self, after: Duration) {
            self.0.as_mut().reset(tokio::time::Instant::now() + after);
        }

        pub fn remote(&self) -> Option<Remote> {
            None
        }

        pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
            self.0.as_mut().poll(cx)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::time::Instant;

    #[test]
    fn it_fires_at_the_earliest_time_that_was_asked_for_and_once() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut alarm = Alarm::new().unwrap();
            let started = Instant::now();
            alarm.set(Some(Duration::from_secs(60)), Duration::ZERO);
            alarm.set(Some(Duration::from_millis(5)), Duration::ZERO);
            alarm.set(Some(Duration::from_secs(3)), Duration::ZERO);
            poll_fn(|cx| alarm.poll(cx)).await;
            assert!(started.elapsed() >= Duration::from_millis(5));
            let unset = poll_fn(|cx| Poll::Ready(alarm.poll(cx))).await;
            assert!(unset.is_pending());
            alarm.set(Some(Duration::ZERO), Duration::from_secs(1));
            alarm.set(Some(Duration::from_secs(60)), Duration::ZERO);
            assert_eq!(alarm.set_to, Some(Duration::from_secs(60)));
            alarm.set(Some(Duration::ZERO), Duration::from_secs(1));
            poll_fn(|cx| alarm.poll(cx)).await;
        });
    }
}
