//! mqtt-protocol-core, in the terms of our packets: what it reads, and what it writes.

use std::fmt::Debug;
use std::panic::catch_unwind;
use std::sync::Arc;

use bytes::Bytes;
use miqro::core::session::message::{Message, Properties, QoS};
use miqro::core::session::packet::{
    ConnAckProperties, Connect, ConnectProperties, Disconnect, Packet, Reason, Subscription, Version, Will,
};
use mqtt_protocol_core::mqtt::packet::{self as theirs};
use mqtt_protocol_core::mqtt::packet::{
    DecodeResult, PayloadFormat, Property, Qos, VariableByteInteger, v3_1_1, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{self as code, MqttError};

type Read = Result<Packet, String>;

/// What it makes of one packet. Bytes that are missing or too many are an error too.
pub fn read(bytes: &[u8], version: Version) -> Read {
    catch_unwind(|| read_packet(bytes, version)).unwrap_or_else(|_| Err("it panics".into()))
}

fn read_packet(bytes: &[u8], version: Version) -> Read {
    let (first, rest) = bytes.split_first().ok_or("nothing")?;
    let (length, taken) = match VariableByteInteger::decode_stream(rest) {
        DecodeResult::Ok(length, taken) => (length.to_u32() as usize, taken),
        other => return Err(format!("{other:?}")),
    };
    let body = &rest[taken..];
    if body.len() != length {
        return Err(format!("{} bytes instead of {length}", body.len()));
    }
    if version == Version::V5 { read_5(*first, body) } else { read_311(*first, body) }
}

/// As its connection does it: the whole body is to be used.
fn whole<T>(body: &[u8], parse: impl FnOnce(&[u8]) -> Result<(T, usize), MqttError>) -> Result<T, String> {
    match parse(body) {
        Ok((packet, used)) if used == body.len() => Ok(packet),
        Ok(_) => Err("bytes are left".into()),
        Err(error) => Err(format!("{error:?}")),
    }
}

fn qos(qos: Qos) -> QoS {
    QoS::try_from(qos as u8).unwrap()
}

fn wire_qos(qos: QoS) -> Qos {
    Qos::try_from(qos as u8).unwrap()
}

fn their<T: TryFrom<u8, Error: Debug>>(code: u8) -> T {
    T::try_from(code).unwrap()
}

macro_rules! connect {
    ($connect:expr, $clean:ident, $properties:expr) => {{
        let connect = $connect;
        let will = connect.will_topic().map(|topic| Will {
            topic: topic.into(),
            payload: connect.will_payload().unwrap_or_default().to_vec(),
            qos: qos(connect.will_qos()),
            retain: connect.will_retain(),
        });
        let login = connect.user_name().map(|user| {
            let password = String::from_utf8(connect.password().unwrap_or_default().to_vec());
            Ok((user.into(), password.map_err(|_| "a password that is not UTF-8")?))
        });
        Packet::Connect(Connect {
            properties: $properties,
            client_id: connect.client_id().into(),
            clean_session: connect.$clean(),
            keepalive: connect.keep_alive(),
            will,
            login: login.transpose().map_err(|error: &str| error.to_owned())?,
        })
    }};
}

macro_rules! publish {
    ($publish:expr, $properties:expr) => {{
        let publish = $publish;
        let message = Message {
            topic: publish.topic_name().into(),
            payload: Bytes::copy_from_slice(publish.payload().as_slice()),
            qos: qos(publish.qos()),
            retain: publish.retain(),
            dup: publish.dup(),
            properties: $properties,
        };
        Packet::Publish(message, publish.packet_id())
    }};
}

fn granted(codes: impl IntoIterator<Item = u8>) -> Vec<Result<QoS, u8>> {
    codes.into_iter().map(QoS::try_from).collect()
}

fn read_311(first: u8, body: &[u8]) -> Read {
    Ok(match first >> 4 {
        1 => {
            let connect = whole(body, v3_1_1::Connect::parse)?;
            connect!(connect, clean_session, None)
        }
        2 => {
            let ack = whole(body, v3_1_1::Connack::parse)?;
            Packet::ConnAck(ack.session_present(), ack.return_code() as u8, None)
        }
        3 => publish!(whole(body, |body| v3_1_1::Publish::parse(first & 15, Arc::from(body)))?, None),
        4 => Packet::PubAck(whole(body, v3_1_1::Puback::parse)?.packet_id(), Reason::SUCCESS),
        5 => Packet::PubRec(whole(body, v3_1_1::Pubrec::parse)?.packet_id(), Reason::SUCCESS),
        6 => Packet::PubRel(whole(body, v3_1_1::Pubrel::parse)?.packet_id()),
        7 => Packet::PubComp(whole(body, v3_1_1::Pubcomp::parse)?.packet_id()),
        8 => {
            let subscribe = whole(body, v3_1_1::Subscribe::parse)?;
            let filters = subscribe
                .entries()
                .iter()
                .map(|entry| (entry.topic_filter().into(), qos(entry.sub_opts().qos()).into()));
            Packet::Subscribe(subscribe.packet_id(), filters.collect())
        }
        9 => {
            let ack = whole(body, v3_1_1::Suback::parse)?;
            let codes = ack.return_codes().into_iter().map(|code| code as u8);
            Packet::SubAck(ack.packet_id(), granted(codes), None)
        }
        10 => {
            let unsubscribe = whole(body, v3_1_1::Unsubscribe::parse)?;
            let filters = unsubscribe.entries().iter().map(|filter| filter.as_str().into()).collect();
            Packet::Unsubscribe(unsubscribe.packet_id(), filters)
        }
        11 => Packet::UnsubAck(whole(body, v3_1_1::Unsuback::parse)?.packet_id(), Vec::new()),
        12 => whole(body, v3_1_1::Pingreq::parse).map(|_| Packet::PingReq)?,
        13 => whole(body, v3_1_1::Pingresp::parse).map(|_| Packet::PingResp)?,
        14 => whole(body, v3_1_1::Disconnect::parse).map(|_| Packet::Disconnect(None))?,
        kind => return Err(format!("no packet of type {kind}")),
    })
}

/// Code and words of an acknowledgement.
macro_rules! reason {
    ($ack:expr) => {{
        let ack = &$ack;
        Reason {
            code: ack.reason_code().map_or(0, |code| code as u8),
            text: words(ack.props().iter().flatten()),
        }
    }};
}

fn words<'a>(properties: impl IntoIterator<Item = &'a Property>) -> Option<Box<str>> {
    properties.into_iter().find_map(|property| match property {
        Property::ReasonString(text) => Some(text.val().into()),
        _ => None,
    })
}

fn read_5(first: u8, body: &[u8]) -> Read {
    Ok(match first >> 4 {
        1 => {
            let connect = whole(body, v5_0::Connect::parse)?;
            let mut properties = ConnectProperties::default();
            for property in connect.props() {
                match property {
                    Property::SessionExpiryInterval(seconds) => properties.session_expiry = seconds.val(),
                    Property::ReceiveMaximum(count) => properties.receive_maximum = Some(count.val()),
                    Property::MaximumPacketSize(size) => properties.maximum_packet_size = Some(size.val()),
                    _ => {}
                }
            }
            connect!(connect, clean_start, Some(Box::new(properties)))
        }
        2 => {
            let ack = whole(body, v5_0::Connack::parse)?;
            let terms = Some(Box::new(terms_read(ack.props())));
            Packet::ConnAck(ack.session_present(), ack.reason_code() as u8, terms)
        }
        3 => {
            let publish = whole(body, |body| v5_0::Publish::parse(first & 15, Arc::from(body)))?;
            let properties =
                (!publish.props().is_empty()).then(|| Box::new(properties_read(publish.props())));
            publish!(publish, properties)
        }
        4 => {
            let ack = whole(body, v5_0::Puback::parse)?;
            Packet::PubAck(ack.packet_id(), reason!(ack))
        }
        5 => {
            let ack = whole(body, v5_0::Pubrec::parse)?;
            Packet::PubRec(ack.packet_id(), reason!(ack))
        }
        6 => Packet::PubRel(whole(body, v5_0::Pubrel::parse)?.packet_id()),
        7 => Packet::PubComp(whole(body, v5_0::Pubcomp::parse)?.packet_id()),
        8 => {
            let subscribe = whole(body, v5_0::Subscribe::parse)?;
            let filters = subscribe.entries().iter().map(|entry| {
                let how = Subscription::from_byte(entry.sub_opts().to_buffer()[0]).unwrap();
                (entry.topic_filter().into(), how)
            });
            Packet::Subscribe(subscribe.packet_id(), filters.collect())
        }
        9 => {
            let ack = whole(body, v5_0::Suback::parse)?;
            let codes = ack.reason_codes().into_iter().map(|code| code as u8);
            Packet::SubAck(ack.packet_id(), granted(codes), words(ack.props()))
        }
        10 => {
            let unsubscribe = whole(body, v5_0::Unsubscribe::parse)?;
            let filters = unsubscribe.entries().iter().map(|filter| filter.as_str().into()).collect();
            Packet::Unsubscribe(unsubscribe.packet_id(), filters)
        }
        11 => {
            let ack = whole(body, v5_0::Unsuback::parse)?;
            Packet::UnsubAck(ack.packet_id(), ack.reason_codes().into_iter().map(|code| code as u8).collect())
        }
        12 => whole(body, v5_0::Pingreq::parse).map(|_| Packet::PingReq)?,
        13 => whole(body, v5_0::Pingresp::parse).map(|_| Packet::PingResp)?,
        14 => {
            let goodbye = whole(body, v5_0::Disconnect::parse)?;
            let server_reference = goodbye.props().iter().flatten().find_map(|property| match property {
                Property::ServerReference(text) => Some(text.val().into()),
                _ => None,
            });
            let goodbye = Disconnect { reason: reason!(goodbye), server_reference };
            Packet::Disconnect((goodbye != Disconnect::default()).then(|| Box::new(goodbye)))
        }
        kind => return Err(format!("no packet of type {kind} that we know")),
    })
}

fn terms_read(properties: &[Property]) -> ConnAckProperties {
    let mut all = ConnAckProperties::default();
    for property in properties {
        match property {
            Property::SessionExpiryInterval(seconds) => all.session_expiry = Some(seconds.val()),
            Property::ReceiveMaximum(count) => all.receive_maximum = count.val(),
            Property::MaximumQos(qos) => all.maximum_qos = QoS::try_from(qos.val()).unwrap(),
            Property::RetainAvailable(truth) => all.retain_available = truth.val() == 1,
            Property::MaximumPacketSize(size) => all.maximum_packet_size = Some(size.val()),
            Property::AssignedClientIdentifier(text) => all.assigned_client_id = Some(text.val().into()),
            Property::ReasonString(text) => all.reason = Some(text.val().into()),
            Property::WildcardSubscriptionAvailable(truth) => all.wildcards_available = truth.val() == 1,
            Property::SharedSubscriptionAvailable(truth) => all.shared_available = truth.val() == 1,
            Property::ServerKeepAlive(seconds) => all.server_keepalive = Some(seconds.val()),
            Property::ServerReference(text) => all.server_reference = Some(text.val().into()),
            _ => {}
        }
    }
    all
}

fn properties_read(properties: &[Property]) -> Properties {
    let mut all = Properties::default();
    for property in properties {
        match property {
            Property::PayloadFormatIndicator(format) => {
                all.is_text = Some(format.val() == PayloadFormat::String as u8);
            }
            Property::MessageExpiryInterval(seconds) => all.expiry = Some(seconds.val()),
            Property::ContentType(text) => all.content_type = Some(text.val().into()),
            Property::ResponseTopic(text) => all.response_topic = Some(text.val().into()),
            Property::CorrelationData(data) => {
                all.correlation_data = Some(Bytes::copy_from_slice(data.val()));
            }
            Property::SubscriptionIdentifier(id) => all.subscription_ids.push(id.val()),
            Property::UserProperty(pair) => all.user.push((pair.key().into(), pair.val().into())),
            _ => {}
        }
    }
    all
}

// ---- writing ---------------------------------------------------------------------------------------------

/// Properties to be written, where they are given.
#[derive(Default)]
struct Section(Vec<Property>);

impl Section {
    fn add<T, P: Into<Property>>(&mut self, value: Option<T>, make: impl FnOnce(T) -> Result<P, MqttError>) {
        self.0.extend(value.map(|value| make(value).unwrap().into()));
    }
}

fn terms_written(terms: &ConnAckProperties) -> Vec<Property> {
    let mut all = Section::default();
    let no = |available: bool| (!available).then_some(0);
    all.add(terms.session_expiry, theirs::SessionExpiryInterval::new);
    all.add(Some(terms.receive_maximum), theirs::ReceiveMaximum::new);
    all.add(Some(terms.maximum_qos as u8).filter(|qos| *qos < 2), theirs::MaximumQos::new);
    all.add(no(terms.retain_available), theirs::RetainAvailable::new);
    all.add(terms.maximum_packet_size, theirs::MaximumPacketSize::new);
    all.add(terms.assigned_client_id.as_deref(), theirs::AssignedClientIdentifier::new);
    all.add(terms.reason.as_deref(), theirs::ReasonString::new);
    all.add(no(terms.wildcards_available), theirs::WildcardSubscriptionAvailable::new);
    all.add(no(terms.shared_available), theirs::SharedSubscriptionAvailable::new);
    all.add(terms.server_keepalive, theirs::ServerKeepAlive::new);
    all.add(terms.server_reference.as_deref(), theirs::ServerReference::new);
    // What we make no use of.
    all.add(Some(7), theirs::TopicAliasMaximum::new);
    all.add(Some(("who", "they")), |(name, value)| theirs::UserProperty::new(name, value));
    all.0
}

fn properties_written(properties: &Properties) -> Vec<Property> {
    let mut all = Section::default();
    let format = |is_text| if is_text { PayloadFormat::String } else { PayloadFormat::Binary };
    all.add(properties.is_text.map(format), theirs::PayloadFormatIndicator::new);
    all.add(properties.expiry, theirs::MessageExpiryInterval::new);
    all.add(properties.content_type.as_deref(), theirs::ContentType::new);
    all.add(properties.response_topic.as_deref(), theirs::ResponseTopic::new);
    all.add(properties.correlation_data.as_ref().map(|data| data.to_vec()), theirs::CorrelationData::new);
    for id in &properties.subscription_ids {
        all.add(Some(*id), theirs::SubscriptionIdentifier::new);
    }
    for (name, value) in &properties.user {
        all.add(Some((name.as_str(), value.as_str())), |(name, value)| {
            theirs::UserProperty::new(name, value)
        });
    }
    all.0
}

fn reason_written(reason: &Reason) -> Vec<Property> {
    let mut all = Section::default();
    all.add(reason.text.as_deref(), theirs::ReasonString::new);
    all.0
}

macro_rules! publish_written {
    ($kind:ty, $message:expr, $id:expr, |$builder:ident| $more:expr) => {{
        let message = $message;
        let mut $builder = <$kind>::builder()
            .topic_name(message.topic.as_str())
            .unwrap()
            .qos(wire_qos(message.qos))
            .retain(message.retain)
            .dup(message.dup)
            .payload(message.payload.as_ref());
        if let Some(id) = $id {
            $builder = $builder.packet_id(*id);
        }
        $more.build().unwrap().to_continuous_buffer()
    }};
}

/// A packet of a broker, as it writes it.
///
/// # Panics
/// It cannot, or the packet is one of a client.
pub fn written(packet: &Packet, version: Version) -> Vec<u8> {
    if version == Version::V5 { written_5(packet) } else { written_311(packet) }
}

fn written_311(packet: &Packet) -> Vec<u8> {
    macro_rules! ack {
        ($kind:ident, $id:expr) => {
            v3_1_1::$kind::builder().packet_id(*$id).build().unwrap().to_continuous_buffer()
        };
    }
    match packet {
        Packet::ConnAck(present, code, _) => v3_1_1::Connack::builder()
            .session_present(*present)
            .return_code(their(*code))
            .build()
            .unwrap()
            .to_continuous_buffer(),
        Packet::Publish(message, id) => publish_written!(v3_1_1::Publish, message, id, |builder| builder),
        Packet::PubAck(id, _) => ack!(Puback, id),
        Packet::PubRec(id, _) => ack!(Pubrec, id),
        Packet::PubRel(id) => ack!(Pubrel, id),
        Packet::PubComp(id) => ack!(Pubcomp, id),
        Packet::SubAck(id, granted, _) => {
            let codes = granted.iter().map(|grant| their::<code::SubackReturnCode>(byte(*grant)));
            v3_1_1::Suback::builder()
                .packet_id(*id)
                .return_codes(codes.collect())
                .build()
                .unwrap()
                .to_continuous_buffer()
        }
        Packet::UnsubAck(id, _) => ack!(Unsuback, id),
        Packet::PingResp => v3_1_1::Pingresp::builder().build().unwrap().to_continuous_buffer(),
        other => panic!("{other:?} is not a broker's"),
    }
}

fn byte(grant: Result<QoS, u8>) -> u8 {
    grant.map_or_else(|code| code, |qos| qos as u8)
}

fn written_5(packet: &Packet) -> Vec<u8> {
    macro_rules! ack {
        ($kind:ident, $id:expr, $reason:expr) => {{
            let (reason, builder) = ($reason, v5_0::$kind::builder().packet_id(*$id));
            let builder =
                if reason == &Reason::SUCCESS { builder } else { builder.reason_code(their(reason.code)) };
            let props = reason_written(reason);
            let builder = if props.is_empty() { builder } else { builder.props(props) };
            builder.build().unwrap().to_continuous_buffer()
        }};
    }
    match packet {
        Packet::ConnAck(present, code, terms) => v5_0::Connack::builder()
            .session_present(*present)
            .reason_code(their(*code))
            .props(terms_written(terms.as_deref().unwrap_or(&ConnAckProperties::default())))
            .build()
            .unwrap()
            .to_continuous_buffer(),
        Packet::Publish(message, id) => publish_written!(v5_0::Publish, message, id, |builder| {
            builder.props(message.properties.as_deref().map(properties_written).unwrap_or_default())
        }),
        Packet::PubAck(id, reason) => ack!(Puback, id, reason),
        Packet::PubRec(id, reason) => ack!(Pubrec, id, reason),
        Packet::PubRel(id) => ack!(Pubrel, id, &Reason::SUCCESS),
        Packet::PubComp(id) => ack!(Pubcomp, id, &Reason::SUCCESS),
        Packet::SubAck(id, granted, text) => {
            let codes = granted.iter().map(|grant| their::<code::SubackReasonCode>(byte(*grant)));
            v5_0::Suback::builder()
                .packet_id(*id)
                .reason_codes(codes.collect())
                .props(reason_written(&Reason { code: 0, text: text.clone() }))
                .build()
                .unwrap()
                .to_continuous_buffer()
        }
        Packet::UnsubAck(id, codes) => v5_0::Unsuback::builder()
            .packet_id(*id)
            .reason_codes(codes.iter().map(|code| their(*code)).collect())
            .build()
            .unwrap()
            .to_continuous_buffer(),
        Packet::PingResp => v5_0::Pingresp::builder().build().unwrap().to_continuous_buffer(),
        Packet::Disconnect(goodbye) => {
            let Some(goodbye) = goodbye else {
                return v5_0::Disconnect::builder().build().unwrap().to_continuous_buffer();
            };
            let mut props = Section(reason_written(&goodbye.reason));
            props.add(goodbye.server_reference.as_deref(), theirs::ServerReference::new);
            v5_0::Disconnect::builder()
                .reason_code(their(goodbye.reason.code))
                .props(props.0)
                .build()
                .unwrap()
                .to_continuous_buffer()
        }
        other => panic!("{other:?} is not a broker's"),
    }
}
