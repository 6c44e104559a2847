//! From nodes to values: tags applied and merge keys expanded, in the order in which PyYAML does it, because
//! with recursive aliases and merge keys the order shows.

use std::collections::VecDeque;

use super::compose::{Graph, Kind, Raw};
use super::error::YamlError;
use super::limits::{Limits, too_deep, too_many};
use super::node::{Document, NodeId, Value};
use super::scalar::scalar;
use super::tag::Tag;

/// How deep merge keys may lead to mappings with merge keys that are not expanded yet. PyYAML's own limit is that of
/// Python's recursion, about as deep.
const MAX_MERGE_DEPTH: usize = 900;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    /// A tuple whose items are being made: it cannot be one of them.
    Open,
    Done,
}

/// Gives every node its value.
pub(super) fn construct(graph: Graph, limits: &Limits) -> Result<Document, YamlError> {
    let Some(root) = graph.root else { return Ok(Document::new()) };
    let count = graph.nodes.len();
    let mut constructor = Constructor {
        nodes: graph.nodes,
        values: vec![Value::Null; count],
        states: vec![State::New; count],
        unhashable: vec![false; count],
        waiting: VecDeque::new(),
        merged: 0,
        limits,
    };
    constructor.node(root, 0)?;
    while let Some(id) = constructor.waiting.pop_front() {
        constructor.fill(id)?;
    }
    let marks = constructor.nodes.iter().map(|node| node.mark).collect();
    Ok(Document::from_parts(constructor.values, marks, Some(root)))
}

struct Constructor<'a> {
    nodes: Vec<Raw>,
    values: Vec<Value>,
    states: Vec<State>,
    /// Nodes that cannot be the key of a mapping.
    unhashable: Vec<bool>,
    /// Collections that exist but are still empty, in order of appearance. Filling them later is what makes
    /// recursive aliases possible.
    waiting: VecDeque<NodeId>,
    /// How many pairs merge keys have copied.
    merged: u64,
    limits: &'a Limits,
}

impl Constructor<'_> {
    fn node(&mut self, id: NodeId, depth: usize) -> Result<(), YamlError> {
        let index = id.index();
        match self.states[index] {
            State::Done => return Ok(()),
            State::Open => {
                return Err(self.error(id, "a !!python/tuple cannot contain itself; use a list"));
            }
            State::New => {}
        }
        match self.nodes[index].tag {
            Tag::Seq | Tag::Map | Tag::Set | Tag::Pairs => {
                self.unhashable[index] = true;
                self.waiting.push_back(id);
            }
            Tag::Tuple => {
                if depth > self.limits.depth {
                    return Err(self.error(id, &too_deep(self.limits)));
                }
                let Kind::Seq(items) = &mut self.nodes[index].kind else {
                    return Err(self.wrong_kind(id, "a list"));
                };
                let items = std::mem::take(items);
                self.states[index] = State::Open;
                for item in &items {
                    self.node(*item, depth + 1)?;
                }
                self.unhashable[index] = items.iter().any(|item| self.unhashable[item.index()]);
                self.values[index] = Value::Tuple(items);
            }
            Tag::Merge => {
                return Err(
                    self.error(id, "'<<' can only be the key of a mapping; put it in quotes if it is a text")
                );
            }
            Tag::Value => {
                return Err(
                    self.error(id, "a bare '=' has no meaning here; put it in quotes if it is a text")
                );
            }
            Tag::Other(_) => return Err(self.unknown_tag(id)),
            _ => self.values[index] = self.scalar(id)?,
        }
        self.states[index] = State::Done;
        Ok(())
    }

    fn scalar(&mut self, id: NodeId) -> Result<Value, YamlError> {
        let node = &mut self.nodes[id.index()];
        let value = match &mut node.kind {
            // A string needs no second copy of its text, and nobody reads the first one again (see `text_of`).
            Kind::Scalar(text) if node.tag == Tag::Str => Some(Value::Str(std::mem::take(text))),
            Kind::Scalar(text) => scalar(&node.tag, text.clone()),
            _ if node.tag == Tag::Timestamp => return Err(self.wrong_kind(id, "a single value")),
            _ => {
                let text = self.text_of(id)?;
                scalar(&self.nodes[id.index()].tag, text)
            }
        };
        value.ok_or_else(|| {
            let kind = match self.nodes[id.index()].tag {
                Tag::Timestamp => "a valid date and time",
                Tag::Int => "a valid whole number",
                Tag::Float => "a valid number",
                Tag::Binary => "valid base 64",
                _ => "valid",
            };
            let tag = self.nodes[id.index()].tag.shorthand();
            self.error(
                id,
                &format!("this is read as {tag} and is not {kind}; correct it, or put it in quotes"),
            )
        })
    }

    /// The text that stands for a mapping where a scalar is expected: that of its key `=`.
    fn text_of(&self, id: NodeId) -> Result<String, YamlError> {
        let mut here = id;
        for _ in 0..MAX_MERGE_DEPTH {
            let Some(pairs) = self.pairs_of(here) else { break };
            let default = pairs.iter().find(|(key, _)| self.nodes[key.index()].tag == Tag::Value);
            let Some(&(_, value)) = default else { break };
            here = value;
            match (&self.nodes[here.index()].kind, &self.values[here.index()]) {
                (Kind::Scalar(_), Value::Str(text)) if self.states[here.index()] == State::Done => {
                    return Ok(text.clone());
                }
                (Kind::Scalar(text), _) => return Ok(text.clone()),
                _ => {}
            }
        }
        Err(self.wrong_kind(id, "a single value"))
    }

    /// Makes what is inside a collection.
    fn fill(&mut self, id: NodeId) -> Result<(), YamlError> {
        let index = id.index();
        self.values[index] = match self.nodes[index].tag {
            Tag::Seq => {
                let Kind::Seq(items) = &mut self.nodes[index].kind else {
                    return Err(self.wrong_kind(id, "a list"));
                };
                let items = std::mem::take(items);
                for item in &items {
                    self.node(*item, 0)?;
                }
                Value::Seq(items)
            }
            Tag::Pairs => Value::Pairs(self.list_of_pairs(id)?),
            _ => {
                let pairs = self.mapping(id)?;
                if self.nodes[index].tag == Tag::Set {
                    Value::Set(pairs.into_iter().map(|(key, _)| key).collect())
                } else {
                    Value::Map(pairs)
                }
            }
        };
        Ok(())
    }

    fn mapping(&mut self, id: NodeId) -> Result<Vec<(NodeId, NodeId)>, YamlError> {
        self.expand_merges(id, 0)?;
        let is_set = self.nodes[id.index()].tag == Tag::Set;
        let pairs = match &mut self.nodes[id.index()].kind {
            // A set keeps no values, but a merge key may yet ask for its pairs.
            Kind::Map(pairs) if is_set => pairs.clone(),
            Kind::Map(pairs) => std::mem::take(pairs),
            _ => return Err(self.wrong_kind(id, "a mapping")),
        };
        for &(key, value) in &pairs {
            self.node(key, 0)?;
            if self.unhashable[key.index()] {
                let problem = "a list or mapping cannot be a key; if this was meant as a text with '{' or '[' at its \
                               start, put it in quotes";
                return Err(self.error(key, problem));
            }
            self.node(value, 0)?;
        }
        Ok(pairs)
    }

    /// The pairs of a mapping, whether it is constructed or not.
    fn pairs_of(&self, id: NodeId) -> Option<&[(NodeId, NodeId)]> {
        match (&self.nodes[id.index()].kind, &self.values[id.index()]) {
            (Kind::Map(pairs), Value::Map(done)) => Some(if pairs.is_empty() { done } else { pairs }),
            (Kind::Map(pairs), _) => Some(pairs),
            _ => None,
        }
    }

    /// The items of a sequence, whether it is constructed or not.
    fn items_of(&self, id: NodeId) -> Option<&[NodeId]> {
        match (&self.nodes[id.index()].kind, &self.values[id.index()]) {
            (Kind::Seq(items), Value::Seq(done) | Value::Tuple(done)) => {
                Some(if items.is_empty() { done } else { items })
            }
            (Kind::Seq(items), _) => Some(items),
            _ => None,
        }
    }

    fn list_of_pairs(&mut self, id: NodeId) -> Result<Vec<(NodeId, NodeId)>, YamlError> {
        let Some(items) = self.items_of(id) else {
            return Err(self.wrong_kind(id, "a list of single 'key: value' mappings"));
        };
        let items = items.to_vec();
        let mut result = Vec::with_capacity(items.len());
        for item in items {
            let Some(&[pair]) = self.pairs_of(item) else {
                return Err(self.wrong_kind(item, "a mapping with exactly one key"));
            };
            self.node(pair.0, 0)?;
            self.node(pair.1, 0)?;
            result.push(pair);
        }
        Ok(result)
    }

    /// Replaces the merge keys of a mapping by the pairs they stand for, in front of its own.
    fn expand_merges(&mut self, id: NodeId, depth: usize) -> Result<(), YamlError> {
        if depth > MAX_MERGE_DEPTH {
            return Err(self.error(id, &too_deep(self.limits)));
        }
        let Kind::Map(pairs) = &mut self.nodes[id.index()].kind else { return Ok(()) };
        let all = std::mem::take(pairs);
        let mut own = Vec::with_capacity(all.len());
        let mut sources = Vec::new();
        for (key, value) in all {
            match &mut self.nodes[key.index()].tag {
                Tag::Merge => sources.push(value),
                tag => {
                    if *tag == Tag::Value {
                        *tag = Tag::Str;
                    }
                    own.push((key, value));
                }
            }
        }
        // A mapping that merges itself finds its own pairs here.
        self.set_pairs(id, own);
        if sources.is_empty() {
            return Ok(());
        }
        let mut merged = Vec::new();
        for source in sources {
            self.merge(source, depth, &mut merged)?;
        }
        if let Some(own) = self.pairs_of(id) {
            merged.extend_from_slice(own);
        }
        self.set_pairs(id, merged);
        Ok(())
    }

    fn set_pairs(&mut self, id: NodeId, pairs: Vec<(NodeId, NodeId)>) {
        if let Kind::Map(place) = &mut self.nodes[id.index()].kind {
            *place = pairs;
        }
    }

    fn merge(
        &mut self,
        source: NodeId,
        depth: usize,
        merged: &mut Vec<(NodeId, NodeId)>,
    ) -> Result<(), YamlError> {
        let sources = if self.pairs_of(source).is_some() {
            vec![source]
        } else if let Some(items) = self.items_of(source) {
            items.to_vec()
        } else {
            return Err(self.error(source, "'<<' takes a mapping or a list of mappings, like '<<: *name'"));
        };
        for source in &sources {
            if self.pairs_of(*source).is_none() {
                return Err(self.error(*source, "'<<' takes mappings only, and this is none"));
            }
            self.expand_merges(*source, depth + 1)?;
        }
        // Earlier sources win: they come last.
        for source in sources.iter().rev() {
            let before = merged.len();
            merged.extend_from_slice(self.pairs_of(*source).unwrap_or_default());
            self.merged += (merged.len() - before) as u64;
            if self.merged > self.limits.nodes {
                return Err(self.error(*source, &too_many(self.limits)));
            }
        }
        Ok(())
    }

    fn unknown_tag(&self, id: NodeId) -> YamlError {
        let tag = self.nodes[id.index()].tag.shorthand();
        let problem = if tag.starts_with("!!python/") {
            format!("the tag '{tag}' names a Python object, which is not read from files; remove it")
        } else {
            // Not shown: it may be a password whose quotes were forgotten.
            "a tag ('!') that is unknown here; remove it, or put the text in quotes if the '!' is meant as text"
                .to_owned()
        };
        self.error(id, &problem)
    }

    fn wrong_kind(&self, id: NodeId, wanted: &str) -> YamlError {
        let tag = self.nodes[id.index()].tag.shorthand();
        self.error(id, &format!("{wanted} is needed here for '{tag}'; correct the value, or remove the tag"))
    }

    fn error(&self, id: NodeId, problem: &str) -> YamlError {
        YamlError::at(self.nodes[id.index()].mark, problem)
    }
}
