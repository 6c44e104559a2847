//! The engine, tested without Python.

mod config;
mod dedup;
mod router;
mod state_file;
mod topic;
mod yaml;
mod yaml_emit;
