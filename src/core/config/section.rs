//! A section as it stands in the file, and its way into a structure.

use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, MapAccess, Visitor};

use super::fields::{Fields, Takes};
use super::suggest::nearest;

/// The value of one key. `Debug` shows the kind only, because the value may be a secret.
#[derive(Clone, PartialEq)]
pub enum Setting {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Another number.
    Float(f64),
    /// A text.
    Text(String),
    /// Anything else, by the name of its kind: "a list", "a date".
    Other(String),
}

impl Setting {
    /// What kind of value this is, for an error sentence.
    pub(super) fn kind(&self) -> &str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false (YAML reads yes, no, on and off as such)",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::Text(_) => "a text",
            Self::Other(kind) => kind,
        }
    }
}

impl fmt::Debug for Setting {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Setting({})", self.kind())
    }
}

/// One line of a section.
#[derive(Clone, Debug)]
struct Entry {
    key: String,
    value: Setting,
    /// The tag that the value comes from, such as `!env NAME`. Such a value is in no sentence.
    origin: Option<String>,
}

/// The keys and values of one section, in the order of the file.
#[derive(Clone, Debug, Default)]
pub struct Section(Vec<Entry>);

impl Section {
    /// Adds a key.
    pub fn push(&mut self, key: impl Into<String>, value: Setting) {
        self.0.push(Entry { key: key.into(), value, origin: None });
    }

    /// Adds a key whose value comes from the tag `origin`, such as `!secret NAME`. The value is never shown. A text
    /// from the environment is read as what the field takes, because it cannot say what it is.
    pub fn push_hidden(&mut self, key: impl Into<String>, value: Setting, origin: impl Into<String>) {
        self.0.push(Entry { key: key.into(), value, origin: Some(origin.into()) });
    }

    /// The keys that the file sets.
    pub(super) fn given(&self) -> HashSet<String> {
        self.0.iter().map(|entry| entry.key.clone()).collect()
    }

    /// Makes the structure, and tells all that is wrong: keys that are missing or wrong keep their defaults.
    /// `contradiction` looks at the whole, where each key alone is right.
    pub(super) fn read_all<T: DeserializeOwned + Default + Fields>(
        mut self,
        contradiction: impl Fn(&T) -> Option<SectionError>,
    ) -> (T, Vec<SectionError>) {
        let mut errors: Vec<SectionError> = Vec::new();
        loop {
            let entries =
                Entries::<T> { rest: self.0.clone().into_iter(), current: None, section: PhantomData };
            match T::deserialize(de::value::MapAccessDeserializer::new(entries)) {
                Ok(section) => {
                    if errors.is_empty() {
                        errors.extend(contradiction(&section));
                    }
                    return (section, errors);
                }
                Err(error) => {
                    let before = self.0.len();
                    self.0.retain(|entry| entry.key != error.key);
                    errors.push(error);
                    if self.0.len() == before {
                        return (T::default(), errors);
                    }
                }
            }
        }
    }
}

/// Why a section is refused: the key that is to blame, and a sentence that says what is wrong and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct SectionError {
    /// The key; empty where none is to blame.
    pub key: String,
    /// Whether it is the key that is wrong (an unknown one), not its value.
    pub in_key: bool,
    /// What is wrong, and what to do.
    pub message: String,
}

impl SectionError {
    /// An error about the value of a key.
    pub(super) fn value(key: &str, message: impl Into<String>) -> Self {
        Self { key: key.into(), in_key: false, message: message.into() }
    }
}

impl de::Error for SectionError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::value("", message.to_string())
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let advice = match nearest(field, expected.iter().copied()) {
            Some(name) => format!("did you mean '{name}'?"),
            None => format!("remove it; known are {}", expected.join(", ")),
        };
        Self { key: field.into(), in_key: true, message: format!("unknown key '{field}'; {advice}") }
    }
}

/// Hands the entries to serde one by one, and puts the key into what goes wrong with a value.
struct Entries<T> {
    rest: std::vec::IntoIter<Entry>,
    current: Option<Entry>,
    section: PhantomData<T>,
}

impl<'de, T: Fields> MapAccess<'de> for Entries<T> {
    type Error = SectionError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, SectionError> {
        self.current = self.rest.next();
        self.current
            .as_ref()
            .map(|entry| seed.deserialize(entry.key.as_str().into_deserializer()))
            .transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, SectionError> {
        let Entry { key, value, origin } = self
            .current
            .take()
            .ok_or_else(|| <SectionError as de::Error>::custom("a value without a key"))?;
        let Some(origin) = origin else {
            return seed.deserialize(Value(value)).map_err(|error| SectionError { key, ..error });
        };
        let takes = T::takes(&key);
        let value = match (value, takes) {
            (Setting::Text(text), Some(takes)) if origin.starts_with("!env") => from_outside(text, takes),
            (value, _) => value,
        };
        seed.deserialize(Value(value)).map_err(|_| {
            let wanted = takes.map_or_else(|| "another value".to_owned(), |takes| takes.to_string());
            SectionError::value(
                &key,
                format!("what '{origin}' gives cannot be used here; {wanted} is needed"),
            )
        })
    }
}

/// A text that cannot say what it is, as what is wanted.
fn from_outside(text: String, takes: Takes) -> Setting {
    let word = text.trim();
    if word.is_empty() && !matches!(takes, Takes::Text) {
        return Setting::Null;
    }
    let read = match takes {
        Takes::Text | Takes::OneOf(_) | Takes::Protocol => None,
        Takes::Whole(_) => word.parse().ok().map(Setting::Int),
        Takes::Seconds => word.parse().ok().map(Setting::Float),
        Takes::Truth => match word.to_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Some(Setting::Bool(true)),
            "false" | "no" | "off" | "0" => Some(Setting::Bool(false)),
            _ => None,
        },
    };
    read.unwrap_or(Setting::Text(text))
}

struct Value(Setting);

impl<'de> de::Deserializer<'de> for Value {
    type Error = SectionError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SectionError> {
        match self.0 {
            Setting::Null => visitor.visit_unit(),
            Setting::Bool(truth) => visitor.visit_bool(truth),
            Setting::Int(number) => visitor.visit_i64(number),
            Setting::Float(number) => visitor.visit_f64(number),
            Setting::Text(text) => visitor.visit_string(text),
            // No visitor takes a newtype: whatever the field, the sentence names the kind.
            Setting::Other(kind) => Err(de::Error::custom(Kind(kind))),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct Kind(String);

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "a single value is needed here, not {}", self.0)
    }
}
