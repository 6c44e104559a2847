//! What the world knows of each message, apart from what the session believes.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use miqro::core::session::completion::{Completion, Outcome, PublishFailure};
use miqro::core::session::message::QoS;
use miqro::core::session::packet::PacketId;

/// A message that the session has accepted.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about a message")]
pub struct Accepted {
    pub topic: String,
    /// With which it is sent: a broker may take no more than this.
    pub qos: QoS,
    /// With which it was published: messages have an order among those of their kind.
    pub published_qos: QoS,
    pub retain: bool,
    pub size: usize,
    pub mid: u16,
    pub completion: Arc<Completion>,
    /// When its time is over.
    pub deadline: Option<Duration>,
    /// It was given to the network in this session with the broker: it does not expire any more.
    pub is_in_flight: bool,
    /// The connection on which it was said as a greeting.
    pub greets: Option<u64>,
    /// The broker took it with a lower QoS only, or did so for a time.
    pub downgraded: bool,
    /// What the completion must say now.
    pub expected: Outcome,
    /// It was published while there was no connection, and has not been sent since.
    pub waits_since_offline: bool,
    /// A newer one has taken its place, or it was dropped: it need not arrive.
    pub given_up: bool,
    /// A byte of it was on the wire in an earlier connection of this session with the broker.
    pub was_on_wire: bool,
    /// Where its PUBLISH lies in the stream of the present connection.
    pub span: Option<(u64, u64)>,
    /// At QoS 0: it was written, and the connection was cut. It may be lost.
    pub may_be_lost: bool,
    /// At QoS 2: the session has seen its PUBREC.
    pub received: bool,
}

/// Who holds a packet identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    Publish(u64),
    Request,
}

#[derive(Default)]
pub struct Ledger {
    pub accepted: Vec<Accepted>,
    /// Numbers of those that are not settled.
    pub pending: BTreeSet<u64>,
    /// Identifiers that are owed an answer, as the packets on the wire say.
    pub ids: HashMap<PacketId, Holder>,
    /// The newest number sent on this connection, by topic and QoS.
    pub newest: HashMap<(String, QoS), u64>,
    /// The `Published` events that are due, by mid.
    pub reports: Vec<u16>,
}

impl Ledger {
    pub fn get(&mut self, number: u64) -> &mut Accepted {
        &mut self.accepted[usize::try_from(number).expect("numbers are small")]
    }

    /// Those that are not settled.
    pub fn owed(&self) -> impl Iterator<Item = &Accepted> {
        self.pending.iter().map(|number| &self.accepted[usize::try_from(*number).expect("numbers are small")])
    }

    pub fn accept(&mut self, message: Accepted) {
        self.pending.insert(self.accepted.len() as u64);
        self.accepted.push(message);
    }

    pub fn settle(&mut self, number: u64, outcome: Outcome, report: bool) {
        let message = self.get(number);
        message.expected = outcome;
        let mid = message.mid;
        self.pending.remove(&number);
        if report {
            self.reports.push(mid);
        }
    }

    /// Messages in flight: sent at QoS 1 or 2, and not acknowledged.
    pub fn in_flight(&self) -> usize {
        self.ids.values().filter(|holder| matches!(holder, Holder::Publish(_))).count()
    }

    /// Whether a message is in flight with a higher quality of service than this.
    pub fn in_flight_over(&mut self, maximum: QoS) -> bool {
        let holders: Vec<_> = self.ids.values().copied().collect();
        holders.into_iter().any(|holder| match holder {
            Holder::Publish(number) => self.get(number).qos > maximum,
            Holder::Request => false,
        })
    }

    /// Law: completions are resolved exactly when they should be. Every one of them, or only those that are
    /// pending.
    pub fn check_completions(&self, all: bool) {
        let check = |number: u64| {
            let message = &self.accepted[usize::try_from(number).expect("numbers are small")];
            assert_eq!(
                message.completion.outcome(),
                message.expected,
                "the completion of message {number} ({:?}) is wrong",
                message.qos
            );
        };
        if all {
            (0..self.accepted.len() as u64).for_each(check);
        } else {
            self.pending.iter().copied().for_each(check);
        }
    }

    /// Those whose completion changed though nothing was written or acknowledged: what an offline publish of
    /// number `newer` has pushed out. The numbers of the dropped ones, in order.
    pub fn pushed_out(&mut self, newer: u64) -> Vec<u64> {
        let (topic, qos, retain) = {
            let message = self.get(newer);
            (message.topic.clone(), message.qos, message.retain)
        };
        let mut dropped = Vec::new();
        for number in self.pending.clone() {
            let message = self.get(number);
            let outcome = message.completion.outcome();
            match outcome {
                Outcome::Pending | Outcome::Failed(PublishFailure::Expired) => continue,
                Outcome::Done => assert!(
                    qos == QoS::AtMostOnce && retain && message.retain && message.topic == topic,
                    "message {number} was settled by the publish of message {newer}"
                ),
                Outcome::Failed(PublishFailure::Dropped) => dropped.push(number),
                Outcome::Failed(PublishFailure::Closed | PublishFailure::Refused(_)) => {
                    panic!("message {number} was given up")
                }
            }
            assert!(
                message.qos == QoS::AtMostOnce && number != newer,
                "message {number} at {:?} was pushed out by message {newer}",
                message.qos
            );
            message.given_up = true;
            self.settle(number, outcome, false);
        }
        dropped
    }

    /// The connection has ended; the socket had taken `taken` bytes of its stream.
    pub fn connection_lost(&mut self, taken: u64) {
        let mut unseen = HashSet::new();
        for (number, message) in (0..).zip(&mut self.accepted) {
            if let Some((begin, end)) = message.span.take() {
                message.was_on_wire |= begin < taken && message.qos != QoS::AtMostOnce;
                message.may_be_lost |= end <= taken && message.qos == QoS::AtMostOnce;
                // Of which the broker has seen nothing, that waits as before.
                // A broker that babbles may have said of a QoS 2 message that it has it.
                let received = message.received && message.qos == QoS::ExactlyOnce;
                if !message.was_on_wire && !received {
                    message.is_in_flight = false;
                    unseen.insert(number);
                }
            }
        }
        self.ids.retain(|_, holder| matches!(holder, Holder::Publish(number) if !unseen.contains(number)));
        self.newest.clear();
    }

    /// The broker has no session: everything in flight is as new.
    pub fn session_lost(&mut self) {
        for message in &mut self.accepted {
            message.was_on_wire = false;
            message.received = false;
            message.is_in_flight = false;
        }
        self.ids.clear();
    }

    /// The socket has taken `taken` bytes: QoS 0 messages that end there are done.
    pub fn written(&mut self, taken: u64, report: bool) {
        let done = |message: &Accepted| {
            message.qos == QoS::AtMostOnce && message.span.is_some_and(|(_, end)| end <= taken)
        };
        let numbers: Vec<_> = self.pending.iter().copied().collect();
        for number in numbers {
            if done(self.get(number)) {
                self.settle(number, Outcome::Done, report);
            }
        }
    }
}
