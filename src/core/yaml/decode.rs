//! From bytes to text: UTF-8 or, with a byte order mark, UTF-16, as PyYAML decides it.

use std::borrow::Cow;

use super::error::YamlError;
use super::node::Mark;

/// The text without its byte order mark.
pub(super) fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, YamlError> {
    let wide: fn([u8; 2]) -> u16 = match bytes {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => {
            let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
            return match std::str::from_utf8(bytes) {
                Ok(text) => Ok(Cow::Borrowed(text)),
                Err(error) => {
                    let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
                    Err(broken(&before, "UTF-8"))
                }
            };
        }
    };
    let units = bytes[2..].chunks(2).map(|pair| match *pair {
        [first, second] => wide([first, second]),
        // Half a character at the end: an unpaired surrogate stands for it, and is refused below.
        _ => 0xd800,
    });
    let mut text = String::with_capacity(bytes.len());
    for character in char::decode_utf16(units) {
        match character {
            Ok(character) => text.push(character),
            Err(_) => return Err(broken(&text, "UTF-16")),
        }
    }
    Ok(Cow::Owned(text))
}

fn broken(before: &str, encoding: &str) -> YamlError {
    YamlError::at(
        mark_after(before),
        format!("the text is not valid {encoding}; save the file as UTF-8, or remove the broken character"),
    )
}

/// The place of the first character that YAML does not allow, with that character.
pub(super) fn forbidden(text: &str) -> Option<(Mark, char)> {
    let allowed = |c: char| {
        matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}')
            || c >= '\u{10000}'
    };
    let (position, character) = text.char_indices().find(|(_, c)| !allowed(*c))?;
    Some((mark_after(&text[..position]), character))
}

/// The place right after a text.
pub(super) fn mark_after(before: &str) -> Mark {
    let line_start = before.rfind('\n').map_or(0, |position| position + 1);
    let count = |n: usize| u32::try_from(n + 1).unwrap_or(u32::MAX);
    Mark {
        line: count(before.bytes().filter(|byte| *byte == b'\n').count()),
        column: count(before[line_start..].chars().count()),
        file: 0,
    }
}
