//! Unix sockets: a broker on the same machine, without a network.

use std::io;

use tokio::net::UnixStream;

/// Connects to the socket at `path`.
///
/// # Errors
/// Nobody listens there, or we may not.
pub(super) async fn connect(path: &str) -> Result<UnixStream, String> {
    UnixStream::connect(path).await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!(
            "there is no socket {path}: is the broker running (`listener 0 {path}` in mosquitto)? The path is in the \
             section `broker`"
        ),
        io::ErrorKind::ConnectionRefused => {
            format!("nothing listens on the socket {path}: is the broker running?")
        }
        io::ErrorKind::PermissionDenied => {
            format!("this user may not use the socket {path}: give the service the group of the socket")
        }
        _ => format!("the socket {path} cannot be connected to ({error}): check `path` in the section `broker`"),
    })
}
