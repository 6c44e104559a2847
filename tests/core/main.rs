//! The engine, tested without Python.
#![cfg(test)]

#[cfg(test)]
mod codec;
mod config;
mod dedup;
mod fuzz;
mod router;
mod session;
mod sim;
mod state_file;
mod topic;
mod yaml;
mod yaml_emit;
