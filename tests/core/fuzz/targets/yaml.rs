//! Everything that reads YAML: no panic; what is read can be written, and is read again.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::path::Path;

use miqro::core::yaml::{Limits, Surroundings, emit, load, load_with_tags};

/// Included files and secrets that never end well: they include each other, and more of themselves.
struct Trap {
    files: HashMap<&'static str, &'static str>,
}

impl Surroundings for Trap {
    fn variable(&self, name: &str) -> Option<OsString> {
        name.len().is_multiple_of(2).then(|| name.into())
    }

    fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let content = self.files.get(name).ok_or(io::ErrorKind::NotFound)?;
        assert!(content.len() <= limit);
        Ok(content.as_bytes().to_vec())
    }
}

pub fn take(text: &[u8]) {
    let trap = Trap {
        files: HashMap::from([
            ("f.yaml", "x: &a [1, !include g.yaml, !env LANG]\ny: *a\n<<: {z: 1}\n"),
            ("g.yaml", "- !include f.yaml\n- !secret one\n- &a !include h.yaml\n"),
            ("h.yaml", "&a\nk: v\nself: *a\n"),
            ("secrets.yaml", "one: 1\ntwo: [2]\nthree: &b !!binary aGk=\n"),
        ]),
    };
    let limits = Limits::default();
    if let Ok(document) = load(text, "fuzz.yaml", &limits)
        && let Ok(written) = emit(&document, &limits)
        && let Err(error) = load(written.as_bytes(), "written.yaml", &limits)
    {
        panic!("what was written is not read: {error}\n{written}");
    }
    match load_with_tags(text, Path::new("conf/miqro.yml"), &limits, &trap) {
        Ok((document, problems)) => {
            assert!(document.len() < 10_000_000);
            assert!(problems.iter().all(|problem| !problem.to_string().is_empty()));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
