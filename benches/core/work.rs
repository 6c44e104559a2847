//! The work that `cargo bench` times and `make instructions` counts: the same rows for both.
//!
//! The broker of the session rows is a few bytes: what it sends was made before, so that its cost hardly counts.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use miqro::core::config::Protocol as Speaks;
use miqro::core::dedup::Dedup;
use miqro::core::number::push_int;
use miqro::core::payload::{push_json_float, push_json_str, text};
use miqro::core::router::Router;
use miqro::core::schedule::Timer;
use miqro::core::session::codec;
use miqro::core::session::event::Event;
use miqro::core::session::message::{Message, QoS};
use miqro::core::session::options::SessionOptions;
use miqro::core::session::outbox::Urgency;
use miqro::core::session::packet::{Packet, PacketId, Version};
use miqro::core::session::protocol::{Protocol, Sink};

/// How many messages a turn of a session row has: what comes between two system calls under load.
const BATCH: usize = 50;
const LIMIT: usize = 1 << 20;
const TOPIC: &str = "service/thermometer/rooms/kitchen/temperature";
const PAYLOAD: &[u8] = b"21.53 degrees";

/// One thing to be measured.
pub struct Row {
    /// `subject/what`.
    pub name: &'static str,
    /// What one turn does, in messages, look-ups, values.
    pub count: usize,
    /// Does a turn.
    pub turn: Box<dyn FnMut()>,
}

/// Every row, set up and warm.
pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut row = |name, count, mut turn: Box<dyn FnMut()>| {
        // The tables and buffers grow to their size.
        (0..3).for_each(|_| turn());
        rows.push(Row { name, count, turn });
    };
    for (name, qos, version) in [
        ("publish/qos0", QoS::AtMostOnce, Version::V311),
        ("publish/qos1", QoS::AtLeastOnce, Version::V311),
        ("publish/qos2", QoS::ExactlyOnce, Version::V311),
        ("publish/qos0_mqtt5", QoS::AtMostOnce, Version::V5),
        ("publish/qos1_mqtt5", QoS::AtLeastOnce, Version::V5),
    ] {
        row(name, BATCH, publish(qos, version));
    }
    for (name, qos, filters) in [
        ("receive/qos0", QoS::AtMostOnce, 1),
        ("receive/qos1", QoS::AtLeastOnce, 1),
        ("receive/qos2", QoS::ExactlyOnce, 1),
        ("receive/qos0_100_filters", QoS::AtMostOnce, 100),
        ("receive/qos1_100_filters", QoS::AtLeastOnce, 100),
    ] {
        row(name, BATCH, receive(qos, filters));
    }
    row("codec/decode_publish", BATCH, decode(Version::V311));
    row("codec/decode_publish_mqtt5", BATCH, decode(Version::V5));
    row("codec/encode_publish", BATCH, encode(Version::V311));
    row("codec/encode_publish_mqtt5", BATCH, encode(Version::V5));
    row("router/exact_of_100", 100, route(100, false));
    row("router/exact_of_10000", 100, route(10_000, false));
    row("router/wildcard_of_100", 100, route(100, true));
    row("dedup/unchanged_of_1000", 1000, unchanged());
    row("dedup/changed_of_1000", 1000, changed());
    row("payload/text", 100, decode_text());
    row("json/20_floats", 20, floats());
    row("json/20_floats_rounded", 20, rounded_floats());
    row("json/20_ints", 20, ints());
    row("json/text", 1, json_text());
    row("schedule/10_loops", 10, schedule());
    rows
}

// ---- sessions ------------------------------------------------------------------------------------------

/// Where packets go: bytes, as in a session, and the numbers of the messages that the broker has to answer.
struct Wire {
    buffer: BytesMut,
    taken: u64,
    version: Version,
    publishes: Vec<PacketId>,
    releases: Vec<PacketId>,
}

impl Wire {
    /// The socket takes everything.
    fn flush(&mut self) {
        self.taken += self.buffer.len() as u64;
        self.buffer.clear();
    }
}

impl Sink for Wire {
    fn offset(&self) -> u64 {
        self.taken + self.buffer.len() as u64
    }

    fn is_full(&self) -> bool {
        false
    }

    fn publish(&mut self, message: &mut Message, id: PacketId, dup: bool) {
        must(codec::encode_publish(message, id, dup, &mut self.buffer, self.version));
        if id != 0 {
            self.publishes.push(id);
        }
    }

    fn packet(&mut self, packet: &Packet) {
        must(codec::encode(packet, &mut self.buffer, self.version));
        if let Packet::PubRel(id) = packet {
            self.releases.push(*id);
        }
    }
}

/// A session on a connection that stands.
struct Client {
    protocol: Protocol,
    wire: Wire,
    input: BytesMut,
    events: Vec<Event>,
}

impl Client {
    fn new(version: Version) -> Self {
        let protocol = if version == Version::V5 { Speaks::V5 } else { Speaks::V311 };
        let options = SessionOptions { protocol, client_id: "bench".into(), ..SessionOptions::default() };
        let mut client = Self {
            protocol: Protocol::new(options),
            wire: Wire {
                buffer: BytesMut::new(),
                taken: 0,
                version,
                publishes: Vec::new(),
                releases: Vec::new(),
            },
            input: BytesMut::new(),
            events: Vec::new(),
        };
        client.protocol.connection_opened(Duration::ZERO);
        client.write();
        client.input.extend_from_slice(match version {
            Version::V311 => &[0x20, 2, 0, 0],
            Version::V5 => &[0x20, 3, 0, 0, 0],
        });
        client.read();
        assert!(client.protocol.is_connected());
        client.protocol.greeted();
        client.write();
        client
    }

    /// What the driver does with what has come.
    fn read(&mut self) {
        while let Some(packet) = must(codec::decode(&mut self.input, LIMIT, self.wire.version)) {
            must(self.protocol.handle(packet, Duration::ZERO, &mut self.events));
        }
    }

    /// What it does with what is to be sent.
    fn write(&mut self) {
        self.protocol.poll(&mut self.wire, Duration::ZERO, true);
        self.wire.flush();
        self.protocol.written(self.wire.taken, Duration::ZERO, &mut self.events);
    }

    /// The broker answers with packets of this kind.
    fn answer(&mut self, kind: u8, ids: &[PacketId]) {
        for id in ids {
            let [high, low] = id.to_be_bytes();
            self.input.extend_from_slice(&[kind, 2, high, low]);
        }
        self.read();
    }
}

fn message(qos: QoS) -> Message {
    Message {
        topic: TOPIC.into(),
        payload: Bytes::from_static(PAYLOAD),
        qos,
        retain: false,
        dup: false,
        properties: None,
    }
}

fn publish(qos: QoS, version: Version) -> Box<dyn FnMut()> {
    let mut client = Client::new(version);
    Box::new(move || {
        for _ in 0..BATCH {
            must(client.protocol.publish(message(qos), Urgency::Ordinary, Duration::ZERO));
        }
        // A window at a time.
        loop {
            client.write();
            let sent = std::mem::take(&mut client.wire.publishes);
            if sent.is_empty() {
                break;
            }
            if qos == QoS::ExactlyOnce {
                client.answer(0x50, &sent);
                client.write();
                let released = std::mem::take(&mut client.wire.releases);
                client.answer(0x70, &released);
            } else {
                client.answer(0x40, &sent);
            }
        }
        assert!(client.protocol.outbox().is_empty());
        client.events.clear();
    })
}

fn receive(qos: QoS, filters: usize) -> Box<dyn FnMut()> {
    let mut client = Client::new(Version::V311);
    let router = router(filters);
    let (mut messages, mut releases) = (BytesMut::new(), BytesMut::new());
    for id in (1..).take(BATCH) {
        must(codec::encode_publish(&mut message(qos), id, false, &mut messages, Version::V311));
        must(codec::encode(&Packet::PubRel(id), &mut releases, Version::V311));
    }
    Box::new(move || {
        client.input.extend_from_slice(&messages);
        client.read();
        for event in client.events.drain(..) {
            if let Event::Message(message) = event {
                assert_eq!(router.route(&message.topic).len(), 1);
                black_box(message);
            }
        }
        client.write();
        if qos == QoS::ExactlyOnce {
            client.input.extend_from_slice(&releases);
            client.read();
            client.write();
            client.wire.releases.clear();
        }
    })
}

// ---- codec ---------------------------------------------------------------------------------------------

fn decode(version: Version) -> Box<dyn FnMut()> {
    let mut messages = BytesMut::new();
    for id in (1..).take(BATCH) {
        must(codec::encode_publish(&mut message(QoS::AtLeastOnce), id, false, &mut messages, version));
    }
    let mut input = BytesMut::new();
    Box::new(move || {
        input.extend_from_slice(&messages);
        while let Some(packet) = must(codec::decode(&mut input, LIMIT, version)) {
            black_box(packet);
        }
    })
}

fn encode(version: Version) -> Box<dyn FnMut()> {
    let mut message = message(QoS::AtLeastOnce);
    let mut buffer = BytesMut::new();
    Box::new(move || {
        buffer.clear();
        for id in (1..).take(BATCH) {
            must(codec::encode_publish(black_box(&mut message), id, false, &mut buffer, version));
        }
        black_box(&buffer);
    })
}

// ---- router --------------------------------------------------------------------------------------------

/// A router of so many filters, of which the topic of the messages belongs to one.
fn router(filters: usize) -> Router {
    let mut router = Router::default();
    must(router.add(TOPIC, false));
    for topic in topics(filters - 1) {
        must(router.add(&topic, false));
    }
    router
}

fn topics(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("service/thermometer/rooms/{n}/temperature")).collect()
}

fn route(filters: usize, wildcards: bool) -> Box<dyn FnMut()> {
    let mut router = Router::default();
    for n in 0..filters {
        let filter = if wildcards {
            format!("service/+/rooms/{n}/#")
        } else {
            format!("service/thermometer/rooms/{n}/temperature")
        };
        must(router.add(&filter, false));
    }
    let topics = topics(100);
    Box::new(move || {
        for topic in &topics {
            assert_eq!(black_box(router.route(topic)).len(), 1);
        }
    })
}

// ---- dedup ---------------------------------------------------------------------------------------------

fn unchanged() -> Box<dyn FnMut()> {
    let topics = topics(1000);
    let mut dedup = Dedup::default();
    for topic in &topics {
        dedup.note(topic, PAYLOAD, Duration::ZERO);
    }
    let (age, now) = (Some(Duration::from_secs(60)), Duration::from_secs(1));
    Box::new(move || {
        for topic in &topics {
            assert!(dedup.unchanged(topic, black_box(PAYLOAD), age, now));
        }
    })
}

fn changed() -> Box<dyn FnMut()> {
    let topics = topics(1000);
    let mut dedup = Dedup::default();
    let mut value = 0_u32;
    Box::new(move || {
        value += 1;
        let payload = value.to_be_bytes();
        for topic in &topics {
            assert!(!dedup.unchanged(topic, &payload, None, Duration::ZERO));
            dedup.note(topic, &payload, Duration::ZERO);
        }
    })
}

// ---- payloads ------------------------------------------------------------------------------------------

fn decode_text() -> Box<dyn FnMut()> {
    Box::new(|| {
        for _ in 0..100 {
            black_box(text(black_box(PAYLOAD)));
        }
    })
}

/// As sensors give them.
fn values() -> Vec<f64> {
    (1..=20).map(|n| f64::from(n) * 7.3 / 3.0).collect()
}

fn floats() -> Box<dyn FnMut()> {
    json(|out| values().iter().for_each(|value| must(push_json_float(out, *value, None))))
}

fn rounded_floats() -> Box<dyn FnMut()> {
    json(|out| values().iter().for_each(|value| must(push_json_float(out, *value, Some(5)))))
}

fn ints() -> Box<dyn FnMut()> {
    json(|out| (1..=20_i64).for_each(|n| push_int(out, n * n * 1_234_567)))
}

fn json_text() -> Box<dyn FnMut()> {
    let mut text = String::new();
    for n in 0..10 {
        let _ = writeln!(text, "Wohnzimmer {n}: 21,5 °C, \"warm\"");
    }
    json(move |out| push_json_str(out, black_box(&text)))
}

fn json(mut write: impl FnMut(&mut Vec<u8>) + 'static) -> Box<dyn FnMut()> {
    let mut out = Vec::new();
    Box::new(move || {
        out.clear();
        write(&mut out);
        black_box(&out);
    })
}

// ---- schedule ------------------------------------------------------------------------------------------

fn schedule() -> Box<dyn FnMut()> {
    let mut timers: Vec<Timer> = (1..=10).map(|n| Timer::new(Duration::from_millis(n * 10))).collect();
    let mut now = Duration::ZERO;
    for timer in &mut timers {
        timer.start(now, false);
    }
    Box::new(move || {
        now += Duration::from_millis(100);
        for timer in &mut timers {
            if timer.is_due(now) {
                timer.called(now);
            }
        }
        black_box(timers.iter().filter_map(Timer::next_due).min());
    })
}

/// What cannot fail here: if it does, the rows are wrong.
fn must<T, E: std::fmt::Debug>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error:?}"),
    }
}
