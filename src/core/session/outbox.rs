//! Every message that is still owed to the broker: the truth about what was accepted (design decision 2).
//!
//! A message is in exactly one place: waiting in the queue, in flight (QoS 1 and 2, until acknowledged), or
//! being written (QoS 0, until its last byte is in the socket). Order is the order of publishing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::completion::{Outcome, PublishFailure};
use super::event::Event;
use super::journal::Note;
pub use super::limits::{Limits, Terms};
use super::message::{Message, QoS};
pub use super::outgoing::{Admission, Kept, Outgoing, Urgency};
use super::packet::PacketId;
use super::queue::Queue;

/// What the outbox wants to be sent next.
#[derive(Debug)]
pub enum Next<'a> {
    /// A PUBLISH; the identifier is zero at QoS 0.
    Publish {
        /// The message; lent for encoding.
        message: &'a mut Message,
        /// Its packet identifier.
        id: PacketId,
        /// Whether it was on the wire before.
        dup: bool,
    },
    /// A PUBREL for a message that the broker has, so far without its PUBCOMP.
    Release(PacketId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Wants PUBACK or PUBREC.
    Publish,
    /// Wants PUBCOMP.
    Release,
}

/// What [`Outbox::next_due`] has found.
enum Due {
    Entry(usize),
    /// The broker has to acknowledge something first.
    Wait,
    Nothing,
}

#[derive(Debug)]
struct InFlight {
    id: PacketId,
    outgoing: Outgoing,
    stage: Stage,
    /// To be sent (again) on this connection.
    due: bool,
    dup: bool,
    /// Where its PUBLISH began in this connection's stream of bytes.
    offset: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Outbox {
    limits: Limits,
    terms: Terms,
    /// What is sent first after a connect, ahead of the queue: the greeting.
    lane: VecDeque<Outgoing>,
    queue: Queue,
    inflight: VecDeque<InFlight>,
    /// How many of them are due.
    due: usize,
    /// QoS 0 messages with the offset of their last byte in this connection's stream.
    writing: VecDeque<(u64, Outgoing)>,
    count: usize,
    bytes: usize,
    /// Messages with a deadline.
    expiring: usize,
    last_id: PacketId,
    /// What the service has to hear.
    notices: Vec<Event>,
    /// What was said of the terms on this connection: of the quality of service, of retained messages.
    told: (bool, bool),
    /// What the journal has to be told.
    notes: Vec<Note<Message>>,
    /// The number in the journal that was given out last; `None` without a journal.
    last_number: Option<u64>,
}

impl Outbox {
    /// An empty one.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            terms: Terms::default(),
            lane: VecDeque::new(),
            queue: Queue::default(),
            inflight: VecDeque::new(),
            due: 0,
            writing: VecDeque::new(),
            count: 0,
            bytes: 0,
            expiring: 0,
            last_id: 0,
            notices: Vec::new(),
            told: (false, false),
            notes: Vec::new(),
            last_number: None,
        }
    }

    /// From now on there is a journal; this is what is in it.
    pub fn restore(&mut self, owed: Vec<Kept>) {
        for kept in owed {
            let Kept { outgoing, id, received } = kept;
            self.last_number = self.last_number.max(Some(outgoing.number));
            self.account(&outgoing);
            match id {
                Some(id) => self.inflight.push_back(InFlight {
                    id,
                    outgoing,
                    stage: if received { Stage::Release } else { Stage::Publish },
                    due: true,
                    dup: true,
                    offset: 0,
                }),
                None => self.queue.push_back(outgoing),
            }
        }
        self.due = self.inflight.len();
        self.last_number.get_or_insert(0);
        // It knows all that.
        self.notes.clear();
    }

    /// A number for a message that the journal is to have; zero for others. A greeting or farewell is of its time: a
    /// later process says its own.
    pub fn number(&mut self, message: &Message, urgency: Urgency) -> u64 {
        match &mut self.last_number {
            Some(last) if message.qos > QoS::AtMostOnce && urgency == Urgency::Ordinary => {
                *last += 1;
                *last
            }
            _ => 0,
        }
    }

    /// What the journal has to be told, in order: before anything of it has an effect outside.
    pub fn take_notes(&mut self) -> Vec<Note<Message>> {
        std::mem::take(&mut self.notes)
    }

    fn note(&mut self, number: u64, note: impl FnOnce(u64) -> Note<Message>) {
        if number > 0 {
            self.notes.push(note(number));
        }
    }

    /// Limits for messages still to come; what is queued stays.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Messages owed.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether nothing is owed.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether messages wait to be sent, and none is in flight whose acknowledgement sets the pace.
    pub fn is_unpaced(&self) -> bool {
        self.inflight.is_empty() && self.has_unsent()
    }

    /// Whether messages wait that were not sent on any connection.
    pub fn has_unsent(&self) -> bool {
        !self.lane.is_empty() || self.queue.front().is_some()
    }

    /// Bytes of topic and payload owed.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a message of `size` bytes has to wait. What must not wait for the queue has as much room again.
    pub fn is_full_for(&self, size: usize, urgency: Urgency) -> bool {
        let limits = match urgency {
            Urgency::Ordinary => self.limits,
            Urgency::Greeting | Urgency::Farewell => self.limits.doubled(),
        };
        limits.exceeded(self.count, self.bytes, size)
    }

    /// Whether a quarter of it is free.
    pub fn is_roomy(&self) -> bool {
        !self.limits.exceeded(self.count + self.count / 3, self.bytes + self.bytes / 3, 0)
    }

    /// Takes a message while connected: there is room, or there is not.
    pub fn admit(&mut self, outgoing: Outgoing, urgency: Urgency) -> Admission {
        if self.is_full_for(outgoing.message.size(), urgency) {
            return Admission::Full(outgoing);
        }
        if urgency == Urgency::Greeting {
            return self.admit_greeting(outgoing);
        }
        self.account(&outgoing);
        self.queue.push_back(outgoing);
        Admission::Accepted { dropped: 0 }
    }

    /// Takes a message of the greeting, which overtakes the queue: all but what was published before on its
    /// own topic, for the topic's last message must stay the last.
    fn admit_greeting(&mut self, outgoing: Outgoing) -> Admission {
        self.supersede(&outgoing);
        self.account(&outgoing);
        let topic = &outgoing.message.topic;
        let in_flight = self.inflight.iter().any(|entry| entry.due && entry.outgoing.message.topic == *topic);
        if in_flight || self.queue.has_topic(topic) {
            self.queue.push_back(outgoing);
        } else {
            self.lane.push_back(outgoing);
        }
        Admission::Accepted { dropped: 0 }
    }

    /// Takes a message while offline (C44): of retained QoS 0 messages of one topic only the newest is kept,
    /// and the oldest QoS 0 messages make room. Where even that would not help, nothing is changed.
    pub fn admit_offline(&mut self, outgoing: Outgoing) -> Admission {
        let size = outgoing.message.size();
        let (count, bytes) = self.queue.qos0();
        if self.limits.exceeded(self.count - count, self.bytes - bytes, size) {
            return Admission::Full(outgoing);
        }
        self.supersede(&outgoing);
        let mut dropped = 0;
        while self.is_full_for(size, Urgency::Ordinary)
            && let Some(oldest) = self.queue.take_oldest_qos0()
        {
            self.unaccount(&oldest);
            oldest.completion.resolve(Outcome::Failed(PublishFailure::Dropped));
            dropped += 1;
        }
        self.account(&outgoing);
        self.queue.push_back_coalescing(outgoing);
        Admission::Accepted { dropped }
    }

    /// Takes the message out of the queue whose place `newer` takes.
    fn supersede(&mut self, newer: &Outgoing) {
        if newer.is_coalescing()
            && let Some(older) = self.queue.take_superseded(&newer.message.topic)
        {
            self.unaccount(&older);
            older.completion.resolve(Outcome::Done);
        }
    }

    /// Gives up the messages in the queue whose time is over. Says whether there were any.
    pub fn expire(&mut self, now: Duration) -> bool {
        if self.expiring == 0 {
            return false;
        }
        let expired = self.queue.take_expired(|outgoing| outgoing.has_expired(now));
        for outgoing in &expired {
            self.fail(outgoing, PublishFailure::Expired);
        }
        !expired.is_empty()
    }

    /// The broker has accepted us, and this is what it takes.
    pub fn connected(&mut self, terms: Terms, session_present: bool) {
        self.terms = terms;
        self.told = (false, false);
        let too_high = |entry: &InFlight| entry.outgoing.message.qos > terms.maximum_qos;
        if !session_present || self.inflight.iter().any(too_high) {
            self.session_lost();
        }
    }

    /// What the broker takes on this connection.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// What the service has to hear of messages that the broker does not take as they are.
    pub fn take_notices(&mut self, events: &mut Vec<Event>) {
        events.append(&mut self.notices);
    }

    /// Whether the next message need not wait for an acknowledgement; with `greeting` only the lane is looked at.
    pub fn can_send(&self, greeting: bool) -> bool {
        let head = self.lane.front().or_else(|| if greeting { None } else { self.queue.front() });
        head.is_some_and(|head| {
            head.message.qos.min(self.terms.maximum_qos) == QoS::AtMostOnce
                || self.inflight.len() < self.window()
        })
    }

    fn window(&self) -> usize {
        self.limits.window.min(self.terms.window)
    }

    /// Hands out what is to be sent next and counts it as sent; `None` when there is nothing, or the window
    /// is full. `offset` is where it will begin in this connection's stream; with `greeting` only the lane
    /// is looked at. Call [`Self::sent`] with the offset of its end.
    pub fn next(
        &mut self,
        offset: u64,
        now: Duration,
        greeting: bool,
        busy: impl Fn(PacketId) -> bool,
    ) -> Option<Next<'_>> {
        if !greeting && self.due > 0 {
            match self.next_due() {
                Due::Entry(index) => return Some(self.resend(index, offset, now)),
                Due::Wait => return None,
                Due::Nothing => {}
            }
        }
        let mut outgoing = loop {
            let head = self.lane.front().or_else(|| if greeting { None } else { self.queue.front() })?;
            let qos = head.message.qos.min(self.terms.maximum_qos);
            if qos != QoS::AtMostOnce && self.inflight.len() >= self.window() {
                return None;
            }
            let mut outgoing = self.lane.pop_front().or_else(|| self.queue.pop_front())?;
            if self.fits(&mut outgoing, now) {
                break outgoing;
            }
        };
        outgoing.age(now);
        if outgoing.message.qos == QoS::AtMostOnce {
            self.writing.push_back((u64::MAX, outgoing));
            let (_, outgoing) = self.writing.back_mut()?;
            return Some(Next::Publish { message: &mut outgoing.message, id: 0, dup: false });
        }
        let id = self.free_id(busy);
        self.note(outgoing.number, |number| Note::Sent(number, id));
        self.inflight.push_back(InFlight {
            id,
            outgoing,
            stage: Stage::Publish,
            due: false,
            dup: false,
            offset,
        });
        let entry = self.inflight.back_mut()?;
        Some(Next::Publish { message: &mut entry.outgoing.message, id, dup: false })
    }

    /// What is to be sent again next. Messages that the broker does not take any more are given up on the way.
    fn next_due(&mut self) -> Due {
        while let Some(index) = self.inflight.iter().position(|entry| entry.due) {
            let entry = &self.inflight[index];
            if entry.stage == Stage::Release {
                return Due::Entry(index);
            }
            if let Err(reason) = self.terms.check_size(&entry.outgoing.message) {
                self.due -= 1;
                if let Some(entry) = self.inflight.remove(index) {
                    self.reject(&entry.outgoing, reason.into());
                }
                continue;
            }
            // A broker that takes fewer than it did is not to be overrun by what is sent again.
            let under_way = self.inflight.len() - self.due;
            return if under_way < self.terms.window { Due::Entry(index) } else { Due::Wait };
        }
        Due::Nothing
    }

    fn resend(&mut self, index: usize, offset: u64, now: Duration) -> Next<'_> {
        self.due -= 1;
        let retain = self.terms.retain;
        let entry = &mut self.inflight[index];
        entry.due = false;
        match entry.stage {
            Stage::Publish => {
                entry.offset = offset;
                entry.outgoing.age(now);
                entry.outgoing.message.retain &= retain;
                Next::Publish { message: &mut entry.outgoing.message, id: entry.id, dup: entry.dup }
            }
            Stage::Release => Next::Release(entry.id),
        }
    }

    /// Makes a message what the broker takes, and says so once; or gives it up, and says that.
    fn fits(&mut self, outgoing: &mut Outgoing, now: Duration) -> bool {
        if outgoing.has_expired(now) {
            self.fail(outgoing, PublishFailure::Expired);
            return false;
        }
        if let Err(reason) = self.terms.check_size(&outgoing.message) {
            self.reject(outgoing, reason.into());
            return false;
        }
        let message = &mut outgoing.message;
        let maximum = self.terms.maximum_qos;
        if message.qos > maximum {
            message.qos = maximum;
            if !std::mem::replace(&mut self.told.0, true) {
                let reason = format!(
                    "the broker takes messages up to QoS {}: others are sent with that",
                    maximum as u8
                );
                self.notices.push(Event::Limited { reason });
            }
        }
        if message.retain && !self.terms.retain {
            message.retain = false;
            if !std::mem::replace(&mut self.told.1, true) {
                let reason = "the broker keeps no messages (retain): they are sent as ordinary ones".into();
                self.notices.push(Event::Limited { reason });
            }
        }
        true
    }

    /// The broker does not take a message: its publisher is told, and the service.
    fn reject(&mut self, outgoing: &Outgoing, reason: Arc<str>) {
        let topic = outgoing.message.topic.clone();
        self.notices.push(Event::Rejected { topic, reason: Arc::clone(&reason), count: 1 });
        self.fail(outgoing, PublishFailure::Refused(reason));
    }

    fn fail(&mut self, outgoing: &Outgoing, failure: PublishFailure) {
        self.unaccount(outgoing);
        outgoing.completion.resolve(Outcome::Failed(failure));
    }

    /// The message that [`Self::next`] gave out last ends at `offset` of the stream.
    pub fn sent(&mut self, offset: u64) {
        if let Some((end, _)) = self.writing.back_mut()
            && *end == u64::MAX
        {
            *end = offset;
        }
    }

    /// The socket has taken the stream up to `offset`: QoS 0 messages that end there are done.
    pub fn written(&mut self, offset: u64, done: &mut impl FnMut(u16)) {
        while self.writing.front().is_some_and(|(end, _)| *end <= offset) {
            if let Some((_, outgoing)) = self.writing.pop_front() {
                self.finish(&outgoing, done);
            }
        }
    }

    /// PUBACK, or the PUBCOMP of a QoS 2 message. Says whether it was awaited.
    pub fn acknowledged(&mut self, id: PacketId, qos: QoS, done: &mut impl FnMut(u16)) -> bool {
        let awaited = |entry: &InFlight| {
            entry.id == id
                && entry.outgoing.message.qos == qos
                && (qos == QoS::AtLeastOnce || entry.stage == Stage::Release)
        };
        let Some(index) = self.inflight.iter().position(awaited) else { return false };
        if let Some(entry) = self.inflight.remove(index) {
            self.due -= usize::from(entry.due);
            self.finish(&entry.outgoing, done);
        }
        true
    }

    /// PUBACK or PUBREC with the reason why the broker does not take the message: it is not sent again
    /// (MQTT-4.4.0-1), and its identifier is free. Says whether it was awaited.
    pub fn refused(&mut self, id: PacketId, qos: QoS, reason: String) -> bool {
        let awaited = |entry: &InFlight| {
            entry.id == id && entry.outgoing.message.qos == qos && entry.stage == Stage::Publish
        };
        let Some(index) = self.inflight.iter().position(awaited) else { return false };
        if let Some(entry) = self.inflight.remove(index) {
            self.due -= usize::from(entry.due);
            self.reject(&entry.outgoing, reason.into());
        }
        true
    }

    /// PUBREC: the broker has the QoS 2 message. It is kept until PUBCOMP, since a broker that loses its
    /// session in between has lost the message too. Says whether it was awaited.
    pub fn received(&mut self, id: PacketId) -> bool {
        let awaited =
            |entry: &&mut InFlight| entry.id == id && entry.outgoing.message.qos == QoS::ExactlyOnce;
        let Some(entry) = self.inflight.iter_mut().find(awaited) else { return false };
        entry.stage = Stage::Release;
        let number = entry.outgoing.number;
        self.due -= usize::from(std::mem::take(&mut entry.due));
        self.note(number, Note::Received);
        true
    }

    /// The connection ended after the socket had taken `offset` bytes: what is in flight is due again. What was not
    /// written, or at QoS 0 not written whole, goes back to the head of the queue, in order: the broker has seen
    /// nothing of it, and at another QoS it must not be overtaken by what came after it.
    pub fn connection_lost(&mut self, offset: u64) {
        let mut unseen = Vec::new();
        for mut entry in std::mem::take(&mut self.inflight) {
            let written = entry.dup || entry.due || entry.stage == Stage::Release || entry.offset < offset;
            if written {
                entry.dup |= !entry.due && entry.stage == Stage::Publish;
                entry.due = true;
                self.inflight.push_back(entry);
            } else {
                // Behind what ends where it begins.
                unseen.push((entry.offset, true, entry.outgoing));
            }
        }
        self.due = self.inflight.len();
        unseen.extend(self.writing.drain(..).map(|(end, outgoing)| (end, false, outgoing)));
        unseen.sort_by_key(|(place, begins, _)| (*place, *begins));
        // What is left of the greeting goes behind what was taken from it before.
        while let Some(outgoing) = self.lane.pop_back() {
            self.queue.push_front(outgoing);
        }
        for (_, _, outgoing) in unseen.into_iter().rev() {
            self.queue.push_front(outgoing);
        }
    }

    /// The broker has no session of ours: what was in flight is sent as new, in order, ahead of the queue.
    fn session_lost(&mut self) {
        if self.last_number.is_some() && !self.inflight.is_empty() {
            self.notes.push(Note::SessionLost);
        }
        while let Some(entry) = self.inflight.pop_back() {
            self.queue.push_front(entry.outgoing);
        }
        self.due = 0;
    }

    /// Whether an in-flight message holds this identifier.
    pub fn holds(&self, id: PacketId) -> bool {
        self.inflight.iter().any(|entry| entry.id == id)
    }

    /// An identifier that neither the outbox nor `busy` has in use.
    pub fn free_id(&mut self, busy: impl Fn(PacketId) -> bool) -> PacketId {
        loop {
            self.last_id = if self.last_id == PacketId::MAX { 1 } else { self.last_id + 1 };
            if !self.holds(self.last_id) && !busy(self.last_id) {
                return self.last_id;
            }
        }
    }

    /// Gives everything up; the publishers are told.
    pub fn abandon(&mut self) {
        let queued = std::iter::from_fn(|| self.queue.pop_front());
        let all = self
            .lane
            .drain(..)
            .chain(self.writing.drain(..).map(|(_, outgoing)| outgoing))
            .chain(self.inflight.drain(..).map(|entry| entry.outgoing))
            .chain(queued);
        for outgoing in all {
            outgoing.completion.resolve(Outcome::Failed(PublishFailure::Closed));
        }
        self.count = 0;
        self.bytes = 0;
        self.due = 0;
        self.expiring = 0;
    }

    fn finish(&mut self, outgoing: &Outgoing, done: &mut impl FnMut(u16)) {
        self.unaccount(outgoing);
        outgoing.completion.resolve(Outcome::Done);
        done(outgoing.mid);
    }

    fn account(&mut self, outgoing: &Outgoing) {
        self.count += 1;
        self.expiring += usize::from(outgoing.deadline.is_some());
        self.bytes += outgoing.message.size();
        self.note(outgoing.number, |number| Note::Accepted(number, outgoing.message.clone()));
    }

    fn unaccount(&mut self, outgoing: &Outgoing) {
        self.count -= 1;
        self.expiring -= usize::from(outgoing.deadline.is_some());
        self.bytes -= outgoing.message.size();
        self.note(outgoing.number, Note::Settled);
    }
}
