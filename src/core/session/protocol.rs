//! The MQTT session as a state machine without sockets and clocks: packets, requests and the time go in,
//! packets and events come out. The driver moves the bytes; a test can move the packets itself.

mod connect;
mod restart;
mod time;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::completion::Completion;
use super::event::Event;
use super::message::{Message, QoS};
use super::options::{SessionOptions, seconds};
use super::outbox::{Admission, Limits, Next, Outbox, Outgoing, Urgency};
use super::packet::{ConnAckProperties, Packet, PacketId, Reason, Subscription, Version};
use super::requests::Requests;
use super::versions::Versions;
use connect::{WillLimits, ended};
use time::Ping;

/// Packets that wait for a broker that does not read, before we stop reading too.
const BACKLOG: usize = 4096;

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
        let limits = Limits::from(&options);
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

    /// The options of the next connection.
    pub fn options(&self) -> &SessionOptions {
        self.next_options.as_ref().unwrap_or(&self.options)
    }

    /// Changes the options: what the broker was told counts from the next connection on, the rest at once.
    pub fn configure(&mut self, options: SessionOptions) {
        self.outbox.set_limits(Limits::from(&options));
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

    /// Gives up the messages whose time is over; their publishers are told.
    pub fn expire(&mut self, now: Duration) {
        self.outbox.expire(now);
    }

    /// Whether a message of `size` bytes has to wait for room, and room will come.
    pub fn has_to_wait(&self, size: usize, urgency: Urgency) -> bool {
        self.is_connected() && !self.is_closing() && self.outbox.is_full_for(size, urgency)
    }

    /// Whether those who wait for room should look again: the outbox is three quarters full at most, or they need not
    /// wait any more.
    pub fn is_roomy(&self) -> bool {
        !self.is_connected() || self.is_closing() || self.outbox.is_roomy()
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
            let (filters, refused): (Vec<_>, Vec<_>) =
                filters.into_iter().partition(|filter| self.too_long(filter).is_none());
            if !refused.is_empty() {
                let words = |filter: String| {
                    let reason = self.too_long(&filter).unwrap_or_default();
                    (filter, reason)
                };
                let refused = refused.into_iter().map(words).collect();
                self.notices.push(Event::Unsubscribed { mid, refused });
            }
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
            if options.protocol != self.options.protocol {
                self.versions = Versions::new(options.protocol);
            }
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

    fn receive(
        &mut self,
        message: Message,
        id: Option<PacketId>,
        events: &mut Vec<Event>,
    ) -> Result<(), Fault> {
        if message.topic.is_empty() || message.topic.contains(['+', '#', '\0']) {
            return Err(Fault::Protocol("it sent a message whose topic is empty or a filter".into()));
        }
        let more = match (message.qos, id) {
            (QoS::AtLeastOnce, Some(_)) => 1,
            (QoS::ExactlyOnce, Some(id)) => usize::from(self.inbound_qos2.get(&id) != Some(&true)),
            _ => 0,
        };
        // Before it is remembered: it is not handed over, and has to be when it comes again.
        let under_way = self.pubacks + self.inbound_open + more;
        if self.version() == Version::V5 && under_way > self.receive_maximum().into() {
            return Err(Fault::Protocol(format!(
                "it has more than the {} messages under way that it was allowed (receive maximum)",
                self.receive_maximum()
            )));
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
        if !known {
            events.push(Event::Message(message));
        }
        Ok(())
    }

    // ---- output --------------------------------------------------------------------------------------

    /// Whether a message could be sent now.
    pub fn can_send(&self) -> bool {
        self.is_connected() && self.outbox.can_send(matches!(self.phase, Phase::Greeting(_)))
    }

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

    fn take_mid(&mut self) -> u16 {
        next_number(&mut self.last_mid)
    }
}

/// 1 to 65535, and round again.
fn next_number(last: &mut u16) -> u16 {
    *last = last.checked_add(1).unwrap_or(1);
    *last
}

/// Why the broker does not take a message.
fn refused_message(reason: &Reason) -> String {
    format!("the broker does not take the message: {}", reason.in_words())
}
