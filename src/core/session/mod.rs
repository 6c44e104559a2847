//! The MQTT session: one per service, on a thread of its own, until it is closed.
//!
//! [`Session`] is what the rest of the program holds. `protocol` decides, `outbox` remembers, `driver` moves
//! bytes, `transport` connects (TCP, TLS, WebSocket, Unix sockets), `codec` knows how packets look.

mod alarm;
pub mod backoff;
pub mod codec;
pub mod completion;
mod cork;
mod driver;
mod durable;
pub mod event;
mod held;
pub mod journal;
mod leader;
mod limits;
mod lull;
pub mod message;
pub mod options;
mod out;
pub mod outbox;
mod outgoing;
pub mod packet;
pub mod protocol;
mod queue;
mod requests;
mod shared;
pub mod transport;
mod versions;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::core::clock::ServiceClock;
use crate::core::fork;
use crate::core::wake::{Wake, Woken, block_signals};
use cork::{Cork, Now};
use durable::Durable;
use event::{Event, Inbox};
use leader::{Engine, Leader};
use message::{Message, Properties, QoS};
use options::SessionOptions;
use outbox::Urgency;
use packet::{Subscription, Version};
use protocol::{Protocol, Receipt, Refusal};
use shared::{SLACK, Shared};

/// What a wait without an end is cut into.
const A_LONG_TIME: Duration = Duration::from_secs(3600);

/// A session with a broker.
pub struct Session {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// While it runs.
    engine: Arc<Mutex<Option<Engine>>>,
    /// The process in which it was started.
    home: OnceLock<u32>,
    /// What the first [`Self::close`] has found.
    owed_at_the_end: OnceLock<usize>,
}

impl Session {
    /// A session that has not started: it accepts messages and subscriptions, and connects after
    /// [`Self::start`]. `wake` is notified of each event.
    pub fn new(options: SessionOptions, wake: Arc<Wake>) -> Self {
        let inbox = Inbox::new(options.max_incoming_messages.max(1), options.max_queued_bytes.max(1));
        let (mut durable, mut events, mut owed) = (None, Vec::new(), Vec::new());
        if !options.durable.is_empty() {
            let (opened, found, news) = Durable::open(&options.durable);
            (durable, events, owed) = (Some(Mutex::new(opened)), news, found);
        }
        let mut protocol = Protocol::new(options);
        if durable.is_some() {
            protocol.restore(owed, Duration::ZERO);
        }
        let shared = Shared {
            protocol: Mutex::new(protocol),
            durable,
            out: Mutex::default(),
            inbox: Mutex::new(inbox),
            speaker: Mutex::new(None),
            somebody_speaks: AtomicBool::new(false),
            wake,
            cork: Cork::default(),
            driver_wake: tokio::sync::Notify::new(),
            leader: Leader::new(),
            progress: Condvar::new(),
            waiting_for_progress: AtomicUsize::new(0),
            room: Condvar::new(),
            waiting_for_room: AtomicUsize::new(0),
            waiters: AtomicUsize::new(0),
            answers_awaited: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            running: AtomicBool::new(false),
            hopeful: AtomicBool::new(false),
            origin: Instant::now(),
        };
        shared.hand_over(&mut events);
        Self {
            shared: Arc::new(shared),
            thread: Mutex::new(None),
            engine: Arc::default(),
            home: OnceLock::new(),
            owed_at_the_end: OnceLock::new(),
        }
    }

    /// Changes the options: those of the connection count from the next one on, those of the queue for messages
    /// still to come. The size of the inbox, the version of MQTT and the durable outbox stay.
    pub fn configure(&self, options: SessionOptions) {
        self.shared.protocol().configure(options);
    }

    /// Starts the network thread; does nothing when it runs.
    ///
    /// # Errors
    /// The operating system's, when it gives no thread or no descriptors.
    pub fn start(&self) -> std::io::Result<()> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_some() || self.shared.should_stop() {
            return Ok(());
        }
        *self.engine.lock().unwrap_or_else(PoisonError::into_inner) = Some(Engine::new(&self.shared)?);
        let (shared, engine) = (Arc::clone(&self.shared), Arc::clone(&self.engine));
        let body = move || {
            block_signals();
            let failed = Engine::serve(&engine, &shared);
            // What it has open is closed before anybody hears of the end.
            let ended = engine.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(engine) = ended {
                engine.shutdown();
            }
            if let Err(text) = failed {
                shared.inbox().terminated = Some(format!("the network thread has failed: {text}"));
            }
            shared.protocol().abandon();
            shared.running.store(false, Ordering::SeqCst);
            shared.set_hope(false);
            shared.wake.notify();
        };
        self.home.get_or_init(fork::generation);
        self.shared.running.store(true, Ordering::SeqCst);
        self.shared.set_hope(true);
        match std::thread::Builder::new().name("miqro-mqtt".into()).spawn(body) {
            Ok(handle) => *thread = Some(handle),
            Err(error) => {
                self.shared.running.store(false, Ordering::SeqCst);
                self.shared.set_hope(false);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Whether it was started in a process that this one is a `fork()` of. Its thread and its connection are the
    /// parent's, its locks may be held by threads that are not here: nothing else of it may be used.
    pub fn is_of_parent(&self) -> bool {
        self.home.get().is_some_and(|home| *home != fork::generation())
    }

    /// Whether the network thread runs.
    pub fn is_running(&self) -> bool {
        self.shared.running.load(Ordering::SeqCst)
    }

    /// Whether the broker has accepted us and the connection stands.
    pub fn is_connected(&self) -> bool {
        self.shared.protocol().is_connected()
    }

    /// Messages owed to the broker, and their bytes.
    pub fn owed(&self) -> (usize, usize) {
        let protocol = self.shared.protocol();
        (protocol.outbox().len(), protocol.outbox().bytes())
    }

    /// Messages that wait for the service.
    pub fn waiting(&self) -> usize {
        self.shared.inbox().messages()
    }

    /// Whether MQTT can carry a message of this size. The error is a sentence.
    ///
    /// # Errors
    /// It is larger than the remaining length of a packet can say.
    pub fn check_size(topic: &str, payload: &Bytes, properties: Option<&Properties>) -> Result<(), String> {
        // Two bytes of topic length, two of packet identifier.
        let size = topic.len() + payload.len() + 4 + properties.map_or(0, Properties::size_on_wire);
        if size <= codec::MAX_REMAINING_LENGTH {
            return Ok(());
        }
        Err(format!(
            "the payload for {topic:?} has {} bytes, more than an MQTT packet can carry ({} bytes in all)",
            payload.len(),
            codec::MAX_REMAINING_LENGTH
        ))
    }

    /// The version of MQTT that the connection speaks, or the next one will.
    pub fn version(&self) -> Version {
        self.shared.protocol().version()
    }

    /// Whether properties can reach the broker: with `protocol: auto` they do where it speaks MQTT 5. The error is
    /// a sentence.
    ///
    /// # Errors
    /// The session speaks 3.1.1.
    pub fn check_properties(&self) -> Result<(), &'static str> {
        if self.shared.protocol().options().protocol == crate::core::config::Protocol::V311 {
            return Err(
                "properties of messages are of MQTT 5, and this session speaks 3.1.1: set `protocol: 5`, or \
                        `auto`, in the section `broker` of the configuration",
            );
        }
        Ok(())
    }

    /// Accepts a message for delivery. The caller has checked topic and size.
    ///
    /// # Errors
    /// [`Refusal`]; the message was not kept. On [`Refusal::FullWhileConnected`] wait with
    /// [`Self::wait_for_room`] and try again.
    pub fn publish(&self, topic: String, payload: Bytes, qos: QoS, retain: bool) -> Result<Receipt, Refusal> {
        self.publish_message(Message { topic, payload, qos, retain, dup: false, properties: None })
    }

    /// As [`Self::publish`], with everything that a message may have.
    ///
    /// # Errors
    /// As [`Self::publish`].
    pub fn publish_message(&self, message: Message) -> Result<Receipt, Refusal> {
        let urgency = self.urgency();
        let now = self.shared.now();
        let mut events = Vec::new();
        let (receipt, what) = {
            let mut protocol = self.shared.protocol();
            let receipt = protocol.publish(message, urgency, now)?;
            self.shared.keep(&mut protocol, &mut events);
            // What has to wait for an acknowledgement, or for the broker, goes out when that comes.
            let what = if protocol.can_send() {
                self.shared.cork.message(|| self.shared.out().is_direct())
            } else {
                Now::Nothing
            };
            if what == Now::Hold && !self.shared.leader.is_nobody() {
                // It goes out at the end of the turn, or when this fires; else when the network thread takes over.
                self.shared.out().hold();
            }
            (receipt, what)
        };
        self.shared.hand_over(&mut events);
        if receipt.dropped > 0 {
            self.shared.inbox().push_dropped(receipt.dropped);
            self.shared.wake.notify();
        }
        if what == Now::Tell || (what == Now::Send && !self.shared.send_directly()) {
            self.shared.driver_wake.notify_one();
        }
        Ok(receipt)
    }

    /// Waits until the outbox may have room for a message of `size` bytes (topic and payload), `timeout` at
    /// most. `false`: it will not have any, because the service, which waits here, would have to take messages
    /// out of the full inbox first.
    pub fn wait_for_room(&self, size: usize, timeout: Duration) -> bool {
        let _waiting = self.waiting_for_broker();
        let protocol = self.shared.protocol();
        if protocol.has_to_wait(size, self.urgency()) {
            self.shared.await_room(protocol, timeout);
        }
        !self.shared.inbox().is_full(0, 0, SLACK)
    }

    /// While the guard lives, a thread of the service waits for the broker's answer: the network thread goes
    /// on reading for it though the inbox is full, up to twice its size.
    pub fn waiting_for_broker(&self) -> WaitingForBroker<'_> {
        self.shared.waiters.fetch_add(1, Ordering::SeqCst);
        self.shared.call_driver();
        WaitingForBroker(&self.shared)
    }

    /// Somebody waits for an acknowledgement, until [`Self::await_answer_no_more`]: the network thread reads on for it
    /// though the inbox is full. Messages of QoS 0 that then find no room in twice its size are dropped; those of
    /// QoS 1 and 2 wait unacknowledged, so that the broker sends only so many.
    pub fn await_answer(&self) {
        if self.shared.answers_awaited.fetch_add(1, Ordering::SeqCst) == 0 {
            self.shared.call_driver();
        }
    }

    /// [`Self::await_answer`] while the guard lives.
    pub fn awaiting_answer(&self) -> AwaitingAnswer<'_> {
        self.await_answer();
        AwaitingAnswer(self)
    }

    /// See [`Self::await_answer`].
    pub fn await_answer_no_more(&self) {
        self.shared.answers_awaited.fetch_sub(1, Ordering::SeqCst);
    }

    /// Subscribes now and on every connect; see [`Protocol::subscribe`].
    pub fn subscribe<S: Into<Subscription>>(&self, filters: Vec<(String, S)>) -> u16 {
        let mid = self.shared.protocol().subscribe(filters);
        self.shared.driver_wake.notify_one();
        mid
    }

    /// Ends subscriptions.
    pub fn unsubscribe(&self, filters: Vec<String>) -> u16 {
        let mid = self.shared.protocol().unsubscribe(filters);
        self.shared.driver_wake.notify_one();
        mid
    }

    fn speaker(&self) -> MutexGuard<'_, Option<(ThreadId, Urgency)>> {
        self.shared.speaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the messages of this thread stand among the others.
    fn urgency(&self) -> Urgency {
        if !self.shared.somebody_speaks.load(Ordering::Relaxed) {
            return Urgency::Ordinary;
        }
        let speaker = self.speaker().filter(|(thread, _)| *thread == std::thread::current().id());
        speaker.map_or(Urgency::Ordinary, |(_, urgency)| urgency)
    }

    /// What this thread publishes from now on is the greeting, until [`Self::greeted`]: it is sent ahead of the
    /// queue.
    pub fn begin_greeting(&self) {
        self.speak(Urgency::Greeting);
    }

    /// What this thread publishes from now on is the farewell: a full queue does not keep it waiting.
    pub fn begin_farewell(&self) {
        self.speak(Urgency::Farewell);
    }

    fn speak(&self, urgency: Urgency) {
        *self.speaker() = Some((std::thread::current().id(), urgency));
        // Relaxed is enough: the thread that has to see it is this one.
        self.shared.somebody_speaks.store(true, Ordering::Relaxed);
    }

    /// The service begins a turn of work: of what is published from now on, all but the first may be held back for a
    /// millisecond or two, so that it goes out in one write at [`Self::uncork`].
    /// `false` if it was at work already.
    pub fn cork(&self) -> bool {
        self.shared.cork.close()
    }

    /// The turn is over: out with it.
    pub fn uncork(&self) {
        if self.shared.cork.open() && !self.shared.send_directly() {
            self.shared.driver_wake.notify_one();
        }
    }

    /// The greeting is said: what was queued may be sent.
    pub fn greeted(&self) {
        *self.speaker() = None;
        self.shared.somebody_speaks.store(false, Ordering::Relaxed);
        self.shared.protocol().greeted();
        self.shared.driver_wake.notify_one();
    }

    /// Sleeps until the service is notified, or until `timeout` has passed (`None`: for ever), and takes the
    /// notification back: for the thread of the service, which moves the session's bytes meanwhile.
    ///
    /// # Errors
    /// The operating system's.
    pub fn sleep(&self, timeout: Option<Duration>) -> std::io::Result<Woken> {
        if !self.is_of_parent()
            && !ServiceClock::is_held()
            && let Some(woken) = Engine::sleep(&self.engine, &self.shared, timeout)
        {
            return Ok(woken);
        }
        let woken = self.shared.wake.wait(timeout)?;
        if woken == Woken::Notified {
            self.shared.wake.clear();
        }
        Ok(woken)
    }

    /// Moves up to `max` events into `into`. One call, one lock, however many there are.
    pub fn take_events(&self, max: usize, into: &mut Vec<Event>) {
        let resume = self.shared.inbox().take(max, into);
        if resume {
            self.shared.driver_wake.notify_one();
        }
    }

    /// Whether [`Self::take_events`] would find something.
    pub fn has_events(&self) -> bool {
        !self.shared.inbox().is_empty()
    }

    /// Accepts nothing more, sends what is owed (QoS 1 and 2 until acknowledged), says DISCONNECT and ends
    /// the network thread, within `timeout` as far as the operating system lets it. Idempotent, and legal
    /// from any thread. Returns how many messages were still owed when it gave up, also when it is called again.
    pub fn close(&self, timeout: Duration) -> usize {
        let deadline = Instant::now().checked_add(timeout);
        self.shared.protocol().close();
        self.shared.call_driver();
        let owed = {
            let mut protocol = self.shared.protocol();
            // While the broker is away nothing can be delivered: waiting would only cost time.
            while self.shared.hopeful.load(Ordering::SeqCst) && !protocol.farewell_sent() {
                let left = deadline.map_or(A_LONG_TIME, |at| at.saturating_duration_since(Instant::now()));
                if left.is_zero() {
                    break;
                }
                protocol = self.shared.await_progress(protocol, left);
            }
            protocol.outbox().len()
        };
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.call_driver();
        // The lock is kept until the thread has ended, so that another closer returns no earlier either.
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            // The driver bounds its own farewell; a panic in it has been reported already.
            drop(thread.join());
        }
        let mut events = Vec::new();
        {
            let mut protocol = self.shared.protocol();
            self.shared.keep(&mut protocol, &mut events);
            protocol.abandon();
        }
        self.shared.hand_over(&mut events);
        *self.owed_at_the_end.get_or_init(|| owed)
    }
}

impl Drop for Session {
    /// Ends the network thread, and does not wait for it: a destructor may run anywhere.
    fn drop(&mut self) {
        if self.is_of_parent() {
            // The thread that the handle stands for is not in this process.
            std::mem::forget(self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take());
            return;
        }
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.call_driver();
    }
}

/// See [`Session::waiting_for_broker`].
pub struct WaitingForBroker<'a>(&'a Shared);

impl Drop for WaitingForBroker<'_> {
    fn drop(&mut self) {
        self.0.waiters.fetch_sub(1, Ordering::SeqCst);
    }
}

/// See [`Session::awaiting_answer`].
pub struct AwaitingAnswer<'a>(&'a Session);

impl Drop for AwaitingAnswer<'_> {
    fn drop(&mut self) {
        self.0.await_answer_no_more();
    }
}
