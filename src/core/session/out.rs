//! The way out of one connection: packets become bytes, and bytes leave in one system call.
//!
//! The network thread writes them; and so does the service's own thread at the end of a turn of work, where the
//! stream is a bare socket. That saves the hand-over to another thread, which costs more than the system call.

use std::os::fd::{AsRawFd, OwnedFd};

use bytes::{Buf, BytesMut};
use nix::sys::socket::{MsgFlags, send};

use super::alarm::Remote;
use super::codec;
use super::cork::HOLD;
use super::message::Message;
use super::packet::{Packet, PacketId, Version};
use super::protocol::Sink;

/// Bytes that are written in one go; more waits until they are in the socket.
const WRITE_BATCH: usize = 64 * 1024;

/// See the module. Empty, and without a socket, while there is no connection.
#[derive(Debug, Default)]
pub(super) struct Out {
    buffer: BytesMut,
    /// Bytes of this connection's stream that the socket has taken.
    taken: u64,
    version: Version,
    /// Whether the last that was written was as much as is written in one go: there may be more.
    was_full: bool,
    /// Whether the timer is set.
    holding: bool,
    direct: Option<Direct>,
}

/// What another thread than the network's needs to write.
#[derive(Debug)]
pub(super) struct Direct {
    pub socket: OwnedFd,
    /// Has the network thread write, when what is held back has been for long enough.
    pub timer: Remote,
}

impl Out {
    /// A connection stands, which speaks this. `direct` is there where bytes go into the socket as they are.
    pub fn open(&mut self, version: Version, direct: Option<Direct>) {
        self.buffer.clear();
        *self = Self { buffer: std::mem::take(&mut self.buffer), version, direct, ..Self::default() };
    }

    /// The connection is over. Without this the socket would stay open.
    pub fn close(&mut self) {
        self.direct = None;
    }

    /// What has not been written.
    pub fn unwritten(&self) -> &[u8] {
        &self.buffer
    }

    /// Bytes of the stream that the socket has taken.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// The socket has taken so many more bytes.
    pub fn wrote(&mut self, count: usize) {
        self.buffer.advance(count);
        self.taken += count as u64;
    }

    /// Whether [`Self::write_directly`] can be of use now: nothing waits to be written before.
    pub fn is_direct(&self) -> bool {
        self.direct.is_some() && self.buffer.is_empty()
    }

    /// Writes what the socket takes at once; whether that was everything.
    pub fn write_directly(&mut self) -> bool {
        let Some(Direct { socket, .. }) = &self.direct else { return false };
        self.was_full = self.buffer.len() >= WRITE_BATCH;
        // An error, and a socket that is full, are for the network thread: it will meet them too.
        if let Ok(count) =
            send(socket.as_raw_fd(), &self.buffer, MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT)
        {
            self.wrote(count);
        }
        self.buffer.is_empty()
    }

    /// Whether there may be more to write than what [`Self::write_directly`] has written.
    pub fn was_full(&self) -> bool {
        self.was_full
    }

    /// Has the network thread woken if [`Self::write_directly`] is not called soon.
    pub fn hold(&mut self) {
        if let Some(direct) = &self.direct {
            direct.timer.set(HOLD);
            self.holding = true;
        }
    }

    /// It was called.
    pub fn held(&mut self) {
        if let Some(direct) = &self.direct
            && std::mem::take(&mut self.holding)
        {
            direct.timer.unset();
        }
    }
}

impl Sink for Out {
    fn offset(&self) -> u64 {
        self.taken + self.buffer.len() as u64
    }

    fn is_full(&self) -> bool {
        self.buffer.len() >= WRITE_BATCH
    }

    fn publish(&mut self, message: &mut Message, id: PacketId, dup: bool) {
        let before = self.buffer.len();
        if codec::encode_publish(message, id, dup, &mut self.buffer, self.version).is_err() {
            // What cannot be encoded was refused before it was accepted; half a packet must never go out.
            self.buffer.truncate(before);
        }
    }

    fn packet(&mut self, packet: &Packet) {
        let before = self.buffer.len();
        if codec::encode(packet, &mut self.buffer, self.version).is_err() {
            self.buffer.truncate(before);
        }
    }
}
