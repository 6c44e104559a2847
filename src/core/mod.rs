//! The engine: plain Rust, no Python, no logging of its own. What it has to say leaves it as events.

pub mod config;
pub mod payload;
pub mod state_file;
pub mod yaml;
