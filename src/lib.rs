//! The engine of miqro: MQTT micro-services for Python.
//!
//! [`core`] is plain Rust and knows nothing of Python; `python` (feature `python`) translates between the
//! two and decides nothing. An arrow between the layers only ever points down.

pub mod core;
#[cfg(feature = "python")]
mod python;
