//! What the session tells the service. Everything it has to say is one of these; it logs nothing itself.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::message::{Message, QoS};
use super::packet::Version;

/// Something happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The broker has accepted us.
    Connected {
        /// Whether it still had our session.
        session_present: bool,
        /// How long there was no connection; `None` for the first one.
        outage: Option<Duration>,
        /// What the connection speaks.
        version: Version,
        /// The client id, where the broker has chosen it.
        assigned_client_id: Option<String>,
    },
    /// The broker answered, and said no (CONNACK with a return code).
    Refused {
        /// MQTT 3.1.1 section 3.2.2.3, MQTT 5 section 3.2.2.2.
        code: u8,
        /// The code in words, and what to do.
        reason: String,
        /// The next attempt.
        retry_in: Duration,
    },
    /// No broker answered.
    Unreachable {
        /// Why, and what to do.
        reason: String,
        /// The next attempt.
        retry_in: Duration,
    },
    /// The connection has ended.
    Disconnected {
        /// Why, and what to do.
        reason: String,
        /// Whether we ended it.
        requested: bool,
        /// The next attempt; `None` when there will be none.
        retry_in: Option<Duration>,
    },
    /// A message for us.
    Message(Message),
    /// A SUBSCRIBE was answered: each filter with the QoS granted, or why the broker refused it.
    Subscribed {
        /// The number that `subscribe` returned.
        mid: u16,
        /// In the order asked.
        granted: Vec<(String, Result<QoS, String>)>,
    },
    /// An UNSUBSCRIBE was answered.
    Unsubscribed {
        /// The number that `unsubscribe` returned.
        mid: u16,
        /// Filters that the broker did not let go of, and why.
        refused: Vec<(String, String)>,
    },
    /// The broker does not take messages that were accepted here; their publishers have been told.
    Rejected {
        /// Where the first of them was going.
        topic: String,
        /// Why, and what to do.
        reason: Arc<str>,
        /// How many, for the same reason.
        count: u64,
    },
    /// The broker does not do all that was asked for; said once per connection.
    Limited {
        /// What it does not do, and what is done instead.
        reason: String,
    },
    /// A message was acknowledged. Only if the options ask for it, and left out while 65535 of these wait: the
    /// numbers have come round by then.
    Published {
        /// The number that `publish` returned.
        mid: u16,
    },
    /// Messages accepted earlier were dropped: the queue is full and the broker away.
    Dropped {
        /// Since the last such event.
        count: u64,
    },
    /// The durable outbox has something to say.
    Storage {
        /// What, and what to do.
        text: String,
        /// Whether something is wrong.
        trouble: bool,
    },
    /// Messages from the broker were dropped, of QoS 0: the inbox is full, and the service waits for an
    /// acknowledgement that is behind them.
    Overrun {
        /// Since the last such event.
        count: u64,
    },
    /// The engine has failed and will not go on. Nothing follows.
    Terminated {
        /// What went wrong.
        reason: String,
    },
}

/// [`Event::Published`] that may wait: as many as there are numbers.
const PUBLISHED: usize = 65_535;

/// [`Event::Rejected`] that may wait; more are left out.
const REJECTED: usize = 1000;

/// The bounded queue between the network thread and the service.
#[derive(Debug)]
pub(super) struct Inbox {
    events: VecDeque<Event>,
    messages: usize,
    bytes: usize,
    published: usize,
    rejected: usize,
    max_messages: usize,
    max_bytes: usize,
    /// Messages dropped since the last event that told of some was taken; and of those from the broker.
    dropped: u64,
    overrun: u64,
    pub terminated: Option<String>,
    /// The network thread has stopped reading and wants to hear of room.
    pub reader_waits: bool,
}

impl Inbox {
    pub fn new(max_messages: usize, max_bytes: usize) -> Self {
        Self {
            events: VecDeque::new(),
            messages: 0,
            bytes: 0,
            published: 0,
            rejected: 0,
            max_messages,
            max_bytes,
            dropped: 0,
            overrun: 0,
            terminated: None,
            reader_waits: false,
        }
    }

    /// Messages waiting.
    pub fn messages(&self) -> usize {
        self.messages
    }

    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.terminated.is_none()
    }

    /// Whether `messages` more of `bytes` bytes are too many. `slack` multiplies the limits.
    pub fn is_full(&self, messages: usize, bytes: usize, slack: usize) -> bool {
        self.messages + messages >= self.max_messages * slack || self.bytes + bytes >= self.max_bytes * slack
    }

    pub fn push(&mut self, event: Event) {
        match &event {
            Event::Message(message) => {
                self.messages += 1;
                self.bytes += message.size();
            }
            Event::Published { .. } if self.published == PUBLISHED => return,
            Event::Published { .. } => self.published += 1,
            Event::Rejected { reason, .. } => {
                // One event for many: a service that does not look must not fill the memory with them.
                if let Some(Event::Rejected { reason: known, count, .. }) = self.events.back_mut()
                    && known == reason
                {
                    *count += 1;
                    return;
                }
                if self.rejected == REJECTED {
                    return;
                }
                self.rejected += 1;
            }
            _ => {}
        }
        self.events.push_back(event);
    }

    /// Counts dropped messages; the event that tells of them is queued once and filled when it is taken.
    pub fn push_dropped(&mut self, count: usize) {
        if self.dropped == 0 && count > 0 {
            self.push(Event::Dropped { count: 0 });
        }
        self.dropped += count as u64;
    }

    /// Counts messages from the broker that were dropped; told as [`Self::push_drops`] is.
    pub fn push_overrun(&mut self, count: u64) {
        if self.overrun == 0 && count > 0 {
            self.push(Event::Overrun { count: 0 });
        }
        self.overrun += count;
    }

    /// Moves up to `max` events out; says whether a reader that waits for room has it now.
    pub fn take(&mut self, max: usize, into: &mut Vec<Event>) -> bool {
        for _ in 0..max.min(self.events.len()) {
            match self.events.pop_front() {
                Some(Event::Dropped { .. }) => {
                    into.push(Event::Dropped { count: std::mem::take(&mut self.dropped) });
                }
                Some(Event::Overrun { .. }) => {
                    into.push(Event::Overrun { count: std::mem::take(&mut self.overrun) });
                }
                Some(event) => {
                    match &event {
                        Event::Message(message) => {
                            self.messages -= 1;
                            self.bytes -= message.size();
                        }
                        Event::Published { .. } => self.published -= 1,
                        Event::Rejected { .. } => self.rejected -= 1,
                        _ => {}
                    }
                    into.push(event);
                }
                None => break,
            }
        }
        if self.events.is_empty()
            && let Some(reason) = self.terminated.take()
        {
            into.push(Event::Terminated { reason });
        }
        let room = self.messages <= self.max_messages / 2 && self.bytes <= self.max_bytes / 2;
        room && std::mem::take(&mut self.reader_waits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_that_nobody_takes_do_not_pile_up_for_ever() {
        let mut inbox = Inbox::new(10, 1000);
        for _ in 0..2 {
            for mid in 0..100_000_u32 {
                let mid = u16::try_from(mid % 65_535 + 1).unwrap();
                inbox.push(Event::Published { mid });
            }
            let mut events = Vec::new();
            inbox.take(usize::MAX, &mut events);
            assert_eq!(events.len(), 65_535);
            assert_eq!(events[65_534], Event::Published { mid: 65_535 });
        }
        assert!(!inbox.is_full(0, 0, 1), "they take no room from messages");
    }

    #[test]
    fn drops_are_one_event_however_many_there_are() {
        let mut inbox = Inbox::new(10, 1000);
        inbox.push_dropped(0);
        assert!(inbox.is_empty());
        inbox.push_dropped(2);
        inbox.push_dropped(1);
        let mut events = Vec::new();
        inbox.take(10, &mut events);
        inbox.push_dropped(20_000);
        inbox.take(10, &mut events);
        assert_eq!(events, [Event::Dropped { count: 3 }, Event::Dropped { count: 20_000 }]);
    }
}
