//! The queue of the outbox.

use std::collections::{HashMap, VecDeque};

use super::message::QoS;
use super::outbox::Outgoing;

/// A queue from whose middle messages can be taken: they leave a hole, and holes are closed when there are
/// more of them than messages, so that a sensor that runs for days without a broker costs no memory.
#[derive(Debug, Default)]
pub(super) struct Queue {
    slots: VecDeque<Option<Outgoing>>,
    /// The number of the first slot; slots keep their number until the holes are closed.
    base: i64,
    holes: usize,
    /// Where the retained QoS 0 message of a topic waits whose place a newer one takes. Messages that were
    /// queued while connected are not in it: they are not looked at twice.
    retained: HashMap<String, i64>,
    /// No QoS 0 message waits in front of this slot.
    qos0_from: i64,
    /// QoS 0 messages, and their bytes.
    qos0: (usize, usize),
}

impl Queue {
    /// The next message.
    pub fn front(&self) -> Option<&Outgoing> {
        // `pop_front` and `take` leave no hole at the front.
        self.slots.front().and_then(Option::as_ref)
    }

    /// QoS 0 messages in it, and their bytes.
    pub fn qos0(&self) -> (usize, usize) {
        self.qos0
    }

    /// Whether a message for this topic waits.
    pub fn has_topic(&self, topic: &str) -> bool {
        self.slots.iter().flatten().any(|outgoing| outgoing.message.topic == topic)
    }

    /// Takes a message that was published while connected.
    pub fn push_back(&mut self, outgoing: Outgoing) {
        self.count_in(&outgoing);
        self.slots.push_back(Some(outgoing));
    }

    /// Takes a message that was published offline, and whose place a newer one may take.
    pub fn push_back_coalescing(&mut self, outgoing: Outgoing) {
        if outgoing.is_coalescing() {
            let number = self.base + i64::try_from(self.slots.len()).unwrap_or(i64::MAX);
            self.retained.insert(outgoing.message.topic.clone(), number);
        }
        self.push_back(outgoing);
    }

    /// Takes a message back that was on its way when the connection was lost.
    pub fn push_front(&mut self, outgoing: Outgoing) {
        self.base -= 1;
        if outgoing.is_coalescing() {
            self.retained.entry(outgoing.message.topic.clone()).or_insert(self.base);
        }
        self.count_in(&outgoing);
        self.slots.push_front(Some(outgoing));
        self.qos0_from = self.base;
    }

    /// Gives the next message out.
    pub fn pop_front(&mut self) -> Option<Outgoing> {
        let outgoing = self.slots.pop_front()??;
        self.count_out(&outgoing);
        if !self.retained.is_empty() && self.retained.get(&outgoing.message.topic) == Some(&self.base) {
            self.retained.remove(&outgoing.message.topic);
        }
        self.base += 1;
        self.trim();
        Some(outgoing)
    }

    /// Gives out the retained QoS 0 message of `topic` whose place a newer one takes.
    pub fn take_superseded(&mut self, topic: &str) -> Option<Outgoing> {
        let number = self.retained.remove(topic)?;
        self.take(number)
    }

    /// Gives out the oldest QoS 0 message.
    pub fn take_oldest_qos0(&mut self) -> Option<Outgoing> {
        let start = usize::try_from(self.qos0_from - self.base).unwrap_or(0);
        let is_qos0 =
            |slot: &Option<Outgoing>| slot.as_ref().is_some_and(|o| o.message.qos == QoS::AtMostOnce);
        let Some(distance) = self.slots.iter().skip(start).position(is_qos0) else {
            self.qos0_from = self.base + i64::try_from(self.slots.len()).unwrap_or(0);
            return None;
        };
        let number = self.base + i64::try_from(start + distance).unwrap_or(0);
        self.qos0_from = number;
        // Before it is taken: that may close the holes, and then this number is another slot's.
        let topic = &self.slots.get(start + distance)?.as_ref()?.message.topic;
        if self.retained.get(topic) == Some(&number) {
            let topic = topic.clone();
            self.retained.remove(&topic);
        }
        self.take(number)
    }

    /// Gives out all that `is_expired` names.
    pub fn take_expired(&mut self, is_expired: impl Fn(&Outgoing) -> bool) -> Vec<Outgoing> {
        let mut expired = Vec::new();
        for (slot, number) in self.slots.iter_mut().zip(self.base..) {
            if let Some(outgoing) = slot.take_if(|outgoing| is_expired(outgoing)) {
                if self.retained.get(&outgoing.message.topic) == Some(&number) {
                    self.retained.remove(&outgoing.message.topic);
                }
                self.holes += 1;
                expired.push(outgoing);
            }
        }
        for outgoing in &expired {
            self.count_out(outgoing);
        }
        self.trim();
        if self.holes > 64 && self.holes > self.slots.len() / 2 {
            self.close_holes();
        }
        expired
    }

    fn take(&mut self, number: i64) -> Option<Outgoing> {
        let index = usize::try_from(number - self.base).ok()?;
        let outgoing = self.slots.get_mut(index)?.take()?;
        self.count_out(&outgoing);
        self.holes += 1;
        self.trim();
        if self.holes > 64 && self.holes > self.slots.len() / 2 {
            self.close_holes();
        }
        Some(outgoing)
    }

    fn count_in(&mut self, outgoing: &Outgoing) {
        if outgoing.message.qos == QoS::AtMostOnce {
            self.qos0.0 += 1;
            self.qos0.1 += outgoing.message.size();
        }
    }

    fn count_out(&mut self, outgoing: &Outgoing) {
        if outgoing.message.qos == QoS::AtMostOnce {
            self.qos0.0 -= 1;
            self.qos0.1 -= outgoing.message.size();
        }
    }

    fn trim(&mut self) {
        while matches!(self.slots.front(), Some(None)) {
            self.slots.pop_front();
            self.base += 1;
            self.holes -= 1;
        }
    }

    fn close_holes(&mut self) {
        let mut numbers = self.base..;
        let mut moved = HashMap::with_capacity(self.retained.len());
        let old = self.base..;
        for (outgoing, old) in self.slots.iter().zip(old) {
            if let Some(outgoing) = outgoing
                && let Some(number) = numbers.next()
                && self.retained.get(&outgoing.message.topic) == Some(&old)
            {
                moved.insert(outgoing.message.topic.clone(), number);
            }
        }
        self.retained = moved;
        self.slots.retain(Option::is_some);
        self.holes = 0;
        self.qos0_from = self.base;
    }
}
