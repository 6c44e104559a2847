//! From parser events to a graph of nodes: anchors, aliases, tags, and where each node stands.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, BufRead, Read};

use libyaml_safer::{Encoding, Error, ErrorKind, Event, EventData, Parser};

use super::decode::{forbidden, mark_after};
use super::error::{YamlError, explain};
use super::limits::{Limits, too_deep, too_many};
use super::node::{Mark, NodeId};
use super::strict::{Strict, ends_with_break};
use super::tag::Tag;
use super::{guard, resolver};

/// More than any document has; the parser compares each %TAG line with all others.
const MAX_TAG_DIRECTIVES: usize = 100;

/// The content of a node before its tag is applied.
#[derive(Debug)]
pub(super) enum Kind {
    Scalar(String),
    Seq(Vec<NodeId>),
    Map(Vec<(NodeId, NodeId)>),
}

/// A node as the text gives it.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) kind: Kind,
    pub(super) tag: Tag,
    pub(super) mark: Mark,
}

/// All nodes of a document, by number.
#[derive(Debug, Default)]
pub(super) struct Graph {
    pub(super) nodes: Vec<Raw>,
    pub(super) root: Option<NodeId>,
    /// Whether any alias is used: without one the graph is a tree.
    pub(super) aliases: bool,
}

/// How many bytes are read, all in all, to put spaces behind colons that lack them.
const MAX_MENDED_BYTES: usize = 16 << 20;

/// Reads the events of one document into a graph.
pub(super) fn compose(text: &str, limits: &Limits) -> Result<Graph, YamlError> {
    if text.lines().filter(|line| line.starts_with("%TAG")).nth(MAX_TAG_DIRECTIVES).is_some() {
        return Err(YamlError::whole(format!("more than {MAX_TAG_DIRECTIVES} %TAG lines; remove them")));
    }
    let break_added = !ends_with_break(text);
    let mut whole = if break_added { Cow::Owned(format!("{text}\n")) } else { Cow::Borrowed(text) };
    let mut spaces = Vec::new();
    loop {
        let composed = guard::catch(|| Composer::new(&whole, break_added, limits).run());
        let Some(composed) = composed else {
            return Err(YamlError::whole(
                "this is not valid YAML, in a way that even the reader did not expect; look for an unclosed quote or \
                 bracket near the end of the text",
            ));
        };
        match composed {
            Ok(mut graph) => {
                graph.nodes.iter_mut().for_each(|node| node.mark = without(&spaces, node.mark));
                return Ok(graph);
            }
            // `{a:[1]}`: PyYAML takes it for `{a: [1]}`, libyaml refuses it.
            Err(Failure::Colon(position, _)) if (spaces.len() + 1) * whole.len() <= MAX_MENDED_BYTES => {
                spaces.push(mark_after(&whole[..=position]));
                whole.to_mut().insert(position + 1, ' ');
            }
            Err(Failure::Colon(_, error) | Failure::Final(error)) => {
                let mark = without(&spaces, error.mark());
                return Err(YamlError::at(mark, error.message()));
            }
        }
    }
}

/// The place in the text as it was before spaces were put into it.
fn without(spaces: &[Mark], mark: Mark) -> Mark {
    let before = spaces.iter().filter(|space| space.line == mark.line && space.column < mark.column).count();
    Mark { column: mark.column - u32::try_from(before).unwrap_or(0), ..mark }
}

/// Why a text was not composed.
enum Failure {
    /// For the colon at this position, in bytes: a space behind it may help.
    Colon(usize, YamlError),
    Final(YamlError),
}

impl From<YamlError> for Failure {
    fn from(error: YamlError) -> Self {
        Self::Final(error)
    }
}

struct Composer<'a> {
    text: &'a str,
    limits: &'a Limits,
    parser: Parser<Chunks<'a>>,
    strict: Strict<'a>,
    graph: Graph,
    anchors: HashMap<String, NodeId>,
    /// The open collections, each with the key that waits for its value.
    open: Vec<(NodeId, Option<NodeId>)>,
}

impl<'a> Composer<'a> {
    fn new(text: &'a str, break_added: bool, limits: &'a Limits) -> Self {
        let mut parser = Parser::new();
        parser.set_encoding(Encoding::Utf8);
        parser.set_input(Chunks(text));
        let strict = Strict::new(text, break_added);
        Self {
            text,
            limits,
            parser,
            strict,
            graph: Graph::default(),
            anchors: HashMap::new(),
            open: Vec::new(),
        }
    }

    fn run(mut self) -> Result<Graph, Failure> {
        loop {
            let mut event = self.parser.parse().map_err(|error| self.syntax_error(&error))?;
            if let Err((position, problem)) = self.strict.check(&mut event) {
                return Err(YamlError::at(mark_after(&self.text[..position]), problem).into());
            }
            if self.take(event)? {
                return Ok(self.graph);
            }
        }
    }

    /// Takes one event in; true when it was the last one.
    fn take(&mut self, event: Event) -> Result<bool, YamlError> {
        let mark = place(event.start_mark);
        match event.data {
            EventData::StreamEnd => return Ok(true),
            EventData::DocumentStart { .. } if self.graph.root.is_some() => {
                let problem =
                    "a second document begins here, and only one is read; remove it, or the '---' line";
                return Err(YamlError::at(mark, problem));
            }
            EventData::StreamStart { .. }
            | EventData::DocumentStart { .. }
            | EventData::DocumentEnd { .. } => {}
            EventData::Alias { anchor } => {
                let Some(&id) = self.anchors.get(&anchor) else {
                    // The name is not shown: it may be a password whose quotes were forgotten.
                    let problem = "an alias ('*') has no anchor ('&') of this name above it; correct the name, or put \
                                   the text in quotes if the '*' is meant as text";
                    return Err(YamlError::at(mark, problem));
                };
                self.graph.aliases = true;
                self.attach(id);
            }
            EventData::Scalar { anchor, tag, value, plain_implicit, .. } => {
                let tag = match tag.as_deref() {
                    None if !plain_implicit => Tag::Str,
                    // A bare '!' means "by its look", for a quoted text too.
                    None | Some("!") => resolver::resolve(&value),
                    Some(tag) => Tag::of(tag),
                };
                self.add(anchor, Raw { kind: Kind::Scalar(value), tag, mark })?;
            }
            EventData::SequenceStart { anchor, tag, .. } => {
                let tag = collection_tag(tag.as_deref(), Tag::Seq);
                self.open(anchor, Raw { kind: Kind::Seq(Vec::new()), tag, mark })?;
            }
            EventData::MappingStart { anchor, tag, .. } => {
                let tag = collection_tag(tag.as_deref(), Tag::Map);
                self.open(anchor, Raw { kind: Kind::Map(Vec::new()), tag, mark })?;
            }
            EventData::SequenceEnd | EventData::MappingEnd => {
                self.open.pop();
            }
        }
        Ok(false)
    }

    fn open(&mut self, anchor: Option<String>, node: Raw) -> Result<(), YamlError> {
        if self.open.len() >= self.limits.depth {
            return Err(YamlError::at(node.mark, too_deep(self.limits)));
        }
        let id = self.add(anchor, node)?;
        self.open.push((id, None));
        Ok(())
    }

    fn add(&mut self, anchor: Option<String>, node: Raw) -> Result<NodeId, YamlError> {
        if self.graph.nodes.len() as u64 >= self.limits.nodes {
            return Err(YamlError::at(node.mark, too_many(self.limits)));
        }
        let id = NodeId::new(self.graph.nodes.len());
        if let Some(anchor) = anchor {
            if let Some(first) = self.anchors.get(&anchor) {
                let line = self.graph.nodes[first.index()].mark.line;
                let problem =
                    format!("this anchor ('&') stands a second time, first in line {line}; rename one");
                return Err(YamlError::at(node.mark, problem));
            }
            self.anchors.insert(anchor, id);
        }
        self.graph.nodes.push(node);
        self.attach(id);
        Ok(id)
    }

    /// Puts a node where the text has it: into the innermost open collection, or at the root.
    fn attach(&mut self, id: NodeId) {
        let Some((parent, pending)) = self.open.last_mut() else {
            self.graph.root = Some(id);
            return;
        };
        match (&mut self.graph.nodes[parent.index()].kind, pending.take()) {
            (Kind::Seq(items), _) => items.push(id),
            (Kind::Map(pairs), Some(key)) => pairs.push((key, id)),
            (Kind::Map(_), None) => *pending = Some(id),
            (Kind::Scalar(_), _) => {}
        }
    }

    fn syntax_error(&self, error: &Error) -> Failure {
        if matches!(error.kind(), ErrorKind::Reader | ErrorKind::Io)
            && let Some((mark, character)) = forbidden(self.text)
        {
            let problem = format!(
                "the control character U+{:04X} is not allowed; remove it, or write it as an escape in \"...\"",
                u32::from(character)
            );
            return YamlError::at(mark, problem).into();
        }
        let Some(problem_mark) = error.problem_mark() else {
            return YamlError::whole(explain(error.problem(), "", None)).into();
        };
        let position = usize::try_from(problem_mark.index).unwrap_or(usize::MAX);
        let found = self.text.get(position..).and_then(|rest| rest.chars().next());
        // A quote that is never closed is found at the end of the text, but to be mended where it began.
        let mark = match (error.problem(), error.context_mark()) {
            ("found unexpected end of stream" | "found unexpected document indicator", Some(start)) => start,
            _ => problem_mark,
        };
        let explained =
            YamlError::at(place(mark), explain(error.problem(), error.context().unwrap_or_default(), found));
        match (error.problem(), found) {
            ("found unexpected ':'", Some(':')) => Failure::Colon(position, explained),
            _ => Failure::Final(explained),
        }
    }
}

fn collection_tag(tag: Option<&str>, default: Tag) -> Tag {
    match tag {
        None | Some("!") => default,
        Some(tag) => Tag::of(tag),
    }
}

fn place(mark: libyaml_safer::Mark) -> Mark {
    let from_one = |n: u64| u32::try_from(n.saturating_add(1)).unwrap_or(u32::MAX);
    Mark { line: from_one(mark.line), column: from_one(mark.column), file: 0 }
}

/// Hands a text to the parser piece by piece: it would decode all that it is offered at once, four bytes to a
/// character.
struct Chunks<'a>(&'a str);

impl Chunks<'_> {
    fn chunk(&self) -> &[u8] {
        const SIZE: usize = 4096;
        let mut end = SIZE.min(self.0.len());
        while !self.0.is_char_boundary(end) {
            end -= 1;
        }
        &self.0.as_bytes()[..end]
    }
}

impl Read for Chunks<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.chunk().read(buffer)?;
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for Chunks<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(self.chunk())
    }

    fn consume(&mut self, amount: usize) {
        self.0 = self.0.get(amount..).unwrap_or("");
    }
}
