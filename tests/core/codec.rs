//! Packets to bytes and back. What the encoder writes is read as what it was; what is cut short is waited for;
//! what is broken is an error, and never a panic.

use bytes::{Bytes, BytesMut};
use fastrand::Rng;
use miqro::core::session::codec::{CodecError, decode, encode, encode_publish};
use miqro::core::session::message::{Message, QoS};
use miqro::core::session::packet::{Connect, Packet, Reason, Subscription, Version, Will};
use proptest::prelude::*;
use proptest::strategy::ValueTree;

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

fn encoded(packet: &Packet) -> BytesMut {
    let mut buffer = BytesMut::new();
    encode(packet, &mut buffer, Version::V311).expect("it can be encoded");
    buffer
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn every_packet_survives_the_wire_alone_and_in_company(packets in prop::collection::vec(packet(), 1..5)) {
        let mut buffer = BytesMut::new();
        for packet in &packets {
            encode(packet, &mut buffer, Version::V311).unwrap();
        }
        for packet in packets {
            prop_assert_eq!(decode(&mut buffer, NO_LIMIT, Version::V311).unwrap(), Some(packet));
        }
        prop_assert!(buffer.is_empty());
        prop_assert_eq!(decode(&mut buffer, NO_LIMIT, Version::V311).unwrap(), None);
    }

    #[test]
    fn a_lent_message_is_encoded_alike_and_comes_back_whole(packet in publish(), dup in any::<bool>()) {
        let Packet::Publish(mut message, id) = packet else { unreachable!() };
        let before = message.clone();
        let mut buffer = BytesMut::new();
        encode_publish(&mut message, id.unwrap_or(0), dup, &mut buffer, Version::V311).unwrap();
        prop_assert_eq!(&message, &before);
        prop_assert_eq!(buffer, encoded(&Packet::Publish(Message { dup, ..before }, id)));
    }

    #[test]
    fn a_packet_that_is_cut_short_is_waited_for(packet in packet()) {
        let whole = encoded(&packet);
        // Every byte of a small one; of a large one the ends, and some between.
        let step = whole.len() / 200 + 1;
        for length in (0..whole.len().min(20)).chain((0..whole.len()).step_by(step)).chain([whole.len() - 1]) {
            let mut buffer = BytesMut::from(&whole[..length]);
            let decoded = decode(&mut buffer, NO_LIMIT, Version::V311);
            prop_assert!(matches!(decoded, Ok(None)), "{length} of {} bytes: {decoded:?}", whole.len());
            prop_assert_eq!(buffer.len(), length);
            buffer.extend_from_slice(&whole[length..]);
            prop_assert_eq!(decode(&mut buffer, NO_LIMIT, Version::V311).unwrap(), Some(packet.clone()));
        }
    }
}

/// A hundred thousand packets with wrong bytes, missing bytes and added bytes. Each is read to its end, to an
/// error, or to where more is needed.
#[test]
fn mutated_packets_never_panic() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let small: Vec<_> = std::iter::repeat_with(|| packet().new_tree(&mut runner).unwrap().current())
        .map(|packet| encoded(&packet))
        .filter(|bytes| bytes.len() < 300)
        .take(500)
        .collect();
    let mut rng = Rng::with_seed(1);
    let (mut read, mut refused) = (0, 0);
    for _ in 0..100_000 {
        let mut bytes = Vec::new();
        for _ in 0..rng.usize(1..4) {
            bytes.extend_from_slice(&small[rng.usize(..small.len())]);
        }
        for _ in 0..rng.usize(1..6) {
            let at = rng.usize(..bytes.len());
            match rng.u8(..4) {
                0 => bytes[at] = rng.u8(..),
                1 => bytes[at] ^= 1 << rng.u8(..8),
                2 => drop(bytes.drain(at..(at + rng.usize(..4)).min(bytes.len()))),
                _ => bytes.insert(at, rng.u8(..)),
            }
            if bytes.is_empty() {
                break;
            }
        }
        let mut buffer = BytesMut::from(&bytes[..]);
        loop {
            let left = buffer.len();
            match decode(&mut buffer, 100_000, Version::V311) {
                Ok(None) => break,
                Ok(Some(_)) => read += 1,
                Err(_) => {
                    refused += 1;
                    break;
                }
            }
            assert!(buffer.len() < left, "it does not go on");
        }
    }
    assert!(read > 10_000 && refused > 10_000, "{read} read, {refused} refused: too easy or too hard");
}

#[test]
fn a_packet_over_the_limit_is_refused_by_its_header() {
    let whole = encoded(&Packet::Publish(
        Message {
            topic: "t".into(),
            payload: Bytes::from(vec![0; 97]),
            qos: QoS::AtMostOnce,
            retain: false,
            dup: false,
            properties: None,
        },
        None,
    ));
    assert!(decode(&mut whole.clone(), 100, Version::V311).unwrap().is_some());
    let mut header = BytesMut::from(&whole[..2]);
    match decode(&mut header, 99, Version::V311) {
        Err(CodecError::TooLarge { size: 100, limit: 99 }) => {}
        other => panic!("{other:?}"),
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
