//! The driver on a stream that a test controls to the byte.

use std::collections::VecDeque;
use std::task::Context;

use bytes::Bytes;
use tokio::io::ReadBuf;

use super::super::Session;
use super::*;
use crate::core::session::message::{Message, QoS};
use crate::core::session::packet::{PacketId, Reason};
use crate::core::wake::Wake;

/// A socket that takes `takes` bytes at a time, and gives what the test has put in, each piece once the session
/// has written as often as it says. Then it is closed.
struct Script {
    gives: VecDeque<(usize, Bytes)>,
    takes: usize,
    writes: Vec<Vec<u8>>,
    /// Looked at in each write: how many messages the service has been given by then.
    shared: Arc<Shared>,
    waiting: Vec<usize>,
    /// How often the session had written when a piece was read.
    read_after: Vec<usize>,
    /// How often it may write before the stream is closed.
    ends_after: usize,
}

impl AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let written = self.writes.len();
        match self.gives.front() {
            Some((after, _)) if *after <= written => {
                if let Some((_, bytes)) = self.gives.pop_front() {
                    buffer.put_slice(&bytes);
                }
                self.read_after.push(written);
                Poll::Ready(Ok(()))
            }
            None if written >= self.ends_after => Poll::Ready(Ok(())),
            _ => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for Script {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let count = bytes.len().min(self.takes);
        let waiting = self.shared.inbox().messages();
        self.waiting.push(waiting);
        self.writes.push(bytes[..count].to_vec());
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn bytes(packets: &[Packet]) -> Bytes {
    let mut buffer = BytesMut::new();
    for packet in packets {
        codec::encode(packet, &mut buffer, Version::V311).unwrap();
    }
    buffer.freeze()
}

/// Runs a connection of `session` on `script` to its end.
fn run<S: AsyncRead + AsyncWrite + Unpin>(session: &Session, script: S) -> (S, End) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut driver = Driver::new(Arc::clone(&session.shared));
        let mut connection = Connection::new(Arc::clone(&session.shared), script).unwrap();
        connection.begin(None);
        let end = tokio::time::timeout(Duration::from_secs(20), connection.run(&mut driver)).await;
        (connection.stream, end.expect("the connection ends"))
    })
}

fn session() -> Session {
    Session::new(SessionOptions::default(), Arc::new(Wake::new().unwrap()))
}

#[test]
fn a_burst_of_publishes_is_one_write() {
    let session = session();
    for number in 0..500 {
        let payload = Bytes::from(format!("{number}"));
        session.publish("t".into(), payload, QoS::AtMostOnce, false).unwrap();
    }
    let script = Script {
        gives: [(1, bytes(&[Packet::ConnAck(false, 0, None)]))].into(),
        takes: usize::MAX,
        writes: Vec::new(),
        shared: Arc::clone(&session.shared),
        waiting: Vec::new(),
        read_after: Vec::new(),
        ends_after: 2,
    };
    let (script, end) = run(&session, script);
    assert!(matches!(end, End::Closed));
    assert_eq!(script.writes.len(), 2, "CONNECT, and everything else at once");
    let mut stream = BytesMut::from(&script.writes[1][..]);
    for number in 0..500 {
        match codec::decode(&mut stream, 1 << 20, Version::V311).unwrap() {
            Some(Packet::Publish(message, None)) => assert_eq!(message.payload, number.to_string()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(session.owed(), (0, 0));
}

/// A socket that always takes more would otherwise never be read, and its PINGRESP never seen.
#[test]
fn much_to_write_does_not_keep_it_from_reading() {
    let session = session();
    let payload = Bytes::from(vec![b'x'; 10_000]);
    session.publish("t".into(), payload, QoS::AtMostOnce, false).unwrap();
    let connect = bytes(&[Packet::Connect(super::super::packet::Connect {
        properties: None,
        client_id: String::new(),
        clean_session: true,
        keepalive: 60,
        will: None,
        login: None,
    })])
    .len();
    let incoming = Packet::Publish(
        Message {
            topic: "in".into(),
            payload: Bytes::new(),
            qos: QoS::AtMostOnce,
            retain: false,
            dup: false,
            properties: None,
        },
        None,
    );
    let script = Script {
        gives: [(connect, bytes(&[Packet::ConnAck(false, 0, None)])), (connect + 5, bytes(&[incoming]))]
            .into(),
        takes: 1,
        writes: Vec::new(),
        shared: Arc::clone(&session.shared),
        waiting: Vec::new(),
        read_after: Vec::new(),
        ends_after: connect + 1000,
    };
    let (script, end) = run(&session, script);
    assert!(matches!(end, End::Closed));
    assert!(script.read_after[1] <= connect + 7, "it read after {:?} writes", script.read_after);
    assert_eq!(session.waiting(), 1);
}

fn incoming(id: PacketId) -> Packet {
    let topic = "in".into();
    let message = Message {
        topic,
        payload: Bytes::new(),
        qos: QoS::AtLeastOnce,
        retain: false,
        dup: false,
        properties: None,
    };
    Packet::Publish(message, Some(id))
}

/// Design section 4: what is acknowledged is in the service's queue.
#[test]
fn messages_are_handed_over_before_they_are_acknowledged() {
    let session = session();
    let script = Script {
        gives: [(1, bytes(&[Packet::ConnAck(false, 0, None), incoming(1), incoming(2)]))].into(),
        takes: usize::MAX,
        writes: Vec::new(),
        shared: Arc::clone(&session.shared),
        waiting: Vec::new(),
        read_after: Vec::new(),
        ends_after: 2,
    };
    let (script, end) = run(&session, script);
    assert!(matches!(end, End::Closed));
    assert_eq!(
        script.writes[1],
        bytes(&[Packet::PubAck(1, Reason::SUCCESS), Packet::PubAck(2, Reason::SUCCESS)])
    );
    assert_eq!(script.waiting, [0, 2]);
}

#[test]
fn what_arrived_before_the_end_is_handed_over() {
    let session = session();
    let mut input = bytes(&[Packet::ConnAck(false, 0, None), incoming(1), incoming(2)]).to_vec();
    input.extend_from_slice(&[0xf0, 0]);
    let script = Script {
        gives: [(1, Bytes::from(input))].into(),
        takes: usize::MAX,
        writes: Vec::new(),
        shared: Arc::clone(&session.shared),
        waiting: Vec::new(),
        read_after: Vec::new(),
        ends_after: 1,
    };
    let (script, end) = run(&session, script);
    assert!(matches!(end, End::Codec(_)));
    assert_eq!(session.waiting(), 2);
    assert_eq!(script.writes.len(), 1, "nothing but CONNECT was written");
}

/// A stream that keeps what it takes, as TLS and WebSocket do when the socket is full, until it is flushed for the
/// second time.
struct Keeping {
    /// CONNACK, given when CONNECT has gone out.
    answer: Bytes,
    flushes: usize,
}

impl AsyncRead for Keeping {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.flushes < 2 {
            return Poll::Pending;
        }
        buffer.put_slice(&std::mem::take(&mut self.answer));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Keeping {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.flushes += 1;
        cx.waker().wake_by_ref();
        if self.flushes < 2 { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn what_the_stream_has_kept_is_flushed_until_it_is_out() {
    let session = session();
    let stream = Keeping { answer: bytes(&[Packet::ConnAck(false, 0, None)]), flushes: 0 };
    let (_, end) = run(&session, stream);
    assert!(matches!(end, End::Closed));
}
