//! How sessions end (C40, design section 4).

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use miqro::core::session::completion::{Outcome, PublishFailure};
use miqro::core::session::event::Event;
use miqro::core::session::message::QoS;
use miqro::core::session::packet::{Packet, Version};
use miqro::core::session::protocol::Refusal;

use super::{Broker, Client, PATIENCE, message, within};

#[test]
fn close_delivers_what_is_queued_and_says_goodbye() {
    let broker = Broker::new();
    let (mut client, mut peer) = Client::connected(&broker, |_| {});
    let receipts: Vec<_> = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]
        .into_iter()
        .map(|qos| client.publish("last/words", &format!("{qos:?}"), qos))
        .collect();
    let session = Arc::clone(&client.session);
    let closer = std::thread::spawn(move || session.close(PATIENCE));
    assert_eq!(peer.serve(3).len(), 3);
    assert_eq!(peer.rest(), [Packet::Disconnect(None)]);
    drop(peer);
    assert_eq!(closer.join().unwrap(), 0);
    assert!(receipts.iter().all(|receipt| receipt.completion.outcome() == Outcome::Done));
    match client.until(|event| matches!(event, Event::Disconnected { .. })) {
        Event::Disconnected { requested, retry_in, .. } => assert_eq!((requested, retry_in), (true, None)),
        _ => unreachable!(),
    }
    assert!(!client.session.is_running() && !client.session.is_connected());
}

#[test]
fn a_broker_that_does_not_acknowledge_delays_close_by_its_timeout() {
    let broker = Broker::new();
    let (client, mut peer) = Client::connected(&broker, |_| {});
    let receipt = client.publish("t", "never acknowledged", QoS::AtLeastOnce);
    let (first, _) = peer.receive_publish();
    assert_eq!(&first.payload[..], b"never acknowledged");
    let owed = within(Duration::from_secs(5), || client.session.close(Duration::from_millis(100)));
    assert_eq!(owed, 1);
    assert_eq!(receipt.completion.outcome(), Outcome::Failed(PublishFailure::Closed));
    assert_eq!(peer.rest(), [Packet::Disconnect(None)], "it says goodbye even so: the will must not be sent");
}

#[test]
fn a_broker_that_does_not_read_cannot_hold_up_close() {
    let broker = Broker::new();
    let (client, peer) = Client::connected(&broker, |_| {});
    let payload = Bytes::from(vec![b'x'; 1 << 20]);
    for _ in 0..12 {
        client.session.publish("flood".into(), payload.clone(), QoS::AtMostOnce, false).unwrap();
    }
    let owed = within(Duration::from_secs(3), || client.session.close(Duration::from_millis(300)));
    assert!(owed > 0, "the kernel has not taken it all");
    client.wait_for_the_end_of_the_thread();
    drop(peer);
}

#[test]
fn close_returns_at_once_while_the_broker_is_away() {
    let port = Broker::new().port();
    let mut client = Client::started(port, |_| {});
    let receipt = client.publish("t", "", QoS::AtLeastOnce);
    client.until(|event| matches!(event, Event::Unreachable { .. }));
    assert_eq!(within(Duration::from_secs(2), || client.session.close(PATIENCE)), 1);
    assert_eq!(receipt.completion.outcome(), Outcome::Failed(PublishFailure::Closed));
}

#[test]
fn close_returns_at_once_when_the_connection_breaks_meanwhile() {
    let broker = Broker::new();
    let (client, mut peer) = Client::connected(&broker, |options| {
        options.reconnect_delay_min = 10.0;
        options.reconnect_delay_max = 10.0;
    });
    client.publish("t", "", QoS::AtLeastOnce);
    peer.receive_publish();
    let session = Arc::clone(&client.session);
    let closer = std::thread::spawn(move || within(PATIENCE / 2, || session.close(PATIENCE)));
    drop(peer);
    assert_eq!(closer.join().unwrap(), 1);
}

#[test]
fn close_before_start_and_start_after_close_are_harmless() {
    let broker = Broker::new();
    let client = Client::new(broker.port(), |_| {});
    let receipt = client.publish("t", "", QoS::AtMostOnce);
    assert_eq!(client.session.close(PATIENCE), 1);
    assert_eq!(receipt.completion.outcome(), Outcome::Failed(PublishFailure::Closed));
    client.session.start().unwrap();
    assert!(!client.session.is_running());
}

#[test]
fn close_is_idempotent_and_legal_from_any_thread() {
    let broker = Broker::new();
    let (client, mut peer) = Client::connected(&broker, |_| {});
    let closers: Vec<_> = (0..8)
        .map(|_| {
            let session = Arc::clone(&client.session);
            std::thread::spawn(move || {
                session.close(PATIENCE);
                // Whoever returns finds it closed, not only the one that was first.
                assert!(!session.is_running());
            })
        })
        .collect();
    assert_eq!(peer.rest(), [Packet::Disconnect(None)]);
    drop(peer);
    for closer in closers {
        closer.join().unwrap();
    }
    assert_eq!(client.session.close(PATIENCE), 0);
    let refused = client.session.publish("t".into(), Bytes::new(), QoS::AtMostOnce, false);
    assert_eq!(refused.unwrap_err(), Refusal::Closed);
    // It does not come back to say goodbye once more.
    broker.listener.set_nonblocking(true).unwrap();
    assert!(broker.listener.accept().is_err());
}

#[test]
fn a_session_that_is_closed_before_the_broker_answers_was_never_connected() {
    let broker = Broker::new();
    let client = Client::started(broker.port(), |_| {});
    let mut peer = broker.accept();
    peer.connect();
    let session = Arc::clone(&client.session);
    let closer = std::thread::spawn(move || session.close(Duration::from_millis(50)));
    assert_eq!(peer.rest(), [], "what is not connected cannot say DISCONNECT");
    drop(peer);
    closer.join().unwrap();
    let mut events = Vec::new();
    client.session.take_events(16, &mut events);
    assert_eq!(events, []);
}

#[test]
fn close_accepts_any_timeout() {
    let broker = Broker::new();
    let (client, mut peer) = Client::connected(&broker, |_| {});
    let session = Arc::clone(&client.session);
    let closer = std::thread::spawn(move || session.close(Duration::MAX));
    assert_eq!(peer.rest(), [Packet::Disconnect(None)]);
    drop(peer);
    assert_eq!(closer.join().unwrap(), 0);
}

/// Nothing may follow a DISCONNECT (MQTT-3.14.4-2), whatever the broker still says.
#[test]
fn nothing_follows_the_goodbye() {
    let broker = Broker::new();
    let (client, mut peer) = Client::connected(&broker, |_| {});
    let session = Arc::clone(&client.session);
    let closer = std::thread::spawn(move || session.close(PATIENCE));
    assert_eq!(peer.receive(), Packet::Disconnect(None));
    for id in 1..10 {
        let packet = Packet::Publish(message("t", "", QoS::AtLeastOnce), Some(id));
        let mut bytes = bytes::BytesMut::new();
        miqro::core::session::codec::encode(&packet, &mut bytes, Version::V311).unwrap();
        // The session may be gone already.
        let _ = std::io::Write::write_all(&mut peer.stream, &bytes);
    }
    assert_eq!(peer.rest(), []);
    drop(peer);
    closer.join().unwrap();
}

/// A socket that is closed with unread input sends a reset, which overtakes what was written last.
#[test]
fn the_last_words_arrive_though_much_was_never_read() {
    let broker = Broker::new();
    let (client, mut peer) = Client::connected(&broker, |options| options.max_incoming_messages = 1);
    for _ in 0..100 {
        peer.send(&Packet::Publish(message("in", &"x".repeat(1000), QoS::AtMostOnce), None));
    }
    client.publish("last", "words", QoS::AtMostOnce);
    let session = Arc::clone(&client.session);
    let closer = std::thread::spawn(move || session.close(PATIENCE));
    closer.join().unwrap();
    // Read only now, when a reset would long have thrown it all away.
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut peer.stream, &mut bytes).unwrap();
    assert_eq!(&bytes[bytes.len() - 2..], [0xe0, 0], "DISCONNECT is the last");
    assert!(bytes.windows(9).any(|window| window == b"lastwords"));
}

#[test]
fn a_session_that_is_dropped_says_goodbye_and_ends_its_thread() {
    let broker = Broker::new();
    let (client, mut peer) = Client::connected(&broker, |_| {});
    let waiter = std::thread::spawn(move || client.wait_for_the_end_of_the_thread());
    assert_eq!(peer.rest(), [Packet::Disconnect(None)]);
    drop(peer);
    waiter.join().unwrap();
}

#[test]
fn a_session_that_is_dropped_while_offline_ends_its_thread() {
    let port = Broker::new().port();
    let mut client = Client::started(port, |options| {
        options.reconnect_delay_min = 60.0;
        options.reconnect_delay_max = 60.0;
    });
    client.until(|event| matches!(event, Event::Unreachable { .. }));
    client.wait_for_the_end_of_the_thread();
}

#[test]
fn a_publisher_that_waits_for_room_is_let_go_by_close() {
    let broker = Broker::new();
    let (client, peer) = Client::connected(&broker, |options| options.max_queued_messages = 1);
    client.publish("t", "", QoS::AtLeastOnce);
    let session = Arc::clone(&client.session);
    let waiter = std::thread::spawn(move || {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match session.publish("t".into(), Bytes::new(), QoS::AtLeastOnce, false) {
                Err(Refusal::FullWhileConnected) => session.wait_for_room(1, PATIENCE),
                Err(refusal) => return refusal,
                Ok(_) => panic!("there is no room"),
            };
            assert!(Instant::now() < deadline);
        }
    });
    within(Duration::from_secs(5), || client.session.close(Duration::from_millis(50)));
    assert_eq!(waiter.join().unwrap(), Refusal::Closed);
    drop(peer);
}
