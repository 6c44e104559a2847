//! The typed sections of the configuration file: `broker`, `auth`, `tls` (contract C41, C42).
//!
//! A section comes as a list of [`Setting`]s and goes through serde into a structure that denies unknown fields.
//! The deserializer is our own ([`section`]), so that each error is a sentence and knows its key.

mod checks;
mod fields;
mod schema;
mod section;
mod suggest;
mod system;

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use fields::{Names, Takes, Whole, section};
pub use schema::{Json, schema};
pub use section::{Section, SectionError, Setting};
pub use suggest::nearest;
pub use system::{System, read_password};

/// The version of MQTT that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
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

section! {
    /// The section `broker`: where the broker is and how the session with it is kept.
    #[derive(Debug)]
    pub struct Broker {
        /// Name or address of the broker.
        host: String = "localhost".into(), "checks::host", Takes::Text;
        /// The port. Left out: 8883 where there is a section `tls`, else 1883.
        port: Option<u16> = None, "checks::port", Takes::Whole(PORT);
        /// Seconds without a message after which broker and service ask each other for a sign of life; 0 for never.
        keepalive: u16 = 60, "checks::keepalive", Takes::Whole(KEEPALIVE);
        /// The local address to connect from. Left out: the system chooses.
        bind_address: Option<String> = None, "checks::text", Takes::Text;
        /// The local port to connect from; 0: the system chooses.
        bind_port: u16 = 0, "checks::bind_port", Takes::Whole(BIND_PORT);
        /// The version of MQTT.
        protocol: Protocol = Protocol::V311, "checks::protocol", Takes::Protocol;
        /// What the bytes travel on.
        transport: Transport = Transport::Tcp, "checks::transport", Takes::OneOf(TRANSPORTS);
        /// The path of the web socket (left out: `/mqtt`), or of the Unix socket.
        path: Option<String> = None, "checks::text", Takes::Text;
        /// The client id. Left out: the `SERVICE_NAME`.
        client_id: Option<String> = None, "checks::text", Takes::Text;
        /// Whether the broker forgets the session at the end of a connection. Left out: `CLEAN_SESSION` of the service.
        clean_session: Option<bool> = None, "checks::optional_truth", Takes::Truth;
        /// Seconds that the broker keeps the session after the end of a connection, with MQTT 5. Left out: for ever, unless
        /// it is to be forgotten at once.
        session_expiry: Option<u32> = None, "checks::session_expiry", Takes::Whole(SESSION_EXPIRY);
        /// Whether messages of QoS 1 and 2 that wait to be sent survive the end of the process.
        durable: bool = false, "checks::truth", Takes::Truth;
        /// How many messages may wait to be sent.
        max_queued_messages: u64 = 10_000, "checks::queued_messages", Takes::Whole(AT_LEAST_ONE);
        /// How many bytes of messages may wait to be sent.
        max_queued_bytes: u64 = 16 << 20, "checks::queued_bytes", Takes::Whole(AT_LEAST_ONE);
        /// Seconds before the first attempt to reconnect.
        reconnect_delay_min: f64 = 0.5, "checks::delay_min", Takes::Seconds;
        /// Seconds between two attempts to reconnect, at most.
        reconnect_delay_max: f64 = 60.0, "checks::delay_max", Takes::Seconds;
    }
}

impl Broker {
    /// Reads the section.
    ///
    /// # Errors
    /// An unknown key, a value of a wrong type or out of range, or delays that contradict each other.
    pub fn read(section: Section) -> Result<Self, SectionError> {
        first(Self::read_all(section))
    }

    /// Reads the section, and gives all that is wrong with it. What is wrong has its default.
    pub fn read_all(section: Section) -> (Self, Vec<SectionError>) {
        let given = section.given();
        section.read_all(|broker: &Self| broker.contradiction(&given))
    }

    fn contradiction(&self, given: &HashSet<String>) -> Option<SectionError> {
        if self.reconnect_delay_min > self.reconnect_delay_max {
            // The key to mend is the one that stands in the file; the other one has its default.
            let (key, sign, other) = if given.contains("reconnect_delay_min") {
                ("reconnect_delay_min", "at most", self.reconnect_delay_max)
            } else {
                ("reconnect_delay_max", "at least", self.reconnect_delay_min)
            };
            return Some(SectionError::value(
                key,
                format!("the shorter delay must not be over the longer one; write {sign} {other}"),
            ));
        }
        if self.session_expiry.is_some() && self.protocol == Protocol::V311 {
            let problem =
                "MQTT 3.1.1 has no such setting; add 'protocol: 5' (or 'auto'), or remove it".to_owned();
            return Some(SectionError::value("session_expiry", problem));
        }
        if self.session_expiry.is_some_and(|seconds| seconds > 0) && self.clean_session == Some(true) {
            let problem =
                "with 'clean_session: true' the broker forgets the session at once; remove one of the two"
                    .to_owned();
            return Some(SectionError::value("session_expiry", problem));
        }
        let has_path = self.path.as_deref().is_some_and(|path| !path.is_empty());
        match self.transport {
            Transport::Tcp if has_path => Some(SectionError::value(
                "path",
                "a path is for web sockets and Unix sockets; add 'transport: websockets' or 'transport: unix', or \
                 remove the path",
            )),
            Transport::Unix if !has_path && !self.host.starts_with('/') => Some(SectionError::value(
                "transport",
                "a Unix socket is a file; add 'path', such as 'path: /run/mosquitto/mqtt.sock'",
            )),
            _ => None,
        }
    }

    /// What does not go together with a section `tls`.
    pub fn clash_with_tls(&self) -> Option<SectionError> {
        (self.transport == Transport::Unix).then(|| {
            let problem = "there is no TLS on a Unix socket, which does not leave the machine; remove the section 'tls'";
            SectionError::value("transport", problem)
        })
    }

    /// The port, or else MQTT's own: 8883 with TLS, 1883 without.
    pub fn port_or_default(&self, tls: bool) -> u16 {
        self.port.unwrap_or(if tls { 8883 } else { 1883 })
    }
}

section! {
    /// The section `auth`: who the service is. `Debug` does not show the password.
    pub struct Auth {
        /// The user name. Left out: an anonymous connection.
        username: Option<String> = None, "checks::plain_text", Takes::Text;
        /// The password. Never shown.
        password: Option<String> = None, "checks::plain_text", Takes::Text;
        /// A file with the password, instead of `password`. Relative to the configuration file.
        password_file: Option<String> = None, "checks::text", Takes::Text;
    }
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let password = self.password.as_ref().map(|_| "(hidden)");
        out.debug_struct("Auth")
            .field("username", &self.username)
            .field("password", &password)
            .field("password_file", &self.password_file)
            .finish()
    }
}

impl Auth {
    /// Reads the section.
    ///
    /// # Errors
    /// An unknown key, a value of a wrong type, or a password without a user name, which MQTT 3.1.1 has no room for.
    pub fn read(section: Section) -> Result<Self, SectionError> {
        first(Self::read_all(section))
    }

    /// Reads the section, and gives all that is wrong with it. What is wrong has its default.
    pub fn read_all(section: Section) -> (Self, Vec<SectionError>) {
        section.read_all(Self::contradiction)
    }

    fn contradiction(&self) -> Option<SectionError> {
        if self.password.is_some() && self.password_file.is_some() {
            let problem = "there is a 'password' as well; remove one of the two";
            return Some(SectionError::value("password_file", problem));
        }
        let key = match (&self.password, &self.password_file) {
            (Some(_), _) => "password",
            (_, Some(_)) => "password_file",
            _ => return None,
        };
        let missing = self.username.is_none();
        missing.then(|| SectionError::value(key, "a password needs a user name; add 'username'"))
    }
}

section! {
    /// The section `tls`: the connection is encrypted. The names are those of Python's `ssl` module.
    pub struct Tls {
        /// File with the certificates that are trusted. Left out: those of the system.
        ca_certs: Option<String> = None, "checks::text", Takes::Text;
        /// File with the service's own certificate.
        certfile: Option<String> = None, "checks::text", Takes::Text;
        /// File with the private key. Left out: it is in `certfile`.
        keyfile: Option<String> = None, "checks::text", Takes::Text;
        /// The password of the private key. Never shown.
        keyfile_password: Option<String> = None, "checks::text", Takes::Text;
        /// Whether the broker has to show a certificate. Left out: `CERT_REQUIRED`.
        cert_reqs: Option<String> = None, "checks::cert_reqs", Takes::OneOf(CERT_REQS);
        /// The version of TLS. Left out: the newest one that both sides speak.
        tls_version: Option<String> = None, "checks::tls_version", Takes::OneOf(TLS_VERSIONS);
        /// The oldest version of TLS that is spoken. Left out: `TLSv1_2`.
        minimum_version: Option<String> = None, "checks::minimum_version", Takes::OneOf(MINIMUM_VERSIONS);
        /// The ciphers that may be used, in OpenSSL's notation. Left out: the usual ones.
        ciphers: Option<String> = None, "checks::text", Takes::Text;
        /// The name that the broker's certificate has to be for. Left out: the host.
        server_name: Option<String> = None, "checks::text", Takes::Text;
        /// The application protocols (ALPN) that are offered, with commas between them. Left out: none.
        alpn: Option<String> = None, "checks::text", Takes::Text;
    }
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
            .field("minimum_version", &self.minimum_version)
            .field("ciphers", &self.ciphers)
            .field("server_name", &self.server_name)
            .field("alpn", &self.alpn)
            .finish()
    }
}

impl Tls {
    /// Reads the section.
    ///
    /// # Errors
    /// An unknown key, a value of a wrong type, an unknown name, or a key file without a certificate.
    pub fn read(section: Section) -> Result<Self, SectionError> {
        first(Self::read_all(section))
    }

    /// Reads the section, and gives all that is wrong with it. What is wrong has its default.
    pub fn read_all(section: Section) -> (Self, Vec<SectionError>) {
        section.read_all(Self::contradiction)
    }

    fn contradiction(&self) -> Option<SectionError> {
        if self.keyfile.is_some() && self.certfile.is_none() {
            return Some(SectionError::value(
                "keyfile",
                "a private key needs its certificate; add 'certfile'",
            ));
        }
        if self.keyfile_password.is_some() && self.certfile.is_none() {
            return Some(SectionError::value(
                "keyfile_password",
                "there is no private key to open; add 'certfile'",
            ));
        }
        None
    }
}

fn first<T>((section, errors): (T, Vec<SectionError>)) -> Result<T, SectionError> {
    errors.into_iter().next().map_or(Ok(section), Err)
}

const PORT: Whole = Whole { least: 1, most: 65_535 };
const BIND_PORT: Whole = Whole { least: 0, most: 65_535 };
const KEEPALIVE: Whole = Whole { least: 0, most: 65_535 };
/// The most is for ever (MQTT 5 section 3.1.2.11.2).
const SESSION_EXPIRY: Whole = Whole { least: 0, most: u32::MAX as i64 };
const AT_LEAST_ONE: Whole = Whole { least: 1, most: i64::MAX };
/// Longer than anyone waits, and short enough for every clock.
const LONGEST_DELAY: f64 = 86_400.0;

const TRANSPORTS: Names = &["tcp", "websockets", "unix"];

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

/// `minimum_version` by the names of Python's `ssl.TLSVersion`.
const MINIMUM_VERSIONS: Names = &["TLSv1_2", "TLSv1_3"];
