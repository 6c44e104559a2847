//! The JSON Schema of the configuration file, for editors, from the tables of the fields.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::fields::{Field, Fields, Takes};
use super::{Auth, Broker, LONGEST_DELAY, Protocol, Tls, Transport};

/// A value of JSON. The keys of an object keep their order.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// null
    Null,
    /// true or false
    Bool(bool),
    /// A whole number
    Int(i64),
    /// Another number
    Float(f64),
    /// A text
    Text(String),
    /// A list
    List(Vec<Json>),
    /// An object
    Object(Vec<(&'static str, Json)>),
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_none(),
            Self::Bool(truth) => serializer.serialize_bool(*truth),
            Self::Int(number) => serializer.serialize_i64(*number),
            Self::Float(number) => serializer.serialize_f64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => items.serialize(serializer),
            Self::Object(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

macro_rules! json_from {
    ($($type:ty: $name:ident => $value:expr;)+) => {
        $(impl From<$type> for Json {
            fn from($name: $type) -> Self {
                $value
            }
        })+
    };
}

json_from! {
    bool: truth => Self::Bool(truth);
    i64: number => Self::Int(number);
    u16: number => Self::Int(number.into());
    u32: number => Self::Int(number.into());
    u64: number => i64::try_from(number).map_or(Self::Null, Self::Int);
    f64: number => Self::Float(number);
    String: text => Self::Text(text);
    &str: text => Self::Text(text.into());
    Vec<Json>: items => Self::List(items);
    Protocol: protocol => Self::from(match protocol {
        Protocol::V311 => "3.1.1",
        Protocol::V5 => "5",
        Protocol::Auto => "auto",
    });
    Transport: transport => Self::from(match transport {
        Transport::Tcp => "tcp",
        Transport::Websockets => "websockets",
        Transport::Unix => "unix",
    });
}

impl<T: Into<Self>> From<Option<T>> for Json {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// The JSON Schema (draft 2020-12) of the configuration file.
pub fn schema() -> Json {
    let prefix = "The topic under which Home Assistant looks for devices. Default: homeassistant";
    let services =
        "A section for each service, under its SERVICE_NAME: `data_topic`, and whatever the service reads.";
    Json::Object(vec![
        ("$schema", "https://json-schema.org/draft/2020-12/schema".into()),
        ("title", "Configuration of miqro services".into()),
        ("type", kinds("object")),
        (
            "properties",
            Json::Object(vec![
                ("broker", section::<Broker>()),
                ("auth", section::<Auth>()),
                ("tls", section::<Tls>()),
                ("log_level", log_level()),
                (
                    "ha_discovery_prefix",
                    Json::Object(vec![
                        ("description", prefix.into()),
                        ("type", kinds("string")),
                        ("pattern", "^[^+#]+$".into()),
                    ]),
                ),
                (
                    "services",
                    Json::Object(vec![
                        ("description", services.into()),
                        ("type", kinds("object")),
                        ("additionalProperties", service()),
                    ]),
                ),
            ]),
        ),
    ])
}

/// A kind of value, or nothing.
fn kinds(kind: &str) -> Json {
    Json::List(vec![kind.into(), "null".into()])
}

fn log_level() -> Json {
    let names = "^([Cc][Rr][Ii][Tt][Ii][Cc][Aa][Ll]|[Ff][Aa][Tt][Aa][Ll]|[Ee][Rr][Rr][Oo][Rr]|[Ww][Aa][Rr][Nn]([Ii][Nn][Gg])?\
                 |[Ii][Nn][Ff][Oo]|[Dd][Ee][Bb][Uu][Gg]|[Nn][Oo][Tt][Ss][Ee][Tt])$";
    let meaning = "What is logged: DEBUG, INFO, WARNING, ERROR or CRITICAL, or the number of a level.";
    Json::Object(vec![
        ("description", meaning.into()),
        ("type", Json::List(vec!["string".into(), "integer".into(), "null".into()])),
        ("pattern", names.into()),
        ("minimum", 0_i64.into()),
    ])
}

fn service() -> Json {
    let meaning = "What the topics of the service begin with. Default: service/<SERVICE_NAME>/";
    let topic = Json::Object(vec![
        ("description", meaning.into()),
        ("type", kinds("string")),
        ("pattern", "^[^+#]+$".into()),
    ]);
    Json::Object(vec![("type", kinds("object")), ("properties", Json::Object(vec![("data_topic", topic)]))])
}

fn section<T: Fields>() -> Json {
    let properties = T::fields().into_iter().map(|field| (field.name, property(field))).collect();
    Json::Object(vec![
        ("description", text(T::MEANING).into()),
        ("type", kinds("object")),
        ("properties", Json::Object(properties)),
        ("additionalProperties", false.into()),
    ])
}

fn text(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

fn property(field: Field) -> Json {
    let mut entries = vec![("description", text(field.meaning).into())];
    if field.default != Json::Null {
        entries.push(("default", field.default));
    }
    // The text "None" stands for nothing, as in the example of 1.x.
    let or_nothing =
        |names: Vec<Json>| Json::List(names.into_iter().chain(["None".into(), Json::Null]).collect());
    let kind = |name, limits| {
        let kind = Json::Object([("type", Json::from(name))].into_iter().chain(limits).collect());
        let nothing = Json::Object(vec![("enum", or_nothing(Vec::new()))]);
        ("anyOf", Json::List(vec![kind, nothing]))
    };
    entries.push(match field.takes {
        Takes::Text => ("type", kinds("string")),
        Takes::Whole(range) => {
            let most = (range.most < i64::MAX).then(|| ("maximum", range.most.into()));
            kind("integer", [("minimum", range.least.into())].into_iter().chain(most).collect::<Vec<_>>())
        }
        Takes::Seconds => {
            kind("number", vec![("exclusiveMinimum", 0_i64.into()), ("maximum", LONGEST_DELAY.into())])
        }
        Takes::Truth => kind("boolean", Vec::new()),
        Takes::OneOf(names) => ("enum", or_nothing(names.iter().map(|name| (*name).into()).collect())),
        Takes::Protocol => {
            ("enum", or_nothing(vec!["3.1.1".into(), "5".into(), "auto".into(), 4_i64.into(), 5_i64.into()]))
        }
    });
    Json::Object(entries)
}
