//! What the durable outbox (contract C44) puts into its journal: messages with the time of their acceptance; and what
//! the service hears when the file fails.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::codec::{self, MAX_REMAINING_LENGTH};
use super::event::Event;
use super::journal::{Journal, JournalError, Note, Opened, Owed};
use super::message::Message;
use super::packet::{Packet, Version};

/// The journal of a session, and whether it is known to have failed.
#[derive(Debug)]
pub(super) struct Durable {
    /// `None`: it could not be opened.
    journal: Option<Journal>,
    path: String,
    /// Whether the file fails, as far as the service knows.
    failing: bool,
    /// When the service was last told that it fails. A disk that is full has room for a little now and then: that is
    /// not news each time.
    told: Option<Instant>,
}

impl Durable {
    /// Opens the journal: what an earlier process owed, and what there is to say of it. Without a file the session
    /// works as one that is not durable.
    pub fn open(path: &str) -> (Self, Vec<Owed<Message>>, Vec<Event>) {
        let (mut events, mut kept) = (Vec::new(), Vec::new());
        let mut say = |text: String, trouble| events.push(Event::Storage { text, trouble });
        let journal = match Journal::open(Path::new(path)) {
            Ok(Opened { journal, owed, torn, set_aside }) => {
                if let Some(aside) = set_aside {
                    let aside = aside.display();
                    say(
                        format!("{path} was not an outbox of miqro and is now {aside}; a new one was made"),
                        true,
                    );
                }
                if torn > 0 {
                    say(
                        format!("the last {torn} bytes of {path} were not written whole, and are left out"),
                        true,
                    );
                }
                let now = since_epoch();
                let count = owed.len();
                kept.extend(owed.into_iter().filter_map(|owed| message(owed, now)));
                if count > kept.len() {
                    let lost = count - kept.len();
                    say(format!("{lost} messages in {path} cannot be read, and are left out"), true);
                }
                if !kept.is_empty() {
                    let count = kept.len();
                    say(
                        format!("{count} messages of an earlier run are still to be sent, from {path}"),
                        false,
                    );
                }
                Some(journal)
            }
            Err(JournalError::InUse(holder)) => {
                let error = JournalError::InUse(holder);
                say(format!("the durable outbox {path} cannot be used: {error}. {WITHOUT}"), true);
                None
            }
            Err(JournalError::Io(error)) => {
                say(
                    format!(
                        "the durable outbox {path} cannot be used ({error}): the folder must be there and belong to \
                         the user of the service. {WITHOUT}"
                    ),
                    true,
                );
                None
            }
        };
        (Self { journal, path: path.to_owned(), failing: false, told: None }, kept, events)
    }

    /// Writes down what has happened. What there is to say of it: the first failure, and when it works again.
    pub fn write(&mut self, notes: Vec<Note<Message>>) -> Option<Event> {
        let journal = self.journal.as_mut()?;
        let now = since_epoch();
        let mut notes = notes.into_iter().map(|note| note.map(|message| body(message, now))).collect();
        let path = &self.path;
        match journal.write(&mut notes) {
            Err(error) if !self.failing && self.told.is_none_or(|told| told.elapsed() > NEWS) => {
                (self.failing, self.told) = (true, Some(Instant::now()));
                let text = format!(
                    "the durable outbox {path} cannot be written ({error}): messages are sent, but those published now \
                     do not survive a crash"
                );
                Some(Event::Storage { text, trouble: true })
            }
            Ok(()) if self.failing => {
                self.failing = false;
                Some(Event::Storage {
                    text: format!("the durable outbox {path} can be written again"),
                    trouble: false,
                })
            }
            _ => None,
        }
    }
}

/// How long a failure of the file is not told again.
const NEWS: Duration = Duration::from_secs(3600);

const WITHOUT: &str = "Messages are sent, but do not survive a crash";

/// The wall clock, which goes on while no process is there.
fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The time in milliseconds, and the message as a PUBLISH of MQTT 5, which can carry all that a message may have.
fn body(mut message: Message, now: Duration) -> Bytes {
    let mut body = BytesMut::with_capacity(message.size() + 64);
    body.put_u64(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
    // What cannot be encoded was refused before it was accepted.
    let _ = codec::encode_publish(&mut message, 1, false, &mut body, Version::V5);
    body.freeze()
}

fn message(owed: Owed, now: Duration) -> Option<Owed<Message>> {
    let Owed { number, mut body, id, received } = owed;
    let accepted = Duration::from_millis(body.try_get_u64().ok()?);
    let packet = codec::decode(&mut body.into(), MAX_REMAINING_LENGTH, Version::V5).ok()??;
    let Packet::Publish(mut message, _) = packet else { return None };
    if let Some(properties) = &mut message.properties
        && let Some(expiry) = &mut properties.expiry
    {
        let age = now.saturating_sub(accepted).as_secs();
        *expiry = expiry.saturating_sub(u32::try_from(age).unwrap_or(u32::MAX));
    }
    Some(Owed { number, body: message, id, received })
}
