//! What comes in: acknowledged after the hand-over, bounded, and never the end of the process (design section 4).

use std::io::Write;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use miqro::core::config::Protocol;
use miqro::core::session::codec;
use miqro::core::session::completion::Outcome;
use miqro::core::session::event::Event;
use miqro::core::session::message::QoS;
use miqro::core::session::packet::{ConnAckProperties, Packet, Reason, Version};

use super::{Broker, Client, PATIENCE, message};

/// The recipe of a QoS 2 message that other clients deliver twice, or never stop asking for.
#[test]
fn a_qos_2_message_whose_handshake_is_cut_twice_is_delivered_once() {
    let broker = Broker::new();
    let (mut client, mut peer) = Client::connected(&broker, |options| options.clean_session = false);
    let mut publish = message("t", "once", QoS::ExactlyOnce);
    peer.send(&Packet::Publish(publish.clone(), Some(7)));
    assert_eq!(peer.receive(), Packet::PubRec(7, Reason::SUCCESS));
    drop(peer);

    let (mut peer, _) = broker.welcome_back(true);
    publish.dup = true;
    peer.send(&Packet::Publish(publish, Some(7)));
    assert_eq!(peer.receive(), Packet::PubRec(7, Reason::SUCCESS));
    drop(peer);

    let (mut peer, _) = broker.welcome_back(true);
    peer.send(&Packet::PubRel(7));
    assert_eq!(peer.receive(), Packet::PubComp(7));
    peer.send(&Packet::Publish(message("t", "the next", QoS::ExactlyOnce), Some(7)));
    assert_eq!(client.message().payload, "once");
    assert_eq!(client.message().payload, "the next");
}

#[test]
fn an_inbox_that_is_full_stops_reading_keeps_pinging_and_loses_nothing() {
    const COUNT: usize = 5000;
    let broker = Broker::new();
    let (mut client, mut peer) = Client::connected(&broker, |options| {
        options.max_incoming_messages = 10;
        options.keepalive = 1;
    });
    let mut writer = peer.stream.try_clone().unwrap();
    let (wrote, written) = std::sync::mpsc::channel();
    let flood = std::thread::spawn(move || {
        // More than the sockets can hold.
        let padding = "x".repeat(4000);
        for number in 0..COUNT {
            let packet = Packet::Publish(message("t", &format!("{number} {padding}"), QoS::AtMostOnce), None);
            let mut bytes = BytesMut::new();
            codec::encode(&packet, &mut bytes, Version::V311).unwrap();
            writer.write_all(&bytes).unwrap();
            wrote.send(number).unwrap();
        }
    });
    // Two pings and no answer: with reading paused there is none, and the connection stands.
    for _ in 0..2 {
        assert_eq!(peer.receive(), Packet::PingReq);
    }
    assert!(client.session.is_connected());
    assert_eq!(client.session.waiting(), 10);
    assert!(written.try_iter().count() < COUNT, "the session reads on");
    for number in 0..COUNT {
        let payload = client.message().payload;
        assert!(payload.starts_with(format!("{number} ").as_bytes()));
        if number == COUNT - 1 {
            flood.join().unwrap();
            break;
        }
    }
}

#[test]
fn the_inbox_is_bounded_in_bytes_too() {
    let broker = Broker::new();
    let (mut client, mut peer) = Client::connected(&broker, |options| options.max_queued_bytes = 10_000);
    for number in 0..20 {
        let text = format!("{number} {}", "x".repeat(4000));
        peer.send(&Packet::Publish(message("t", &text, QoS::AtLeastOnce), Some(number + 1)));
    }
    // Three messages are over the limit; the fourth is acknowledged only when there is room for it.
    for id in 1..=3 {
        assert_eq!(peer.receive(), Packet::PubAck(id, Reason::SUCCESS));
    }
    assert_eq!(client.session.waiting(), 3);
    for number in 0..20 {
        assert!(client.message().payload.starts_with(format!("{number} ").as_bytes()));
    }
    for id in 4..=20 {
        assert_eq!(peer.receive(), Packet::PubAck(id, Reason::SUCCESS));
    }
}

/// A service that waits for an acknowledgement while its inbox is full would wait for ever: it is behind messages
/// for which there is no room.
#[test]
fn a_service_that_waits_gets_its_acknowledgement_past_a_full_inbox() {
    let broker = Broker::new();
    let (mut client, mut peer) = Client::connected(&broker, |options| options.max_incoming_messages = 10);
    let receipt = client.publish("t", "", QoS::AtLeastOnce);
    let (_, id) = peer.receive_publish();
    for number in 0..15 {
        peer.send(&Packet::Publish(message("t", &number.to_string(), QoS::AtMostOnce), None));
    }
    peer.send(&Packet::PubAck(id.unwrap(), Reason::SUCCESS));
    let outcome = {
        let _waiting = client.session.waiting_for_broker();
        receipt.completion.wait(PATIENCE)
    };
    assert_eq!(outcome, Outcome::Done);
    for number in 0..15 {
        assert_eq!(client.message().payload, number.to_string());
    }
}

/// Also past more than any inbox can take: what may be lost is, and what may not be waits unacknowledged.
#[test]
fn an_acknowledgement_behind_a_flood_is_read_and_the_flood_costs_no_memory() {
    const FLOOD: u64 = 5000;
    let broker = Broker::new();
    let (mut client, mut peer) = Client::connected(&broker, |options| options.max_incoming_messages = 10);
    let receipt = client.publish("t", "", QoS::AtLeastOnce);
    let (_, id) = peer.receive_publish();
    client.session.await_answer();
    for number in 0..FLOOD {
        peer.send(&Packet::Publish(message("t", &number.to_string(), QoS::AtMostOnce), None));
    }
    for number in 1..=20 {
        let packet = Packet::Publish(message("t", "kept", QoS::AtLeastOnce), Some(number));
        peer.send(&packet);
    }
    peer.send(&Packet::PubAck(id.unwrap(), Reason::SUCCESS));
    assert_eq!(receipt.completion.wait(PATIENCE), Outcome::Done);
    assert_eq!(client.session.waiting(), 20);
    client.session.await_answer_no_more();

    let (mut seen, mut overrun, mut kept) = (0, 0, 0);
    while seen + overrun < FLOOD || kept < 20 {
        match client.event() {
            Event::Message(message) if message.payload == "kept" => kept += 1,
            Event::Message(message) => {
                assert_eq!(message.payload, seen.to_string());
                seen += 1;
            }
            Event::Overrun { count } => overrun += count,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((seen, overrun, kept), (20, FLOOD - 20, 20));
    for id in 1..=20 {
        assert_eq!(peer.receive(), Packet::PubAck(id, Reason::SUCCESS));
    }
}

#[test]
fn three_hundred_kilobytes_go_both_ways() {
    let broker = Broker::new();
    let (mut client, mut peer) = Client::connected(&broker, |_| {});
    let payload: Bytes = (0..300_000_u32).map(|n| n.to_le_bytes()[(n % 3) as usize]).collect();
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let receipt = client.session.publish("out".into(), payload.clone(), qos, false).unwrap();
        let arrived = peer.serve(1).remove(0);
        assert!(arrived.payload == payload && arrived.topic == "out");
        assert_eq!(receipt.completion.wait(PATIENCE), Outcome::Done);

        let mut incoming = message("in", "", qos);
        incoming.payload = payload.clone();
        peer.send(&Packet::Publish(incoming, (qos != QoS::AtMostOnce).then_some(9)));
        let arrived = client.message();
        assert!(arrived.payload == payload && arrived.qos == qos);
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => assert_eq!(peer.receive(), Packet::PubAck(9, Reason::SUCCESS)),
            QoS::ExactlyOnce => {
                assert_eq!(peer.receive(), Packet::PubRec(9, Reason::SUCCESS));
                peer.send(&Packet::PubRel(9));
                assert_eq!(peer.receive(), Packet::PubComp(9));
            }
        }
    }
}

#[test]
fn a_packet_over_the_limit_ends_the_connection_with_a_sentence() {
    let broker = Broker::new();
    let (mut client, mut peer) = Client::connected(&broker, |options| options.max_queued_bytes = 10_000);
    peer.send(&Packet::Publish(message("t", &"x".repeat(9_900), QoS::AtMostOnce), None));
    assert_eq!(client.message().payload.len(), 9_900);
    // Only the header: it is refused before it costs anything.
    peer.send_bytes(&[0x30, 0x80, 0x80, 0x80, 0x01]);
    let reason = client.disconnected();
    assert!(reason.contains("2097152 bytes") && reason.contains("10000 at most"), "{reason}");
}

#[test]
fn malformed_bytes_end_the_connection_with_a_sentence_and_never_the_session() {
    let broker = Broker::new();
    let mut client = Client::started(broker.port(), |_| {});
    let bad: [&[u8]; 12] = [
        &[0x00, 0x00],                               // no such packet
        &[0xf0, 0x00],                               // nor this
        &[0x30, 0xff, 0xff, 0xff, 0xff, 0x01],       // a length of five bytes
        &[0x30, 0x02, 0x00, 0x05],                   // a topic longer than its packet
        &[0x30, 0x04, 0x00, 0x02, 0xc3, 0x28],       // a topic that is not UTF-8
        &[0x30, 0x02, 0x00, 0x00],                   // no topic
        &[0x30, 0x03, 0x00, 0x01, b'#'],             // a filter as topic
        &[0x32, 0x05, 0x00, 0x01, b't', 0x00, 0x00], // QoS 1 with the number zero
        &[0x36, 0x05, 0x00, 0x01, b't', 0x00, 0x01], // QoS 3
        &[0x40, 0x01, 0x00],                         // half a PUBACK
        &[0x20, 0x02, 0x00, 0x00],                   // a second CONNACK
        &[0xc0, 0x00],                               // a PINGREQ, which is ours to send
    ];
    for bytes in bad {
        let mut peer = broker.welcome();
        peer.send_bytes(bytes);
        let reason = client.disconnected();
        assert!(
            reason.contains("not MQTT 3.1.1") || reason.contains("broke the MQTT protocol"),
            "{bytes:02x?}: {reason}"
        );
        assert!(client.session.is_running());
    }
}

#[test]
fn a_suback_that_does_not_fit_ends_the_connection() {
    let broker = Broker::new();
    let (mut client, mut peer) = Client::connected(&broker, |_| {});
    client.session.subscribe(vec![("a".into(), QoS::AtMostOnce), ("b".into(), QoS::AtMostOnce)]);
    match peer.receive() {
        Packet::Subscribe(id, _) => peer.send(&Packet::SubAck(id, vec![Ok(QoS::AtMostOnce)], None)),
        other => panic!("{other:?}"),
    }
    let reason = client.disconnected();
    assert!(reason.contains("SUBACK does not answer every filter"), "{reason}");
}

/// A subscription that ends while the broker is away must not live on in its session.
#[test]
fn a_subscription_that_ended_offline_is_ended_at_the_broker() {
    let broker = Broker::new();
    let (mut client, mut peer) = Client::connected(&broker, |options| options.clean_session = false);
    client.session.subscribe(vec![("kept".into(), QoS::AtMostOnce), ("ended".into(), QoS::AtMostOnce)]);
    assert!(matches!(peer.receive(), Packet::Subscribe(..)));
    drop(peer);
    client.disconnected();
    client.session.unsubscribe(vec!["ended".into()]);
    let (mut peer, _) = broker.welcome_back(true);
    assert!(matches!(peer.receive(), Packet::Unsubscribe(_, filters) if filters == ["ended"]));
    assert!(
        matches!(peer.receive(), Packet::Subscribe(_, filters) if filters == [("kept".into(), QoS::AtMostOnce.into())])
    );
}

/// What comes in spite of the receive maximum (MQTT 5 section 3.3.4) ends the connection, and is taken when it comes
/// again: it was not handed over the first time.
#[test]
fn a_qos_2_message_too_many_is_not_lost() {
    let broker = Broker::new();
    let (mut client, mut peer) = Client::connected(&broker, |options| {
        options.protocol = Protocol::V5;
        options.clean_session = false;
        options.max_incoming_messages = 1;
    });
    peer.send(&Packet::Publish(message("t", "first", QoS::ExactlyOnce), Some(1)));
    let second = Packet::Publish(message("t", "second", QoS::ExactlyOnce), Some(2));
    peer.send(&second);
    assert_eq!(client.message().payload, "first");
    let reason = client.disconnected();
    assert!(reason.contains("receive maximum"), "{reason}");

    let (mut peer, _) = broker.welcome_back(true);
    peer.send(&second);
    assert_eq!(client.message().payload, "second");
}

/// MQTT-3.2.2-15: the broker would end the connection, and the next one, and so on.
#[test]
fn a_request_larger_than_the_broker_takes_is_not_sent() {
    let broker = Broker::new();
    let (mut client, mut peer) = Client::connected(&broker, |options| {
        options.protocol = Protocol::V5;
        options.clean_session = false;
    });
    let long = "long/".repeat(20);
    client.session.subscribe(vec![(long.clone(), QoS::AtMostOnce), ("short".into(), QoS::AtMostOnce)]);
    assert!(matches!(peer.receive(), Packet::Subscribe(_, filters) if filters.len() == 2));
    drop(peer);
    client.disconnected();

    let mut peer = broker.accept();
    peer.connect();
    let terms = ConnAckProperties { maximum_packet_size: Some(100), ..ConnAckProperties::default() };
    peer.send(&Packet::ConnAck(true, 0, Some(Box::new(terms))));
    assert!(matches!(peer.receive(), Packet::Subscribe(_, filters) if filters.len() == 1));
    let filters = vec![long.clone(), "short".into()];
    client.session.unsubscribe(filters);
    assert!(matches!(peer.receive(), Packet::Unsubscribe(_, filters) if filters == ["short"]));
    match client.until(|event| matches!(event, Event::Unsubscribed { .. })) {
        Event::Unsubscribed { refused, .. } => {
            assert_eq!(refused[0].0, long);
            assert!(refused[0].1.contains("111 bytes, more than the broker accepts"), "{refused:?}");
        }
        _ => unreachable!(),
    }
}

/// Without [`miqro::core::session::protocol::Protocol::is_congested`] a broker that talks and does not listen
/// would fill our memory with acknowledgements.
#[test]
fn a_broker_that_does_not_read_our_acknowledgements_is_not_read_either() {
    let broker = Broker::new();
    let (mut client, peer) = Client::connected(&broker, |_| {});
    let mut stream = peer.stream.try_clone().unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    // Each costs the broker two bytes and a number, and us an answer of four bytes.
    let burst = [0x62, 0x02, 0x00, 0x01].repeat(16_384);
    let started = Instant::now();
    let mut total = 0_usize;
    // Until nothing has gone for half a second: it has stopped reading. A write may end in the middle of a packet.
    while let Ok(count) = stream.write(&burst[total % burst.len()..]) {
        total += count;
        assert!(total < 1 << 30 && started.elapsed() < PATIENCE * 3, "the session reads on for ever");
    }
    assert!(client.session.is_connected());
    // It goes on as soon as the broker reads.
    let mut peer = peer;
    for number in 0..total / 8 {
        match peer.next() {
            Some(packet) => assert_eq!(packet, Packet::PubComp(1)),
            None => panic!("{number} of {total}: {:?}", client.disconnected()),
        }
    }
}

/// The broker's answers to a service that publishes without a pause are read, though there is always something to
/// write.
#[test]
fn a_flood_of_publishes_does_not_keep_the_session_from_reading() {
    let broker = Broker::new();
    let (mut client, mut peer) = Client::connected(&broker, |options| options.max_queued_messages = 100);
    let session = std::sync::Arc::clone(&client.session);
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = std::sync::Arc::clone(&stop);
    let publisher = std::thread::spawn(move || {
        while !stopped.load(std::sync::atomic::Ordering::SeqCst) {
            if session.publish("t".into(), Bytes::from_static(b"x"), QoS::AtMostOnce, false).is_err() {
                session.wait_for_room(2, PATIENCE);
            }
        }
    });
    let mut writer = peer.stream.try_clone().unwrap();
    let reader = std::thread::spawn(move || while peer.next().is_some() {});
    for number in 0..100 {
        let packet = Packet::Publish(message("in", &number.to_string(), QoS::AtMostOnce), None);
        let mut bytes = BytesMut::new();
        codec::encode(&packet, &mut bytes, Version::V311).unwrap();
        writer.write_all(&bytes).unwrap();
        assert_eq!(client.message().payload, number.to_string());
    }
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    publisher.join().unwrap();
    client.session.close(Duration::from_secs(1));
    reader.join().unwrap();
}
