//! Control packets, independent of how they are put into bytes (MQTT 3.1.1 section 3).

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

/// CONNECT (section 3.1).
#[derive(Clone, PartialEq, Eq)]
pub struct Connect {
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
            .field("will", &self.will)
            .field("login", &self.login.as_ref().map(|(user, _)| (user, "***")))
            .finish()
    }
}

/// One control packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// 3.1, to the broker.
    Connect(Connect),
    /// 3.2: session present, return code.
    ConnAck(bool, u8),
    /// 3.3: the identifier is `None` at QoS 0.
    Publish(Message, Option<PacketId>),
    /// 3.4
    PubAck(PacketId),
    /// 3.5
    PubRec(PacketId),
    /// 3.6
    PubRel(PacketId),
    /// 3.7
    PubComp(PacketId),
    /// 3.8
    Subscribe(PacketId, Vec<(String, QoS)>),
    /// 3.9: what was granted, filter by filter; `None` is a refusal.
    SubAck(PacketId, Vec<Option<QoS>>),
    /// 3.10
    Unsubscribe(PacketId, Vec<String>),
    /// 3.11
    UnsubAck(PacketId),
    /// 3.12
    PingReq,
    /// 3.13
    PingResp,
    /// 3.14
    Disconnect,
}
