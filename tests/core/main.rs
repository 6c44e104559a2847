//! The engine, tested without Python.

mod dedup;
mod router;
mod topic;
