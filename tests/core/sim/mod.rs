//! The session in simulation: `protocol` and `outbox` against a model broker, with real bytes between them, a clock
//! that the test owns, and a network and a service that do at random whatever they are allowed to. What happens in a
//! world follows from its seed alone.
//!
//! `SIM_SEED=n` runs one world of each kind, `SIM_SEEDS=n` so many; a world that broke a law says its seed.
//!
//! # That each law can be broken
//!
//! A law that nothing breaks proves nothing. Each of these defects was put into the code, one at a time, and the law
//! beside it found it within 400 worlds (a few have broken others as well). Whoever changes a law tries them again.
//!
//! | defect | law that found it |
//! | --- | --- |
//! | DUP is never set | message n has DUP false, and was on the wire |
//! | DUP is set though no byte has left | message n has DUP true, and was on the wire: false |
//! | lost session: what was in flight is dropped | the outbox has lost count; message n was lost |
//! | lost session: what was in flight goes behind the queue | message n is sent after m |
//! | PUBREC completes a message at QoS 2 | the completion of message n is wrong |
//! | PUBCOMP without its PUBREC counts | message n was reported, and not published |
//! | PUBACK of a message at QoS 2 counts | the same |
//! | the window is larger by one | the window is exceeded |
//! | identifiers in use are given out again | an identifier that is owed was used |
//! | messages at QoS 0 are lost with the connection | a message is refused only for want of room; lost count |
//! | a PUBREC of something unknown is not answered | a PUBREC is not answered |
//! | inbound messages at QoS 2 are not remembered, or only for a connection | the broker's message came twice |
//! | they are remembered over a lost session | acknowledged and not handed over |
//! | no ping | nothing sent for a keepalive, and no ping |
//! | silence is borne for longer | the timer fires again and again |
//! | subscriptions are not restored | the broker's subscriptions are not the service's |
//! | an unsubscription made offline is not told | the same |
//! | the queue does not wait for the greeting | sent before the greeting is over |
//! | DISCONNECT though something is owed | DISCONNECT, and messages are owed |
//! | offline: where the oldest QoS 0 message waits is forgotten | older than those that were dropped |
//!
//! With MQTT 5:
//!
//! | defect | law that found it |
//! | --- | --- |
//! | the broker's receive maximum does not count, at all or for what is sent again | the receive maximum is exceeded |
//! | our own receive maximum is one too small | the session finds fault with a good broker |
//! | a refused message is sent again | sent though it is settled |
//! | a PUBREC with an error counts as a success | an unasked PUBREL; the outbox has lost count |
//! | a refused message keeps its place in the outbox | the outbox has lost count |
//! | a message over the maximum packet size is sent | n bytes, more than the broker takes |
//! | the maximum QoS does not count, or not for what is sent again | the message is not what was accepted |
//! | retained messages go to a broker that keeps none | the same |
//! | expired messages are sent | sent after its time |
//! | the expiry does not count down | message n and its expiry |
//! | the broker's keepalive does not count | nothing sent for a keepalive, and no ping |
//! | a version that was refused is tried again at once | MQTT 5 again |

mod broker;
mod driver;
mod laws;
mod ledger;
mod service;
mod tally;
mod wire;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use broker::numbered;
use miqro::core::config::Protocol as Choice;
use miqro::core::session::message::{Message, QoS};
use miqro::core::session::options::SessionOptions;
use miqro::core::session::outbox::Urgency;
use miqro::core::session::packet::{Packet, Reason, Version};
use miqro::core::session::protocol::Protocol;
use tally::Tally;
use wire::Wire;
use world::World;

/// Steps of one world.
const STEPS: u64 = 2000;
/// Worlds in the ordinary test run: three million steps.
const SEEDS: u64 = 1500;
/// As many with MQTT 5.
const SEEDS_5: u64 = 1500;
/// And some where the session has to find out what the broker speaks.
const SEEDS_AUTO: u64 = 300;

/// Each broke a law when it was found: worlds of MQTT 3.1.1.
const REGRESSIONS: [u64; 9] = [1, 2, 5, 10, 35, 58, 143, 203, 403];
/// Of MQTT 5: each found something, be it that a law was wrong.
const REGRESSIONS_5: [u64; 9] = [102, 202, 963, 1136, 2989, 6502, 6647, 9777, 9823];

/// The number that a message of the simulation carries.
fn number_of(message: &Message) -> u64 {
    let bytes = message.payload.get(..8).expect("it was made by `numbered`");
    u64::from_be_bytes(bytes.try_into().expect("eight bytes"))
}

fn run(seed: u64, protocol: Choice) -> Tally {
    let mut world = World::new(seed, protocol);
    for _ in 0..STEPS {
        world.step();
    }
    world.settle();
    world.close();
    world.tally
}

/// The world of a seed; what it broke, if it did.
fn judge(seed: u64, protocol: Choice) -> Result<Tally, String> {
    catch_unwind(AssertUnwindSafe(|| run(seed, protocol))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words");
        format!("{protocol:?}, seed {seed}: {text}")
    })
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The laws in the worlds of a protocol.
fn check(protocol: Choice, worlds: u64) -> Tally {
    let seeds = match variable("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("SIM_SEEDS").unwrap_or(worlds),
    };
    let mut sum = Tally::default();
    let mut broken = Vec::new();
    for seed in seeds {
        match judge(seed, protocol) {
            Ok(tally) => sum.add(&tally),
            Err(text) => broken.push(text),
        }
    }
    assert!(broken.is_empty(), "{} worlds broke a law (SIM_SEED=n runs one): {broken:#?}", broken.len());
    sum
}

#[test]
fn the_laws_hold() {
    let sum = check(Choice::V311, SEEDS);
    if sum.steps >= SEEDS * STEPS {
        sum.check();
    }
}

#[test]
fn the_laws_hold_with_mqtt_5() {
    let sum = check(Choice::V5, SEEDS_5);
    if sum.steps >= SEEDS_5 * STEPS {
        sum.check_5();
    }
}

/// Brokers that speak 3.1.1 only, and those that do not, where the session finds out by itself.
#[test]
fn the_laws_hold_whatever_the_broker_speaks() {
    let sum = check(Choice::Auto, SEEDS_AUTO);
    assert!(sum.steps < SEEDS_AUTO * STEPS || sum.fallen_back > 1000, "{sum:#?}");
}

/// C43: an hour on a link that breaks every second.
#[test]
fn the_laws_hold_for_an_hour_of_flapping() {
    for (protocol, seed) in [(Choice::V311, 0), (Choice::V311, 1), (Choice::V5, 0), (Choice::V5, 1)] {
        let mut world = World::new(seed, protocol);
        let mut next = world.now;
        while world.now < Duration::from_secs(3600) {
            world.step();
            if world.now >= next && world.connection.is_some() {
                world.cut();
                next = world.now + Duration::from_secs(1);
            }
        }
        world.settle();
        world.close();
        assert!(world.tally.connections > 1500, "{:#?}", world.tally);
    }
}

/// Worlds in which a law was broken once; they stay.
#[test]
fn what_was_broken_once_is_not_broken_again() {
    let worlds = REGRESSIONS.map(|seed| (seed, Choice::V311));
    let worlds_5 = REGRESSIONS_5.map(|seed| (seed, Choice::V5));
    let broken: Vec<_> =
        worlds.iter().chain(&worlds_5).filter_map(|(seed, choice)| judge(*seed, *choice).err()).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

/// Identifiers come round after 65535 messages; one that is still owed must be passed over (MQTT-2.3.1-2, -4).
#[test]
fn identifiers_come_round_and_pass_over_those_in_use() {
    const ROUND: usize = 65_535;
    let mut protocol = Protocol::new(SessionOptions::default());
    let mut wire = Wire::new(1 << 20, Version::V311);
    let now = Duration::from_secs(1);
    protocol.connection_opened(now);
    protocol.poll(&mut wire, now, true);
    protocol.handle(Packet::ConnAck(false, 0, None), now, &mut Vec::new()).unwrap();
    // A subscription and a message whose acknowledgements do not come.
    protocol.subscribe(vec![("f".into(), QoS::AtMostOnce)]);
    let mut publish = |number: u64| {
        let message = numbered(number, 0, "t".into(), QoS::AtLeastOnce, false);
        protocol.publish(message, Urgency::Ordinary, now).unwrap();
        protocol.poll(&mut wire, now, true);
        wire.take(usize::MAX);
        let ids: Vec<_> = wire
            .sent
            .drain(..)
            .filter_map(|sent| match sent.packet {
                Packet::Publish(_, id) => id,
                Packet::Subscribe(id, _) => Some(id),
                _ => None,
            })
            .collect();
        if number > 0 {
            protocol.handle(Packet::PubAck(ids[0], Reason::SUCCESS), now, &mut Vec::new()).unwrap();
        }
        ids
    };
    let owed = publish(0);
    assert_eq!(owed.len(), 2);
    let mut seen = vec![0; ROUND + 1];
    for number in 1..=2 * ROUND as u64 {
        for id in publish(number) {
            seen[usize::from(id)] += 1;
        }
    }
    assert_eq!(seen[0], 0, "zero is no identifier");
    assert!(owed.iter().all(|id| seen[usize::from(*id)] == 0), "an identifier that is owed was used");
    assert!((1..=ROUND).filter(|id| seen[*id] == 0).count() == 2, "the others are all used");
    assert_eq!(protocol.outbox().len(), 1);
}

/// However many requests a service makes at once, messages keep their identifiers.
#[test]
fn a_hundred_thousand_subscriptions_wait_for_their_turn() {
    let mut protocol = Protocol::new(SessionOptions::default());
    let mut wire = Wire::new(usize::MAX, Version::V311);
    let now = Duration::from_secs(1);
    protocol.connection_opened(now);
    protocol.poll(&mut wire, now, true);
    protocol.handle(Packet::ConnAck(false, 0, None), now, &mut Vec::new()).unwrap();
    for number in 0..100_000 {
        protocol.subscribe(vec![(format!("f/{number}"), QoS::AtMostOnce)]);
    }
    protocol.publish(numbered(1, 0, "t".into(), QoS::AtLeastOnce, false), Urgency::Ordinary, now).unwrap();
    let mut asked = 0;
    let mut published = 0;
    loop {
        wire.sent.clear();
        protocol.poll(&mut wire, now, true);
        let answers: Vec<_> = wire
            .sent
            .iter()
            .filter_map(|sent| match &sent.packet {
                Packet::Subscribe(id, filters) => {
                    Some(Packet::SubAck(*id, filters.iter().map(|(_, how)| Ok(how.qos)).collect(), None))
                }
                Packet::Publish(..) => {
                    published += 1;
                    None
                }
                _ => None,
            })
            .collect();
        if answers.is_empty() {
            break;
        }
        assert!(answers.len() <= 1000);
        asked += answers.len();
        for answer in answers {
            protocol.handle(answer, now, &mut Vec::new()).unwrap();
        }
    }
    assert_eq!((asked, published), (100_000, 1));
}
