//! An application message, as MQTT carries it.

use bytes::Bytes;

/// Quality of service (MQTT 3.1.1 section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    /// Sent once, not acknowledged.
    AtMostOnce = 0,
    /// Sent until acknowledged: may arrive twice.
    AtLeastOnce = 1,
    /// Arrives once.
    ExactlyOnce = 2,
}

impl TryFrom<u8> for QoS {
    type Error = u8;

    fn try_from(value: u8) -> Result<Self, u8> {
        match value {
            0 => Ok(Self::AtMostOnce),
            1 => Ok(Self::AtLeastOnce),
            2 => Ok(Self::ExactlyOnce),
            other => Err(other),
        }
    }
}

/// A message to publish, or one that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The topic name; never a filter.
    pub topic: String,
    /// The application's bytes.
    pub payload: Bytes,
    /// On the way out what the publisher asked for, on the way in what the broker granted.
    pub qos: QoS,
    /// On the way out: keep it. On the way in: it was kept, and is older than the subscription.
    pub retain: bool,
    /// On the way in: the broker has sent it before.
    pub dup: bool,
}

impl Message {
    /// What it counts for in the queues' byte limits.
    pub fn size(&self) -> usize {
        self.topic.len() + self.payload.len()
    }
}
