//! The session's end of a connection: all that is handed over is read again, and held against the protocol.

use std::collections::HashMap;

use bytes::BytesMut;
use miqro::core::session::codec::{MAX_REMAINING_LENGTH, decode, encode, encode_publish};
use miqro::core::session::message::{Message, Properties, QoS};
use miqro::core::session::packet::{ConnAckProperties, Packet, PacketId, Version};
use miqro::core::session::protocol::Sink;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Publish { qos: QoS, released: bool },
    Request,
}

/// The wire of one connection, and what the laws need to know of it.
pub struct Wire {
    pub version: Version,
    pub bytes: u64,
    pub taken: u64,
    pub batch: u64,
    /// The first packet is CONNECT, and there is one only.
    pub connect_sent: bool,
    pub accepted: bool,
    pub goodbye: bool,
    pub terms: ConnAckProperties,
    /// Identifiers that were sent on this connection and wait for the end of their exchange.
    pub open: HashMap<PacketId, Asked>,
    pub sent: u32,
    pub window: usize,
    pub input: BytesMut,
}

impl Wire {
    pub fn new(version: Version, batch: u64, window: usize) -> Self {
        Self {
            version,
            bytes: 0,
            taken: 0,
            batch,
            connect_sent: false,
            accepted: false,
            goodbye: false,
            terms: ConnAckProperties::default(),
            open: HashMap::new(),
            sent: 0,
            window,
            input: BytesMut::new(),
        }
    }

    fn under_way(&self) -> usize {
        self.open.values().filter(|asked| matches!(asked, Asked::Publish { .. })).count()
    }

    fn record(&mut self, packet: &Packet, written: &[u8]) {
        assert!(!self.goodbye, "{packet:?} follows DISCONNECT");
        let is_connect = matches!(packet, Packet::Connect(_));
        assert!(self.connect_sent != is_connect, "{packet:?}: CONNECT comes first, and once");
        assert!(self.accepted || is_connect, "{packet:?} before CONNACK");
        self.connect_sent = true;
        self.sent += 1;
        self.bytes += written.len() as u64;
        let mut bytes = BytesMut::from(written);
        let read = decode(&mut bytes, MAX_REMAINING_LENGTH, self.version);
        assert_eq!(read.expect("what is sent can be read"), Some(as_read(packet, self.version)));
        assert!(bytes.is_empty());
        // Acknowledgements have no shorter form.
        if matches!(packet, Packet::Publish(..) | Packet::Subscribe(..) | Packet::Unsubscribe(..)) {
            let limit = self.terms.maximum_packet_size.map_or(usize::MAX, |size| size as usize);
            assert!(written.len() <= limit, "{} bytes to a broker that takes {limit}", written.len());
        }
        match packet {
            Packet::Publish(message, id) => {
                assert!(message.qos <= self.terms.maximum_qos);
                assert!(self.terms.retain_available || !message.retain);
                assert_eq!(id.is_some(), message.qos > QoS::AtMostOnce);
                assert!(!message.dup || id.is_some(), "DUP at QoS 0");
                if let Some(id) = *id {
                    let asked = Asked::Publish { qos: message.qos, released: false };
                    assert!(self.open.insert(id, asked).is_none(), "the identifier {id} is in use");
                    assert!(self.under_way() <= self.window, "more under way than allowed");
                }
            }
            Packet::Subscribe(id, _) | Packet::Unsubscribe(id, _) => {
                assert!(self.open.insert(*id, Asked::Request).is_none(), "the identifier {id} is in use");
            }
            Packet::Disconnect(_) => self.goodbye = true,
            _ => {}
        }
    }
}

/// A packet as the other end sees it: 3.1.1 cannot say all that MQTT 5 can.
fn as_read(packet: &Packet, version: Version) -> Packet {
    let mut packet = packet.clone();
    match &mut packet {
        Packet::Publish(message, _) => {
            let properties = message.properties.take();
            message.properties =
                properties.filter(|all| version == Version::V5 && **all != Properties::default());
        }
        Packet::Subscribe(_, filters) if version == Version::V311 => {
            for (_, how) in filters {
                *how = how.qos.into();
            }
        }
        _ => {}
    }
    packet
}

impl Sink for Wire {
    fn offset(&self) -> u64 {
        self.bytes
    }

    fn is_full(&self) -> bool {
        self.bytes - self.taken >= self.batch
    }

    fn publish(&mut self, message: &mut Message, id: PacketId, dup: bool) {
        let mut written = BytesMut::new();
        encode_publish(message, id, dup, &mut written, self.version)
            .expect("what was accepted can be written");
        let packet = Packet::Publish(Message { dup, ..message.clone() }, (id != 0).then_some(id));
        self.record(&packet, &written);
    }

    fn packet(&mut self, packet: &Packet) {
        let mut written = BytesMut::new();
        encode(packet, &mut written, self.version).expect("what the session says can be written");
        self.record(packet, &written);
    }
}
