//! How much the outbox holds, and what the broker takes of it.

use super::codec;
use super::message::{Message, QoS};
use super::options::SessionOptions;

/// The bounds of the outbox.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Messages, everywhere in the outbox.
    pub messages: usize,
    /// Bytes of topic and payload.
    pub bytes: usize,
    /// QoS 1 and 2 messages in flight. mosquitto 2.0.11 loses QoS 2 messages above 20 (its
    /// `max_inflight_messages`), though it acknowledges each.
    pub window: usize,
}

/// Half of the identifiers are kept for subscriptions and for messages that the broker forgets to acknowledge.
const MAX_WINDOW: usize = 32_767;

impl From<&SessionOptions> for Limits {
    fn from(options: &SessionOptions) -> Self {
        Self {
            messages: options.max_queued_messages.max(1),
            bytes: options.max_queued_bytes.max(1),
            window: options.max_inflight.clamp(1, MAX_WINDOW),
        }
    }
}

impl Limits {
    pub(super) fn doubled(self) -> Self {
        let Self { messages, bytes, window } = self;
        Self { messages: messages.saturating_mul(2), bytes: bytes.saturating_mul(2), window }
    }

    /// Whether a message of `size` bytes is too many on top of `count` messages of `bytes` bytes. A message
    /// larger than the byte limit has room when it is the only one.
    pub(super) fn exceeded(&self, count: usize, bytes: usize, size: usize) -> bool {
        count >= self.messages || (count > 0 && bytes + size > self.bytes)
    }
}

/// What the broker takes on this connection. With 3.1.1 it does not say, and takes everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// QoS 1 and 2 messages that may be under way.
    pub window: usize,
    /// The highest quality of service.
    pub maximum_qos: QoS,
    /// Whether it keeps messages.
    pub retain: bool,
    /// The largest packet, in bytes.
    pub packet_size: Option<u32>,
}

impl Default for Terms {
    fn default() -> Self {
        Self { window: usize::MAX, maximum_qos: QoS::ExactlyOnce, retain: true, packet_size: None }
    }
}

impl Terms {
    /// Why the broker would not take a message, if it is too large for it.
    ///
    /// # Errors
    /// The sentence.
    pub fn check_size(&self, message: &Message) -> Result<(), String> {
        let Some(limit) = self.packet_size else { return Ok(()) };
        // The expiry is written anew when it is sent, in as many bytes.
        let size = codec::publish_size(message);
        if size <= limit as usize {
            return Ok(());
        }
        Err(format!(
            "the message takes {size} bytes, and the broker accepts {limit} at most (its maximum packet size)"
        ))
    }
}
