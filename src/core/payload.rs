//! What goes on the wire and comes off it: text, numbers, and how they are rounded (contract C14, C31, C32).
//!
//! Everything here is what Python does, to the last byte: the ASCII escapes and the numbers of `json.dumps`, and
//! `bytes.decode("utf-8", errors="replace").strip()`.

use std::borrow::Cow;

pub use super::number::{RoundOverflow, push_float, push_int, push_rounded, round};

/// Appends a float as `json.dumps` writes it, rounded first where `digits` is given: as [`push_rounded`], but
/// `NaN`, `Infinity` and `-Infinity`.
///
/// # Errors
/// [`RoundOverflow`] as in [`round`]; `out` is then unchanged.
#[inline]
pub fn push_json_float(out: &mut Vec<u8>, x: f64, digits: Option<i64>) -> Result<(), RoundOverflow> {
    if x.is_finite() {
        return push_rounded(out, x, digits);
    }
    let name: &[u8] = if x.is_nan() {
        b"NaN"
    } else if x > 0.0 {
        b"Infinity"
    } else {
        b"-Infinity"
    };
    out.extend_from_slice(name);
    Ok(())
}

/// Which ASCII bytes `json.dumps` writes as they are: printable, and neither quote nor backslash.
const PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0x20;
    while byte < 0x7f {
        table[byte] = byte != b'"' as usize && byte != b'\\' as usize;
        byte += 1;
    }
    table
};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends `text` as a JSON string in ASCII, quotes included, as `json.dumps` writes it: `\uXXXX` for control
/// characters, DEL and everything beyond ASCII, with surrogate pairs beyond U+FFFF.
pub fn push_json_str(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| !PLAIN[usize::from(byte)]) {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let mut chars = rest[at..].chars();
        if let Some(c) = chars.next() {
            for unit in c.encode_utf16(&mut [0; 2]) {
                push_unit(out, *unit);
            }
        }
        rest = chars.as_str();
    }
    out.extend_from_slice(rest.as_bytes());
    out.push(b'"');
}

/// Appends UTF-16 code units as a JSON string, as [`push_json_str`] does, for text that no `str` can hold: lone
/// surrogates are written as they come.
pub fn push_json_units(out: &mut Vec<u8>, units: impl Iterator<Item = u16>) {
    out.push(b'"');
    for unit in units {
        push_unit(out, unit);
    }
    out.push(b'"');
}

fn push_unit(out: &mut Vec<u8>, unit: u16) {
    if let Ok(byte) = u8::try_from(unit)
        && PLAIN[usize::from(byte)]
    {
        out.push(byte);
        return;
    }
    let short = match unit {
        0x22 => b'"',
        0x5c => b'\\',
        0x08 => b'b',
        0x09 => b't',
        0x0a => b'n',
        0x0c => b'f',
        0x0d => b'r',
        _ => {
            out.extend_from_slice(b"\\u");
            for shift in [12, 8, 4, 0] {
                out.push(HEX[usize::from(unit >> shift & 0xf)]);
            }
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// Whether `str.strip()` of Python takes `c` away: Unicode white space and the separators U+001C to U+001F, which
/// Rust does not count.
#[inline]
pub fn is_python_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// A received payload as text, `bytes.decode("utf-8", errors="replace").strip()` of Python: malformed sequences
/// become U+FFFD, white space goes at both ends (contract C14). Borrows where nothing had to be replaced.
pub fn text(payload: &[u8]) -> Cow<'_, str> {
    match String::from_utf8_lossy(payload) {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim_matches(is_python_space)),
        Cow::Owned(text) => Cow::Owned(text.trim_matches(is_python_space).to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> String {
        let mut out = Vec::new();
        push_json_str(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_names_what_has_no_digits() {
        let mut out = Vec::new();
        for x in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            push_json_float(&mut out, x, Some(2)).unwrap();
            out.push(b' ');
        }
        assert_eq!(out, b"NaN Infinity -Infinity ");
    }

    #[test]
    fn json_strings_are_ascii_with_pythons_escapes() {
        assert_eq!(json("plain text"), r#""plain text""#);
        assert_eq!(json("\"\\/\u{8}\u{c}\n\r\t"), r#""\"\\/\b\f\n\r\t""#);
        assert_eq!(json("\u{0}\u{1f}\u{7f}\u{80}"), r#""\u0000\u001f\u007f\u0080""#);
        assert_eq!(json("21 °C 😀 end"), r#""21 \u00b0C \ud83d\ude00 end""#);
        let mut out = Vec::new();
        push_json_units(&mut out, [0x61, 0xd800, 0x22].into_iter());
        assert_eq!(out, br#""a\ud800\"""#);
    }

    #[test]
    fn received_text_is_stripped_and_repaired() {
        assert!(matches!(text(b" \t21.5\r\n"), Cow::Borrowed("21.5")));
        assert_eq!(text(b"\x1c\x1f on \x1d"), "on");
        assert_eq!(text("\u{3000}ä\u{a0}".as_bytes()), "ä");
        assert_eq!(text(b"a\xffb\xe2\x82"), "a\u{fffd}b\u{fffd}");
        assert_eq!(text(b"  "), "");
    }
}
