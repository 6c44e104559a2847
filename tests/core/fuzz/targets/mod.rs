//! What is tried with each input: functions from bytes to a panic, or to nothing.
//!
//! Both the seeded tests beside this folder and the coverage-guided fuzzer in `fuzz/` call them.

pub mod codec;
pub mod journal;
pub mod protocol;
pub mod yaml;

/// The bytes of an input, taken as numbers one after the other. An input that is used up gives zeros.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn u8(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }

    /// True in `one` of 256 cases, if bytes are evenly distributed.
    pub fn chance(&mut self, one: u8) -> bool {
        self.u8() < one
    }

    /// Up to `count` bytes.
    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}
