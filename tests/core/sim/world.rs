//! The session, the model broker, the network between them, and the laws.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use bytes::BytesMut;
use fastrand::Rng;
use miqro::core::session::codec;
use miqro::core::session::completion::Outcome;
use miqro::core::session::event::Event;
use miqro::core::session::message::{Message, QoS};
use miqro::core::session::options::SessionOptions;
use miqro::core::session::packet::{Packet, PacketId};
use miqro::core::session::protocol::{Fault, Protocol, Refusal};

use super::broker::{Broker, Mood, numbered};
use super::ledger::{Accepted, Holder, Ledger};
use super::number_of;
use super::wire::{Sent, Wire};

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
const MS: Duration = Duration::from_millis(1);

/// The client's side of a connection, and the bytes under way.
pub struct Connection {
    pub wire: Wire,
    to_broker: BytesMut,
    to_client: BytesMut,
    input: BytesMut,
    connect_sent: bool,
    /// CONNACK has been handled.
    accepted: bool,
    said_goodbye: bool,
    /// When the client last sent, and last received, something.
    sent_at: Duration,
    received_at: Duration,
    wrote_at: Duration,
    /// When the ping that is not answered was in the socket.
    ping_at: Option<Duration>,
    /// Where it ends in the stream.
    ping_end: Option<u64>,
    /// How often each filter has to be asked for on this connection.
    asks: HashMap<String, usize>,
    /// Filters that the session has asked for by itself, and the service has not.
    restored: HashMap<String, QoS>,
    /// PUBRECs handled, which are owed a PUBREL each.
    releases: usize,
}

/// A message from the broker.
struct Incoming {
    qos: QoS,
    topic: String,
    /// How often it came out of the session.
    seen: usize,
}

pub struct World {
    pub rng: Rng,
    pub now: Duration,
    options: SessionOptions,
    pub protocol: Protocol,
    pub broker: Broker,
    pub connection: Option<Connection>,
    pub ledger: Ledger,
    subscriptions: BTreeMap<String, QoS>,
    incoming: Vec<Incoming>,
    newest_incoming: HashMap<(String, QoS), usize>,
    /// Numbers of broker messages by identifier, in this broker session; what an acknowledgement speaks of.
    incoming_ids: HashMap<PacketId, u64>,
    /// The service's queue, and how many messages are in it.
    inbox: VecDeque<Event>,
    waiting: usize,
    reading: bool,
    batch: usize,
    /// The network does what it can to confuse.
    pub chaos: bool,
    closing: bool,
    pub steps: u64,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let options = SessionOptions {
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
        let batch = [1, 40, 300, 65536][rng.usize(..4)];
        Self {
            rng,
            now: Duration::from_secs(1),
            protocol: Protocol::new(options.clone()),
            options,
            broker: Broker::new(on_release),
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
            closing: false,
            steps: 0,
        }
    }

    /// One random thing happens.
    pub fn step(&mut self) {
        self.steps += 1;
        match self.rng.u8(..100) {
            0..=17 => self.publish(),
            18..=37 => self.drive(),
            38..=52 => self.socket_takes_some(),
            53..=64 => self.broker_gets_some(),
            65..=74 => self.broker_speaks(),
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
            99 => self.accident(),
            _ => unreachable!(),
        }
        if self.connection.is_none() && self.rng.u8(..10) == 0 {
            self.connect();
        }
        self.ledger.check_completions(false);
        self.check_bounds();
    }

    /// Some bytes: a few, a packet or so, or all.
    fn some(&mut self) -> usize {
        match self.rng.u8(..3) {
            0 => self.rng.usize(1..8),
            1 => self.rng.usize(1..200),
            _ => usize::MAX,
        }
    }

    // ---- the service -----------------------------------------------------------------------------------

    fn publish(&mut self) {
        self.say(false);
    }

    /// A greeting overtakes what waits on other topics.
    fn say(&mut self, greeting: bool) {
        let number = self.ledger.accepted.len() as u64;
        let topic = format!("t/{}", self.rng.u8(..4));
        let qos = QOS[self.rng.usize(..3)];
        let retain = self.rng.bool();
        let padding = if self.rng.u8(..20) == 0 { self.rng.usize(..3000) } else { self.rng.usize(..60) };
        let message = numbered(number, padding, topic.clone(), qos, retain);
        let size = message.size();
        let (count, bytes) = (self.protocol.outbox().len(), self.protocol.outbox().bytes());
        match self.protocol.publish(message, greeting) {
            Ok(receipt) => {
                self.ledger.accept(Accepted {
                    topic,
                    qos,
                    retain,
                    size,
                    mid: receipt.mid,
                    completion: receipt.completion,
                    expected: Outcome::Pending,
                    given_up: false,
                    was_on_wire: false,
                    span: None,
                    may_be_lost: false,
                    received: false,
                });
                let mut dropped = self.ledger.pushed_out(number);
                let mut told = receipt.dropped;
                dropped.sort_unstable();
                told.sort_unstable();
                assert_eq!(dropped, told, "what was dropped is not what was told");
            }
            Err(refusal) => {
                assert_eq!(count, self.protocol.outbox().len(), "a refused publish changed the outbox");
                assert_eq!(bytes, self.protocol.outbox().bytes(), "a refused publish changed the outbox");
                self.check_refusal(refusal, size);
            }
        }
    }

    /// Law: a message is refused only for want of room, and while offline QoS 0 messages are no hindrance.
    fn check_refusal(&self, refusal: Refusal, size: usize) {
        let connected = self.protocol.is_connected();
        let kept: Vec<_> = self
            .ledger
            .owed()
            .filter(|message| connected || message.qos != QoS::AtMostOnce)
            .map(|message| message.size)
            .collect();
        let bytes: usize = kept.iter().sum();
        let full = kept.len() >= self.options.max_queued_messages
            || !kept.is_empty() && bytes + size > self.options.max_queued_bytes;
        match refusal {
            Refusal::Closed => assert!(self.closing),
            Refusal::FullWhileConnected => assert!(connected && full),
            Refusal::FullWhileOffline => assert!(!connected && full),
        }
    }

    fn service_subscribes(&mut self) {
        let filter = format!("f/{}", self.rng.u8(..6));
        if self.rng.u8(..4) == 0 {
            self.subscriptions.remove(&filter);
            self.protocol.unsubscribe(vec![filter.clone()]);
            if let Some(connection) = &mut self.connection {
                connection.restored.remove(&filter);
            }
        } else {
            let qos = QOS[self.rng.usize(..3)];
            self.subscribe(vec![(filter, qos)]);
        }
    }

    fn subscribe(&mut self, filters: Vec<(String, QoS)>) {
        let connected = self.protocol.is_connected();
        for (filter, qos) in &filters {
            self.subscriptions.insert(filter.clone(), *qos);
            if let Some(connection) = &mut self.connection
                && connected
                && connection.restored.remove(filter) != Some(*qos)
            {
                *connection.asks.entry(filter.clone()).or_default() += 1;
            }
        }
        self.protocol.subscribe(filters);
    }

    /// The service takes some events; on a new connection it greets, as a service does.
    fn service_looks(&mut self) {
        for _ in 0..self.rng.usize(1..8) {
            match self.inbox.pop_front() {
                Some(Event::Connected { .. }) => {
                    if self.chaos && self.rng.u8(..5) == 0 {
                        continue; // It is busy; the session goes on without the greeting after a time.
                    }
                    for _ in 0..self.rng.usize(..4) {
                        self.say(true);
                    }
                    if self.rng.bool() {
                        let all = self.subscriptions.iter().map(|(f, q)| (f.clone(), *q)).collect();
                        self.subscribe(all);
                    }
                    self.protocol.greeted();
                }
                Some(Event::Message(_)) => self.waiting -= 1,
                Some(_) => {}
                None => return,
            }
        }
    }

    // ---- the driver ------------------------------------------------------------------------------------

    fn connect(&mut self) {
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
        self.protocol.poll(&mut connection.wire, self.now);
        for sent in std::mem::take(&mut connection.wire.sent) {
            self.check_sent(sent);
        }
        self.check_keepalive();
    }

    fn digest(&mut self, events: &mut Vec<Event>) -> Result<(), Fault> {
        let mut messages = 0;
        loop {
            self.reading = self.waiting + messages < self.options.max_incoming_messages;
            if !self.reading {
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

    /// Notes what must follow from a packet of the broker, before the session sees it.
    fn expect(&mut self, packet: &Packet) {
        let report = self.options.report_published;
        match packet {
            Packet::ConnAck(present, 0) => {
                let Some(connection) = &mut self.connection else { return };
                connection.accepted = true;
                connection.restored = self.subscriptions.clone().into_iter().collect();
                connection.asks = self.subscriptions.keys().map(|filter| (filter.clone(), 1)).collect();
                if !present {
                    self.ledger.session_lost();
                    self.incoming_ids.clear();
                }
            }
            Packet::PubAck(id) => {
                if let Some(Holder::Publish(number)) = self.ledger.ids.get(id).copied()
                    && self.ledger.get(number).qos == QoS::AtLeastOnce
                {
                    self.ledger.ids.remove(id);
                    self.ledger.settle(number, Outcome::Done, report);
                }
            }
            Packet::PubRec(id) => {
                if let Some(connection) = &mut self.connection {
                    connection.releases += 1;
                }
                if let Some(Holder::Publish(number)) = self.ledger.ids.get(id).copied() {
                    self.ledger.get(number).received = true;
                }
            }
            Packet::PubComp(id) => {
                if let Some(Holder::Publish(number)) = self.ledger.ids.get(id).copied()
                    && self.ledger.get(number).qos == QoS::ExactlyOnce
                    && self.ledger.get(number).received
                {
                    self.ledger.ids.remove(id);
                    self.ledger.settle(number, Outcome::Done, report);
                }
            }
            Packet::SubAck(id, _) | Packet::UnsubAck(id) => {
                if self.ledger.ids.get(id) == Some(&Holder::Request) {
                    self.ledger.ids.remove(id);
                }
            }
            Packet::PingResp => {
                if let Some(connection) = &mut self.connection {
                    connection.ping_at = None;
                    connection.ping_end = None;
                }
            }
            Packet::Publish(message, Some(id)) => {
                self.incoming_ids.insert(*id, number_of(message));
            }
            _ => {}
        }
    }

    fn hand_over(&mut self, events: Vec<Event>) {
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

    /// Law: what comes in arrives in order, and at QoS 2 once.
    fn incoming_message(&mut self, message: &Message) {
        self.waiting += 1;
        let number = usize::try_from(number_of(message)).expect("numbers are small");
        let incoming = &mut self.incoming[number];
        assert_eq!((incoming.qos, &incoming.topic), (message.qos, &message.topic));
        incoming.seen += 1;
        assert!(
            incoming.seen == 1 || message.qos == QoS::AtLeastOnce,
            "the broker's message {number} at {:?} came twice",
            message.qos
        );
        if incoming.seen == 1 {
            let newest = self.newest_incoming.entry((message.topic.clone(), message.qos)).or_default();
            assert!(*newest <= number, "the broker's message {number} came after {newest}");
            *newest = number;
        }
    }

    fn failed(&mut self, fault: &Fault) {
        let Some(connection) = &self.connection else { return };
        match fault {
            Fault::Refused(_) | Fault::NoConnAck => assert!(!connection.accepted),
            Fault::Protocol(text) => panic!("the session finds fault with a good broker: {text}"),
            // Law: never dead while reading is paused, or while something comes.
            Fault::Silent(_) => {
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
    fn lose(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        self.broker.disconnect(connection.accepted);
        self.protocol.connection_lost(connection.wire.taken);
        self.ledger.connection_lost(connection.wire.taken);
        assert!(!self.protocol.is_connected());
    }

    // ---- laws about what the client sends ------------------------------------------------------------

    fn check_sent(&mut self, sent: Sent) {
        let Some(connection) = &mut self.connection else { return };
        connection.sent_at = self.now;
        let packet = sent.packet;
        assert!(!connection.said_goodbye, "{packet:?} after DISCONNECT");
        if let Packet::Connect(_) = packet {
            assert!(!connection.connect_sent && sent.begin == 0, "CONNECT is not the first packet");
            connection.connect_sent = true;
            return;
        }
        assert!(connection.accepted, "{packet:?} before CONNACK");
        match packet {
            Packet::Publish(message, id) => self.check_publish(&message, id, (sent.begin, sent.end)),
            Packet::PubRel(id) => match self.ledger.ids.get(&id).copied() {
                Some(Holder::Publish(number)) if self.ledger.get(number).received => {}
                _ => {
                    connection.releases = connection.releases.checked_sub(1).expect("an unasked PUBREL");
                }
            },
            // Law: acknowledged after the hand-over.
            Packet::PubAck(id) | Packet::PubRec(id) => {
                let number = self.incoming_ids.get(&id).copied().expect("acknowledges what came");
                let incoming = &self.incoming[usize::try_from(number).expect("numbers are small")];
                assert!(
                    incoming.seen > 0,
                    "the broker's message {number} was acknowledged and not handed over"
                );
            }
            Packet::PubComp(_) => {}
            Packet::Subscribe(id, filters) => {
                let taken = self.ledger.ids.insert(id, Holder::Request);
                assert_eq!(taken, None, "the number {id} is in use");
                for (filter, _) in filters {
                    let asks = connection.asks.entry(filter.clone()).or_default();
                    *asks = asks.checked_sub(1).unwrap_or_else(|| panic!("{filter} was asked for twice"));
                }
            }
            Packet::Unsubscribe(id, _) => {
                let taken = self.ledger.ids.insert(id, Holder::Request);
                assert_eq!(taken, None, "the number {id} is in use");
            }
            Packet::PingReq => connection.ping_end = Some(sent.end),
            Packet::Disconnect => {
                assert!(self.closing && self.ledger.pending.is_empty(), "DISCONNECT, and messages are owed");
                connection.said_goodbye = true;
            }
            other => panic!("the client sends {other:?}"),
        }
    }

    fn check_publish(&mut self, message: &Message, id: Option<PacketId>, span: (u64, u64)) {
        let number = number_of(message);
        let accepted = self.ledger.get(number);
        assert_eq!(
            (&accepted.topic, accepted.qos, accepted.retain),
            (&message.topic, message.qos, message.retain)
        );
        assert_eq!(accepted.size, message.size());
        assert_eq!(accepted.expected, Outcome::Pending, "message {number} is sent though it is settled");
        assert!(accepted.span.is_none(), "message {number} is sent twice on one connection");
        assert_eq!(
            message.dup, accepted.was_on_wire,
            "message {number} has DUP {}, and was on the wire: {}",
            message.dup, accepted.was_on_wire
        );
        accepted.span = Some(span);
        let newest = self.ledger.newest.entry((message.topic.clone(), message.qos)).or_insert(number);
        assert!(*newest <= number, "message {number} is sent after {newest}");
        *newest = number;
        match (message.qos, id) {
            (QoS::AtMostOnce, None) => {}
            (QoS::AtLeastOnce | QoS::ExactlyOnce, Some(id)) => {
                let held = self.ledger.ids.insert(id, Holder::Publish(number));
                assert!(
                    held.is_none_or(|held| held == Holder::Publish(number)),
                    "message {number} has the number {id} of {held:?}"
                );
                assert!(self.ledger.in_flight() <= self.options.max_inflight, "the window is exceeded");
            }
            other => panic!("a PUBLISH with {other:?}"),
        }
    }

    /// Law: never silent, and never patient with silence, for longer than the keepalive allows. The world
    /// gives the driver a turn at each of its deadlines, so this is exact.
    fn check_keepalive(&self) {
        let Some(connection) = &self.connection else { return };
        let keepalive = Duration::from_secs(self.options.keepalive.into());
        if keepalive.is_zero() || !self.protocol.is_connected() || connection.wire.buffer.len() >= self.batch
        {
            return;
        }
        assert!(self.now < connection.sent_at + keepalive, "nothing sent for a keepalive, and no ping");
        if !self.reading {
            return;
        }
        let silent = self.now.saturating_sub(connection.received_at);
        assert!(
            silent < keepalive || connection.ping_end.is_some(),
            "nothing received for a keepalive, no ping"
        );
        let tried = connection.ping_at.unwrap_or(connection.wrote_at).max(connection.received_at);
        assert!(self.now < tried + keepalive * 3 / 2, "not a word for {silent:?}, and still connected");
    }

    /// Law: memory is bounded.
    fn check_bounds(&self) {
        let outbox = self.protocol.outbox();
        assert!(outbox.len() == self.ledger.pending.len(), "the outbox has lost count");
        // A greeting has as much room again.
        let times = 2;
        assert!(outbox.len() <= self.options.max_queued_messages * times);
        assert!(outbox.bytes() <= self.options.max_queued_bytes * times || outbox.len() == 1);
        assert!(self.waiting <= self.options.max_incoming_messages);
    }

    // ---- the network -----------------------------------------------------------------------------------

    fn socket_takes_some(&mut self) {
        let count = self.some();
        self.socket_takes(count);
    }

    fn broker_gets_some(&mut self) {
        let count = self.some();
        self.broker_gets(count);
    }

    fn client_gets_some(&mut self) {
        let count = self.some();
        self.client_gets(count);
    }

    fn socket_takes(&mut self, count: usize) {
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

    fn broker_gets(&mut self, count: usize) {
        let Some(connection) = &mut self.connection else { return };
        let count = count.min(connection.to_broker.len());
        let bytes = connection.to_broker.split_to(count);
        self.broker.receive(&bytes);
    }

    fn broker_speaks(&mut self) {
        let (packet, hangs_up) = self.broker.speak(&mut self.rng, self.chaos);
        if let (Some(packet), Some(connection)) = (packet, &mut self.connection) {
            codec::encode(&packet, &mut connection.to_client).expect("the broker's packets can be encoded");
        }
        if hangs_up {
            self.cut();
        }
    }

    fn client_gets(&mut self, count: usize) {
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

    fn broker_publishes(&mut self) {
        let number = self.incoming.len() as u64;
        let topic = format!("i/{}", self.rng.u8(..3));
        let qos = QOS[self.rng.usize(..3)];
        let padding = self.rng.usize(..100);
        if self.broker.publish(numbered(number, padding, topic.clone(), qos, false)) {
            self.incoming.push(Incoming { qos, topic, seen: 0 });
        }
    }

    fn babble(&mut self) {
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
            0 if qos != Some(QoS::AtLeastOnce) => Packet::PubAck(id),
            1 if qos != Some(QoS::ExactlyOnce) => Packet::PubRec(id),
            2 if qos != Some(QoS::ExactlyOnce) => Packet::PubComp(id),
            3 if holder != Some(Holder::Request) => Packet::SubAck(id, vec![None]),
            4 if holder != Some(Holder::Request) => Packet::UnsubAck(id),
            _ => Packet::PingResp,
        };
        self.broker.babble(packet);
    }

    /// The connection breaks, or the broker.
    fn accident(&mut self) {
        if self.rng.u8(..3) > 0 {
            self.cut();
        }
        if self.rng.u8(..4) == 0 {
            self.cut();
            self.broker.forget();
        }
    }

    /// The connection breaks somewhere: at any byte, in either direction.
    fn cut(&mut self) {
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
            assert!(turn < 20_000, "no rest after the faults have stopped: {:?}", self.protocol);
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

    fn is_at_rest(&self) -> bool {
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

    fn check_everything(&mut self) {
        self.ledger.check_completions(true);
        self.check_outgoing();
        for (number, incoming) in self.incoming.iter().enumerate() {
            let forgotten = self.broker.forgotten.contains(&(number as u64));
            assert!(
                incoming.seen > 0 || forgotten || incoming.qos == QoS::AtMostOnce,
                "the broker's message {number} at {:?} was lost",
                incoming.qos
            );
        }
        let wanted: Vec<_> = self.subscriptions.clone().into_iter().collect();
        assert_eq!(self.broker.subscriptions(), wanted, "the broker's subscriptions are not the service's");
        if let Some(connection) = &self.connection {
            assert_eq!(connection.asks.values().sum::<usize>(), 0, "a subscription was not asked for");
        }
    }

    /// Laws: nothing is lost at QoS 1 and 2, nor at QoS 0 without a cut; order; exactly once.
    fn check_outgoing(&mut self) {
        let mut seen: HashMap<u64, HashSet<u64>> = HashMap::new();
        let mut newest: HashMap<(String, QoS), u64> = HashMap::new();
        for delivery in &self.broker.delivered {
            let number = delivery.number;
            let message = &self.ledger.accepted[usize::try_from(number).expect("numbers are small")];
            let epochs = seen.entry(number).or_default();
            if epochs.is_empty() {
                let newest = newest.entry((message.topic.clone(), message.qos)).or_insert(number);
                assert!(*newest <= number, "message {number} arrived after {newest}");
                *newest = number;
            }
            assert!(
                message.qos != QoS::AtMostOnce || epochs.is_empty(),
                "message {number} at QoS 0 came twice"
            );
            assert!(
                epochs.insert(delivery.epoch) || message.qos == QoS::AtLeastOnce,
                "message {number} at QoS 2 came twice in one session"
            );
        }
        for (number, message) in self.ledger.accepted.iter().enumerate() {
            let excused = message.given_up || message.may_be_lost;
            assert!(
                seen.contains_key(&(number as u64)) || excused,
                "message {number} at {:?} was lost",
                message.qos
            );
        }
    }

    /// The service ends: what is owed is sent, then DISCONNECT, and nothing after it.
    pub fn close(&mut self) {
        for _ in 0..self.rng.usize(..20) {
            self.publish();
        }
        self.closing = true;
        self.protocol.close();
        for turn in 0.. {
            assert!(turn < 20_000, "no end: {:?}", self.protocol);
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
