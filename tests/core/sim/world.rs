//! The session, the model broker, the network between them, and the laws.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use bytes::BytesMut;
use fastrand::Rng;
use miqro::core::config::Protocol as Choice;
use miqro::core::session::codec;
use miqro::core::session::event::Event;
use miqro::core::session::message::QoS;
use miqro::core::session::options::SessionOptions;
use miqro::core::session::outbox::Urgency;
use miqro::core::session::packet::{ConnAckProperties, Packet, PacketId, Reason, Version};
use miqro::core::session::protocol::Protocol;

use super::broker::{Broker, numbered};
use super::ledger::{Holder, Ledger};
use super::tally::Tally;
use super::wire::Wire;

pub const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
const MS: Duration = Duration::from_millis(1);

/// The client's side of a connection, and the bytes under way.
pub struct Connection {
    pub wire: Wire,
    pub version: Version,
    /// What the broker has said of itself.
    pub terms: ConnAckProperties,
    /// The one in force.
    pub keepalive: Duration,
    pub to_broker: BytesMut,
    pub to_client: BytesMut,
    pub input: BytesMut,
    pub connect_sent: bool,
    /// CONNACK has been handled.
    pub accepted: bool,
    pub said_goodbye: bool,
    /// When the client last sent, and last received, something.
    pub sent_at: Duration,
    pub received_at: Duration,
    pub wrote_at: Duration,
    /// When the ping that is not answered was in the socket.
    pub ping_at: Option<Duration>,
    /// Where it ends in the stream.
    pub ping_end: Option<u64>,
    /// How often each filter has to be asked for on this connection.
    pub asks: HashMap<String, usize>,
    /// Filters that the session has asked for by itself, and the service has not.
    pub restored: HashMap<String, QoS>,
    /// PUBRECs handled, which are owed a PUBREL each.
    pub releases: usize,
}

/// A message from the broker.
pub struct Incoming {
    pub qos: QoS,
    pub topic: String,
    /// How often it came out of the session.
    pub seen: usize,
}

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the world")]
pub struct World {
    pub rng: Rng,
    pub now: Duration,
    pub options: SessionOptions,
    pub protocol: Protocol,
    pub broker: Broker,
    pub connection: Option<Connection>,
    pub ledger: Ledger,
    pub subscriptions: BTreeMap<String, QoS>,
    pub incoming: Vec<Incoming>,
    pub newest_incoming: HashMap<(String, QoS), usize>,
    /// Numbers of broker messages by identifier, in this broker session; what an acknowledgement speaks of.
    pub incoming_ids: HashMap<PacketId, u64>,
    /// The service's queue, and how many messages are in it.
    pub inbox: VecDeque<Event>,
    pub waiting: usize,
    pub reading: bool,
    pub batch: usize,
    /// The network does what it can to confuse.
    pub chaos: bool,
    /// How often there are accidents.
    pub trouble: u8,
    pub closing: bool,
    /// Messages that the broker does not take, of which the service has not been told.
    pub rejections: u64,
    /// The broker has just said that it does not speak MQTT 5.
    pub speaks_old: bool,
    pub tally: Tally,
}

impl World {
    pub fn new(seed: u64, protocol: Choice) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut options = SessionOptions {
            protocol,
            client_id: "sim".into(),
            clean_session: rng.bool(),
            keepalive: [0, 1, 5][rng.usize(..3)],
            max_queued_messages: rng.usize(2..40),
            max_queued_bytes: rng.usize(200..6000),
            max_incoming_messages: rng.usize(1..20),
            max_inflight: rng.usize(1..8),
            connect_timeout: 3.0,
            greeting_timeout: [0.0, 0.5][rng.usize(..2)],
            report_published: rng.bool(),
            ..SessionOptions::default()
        };
        let on_release = rng.bool();
        let trouble = [30, 100, 255][rng.usize(..3)];
        let batch = [1, 40, 300, 65536][rng.usize(..4)];
        let mut version = Version::V311;
        let mut hangs_up = false;
        if protocol != Choice::V311 {
            version = Version::V5;
            options.session_expiry = [None, Some(1), Some(10)][rng.usize(..3)];
            if protocol == Choice::Auto && rng.u8(..3) > 0 {
                version = Version::V311;
                hangs_up = rng.bool();
            }
        }
        let mut broker = Broker::new(on_release, version);
        broker.hangs_up = hangs_up;
        Self {
            rng,
            now: Duration::from_secs(1),
            protocol: Protocol::new(options.clone()),
            options,
            broker,
            connection: None,
            ledger: Ledger::default(),
            subscriptions: BTreeMap::new(),
            incoming: Vec::new(),
            newest_incoming: HashMap::new(),
            incoming_ids: HashMap::new(),
            inbox: VecDeque::new(),
            waiting: 0,
            reading: true,
            batch,
            chaos: true,
            trouble,
            closing: false,
            rejections: 0,
            speaks_old: false,
            tally: Tally::default(),
        }
    }

    /// One random thing happens.
    pub fn step(&mut self) {
        self.tally.steps += 1;
        match self.rng.u8(..100) {
            0..=11 => self.publish(),
            12..=37 => self.drive(),
            38..=52 => self.socket_takes_some(),
            53..=64 => self.broker_gets_some(),
            65..=74 => {
                for _ in 0..self.rng.u8(1..6) {
                    self.broker_speaks();
                }
            }
            75..=84 => self.client_gets_some(),
            85..=88 => self.service_looks(),
            89..=91 => self.broker_publishes(),
            92 => self.service_subscribes(),
            93..=95 => {
                let pause = MS * self.rng.u32(..60);
                self.advance(pause);
            }
            96 => {
                let pause = MS * self.rng.u32(..2000);
                self.advance(pause);
            }
            97 => self.broker.repeat(&mut self.rng),
            98 => self.babble(),
            99 if self.rng.u8(..) < self.trouble => self.accident(),
            99 => {}
            _ => unreachable!(),
        }
        if self.connection.is_none() && self.rng.u8(..10) == 0 {
            self.connect();
        }
        self.ledger.check_completions(false);
        self.check_bounds();
    }

    /// Some bytes: a few, a packet or so, or all.
    pub fn some(&mut self) -> usize {
        match self.rng.u8(..3) {
            0 => self.rng.usize(1..8),
            1 => self.rng.usize(1..200),
            _ => usize::MAX,
        }
    }

    // ---- the network -----------------------------------------------------------------------------------

    pub fn socket_takes_some(&mut self) {
        let count = self.some();
        self.socket_takes(count);
    }

    pub fn broker_gets_some(&mut self) {
        let count = self.some();
        self.broker_gets(count);
    }

    pub fn client_gets_some(&mut self) {
        let count = self.some();
        self.client_gets(count);
    }

    pub fn socket_takes(&mut self, count: usize) {
        let Some(connection) = &mut self.connection else { return };
        let bytes = connection.wire.take(count);
        if bytes.is_empty() {
            return;
        }
        connection.to_broker.extend_from_slice(&bytes);
        let taken = connection.wire.taken;
        let mut events = Vec::new();
        connection.wrote_at = self.now;
        if connection.ping_at.is_none() && connection.ping_end.is_some_and(|end| end <= taken) {
            connection.ping_at = Some(self.now);
        }
        self.protocol.written(taken, self.now, &mut events);
        self.ledger.written(taken, self.options.report_published);
        self.hand_over(events);
        self.ledger.check_completions(false);
    }

    pub fn broker_gets(&mut self, count: usize) {
        let Some(connection) = &mut self.connection else { return };
        let count = count.min(connection.to_broker.len());
        let bytes = connection.to_broker.split_to(count);
        self.broker.receive(&bytes);
    }

    pub fn broker_speaks(&mut self) {
        let (packet, hangs_up) = self.broker.speak(&mut self.rng, self.chaos);
        if let Some(packet) = packet {
            self.client_is_told(&packet);
        }
        if hangs_up {
            self.cut();
        }
    }

    fn client_is_told(&mut self, packet: &Packet) {
        if let Some(connection) = &mut self.connection {
            // A broker that does not speak MQTT 5 says so in its own language.
            let old = matches!(packet, Packet::ConnAck(_, 1..=5, _));
            let version = if old { Version::V311 } else { connection.version };
            codec::encode(packet, &mut connection.to_client, version)
                .expect("the broker's packets can be encoded");
        }
    }

    pub fn client_gets(&mut self, count: usize) {
        let Some(connection) = &mut self.connection else { return };
        if self.reading {
            let count = count.min(connection.to_client.len());
            let bytes = connection.to_client.split_to(count);
            if !bytes.is_empty() {
                connection.input.extend_from_slice(&bytes);
                connection.received_at = self.now;
                self.protocol.heard(self.now);
            }
        }
    }

    pub fn broker_publishes(&mut self) {
        let number = self.incoming.len() as u64;
        let topic = format!("i/{}", self.rng.u8(..3));
        let qos = QOS[self.rng.usize(..3)];
        let padding = self.rng.usize(..100);
        if self.broker.publish(numbered(number, padding, topic.clone(), qos, false)) {
            self.incoming.push(Incoming { qos, topic, seen: 0 });
        }
    }

    pub fn babble(&mut self) {
        // An acknowledgement of the wrong kind, or of nothing: never a false one of something.
        let held: Vec<_> = self.ledger.ids.iter().map(|(id, holder)| (*id, *holder)).collect();
        let never_used = self.rng.u16(60_000..);
        let (id, holder) = match self.rng.choice(held) {
            Some((id, holder)) if self.rng.bool() => (id, Some(holder)),
            _ => (never_used, None),
        };
        let qos = match holder {
            Some(Holder::Publish(number)) => Some(self.ledger.get(number).qos),
            Some(Holder::Request) | None => None,
        };
        let packet = match self.rng.u8(..5) {
            // Before its PUBREC a PUBCOMP is of the wrong kind, too.
            2 if qos == Some(QoS::ExactlyOnce) && !self.broker.has_received(id) => {
                // After the PUBREL it is the right one.
                self.broker.says(&Packet::PubComp(id));
                return self.client_is_told(&Packet::PubComp(id));
            }
            0 if qos != Some(QoS::AtLeastOnce) => Packet::PubAck(id, Reason::SUCCESS),
            1 if qos != Some(QoS::ExactlyOnce) => Packet::PubRec(id, Reason::SUCCESS),
            2 if qos != Some(QoS::ExactlyOnce) => Packet::PubComp(id),
            3 if holder != Some(Holder::Request) => Packet::SubAck(id, vec![Err(0x80)], None),
            4 if holder != Some(Holder::Request) => Packet::UnsubAck(id, vec![0]),
            _ => Packet::PingResp,
        };
        self.broker.babble(packet);
    }

    /// The connection breaks, or the broker.
    pub fn accident(&mut self) {
        if self.rng.u8(..3) > 0 {
            self.cut();
        }
        if self.options.protocol != Choice::V311 && self.rng.u8(..3) > 0 {
            self.broker.leave([0x81, 0x89, 0x8B, 0x8D, 0x8E, 0x93, 0x98][self.rng.usize(..7)]);
        }
        if self.rng.u8(..4) == 0 {
            self.cut();
            self.broker.forget();
        }
        if self.rng.u8(..8) == 0 {
            self.cut();
            // It stays away for long, and the service goes on: with states of which the newest counts, mostly.
            for _ in 0..300 {
                let (qos, retain) = if self.rng.u8(..50) == 0 { (QOS[1], false) } else { (QOS[0], true) };
                self.publish_at(qos, retain);
            }
        }
    }

    /// The connection breaks somewhere: at any byte, in either direction.
    pub fn cut(&mut self) {
        if self.rng.bool() {
            self.broker_gets_some();
        }
        if self.rng.bool() {
            self.client_gets_some();
            self.drive();
        }
        self.lose();
    }

    /// Time passes, and the driver has its turn at each of its deadlines.
    pub fn advance(&mut self, by: Duration) {
        self.drive(); // It is quick: whatever it has to do is done before time goes on.
        let until = self.now + by;
        let mut turns = 0;
        while self.connection.is_some()
            && let Some(deadline) = self.protocol.deadline()
            && deadline <= until
        {
            self.now = self.now.max(deadline);
            self.drive();
            turns += 1;
            assert!(turns < 1000, "the timer fires again and again");
        }
        self.now = until;
    }

    // ---- the end ---------------------------------------------------------------------------------------

    /// The faults stop: everything must come to rest, and be where it belongs.
    pub fn settle(&mut self) {
        self.chaos = false;
        self.lose();
        for turn in 0.. {
            assert!(turn < 20_000, "no rest after the faults have stopped: {}", self.state());
            if self.connection.is_none() {
                self.connect();
            }
            self.drive();
            self.socket_takes(usize::MAX);
            self.broker_gets(usize::MAX);
            self.broker_speaks();
            self.client_gets(usize::MAX);
            if turn % 3 == 0 {
                self.service_looks();
                self.advance(MS);
            }
            self.check_bounds();
            if self.is_at_rest() {
                break;
            }
        }
        self.check_everything();
    }

    fn state(&self) -> String {
        let (connected, owed) = (self.protocol.is_connected(), self.protocol.outbox().len());
        format!("connected: {connected}, owed: {owed}, the broker is idle: {}", self.broker.is_idle())
    }

    pub fn is_at_rest(&self) -> bool {
        self.protocol.is_connected()
            && self.protocol.outbox().is_empty()
            && self.broker.is_idle()
            && self.inbox.is_empty()
            && self.connection.as_ref().is_some_and(|c| {
                c.wire.buffer.is_empty()
                    && c.to_broker.is_empty()
                    && c.to_client.is_empty()
                    && c.input.is_empty()
            })
    }

    /// The service ends: what is owed is sent, then DISCONNECT, and nothing after it.
    pub fn close(&mut self) {
        for _ in 0..self.rng.usize(..20) {
            self.publish();
        }
        self.say("online".into(), QoS::AtMostOnce, true, Urgency::Farewell);
        self.closing = true;
        self.protocol.close();
        for turn in 0.. {
            assert!(turn < 20_000, "no end: {}", self.state());
            self.drive();
            self.socket_takes_some();
            self.broker_gets(usize::MAX);
            self.broker_speaks();
            self.client_gets(usize::MAX);
            self.service_looks();
            self.publish();
            let over = |c: &Connection| c.said_goodbye && c.wire.buffer.is_empty() && c.to_broker.is_empty();
            if self.connection.as_ref().is_some_and(over) {
                break;
            }
        }
        assert!(self.protocol.farewell_sent() && self.protocol.outbox().is_empty());
        self.lose();
        self.ledger.check_completions(true);
        self.check_outgoing();
    }
}
