//! Whole numbers of any size, as far as YAML needs them: made from text, given as bytes or as decimal digits.

use std::fmt::Write as _;

/// A whole number: as it fits into 64 bits, or of any size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Int {
    /// From -2^63 to 2^63 - 1.
    Small(i64),
    /// Anything else.
    Big(Box<BigInt>),
}

impl Int {
    pub(super) fn new(magnitude: BigInt) -> Self {
        match magnitude.to_i64() {
            Some(small) => Self::Small(small),
            None => Self::Big(Box::new(magnitude)),
        }
    }
}

/// A whole number of any size: sign and magnitude.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BigInt {
    negative: bool,
    /// Base 2^32, lowest first, no zeros at the end.
    limbs: Vec<u32>,
}

impl BigInt {
    /// From decimal digits, optionally with a sign. `None` for any other text.
    pub fn from_decimal(text: &str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let magnitude = Self::from_digits(digits, 10)?;
        Some(if negative { magnitude.negated() } else { magnitude })
    }

    /// From digits in base 2, 8, 10 or 16, without a sign. `None` for an empty text or another character.
    pub(super) fn from_digits(digits: &str, radix: u32) -> Option<Self> {
        if digits.is_empty() {
            return None;
        }
        let mut number = Self::default();
        if radix.is_power_of_two() {
            // Packs bits instead of multiplying: linear, however long the text is.
            let (mut pending, mut bits) = (0_u64, 0);
            for digit in digits.chars().rev() {
                pending |= u64::from(digit.to_digit(radix)?) << bits;
                bits += radix.trailing_zeros();
                if bits >= 32 {
                    number.limbs.push(low(pending));
                    pending >>= 32;
                    bits -= 32;
                }
            }
            number.limbs.push(low(pending));
            number.trim();
        } else {
            for digit in digits.chars() {
                number.multiply_add(radix, digit.to_digit(radix)?);
            }
        }
        Some(number)
    }

    /// `self * factor + addend`, on the magnitude.
    pub(super) fn multiply_add(&mut self, factor: u32, addend: u32) {
        let mut carry = u64::from(addend);
        for limb in &mut self.limbs {
            let product = u64::from(*limb) * u64::from(factor) + carry;
            *limb = low(product);
            carry = product >> 32;
        }
        if carry > 0 {
            self.limbs.push(low(carry));
        }
        self.trim();
    }

    pub(super) fn negated(mut self) -> Self {
        self.negative = !self.negative && !self.limbs.is_empty();
        self
    }

    fn trim(&mut self) {
        while self.limbs.last() == Some(&0) {
            self.limbs.pop();
        }
    }

    fn to_i64(&self) -> Option<i64> {
        let magnitude = match *self.limbs {
            [] => 0,
            [first] => u64::from(first),
            [first, second] => u64::from(first) | u64::from(second) << 32,
            _ => return None,
        };
        if self.negative { 0_i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
    }

    /// Whether the number is below zero.
    pub fn is_negative(&self) -> bool {
        self.negative
    }

    /// The magnitude, lowest byte first.
    pub fn magnitude_le(&self) -> Vec<u8> {
        self.limbs.iter().flat_map(|limb| limb.to_le_bytes()).collect()
    }

    /// The number in decimal digits.
    pub fn to_decimal(&self) -> String {
        const CHUNK: u64 = 1_000_000_000;
        let mut rest = self.limbs.clone();
        let mut chunks = Vec::new();
        while !rest.is_empty() {
            let mut remainder = 0;
            for limb in rest.iter_mut().rev() {
                let value = remainder << 32 | u64::from(*limb);
                *limb = low(value / CHUNK);
                remainder = value % CHUNK;
            }
            chunks.push(remainder);
            while rest.last() == Some(&0) {
                rest.pop();
            }
        }
        let mut text = String::from(if self.negative { "-" } else { "" });
        let mut chunks = chunks.into_iter().rev();
        text.push_str(&chunks.next().unwrap_or(0).to_string());
        for chunk in chunks {
            let _ = write!(text, "{chunk:09}");
        }
        text
    }
}

/// The lower half of a product.
#[expect(clippy::cast_possible_truncation, reason = "cutting off the upper half is what it is for")]
fn low(value: u64) -> u32 {
    value as u32
}
