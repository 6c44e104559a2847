//! The durable outbox (C44, `durable`): what was accepted at QoS 1 and 2 outlives the process.

use std::path::Path;
use std::time::Duration;

use miqro::core::session::event::Event;
use miqro::core::session::message::{Properties, QoS};
use miqro::core::session::packet::{Packet, Reason};

use super::{Broker, Client, Peer, message};
use crate::folder::Folder;

/// A session that keeps its outbox in a file, and its session at the broker.
fn client(port: u16, path: &Path) -> Client {
    Client::new(port, |options| {
        options.durable = path.to_str().unwrap().into();
        options.clean_session = false;
    })
}

fn started(broker: &Broker, path: &Path) -> Client {
    let client = client(broker.port(), path);
    client.session.start().unwrap();
    client
}

/// As a kill -9: nothing more is said or written.
fn crash(client: Client) {
    client.wait_for_the_end_of_the_thread();
}

/// The next packet, with the payload and DUP of a PUBLISH.
fn next(peer: &mut Peer) -> (String, Option<u16>, bool) {
    match peer.receive() {
        Packet::Publish(message, id) => {
            (String::from_utf8(message.payload.to_vec()).unwrap(), id, message.dup)
        }
        Packet::PubRel(id) => ("PUBREL".into(), Some(id), false),
        other => panic!("{other:?}"),
    }
}

#[test]
fn c44_what_was_accepted_before_a_crash_is_sent_after_it_in_order() {
    let folder = Folder::new("durable");
    let path = folder.join("echo.outbox");
    let first = client(1, &path);
    for number in 0..100 {
        let qos = if number % 3 == 0 { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
        first.publish(&format!("t/{}", number % 7), &number.to_string(), qos);
    }
    first.publish("t/0", "not kept", QoS::AtMostOnce);
    crash(first);
    let broker = Broker::new();
    let mut second = started(&broker, &path);
    let Event::Storage { text, trouble: false } = second.event() else { panic!("no word of what is kept") };
    assert!(text.contains("100 messages"), "{text}");
    second.publish("t/0", "last", QoS::AtLeastOnce);
    let arrived: Vec<_> = broker.welcome().serve(101);
    let texts: Vec<_> =
        arrived.iter().map(|message| String::from_utf8(message.payload.to_vec()).unwrap()).collect();
    let expected: Vec<_> = (0..100).map(|number| number.to_string()).chain(["last".into()]).collect();
    assert_eq!(texts, expected);
    assert_eq!((arrived[3].topic.as_str(), arrived[3].qos), ("t/3", QoS::ExactlyOnce));
    second.session.close(Duration::from_secs(5));
    crash(second);
    // What has been acknowledged is not owed any more.
    let third = client(1, &path);
    assert_eq!(third.session.owed(), (0, 0));
}

#[test]
fn exactly_once_at_qos_2_also_over_a_crash_while_the_broker_has_the_session() {
    let folder = Folder::new("durable");
    let path = folder.join("echo.outbox");
    let broker = Broker::new();
    let first = started(&broker, &path);
    let mut peer = broker.welcome();
    for text in ["received", "sent", "acknowledged"] {
        first.publish("t", text, QoS::ExactlyOnce);
    }
    let ids: Vec<_> = (0..3).map(|_| next(&mut peer).1.unwrap()).collect();
    peer.send(&Packet::PubRec(ids[0], Reason::SUCCESS));
    peer.send(&Packet::PubRec(ids[2], Reason::SUCCESS));
    assert_eq!((next(&mut peer).1, next(&mut peer).1), (Some(ids[0]), Some(ids[2])));
    peer.send(&Packet::PubComp(ids[2]));
    let receipt = first.publish("t", "at last", QoS::AtLeastOnce);
    assert_eq!(next(&mut peer).0, "at last");
    peer.send(&Packet::PubAck(ids[2] + 1, Reason::SUCCESS));
    receipt.completion.wait(super::PATIENCE);
    crash(first);
    // What the broker has is only released; what it may have comes under the same number, marked.
    let second = started(&broker, &path);
    let (mut peer, _) = broker.welcome_back(true);
    assert_eq!(next(&mut peer), ("PUBREL".into(), Some(ids[0]), false));
    assert_eq!(next(&mut peer), ("sent".into(), Some(ids[1]), true));
    crash(second);
    // A broker that has lost the session has lost them too.
    let third = started(&broker, &path);
    let (mut peer, _) = broker.welcome_back(false);
    let texts = [next(&mut peer), next(&mut peer)].map(|(text, _, dup)| (text, dup));
    assert_eq!(texts, [("received".into(), false), ("sent".into(), false)]);
    crash(third);
}

#[test]
fn what_could_not_be_delivered_before_a_clean_end_is_kept_too() {
    let folder = Folder::new("durable");
    let path = folder.join("echo.outbox");
    let first = client(1, &path);
    first.publish("t", "kept", QoS::AtLeastOnce);
    assert_eq!(first.session.close(Duration::ZERO), 1);
    crash(first);
    assert_eq!(client(1, &path).session.owed().0, 1);
}

#[test]
fn greetings_and_farewells_are_of_their_time() {
    let folder = Folder::new("durable");
    let path = folder.join("echo.outbox");
    let first = client(1, &path);
    first.session.begin_greeting();
    first.publish("online", "1", QoS::AtLeastOnce);
    first.session.greeted();
    first.publish("t", "kept", QoS::AtLeastOnce);
    first.session.begin_farewell();
    first.publish("online", "0", QoS::AtLeastOnce);
    crash(first);
    assert_eq!(client(1, &path).session.owed().0, 1);
}

#[test]
fn all_that_a_message_may_have_is_kept_and_its_time_runs_on() {
    let folder = Folder::new("durable");
    let path = folder.join("echo.outbox");
    let mut rich = message("t/ü", "payload", QoS::ExactlyOnce);
    rich.retain = true;
    rich.properties = Some(Box::new(Properties {
        content_type: Some("text/plain".into()),
        response_topic: Some("answer".into()),
        correlation_data: Some(b"\x00\xff"[..].into()),
        user: vec![("key".into(), "value".into())],
        ..Properties::default()
    }));
    let mut short = message("t", "short-lived", QoS::AtLeastOnce);
    short.properties = Some(Box::new(Properties { expiry: Some(0), ..Properties::default() }));
    let first = client(1, &path);
    first.session.publish_message(rich.clone()).unwrap();
    first.session.publish_message(short).unwrap();
    crash(first);
    let broker = Broker::new();
    let second = Client::new(broker.port(), |options| {
        options.durable = path.to_str().unwrap().into();
        options.protocol = miqro::core::config::Protocol::V5;
    });
    second.session.start().unwrap();
    second.publish("t", "next", QoS::AtLeastOnce);
    let arrived = broker.welcome().serve(2);
    assert_eq!(arrived, [rich, message("t", "next", QoS::AtLeastOnce)]);
}

#[test]
fn a_second_session_on_the_same_file_works_without_it_and_says_so() {
    let folder = Folder::new("durable");
    let path = folder.join("echo.outbox");
    let first = client(1, &path);
    let mut second = client(1, &path);
    let Event::Storage { text, trouble: true } = second.event() else { panic!("no word of the trouble") };
    assert!(text.contains("in use by another session of this process"), "{text}");
    second.publish("t", "of the second", QoS::AtLeastOnce);
    first.publish("t", "of the first", QoS::AtLeastOnce);
    crash(second);
    crash(first);
    assert_eq!(client(1, &path).session.owed().0, 1);
}
