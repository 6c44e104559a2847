//! Which thread moves the bytes (the pattern is known as leader and followers).
//!
//! The network thread does; but while the service sleeps, its own thread does. A message that comes alone, as most
//! do, then wakes one thread and not two, and waking costs more than all the rest. A service at work is given
//! [`TAKEOVER`] to come back: then the network thread leads, for acknowledgements, keepalives and the messages of
//! other threads must not wait for a handler.

use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::unix::pipe::Receiver;
use tokio::runtime::Runtime;

use super::alarm::{Bell, Timer};
use super::cork::HOLD;
use super::driver;
use super::shared::Shared;
use crate::core::wake::Woken;

/// How long a service may be at work before the network thread leads. Messages are held back no longer than that.
const TAKEOVER: Duration = HOLD;
/// How much earlier or later than asked for the service may be woken without the timer being set anew.
const TOLERANCE: Duration = Duration::from_micros(50);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Network,
    Service,
    /// The service is at work; the bell calls the network thread if that takes long.
    Nobody,
}

/// Who leads, and how the other one is told.
pub(super) struct Leader {
    who: Mutex<Who>,
    /// Calls the network thread while it does not lead; `None` where there is nothing of the kind: then it always
    /// leads.
    bell: Option<Bell>,
    /// The service sleeps, and would lead.
    wanted: AtomicBool,
    /// The service leads: what the driver finds need not be announced to it.
    service_leads: AtomicBool,
}

impl Leader {
    /// The network thread leads.
    pub fn new() -> Self {
        Self {
            who: Mutex::new(Who::Network),
            // Without one things go on as they do elsewhere.
            bell: Bell::new().ok().flatten(),
            wanted: AtomicBool::new(false),
            service_leads: AtomicBool::new(false),
        }
    }

    fn who(&self) -> MutexGuard<'_, Who> {
        self.who.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the thread that drives is the service's own.
    pub fn is_service(&self) -> bool {
        self.service_leads.load(Ordering::SeqCst)
    }

    /// Whether nobody drives, until the network thread is called, which it will be soon.
    pub fn is_nobody(&self) -> bool {
        *self.who() == Who::Nobody
    }

    /// Somebody waits for the broker: the network thread is called if nobody drives.
    pub fn call(&self) {
        if *self.who() == Who::Nobody
            && let Some(bell) = &self.bell
        {
            bell.ring_in(Duration::ZERO);
        }
    }

    /// The service goes to sleep: whether it leads now. If not, it will be woken when it may.
    fn take(&self, shared: &Shared) -> bool {
        let Some(bell) = &self.bell else { return false };
        let mut who = self.who();
        if *who == Who::Nobody {
            bell.silence();
            *who = Who::Service;
            self.service_leads.store(true, Ordering::SeqCst);
            return true;
        }
        if !self.wanted.swap(true, Ordering::SeqCst) {
            shared.driver_wake.notify_one();
        }
        false
    }

    /// Nobody leads any more, until the bell rings.
    fn leave(&self, ring_in: Duration) {
        let Some(bell) = &self.bell else { return };
        let mut who = self.who();
        self.service_leads.store(false, Ordering::SeqCst);
        *who = Who::Nobody;
        bell.ring_in(ring_in);
    }

    /// Waits until the network thread has to lead.
    fn follow(&self) {
        let Some(bell) = &self.bell else { return };
        loop {
            bell.wait();
            let mut who = self.who();
            if *who == Who::Nobody {
                *who = Who::Network;
                return;
            }
        }
    }
}

/// The service leads. However that ends, by a panic too, the network thread is called: a session must not die
/// unheard.
struct Leaving<'a> {
    leader: &'a Leader,
    ring_in: Duration,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.leader.leave(self.ring_in);
    }
}

/// The driver, and what it runs on. Used by who leads.
pub(super) struct Engine {
    driver: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// How the driver has ended, once it has; the error is the words of a panic.
    ended: Option<Result<(), String>>,
    /// What wakes the service while it leads, once it has: who always follows need not wake the leader.
    sleeper: Option<Sleeper>,
    runtime: Runtime,
}

/// What wakes a service that leads: the descriptor of its [`crate::core::wake::Wake`], and a deadline.
struct Sleeper {
    woken: Receiver,
    timer: Timer,
    /// The deadline that the timer is set to.
    set_to: Option<Instant>,
}

impl Engine {
    /// A driver that has not begun.
    ///
    /// # Errors
    /// The operating system's, when it gives no descriptors.
    pub fn new(shared: &Arc<Shared>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            // Name look-ups run on a helper thread, which is not kept: an idle service has none to wake up.
            .thread_keep_alive(Duration::from_millis(10))
            .build()?;
        let driver = Box::pin(driver::run(Arc::clone(shared)));
        Ok(Self { driver, ended: None, sleeper: None, runtime })
    }

    /// Ends the runtime, and waits for nothing.
    pub fn shutdown(self) {
        let Self { driver, sleeper, runtime, .. } = self;
        drop((driver, sleeper));
        runtime.shutdown_background();
    }

    /// What the network thread does, until the driver ends: leads, or waits until it has to.
    ///
    /// # Errors
    /// The words of a panic, if that was the end.
    pub fn serve(engine: &Mutex<Option<Self>>, shared: &Shared) -> Result<(), String> {
        let leader = &shared.leader;
        loop {
            {
                let mut engine = engine.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(engine) = engine.as_mut() else { return Ok(()) };
                engine.drive(|_, _| leader.wanted.swap(false, Ordering::SeqCst).then_some(()));
                if let Some(ended) = engine.ended.take() {
                    return ended;
                }
            }
            leader.leave(TAKEOVER);
            // The service looks again, and leads.
            shared.wake.notify();
            leader.follow();
        }
    }

    /// Sleeps as [`crate::core::wake::Wake::wait`] does, takes the notification back, and leads meanwhile. `None`:
    /// the network thread leads.
    pub fn sleep(engine: &Mutex<Option<Self>>, shared: &Shared, timeout: Option<Duration>) -> Option<Woken> {
        // To connect takes time that loops and handlers need.
        if !shared.protocol().is_connected() || !shared.leader.take(shared) {
            return None;
        }
        let mut leaving = Leaving { leader: &shared.leader, ring_in: Duration::ZERO };
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut engine = engine.lock().unwrap_or_else(PoisonError::into_inner);
        let woken = engine.as_mut().and_then(|engine| {
            engine.attend(shared).ok()?;
            engine.drive(|sleeper, cx| sleeper.as_mut()?.wakes(shared, deadline, cx))
        });
        let over = engine.as_ref().is_none_or(|engine| engine.ended.is_some());
        if !over && shared.protocol().is_connected() {
            leaving.ring_in = TAKEOVER;
        }
        woken
    }

    /// Makes what wakes the service.
    fn attend(&mut self, shared: &Shared) -> io::Result<()> {
        if self.sleeper.is_none() {
            let _inside = self.runtime.enter();
            let woken = Receiver::from_owned_fd_unchecked(shared.wake.as_fd().try_clone_to_owned()?)?;
            self.sleeper = Some(Sleeper { woken, timer: Timer::new()?, set_to: None });
        }
        Ok(())
    }

    /// Drives until `until` gives something, which is looked at each time that something has happened, or until the
    /// driver ends.
    fn drive<T>(&mut self, until: impl Fn(&mut Option<Sleeper>, &mut Context<'_>) -> Option<T>) -> Option<T> {
        let Self { driver, ended, sleeper, runtime } = self;
        runtime.block_on(poll_fn(|cx| {
            if ended.is_some() {
                return Poll::Ready(None);
            }
            match catch_unwind(AssertUnwindSafe(|| driver.as_mut().poll(cx))) {
                Ok(Poll::Pending) => {}
                Ok(Poll::Ready(())) => *ended = Some(Ok(())),
                Err(panic) => *ended = Some(Err(words(&*panic))),
            }
            let found = until(sleeper, cx);
            if found.is_some() || ended.is_some() { Poll::Ready(found) } else { Poll::Pending }
        }))
    }
}

impl Sleeper {
    /// Why the service wakes up, if it does.
    fn wakes(&mut self, shared: &Shared, deadline: Option<Instant>, cx: &mut Context<'_>) -> Option<Woken> {
        if self.was_notified(shared, cx) || !shared.inbox().is_empty() || !shared.protocol().is_connected() {
            return Some(Woken::Notified);
        }
        let deadline = deadline?;
        let is_for_it = |at: Instant| at < deadline + TOLERANCE && deadline < at + TOLERANCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Some(Woken::TimedOut);
            }
            if !self.set_to.is_some_and(is_for_it) {
                self.timer.set(left);
                self.set_to = Some(deadline);
            }
            if self.timer.poll(cx).is_pending() {
                return None;
            }
            if self.set_to.take().is_some_and(is_for_it) {
                return Some(Woken::TimedOut);
            }
        }
    }

    /// Takes the notifications back, of which there may be some.
    fn was_notified(&mut self, shared: &Shared, cx: &mut Context<'_>) -> bool {
        let mut bytes = [0; 64];
        let mut notified = false;
        // Until there is nothing more: the descriptor is announced once.
        while Pin::new(&mut self.woken).poll_read(cx, &mut ReadBuf::new(&mut bytes)).is_ready() {
            notified = true;
        }
        if notified {
            shared.wake.clear();
        }
        notified
    }
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text =
        panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("no message").to_owned()
}
