//! What the threads of a session have in common.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use super::cork::Cork;
use super::durable::Durable;
use super::event::{Event, Inbox};
use super::leader::Leader;
use super::out::Out;
use super::outbox::Urgency;
use super::protocol::Protocol;
use crate::core::wake::Wake;

/// How much the inbox may overflow while the service itself waits for an acknowledgement, which is behind
/// the messages that the inbox has no room for.
pub(super) const SLACK: usize = 2;

/// What the service, its publishing threads and the network thread share.
pub(super) struct Shared {
    pub protocol: Mutex<Protocol>,
    pub inbox: Mutex<Inbox>,
    /// The way out of the connection. Locked after the protocol.
    pub out: Mutex<Out>,
    /// The journal of what is owed; see [`Self::keep`].
    pub durable: Option<Mutex<Durable>>,
    /// The thread that says a greeting or farewell, while it does. Other threads' messages are no part of it.
    pub speaker: Mutex<Option<(ThreadId, Urgency)>>,
    /// Whether there is one: asked for each message.
    pub somebody_speaks: AtomicBool,
    /// Wakes the service.
    pub wake: Arc<Wake>,
    /// Holds messages back while the service is at work.
    pub cork: Cork,
    /// Wakes the driver, whichever thread it runs on.
    pub driver_wake: tokio::sync::Notify,
    /// Which thread drives.
    pub leader: Leader,
    /// Announces that something has changed for those who wait for the broker; see [`Self::announce`].
    pub progress: Condvar,
    /// How many wait for that.
    pub waiting_for_progress: AtomicUsize,
    /// Announces that the outbox has room, and how many wait for that.
    pub room: Condvar,
    pub waiting_for_room: AtomicUsize,
    /// Threads of the service that wait for the broker.
    pub waiters: AtomicUsize,
    /// Threads and tasks of the service that wait for an acknowledgement.
    pub answers_awaited: AtomicUsize,
    pub stop: AtomicBool,
    pub running: AtomicBool,
    /// The last attempt to connect has not failed (yet): a farewell is worth waiting for.
    pub hopeful: AtomicBool,
    pub origin: Instant,
}

impl Shared {
    pub fn protocol(&self) -> MutexGuard<'_, Protocol> {
        self.protocol.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn out(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Whether a thread of the service waits for the broker's answer.
    pub fn somebody_waits(&self) -> bool {
        self.waiters.load(Ordering::SeqCst) > 0
    }

    /// Whether the service waits for an acknowledgement, which may be behind any number of messages.
    pub fn answer_is_awaited(&self) -> bool {
        self.answers_awaited.load(Ordering::SeqCst) > 0
    }

    pub fn should_stop(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Notes whether an attempt to connect is worth waiting for. Under the lock, for a farewell that is about
    /// to wait must not miss it.
    pub fn set_hope(&self, hope: bool) {
        let protocol = self.protocol();
        self.hopeful.store(hope, Ordering::SeqCst);
        drop(protocol);
        self.announce();
    }

    /// Gives up the messages whose time is over.
    pub fn expire(&self) {
        self.protocol().expire(self.now());
        self.announce();
    }

    /// Tells those who wait that the session has changed. Without any it is not worth a system call: whoever
    /// begins to wait later looks first, under the lock under which the change was made.
    pub fn announce(&self) {
        if self.waiting_for_progress.load(Ordering::SeqCst) > 0 {
            self.progress.notify_all();
        }
        // Not for each message that leaves: who publishes faster than the broker takes would be woken for each.
        if self.waiting_for_room.load(Ordering::SeqCst) > 0 && self.protocol().is_roomy() {
            self.room.notify_all();
        }
    }

    /// Waits until the outbox has room for more than a few messages, or none is to come, `timeout` at most.
    pub fn await_room(&self, protocol: MutexGuard<'_, Protocol>, timeout: Duration) {
        self.waiting_for_room.fetch_add(1, Ordering::SeqCst);
        drop(self.room.wait_timeout(protocol, timeout));
        self.waiting_for_room.fetch_sub(1, Ordering::SeqCst);
    }

    /// Waits for the next [`Self::announce`], `timeout` at most.
    pub fn await_progress<'a>(
        &self,
        protocol: MutexGuard<'a, Protocol>,
        timeout: Duration,
    ) -> MutexGuard<'a, Protocol> {
        self.waiting_for_progress.fetch_add(1, Ordering::SeqCst);
        let (protocol, _) =
            self.progress.wait_timeout(protocol, timeout).unwrap_or_else(PoisonError::into_inner);
        self.waiting_for_progress.fetch_sub(1, Ordering::SeqCst);
        protocol
    }

    /// Writes down what has changed, where the outbox is durable; with the lock on the session still held, so that
    /// the journal has it in order. Nothing that the session says may leave before.
    pub fn keep(&self, protocol: &mut Protocol, events: &mut Vec<Event>) {
        let Some(durable) = &self.durable else { return };
        let notes = protocol.take_notes();
        if !notes.is_empty() {
            events.extend(durable.lock().unwrap_or_else(PoisonError::into_inner).write(notes));
        }
    }

    /// Sends what is there from this thread, if it can; whether nothing is left to do for the network thread.
    pub fn send_directly(&self) -> bool {
        let mut events = Vec::new();
        let done = loop {
            let mut protocol = self.protocol();
            let mut out = self.out();
            if !out.is_direct() || !protocol.is_connected() || protocol.is_closing() {
                break false;
            }
            let now = self.now();
            protocol.poll(&mut *out, now, true);
            self.keep(&mut protocol, &mut events);
            protocol.take_notices(&mut events);
            // The network thread may have the answer before the system call returns: it is not to wait for us.
            drop(protocol);
            if out.unwritten().is_empty() {
                out.held();
                break true;
            }
            let all = out.write_directly();
            let full = out.was_full();
            if all && !full {
                out.held();
            }
            drop(out);
            let mut protocol = self.protocol();
            // Read under the lock: by now it may be another connection, which counts from zero.
            let taken = self.out().taken();
            protocol.written(taken, now, &mut events);
            drop(protocol);
            if !(all && full) {
                break all;
            }
        };
        self.hand_over(&mut events);
        self.announce();
        done
    }

    /// Tells the driver that somebody waits for what it does.
    pub fn call_driver(&self) {
        self.driver_wake.notify_one();
        self.leader.call();
    }

    /// As [`Self::hand_over`], for the driver: a service on whose thread it runs looks by itself.
    pub fn found(&self, events: &mut Vec<Event>) {
        if self.leader.is_service() {
            let mut inbox = self.inbox();
            events.drain(..).for_each(|event| inbox.push(event));
        } else {
            self.hand_over(events);
        }
    }

    /// Moves events into the inbox and wakes the service.
    pub fn hand_over(&self, events: &mut Vec<Event>) {
        if events.is_empty() {
            return;
        }
        {
            let mut inbox = self.inbox();
            for event in events.drain(..) {
                inbox.push(event);
            }
        }
        self.wake.notify();
    }

    pub fn tell(&self, mut events: Vec<Event>) {
        self.hand_over(&mut events);
    }

    /// Whether the inbox takes another message on top of the `messages` and `bytes` about to go there. If not,
    /// the network thread is woken when it does.
    pub fn inbox_has_room(&self, messages: usize, bytes: usize) -> bool {
        let slack = if self.somebody_waits() || self.answer_is_awaited() { SLACK } else { 1 };
        let mut inbox = self.inbox();
        let full = inbox.is_full(messages, bytes, slack);
        inbox.reader_waits = full;
        !full
    }
}
