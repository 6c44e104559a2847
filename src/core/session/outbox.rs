//! Every message that is still owed to the broker: the truth about what was accepted (design decision 2).
//!
//! A message is in exactly one place: waiting in the queue, in flight (QoS 1 and 2, until acknowledged), or
//! being written (QoS 0, until its last byte is in the socket). Order is the order of publishing.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::completion::{Completion, Outcome, PublishFailure};
use super::message::{Message, QoS};
use super::packet::PacketId;

/// A message with what its publisher is waiting for.
#[derive(Debug)]
pub struct Outgoing {
    /// What to send.
    pub message: Message,
    /// Resolved when the broker has it.
    pub completion: Arc<Completion>,
    /// The number under which the publisher knows it.
    pub mid: u16,
}

/// The bounds of the outbox.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Messages, everywhere in the outbox.
    pub messages: usize,
    /// Bytes of topic and payload.
    pub bytes: usize,
    /// QoS 1 and 2 messages in flight. mosquitto 2.0.11 loses QoS 2 messages above 20 (its
    /// `max_inflight_messages`), though it acknowledges each.
    pub window: usize,
}

/// What became of a message handed to [`Outbox::admit`].
#[derive(Debug)]
pub enum Admission {
    /// Kept.
    Accepted {
        /// The topics of older QoS 0 messages that were dropped for it.
        dropped: Vec<String>,
    },
    /// No room, and nothing that may be dropped. The message comes back.
    Full(Outgoing),
}

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
    /// What is sent first after a connect, ahead of the queue: the greeting.
    lane: VecDeque<Outgoing>,
    queue: Queue,
    inflight: VecDeque<InFlight>,
    /// QoS 0 messages with the offset of their last byte in this connection's stream.
    writing: VecDeque<(u64, Outgoing)>,
    count: usize,
    bytes: usize,
    last_id: PacketId,
}

impl Outbox {
    /// An empty one.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            lane: VecDeque::new(),
            queue: Queue::default(),
            inflight: VecDeque::new(),
            writing: VecDeque::new(),
            count: 0,
            bytes: 0,
            last_id: 0,
        }
    }

    /// Messages owed.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether nothing is owed.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of topic and payload owed.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a message of `size` bytes has to wait. A message larger than the byte limit has room when it
    /// is the only one.
    pub fn is_full_for(&self, size: usize) -> bool {
        self.count >= self.limits.messages || (self.count > 0 && self.bytes + size > self.limits.bytes)
    }

    /// Takes a message while connected: there is room, or there is not.
    pub fn admit(&mut self, outgoing: Outgoing, greeting: bool) -> Admission {
        if self.is_full_for(outgoing.message.size()) {
            return Admission::Full(outgoing);
        }
        self.account(&outgoing);
        if greeting {
            self.lane.push_back(outgoing);
        } else {
            self.queue.push_back(outgoing);
        }
        Admission::Accepted { dropped: Vec::new() }
    }

    /// Takes a message while offline (C44): of retained QoS 0 messages of one topic only the newest is kept,
    /// and the oldest QoS 0 messages make room.
    pub fn admit_offline(&mut self, outgoing: Outgoing) -> Admission {
        if outgoing.message.qos == QoS::AtMostOnce
            && outgoing.message.retain
            && let Some(older) = self.queue.take_superseded(&outgoing.message.topic)
        {
            self.unaccount(&older);
            older.completion.resolve(Outcome::Done);
        }
        let mut dropped = Vec::new();
        while self.is_full_for(outgoing.message.size()) {
            let Some(oldest) = self.queue.take_oldest_qos0() else {
                return Admission::Full(outgoing);
            };
            self.unaccount(&oldest);
            oldest.completion.resolve(Outcome::Failed(PublishFailure::Dropped));
            dropped.push(oldest.message.topic);
        }
        self.account(&outgoing);
        self.queue.push_back_coalescing(outgoing);
        Admission::Accepted { dropped }
    }

    /// Hands out what is to be sent next and counts it as sent; `None` when there is nothing, or the window
    /// is full. `offset` is where it will begin in this connection's stream; with `greeting` only the lane
    /// is looked at. Call [`Self::sent`] with the offset of its end.
    pub fn next(&mut self, offset: u64, greeting: bool, busy: impl Fn(PacketId) -> bool) -> Option<Next<'_>> {
        if !greeting && let Some(index) = self.inflight.iter().position(|entry| entry.due) {
            let entry = &mut self.inflight[index];
            entry.due = false;
            return Some(match entry.stage {
                Stage::Publish => {
                    entry.offset = offset;
                    Next::Publish { message: &mut entry.outgoing.message, id: entry.id, dup: entry.dup }
                }
                Stage::Release => Next::Release(entry.id),
            });
        }
        let qos = self.lane.front().or_else(|| if greeting { None } else { self.queue.front() })?.message.qos;
        if qos != QoS::AtMostOnce && self.inflight.len() >= self.limits.window {
            return None;
        }
        let outgoing = self.lane.pop_front().or_else(|| self.queue.pop_front())?;
        if qos == QoS::AtMostOnce {
            self.writing.push_back((u64::MAX, outgoing));
            let (_, outgoing) = self.writing.back_mut()?;
            return Some(Next::Publish { message: &mut outgoing.message, id: 0, dup: false });
        }
        let id = self.free_id(busy);
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
            self.finish(&entry.outgoing, done);
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
        entry.due = false;
        true
    }

    /// The connection ended after the socket had taken `offset` bytes: what is in flight is due again, and
    /// QoS 0 messages that were not written whole go back to the head of the queue.
    pub fn connection_lost(&mut self, offset: u64) {
        for entry in &mut self.inflight {
            entry.dup |= !entry.due && entry.stage == Stage::Publish && entry.offset < offset;
            entry.due = true;
        }
        while let Some((_, outgoing)) = self.writing.pop_back() {
            self.queue.push_front(outgoing);
        }
        // The greeting is said anew on the next connection; what it said belongs to this one.
        while let Some(outgoing) = self.lane.pop_back() {
            self.queue.push_front(outgoing);
        }
    }

    /// The broker has no session of ours: what was in flight is sent as new, in order, ahead of the queue.
    pub fn session_lost(&mut self) {
        while let Some(entry) = self.inflight.pop_back() {
            self.queue.push_front(entry.outgoing);
        }
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
    }

    fn finish(&mut self, outgoing: &Outgoing, done: &mut impl FnMut(u16)) {
        self.unaccount(outgoing);
        outgoing.completion.resolve(Outcome::Done);
        done(outgoing.mid);
    }

    fn account(&mut self, outgoing: &Outgoing) {
        self.count += 1;
        self.bytes += outgoing.message.size();
    }

    fn unaccount(&mut self, outgoing: &Outgoing) {
        self.count -= 1;
        self.bytes -= outgoing.message.size();
    }
}

/// A queue from whose middle messages can be taken: they leave a hole, and holes are closed when there are
/// more of them than messages, so that a sensor that runs for days without a broker costs no memory.
#[derive(Debug, Default)]
struct Queue {
    slots: VecDeque<Option<Outgoing>>,
    /// The number of the first slot; slots keep their number until the holes are closed.
    base: i64,
    holes: usize,
    /// Where the newest retained QoS 0 message of a topic waits. Only messages queued offline are in it.
    retained: HashMap<String, i64>,
    /// No QoS 0 message waits in front of this slot.
    qos0_from: i64,
}

impl Queue {
    fn front(&self) -> Option<&Outgoing> {
        // `pop_front` and `take` leave no hole at the front.
        self.slots.front().and_then(Option::as_ref)
    }

    fn push_back(&mut self, outgoing: Outgoing) {
        self.slots.push_back(Some(outgoing));
    }

    fn push_back_coalescing(&mut self, outgoing: Outgoing) {
        if outgoing.message.qos == QoS::AtMostOnce && outgoing.message.retain {
            let number = self.base + i64::try_from(self.slots.len()).unwrap_or(i64::MAX);
            self.retained.insert(outgoing.message.topic.clone(), number);
        }
        self.push_back(outgoing);
    }

    fn push_front(&mut self, outgoing: Outgoing) {
        self.slots.push_front(Some(outgoing));
        self.base -= 1;
        self.qos0_from = self.base;
    }

    fn pop_front(&mut self) -> Option<Outgoing> {
        let outgoing = self.slots.pop_front()??;
        if !self.retained.is_empty() && self.retained.get(&outgoing.message.topic) == Some(&self.base) {
            self.retained.remove(&outgoing.message.topic);
        }
        self.base += 1;
        self.trim();
        Some(outgoing)
    }

    fn take_superseded(&mut self, topic: &str) -> Option<Outgoing> {
        let number = self.retained.remove(topic)?;
        self.take(number)
    }

    fn take_oldest_qos0(&mut self) -> Option<Outgoing> {
        let start = usize::try_from(self.qos0_from - self.base).unwrap_or(0);
        let is_qos0 =
            |slot: &Option<Outgoing>| slot.as_ref().is_some_and(|o| o.message.qos == QoS::AtMostOnce);
        let Some(distance) = self.slots.iter().skip(start).position(is_qos0) else {
            self.qos0_from = self.base + i64::try_from(self.slots.len()).unwrap_or(0);
            return None;
        };
        let number = self.base + i64::try_from(start + distance).unwrap_or(0);
        self.qos0_from = number;
        let outgoing = self.take(number)?;
        if self.retained.get(&outgoing.message.topic) == Some(&number) {
            self.retained.remove(&outgoing.message.topic);
        }
        Some(outgoing)
    }

    fn take(&mut self, number: i64) -> Option<Outgoing> {
        let index = usize::try_from(number - self.base).ok()?;
        let outgoing = self.slots.get_mut(index)?.take()?;
        self.holes += 1;
        self.trim();
        if self.holes > 64 && self.holes > self.slots.len() / 2 {
            self.close_holes();
        }
        Some(outgoing)
    }

    fn trim(&mut self) {
        while matches!(self.slots.front(), Some(None)) {
            self.slots.pop_front();
            self.base += 1;
            self.holes -= 1;
        }
    }

    fn close_holes(&mut self) {
        self.slots.retain(Option::is_some);
        self.holes = 0;
        self.qos0_from = self.base;
        let coalescing = std::mem::take(&mut self.retained);
        for (number, slot) in (self.base..).zip(&self.slots) {
            if let Some(outgoing) = slot
                && outgoing.message.qos == QoS::AtMostOnce
                && outgoing.message.retain
                && coalescing.contains_key(&outgoing.message.topic)
            {
                self.retained.insert(outgoing.message.topic.clone(), number);
            }
        }
    }
}
