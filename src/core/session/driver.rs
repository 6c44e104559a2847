//! The network thread: connects, moves bytes, reconnects for ever. It never touches Python.

use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Shared;
use super::alarm::{Alarm, Timer};
use super::backoff::Backoff;
use super::codec::{self, CodecError};
use super::cork::HOLD;
use super::event::Event;
use super::held::Held;
use super::lull::Lull;
use super::options::{SessionOptions, seconds};
use super::out::Direct;
use super::packet::{Packet, Version};
use super::protocol::Fault;
use super::transport::{Connector, Opened};

/// Bytes that are read in one go.
const READ_BATCH: usize = 64 * 1024;
/// Connections in a row that the broker closes soon after accepting them, before we say what it looks like.
const TAKEOVER_SUSPECTED: u32 = 3;
/// What "soon" is.
const SHORT_LIVED: Duration = Duration::from_secs(10);
/// How long the broker may take to read our DISCONNECT and hang up.
const GOODBYE: Duration = Duration::from_millis(300);

/// Runs the session until it is closed.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut driver = Driver::new(shared);
    while !driver.shared.should_stop() && !driver.said_goodbye {
        driver.connection().await;
    }
}

/// How a connection ended.
enum End {
    /// We said goodbye.
    Requested,
    /// The broker refused us, was silent, or broke the protocol.
    Fault(Fault),
    /// It closed the connection.
    Closed,
    /// The network did.
    Io(io::Error),
    /// It sent bytes that are not MQTT.
    Codec(CodecError),
}

struct Driver {
    shared: Arc<Shared>,
    options: SessionOptions,
    connector: Connector,
    backoff: Backoff,
    offline_since: Option<Instant>,
    was_connected: bool,
    short_lived: u32,
    said_goodbye: bool,
}

impl Driver {
    fn new(shared: Arc<Shared>) -> Self {
        let options = shared.protocol().options().clone();
        Self {
            backoff: Backoff::new(seconds(options.reconnect_delay_min), seconds(options.reconnect_delay_max)),
            connector: Connector::new(options.clone()),
            options,
            shared,
            offline_since: None,
            was_connected: false,
            short_lived: 0,
            said_goodbye: false,
        }
    }

    /// One attempt, and the connection if it succeeds; then the pause before the next.
    async fn connection(&mut self) {
        self.shared.expire();
        self.options = self.shared.protocol().options().clone();
        let (min, max) = (self.options.reconnect_delay_min, self.options.reconnect_delay_max);
        self.backoff.set_limits(seconds(min), seconds(max));
        self.connector.configure(self.options.clone());
        let event = match self.unless_stopped(self.connector.connect()).await {
            None => return,
            Some(Err(reason)) => {
                let retry_in = self.backoff.next_delay(fastrand::f64());
                Some((Event::Unreachable { reason, retry_in }, retry_in))
            }
            Some(Ok(opened)) => self.serve(opened).await,
        };
        let Some((event, pause)) = event else { return };
        self.shared.set_hope(false);
        self.offline_since.get_or_insert_with(Instant::now);
        self.shared.tell(vec![event]);
        self.unless_stopped(tokio::time::sleep(pause)).await;
    }

    /// Carries a connection from CONNECT to its end; the event that tells of it and the pause that follows.
    async fn serve(&mut self, opened: Opened) -> Option<(Event, Duration)> {
        let started = Instant::now();
        let mut connection = match Connection::new(Arc::clone(&self.shared), opened.stream) {
            Ok(connection) => connection,
            Err(error) => {
                let retry_in = self.backoff.next_delay(fastrand::f64());
                let reason = format!("the system gives no timer to watch the connection with ({error})");
                return Some((Event::Unreachable { reason, retry_in }, retry_in));
            }
        };
        connection.begin(opened.socket);
        let end = connection.run(self).await;
        let (was_connected, mut again) = {
            let mut protocol = self.shared.protocol();
            let connected = protocol.is_connected();
            let mut out = self.shared.out();
            out.close();
            (connected, protocol.connection_lost(out.taken(), self.shared.now()))
        };
        self.shared.announce();
        if matches!(end, End::Requested) {
            self.said_goodbye = true;
            connection.goodbye().await;
            if was_connected {
                self.shared.tell(vec![Event::Disconnected {
                    reason: "the session was closed".into(),
                    requested: true,
                    retry_in: None,
                }]);
            }
            return None;
        }
        let lived = started.elapsed();
        if was_connected {
            self.backoff.connection_ended(lived);
        }
        if let End::Fault(Fault::Refused { again: true, .. }) = &end {
            again = true;
        }
        if again {
            // The next CONNECT asks for less: that is no news before it is answered.
            return None;
        }
        let retry_in = self.backoff.next_delay(fastrand::f64());
        if let End::Fault(Fault::Refused { code, reason, .. }) = &end {
            return Some((Event::Refused { code: *code, reason: reason.clone(), retry_in }, retry_in));
        }
        let reason = self.reason(&end, &connection.input, lived, was_connected);
        let event = if was_connected {
            Event::Disconnected { reason, requested: false, retry_in: Some(retry_in) }
        } else {
            Event::Unreachable { reason, retry_in }
        };
        Some((event, retry_in))
    }

    /// Why a connection has ended, in words. `unread`: what came last and was no packet.
    fn reason(&mut self, end: &End, unread: &[u8], lived: Duration, was_connected: bool) -> String {
        // Another client with our id shows as connections that are accepted and soon closed (section 3.1.4).
        let hung_up = match end {
            End::Closed => true,
            End::Io(error) => error.kind() == io::ErrorKind::ConnectionReset,
            _ => false,
        };
        self.short_lived =
            if hung_up && was_connected && lived < SHORT_LIVED { self.short_lived + 1 } else { 0 };
        if self.short_lived >= TAKEOVER_SUSPECTED {
            return format!(
                "the broker closes each connection soon after accepting it: most likely another client is \
                 connected with the same client id {:?}; stop it, or give one of them a `client_id` of its own \
                 in the section `broker`",
                self.options.client_id
            );
        }
        match end {
            End::Requested => "the session was closed".into(),
            End::Fault(fault) => fault.to_string(),
            End::Closed if was_connected => "the broker closed the connection".into(),
            End::Closed => self.connector.hung_up_early().into(),
            End::Io(_) if hung_up && !was_connected => self.connector.hung_up_early().into(),
            End::Io(error) => self.connector.lost(error),
            End::Codec(error) => {
                let other = if was_connected { None } else { self.connector.other_protocol(unread) };
                other.unwrap_or_else(|| error.to_string())
            }
        }
    }

    /// Runs `future` unless the session is told to stop meanwhile.
    async fn unless_stopped<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        loop {
            if self.shared.should_stop() {
                return None;
            }
            let mut woken = pin!(self.shared.driver_wake.notified());
            let output = poll_fn(|cx| match future.as_mut().poll(cx) {
                Poll::Ready(output) => Poll::Ready(Some(output)),
                Poll::Pending => woken.as_mut().poll(cx).map(|()| None),
            })
            .await;
            if output.is_some() {
                return output;
            }
        }
    }

    /// The connection stands: what the service hears of it.
    fn note_connected(&mut self, events: &mut [Event]) {
        for event in events {
            if let Event::Connected { outage, .. } = event {
                let since = self.offline_since.take();
                self.shared.set_hope(true);
                *outage = since.filter(|_| self.was_connected).map(|since| since.elapsed());
                self.was_connected = true;
            }
        }
    }
}

struct Connection<S> {
    shared: Arc<Shared>,
    stream: S,
    input: BytesMut,
    version: Version,
    /// Fires when what the service holds back by itself has been for long enough.
    hold: Timer,
    /// Whether the service writes, too.
    is_direct: bool,
    /// Whether the stream may hold bytes that it has taken: TLS records, WebSocket frames.
    unflushed: bool,
    held: Held,
    lull: Lull,
    alarm: Alarm,
    /// Set once the session has to stop: when to stop trying to get the last bytes out.
    leave_at: Option<Duration>,
    /// Since when messages are held back.
    held_since: Option<Duration>,
    events: Vec<Event>,
}

/// Until when messages are held back, because the service is about to say more; `None`: they are not.
fn held_until(
    shared: &Shared,
    since: &mut Option<Duration>,
    may_linger: bool,
    now: Duration,
) -> Option<Duration> {
    let in_haste = shared.should_stop() || shared.somebody_waits();
    if may_linger && !in_haste && (since.is_some() || shared.cork.hold() || shared.cork.is_holding()) {
        let until = *since.get_or_insert(now) + HOLD;
        if now < until && !shared.cork.was_opened() {
            return Some(until);
        }
    }
    *since = None;
    shared.cork.release();
    None
}

/// What a step has moved; nothing when the session was woken, or something is due.
#[derive(Default)]
struct Step {
    read: Option<usize>,
    wrote: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    fn new(shared: Arc<Shared>, stream: S) -> io::Result<Self> {
        Ok(Self {
            shared,
            stream,
            input: BytesMut::with_capacity(READ_BATCH),
            version: Version::default(),
            hold: Timer::new()?,
            is_direct: false,
            unflushed: false,
            held: Held::default(),
            lull: Lull::default(),
            alarm: Alarm::new()?,
            leave_at: None,
            held_since: None,
            events: Vec::new(),
        })
    }

    /// Tells the session that the stream is open.
    fn begin(&mut self, socket: Option<OwnedFd>) {
        let direct = socket.zip(self.hold.remote()).map(|(socket, timer)| Direct { socket, timer });
        self.is_direct = direct.is_some();
        let mut protocol = self.shared.protocol();
        protocol.connection_opened(self.shared.now());
        self.version = protocol.version();
        self.shared.out().open(self.version, direct);
    }

    async fn run(&mut self, driver: &mut Driver) -> End {
        loop {
            // What was left in the input because the inbox was full comes first.
            let reading = match self.digest(driver) {
                Ok(reading) => reading,
                Err(end) => return end,
            };
            let deadline = {
                let mut protocol = self.shared.protocol();
                let now = self.shared.now();
                protocol.pause_reading(!reading, now);
                if let Err(fault) = protocol.tick(now) {
                    return End::Fault(fault);
                }
                let held_until = held_until(&self.shared, &mut self.held_since, protocol.may_linger(), now);
                let mut out = self.shared.out();
                protocol.poll(&mut *out, now, held_until.is_none());
                self.shared.keep(&mut protocol, &mut self.events);
                protocol.take_notices(&mut self.events);
                if self.shared.should_stop() {
                    // The deadline of `close` has passed: out with what is here, and goodbye.
                    protocol.hurry(&mut *out);
                    let until = *self.leave_at.get_or_insert(now + GOODBYE);
                    if out.unwritten().is_empty() || now >= until {
                        return End::Requested;
                    }
                    Some(until)
                } else if protocol.farewell_sent() && out.unwritten().is_empty() {
                    return End::Requested;
                } else {
                    [protocol.deadline(), held_until].into_iter().flatten().min()
                }
            };
            self.shared.found(&mut self.events);
            let now = self.shared.now();
            if reading
                && self.shared.out().unwritten().is_empty()
                && let Some(pause) = self.lull.take(now)
            {
                // Nothing else has to be done on this thread, or soon enough; what the service says, it writes itself.
                std::thread::sleep(pause);
            }
            self.alarm.set(deadline, now);
            let Step { read, wrote } = match self.step(reading).await {
                Ok(step) => step,
                // TLS and WebSocket miss their goodbye; MQTT knows its own ends.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return End::Closed,
                Err(error) => return End::Io(error),
            };
            if wrote {
                let now = self.shared.now();
                let mut protocol = self.shared.protocol();
                let taken = self.shared.out().taken();
                protocol.written(taken, now, &mut self.events);
                drop(protocol);
                self.shared.found(&mut self.events);
                self.shared.announce();
            }
            match read {
                Some(0) => return End::Closed,
                Some(count) => {
                    let now = self.shared.now();
                    self.shared.protocol().heard(now);
                    self.lull.read(count, now);
                }
                None => {}
            }
        }
    }

    /// Decodes and handles what has been read, as long as the inbox has room, or somebody waits for an answer;
    /// whether to read on.
    fn digest(&mut self, driver: &mut Driver) -> Result<bool, End> {
        if self.input.is_empty() && self.held.is_empty() {
            let wanted = self.shared.inbox_has_room(0, 0) || self.shared.answer_is_awaited();
            return Ok(wanted && !self.shared.protocol().is_congested());
        }
        let (limit, version) = (driver.options.max_packet_size(), self.version);
        let (mut messages, mut bytes, mut overrun) = (0, 0, 0);
        let mut end = None;
        let mut reading = true;
        {
            let mut protocol = self.shared.protocol();
            let now = self.shared.now();
            loop {
                let room = self.shared.inbox_has_room(messages, bytes);
                let past_it = !room && self.shared.answer_is_awaited() && self.held.has_room(limit);
                if !(room || past_it) || protocol.is_congested() {
                    reading = false;
                    break;
                }
                let held = if room { self.held.pop() } else { None };
                let next = held.map_or_else(
                    || codec::decode(&mut self.input, limit, version),
                    |packet| Ok(Some(packet)),
                );
                match next {
                    Ok(None) => break,
                    Ok(Some(Packet::Publish(_, None))) if past_it => overrun += 1,
                    Ok(Some(Packet::Publish(message, Some(id)))) if past_it => self.held.push(message, id),
                    Ok(Some(packet)) => {
                        if let Packet::Publish(message, _) = &packet {
                            messages += 1;
                            bytes += message.size();
                        }
                        if let Err(fault) = protocol.handle(packet, now, &mut self.events) {
                            end = Some(End::Fault(fault));
                            break;
                        }
                    }
                    Err(error) => {
                        end = Some(End::Codec(error));
                        break;
                    }
                }
            }
        }
        driver.note_connected(&mut self.events);
        // Handed over before the acknowledgements are written: `poll` comes after this.
        self.shared.found(&mut self.events);
        if overrun > 0 {
            self.shared.inbox().push_overrun(overrun);
            self.shared.wake.notify();
        }
        self.shared.announce();
        end.map_or(Ok(reading), Err)
    }

    /// Waits for whatever comes first: bytes, room in the socket, a request of the service, a deadline. Reads
    /// and writes in one step, so that neither direction can starve the other.
    async fn step(&mut self, reading: bool) -> io::Result<Step> {
        let Self { shared, stream, input, unflushed, alarm, hold, is_direct, held_since, .. } = self;
        let mut woken = pin!(shared.driver_wake.notified());
        poll_fn(|cx| {
            let mut step = Step::default();
            if reading {
                input.reserve(READ_BATCH / 4);
                if let Poll::Ready(read) = pin!(stream.read_buf(input)).poll(cx) {
                    step.read = Some(read?);
                }
            }
            let mut out = shared.out();
            if !out.unwritten().is_empty() {
                match Pin::new(&mut *stream).poll_write(cx, out.unwritten()) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(count)) => {
                        out.wrote(count);
                        step.wrote = true;
                        *unflushed = true;
                    }
                    // What was read may say why; the error will be met again.
                    Poll::Ready(Err(_)) if step.read.is_some() => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {}
                }
            }
            drop(out);
            if *unflushed {
                match Pin::new(&mut *stream).poll_flush(cx) {
                    Poll::Ready(Ok(())) => *unflushed = false,
                    Poll::Ready(Err(error)) if step.read.is_none() => return Poll::Ready(Err(error)),
                    Poll::Ready(Err(_)) | Poll::Pending => {}
                }
            }
            if *is_direct && hold.poll(cx).is_ready() {
                // Held back for long enough.
                *held_since = Some(Duration::ZERO);
                return Poll::Ready(Ok(step));
            }
            let moved = step.read.is_some() || step.wrote;
            if moved || woken.as_mut().poll(cx).is_ready() || alarm.poll(cx).is_ready() {
                return Poll::Ready(Ok(step));
            }
            Poll::Pending
        })
        .await
    }

    /// Ends the stream so that the last bytes are read: closing a socket that still has unread input makes
    /// the kernel send a reset, which overtakes them.
    async fn goodbye(&mut self) {
        let farewell = async {
            self.stream.shutdown().await?;
            let mut sink = [0u8; 4096];
            while self.stream.read(&mut sink).await? > 0 {}
            io::Result::Ok(())
        };
        // Whatever goes wrong here, the connection is over.
        let _ = tokio::time::timeout(GOODBYE, farewell).await;
    }
}

#[cfg(test)]
mod tests;
