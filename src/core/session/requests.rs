//! Subscriptions: what the service wants, and the SUBSCRIBEs and UNSUBSCRIBEs that are on their way.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::codec;
use super::event::Event;
use super::message::QoS;
use super::packet::{Packet, PacketId, Reason, Subscription};

/// Bytes of filters in one SUBSCRIBE; brokers with a small packet limit exist.
const SUBSCRIBE_BYTES: usize = 32 * 1024;
/// Requests without an answer; more wait. Identifiers are few, and messages need them too.
const UNANSWERED: usize = 1000;

#[derive(Debug)]
struct Wanted {
    order: u64,
    how: Subscription,
    /// Asked for again by the session itself on this connection, and by nobody else so far.
    restored: bool,
}

#[derive(Debug)]
enum Request {
    Subscribe(Vec<(String, Subscription)>),
    Unsubscribe(Vec<String>),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Requests {
    subscriptions: HashMap<String, Wanted>,
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
    pub fn subscribe(&mut self, filters: Vec<(String, Subscription)>) -> Vec<(String, Subscription)> {
        let mut wanted = Vec::with_capacity(filters.len());
        for (filter, how) in filters {
            self.leaving.remove(&filter);
            let order = self.next_order;
            let known = self.subscriptions.entry(filter.clone()).or_insert_with(|| {
                self.next_order += 1;
                Wanted { order, how, restored: false }
            });
            let covered = std::mem::take(&mut known.restored) && known.how == how;
            known.how = how;
            if !covered {
                wanted.push((filter, how));
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
    pub fn restore(&mut self, session_present: bool) -> (Vec<String>, Vec<(String, Subscription)>) {
        if !session_present {
            self.leaving.clear();
        }
        let mut all: Vec<_> = self
            .subscriptions
            .iter_mut()
            .map(|(filter, subscription)| {
                subscription.restored = true;
                (subscription.order, filter.clone(), subscription.how)
            })
            .collect();
        all.sort_unstable_by_key(|(order, ..)| *order);
        let filters = all.into_iter().map(|(_, filter, how)| (filter, how)).collect();
        (self.leaving.iter().cloned().collect(), filters)
    }

    /// Queues as few SUBSCRIBEs as hold the filters, each in a packet of `limit` bytes; each gets its number from
    /// `mid`. The last one's number.
    pub fn send_subscribe(
        &mut self,
        filters: Vec<(String, Subscription)>,
        limit: usize,
        mut mid: impl FnMut() -> u16,
    ) -> u16 {
        let mut number = None;
        for batch in batches(filters, limit, |(filter, _)| filter.len() + 3) {
            let mid = mid();
            self.queue.push_back((mid, Request::Subscribe(batch)));
            number = Some(mid);
        }
        number.unwrap_or_else(mid)
    }

    /// Queues as few UNSUBSCRIBEs as hold the filters.
    pub fn send_unsubscribe(&mut self, filters: Vec<String>, limit: usize, mid: u16) {
        for batch in batches(filters, limit, |filter| filter.len() + 2) {
            self.queue.push_back((mid, Request::Unsubscribe(batch)));
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
        granted: Vec<Result<QoS, u8>>,
        text: Option<&str>,
    ) -> Result<Option<Event>, &'static str> {
        if !matches!(self.unanswered.get(&id), Some((_, Request::Subscribe(_)))) {
            return Ok(None);
        }
        let Some((mid, Request::Subscribe(filters))) = self.unanswered.remove(&id) else { return Ok(None) };
        if filters.len() != granted.len() {
            return Err("SUBACK does not answer every filter");
        }
        let filters = filters.into_iter().map(|(filter, _)| filter);
        let in_words = |code| match (code, text) {
            // The only one that 3.1.1 has.
            (0x80, None) => "check the broker's access rules".into(),
            (0x80, Some(text)) => codec::with_details("the broker does not take it", Some(text), None),
            _ => codec::with_details(codec::in_words(code), text, None),
        };
        let granted = filters.zip(granted.into_iter().map(|grant| grant.map_err(in_words))).collect();
        Ok(Some(Event::Subscribed { mid, granted }))
    }

    /// UNSUBACK, with 5 a code for each filter; `None` when it answers nothing. The error is what is wrong with it.
    ///
    /// # Errors
    /// It does not fit the request.
    pub fn ended(&mut self, id: PacketId, codes: &[u8]) -> Result<Option<Event>, &'static str> {
        if !matches!(self.unanswered.get(&id), Some((_, Request::Unsubscribe(_)))) {
            return Ok(None);
        }
        let Some((mid, Request::Unsubscribe(filters))) = self.unanswered.remove(&id) else { return Ok(None) };
        if !codes.is_empty() && codes.len() != filters.len() {
            return Err("UNSUBACK does not answer every filter");
        }
        let codes = codes.iter().copied().chain(std::iter::repeat(0));
        let mut refused = Vec::new();
        let mut ended = Vec::new();
        for (filter, code) in filters.into_iter().zip(codes) {
            let reason = Reason::code(code);
            if reason.is_failure() {
                refused.push((filter.clone(), reason.in_words()));
            }
            ended.push(filter);
        }
        let under_way = self.unanswered.values().chain(&self.queue).map(|(_, request)| request);
        let asked_again: BTreeSet<&String> = under_way
            .filter_map(|request| match request {
                Request::Unsubscribe(filters) => Some(filters),
                Request::Subscribe(_) => None,
            })
            .flatten()
            .collect();
        for filter in ended.iter().filter(|filter| !asked_again.contains(filter)) {
            self.leaving.remove(filter);
        }
        Ok(Some(Event::Unsubscribed { mid, refused }))
    }

    /// The connection has ended, and with it every request on its way.
    pub fn connection_lost(&mut self) {
        self.queue.clear();
        self.unanswered.clear();
    }
}

/// What it takes besides the filters: the header, the identifier, the length of the properties.
const PACKET_OVERHEAD: usize = 8;

/// Cuts requests into pieces of which each fits into a packet.
fn batches<T>(items: Vec<T>, limit: usize, size: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let most = SUBSCRIBE_BYTES.min(limit.saturating_sub(PACKET_OVERHEAD));
    let mut all: Vec<Vec<T>> = Vec::new();
    let mut room = 0;
    for item in items {
        let size = size(&item);
        match all.last_mut() {
            Some(batch) if size <= room => {
                room -= size;
                batch.push(item);
            }
            _ => {
                room = most.saturating_sub(size);
                all.push(vec![item]);
            }
        }
    }
    all
}
