//! CONNECT and CONNACK: what the session asks for, what the broker grants, and what follows from it.

use std::time::Duration;

use super::super::codec;
use super::super::event::Event;
use super::super::message::QoS;
use super::super::options::seconds;
use super::super::outbox::Terms;
use super::super::packet::{
    ConnAckProperties, Connect, ConnectProperties, Disconnect, Subscription, Version,
};
use super::{Fault, Phase, Protocol, next_number};

/// What a broker has refused in our will.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct WillLimits {
    pub no_retain: bool,
    pub qos0: bool,
}

impl Protocol {
    pub(super) fn connect_packet(&self) -> Connect {
        let options = &self.options;
        let properties = (self.version() == Version::V5).then(|| {
            Box::new(ConnectProperties {
                // Without an end it is what 3.1.1 has.
                session_expiry: if options.clean_session {
                    0
                } else {
                    options.session_expiry.unwrap_or(u32::MAX)
                },
                receive_maximum: Some(self.receive_maximum()).filter(|count| *count < u16::MAX),
                maximum_packet_size: u32::try_from(options.max_packet_size()).ok(),
            })
        });
        let client_id = if options.client_id.is_empty() { self.assigned_client_id.as_ref() } else { None };
        let mut will = options.will();
        if let Some(will) = &mut will {
            will.retain &= !self.will_limits.no_retain;
            if self.will_limits.qos0 {
                will.qos = QoS::AtMostOnce;
            }
        }
        Connect {
            properties,
            client_id: client_id.unwrap_or(&options.client_id).clone(),
            clean_session: options.clean_session,
            keepalive: options.keepalive,
            will,
            login: options.login(),
        }
    }

    /// QoS 1 and 2 messages that the broker may have under way to us: as many as the inbox takes.
    pub(super) fn receive_maximum(&self) -> u16 {
        u16::try_from(self.options.max_incoming_messages.max(1)).unwrap_or(u16::MAX)
    }

    pub(super) fn connected(
        &mut self,
        session_present: bool,
        code: u8,
        properties: Option<Box<ConnAckProperties>>,
        now: Duration,
        events: &mut Vec<Event>,
    ) -> Result<(), Fault> {
        if !matches!(self.phase, Phase::Connecting(_)) {
            return Err(Fault::Protocol("it sent a second CONNACK".into()));
        }
        let mut broker = properties.map_or_else(ConnAckProperties::default, |properties| *properties);
        if code != 0 {
            return Err(self.refused(code, &broker, now));
        }
        self.versions.accepted();
        self.assigned_client_id = broker.assigned_client_id.take().or(self.assigned_client_id.take());
        if !session_present {
            self.inbound_qos2.clear();
            self.inbound_open = 0;
        }
        let terms = Terms {
            window: broker.receive_maximum.into(),
            maximum_qos: broker.maximum_qos,
            retain: broker.retain_available,
            packet_size: broker.maximum_packet_size,
        };
        self.outbox
            .connected(if self.version() == Version::V5 { terms } else { Terms::default() }, session_present);
        self.broker = broker;
        let hold = seconds(self.options.greeting_timeout);
        self.phase =
            if hold.is_zero() || self.is_closing() { Phase::Online } else { Phase::Greeting(now + hold) };
        self.restore_subscriptions(session_present);
        events.push(Event::Connected {
            session_present,
            outage: None,
            version: self.version(),
            assigned_client_id: self.assigned_client_id.clone().filter(|_| self.options.client_id.is_empty()),
        });
        if self.will_limits != WillLimits::default() {
            let reason = "the broker does not take the will as it was asked for: a retained will, or its quality of \
                          service, is not supported; it has it without";
            self.notices.push(Event::Limited { reason: reason.into() });
        }
        Ok(())
    }

    /// The broker has said no to our CONNECT; what the next one will say differently is settled here.
    pub(super) fn refused(&mut self, code: u8, broker: &ConnAckProperties, now: Duration) -> Fault {
        self.phase = Phase::Offline;
        let will = self.options.will.is_some();
        let again = match code {
            0x01 | 0x84 => self.versions.refused(now),
            0x9A if will => !std::mem::replace(&mut self.will_limits.no_retain, true),
            0x9B if will => !std::mem::replace(&mut self.will_limits.qos0, true),
            _ => false,
        };
        let words = codec::refusal_in_words(code);
        let reason =
            codec::with_details(&words, broker.reason.as_deref(), broker.server_reference.as_deref());
        Fault::Refused { code, reason, again }
    }

    pub(super) fn restore_subscriptions(&mut self, session_present: bool) {
        let (mut ended, filters) = self.requests.restore(session_present);
        ended.retain(|filter| self.too_long(filter).is_none());
        let mid = self.take_mid();
        self.requests.send_unsubscribe(ended, self.packet_limit(), mid);
        self.send_subscribe(filters);
    }

    pub(super) fn send_subscribe(&mut self, filters: Vec<(String, Subscription)>) -> u16 {
        let (wanted, refused): (Vec<_>, Vec<_>) =
            filters.into_iter().partition(|(filter, _)| self.unavailable(filter).is_none());
        if !refused.is_empty() {
            let words = |filter: String| {
                let reason = self.unavailable(&filter).unwrap_or_default();
                (filter, Err(reason))
            };
            let granted = refused.into_iter().map(|(filter, _)| words(filter)).collect();
            let mid = self.take_mid();
            self.notices.push(Event::Subscribed { mid, granted });
        }
        let limit = self.packet_limit();
        let last_mid = &mut self.last_mid;
        self.requests.send_subscribe(wanted, limit, || next_number(last_mid))
    }

    /// Bytes that a packet may have on this connection.
    pub(super) fn packet_limit(&self) -> usize {
        self.broker.maximum_packet_size.map_or(usize::MAX, |size| size as usize)
    }

    /// Why this broker must not be asked for a filter: it would end the connection (MQTT 5 section 3.2.2.3).
    pub(super) fn unavailable(&self, filter: &str) -> Option<String> {
        if !self.broker.shared_available && filter.starts_with("$share/") {
            return Some(codec::in_words(0x9E).into());
        }
        if !self.broker.wildcards_available && filter.contains(['+', '#']) {
            return Some(codec::in_words(0xA2).into());
        }
        self.too_long(filter)
    }

    /// Why no request with this filter may be sent (MQTT-3.2.2-15).
    pub(super) fn too_long(&self, filter: &str) -> Option<String> {
        // Header, identifier, no properties, length of the filter and its options.
        let size = filter.len() + 11;
        (size > self.packet_limit())
            .then(|| format!("the request takes {size} bytes, more than the broker accepts"))
    }
}

/// The broker has said goodbye.
pub(super) fn ended(goodbye: Option<&Disconnect>) -> Fault {
    let usual = Disconnect::default();
    let goodbye = goodbye.unwrap_or(&usual);
    let code = goodbye.reason.code;
    let words = if code == 0 { "it does not say why" } else { codec::in_words(code) };
    let words =
        codec::with_details(words, goodbye.reason.text.as_deref(), goodbye.server_reference.as_deref());
    Fault::Ended { code, reason: format!("the broker has ended the connection: {words}") }
}
