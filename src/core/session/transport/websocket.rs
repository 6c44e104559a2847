//! WebSocket (RFC 6455): MQTT's bytes in binary frames (MQTT 3.1.1 section 6).
//!
//! A frame is made of each write of the session, so a burst is one frame; a large message is several, and what arrives
//! may be cut anywhere.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_util::{Sink, Stream as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::http::{self, StatusCode, Uri};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{Stream, tls};
use crate::core::session::options::SessionOptions;

/// Bytes that are read from the socket at a time.
const READ_BUFFER: usize = 32 * 1024;
/// Bytes in a frame at most: servers have limits, which a large message in one frame would break.
const FRAME: usize = 64 * 1024;
/// What frames may be larger than the largest packet.
const FRAME_SLACK: usize = 64 * 1024;

/// Opens a WebSocket on a connection.
///
/// # Errors
/// The other side refuses, or speaks something else.
pub(super) async fn connect(stream: Box<dyn Stream>, options: &SessionOptions) -> Result<Frames, String> {
    let limit = options.max_queued_bytes.saturating_add(FRAME_SLACK);
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_frame_size(Some(limit))
        .max_message_size(Some(limit));
    let handshake =
        tokio_tungstenite::client_async_with_config(request(options)?, stream, Some(config)).await;
    match handshake {
        Ok((socket, _)) => Ok(Frames { socket, rest: Bytes::new(), unflushed: false }),
        Err(error) => Err(in_words(error, options)),
    }
}

fn request(options: &SessionOptions) -> Result<ClientRequestBuilder, String> {
    let host = if options.host.contains(':') { format!("[{}]", options.host) } else { options.host.clone() };
    let scheme = if options.tls.is_some() { "wss" } else { "ws" };
    let path = options.websocket_path();
    let slash = if path.starts_with('/') { "" } else { "/" };
    let uri: Uri = format!("{scheme}://{host}:{}{slash}{path}", options.port).parse().map_err(|error| {
        format!("host and path {path:?} make no address of a WebSocket ({error}): check the section `broker`")
    })?;
    let headers = options.websocket_headers.iter();
    Ok(headers
        .fold(ClientRequestBuilder::new(uri), |request, (name, value)| request.with_header(name, value))
        .with_sub_protocol("mqtt"))
}

fn in_words(error: Error, options: &SessionOptions) -> String {
    let target = options.target();
    let no_http = || {
        format!(
            "{target} does not speak HTTP, which a WebSocket begins with: check the port, and that the broker has \
             WebSocket on it (`protocol websockets` in mosquitto); or use `transport: tcp`"
        )
    };
    match error {
        Error::Http(response) => refusal(&response, options),
        Error::Io(error) => match (tls::inner(&error), &options.tls) {
            (Some(error), Some(settings)) => tls::words::of(error, settings, options),
            _ if error.kind() == io::ErrorKind::ConnectionReset => no_http(),
            _ => format!("the connection to {target} was lost while the WebSocket was opened ({error})"),
        },
        Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(_)) => format!(
            "the WebSocket at {target} does not carry MQTT (it did not agree to the subprotocol \"mqtt\"): check \
             `path` in the section `broker`, which is {:?}",
            options.websocket_path()
        ),
        Error::Protocol(ProtocolError::HandshakeIncomplete | ProtocolError::HttparseError(_)) => no_http(),
        error => format!("{target} did not open a WebSocket as it should ({error})"),
    }
}

fn refusal(response: &http::Response<Option<Vec<u8>>>, options: &SessionOptions) -> String {
    let status = response.status();
    let path = options.websocket_path();
    let advice = match status {
        StatusCode::NOT_FOUND => {
            format!("check `path` in the section `broker`, which is {path:?}")
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "whatever stands before the broker lets only some clients in: check its rules".into()
        }
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            "a proxy answers, but not the broker behind it: check that the broker runs".into()
        }
        status if status.is_redirection() => {
            let location = response.headers().get(http::header::LOCATION);
            let location = location.and_then(|location| location.to_str().ok()).unwrap_or("nowhere");
            format!("it redirects to {location:?}: write that into `host`, `port` and `path`")
        }
        _ => format!("check that there is a WebSocket for MQTT at {path:?}"),
    };
    format!("{} refused the WebSocket with HTTP {status}: {advice}", options.target())
}

/// The bytes inside the frames.
pub(super) struct Frames {
    socket: WebSocketStream<Box<dyn Stream>>,
    /// What is left of the frame read last.
    rest: Bytes,
    /// Whether a frame may still be in memory: the next one waits.
    unflushed: bool,
}

impl AsyncRead for Frames {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if !self.rest.is_empty() {
                let count = self.rest.len().min(buffer.remaining());
                buffer.put_slice(&self.rest[..count]);
                self.rest.advance(count);
                return Poll::Ready(Ok(()));
            }
            // Pings are answered in here too.
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Ok(Message::Binary(bytes))) => self.rest = bytes,
                Some(Ok(Message::Close(Some(frame)))) if frame.code != CloseCode::Normal => {
                    let text = format!(
                        "the broker closed the WebSocket with code {} {:?}",
                        frame.code,
                        frame.reason.as_str()
                    );
                    return Poll::Ready(Err(io::Error::other(text)));
                }
                Some(Ok(Message::Text(_))) => {
                    let text = "the broker sent text in the WebSocket, where MQTT is binary";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_))) => {}
                Some(Err(error)) => match end(error) {
                    None => return Poll::Ready(Ok(())),
                    Some(error) => return Poll::Ready(Err(error)),
                },
            }
        }
    }
}

impl AsyncWrite for Frames {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.unflushed {
            ready!(self.as_mut().poll_flush(cx))?;
        }
        let bytes = &bytes[..bytes.len().min(FRAME)];
        let frame = Message::Binary(Bytes::copy_from_slice(bytes));
        Pin::new(&mut self.socket).start_send(frame).map_err(broken)?;
        self.unflushed = true;
        if let Poll::Ready(Err(error)) = self.as_mut().poll_flush(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.socket).poll_flush(cx)).map_err(broken)?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    /// Says goodbye with a close frame, then ends what is below.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.socket).poll_close(cx)).map_err(broken)?;
        Pin::new(self.socket.get_mut()).poll_shutdown(cx)
    }
}

/// An error as the session understands it; `None`: the end of the stream.
fn end(error: Error) -> Option<io::Error> {
    match error {
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        Error::Io(error) => Some(error),
        Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
            let text = format!(
                "the broker sent {size} bytes in one WebSocket frame; this session accepts {max_size} at most"
            );
            Some(io::Error::new(io::ErrorKind::InvalidData, text))
        }
        error => Some(io::Error::new(io::ErrorKind::InvalidData, error)),
    }
}

fn broken(error: Error) -> io::Error {
    end(error).unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;

    /// Both ends of a WebSocket on a pipe that holds 100 bytes: nothing fits into it at once.
    async fn pair() -> (Frames, WebSocketStream<DuplexStream>) {
        let (here, there) = tokio::io::duplex(100);
        let here: Box<dyn Stream> = Box::new(here);
        let socket = WebSocketStream::from_raw_socket(here, Role::Client, None).await;
        let there = WebSocketStream::from_raw_socket(there, Role::Server, None).await;
        (Frames { socket, rest: Bytes::new(), unflushed: false }, there)
    }

    async fn next(socket: &mut WebSocketStream<DuplexStream>) -> Option<Message> {
        std::future::poll_fn(|cx| Pin::new(&mut *socket).poll_next(cx)).await.and_then(Result::ok)
    }

    async fn send(socket: &mut WebSocketStream<DuplexStream>, message: Message) {
        Pin::new(&mut *socket).start_send(message).unwrap();
        std::future::poll_fn(|cx| Pin::new(&mut *socket).poll_flush(cx)).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_written_arrives_in_frames_of_a_limited_size() {
        let (mut here, mut there) = pair().await;
        let data: Vec<u8> = (0..200_000_u32).map(|number| (number % 251) as u8).collect();
        let sent = data.clone();
        let writer = tokio::spawn(async move {
            here.write_all(&sent).await.unwrap();
            here.flush().await.unwrap();
            here
        });
        let (mut received, mut frames) = (Vec::new(), Vec::new());
        while received.len() < data.len() {
            let bytes = next(&mut there).await.unwrap().into_data();
            frames.push(bytes.len());
            received.extend_from_slice(&bytes);
        }
        assert_eq!(received, data);
        assert_eq!(frames, [FRAME, FRAME, FRAME, 200_000 - 3 * FRAME]);
        writer.await.unwrap();
    }

    #[tokio::test]
    async fn what_arrives_in_pieces_is_one_stream() {
        let (mut here, mut there) = pair().await;
        let writer = tokio::spawn(async move {
            for piece in ["one, ", "", "two, ", "three"] {
                send(&mut there, Message::Binary(Bytes::from_static(piece.as_bytes()))).await;
                send(&mut there, Message::Ping(Bytes::from_static(b"?"))).await;
            }
            send(&mut there, Message::Close(None)).await;
            // The pings are answered while the session does nothing but read.
            let mut pongs = 0;
            while let Some(message) = next(&mut there).await {
                pongs += usize::from(message.is_pong());
            }
            pongs
        });
        let mut received = String::new();
        here.read_to_string(&mut received).await.unwrap();
        assert_eq!(received, "one, two, three");
        drop(here);
        assert!(writer.await.unwrap() >= 1);
    }

    #[tokio::test]
    async fn the_end_is_a_close_frame() {
        let (mut here, mut there) = pair().await;
        here.shutdown().await.unwrap();
        assert!(matches!(next(&mut there).await, Some(Message::Close(None))));
        assert!(here.write_all(b"more").await.is_err());
    }
}
