//! TCP: names resolved, sockets bound, connected and tuned.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};

use super::racing::{interleave, race};
use crate::core::session::options::SessionOptions;

/// Why an address could not be connected to.
pub type Failure = (SocketAddr, io::Error);

/// The addresses of `host`, asked anew each time.
///
/// # Errors
/// The name cannot be resolved.
pub async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
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

/// Connects to the first of `addresses` that answers. The failures of the others go into `failures` on the way.
///
/// # Errors
/// None can be reached.
pub async fn connect(
    addresses: Vec<SocketAddr>,
    options: &SessionOptions,
    failures: &mut Vec<Failure>,
) -> Result<TcpStream, String> {
    let bind = local_address(&options.bind_address)?;
    let mut addresses = interleave(addresses);
    if let Some(local) = bind {
        addresses.retain(|address| local.is_ipv4() == address.is_ipv4());
        if addresses.is_empty() {
            return Err(format!(
                "the host {:?} has no address that can be reached from `bind_address` {local}, which is of the other \
                 family of IP: check both in the section `broker`",
                options.host
            ));
        }
    }
    let port = options.bind_port;
    let Some(stream) = race(addresses, failures, |address| connect_one(address, bind, port)).await else {
        return Err(in_words(failures, options));
    };
    tune(&stream, options.keepalive());
    Ok(stream)
}

fn local_address(text: &str) -> Result<Option<IpAddr>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        format!("`bind_address` {text:?} is not an IP address: write one of this machine's, or remove it")
    })
}

async fn connect_one(address: SocketAddr, bind: Option<IpAddr>, port: u16) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if bind.is_some() || port != 0 {
        let any: IpAddr = if address.is_ipv4() { [0u8; 4].into() } else { [0u8; 16].into() };
        // A fixed local port would otherwise be blocked for a minute after each connection.
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(bind.unwrap_or(any), port))?;
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

/// What happened at each address. Always in the same order: the addresses race, and a resolver shuffles them.
pub(super) fn clauses(failures: &[Failure]) -> String {
    let mut failures: Vec<_> = failures.iter().collect();
    failures.sort_by_key(|(address, _)| *address);
    failures.into_iter().map(|(address, error)| clause(*address, error)).collect::<Vec<_>>().join(", ")
}

fn clause(address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => format!("nothing listens on {address}"),
        io::ErrorKind::TimedOut => format!("no answer from {address}"),
        _ => format!("{address} cannot be reached ({error})"),
    }
}

fn in_words(failures: &[Failure], options: &SessionOptions) -> String {
    let is = |kind: io::ErrorKind| failures.iter().any(|(_, error)| error.kind() == kind);
    let advice = if failures.is_empty() {
        return format!("the name {} has no address", options.host);
    } else if is(io::ErrorKind::AddrNotAvailable) && !options.bind_address.is_empty() {
        "is `bind_address` in the section `broker` an address of this machine?"
    } else if is(io::ErrorKind::AddrInUse) && options.bind_port != 0 {
        "is `bind_port` in the section `broker` used by another program?"
    } else if is(io::ErrorKind::ConnectionRefused) {
        "is the broker running there? Host and port are in the section `broker`"
    } else {
        "is the machine on, and the network up? Host and port are in the section `broker`"
    };
    format!("{}: {advice}", clauses(failures))
}
