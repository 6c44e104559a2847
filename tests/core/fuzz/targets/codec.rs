//! The codec: a stream of bytes becomes the same packets however it is cut, each of which is written as bytes that
//! are read as it; or it becomes an error that is a sentence.

use bytes::BytesMut;
use miqro::core::session::codec::{MAX_REMAINING_LENGTH, decode, encode};
use miqro::core::session::packet::{Packet, Version};

use super::Input;

/// How a stream ends: with bytes that are not a whole packet, or with an error.
#[derive(Debug, PartialEq)]
enum End {
    Rest(Vec<u8>),
    Error(String),
}

/// The first byte is the mode (its lowest bit the version, the next two the limit); the second, where the stream is cut.
///
/// How many packets the stream has, and whether it ends with an error.
pub fn take(input: &[u8]) -> (usize, bool) {
    let mut input = Input(input);
    let mode = input.u8();
    let version = if mode & 1 == 0 { Version::V311 } else { Version::V5 };
    let limit = [16, 300, 1 << 20, MAX_REMAINING_LENGTH][usize::from(mode >> 1 & 3)];
    let cut = usize::from(input.u8());
    let stream = input.0;
    let whole = read(&[stream], limit, version);
    let (first, second) = stream.split_at(cut.min(stream.len()));
    assert_eq!(read(&[first, second], limit, version), whole);
    let (packets, end) = whole;
    for packet in &packets {
        check_written(packet, version);
    }
    if let End::Error(sentence) = &end {
        super::protocol::check_sentence(sentence);
    }
    (packets.len(), matches!(end, End::Error(_)))
}

fn read(pieces: &[&[u8]], limit: usize, version: Version) -> (Vec<Packet>, End) {
    let mut buffer = BytesMut::new();
    let mut packets = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            let before = buffer.clone();
            match decode(&mut buffer, limit, version) {
                Ok(Some(packet)) => {
                    assert!(buffer.len() < before.len() && before.ends_with(&buffer), "it does not go on");
                    packets.push(packet);
                }
                Ok(None) => {
                    assert_eq!(buffer, before, "bytes of an incomplete packet are gone");
                    break;
                }
                Err(error) => return (packets, End::Error(error.to_string())),
            }
        }
    }
    (packets, End::Rest(buffer.to_vec()))
}

fn check_written(packet: &Packet, version: Version) {
    if version == Version::V5 && matches!(packet, Packet::ConnAck(_, _, None)) {
        return; // A refusal by a broker of 3.1.1, in its language.
    }
    let mut written = BytesMut::from(&b"before"[..]);
    encode(packet, &mut written, version).unwrap_or_else(|error| panic!("{packet:?}: {error}"));
    let mut bytes = written.split_off(6);
    assert_eq!(written, &b"before"[..], "what was written before is changed");
    let again = decode(&mut bytes, MAX_REMAINING_LENGTH, version);
    assert_eq!(again.unwrap_or_else(|error| panic!("{packet:?}: {error}")).as_ref(), Some(packet));
    assert!(bytes.is_empty(), "{packet:?} is written with {} bytes behind it", bytes.len());
}
