//! What was last sent on a topic, for `only_if_changed` (contract C35).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::session::completion::{Completion, Outcome};

#[derive(Debug)]
struct Entry {
    payload: Vec<u8>,
    at: Duration,
    /// What becomes of the message, where that is not settled yet.
    fate: Option<Arc<Completion>>,
    /// Its place in the order in which topics came.
    order: u64,
}

/// The last payload of each topic that is published only if changed. Times are those of one [`super::clock::Clock`].
#[derive(Debug, Default)]
pub struct Dedup {
    entries: HashMap<Box<str>, Entry>,
    next: u64,
}

impl Dedup {
    /// Whether `payload` need not be sent: it is what was last sent on `topic`, and, where `max_age` is given, that
    /// was less than `max_age` before `now`. Remembers nothing: a message counts once it is sent, by
    /// [`Dedup::note`].
    #[inline]
    pub fn unchanged(&self, topic: &str, payload: &[u8], max_age: Option<Duration>, now: Duration) -> bool {
        self.same(topic, payload, |at| max_age.is_none_or(|age| now.saturating_sub(at) < age))
    }

    /// As [`Dedup::unchanged`], with the age of the last message judged by `fresh`, which is called with the time of
    /// that message only where the payload is the same.
    #[inline]
    pub fn same(&self, topic: &str, payload: &[u8], fresh: impl FnOnce(Duration) -> bool) -> bool {
        let lost = |last: &Entry| {
            last.fate.as_ref().is_some_and(|fate| matches!(fate.outcome(), Outcome::Failed(_)))
        };
        self.entries.get(topic).is_some_and(|last| last.payload == payload && fresh(last.at) && !lost(last))
    }

    /// Remembers `payload` as last sent on `topic`, at `now`. From then on the topic is tracked.
    pub fn note(&mut self, topic: &str, payload: &[u8], now: Duration) {
        if !self.note_if_tracked(topic, payload, now) {
            let entry = Entry { payload: payload.to_vec(), at: now, fate: None, order: self.next };
            self.next += 1;
            self.entries.insert(topic.into(), entry);
        }
    }

    /// Remembers a plain publish where the topic is tracked, and whether it is.
    pub fn note_if_tracked(&mut self, topic: &str, payload: &[u8], now: Duration) -> bool {
        let Some(entry) = self.entries.get_mut(topic) else {
            return false;
        };
        entry.at = now;
        entry.fate = None;
        if entry.payload != payload {
            // A new buffer where the old one was for something far larger, which would stay for ever.
            if entry.payload.capacity() > 4 * payload.len() + 1024 {
                entry.payload = payload.to_vec();
            } else {
                entry.payload.clear();
                entry.payload.extend_from_slice(payload);
            }
        }
        true
    }

    /// Ties the message noted last on `topic` to its fate: should it be dropped after all, it was not sent, and does
    /// not count.
    pub fn follow(&mut self, topic: &str, fate: Arc<Completion>) {
        if let Some(entry) = self.entries.get_mut(topic) {
            entry.fate = Some(fate);
        }
    }

    /// Stops tracking `topic`, so that its next message is sent; what was last sent on it.
    pub fn forget(&mut self, topic: &str) -> Option<Vec<u8>> {
        self.entries.remove(topic).map(|entry| entry.payload)
    }

    /// Stops tracking every topic.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// What was last sent on `topic`, if it is tracked.
    pub fn get(&self, topic: &str) -> Option<&[u8]> {
        self.entries.get(topic).map(|entry| entry.payload.as_slice())
    }

    /// How many topics are tracked.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no topic is tracked.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The tracked topics and what was last sent on them, in the order in which they came.
    pub fn items(&self) -> Vec<(&str, &[u8])> {
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort_unstable_by_key(|(_, entry)| entry.order);
        entries.into_iter().map(|(topic, entry)| (&**topic, entry.payload.as_slice())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::clock::{Clock, TestClock};
    use crate::core::session::completion::PublishFailure;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_payload_is_unchanged_only_once_it_was_noted() {
        let mut last = Dedup::default();
        assert!(!last.unchanged("t", b"1", None, MINUTE));
        assert!(!last.unchanged("t", b"1", None, MINUTE), "asking is not sending");
        last.note("t", b"1", MINUTE);
        assert!(last.unchanged("t", b"1", None, MINUTE));
        assert!(!last.unchanged("t", b"2", None, MINUTE));
        assert!(!last.unchanged("u", b"1", None, MINUTE));
    }

    #[test]
    fn both_forms_work_on_one_topic() {
        let clock = TestClock::default();
        let mut last = Dedup::default();
        last.note("t", b"1", clock.now());
        clock.advance(Duration::from_nanos(59_999_999_999));
        assert!(last.unchanged("t", b"1", Some(MINUTE), clock.now()));
        clock.advance(Duration::from_nanos(1));
        assert!(!last.unchanged("t", b"1", Some(MINUTE), clock.now()), "that long has passed");
        assert!(last.unchanged("t", b"1", None, clock.now()));
        last.note("t", b"1", clock.now());
        assert!(last.unchanged("t", b"1", Some(MINUTE), clock.now()));
        assert!(!last.unchanged("t", b"1", Some(Duration::ZERO), clock.now()));
    }

    #[test]
    fn a_plain_publish_counts_only_on_a_tracked_topic() {
        let mut last = Dedup::default();
        assert!(!last.note_if_tracked("t", b"1", MINUTE));
        assert!(last.is_empty());
        last.note("t", b"1", MINUTE);
        assert!(last.note_if_tracked("t", b"2", MINUTE));
        assert!(!last.unchanged("t", b"1", None, MINUTE));
        assert!(last.unchanged("t", b"2", None, MINUTE));
    }

    #[test]
    fn a_message_that_was_dropped_does_not_count_as_sent() {
        let mut last = Dedup::default();
        for outcome in [Outcome::Done, Outcome::Failed(PublishFailure::Dropped)] {
            let fate = Arc::new(Completion::default());
            last.note("t", b"1", MINUTE);
            last.follow("t", Arc::clone(&fate));
            assert!(last.unchanged("t", b"1", None, MINUTE), "on its way");
            fate.resolve(outcome.clone());
            assert_eq!(last.unchanged("t", b"1", None, MINUTE), outcome == Outcome::Done);
        }
        last.note("t", b"1", MINUTE);
        assert!(last.unchanged("t", b"1", None, MINUTE), "another message, with a fate of its own");
    }

    #[test]
    fn forgetting_makes_the_next_message_go_out() {
        let mut last = Dedup::default();
        last.note("t", b"1", MINUTE);
        last.note("u", b"2", MINUTE);
        assert_eq!(last.forget("t").as_deref(), Some(b"1".as_slice()));
        assert_eq!(last.forget("t"), None);
        assert!(!last.unchanged("t", b"1", None, MINUTE));
        assert!(last.unchanged("u", b"2", None, MINUTE));
        last.clear();
        assert_eq!(last.len(), 0);
        assert!(!last.unchanged("u", b"2", None, MINUTE));
    }

    #[test]
    fn topics_are_listed_in_the_order_they_came() {
        let mut last = Dedup::default();
        for topic in ["z", "a", "m", "z", "b"] {
            last.note(topic, topic.as_bytes(), MINUTE);
        }
        let topics: Vec<_> = last.items().into_iter().map(|(topic, _)| topic).collect();
        assert_eq!(topics, ["z", "a", "m", "b"]);
        assert_eq!(last.get("m"), Some(b"m".as_slice()));
    }

    #[test]
    fn a_large_payload_does_not_keep_its_memory_after_a_small_one() {
        let mut last = Dedup::default();
        last.note("t", &vec![b'x'; 100_000], MINUTE);
        last.note("t", b"small", MINUTE);
        assert!(last.entries["t"].payload.capacity() < 10_000);
    }
}
