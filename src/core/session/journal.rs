//! The file of what is owed: accepted QoS 1 and 2 messages outlive the process (contract C44, `durable`).
//!
//! An append-only file of small records, each with its length and checksum, and written before the step it tells
//! of: a message before its publisher is told that it was accepted, its packet identifier before the packet is
//! sent. After a kill -9 the next session takes up where this one was. What the system had not yet written when
//! the power failed is missing: the end of the file is then torn, and cut off.
//!
//! When more of the file is dead than alive, the living is copied into a new one, which takes its place.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut, Bytes};

use super::packet::PacketId;
use crate::core::lock_file::{LockFile, NotLocked};
use crate::core::state_file::{folder, hidden, sync_folder, with_suffix};

const MAGIC: &[u8] = b"miqro outbox 1\n";
/// Length and checksum.
const HEAD: usize = 8;
/// Dead bytes that are not worth a new file.
const SPARE: u64 = 1 << 20;
/// A record is at most a packet and a little; a length above this is not one.
const MAX_RECORD: usize = 1 << 29;

/// What happened to a message, or to all. `M` is the message, for the journal as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note<M = Bytes> {
    /// It was accepted under this number; numbers only grow.
    Accepted(u64, M),
    /// It is about to be sent under this packet identifier.
    Sent(u64, PacketId),
    /// The broker has the QoS 2 message (PUBREC).
    Received(u64),
    /// It is not owed any more.
    Settled(u64),
    /// The broker has no session of ours: the packet identifiers mean nothing any more.
    SessionLost,
}

impl<M> Note<M> {
    /// The same, with the message in another form.
    pub fn map<N>(self, form: impl FnOnce(M) -> N) -> Note<N> {
        match self {
            Self::Accepted(number, message) => Note::Accepted(number, form(message)),
            Self::Sent(number, id) => Note::Sent(number, id),
            Self::Received(number) => Note::Received(number),
            Self::Settled(number) => Note::Settled(number),
            Self::SessionLost => Note::SessionLost,
        }
    }
}

impl Note {
    fn encode(&self, into: &mut Vec<u8>) {
        let start = into.len();
        into.put_bytes(0, HEAD);
        match self {
            Self::Accepted(number, body) => {
                into.put_u8(1);
                into.put_u64(*number);
                into.put_slice(body);
            }
            Self::Sent(number, id) => {
                into.put_u8(2);
                into.put_u64(*number);
                into.put_u16(*id);
            }
            Self::Received(number) => {
                into.put_u8(3);
                into.put_u64(*number);
            }
            Self::Settled(number) => {
                into.put_u8(4);
                into.put_u64(*number);
            }
            Self::SessionLost => into.put_u8(5),
        }
        let body = &into[start + HEAD..];
        let (length, checksum) = (u32::try_from(body.len()).unwrap_or(u32::MAX), crc32fast::hash(body));
        let mut head = &mut into[start..start + HEAD];
        head.put_u32(length);
        head.put_u32(checksum);
    }

    /// Takes a whole record off the front of `content`; `None`: there is none, it is torn, or none that we write.
    fn decode(content: &mut Bytes) -> Option<Self> {
        let mut head = content.get(..HEAD)?;
        let (length, checksum) = (head.get_u32() as usize, head.get_u32());
        if length > MAX_RECORD || content.len() < HEAD + length {
            return None;
        }
        let mut body = content.slice(HEAD..HEAD + length);
        if crc32fast::hash(&body) != checksum {
            return None;
        }
        let note = match body.try_get_u8().ok()? {
            // After the largest number there is no next one.
            1 => Self::Accepted(body.try_get_u64().ok().filter(|number| *number < u64::MAX)?, body),
            2 => Self::Sent(body.try_get_u64().ok()?, body.try_get_u16().ok().filter(|id| *id > 0)?),
            3 => Self::Received(body.try_get_u64().ok()?),
            4 => Self::Settled(body.try_get_u64().ok()?),
            5 => Self::SessionLost,
            _ => return None,
        };
        content.advance(HEAD + length);
        Some(note)
    }
}

/// A message that an earlier process owed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owed<M = Bytes> {
    /// Its number.
    pub number: u64,
    /// As it was given to [`Note::Accepted`].
    pub body: M,
    /// Under which identifier it may have been sent in a session that the broker may still have.
    pub id: Option<PacketId>,
    /// Whether the broker has said that it has it (PUBREC).
    pub received: bool,
}

/// Where a living message is in the file.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Of the record, head included.
    start: u64,
    length: usize,
    id: Option<PacketId>,
    received: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Where the next record goes.
    end: u64,
    living: BTreeMap<u64, Place>,
    /// Bytes of their records.
    living_bytes: u64,
    /// Whether the file misses a note: only a new file is right again.
    incomplete: bool,
    /// Writes to let pass before the next try at a new file, and how many it will be after that one.
    pause: (u32, u32),
    _lock: LockFile,
}

/// What [`Journal::open`] has found.
#[derive(Debug)]
pub struct Opened {
    /// The journal, ready to go on.
    pub journal: Journal,
    /// What is owed, in the order in which it was accepted.
    pub owed: Vec<Owed>,
    /// Bytes of a torn end that were cut off.
    pub torn: usize,
    /// Where a file went that is none of ours.
    pub set_aside: Option<PathBuf>,
}

/// Why there is no journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another session has it.
    #[error("it is in use by {}: two services must not share a SERVICE_NAME", holder(*.0))]
    InUse(Option<u32>),
    /// The system does not let us.
    #[error("{0}")]
    Io(#[from] io::Error),
}

fn holder(process: Option<u32>) -> String {
    match process {
        Some(pid) if pid == std::process::id() => "another session of this process".into(),
        Some(pid) => format!("process {pid}"),
        None => "another process".into(),
    }
}

impl Journal {
    /// Opens the file, or makes it, for this process alone.
    ///
    /// # Errors
    /// [`JournalError`]. A file that is not a journal, or ends in the middle of a record, is none: see [`Opened`].
    pub fn open(path: &Path) -> Result<Opened, JournalError> {
        fs::create_dir_all(folder(path))?;
        let lock = LockFile::take(&hidden(path, ".lock")).map_err(|error| match error {
            NotLocked::Taken(process) => JournalError::InUse(process),
            NotLocked::Unavailable => JournalError::Io(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "no file can be made beside it to lock it with",
            )),
        })?;
        let mut file = open(path, false)?;
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        let mut set_aside = None;
        if !content.starts_with(MAGIC) {
            // A crash may have left less than the first line: then nothing was accepted yet.
            if !MAGIC.starts_with(&content) {
                let aside = with_suffix(path, ".broken");
                fs::rename(path, &aside)?;
                file = open(path, false)?;
                set_aside = Some(aside);
            }
            file.write_all_at(MAGIC, 0)?;
            sync_folder(folder(path))?;
            content = MAGIC.to_vec();
        }
        let content = Bytes::from(content);
        let mut journal = Self {
            path: path.to_owned(),
            file,
            end: MAGIC.len() as u64,
            living: BTreeMap::new(),
            living_bytes: 0,
            incomplete: false,
            pause: (0, 0),
            _lock: lock,
        };
        let mut rest = content.slice(MAGIC.len()..);
        loop {
            let before = rest.len();
            let Some(note) = Note::decode(&mut rest) else { break };
            journal.apply(&note, before - rest.len());
        }
        if !rest.is_empty() {
            // Behind the next record no old bytes may follow that could be taken for one.
            journal.file.set_len(journal.end)?;
        }
        let owed = journal.living.iter().map(|(&number, place)| {
            // Kind and number stand between the head and the body.
            let start = usize::try_from(place.start).unwrap_or(usize::MAX);
            let body = content.slice(start + HEAD + 9..start + place.length);
            Owed { number, body, id: place.id, received: place.received }
        });
        let owed = owed.collect();
        Ok(Opened { owed, torn: rest.len(), set_aside, journal })
    }

    /// Writes down what has happened, in one system call, and takes it out of `notes`.
    ///
    /// # Errors
    /// The system's: the disk is full, or fails. Messages among the notes are then not in the file; what the file has
    /// stays as it was, and later notes are written when there is room again.
    pub fn write(&mut self, notes: &mut Vec<Note>) -> io::Result<()> {
        if notes.is_empty() {
            return Ok(());
        }
        let mut records = Vec::with_capacity(notes.len() * 32);
        let mut lengths = Vec::with_capacity(notes.len());
        for note in notes.iter() {
            let before = records.len();
            note.encode(&mut records);
            lengths.push(records.len() - before);
        }
        let written = if self.incomplete { self.renew() } else { Ok(()) };
        let written = written.and_then(|()| self.file.write_all_at(&records, self.end));
        if written.is_err() {
            // What was written in part must not stand behind a later record. If even that fails, reading stops here.
            let _ = self.file.set_len(self.end);
        }
        for (note, length) in notes.drain(..).zip(lengths) {
            match (&written, &note) {
                (Ok(()), _) => self.apply(&note, length),
                (Err(_), Note::Accepted(..)) => {}
                (Err(_), note) => {
                    self.remember(note);
                    self.incomplete = true;
                }
            }
        }
        written?;
        if self.end > MAGIC.len() as u64 + 2 * self.living_bytes + SPARE {
            self.renew()?;
        }
        Ok(())
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.end
    }

    /// Messages that are owed by the file.
    pub fn len(&self) -> usize {
        self.living.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.living.is_empty()
    }

    /// Takes note of what is in the file, in a record of this length.
    fn apply(&mut self, note: &Note, length: usize) {
        if let Note::Accepted(number, _) = note {
            let place = Place { start: self.end, length, id: None, received: false };
            let before = self.living.insert(*number, place);
            self.living_bytes += length as u64;
            self.living_bytes -= before.map_or(0, |place| place.length as u64);
        } else {
            self.remember(note);
        }
        self.end += length as u64;
    }

    fn remember(&mut self, note: &Note) {
        match note {
            Note::Accepted(..) => {}
            Note::Sent(number, id) => {
                if let Some(place) = self.living.get_mut(number) {
                    place.id = Some(*id);
                }
            }
            Note::Received(number) => {
                if let Some(place) = self.living.get_mut(number) {
                    place.received = true;
                }
            }
            Note::Settled(number) => {
                if let Some(place) = self.living.remove(number) {
                    self.living_bytes -= place.length as u64;
                }
            }
            Note::SessionLost => {
                for place in self.living.values_mut() {
                    (place.id, place.received) = (None, false);
                }
            }
        }
    }

    /// Copies what lives into a new file, which takes the place of the old one. After a failure the next tries
    /// come ever less often: each costs as much as it copies.
    fn renew(&mut self) -> io::Result<()> {
        let (left, next) = &mut self.pause;
        if *left > 0 {
            *left -= 1;
            return if self.incomplete {
                Err(io::Error::new(io::ErrorKind::StorageFull, "the file could not be written a moment ago"))
            } else {
                Ok(())
            };
        }
        *next = (*next * 2).clamp(1, 1024);
        *left = *next;
        let temporary = hidden(&self.path, ".tmp");
        match self.copy_to(&temporary).and_then(|copy| fs::rename(&temporary, &self.path).map(|()| copy)) {
            Ok((file, living, end)) => {
                (self.file, self.living, self.end) = (file, living, end);
                (self.incomplete, self.pause) = (false, (0, 0));
                sync_folder(folder(&self.path))
            }
            Err(error) => {
                let _ = fs::remove_file(&temporary);
                Err(error)
            }
        }
    }

    fn copy_to(&self, temporary: &Path) -> io::Result<(File, BTreeMap<u64, Place>, u64)> {
        let file = open(temporary, true)?;
        let mut living = BTreeMap::new();
        let mut records = MAGIC.to_vec();
        let mut end = 0;
        for (&number, &place) in &self.living {
            living.insert(number, Place { start: end + records.len() as u64, ..place });
            let record = records.len();
            records.resize(record + place.length, 0);
            self.file.read_exact_at(&mut records[record..], place.start)?;
            if let Some(id) = place.id {
                Note::Sent(number, id).encode(&mut records);
            }
            if place.received {
                Note::Received(number).encode(&mut records);
            }
            if records.len() as u64 > SPARE {
                file.write_all_at(&records, end)?;
                end += records.len() as u64;
                records.clear();
            }
        }
        file.write_all_at(&records, end)?;
        // Else a power failure could leave the new name with nothing behind it.
        file.sync_all()?;
        Ok((file, living, end + records.len() as u64))
    }
}

fn open(path: &Path, new: bool) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(new).mode(0o600).open(path)
}
