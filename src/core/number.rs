//! Numbers as Python writes and rounds them, to the last byte: `repr(float)`, `round(x, n)`, `repr(int)` (contract C31,
//! C32).

/// A float whose rounded value is beyond the range of a double: `round(1.7e308, -308)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rounded value too large to represent")]
pub struct RoundOverflow;

/// The powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// Decimals with up to this many digits are told apart by doubles, and so come back from one unchanged.
const EXACT_BELOW: f64 = 1e15;

/// From here on every double is a whole number: 2^52.
const WHOLE_FROM: f64 = 4_503_599_627_370_496.0;

/// `round(x, digits)` of Python: to the nearest multiple of 10^-digits by the exact binary value of `x`, ties to
/// the even one. NaN and the infinities come back as they are.
///
/// # Errors
/// [`RoundOverflow`] where Python raises `OverflowError`: a negative `digits` and an `x` near the largest double.
pub fn round(x: f64, digits: i64) -> Result<f64, RoundOverflow> {
    // The bounds are CPython's: beyond them no double has a digit left to round, or none left to keep.
    if !x.is_finite() || digits > 323 {
        return Ok(x);
    }
    if digits < -308 {
        return Ok(0.0_f64.copysign(x));
    }
    let Ok(decimals) = usize::try_from(digits) else {
        return round_to_tens(x, usize::try_from(digits.unsigned_abs()).unwrap_or(usize::MAX));
    };
    if x.abs() >= WHOLE_FROM {
        return Ok(x);
    }
    if let Some((count, power)) = scaled(x.abs(), decimals) {
        #[expect(clippy::cast_precision_loss, reason = "count is at most 10^15, below 2^53")]
        return Ok((count as f64 / power).copysign(x));
    }
    // Formatting with a precision is exact and rounds ties to even; reading its output cannot fail.
    Ok(format!("{x:.decimals$}").parse().unwrap_or(x))
}

/// `x` (not negative) in units of 10^-decimals, correctly rounded, with that power of ten; `None` where the unit
/// or the count is too large for exact arithmetic.
#[inline]
fn scaled(x: f64, decimals: usize) -> Option<(u64, f64)> {
    let power = *POWERS.get(decimals)?;
    let product = x * power;
    if product >= EXACT_BELOW {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 <= product < 10^15")]
    let whole = product as u64;
    #[expect(clippy::cast_precision_loss, reason = "whole is below 2^53")]
    let fraction = product - whole as f64;
    // Halves are doubles here, and rounding a product never carries it across a double. So off the half the rounded
    // product decides like the exact one; on it, the part that rounding cut off (which fma gives exactly) does.
    #[expect(clippy::float_cmp, reason = "exactly on the half is the question")]
    let up = if fraction == 0.5 {
        let cut = x.mul_add(power, -product);
        cut > 0.0 || (cut == 0.0 && whole % 2 == 1)
    } else {
        fraction > 0.5
    };
    Some((whole + u64::from(up), power))
}

/// `x` rounded to a multiple of 10^zeros, half to even.
fn round_to_tens(x: f64, zeros: usize) -> Result<f64, RoundOverflow> {
    let size = x.abs();
    // With a precision, formatting writes all digits of a whole number, not the shortest ones.
    let digits = format!("{:.0}", size.trunc()).into_bytes();
    let Some(kept) = digits.len().checked_sub(zeros) else {
        return Ok(0.0_f64.copysign(x));
    };
    let (head, tail) = digits.split_at(kept);
    let beyond_half = tail.iter().skip(1).any(|&d| d != b'0') || size.fract() != 0.0;
    let odd = head.last().is_some_and(|d| d % 2 == 1);
    let up = match tail.first() {
        Some(b'6'..=b'9') => true,
        Some(b'5') => beyond_half || odd,
        _ => false,
    };
    let mut head = head.to_vec();
    if up {
        increment(&mut head);
    }
    let head = String::from_utf8(head).unwrap_or_default();
    let rounded: f64 = format!("0{head}e{zeros}").parse().unwrap_or(f64::INFINITY);
    if rounded.is_finite() { Ok(rounded.copysign(x)) } else { Err(RoundOverflow) }
}

/// Adds one to a decimal number in ASCII digits; the empty one is zero.
fn increment(digits: &mut Vec<u8>) {
    for digit in digits.iter_mut().rev() {
        if *digit != b'9' {
            *digit += 1;
            return;
        }
        *digit = b'0';
    }
    digits.insert(0, b'1');
}

/// Appends `repr(x)` of Python: the shortest digits that read back as `x`, `1e+16`, `1e-05`, `nan`, `inf`, `-inf`.
pub fn push_float(out: &mut Vec<u8>, x: f64) {
    if x.is_nan() {
        out.extend_from_slice(b"nan");
        return;
    }
    if x.is_infinite() {
        out.extend_from_slice(if x > 0.0 { b"inf" } else { b"-inf" });
        return;
    }
    let mut buffer = ryu::Buffer::new();
    let text = buffer.format_finite(x).as_bytes();
    let size = x.abs();
    if size == 0.0 || (1e-4..1e16).contains(&size) {
        // Here ryu's layout and Python's are the same.
        out.extend_from_slice(text);
    } else {
        relayout(out, x.is_sign_negative(), text.strip_prefix(b"-").unwrap_or(text));
    }
}

/// Writes ryu's text of a float (without its sign) in Python's layout.
fn relayout(out: &mut Vec<u8>, negative: bool, text: &[u8]) {
    let mut digits = [0_u8; 32];
    let mut len = 0;
    let mut point = None;
    let mut seen = 0_i32;
    let mut leading = 0_i32;
    let mut exponent = 0_i32;
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            b'.' => point = Some(seen),
            b'e' => {
                exponent =
                    std::str::from_utf8(&text[at + 1..]).ok().and_then(|e| e.parse().ok()).unwrap_or(0);
                break;
            }
            b'0' if len == 0 => {
                seen += 1;
                leading += 1;
            }
            digit => {
                seen += 1;
                digits[len] = digit;
                len += 1;
            }
        }
    }
    layout(out, negative, &digits[..len], point.unwrap_or(seen) - leading + exponent);
}

/// Appends the float 0.`digits` x 10^`point` as Python's `repr` lays it out. `digits` has no leading zero.
fn layout(out: &mut Vec<u8>, negative: bool, digits: &[u8], point: i32) {
    let end = digits.iter().rposition(|&d| d != b'0').map_or(0, |last| last + 1);
    let digits = &digits[..end];
    if negative {
        out.push(b'-');
    }
    let Some((first, others)) = digits.split_first() else {
        out.extend_from_slice(b"0.0");
        return;
    };
    if -4 < point && point <= 16 {
        let before = usize::try_from(point).unwrap_or(0);
        if before == 0 {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + usize::try_from(-point).unwrap_or(0), b'0');
            out.extend_from_slice(digits);
        } else if before < digits.len() {
            out.extend_from_slice(&digits[..before]);
            out.push(b'.');
            out.extend_from_slice(&digits[before..]);
        } else {
            out.extend_from_slice(digits);
            out.resize(out.len() + before - digits.len(), b'0');
            out.extend_from_slice(b".0");
        }
        return;
    }
    out.push(*first);
    if !others.is_empty() {
        out.push(b'.');
        out.extend_from_slice(others);
    }
    let exponent = point - 1;
    out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
    let exponent = exponent.unsigned_abs();
    if exponent < 10 {
        out.push(b'0');
    }
    push_unsigned(out, u64::from(exponent));
}

/// Appends `repr(round(x, digits))` of Python; with `digits` `None`, `repr(x)`.
///
/// # Errors
/// [`RoundOverflow`] as in [`round`]; `out` is then unchanged.
pub fn push_rounded(out: &mut Vec<u8>, x: f64, digits: Option<i64>) -> Result<(), RoundOverflow> {
    let Some(digits) = digits else {
        push_float(out, x);
        return Ok(());
    };
    if let Ok(decimals) = usize::try_from(digits)
        && x.is_finite()
        && let Some((count, _)) = scaled(x.abs(), decimals)
    {
        push_decimal(out, x.is_sign_negative(), count, decimals);
        return Ok(());
    }
    push_float(out, round(x, digits)?);
    Ok(())
}

/// Appends `repr` of the double nearest to `count` x 10^-`decimals`. A decimal of up to 15 digits is the shortest text of
/// that double, so the count is the text: no division of floats, no search for digits.
fn push_decimal(out: &mut Vec<u8>, negative: bool, count: u64, decimals: usize) {
    let power = 10_u64.pow(u32::try_from(decimals.min(15)).unwrap_or(0));
    if decimals > 15 || (count != 0 && count < power / 10_000) {
        // Small numbers, with an exponent.
        let mut buffer = [0_u8; 20];
        let text = if count == 0 { b"" } else { decimal(&mut buffer, count) };
        let point = i32::try_from(text.len()).unwrap_or(0) - i32::try_from(decimals).unwrap_or(0);
        layout(out, negative, text, point);
        return;
    }
    // From the right: the decimals without trailing zeros, but one, the point, the whole part, the sign.
    let mut buffer = [0_u8; 40];
    let mut at = buffer.len();
    let mut put = |byte: u8| {
        at -= 1;
        buffer[at] = byte;
    };
    let mut part = count % power;
    let mut places = decimals;
    while places > 1 && part.is_multiple_of(10) {
        part /= 10;
        places -= 1;
    }
    for _ in 0..places.max(1) {
        put(digit(part));
        part /= 10;
    }
    put(b'.');
    let mut whole = count / power;
    loop {
        put(digit(whole));
        whole /= 10;
        if whole == 0 {
            break;
        }
    }
    if negative {
        put(b'-');
    }
    out.extend_from_slice(&buffer[at..]);
}

/// The last decimal digit of `value`.
#[inline]
fn digit(value: u64) -> u8 {
    b'0' + (value % 10) as u8
}

/// Appends `value` in decimal.
#[inline]
pub fn push_int(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    push_unsigned(out, value.unsigned_abs());
}

fn push_unsigned(out: &mut Vec<u8>, value: u64) {
    let mut buffer = [0_u8; 20];
    out.extend_from_slice(decimal(&mut buffer, value));
}

/// The decimal digits of `value`, written at the end of `buffer`. The largest value has 20.
#[inline]
fn decimal(buffer: &mut [u8; 20], mut value: u64) -> &[u8] {
    let mut at = buffer.len();
    loop {
        at -= 1;
        buffer[at] = digit(value);
        value /= 10;
        if value == 0 {
            return &buffer[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repr(x: f64) -> String {
        let mut out = Vec::new();
        push_float(&mut out, x);
        String::from_utf8(out).unwrap()
    }

    fn rounded(x: f64, digits: i64) -> String {
        let mut out = Vec::new();
        push_rounded(&mut out, x, Some(digits)).unwrap();
        assert_eq!(String::from_utf8(out.clone()).unwrap(), repr(round(x, digits).unwrap()));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn floats_are_laid_out_as_python_does() {
        // The right column is what Python 3.11 prints.
        let table = [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-12.5, "-12.5"),
            (1e15, "1000000000000000.0"),
            (9_999_999_999_999_998.0, "9999999999999998.0"),
            (1e16, "1e+16"),
            (-1.5e16, "-1.5e+16"),
            (1e22, "1e+22"),
            (1e100, "1e+100"),
            (0.0001, "0.0001"),
            (0.000_123, "0.000123"),
            (0.000_01, "1e-05"),
            (-0.000_012_3, "-1.23e-05"),
            (1e-9, "1e-09"),
            (5e-324, "5e-324"),
            (1.797_693_134_862_315_7e308, "1.7976931348623157e+308"),
            (619_788_025_924_319.2, "619788025924319.2"),
            (f64::NAN, "nan"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ];
        for (x, text) in table {
            assert_eq!(repr(x), text);
        }
    }

    #[test]
    fn rounding_goes_by_the_binary_value_and_takes_ties_to_even() {
        let table = [
            (2.675, 2, "2.67"),
            (0.125, 2, "0.12"),
            (0.375, 2, "0.38"),
            (2.5, 0, "2.0"),
            (3.5, 0, "4.0"),
            (0.5, 0, "0.0"),
            (-0.5, 0, "-0.0"),
            (-0.000_01, 2, "-0.0"),
            (0.000_014, 5, "1e-05"),
            (1_234.567_89, 4, "1234.5679"),
            (999_999.999_996, 5, "1000000.0"),
            (1e22, 5, "1e+22"),
            (1.5e-300, 301, "1.5e-300"),
            (1.25, 400, "1.25"),
            (25.0, -1, "20.0"),
            (35.0, -1, "40.0"),
            (25.000_001, -1, "30.0"),
            (99.9, -2, "100.0"),
            (50.0, -2, "0.0"),
            (50.5, -2, "100.0"),
            (-4.0, -1, "-0.0"),
            (1e300, -309, "0.0"),
            (1234.5, i64::MIN, "0.0"),
            (1234.5, i64::MAX, "1234.5"),
        ];
        for (x, digits, text) in table {
            assert_eq!(rounded(x, digits), text, "round({x:?}, {digits})");
        }
        assert_eq!(round(1.7e308, -308), Err(RoundOverflow));
        assert!(round(f64::NAN, 2).unwrap().is_nan());
    }

    #[test]
    fn integers_are_written_to_the_ends_of_their_range() {
        let mut out = Vec::new();
        for value in [0, -7, 10, i64::MAX, i64::MIN] {
            push_int(&mut out, value);
            out.push(b' ');
        }
        assert_eq!(out, b"0 -7 10 9223372036854775807 -9223372036854775808 ");
    }
}
