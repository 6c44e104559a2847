//! What outlives the process, where the outbox is durable (contract C44).

use std::time::Duration;

use super::super::journal::{Note, Owed};
use super::super::message::Message;
use super::super::outbox::Kept;
use super::Protocol;

impl Protocol {
    /// Takes up what an earlier process owed, in order. From now on the journal wants to know: see
    /// [`Self::take_notes`].
    pub fn restore(&mut self, owed: Vec<Owed<Message>>, now: Duration) {
        let kept = owed.into_iter().map(|owed| {
            let Owed { number, body: message, id, received } = owed;
            Kept { outgoing: self.outgoing(message, now, number), id, received }
        });
        let kept = kept.collect();
        self.outbox.restore(kept);
    }

    /// What the journal has to be told; to be called after each change, before it has an effect outside.
    pub fn take_notes(&mut self) -> Vec<Note<Message>> {
        self.outbox.take_notes()
    }
}
