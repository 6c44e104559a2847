//! The session's side: what the network thread does, without a thread and without a network.

use std::collections::HashMap;
use std::time::Duration;

use bytes::BytesMut;
use miqro::core::config::Protocol;
use miqro::core::session::codec;
use miqro::core::session::completion::{Outcome, PublishFailure};
use miqro::core::session::event::Event;
use miqro::core::session::message::QoS;
use miqro::core::session::packet::{ConnAckProperties, Packet, Version};
use miqro::core::session::protocol::Fault;

use super::broker::Mood;
use super::ledger::Holder;
use super::wire::Wire;
use super::world::{Connection, World};

impl World {
    pub fn connect(&mut self) {
        self.tally.connections += 1;
        self.protocol.connection_opened(self.now);
        self.settle_given_up();
        let version = self.protocol.version();
        // Law: what the broker has said it does not speak is not tried again at once.
        assert!(!std::mem::take(&mut self.speaks_old) || version == Version::V311, "MQTT 5 again");
        self.tally.fallen_back +=
            u64::from(self.options.protocol != Protocol::V311 && version == Version::V311);
        self.connection = Some(Connection {
            wire: Wire::new(self.batch, version),
            version,
            terms: ConnAckProperties::default(),
            keepalive: Duration::from_secs(self.options.keepalive.into()),
            to_broker: BytesMut::new(),
            to_client: BytesMut::new(),
            input: BytesMut::new(),
            connect_sent: false,
            accepted: false,
            said_goodbye: false,
            sent_at: self.now,
            received_at: self.now,
            wrote_at: self.now,
            ping_at: None,
            ping_end: None,
            asks: HashMap::new(),
            restored: HashMap::new(),
            releases: 0,
        });
        let mood = match self.rng.u8(..20) {
            0 if self.chaos => Mood::Mute,
            1 if self.chaos && version == Version::V5 => {
                Mood::Refuses([0x80, 0x87, 0x88, 0x89, 0x97, 0x9A][self.rng.usize(..6)])
            }
            1 if self.chaos => Mood::Refuses(self.rng.u8(1..8)),
            2 if self.chaos => Mood::TakenOver,
            _ => Mood::Helpful,
        };
        let terms = if version == Version::V5 { self.terms() } else { ConnAckProperties::default() };
        self.broker.connect(mood, terms, self.now);
    }

    /// What a broker of MQTT 5 may say of itself.
    fn terms(&mut self) -> ConnAckProperties {
        let rng = &mut self.rng;
        let mut terms = ConnAckProperties::default();
        if rng.bool() {
            terms.receive_maximum = rng.u16(1..8);
        }
        if rng.u8(..30) == 0 {
            terms.maximum_qos = [QoS::AtMostOnce, QoS::AtLeastOnce][rng.usize(..2)];
        }
        if rng.u8(..30) == 0 {
            terms.retain_available = false;
        }
        if rng.u8(..4) == 0 {
            terms.maximum_packet_size = Some(rng.u32(50..2000));
        }
        if rng.u8(..4) == 0 {
            terms.server_keepalive = Some(rng.u16(..4));
        }
        terms
    }

    /// One round of the driver: what was read, what is due, what is to be written.
    pub fn drive(&mut self) {
        if self.connection.is_none() {
            return;
        }
        let was_reading = self.reading;
        let mut events = Vec::new();
        let mut outcome = self.digest(&mut events);
        if outcome.is_ok() {
            self.protocol.pause_reading(!self.reading, self.now);
            if let Some(connection) = &mut self.connection
                && self.reading
                && !was_reading
            {
                connection.received_at = self.now;
            }
            outcome = self.protocol.tick(self.now);
        }
        self.hand_over(events);
        if let Err(fault) = outcome {
            return self.failed(&fault);
        }
        let Some(connection) = &mut self.connection else { return };
        // Sometimes messages are held back, for more may follow.
        let messages = !(self.chaos && self.protocol.may_linger() && self.rng.u8(..4) == 0);
        self.protocol.poll(&mut connection.wire, self.now, messages);
        let sent = std::mem::take(&mut connection.wire.sent);
        let mut events = Vec::new();
        self.protocol.take_notices(&mut events);
        self.settle_given_up();
        self.hand_over(events);
        for sent in sent {
            self.check_sent(sent);
        }
        self.check_keepalive();
    }

    pub fn digest(&mut self, events: &mut Vec<Event>) -> Result<(), Fault> {
        let mut messages = 0;
        loop {
            self.reading = self.waiting + messages < self.options.max_incoming_messages;
            if !self.reading {
                self.tally.paused += 1;
                return Ok(());
            }
            let Some(connection) = &mut self.connection else { return Ok(()) };
            let Some(packet) = codec::decode(&mut connection.input, 1 << 20, connection.version)
                .expect("the broker sends MQTT")
            else {
                return Ok(());
            };
            messages += usize::from(matches!(packet, Packet::Publish(..)));
            self.expect(&packet);
            self.protocol.handle(packet, self.now, events)?;
        }
    }

    pub fn hand_over(&mut self, events: Vec<Event>) {
        for event in events {
            match &event {
                Event::Message(message) => self.incoming_message(message),
                Event::Published { mid } => {
                    let due = self.ledger.reports.iter().position(|due| due == mid);
                    let due = due.unwrap_or_else(|| panic!("message {mid} was reported, and not published"));
                    self.ledger.reports.remove(due);
                }
                Event::Rejected { count, .. } => {
                    self.rejections =
                        self.rejections.checked_sub(*count).expect("rejected, and not known to be");
                }
                Event::Limited { .. } => {
                    self.tally.limited += 1;
                    let terms = self.connection.as_ref().map(|connection| &connection.terms);
                    let limits =
                        |t: &ConnAckProperties| t.maximum_qos < QoS::ExactlyOnce || !t.retain_available;
                    assert!(terms.is_some_and(limits), "the broker does not limit anything");
                }
                _ => {}
            }
            self.inbox.push_back(event);
        }
        assert!(self.ledger.reports.is_empty(), "published, and not reported: {:?}", self.ledger.reports);
    }

    pub fn failed(&mut self, fault: &Fault) {
        let Some(connection) = &self.connection else { return };
        match fault {
            Fault::Refused { code: 1, again: true, .. } => self.speaks_old = true,
            Fault::Refused { .. } | Fault::NoConnAck => {
                self.tally.not_answered += 1;
                assert!(!connection.accepted);
            }
            Fault::Ended { code, reason } => {
                self.tally.ended += 1;
                assert!(connection.accepted && connection.version == Version::V5);
                assert!(*code >= 0x80 && reason.contains("so be it"), "{reason}");
            }
            Fault::Protocol(text) => panic!("the session finds fault with a good broker: {text}"),
            // Law: never dead while reading is paused, or while something comes.
            Fault::Silent(_) => {
                self.tally.found_dead += 1;
                let keepalive = connection.keepalive;
                assert!(self.reading, "dead while reading is paused");
                let tried = connection.ping_at.unwrap_or(connection.wrote_at);
                assert!(self.now >= tried + keepalive / 2, "dead too soon after the ping, at {:?}", self.now);
                assert!(self.now >= connection.received_at + keepalive / 2);
            }
        }
        self.lose();
    }

    /// The connection is over, for the client and for the broker.
    pub fn lose(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        let taken = connection.wire.taken;
        let torn = |span: (u64, u64)| span.0 < taken && taken < span.1;
        self.tally.torn += u64::from(self.ledger.accepted.iter().filter_map(|m| m.span).any(torn));
        self.broker.disconnect(connection.accepted, self.now);
        self.protocol.connection_lost(taken, self.now);
        self.ledger.connection_lost(taken);
        assert!(!self.protocol.is_connected());
    }

    /// Laws: a message is given up only when its time is over, or when it is larger than the broker takes.
    /// How many, and their bytes.
    pub fn settle_given_up(&mut self) -> (usize, usize) {
        let limit = self.connection.as_ref().and_then(|connection| connection.terms.maximum_packet_size);
        let (mut count, mut bytes) = (0, 0);
        for number in self.ledger.pending.clone() {
            let now = self.now;
            let message = self.ledger.get(number);
            let outcome = message.completion.outcome();
            match &outcome {
                Outcome::Failed(PublishFailure::Expired) => {
                    assert!(message.deadline.is_some_and(|deadline| deadline <= now), "expired too soon");
                    assert!(!message.is_in_flight, "message {number} expired on its way");
                    self.tally.expired += 1;
                }
                Outcome::Failed(PublishFailure::Refused(reason)) => {
                    let limit = limit.expect("the broker takes messages of all sizes") as usize;
                    assert!(
                        message.size + 20 > limit,
                        "{} bytes are not too many for {limit}: {reason}",
                        message.size
                    );
                    assert!(reason.contains("maximum packet size"));
                    self.rejections += 1;
                    self.tally.too_large += 1;
                    self.ledger.ids.retain(|_, holder| *holder != Holder::Publish(number));
                }
                _ => continue,
            }
            let message = self.ledger.get(number);
            message.given_up = true;
            count += 1;
            bytes += message.size;
            self.ledger.settle(number, outcome, false);
        }
        (count, bytes)
    }
}
