//! The MQTT session as a state machine without sockets and clocks: packets, requests and the time go in,
//! packets and events come out. The driver moves the bytes; a test can move the packets itself.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::completion::Completion;
use super::event::Event;
use super::message::{Message, QoS};
use super::options::{SessionOptions, seconds};
use super::outbox::{Admission, Limits, Next, Outbox, Outgoing, Urgency};
use super::packet::{Connect, Packet, PacketId};
use super::requests::Requests;

/// Packets that wait for a broker that does not read, before we stop reading too.
const BACKLOG: usize = 4096;
/// Half of the identifiers are kept for subscriptions and for messages that the broker forgets to acknowledge.
const MAX_WINDOW: usize = 32_767;

/// Why a publish was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The outbox is full; connected, so room will come.
    #[error("the queue is full")]
    FullWhileConnected,
    /// The outbox is full of QoS 1 and 2 messages, and the broker is away.
    #[error("the queue is full of QoS 1 and 2 messages and the broker is away")]
    FullWhileOffline,
    /// The session is closed.
    #[error("the session is closed")]
    Closed,
}

/// A publish that was accepted.
#[derive(Debug)]
pub struct Receipt {
    /// Its number, 1 to 65535 and round again.
    pub mid: u16,
    /// Resolved when the broker has it.
    pub completion: Arc<Completion>,
    /// Topics of older messages that were dropped for it.
    pub dropped: Vec<String>,
}

/// Why a connection has to end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The broker said no.
    #[error("{}", refusal_in_words(*.0))]
    Refused(u8),
    /// The broker broke the protocol.
    #[error("the broker broke the MQTT protocol: {0}")]
    Protocol(String),
    /// No CONNACK.
    #[error("the broker accepted the connection but did not answer CONNECT: is this an MQTT broker's port?")]
    NoConnAck,
    /// No PINGRESP.
    #[error("the broker has not answered for {0} s: the connection is dead")]
    Silent(u64),
}

/// Where the encoded packets go.
pub trait Sink {
    /// Bytes put in so far on this connection.
    fn offset(&self) -> u64;
    /// Whether enough is waiting to be written.
    fn is_full(&self) -> bool;
    /// Takes a PUBLISH, lent.
    fn publish(&mut self, message: &mut Message, id: PacketId, dup: bool);
    /// Takes any other packet.
    fn packet(&mut self, packet: &Packet);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Offline,
    /// CONNECT is out; the answer is due by then.
    Connecting(Duration),
    /// Connected; the queue is held until the service has said its greeting, or until then.
    Greeting(Duration),
    Online,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Messages are accepted.
    Open,
    /// No more are accepted; what is owed is sent.
    Closing,
    /// DISCONNECT has been handed to the sink.
    SaidGoodbye,
}

/// A PINGREQ without its PINGRESP.
#[derive(Debug)]
struct Ping {
    /// When its clock started: when the socket took its last byte. While it waits behind other bytes, each that
    /// the socket takes starts the clock anew.
    since: Duration,
    /// Where it ends in the stream; `None` until it has been handed to the sink.
    end: Option<u64>,
    in_socket: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Protocol {
    options: SessionOptions,
    phase: Phase,
    outbox: Outbox,
    control: VecDeque<Packet>,
    requests: Requests,
    inbound_qos2: HashSet<PacketId>,
    last_sent: Duration,
    last_received: Duration,
    ping: Option<Ping>,
    reading_paused: bool,
    ending: Ending,
    last_mid: u16,
}

impl Protocol {
    /// A session that has not connected yet.
    pub fn new(options: SessionOptions) -> Self {
        let limits = Limits {
            messages: options.max_queued_messages.max(1),
            bytes: options.max_queued_bytes.max(1),
            window: options.max_inflight.clamp(1, MAX_WINDOW),
        };
        Self {
            options,
            phase: Phase::Offline,
            outbox: Outbox::new(limits),
            control: VecDeque::new(),
            requests: Requests::default(),
            inbound_qos2: HashSet::new(),
            last_sent: Duration::ZERO,
            last_received: Duration::ZERO,
            ping: None,
            reading_paused: false,
            ending: Ending::Open,
            last_mid: 0,
        }
    }

    /// Whether the broker has accepted us.
    pub fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Greeting(_) | Phase::Online)
    }

    /// What is owed to the broker.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    // ---- requests of the service ---------------------------------------------------------------------

    /// Accepts a message, or says why not. Topic and size have been checked. Its urgency says
    /// where it stands among the others.
    ///
    /// # Errors
    /// [`Refusal`]; the message was not kept.
    pub fn publish(&mut self, message: Message, urgency: Urgency) -> Result<Receipt, Refusal> {
        if self.is_closing() {
            return Err(Refusal::Closed);
        }
        let mid = self.take_mid();
        let completion = Arc::new(Completion::default());
        let outgoing = Outgoing { message, completion: Arc::clone(&completion), mid };
        let (admission, refusal) = match self.phase {
            Phase::Offline | Phase::Connecting(_) => {
                (self.outbox.admit_offline(outgoing), Refusal::FullWhileOffline)
            }
            _ => (self.outbox.admit(outgoing, urgency), Refusal::FullWhileConnected),
        };
        match admission {
            Admission::Accepted { dropped } => Ok(Receipt { mid, completion, dropped }),
            Admission::Full(_) => Err(refusal),
        }
    }

    /// Whether a message of `size` bytes has to wait for room, and room will come.
    pub fn has_to_wait(&self, size: usize, urgency: Urgency) -> bool {
        self.is_connected() && !self.is_closing() && self.outbox.is_full_for(size, urgency)
    }

    /// Subscribes now, and again on every connect. A filter that this connection's restoration has covered
    /// already is not asked for a second time: the broker would send its retained messages twice.
    pub fn subscribe(&mut self, filters: Vec<(String, QoS)>) -> u16 {
        let wanted = self.requests.subscribe(filters);
        if self.is_connected() { self.send_subscribe(wanted) } else { self.take_mid() }
    }

    /// Ends subscriptions.
    pub fn unsubscribe(&mut self, filters: Vec<String>) -> u16 {
        let mid = self.take_mid();
        self.requests.unsubscribe(&filters);
        if self.is_connected() {
            self.requests.send_unsubscribe(filters, mid);
        }
        mid
    }

    /// The service has said its greeting: the queue may follow.
    pub fn greeted(&mut self) {
        if matches!(self.phase, Phase::Greeting(_)) {
            self.phase = Phase::Online;
        }
    }

    /// No more messages are accepted; what is owed is still sent, then DISCONNECT.
    pub fn close(&mut self) {
        if self.ending == Ending::Open {
            self.ending = Ending::Closing;
        }
        self.greeted();
    }

    /// Whether [`Self::close`] was called.
    pub fn is_closing(&self) -> bool {
        self.ending != Ending::Open
    }

    /// Whether the DISCONNECT has been handed to the sink.
    pub fn farewell_sent(&self) -> bool {
        self.ending == Ending::SaidGoodbye
    }

    /// Gives up what is still owed. Nothing is accepted after this.
    pub fn abandon(&mut self) {
        self.close();
        self.outbox.abandon();
    }

    // ---- the connection ------------------------------------------------------------------------------

    /// A byte stream to the broker is open: CONNECT goes out on it.
    pub fn connection_opened(&mut self, now: Duration) {
        self.control.clear();
        if self.ending == Ending::SaidGoodbye {
            self.ending = Ending::Closing;
        }
        self.control.push_back(Packet::Connect(Connect {
            client_id: self.options.client_id.clone(),
            clean_session: self.options.clean_session,
            keepalive: self.options.keepalive,
            will: self.options.will(),
            login: self.options.login(),
        }));
        self.phase = Phase::Connecting(now + seconds(self.options.connect_timeout));
        self.ping = None;
        self.last_sent = now;
        self.last_received = now;
    }

    /// The byte stream has ended after `written` bytes of it were taken by the socket.
    pub fn connection_lost(&mut self, written: u64) {
        self.phase = Phase::Offline;
        self.control.clear();
        self.requests.connection_lost();
        self.outbox.connection_lost(written);
    }

    /// The socket has taken `written` bytes of this connection's stream.
    pub fn written(&mut self, written: u64, now: Duration, events: &mut Vec<Event>) {
        if let Some(ping) = &mut self.ping
            && !ping.in_socket
        {
            ping.since = now;
            ping.in_socket = ping.end.is_some_and(|end| end <= written);
        }
        let report = self.options.report_published;
        self.outbox.written(written, &mut |mid| {
            if report {
                events.push(Event::Published { mid });
            }
        });
    }

    /// The driver has stopped reading, or reads again.
    pub fn pause_reading(&mut self, paused: bool, now: Duration) {
        if self.reading_paused && !paused {
            // What the broker sent meanwhile is still in the socket: its silence proves nothing.
            self.last_received = now;
        }
        self.reading_paused = paused;
    }

    /// Bytes have arrived, though perhaps not yet a whole packet: the broker lives. To be called for all bytes.
    pub fn heard(&mut self, now: Duration) {
        self.last_received = now;
    }

    /// Whether so many packets wait for the broker to read them that nothing more should be read from it.
    pub fn is_congested(&self) -> bool {
        self.control.len() >= BACKLOG
    }

    /// A packet has arrived.
    ///
    /// # Errors
    /// [`Fault`]: the connection must be ended.
    pub fn handle(&mut self, packet: Packet, now: Duration, events: &mut Vec<Event>) -> Result<(), Fault> {
        if let Packet::ConnAck(session_present, code) = packet {
            return self.connected(session_present, code, now, events);
        }
        if !self.is_connected() {
            return Err(Fault::Protocol("a packet came before CONNACK".into()));
        }
        let report = self.options.report_published;
        let mut done = |mid| {
            if report {
                events.push(Event::Published { mid });
            }
        };
        match packet {
            Packet::Publish(message, id) => return self.receive(message, id, events),
            Packet::PubAck(id) => {
                self.outbox.acknowledged(id, QoS::AtLeastOnce, &mut done);
            }
            Packet::PubRec(id) => {
                // Answered even when unknown: a broker that is not answered asks for ever.
                self.outbox.received(id);
                self.control.push_back(Packet::PubRel(id));
            }
            Packet::PubComp(id) => {
                self.outbox.acknowledged(id, QoS::ExactlyOnce, &mut done);
            }
            Packet::PubRel(id) => {
                self.inbound_qos2.remove(&id);
                self.control.push_back(Packet::PubComp(id));
            }
            Packet::SubAck(id, granted) => {
                let answer = self.requests.granted(id, granted);
                events.extend(answer.map_err(|wrong| Fault::Protocol(wrong.into()))?);
            }
            Packet::UnsubAck(id) => events.extend(self.requests.ended(id)),
            Packet::PingResp => self.ping = None,
            Packet::ConnAck(..)
            | Packet::Connect(_)
            | Packet::Subscribe(..)
            | Packet::Unsubscribe(..)
            | Packet::PingReq
            | Packet::Disconnect => {
                return Err(Fault::Protocol("it sent a packet that only clients send".into()));
            }
        }
        Ok(())
    }

    fn connected(
        &mut self,
        session_present: bool,
        code: u8,
        now: Duration,
        events: &mut Vec<Event>,
    ) -> Result<(), Fault> {
        if !matches!(self.phase, Phase::Connecting(_)) {
            return Err(Fault::Protocol("it sent a second CONNACK".into()));
        }
        if code != 0 {
            return Err(Fault::Refused(code));
        }
        if !session_present {
            self.inbound_qos2.clear();
            self.outbox.session_lost();
        }
        let hold = seconds(self.options.greeting_timeout);
        self.phase =
            if hold.is_zero() || self.is_closing() { Phase::Online } else { Phase::Greeting(now + hold) };
        self.restore_subscriptions(session_present);
        events.push(Event::Connected { session_present, outage: None });
        Ok(())
    }

    fn receive(
        &mut self,
        message: Message,
        id: Option<PacketId>,
        events: &mut Vec<Event>,
    ) -> Result<(), Fault> {
        if message.topic.is_empty() || message.topic.contains(['+', '#', '\0']) {
            return Err(Fault::Protocol("it sent a message whose topic is empty or a filter".into()));
        }
        let known = match (message.qos, id) {
            (QoS::AtMostOnce, _) | (QoS::AtLeastOnce, Some(_)) => false,
            (QoS::ExactlyOnce, Some(id)) => !self.inbound_qos2.insert(id),
            (_, None) => return Err(Fault::Protocol("it sent a QoS 1 or 2 message without a number".into())),
        };
        // The acknowledgement leaves after the driver has handed the events over.
        match (message.qos, id) {
            (QoS::AtLeastOnce, Some(id)) => self.control.push_back(Packet::PubAck(id)),
            (QoS::ExactlyOnce, Some(id)) => self.control.push_back(Packet::PubRec(id)),
            _ => {}
        }
        if !known {
            events.push(Event::Message(message));
        }
        Ok(())
    }

    // ---- time ----------------------------------------------------------------------------------------

    /// Does what is due at `now`.
    ///
    /// # Errors
    /// [`Fault`]: the connection must be ended.
    pub fn tick(&mut self, now: Duration) -> Result<(), Fault> {
        match self.phase {
            Phase::Offline => return Ok(()),
            Phase::Connecting(until) => return if now < until { Ok(()) } else { Err(Fault::NoConnAck) },
            Phase::Greeting(until) if now >= until => self.phase = Phase::Online,
            Phase::Greeting(_) | Phase::Online => {}
        }
        let Some(keepalive) = self.options.keepalive() else { return Ok(()) };
        if let Some(limit) = self.silence_limit()
            && now >= limit
        {
            return Err(Fault::Silent(now.saturating_sub(self.last_received).as_secs().max(1)));
        }
        if now >= self.next_ping(keepalive) {
            // A ping that still waits to be handed over need not be followed by another.
            if self.ping.as_ref().is_none_or(|ping| ping.end.is_some()) {
                self.control.push_back(Packet::PingReq);
                self.ping = Some(Ping { since: now, end: None, in_socket: false });
            }
            self.last_sent = now;
        }
        Ok(())
    }

    /// When [`Self::tick`] has something to do; `None`: never.
    pub fn deadline(&self) -> Option<Duration> {
        match self.phase {
            Phase::Offline => None,
            Phase::Connecting(until) => Some(until),
            Phase::Greeting(_) | Phase::Online => {
                let greeting = if let Phase::Greeting(until) = self.phase { Some(until) } else { None };
                let ping = self.options.keepalive().map(|keepalive| self.next_ping(keepalive));
                [greeting, ping, self.silence_limit()].into_iter().flatten().min()
            }
        }
    }

    /// A ping is due when nothing was sent for the keepalive (the broker would drop us, section 3.1.2.10), or
    /// nothing received for it (the link may be dead though we keep sending into it).
    fn next_ping(&self, keepalive: Duration) -> Duration {
        let silent_since = if self.ping.is_some() || self.reading_paused {
            self.last_sent
        } else {
            self.last_sent.min(self.last_received)
        };
        silent_since + keepalive
    }

    /// When an unanswered ping proves the connection dead: half a keepalive after it, unless anything else
    /// has arrived since, or we do not read, or it is still behind bytes that the socket takes.
    fn silence_limit(&self) -> Option<Duration> {
        let ping = self.ping.as_ref()?.since;
        let keepalive = self.options.keepalive()?;
        (!self.reading_paused).then(|| ping.max(self.last_received) + keepalive / 2)
    }

    // ---- output --------------------------------------------------------------------------------------

    /// Whether messages to be sent may wait for more: nothing in flight paces them.
    pub fn may_linger(&self) -> bool {
        self.is_connected() && self.outbox.is_unpaced()
    }

    /// Moves what may be sent into `sink`, until it is full or there is nothing; messages only if `messages`.
    pub fn poll(&mut self, sink: &mut impl Sink, now: Duration, messages: bool) {
        if self.farewell_sent() {
            return; // Nothing may follow a DISCONNECT (MQTT-3.14.4-2).
        }
        let start = sink.offset();
        while !sink.is_full() {
            let Some(packet) = self.control.pop_front() else { break };
            sink.packet(&packet);
            if let (Packet::PingReq, Some(ping)) = (&packet, &mut self.ping) {
                ping.end = Some(sink.offset());
            }
        }
        if self.is_connected() && self.control.is_empty() {
            self.poll_requests(sink);
            if messages {
                self.poll_messages(sink);
            }
            if self.ending == Ending::Closing && self.outbox.is_empty() && !sink.is_full() {
                sink.packet(&Packet::Disconnect);
                self.ending = Ending::SaidGoodbye;
            }
        }
        if sink.offset() != start {
            self.last_sent = now;
        }
    }

    /// The time for the farewell is over: DISCONNECT, if everything has been said. Else the connection ends
    /// without, and the broker publishes the will: a `0` that never left must not be missing.
    pub fn hurry(&mut self, sink: &mut impl Sink) {
        if self.is_connected() && !self.farewell_sent() && !self.outbox.has_unsent() {
            sink.packet(&Packet::Disconnect);
            self.ending = Ending::SaidGoodbye;
        }
    }

    fn poll_requests(&mut self, sink: &mut impl Sink) {
        while !sink.is_full() {
            let outbox = &mut self.outbox;
            let Some(packet) = self.requests.next(|busy| outbox.free_id(busy)) else { break };
            sink.packet(&packet);
        }
    }

    fn poll_messages(&mut self, sink: &mut impl Sink) {
        let greeting = matches!(self.phase, Phase::Greeting(_));
        while !sink.is_full() {
            let requests = &self.requests;
            match self.outbox.next(sink.offset(), greeting, |id| requests.holds(id)) {
                Some(Next::Publish { message, id, dup }) => sink.publish(message, id, dup),
                Some(Next::Release(id)) => sink.packet(&Packet::PubRel(id)),
                None => break,
            }
            self.outbox.sent(sink.offset());
        }
    }

    // ---- subscriptions -------------------------------------------------------------------------------

    fn restore_subscriptions(&mut self, session_present: bool) {
        let (ended, filters) = self.requests.restore(session_present);
        let mid = self.take_mid();
        self.requests.send_unsubscribe(ended, mid);
        self.send_subscribe(filters);
    }

    fn send_subscribe(&mut self, filters: Vec<(String, QoS)>) -> u16 {
        let last_mid = &mut self.last_mid;
        self.requests.send_subscribe(filters, || next_number(last_mid))
    }

    fn take_mid(&mut self) -> u16 {
        next_number(&mut self.last_mid)
    }
}

/// 1 to 65535, and round again.
fn next_number(last: &mut u16) -> u16 {
    *last = last.checked_add(1).unwrap_or(1);
    *last
}

/// The return codes of MQTT 3.1.1 section 3.2.2.3, for the person who has to act.
pub fn refusal_in_words(code: u8) -> String {
    match code {
        1 => "the broker does not speak MQTT 3.1.1".into(),
        2 => "the broker does not allow this client id: set another one with `client_id` in the section \
              `broker` of the configuration"
            .into(),
        3 => "the broker says that it is not available at the moment".into(),
        4 => "the broker says that the user name or the password is wrong: see the section `auth` of the \
              configuration"
            .into(),
        5 => "the broker does not allow this client to connect: check user name and password in the section \
              `auth` of the configuration, and the broker's access rules"
            .into(),
        other => format!("the broker refused the connection with the unknown code {other}"),
    }
}
