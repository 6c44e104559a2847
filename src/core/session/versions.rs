//! Which version of MQTT the next connection speaks.

use std::time::Duration;

use super::packet::Version;
use crate::core::config::Protocol;

/// How long a broker that does not speak MQTT 5 is believed to stay so. It may be replaced by a newer one while
/// the session lives; to ask costs a connection.
const BELIEVED: Duration = Duration::from_secs(600);

/// What was learned of the broker, where the service leaves the choice to us (`protocol: auto`).
#[derive(Debug)]
pub(super) struct Versions {
    protocol: Protocol,
    current: Version,
    /// When the broker did not take MQTT 5 last.
    fell_back: Option<Duration>,
    /// Whether 3.1.1 was accepted since.
    proven: bool,
}

impl Versions {
    pub fn new(protocol: Protocol) -> Self {
        let current = if protocol == Protocol::V311 { Version::V311 } else { Version::V5 };
        Self { protocol, current, fell_back: None, proven: false }
    }

    /// What this connection speaks, or the next one will.
    pub fn current(&self) -> Version {
        self.current
    }

    /// A connection begins.
    pub fn connecting(&mut self, now: Duration) {
        if self.fell_back.is_some_and(|since| now >= since + BELIEVED) {
            *self = Self::new(self.protocol);
        }
    }

    /// The broker has accepted us.
    pub fn accepted(&mut self) {
        self.proven = true;
    }

    /// The broker says that it does not speak this version. Whether another one should be tried at once.
    pub fn refused(&mut self, now: Duration) -> bool {
        if self.protocol != Protocol::Auto {
            return false;
        }
        let falls_back = self.current == Version::V5;
        self.current = if falls_back { Version::V311 } else { Version::V5 };
        self.fell_back = falls_back.then_some(now);
        self.proven = false;
        falls_back
    }

    /// The connection has ended without an answer to CONNECT. Brokers older than MQTT 5 do that, and any broker
    /// that goes down: 3.1.1 is tried next, and if that is not answered either, MQTT 5 again.
    pub fn closed_unanswered(&mut self, now: Duration) -> bool {
        !self.proven && self.refused(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_refusal_is_remembered_and_questioned_after_a_time() {
        let mut versions = Versions::new(Protocol::Auto);
        versions.connecting(SECOND);
        assert_eq!(versions.current(), Version::V5);
        assert!(versions.refused(SECOND), "3.1.1 is tried at once");
        versions.connecting(SECOND);
        assert_eq!(versions.current(), Version::V311);
        versions.accepted();
        assert!(!versions.closed_unanswered(SECOND * 2), "a restart of the broker says nothing");
        versions.connecting(BELIEVED);
        assert_eq!(versions.current(), Version::V311);
        versions.connecting(BELIEVED + SECOND);
        assert_eq!(versions.current(), Version::V5);
        assert!(versions.closed_unanswered(BELIEVED * 2), "it is as old as it was");
        versions.connecting(BELIEVED * 3);
        assert_eq!(versions.current(), Version::V5);
        versions.accepted();
        assert!(!versions.closed_unanswered(BELIEVED * 3));
        assert_eq!(versions.current(), Version::V5);
    }

    #[test]
    fn a_broker_that_hangs_up_on_both_is_asked_in_turn() {
        let mut versions = Versions::new(Protocol::Auto);
        assert!(versions.closed_unanswered(SECOND));
        assert_eq!(versions.current(), Version::V311);
        assert!(!versions.closed_unanswered(SECOND), "not at full speed");
        assert_eq!(versions.current(), Version::V5);
        assert!(versions.closed_unanswered(SECOND));
    }

    #[test]
    fn a_version_that_was_chosen_stays() {
        for protocol in [Protocol::V311, Protocol::V5] {
            let mut versions = Versions::new(protocol);
            let chosen = versions.current();
            assert!(!versions.refused(SECOND) && !versions.closed_unanswered(SECOND));
            assert_eq!(versions.current(), chosen);
        }
    }
}
