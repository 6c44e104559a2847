//! The laws: what must follow from what the session was told, whatever it believes itself.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use miqro::core::session::completion::{Outcome, PublishFailure};
use miqro::core::session::message::{Message, QoS};
use miqro::core::session::outbox::Urgency;
use miqro::core::session::packet::{Packet, PacketId};
use miqro::core::session::protocol::Refusal;

use super::ledger::{Accepted, Holder};
use super::number_of;
use super::wire::Sent;
use super::world::World;

impl World {
    // ---- what the broker says ----------------------------------------------------------------------------

    /// Notes what must follow from a packet of the broker, before the session sees it.
    pub fn expect(&mut self, packet: &Packet) {
        let report = self.options.report_published;
        match packet {
            Packet::ConnAck(present, 0, terms) => {
                let Some(connection) = &mut self.connection else { return };
                connection.accepted = true;
                if let Some(terms) = terms {
                    connection.terms = (**terms).clone();
                    if let Some(seconds) = terms.server_keepalive {
                        connection.keepalive = Duration::from_secs(seconds.into());
                    }
                }
                let maximum = connection.terms.maximum_qos;
                connection.restored = self.subscriptions.clone().into_iter().collect();
                connection.asks = self.subscriptions.keys().map(|filter| (filter.clone(), 1)).collect();
                if !present {
                    self.tally.sessions_lost += 1;
                    self.ledger.session_lost();
                    self.incoming_ids.clear();
                } else if self.ledger.in_flight_over(maximum) {
                    // It cannot be sent again as it was: no promise can be kept but that it arrives.
                    for message in self
                        .ledger
                        .accepted
                        .iter_mut()
                        .filter(|m| m.is_in_flight && m.expected == Outcome::Pending)
                    {
                        message.downgraded = true;
                    }
                    self.ledger.session_lost();
                }
            }
            Packet::PubAck(id, reason) | Packet::PubRec(id, reason) if reason.is_failure() => {
                let qos =
                    if matches!(packet, Packet::PubAck(..)) { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
                if let Some(Holder::Publish(number)) = self.ledger.ids.get(id).copied()
                    && self.ledger.get(number).qos == qos
                    && !(qos == QoS::ExactlyOnce && self.ledger.get(number).received)
                {
                    let words = format!("the broker does not take the message: {}", reason.in_words());
                    self.ledger.ids.remove(id);
                    self.ledger.get(number).given_up = true;
                    let refused = Outcome::Failed(PublishFailure::Refused(words.into()));
                    self.ledger.settle(number, refused, false);
                    self.rejections += 1;
                    self.tally.rejected += 1;
                }
            }
            Packet::PubAck(id, _) => {
                if let Some(Holder::Publish(number)) = self.ledger.ids.get(id).copied()
                    && self.ledger.get(number).qos == QoS::AtLeastOnce
                {
                    self.ledger.ids.remove(id);
                    self.ledger.settle(number, Outcome::Done, report);
                }
            }
            Packet::PubRec(id, _) => {
                if let Some(connection) = &mut self.connection {
                    connection.releases += 1;
                }
                if let Some(Holder::Publish(number)) = self.ledger.ids.get(id).copied() {
                    self.ledger.get(number).received = true;
                }
            }
            Packet::PubComp(id) => {
                if let Some(Holder::Publish(number)) = self.ledger.ids.get(id).copied()
                    && self.ledger.get(number).qos == QoS::ExactlyOnce
                    && self.ledger.get(number).received
                {
                    self.ledger.ids.remove(id);
                    self.ledger.settle(number, Outcome::Done, report);
                }
            }
            Packet::SubAck(id, ..) | Packet::UnsubAck(id, _)
                if self.ledger.ids.get(id) == Some(&Holder::Request) =>
            {
                self.ledger.ids.remove(id);
            }
            Packet::PingResp => {
                if let Some(connection) = &mut self.connection {
                    connection.ping_at = None;
                    connection.ping_end = None;
                }
            }
            Packet::Publish(message, Some(id)) => {
                self.incoming_ids.insert(*id, number_of(message));
            }
            _ => {}
        }
    }

    /// Law: what comes in arrives in order, and at QoS 2 once.
    pub fn incoming_message(&mut self, message: &Message) {
        self.waiting += 1;
        self.tally.received[message.qos as usize] += 1;
        let number = usize::try_from(number_of(message)).expect("numbers are small");
        let incoming = &mut self.incoming[number];
        assert_eq!((incoming.qos, &incoming.topic), (message.qos, &message.topic));
        incoming.seen += 1;
        assert!(
            incoming.seen == 1 || message.qos == QoS::AtLeastOnce,
            "the broker's message {number} at {:?} came twice",
            message.qos
        );
        if incoming.seen == 1 {
            let newest = self.newest_incoming.entry((message.topic.clone(), message.qos)).or_default();
            assert!(*newest <= number, "the broker's message {number} came after {newest}");
            *newest = number;
        }
    }

    // ---- what the session sends --------------------------------------------------------------------------

    pub fn check_sent(&mut self, sent: Sent) {
        let Some(connection) = &mut self.connection else { return };
        connection.sent_at = self.now;
        let packet = sent.packet;
        assert!(!connection.said_goodbye, "{packet:?} after DISCONNECT");
        if let Packet::Connect(_) = packet {
            assert!(!connection.connect_sent && sent.begin == 0, "CONNECT is not the first packet");
            connection.connect_sent = true;
            return;
        }
        assert!(connection.accepted, "{packet:?} before CONNACK");
        match packet {
            Packet::Publish(message, id) => self.check_publish(&message, id, (sent.begin, sent.end)),
            Packet::PubRel(id) => match self.ledger.ids.get(&id).copied() {
                Some(Holder::Publish(number)) if self.ledger.get(number).received => {}
                _ => {
                    connection.releases = connection.releases.checked_sub(1).expect("an unasked PUBREL");
                }
            },
            // Law: acknowledged after the hand-over.
            Packet::PubAck(id, _) | Packet::PubRec(id, _) => {
                let number = self.incoming_ids.get(&id).copied().expect("acknowledges what came");
                let incoming = &self.incoming[usize::try_from(number).expect("numbers are small")];
                assert!(
                    incoming.seen > 0,
                    "the broker's message {number} was acknowledged and not handed over"
                );
            }
            Packet::PubComp(_) => {}
            Packet::Subscribe(id, filters) => {
                let taken = self.ledger.ids.insert(id, Holder::Request);
                assert_eq!(taken, None, "the number {id} is in use");
                for (filter, _) in filters {
                    let asks = connection.asks.entry(filter.clone()).or_default();
                    *asks = asks.checked_sub(1).unwrap_or_else(|| panic!("{filter} was asked for twice"));
                }
            }
            Packet::Unsubscribe(id, _) => {
                let taken = self.ledger.ids.insert(id, Holder::Request);
                assert_eq!(taken, None, "the number {id} is in use");
            }
            Packet::PingReq => {
                self.tally.pings += 1;
                connection.ping_end = Some(sent.end);
            }
            Packet::Disconnect(None) => {
                assert!(self.closing && self.ledger.pending.is_empty(), "DISCONNECT, and messages are owed");
                connection.said_goodbye = true;
            }
            other => panic!("the client sends {other:?}"),
        }
    }

    pub fn check_publish(&mut self, message: &Message, id: Option<PacketId>, span: (u64, u64)) {
        let number = number_of(message);
        self.tally.sent[message.qos as usize] += 1;
        self.tally.repeated += u64::from(message.dup);
        let now = self.now;
        let terms = self.connection.as_ref().map(|connection| connection.terms.clone()).unwrap_or_default();
        let accepted = self.ledger.get(number);
        accepted.downgraded |= accepted.qos > terms.maximum_qos;
        accepted.qos = accepted.qos.min(terms.maximum_qos);
        accepted.retain &= terms.retain_available;
        // Law: it says how long it is still worth delivering, and is not sent for the first time after that.
        if let Some(deadline) = accepted.deadline {
            let left = deadline.saturating_sub(now).as_millis().div_ceil(1000);
            assert!(left > 0 || accepted.is_in_flight, "message {number} is sent after its time");
            let says = message.properties.as_ref().and_then(|properties| properties.expiry);
            assert_eq!(says.map(u128::from), Some(left.max(1)), "message {number} and its expiry");
        }
        accepted.is_in_flight = true;
        assert_eq!(
            (&accepted.topic, accepted.qos, accepted.retain),
            (&message.topic, message.qos, message.retain)
        );
        assert_eq!(accepted.size, message.size());
        assert_eq!(accepted.expected, Outcome::Pending, "message {number} is sent though it is settled");
        assert!(accepted.span.is_none(), "message {number} is sent twice on one connection");
        assert_eq!(
            message.dup, accepted.was_on_wire,
            "message {number} has DUP {}, and was on the wire: {}",
            message.dup, accepted.was_on_wire
        );
        accepted.span = Some(span);
        accepted.waits_since_offline = false;
        let published_qos = accepted.published_qos;
        let newest = self.ledger.newest.entry((message.topic.clone(), published_qos)).or_insert(number);
        assert!(*newest <= number, "message {number} is sent after {newest}");
        *newest = number;
        match (message.qos, id) {
            (QoS::AtMostOnce, None) => {}
            (QoS::AtLeastOnce | QoS::ExactlyOnce, Some(id)) => {
                let held = self.ledger.ids.insert(id, Holder::Publish(number));
                assert!(
                    held.is_none_or(|held| held == Holder::Publish(number)),
                    "message {number} has the number {id} of {held:?}"
                );
                assert!(self.ledger.in_flight() <= self.options.max_inflight, "the window is exceeded");
            }
            other => panic!("a PUBLISH with {other:?}"),
        }
    }

    /// Law: never silent, and never patient with silence, for longer than the keepalive allows. The world
    /// gives the driver a turn at each of its deadlines, so this is exact.
    pub fn check_keepalive(&self) {
        let Some(connection) = &self.connection else { return };
        let keepalive = connection.keepalive;
        if keepalive.is_zero() || !self.protocol.is_connected() || connection.wire.buffer.len() >= self.batch
        {
            return;
        }
        assert!(self.now < connection.sent_at + keepalive, "nothing sent for a keepalive, and no ping");
        if !self.reading {
            return;
        }
        let silent = self.now.saturating_sub(connection.received_at);
        assert!(
            silent < keepalive || connection.ping_end.is_some(),
            "nothing received for a keepalive, no ping"
        );
        let tried = connection.ping_at.unwrap_or(connection.wrote_at).max(connection.received_at);
        assert!(self.now < tried + keepalive * 3 / 2, "not a word for {silent:?}, and still connected");
    }

    /// Law: memory is bounded.
    pub fn check_bounds(&self) {
        let outbox = self.protocol.outbox();
        assert!(outbox.len() == self.ledger.pending.len(), "the outbox has lost count");
        // A greeting has as much room again.
        let times = 2;
        assert!(outbox.len() <= self.options.max_queued_messages * times);
        assert!(outbox.bytes() <= self.options.max_queued_bytes * times || outbox.len() == 1);
        assert!(self.waiting <= self.options.max_incoming_messages);
    }

    /// Laws: the oldest QoS 0 messages make room (a greeting is not in the order of its age); of the retained
    /// ones of a topic only the newest waits, of those that were published offline.
    pub fn check_pushed_out(&mut self, newer: u64, dropped: &[u64]) {
        let offline_state = |m: &Accepted| m.waits_since_offline && m.retain && m.qos == QoS::AtMostOnce;
        let of_qos0: Vec<_> = self.ledger.pending.iter().copied().filter(|number| *number != newer).collect();
        let (topic, is_state) = {
            let message = self.ledger.get(newer);
            (message.topic.clone(), offline_state(message))
        };
        for number in of_qos0 {
            let older = self.ledger.get(number);
            assert!(
                !(is_state && offline_state(older) && older.topic == topic),
                "messages {number} and {newer} are both kept"
            );
            assert!(
                older.qos != QoS::AtMostOnce
                    || self.options.greeting_timeout > 0.0
                    || dropped.iter().all(|dropped| *dropped < number),
                "message {number} is older than {dropped:?}, which were dropped for {newer}"
            );
        }
    }

    /// Law: a message is refused only for want of room, and while offline QoS 0 messages are no hindrance.
    pub fn check_refusal(&self, refusal: &Refusal, size: usize, urgency: Urgency) {
        let connected = self.protocol.is_connected();
        let kept: Vec<_> = self
            .ledger
            .owed()
            .filter(|message| connected || message.qos != QoS::AtMostOnce)
            .map(|message| message.size)
            .collect();
        let bytes: usize = kept.iter().sum();
        let full = kept.len() >= self.options.max_queued_messages
            || !kept.is_empty() && bytes + size > self.options.max_queued_bytes;
        match refusal {
            Refusal::Closed => assert!(self.closing),
            // And who is told to wait for room has something to wait for.
            Refusal::FullWhileConnected => {
                assert!(connected && full && self.protocol.has_to_wait(size, urgency));
            }
            Refusal::FullWhileOffline => assert!(!connected && full),
            Refusal::TooLarge(_) => {
                let terms = self.connection.as_ref().map(|connection| &connection.terms);
                let limit = terms.and_then(|terms| terms.maximum_packet_size);
                assert!(connected && limit.is_some_and(|limit| size + 20 > limit as usize));
            }
        }
    }

    // ---- what has become of it all -----------------------------------------------------------------------

    pub fn check_everything(&mut self) {
        self.ledger.check_completions(true);
        let superseded = |m: &&Accepted| m.given_up && m.expected == Outcome::Done;
        self.tally.superseded = self.ledger.accepted.iter().filter(superseded).count() as u64;
        self.check_outgoing();
        for (number, incoming) in self.incoming.iter().enumerate() {
            let forgotten = self.broker.forgotten.contains(&(number as u64));
            assert!(
                incoming.seen > 0 || forgotten || incoming.qos == QoS::AtMostOnce,
                "the broker's message {number} at {:?} was lost",
                incoming.qos
            );
        }
        let wanted: Vec<_> = self.subscriptions.clone().into_iter().collect();
        assert_eq!(self.broker.subscriptions(), wanted, "the broker's subscriptions are not the service's");
        if let Some(connection) = &self.connection {
            assert_eq!(connection.asks.values().sum::<usize>(), 0, "a subscription was not asked for");
        }
    }

    /// Laws: nothing is lost at QoS 1 and 2, nor at QoS 0 without a cut; order; exactly once.
    pub fn check_outgoing(&mut self) {
        let mut seen: HashMap<u64, HashSet<u64>> = HashMap::new();
        let mut newest: HashMap<(String, QoS), u64> = HashMap::new();
        for delivery in &self.broker.delivered {
            let number = delivery.number;
            let message = &self.ledger.accepted[usize::try_from(number).expect("numbers are small")];
            let epochs = seen.entry(number).or_default();
            // What the broker has refused at a higher QoS it may take at the lower one.
            if epochs.is_empty() && !message.downgraded {
                let newest = newest.entry((message.topic.clone(), message.published_qos)).or_insert(number);
                assert!(*newest <= number, "message {number} arrived after {newest}");
                *newest = number;
            }
            assert!(
                message.qos != QoS::AtMostOnce || epochs.is_empty() || message.downgraded,
                "message {number} at QoS 0 came twice"
            );
            assert!(
                epochs.insert(delivery.epoch) || message.qos == QoS::AtLeastOnce || message.downgraded,
                "message {number} at QoS 2 came twice in one session"
            );
        }
        for (number, message) in self.ledger.accepted.iter().enumerate() {
            let excused = message.given_up || message.may_be_lost;
            assert!(
                seen.contains_key(&(number as u64)) || excused,
                "message {number} at {:?} was lost",
                message.qos
            );
        }
    }
}
