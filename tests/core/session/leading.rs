//! While the service sleeps, its own thread moves the bytes; a service at work is not waited for.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use miqro::core::session::completion::Outcome;
use miqro::core::session::event::Event;
use miqro::core::session::message::{Message, QoS};
use miqro::core::session::packet::{Packet, Reason};
use miqro::core::wake::Woken;

use super::{Broker, Client, PATIENCE, Peer};

fn publish(peer: &mut Peer, payload: &str, qos: QoS) {
    let message = Message {
        topic: "t".into(),
        payload: payload.to_owned().into(),
        qos,
        retain: false,
        dup: false,
        properties: None,
    };
    peer.send(&Packet::Publish(message, (qos != QoS::AtMostOnce).then_some(7)));
}

/// The payloads that the service finds when it sleeps and looks, until there are so many.
fn sleep_for(client: &Client, messages: usize) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    let mut texts = Vec::new();
    while texts.len() < messages {
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "only {texts:?} has come");
        client.session.sleep(Some(left)).unwrap();
        let mut events = Vec::new();
        client.session.take_events(100, &mut events);
        texts.extend(events.into_iter().filter_map(|event| match event {
            Event::Message(message) => Some(String::from_utf8(message.payload.to_vec()).unwrap()),
            _ => None,
        }));
    }
    texts
}

#[test]
fn a_sleeping_service_reads_and_acknowledges_by_itself() {
    let broker = Broker::new();
    let (client, mut peer) = Client::connected(&broker, |_| {});
    for number in 0..100 {
        let text = number.to_string();
        publish(&mut peer, &text, QoS::AtLeastOnce);
        assert_eq!(sleep_for(&client, 1), [text]);
        assert_eq!(peer.receive(), Packet::PubAck(7, Reason::SUCCESS));
    }
}

#[test]
fn a_service_at_work_keeps_nobody_waiting() {
    let broker = Broker::new();
    let (client, mut peer) = Client::connected(&broker, |_| {});
    for round in 0..20 {
        publish(&mut peer, "a command", QoS::AtMostOnce);
        assert_eq!(sleep_for(&client, 1), ["a command"]);
        // Its handler does not come back: acknowledgements and other threads' messages go on nevertheless.
        publish(&mut peer, "meanwhile", QoS::AtLeastOnce);
        assert_eq!(peer.receive(), Packet::PubAck(7, Reason::SUCCESS));
        let session = Arc::clone(&client.session);
        let text = bytes::Bytes::from(round.to_string());
        let publisher =
            std::thread::spawn(move || session.publish("o".into(), text, QoS::AtLeastOnce, false).unwrap());
        assert_eq!(peer.serve(1)[0].payload, round.to_string());
        assert_eq!(publisher.join().unwrap().completion.wait(PATIENCE), Outcome::Done);
        assert_eq!(sleep_for(&client, 1), ["meanwhile"]);
    }
}

#[test]
fn what_another_thread_publishes_leaves_while_the_service_sleeps() {
    let broker = Broker::new();
    let (client, mut peer) = Client::connected(&broker, |_| {});
    publish(&mut peer, "first", QoS::AtMostOnce);
    assert_eq!(sleep_for(&client, 1), ["first"]);
    let session = Arc::clone(&client.session);
    let sleeper = std::thread::spawn(move || session.sleep(Some(PATIENCE)).unwrap());
    for number in 0..20 {
        let receipt = client.publish("t", &number.to_string(), QoS::AtLeastOnce);
        assert_eq!(peer.serve(1)[0].payload, number.to_string());
        assert_eq!(receipt.completion.wait(PATIENCE), Outcome::Done);
    }
    client.wake.notify();
    assert_eq!(sleeper.join().unwrap(), Woken::Notified);
}

#[test]
fn a_notification_and_a_deadline_end_the_sleep() {
    let broker = Broker::new();
    let (client, mut peer) = Client::connected(&broker, |_| {});
    publish(&mut peer, "first", QoS::AtMostOnce);
    assert_eq!(sleep_for(&client, 1), ["first"]);
    for milliseconds in [1, 20, 3, 0, 5] {
        let timeout = Duration::from_millis(milliseconds);
        let began = Instant::now();
        // Asked to lead, the network thread may wake it first.
        while client.session.sleep(Some(timeout.saturating_sub(began.elapsed()))).unwrap() != Woken::TimedOut
        {
        }
        assert!(began.elapsed() + Duration::from_micros(100) >= timeout);
        client.wake.notify();
        assert_eq!(client.session.sleep(Some(PATIENCE)).unwrap(), Woken::Notified);
    }
}

#[test]
fn a_connection_that_breaks_while_the_service_sleeps_comes_back() {
    let broker = Broker::new();
    let (client, mut peer) = Client::connected(&broker, |_| {});
    for _ in 0..5 {
        publish(&mut peer, "before", QoS::AtMostOnce);
        assert_eq!(sleep_for(&client, 1), ["before"]);
        let (session, (done, ended)) = (Arc::clone(&client.session), mpsc::channel());
        let service = std::thread::spawn(move || {
            let mut events = Vec::new();
            while !events.iter().any(|event| matches!(event, Event::Connected { .. })) {
                session.sleep(Some(PATIENCE)).unwrap();
                session.take_events(100, &mut events);
            }
            done.send(events).unwrap();
        });
        drop(peer);
        peer = broker.welcome();
        let events = ended.recv_timeout(PATIENCE).expect("the service hears of it");
        service.join().unwrap();
        assert!(matches!(events[0], Event::Disconnected { requested: false, .. }), "{events:?}");
    }
}

#[test]
fn it_is_closed_while_the_service_sleeps() {
    let broker = Broker::new();
    let (client, mut peer) = Client::connected(&broker, |_| {});
    publish(&mut peer, "first", QoS::AtMostOnce);
    assert_eq!(sleep_for(&client, 1), ["first"]);
    let session = Arc::clone(&client.session);
    let sleeper = std::thread::spawn(move || {
        while session.is_running() {
            session.sleep(Some(PATIENCE)).unwrap();
        }
    });
    assert_eq!(client.session.close(PATIENCE), 0);
    assert_eq!(peer.rest(), [Packet::Disconnect(None)]);
    client.wake.notify();
    sleeper.join().unwrap();
}
