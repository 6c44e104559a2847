//! Under a stream of packets the network thread lets some come together before it reads on: to be woken costs many
//! times what a packet costs, and the broker sends them one by one.

use std::time::Duration;

/// Reads that follow each other in less than this are a stream. Questions and answers come no faster.
const QUICK: Duration = Duration::from_micros(60);
/// So many quick reads in a row make it worth while.
const STREAK: u32 = 16;
/// A read of so many bytes has brought enough together by itself.
const PLENTY: usize = 4096;
/// How long to wait. The system adds its timer slack, some 50 microseconds.
const PAUSE: Duration = Duration::from_micros(100);

/// See the module. Times are those of the session's clock.
#[derive(Debug, Default)]
pub(super) struct Lull {
    /// When reading went on last.
    since: Duration,
    streak: u32,
    due: bool,
}

impl Lull {
    /// So many bytes were read.
    pub fn read(&mut self, bytes: usize, now: Duration) {
        let quick = now.saturating_sub(self.since) < QUICK;
        self.streak = if quick { self.streak.saturating_add(1) } else { 0 };
        self.since = now;
        self.due = self.streak >= STREAK && bytes < PLENTY;
    }

    /// How long to let packets gather before the next read, if at all. Asked once per read; what follows the pause
    /// belongs to the stream if it is quick.
    pub fn take(&mut self, now: Duration) -> Option<Duration> {
        if !std::mem::take(&mut self.due) {
            return None;
        }
        self.since = now + PAUSE * 2;
        Some(PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn micros(count: u64) -> Duration {
        Duration::from_micros(count)
    }

    #[test]
    fn a_stream_of_small_reads_is_let_gather() {
        let mut lull = Lull::default();
        let mut now = micros(1_000_000);
        let mut pauses = 0;
        for _ in 0..100 {
            now += micros(20);
            lull.read(4, now);
            if let Some(pause) = lull.take(now) {
                pauses += 1;
                now += pause + micros(60);
            }
            assert_eq!(lull.take(now), None);
        }
        assert_eq!(pauses, 100 - 16);
    }

    #[test]
    fn questions_and_answers_and_large_reads_are_not() {
        let mut lull = Lull::default();
        let mut now = micros(1_000_000);
        for _ in 0..100 {
            now += micros(70);
            lull.read(4, now);
            assert_eq!(lull.take(now), None);
        }
        for _ in 0..100 {
            now += micros(20);
            lull.read(PLENTY, now);
            assert_eq!(lull.take(now), None);
        }
    }

    #[test]
    fn the_end_of_a_stream_ends_the_pauses() {
        let mut lull = Lull::default();
        let mut now = micros(1_000_000);
        for _ in 0..20 {
            now += micros(20);
            lull.read(4, now);
        }
        let pause = lull.take(now).unwrap();
        now += pause + micros(5000);
        lull.read(4, now);
        assert_eq!(lull.take(now), None);
    }
}
