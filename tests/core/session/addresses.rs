//! Addresses of the broker: every one is tried, those that say nothing hold nobody up (C43).

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use miqro::core::config::Transport;
use miqro::core::session::options::SessionOptions;
use miqro::core::session::transport::{Connector, racing, tcp};
use socket2::{Domain, Socket, Type};

use super::PATIENCE;

/// An address that answers nothing, as behind a firewall that drops: its queue of connections is full, and the
/// kernel leaves whoever comes then without an answer.
struct BlackHole {
    address: SocketAddr,
    _listener: Socket,
    _queue: Vec<TcpStream>,
}

impl BlackHole {
    fn new() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let mut queue = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            queue.push(stream);
        }
        Self { address, _listener: listener, _queue: queue }
    }
}

fn on_runtime<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, work).await.expect("it ends") })
}

/// Nobody listens here any more.
fn deserted() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// RFC 8305: on real sockets; the clockwork is tested where it is.
#[test]
fn a_silent_address_does_not_keep_the_others_waiting() {
    let (hole, live) = (BlackHole::new(), TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let addresses = vec![hole.address, deserted(), live.local_addr().unwrap()];
    let (begin, mut failures) = (Instant::now(), Vec::new());
    let options = SessionOptions::default();
    let stream = on_runtime(tcp::connect(addresses, &options, &mut failures)).unwrap();
    assert_eq!(stream.peer_addr().unwrap(), live.local_addr().unwrap());
    assert!(begin.elapsed() >= racing::ATTEMPT_DELAY);
    assert!(begin.elapsed() < Duration::from_secs(5), "a connect timeout was waited for");
    assert_eq!(failures.len(), 1);
}

/// C43: the reason is the same one however the race went, or it would be news each time.
#[test]
fn all_addresses_are_told_in_one_order() {
    let (one, two) = (deserted(), deserted());
    let (low, high) = (one.min(two), one.max(two));
    let told = |addresses| {
        on_runtime(tcp::connect(addresses, &SessionOptions::default(), &mut Vec::new())).unwrap_err()
    };
    let reason = told(vec![low, high]);
    let words = format!("nothing listens on {low}, nothing listens on {high}: is the broker running there?");
    assert!(reason.starts_with(&words), "{reason}");
    assert_eq!(told(vec![high, low]), reason);
}

#[test]
fn one_time_limit_holds_for_all_of_it() {
    let hole = BlackHole::new();
    let options = |port| SessionOptions {
        host: "127.0.0.1".into(),
        port,
        connect_timeout: 0.3,
        ..SessionOptions::default()
    };
    let reason = on_runtime(Connector::new(options(hole.address.port())).connect()).err().unwrap();
    let words = format!("no answer from {} within 0.3 s: check host and port", hole.address);
    assert!(reason.starts_with(&words), "{reason}");

    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let websocket =
        SessionOptions { transport: Transport::Websockets, ..options(silent.local_addr().unwrap().port()) };
    let reason = on_runtime(Connector::new(websocket).connect()).err().unwrap();
    assert!(reason.contains("did not open a WebSocket within 0.3 s"), "{reason}");
}

/// A local address of IPv4 cannot reach IPv6: such addresses are left out, not failed on.
#[test]
fn only_addresses_of_the_family_of_the_local_one_are_tried() {
    let live = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let six: SocketAddr = "[::1]:1".parse().unwrap();
    let options = SessionOptions { bind_address: "127.0.0.1".into(), ..SessionOptions::default() };
    let mut failures = Vec::new();
    let addresses = vec![six, live.local_addr().unwrap()];
    on_runtime(tcp::connect(addresses, &options, &mut failures)).unwrap();
    assert!(failures.is_empty());
    let reason = on_runtime(tcp::connect(vec![six], &options, &mut failures)).unwrap_err();
    assert!(reason.contains("which is of the other family of IP"), "{reason}");
}

#[test]
fn a_local_address_or_port_that_cannot_be_used_is_named() {
    let live = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let told = |options: SessionOptions| {
        let addresses = vec![live.local_addr().unwrap()];
        on_runtime(tcp::connect(addresses, &options, &mut Vec::new())).unwrap_err()
    };
    // An address of documentation (RFC 5737), which no machine has.
    let foreign = SessionOptions { bind_address: "192.0.2.1".into(), ..SessionOptions::default() };
    let reason = told(foreign);
    assert!(reason.contains("is `bind_address` in the section `broker` an address of this"), "{reason}");
    let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let reason = told(SessionOptions { bind_port: port, ..SessionOptions::default() });
    assert!(reason.contains("is `bind_port` in the section `broker` used by another"), "{reason}");
}
