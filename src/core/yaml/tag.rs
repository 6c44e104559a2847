//! The tags that PyYAML's `FullLoader` knows.

/// What a node is said to be, by its tag or by the resolver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    Null,
    Bool,
    Int,
    Float,
    Str,
    Binary,
    Timestamp,
    Seq,
    Map,
    Set,
    /// `!!omap` and `!!pairs`: both become a list of pairs.
    Pairs,
    Tuple,
    Complex,
    /// `<<`
    Merge,
    /// `=`, the default value of a mapping: a relic of YAML 1.1 that FullLoader still honours.
    Value,
    /// No constructor: an error where the node is used.
    Other(Box<str>),
}

impl Tag {
    /// From the full tag, as the parser gives it.
    pub(super) fn of(tag: &str) -> Self {
        let Some(name) = tag.strip_prefix("tag:yaml.org,2002:") else {
            return Self::Other(tag.into());
        };
        match name {
            "null" | "python/none" => Self::Null,
            "bool" | "python/bool" => Self::Bool,
            "int" | "python/int" | "python/long" => Self::Int,
            "float" | "python/float" => Self::Float,
            "str" | "python/str" | "python/unicode" => Self::Str,
            "binary" | "python/bytes" => Self::Binary,
            "timestamp" => Self::Timestamp,
            "seq" | "python/list" => Self::Seq,
            "map" | "python/dict" => Self::Map,
            "set" => Self::Set,
            "omap" | "pairs" => Self::Pairs,
            "python/tuple" => Self::Tuple,
            "python/complex" => Self::Complex,
            "merge" => Self::Merge,
            "value" => Self::Value,
            _ => Self::Other(tag.into()),
        }
    }

    /// The tag as a user writes it.
    pub(super) fn shorthand(&self) -> String {
        match self {
            Self::Null => "!!null".into(),
            Self::Bool => "!!bool".into(),
            Self::Int => "!!int".into(),
            Self::Float => "!!float".into(),
            Self::Str => "!!str".into(),
            Self::Binary => "!!binary".into(),
            Self::Timestamp => "!!timestamp".into(),
            Self::Seq => "!!seq".into(),
            Self::Map => "!!map".into(),
            Self::Set => "!!set".into(),
            Self::Pairs => "!!pairs".into(),
            Self::Tuple => "!!python/tuple".into(),
            Self::Complex => "!!python/complex".into(),
            Self::Merge => "!!merge".into(),
            Self::Value => "!!value".into(),
            Self::Other(tag) => match tag.strip_prefix("tag:yaml.org,2002:") {
                Some(name) => format!("!!{name}"),
                None => tag.to_string(),
            },
        }
    }
}
