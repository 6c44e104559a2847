//! Messages that nobody has room for, and that stand before an answer that somebody waits for.

use std::collections::VecDeque;

use super::message::Message;
use super::packet::{Packet, PacketId};

/// Messages of QoS 1 and 2 that were read for the sake of what is behind them, and have to wait for room. Nobody
/// has acknowledged them, and if the connection ends, the broker has them still.
#[derive(Debug, Default)]
pub(super) struct Held {
    messages: VecDeque<(Message, PacketId)>,
    bytes: usize,
}

impl Held {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// A broker has no more of them under way than there are packet identifiers; their size it may choose.
    pub fn has_room(&self, max_bytes: usize) -> bool {
        self.bytes < max_bytes
    }

    /// Keeps one, behind the others.
    pub fn push(&mut self, message: Message, id: PacketId) {
        self.bytes += message.size();
        self.messages.push_back((message, id));
    }

    /// The one that came first.
    pub fn pop(&mut self) -> Option<Packet> {
        let (message, id) = self.messages.pop_front()?;
        self.bytes -= message.size();
        Some(Packet::Publish(message, Some(id)))
    }
}
