//! How large and how deep a document may be (contract C57), and the check of a graph against it.

use super::node::{Children, Document, NodeId};

/// The limits of C57. The defaults are the contract's.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Collections inside collections, aliases followed.
    pub depth: usize,
    /// Size of the text in bytes.
    pub bytes: usize,
    /// Nodes after every alias and merge key is expanded.
    pub nodes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth: 100, bytes: 16 << 20, nodes: 10_000_000 }
    }
}

/// Which limit a document is over, and at which node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excess {
    /// The node where it shows; `None` for the document as a whole.
    pub node: Option<NodeId>,
    /// Whether it is nested too deeply; else it expands to too many nodes.
    pub depth: bool,
}

impl Excess {
    /// What is wrong, and what to do.
    pub fn sentence(&self, limits: &Limits) -> String {
        if self.depth { too_deep(limits) } else { too_many(limits) }
    }
}

pub(super) fn too_deep(limits: &Limits) -> String {
    format!("the data is nested more than {} levels deep; flatten it", limits.depth)
}

pub(super) fn too_many(limits: &Limits) -> String {
    format!(
        "aliases and merge keys expand this document to more than {} values; write it without so many of them",
        limits.nodes
    )
}

/// How deep and how large a node is once expanded; being visited, or not yet.
#[derive(Clone, Copy)]
enum Seen {
    Not,
    Open,
    Done { height: usize, size: u64 },
}

struct Frame<'a> {
    node: NodeId,
    children: Children<'a>,
    height: usize,
    size: u64,
}

/// Checks depth and expanded size of everything that the root leads to. A reference back to a collection that
/// is still open (a recursive alias) counts as one node: nothing expands it.
///
/// # Errors
/// The first limit that is exceeded.
pub fn check(document: &Document, limits: &Limits) -> Result<(), Excess> {
    let Some(root) = document.root() else { return Ok(()) };
    let mut seen = vec![Seen::Not; document.len()];
    let mut stack: Vec<Frame<'_>> = Vec::new();
    let mut next = Some(root);
    loop {
        if let Some(node) = next.take() {
            let (height, size) = match seen[node.index()] {
                Seen::Done { height, size } => (height, size),
                Seen::Not if document.value(node).is_collection() => {
                    if stack.len() >= limits.depth {
                        return Err(Excess { node: Some(node), depth: true });
                    }
                    seen[node.index()] = Seen::Open;
                    let children = document.value(node).children();
                    stack.push(Frame { node, children, height: 1, size: 1 });
                    (0, 0)
                }
                Seen::Open | Seen::Not => (0, 1),
            };
            if let (Some(parent), true) = (stack.last_mut(), size > 0) {
                parent.take_in(height, size);
            }
        }
        let Some(frame) = stack.last_mut() else { return Ok(()) };
        if frame.height > limits.depth {
            return Err(Excess { node: Some(frame.node), depth: true });
        }
        if frame.size > limits.nodes {
            return Err(Excess { node: Some(frame.node), depth: false });
        }
        next = frame.children.next();
        if next.is_none()
            && let Some(done) = stack.pop()
        {
            seen[done.node.index()] = Seen::Done { height: done.height, size: done.size };
            if let Some(parent) = stack.last_mut() {
                parent.take_in(done.height, done.size);
            }
        }
        if stack.is_empty() {
            return Ok(());
        }
    }
}

impl Frame<'_> {
    fn take_in(&mut self, height: usize, size: u64) {
        self.height = self.height.max(height + 1);
        self.size = self.size.saturating_add(size);
    }
}
