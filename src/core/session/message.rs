//! An application message, as MQTT carries it.

use bytes::Bytes;

use crate::core::topic;

/// Bytes of a text or of binary data in a packet (MQTT 5 sections 1.5.4, 1.5.6).
const LONGEST_FIELD: usize = 65_535;

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

/// What MQTT 5 lets a message say besides its payload (section 3.3.2.3).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Properties {
    /// Whether the payload is UTF-8 text.
    pub is_text: Option<bool>,
    /// Seconds that the message is worth delivering.
    pub expiry: Option<u32>,
    /// What the payload is, as the application calls it.
    pub content_type: Option<String>,
    /// Where the answer is expected.
    pub response_topic: Option<String>,
    /// By which the asker knows the answer.
    pub correlation_data: Option<Bytes>,
    /// Names and values of the application.
    pub user: Vec<(String, String)>,
    /// The subscriptions that it came for.
    pub subscription_ids: Vec<u32>,
}

impl Properties {
    /// Whether MQTT can carry them. The error is a sentence.
    ///
    /// # Errors
    /// A text is too long or has a zero character in it, or the response topic is none.
    pub fn check(&self) -> Result<(), String> {
        if let Some(response) = &self.response_topic {
            topic::check_topic(response).map_err(|error| format!("the response topic: {error}"))?;
        }
        let content_type = self.content_type.iter().map(|text| ("the content type", text));
        let names = self.user.iter().flat_map(|(name, value)| {
            [("the name of a user property", name), ("the value of a user property", value)]
        });
        for (what, text) in content_type.chain(names) {
            if text.contains('\0') {
                return Err(format!("{what} has a zero character in it, which MQTT does not allow"));
            }
            if text.len() > LONGEST_FIELD {
                return Err(format!("{what} has {} bytes, and MQTT allows {LONGEST_FIELD}", text.len()));
            }
        }
        match self.correlation_data.as_ref().map(Bytes::len) {
            Some(size) if size > LONGEST_FIELD => {
                Err(format!("the correlation data has {size} bytes, and MQTT allows {LONGEST_FIELD}"))
            }
            _ => Ok(()),
        }
    }

    /// Bytes that they take in a packet at most.
    pub fn size_on_wire(&self) -> usize {
        // Their length, and for each its identifier and lengths.
        4 + self.size() + 30 + 5 * (self.user.len() + self.subscription_ids.len())
    }

    /// What they count for in the queues' byte limits.
    fn size(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let user: usize = self.user.iter().map(|(name, value)| name.len() + value.len()).sum();
        let data = self.correlation_data.as_ref().map_or(0, Bytes::len);
        text(&self.content_type) + text(&self.response_topic) + data + user
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
    /// Of MQTT 5; most messages have none.
    pub properties: Option<Box<Properties>>,
}

impl Message {
    /// What it counts for in the queues' byte limits.
    pub fn size(&self) -> usize {
        let properties = self.properties.as_ref().map_or(0, |properties| properties.size());
        self.topic.len() + self.payload.len() + properties
    }
}
