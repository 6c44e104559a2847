//! The engine, tested without Python.
#![cfg(test)]

mod config;
mod dedup;
mod fuzz;
mod router;
mod sim;
mod state_file;
mod topic;
mod yaml;
mod yaml_emit;
