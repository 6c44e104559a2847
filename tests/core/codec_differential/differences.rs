//! Where we and mqtt-protocol-core 0.7.9 do not agree, and who is right.

use miqro::core::session::packet::{Packet, PacketId, Version};

type Outcome = Result<Packet, String>;

/// One known difference.
pub struct Difference {
    pub name: &'static str,
    /// What the specification says, where, and who keeps to it.
    pub why: &'static str,
    /// Whether it explains an outcome: ours, then theirs.
    pub applies: fn(Version, &[u8], &Outcome, &Outcome) -> bool,
    pub example: (Version, &'static [u8]),
}

pub const DIFFERENCES: &[Difference] = &[
    Difference {
        name: "reserved flags",
        why: "MQTT 3.1.1 section 2.2.2 (MQTT-2.2.2-2) and MQTT 5 section 2.1.3 (MQTT-2.1.3-1): the flags of a packet \
              that is not a PUBLISH have one value, and another one ends the connection. We keep to it; they do not \
              look.",
        applies: |_, bytes, ours, _| ours.is_err() && has_reserved_flags(bytes),
        example: (Version::V311, &[0xd1, 0]),
    },
    Difference {
        name: "return codes of the future",
        why: "MQTT 3.1.1 section 3.2.2.3 reserves the return codes above 5. They take the packet for malformed; we tell \
              the person who must act that the broker refuses, and with which code. Both are allowed, since the \
              connection ends in any case.",
        applies: |version, _, ours, theirs| {
            version == Version::V311 && theirs.is_err() && matches!(ours, Ok(Packet::ConnAck(_, 6.., None)))
        },
        example: (Version::V311, &[0x20, 2, 0, 6]),
    },
    Difference {
        name: "acknowledgements with a reason in 3.1.1",
        why: "MQTT 3.1.1 sections 3.4.1, 3.5.1, 3.6.1, 3.7.1: the remaining length is 2. Reason codes came with MQTT 5. \
              We keep to it; they take a third byte.",
        applies: |version, bytes, ours, _| {
            version == Version::V311 && ours.is_err() && matches!(bytes[0] >> 4, 4..=7) && bytes[1] == 3
        },
        example: (Version::V311, &[0x40, 3, 0, 1, 0]),
    },
    Difference {
        name: "the identifier zero",
        why: "MQTT 3.1.1 section 2.3.1 (MQTT-2.3.1-1) and MQTT 5 section 2.2.1 (MQTT-2.2.1-3, -4): an identifier is not \
              zero. We keep to it; they let it pass where they read PUBLISH, SUBACK, UNSUBACK, SUBSCRIBE and UNSUBSCRIBE.",
        applies: |_, _, ours, theirs| {
            is_refused_for(ours, &["Packet id Zero", "identifier is zero"]) && id(theirs) == Some(0)
        },
        example: (Version::V311, &[0xb0, 2, 0, 0]),
    },
    Difference {
        name: "what only clients send, in 3.1.1",
        why: "MQTT 3.1.1 sections 3.1, 3.8.3 and 3.10.3: CONNECT ends with its last field, SUBSCRIBE and UNSUBSCRIBE have \
              a filter and an identifier. They keep to it; we use another's reader for them, and only where a test plays \
              the broker: the session ends the connection, whatever is in such a packet.",
        applies: |version, bytes, ours, theirs| {
            version == Version::V311 && ours.is_ok() && theirs.is_err() && matches!(bytes[0] >> 4, 1 | 8 | 10)
        },
        example: (Version::V311, &[0xa2, 2, 0, 1]),
    },
    Difference {
        name: "zero characters",
        why: "MQTT 5 section 1.5.4 (MQTT-1.5.4-2): a text must not have U+0000 in it. We keep to it; they let it pass.",
        applies: |version, _, ours, _| version == Version::V5 && is_refused_for(ours, &["a zero character"]),
        example: (Version::V5, &[0xe0, 6, 0x81, 4, 0x1f, 0, 1, 0]),
    },
    Difference {
        name: "long lengths",
        why: "MQTT 5 section 1.5.5 (MQTT-1.5.5-1): a variable byte integer takes as few bytes as it needs. We keep to it; \
              they let it pass.",
        applies: |version, _, ours, _| {
            version == Version::V5 && is_refused_for(ours, &["more bytes than it needs"])
        },
        example: (Version::V5, &[0x20, 4, 0, 0, 0x80, 0]),
    },
    Difference {
        name: "flags of CONNECT",
        why: "MQTT 3.1.1 section 3.1.2.6 (MQTT-3.1.2-13 to -15), MQTT 5 section 3.1.2.3 (MQTT-3.1.2-3, -11 to -13): a will has no \
              quality of service 3, the lowest bit is zero, and so are quality of service and \
              retain of a will that is not there. We keep to it; they let it pass.",
        applies: |_, bytes, ours, _| {
            let reasons = [
                "CONNECT has flags",
                "Incorrect packet format",
                "QoS level: 3",
                "a will has the quality of service 3",
            ];
            bytes[0] >> 4 == 1 && is_refused_for(ours, &reasons)
        },
        example: (Version::V5, &[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 5, 1, 0, 60, 0, 0, 0]),
    },
    Difference {
        name: "flags of CONNACK",
        why: "MQTT 5 section 3.2.2.1 (MQTT-3.2.2-1, -6): all bits but the lowest are zero, and so is that with a refusal. \
              We keep to it; they let it pass.",
        applies: |version, _, ours, _| version == Version::V5 && is_refused_for(ours, &["CONNACK has flags"]),
        example: (Version::V5, &[0x20, 3, 1, 0x87, 0]),
    },
    Difference {
        name: "a refusal in 3.1.1",
        why: "MQTT 3.1.1 section 3.1.2.2 (MQTT-3.1.2-2): a broker that does not know MQTT 5 answers with the return code 1 \
              of 3.1.1, without properties. It is not of MQTT 5, and they take it for malformed; we understand it, \
              since a session falls back to 3.1.1 then.",
        applies: |version, _, ours, theirs| {
            version == Version::V5
                && theirs.is_err()
                && matches!(ours, Ok(Packet::ConnAck(false, 1..=5, None)))
        },
        example: (Version::V5, &[0x20, 2, 0, 1]),
    },
    Difference {
        name: "DUP at QoS 0",
        why: "MQTT 5 section 3.3.1.1 (MQTT-3.3.1-2): a message at QoS 0 is never a second one. We keep to it; they let it \
              pass.",
        applies: |version, _, ours, _| {
            version == Version::V5 && is_refused_for(ours, &["that it was sent before"])
        },
        example: (Version::V5, &[0x38, 4, 0, 1, b't', 0]),
    },
    Difference {
        name: "a PUBLISH without properties",
        why: "MQTT 5 section 3.3.2.3.1: the length of the properties is there, if it is zero. We keep to it; they let a \
              PUBLISH end before it.",
        applies: |version, bytes, ours, _| {
            version == Version::V5 && bytes[0] >> 4 == 3 && is_refused_for(ours, &["a packet ends too early"])
        },
        example: (Version::V5, &[0x30, 3, 0, 1, b't']),
    },
    Difference {
        name: "topic aliases",
        why: "MQTT 5 section 3.3.2.3.4 (MQTT-3.3.2-9): a broker sends no alias to a client that has not said how many it \
              takes, and we do not. They would take it, if their connection allowed it.",
        applies: |version, _, ours, _| version == Version::V5 && is_refused_for(ours, &["has a topic alias"]),
        example: (Version::V5, &[0x30, 7, 0, 1, b't', 3, 0x23, 0, 1]),
    },
    Difference {
        name: "response topics",
        why: "MQTT 5 section 3.3.2.3.5 (MQTT-3.3.2-14) and section 4.7.3: it is a topic, without wildcards and not empty. We \
              keep to it; they let it pass.",
        applies: |version, _, ours, _| {
            version == Version::V5 && is_refused_for(ours, &["a response topic is"])
        },
        example: (Version::V5, &[0x30, 8, 0, 1, b't', 4, 8, 0, 1, b'#']),
    },
    Difference {
        name: "authentication",
        why: "MQTT 5 section 4.12 (MQTT-4.12.0-6): a client that has not asked for an extended authentication gets none. We \
              refuse a CONNACK with its properties; they could have asked for it.",
        applies: |version, _, ours, _| {
            version == Version::V5 && is_refused_for(ours, &["authentication that was not"])
        },
        example: (Version::V5, &[0x20, 7, 0, 0, 4, 0x15, 0, 1, b'x']),
    },
    Difference {
        name: "names of shared subscriptions",
        why: "MQTT 5 section 4.8.2 (MQTT-4.8.2-1, -2): after $share comes a name without wildcards, and a filter. They look \
              when a SUBSCRIBE is read; we look before we ask for one, and read it only where a test plays the broker.",
        applies: |version, _, ours, theirs| {
            let shared = |(filter, _): &(String, _)| filter.starts_with("$share/");
            version == Version::V5
                && theirs.is_err()
                && matches!(ours, Ok(Packet::Subscribe(_, filters)) if filters.iter().any(shared))
        },
        example: (Version::V5, &[0x82, 13, 0, 1, 0, 0, 7, b'$', b's', b'h', b'a', b'r', b'e', b'/', 0]),
    },
];

fn has_reserved_flags(bytes: &[u8]) -> bool {
    let (kind, flags) = (bytes[0] >> 4, bytes[0] & 15);
    kind != 3 && flags != if matches!(kind, 6 | 8 | 10) { 2 } else { 0 }
}

fn is_refused_for(outcome: &Outcome, reasons: &[&str]) -> bool {
    matches!(outcome, Err(error) if reasons.iter().any(|reason| error.contains(reason)))
}

fn id(outcome: &Outcome) -> Option<PacketId> {
    match outcome {
        Ok(Packet::Publish(_, id)) => *id,
        Ok(
            Packet::SubAck(id, ..)
            | Packet::UnsubAck(id, _)
            | Packet::Subscribe(id, _)
            | Packet::Unsubscribe(id, _),
        ) => Some(*id),
        _ => None,
    }
}
