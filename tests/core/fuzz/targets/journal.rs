//! The file of the durable outbox: whatever is in it, it is opened, says what its whole records say, and goes on.

use std::collections::BTreeMap;
use std::fs;

use bytes::{Buf, BufMut, Bytes};
use miqro::core::session::journal::{Journal, Note, Opened, Owed};

use super::Input;
use crate::folder::Folder;

const MAGIC: &[u8] = b"miqro outbox 1\n";

/// A file: records with a right checksum around arbitrary bodies, and other bytes. Without these no fuzzer gets
/// beyond the first record.
fn file(input: &mut Input<'_>) -> Vec<u8> {
    let mut file = if input.chance(16) { Vec::new() } else { MAGIC.to_vec() };
    while !input.is_empty() {
        let kind = input.u8();
        let length = if kind & 0x10 == 0 { usize::from(input.u8() & 0x3f) } else { usize::from(input.u16()) };
        let body = input.bytes(length);
        if kind & 0x0f != 0x0f {
            file.put_u32(u32::try_from(body.len()).expect("short"));
            file.put_u32(crc32fast::hash(body));
        }
        file.extend_from_slice(body);
    }
    file
}

/// What a file says, by the simplest of means: what is owed, and how many bytes of it are whole.
fn model(file: &[u8]) -> (BTreeMap<u64, Owed>, usize) {
    let mut owed = BTreeMap::<u64, Owed>::new();
    let Some(mut rest) = file.strip_prefix(MAGIC) else { return (owed, 0) };
    loop {
        let whole = file.len() - rest.len();
        let (Ok(length), Ok(checksum)) = (rest.try_get_u32(), rest.try_get_u32()) else {
            return (owed, whole);
        };
        let Some(body) = rest.split_off(..length as usize) else { return (owed, whole) };
        if crc32fast::hash(body) != checksum || !apply(&mut owed, body) {
            return (owed, whole);
        }
    }
}

/// Says whether it is a record.
fn apply(owed: &mut BTreeMap<u64, Owed>, mut body: &[u8]) -> bool {
    let Ok(kind) = body.try_get_u8() else { return false };
    if kind == 5 {
        for owed in owed.values_mut() {
            (owed.id, owed.received) = (None, false);
        }
        return true;
    }
    let Ok(number) = body.try_get_u64() else { return false };
    match kind {
        1 if number < u64::MAX => {
            let body = Bytes::copy_from_slice(body);
            owed.insert(number, Owed { number, body, id: None, received: false });
        }
        2 => {
            let Ok(id @ 1..) = body.try_get_u16() else { return false };
            if let Some(owed) = owed.get_mut(&number) {
                owed.id = Some(id);
            }
        }
        3 => {
            if let Some(owed) = owed.get_mut(&number) {
                owed.received = true;
            }
        }
        4 => drop(owed.remove(&number)),
        _ => return false,
    }
    true
}

pub fn take(input: &[u8]) {
    let folder = Folder::in_memory("fuzz-journal");
    let path = folder.join("echo.outbox");
    let file = file(&mut Input(input));
    let (mut model, whole) = model(&file);
    fs::write(&path, &file).unwrap();

    let Opened { mut journal, owed, torn, set_aside } = Journal::open(&path).unwrap();
    assert_eq!(owed, model.values().cloned().collect::<Vec<_>>());
    if let Some(aside) = set_aside {
        assert!(!file.starts_with(MAGIC) && !MAGIC.starts_with(&file));
        assert_eq!(fs::read(aside).unwrap(), file);
    } else if file.starts_with(MAGIC) {
        assert_eq!(torn, file.len() - whole);
    }
    assert_eq!(journal.len(), model.len());

    // It goes on from there: a new message, an end of an old one, and a session that is lost.
    let next = model.last_key_value().map_or(0, |(number, _)| *number) + 1;
    let message = Owed { number: next, body: Bytes::from_static(b"next"), id: Some(7), received: false };
    let mut notes = vec![Note::SessionLost, Note::Accepted(next, message.body.clone()), Note::Sent(next, 7)];
    for owed in model.values_mut() {
        (owed.id, owed.received) = (None, false);
    }
    if let Some((first, _)) = model.pop_first() {
        notes.push(Note::Settled(first));
    }
    model.insert(next, message);
    journal.write(&mut notes).unwrap();
    drop(journal);
    let Opened { journal, owed, torn, set_aside } = Journal::open(&path).unwrap();
    assert_eq!((torn, set_aside), (0, None));
    assert_eq!(owed, model.into_values().collect::<Vec<_>>());
    assert_eq!(journal.size(), fs::metadata(&path).unwrap().len());
}
