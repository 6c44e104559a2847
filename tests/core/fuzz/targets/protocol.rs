//! The state machine of a session between a service and a broker that do as they like: requests, time, packets and
//! bytes in any order. It never panics, keeps to the protocol in what it sends, and stays within its bounds.

mod wire;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use miqro::core::config::Protocol as Choice;
use miqro::core::session::codec::decode;
use miqro::core::session::completion::{Completion, Outcome};
use miqro::core::session::event::Event;
use miqro::core::session::message::{Message, Properties, QoS};
use miqro::core::session::options::{SessionOptions, WillOptions};
use miqro::core::session::outbox::Urgency;
use miqro::core::session::packet::{
    ConnAckProperties, Disconnect, Packet, PacketId, Reason, Subscription, Version,
};
use miqro::core::session::protocol::{Fault, Protocol};

use super::Input;
use wire::{Asked, Wire};

/// What the service does, what the broker does, and what happens to the connection. An input is the options, and then
/// these, each with what it needs.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub enum Operation {
    Connect,
    Accept,
    Publish,
    Subscribe,
    Unsubscribe,
    Poll,
    Write,
    Acknowledge,
    Answer,
    Deliver,
    Release,
    Bytes,
    Wait,
    Lose,
    Refuse,
    End,
    Pause,
    Greeted,
    Close,
    Hurry,
    Abandon,
}

impl Operation {
    const ALL: [Self; 21] = [
        Self::Connect,
        Self::Accept,
        Self::Publish,
        Self::Subscribe,
        Self::Unsubscribe,
        Self::Poll,
        Self::Write,
        Self::Acknowledge,
        Self::Answer,
        Self::Deliver,
        Self::Release,
        Self::Bytes,
        Self::Wait,
        Self::Lose,
        Self::Refuse,
        Self::End,
        Self::Pause,
        Self::Greeted,
        Self::Close,
        Self::Hurry,
        Self::Abandon,
    ];
}

/// How far a run came.
#[derive(Debug, Default, Clone, Copy)]
pub struct Reached {
    /// CONNACKs that were accepted.
    pub connections: u32,
    /// Packets from the broker that were handled.
    pub handled: u32,
    /// Packets sent.
    pub sent: u32,
    /// Connections that ended with a fault, or with bytes that are not MQTT.
    pub faults: u32,
}

/// Law: an error is one line of words, whatever the broker has put into its texts.
pub fn check_sentence(sentence: &str) {
    assert!(sentence.len() > 10 && !sentence.contains(char::is_control), "{sentence:?}");
}

pub fn take(input: &[u8]) -> Reached {
    let mut input = Input(input);
    let mut world = World::new(&mut input);
    while !input.is_empty() {
        let operation = Operation::ALL[usize::from(input.u8()) % Operation::ALL.len()];
        world.step(operation, &mut input);
    }
    world.end();
    world.reached
}

struct World {
    options: SessionOptions,
    protocol: Protocol,
    now: Duration,
    wire: Option<Wire>,
    receipts: Vec<Arc<Completion>>,
    /// QoS 2 messages that were handed over and not released.
    delivered: HashSet<PacketId>,
    reached: Reached,
}

impl World {
    fn new(input: &mut Input<'_>) -> Self {
        let flags = input.u8();
        let options = SessionOptions {
            protocol: [Choice::V311, Choice::V5, Choice::Auto, Choice::V5][usize::from(flags & 3)],
            client_id: if flags & 4 == 0 { "fuzz".into() } else { String::new() },
            clean_session: flags & 8 == 0,
            keepalive: u16::from(input.u8() % 4) * 10,
            greeting_timeout: f64::from(u8::from(flags & 16 == 0)),
            report_published: flags & 32 != 0,
            username: if flags & 64 == 0 { String::new() } else { "user".into() },
            will: (flags & 128 != 0).then(|| WillOptions {
                topic: "will".into(),
                payload: b"0".to_vec(),
                qos: 2,
                retain: true,
            }),
            max_inflight: usize::from(input.u8() % 8),
            max_queued_messages: usize::from(input.u8() % 32),
            max_incoming_messages: usize::from(input.u8() % 16),
            max_queued_bytes: 2000,
            ..SessionOptions::default()
        };
        let mut protocol = Protocol::new(options.clone());
        if input.chance(128) {
            protocol.restore(Vec::new(), Duration::ZERO);
        }
        Self {
            options,
            protocol,
            now: Duration::from_secs(1),
            wire: None,
            receipts: Vec::new(),
            delivered: HashSet::new(),
            reached: Reached::default(),
        }
    }

    fn step(&mut self, operation: Operation, input: &mut Input<'_>) {
        match operation {
            Operation::Connect => self.connect(input),
            Operation::Accept => {
                let packet = self.connack(input);
                self.handle(packet);
            }
            Operation::Publish => self.publish(input),
            Operation::Subscribe => {
                let how = Subscription::from_byte(input.u8()).unwrap_or(QoS::ExactlyOnce.into());
                let filters = (0..=input.u8() % 3).map(|_| (filter(input), how)).collect();
                self.protocol.subscribe(filters);
            }
            Operation::Unsubscribe => {
                self.protocol.unsubscribe((0..=input.u8() % 3).map(|_| filter(input)).collect());
            }
            Operation::Poll => self.poll(!input.chance(64)),
            Operation::Write => self.write(input.u16().into()),
            Operation::Acknowledge => {
                let reason = reason(input);
                let packet = match self.known_id(input) {
                    (id, Some(Asked::Publish { qos: QoS::AtLeastOnce, .. })) => Packet::PubAck(id, reason),
                    (id, Some(Asked::Publish { released: false, .. })) => Packet::PubRec(id, reason),
                    (id, Some(Asked::Publish { .. })) => Packet::PubComp(id),
                    (id, _) => match input.u8() % 3 {
                        0 => Packet::PubAck(id, reason),
                        1 => Packet::PubRec(id, reason),
                        _ => Packet::PubComp(id),
                    },
                };
                self.handle(packet);
            }
            Operation::Answer => {
                let (id, _) = self.known_id(input);
                let count = usize::from(input.u8() % 4);
                let codes = std::iter::repeat_with(|| input.u8()).take(count).collect::<Vec<_>>();
                let packet = match input.u8() % 3 {
                    0 => Packet::UnsubAck(id, codes),
                    1 => {
                        let granted = codes.into_iter().map(QoS::try_from).collect();
                        Packet::SubAck(id, granted, text(input).map(Into::into))
                    }
                    _ => Packet::PingResp,
                };
                self.handle(packet);
            }
            Operation::Deliver => {
                let qos = QoS::try_from(input.u8() % 3).unwrap();
                let id = (qos > QoS::AtMostOnce).then(|| PacketId::from(input.u8() % 16) + 1);
                let message = Message {
                    topic: ["a", "a/b", "+", ""][usize::from(input.u8().saturating_sub(190) % 4)].into(),
                    payload: Bytes::copy_from_slice(input.bytes(4)),
                    qos,
                    retain: false,
                    dup: input.chance(128),
                    properties: None,
                };
                self.handle(Packet::Publish(message, id));
            }
            Operation::Release => self.handle(Packet::PubRel(PacketId::from(input.u8() % 16) + 1)),
            Operation::Bytes => {
                let count = input.u8().into();
                self.receive(input.bytes(count));
            }
            Operation::Wait => {
                self.now += Duration::from_millis(u64::from(input.u16()) * 10);
                self.tick();
            }
            Operation::Lose => self.lose(),
            Operation::Refuse => {
                let code = input.u8();
                let properties =
                    ConnAckProperties { reason: text(input).map(Into::into), ..Default::default() };
                self.handle(Packet::ConnAck(false, code, Some(Box::new(properties))));
            }
            Operation::End => {
                let goodbye = Disconnect { reason: reason(input), server_reference: text(input) };
                self.handle(Packet::Disconnect(Some(Box::new(goodbye))));
            }
            Operation::Pause => self.protocol.pause_reading(input.chance(128), self.now),
            Operation::Greeted => self.protocol.greeted(),
            // The end of a session is the end of an input, as a rule.
            Operation::Close if input.chance(64) => self.protocol.close(),
            Operation::Hurry if input.chance(64) => {
                if let Some(wire) = &mut self.wire {
                    self.protocol.hurry(wire);
                }
            }
            Operation::Abandon if input.chance(16) => self.abandon(),
            Operation::Close | Operation::Hurry | Operation::Abandon => {}
        }
        self.check();
    }

    fn connect(&mut self, input: &mut Input<'_>) {
        self.lose();
        self.protocol.connection_opened(self.now);
        let batch = 1 + u64::from(input.u16() % 2048);
        self.wire = Some(Wire::new(self.protocol.version(), batch, self.options.max_inflight.max(1)));
        self.poll(true);
    }

    /// An acceptance, with what a broker may say of itself.
    fn connack(&mut self, input: &mut Input<'_>) -> Packet {
        let flags = input.u8();
        let session_present = flags & 1 != 0;
        let is_five = self.wire.as_ref().is_some_and(|wire| wire.version == Version::V5);
        if !is_five {
            return Packet::ConnAck(session_present, 0, None);
        }
        let mut terms = ConnAckProperties::default();
        if flags & 2 != 0 {
            terms.receive_maximum = u16::from(input.u8() % 4) + 1;
        }
        if flags & 4 != 0 {
            terms.maximum_qos = [QoS::AtMostOnce, QoS::AtLeastOnce][usize::from(input.u8() & 1)];
        }
        terms.retain_available = flags & 8 == 0;
        if flags & 16 != 0 {
            terms.maximum_packet_size = Some(u32::from(input.u8()) + 1);
        }
        terms.wildcards_available = flags & 32 == 0;
        terms.shared_available = flags & 32 == 0;
        if flags & 64 != 0 {
            terms.server_keepalive = Some(input.u8().into());
        }
        terms.assigned_client_id = (flags & 128 != 0).then(|| "given".into());
        Packet::ConnAck(session_present, 0, Some(Box::new(terms)))
    }

    fn publish(&mut self, input: &mut Input<'_>) {
        let flags = input.u8();
        let qos = QoS::try_from(flags % 3).unwrap();
        let properties = (flags & 4 != 0).then(|| {
            Box::new(Properties {
                expiry: (flags & 8 != 0).then(|| u32::from(input.u8() % 8)),
                response_topic: (flags & 16 != 0).then(|| "answer".into()),
                ..Properties::default()
            })
        });
        let message = Message {
            topic: ["a", "a/b", "b"][usize::from(flags >> 5) % 3].into(),
            payload: Bytes::from(vec![7; input.u8().into()]),
            qos,
            retain: flags & 128 != 0,
            dup: false,
            properties,
        };
        let urgency = [Urgency::Ordinary, Urgency::Ordinary, Urgency::Greeting, Urgency::Farewell]
            [usize::from(input.u8() & 3)];
        let closed = self.protocol.is_closing();
        match self.protocol.publish(message, urgency, self.now) {
            Ok(receipt) => {
                assert!(!closed && receipt.mid != 0);
                self.receipts.push(receipt.completion);
            }
            Err(refusal) => check_sentence(&refusal.to_string()),
        }
    }

    fn poll(&mut self, messages: bool) {
        let Some(wire) = &mut self.wire else { return };
        // Whatever the reason, what the outbox does not hold any more is done with.
        let outbox = self.protocol.outbox();
        wire.open.retain(|id, asked| *asked == Asked::Request || outbox.holds(*id));
        wire.sent = 0;
        self.protocol.poll(wire, self.now, messages);
        self.reached.sent += wire.sent;
        self.notices();
    }

    fn notices(&mut self) {
        let mut events = Vec::new();
        self.protocol.take_notices(&mut events);
        Self::heard(&events, None);
        self.protocol.take_notes();
    }

    fn write(&mut self, count: u64) {
        let Some(wire) = &mut self.wire else { return };
        wire.taken = (wire.taken + count).min(wire.bytes);
        let mut events = Vec::new();
        self.protocol.written(wire.taken, self.now, &mut events);
        Self::heard(&events, None);
    }

    /// An identifier that was sent and waits for its answer; now and then, one that was not.
    fn known_id(&mut self, input: &mut Input<'_>) -> (PacketId, Option<Asked>) {
        let which = usize::from(input.u8());
        let Some(wire) = &self.wire else { return (1, None) };
        let mut open: Vec<_> = wire.open.iter().map(|(id, asked)| (*id, *asked)).collect();
        open.sort_unstable_by_key(|(id, _)| *id);
        if which >= 240 || open.is_empty() {
            return (PacketId::from(input.u8()) + 1, None);
        }
        let (id, asked) = open[which % open.len()];
        (id, Some(asked))
    }

    fn receive(&mut self, bytes: &[u8]) {
        let Some(wire) = &mut self.wire else { return };
        self.protocol.heard(self.now);
        wire.input.extend_from_slice(bytes);
        let limit = self.options.max_packet_size();
        while let Some(wire) = &mut self.wire {
            match decode(&mut wire.input, limit, wire.version) {
                Ok(None) => break,
                Ok(Some(packet)) => self.handle(packet),
                Err(error) => {
                    check_sentence(&error.to_string());
                    self.reached.faults += 1;
                    self.lose();
                }
            }
        }
    }

    fn handle(&mut self, packet: Packet) {
        // The driver reads nothing while too much waits to be written.
        let Some(wire) = &mut self.wire else { return };
        if self.protocol.is_congested() {
            return;
        }
        self.reached.handled += 1;
        let mut events = Vec::new();
        let result = self.protocol.handle(packet.clone(), self.now, &mut events);
        if let Err(fault) = result {
            return self.failed(&fault);
        }
        let mut known = None;
        match packet {
            Packet::ConnAck(session_present, _, terms) => {
                self.reached.connections += 1;
                wire.accepted = true;
                wire.terms = terms.map(|terms| *terms).unwrap_or_default();
                wire.window = wire.window.min(wire.terms.receive_maximum.into());
                if !session_present {
                    self.delivered.clear();
                }
            }
            Packet::Publish(message, Some(id)) if message.qos == QoS::ExactlyOnce => {
                known = Some(!self.delivered.insert(id));
            }
            Packet::PubRel(id) => drop(self.delivered.remove(&id)),
            Packet::PubRec(id, _) => {
                if let Some(Asked::Publish { qos: QoS::ExactlyOnce, released }) = wire.open.get_mut(&id) {
                    *released = true;
                }
            }
            Packet::SubAck(id, ..) | Packet::UnsubAck(id, _)
                if wire.open.get(&id) == Some(&Asked::Request)
                    && events.iter().any(|event| {
                        matches!(event, Event::Subscribed { .. } | Event::Unsubscribed { .. })
                    }) =>
            {
                wire.open.remove(&id);
            }
            _ => {}
        }
        Self::heard(&events, known);
        self.notices();
    }

    /// Law: a QoS 2 message is handed over once (`known`: whether it was), and what is said is said in words.
    fn heard(events: &[Event], known: Option<bool>) {
        assert!(events.len() < 1000, "{} events at once", events.len());
        let messages = events.iter().filter(|event| matches!(event, Event::Message(_))).count();
        if let Some(known) = known {
            assert_eq!(messages, usize::from(!known), "a QoS 2 message is to be handed over once");
        }
        for event in events {
            match event {
                Event::Rejected { reason, .. } => check_sentence(reason),
                Event::Limited { reason } => check_sentence(reason),
                Event::Subscribed { granted, .. } => {
                    granted
                        .iter()
                        .filter_map(|(_, grant)| grant.as_ref().err())
                        .for_each(|words| check_sentence(words));
                }
                Event::Unsubscribed { refused, .. } => {
                    for (_, words) in refused {
                        check_sentence(words);
                    }
                }
                _ => {}
            }
        }
    }

    fn tick(&mut self) {
        if let Err(fault) = self.protocol.tick(self.now) {
            return self.failed(&fault);
        }
        // Law: whoever waits until the deadline does not spin.
        let deadline = self.protocol.deadline();
        assert!(deadline.is_none_or(|deadline| deadline > self.now), "{deadline:?} at {:?}", self.now);
    }

    fn failed(&mut self, fault: &Fault) {
        check_sentence(&fault.to_string());
        self.reached.faults += 1;
        self.lose();
    }

    fn lose(&mut self) {
        if let Some(wire) = self.wire.take() {
            self.protocol.connection_lost(wire.taken, self.now);
            assert!(!self.protocol.is_connected());
        }
        self.notices();
    }

    fn abandon(&mut self) {
        self.protocol.abandon();
        assert!(self.protocol.outbox().is_empty() && self.protocol.outbox().bytes() == 0);
        // Law: whoever waits for a message learns of its end.
        let pending = |completion: &Arc<Completion>| completion.outcome() == Outcome::Pending;
        assert!(!self.receipts.iter().any(pending), "a publisher is left waiting");
    }

    fn check(&self) {
        let outbox = self.protocol.outbox();
        let most = self.options.max_queued_messages.max(1);
        assert!(outbox.len() <= 2 * most, "{} messages where {most} are allowed", outbox.len());
        // A single message may be larger.
        let bytes = 2 * self.options.max_queued_bytes;
        assert!(outbox.bytes() <= bytes || outbox.len() <= 1, "{} bytes", outbox.bytes());
    }

    fn end(&mut self) {
        self.poll(true);
        self.lose();
        self.abandon();
        self.check();
    }
}

fn filter(input: &mut Input<'_>) -> String {
    const FILTERS: [&str; 8] = ["a", "a/b", "b/+", "#", "$share/g/a", "c", "d", "e/f/g"];
    match input.u8() {
        255 => "long/".repeat(40),
        which => FILTERS[usize::from(which) % FILTERS.len()].into(),
    }
}

fn text(input: &mut Input<'_>) -> Option<String> {
    input.chance(64).then(|| {
        let count = input.u8() % 16;
        String::from_utf8_lossy(input.bytes(count.into())).into_owned()
    })
}

fn reason(input: &mut Input<'_>) -> Reason {
    let code = if input.chance(200) { 0 } else { input.u8() };
    Reason { code, text: text(input).map(Into::into) }
}
