//! Control packets, independent of how they are put into bytes (section 3 of MQTT 3.1.1 and of MQTT 5).

use super::message::{Message, QoS};

/// The packet identifier of MQTT 3.1.1 section 2.3.1; never zero.
pub type PacketId = u16;

/// The message that the broker publishes when this session ends without a DISCONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// Where to.
    pub topic: String,
    /// What.
    pub payload: Vec<u8>,
    /// How.
    pub qos: QoS,
    /// Whether the broker keeps it.
    pub retain: bool,
}

/// The version of MQTT that a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Version {
    /// MQTT 3.1.1, the protocol level 4.
    #[default]
    V311,
    /// MQTT 5
    V5,
}

impl Version {
    /// As people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::V311 => "MQTT 3.1.1",
            Self::V5 => "MQTT 5",
        }
    }

    /// The protocol level on the wire.
    pub fn level(self) -> u8 {
        match self {
            Self::V311 => 4,
            Self::V5 => 5,
        }
    }
}

/// Why the other side says what it says: a reason code of MQTT 5 (section 2.4) and its words for it. With 3.1.1
/// always a success.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reason {
    /// 0x80 and above are failures.
    pub code: u8,
    /// The reason string.
    pub text: Option<Box<str>>,
}

impl Reason {
    /// All is well, without a word.
    pub const SUCCESS: Self = Self { code: 0, text: None };

    /// A code without words.
    pub fn code(code: u8) -> Self {
        Self { code, text: None }
    }

    /// Whether it is an error (section 2.4).
    pub fn is_failure(&self) -> bool {
        self.code >= 0x80
    }
}

/// What a CONNECT of MQTT 5 says besides (section 3.1.2.11).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConnectProperties {
    /// Seconds that the broker keeps the session after the end of the connection; the most is for ever.
    pub session_expiry: u32,
    /// QoS 1 and 2 messages that may be under way to us.
    pub receive_maximum: Option<u16>,
    /// The largest packet that we accept, in bytes.
    pub maximum_packet_size: Option<u32>,
}

/// CONNECT (section 3.1).
#[derive(Clone, PartialEq, Eq)]
pub struct Connect {
    /// What makes it one of MQTT 5.
    pub properties: Option<Box<ConnectProperties>>,
    /// Who we are, to the broker.
    pub client_id: String,
    /// Whether to start without the state of an earlier session.
    pub clean_session: bool,
    /// Seconds; zero turns it off.
    pub keepalive: u16,
    /// The last will.
    pub will: Option<Will>,
    /// User name and password.
    pub login: Option<(String, String)>,
}

impl std::fmt::Debug for Connect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connect")
            .field("client_id", &self.client_id)
            .field("clean_session", &self.clean_session)
            .field("keepalive", &self.keepalive)
            .field("properties", &self.properties)
            .field("will", &self.will)
            .field("login", &self.login.as_ref().map(|(user, _)| (user, "***")))
            .finish()
    }
}

/// What a broker of MQTT 5 says of itself in its CONNACK (section 3.2.2.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnAckProperties {
    /// Seconds that it keeps the session, if not as long as asked for.
    pub session_expiry: Option<u32>,
    /// QoS 1 and 2 messages that may be under way to it.
    pub receive_maximum: u16,
    /// The highest quality of service that it takes.
    pub maximum_qos: QoS,
    /// Whether it keeps messages.
    pub retain_available: bool,
    /// The largest packet that it takes, in bytes.
    pub maximum_packet_size: Option<u32>,
    /// The client id that it has chosen for us.
    pub assigned_client_id: Option<String>,
    /// Its reason string.
    pub reason: Option<Box<str>>,
    /// Whether it takes filters with wildcards.
    pub wildcards_available: bool,
    /// Whether it takes shared subscriptions.
    pub shared_available: bool,
    /// Seconds, where it wants another keepalive than we.
    pub server_keepalive: Option<u16>,
    /// Another broker to go to.
    pub server_reference: Option<String>,
}

impl Default for ConnAckProperties {
    fn default() -> Self {
        Self {
            session_expiry: None,
            receive_maximum: u16::MAX,
            maximum_qos: QoS::ExactlyOnce,
            retain_available: true,
            maximum_packet_size: None,
            assigned_client_id: None,
            reason: None,
            wildcards_available: true,
            shared_available: true,
            server_keepalive: None,
            server_reference: None,
        }
    }
}

/// DISCONNECT of MQTT 5 (section 3.14), where it says more than goodbye.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Disconnect {
    /// Why.
    pub reason: Reason,
    /// Another broker to go to.
    pub server_reference: Option<String>,
}

/// Which retained messages a subscription brings (MQTT 5 section 3.8.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[repr(u8)]
pub enum RetainHandling {
    /// All, each time that it is made.
    #[default]
    Always = 0,
    /// All, if it is new.
    IfNew = 1,
    /// None.
    Never = 2,
}

/// How a filter is subscribed to. With 3.1.1 only the quality of service counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subscription {
    /// The highest quality of service with which messages are to come.
    pub qos: QoS,
    /// Leave out what we publish ourselves.
    pub no_local: bool,
    /// Leave the retain flag as the publisher set it.
    pub retain_as_published: bool,
    /// Which retained messages it brings.
    pub retain_handling: RetainHandling,
}

impl Subscription {
    /// From the byte of options (MQTT 5 section 3.8.3.1); a quality of service alone is one.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence.
    pub fn from_byte(options: u8) -> Result<Self, &'static str> {
        let retain_handling = match options >> 4 {
            0 => RetainHandling::Always,
            1 => RetainHandling::IfNew,
            2 => RetainHandling::Never,
            _ => return Err("a subscription has options that MQTT 5 does not know"),
        };
        Ok(Self {
            qos: QoS::try_from(options & 3).map_err(|_| "a subscription has the quality of service 3")?,
            no_local: options & 4 != 0,
            retain_as_published: options & 8 != 0,
            retain_handling,
        })
    }

    /// As [`Self::from_byte`], for a filter that is to be asked for.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence.
    pub fn for_filter(filter: &str, options: u8) -> Result<Self, String> {
        let how = Self::from_byte(options).map_err(|wrong| format!("{filter:?}: {wrong}"))?;
        // MQTT-3.8.3-4
        if how.no_local && filter.starts_with("$share/") {
            return Err(format!(
                "{filter:?}: a shared subscription cannot leave out the service's own messages"
            ));
        }
        Ok(how)
    }

    /// The byte of options.
    pub fn byte(self) -> u8 {
        self.qos as u8
            | u8::from(self.no_local) << 2
            | u8::from(self.retain_as_published) << 3
            | (self.retain_handling as u8) << 4
    }
}

impl From<QoS> for Subscription {
    fn from(qos: QoS) -> Self {
        Self { qos, no_local: false, retain_as_published: false, retain_handling: RetainHandling::Always }
    }
}

/// One control packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// 3.1, to the broker.
    Connect(Connect),
    /// 3.2: session present, return code, and with MQTT 5 the rest.
    ConnAck(bool, u8, Option<Box<ConnAckProperties>>),
    /// 3.3: the identifier is `None` at QoS 0.
    Publish(Message, Option<PacketId>),
    /// 3.4
    PubAck(PacketId, Reason),
    /// 3.5
    PubRec(PacketId, Reason),
    /// 3.6
    PubRel(PacketId),
    /// 3.7
    PubComp(PacketId),
    /// 3.8
    Subscribe(PacketId, Vec<(String, Subscription)>),
    /// 3.9: what was granted, filter by filter, or the code of the refusal; and the broker's words.
    SubAck(PacketId, Vec<Result<QoS, u8>>, Option<Box<str>>),
    /// 3.10
    Unsubscribe(PacketId, Vec<String>),
    /// 3.11: with MQTT 5 a reason code for each filter.
    UnsubAck(PacketId, Vec<u8>),
    /// 3.12
    PingReq,
    /// 3.13
    PingResp,
    /// 3.14; `None`: all is well.
    Disconnect(Option<Box<Disconnect>>),
}
