//! Byte streams to the broker: names resolved anew for each attempt, every address tried.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::options::SessionOptions;

/// How long one address may keep the next one waiting (RFC 8305 section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// Opens a connection. The error is a sentence for the person who has to act.
///
/// # Errors
/// Why no address of the broker could be reached.
pub async fn connect(options: &SessionOptions, timeout: Duration) -> Result<TcpStream, String> {
    let target = format!("{}:{}", options.host, options.port);
    match tokio::time::timeout(timeout, connect_any(options)).await {
        Ok(Ok(stream)) => {
            tune(&stream, options.keepalive());
            Ok(stream)
        }
        Ok(Err(reason)) => Err(reason),
        Err(_) => Err(format!(
            "no answer from {target} within {} s: check host and port in the section `broker`, the network, and \
             firewalls on the way",
            timeout.as_secs()
        )),
    }
}

async fn connect_any(options: &SessionOptions) -> Result<TcpStream, String> {
    let addresses = resolve(&options.host, options.port).await?;
    let mut attempts = JoinSet::new();
    let mut waiting = interleave(addresses).into_iter();
    let mut failure = None;
    loop {
        if let Some(address) = waiting.next() {
            let bind = (options.bind_address.clone(), options.bind_port);
            attempts
                .spawn(async move { connect_one(address, &bind.0, bind.1).await.map_err(|e| (address, e)) });
        }
        let finished = if waiting.len() > 0 {
            match tokio::time::timeout(STAGGER, attempts.join_next()).await {
                Ok(finished) => finished,
                Err(_) => continue,
            }
        } else {
            attempts.join_next().await
        };
        match finished {
            Some(Ok(Ok(stream))) => return Ok(stream),
            Some(Ok(Err((address, error)))) => failure = Some(in_words(address, &error)),
            None if waiting.len() == 0 => {
                return Err(failure.unwrap_or_else(|| format!("the name {} has no address", options.host)));
            }
            Some(Err(_)) | None => {}
        }
    }
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    match tokio::net::lookup_host((host, port)).await {
        Ok(addresses) => Ok(addresses.collect()),
        Err(error) => Err(format!(
            "the host name {host:?} cannot be resolved ({error}): check `host` in the section `broker`, and the \
             network"
        )),
    }
}

/// Addresses of both families in turn, in the order in which the resolver prefers them (RFC 8305 section 4).
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (preferred, other): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let mut mixed = Vec::new();
    let (mut preferred, mut other) = (preferred.into_iter(), other.into_iter());
    loop {
        match (preferred.next(), other.next()) {
            (None, None) => return mixed,
            (one, two) => mixed.extend(one.into_iter().chain(two)),
        }
    }
}

async fn connect_one(address: SocketAddr, bind_address: &str, bind_port: u16) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if !bind_address.is_empty() || bind_port != 0 {
        let any: IpAddr = if address.is_ipv4() { [0u8; 4].into() } else { [0u8; 16].into() };
        let local = if bind_address.is_empty() {
            any
        } else {
            bind_address.parse().map_err(|_| {
                let text = format!("`bind_address` {bind_address:?} is not an IP address");
                io::Error::new(io::ErrorKind::InvalidInput, text)
            })?
        };
        // A fixed local port would otherwise be blocked for a minute after each connection.
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(local, bind_port))?;
    }
    socket.connect(address).await
}

/// No Nagle (small bursts would wait 40 ms), and a dead peer is noticed by the kernel too.
fn tune(stream: &TcpStream, keepalive: Option<Duration>) {
    // Each of these is an improvement, not a need: a kernel that refuses one still carries MQTT.
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(stream);
    let interval = keepalive.unwrap_or(Duration::from_secs(60)).max(Duration::from_secs(1));
    let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(interval).with_interval(interval / 4));
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = socket.set_tcp_user_timeout(Some(interval * 3 / 2));
}

fn in_words(address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => format!(
            "nothing listens on {address}: is the broker running there? Host and port are in the section `broker`"
        ),
        io::ErrorKind::TimedOut => {
            format!("no answer from {address}: is the machine on, and the network up?")
        }
        _ => format!("{address} cannot be reached ({error})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_starting_with_the_preferred_one() {
        let a = |text: &str| text.parse::<SocketAddr>().unwrap();
        let mixed =
            interleave(vec![a("[::1]:1"), a("[::2]:1"), a("1.1.1.1:1"), a("2.2.2.2:1"), a("3.3.3.3:1")]);
        let expected = vec![a("[::1]:1"), a("1.1.1.1:1"), a("[::2]:1"), a("2.2.2.2:1"), a("3.3.3.3:1")];
        assert_eq!(mixed, expected);
    }
}
