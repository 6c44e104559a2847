//! From a topic to the handlers it belongs to (contract C13).
//!
//! Filters without a wildcard are found by one hash look-up, those with one by walking a tree of levels, so the
//! cost of a message depends on the depth of its topic and on what matches, not on how many handlers there are.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::topic::{TopicError, check_filter, matched_part};

/// A registered handler. Ids are given in order of registration and never twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HandlerId(pub u32);

/// One handler that a topic belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// Which handler.
    pub id: HandlerId,
    /// Where the filter ends in `#`: the byte at which the part of the topic begins that the `#` stands for, the
    /// topic's end where it stands for nothing.
    pub remainder: Option<usize>,
}

/// A handler in its place of the order of calls: the global ones (`own` is `false`) first, each kind by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    own: bool,
    id: HandlerId,
}

#[derive(Debug)]
struct Registration {
    filter: Box<str>,
    own: bool,
}

/// One level of the tree of filters with wildcards.
#[derive(Debug, Default)]
struct Node {
    children: HashMap<Box<str>, usize>,
    plus: Option<usize>,
    /// Handlers whose filter ends here.
    ends: Vec<Entry>,
    /// Handlers whose filter has a `#` below here.
    rest: Vec<Entry>,
}

impl Node {
    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.plus.is_none() && self.ends.is_empty() && self.rest.is_empty()
    }
}

/// The root's place among the nodes.
const ROOT: usize = 0;

/// Which handlers a topic belongs to. Nothing in it recurses: a filter may have 65,536 levels.
#[derive(Debug)]
pub struct Router {
    next: u32,
    registrations: BTreeMap<HandlerId, Registration>,
    exact: HashMap<Box<str>, Vec<Entry>>,
    nodes: Vec<Node>,
    /// Places among the nodes that are empty and may be used again.
    free: Vec<usize>,
}

impl Default for Router {
    fn default() -> Self {
        Self {
            next: 0,
            registrations: BTreeMap::new(),
            exact: HashMap::new(),
            nodes: vec![Node::default()],
            free: Vec::new(),
        }
    }
}

impl Router {
    /// Registers a handler for `filter`, `$share/group/filter` included. `global` ones are called before the
    /// service's own.
    ///
    /// # Errors
    /// [`TopicError`] where the filter is invalid; nothing is registered then.
    pub fn add(&mut self, filter: &str, global: bool) -> Result<HandlerId, TopicError> {
        check_filter(filter)?;
        let id = HandlerId(self.next);
        self.next = self.next.checked_add(1).ok_or(TopicError::TooManyHandlers)?;
        let own = !global;
        let entry = Entry { own, id };
        let matched = matched_part(filter);
        if matched.contains(['+', '#']) {
            let (path, hash) = split_hash(matched);
            let mut node = ROOT;
            for level in path {
                node = self.child(node, level);
            }
            let list = if hash { &mut self.nodes[node].rest } else { &mut self.nodes[node].ends };
            list.push(entry);
        } else if let Some(list) = self.exact.get_mut(matched) {
            list.push(entry);
        } else {
            self.exact.insert(matched.into(), vec![entry]);
        }
        self.registrations.insert(id, Registration { filter: filter.into(), own });
        Ok(id)
    }

    /// The node below `node` for `level`, made if it is not there.
    fn child(&mut self, node: usize, level: &str) -> usize {
        let found = self.below(node, level);
        found.unwrap_or_else(|| {
            let new = self.free.pop().unwrap_or_else(|| {
                self.nodes.push(Node::default());
                self.nodes.len() - 1
            });
            let parent = &mut self.nodes[node];
            if level == "+" {
                parent.plus = Some(new);
            } else {
                parent.children.insert(level.into(), new);
            }
            new
        })
    }

    fn below(&self, node: usize, level: &str) -> Option<usize> {
        let node = &self.nodes[node];
        if level == "+" { node.plus } else { node.children.get(level).copied() }
    }

    /// Forgets a handler, and whether there was one with this id.
    pub fn remove(&mut self, id: HandlerId) -> bool {
        let Some(Registration { filter, own }) = self.registrations.remove(&id) else {
            return false;
        };
        let entry = Entry { own, id };
        let matched = matched_part(&filter);
        if !matched.contains(['+', '#']) {
            if let Some(list) = self.exact.get_mut(matched) {
                list.retain(|other| *other != entry);
                if list.is_empty() {
                    self.exact.remove(matched);
                }
            }
            return true;
        }
        let (path, hash) = split_hash(matched);
        let mut way = Vec::new();
        let mut node = ROOT;
        for level in path {
            way.push((node, level));
            // The way was made by `add` and is kept while a filter needs it.
            let Some(next) = self.below(node, level) else { return true };
            node = next;
        }
        let list = if hash { &mut self.nodes[node].rest } else { &mut self.nodes[node].ends };
        list.retain(|other| *other != entry);
        while self.nodes[node].is_empty()
            && let Some((parent, level)) = way.pop()
        {
            // A new node, so that the memory of the old one's tables is returned.
            self.nodes[node] = Node::default();
            self.free.push(node);
            if level == "+" {
                self.nodes[parent].plus = None;
            } else {
                self.nodes[parent].children.remove(level);
            }
            node = parent;
        }
        true
    }

    /// Every filter in use, each once, in order of registration: what is to be subscribed to.
    pub fn filters(&self) -> Vec<&str> {
        let mut seen = HashSet::new();
        self.registrations.values().map(|it| &*it.filter).filter(|filter| seen.insert(*filter)).collect()
    }

    /// How many handlers are registered.
    pub fn len(&self) -> usize {
        self.registrations.len()
    }

    /// Whether no handler is registered.
    pub fn is_empty(&self) -> bool {
        self.registrations.is_empty()
    }

    /// The handlers `topic` belongs to, in the order they are to be called: every global one first, then the
    /// service's own, each kind in order of registration.
    pub fn route(&self, topic: &str) -> Vec<Match> {
        let mut found: Vec<(Entry, Option<usize>)> = Vec::new();
        if let Some(entries) = self.exact.get(topic) {
            found.extend(entries.iter().map(|entry| (*entry, None)));
        }
        if !self.nodes[ROOT].is_empty() {
            self.walk(topic, &mut found);
        }
        // One filter is found at most once, so entries are distinct.
        found.sort_unstable_by_key(|(entry, _)| *entry);
        found.into_iter().map(|(entry, remainder)| Match { id: entry.id, remainder }).collect()
    }

    fn walk(&self, topic: &str, found: &mut Vec<(Entry, Option<usize>)>) {
        // A wildcard in front does not stand for `$SYS` and its like.
        let hidden = topic.starts_with('$');
        // Nodes reached, each with the byte at which the next level of the topic begins (`None`: behind its end).
        let mut reached = vec![(ROOT, Some(0))];
        while let Some((at, next)) = reached.pop() {
            let node = &self.nodes[at];
            let wild = !(hidden && at == ROOT);
            if wild {
                let remainder = Some(next.unwrap_or(topic.len()));
                found.extend(node.rest.iter().map(|entry| (*entry, remainder)));
            }
            let Some(start) = next else {
                found.extend(node.ends.iter().map(|entry| (*entry, None)));
                continue;
            };
            let (level, after) = match topic[start..].find('/') {
                Some(slash) => (&topic[start..start + slash], Some(start + slash + 1)),
                None => (&topic[start..], None),
            };
            if let Some(child) = node.children.get(level) {
                reached.push((*child, after));
            }
            if let Some(plus) = node.plus
                && wild
            {
                reached.push((plus, after));
            }
        }
    }
}

/// The levels of a filter without a final `#`, and whether it had one.
fn split_hash(filter: &str) -> (impl Iterator<Item = &str>, bool) {
    let (path, hash) = match filter.strip_suffix('#') {
        Some(path) => (path.strip_suffix('/'), true),
        None => (Some(filter), false),
    };
    (path.into_iter().flat_map(|path| path.split('/')), hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(router: &Router, topic: &str) -> Vec<u32> {
        router.route(topic).into_iter().map(|it| it.id.0).collect()
    }

    #[test]
    fn global_handlers_come_first_then_own_each_in_order_of_registration() {
        let mut router = Router::default();
        for (filter, global) in [("a/#", false), ("a/b", false), ("#", true), ("a/+", false), ("a/b", true)] {
            router.add(filter, global).unwrap();
        }
        assert_eq!(ids(&router, "a/b"), [2, 4, 0, 1, 3]);
        assert_eq!(ids(&router, "a"), [2, 0]);
        assert_eq!(ids(&router, "$SYS/x"), [] as [u32; 0]);
    }

    #[test]
    fn an_invalid_filter_registers_nothing() {
        let mut router = Router::default();
        assert!(router.add("a+", false).is_err());
        assert!(router.is_empty() && router.filters().is_empty());
    }

    #[test]
    fn filters_are_listed_once_as_they_were_given() {
        let mut router = Router::default();
        for filter in ["b", "$share/g/b", "b", "a/#"] {
            router.add(filter, false).unwrap();
        }
        assert_eq!(router.filters(), ["b", "$share/g/b", "a/#"]);
        assert!(router.remove(HandlerId(0)));
        assert_eq!(router.filters(), ["$share/g/b", "b", "a/#"]);
        assert_eq!(ids(&router, "b"), [1, 2]);
    }

    #[test]
    fn removing_every_handler_gives_the_nodes_back() {
        let mut router = Router::default();
        let filters = ["a/b/c/#", "a/+/c", "+/b", "#", "x", "a/b/c/#"];
        let added: Vec<_> = filters.iter().map(|filter| router.add(filter, true).unwrap()).collect();
        let grown = router.nodes.len();
        for id in &added {
            assert!(router.remove(*id));
            assert!(!router.remove(*id));
        }
        assert!(router.nodes[ROOT].is_empty() && router.exact.is_empty());
        assert_eq!(router.free.len(), grown - 1);
        for filter in filters {
            router.add(filter, true).unwrap();
        }
        assert_eq!(router.nodes.len(), grown, "the places are used again");
        assert_eq!(ids(&router, "a/b/c"), [6, 7, 9, 11]);
    }

    #[test]
    fn a_filter_of_the_greatest_depth_is_no_trouble() {
        let mut router = Router::default();
        let deep = "/".repeat(65_533);
        let id = router.add(&format!("{deep}/#"), false).unwrap();
        assert_eq!(router.route(&deep), [Match { id, remainder: Some(65_533) }], "the parent level");
        assert_eq!(router.route(&deep[1..]), []);
        assert_eq!(router.route(&format!("{deep}/x")), [Match { id, remainder: Some(65_534) }]);
        assert!(router.remove(id));
        assert_eq!(router.free.len(), router.nodes.len() - 1);
    }
}
