//! Every message that is still owed to the broker: the truth about what was accepted (design decision 2).
//!
//! A message is in exactly one place: waiting in the queue, in flight (QoS 1 and 2, until acknowledged), or
//! being written (QoS 0, until its last byte is in the socket). Order is the order of publishing.

use std::collections::VecDeque;
use std::sync::Arc;

use super::completion::{Completion, Outcome, PublishFailure};
use super::message::{Message, QoS};
use super::packet::PacketId;
use super::queue::Queue;

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

impl Outgoing {
    /// Whether only the newest of its kind on its topic need be kept while the broker is away.
    pub(super) fn is_coalescing(&self) -> bool {
        self.message.qos == QoS::AtMostOnce && self.message.retain
    }
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

impl Limits {
    fn doubled(self) -> Self {
        let Self { messages, bytes, window } = self;
        Self { messages: messages.saturating_mul(2), bytes: bytes.saturating_mul(2), window }
    }

    /// Whether a message of `size` bytes is too many on top of `count` messages of `bytes` bytes. A message
    /// larger than the byte limit has room when it is the only one.
    fn exceeded(&self, count: usize, bytes: usize, size: usize) -> bool {
        count >= self.messages || (count > 0 && bytes + size > self.bytes)
    }
}

/// Where a message stands among the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Urgency {
    /// Behind what was published before, when there is room.
    #[default]
    Ordinary,
    /// What a service says on each connect: ahead of what waits, and though the queue is full.
    Greeting,
    /// What it says at its end: behind what was published before, but though the queue is full.
    Farewell,
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
        Admission::Accepted { dropped: Vec::new() }
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
        Admission::Accepted { dropped: Vec::new() }
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
        let mut dropped = Vec::new();
        while self.is_full_for(size, Urgency::Ordinary)
            && let Some(oldest) = self.queue.take_oldest_qos0()
        {
            self.unaccount(&oldest);
            oldest.completion.resolve(Outcome::Failed(PublishFailure::Dropped));
            dropped.push(oldest.message.topic);
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
        // What is left of the greeting goes to the queue, behind what was taken from it before.
        while let Some(outgoing) = self.lane.pop_back() {
            self.queue.push_front(outgoing);
        }
        while let Some((_, outgoing)) = self.writing.pop_back() {
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
