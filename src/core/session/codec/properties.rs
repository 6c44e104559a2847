//! The properties of MQTT 5 (section 2.2.2), read and written.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The largest value of a variable byte integer (section 1.5.5).
pub(super) const MAX_VARIABLE: u32 = 268_435_455;

/// What is wrong with a packet, in words.
pub(super) type Wrong = &'static str;

const SHORT: Wrong = "a packet ends too early";

/// The fields of a packet, one after the other. None of them can reach beyond the packet.
pub(super) struct Reader(pub Bytes);

impl Reader {
    pub fn u8(&mut self) -> Result<u8, Wrong> {
        if self.0.is_empty() { Err(SHORT) } else { Ok(self.0.get_u8()) }
    }

    pub fn u16(&mut self) -> Result<u16, Wrong> {
        if self.0.len() < 2 { Err(SHORT) } else { Ok(self.0.get_u16()) }
    }

    fn u32(&mut self) -> Result<u32, Wrong> {
        if self.0.len() < 4 { Err(SHORT) } else { Ok(self.0.get_u32()) }
    }

    /// A packet identifier.
    pub fn id(&mut self) -> Result<u16, Wrong> {
        match self.u16()? {
            0 => Err("a packet identifier is zero"),
            id => Ok(id),
        }
    }

    pub fn bytes(&mut self) -> Result<Bytes, Wrong> {
        let length = usize::from(self.u16()?);
        if self.0.len() < length { Err(SHORT) } else { Ok(self.0.split_to(length)) }
    }

    pub fn text(&mut self) -> Result<String, Wrong> {
        let text = String::from_utf8(self.bytes()?.into()).map_err(|_| "a text is not UTF-8")?;
        if text.contains('\0') { Err("a text has a zero character in it") } else { Ok(text) }
    }

    fn variable(&mut self) -> Result<u32, Wrong> {
        match variable(&self.0)? {
            Some((value, length)) => {
                self.0.advance(length);
                Ok(value)
            }
            None => Err(SHORT),
        }
    }

    /// The section of the properties.
    pub fn properties(&mut self) -> Result<Self, Wrong> {
        let length = self.variable()? as usize;
        if self.0.len() < length {
            return Err("the properties are longer than their packet");
        }
        Ok(Self(self.0.split_to(length)))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn end(&self) -> Result<(), Wrong> {
        if self.0.is_empty() { Ok(()) } else { Err("a packet has bytes after its end") }
    }
}

/// A variable byte integer at the front of `bytes`, and how long it is; `None` while it is incomplete.
pub(super) fn variable(bytes: &[u8]) -> Result<Option<(u32, usize)>, Wrong> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            if index > 0 && *byte == 0 {
                return Err("a length takes more bytes than it needs");
            }
            return Ok(Some((value, index + 1)));
        }
    }
    if bytes.len() < 4 { Ok(None) } else { Err("a length takes more than four bytes") }
}

/// One property.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Property {
    Byte(u8),
    Two(u16),
    Four(u32),
    Variable(u32),
    Text(String),
    Data(Bytes),
    Pair(String, String),
}

macro_rules! identifiers {
    ($($name:ident = $value:expr;)+) => {
        $(pub(super) const $name: u8 = $value;)+
    };
}

identifiers! {
    PAYLOAD_FORMAT = 0x01;
    MESSAGE_EXPIRY = 0x02;
    CONTENT_TYPE = 0x03;
    RESPONSE_TOPIC = 0x08;
    CORRELATION_DATA = 0x09;
    SUBSCRIPTION_ID = 0x0B;
    SESSION_EXPIRY = 0x11;
    ASSIGNED_CLIENT_ID = 0x12;
    SERVER_KEEPALIVE = 0x13;
    AUTH_METHOD = 0x15;
    AUTH_DATA = 0x16;
    REQUEST_PROBLEM = 0x17;
    WILL_DELAY = 0x18;
    REQUEST_RESPONSE = 0x19;
    RESPONSE_INFORMATION = 0x1A;
    SERVER_REFERENCE = 0x1C;
    REASON = 0x1F;
    RECEIVE_MAXIMUM = 0x21;
    TOPIC_ALIAS_MAXIMUM = 0x22;
    TOPIC_ALIAS = 0x23;
    MAXIMUM_QOS = 0x24;
    RETAIN_AVAILABLE = 0x25;
    USER = 0x26;
    MAXIMUM_PACKET_SIZE = 0x27;
    WILDCARDS_AVAILABLE = 0x28;
    SUBSCRIPTION_IDS_AVAILABLE = 0x29;
    SHARED_AVAILABLE = 0x2A;
}

/// Where a property may stand: the types of the packets, and of the will.
const WILL: u8 = 15;

fn may_stand_in(id: u8, packet: u8) -> bool {
    match id {
        PAYLOAD_FORMAT | MESSAGE_EXPIRY | CONTENT_TYPE | RESPONSE_TOPIC | CORRELATION_DATA => {
            matches!(packet, 3 | WILL)
        }
        SUBSCRIPTION_ID => matches!(packet, 3 | 8),
        SESSION_EXPIRY => matches!(packet, 1 | 2 | 14),
        ASSIGNED_CLIENT_ID
        | SERVER_KEEPALIVE
        | RESPONSE_INFORMATION
        | MAXIMUM_QOS
        | RETAIN_AVAILABLE
        | WILDCARDS_AVAILABLE
        | SUBSCRIPTION_IDS_AVAILABLE
        | SHARED_AVAILABLE => packet == 2,
        AUTH_METHOD | AUTH_DATA | RECEIVE_MAXIMUM | TOPIC_ALIAS_MAXIMUM | MAXIMUM_PACKET_SIZE => {
            matches!(packet, 1 | 2)
        }
        REQUEST_PROBLEM | REQUEST_RESPONSE => packet == 1,
        WILL_DELAY => packet == WILL,
        SERVER_REFERENCE => matches!(packet, 2 | 14),
        REASON => matches!(packet, 2 | 4..=7 | 9 | 11 | 14),
        TOPIC_ALIAS => packet == 3,
        USER => true,
        _ => false,
    }
}

/// Reads the properties of a packet of this type (of the will: `None`), and hands each one over.
///
/// What may stand there, how often, and the ranges of values are checked here (table 2-4).
pub(super) fn read(
    section: &mut Reader,
    packet: Option<u8>,
    mut take: impl FnMut(u8, Property) -> Result<(), Wrong>,
) -> Result<(), Wrong> {
    let mut seen = 0_u64;
    while !section.is_empty() {
        let id = section.u8()?;
        if !may_stand_in(id, packet.unwrap_or(WILL)) {
            return Err("a packet has a property that it must not have");
        }
        let repeats = id == USER || (id == SUBSCRIPTION_ID && packet == Some(3));
        if seen & (1 << id) != 0 && !repeats {
            return Err("a packet has a property twice");
        }
        seen |= 1 << id;
        let property = match id {
            PAYLOAD_FORMAT
            | REQUEST_PROBLEM
            | REQUEST_RESPONSE
            | MAXIMUM_QOS
            | RETAIN_AVAILABLE
            | WILDCARDS_AVAILABLE
            | SUBSCRIPTION_IDS_AVAILABLE
            | SHARED_AVAILABLE => match section.u8()? {
                value @ (0 | 1) => Property::Byte(value),
                _ => return Err("a property that is 0 or 1 has another value"),
            },
            SERVER_KEEPALIVE | TOPIC_ALIAS_MAXIMUM => Property::Two(section.u16()?),
            RECEIVE_MAXIMUM | TOPIC_ALIAS => match section.u16()? {
                0 => return Err("a property that must not be zero is zero"),
                value => Property::Two(value),
            },
            MAXIMUM_PACKET_SIZE => match section.u32()? {
                0 => return Err("a property that must not be zero is zero"),
                value => Property::Four(value),
            },
            MESSAGE_EXPIRY | SESSION_EXPIRY | WILL_DELAY => Property::Four(section.u32()?),
            SUBSCRIPTION_ID => match section.variable()? {
                0 => return Err("a property that must not be zero is zero"),
                value => Property::Variable(value),
            },
            CORRELATION_DATA | AUTH_DATA => Property::Data(section.bytes()?),
            USER => Property::Pair(section.text()?, section.text()?),
            _ => Property::Text(section.text()?),
        };
        take(id, property)?;
    }
    Ok(())
}

/// How many bytes a variable byte integer takes.
pub(super) fn variable_len(value: usize) -> usize {
    match value {
        0..=127 => 1,
        128..=16_383 => 2,
        16_384..=2_097_151 => 3,
        _ => 4,
    }
}

pub(super) fn put_variable(buffer: &mut BytesMut, value: usize) -> Result<(), Wrong> {
    if value > MAX_VARIABLE as usize {
        return Err("a packet is larger than MQTT can express");
    }
    let mut rest = value;
    loop {
        let byte = u8::try_from(rest % 128).unwrap_or(0);
        rest /= 128;
        if rest == 0 {
            buffer.put_u8(byte);
            return Ok(());
        }
        buffer.put_u8(byte | 128);
    }
}

pub(super) fn put_data(buffer: &mut BytesMut, data: &[u8]) -> Result<(), Wrong> {
    let length = u16::try_from(data.len()).map_err(|_| "a text is longer than 65,535 bytes")?;
    buffer.put_u16(length);
    buffer.extend_from_slice(data);
    Ok(())
}

/// Properties to be written: collected, so that their length is known before them.
#[derive(Default)]
pub(super) struct Section(BytesMut);

impl Section {
    pub fn byte(&mut self, id: u8, value: Option<u8>) {
        if let Some(value) = value {
            self.0.extend_from_slice(&[id, value]);
        }
    }

    pub fn two(&mut self, id: u8, value: Option<u16>) {
        if let Some(value) = value {
            self.0.put_u8(id);
            self.0.put_u16(value);
        }
    }

    pub fn four(&mut self, id: u8, value: Option<u32>) {
        if let Some(value) = value {
            self.0.put_u8(id);
            self.0.put_u32(value);
        }
    }

    pub fn variable(&mut self, id: u8, value: u32) -> Result<(), Wrong> {
        self.0.put_u8(id);
        put_variable(&mut self.0, value as usize)
    }

    pub fn data(&mut self, id: u8, data: Option<&[u8]>) -> Result<(), Wrong> {
        let Some(data) = data else { return Ok(()) };
        self.0.put_u8(id);
        put_data(&mut self.0, data)
    }

    pub fn pair(&mut self, name: &str, value: &str) -> Result<(), Wrong> {
        self.data(USER, Some(name.as_bytes()))?;
        put_data(&mut self.0, value.as_bytes())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of the section with its length.
    pub fn len(&self) -> usize {
        variable_len(self.0.len()) + self.0.len()
    }

    pub fn put(&self, buffer: &mut BytesMut) -> Result<(), Wrong> {
        put_variable(buffer, self.0.len())?;
        buffer.extend_from_slice(&self.0);
        Ok(())
    }
}
