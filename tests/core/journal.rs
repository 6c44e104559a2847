//! The file of the durable outbox (C44): what it says after a crash at any byte.

use std::collections::BTreeMap;
use std::fs;

use bytes::Bytes;
use miqro::core::session::journal::{Journal, JournalError, Note, Opened, Owed};
use proptest::prelude::*;

use crate::folder::Folder;

fn body(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn owed(number: u64, text: &str, id: Option<u16>, received: bool) -> Owed {
    Owed { number, body: body(text), id, received }
}

/// What the notes say, by the simplest of means.
#[derive(Clone, Default)]
struct Model(BTreeMap<u64, Owed>);

impl Model {
    fn apply(&mut self, note: &Note) {
        match note {
            Note::Accepted(number, body) => {
                let owed = Owed { number: *number, body: body.clone(), id: None, received: false };
                self.0.insert(*number, owed);
            }
            Note::Sent(number, id) => drop(self.0.get_mut(number).map(|owed| owed.id = Some(*id))),
            Note::Received(number) => drop(self.0.get_mut(number).map(|owed| owed.received = true)),
            Note::Settled(number) => drop(self.0.remove(number)),
            Note::SessionLost => {
                self.0.values_mut().for_each(|owed| (owed.id, owed.received) = (None, false));
            }
        }
    }

    fn owed(&self) -> Vec<Owed> {
        self.0.values().cloned().collect()
    }
}

#[test]
fn c44_what_is_owed_is_there_after_a_restart() {
    let folder = Folder::new("journal");
    let path = folder.join("echo.outbox");
    let Opened { mut journal, owed: before, torn, set_aside } = Journal::open(&path).unwrap();
    assert_eq!((before, torn, set_aside), (vec![], 0, None));
    let mut notes = vec![
        Note::Accepted(1, body("one")),
        Note::Accepted(2, body("two")),
        Note::Accepted(3, body("three")),
        Note::Sent(1, 7),
        Note::Sent(2, 8),
        Note::Received(2),
        Note::Settled(1),
    ];
    journal.write(&mut notes).unwrap();
    assert_eq!((notes, journal.len()), (vec![], 2));
    drop(journal);
    let Opened { mut journal, owed: there, .. } = Journal::open(&path).unwrap();
    assert_eq!(there, [owed(2, "two", Some(8), true), owed(3, "three", None, false)]);
    journal.write(&mut vec![Note::SessionLost, Note::Accepted(4, body("four"))]).unwrap();
    drop(journal);
    let there = Journal::open(&path).unwrap().owed;
    assert_eq!(
        there,
        [owed(2, "two", None, false), owed(3, "three", None, false), owed(4, "four", None, false)]
    );
}

#[test]
fn only_one_session_has_the_file() {
    let folder = Folder::new("journal");
    let path = folder.join("echo.outbox");
    let first = Journal::open(&path).unwrap();
    let error = Journal::open(&path).unwrap_err();
    assert!(matches!(error, JournalError::InUse(Some(pid)) if pid == std::process::id()));
    assert!(error.to_string().contains("another session of this process"), "{error}");
    drop(first);
    Journal::open(&path).unwrap();
}

#[test]
fn a_file_of_somebody_else_is_set_aside() {
    let folder = Folder::new("journal");
    let path = folder.join("echo.outbox");
    fs::write(&path, "not a journal").unwrap();
    let opened = Journal::open(&path).unwrap();
    let aside = opened.set_aside.unwrap();
    assert_eq!(
        (aside.clone(), fs::read(&aside).unwrap()),
        (folder.join("echo.outbox.broken"), b"not a journal".to_vec())
    );
    assert!(opened.owed.is_empty());
}

/// A record with a right checksum that says nothing we know: of a later version, say.
#[test]
fn a_whole_record_that_is_none_of_ours_ends_the_file() {
    let folder = Folder::new("journal");
    let path = folder.join("echo.outbox");
    let mut journal = Journal::open(&path).unwrap().journal;
    journal.write(&mut vec![Note::Accepted(1, body("one"))]).unwrap();
    drop(journal);
    let strange: [&[u8]; 4] = [
        &[9],
        &[],
        &[1, 255, 255, 255, 255, 255, 255, 255, 255], // after that number there is no next one
        &[2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0],           // no packet identifier is zero
    ];
    for record in strange {
        let before = fs::read(&path).unwrap();
        let head = [u32::try_from(record.len()).unwrap(), crc32fast::hash(record)].map(u32::to_be_bytes);
        fs::write(&path, [&before[..], &head.concat(), record].concat()).unwrap();
        let opened = Journal::open(&path).unwrap();
        assert_eq!((opened.owed, opened.torn), (vec![owed(1, "one", None, false)], 8 + record.len()));
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}

#[test]
fn the_file_is_bounded_by_what_lives_in_it() {
    let folder = Folder::new("journal");
    let path = folder.join("echo.outbox");
    let mut journal = Journal::open(&path).unwrap().journal;
    let payload = Bytes::from(vec![b'x'; 10_000]);
    journal
        .write(&mut vec![Note::Accepted(0, body("the first")), Note::Sent(0, 5), Note::Received(0)])
        .unwrap();
    let mut largest = 0;
    for number in 1..2000 {
        let notes = [Note::Accepted(number, payload.clone()), Note::Sent(number, 9), Note::Settled(number)];
        journal.write(&mut notes.to_vec()).unwrap();
        largest = largest.max(fs::metadata(&path).unwrap().len());
    }
    assert!((1_000_000..1 << 21).contains(&largest), "{largest}");
    assert_eq!(journal.size(), fs::metadata(&path).unwrap().len());
    drop(journal);
    assert_eq!(Journal::open(&path).unwrap().owed, [owed(0, "the first", Some(5), true)]);
    assert_eq!(folder.names(), [".echo.outbox.lock", "echo.outbox"]);
}

fn notes() -> impl Strategy<Value = Vec<Vec<Note>>> {
    let number = 0..12u64;
    let note = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Note::Accepted(0, bytes.into())),
        2 => (number.clone(), 1..u16::MAX).prop_map(|(number, id)| Note::Sent(number, id)),
        1 => number.clone().prop_map(Note::Received),
        2 => number.prop_map(Note::Settled),
        1 => Just(Note::SessionLost),
    ];
    prop::collection::vec(prop::collection::vec(note, 1..4), 1..12).prop_map(|mut batches| {
        let accepted = batches.iter_mut().flatten().filter_map(|note| match note {
            Note::Accepted(number, _) => Some(number),
            _ => None,
        });
        accepted.zip(0..).for_each(|(number, next)| *number = next);
        batches
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    /// Law: whatever byte the file ends at, it says what its whole records say, and goes on from there.
    #[test]
    fn a_torn_end_costs_what_is_torn_and_no_more(batches in notes()) {
        let folder = Folder::new("journal");
        let path = folder.join("echo.outbox");
        let mut journal = Journal::open(&path).unwrap().journal;
        // Where each record ends, and what is owed then.
        let mut model = Model::default();
        let mut ends = vec![(journal.size(), model.clone())];
        for note in batches.iter().flatten() {
            journal.write(&mut vec![note.clone()]).unwrap();
            model.apply(note);
            ends.push((journal.size(), model.clone()));
        }
        drop(journal);
        let whole = fs::read(&path).unwrap();
        for cut in 0..=whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let Opened { mut journal, owed, torn, set_aside } = Journal::open(&path).unwrap();
            let (end, mut model) = ends.iter().rev().find(|(end, _)| *end <= cut as u64)
                .map_or((cut as u64, Model::default()), |(end, model)| (*end, model.clone()));
            prop_assert_eq!(&owed, &model.owed());
            prop_assert_eq!((torn as u64, set_aside), (cut as u64 - end, None));
            let next = Note::Accepted(100, body("next"));
            model.apply(&next);
            journal.write(&mut vec![next]).unwrap();
            drop(journal);
            prop_assert_eq!(Journal::open(&path).unwrap().owed, model.owed());
        }
    }

    /// Law: a byte that is not as it was written ends the file there, and is never taken for something else.
    #[test]
    fn a_wrong_byte_ends_the_file(batches in notes(), place in any::<prop::sample::Index>(), flip in 1..=255u8) {
        let folder = Folder::new("journal");
        let path = folder.join("echo.outbox");
        let mut journal = Journal::open(&path).unwrap().journal;
        let start = journal.size();
        let mut model = Model::default();
        let mut ends = vec![(start, model.clone())];
        for batch in &batches {
            for note in batch {
                model.apply(note);
                journal.write(&mut vec![note.clone()]).unwrap();
                ends.push((journal.size(), model.clone()));
            }
        }
        drop(journal);
        let mut content = fs::read(&path).unwrap();
        let place = usize::try_from(start).unwrap() + place.index(content.len() - usize::try_from(start).unwrap());
        content[place] ^= flip;
        fs::write(&path, &content).unwrap();
        let (_, model) = ends.iter().rev().find(|(end, _)| *end <= place as u64).unwrap();
        prop_assert_eq!(Journal::open(&path).unwrap().owed, model.owed());
    }
}
