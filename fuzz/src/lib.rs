//! The targets of the seeded tests, for the fuzzer.

#[path = "../../tests/core/folder.rs"]
pub mod folder;
#[path = "../../tests/core/fuzz/targets/mod.rs"]
pub mod targets;
