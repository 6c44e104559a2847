//! YAML as PyYAML's `FullLoader` reads it and `yaml.dump` writes it (contract C57, design.md decision 6).
//!
//! The scanner and the emitter are those of `libyaml-safer`; what a scalar *means* is decided here, because
//! no other YAML crate tells a quoted scalar from a plain one. The way of a document:
//!
//! bytes → `decode` (UTF-8, UTF-16) → `compose` (events to nodes, anchors) → `resolver` (what a plain scalar
//! is) → `construct` (tags to values, merge keys) → [`limits`] → [`Document`]; back: [`Document`] → [`emit`].

mod bigint;
mod compose;
mod construct;
mod decode;
mod emit;
mod error;
mod expand;
mod guard;
pub mod limits;
mod node;
mod number;
mod resolver;
mod scalar;
mod strict;
mod tag;
mod timestamp;

pub use bigint::{BigInt, Int};
pub use emit::{EmitError, emit};
pub use error::YamlError;
pub use expand::{Surroundings, load_with_tags};
pub use limits::Limits;
pub use node::{Document, Mark, NodeId, Step, Value};
pub use timestamp::{Date, DateTime};

/// Reads one YAML document.
///
/// `name` is the file as the user knows it; it only serves error sentences. An empty text is a document
/// without a root, which stands for null.
///
/// # Errors
/// What PyYAML's `FullLoader` refuses, and what C57 refuses beyond it: `!!python/name:` tags and documents over
/// the `limits`. The error says where, what, and what to do. Values of the document are never quoted in it,
/// because they may be secrets.
pub fn load(bytes: &[u8], name: &str, limits: &Limits) -> Result<Document, YamlError> {
    load_unnamed(bytes, limits).map_err(|error| error.in_file(name))
}

fn load_unnamed(bytes: &[u8], limits: &Limits) -> Result<Document, YamlError> {
    if bytes.len() > limits.bytes {
        return Err(YamlError::whole(format!(
            "the document is larger than {} MiB, the most that is read; split it or remove data from it",
            limits.bytes >> 20
        )));
    }
    let text = decode::decode(bytes)?;
    values(compose::compose(&text, limits)?, limits)
}

fn values(graph: compose::Graph, limits: &Limits) -> Result<Document, YamlError> {
    let aliases = graph.aliases;
    let document = construct::construct(graph, limits)?;
    if aliases {
        limits::check(&document, limits).map_err(|excess| {
            let mark = excess.node.map_or_else(Mark::default, |id| document.mark(id));
            YamlError::at(mark, excess.sentence(limits))
        })?;
    }
    Ok(document)
}
