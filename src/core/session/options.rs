//! What a session is made with.

use std::time::Duration;

use serde::Deserialize;

use super::packet::Will;
use crate::core::config::{Protocol, Tls, Transport};

/// Everything a session needs to know. Durations are given in seconds.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionOptions {
    /// Host name or address of the broker.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Seconds without traffic after which the connection is probed; 0 turns probing off.
    pub keepalive: u16,
    /// Local address to connect from; empty for any.
    pub bind_address: String,
    /// Local port to connect from; 0 for any.
    pub bind_port: u16,
    /// What the bytes travel on.
    pub transport: Transport,
    /// The path of the WebSocket or of the Unix socket; empty for the default.
    pub path: String,
    /// Headers of the request for a WebSocket: names and values.
    pub websocket_headers: Vec<(String, String)>,
    /// TLS; `None` for none.
    pub tls: Option<Tls>,
    /// Whether the broker's certificate may be for another host.
    pub tls_insecure: bool,
    /// Who we are, to the broker.
    pub client_id: String,
    /// Whether the broker forgets us when we are gone.
    pub clean_session: bool,
    /// The version of MQTT.
    pub protocol: Protocol,
    /// Seconds that the broker keeps the session of an MQTT 5 client that is gone, unless it is to forget it;
    /// `None`: for ever, as with 3.1.1.
    pub session_expiry: Option<u32>,
    /// User name; empty for none.
    pub username: String,
    /// Password; empty for none.
    pub password: String,
    /// The last will.
    pub will: Option<WillOptions>,
    /// Messages in the outbox.
    pub max_queued_messages: usize,
    /// Bytes in the outbox, and in the inbox.
    pub max_queued_bytes: usize,
    /// Messages in the inbox.
    pub max_incoming_messages: usize,
    /// QoS 1 and 2 messages in flight.
    pub max_inflight: usize,
    /// Seconds before the first attempt to reconnect.
    pub reconnect_delay_min: f64,
    /// Seconds between attempts at most.
    pub reconnect_delay_max: f64,
    /// Seconds for an attempt to connect, and for the broker's answer to it.
    pub connect_timeout: f64,
    /// Seconds that the queue is held back after a connect for the service's greeting; 0 does not hold it.
    pub greeting_timeout: f64,
    /// The file of the durable outbox; empty for none.
    pub durable: String,
    /// Whether to report each acknowledged message as an event.
    pub report_published: bool,
}

/// The last will, as options.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WillOptions {
    /// Where to.
    pub topic: String,
    /// What.
    pub payload: Vec<u8>,
    /// 0, 1 or 2.
    pub qos: u8,
    /// Whether the broker keeps it.
    pub retain: bool,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            host: "localhost".into(),
            port: 1883,
            keepalive: 60,
            bind_address: String::new(),
            bind_port: 0,
            transport: Transport::Tcp,
            path: String::new(),
            websocket_headers: Vec::new(),
            tls: None,
            tls_insecure: false,
            client_id: String::new(),
            clean_session: true,
            protocol: Protocol::V311,
            session_expiry: None,
            username: String::new(),
            password: String::new(),
            will: None,
            max_queued_messages: 10_000,
            max_queued_bytes: 16 << 20,
            max_incoming_messages: 10_000,
            max_inflight: 20,
            reconnect_delay_min: 0.5,
            reconnect_delay_max: 60.0,
            connect_timeout: 10.0,
            greeting_timeout: 0.0,
            durable: String::new(),
            report_published: false,
        }
    }
}

impl std::fmt::Debug for SessionOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionOptions")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("client_id", &self.client_id)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl SessionOptions {
    /// The broker, as errors name it.
    pub fn target(&self) -> String {
        match self.transport {
            Transport::Unix => self.socket_path().into(),
            _ if self.host.contains(':') => format!("[{}]:{}", self.host, self.port),
            _ => format!("{}:{}", self.host, self.port),
        }
    }

    /// The path of the Unix socket: a host that is one, as with paho, is taken too.
    pub fn socket_path(&self) -> &str {
        if self.path.is_empty() { &self.host } else { &self.path }
    }

    /// The path of the WebSocket; paho's default where none is set.
    pub fn websocket_path(&self) -> &str {
        if self.path.is_empty() { "/mqtt" } else { &self.path }
    }

    /// The keepalive, `None` when it is off.
    pub fn keepalive(&self) -> Option<Duration> {
        (self.keepalive > 0).then(|| Duration::from_secs(self.keepalive.into()))
    }

    /// The largest packet that is accepted, in bytes after its header.
    pub fn max_packet_size(&self) -> usize {
        self.max_queued_bytes.clamp(1, super::codec::MAX_REMAINING_LENGTH)
    }

    /// The will as a packet carries it.
    pub fn will(&self) -> Option<Will> {
        self.will.as_ref().map(|will| Will {
            topic: will.topic.clone(),
            payload: will.payload.clone(),
            qos: will.qos.try_into().unwrap_or(super::message::QoS::AtMostOnce),
            retain: will.retain,
        })
    }

    /// User name and password, if there are any.
    pub fn login(&self) -> Option<(String, String)> {
        (!self.username.is_empty()).then(|| (self.username.clone(), self.password.clone()))
    }
}

/// Seconds as a duration; nothing below zero, thirty years at most, and not a number is zero.
pub(super) fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value.clamp(0.0, 1e9)).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_seconds_is_a_duration_that_can_be_added_to_a_time() {
        assert_eq!(seconds(1.5), Duration::from_millis(1500));
        assert_eq!(seconds(-1.0), Duration::ZERO);
        assert_eq!(seconds(f64::NAN), Duration::ZERO);
        assert_eq!(seconds(f64::INFINITY), Duration::from_secs(1_000_000_000));
        assert!(std::time::Instant::now().checked_add(seconds(f64::MAX)).is_some());
    }
}
