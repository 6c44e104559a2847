//! Random bytes for everything that reads what a broker sends: the codec, and the session behind it; and for the file
//! of the durable outbox.

use std::cell::Cell;

use miqro::core::session::packet::Version;

use super::{corpus, run, targets};

/// A few changes to an input, which leave its first bytes as they are.
fn mutate(random: &mut fastrand::Rng, bytes: &mut Vec<u8>, first: usize, others: &[Vec<u8>]) {
    for _ in 0..random.usize(0..8) {
        let at = random.usize(first.min(bytes.len())..=bytes.len());
        let end = (at + random.usize(0..8)).min(bytes.len());
        match random.u8(0..8) {
            0 if at < bytes.len() => bytes[at] = random.u8(..),
            1 if at < bytes.len() => bytes[at] ^= 1 << random.u8(0..8),
            2 => bytes.insert(at, random.u8(..)),
            3 => drop(bytes.drain(at..end)),
            4 => bytes.truncate(at),
            5 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            // Values at the edges of what a number may be.
            6 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.usize(0..5)],
            _ => {
                let other = random.choice(others).unwrap();
                let from = random.usize(0..other.len());
                let to = random.usize(from..=other.len());
                bytes.splice(at..at, other[from..to].iter().copied());
            }
        }
        bytes.truncate(4096);
    }
}

fn inputs_of(target: &str) -> Vec<Vec<u8>> {
    corpus::of(target).into_values().collect()
}

#[test]
fn no_stream_of_bytes_makes_the_codec_panic_and_what_it_reads_it_writes() {
    let streams = [Version::V311, Version::V5].map(|version| -> Vec<Vec<u8>> {
        corpus::packets(version).iter().map(|(_, packet)| corpus::encoded(packet, version)).collect()
    });
    let (read, refused) = (Cell::new(0), Cell::new(0));
    let inputs = run(
        "streams",
        100_000,
        |random| {
            let version = random.usize(0..2);
            let mut stream = Vec::new();
            for _ in 0..random.usize(1..4) {
                stream.extend_from_slice(random.choice(&streams[version]).unwrap());
            }
            mutate(random, &mut stream, 0, &streams[version]);
            let limit = u8::from(random.u8(0..8) > 0) << 2 | u8::from(random.bool()) << 1;
            let mode = limit | u8::from(version == 1);
            [&[mode, random.u8(..)], &stream[..]].concat()
        },
        |input| {
            let (packets, has_error) = targets::codec::take(input);
            read.set(read.get() + packets as u64);
            refused.set(refused.get() + u64::from(has_error));
        },
    );
    let (read, refused) = (read.get(), refused.get());
    assert!(
        read > inputs / 2 && refused > inputs / 8,
        "{read} read, {refused} refused: too easy or too hard"
    );
}

#[test]
fn no_broker_and_no_service_makes_a_session_panic_or_break_the_protocol() {
    let corpus = inputs_of("protocol");
    let reached = Cell::new(targets::protocol::Reached::default());
    let inputs = run(
        "sessions",
        30_000,
        |random| {
            let mut input = random.choice(&corpus).unwrap().clone();
            if random.u8(0..4) == 0 {
                // Arbitrary ones too: options, and what happens.
                input.truncate(6 + 12);
                let count = random.usize(0..600);
                input.extend(std::iter::repeat_with(|| random.u8(..)).take(count));
            }
            mutate(random, &mut input, 0, &corpus);
            input
        },
        |input| {
            let (mut all, this) = (reached.get(), targets::protocol::take(input));
            all.connections += this.connections;
            all.handled += this.handled;
            all.sent += this.sent;
            all.faults += this.faults;
            reached.set(all);
        },
    );
    let targets::protocol::Reached { connections, handled, sent, faults } = reached.get();
    let enough =
        [connections, handled / 4, sent / 4, faults * 4].iter().all(|count| u64::from(*count) > inputs / 2);
    assert!(enough, "{inputs} sessions did too little: {:?}", reached.get());
}

#[test]
fn no_content_of_the_file_makes_the_durable_outbox_panic_or_lose_a_whole_record() {
    let corpus = inputs_of("journal");
    run(
        "files",
        2_000,
        |random| {
            let mut input = random.choice(&corpus).unwrap().clone();
            mutate(random, &mut input, 1, &corpus);
            input
        },
        targets::journal::take,
    );
}
