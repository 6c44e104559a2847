//! Packets to bytes and back. What the encoder writes is read as what it was; what is cut short is waited for;
//! what is broken is an error. That it is never a panic, see `fuzz`.

use bytes::{Bytes, BytesMut};
use miqro::core::session::codec::{CodecError, decode, encode, encode_publish};
use miqro::core::session::message::{Message, QoS};
use miqro::core::session::packet::{Packet, Version};
use proptest::prelude::*;

use crate::packets::{any_packet, publish, version};

const NO_LIMIT: usize = 1 << 28;

fn encoded(packet: &Packet, version: Version) -> BytesMut {
    let mut buffer = BytesMut::new();
    encode(packet, &mut buffer, version).expect("it can be encoded");
    buffer
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn every_packet_survives_the_wire_alone_and_in_company(
        (version, packets) in version()
            .prop_flat_map(|version| (Just(version), prop::collection::vec(any_packet(version), 1..5)))
    ) {
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
        (version, packet) in version().prop_flat_map(|version| (Just(version), publish(version))), dup in any::<bool>()
    ) {
        let Packet::Publish(mut message, id) = packet else { unreachable!() };
        let before = message.clone();
        let mut buffer = BytesMut::new();
        encode_publish(&mut message, id.unwrap_or(0), dup, &mut buffer, version).unwrap();
        prop_assert_eq!(&message, &before);
        prop_assert_eq!(buffer, encoded(&Packet::Publish(Message { dup, ..before }, id), version));
    }

    #[test]
    fn a_packet_that_is_cut_short_is_waited_for(
        (version, packet) in version().prop_flat_map(|version| (Just(version), any_packet(version)))
    ) {
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
    let packet = Packet::Publish(
        Message {
            topic: "t".into(),
            payload: Bytes::from(vec![0; 97]),
            qos: QoS::AtMostOnce,
            retain: false,
            dup: false,
            properties: None,
        },
        None,
    );
    let whole = encoded(&packet, Version::V311);
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
    let bad: [&[u8]; 13] = [
        b"H",                // HTTP, at its first byte: a PUBACK with flags
        &[0x60, 2, 0, 1],    // PUBREL without its flag
        &[0x91],             // SUBACK with a flag
        &[0xd0, 1, 0],       // PINGRESP with a body
        &[0x40, 3, 0, 1, 0], // PUBACK with a reason, as MQTT 5 has one
        &[0x20, 3, 0, 0, 0], // CONNACK with properties
        &[0x90, 2, 0, 1],    // SUBACK without a code
        &[0x90, 3, 0, 1, 3], // SUBACK with an unknown one
        &[0x20, 0],          // an empty CONNACK
        &[0x40, 2, 0, 0],    // PUBACK for no packet
        &[0x62, 2, 0, 0],    // PUBREL for none
        &[0x90, 3, 0, 0, 1], // SUBACK for none
        &[0xb0, 2, 0, 0],    // UNSUBACK for none
    ];
    for bytes in bad {
        let decoded = decode(&mut BytesMut::from(bytes), NO_LIMIT, Version::V311);
        assert!(matches!(decoded, Err(CodecError::Malformed(Version::V311, _))), "{bytes:02x?}: {decoded:?}");
    }
}
