//! Subscriptions: what the service wants, and the SUBSCRIBEs and UNSUBSCRIBEs that are on their way.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::event::Event;
use super::message::QoS;
use super::packet::{Packet, PacketId};

/// Bytes of filters in one SUBSCRIBE; brokers with a small packet limit exist.
const SUBSCRIBE_BYTES: usize = 32 * 1024;
/// Requests without an answer; more wait. Identifiers are few, and messages need them too.
const UNANSWERED: usize = 1000;

#[derive(Debug)]
struct Subscription {
    order: u64,
    qos: QoS,
    /// Asked for again by the session itself on this connection, and by nobody else so far.
    restored: bool,
}

#[derive(Debug)]
enum Request {
    Subscribe(Vec<(String, QoS)>),
    Unsubscribe(Vec<String>),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Requests {
    subscriptions: HashMap<String, Subscription>,
    next_order: u64,
    /// Filters whose end the broker has not confirmed: a session that it has kept may still hold them.
    leaving: BTreeSet<String>,
    /// What is to be sent on this connection, with the number under which the service knows it.
    queue: VecDeque<(u16, Request)>,
    unanswered: HashMap<PacketId, (u16, Request)>,
}

impl Requests {
    /// Keeps the subscriptions for every connect. The packets that they need on this connection come back:
    /// none for a filter that the restoration has covered already, or its retained messages would come twice.
    pub fn subscribe(&mut self, filters: Vec<(String, QoS)>) -> Vec<(String, QoS)> {
        let mut wanted = Vec::with_capacity(filters.len());
        for (filter, qos) in filters {
            self.leaving.remove(&filter);
            let order = self.next_order;
            let known = self.subscriptions.entry(filter.clone()).or_insert_with(|| {
                self.next_order += 1;
                Subscription { order, qos, restored: false }
            });
            let covered = std::mem::take(&mut known.restored) && known.qos == qos;
            known.qos = qos;
            if !covered {
                wanted.push((filter, qos));
            }
        }
        wanted
    }

    /// Forgets subscriptions. A broker that keeps our session is told on the next connect at the latest.
    pub fn unsubscribe(&mut self, filters: &[String]) {
        for filter in filters {
            self.subscriptions.remove(filter);
            self.leaving.insert(filter.clone());
        }
    }

    /// What a new connection needs: the ends of subscriptions that the broker may still hold, and the filters
    /// in force, in order.
    pub fn restore(&mut self, session_present: bool) -> (Vec<String>, Vec<(String, QoS)>) {
        if !session_present {
            self.leaving.clear();
        }
        let mut all: Vec<_> = self
            .subscriptions
            .iter_mut()
            .map(|(filter, subscription)| {
                subscription.restored = true;
                (subscription.order, filter.clone(), subscription.qos)
            })
            .collect();
        all.sort_unstable_by_key(|(order, ..)| *order);
        let filters = all.into_iter().map(|(_, filter, qos)| (filter, qos)).collect();
        (self.leaving.iter().cloned().collect(), filters)
    }

    /// Queues as few SUBSCRIBEs as hold the filters; each gets its number from `mid`. The last one's number.
    pub fn send_subscribe(&mut self, filters: Vec<(String, QoS)>, mut mid: impl FnMut() -> u16) -> u16 {
        let mut number = None;
        let mut rest = filters.into_iter().peekable();
        while rest.peek().is_some() {
            let mut size = 0;
            let mut batch = Vec::new();
            while let Some((filter, _)) = rest.peek()
                && (batch.is_empty() || size + filter.len() < SUBSCRIBE_BYTES)
            {
                size += filter.len() + 3;
                batch.extend(rest.next());
            }
            let mid = mid();
            self.queue.push_back((mid, Request::Subscribe(batch)));
            number = Some(mid);
        }
        number.unwrap_or_else(mid)
    }

    /// Queues an UNSUBSCRIBE.
    pub fn send_unsubscribe(&mut self, filters: Vec<String>, mid: u16) {
        if !filters.is_empty() {
            self.queue.push_back((mid, Request::Unsubscribe(filters)));
        }
    }

    /// The next packet to send, if there is one and not too many are unanswered; it gets its identifier from
    /// `free`, which is told of those in use here.
    pub fn next(&mut self, free: impl FnOnce(&dyn Fn(PacketId) -> bool) -> PacketId) -> Option<Packet> {
        if self.unanswered.len() >= UNANSWERED {
            return None;
        }
        let (mid, request) = self.queue.pop_front()?;
        let id = free(&|id| self.holds(id));
        let packet = match &request {
            Request::Subscribe(filters) => Packet::Subscribe(id, filters.clone()),
            Request::Unsubscribe(filters) => Packet::Unsubscribe(id, filters.clone()),
        };
        self.unanswered.insert(id, (mid, request));
        Some(packet)
    }

    /// Whether a request holds this identifier.
    pub fn holds(&self, id: PacketId) -> bool {
        self.unanswered.contains_key(&id)
    }

    /// SUBACK; `None` when it answers nothing. The error is what is wrong with it.
    ///
    /// # Errors
    /// It does not fit the request.
    pub fn granted(
        &mut self,
        id: PacketId,
        granted: Vec<Option<QoS>>,
    ) -> Result<Option<Event>, &'static str> {
        if !matches!(self.unanswered.get(&id), Some((_, Request::Subscribe(_)))) {
            return Ok(None);
        }
        let Some((mid, Request::Subscribe(filters))) = self.unanswered.remove(&id) else { return Ok(None) };
        if filters.len() != granted.len() {
            return Err("SUBACK does not answer every filter");
        }
        let granted = filters.into_iter().map(|(filter, _)| filter).zip(granted).collect();
        Ok(Some(Event::Subscribed { mid, granted }))
    }

    /// UNSUBACK; `None` when it answers nothing.
    pub fn ended(&mut self, id: PacketId) -> Option<Event> {
        if !matches!(self.unanswered.get(&id), Some((_, Request::Unsubscribe(_)))) {
            return None;
        }
        let (mid, request) = self.unanswered.remove(&id)?;
        if let Request::Unsubscribe(filters) = request {
            let asked_again = |filter: &String| {
                let under_way = self.unanswered.values().chain(&self.queue);
                under_way
                    .map(|(_, r)| r)
                    .any(|r| matches!(r, Request::Unsubscribe(all) if all.contains(filter)))
            };
            let ended: Vec<_> = filters.into_iter().filter(|filter| !asked_again(filter)).collect();
            for filter in &ended {
                self.leaving.remove(filter);
            }
        }
        Some(Event::Unsubscribed { mid })
    }

    /// The connection has ended, and with it every request on its way.
    pub fn connection_lost(&mut self) {
        self.queue.clear();
        self.unanswered.clear();
    }
}
