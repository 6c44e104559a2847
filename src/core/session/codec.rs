//! Packets to bytes and back: the one file that names rumqttc.
//!
//! rumqttc supplies the encoding of MQTT 3.1.1 and nothing else; MQTT 5 is in `v5`. Where rumqttc is laxer than
//! the specification, this module or `protocol` checks.

mod properties;
mod reasons;
mod v5;

use bytes::BytesMut;
use rumqttc::mqttbytes::{self, v4};

use super::message::{Message, QoS};
use super::packet::{Connect, Packet, PacketId, Reason, Version};
pub use reasons::{in_words, refusal_in_words, with_details};

/// The largest packet that MQTT can express: what four bytes of remaining length say (section 2.2.3).
pub const MAX_REMAINING_LENGTH: usize = 268_435_455;

/// Bytes that are not MQTT, or a packet over the limit: the connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The broker announced a packet larger than we accept.
    #[error("the broker sent a packet of {size} bytes; this session accepts {limit} at most")]
    TooLarge {
        /// Bytes announced.
        size: usize,
        /// Bytes accepted.
        limit: usize,
    },
    /// Anything else that is not a packet.
    #[error("the broker sent bytes that are not {version} ({reason})", version = .0.name(), reason = .1)]
    Malformed(Version, String),
}

impl CodecError {
    fn malformed(reason: impl Into<String>) -> Self {
        Self::Malformed(Version::V311, reason.into())
    }

    fn malformed5(reason: impl Into<String>) -> Self {
        Self::Malformed(Version::V5, reason.into())
    }
}

/// Takes the next whole packet off the front of `buffer`; `None` while it is incomplete.
///
/// # Errors
/// [`CodecError`]: the stream cannot be read any further.
pub fn decode(buffer: &mut BytesMut, limit: usize, version: Version) -> Result<Option<Packet>, CodecError> {
    if version == Version::V5 {
        return v5::decode(buffer, limit);
    }
    check_header(buffer)?;
    let packet = match v4::Packet::read(buffer, limit) {
        Ok(packet) => packet,
        Err(mqttbytes::Error::InsufficientBytes(_)) => return Ok(None),
        Err(mqttbytes::Error::PayloadSizeLimitExceeded(size)) => {
            return Err(CodecError::TooLarge { size, limit });
        }
        Err(mqttbytes::Error::InvalidConnectReturnCode(code)) => {
            return Ok(Some(Packet::ConnAck(false, code, None)));
        }
        Err(error) => return Err(CodecError::malformed(error.to_string())),
    };
    Ok(Some(match packet {
        v4::Packet::Connect(connect) => Packet::Connect(Connect {
            properties: None,
            client_id: connect.client_id,
            clean_session: connect.clean_session,
            keepalive: connect.keep_alive,
            will: connect.last_will.map(|will| super::packet::Will {
                topic: will.topic,
                payload: will.message.to_vec(),
                qos: from_wire(will.qos),
                retain: will.retain,
            }),
            login: connect.login.map(|login| (login.username, login.password)),
        }),
        v4::Packet::ConnAck(ack) => Packet::ConnAck(ack.session_present, ack.code as u8, None),
        v4::Packet::Publish(publish) => {
            let id = (publish.pkid != 0).then_some(publish.pkid);
            let message = Message {
                topic: publish.topic,
                payload: publish.payload,
                qos: from_wire(publish.qos),
                retain: publish.retain,
                dup: publish.dup,
                properties: None,
            };
            Packet::Publish(message, id)
        }
        v4::Packet::PubAck(ack) => Packet::PubAck(ack.pkid, Reason::SUCCESS),
        v4::Packet::PubRec(ack) => Packet::PubRec(ack.pkid, Reason::SUCCESS),
        v4::Packet::PubRel(ack) => Packet::PubRel(ack.pkid),
        v4::Packet::PubComp(ack) => Packet::PubComp(ack.pkid),
        v4::Packet::Subscribe(subscribe) => Packet::Subscribe(
            subscribe.pkid,
            subscribe.filters.into_iter().map(|filter| (filter.path, from_wire(filter.qos).into())).collect(),
        ),
        v4::Packet::SubAck(ack) => Packet::SubAck(
            ack.pkid,
            ack.return_codes
                .into_iter()
                .map(|code| match code {
                    v4::SubscribeReasonCode::Success(qos) => Ok(from_wire(qos)),
                    v4::SubscribeReasonCode::Failure => Err(0x80),
                })
                .collect(),
            None,
        ),
        v4::Packet::Unsubscribe(unsubscribe) => Packet::Unsubscribe(unsubscribe.pkid, unsubscribe.topics),
        v4::Packet::UnsubAck(ack) => Packet::UnsubAck(ack.pkid, Vec::new()),
        v4::Packet::PingReq => Packet::PingReq,
        v4::Packet::PingResp => Packet::PingResp,
        v4::Packet::Disconnect => Packet::Disconnect(None),
    }))
}

/// What rumqttc does not look at: reserved flags, and the length of packets that have only one. Whoever answers
/// CONNECT in another language is found out by the first byte.
fn check_header(buffer: &[u8]) -> Result<(), CodecError> {
    let Some(first) = buffer.first() else { return Ok(()) };
    let (kind, flags) = (first >> 4, first & 0x0f);
    let good = match kind {
        0 | 15 => false,
        3 => true,
        6 | 8 | 10 => flags == 2,
        _ => flags == 0,
    };
    if !good {
        return Err(CodecError::malformed(format!("no packet begins with the byte {first:#04x}")));
    }
    let length = match kind {
        2 | 4..=7 | 11 => 2,
        12..=14 => 0,
        _ => return Ok(()),
    };
    match buffer.get(1) {
        Some(second) if *second != length => {
            Err(CodecError::malformed(format!("a packet of type {kind} has the wrong length")))
        }
        _ => Ok(()),
    }
}

/// Appends a packet to `buffer`.
///
/// Never fails for what the session sends: sizes and topics are checked before a message is admitted.
///
/// # Errors
/// [`CodecError::Malformed`], for a packet that MQTT cannot express.
pub fn encode(packet: &Packet, buffer: &mut BytesMut, version: Version) -> Result<(), CodecError> {
    if version == Version::V5 {
        return v5::encode(packet, buffer).map_err(CodecError::malformed5);
    }
    let packet = match packet {
        Packet::Connect(connect) => return encode_connect(connect, buffer),
        Packet::ConnAck(present, code, _) => {
            // Only a test's broker sends it; rumqttc has no constructor from a number.
            buffer.extend_from_slice(&[0x20, 2, u8::from(*present), *code]);
            return Ok(());
        }
        Packet::Publish(message, id) => {
            let mut message = message.clone();
            return encode_publish(&mut message, id.unwrap_or(0), message_dup(packet), buffer, version);
        }
        Packet::PubAck(id, _) => v4::Packet::PubAck(v4::PubAck::new(*id)),
        Packet::PubRec(id, _) => v4::Packet::PubRec(v4::PubRec::new(*id)),
        Packet::PubRel(id) => v4::Packet::PubRel(v4::PubRel::new(*id)),
        Packet::PubComp(id) => v4::Packet::PubComp(v4::PubComp::new(*id)),
        Packet::Subscribe(id, filters) => {
            let mut subscribe = v4::Subscribe::new_many(
                filters.iter().map(|(path, how)| v4::SubscribeFilter::new(path.clone(), to_wire(how.qos))),
            );
            subscribe.pkid = *id;
            v4::Packet::Subscribe(subscribe)
        }
        Packet::SubAck(id, granted, _) => v4::Packet::SubAck(v4::SubAck::new(
            *id,
            granted
                .iter()
                .map(|grant| match grant {
                    Ok(qos) => v4::SubscribeReasonCode::Success(to_wire(*qos)),
                    Err(_) => v4::SubscribeReasonCode::Failure,
                })
                .collect(),
        )),
        Packet::Unsubscribe(id, topics) => {
            v4::Packet::Unsubscribe(v4::Unsubscribe { pkid: *id, topics: topics.clone() })
        }
        Packet::UnsubAck(id, _) => v4::Packet::UnsubAck(v4::UnsubAck::new(*id)),
        Packet::PingReq => v4::Packet::PingReq,
        Packet::PingResp => v4::Packet::PingResp,
        Packet::Disconnect(_) => v4::Packet::Disconnect,
    };
    packet.write(buffer, usize::MAX).map(drop).map_err(|error| CodecError::malformed(error.to_string()))
}

/// Appends a PUBLISH to `buffer` without copying the message: its topic is lent to rumqttc and comes back.
///
/// # Errors
/// As [`encode`].
pub fn encode_publish(
    message: &mut Message,
    id: PacketId,
    dup: bool,
    buffer: &mut BytesMut,
    version: Version,
) -> Result<(), CodecError> {
    if version == Version::V5 {
        return v5::encode_publish(message, id, dup, buffer).map_err(CodecError::malformed5);
    }
    let publish = v4::Publish {
        dup,
        qos: to_wire(message.qos),
        retain: message.retain,
        topic: std::mem::take(&mut message.topic),
        pkid: id,
        payload: message.payload.clone(),
    };
    let written = publish.write(buffer);
    message.topic = publish.topic;
    written.map(drop).map_err(|error| CodecError::malformed(error.to_string()))
}

/// Bytes of the PUBLISH of a message in MQTT 5.
pub fn publish_size(message: &Message) -> usize {
    v5::publish_size(message)
}

fn encode_connect(connect: &Connect, buffer: &mut BytesMut) -> Result<(), CodecError> {
    let wire = v4::Connect {
        protocol: mqttbytes::Protocol::V4,
        keep_alive: connect.keepalive,
        client_id: connect.client_id.clone(),
        clean_session: connect.clean_session,
        last_will: connect
            .will
            .as_ref()
            .map(|will| v4::LastWill::new(&will.topic, will.payload.clone(), to_wire(will.qos), will.retain)),
        login: connect.login.as_ref().map(|(user, password)| v4::Login::new(user, password)),
    };
    // rumqttc patches the flags at an offset from the start of the buffer: give it one of its own.
    let mut own = BytesMut::new();
    wire.write(&mut own).map_err(|error| CodecError::malformed(error.to_string()))?;
    buffer.extend_from_slice(&own);
    Ok(())
}

fn message_dup(packet: &Packet) -> bool {
    matches!(packet, Packet::Publish(message, _) if message.dup)
}

fn to_wire(qos: QoS) -> mqttbytes::QoS {
    match qos {
        QoS::AtMostOnce => mqttbytes::QoS::AtMostOnce,
        QoS::AtLeastOnce => mqttbytes::QoS::AtLeastOnce,
        QoS::ExactlyOnce => mqttbytes::QoS::ExactlyOnce,
    }
}

fn from_wire(qos: mqttbytes::QoS) -> QoS {
    match qos {
        mqttbytes::QoS::AtMostOnce => QoS::AtMostOnce,
        mqttbytes::QoS::AtLeastOnce => QoS::AtLeastOnce,
        mqttbytes::QoS::ExactlyOnce => QoS::ExactlyOnce,
    }
}
