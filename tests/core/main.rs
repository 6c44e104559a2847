//! The engine, tested without Python.
#![cfg(test)]

mod config;
mod dedup;
mod router;
mod sim;
mod state_file;
mod topic;
mod yaml;
mod yaml_emit;
