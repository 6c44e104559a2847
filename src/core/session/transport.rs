//! Byte streams to the broker: TCP or a Unix socket, TLS on it, WebSocket on that.
//!
//! [`Connector`] makes them, anew for each attempt: names are resolved again, every address is tried, certificates
//! that were renewed on the disk are read again. Whatever goes wrong is a sentence for the person who has to act.

pub mod racing;
pub mod tcp;
pub mod tls;
mod unix;
mod websocket;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::options::{SessionOptions, seconds};
use crate::core::config::Transport;

/// A connection to the broker that carries MQTT's bytes.
///
/// What `poll_write` has taken may wait in it until it is flushed, or more is written.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A connection that stands.
pub struct Opened {
    /// What carries MQTT's bytes.
    pub stream: Box<dyn Stream>,
    /// Its socket, where it takes them as they are.
    pub socket: Option<OwnedFd>,
}

/// How far an attempt has come.
#[derive(Clone, Copy)]
enum Stage {
    Resolving,
    Reaching,
    Tls,
    WebSocket,
}

/// Opens connections to the broker of a session.
pub struct Connector {
    options: SessionOptions,
    tls: Mutex<Option<tls::Loaded>>,
}

impl Connector {
    /// A connector that has done nothing yet.
    pub fn new(options: SessionOptions) -> Self {
        Self { options, tls: Mutex::new(None) }
    }

    /// Takes other options, from the next connection on.
    pub fn configure(&mut self, options: SessionOptions) {
        self.options = options;
    }

    /// Opens a connection. Names, addresses and handshakes have one time limit together.
    ///
    /// # Errors
    /// Why there is none, and what to do.
    pub async fn connect(&self) -> Result<Opened, String> {
        let limit = seconds(self.options.connect_timeout);
        let mut stage = Stage::Resolving;
        let mut failures = Vec::new();
        match tokio::time::timeout(limit, self.open(&mut stage, &mut failures)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.too_late(stage, &failures, limit)),
        }
    }

    async fn open(&self, stage: &mut Stage, failures: &mut Vec<tcp::Failure>) -> Result<Opened, String> {
        let options = &self.options;
        let mut socket;
        let mut stream: Box<dyn Stream> = if options.transport == Transport::Unix {
            *stage = Stage::Reaching;
            let stream = unix::connect(options.socket_path()).await?;
            socket = stream.as_fd().try_clone_to_owned().ok();
            Box::new(stream)
        } else {
            let addresses = tcp::resolve(&options.host, options.port).await?;
            *stage = Stage::Reaching;
            let stream = tcp::connect(addresses, options, failures).await?;
            socket = stream.as_fd().try_clone_to_owned().ok();
            Box::new(stream)
        };
        if let Some(settings) = &options.tls {
            *stage = Stage::Tls;
            socket = None;
            let config = {
                let mut loaded = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
                tls::load(&mut loaded, settings, options.tls_insecure).map_err(|error| error.to_string())?
            };
            stream = Box::new(tls::connect(stream, config, options).await?);
        }
        if options.transport == Transport::Websockets {
            *stage = Stage::WebSocket;
            socket = None;
            stream = Box::new(websocket::connect(stream, options).await?);
        }
        Ok(Opened { stream, socket })
    }

    fn too_late(&self, stage: Stage, failures: &[tcp::Failure], limit: Duration) -> String {
        let (target, limit) = (self.options.target(), limit.as_secs_f64());
        match stage {
            Stage::Resolving => format!(
                "the host name {:?} was not resolved within {limit} s: check the network, and its name server",
                self.options.host
            ),
            Stage::Reaching => {
                let others = if failures.is_empty() {
                    String::new()
                } else {
                    format!(" ({})", tcp::clauses(failures))
                };
                format!(
                    "no answer from {target} within {limit} s{others}: check host and port in the section `broker`, \
                     the network, and firewalls on the way"
                )
            }
            Stage::Tls => format!(
                "{target} accepted the connection, but did not answer in TLS within {limit} s: check that this port \
                 of the broker speaks TLS"
            ),
            Stage::WebSocket => format!(
                "{target} accepted the connection, but did not open a WebSocket within {limit} s: check that this \
                 port speaks HTTP"
            ),
        }
    }

    /// How a connection was lost, in words.
    pub fn lost(&self, error: &io::Error) -> String {
        if let (Some(error), Some(settings)) = (tls::inner(error), &self.options.tls) {
            return tls::words::of(error, settings, &self.options);
        }
        format!("the connection was lost ({error})")
    }

    /// What it looks like when the broker's first bytes are not MQTT, because the port speaks something else.
    pub fn other_protocol(&self, first: &[u8]) -> Option<String> {
        let target = self.options.target();
        match first {
            // An alert, or a handshake, of TLS (RFC 8446 section 5.1).
            [21 | 22, 3, ..] => Some(format!(
                "{target} speaks TLS: add a section `tls` to the configuration (`tls: {{}}` where the system trusts \
                 the broker's certificate), or use the port without TLS"
            )),
            [b'H', b'T', b'T', ..] => Some(format!(
                "{target} answers in HTTP: write `transport: websockets` in the section `broker`, or use the port \
                 for MQTT"
            )),
            _ => None,
        }
    }

    /// What may be wrong when the broker hangs up without an answer to CONNECT.
    pub fn hung_up_early(&self) -> &'static str {
        match (self.options.transport, &self.options.tls) {
            (Transport::Tcp, None) => {
                "the broker closed the connection without an answer to CONNECT: if this port speaks TLS, add a section \
                 `tls`; else the broker's log says why"
            }
            (_, Some(tls)) if tls.certfile.is_none() => {
                "the broker closed the connection without an answer to CONNECT: its log says why; perhaps it wants a \
                 certificate from its clients (`certfile` in the section `tls`)"
            }
            _ => "the broker closed the connection without an answer to CONNECT: its log says why",
        }
    }
}
