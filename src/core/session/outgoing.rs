//! A message on its way out, as the outbox keeps it.

use std::sync::Arc;
use std::time::Duration;

use super::completion::Completion;
use super::message::{Message, QoS};
use super::packet::PacketId;

/// Where a message stands among the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Urgency {
    /// Behind what was published before, when there is room.
    #[default]
    Ordinary,
    /// What a service says on each connect: ahead of what waits, and though the queue is full.
    Greeting,
    /// What it says at its end: behind what was published before, but though the queue is full.
    Farewell,
}

/// What became of a message handed to [`super::outbox::Outbox::admit`].
#[derive(Debug)]
pub enum Admission {
    /// Kept.
    Accepted {
        /// How many older QoS 0 messages were dropped for it.
        dropped: usize,
    },
    /// No room, and nothing that may be dropped. The message comes back.
    Full(Outgoing),
}

/// A message with what its publisher is waiting for.
#[derive(Debug)]
pub struct Outgoing {
    /// What to send.
    pub message: Message,
    /// Resolved when the broker has it.
    pub completion: Arc<Completion>,
    /// The number under which the publisher knows it.
    pub mid: u16,
    /// When it is not worth sending any more.
    pub deadline: Option<Duration>,
    /// Its number in the journal; zero: it is not in there.
    pub number: u64,
}

impl Outgoing {
    pub(super) fn has_expired(&self, now: Duration) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// Makes the message say how long it is still worth delivering. On its last second it says so: with zero it
    /// would never expire for some brokers.
    pub(super) fn age(&mut self, now: Duration) {
        if let (Some(deadline), Some(properties)) = (self.deadline, &mut self.message.properties) {
            let left = deadline.saturating_sub(now).as_millis().div_ceil(1000).max(1);
            properties.expiry = Some(u32::try_from(left).unwrap_or(u32::MAX));
        }
    }

    /// Whether only the newest of its kind on its topic need be kept while the broker is away.
    pub(super) fn is_coalescing(&self) -> bool {
        self.message.qos == QoS::AtMostOnce && self.message.retain
    }
}

/// A message that an earlier process owed.
#[derive(Debug)]
pub struct Kept {
    /// What it was.
    pub outgoing: Outgoing,
    /// Under which identifier it may have been sent.
    pub id: Option<PacketId>,
    /// Whether the broker has said that it has it.
    pub received: bool,
}
