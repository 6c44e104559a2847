//! Keepalive, and what else is due at a time.

use std::time::Duration;

use super::super::packet::Packet;
use super::{Fault, Phase, Protocol};

/// A PINGREQ without its PINGRESP.
#[derive(Debug)]
pub(super) struct Ping {
    /// When its clock started: when the socket took its last byte. While it waits behind other bytes, each that
    /// the socket takes starts the clock anew.
    pub since: Duration,
    /// Where it ends in the stream; `None` until it has been handed to the sink.
    pub end: Option<u64>,
    pub in_socket: bool,
}

impl Protocol {
    /// Does what is due at `now`.
    ///
    /// # Errors
    /// [`Fault`]: the connection must be ended.
    pub fn tick(&mut self, now: Duration) -> Result<(), Fault> {
        match self.phase {
            Phase::Offline => return Ok(()),
            Phase::Connecting(until) => return if now < until { Ok(()) } else { Err(Fault::NoConnAck) },
            Phase::Greeting(until) if now >= until => self.phase = Phase::Online,
            Phase::Greeting(_) | Phase::Online => {}
        }
        let Some(keepalive) = self.keepalive() else { return Ok(()) };
        if let Some(limit) = self.silence_limit()
            && now >= limit
        {
            return Err(Fault::Silent(now.saturating_sub(self.last_received).as_secs().max(1)));
        }
        if now >= self.next_ping(keepalive) {
            // A ping that still waits to be handed over need not be followed by another.
            if self.ping.as_ref().is_none_or(|ping| ping.end.is_some()) {
                self.control.push_back(Packet::PingReq);
                self.ping = Some(Ping { since: now, end: None, in_socket: false });
            }
            self.last_sent = now;
        }
        Ok(())
    }

    /// When [`Self::tick`] has something to do; `None`: never.
    pub fn deadline(&self) -> Option<Duration> {
        match self.phase {
            Phase::Offline => None,
            Phase::Connecting(until) => Some(until),
            Phase::Greeting(_) | Phase::Online => {
                let greeting = if let Phase::Greeting(until) = self.phase { Some(until) } else { None };
                let ping = self.keepalive().map(|keepalive| self.next_ping(keepalive));
                [greeting, ping, self.silence_limit()].into_iter().flatten().min()
            }
        }
    }

    /// The broker's, where it has one of its own (MQTT-3.2.2-21); `None`: off.
    fn keepalive(&self) -> Option<Duration> {
        let seconds = self.broker.server_keepalive.unwrap_or(self.options.keepalive);
        (seconds > 0).then(|| Duration::from_secs(seconds.into()))
    }

    /// A ping is due when nothing was sent for the keepalive (the broker would drop us, section 3.1.2.10), or
    /// nothing received for it (the link may be dead though we keep sending into it).
    fn next_ping(&self, keepalive: Duration) -> Duration {
        let silent_since = if self.ping.is_some() || self.reading_paused {
            self.last_sent
        } else {
            self.last_sent.min(self.last_received)
        };
        silent_since + keepalive
    }

    /// When an unanswered ping proves the connection dead: half a keepalive after it, unless anything else
    /// has arrived since, or we do not read, or it is still behind bytes that the socket takes.
    fn silence_limit(&self) -> Option<Duration> {
        let ping = self.ping.as_ref()?.since;
        let keepalive = self.keepalive()?;
        (!self.reading_paused).then(|| ping.max(self.last_received) + keepalive / 2)
    }
}
