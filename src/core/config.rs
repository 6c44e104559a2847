//! The typed sections of the configuration file: `broker`, `auth`, `tls` (contract C41, C42).
//!
//! A section comes as a list of [`Setting`]s and goes through serde into a structure that denies unknown fields.
//! The deserializer is our own ([`section`]), so that each error is a sentence and knows its key.

mod checks;
mod section;
mod suggest;

use serde::{Deserialize, Serialize};

use checks::Names;
pub use section::{Section, SectionError, Setting};
pub use suggest::nearest;

/// The version of MQTT that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Protocol {
    /// MQTT 3.1.1
    #[default]
    #[serde(rename = "3.1.1")]
    V311,
    /// MQTT 5
    #[serde(rename = "5")]
    V5,
    /// MQTT 5 where the broker speaks it, else 3.1.1
    #[serde(rename = "auto")]
    Auto,
}

/// What the bytes travel on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP, with TLS where there is a `tls` section
    #[default]
    Tcp,
    /// Web sockets, over TCP or TLS
    Websockets,
    /// A Unix socket
    Unix,
}

/// The section `broker`: where the broker is and how the session with it is kept.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Broker {
    /// Name or address of the broker.
    #[serde(deserialize_with = "checks::host")]
    pub host: String,
    /// 1 to 65535; `None` stands for [`port_or_default`](Self::port_or_default).
    #[serde(deserialize_with = "checks::port")]
    pub port: Option<u16>,
    /// Seconds, 0 to 65535; 0 turns the keepalive off.
    #[serde(deserialize_with = "checks::keepalive")]
    pub keepalive: u16,
    /// The local address to connect from; `None` leaves it to the system.
    #[serde(deserialize_with = "checks::text")]
    pub bind_address: Option<String>,
    /// The local port to connect from; 0 leaves it to the system.
    #[serde(deserialize_with = "checks::bind_port")]
    pub bind_port: u16,
    /// The version of MQTT.
    #[serde(deserialize_with = "checks::protocol")]
    pub protocol: Protocol,
    /// What the bytes travel on.
    #[serde(deserialize_with = "checks::transport")]
    pub transport: Transport,
    /// The path of the web socket, or of the Unix socket.
    #[serde(deserialize_with = "checks::text")]
    pub path: Option<String>,
    /// The client id; `None` stands for the name of the service.
    #[serde(deserialize_with = "checks::text")]
    pub client_id: Option<String>,
    /// Whether the broker forgets the session at the end of a connection; `None` leaves it to the service.
    #[serde(deserialize_with = "checks::optional_truth")]
    pub clean_session: Option<bool>,
    /// Whether messages of QoS 1 and 2 that wait to be sent survive the end of the process.
    #[serde(deserialize_with = "checks::truth")]
    pub durable: bool,
    /// How many messages may wait to be sent.
    #[serde(deserialize_with = "checks::queued_messages")]
    pub max_queued_messages: u64,
    /// How many bytes of messages may wait to be sent.
    #[serde(deserialize_with = "checks::queued_bytes")]
    pub max_queued_bytes: u64,
    /// Seconds before the first attempt to reconnect.
    #[serde(deserialize_with = "checks::delay_min")]
    pub reconnect_delay_min: f64,
    /// Seconds between attempts to reconnect, at most.
    #[serde(deserialize_with = "checks::delay_max")]
    pub reconnect_delay_max: f64,
}

impl Default for Broker {
    fn default() -> Self {
        Self {
            host: "localhost".into(),
            port: None,
            keepalive: 60,
            bind_address: None,
            bind_port: 0,
            protocol: Protocol::V311,
            transport: Transport::Tcp,
            path: None,
            client_id: None,
            clean_session: None,
            durable: false,
            max_queued_messages: 10_000,
            max_queued_bytes: 16 << 20,
            reconnect_delay_min: 0.5,
            reconnect_delay_max: 60.0,
        }
    }
}

impl Broker {
    /// Reads the section.
    ///
    /// # Errors
    /// An unknown key, a value of a wrong type or out of range, or delays that contradict each other.
    pub fn read(section: Section) -> Result<Self, SectionError> {
        let given = section.given();
        let broker: Self = section.read()?;
        if broker.reconnect_delay_min > broker.reconnect_delay_max {
            // The key to mend is the one that stands in the file; the other one has its default.
            let (key, sign, other) = if given.contains("reconnect_delay_min") {
                ("reconnect_delay_min", "at most", broker.reconnect_delay_max)
            } else {
                ("reconnect_delay_max", "at least", broker.reconnect_delay_min)
            };
            return Err(SectionError::value(
                key,
                format!("the shorter delay must not be over the longer one; write {sign} {other}"),
            ));
        }
        Ok(broker)
    }

    /// The port, or else MQTT's own: 8883 with TLS, 1883 without.
    pub fn port_or_default(&self, tls: bool) -> u16 {
        self.port.unwrap_or(if tls { 8883 } else { 1883 })
    }
}

/// The section `auth`: who the service is. `Debug` does not show the password.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// The user name; `None` for an anonymous connection.
    #[serde(deserialize_with = "checks::plain_text")]
    pub username: Option<String>,
    /// The password. Never shown.
    #[serde(deserialize_with = "checks::plain_text")]
    pub password: Option<String>,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let password = self.password.as_ref().map(|_| "(hidden)");
        out.debug_struct("Auth").field("username", &self.username).field("password", &password).finish()
    }
}

impl Auth {
    /// Reads the section.
    ///
    /// # Errors
    /// An unknown key, a value of a wrong type, or a password without a user name, which MQTT 3.1.1 has no room for.
    pub fn read(section: Section) -> Result<Self, SectionError> {
        let auth: Self = section.read()?;
        if auth.password.is_some() && auth.username.is_none() {
            return Err(SectionError::value("password", "a password needs a user name; add 'username'"));
        }
        Ok(auth)
    }
}

/// The section `tls`, by the names of Python's `ssl` module. `Debug` does not show the password of the key.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// File with the certificates that are trusted; `None` for those of the system.
    #[serde(deserialize_with = "checks::text")]
    pub ca_certs: Option<String>,
    /// File with the service's own certificate.
    #[serde(deserialize_with = "checks::text")]
    pub certfile: Option<String>,
    /// File with the private key; `None` where it is in `certfile`.
    #[serde(deserialize_with = "checks::text")]
    pub keyfile: Option<String>,
    /// The password of the private key. Never shown.
    #[serde(deserialize_with = "checks::text")]
    pub keyfile_password: Option<String>,
    /// `CERT_REQUIRED` (the default), `CERT_OPTIONAL` or `CERT_NONE`.
    #[serde(deserialize_with = "checks::cert_reqs")]
    pub cert_reqs: Option<String>,
    /// A `PROTOCOL_...` name; `None` leaves the choice to both sides.
    #[serde(deserialize_with = "checks::tls_version")]
    pub tls_version: Option<String>,
    /// A list of ciphers in OpenSSL's notation; `None` for the usual ones.
    #[serde(deserialize_with = "checks::text")]
    pub ciphers: Option<String>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Tls")
            .field("ca_certs", &self.ca_certs)
            .field("certfile", &self.certfile)
            .field("keyfile", &self.keyfile)
            .field("keyfile_password", &self.keyfile_password.as_ref().map(|_| "(hidden)"))
            .field("cert_reqs", &self.cert_reqs)
            .field("tls_version", &self.tls_version)
            .field("ciphers", &self.ciphers)
            .finish()
    }
}

impl Tls {
    /// Reads the section.
    ///
    /// # Errors
    /// An unknown key, a value of a wrong type, an unknown name, or a key file without a certificate.
    pub fn read(section: Section) -> Result<Self, SectionError> {
        let tls: Self = section.read()?;
        if tls.keyfile.is_some() && tls.certfile.is_none() {
            return Err(SectionError::value(
                "keyfile",
                "a private key needs its certificate; add 'certfile'",
            ));
        }
        if tls.keyfile_password.is_some() && tls.certfile.is_none() {
            return Err(SectionError::value(
                "keyfile_password",
                "there is no private key to open; add 'certfile'",
            ));
        }
        Ok(tls)
    }
}

/// `cert_reqs` by the names of Python's `ssl` module.
const CERT_REQS: Names = &["CERT_REQUIRED", "CERT_OPTIONAL", "CERT_NONE"];

/// `tls_version` by the names of Python's `ssl` module.
const TLS_VERSIONS: Names = &[
    "PROTOCOL_TLS",
    "PROTOCOL_TLS_CLIENT",
    "PROTOCOL_SSLv23",
    "PROTOCOL_TLSv1",
    "PROTOCOL_TLSv1_1",
    "PROTOCOL_TLSv1_2",
];
