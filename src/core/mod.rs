//! The engine: plain Rust, no Python, no logging of its own. What it has to say leaves it as events.

pub mod clock;
pub mod config;
pub mod dedup;
pub mod fork;
pub mod lock_file;
pub mod number;
pub mod payload;
pub mod router;
pub mod schedule;
pub mod session;
pub mod state_file;
pub mod topic;
pub mod wake;
pub mod yaml;
