//! The client's end of a connection: real bytes, and a note of each packet with its place in the stream.

use bytes::BytesMut;
use miqro::core::session::codec;
use miqro::core::session::message::Message;
use miqro::core::session::packet::{Packet, PacketId, Version};
use miqro::core::session::protocol::Sink;

/// A packet that the protocol has handed over.
pub struct Sent {
    /// Where it begins in the connection's stream of bytes.
    pub begin: u64,
    /// Where it ends.
    pub end: u64,
    pub packet: Packet,
}

/// The write buffer of a connection, as the driver has one.
pub struct Wire {
    pub buffer: BytesMut,
    /// Bytes that the socket has taken.
    pub taken: u64,
    /// Bytes above which the buffer is full.
    batch: usize,
    /// What was handed over since the world looked last.
    pub sent: Vec<Sent>,
    version: Version,
}

impl Wire {
    pub fn new(batch: usize, version: Version) -> Self {
        Self { buffer: BytesMut::new(), taken: 0, batch, sent: Vec::new(), version }
    }

    /// The socket takes up to `count` bytes.
    pub fn take(&mut self, count: usize) -> BytesMut {
        let bytes = self.buffer.split_to(count.min(self.buffer.len()));
        self.taken += bytes.len() as u64;
        bytes
    }
}

impl Sink for Wire {
    fn offset(&self) -> u64 {
        self.taken + self.buffer.len() as u64
    }

    fn is_full(&self) -> bool {
        self.buffer.len() >= self.batch
    }

    fn publish(&mut self, message: &mut Message, id: PacketId, dup: bool) {
        let begin = self.offset();
        codec::encode_publish(message, id, dup, &mut self.buffer, self.version)
            .expect("an accepted message can be encoded");
        let message = Message { dup, ..message.clone() };
        let packet = Packet::Publish(message, (id != 0).then_some(id));
        self.sent.push(Sent { begin, end: self.offset(), packet });
    }

    fn packet(&mut self, packet: &Packet) {
        let begin = self.offset();
        codec::encode(packet, &mut self.buffer, self.version)
            .expect("a packet of the session can be encoded");
        self.sent.push(Sent { begin, end: self.offset(), packet: packet.clone() });
    }
}
