//! The MQTT session as a state machine without sockets and clocks: packets, requests and the time go in,
//! packets and events come out. The driver moves the bytes; a test can move the packets itself.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::codec;
use super::completion::Completion;
use super::event::Event;
use super::journal::{Note, Owed};
use super::message::{Message, QoS};
use super::options::{SessionOptions, seconds};
use super::outbox::{Admission, Kept, Limits, Next, Outbox, Outgoing, Terms, Urgency};
use super::packet::{
    ConnAckProperties, Connect, ConnectProperties, Disconnect, Packet, PacketId, Reason, Subscription,
    Version,
};
use super::requests::Requests;
use super::versions::Versions;

/// Packets that wait for a broker that does not read, before we stop reading too.
const BACKLOG: usize = 4096;
/// Half of the identifiers are kept for subscriptions and for messages that the broker forgets to acknowledge.
const MAX_WINDOW: usize = 32_767;

/// Why a publish was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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
    /// The broker has said that it takes no message of this size.
    #[error("{0}")]
    TooLarge(String),
}

/// A publish that was accepted.
#[derive(Debug)]
pub struct Receipt {
    /// Its number, 1 to 65535 and round again.
    pub mid: u16,
    /// Resolved when the broker has it.
    pub completion: Arc<Completion>,
    /// How many older messages were dropped for it.
    pub dropped: usize,
}

/// Why a connection has to end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The broker said no.
    #[error("{reason}")]
    Refused {
        /// The return code, with MQTT 5 the reason code.
        code: u8,
        /// In words, and what to do.
        reason: String,
        /// Another attempt is worth while at once: the next CONNECT asks for less.
        again: bool,
    },
    /// The broker has said goodbye (MQTT 5), and why.
    #[error("{reason}")]
    Ended {
        /// The reason code.
        code: u8,
        /// In words, and what to do.
        reason: String,
    },
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

/// What a broker has refused in our will.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct WillLimits {
    no_retain: bool,
    qos0: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Protocol {
    options: SessionOptions,
    /// What replaces them at the next connection.
    next_options: Option<SessionOptions>,
    phase: Phase,
    outbox: Outbox,
    control: VecDeque<Packet>,
    requests: Requests,
    /// QoS 2 messages without their PUBREL, and whether they came on this connection.
    inbound_qos2: HashMap<PacketId, bool>,
    /// How many came on this connection.
    inbound_open: usize,
    /// PUBACKs in `control`.
    pubacks: usize,
    versions: Versions,
    /// What this broker says of itself on this connection; of 3.1.1 nothing is known.
    broker: ConnAckProperties,
    /// The client id that a broker has given us.
    assigned_client_id: Option<String>,
    /// What the broker does not take in a will.
    will_limits: WillLimits,
    /// What the service has to hear besides.
    notices: Vec<Event>,
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
        let protocol = options.protocol;
        let limits = limits(&options);
        Self {
            options,
            next_options: None,
            phase: Phase::Offline,
            outbox: Outbox::new(limits),
            control: VecDeque::new(),
            requests: Requests::default(),
            inbound_qos2: HashMap::new(),
            inbound_open: 0,
            pubacks: 0,
            versions: Versions::new(protocol),
            broker: ConnAckProperties::default(),
            assigned_client_id: None,
            will_limits: WillLimits::default(),
            notices: Vec::new(),
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

    /// What this connection speaks, or the next one will.
    pub fn version(&self) -> Version {
        self.versions.current()
    }

    /// What is owed to the broker.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Takes up what an earlier process owed, in order. From now on the journal wants to know: see
    /// [`Self::take_notes`].
    pub fn restore(&mut self, owed: Vec<Owed<Message>>, now: Duration) {
        let kept = owed.into_iter().map(|owed| {
            let Owed { number, body: message, id, received } = owed;
            Kept { outgoing: self.outgoing(message, now, number), id, received }
        });
        let kept = kept.collect();
        self.outbox.restore(kept);
    }

    /// What the journal has to be told; to be called after each change, before it has an effect outside.
    pub fn take_notes(&mut self) -> Vec<Note<Message>> {
        self.outbox.take_notes()
    }

    /// The options of the next connection.
    pub fn options(&self) -> &SessionOptions {
        self.next_options.as_ref().unwrap_or(&self.options)
    }

    /// Changes the options: what the broker was told counts from the next connection on, the rest at once.
    pub fn configure(&mut self, options: SessionOptions) {
        self.outbox.set_limits(limits(&options));
        self.options.report_published = options.report_published;
        self.next_options = Some(options);
    }

    // ---- requests of the service ---------------------------------------------------------------------

    /// Accepts a message, or says why not. Topic and size have been checked. Its urgency says
    /// where it stands among the others.
    ///
    /// # Errors
    /// [`Refusal`]; the message was not kept.
    pub fn publish(&mut self, message: Message, urgency: Urgency, now: Duration) -> Result<Receipt, Refusal> {
        if self.is_closing() {
            return Err(Refusal::Closed);
        }
        if self.is_connected() {
            self.outbox.terms().check_size(&message).map_err(Refusal::TooLarge)?;
        }
        if self.outbox.is_full_for(message.size(), urgency) {
            self.outbox.expire(now);
        }
        let number = self.outbox.number(&message, urgency);
        let outgoing = self.outgoing(message, now, number);
        let (mid, completion) = (outgoing.mid, Arc::clone(&outgoing.completion));
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

    fn outgoing(&mut self, message: Message, now: Duration, number: u64) -> Outgoing {
        let expiry = message.properties.as_ref().and_then(|properties| properties.expiry);
        let deadline = expiry.map(|expiry| now + Duration::from_secs(expiry.into()));
        Outgoing { message, completion: Arc::default(), mid: self.take_mid(), deadline, number }
    }

    /// Whether a message of `size` bytes has to wait for room, and room will come.
    pub fn has_to_wait(&self, size: usize, urgency: Urgency) -> bool {
        self.is_connected() && !self.is_closing() && self.outbox.is_full_for(size, urgency)
    }

    /// Subscribes now, and again on every connect. A filter that this connection's restoration has covered
    /// already is not asked for a second time: the broker would send its retained messages twice.
    pub fn subscribe<S: Into<Subscription>>(&mut self, filters: Vec<(String, S)>) -> u16 {
        let filters = filters.into_iter().map(|(filter, how)| (filter, how.into())).collect();
        let wanted = self.requests.subscribe(filters);
        if self.is_connected() { self.send_subscribe(wanted) } else { self.take_mid() }
    }

    /// Ends subscriptions.
    pub fn unsubscribe(&mut self, filters: Vec<String>) -> u16 {
        let mid = self.take_mid();
        self.requests.unsubscribe(&filters);
        if self.is_connected() {
            self.requests.send_unsubscribe(filters, self.packet_limit(), mid);
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
        if let Some(options) = self.next_options.take() {
            self.options = options;
        }
        if self.ending == Ending::SaidGoodbye {
            self.ending = Ending::Closing;
        }
        self.pubacks = 0;
        // What a broker does not release after a restart is no longer under way.
        self.inbound_qos2.values_mut().for_each(|open| *open = false);
        self.inbound_open = 0;
        self.outbox.expire(now);
        self.versions.connecting(now);
        let connect = self.connect_packet();
        self.control.push_back(Packet::Connect(connect));
        self.phase = Phase::Connecting(now + seconds(self.options.connect_timeout));
        self.ping = None;
        self.last_sent = now;
        self.last_received = now;
    }

    fn connect_packet(&self) -> Connect {
        let options = &self.options;
        let properties = (self.version() == Version::V5).then(|| {
            Box::new(ConnectProperties {
                // Without an end it is what 3.1.1 has.
                session_expiry: if options.clean_session {
                    0
                } else {
                    options.session_expiry.unwrap_or(u32::MAX)
                },
                receive_maximum: Some(self.receive_maximum()).filter(|count| *count < u16::MAX),
                maximum_packet_size: u32::try_from(options.max_packet_size()).ok(),
            })
        });
        let client_id = if options.client_id.is_empty() { self.assigned_client_id.as_ref() } else { None };
        let mut will = options.will();
        if let Some(will) = &mut will {
            will.retain &= !self.will_limits.no_retain;
            if self.will_limits.qos0 {
                will.qos = QoS::AtMostOnce;
            }
        }
        Connect {
            properties,
            client_id: client_id.unwrap_or(&options.client_id).clone(),
            clean_session: options.clean_session,
            keepalive: options.keepalive,
            will,
            login: options.login(),
        }
    }

    /// QoS 1 and 2 messages that the broker may have under way to us: as many as the inbox takes.
    fn receive_maximum(&self) -> u16 {
        u16::try_from(self.options.max_incoming_messages.max(1)).unwrap_or(u16::MAX)
    }

    /// Bytes that a packet may have on this connection.
    fn packet_limit(&self) -> usize {
        self.broker.maximum_packet_size.map_or(usize::MAX, |size| size as usize)
    }

    /// The byte stream has ended after `written` bytes of it were taken by the socket. Whether the next attempt
    /// should be made at once: the broker may speak another version of MQTT.
    pub fn connection_lost(&mut self, written: u64, now: Duration) -> bool {
        let again = matches!(self.phase, Phase::Connecting(_)) && self.versions.closed_unanswered(now);
        self.phase = Phase::Offline;
        self.control.clear();
        self.requests.connection_lost();
        self.outbox.connection_lost(written);
        again
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
        if let Packet::ConnAck(session_present, code, properties) = packet {
            return self.connected(session_present, code, properties, now, events);
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
            Packet::PubAck(id, reason) if reason.is_failure() => {
                self.outbox.refused(id, QoS::AtLeastOnce, refused_message(&reason));
            }
            Packet::PubAck(id, _) => {
                self.outbox.acknowledged(id, QoS::AtLeastOnce, &mut done);
            }
            Packet::PubRec(id, reason) if reason.is_failure() => {
                self.outbox.refused(id, QoS::ExactlyOnce, refused_message(&reason));
            }
            Packet::PubRec(id, _) => {
                // Answered even when unknown: a broker that is not answered asks for ever.
                self.outbox.received(id);
                self.control.push_back(Packet::PubRel(id));
            }
            Packet::PubComp(id) => {
                self.outbox.acknowledged(id, QoS::ExactlyOnce, &mut done);
            }
            Packet::PubRel(id) => {
                self.inbound_open -= usize::from(self.inbound_qos2.remove(&id) == Some(true));
                self.control.push_back(Packet::PubComp(id));
            }
            Packet::SubAck(id, granted, text) => {
                let answer = self.requests.granted(id, granted, text.as_deref());
                events.extend(answer.map_err(|wrong| Fault::Protocol(wrong.into()))?);
            }
            Packet::UnsubAck(id, codes) => {
                let answer = self.requests.ended(id, &codes);
                events.extend(answer.map_err(|wrong| Fault::Protocol(wrong.into()))?);
            }
            Packet::PingResp => self.ping = None,
            Packet::Disconnect(goodbye) if self.version() == Version::V5 => {
                return Err(ended(goodbye.as_deref()));
            }
            Packet::ConnAck(..)
            | Packet::Connect(_)
            | Packet::Subscribe(..)
            | Packet::Unsubscribe(..)
            | Packet::PingReq
            | Packet::Disconnect(_) => {
                return Err(Fault::Protocol("it sent a packet that only clients send".into()));
            }
        }
        Ok(())
    }

    fn connected(
        &mut self,
        session_present: bool,
        code: u8,
        properties: Option<Box<ConnAckProperties>>,
        now: Duration,
        events: &mut Vec<Event>,
    ) -> Result<(), Fault> {
        if !matches!(self.phase, Phase::Connecting(_)) {
            return Err(Fault::Protocol("it sent a second CONNACK".into()));
        }
        let mut broker = properties.map_or_else(ConnAckProperties::default, |properties| *properties);
        if code != 0 {
            return Err(self.refused(code, &broker, now));
        }
        self.versions.accepted();
        self.assigned_client_id = broker.assigned_client_id.take().or(self.assigned_client_id.take());
        if !session_present {
            self.inbound_qos2.clear();
            self.inbound_open = 0;
        }
        let terms = Terms {
            window: broker.receive_maximum.into(),
            maximum_qos: broker.maximum_qos,
            retain: broker.retain_available,
            packet_size: broker.maximum_packet_size,
        };
        self.outbox
            .connected(if self.version() == Version::V5 { terms } else { Terms::default() }, session_present);
        self.broker = broker;
        let hold = seconds(self.options.greeting_timeout);
        self.phase =
            if hold.is_zero() || self.is_closing() { Phase::Online } else { Phase::Greeting(now + hold) };
        self.restore_subscriptions(session_present);
        events.push(Event::Connected {
            session_present,
            outage: None,
            version: self.version(),
            assigned_client_id: self.assigned_client_id.clone().filter(|_| self.options.client_id.is_empty()),
        });
        if self.will_limits != WillLimits::default() {
            let reason = "the broker does not take the will as it was asked for: a retained will, or its quality of \
                          service, is not supported; it has it without";
            self.notices.push(Event::Limited { reason: reason.into() });
        }
        Ok(())
    }

    /// The broker has said no to our CONNECT; what the next one will say differently is settled here.
    fn refused(&mut self, code: u8, broker: &ConnAckProperties, now: Duration) -> Fault {
        let will = self.options.will.is_some();
        let again = match code {
            0x01 | 0x84 => self.versions.refused(now),
            0x9A if will => !std::mem::replace(&mut self.will_limits.no_retain, true),
            0x9B if will => !std::mem::replace(&mut self.will_limits.qos0, true),
            _ => false,
        };
        let words = codec::refusal_in_words(code);
        let reason =
            codec::with_details(&words, broker.reason.as_deref(), broker.server_reference.as_deref());
        Fault::Refused { code, reason, again }
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
            (QoS::ExactlyOnce, Some(id)) => {
                let known = self.inbound_qos2.insert(id, true);
                self.inbound_open += usize::from(known != Some(true));
                known.is_some()
            }
            (_, None) => return Err(Fault::Protocol("it sent a QoS 1 or 2 message without a number".into())),
        };
        // The acknowledgement leaves after the driver has handed the events over.
        match (message.qos, id) {
            (QoS::AtLeastOnce, Some(id)) => {
                self.control.push_back(Packet::PubAck(id, Reason::SUCCESS));
                self.pubacks += 1;
            }
            (QoS::ExactlyOnce, Some(id)) => self.control.push_back(Packet::PubRec(id, Reason::SUCCESS)),
            _ => {}
        }
        if self.version() == Version::V5 && self.pubacks + self.inbound_open > self.receive_maximum().into() {
            return Err(Fault::Protocol(format!(
                "it has more than the {} messages under way that it was allowed (receive maximum)",
                self.receive_maximum()
            )));
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
        let Some(keepalive) = self.keepalive() else { return Ok(()) };
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
                let ping = self.keepalive().map(|keepalive| self.next_ping(keepalive));
                [greeting, ping, self.silence_limit()].into_iter().flatten().min()
            }
        }
    }

    /// The broker's, where it has one of its own (MQTT-3.2.2-21); `None`: off.
    fn keepalive(&self) -> Option<Duration> {
        let seconds = self.broker.server_keepalive.unwrap_or(self.options.keepalive);
        (seconds > 0).then(|| Duration::from_secs(seconds.into()))
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
        let keepalive = self.keepalive()?;
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
            match (&packet, &mut self.ping) {
                (Packet::PingReq, Some(ping)) => ping.end = Some(sink.offset()),
                (Packet::PubAck(..), _) => self.pubacks -= 1,
                _ => {}
            }
        }
        if self.is_connected() && self.control.is_empty() {
            self.poll_requests(sink);
            if messages {
                self.poll_messages(sink, now);
            }
            if self.ending == Ending::Closing && self.outbox.is_empty() && !sink.is_full() {
                sink.packet(&Packet::Disconnect(None));
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
            sink.packet(&Packet::Disconnect(None));
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

    /// What the service has to hear of what was sent, or could not be.
    pub fn take_notices(&mut self, events: &mut Vec<Event>) {
        events.append(&mut self.notices);
        self.outbox.take_notices(events);
    }

    fn poll_messages(&mut self, sink: &mut impl Sink, now: Duration) {
        let greeting = matches!(self.phase, Phase::Greeting(_));
        while !sink.is_full() {
            let requests = &self.requests;
            match self.outbox.next(sink.offset(), now, greeting, |id| requests.holds(id)) {
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
        self.requests.send_unsubscribe(ended, self.packet_limit(), mid);
        self.send_subscribe(filters);
    }

    fn send_subscribe(&mut self, filters: Vec<(String, Subscription)>) -> u16 {
        let (wanted, refused): (Vec<_>, Vec<_>) =
            filters.into_iter().partition(|(filter, _)| self.unavailable(filter).is_none());
        if !refused.is_empty() {
            let words = |filter: String| {
                let reason = self.unavailable(&filter).unwrap_or_default();
                (filter, Err(reason))
            };
            let granted = refused.into_iter().map(|(filter, _)| words(filter)).collect();
            let mid = self.take_mid();
            self.notices.push(Event::Subscribed { mid, granted });
        }
        let limit = self.packet_limit();
        let last_mid = &mut self.last_mid;
        self.requests.send_subscribe(wanted, limit, || next_number(last_mid))
    }

    /// Why this broker must not be asked for a filter: it would end the connection (MQTT 5 section 3.2.2.3).
    fn unavailable(&self, filter: &str) -> Option<String> {
        if !self.broker.shared_available && filter.starts_with("$share/") {
            return Some(codec::in_words(0x9E).into());
        }
        if !self.broker.wildcards_available && filter.contains(['+', '#']) {
            return Some(codec::in_words(0xA2).into());
        }
        // Header, identifier, no properties, length of the filter and its options.
        let size = filter.len() + 11;
        if size > self.packet_limit() {
            return Some(format!("the request takes {size} bytes, more than the broker accepts"));
        }
        None
    }

    fn take_mid(&mut self) -> u16 {
        next_number(&mut self.last_mid)
    }
}

/// 1 to 65535, and round again.
fn limits(options: &SessionOptions) -> Limits {
    Limits {
        messages: options.max_queued_messages.max(1),
        bytes: options.max_queued_bytes.max(1),
        window: options.max_inflight.clamp(1, MAX_WINDOW),
    }
}

fn next_number(last: &mut u16) -> u16 {
    *last = last.checked_add(1).unwrap_or(1);
    *last
}

/// Why the broker does not take a message.
fn refused_message(reason: &Reason) -> String {
    format!("the broker does not take the message: {}", reason.in_words())
}

/// The broker has said goodbye.
fn ended(goodbye: Option<&Disconnect>) -> Fault {
    let usual = Disconnect::default();
    let goodbye = goodbye.unwrap_or(&usual);
    let code = goodbye.reason.code;
    let words = if code == 0 { "it does not say why" } else { codec::in_words(code) };
    let words =
        codec::with_details(words, goodbye.reason.text.as_deref(), goodbye.server_reference.as_deref());
    Fault::Ended { code, reason: format!("the broker has ended the connection: {words}") }
}
