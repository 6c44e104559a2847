//! The service: it publishes, subscribes, greets, and takes what has come for it.

use std::time::Duration;

use miqro::core::config::Protocol;
use miqro::core::session::completion::Outcome;
use miqro::core::session::event::Event;
use miqro::core::session::message::{Properties, QoS};
use miqro::core::session::outbox::Urgency;

use super::broker::numbered;
use super::ledger::Accepted;
use super::world::{QOS, World};

impl World {
    pub fn publish(&mut self) {
        let (qos, retain) = (QOS[self.rng.usize(..3)], self.rng.bool());
        self.publish_at(qos, retain);
    }

    pub fn publish_at(&mut self, qos: QoS, retain: bool) {
        let topic = format!("t/{}", self.rng.u8(..4));
        self.say(topic, qos, retain, Urgency::Ordinary);
    }

    pub fn say(&mut self, topic: String, qos: QoS, retain: bool, urgency: Urgency) {
        let number = self.ledger.accepted.len() as u64;
        let waits_since_offline = !self.protocol.is_connected();
        let padding = if self.rng.u8(..20) == 0 { self.rng.usize(..3000) } else { self.rng.usize(..60) };
        let mut message = numbered(number, padding, topic.clone(), qos, retain);
        let mut deadline = None;
        if self.options.protocol != Protocol::V311 && self.rng.u8(..6) == 0 {
            let expiry = self.rng.u32(..4);
            deadline = Some(self.now + Duration::from_secs(expiry.into()));
            let content_type = Some("text".to_owned());
            message.properties =
                Some(Box::new(Properties { expiry: Some(expiry), content_type, ..Properties::default() }));
        }
        let size = message.size();
        let (count, bytes) = (self.protocol.outbox().len(), self.protocol.outbox().bytes());
        match self.protocol.publish(message, urgency, self.now) {
            Ok(receipt) => {
                self.ledger.accept(Accepted {
                    topic,
                    qos,
                    published_qos: qos,
                    retain,
                    size,
                    mid: receipt.mid,
                    completion: receipt.completion,
                    deadline,
                    is_in_flight: false,
                    downgraded: false,
                    expected: Outcome::Pending,
                    waits_since_offline,
                    given_up: false,
                    was_on_wire: false,
                    span: None,
                    may_be_lost: false,
                    received: false,
                });
                let dropped = self.ledger.pushed_out(number);
                self.settle_given_up();
                self.check_pushed_out(number, &dropped);
                self.tally.dropped += dropped.len() as u64;
                assert_eq!(dropped.len(), receipt.dropped, "what was dropped is not what was told");
            }
            Err(refusal) => {
                self.tally.refused += 1;
                let (expired, expired_bytes) = self.settle_given_up();
                let (left, left_bytes) = (self.protocol.outbox().len(), self.protocol.outbox().bytes());
                assert_eq!(count, left + expired, "a refused publish changed the outbox");
                assert_eq!(bytes, left_bytes + expired_bytes, "a refused publish changed the outbox");
                self.check_refusal(&refusal, size, urgency);
            }
        }
    }

    pub fn service_subscribes(&mut self) {
        let filter = format!("f/{}", self.rng.u8(..6));
        if self.rng.u8(..4) == 0 {
            self.tally.ended_subscriptions += u64::from(self.subscriptions.remove(&filter).is_some());
            self.protocol.unsubscribe(vec![filter.clone()]);
            if let Some(connection) = &mut self.connection {
                connection.restored.remove(&filter);
            }
        } else {
            let qos = QOS[self.rng.usize(..3)];
            self.subscribe(vec![(filter, qos)]);
        }
    }

    pub fn subscribe(&mut self, filters: Vec<(String, QoS)>) {
        let connected = self.protocol.is_connected();
        for (filter, qos) in &filters {
            self.subscriptions.insert(filter.clone(), *qos);
            if let Some(connection) = &mut self.connection
                && connected
                && connection.restored.remove(filter) != Some(*qos)
            {
                *connection.asks.entry(filter.clone()).or_default() += 1;
            }
        }
        self.protocol.subscribe(filters);
    }

    /// The service takes some events; on a new connection it greets, as a service does.
    pub fn service_looks(&mut self) {
        for _ in 0..self.rng.usize(1..8) {
            match self.inbox.pop_front() {
                Some(Event::Connected { .. }) => {
                    if self.chaos && self.rng.u8(..5) == 0 {
                        continue; // It is busy; the session goes on without the greeting after a time.
                    }
                    let holds = self.options.greeting_timeout > 0.0;
                    let urgency = if holds { Urgency::Greeting } else { Urgency::Ordinary };
                    for _ in 0..self.rng.usize(..10) {
                        let topic = format!("t/{}", self.rng.u8(..2));
                        let (qos, retain) = (QOS[self.rng.usize(..3)], self.rng.bool());
                        self.say(topic, qos, retain, urgency);
                        if self.rng.u8(..3) == 0 {
                            // The network thread does not wait for it to end.
                            self.drive();
                            self.socket_takes_some();
                        }
                    }
                    if self.rng.bool() {
                        let all = self.subscriptions.iter().map(|(f, q)| (f.clone(), *q)).collect();
                        self.subscribe(all);
                    }
                    if self.chaos && self.rng.u8(..4) == 0 {
                        // Some of it is on its way when the connection breaks.
                        for _ in 0..self.rng.usize(1..6) {
                            self.drive();
                            self.socket_takes_some();
                        }
                        return self.cut();
                    }
                    self.protocol.greeted();
                }
                Some(Event::Message(_)) => self.waiting -= 1,
                Some(_) => {}
                None => return,
            }
        }
    }
}
