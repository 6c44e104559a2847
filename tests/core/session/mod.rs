//! The session over real sockets, against a broker that says exactly what a test tells it to.
//!
//! Nothing here sleeps to let things settle: every wait is for an event, with [`PATIENCE`] as its deadline.

mod addresses;
mod closing;
mod connecting;
mod direct;
mod durable;
mod flow;
mod leading;
mod leaks;
mod outgoing;

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use miqro::core::session::Session;
use miqro::core::session::codec;
use miqro::core::session::event::Event;
use miqro::core::session::message::{Message, QoS};
use miqro::core::session::options::SessionOptions;
use miqro::core::session::packet::{Connect, Packet, Reason, Version};
use miqro::core::session::protocol::Receipt;
use miqro::core::wake::Wake;
use socket2::SockRef;

/// How long something may take that should happen at once. Reached only when a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A broker on a free port. It does nothing by itself.
struct Broker {
    listener: TcpListener,
}

impl Broker {
    fn new() -> Self {
        Self::on_port(0)
    }

    fn on_port(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        SockRef::from(&listener).set_read_timeout(Some(PATIENCE)).unwrap();
        Self { listener }
    }

    fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    /// The next connection, before its CONNECT.
    fn accept(&self) -> Peer {
        let (stream, _) = self.listener.accept().expect("the session connects");
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Peer { stream, input: BytesMut::new(), version: Version::V311 }
    }

    /// The next connection, accepted with a new session.
    fn welcome(&self) -> Peer {
        self.welcome_back(false).0
    }

    fn welcome_back(&self, session_present: bool) -> (Peer, Connect) {
        let mut peer = self.accept();
        let connect = peer.connect();
        peer.send(&Packet::ConnAck(session_present, 0, None));
        (peer, connect)
    }
}

/// The broker's end of a connection.
struct Peer {
    stream: TcpStream,
    input: BytesMut,
    /// What the CONNECT spoke.
    version: Version,
}

impl Peer {
    fn connect(&mut self) -> Connect {
        match self.receive() {
            Packet::Connect(connect) => connect,
            other => panic!("{other:?} instead of CONNECT"),
        }
    }

    /// The next packet; `None` when the session has hung up.
    fn next(&mut self) -> Option<Packet> {
        loop {
            // In a CONNECT the protocol level comes after the name of the protocol (section 3.1.2).
            if self.input.first() == Some(&0x10)
                && let Some(at) = self.input.windows(4).position(|bytes| bytes == b"MQTT")
                && let Some(level) = self.input.get(at + 4)
            {
                self.version = if *level == 5 { Version::V5 } else { Version::V311 };
            }
            if let Some(packet) =
                codec::decode(&mut self.input, usize::MAX, self.version).expect("the session sends MQTT")
            {
                return Some(packet);
            }
            let mut bytes = [0; 16384];
            match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(count) => self.input.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing came from the session: {error}"),
            }
        }
    }

    fn receive(&mut self) -> Packet {
        self.next().expect("the session goes on")
    }

    /// The next PUBLISH: topic, payload and the packet identifier.
    fn receive_publish(&mut self) -> (Message, Option<u16>) {
        match self.receive() {
            Packet::Publish(message, id) => (message, id),
            other => panic!("{other:?} instead of a PUBLISH"),
        }
    }

    /// All that comes until the session hangs up.
    fn rest(&mut self) -> Vec<Packet> {
        std::iter::from_fn(|| self.next()).collect()
    }

    fn send(&mut self, packet: &Packet) {
        let mut bytes = BytesMut::new();
        codec::encode(packet, &mut bytes, self.version).unwrap();
        self.send_bytes(&bytes);
    }

    fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Answers what the session sends, as a broker does, until it has sent as many messages; they come back.
    fn serve(&mut self, publishes: usize) -> Vec<Message> {
        let mut messages = Vec::new();
        let mut open = 0;
        while messages.len() < publishes || open > 0 {
            match self.receive() {
                Packet::Publish(message, id) => {
                    match (message.qos, id) {
                        (QoS::AtLeastOnce, Some(id)) => self.send(&Packet::PubAck(id, Reason::SUCCESS)),
                        (QoS::ExactlyOnce, Some(id)) => {
                            open += 1;
                            self.send(&Packet::PubRec(id, Reason::SUCCESS));
                        }
                        _ => {}
                    }
                    messages.push(message);
                }
                Packet::PubRel(id) => {
                    open -= 1;
                    self.send(&Packet::PubComp(id));
                }
                Packet::Subscribe(id, filters) => {
                    let granted = filters.iter().map(|(_, how)| Ok(how.qos)).collect();
                    self.send(&Packet::SubAck(id, granted, None));
                }
                Packet::PingReq => self.send(&Packet::PingResp),
                other => panic!("unexpected: {other:?}"),
            }
        }
        messages
    }
}

/// A session, and what it has told.
struct Client {
    session: Arc<Session>,
    wake: Arc<Wake>,
    events: VecDeque<Event>,
}

impl Client {
    /// A session that has not started. It reconnects quickly, and does not hold back for a greeting.
    fn new(port: u16, adjust: impl FnOnce(&mut SessionOptions)) -> Self {
        let mut options = SessionOptions {
            host: "127.0.0.1".into(),
            port,
            client_id: "test".into(),
            reconnect_delay_min: 0.01,
            reconnect_delay_max: 0.05,
            ..SessionOptions::default()
        };
        adjust(&mut options);
        let wake = Arc::new(Wake::new().unwrap());
        let session = Arc::new(Session::new(options, Arc::clone(&wake)));
        Self { session, wake, events: VecDeque::new() }
    }

    fn started(port: u16, adjust: impl FnOnce(&mut SessionOptions)) -> Self {
        let client = Self::new(port, adjust);
        client.session.start().unwrap();
        client
    }

    /// A session on an accepted connection, and the other end of it.
    fn connected(broker: &Broker, adjust: impl FnOnce(&mut SessionOptions)) -> (Self, Peer) {
        let mut client = Self::started(broker.port(), adjust);
        let peer = broker.welcome();
        client.until(|event| matches!(event, Event::Connected { .. }));
        (client, peer)
    }

    /// The next event.
    fn event(&mut self) -> Event {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            self.wake.clear();
            let mut events = Vec::new();
            self.session.take_events(16, &mut events);
            if events.is_empty() {
                let left = deadline.saturating_duration_since(Instant::now());
                assert!(!left.is_zero(), "no event has come");
                self.wake.wait(Some(left)).unwrap();
            }
            self.events.extend(events);
        }
    }

    /// The next event of a kind; others before it are skipped.
    fn until(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        loop {
            let event = self.event();
            if wanted(&event) {
                return event;
            }
        }
    }

    fn message(&mut self) -> Message {
        match self.until(|event| matches!(event, Event::Message(_))) {
            Event::Message(message) => message,
            _ => unreachable!(),
        }
    }

    /// Why the connection ended.
    fn disconnected(&mut self) -> String {
        match self.until(|event| matches!(event, Event::Disconnected { .. })) {
            Event::Disconnected { reason, .. } => reason,
            _ => unreachable!(),
        }
    }

    fn publish(&self, topic: &str, payload: &str, qos: QoS) -> Receipt {
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        self.session.publish(topic.into(), payload, qos, false).expect("there is room")
    }

    /// Waits until the network thread has let go of everything it shares with us.
    fn wait_for_the_end_of_the_thread(self) {
        let Self { session, wake, .. } = self;
        drop(session);
        let deadline = Instant::now() + PATIENCE;
        while Arc::strong_count(&wake) > 1 {
            assert!(Instant::now() < deadline, "the network thread does not end");
            wake.clear();
            wake.wait(Some(Duration::from_millis(20))).unwrap();
        }
    }
}

fn message(topic: &str, payload: &str, qos: QoS) -> Message {
    let payload = Bytes::copy_from_slice(payload.as_bytes());
    Message { topic: topic.into(), payload, qos, retain: false, dup: false, properties: None }
}

/// Runs something that must not take long.
fn within<T>(limit: Duration, what: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let result = what();
    assert!(started.elapsed() < limit, "it took {:?}", started.elapsed());
    result
}
