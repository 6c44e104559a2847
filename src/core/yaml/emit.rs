//! From a graph of values to the text that `yaml.dump` gives: sorted out by the caller, quoted by the resolver.

use libyaml_safer::{Emitter, Encoding, Event, MappingStyle, ScalarStyle, SequenceStyle};

use super::bigint::Int;
use super::limits::{self, Limits};
use super::node::{Document, NodeId, Value};
use super::tag::Tag;
use super::{guard, number, resolver, scalar};

const STR: &str = "tag:yaml.org,2002:str";

/// Why a document is not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EmitError {
    /// What is wrong, and what to do.
    pub message: String,
    /// The node that is to blame, where one is.
    pub node: Option<NodeId>,
}

/// Writes a document as `yaml.dump(data)` does: block style, 80 columns, ASCII only, anchors `&id001` for
/// collections and times that are referenced more than once. Mappings keep the order they have.
///
/// # Errors
/// What [`load`](super::load) would refuse to read back: a document over the `limits`, an integer of more digits
/// than Python converts.
pub fn emit(document: &Document, limits: &Limits) -> Result<String, EmitError> {
    limits::check(document, limits)
        .map_err(|excess| EmitError { message: excess.sentence(limits), node: excess.node })?;
    let failed = |message: &str| EmitError { message: message.into(), node: None };
    let text = guard::catch(|| {
        let mut writer =
            Writer { document, anchors: anchors(document), written: vec![false; document.len()] };
        let mut text = Vec::new();
        let mut emitter = Emitter::new();
        emitter.set_output_string(&mut text);
        emitter.set_unicode(false);
        writer.document(&mut emitter)?;
        drop(emitter);
        Ok(text)
    });
    let mut text = match text {
        Some(Ok(text)) => String::from_utf8(text).map_err(|_| failed("the YAML writer failed"))?,
        Some(Err(Failure::Value(error))) => return Err(error),
        Some(Err(Failure::Emitter)) | None => return Err(failed("the YAML writer failed")),
    };
    let is_scalar = document.root().is_none_or(|root| !document.value(root).is_collection());
    if is_scalar && !text.starts_with(['\'', '"', '!']) {
        // PyYAML closes a document that is one plain scalar; the library does not.
        text.push_str("...\n");
    }
    if text.len() > limits.bytes {
        let limit = limits.bytes >> 20;
        return Err(failed(&format!(
            "the data is larger than {limit} MiB as text, the most that is read back"
        )));
    }
    Ok(text)
}

enum Failure {
    Value(EmitError),
    Emitter,
}

impl From<libyaml_safer::Error> for Failure {
    fn from(_: libyaml_safer::Error) -> Self {
        Self::Emitter
    }
}

/// The anchor number of each node that is referenced more than once, in the order in which the second references
/// are met.
fn anchors(document: &Document) -> Vec<u32> {
    let mut numbers = vec![0; document.len()];
    let mut met = vec![false; document.len()];
    let mut last = 0;
    let mut stack: Vec<_> = document.root().into_iter().map(|root| vec![root].into_iter()).collect();
    while let Some(nodes) = stack.last_mut() {
        let Some(id) = nodes.next() else {
            stack.pop();
            continue;
        };
        if !is_anchored(document.value(id)) {
            continue;
        }
        if met[id.index()] {
            if numbers[id.index()] == 0 {
                last += 1;
                numbers[id.index()] = last;
            }
        } else {
            met[id.index()] = true;
            if document.value(id).is_collection() {
                stack.push(document.value(id).children().collect::<Vec<_>>().into_iter());
            }
        }
    }
    numbers
}

/// Whether a second reference is written as an alias: not for plain values, nor for the empty tuple.
fn is_anchored(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Str(_) | Value::Bytes(_) => {
            false
        }
        Value::Tuple(items) => !items.is_empty(),
        _ => true,
    }
}

struct Writer<'a> {
    document: &'a Document,
    anchors: Vec<u32>,
    written: Vec<bool>,
}

impl Writer<'_> {
    fn document(&mut self, out: &mut Emitter<'_>) -> Result<(), Failure> {
        out.emit(Event::stream_start(Encoding::Utf8))?;
        out.emit(Event::document_start(None, &[], true))?;
        match self.document.root() {
            Some(root) => self.node(out, root)?,
            None => scalar_event(out, None, &Tag::Null, "tag:yaml.org,2002:null", "null")?,
        }
        out.emit(Event::document_end(true))?;
        out.emit(Event::stream_end())?;
        out.flush()?;
        Ok(())
    }

    /// Depth is bounded by the limits, so recursion is.
    fn node(&mut self, out: &mut Emitter<'_>, id: NodeId) -> Result<(), Failure> {
        let anchor = match self.anchors[id.index()] {
            0 => None,
            number => Some(format!("id{number:03}")),
        };
        let anchor = anchor.as_deref();
        if let Some(anchor) = anchor
            && std::mem::replace(&mut self.written[id.index()], true)
        {
            out.emit(Event::alias(anchor))?;
            return Ok(());
        }
        let document = self.document;
        match document.value(id) {
            Value::Seq(items) => self.sequence(out, anchor, "tag:yaml.org,2002:seq", true, items)?,
            Value::Tuple(items) => {
                self.sequence(out, anchor, "tag:yaml.org,2002:python/tuple", false, items)?;
            }
            Value::Map(pairs) => {
                mapping_start(out, anchor, "tag:yaml.org,2002:map", true)?;
                for &(key, value) in pairs {
                    self.node(out, key)?;
                    self.node(out, value)?;
                }
                out.emit(Event::mapping_end())?;
            }
            Value::Set(keys) => {
                mapping_start(out, anchor, "tag:yaml.org,2002:set", false)?;
                for &key in keys {
                    self.node(out, key)?;
                    scalar_event(out, None, &Tag::Null, "tag:yaml.org,2002:null", "null")?;
                }
                out.emit(Event::mapping_end())?;
            }
            Value::Pairs(pairs) => {
                out.emit(Event::sequence_start(
                    anchor,
                    Some("tag:yaml.org,2002:pairs"),
                    false,
                    SequenceStyle::Block,
                ))?;
                for &(key, value) in pairs {
                    mapping_start(out, None, "tag:yaml.org,2002:map", true)?;
                    self.node(out, key)?;
                    self.node(out, value)?;
                    out.emit(Event::mapping_end())?;
                }
                out.emit(Event::sequence_end())?;
            }
            value => scalar_node(out, id, anchor, value)?,
        }
        Ok(())
    }

    fn sequence(
        &mut self,
        out: &mut Emitter<'_>,
        anchor: Option<&str>,
        tag: &str,
        implicit: bool,
        items: &[NodeId],
    ) -> Result<(), Failure> {
        out.emit(Event::sequence_start(anchor, Some(tag), implicit, SequenceStyle::Block))?;
        for &item in items {
            self.node(out, item)?;
        }
        out.emit(Event::sequence_end())?;
        Ok(())
    }
}

fn mapping_start(
    out: &mut Emitter<'_>,
    anchor: Option<&str>,
    tag: &str,
    implicit: bool,
) -> Result<(), libyaml_safer::Error> {
    out.emit(Event::mapping_start(anchor, Some(tag), implicit, MappingStyle::Block))
}

fn scalar_node(
    out: &mut Emitter<'_>,
    id: NodeId,
    anchor: Option<&str>,
    value: &Value,
) -> Result<(), Failure> {
    let owned;
    let (tag, name, text) = match value {
        Value::Str(text) => (Tag::Str, STR, text.as_str()),
        Value::Bool(truth) => (Tag::Bool, "tag:yaml.org,2002:bool", if *truth { "true" } else { "false" }),
        Value::Int(int) => {
            owned = decimal(int, id)?;
            (Tag::Int, "tag:yaml.org,2002:int", owned.as_str())
        }
        Value::Float(float) => {
            owned = number::float_text(*float);
            (Tag::Float, "tag:yaml.org,2002:float", owned.as_str())
        }
        Value::Complex(real, imaginary) => {
            owned = number::complex_text(*real, *imaginary);
            (Tag::Complex, "tag:yaml.org,2002:python/complex", owned.as_str())
        }
        Value::Date(date) => {
            owned = date.to_string();
            (Tag::Timestamp, "tag:yaml.org,2002:timestamp", owned.as_str())
        }
        Value::DateTime(time) => {
            owned = time.to_string();
            (Tag::Timestamp, "tag:yaml.org,2002:timestamp", owned.as_str())
        }
        Value::Bytes(bytes) => {
            let text = scalar::base64_text(bytes);
            let tag = Some("tag:yaml.org,2002:binary");
            out.emit(Event::scalar(anchor, tag, &text, false, false, ScalarStyle::Literal))?;
            return Ok(());
        }
        _ => (Tag::Null, "tag:yaml.org,2002:null", "null"),
    };
    scalar_event(out, anchor, &tag, name, text)?;
    Ok(())
}

/// Plain where the resolver gives the tag back, quoted where only a text does.
fn scalar_event(
    out: &mut Emitter<'_>,
    anchor: Option<&str>,
    tag: &Tag,
    name: &str,
    text: &str,
) -> Result<(), libyaml_safer::Error> {
    let plain_implicit = resolver::resolve(text) == *tag;
    let quoted_implicit = *tag == Tag::Str;
    // A tag that must be written makes the text quoted.
    let style = if plain_implicit || quoted_implicit { ScalarStyle::Any } else { ScalarStyle::SingleQuoted };
    out.emit(Event::scalar(anchor, Some(name), text, plain_implicit, quoted_implicit, style))
}

fn decimal(int: &Int, id: NodeId) -> Result<String, Failure> {
    match int {
        Int::Small(small) => Ok(small.to_string()),
        Int::Big(big) => {
            // 4300 decimal digits are 1786 bytes; more would take long to convert, and Python reads none of it.
            let text = (big.magnitude_le().len() <= 1788).then(|| big.to_decimal());
            text.filter(|text| text.trim_start_matches('-').len() <= number::MAX_DECIMAL_DIGITS).ok_or_else(
                || {
                    Failure::Value(EmitError {
                        message:
                            "an integer of more than 4300 digits could not be read back; store it as a text"
                                .into(),
                        node: Some(id),
                    })
                },
            )
        }
    }
}
