//! How connections come and go (C40, C43).

use std::time::{Duration, Instant};

use bytes::Bytes;
use miqro::core::session::event::Event;
use miqro::core::session::message::QoS;
use miqro::core::session::options::{SessionOptions, WillOptions};
use miqro::core::session::packet::{Packet, Version};
use miqro::core::session::transport;

use super::{Broker, Client, PATIENCE, within};

/// The reason of the next failed attempt, and the pause after it.
fn failure(client: &mut Client) -> (String, Duration) {
    match client.until(|event| matches!(event, Event::Unreachable { .. } | Event::Refused { .. })) {
        Event::Unreachable { reason, retry_in } | Event::Refused { reason, retry_in, .. } => {
            (reason, retry_in)
        }
        _ => unreachable!(),
    }
}

#[test]
fn connect_says_what_the_options_say() {
    let broker = Broker::new();
    let client = Client::started(broker.port(), |options| {
        options.client_id = "thermometer".into();
        options.keepalive = 17;
        options.clean_session = false;
        options.username = "user".into();
        options.password = "secret".into();
        let payload = b"0".to_vec();
        options.will = Some(WillOptions { topic: "online".into(), payload, qos: 1, retain: true });
    });
    let (_peer, connect) = broker.welcome_back(false);
    assert_eq!(
        (connect.client_id.as_str(), connect.keepalive, connect.clean_session),
        ("thermometer", 17, false)
    );
    assert_eq!(connect.login, Some(("user".into(), "secret".into())));
    let will = connect.will.expect("it has a will");
    assert_eq!(
        (will.topic.as_str(), &will.payload[..], will.qos, will.retain),
        ("online", &b"0"[..], QoS::AtLeastOnce, true)
    );
    client.session.close(Duration::ZERO);
}

/// C46: what is set while the session runs counts from the next connection on.
#[test]
fn options_that_are_changed_count_from_the_next_connection_on() {
    let (first, second) = (Broker::new(), Broker::new());
    let client = Client::started(first.port(), |options| options.keepalive = 30);
    let (peer, connect) = first.welcome_back(false);
    assert_eq!((connect.keepalive, connect.will), (30, None));
    let will = WillOptions { topic: "gone".into(), payload: b"x".to_vec(), qos: 0, retain: false };
    client.session.configure(SessionOptions {
        host: "127.0.0.1".into(),
        port: second.port(),
        keepalive: 90,
        will: Some(will),
        reconnect_delay_min: 0.01,
        reconnect_delay_max: 0.01,
        ..SessionOptions::default()
    });
    drop(peer);
    let (_peer, connect) = second.welcome_back(false);
    assert_eq!(connect.keepalive, 90);
    assert_eq!(connect.will.expect("it has a will now").topic, "gone");
    client.session.close(Duration::ZERO);
}

/// C44: a queue that is made smaller keeps what it has.
#[test]
fn a_queue_that_is_made_smaller_keeps_what_it_has() {
    let client = Client::new(1, |options| options.max_queued_messages = 3);
    for text in ["1", "2", "3"] {
        client.publish("a", text, QoS::AtLeastOnce);
    }
    client.session.configure(SessionOptions { max_queued_messages: 2, ..SessionOptions::default() });
    assert_eq!(client.session.owed().0, 3);
    assert!(client.session.publish("a".into(), Bytes::new(), QoS::AtLeastOnce, false).is_err());
}

/// C43: refused by the broker: the reason in words, and another try after the backoff.
#[test]
fn each_refusal_is_told_in_words_and_tried_again() {
    let broker = Broker::new();
    let mut client = Client::started(broker.port(), |_| {});
    let words = [
        "MQTT 3.1.1",
        "client id",
        "not available",
        "user name or the password",
        "not allow this client",
        "code 42",
    ];
    for (code, words) in [1, 2, 3, 4, 5, 42].into_iter().zip(words) {
        let mut peer = broker.accept();
        peer.connect();
        peer.send(&Packet::ConnAck(false, code, None));
        match client.event() {
            Event::Refused { code: told, reason, .. } => {
                assert_eq!(told, code);
                assert!(reason.contains(words), "{reason}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(peer.rest(), []);
    }
    broker.welcome();
    client.until(|event| matches!(event, Event::Connected { .. }));
}

/// C43: never connected: it says what to do, and tries for ever.
#[test]
fn a_broker_that_comes_late_is_found() {
    let port = Broker::new().port();
    let mut client = Client::started(port, |_| {});
    let (reason, _) = failure(&mut client);
    assert!(
        reason.contains("nothing listens on 127.0.0.1") && reason.contains("section `broker`"),
        "{reason}"
    );
    let broker = Broker::on_port(port);
    broker.welcome();
    match client.until(|event| matches!(event, Event::Connected { .. })) {
        // It has not been away: it was never there.
        Event::Connected { outage, .. } => assert_eq!(outage, None),
        _ => unreachable!(),
    }
}

#[test]
fn the_pauses_between_attempts_grow_up_to_their_limit() {
    let port = Broker::new().port();
    let mut client = Client::started(port, |options| {
        options.reconnect_delay_min = 0.02;
        options.reconnect_delay_max = 0.1;
    });
    for limit in [20, 40, 80, 100, 100] {
        let (_, pause) = failure(&mut client);
        let limit = Duration::from_millis(limit);
        assert!(pause >= limit / 2 && pause <= limit, "{pause:?} is not between half of and {limit:?}");
    }
}

#[test]
fn a_reconnect_tells_how_long_the_outage_was() {
    let broker = Broker::new();
    let (mut client, peer) = Client::connected(&broker, |_| {});
    drop(peer);
    assert_eq!(client.disconnected(), "the broker closed the connection");
    assert!(!client.session.is_connected());
    let (_peer, _) = broker.welcome_back(true);
    match client.until(|event| matches!(event, Event::Connected { .. })) {
        Event::Connected { session_present, outage, .. } => {
            assert!(session_present);
            let outage = outage.expect("there was one");
            assert!(outage > Duration::ZERO && outage < PATIENCE);
        }
        _ => unreachable!(),
    }
}

#[test]
fn a_host_that_does_not_answer_connect_is_left() {
    let broker = Broker::new();
    let mut client = Client::started(broker.port(), |options| options.connect_timeout = 0.2);
    let mut peer = broker.accept();
    peer.connect();
    let (reason, _) = failure(&mut client);
    assert!(reason.contains("did not answer CONNECT"), "{reason}");
    assert_eq!(peer.rest(), []);
}

#[test]
fn a_host_that_speaks_something_else_is_left_with_a_sentence() {
    let broker = Broker::new();
    let mut client = Client::started(broker.port(), |_| {});
    let mut peer = broker.accept();
    peer.connect();
    peer.send_bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let (reason, _) = failure(&mut client);
    assert!(reason.contains("answers in HTTP: write `transport: websockets`"), "{reason}");
    let mut peer = broker.accept();
    peer.connect();
    peer.send_bytes(b"SSH-2.0-OpenSSH_9.2\r\n");
    let (reason, _) = failure(&mut client);
    assert!(reason.contains("bytes that are not MQTT 3.1.1"), "{reason}");
    assert!(client.session.is_running());
}

/// C54 speaks of the keepalive: a ping after it, and despair after half of it more.
#[test]
fn a_half_open_connection_is_noticed_in_one_and_a_half_keepalives() {
    let broker = Broker::new();
    let started = Instant::now();
    let (mut client, mut peer) = Client::connected(&broker, |options| options.keepalive = 1);
    assert_eq!(peer.receive(), Packet::PingReq);
    let pinged = started.elapsed();
    assert!(pinged >= Duration::from_secs(1), "{pinged:?}");
    // From here the broker is as if the cable were cut.
    let reason = client.disconnected();
    let noticed = started.elapsed();
    assert!(reason.contains("has not answered"), "{reason}");
    assert!(noticed >= Duration::from_millis(1500) && noticed < Duration::from_secs(4), "{noticed:?}");
}

#[test]
fn a_broker_that_answers_pings_is_kept() {
    let broker = Broker::new();
    let (client, mut peer) = Client::connected(&broker, |options| options.keepalive = 1);
    for _ in 0..3 {
        assert_eq!(peer.receive(), Packet::PingReq);
        peer.send(&Packet::PingResp);
    }
    assert!(client.session.is_connected());
}

/// A packet that arrives slowly is a sign of life, however long it takes (more than the keepalive here).
#[test]
fn a_large_message_over_a_slow_link_does_not_end_the_connection() {
    let broker = Broker::new();
    let (mut client, mut peer) = Client::connected(&broker, |options| options.keepalive = 1);
    let payload = "x".repeat(20_000);
    let mut bytes = bytes::BytesMut::new();
    let packet = Packet::Publish(super::message("big", &payload, QoS::AtMostOnce), None);
    miqro::core::session::codec::encode(&packet, &mut bytes, Version::V311).unwrap();
    let started = Instant::now();
    // The ping's answer has to queue behind the message, as on one stream of bytes it must.
    for chunk in bytes.chunks(1000) {
        peer.send_bytes(chunk);
        std::thread::sleep(Duration::from_millis(120)); // This is the slowness of the link, not a wait.
    }
    assert!(started.elapsed() > Duration::from_secs(2));
    assert_eq!(client.message().payload.len(), 20_000);
    assert!(client.session.is_connected());
}

#[test]
fn connections_that_are_soon_closed_look_like_another_client_with_the_same_id() {
    let broker = Broker::new();
    let mut client = Client::started(broker.port(), |options| options.client_id = "twin".into());
    let mut reasons = Vec::new();
    for _ in 0..4 {
        drop(broker.welcome());
        reasons.push(client.disconnected());
    }
    assert!(!reasons[0].contains("same client id") && !reasons[1].contains("same client id"), "{reasons:?}");
    assert!(
        reasons[2].contains("same client id \"twin\"") && reasons[2].contains("`client_id`"),
        "{reasons:?}"
    );
    assert_eq!(reasons[2], reasons[3]);
}

/// C43: subscriptions are restored, and the service that subscribes again on connect asks for nothing twice.
#[test]
fn subscriptions_are_restored_on_every_connect_and_asked_for_once() {
    let broker = Broker::new();
    let mut client = Client::new(broker.port(), |options| options.greeting_timeout = 20.0);
    let filters = vec![("b/#".to_owned(), QoS::AtLeastOnce), ("a/+".to_owned(), QoS::AtMostOnce)];
    client.session.subscribe(filters.clone());
    client.session.start().unwrap();
    for _ in 0..2 {
        let mut peer = broker.welcome();
        client.until(|event| matches!(event, Event::Connected { .. }));
        client.session.subscribe(filters.clone());
        let receipt = client.publish("hello", "", QoS::AtMostOnce);
        client.session.greeted();
        match peer.receive() {
            Packet::Subscribe(id, asked) => {
                let wanted: Vec<_> =
                    filters.iter().map(|(filter, qos)| (filter.clone(), (*qos).into())).collect();
                assert_eq!(asked, wanted);
                peer.send(&Packet::SubAck(id, vec![Ok(QoS::AtLeastOnce), Err(0x80)], None));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(peer.receive_publish().0.topic, "hello");
        assert!(matches!(receipt.completion.wait(PATIENCE), miqro::core::session::completion::Outcome::Done));
        match client.until(|event| matches!(event, Event::Subscribed { .. })) {
            Event::Subscribed { granted, .. } => {
                let advice = "check the broker's access rules".into();
                assert_eq!(granted, [("b/#".into(), Ok(QoS::AtLeastOnce)), ("a/+".into(), Err(advice))]);
            }
            _ => unreachable!(),
        }
    }
}

/// C43: every address is tried: `localhost` is often two, and the broker listens on one.
#[test]
fn a_name_is_resolved_and_every_address_tried() {
    let broker = Broker::new();
    let client = Client::started(broker.port(), |options| options.host = "localhost".into());
    broker.welcome();
    client.session.close(Duration::ZERO);
}

#[test]
fn a_name_that_does_not_exist_is_named() {
    let mut client = Client::started(1883, |options| {
        options.host = "does-not-exist.invalid".into();
        options.connect_timeout = 5.0;
    });
    let (reason, _) = failure(&mut client);
    assert!(reason.contains("does-not-exist.invalid"), "{reason}");
}

/// A look-up cannot be called off; the session must not wait for it.
#[test]
fn close_does_not_wait_for_a_name_that_is_being_looked_up() {
    let client = Client::started(1883, |options| options.host = "does-not-exist-either.invalid".into());
    within(Duration::from_secs(2), || client.session.close(Duration::ZERO));
    client.wait_for_the_end_of_the_thread();
}

#[test]
fn a_local_address_that_is_none_is_named() {
    let broker = Broker::new();
    let mut client = Client::started(broker.port(), |options| options.bind_address = "eth0".into());
    let (reason, _) = failure(&mut client);
    assert!(reason.contains("`bind_address` \"eth0\" is not an IP address"), "{reason}");
}

#[test]
fn the_local_address_and_port_are_used() {
    let broker = Broker::new();
    let port = Broker::new().port();
    let _client = Client::started(broker.port(), |options| {
        options.bind_address = "127.0.0.1".into();
        options.bind_port = port;
    });
    let peer = broker.welcome();
    assert_eq!(peer.stream.peer_addr().unwrap().to_string(), format!("127.0.0.1:{port}"));
}

/// Without Nagle's algorithm a small message does not wait for the acknowledgement of the one before; the other
/// two notice a dead peer where the keepalive is off.
#[test]
fn sockets_are_tuned() {
    let broker = Broker::new();
    let options =
        SessionOptions { host: "127.0.0.1".into(), port: broker.port(), ..SessionOptions::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let address = vec![std::net::SocketAddr::from(([127, 0, 0, 1], broker.port()))];
    let connected = runtime.block_on(transport::tcp::connect(address, &options, &mut Vec::new()));
    let stream = connected.unwrap();
    assert!(stream.nodelay().unwrap());
    let socket = socket2::SockRef::from(&stream);
    assert!(socket.keepalive().unwrap());
    assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(90)));
}
