//! Packets of all kinds, as proptest makes them.

use bytes::Bytes;
use miqro::core::session::message::{Message, Properties, QoS};
use miqro::core::session::packet::{
    ConnAckProperties, Connect, ConnectProperties, Disconnect, Packet, Reason, RetainHandling, Subscription,
    Version, Will,
};
use proptest::option;
use proptest::prelude::*;

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![8 => "[a-z/]{1,20}", 8 => "\\PC{1,40}", 1 => Just("x".repeat(65_535))]
}

/// A text that is no filter.
fn topic() -> impl Strategy<Value = String> {
    text().prop_map(|text| text.replace(['+', '#'], "/"))
}

/// What a property says.
fn words() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "\\PC{1,20}"]
}

fn payload() -> impl Strategy<Value = Bytes> {
    // Around the lengths at which the remaining length takes another byte, too.
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        (100..140_usize).prop_map(|size| vec![7; size]),
        (16_350..16_400_usize).prop_map(|size| vec![8; size]),
    ]
    .prop_map(Bytes::from)
}

/// Something that only MQTT 5 has.
fn of_5<T: std::fmt::Debug + Clone + 'static>(
    version: Version,
    strategy: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<Option<T>> {
    if version == Version::V5 { option::of(strategy).boxed() } else { Just(None).boxed() }
}

fn properties() -> impl Strategy<Value = Properties> {
    let ids = prop::collection::vec(1..=268_435_455_u32, 0..3);
    let data = prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from);
    (
        option::of(any::<bool>()),
        option::of(any::<u32>()),
        option::of(words()),
        option::of("[a-z/]{1,20}"),
        option::of(data),
        prop::collection::vec((words(), words()), 0..3),
        ids,
    )
        .prop_map(
            |(is_text, expiry, content_type, response_topic, correlation_data, user, subscription_ids)| {
                Properties {
                    is_text,
                    expiry,
                    content_type,
                    response_topic,
                    correlation_data,
                    user,
                    subscription_ids,
                }
            },
        )
        // None at all is another thing.
        .prop_filter("empty", |properties| *properties != Properties::default())
}

pub fn publish(version: Version) -> impl Strategy<Value = Packet> {
    let properties = of_5(version, properties().prop_map(Box::new));
    (topic(), payload(), qos(), any::<bool>(), any::<bool>(), 1..=u16::MAX, properties).prop_map(
        |(topic, payload, qos, retain, dup, id, properties)| {
            let id = (qos != QoS::AtMostOnce).then_some(id);
            let dup = dup && id.is_some();
            Packet::Publish(Message { topic, payload, qos, retain, dup, properties }, id)
        },
    )
}

fn connect(version: Version) -> impl Strategy<Value = Packet> {
    let will = (topic(), prop::collection::vec(any::<u8>(), 0..40), qos(), any::<bool>())
        .prop_map(|(topic, payload, qos, retain)| Will { topic, payload, qos, retain });
    let properties = (any::<u32>(), option::of(1..=u16::MAX), option::of(1..=u32::MAX)).prop_map(
        move |(session_expiry, receive_maximum, maximum_packet_size)| {
            let properties = ConnectProperties { session_expiry, receive_maximum, maximum_packet_size };
            (version == Version::V5).then(|| Box::new(properties))
        },
    );
    let login = option::of((text(), text()));
    (text(), any::<bool>(), any::<u16>(), option::of(will), login, properties).prop_map(
        |(client_id, clean_session, keepalive, will, login, properties)| {
            Packet::Connect(Connect { properties, client_id, clean_session, keepalive, will, login })
        },
    )
}

fn terms() -> impl Strategy<Value = ConnAckProperties> {
    (
        (option::of(any::<u32>()), 1..=u16::MAX, qos(), any::<bool>(), option::of(1..=u32::MAX)),
        (option::of(words()), option::of(words()), option::of(words())),
        (any::<bool>(), any::<bool>(), option::of(any::<u16>())),
    )
        .prop_map(|(numbers, texts, others)| {
            let (session_expiry, receive_maximum, maximum_qos, retain_available, maximum_packet_size) =
                numbers;
            let (assigned_client_id, reason, server_reference) = texts;
            let (wildcards_available, shared_available, server_keepalive) = others;
            ConnAckProperties {
                session_expiry,
                receive_maximum,
                maximum_qos,
                retain_available,
                maximum_packet_size,
                assigned_client_id,
                reason: reason.map(Into::into),
                wildcards_available,
                shared_available,
                server_keepalive,
                server_reference,
            }
        })
}

fn connack(version: Version) -> BoxedStrategy<Packet> {
    if version == Version::V311 {
        let code = prop_oneof![Just(0), 1..=5_u8];
        return (any::<bool>(), code)
            .prop_map(|(present, code)| Packet::ConnAck(present && code == 0, code, None))
            .boxed();
    }
    let code = prop_oneof![Just(0), prop::sample::select(&[0x80, 0x84, 0x87, 0x8C, 0x9D, 0x9F][..])];
    (any::<bool>(), code, terms())
        .prop_map(|(present, code, terms)| Packet::ConnAck(present && code == 0, code, Some(Box::new(terms))))
        .boxed()
}

/// A reason code of those given, and words.
fn reason(version: Version, codes: &'static [u8]) -> impl Strategy<Value = Reason> {
    of_5(version, (prop::sample::select(codes), option::of(words()))).prop_map(|reason| {
        reason.map_or(Reason::SUCCESS, |(code, text)| Reason { code, text: text.map(Into::into) })
    })
}

fn how(version: Version) -> BoxedStrategy<Subscription> {
    if version == Version::V311 {
        return qos().prop_map(Subscription::from).boxed();
    }
    let handling =
        prop_oneof![Just(RetainHandling::Always), Just(RetainHandling::IfNew), Just(RetainHandling::Never)];
    (qos(), any::<bool>(), any::<bool>(), handling)
        .prop_map(|(qos, no_local, retain_as_published, retain_handling)| Subscription {
            qos,
            no_local,
            retain_as_published,
            retain_handling,
        })
        .boxed()
}

fn granted(version: Version) -> impl Strategy<Value = Result<QoS, u8>> {
    let refusals: &[u8] = if version == Version::V5 { &[0x80, 0x87, 0x9E, 0xA2] } else { &[0x80] };
    prop_oneof![qos().prop_map(Ok), prop::sample::select(refusals).prop_map(Err)]
}

fn unsuback(version: Version) -> BoxedStrategy<Packet> {
    if version == Version::V311 {
        return (1..=u16::MAX).prop_map(|id| Packet::UnsubAck(id, Vec::new())).boxed();
    }
    let codes = prop::collection::vec(prop::sample::select(&[0, 0x11, 0x80, 0x87][..]), 1..5);
    (1..=u16::MAX, codes).prop_map(|(id, codes)| Packet::UnsubAck(id, codes)).boxed()
}

fn disconnect(version: Version) -> impl Strategy<Value = Packet> {
    let said = (reason(version, &[0, 4, 0x81, 0x8B, 0x9D]), option::of(words()))
        .prop_map(|(reason, server_reference)| Disconnect { reason, server_reference })
        .prop_filter("nothing is said", |goodbye| *goodbye != Disconnect::default());
    of_5(version, said).prop_map(|goodbye| Packet::Disconnect(goodbye.map(Box::new)))
}

/// What a client sends.
pub fn of_client(version: Version) -> impl Strategy<Value = Packet> {
    let id = || 1..=u16::MAX;
    prop_oneof![
        2 => connect(version),
        2 => publish(version),
        1 => (id(), reason(version, &[0, 0x10, 0x80, 0x99])).prop_map(|(id, reason)| Packet::PubAck(id, reason)),
        1 => (id(), reason(version, &[0, 0x10, 0x80, 0x99])).prop_map(|(id, reason)| Packet::PubRec(id, reason)),
        1 => id().prop_map(Packet::PubRel),
        1 => id().prop_map(Packet::PubComp),
        2 => (id(), prop::collection::vec((text(), how(version)), 1..5))
            .prop_map(|(id, filters)| Packet::Subscribe(id, filters)),
        1 => (id(), prop::collection::vec(text(), 1..5)).prop_map(|(id, filters)| Packet::Unsubscribe(id, filters)),
        1 => Just(Packet::PingReq),
        1 => disconnect(version),
    ]
}

/// What a broker sends.
pub fn of_broker(version: Version) -> impl Strategy<Value = Packet> {
    let id = || 1..=u16::MAX;
    let disconnect =
        if version == Version::V5 { disconnect(version).boxed() } else { Just(Packet::PingResp).boxed() };
    prop_oneof![
        2 => connack(version),
        2 => publish(version),
        1 => (id(), reason(version, &[0, 0x10, 0x87, 0x97])).prop_map(|(id, reason)| Packet::PubAck(id, reason)),
        1 => (id(), reason(version, &[0, 0x10, 0x87, 0x97])).prop_map(|(id, reason)| Packet::PubRec(id, reason)),
        1 => id().prop_map(Packet::PubRel),
        1 => id().prop_map(Packet::PubComp),
        1 => (id(), prop::collection::vec(granted(version), 1..5), of_5(version, words()))
            .prop_map(|(id, granted, text)| Packet::SubAck(id, granted, text.map(Into::into))),
        1 => unsuback(version),
        1 => Just(Packet::PingResp),
        1 => disconnect,
    ]
}

pub fn any_packet(version: Version) -> impl Strategy<Value = Packet> {
    prop_oneof![of_client(version), of_broker(version)]
}

pub fn version() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V311), Just(Version::V5)]
}
