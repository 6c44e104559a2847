//! MQTT 5. rumqttc is not used for it: its reader refuses a DISCONNECT without properties, as brokers send it,
//! loses packets whose properties end too early, takes no reason code that it does not know, and checks neither
//! where a property stands nor its value. What is read here keeps to the specification, or is an error.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::super::message::{Message, Properties, QoS};
use super::super::packet::{
    ConnAckProperties, Connect, ConnectProperties, Disconnect, Packet, PacketId, Reason, Subscription, Will,
};
use super::CodecError;
use super::properties::{self as prop, Property, Reader, Section, Wrong, put_data, put_variable};
use super::reasons::is_known;

/// Takes the next whole packet off the front of `buffer`; `None` while it is incomplete.
pub(super) fn decode(buffer: &mut BytesMut, limit: usize) -> Result<Option<Packet>, CodecError> {
    let Some(first) = buffer.first().copied() else { return Ok(None) };
    let (kind, flags) = (first >> 4, first & 0x0f);
    let good = match kind {
        0 | 15 => false,
        3 => true,
        6 | 8 | 10 => flags == 2,
        _ => flags == 0,
    };
    if !good {
        return Err(CodecError::malformed5(format!("no packet begins with the byte {first:#04x}")));
    }
    let Some((length, taken)) = prop::variable(&buffer[1..]).map_err(CodecError::malformed5)? else {
        return Ok(None);
    };
    let length = length as usize;
    if length > limit {
        return Err(CodecError::TooLarge { size: length, limit });
    }
    if buffer.len() < 1 + taken + length {
        return Ok(None);
    }
    buffer.advance(1 + taken);
    let mut body = Reader(buffer.split_to(length).freeze());
    read(kind, flags, &mut body).map(Some).map_err(CodecError::malformed5)
}

fn read(kind: u8, flags: u8, body: &mut Reader) -> Result<Packet, Wrong> {
    let packet = match kind {
        1 => Packet::Connect(read_connect(body)?),
        2 => return read_connack(body),
        3 => return read_publish(flags, body),
        4..=7 => {
            let id = body.id()?;
            let reason = read_reason(kind, body)?.reason;
            match kind {
                4 => Packet::PubAck(id, reason),
                5 => Packet::PubRec(id, reason),
                6 => Packet::PubRel(id),
                _ => Packet::PubComp(id),
            }
        }
        8 => return read_subscribe(body),
        9 | 11 => {
            let id = body.id()?;
            let text = read_words(kind, &mut body.properties()?)?.reason.text;
            let codes = read_codes(kind, body)?;
            if kind == 9 {
                let granted = codes.into_iter().map(QoS::try_from).collect();
                Packet::SubAck(id, granted, text)
            } else {
                Packet::UnsubAck(id, codes)
            }
        }
        10 => {
            let id = body.id()?;
            prop::read(&mut body.properties()?, Some(10), |_, _| Ok(()))?;
            let mut filters = Vec::new();
            while !body.is_empty() {
                filters.push(body.text()?);
            }
            if filters.is_empty() {
                return Err("an UNSUBSCRIBE has no filter");
            }
            Packet::Unsubscribe(id, filters)
        }
        12 => Packet::PingReq,
        13 => Packet::PingResp,
        _ => {
            let goodbye = read_reason(14, body)?;
            Packet::Disconnect((goodbye != Disconnect::default()).then(|| Box::new(goodbye)))
        }
    };
    body.end()?;
    Ok(packet)
}

/// A reason code and the properties that go with it; both may be left out (sections 3.4.2.1, 3.14.2.1).
fn read_reason(kind: u8, body: &mut Reader) -> Result<Disconnect, Wrong> {
    if body.is_empty() {
        return Ok(Disconnect::default());
    }
    let code = body.u8()?;
    if !is_known(kind, code) {
        return Err("a reason code is not one of its packet");
    }
    let mut all = Disconnect::default();
    if !body.is_empty() {
        all = read_words(kind, &mut body.properties()?)?;
    }
    all.reason.code = code;
    Ok(all)
}

/// Properties of which only words are of interest.
fn read_words(kind: u8, section: &mut Reader) -> Result<Disconnect, Wrong> {
    let mut words = Disconnect::default();
    prop::read(section, Some(kind), |id, property| {
        match (id, property) {
            (prop::REASON, Property::Text(text)) => words.reason.text = Some(text.into()),
            (prop::SERVER_REFERENCE, Property::Text(text)) => words.server_reference = Some(text),
            _ => {}
        }
        Ok(())
    })?;
    Ok(words)
}

fn read_codes(kind: u8, body: &mut Reader) -> Result<Vec<u8>, Wrong> {
    let codes = body.0.split_off(0);
    if codes.is_empty() {
        return Err("an acknowledgement of subscriptions has no reason code");
    }
    if codes.iter().any(|code| !is_known(kind, *code)) {
        return Err("a reason code is not one of its packet");
    }
    Ok(codes.to_vec())
}

fn read_connack(body: &mut Reader) -> Result<Packet, Wrong> {
    let flags = body.u8()?;
    let code = body.u8()?;
    if body.is_empty() && matches!(code, 1..=5) {
        // A broker of 3.1.1 says no in its own language.
        return Ok(Packet::ConnAck(false, code, None));
    }
    if !is_known(2, code) {
        return Err("a reason code is not one of its packet");
    }
    if flags > 1 || (flags == 1 && code != 0) {
        return Err("CONNACK has flags that it must not have");
    }
    let mut all = ConnAckProperties::default();
    prop::read(&mut body.properties()?, Some(2), |id, property| {
        match (id, property) {
            (prop::SESSION_EXPIRY, Property::Four(seconds)) => all.session_expiry = Some(seconds),
            (prop::RECEIVE_MAXIMUM, Property::Two(count)) => all.receive_maximum = count,
            (prop::MAXIMUM_QOS, Property::Byte(qos)) => {
                all.maximum_qos = QoS::try_from(qos).unwrap_or(QoS::ExactlyOnce);
            }
            (prop::RETAIN_AVAILABLE, Property::Byte(truth)) => all.retain_available = truth == 1,
            (prop::MAXIMUM_PACKET_SIZE, Property::Four(size)) => all.maximum_packet_size = Some(size),
            (prop::ASSIGNED_CLIENT_ID, Property::Text(text)) => all.assigned_client_id = Some(text),
            (prop::REASON, Property::Text(text)) => all.reason = Some(text.into()),
            (prop::WILDCARDS_AVAILABLE, Property::Byte(truth)) => all.wildcards_available = truth == 1,
            (prop::SHARED_AVAILABLE, Property::Byte(truth)) => all.shared_available = truth == 1,
            (prop::SERVER_KEEPALIVE, Property::Two(seconds)) => all.server_keepalive = Some(seconds),
            (prop::SERVER_REFERENCE, Property::Text(text)) => all.server_reference = Some(text),
            (prop::AUTH_METHOD | prop::AUTH_DATA, _) => {
                return Err("the broker wants an authentication that was not offered");
            }
            // Subscription identifiers and response information are not used, aliases not sent.
            _ => {}
        }
        Ok(())
    })?;
    body.end()?;
    Ok(Packet::ConnAck(flags == 1, code, Some(Box::new(all))))
}

fn read_publish(flags: u8, body: &mut Reader) -> Result<Packet, Wrong> {
    let qos = QoS::try_from((flags >> 1) & 3).map_err(|_| "a message has the quality of service 3")?;
    let (dup, retain) = (flags & 8 != 0, flags & 1 != 0);
    if dup && qos == QoS::AtMostOnce {
        return Err("a message at QoS 0 says that it was sent before");
    }
    let topic = body.text()?;
    let id = if qos == QoS::AtMostOnce { None } else { Some(body.id()?) };
    let mut section = body.properties()?;
    let properties =
        if section.is_empty() { None } else { Some(Box::new(read_message_properties(&mut section, 3)?)) };
    let payload = body.0.split_off(0);
    Ok(Packet::Publish(Message { topic, payload, qos, retain, dup, properties }, id))
}

fn read_message_properties(section: &mut Reader, kind: u8) -> Result<Properties, Wrong> {
    let mut all = Properties::default();
    prop::read(section, (kind == 3).then_some(3), |id, property| {
        match (id, property) {
            (prop::PAYLOAD_FORMAT, Property::Byte(truth)) => all.is_text = Some(truth == 1),
            (prop::MESSAGE_EXPIRY, Property::Four(seconds)) => all.expiry = Some(seconds),
            (prop::CONTENT_TYPE, Property::Text(text)) => all.content_type = Some(text),
            (prop::RESPONSE_TOPIC, Property::Text(text)) => {
                if text.is_empty() || text.contains(['+', '#']) {
                    return Err("a response topic is empty or a filter");
                }
                all.response_topic = Some(text);
            }
            (prop::CORRELATION_DATA, Property::Data(data)) => all.correlation_data = Some(data),
            (prop::SUBSCRIPTION_ID, Property::Variable(id)) => all.subscription_ids.push(id),
            (prop::USER, Property::Pair(name, value)) => all.user.push((name, value)),
            (prop::TOPIC_ALIAS, _) => return Err("a message has a topic alias, and none were allowed"),
            _ => {}
        }
        Ok(())
    })?;
    Ok(all)
}

fn read_connect(body: &mut Reader) -> Result<Connect, Wrong> {
    if body.text()? != "MQTT" || body.u8()? != 5 {
        return Err("CONNECT is not of MQTT 5");
    }
    let flags = body.u8()?;
    if flags & 1 != 0 || (flags & 4 == 0 && flags & 0x38 != 0) {
        return Err("CONNECT has flags that it must not have");
    }
    let keepalive = body.u16()?;
    let mut properties = ConnectProperties::default();
    prop::read(&mut body.properties()?, Some(1), |id, property| {
        match (id, property) {
            (prop::SESSION_EXPIRY, Property::Four(seconds)) => properties.session_expiry = seconds,
            (prop::RECEIVE_MAXIMUM, Property::Two(count)) => properties.receive_maximum = Some(count),
            (prop::MAXIMUM_PACKET_SIZE, Property::Four(size)) => {
                properties.maximum_packet_size = Some(size);
            }
            _ => {}
        }
        Ok(())
    })?;
    let client_id = body.text()?;
    let will = if flags & 4 == 0 {
        None
    } else {
        prop::read(&mut body.properties()?, None, |_, _| Ok(()))?;
        let qos = QoS::try_from((flags >> 3) & 3).map_err(|_| "a will has the quality of service 3")?;
        let (topic, payload) = (body.text()?, body.bytes()?.to_vec());
        Some(Will { topic, payload, qos, retain: flags & 0x20 != 0 })
    };
    let login = if flags & 0x80 == 0 {
        None
    } else {
        let user = body.text()?;
        let password = if flags & 0x40 == 0 { Bytes::new() } else { body.bytes()? };
        Some((user, String::from_utf8(password.into()).map_err(|_| "a password is not UTF-8")?))
    };
    Ok(Connect {
        properties: Some(Box::new(properties)),
        client_id,
        clean_session: flags & 2 != 0,
        keepalive,
        will,
        login,
    })
}

fn read_subscribe(body: &mut Reader) -> Result<Packet, Wrong> {
    let id = body.id()?;
    prop::read(&mut body.properties()?, Some(8), |_, _| Ok(()))?;
    let mut filters = Vec::new();
    while !body.is_empty() {
        let filter = body.text()?;
        let subscription = Subscription::from_byte(body.u8()?)?;
        filters.push((filter, subscription));
    }
    if filters.is_empty() {
        return Err("a SUBSCRIBE has no filter");
    }
    Ok(Packet::Subscribe(id, filters))
}

// ---- writing ---------------------------------------------------------------------------------------------

/// Appends a packet to `buffer`.
pub(super) fn encode(packet: &Packet, buffer: &mut BytesMut) -> Result<(), Wrong> {
    let mut body = BytesMut::new();
    let first = match packet {
        Packet::Publish(message, id) => return encode_publish(message, id.unwrap_or(0), message.dup, buffer),
        Packet::Connect(connect) => write_connect(connect, &mut body)?,
        Packet::ConnAck(present, code, properties) => {
            body.extend_from_slice(&[u8::from(*present), *code]);
            let usual = ConnAckProperties::default();
            connack_section(properties.as_deref().unwrap_or(&usual))?.put(&mut body)?;
            0x20
        }
        Packet::PubAck(id, reason) => write_reason(0x40, Some(*id), reason, None, &mut body)?,
        Packet::PubRec(id, reason) => write_reason(0x50, Some(*id), reason, None, &mut body)?,
        Packet::PubRel(id) => write_reason(0x62, Some(*id), &Reason::SUCCESS, None, &mut body)?,
        Packet::PubComp(id) => write_reason(0x70, Some(*id), &Reason::SUCCESS, None, &mut body)?,
        Packet::Subscribe(id, filters) => {
            body.put_u16(*id);
            body.put_u8(0);
            for (filter, subscription) in filters {
                put_data(&mut body, filter.as_bytes())?;
                body.put_u8(subscription.byte());
            }
            0x82
        }
        Packet::SubAck(id, granted, text) => {
            body.put_u16(*id);
            words_section(text.as_deref(), None)?.put(&mut body)?;
            body.extend(granted.iter().map(|grant| grant.map_or_else(|code| code, |qos| qos as u8)));
            0x90
        }
        Packet::Unsubscribe(id, filters) => {
            body.put_u16(*id);
            body.put_u8(0);
            for filter in filters {
                put_data(&mut body, filter.as_bytes())?;
            }
            0xA2
        }
        Packet::UnsubAck(id, codes) => {
            body.put_u16(*id);
            body.put_u8(0);
            body.extend_from_slice(codes);
            0xB0
        }
        Packet::PingReq => 0xC0,
        Packet::PingResp => 0xD0,
        Packet::Disconnect(goodbye) => {
            let usual = Disconnect::default();
            let goodbye = goodbye.as_deref().unwrap_or(&usual);
            write_reason(0xE0, None, &goodbye.reason, goodbye.server_reference.as_deref(), &mut body)?
        }
    };
    buffer.put_u8(first);
    put_variable(buffer, body.len())?;
    buffer.extend_from_slice(&body);
    Ok(())
}

/// An acknowledgement or DISCONNECT, as short as it can be said.
fn write_reason(
    first: u8,
    id: Option<PacketId>,
    reason: &Reason,
    reference: Option<&str>,
    body: &mut BytesMut,
) -> Result<u8, Wrong> {
    if let Some(id) = id {
        body.put_u16(id);
    }
    let section = words_section(reason.text.as_deref(), reference)?;
    if reason.code != 0 || !section.is_empty() {
        body.put_u8(reason.code);
    }
    if !section.is_empty() {
        section.put(body)?;
    }
    Ok(first)
}

fn words_section(text: Option<&str>, reference: Option<&str>) -> Result<Section, Wrong> {
    let mut section = Section::default();
    section.data(prop::REASON, text.map(str::as_bytes))?;
    section.data(prop::SERVER_REFERENCE, reference.map(str::as_bytes))?;
    Ok(section)
}

fn write_connect(connect: &Connect, body: &mut BytesMut) -> Result<u8, Wrong> {
    put_data(body, b"MQTT")?;
    body.put_u8(5);
    let mut flags = u8::from(connect.clean_session) << 1;
    if let Some(will) = &connect.will {
        flags |= 4 | (will.qos as u8) << 3 | u8::from(will.retain) << 5;
    }
    if connect.login.is_some() {
        flags |= 0xC0;
    }
    body.put_u8(flags);
    body.put_u16(connect.keepalive);
    let mut section = Section::default();
    if let Some(properties) = &connect.properties {
        // Zero, the end of the session with its connection, need not be said.
        section.four(prop::SESSION_EXPIRY, Some(properties.session_expiry).filter(|seconds| *seconds > 0));
        section.two(prop::RECEIVE_MAXIMUM, properties.receive_maximum);
        section.four(prop::MAXIMUM_PACKET_SIZE, properties.maximum_packet_size);
    }
    section.put(body)?;
    put_data(body, connect.client_id.as_bytes())?;
    if let Some(will) = &connect.will {
        body.put_u8(0);
        put_data(body, will.topic.as_bytes())?;
        put_data(body, &will.payload)?;
    }
    if let Some((user, password)) = &connect.login {
        put_data(body, user.as_bytes())?;
        put_data(body, password.as_bytes())?;
    }
    Ok(0x10)
}

fn connack_section(properties: &ConnAckProperties) -> Result<Section, Wrong> {
    let mut section = Section::default();
    let text = |text: &Option<String>| text.as_ref().map(|text| text.clone().into_bytes());
    let no = |available: bool| (!available).then_some(0);
    section.four(prop::SESSION_EXPIRY, properties.session_expiry);
    section.two(prop::RECEIVE_MAXIMUM, Some(properties.receive_maximum).filter(|count| *count < u16::MAX));
    section.byte(
        prop::MAXIMUM_QOS,
        Some(properties.maximum_qos as u8).filter(|qos| *qos < QoS::ExactlyOnce as u8),
    );
    section.byte(prop::RETAIN_AVAILABLE, no(properties.retain_available));
    section.four(prop::MAXIMUM_PACKET_SIZE, properties.maximum_packet_size);
    section.data(prop::ASSIGNED_CLIENT_ID, text(&properties.assigned_client_id).as_deref())?;
    section.data(prop::REASON, properties.reason.as_deref().map(str::as_bytes))?;
    section.byte(prop::WILDCARDS_AVAILABLE, no(properties.wildcards_available));
    section.byte(prop::SHARED_AVAILABLE, no(properties.shared_available));
    section.two(prop::SERVER_KEEPALIVE, properties.server_keepalive);
    section.data(prop::SERVER_REFERENCE, text(&properties.server_reference).as_deref())?;
    Ok(section)
}

fn message_section(properties: Option<&Properties>) -> Result<Section, Wrong> {
    let mut section = Section::default();
    let Some(properties) = properties else { return Ok(section) };
    section.byte(prop::PAYLOAD_FORMAT, properties.is_text.map(u8::from));
    section.four(prop::MESSAGE_EXPIRY, properties.expiry);
    section.data(prop::CONTENT_TYPE, properties.content_type.as_ref().map(String::as_bytes))?;
    section.data(prop::RESPONSE_TOPIC, properties.response_topic.as_ref().map(String::as_bytes))?;
    section.data(prop::CORRELATION_DATA, properties.correlation_data.as_deref())?;
    for id in &properties.subscription_ids {
        section.variable(prop::SUBSCRIPTION_ID, *id)?;
    }
    for (name, value) in &properties.user {
        section.pair(name, value)?;
    }
    Ok(section)
}

fn publish_len(message: &Message, section: &Section) -> usize {
    let id = if message.qos == QoS::AtMostOnce { 0 } else { 2 };
    2 + message.topic.len() + id + section.len() + message.payload.len()
}

/// Bytes of the PUBLISH of a message. One that cannot be written has none.
pub(super) fn publish_size(message: &Message) -> usize {
    let section = message_section(message.properties.as_deref()).unwrap_or_default();
    let length = publish_len(message, &section);
    1 + prop::variable_len(length) + length
}

/// Appends a PUBLISH.
pub(super) fn encode_publish(
    message: &Message,
    id: PacketId,
    dup: bool,
    buffer: &mut BytesMut,
) -> Result<(), Wrong> {
    let section = message_section(message.properties.as_deref())?;
    let length = publish_len(message, &section);
    buffer.reserve(length + 5);
    buffer.put_u8(0x30 | u8::from(dup) << 3 | (message.qos as u8) << 1 | u8::from(message.retain));
    put_variable(buffer, length)?;
    put_data(buffer, message.topic.as_bytes())?;
    if message.qos != QoS::AtMostOnce {
        buffer.put_u16(id);
    }
    section.put(buffer)?;
    buffer.extend_from_slice(&message.payload);
    Ok(())
}
