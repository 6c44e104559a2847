//! Numbers as text, as Python reads and writes them.

use super::bigint::{BigInt, Int};
use crate::core::number::push_float;

/// Python refuses longer decimal texts (its guard against quadratic conversion), and so do we.
pub(super) const MAX_DECIMAL_DIGITS: usize = 4300;

/// What Python's `int(text, radix)` gives. A text that Python refuses gives `None`; so do digits outside ASCII.
pub(super) fn int(text: &str, radix: u32) -> Option<BigInt> {
    let text = strip(text);
    let (negative, text) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let prefix = match radix {
        2 => Some("0b"),
        8 => Some("0o"),
        16 => Some("0x"),
        _ => None,
    };
    let is_prefixed = |prefix: &str| text.get(..2).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    let digits = if prefix.is_some_and(is_prefixed) { &text[2..] } else { text };
    if radix == 10 && digits.len() > MAX_DECIMAL_DIGITS {
        return None;
    }
    let number = BigInt::from_digits(digits, radix)?;
    Some(if negative { number.negated() } else { number })
}

/// YAML 1.1's whole numbers: decimal, octal with a leading 0, `0b`, `0x`, base 60 with colons; underscores anywhere.
pub(super) fn yaml_int(text: &str) -> Option<Int> {
    let without;
    let text = if text.contains('_') {
        without = text.replace('_', "");
        without.as_str()
    } else {
        // Almost every number of a file is a short plain one.
        let digits = text.as_bytes();
        if digits.len() < 19
            && matches!(digits[..], [b'1'..=b'9', ..])
            && digits.iter().all(u8::is_ascii_digit)
        {
            return text.parse().ok().map(Int::Small);
        }
        text
    };
    let (negative, text) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let magnitude = if let Some(digits) = text.strip_prefix("0b") {
        int(digits, 2)
    } else if let Some(digits) = text.strip_prefix("0x") {
        int(digits, 16)
    } else if text.starts_with('0') {
        int(text, 8)
    } else if text.contains(':') {
        base_60(text)
    } else {
        int(text, 10)
    }?;
    Some(Int::new(if negative { magnitude.negated() } else { magnitude }))
}

fn base_60(text: &str) -> Option<BigInt> {
    if text.len() > MAX_DECIMAL_DIGITS {
        return None;
    }
    let small = text.split(':').try_fold(0_i128, |number, part| {
        let digit = int(part, 10)?.to_decimal().parse().ok()?;
        number.checked_mul(60)?.checked_add(digit)
    });
    if let Some(small) = small {
        return BigInt::from_decimal(&small.to_string());
    }
    let mut parts = text.split(':');
    let mut number = int(parts.next()?, 10)?;
    if number.is_negative() {
        return None;
    }
    for part in parts {
        match Int::new(int(part, 10)?) {
            Int::Small(digit) => number.multiply_add(60, u32::try_from(digit).ok()?),
            Int::Big(_) => return None,
        }
    }
    Some(number)
}

/// YAML 1.1's floats: decimal, base 60 with colons, `.inf`, `.nan`; underscores anywhere.
pub(super) fn yaml_float(text: &str) -> Option<f64> {
    let text = text.replace('_', "").to_lowercase();
    let (sign, text) = match text.as_bytes().first()? {
        b'-' => (-1.0, &text[1..]),
        b'+' => (1.0, &text[1..]),
        _ => (1.0, text.as_str()),
    };
    let value = match text {
        ".inf" => f64::INFINITY,
        ".nan" => f64::NAN,
        _ if text.contains(':') => {
            let mut value = 0.0;
            for (power, part) in text.rsplit(':').enumerate() {
                value += float(part)? * power_of_60(power)?;
            }
            value
        }
        _ => float(text)?,
    };
    Some(sign * value)
}

/// 60 to the power, rounded once; `None` where it is no float any more.
fn power_of_60(power: usize) -> Option<f64> {
    if power > 173 {
        return None;
    }
    let mut number = BigInt::from_digits("1", 10)?;
    for _ in 0..power {
        number.multiply_add(60, 0);
    }
    number.to_decimal().parse().ok()
}

/// What Python's `float(text)` gives for a text without underscores.
fn float(text: &str) -> Option<f64> {
    // Rust's grammar is Python's, but for the white space around it.
    strip(text).parse().ok()
}

/// What Python's `complex(text)` gives.
pub(super) fn complex(text: &str) -> Option<(f64, f64)> {
    let without;
    let mut text = strip(text);
    if text.contains('_') {
        let bytes = text.as_bytes();
        let digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
        let misplaced =
            |(at, byte): (usize, &u8)| *byte == b'_' && !(digit(at.checked_sub(1)) && digit(Some(at + 1)));
        if bytes.iter().enumerate().any(misplaced) {
            return None;
        }
        without = text.replace('_', "");
        text = &without;
    }
    if let Some(inner) = text.strip_prefix('(') {
        text = strip(inner.strip_suffix(')')?);
    }
    let (first, rest) = leading_float(text);
    let unit = |rest: &str| matches!(rest, "j" | "J");
    match (first, rest.as_bytes().first()) {
        (Some(real), None) => Some((real, 0.0)),
        (Some(imaginary), Some(b'j' | b'J')) => unit(rest).then_some((0.0, imaginary)),
        (Some(real), Some(sign @ (b'+' | b'-'))) => match leading_float(rest) {
            (Some(imaginary), rest) => unit(rest).then_some((real, imaginary)),
            (None, _) => unit(&rest[1..]).then_some((real, if *sign == b'-' { -1.0 } else { 1.0 })),
        },
        (None, Some(b'-')) => unit(&rest[1..]).then_some((0.0, -1.0)),
        (None, Some(b'+')) => unit(&rest[1..]).then_some((0.0, 1.0)),
        (None, Some(_)) => unit(rest).then_some((0.0, 1.0)),
        _ => None,
    }
}

/// The longest float at the start of a text, and what follows it.
fn leading_float(text: &str) -> (Option<f64>, &str) {
    let bytes = text.as_bytes();
    let sign = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let lower = text[sign..].to_ascii_lowercase();
    for word in ["infinity", "inf", "nan"] {
        if lower.starts_with(word) {
            let (number, rest) = text.split_at(sign + word.len());
            return (number.parse().ok(), rest);
        }
    }
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut end = sign + digits(sign);
    if bytes.get(end) == Some(&b'.') {
        end += 1 + digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let exponent = end + 1 + usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        if digits(exponent.min(bytes.len())) > 0 {
            end = exponent + digits(exponent);
        }
    }
    match text[..end].parse() {
        Ok(number) => (Some(number), &text[end..]),
        Err(_) => (None, text),
    }
}

/// White space as Python's `str.strip` takes it.
fn strip(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c))
}

/// A float as `yaml.dump` writes it: Python's `repr`, with `.0` in front of a bare exponent.
pub(super) fn float_text(value: f64) -> String {
    if value.is_nan() {
        return ".nan".into();
    }
    if value.is_infinite() {
        return if value < 0.0 { "-.inf".into() } else { ".inf".into() };
    }
    let text = float_repr(value);
    if !text.contains('.') && text.contains('e') { text.replacen('e', ".0e", 1) } else { text }
}

/// Python's `repr` of a float.
fn float_repr(value: f64) -> String {
    let mut text = Vec::new();
    push_float(&mut text, value);
    text.into_iter().map(char::from).collect()
}

/// A complex number as `yaml.dump` writes it, but for `1.0nanj`, which nobody reads back: that is `1.0+nanj`.
pub(super) fn complex_text(real: f64, imaginary: f64) -> String {
    if imaginary == 0.0 {
        float_repr(real)
    } else if real == 0.0 {
        format!("{}j", float_repr(imaginary))
    } else if imaginary > 0.0 || imaginary.is_nan() {
        format!("{}+{}j", float_repr(real), float_repr(imaginary))
    } else {
        format!("{}{}j", float_repr(real), float_repr(imaginary))
    }
}
