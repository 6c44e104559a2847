//! The engine, tested without Python.
#![cfg(test)]

mod codec;
mod config;
mod dedup;
mod folder;
mod fuzz;
mod journal;
mod router;
mod session;
mod sim;
mod state_file;
mod topic;
mod yaml;
mod yaml_emit;
