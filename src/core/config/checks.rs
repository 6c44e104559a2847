//! What each field takes, and the sentence for what it does not.
//!
//! Sentences never show the value of a text that may be a secret; numbers and names are shown.

use std::fmt::Display;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use super::fields::{Names, Whole};
use super::section::Setting;
use super::suggest::nearest;
use super::{
    AT_LEAST_ONE, BIND_PORT, Broker, CERT_REQS, KEEPALIVE, LONGEST_DELAY, MINIMUM_VERSIONS, PORT, Protocol,
    SESSION_EXPIRY, TLS_VERSIONS, TRANSPORTS, Transport,
};

impl<'de> Deserialize<'de> for Setting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnySetting)
    }
}

struct AnySetting;

impl Visitor<'_> for AnySetting {
    type Value = Setting;

    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("a single value")
    }

    fn visit_unit<E>(self) -> Result<Setting, E> {
        Ok(Setting::Null)
    }

    fn visit_none<E>(self) -> Result<Setting, E> {
        Ok(Setting::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Setting, E> {
        Ok(Setting::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Setting, E> {
        Ok(Setting::Int(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Setting, E> {
        Ok(i64::try_from(number).map_or_else(|_| Setting::Other("a number that large".into()), Setting::Int))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Setting, E> {
        Ok(Setting::Float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Setting, E> {
        Ok(Setting::Text(text.into()))
    }

    fn visit_string<E>(self, text: String) -> Result<Setting, E> {
        Ok(Setting::Text(text))
    }
}

/// The value, or `None` where nothing is set: null, or the text "None" as in the 1.x example.
fn set<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Setting>, D::Error> {
    Ok(match Setting::deserialize(deserializer)? {
        Setting::Null => None,
        Setting::Text(text) if text == "None" => None,
        setting => Some(setting),
    })
}

fn wrong_kind<E: de::Error>(wanted: impl Display, setting: &Setting) -> E {
    let advice = match setting {
        Setting::Text(_) => "; write it without quotes",
        _ => "",
    };
    E::custom(format!("{wanted} is needed here, not {}{advice}", setting.kind()))
}

pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    set(deserializer)?.map(a_text).transpose()
}

/// A text where "None" is one like any other: a user may be called so.
pub(super) fn plain_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    match Setting::deserialize(deserializer)? {
        Setting::Null => Ok(None),
        setting => a_text(setting).map(Some),
    }
}

fn a_text<E: de::Error>(setting: Setting) -> Result<String, E> {
    match setting {
        Setting::Text(text) => Ok(text),
        Setting::Bool(_) | Setting::Int(_) | Setting::Float(_) => Err(E::custom(format!(
            "a text is needed here, and YAML reads this as {}; put it in quotes",
            setting.kind()
        ))),
        other => Err(wrong_kind("a text", &other)),
    }
}

pub(super) fn host<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let Some(host) = text(deserializer)? else { return Ok(Broker::default().host) };
    if host.trim().is_empty() {
        return Err(de::Error::custom(
            "the host is empty; write the name or the address of the broker, or remove the key",
        ));
    }
    if let Some((scheme, _)) = host.split_once("://") {
        let problem = format!(
            "the host must be a name or an address, without '{scheme}://'; the port goes into 'port'"
        );
        return Err(de::Error::custom(problem));
    }
    Ok(host)
}

/// A whole number in a range; `None` where nothing is set.
fn whole<'de, D: Deserializer<'de>>(
    deserializer: D,
    what: &str,
    range: Whole,
) -> Result<Option<i64>, D::Error> {
    match set(deserializer)? {
        None => Ok(None),
        Some(Setting::Int(number)) if range.contains(number) => Ok(Some(number)),
        Some(Setting::Int(number)) => {
            Err(de::Error::custom(format!("{what} cannot be {number}; write a whole number from {range}")))
        }
        Some(Setting::Float(number)) => {
            Err(de::Error::custom(format!("{what} cannot be {number}; write a whole number from {range}")))
        }
        Some(other) => Err(wrong_kind(format!("a whole number from {range}"), &other)),
    }
}

fn u16_of(number: i64) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

pub(super) fn port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    Ok(whole(deserializer, "the port", PORT)?.map(u16_of))
}

pub(super) fn keepalive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    Ok(whole(deserializer, "the keepalive in seconds", KEEPALIVE)?
        .map_or(Broker::default().keepalive, u16_of))
}

pub(super) fn bind_port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    Ok(whole(deserializer, "the local port", BIND_PORT)?.map_or(0, u16_of))
}

pub(super) fn queued_messages<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = whole(deserializer, "the number of messages", AT_LEAST_ONE)?;
    Ok(number.map_or(Broker::default().max_queued_messages, i64::unsigned_abs))
}

pub(super) fn queued_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = whole(deserializer, "the number of bytes", AT_LEAST_ONE)?;
    Ok(number.map_or(Broker::default().max_queued_bytes, i64::unsigned_abs))
}

pub(super) fn session_expiry<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let seconds = whole(deserializer, "the expiry of the session in seconds", SESSION_EXPIRY)?;
    Ok(seconds.map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX)))
}

fn delay<'de, D: Deserializer<'de>>(deserializer: D, default: f64) -> Result<f64, D::Error> {
    #[expect(clippy::cast_precision_loss, reason = "no delay comes near 2^53 seconds")]
    let seconds = match set(deserializer)? {
        None => return Ok(default),
        Some(Setting::Int(number)) => number as f64,
        Some(Setting::Float(number)) => number,
        Some(other) => return Err(wrong_kind("a number of seconds", &other)),
    };
    if seconds > 0.0 && seconds <= LONGEST_DELAY {
        return Ok(seconds);
    }
    Err(de::Error::custom(format!(
        "a delay cannot be {seconds} s; write a number of seconds over 0, at most {LONGEST_DELAY}"
    )))
}

pub(super) fn delay_min<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    delay(deserializer, Broker::default().reconnect_delay_min)
}

pub(super) fn delay_max<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    delay(deserializer, Broker::default().reconnect_delay_max)
}

pub(super) fn optional_truth<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    match set(deserializer)? {
        None => Ok(None),
        Some(Setting::Bool(truth)) => Ok(Some(truth)),
        Some(other) => Err(wrong_kind("true or false", &other)),
    }
}

pub(super) fn truth<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(optional_truth(deserializer)?.unwrap_or(false))
}

/// YAML reads `3.1.1` as a text, `5` as an integer, `5.0` as a float: each is taken, and 4, the version on the wire.
pub(super) fn protocol<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Protocol, D::Error> {
    let Some(setting) = set(deserializer)? else { return Ok(Protocol::default()) };
    let name = match &setting {
        Setting::Int(number) => number.to_string(),
        Setting::Float(number) => number.to_string(),
        Setting::Text(name) => name.to_lowercase(),
        other => return Err(wrong_kind("3.1.1, 5 or auto", other)),
    };
    match name.as_str() {
        "3.1.1" | "311" | "4" => Ok(Protocol::V311),
        "5" | "5.0" => Ok(Protocol::V5),
        "auto" => Ok(Protocol::Auto),
        _ => {
            Err(de::Error::custom(format!("there is no MQTT protocol '{name}' here; write 3.1.1, 5 or auto")))
        }
    }
}

/// One of some names; the sentence for another one suggests the nearest.
fn name<E: de::Error>(setting: &Setting, what: &str, names: Names) -> Result<&'static str, E> {
    let wanted = names.join(", ");
    let Setting::Text(given) = setting else { return Err(wrong_kind(format!("one of {wanted}"), setting)) };
    if let Some(name) = names.iter().find(|name| *name == given) {
        return Ok(name);
    }
    let suggestion = nearest(given, names.iter().copied()).map(|name| format!("did you mean {name}?"));
    let advice = suggestion.unwrap_or_else(|| format!("write one of {wanted}"));
    Err(E::custom(format!("'{given}' is no {what}; {advice}")))
}

pub(super) fn transport<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Transport, D::Error> {
    let Some(setting) = set(deserializer)? else { return Ok(Transport::default()) };
    Ok(match name(&setting, "transport", TRANSPORTS)? {
        "websockets" => Transport::Websockets,
        "unix" => Transport::Unix,
        _ => Transport::Tcp,
    })
}

pub(super) fn cert_reqs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let setting = set(deserializer)?;
    setting.map(|setting| name(&setting, "certificate requirement", CERT_REQS).map(str::to_owned)).transpose()
}

pub(super) fn tls_version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let setting = set(deserializer)?;
    setting.map(|setting| name(&setting, "TLS version", TLS_VERSIONS).map(str::to_owned)).transpose()
}

pub(super) fn minimum_version<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    let setting = set(deserializer)?;
    setting.map(|setting| name(&setting, "TLS version", MINIMUM_VERSIONS).map(str::to_owned)).transpose()
}
