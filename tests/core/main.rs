//! The engine, tested without Python.

#[cfg(test)]
mod codec;
mod dedup;
mod router;
#[cfg(test)]
mod session;
#[cfg(test)]
mod sim;
mod topic;
