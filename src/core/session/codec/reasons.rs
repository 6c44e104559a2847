//! The reason codes of MQTT 5, in words for the person who has to act (section 2.4), and those of 3.1.1.

use super::super::packet::Reason;

/// The codes that may come, by the packet that carries them. Others make the packet malformed.
pub(super) fn is_known(packet: u8, code: u8) -> bool {
    match packet {
        // CONNACK
        2 => matches!(code, 0 | 0x80..=0x8A | 0x8C | 0x90 | 0x95 | 0x97 | 0x99..=0x9D | 0x9F),
        // PUBACK, PUBREC
        4 | 5 => matches!(code, 0 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99),
        // PUBREL, PUBCOMP
        6 | 7 => matches!(code, 0 | 0x92),
        // SUBACK
        9 => matches!(code, 0..=2 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91 | 0x97 | 0x9E | 0xA1 | 0xA2),
        // UNSUBACK
        11 => matches!(code, 0 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91),
        // DISCONNECT
        14 => matches!(
            code,
            0 | 4 | 0x80..=0x83 | 0x87 | 0x89 | 0x8B | 0x8D..=0x90 | 0x93..=0xA2
        ),
        _ => code == 0,
    }
}

/// What a reason code of MQTT 5 means.
pub fn in_words(code: u8) -> &'static str {
    match code {
        0x00 => "success",
        0x04 => "disconnected, with the will",
        0x10 => "nobody has subscribed",
        0x11 => "there was no such subscription",
        0x80 => "it does not say why",
        0x81 => "a packet was malformed",
        0x82 => "the protocol was broken",
        0x83 => "the broker's implementation does not accept it",
        0x84 => "the broker does not speak this version of MQTT",
        0x85 => {
            "the broker does not allow this client id: set another one with `client_id` in the section `broker` \
             of the configuration"
        }
        0x86 => {
            "the broker says that the user name or the password is wrong: see the section `auth` of the \
             configuration"
        }
        0x87 => {
            "not authorized: check user name and password in the section `auth` of the configuration, and the \
             broker's access rules"
        }
        0x88 => "the broker says that it is not available at the moment",
        0x89 => "the broker is busy",
        0x8A => "the broker has banned this client",
        0x8B => "the broker shuts down",
        0x8C => "the broker does not know the authentication method",
        0x8D => "the broker has heard nothing from us for one and a half times the keepalive",
        0x8E => {
            "another client has connected with the same client id: stop it, or give one of them a `client_id` of \
             its own in the section `broker`"
        }
        0x8F => "the broker does not accept the topic filter",
        0x90 => "the broker does not accept the topic",
        0x91 => "the packet identifier is in use",
        0x92 => "the packet identifier is not known",
        0x93 => "more messages were under way than the broker takes",
        0x94 => "a topic alias is not valid",
        0x95 => "a packet is larger than the broker accepts",
        0x96 => "messages come too quickly",
        0x97 => "a quota of the broker is used up",
        0x98 => "it was ended by an administrator of the broker",
        0x99 => "the payload is not of the format that it claims",
        0x9A => "the broker keeps no messages (retain)",
        0x9B => "the broker does not support the quality of service",
        0x9C => "the broker asks to use another one for a time",
        0x9D => "the broker has moved",
        0x9E => "the broker does not support shared subscriptions",
        0x9F => "connections come too quickly",
        0xA0 => "the time that the broker allows a connection is over",
        0xA1 => "the broker does not support subscription identifiers",
        0xA2 => "the broker does not support subscriptions with wildcards",
        _ => "a reason that MQTT 5 does not know",
    }
}

impl Reason {
    /// The code in words, with those of the broker.
    pub fn in_words(&self) -> String {
        with_details(in_words(self.code), self.text.as_deref(), None)
    }
}

/// A sentence with the broker's own words, and the broker that it names instead of itself.
pub fn with_details(words: &str, text: Option<&str>, reference: Option<&str>) -> String {
    let reference = reference.map_or(String::new(), |reference| {
        format!("; it names {reference:?} instead: set `host` in the section `broker`")
    });
    let text = text.map_or(String::new(), |text| format!(" (the broker says: {text:?})"));
    format!("{words}{reference}{text}")
}

/// Why a CONNECT was refused, for the person who has to act: the return codes of MQTT 3.1.1 section 3.2.2.3, and
/// the reason codes of MQTT 5.
pub fn refusal_in_words(code: u8) -> String {
    match code {
        1 => "the broker does not speak MQTT 3.1.1".into(),
        2 => in_words(0x85).into(),
        3 => in_words(0x88).into(),
        4 => in_words(0x86).into(),
        5 => "the broker does not allow this client to connect: check user name and password in the section \
              `auth` of the configuration, and the broker's access rules"
            .into(),
        0x84 => {
            "the broker does not speak MQTT 5: set `protocol: 3.1.1`, or `auto`, in the section `broker` of \
                 the configuration"
                .into()
        }
        0x80.. => format!("the broker refused the connection: {}", in_words(code)),
        other => format!("the broker refused the connection with the unknown code {other}"),
    }
}
