//! What the fields of a section take: one table for the checks' sentences, for texts from outside, for the JSON Schema.

use std::fmt;

use super::schema::Json;

/// The names that a field takes.
pub(super) type Names = &'static [&'static str];

/// A range of whole numbers, both ends included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whole {
    pub(super) least: i64,
    /// `i64::MAX`: no end.
    pub(super) most: i64,
}

impl Whole {
    pub(super) fn contains(self, number: i64) -> bool {
        (self.least..=self.most).contains(&number)
    }
}

impl fmt::Display for Whole {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.most {
            i64::MAX => write!(out, "{} or more", self.least),
            most => write!(out, "{} to {most}", self.least),
        }
    }
}

/// What a field takes, besides nothing.
#[derive(Clone, Copy, Debug)]
pub(super) enum Takes {
    Text,
    Whole(Whole),
    /// Seconds over 0, at most [`LONGEST_DELAY`](super::LONGEST_DELAY).
    Seconds,
    Truth,
    OneOf(Names),
    /// A version of MQTT, as a number or a text.
    Protocol,
}

impl fmt::Display for Takes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => out.write_str("a text"),
            Self::Whole(range) => write!(out, "a whole number from {range}"),
            Self::Seconds => write!(out, "a number of seconds over 0, at most {}", super::LONGEST_DELAY),
            Self::Truth => out.write_str("true or false"),
            Self::OneOf(names) => write!(out, "one of {}", names.join(", ")),
            Self::Protocol => out.write_str("3.1.1, 5 or auto"),
        }
    }
}

/// A field of a section.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    /// The lines of its documentation.
    pub(super) meaning: &'static [&'static str],
    pub(super) takes: Takes,
    pub(super) default: Json,
}

/// A section whose fields are known.
pub(super) trait Fields {
    /// The lines of its documentation.
    const MEANING: &'static [&'static str];

    /// The fields, in the order of the documentation.
    fn fields() -> Vec<Field>;

    /// What a field takes; `None` for one that is not known.
    fn takes(name: &str) -> Option<Takes> {
        Self::fields().into_iter().find(|field| field.name == name).map(|field| field.takes)
    }
}

/// Makes the structure of a section, its defaults, and the table of its fields, from one list:
/// `name: type = default, "check", what it takes;`.
macro_rules! section {
    (
        $(#[doc = $meaning:literal])+
        $(#[derive($($derived:ident),+)])?
        pub struct $section:ident {
            $($(#[doc = $doc:literal])+ $field:ident: $type:ty = $default:expr, $check:literal, $takes:expr;)+
        }
    ) => {
        $(#[doc = $meaning])+
        $(#[derive($($derived),+)])?
        #[derive(Clone, PartialEq, Deserialize, Serialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $section {
            $($(#[doc = $doc])+ #[serde(deserialize_with = $check)] pub $field: $type,)+
        }

        impl Default for $section {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        impl fields::Fields for $section {
            const MEANING: &'static [&'static str] = &[$($meaning),+];

            fn fields() -> Vec<fields::Field> {
                let defaults = Self::default();
                vec![$(fields::Field {
                    name: stringify!($field),
                    meaning: &[$($doc),+],
                    takes: $takes,
                    default: Json::from(defaults.$field),
                },)+]
            }
        }
    };
}
pub(super) use section;
