//! What mutations and the fuzzer start from: real packets, sessions and files.
//!
//! `fuzz/corpus/` has them as files, with whatever made a target fail once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use miqro::core::session::codec::encode;
use miqro::core::session::message::{Message, Properties, QoS};
use miqro::core::session::packet::{
    ConnAckProperties, Connect, ConnectProperties, Disconnect, Packet, Reason, RetainHandling, Subscription,
    Version, Will,
};

use super::targets;

fn message(qos: QoS, properties: Option<Properties>) -> Message {
    Message {
        topic: "home/lamp".into(),
        payload: Bytes::from_static(b"{\"on\": true}"),
        qos,
        retain: qos == QoS::AtLeastOnce,
        dup: qos == QoS::ExactlyOnce,
        properties: properties.map(Box::new),
    }
}

fn connect(properties: Option<ConnectProperties>) -> Packet {
    Packet::Connect(Connect {
        properties: properties.map(Box::new),
        client_id: "lamp".into(),
        clean_session: true,
        keepalive: 60,
        will: Some(Will {
            topic: "home/online".into(),
            payload: b"0".to_vec(),
            qos: QoS::ExactlyOnce,
            retain: true,
        }),
        login: Some(("user".into(), "secret".into())),
    })
}

/// One packet of each kind, and more of those that have more to say.
pub fn packets(version: Version) -> Vec<(&'static str, Packet)> {
    let success = || Reason::SUCCESS;
    let mut packets = vec![
        ("connack", Packet::ConnAck(true, 0, (version == Version::V5).then(Box::default))),
        ("publish0", Packet::Publish(message(QoS::AtMostOnce, None), None)),
        ("publish1", Packet::Publish(message(QoS::AtLeastOnce, None), Some(1))),
        ("publish2", Packet::Publish(message(QoS::ExactlyOnce, None), Some(0x0203))),
        ("puback", Packet::PubAck(1, success())),
        ("pubrec", Packet::PubRec(2, success())),
        ("pubrel", Packet::PubRel(2)),
        ("pubcomp", Packet::PubComp(2)),
        (
            "subscribe",
            Packet::Subscribe(
                3,
                vec![("home/+".into(), QoS::AtMostOnce.into()), ("#".into(), QoS::ExactlyOnce.into())],
            ),
        ),
        ("suback", Packet::SubAck(3, vec![Ok(QoS::AtMostOnce), Ok(QoS::ExactlyOnce), Err(0x80)], None)),
        ("unsubscribe", Packet::Unsubscribe(4, vec!["home/+".into(), "#".into()])),
        ("pingreq", Packet::PingReq),
        ("pingresp", Packet::PingResp),
        ("disconnect", Packet::Disconnect(None)),
    ];
    if version == Version::V311 {
        packets.extend([
            ("connect", connect(None)),
            ("refused", Packet::ConnAck(false, 5, None)),
            ("unsuback", Packet::UnsubAck(4, Vec::new())),
        ]);
        return packets;
    }
    let properties = Properties {
        is_text: Some(true),
        expiry: Some(60),
        content_type: Some("application/json".into()),
        response_topic: Some("home/answer".into()),
        correlation_data: Some(Bytes::from_static(b"\x00\x01")),
        user: vec![("a".into(), "b".into()), ("a".into(), String::new())],
        subscription_ids: vec![1, 268_435_455],
    };
    let terms = ConnAckProperties {
        session_expiry: Some(3600),
        receive_maximum: 20,
        maximum_qos: QoS::AtLeastOnce,
        retain_available: false,
        maximum_packet_size: Some(65_536),
        assigned_client_id: Some("auto-1".into()),
        reason: Some("welcome".into()),
        wildcards_available: false,
        shared_available: false,
        server_keepalive: Some(30),
        server_reference: Some("other:1883".into()),
    };
    let how = Subscription {
        qos: QoS::AtLeastOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::IfNew,
    };
    let words = |code| Reason { code, text: Some("so be it".into()) };
    packets.extend([
        (
            "connect",
            connect(Some(ConnectProperties {
                session_expiry: u32::MAX,
                receive_maximum: Some(100),
                maximum_packet_size: Some(1 << 24),
            })),
        ),
        ("connack-terms", Packet::ConnAck(false, 0, Some(Box::new(terms)))),
        ("refused", Packet::ConnAck(false, 0x87, Some(Box::default()))),
        ("publish-properties", Packet::Publish(message(QoS::AtLeastOnce, Some(properties)), Some(1))),
        ("puback-reason", Packet::PubAck(1, words(0x97))),
        ("pubrec-code", Packet::PubRec(2, Reason::code(0x10))),
        ("subscribe-options", Packet::Subscribe(3, vec![("$share/g/home".into(), how), ("b".into(), how)])),
        ("suback-reason", Packet::SubAck(3, vec![Ok(QoS::AtLeastOnce), Err(0x87)], Some("no".into()))),
        ("unsuback", Packet::UnsubAck(4, vec![0, 0x11])),
        (
            "disconnect-reason",
            Packet::Disconnect(Some(Box::new(Disconnect {
                reason: words(0x9C),
                server_reference: Some("other".into()),
            }))),
        ),
    ]);
    packets
}

pub fn encoded(packet: &Packet, version: Version) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    encode(packet, &mut bytes, version).unwrap();
    bytes.to_vec()
}

/// The mode, where to cut, and the packet.
fn codec() -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for (version, mode, name) in [(Version::V311, 6, "v311"), (Version::V5, 7, "v5")] {
        let mut stream = vec![mode, 100];
        for (kind, packet) in packets(version) {
            let bytes = encoded(&packet, version);
            stream.extend_from_slice(&bytes);
            all.insert(format!("{name}-{kind}"), [&[mode, 3], &bytes[..]].concat());
        }
        all.insert(format!("{name}-all"), stream);
    }
    all
}

/// Kind and length of a record, and its body; see the target.
fn journal() -> BTreeMap<String, Vec<u8>> {
    let record = |body: &[u8]| [&[0, u8::try_from(body.len()).unwrap()], body].concat();
    let number = |kind: u8, number: u8| [&[kind], &u64::from(number).to_be_bytes()[..]].concat();
    let accepted = |which: u8| record(&[number(1, which), b"message".to_vec()].concat());
    let sent = |which: u8| record(&[number(2, which), vec![0, which]].concat());
    let all = [
        vec![255],
        accepted(1),
        accepted(2),
        sent(1),
        sent(2),
        record(&number(3, 2)),
        accepted(3),
        record(&number(4, 1)),
    ]
    .concat();
    let torn = [&all[..], &[0x0f, 3, 0, 0, 0]].concat();
    let lost = [&all[..], &record(&[5])[..], &sent(3)[..]].concat();
    let foreign = [&[0, 0x0f, 13][..], b"not a journal"].concat();
    BTreeMap::from([
        ("all".into(), all),
        ("torn".into(), torn),
        ("session-lost".into(), lost),
        ("foreign".into(), foreign),
    ])
}

/// Inputs by their name.
pub fn of(target: &str) -> BTreeMap<String, Vec<u8>> {
    match target {
        "codec" => codec(),
        "protocol" => super::sessions::protocol(),
        "journal" => journal(),
        _ => super::yaml::CORPUS
            .iter()
            .enumerate()
            .map(|(number, text)| (format!("text-{number}"), text.as_bytes().to_vec()))
            .collect(),
    }
}

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

/// The files are the inputs that are made here, and others that once made a target fail. `MIQRO_FUZZ_CORPUS=write`
/// writes those that are made here.
#[test]
fn every_target_takes_its_corpus() {
    let write = std::env::var("MIQRO_FUZZ_CORPUS").is_ok_and(|what| what == "write");
    for target in ["codec", "protocol", "journal", "yaml"] {
        let folder = folder(target);
        for (name, input) in of(target) {
            let path = folder.join(&name);
            if write {
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(&path, &input).unwrap();
            }
            let there = std::fs::read(&path).unwrap_or_default();
            assert!(there == input, "{} is not as it is made: make fuzz-corpus", path.display());
        }
        for file in std::fs::read_dir(&folder).unwrap() {
            let input = std::fs::read(file.unwrap().path()).unwrap();
            match target {
                "codec" => drop(targets::codec::take(&input)),
                "protocol" => drop(targets::protocol::take(&input)),
                "journal" => targets::journal::take(&input),
                _ => targets::yaml::take(&input),
            }
        }
    }
}
