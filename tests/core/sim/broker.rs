//! A model of an MQTT broker with one client. It keeps to the specification, except where the world asks
//! it to repeat, delay or shuffle what it says.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fastrand::Rng;
use miqro::core::session::codec;
use miqro::core::session::message::{Message, QoS};
use miqro::core::session::packet::{
    ConnAckProperties, Connect, Disconnect, Packet, PacketId, Reason, Version,
};

use super::number_of;

/// QoS 1 and 2 messages that the broker has under way to the client.
const WINDOW: usize = 5;

/// A message that reached its destination.
pub struct Delivery {
    pub number: u64,
    /// Of the broker's session with the client.
    pub epoch: u64,
}

/// What the broker does on a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mood {
    Helpful,
    /// Answers CONNECT with this code.
    Refuses(u8),
    /// Reads, and says nothing.
    Mute,
    /// Accepts, and hangs up at once: another client has the same id.
    TakenOver,
    /// Hangs up without an answer.
    HangsUp,
}

enum Stage {
    Queued,
    Sent(PacketId),
    Released(PacketId),
}

impl Stage {
    fn id(&self) -> Option<PacketId> {
        match self {
            Self::Queued => None,
            Self::Sent(id) | Self::Released(id) => Some(*id),
        }
    }
}

struct Outgoing {
    message: Message,
    stage: Stage,
}

/// What the broker remembers between connections.
#[derive(Default)]
struct Session {
    subscriptions: BTreeMap<String, QoS>,
    /// QoS 2 messages from the client without their PUBREL.
    received: HashMap<PacketId, u64>,
    outgoing: VecDeque<Outgoing>,
    last_id: PacketId,
    /// Seconds that it outlives its connection.
    expiry: u32,
}

struct Connection {
    input: BytesMut,
    accepted: bool,
    mood: Mood,
    /// Acknowledgements, which may be shuffled and repeated.
    answers: Vec<Packet>,
    /// What must stay in order.
    stream: VecDeque<Packet>,
    connack: Option<Packet>,
    /// PUBACK and PUBREC are expected in this order (MQTT-4.6.0-2, -3).
    unanswered: VecDeque<PacketId>,
    /// What the client speaks.
    version: Version,
    /// What the broker takes, with MQTT 5.
    terms: ConnAckProperties,
    /// QoS 1 and 2 messages from the client that are not acknowledged.
    open: HashMap<PacketId, QoS>,
    /// How many such messages the client takes.
    window: usize,
}

impl Connection {
    /// What the broker says frees the client's window (MQTT 5 section 4.9).
    fn says(&mut self, packet: &Packet) {
        let (id, qos) = match packet {
            Packet::PubAck(id, _) => (id, QoS::AtLeastOnce),
            Packet::PubRec(id, reason) if reason.is_failure() => (id, QoS::ExactlyOnce),
            Packet::PubComp(id) => (id, QoS::ExactlyOnce),
            _ => return,
        };
        if self.open.get(id) == Some(&qos) {
            self.open.remove(id);
        }
    }

    /// Law: the client keeps to what the broker takes.
    fn check(&mut self, message: &Message, id: Option<PacketId>) {
        let terms = &self.terms;
        assert!(message.qos <= terms.maximum_qos, "a message over the maximum QoS");
        assert!(!message.retain || terms.retain_available, "a retained message, and none are kept");
        if let Some(id) = id {
            self.open.insert(id, message.qos);
            assert!(self.open.len() <= terms.receive_maximum.into(), "the receive maximum is exceeded");
        }
    }
}

pub struct Broker {
    session: Option<Session>,
    connection: Option<Connection>,
    /// The session was made on this connection.
    is_new: bool,
    pub epoch: u64,
    /// Every message that the broker has passed on, in order.
    pub delivered: Vec<Delivery>,
    /// Whether it passes a QoS 2 message on at its PUBREL rather than at its PUBLISH (section 4.3.3).
    pub on_release: bool,
    /// Numbers of messages to the client that were lost with a session.
    pub forgotten: Vec<u64>,
    /// The newest version that it speaks.
    pub version: Version,
    /// Whether it hangs up on a newer one, rather than to say no.
    pub hangs_up: bool,
    /// When the last one ended.
    ended: Duration,
}

impl Broker {
    pub fn new(on_release: bool, version: Version) -> Self {
        Self {
            session: None,
            connection: None,
            is_new: false,
            epoch: 0,
            delivered: Vec::new(),
            on_release,
            forgotten: Vec::new(),
            version,
            hangs_up: false,
            ended: Duration::ZERO,
        }
    }

    pub fn connect(&mut self, mood: Mood, terms: ConnAckProperties, now: Duration) {
        let expiry = self.session.as_ref().map(|session| Duration::from_secs(session.expiry.into()));
        if expiry.is_some_and(|expiry| now > self.ended + expiry) {
            self.forget();
        }
        self.connection = Some(Connection {
            input: BytesMut::new(),
            accepted: false,
            mood,
            answers: Vec::new(),
            stream: VecDeque::new(),
            connack: None,
            unanswered: VecDeque::new(),
            version: Version::V311,
            terms,
            open: HashMap::new(),
            window: WINDOW,
        });
    }

    /// Says goodbye, and why (MQTT 5).
    pub fn leave(&mut self, code: u8) {
        if let Some(connection) = &mut self.connection
            && connection.accepted
            && connection.mood == Mood::Helpful
            && connection.version == Version::V5
        {
            let reason = Reason { code, text: Some("so be it".into()) };
            let goodbye = Disconnect { reason, server_reference: None };
            connection.stream.push_back(Packet::Disconnect(Some(Box::new(goodbye))));
        }
    }

    /// The connection has ended. If the client has not heard of a new session, the broker forgets it again:
    /// with 3.1.1 a client cannot know that the session which it finds next time is not its old one.
    pub fn disconnect(&mut self, accepted: bool, now: Duration) {
        self.ended = now;
        if !accepted && self.is_new {
            self.forget();
        }
        self.is_new = false;
        self.connection = None;
    }

    /// Forgets the session, as a broker without persistence does when it is started anew.
    pub fn forget(&mut self) {
        if let Some(session) = self.session.take() {
            self.forgotten.extend(session.outgoing.iter().map(|out| number_of(&out.message)));
        }
        self.epoch += 1;
    }

    pub fn subscriptions(&self) -> Vec<(String, QoS)> {
        let session = self.session.as_ref();
        session.map_or(Vec::new(), |s| s.subscriptions.iter().map(|(f, q)| (f.clone(), *q)).collect())
    }

    /// Sends a message to the client; whether it will (at QoS 0: while connected).
    pub fn publish(&mut self, message: Message) -> bool {
        let connected = self.connection.as_ref().is_some_and(|c| c.accepted && c.mood == Mood::Helpful);
        let Some(session) = &mut self.session else { return false };
        if message.qos == QoS::AtMostOnce {
            if !connected {
                return false;
            }
            if let Some(connection) = &mut self.connection {
                connection.stream.push_back(Packet::Publish(message, None));
            }
        } else {
            session.outgoing.push_back(Outgoing { message, stage: Stage::Queued });
        }
        self.fill_window();
        true
    }

    /// Says a message or a release again though nothing was lost, as some brokers do after a time.
    pub fn repeat(&mut self, rng: &mut Rng) {
        let (Some(session), Some(connection)) = (&self.session, &mut self.connection) else { return };
        if !connection.accepted || connection.mood != Mood::Helpful || session.outgoing.is_empty() {
            return;
        }
        let out = &session.outgoing[rng.usize(..session.outgoing.len())];
        match out.stage {
            // At QoS 1 the client could not tell it from a new message, and would be right to answer twice.
            Stage::Sent(id) if out.message.qos == QoS::ExactlyOnce => {
                connection.unanswered.push_back(id);
                connection.stream.push_back(Packet::Publish(again(&out.message), Some(id)));
            }
            Stage::Released(id) => connection.stream.push_back(Packet::PubRel(id)),
            Stage::Sent(_) | Stage::Queued => {}
        }
    }

    /// Whether nothing is under way from the broker's side.
    pub fn is_idle(&self) -> bool {
        self.session.as_ref().is_none_or(|session| session.outgoing.is_empty())
            && self.connection.as_ref().is_none_or(|c| {
                c.answers.is_empty() && c.stream.is_empty() && c.connack.is_none() && c.input.is_empty()
            })
    }

    /// Whether a QoS 2 message with this number has come, and waits for its PUBREL; or may have.
    pub fn has_received(&self, id: PacketId) -> bool {
        self.connection.as_ref().is_none_or(|c| !c.accepted || c.connack.is_some())
            || self.session.as_ref().is_none_or(|session| session.received.contains_key(&id))
    }

    /// The world speaks for the broker.
    pub fn says(&mut self, packet: &Packet) {
        if let Some(connection) = &mut self.connection {
            connection.says(packet);
        }
    }

    /// Says what nobody asked for. None of it may do harm.
    pub fn babble(&mut self, packet: Packet) {
        if let Some(connection) = &mut self.connection
            && connection.accepted
            && connection.mood == Mood::Helpful
        {
            connection.answers.push(packet);
        }
    }

    /// The next packet that the broker says; `chaos` shuffles and repeats acknowledgements. The second value:
    /// the broker hangs up now.
    pub fn speak(&mut self, rng: &mut Rng, chaos: bool) -> (Option<Packet>, bool) {
        let Some(connection) = &mut self.connection else { return (None, false) };
        if connection.mood == Mood::HangsUp {
            return (None, true);
        }
        if let Some(connack) = connection.connack.take() {
            return (Some(connack), connection.mood != Mood::Helpful);
        }
        let from_stream = !connection.stream.is_empty() && (connection.answers.is_empty() || rng.bool());
        if from_stream {
            let packet = connection.stream.pop_front();
            let hangs_up = matches!(packet, Some(Packet::Disconnect(_)));
            return (packet, hangs_up);
        }
        if connection.answers.is_empty() {
            return (None, false);
        }
        // A broker that passes messages on at their PUBREL has itself to blame if its PUBRECs are out of order.
        let index = if chaos && !self.on_release && rng.u8(..4) == 0 {
            rng.usize(..connection.answers.len())
        } else {
            0
        };
        let packet = connection.answers[index].clone();
        connection.says(&packet);
        if !(chaos && rng.u8(..8) == 0) {
            connection.answers.remove(index);
        }
        (Some(packet), false)
    }

    /// Bytes have arrived from the client.
    ///
    /// # Panics
    /// When the client breaks the protocol.
    pub fn receive(&mut self, bytes: &[u8]) {
        let Some(connection) = &mut self.connection else { return };
        connection.input.extend_from_slice(bytes);
        loop {
            let Some(connection) = &mut self.connection else { return };
            if connection.input.first() == Some(&0x10) && connection.input.get(8) == Some(&5) {
                connection.version = Version::V5;
            }
            let before = connection.input.len();
            let packet = codec::decode(&mut connection.input, usize::MAX, connection.version)
                .expect("the client sends MQTT");
            let Some(packet) = packet else { return };
            let size = before - connection.input.len();
            let limit = connection.terms.maximum_packet_size.filter(|_| connection.accepted);
            assert!(
                connection.version == Version::V311 || limit.is_none_or(|limit| size <= limit as usize),
                "{size} bytes, more than the broker takes: {packet:?}"
            );
            self.handle(packet);
        }
    }

    fn handle(&mut self, packet: Packet) {
        if let Packet::Connect(connect) = packet {
            return self.connect_packet(&connect);
        }
        let Some(connection) = &mut self.connection else { return };
        assert!(connection.accepted, "{packet:?} before CONNACK");
        if connection.mood == Mood::Mute {
            return;
        }
        let session = self.session.as_mut().expect("accepted connections have a session");
        match packet {
            Packet::Publish(message, id) => {
                let number = number_of(&message);
                let mut pass_on = true;
                let speaks_5 = connection.version == Version::V5;
                if speaks_5 {
                    connection.check(&message, id);
                }
                // The same each time it comes: else it would overtake what it was sent before.
                let refused = speaks_5 && number.is_multiple_of(8);
                match (message.qos, id) {
                    (QoS::AtLeastOnce, Some(id)) if refused => {
                        pass_on = false;
                        connection.answers.push(Packet::PubAck(id, Reason::code(0x97)));
                    }
                    (QoS::ExactlyOnce, Some(id)) if refused && !session.received.contains_key(&id) => {
                        pass_on = false;
                        let reason = Reason { code: 0x87, text: Some("not you".into()) };
                        connection.answers.push(Packet::PubRec(id, reason));
                    }
                    (QoS::AtLeastOnce, Some(id)) => {
                        connection.answers.push(Packet::PubAck(id, Reason::SUCCESS));
                    }
                    (QoS::ExactlyOnce, Some(id)) => {
                        let known = session.received.insert(id, number);
                        assert!(
                            known.is_none_or(|known| known == number),
                            "the client gave the number {id} of message {known:?} to message {number}"
                        );
                        assert!(known.is_none() || message.dup, "message {number} was repeated without DUP");
                        pass_on = known.is_none() && !self.on_release;
                        connection.answers.push(Packet::PubRec(id, Reason::SUCCESS));
                    }
                    (QoS::AtMostOnce, None) => {}
                    other => panic!("a PUBLISH with {other:?}"),
                }
                if pass_on {
                    self.delivered.push(Delivery { number, epoch: self.epoch });
                }
            }
            Packet::PubRel(id) => {
                if let Some(number) = session.received.remove(&id)
                    && self.on_release
                {
                    self.delivered.push(Delivery { number, epoch: self.epoch });
                }
                connection.answers.push(Packet::PubComp(id));
            }
            Packet::PubAck(id, _) => {
                expect_in_order(connection, id);
                session.outgoing.retain(|out| {
                    !matches!(out.stage, Stage::Sent(sent) if sent == id && out.message.qos == QoS::AtLeastOnce)
                });
            }
            Packet::PubRec(id, _) => {
                expect_in_order(connection, id);
                for out in &mut session.outgoing {
                    if matches!(out.stage, Stage::Sent(sent) if sent == id) {
                        out.stage = Stage::Released(id);
                        connection.stream.push_back(Packet::PubRel(id));
                    }
                }
            }
            Packet::PubComp(id) => {
                session.outgoing.retain(|out| !matches!(out.stage, Stage::Released(held) if held == id));
            }
            Packet::Subscribe(id, filters) => {
                let granted = filters.iter().map(|(_, how)| Ok(how.qos)).collect();
                connection.answers.push(Packet::SubAck(id, granted, None));
                session.subscriptions.extend(filters.into_iter().map(|(filter, how)| (filter, how.qos)));
            }
            Packet::Unsubscribe(id, filters) => {
                let none = if connection.version == Version::V5 { vec![0x11] } else { Vec::new() };
                let mut codes = Vec::new();
                for filter in filters {
                    session.subscriptions.remove(&filter);
                    codes.extend(&none);
                }
                connection.answers.push(Packet::UnsubAck(id, codes));
            }
            Packet::PingReq => connection.answers.push(Packet::PingResp),
            Packet::Disconnect(None) => {}
            other => panic!("the client sent {other:?}"),
        }
        self.fill_window();
    }

    fn connect_packet(&mut self, connect: &Connect) {
        let clean = connect.clean_session;
        let Some(connection) = &mut self.connection else { return };
        assert!(!connection.accepted, "a second CONNECT");
        if connection.version == Version::V5 && self.version == Version::V311 {
            connection.mood = if self.hangs_up { Mood::HangsUp } else { Mood::Refuses(1) };
        }
        if let Some(maximum) = connect.properties.as_ref().and_then(|properties| properties.receive_maximum) {
            connection.window = WINDOW.min(maximum.into());
        }
        match connection.mood {
            Mood::HangsUp | Mood::Mute => {}
            Mood::Refuses(code) => connection.connack = Some(Packet::ConnAck(false, code, None)),
            Mood::Helpful | Mood::TakenOver => {
                connection.accepted = true;
                if clean && self.session.is_some() {
                    self.forget();
                }
                let present = self.session.is_some();
                self.is_new = !present;
                let session = self.session.get_or_insert_default();
                // With 3.1.1 a session that may be kept is kept for ever.
                session.expiry =
                    connect.properties.as_ref().map_or(u32::MAX, |properties| properties.session_expiry);
                let connection = self.connection.as_mut().expect("it is there");
                let terms = (connection.version == Version::V5).then(|| Box::new(connection.terms.clone()));
                connection.connack = Some(Packet::ConnAck(present, 0, terms));
                for out in &session.outgoing {
                    match out.stage {
                        Stage::Sent(id) => {
                            connection.unanswered.push_back(id);
                            connection.stream.push_back(Packet::Publish(again(&out.message), Some(id)));
                        }
                        Stage::Released(id) => connection.stream.push_back(Packet::PubRel(id)),
                        Stage::Queued => {}
                    }
                }
                self.fill_window();
            }
        }
    }

    fn fill_window(&mut self) {
        let (Some(session), Some(connection)) = (&mut self.session, &mut self.connection) else { return };
        if !connection.accepted || connection.mood != Mood::Helpful {
            return;
        }
        let mut used: Vec<_> = session.outgoing.iter().filter_map(|out| out.stage.id()).collect();
        for out in session.outgoing.iter_mut().take(connection.window) {
            if matches!(out.stage, Stage::Queued) {
                // Numbers come round soon, so that a client that does not forget them is found out.
                let mut id = session.last_id;
                while {
                    id = id % 20 + 1;
                    used.contains(&id)
                } {}
                session.last_id = id;
                used.push(id);
                out.stage = Stage::Sent(id);
                connection.unanswered.push_back(id);
                connection.stream.push_back(Packet::Publish(out.message.clone(), Some(id)));
            }
        }
    }
}

fn expect_in_order(connection: &mut Connection, id: PacketId) {
    let expected = connection.unanswered.pop_front();
    assert_eq!(expected, Some(id), "the client acknowledges out of order, or what it was not sent");
}

fn again(message: &Message) -> Message {
    Message { dup: true, ..message.clone() }
}

/// A message that carries its number.
pub fn numbered(number: u64, padding: usize, topic: String, qos: QoS, retain: bool) -> Message {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(8 + padding, b'.');
    Message { topic, payload: Bytes::from(payload), qos, retain, dup: false, properties: None }
}
