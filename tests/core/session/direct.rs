//! What a turn of the service's work publishes leaves from the service's own thread, in one write.

use bytes::Bytes;
use miqro::core::session::completion::Outcome;
use miqro::core::session::message::QoS;
use miqro::core::session::packet::{Packet, Reason};

use super::{Broker, Client, PATIENCE};

#[test]
fn it_is_in_the_socket_when_the_turn_ends() {
    let broker = Broker::new();
    let (client, mut peer) = Client::connected(&broker, |_| {});
    for turn in 0..100 {
        client.session.cork();
        let receipts: Vec<_> =
            (0..5).map(|n| client.publish("t", &format!("{turn}.{n}"), QoS::AtMostOnce)).collect();
        client.session.uncork();
        let texts: Vec<_> = peer.serve(5).into_iter().map(|message| message.payload).collect();
        assert_eq!(texts, (0..5).map(|n| format!("{turn}.{n}")).collect::<Vec<_>>());
        for receipt in receipts {
            assert_eq!(receipt.completion.wait(PATIENCE), Outcome::Done);
        }
    }
}

#[test]
fn a_turn_that_does_not_end_holds_nothing_back_for_long() {
    let broker = Broker::new();
    let (client, mut peer) = Client::connected(&broker, |_| {});
    client.session.cork();
    for number in 0..10 {
        client.publish("t", &number.to_string(), QoS::AtLeastOnce);
        assert_eq!(peer.serve(1)[0].payload, number.to_string());
    }
    client.session.uncork();
}

#[test]
fn what_the_socket_does_not_take_at_once_follows() {
    let broker = Broker::new();
    let (client, mut peer) = Client::connected(&broker, |_| {});
    let large = Bytes::from(vec![b'x'; 8 << 20]);
    client.session.cork();
    let receipt = client.session.publish("large".into(), large.clone(), QoS::AtMostOnce, false).unwrap();
    client.publish("small", "after it", QoS::AtLeastOnce);
    client.session.uncork();
    client.session.cork();
    client.publish("small", "of the next turn", QoS::AtLeastOnce);
    client.session.uncork();
    let arrived = peer.serve(3);
    assert_eq!(arrived[0].payload, large);
    assert_eq!([&arrived[1].payload, &arrived[2].payload], ["after it", "of the next turn"]);
    assert_eq!(receipt.completion.wait(PATIENCE), Outcome::Done);
}

#[test]
fn many_small_messages_of_one_turn_all_leave() {
    let broker = Broker::new();
    let (client, mut peer) = Client::connected(&broker, |_| {});
    client.session.cork();
    let texts: Vec<_> = (0..5000).map(|number| number.to_string().repeat(20)).collect();
    for text in &texts {
        client.publish("t", text, QoS::AtMostOnce);
    }
    client.session.uncork();
    let arrived: Vec<_> = peer.serve(5000).into_iter().map(|message| message.payload).collect();
    assert_eq!(arrived, texts);
}

#[test]
fn a_connection_that_breaks_in_a_turn_loses_nothing() {
    let broker = Broker::new();
    let (mut client, peer) = Client::connected(&broker, |_| {});
    client.session.cork();
    drop(peer);
    let receipt = client.publish("t", "of the turn", QoS::AtLeastOnce);
    client.session.uncork();
    client.disconnected();
    let mut peer = broker.welcome();
    let (message, id) = peer.receive_publish();
    assert_eq!(message.payload, "of the turn");
    peer.send(&Packet::PubAck(id.unwrap(), Reason::SUCCESS));
    assert_eq!(receipt.completion.wait(PATIENCE), Outcome::Done);
}
