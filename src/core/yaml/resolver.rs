//! What a plain scalar is by its look: the implicit types of YAML 1.1, in PyYAML's reading of them.

use super::tag::Tag;
use super::timestamp::Parts;

/// The type of a plain scalar.
pub(super) fn resolve(text: &str) -> Tag {
    let Some(first) = text.bytes().next() else { return Tag::Null };
    if !matches!(first, b'0'..=b'9' | b'+' | b'-' | b'.' | b'~' | b'<' | b'=' | b'!' | b'&' | b'*')
        && !matches!(first, b'y' | b'Y' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'o' | b'O')
    {
        return Tag::Str;
    }
    // PyYAML's patterns end in `$`, which also matches before a line break at the end.
    let text = text.strip_suffix('\n').unwrap_or(text);
    match first {
        b'0'..=b'9' | b'+' | b'-' | b'.' => numeric(text),
        b'~' if text == "~" => Tag::Null,
        b'<' if text == "<<" => Tag::Merge,
        b'=' if text == "=" => Tag::Value,
        b'!' | b'&' | b'*' if text.len() == 1 => Tag::Other("tag:yaml.org,2002:yaml".into()),
        _ => word(text),
    }
}

fn word(text: &str) -> Tag {
    match text {
        "null" | "Null" | "NULL" => Tag::Null,
        "yes" | "Yes" | "YES" | "no" | "No" | "NO" | "true" | "True" | "TRUE" | "false" | "False"
        | "FALSE" | "on" | "On" | "ON" | "off" | "Off" | "OFF" => Tag::Bool,
        _ => Tag::Str,
    }
}

fn numeric(text: &str) -> Tag {
    let bytes = text.as_bytes();
    let signed = matches!(bytes.first(), Some(b'+' | b'-'));
    let unsigned = &bytes[usize::from(signed)..];
    if is_int(unsigned) {
        Tag::Int
    } else if is_float(unsigned, signed) {
        Tag::Float
    } else if !signed && Parts::scan(text).is_some_and(|parts| parts.is_implicit()) {
        Tag::Timestamp
    } else {
        Tag::Str
    }
}

fn is_int(text: &[u8]) -> bool {
    match text {
        [b'0'] => true,
        [b'0', b'b', digits @ ..] => some_of(digits, |byte| matches!(byte, b'0' | b'1' | b'_')),
        [b'0', b'x', digits @ ..] => some_of(digits, |byte| byte.is_ascii_hexdigit() || byte == b'_'),
        [b'0', digits @ ..] => some_of(digits, |byte| matches!(byte, b'0'..=b'7' | b'_')),
        [b'1'..=b'9', rest @ ..] => {
            let digits = span(rest, |byte| byte.is_ascii_digit() || byte == b'_');
            after_sixties(&rest[digits..]).is_some_and(<[u8]>::is_empty)
        }
        _ => false,
    }
}

fn is_float(text: &[u8], signed: bool) -> bool {
    let digit_or_underscore = |byte: u8| byte.is_ascii_digit() || byte == b'_';
    match text {
        b".inf" | b".Inf" | b".INF" => true,
        b".nan" | b".NaN" | b".NAN" => !signed,
        [b'.', b'0'..=b'9', rest @ ..] => !signed && is_exponent(&rest[span(rest, digit_or_underscore)..]),
        [b'0'..=b'9', rest @ ..] => {
            let rest = &rest[span(rest, digit_or_underscore)..];
            match rest {
                [b'.', rest @ ..] => is_exponent(&rest[span(rest, digit_or_underscore)..]),
                [b':', ..] => match after_sixties(rest) {
                    Some([b'.', rest @ ..]) => rest.iter().all(|byte| digit_or_underscore(*byte)),
                    _ => false,
                },
                _ => false,
            }
        }
        _ => false,
    }
}

/// Nothing, or an exponent: `e`, a sign, digits.
fn is_exponent(text: &[u8]) -> bool {
    match text {
        [] => true,
        [b'e' | b'E', b'+' | b'-', digits @ ..] => some_of(digits, |byte| byte.is_ascii_digit()),
        _ => false,
    }
}

/// What follows any number of `:59` groups; `None` if a group is malformed.
fn after_sixties(mut text: &[u8]) -> Option<&[u8]> {
    while let [b':', rest @ ..] = text {
        text = match rest {
            [b'0'..=b'5', b'0'..=b'9', rest @ ..] | [b'0'..=b'9', rest @ ..] => rest,
            _ => return None,
        };
    }
    Some(text)
}

fn some_of(text: &[u8], allowed: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.iter().all(|byte| allowed(*byte))
}

fn span(text: &[u8], allowed: impl Fn(u8) -> bool) -> usize {
    text.iter().take_while(|byte| allowed(**byte)).count()
}
