//! The engine, tested without Python.
#![cfg(test)]

mod codec;
mod codec_differential;
mod config;
mod dedup;
mod folder;
mod fuzz;
mod journal;
mod packets;
mod router;
mod session;
mod sim;
mod state_file;
mod topic;
mod yaml;
mod yaml_emit;
