//! The tags that a configuration may have, and no other document: `!env`, `!secret`, `!include` (issue of the
//! configuration; known from Home Assistant).
//!
//! They are replaced in the graph, before values are made: so an included mapping can be merged (`<<: !include FILE`),
//! and each node keeps the place in the file that it comes from.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::compose::{Graph, Kind, Raw, compose};
use super::decode::decode;
use super::error::YamlError;
use super::limits::{Limits, too_many};
use super::node::{Document, Mark, NodeId};
use super::tag::Tag;
use super::values;
use crate::core::config::nearest;
use crate::core::state_file::reason;

/// Files that include each other, at most.
const MAX_INCLUDE_DEPTH: usize = 10;
/// Files that are included, at most.
const MAX_FILES: usize = 1000;
/// The file beside the configuration that `!secret` looks into.
const SECRETS: &str = "secrets.yaml";

/// The world outside the configuration file, as far as its tags reach.
pub trait Surroundings {
    /// A variable of the environment.
    fn variable(&self, name: &str) -> Option<OsString>;

    /// Reads a file, at most `limit` bytes and one more, which tells that there is more.
    ///
    /// # Errors
    /// Those of the system.
    fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>>;
}

/// Reads a configuration file, with its tags. `path` is where it is: `!include` and `!secret` start from there.
///
/// Gives with it all tags that lead nowhere: their nodes are null.
///
/// # Errors
/// As [`load`](super::load).
pub fn load_with_tags(
    bytes: &[u8],
    path: &Path,
    limits: &Limits,
    surroundings: &dyn Surroundings,
) -> Result<(Document, Vec<YamlError>), YamlError> {
    let mut expander = Expander {
        graph: Graph::default(),
        files: Vec::new(),
        origins: HashMap::new(),
        errors: Vec::new(),
        secrets: None,
        folder: folder(path),
        bytes: 0,
        limits,
        surroundings,
    };
    let root = expander.file(bytes, path, &[]);
    let Expander { mut graph, files, origins, errors, .. } = expander;
    let document = root.and_then(|root| {
        graph.root = root;
        values(graph, limits)
    });
    match document {
        Ok(document) => {
            let errors = errors.into_iter().map(|error| error.in_files(&files)).collect();
            let origins = origins.into_iter().map(|(id, (origin, _))| (id, origin)).collect();
            Ok((document.with_sources(files, origins), errors))
        }
        // What a tag that leads nowhere stands for may be the reason; so that one comes first.
        Err(error) => Err(errors.into_iter().next().unwrap_or(error).in_files(&files)),
    }
}

/// The names in `secrets.yaml`, each with its node.
type Secrets = HashMap<String, Raw>;

struct Expander<'a> {
    graph: Graph,
    files: Vec<String>,
    /// The nodes whose value is hidden: the tag, and where it stands.
    origins: HashMap<NodeId, (String, Mark)>,
    errors: Vec<YamlError>,
    /// Once they are asked for. `Err`: they cannot be read, and that was said.
    secrets: Option<Result<Secrets, ()>>,
    folder: PathBuf,
    /// All that was read so far.
    bytes: usize,
    limits: &'a Limits,
    surroundings: &'a dyn Surroundings,
}

impl Expander<'_> {
    /// Adds the nodes of a file to the graph, its tags replaced, and gives its root.
    fn file(&mut self, bytes: &[u8], path: &Path, above: &[PathBuf]) -> Result<Option<NodeId>, YamlError> {
        let file = self.number(path);
        let added = self.compose(bytes, file)?;
        let start = self.graph.nodes.len();
        if (start + added.nodes.len()) as u64 > self.limits.nodes {
            return Err(YamlError::whole(too_many(self.limits)).of_file(file));
        }
        let moved = |id: NodeId| NodeId::new(id.index() + start);
        self.graph.aliases |= added.aliases || start > 0;
        self.graph.nodes.extend(added.nodes.into_iter().map(|mut node| {
            match &mut node.kind {
                Kind::Scalar(_) => {}
                Kind::Seq(items) => items.iter_mut().for_each(|item| *item = moved(*item)),
                Kind::Map(pairs) => pairs.iter_mut().for_each(|pair| *pair = (moved(pair.0), moved(pair.1))),
            }
            node
        }));
        let mut chain = above.to_vec();
        chain.push(path.to_owned());
        for index in start..self.graph.nodes.len() {
            self.node(NodeId::new(index), &chain);
        }
        self.refuse_keys(start);
        Ok(added.root.map(moved))
    }

    /// Composes a file; the marks in it, and in what is wrong with it, tell which one.
    fn compose(&mut self, bytes: &[u8], file: u16) -> Result<Graph, YamlError> {
        self.bytes = self.bytes.saturating_add(bytes.len());
        if self.bytes > self.limits.bytes {
            return Err(YamlError::whole(format!(
                "the configuration, with all that it includes, is larger than {} MiB, the most that is read; remove \
                 data from it",
                self.limits.bytes >> 20
            ))
            .of_file(file));
        }
        let graph = decode(bytes).and_then(|text| compose(&text, self.limits));
        let mut graph = graph.map_err(|error| error.of_file(file))?;
        graph.nodes.iter_mut().for_each(|node| node.mark.file = file);
        Ok(graph)
    }

    fn number(&mut self, path: &Path) -> u16 {
        self.files.push(path.display().to_string());
        u16::try_from(self.files.len() - 1).unwrap_or(u16::MAX)
    }

    /// Replaces a node that has one of the tags.
    fn node(&mut self, id: NodeId, chain: &[PathBuf]) {
        let node = &self.graph.nodes[id.index()];
        let Tag::Other(tag) = &node.tag else { return };
        let tag = match &**tag {
            "!env" => "!env",
            "!secret" => "!secret",
            "!include" => "!include",
            _ => return,
        };
        let mark = node.mark;
        let result = match &node.kind {
            Kind::Scalar(text) => {
                let text = text.trim().to_owned();
                match tag {
                    "!env" => self.variable(&text, mark).map(|node| (node, Some(origin(tag, &text)))),
                    "!secret" => self.secret(&text, mark).map(|node| (node, Some(origin(tag, &text)))),
                    _ => self.include(&text, mark, chain),
                }
            }
            _ => Err(Some(YamlError::at(mark, format!("'{tag}' takes a text; write it on the same line")))),
        };
        // What could not be replaced is null from here on, so that it is complained of once.
        let (node, origin) = result.unwrap_or_else(|error| {
            self.errors.extend(error);
            (Raw { kind: Kind::Scalar(String::new()), tag: Tag::Null, mark }, None)
        });
        self.graph.nodes[id.index()] = node;
        if let Some(origin) = origin {
            self.origins.insert(id, (origin, mark));
        }
    }

    fn variable(&mut self, text: &str, mark: Mark) -> Result<Raw, Option<YamlError>> {
        let (name, default) =
            text.split_once(char::is_whitespace).map_or((text, None), |(n, d)| (n, Some(d)));
        if name.is_empty() || name.contains(['=', '\0']) {
            let problem =
                "'!env' needs the name of a variable, and a default if you like: '!env NAME default'";
            return Err(Some(YamlError::at(mark, problem)));
        }
        let value = match (self.surroundings.variable(name), default) {
            (Some(value), _) => value.into_string().map_err(|_| {
                YamlError::at(mark, format!("the environment variable {name} is not UTF-8; set it anew"))
            })?,
            (None, Some(default)) => unquoted(default.trim()).to_owned(),
            (None, None) => {
                let problem = format!(
                    "the environment variable {name} is not set; set it, or write a default: '!env {name} default'"
                );
                return Err(Some(YamlError::at(mark, problem)));
            }
        };
        Ok(Raw { kind: Kind::Scalar(value), tag: Tag::Str, mark })
    }

    fn secret(&mut self, name: &str, mark: Mark) -> Result<Raw, Option<YamlError>> {
        if name.is_empty() {
            let problem = format!("'!secret' needs the name of a secret in {SECRETS}");
            return Err(Some(YamlError::at(mark, problem)));
        }
        if self.secrets.is_none() {
            // Known from here on, even if they cannot be read: that is said once.
            self.secrets = Some(Err(()));
            self.secrets = Some(Ok(self.read_secrets(mark)?));
        }
        let Some(Ok(secrets)) = &self.secrets else { return Err(None) };
        if let Some(Raw { kind: Kind::Scalar(text), tag, mark }) = secrets.get(name) {
            return Ok(Raw { kind: Kind::Scalar(text.clone()), tag: tag.clone(), mark: *mark });
        }
        let problem = if secrets.contains_key(name) {
            format!("the secret '{name}' is not a single value; take its parts apart in {SECRETS}")
        } else {
            let advice = match nearest(name, secrets.keys().map(String::as_str)) {
                Some(other) => format!("did you mean '{other}'?"),
                None => "add it there".to_owned(),
            };
            format!("{SECRETS} has no secret '{name}'; {advice}")
        };
        Err(Some(YamlError::at(mark, problem)))
    }

    fn read_secrets(&mut self, mark: Mark) -> Result<Secrets, YamlError> {
        let path = self.folder.join(SECRETS);
        let bytes = self.surroundings.read(&path, self.limits.bytes).map_err(|error| {
            let why = reason(&error).1;
            let advice = "create it beside the configuration, readable for this user";
            YamlError::at(mark, format!("'!secret' looks into {}: {why}; {advice}", path.display()))
        })?;
        let file = self.number(&path);
        let mut graph = self.compose(&bytes, file)?;
        let Some(root) = graph.root else { return Ok(Secrets::new()) };
        let Kind::Map(pairs) = &graph.nodes[root.index()].kind else {
            let problem = "the secrets must be 'name: value' lines";
            return Err(YamlError::at(graph.nodes[root.index()].mark, problem));
        };
        // Of equal names the last one wins, as in any mapping.
        let mut secrets = Secrets::new();
        for (key, value) in pairs.clone() {
            let Kind::Scalar(name) = &graph.nodes[key.index()].kind else { continue };
            let (name, node) = (name.clone(), &mut graph.nodes[value.index()]);
            let kind = match &node.kind {
                Kind::Scalar(text) => Kind::Scalar(text.clone()),
                _ => Kind::Seq(Vec::new()),
            };
            secrets.insert(name, Raw { kind, tag: node.tag.clone(), mark: node.mark });
        }
        Ok(secrets)
    }

    fn include(
        &mut self,
        name: &str,
        mark: Mark,
        chain: &[PathBuf],
    ) -> Result<(Raw, Option<String>), Option<YamlError>> {
        let refuse = |problem: String| Some(YamlError::at(mark, problem));
        if name.is_empty() {
            return Err(refuse("'!include' needs the name of a file".into()));
        }
        let path = chain.last().map(|file| folder(file)).unwrap_or_default().join(name);
        if chain.contains(&path) {
            return Err(refuse(format!("{} includes itself; remove one '!include'", path.display())));
        }
        if chain.len() > MAX_INCLUDE_DEPTH || self.files.len() > MAX_FILES {
            let most = format!("{MAX_FILES} files, {MAX_INCLUDE_DEPTH} deep");
            return Err(refuse(format!("more files are included than are read ({most}); include fewer")));
        }
        let bytes = self.surroundings.read(&path, self.limits.bytes).map_err(|error| {
            refuse(format!("{} cannot be included: {}; correct the path", path.display(), reason(&error).1))
        })?;
        let root = self.file(&bytes, &path, chain)?;
        let Some(root) = root else {
            return Ok((Raw { kind: Kind::Scalar(String::new()), tag: Tag::Null, mark }, None));
        };
        let origin = self.origins.get(&root).map(|(origin, _)| origin.clone());
        // The root moves to where the tag is. What led to it from inside leads to its old place, which keeps a copy.
        let root = &self.graph.nodes[root.index()];
        let kind = match &root.kind {
            Kind::Scalar(text) => Kind::Scalar(text.clone()),
            Kind::Seq(items) => Kind::Seq(items.clone()),
            Kind::Map(pairs) => Kind::Map(pairs.clone()),
        };
        Ok((Raw { kind, tag: root.tag.clone(), mark: root.mark }, origin))
    }

    /// Refuses values of tags as keys: keys are shown in sentences.
    fn refuse_keys(&mut self, start: usize) {
        if self.origins.is_empty() {
            return;
        }
        for node in &self.graph.nodes[start..] {
            let Kind::Map(pairs) = &node.kind else { continue };
            for (key, _) in pairs {
                if let Some((origin, mark)) = self.origins.get(key) {
                    let problem = format!("'{origin}' cannot be a key; write the key itself");
                    self.errors.push(YamlError::at(*mark, problem));
                }
            }
        }
    }
}

/// The tag as it may be shown: without the default, which may be a password.
fn origin(tag: &str, text: &str) -> String {
    format!("{tag} {}", text.split_whitespace().next().unwrap_or_default())
}

fn unquoted(text: &str) -> &str {
    let inside = |quote| text.strip_prefix(quote).and_then(|rest: &str| rest.strip_suffix(quote));
    inside('"').or_else(|| inside('\'')).unwrap_or(text)
}

fn folder(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_owned()
}
