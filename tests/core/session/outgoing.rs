//! What is published, on its way to the broker (C36, C44).

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use miqro::core::session::completion::{Outcome, PublishFailure};
use miqro::core::session::event::Event;
use miqro::core::session::message::QoS;
use miqro::core::session::packet::{Packet, Reason};
use miqro::core::session::protocol::Refusal;

use super::{Broker, Client, PATIENCE};

/// C44: what is published offline is kept, in order, and sent on connect.
#[test]
fn the_offline_queue_keeps_its_order() {
    let broker = Broker::new();
    let client = Client::new(broker.port(), |_| {});
    let sent: Vec<_> = (0..50).map(|n| (format!("t/{}", n % 3), n.to_string())).collect();
    let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
    let receipts: Vec<_> = sent
        .iter()
        .zip(qos.iter().cycle())
        .map(|((topic, text), qos)| client.publish(topic, text, *qos))
        .collect();
    client.session.start().unwrap();
    let mut peer = broker.welcome();
    let arrived: Vec<_> = peer
        .serve(50)
        .into_iter()
        .map(|message| (message.topic, String::from_utf8(message.payload.to_vec()).unwrap()))
        .collect();
    assert_eq!(arrived, sent);
    for receipt in receipts {
        assert_eq!(receipt.completion.wait(PATIENCE), Outcome::Done);
    }
}

/// C44: when full, the oldest QoS 0 messages make room; QoS 1 and 2 are refused aloud.
#[test]
fn the_offline_queue_is_bounded() {
    let mut client = Client::new(1, |options| options.max_queued_messages = 4);
    let first = client.publish("a", "0", QoS::AtMostOnce);
    for text in ["1", "2", "3"] {
        client.publish("b", text, QoS::AtLeastOnce);
    }
    assert_eq!(client.session.owed().0, 4);
    client.publish("b", "4", QoS::AtLeastOnce);
    assert_eq!(first.completion.outcome(), Outcome::Failed(PublishFailure::Dropped));
    assert_eq!(client.event(), Event::Dropped { count: 1 });
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let refused = client.session.publish("c".into(), Bytes::new(), qos, true);
        assert_eq!(refused.unwrap_err(), Refusal::FullWhileOffline);
    }
    assert_eq!(client.session.owed().0, 4);
}

/// C44: of retained QoS 0 messages of one topic only the newest is kept.
#[test]
fn of_retained_values_only_the_newest_waits() {
    let broker = Broker::new();
    let client = Client::new(broker.port(), |_| {});
    for n in 0..1000 {
        let payload = Bytes::from(n.to_string());
        client.session.publish(format!("state/{}", n % 2), payload, QoS::AtMostOnce, true).unwrap();
    }
    client.publish("end", "", QoS::AtMostOnce);
    assert_eq!(client.session.owed().0, 3);
    client.session.start().unwrap();
    let arrived: Vec<_> = broker.welcome().serve(3).into_iter().map(|message| message.payload).collect();
    assert_eq!(arrived, ["998", "999", ""]);
}

/// C40: subscriptions, then the greeting, then what was queued; a full queue does not hold the greeting back.
#[test]
fn the_greeting_overtakes_the_queue_even_if_that_is_full() {
    let broker = Broker::new();
    let mut client = Client::new(broker.port(), |options| {
        options.greeting_timeout = 20.0;
        options.max_queued_messages = 3;
    });
    client.session.subscribe(vec![("in".into(), QoS::AtMostOnce)]);
    for text in ["1", "2", "3"] {
        client.publish("queued", text, QoS::AtMostOnce);
    }
    client.session.start().unwrap();
    let mut peer = broker.welcome();
    client.until(|event| matches!(event, Event::Connected { .. }));
    client.session.begin_greeting();
    client.publish("online", "1", QoS::AtMostOnce);
    // What was published on a topic before must arrive there before.
    client.publish("queued", "4", QoS::AtMostOnce);
    client.session.greeted();
    let arrived: Vec<_> = peer.serve(5).into_iter().map(|message| message.payload).collect();
    assert_eq!(arrived, ["1", "1", "2", "3", "4"]);
}

#[test]
fn a_service_that_does_not_greet_holds_its_queue_up_for_a_while_only() {
    let broker = Broker::new();
    let client = Client::new(broker.port(), |options| options.greeting_timeout = 0.1);
    client.publish("queued", "", QoS::AtMostOnce);
    client.session.start().unwrap();
    assert_eq!(broker.welcome().receive_publish().0.topic, "queued");
}

/// C36, C44: what is in flight when the link is cut is sent again: as a repetition if the broker has kept the
/// session, as new if it has not; and it is done when the broker says so, not before.
#[test]
fn what_was_in_flight_is_sent_again() {
    let broker = Broker::new();
    let (client, mut peer) = Client::connected(&broker, |options| options.clean_session = false);
    let receipts: Vec<_> = ["a", "b", "c"].map(|text| client.publish("t", text, QoS::AtLeastOnce)).into();
    let ids: Vec<_> = (0..3).map(|_| peer.receive_publish().1).collect();
    peer.send(&Packet::PubAck(ids[0].unwrap(), Reason::SUCCESS));
    assert_eq!(receipts[0].completion.wait(PATIENCE), Outcome::Done);
    assert_eq!(receipts[1].completion.outcome(), Outcome::Pending);
    drop(peer);

    let (mut peer, _) = broker.welcome_back(true);
    for (text, id) in ["b", "c"].into_iter().zip(&ids[1..]) {
        let (message, again) = peer.receive_publish();
        assert_eq!((&message.payload[..], message.dup, again), (text.as_bytes(), true, *id));
    }
    drop(peer);

    let mut peer = broker.welcome();
    for text in ["b", "c"] {
        let (message, id) = peer.receive_publish();
        assert_eq!((&message.payload[..], message.dup), (text.as_bytes(), false));
        assert!(receipts[1..].iter().any(|receipt| receipt.completion.outcome() == Outcome::Pending));
        peer.send(&Packet::PubAck(id.unwrap(), Reason::SUCCESS));
    }
    assert_eq!(receipts[2].completion.wait(PATIENCE), Outcome::Done);
}

/// C44: at most 20 in flight by default.
#[test]
fn no_more_than_the_window_is_in_flight() {
    let broker = Broker::new();
    let (client, mut peer) = Client::connected(&broker, |_| {});
    let receipts: Vec<_> = (0..25).map(|n| client.publish("t", &n.to_string(), QoS::ExactlyOnce)).collect();
    let ids: Vec<_> = (0..20).map(|_| peer.receive_publish().1.unwrap()).collect();
    // A QoS 0 message would pass if the window were a matter of the socket; it must stay behind in the queue.
    client.publish("t", "behind", QoS::AtMostOnce);
    peer.send(&Packet::PubRec(ids[0], Reason::SUCCESS));
    assert_eq!(peer.receive(), Packet::PubRel(ids[0]));
    peer.send(&Packet::PubComp(ids[0]));
    let (message, _) = peer.receive_publish();
    assert_eq!(message.payload, "20");
    assert_eq!(receipts[0].completion.outcome(), Outcome::Done);
    assert_eq!(receipts[1].completion.outcome(), Outcome::Pending);
}

#[test]
fn a_full_outbox_has_publishers_wait_and_lets_them_go_on() {
    let broker = Broker::new();
    let (client, mut peer) = Client::connected(&broker, |options| options.max_queued_messages = 2);
    let session = Arc::clone(&client.session);
    let publisher = std::thread::spawn(move || {
        let started = Instant::now();
        for n in 0..200 {
            while let Err(refusal) =
                session.publish("t".into(), Bytes::from(n.to_string()), QoS::AtLeastOnce, false)
            {
                assert_eq!(refusal, Refusal::FullWhileConnected);
                assert!(session.wait_for_room(4, PATIENCE));
            }
        }
        assert!(started.elapsed() < PATIENCE, "it slept though there was room");
    });
    let arrived: Vec<_> = peer.serve(200).into_iter().map(|message| message.payload).collect();
    assert_eq!(arrived, (0..200).map(|n| n.to_string()).collect::<Vec<_>>());
    publisher.join().unwrap();
}

#[test]
fn ten_threads_publish_at_once() {
    let broker = Broker::new();
    let (client, mut peer) = Client::connected(&broker, |_| {});
    let publishers: Vec<_> = (0..10)
        .map(|thread| {
            let session = Arc::clone(&client.session);
            std::thread::spawn(move || {
                let receipts: Vec<_> = (0..300)
                    .map(|n| {
                        let payload = Bytes::from(n.to_string());
                        session.publish(format!("thread/{thread}"), payload, QoS::AtLeastOnce, false).unwrap()
                    })
                    .collect();
                receipts.iter().all(|receipt| receipt.completion.wait(PATIENCE) == Outcome::Done)
            })
        })
        .collect();
    let mut next = [0; 10];
    for message in peer.serve(3000) {
        let thread: usize = message.topic.rsplit('/').next().unwrap().parse().unwrap();
        assert_eq!(message.payload, next[thread].to_string());
        next[thread] += 1;
    }
    assert!(publishers.into_iter().all(|publisher| publisher.join().unwrap()));
    assert_eq!(client.session.owed(), (0, 0));
}

#[test]
fn acknowledgements_are_events_where_they_are_asked_for() {
    let broker = Broker::new();
    let (mut client, mut peer) = Client::connected(&broker, |options| options.report_published = true);
    let mut mids = [QoS::AtLeastOnce, QoS::AtMostOnce].map(|qos| client.publish("t", "", qos).mid).to_vec();
    peer.serve(2);
    // The acknowledgement of the one may be there before the other is written.
    for _ in 0..2 {
        match client.event() {
            Event::Published { mid } => mids.retain(|awaited| *awaited != mid),
            other => panic!("{other:?}"),
        }
    }
    assert!(mids.is_empty());
    client.session.close(Duration::ZERO);
}
