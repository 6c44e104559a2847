//! The codec against mqtt-protocol-core, an independent one: what we write it reads, what it writes we read, and of
//! bytes that somebody has changed both make the same, but for the differences that are listed in `differences`.

mod differences;
mod theirs;

use std::collections::BTreeMap;

use bytes::BytesMut;
use fastrand::Rng;
use miqro::core::session::codec::{MAX_REMAINING_LENGTH, decode, encode};
use miqro::core::session::packet::{Packet, Version};
use proptest::prelude::*;

use crate::fuzz::{corpus, number};
use crate::packets::{of_broker, of_client, version};
use differences::DIFFERENCES;

/// What we make of one packet.
fn ours(bytes: &[u8], version: Version) -> Result<Packet, String> {
    let mut buffer = BytesMut::from(bytes);
    match decode(&mut buffer, MAX_REMAINING_LENGTH, version) {
        Ok(Some(packet)) if buffer.is_empty() => Ok(packet),
        Ok(Some(_)) => Err("bytes are left".into()),
        Ok(None) => Err("it is incomplete".into()),
        Err(error) => Err(error.to_string()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn what_we_send_is_read_as_it_was_meant(
        (version, packet) in version().prop_flat_map(|version| (Just(version), of_client(version)))
    ) {
        let mut bytes = BytesMut::new();
        encode(&packet, &mut bytes, version).unwrap();
        prop_assert_eq!(theirs::read(&bytes, version), Ok(packet));
    }

    #[test]
    fn what_a_broker_sends_we_read_as_it_was_meant(
        (version, packet) in version().prop_flat_map(|version| (Just(version), of_broker(version)))
    ) {
        prop_assert_eq!(ours(&theirs::written(&packet, version), version), Ok(packet));
    }
}

#[derive(Debug)]
enum Verdict {
    BothRead,
    BothRefuse,
    /// By its name.
    Known(&'static str),
    /// What kind it is of, and all of it.
    Unknown(String, String),
}

fn compare(bytes: &[u8], version: Version) -> Verdict {
    let (ours, theirs) = (ours(bytes, version), theirs::read(bytes, version));
    if ours.is_err() && theirs.is_err() {
        return Verdict::BothRefuse;
    }
    if ours == theirs {
        return Verdict::BothRead;
    }
    if let Some(known) = DIFFERENCES.iter().find(|known| (known.applies)(version, bytes, &ours, &theirs)) {
        return Verdict::Known(known.name);
    }
    let errors = (ours.as_ref().err(), theirs.as_ref().err());
    let kind = format!("{version:?} {} {errors:?}", bytes[0] >> 4);
    Verdict::Unknown(kind, format!("{version:?} {bytes:02x?}\n  ours: {ours:?}\n  theirs: {theirs:?}"))
}

/// Changes within a packet of which the length is right in the end, so that they reach what is behind the header.
fn mutated(rng: &mut Rng, whole: &[u8], others: &[Vec<u8>]) -> Vec<u8> {
    let mut first = whole[0];
    // The packets have lengths of one byte.
    let mut body = whole[2..].to_vec();
    for _ in 0..rng.usize(1..4) {
        let at = rng.usize(0..=body.len());
        let end = (at + rng.usize(0..4)).min(body.len());
        match rng.u8(..8) {
            0 => first = first & 0xf0 | rng.u8(..16),
            1 if at < body.len() => body[at] = rng.u8(..),
            2 if at < body.len() => body[at] = body[at].wrapping_add([1, 255][rng.usize(..2)]),
            3 if at < body.len() => body[at] = [0, 1, 0x7f, 0x80, 0xff][rng.usize(..5)],
            4 => drop(body.drain(at..end)),
            5 => body.truncate(at),
            6 => body.insert(at, [0, rng.u8(..)][rng.usize(..2)]),
            _ => {
                let other = rng.choice(others).unwrap();
                let from = rng.usize(2..=other.len());
                let to = rng.usize(from..=other.len());
                body.splice(at..end, other[from..to].iter().copied());
            }
        }
    }
    body.truncate(127);
    [&[first, u8::try_from(body.len()).unwrap()], &body[..]].concat()
}

/// Law: two readers agree on any bytes, or a rule of the specification says which of them is right.
#[test]
fn of_changed_bytes_both_make_the_same() {
    let seed = number("MIQRO_FUZZ_SEED", 1);
    let (mut read, mut refused, mut differ) = (0, 0, 0);
    let mut unknown = BTreeMap::new();
    for version in [Version::V311, Version::V5] {
        let packets = corpus::packets(version);
        let packets = packets.iter().map(|(_, packet)| corpus::encoded(packet, version));
        let short: Vec<_> = packets.filter(|bytes| bytes.len() < 128).collect();
        let mut rng = Rng::with_seed(seed);
        for _ in 0..number("MIQRO_FUZZ_INPUTS", 50_000) {
            let whole = &short[rng.usize(..short.len())];
            match compare(&mutated(&mut rng, whole, &short), version) {
                Verdict::BothRead => read += 1,
                Verdict::BothRefuse => refused += 1,
                Verdict::Known(_) => differ += 1,
                Verdict::Unknown(kind, difference) => drop(unknown.insert(kind, difference)),
            }
        }
    }
    let unknown: Vec<_> = unknown.into_values().collect();
    assert!(
        unknown.is_empty(),
        "differences that are not known:
{}",
        unknown.join(
            "
"
        )
    );
    let total = read + refused + differ;
    assert!(
        read > total / 8 && refused > total / 8,
        "{read} read, {refused} refused, {differ} differ: too easy or hard"
    );
}

/// Each difference that is listed is one.
#[test]
fn the_known_differences_are_there() {
    for known in DIFFERENCES {
        let (version, bytes) = known.example;
        let verdict = compare(bytes, version);
        assert!(matches!(verdict, Verdict::Known(name) if name == known.name), "{}: {verdict:?}", known.name);
        assert!(!known.why.is_empty());
    }
}
