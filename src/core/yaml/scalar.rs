//! From the text of a scalar to its value, by its tag.

use super::node::Value;
use super::number;
use super::tag::Tag;
use super::timestamp::{Moment, Parts};

/// The value of a scalar, or `None` where the text is none of its type. Tags of collections, and tags without a
/// constructor, are not asked about.
pub(super) fn scalar(tag: &Tag, text: String) -> Option<Value> {
    match tag {
        Tag::Str => Some(Value::Str(text)),
        Tag::Null => Some(Value::Null),
        Tag::Bool => boolean(&text).map(Value::Bool),
        Tag::Int => number::yaml_int(&text).map(Value::Int),
        Tag::Float => number::yaml_float(&text).map(Value::Float),
        Tag::Complex => number::complex(&text).map(|(real, imaginary)| Value::Complex(real, imaginary)),
        Tag::Binary => base64(&text).map(Value::Bytes),
        Tag::Timestamp => Parts::scan(&text)?.moment().map(moment),
        _ => None,
    }
}

fn moment(moment: Moment) -> Value {
    match moment {
        Moment::Date(date) => Value::Date(date),
        Moment::DateTime(time) => Value::DateTime(time),
    }
}

impl Value {
    /// The date or time of a text in ISO form, as Python's `isoformat` writes it; `None` where YAML 1.1 would not
    /// read the text back as one (a UTC offset with seconds).
    pub fn from_isoformat(text: &str) -> Option<Self> {
        let parts = Parts::scan(text)?;
        if parts.is_implicit() { parts.moment().map(moment) } else { None }
    }
}

/// The words are those of YAML 1.1; the case of an explicitly tagged one does not matter.
fn boolean(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "yes" | "true" | "on" => Some(true),
        "no" | "false" | "off" => Some(false),
        _ => None,
    }
}

/// Base 64 in Python's lenient reading: other characters are skipped, what follows the padding is ignored.
fn base64(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut position, mut left, mut padding) = (0_u8, 0_u8, 0_u8);
    for byte in text.bytes() {
        let six = match byte {
            b'=' => {
                if position >= 2 {
                    padding += 1;
                    if position + padding >= 4 {
                        return Some(bytes);
                    }
                }
                continue;
            }
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => continue,
        };
        padding = 0;
        match position {
            0 => left = six,
            1 => {
                bytes.push(left << 2 | six >> 4);
                left = six & 0x0f;
            }
            2 => {
                bytes.push(left << 4 | six >> 2);
                left = six & 0x03;
            }
            _ => bytes.push(left << 6 | six),
        }
        position = (position + 1) % 4;
    }
    (position == 0).then_some(bytes)
}

/// Base 64 as Python's `base64.encodebytes` writes it: lines of 76 characters, a line break after each.
pub(super) fn base64_text(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len() / 3 * 4 + bytes.len() / 57 + 5);
    for line in bytes.chunks(57) {
        for group in line.chunks(3) {
            let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
            let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
            for place in 0..4 {
                let six = (bits >> (18 - 6 * place)) & 63;
                text.push(if place > group.len() { '=' } else { char::from(ALPHABET[six as usize]) });
            }
        }
        text.push('\n');
    }
    text
}
