//! The session's side: what the network thread does, without a thread and without a network.

use std::collections::HashMap;
use std::time::Duration;

use bytes::BytesMut;
use miqro::core::session::codec;
use miqro::core::session::event::Event;
use miqro::core::session::packet::Packet;
use miqro::core::session::protocol::Fault;

use super::broker::Mood;
use super::wire::Wire;
use super::world::{Connection, World};

impl World {
    pub fn connect(&mut self) {
        self.tally.connections += 1;
        self.connection = Some(Connection {
            wire: Wire::new(self.batch),
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
            1 if self.chaos => Mood::Refuses(self.rng.u8(1..8)),
            2 if self.chaos => Mood::TakenOver,
            _ => Mood::Helpful,
        };
        self.broker.connect(mood);
        self.protocol.connection_opened(self.now);
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
        for sent in std::mem::take(&mut connection.wire.sent) {
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
            let Some(packet) = codec::decode(&mut connection.input, 1 << 20).expect("the broker sends MQTT")
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
                _ => {}
            }
            self.inbox.push_back(event);
        }
        assert!(self.ledger.reports.is_empty(), "published, and not reported: {:?}", self.ledger.reports);
    }

    pub fn failed(&mut self, fault: &Fault) {
        let Some(connection) = &self.connection else { return };
        match fault {
            Fault::Refused(_) | Fault::NoConnAck => {
                self.tally.not_answered += 1;
                assert!(!connection.accepted);
            }
            Fault::Protocol(text) => panic!("the session finds fault with a good broker: {text}"),
            // Law: never dead while reading is paused, or while something comes.
            Fault::Silent(_) => {
                self.tally.found_dead += 1;
                let keepalive = Duration::from_secs(self.options.keepalive.into());
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
        self.broker.disconnect(connection.accepted);
        self.protocol.connection_lost(taken);
        self.ledger.connection_lost(taken);
        assert!(!self.protocol.is_connected());
    }
}
