//! A YAML document as a graph of typed nodes, each with its place in the text.

use std::collections::HashMap;

use super::bigint::Int;
use super::timestamp::{Date, DateTime};

/// The number of a node in its [`Document`]. Two references to one node are one object (anchor and alias).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

impl NodeId {
    /// The position of the node in the document's list of nodes.
    pub fn index(self) -> usize {
        self.0 as usize
    }

    pub(super) fn new(index: usize) -> Self {
        // Documents are limited to 16 MiB and built states to memory: four thousand million nodes are not reached.
        Self(u32::try_from(index).unwrap_or(u32::MAX))
    }
}

/// A place in the text: line and column, both counted from 1. `0:0` is "no place", as in a built document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// Which file, by its number in [`Document::files`]; 0 is the document itself.
    pub file: u16,
}

/// What a node is, in the types that PyYAML's `FullLoader` gives.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `None`
    Null,
    /// `bool`
    Bool(bool),
    /// `int`, of any size
    Int(Int),
    /// `float`
    Float(f64),
    /// `complex`: real and imaginary part
    Complex(f64, f64),
    /// `str`
    Str(String),
    /// `bytes`
    Bytes(Vec<u8>),
    /// `datetime.date`
    Date(Date),
    /// `datetime.datetime`, naive or with a fixed offset
    DateTime(DateTime),
    /// `list`
    Seq(Vec<NodeId>),
    /// `tuple`
    Tuple(Vec<NodeId>),
    /// `dict`: pairs in order, merge keys already expanded in front; of equal keys the last one wins
    Map(Vec<(NodeId, NodeId)>),
    /// `set`
    Set(Vec<NodeId>),
    /// `list` of `(key, value)` tuples: `!!omap` and `!!pairs`
    Pairs(Vec<(NodeId, NodeId)>),
}

impl Value {
    /// The nodes inside this one, in order of the text.
    pub(super) fn children(&self) -> Children<'_> {
        match self {
            Self::Seq(items) | Self::Tuple(items) | Self::Set(items) => Children::Items(items.iter()),
            Self::Map(pairs) | Self::Pairs(pairs) => Children::Pairs(pairs.iter(), None),
            _ => Children::Items([].iter()),
        }
    }

    /// Whether the value holds others.
    pub(super) fn is_collection(&self) -> bool {
        matches!(self, Self::Seq(_) | Self::Tuple(_) | Self::Map(_) | Self::Set(_) | Self::Pairs(_))
    }
}

/// Iterates over the nodes inside a node: items, or keys and values in turn.
pub(super) enum Children<'a> {
    Items(std::slice::Iter<'a, NodeId>),
    Pairs(std::slice::Iter<'a, (NodeId, NodeId)>, Option<NodeId>),
}

impl Iterator for Children<'_> {
    type Item = NodeId;

    fn next(&mut self) -> Option<NodeId> {
        match self {
            Self::Items(items) => items.next().copied(),
            Self::Pairs(pairs, pending) => pending.take().or_else(|| {
                let &(key, value) = pairs.next()?;
                *pending = Some(value);
                Some(key)
            }),
        }
    }
}

/// One step of a path into a document: a key of a mapping or a position in a sequence.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// The key of a mapping, as text.
    Key(String),
    /// A whole number: the key of a mapping or, counted from 0, a position in a sequence.
    Index(i64),
    /// The key `null`, `true` or `false` of a mapping.
    Constant(Option<bool>),
}

/// A document: its nodes, where they stand in the text, and which one is the root.
#[derive(Clone, Debug, Default)]
pub struct Document {
    values: Vec<Value>,
    marks: Vec<Mark>,
    root: Option<NodeId>,
    /// The files that the tags of a configuration have led to; empty where there is only the document itself.
    files: Vec<String>,
    /// The nodes whose value comes from a tag such as `!secret NAME`, each with the tag.
    origins: HashMap<NodeId, String>,
}

impl Document {
    /// A document without nodes, to be built with [`push`](Self::push).
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn from_parts(values: Vec<Value>, marks: Vec<Mark>, root: Option<NodeId>) -> Self {
        Self { values, marks, root, ..Self::default() }
    }

    pub(super) fn with_sources(mut self, files: Vec<String>, origins: HashMap<NodeId, String>) -> Self {
        (self.files, self.origins) = (files, origins);
        self
    }

    /// The files that the nodes come from, by the number in their marks; empty where there is only one.
    pub fn files(&self) -> &[String] {
        &self.files
    }

    /// The tag that a node's value comes from, `!env NAME` or `!secret NAME`: such a value is not to be shown.
    pub fn origin(&self, id: NodeId) -> Option<&str> {
        self.origins.get(&id).map(String::as_str)
    }

    /// Adds a node that stands at no place in a text and gives its number.
    pub fn push(&mut self, value: Value) -> NodeId {
        let id = NodeId::new(self.values.len());
        self.values.push(value);
        id
    }

    /// Gives a node another value: how a node gets children that lead back to it.
    pub fn set(&mut self, id: NodeId, value: Value) {
        self.values[id.index()] = value;
    }

    /// Makes a node the root.
    pub fn set_root(&mut self, root: NodeId) {
        self.root = Some(root);
    }

    /// The root, or `None` where the text holds no document (that is null).
    pub fn root(&self) -> Option<NodeId> {
        self.root
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The value of a node.
    pub fn value(&self, id: NodeId) -> &Value {
        &self.values[id.index()]
    }

    /// The place of a node in the text.
    pub fn mark(&self, id: NodeId) -> Mark {
        self.marks.get(id.index()).copied().unwrap_or_default()
    }

    /// The places of the key and of the value at the end of a path; for the root and for an item of a
    /// sequence both are the place of the value. `None` where the path leads nowhere.
    pub fn locate(&self, path: &[Step]) -> Option<(Mark, Mark)> {
        let mut here = self.root?;
        let mut key_mark = self.mark(here);
        for step in path {
            let (key, value) = self.step(here, step)?;
            key_mark = self.mark(key);
            here = value;
        }
        Some((key_mark, self.mark(here)))
    }

    fn step(&self, from: NodeId, step: &Step) -> Option<(NodeId, NodeId)> {
        match (self.value(from), step) {
            // Of equal keys the last one is the one that counts.
            (Value::Map(pairs) | Value::Pairs(pairs), _) => {
                pairs.iter().rev().find(|(key, _)| self.is_key(*key, step)).copied()
            }
            (Value::Seq(items) | Value::Tuple(items), Step::Index(index)) => {
                let &item = items.get(usize::try_from(*index).ok()?)?;
                Some((item, item))
            }
            _ => None,
        }
    }

    fn is_key(&self, key: NodeId, step: &Step) -> bool {
        match (self.value(key), step) {
            (Value::Str(text), Step::Key(wanted)) => text == wanted,
            (Value::Int(Int::Small(number)), Step::Index(wanted)) => number == wanted,
            (Value::Null, Step::Constant(None)) => true,
            (Value::Bool(truth), Step::Constant(Some(wanted))) => truth == wanted,
            _ => false,
        }
    }
}
