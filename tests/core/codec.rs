//! Packets to bytes and back. What the encoder writes is read as what it was; what is cut short is waited for;
//! what is broken is an error. That it is never a panic, see `fuzz`.

use bytes::{Bytes, BytesMut};
use miqro::core::session::codec::{CodecError, decode, encode, encode_publish, publish_size};
use miqro::core::session::message::{Message, Properties, QoS};
use miqro::core::session::packet::{
    ConnAckProperties, Connect, ConnectProperties, Disconnect, Packet, Reason, Subscription, Version, Will,
};
use proptest::prelude::*;

const NO_LIMIT: usize = 1 << 28;

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z/]{1,20}", "\\PC{1,40}", Just("x".repeat(65_535))]
}

fn payload() -> impl Strategy<Value = Bytes> {
    // Around the lengths at which the remaining length takes another byte, too.
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        (100..140_usize).prop_map(|size| vec![7; size]),
        (16_350..16_400_usize).prop_map(|size| vec![8; size]),
    ]
    .prop_map(Bytes::from)
}

fn publish() -> impl Strategy<Value = Packet> {
    (text(), payload(), qos(), any::<bool>(), any::<bool>(), 1..=u16::MAX).prop_map(
        |(topic, payload, qos, retain, dup, id)| {
            let id = (qos != QoS::AtMostOnce).then_some(id);
            let dup = dup && id.is_some();
            Packet::Publish(Message { topic, payload, qos, retain, dup, properties: None }, id)
        },
    )
}

fn connect() -> impl Strategy<Value = Packet> {
    let will = (text(), prop::collection::vec(any::<u8>(), 0..40), qos(), any::<bool>())
        .prop_map(|(topic, payload, qos, retain)| Will { topic, payload, qos, retain });
    let login = prop::option::of((text(), text()));
    (text(), any::<bool>(), any::<u16>(), prop::option::of(will), login).prop_map(
        |(client_id, clean_session, keepalive, will, login)| {
            Packet::Connect(Connect { properties: None, client_id, clean_session, keepalive, will, login })
        },
    )
}

fn granted() -> impl Strategy<Value = Result<QoS, u8>> {
    prop_oneof![qos().prop_map(Ok), Just(Err(0x80))]
}

fn packet() -> impl Strategy<Value = Packet> {
    let id = 1..=u16::MAX;
    let filters = || prop::collection::vec(text(), 1..5);
    prop_oneof![
        connect(),
        (any::<bool>(), any::<u8>()).prop_map(|(present, code)| Packet::ConnAck(
            present && code == 0,
            code,
            None
        )),
        publish(),
        id.clone().prop_map(|id| Packet::PubAck(id, Reason::SUCCESS)),
        id.clone().prop_map(|id| Packet::PubRec(id, Reason::SUCCESS)),
        id.clone().prop_map(Packet::PubRel),
        id.clone().prop_map(Packet::PubComp),
        (id.clone(), prop::collection::vec((text(), qos().prop_map(Subscription::from)), 1..5))
            .prop_map(|(id, filters)| Packet::Subscribe(id, filters)),
        (id.clone(), prop::collection::vec(granted(), 1..5))
            .prop_map(|(id, granted)| Packet::SubAck(id, granted, None)),
        (id.clone(), filters()).prop_map(|(id, filters)| Packet::Unsubscribe(id, filters)),
        id.prop_map(|id| Packet::UnsubAck(id, Vec::new())),
        Just(Packet::PingReq),
        Just(Packet::PingResp),
        Just(Packet::Disconnect(None)),
    ]
}

fn words() -> impl Strategy<Value = Option<Box<str>>> {
    prop::option::of("\\PC{1,30}".prop_map(Into::into))
}

fn reason(codes: &'static [u8]) -> impl Strategy<Value = Reason> {
    (prop::sample::select(codes), words()).prop_map(|(code, text)| Reason { code, text })
}

fn properties() -> impl Strategy<Value = Option<Box<Properties>>> {
    let data = prop::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from);
    let user = prop::collection::vec((text(), "\\PC{0,20}"), 0..3);
    let first = (prop::option::of(any::<bool>()), prop::option::of(any::<u32>()), prop::option::of(text()));
    let second = (prop::option::of("[a-z/]{1,20}"), prop::option::of(data));
    (first, second, user, prop::collection::vec(1..268_435_455_u32, 0..3)).prop_map(
        |((is_text, expiry, content_type), (response_topic, correlation_data), user, subscription_ids)| {
            let properties = Properties {
                is_text,
                expiry,
                content_type,
                response_topic,
                correlation_data,
                user,
                subscription_ids,
            };
            (properties != Properties::default()).then(|| Box::new(properties))
        },
    )
}

fn connack_5() -> impl Strategy<Value = Packet> {
    let limits = (1..=u16::MAX, qos(), any::<bool>(), prop::option::of(1..=u32::MAX));
    let texts = (prop::option::of(text()), words(), prop::option::of(text()));
    let rest = (any::<bool>(), any::<bool>(), prop::option::of(any::<u16>()), prop::option::of(any::<u32>()));
    (any::<bool>(), prop::sample::select(&[0_u8, 0x80, 0x84, 0x9C][..]), limits, texts, rest).prop_map(
        |(present, code, limits, texts, rest)| {
            let (receive_maximum, maximum_qos, retain_available, maximum_packet_size) = limits;
            let (assigned_client_id, reason, server_reference) = texts;
            let (wildcards_available, shared_available, server_keepalive, session_expiry) = rest;
            let properties = ConnAckProperties {
                session_expiry,
                receive_maximum,
                maximum_qos,
                retain_available,
                maximum_packet_size,
                assigned_client_id,
                reason,
                wildcards_available,
                shared_available,
                server_keepalive,
                server_reference,
            };
            Packet::ConnAck(present && code == 0, code, Some(Box::new(properties)))
        },
    )
}

fn subscription() -> impl Strategy<Value = Subscription> {
    (qos(), any::<bool>(), any::<bool>(), 0..3_u8).prop_map(|(qos, no_local, as_published, handling)| {
        let options = qos as u8 | u8::from(no_local) << 2 | u8::from(as_published) << 3 | handling << 4;
        Subscription::from_byte(options).expect("it is one")
    })
}

fn packet_5() -> impl Strategy<Value = Packet> {
    const ACKS: &[u8] = &[0, 0x10, 0x80, 0x87, 0x97];
    let id = || 1..=u16::MAX;
    let codes = prop::collection::vec(prop::sample::select(&[0_u8, 0x11, 0x87][..]), 1..5);
    let grants = prop::collection::vec(prop_oneof![qos().prop_map(Ok), Just(Err(0xA2))], 1..5);
    let connect = (connect(), any::<u32>(), prop::option::of(1..=u16::MAX), prop::option::of(1..=u32::MAX));
    let goodbye = (reason(&[0, 4, 0x8E, 0x9D]), prop::option::of(text()));
    prop_oneof![
        connect.prop_map(|(packet, session_expiry, receive_maximum, maximum_packet_size)| {
            let Packet::Connect(mut connect) = packet else { unreachable!() };
            let properties = ConnectProperties { session_expiry, receive_maximum, maximum_packet_size };
            connect.properties = Some(Box::new(properties));
            Packet::Connect(connect)
        }),
        connack_5(),
        (publish(), properties()).prop_map(|(packet, properties)| {
            let Packet::Publish(message, id) = packet else { unreachable!() };
            Packet::Publish(Message { properties, ..message }, id)
        }),
        (id(), reason(ACKS)).prop_map(|(id, reason)| Packet::PubAck(id, reason)),
        (id(), reason(ACKS)).prop_map(|(id, reason)| Packet::PubRec(id, reason)),
        id().prop_map(Packet::PubRel),
        id().prop_map(Packet::PubComp),
        (id(), prop::collection::vec((text(), subscription()), 1..5))
            .prop_map(|(id, filters)| Packet::Subscribe(id, filters)),
        (id(), grants, words()).prop_map(|(id, grants, text)| Packet::SubAck(id, grants, text)),
        (id(), prop::collection::vec(text(), 1..5))
            .prop_map(|(id, filters)| Packet::Unsubscribe(id, filters)),
        (id(), codes).prop_map(|(id, codes)| Packet::UnsubAck(id, codes)),
        Just(Packet::PingReq),
        Just(Packet::PingResp),
        goodbye.prop_map(|(reason, server_reference)| {
            let goodbye = Disconnect { reason, server_reference };
            Packet::Disconnect((goodbye != Disconnect::default()).then(|| Box::new(goodbye)))
        }),
    ]
}

/// A packet, and the version that it is of.
fn of_either() -> impl Strategy<Value = (Version, Packet)> {
    prop_oneof![
        packet().prop_map(|packet| (Version::V311, packet)),
        packet_5().prop_map(|packet| (Version::V5, packet)),
    ]
}

fn encoded(packet: &Packet, version: Version) -> BytesMut {
    let mut buffer = BytesMut::new();
    encode(packet, &mut buffer, version).expect("it can be encoded");
    buffer
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn every_packet_survives_the_wire_alone_and_in_company(
        version in prop_oneof![Just(Version::V311), Just(Version::V5)],
        all in prop::collection::vec((packet(), packet_5()), 1..5),
    ) {
        let packets: Vec<_> =
            all.into_iter().map(|(old, new)| if version == Version::V5 { new } else { old }).collect();
        let mut buffer = BytesMut::new();
        for packet in &packets {
            encode(packet, &mut buffer, version).unwrap();
        }
        for packet in packets {
            prop_assert_eq!(decode(&mut buffer, NO_LIMIT, version).unwrap(), Some(packet));
        }
        prop_assert!(buffer.is_empty());
        prop_assert_eq!(decode(&mut buffer, NO_LIMIT, version).unwrap(), None);
    }

    #[test]
    fn a_lent_message_is_encoded_alike_and_comes_back_whole(
        packet in publish(),
        properties in properties(),
        dup in any::<bool>(),
        version in prop_oneof![Just(Version::V311), Just(Version::V5)],
    ) {
        let Packet::Publish(message, id) = packet else { unreachable!() };
        let mut message = Message { properties, ..message };
        let before = message.clone();
        let mut buffer = BytesMut::new();
        encode_publish(&mut message, id.unwrap_or(0), dup, &mut buffer, version).unwrap();
        prop_assert_eq!(&message, &before);
        if version == Version::V5 {
            prop_assert_eq!(buffer.len(), publish_size(&message));
        }
        prop_assert_eq!(buffer, encoded(&Packet::Publish(Message { dup, ..before }, id), version));
    }

    #[test]
    fn a_packet_that_is_cut_short_is_waited_for((version, packet) in of_either()) {
        let whole = encoded(&packet, version);
        // Every byte of a small one; of a large one the ends, and some between.
        let step = whole.len() / 200 + 1;
        for length in (0..whole.len().min(20)).chain((0..whole.len()).step_by(step)).chain([whole.len() - 1]) {
            let mut buffer = BytesMut::from(&whole[..length]);
            let decoded = decode(&mut buffer, NO_LIMIT, version);
            prop_assert!(matches!(decoded, Ok(None)), "{length} of {} bytes: {decoded:?}", whole.len());
            prop_assert_eq!(buffer.len(), length);
            buffer.extend_from_slice(&whole[length..]);
            prop_assert_eq!(decode(&mut buffer, NO_LIMIT, version).unwrap(), Some(packet.clone()));
        }
    }
}

#[test]
fn a_packet_over_the_limit_is_refused_by_its_header() {
    for (version, payload) in [(Version::V311, 97), (Version::V5, 96)] {
        let message = Message {
            topic: "t".into(),
            payload: Bytes::from(vec![0; payload]),
            qos: QoS::AtMostOnce,
            retain: false,
            dup: false,
            properties: None,
        };
        let whole = encoded(&Packet::Publish(message, None), version);
        assert!(decode(&mut whole.clone(), 100, version).unwrap().is_some());
        let mut header = BytesMut::from(&whole[..2]);
        match decode(&mut header, 99, version) {
            Err(CodecError::TooLarge { size: 100, limit: 99 }) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// MQTT 3.1.1 sections 2.2.2 and 3.2 to 3.14, where rumqttc alone would not mind.
#[test]
fn reserved_flags_and_wrong_lengths_are_refused() {
    let bad: [&[u8]; 9] = [
        b"H",                // HTTP, at its first byte: a PUBACK with flags
        &[0x60, 2, 0, 1],    // PUBREL without its flag
        &[0x91],             // SUBACK with a flag
        &[0xd0, 1, 0],       // PINGRESP with a body
        &[0x40, 3, 0, 1, 0], // PUBACK with a reason, as MQTT 5 has one
        &[0x20, 3, 0, 0, 0], // CONNACK with properties
        &[0x90, 2, 0, 1],    // SUBACK without a code
        &[0x90, 3, 0, 1, 3], // SUBACK with an unknown one
        &[0x20, 0],          // an empty CONNACK
    ];
    for bytes in bad {
        let decoded = decode(&mut BytesMut::from(bytes), NO_LIMIT, Version::V311);
        assert!(matches!(decoded, Err(CodecError::Malformed(Version::V311, _))), "{bytes:02x?}: {decoded:?}");
    }
}

/// MQTT 5, section by section: what must be refused.
#[test]
fn what_mqtt_5_forbids_is_refused() {
    let bad: [(&str, &[u8]); 24] = [
        ("2.1.3: reserved flags", &[0x60, 2, 0, 1]),
        ("1.5.5: a length in more bytes than it needs", &[0xd0, 0x80, 0]),
        ("1.5.5: a length of five bytes", &[0xd0, 0x80, 0x80, 0x80, 0x80, 1]),
        ("2.2.1: the identifier zero", &[0x40, 2, 0, 0]),
        ("2.2.2.2: a property that does not exist", &[0x40, 6, 0, 1, 0, 2, 0x7f, 0]),
        ("2.2.2.2: a property of another packet", &[0x40, 7, 0, 1, 0, 3, 0x21, 0, 1]),
        ("2.2.2.2: properties longer than the packet", &[0x40, 5, 0, 1, 0, 9, 0]),
        ("2.2.2.2: a property that ends too early", &[0x40, 7, 0, 1, 0, 3, 0x1f, 0, 9]),
        ("3.4.2.1: a reason code of another packet", &[0x40, 3, 0, 1, 0x8e]),
        ("3.4: bytes behind the properties", &[0x40, 5, 0, 1, 0, 0, 0]),
        ("3.2.2.1: flags of CONNACK", &[0x20, 3, 2, 0, 0]),
        ("3.2.2.1: a session that is present and refused", &[0x20, 3, 1, 0x87, 0]),
        ("3.2.2.2: an unknown reason code", &[0x20, 3, 0, 0x42, 0]),
        ("3.2.2.3.2: a receive maximum twice", &[0x20, 9, 0, 0, 6, 0x21, 0, 1, 0x21, 0, 1]),
        ("3.2.2.3.3: a receive maximum of zero", &[0x20, 6, 0, 0, 3, 0x21, 0, 0]),
        ("3.2.2.3.4: a maximum QoS of 2", &[0x20, 5, 0, 0, 2, 0x24, 2]),
        ("3.2.2.3.17: an authentication that was not offered", &[0x20, 7, 0, 0, 4, 0x15, 0, 1, b'x']),
        ("3.3.1.2: QoS 3", &[0x36, 6, 0, 1, b't', 0, 1, 0]),
        ("3.3.1.1: DUP at QoS 0", &[0x38, 4, 0, 1, b't', 0]),
        ("3.3.2.3.4: an alias, and none were allowed", &[0x30, 7, 0, 1, b't', 3, 0x23, 0, 1]),
        ("3.3.2.3.5: a response topic with a wildcard", &[0x30, 8, 0, 1, b't', 4, 0x08, 0, 1, b'#']),
        ("1.5.4: a topic that is not UTF-8", &[0x30, 4, 0, 1, 0xff, 0]),
        ("3.9.3: a SUBACK without a code", &[0x90, 3, 0, 1, 0]),
        ("4.12: AUTH, which was not asked for", &[0xf0, 0]),
    ];
    for (rule, bytes) in bad {
        let decoded = decode(&mut BytesMut::from(bytes), NO_LIMIT, Version::V5);
        assert!(matches!(decoded, Err(CodecError::Malformed(Version::V5, _))), "{rule}: {decoded:?}");
    }
}

/// MQTT 5, where a packet may be shorter than its sections say, as brokers send them.
#[test]
fn short_forms_of_mqtt_5_are_read() {
    let gone = |code| Disconnect { reason: Reason::code(code), server_reference: None };
    let good: [(&[u8], Packet); 6] = [
        (&[0xe0, 0], Packet::Disconnect(None)),
        (&[0xe0, 1, 0x8e], Packet::Disconnect(Some(Box::new(gone(0x8e))))),
        (&[0xe0, 2, 0x8e, 0], Packet::Disconnect(Some(Box::new(gone(0x8e))))),
        (&[0x40, 2, 0, 7], Packet::PubAck(7, Reason::SUCCESS)),
        (&[0x50, 3, 0, 7, 0x87], Packet::PubRec(7, Reason::code(0x87))),
        // A broker of 3.1.1 refuses the version in its own language.
        (&[0x20, 2, 0, 1], Packet::ConnAck(false, 1, None)),
    ];
    for (bytes, packet) in good {
        assert_eq!(decode(&mut BytesMut::from(bytes), NO_LIMIT, Version::V5).unwrap(), Some(packet));
    }
}
