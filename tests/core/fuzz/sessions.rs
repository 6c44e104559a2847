//! Sessions as inputs: what the target `protocol` starts from.

use std::collections::BTreeMap;

use miqro::core::session::packet::Version;

use super::corpus::{encoded, packets};
use super::targets::protocol::Operation::{self, *};

/// What happens, each with its details; see the target.
type Script = &'static [(Operation, &'static [u8])];

/// All that a session does on a good day.
const TALK: Script = &[
    (Connect, &[4, 0]),
    (Accept, &[0]),
    (Subscribe, &[1, 1, 0, 2]),
    (Greeted, &[]),
    (Poll, &[255]),
    (Write, &[255, 255]),
    (Publish, &[0, 5, 0]),
    (Publish, &[1, 5, 0]),
    (Publish, &[2, 5, 0]),
    (Poll, &[255]),
    (Write, &[255, 255]),
    (Answer, &[0, 2, 1, 1, 1, 255]),
    (Deliver, &[2, 1, 0, b'1', b'2', b'3', b'4', 0]),
    (Poll, &[255]),
    (Release, &[1]),
    (Acknowledge, &[0, 255, 0]),
    (Acknowledge, &[0, 255, 0]),
    (Poll, &[255]),
    (Acknowledge, &[0, 255, 0]),
    (Unsubscribe, &[0, 0]),
    (Poll, &[255]),
    (Answer, &[0, 1, 0, 0]),
    (Wait, &[4, 0]),
    (Poll, &[255]),
    (Answer, &[0, 0, 2]),
    (Close, &[0]),
    (Poll, &[255]),
];

/// Connections that end, with the session kept and lost.
const LOST: Script = &[
    (Publish, &[1, 5, 0]),
    (Publish, &[2 | 4 | 8, 5, 0]),
    (Connect, &[4, 0]),
    (Accept, &[0]),
    (Greeted, &[]),
    (Poll, &[255]),
    (Write, &[0, 30]),
    (Lose, &[]),
    (Connect, &[4, 0]),
    (Accept, &[1]),
    (Poll, &[255]),
    (Acknowledge, &[0, 255, 0]),
    (Wait, &[1, 0]),
    (Lose, &[]),
    (Connect, &[4, 0]),
    (Accept, &[0]),
    (Poll, &[255]),
];

/// A broker that takes less than others, and then nothing.
const TERMS: Script = &[
    (Publish, &[2 | 128, 5, 0]),
    (Connect, &[4, 0]),
    (Accept, &[0x7e, 2, 1, 60, 5]),
    (Publish, &[2 | 128, 5, 0]),
    (Publish, &[1, 200, 0]),
    (Poll, &[255]),
    (Acknowledge, &[0, 255, 0]),
    (Refuse, &[0x84, 255]),
    (Connect, &[4, 0]),
    (Refuse, &[0x84, 255]),
    (Connect, &[4, 0]),
    (Accept, &[0]),
    (End, &[255, 0x8b, 255, 255]),
];

/// A broker that sends more than the two messages at a time that it was allowed.
const FLOOD: Script = &[
    (Connect, &[4, 0]),
    (Accept, &[0]),
    (Deliver, &[2, 0, 0, 1, 2, 3, 4, 255]),
    (Deliver, &[2, 1, 0, 1, 2, 3, 4, 255]),
    (Deliver, &[2, 2, 0, 1, 2, 3, 4, 255]),
    (Connect, &[4, 0]),
    (Accept, &[1]),
    (Deliver, &[2, 2, 0, 1, 2, 3, 4, 255]),
    (Poll, &[255]),
    (Release, &[2]),
    (Deliver, &[2, 0, 0, 1, 2, 3, 4, 255]),
    (Poll, &[255]),
];

/// Options, and what happens.
pub fn protocol() -> BTreeMap<String, Vec<u8>> {
    let session = |options: [u8; 6], operations: &[(Operation, &[u8])]| {
        let mut input = options.to_vec();
        for (operation, details) in operations {
            input.push(*operation as u8);
            input.extend_from_slice(details);
        }
        input
    };
    let [v311, v5, auto] = [0, 1, 2].map(|choice| [choice | 8, 3, 4, 31, 15, 0]);
    let bytes: Vec<u8> =
        packets(Version::V311).iter().flat_map(|(_, p)| encoded(p, Version::V311)).take(255).collect();
    let bytes5: Vec<u8> =
        packets(Version::V5).iter().flat_map(|(_, p)| encoded(p, Version::V5)).take(255).collect();
    let raw = |bytes: &[u8]| [&[u8::try_from(bytes.len()).unwrap()], bytes].concat();
    // The session takes two at a time.
    let narrow = [v5[0], 3, 4, 31, 2, 0];
    BTreeMap::from([
        ("flood-v5".into(), session(narrow, FLOOD)),
        ("talk-v311".into(), session(v311, TALK)),
        ("talk-v5".into(), session(v5, TALK)),
        ("lost-v311".into(), session(v311, LOST)),
        ("lost-v5".into(), session(v5, LOST)),
        ("terms-v5".into(), session(v5, TERMS)),
        ("terms-auto".into(), session(auto, TERMS)),
        ("bytes-v311".into(), session(v311, &[(Connect, &[4, 0]), (Bytes, &raw(&bytes)), (Poll, &[255])])),
        ("bytes-v5".into(), session(v5, &[(Connect, &[4, 0]), (Bytes, &raw(&bytes5)), (Poll, &[255])])),
    ])
}
