//! Random texts for everything that reads YAML: no panic, no hang, bounded memory (contract C57).
//!
//! A seeded mutation of a corpus. `cargo test` runs some thousand inputs; `make soak` a million:
//! `MIQRO_FUZZ_INPUTS`, and another sequence with `MIQRO_FUZZ_SEED`.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use miqro::core::yaml::{Limits, Surroundings, emit, load, load_with_tags};

const CORPUS: &[&str] = &[
    include_str!("../golden/fuzz/config.yml"),
    include_str!("../golden/fuzz/kinds.yml"),
    include_str!("../golden/fuzz/graph.yml"),
    include_str!("../golden/fuzz/blocks.yml"),
    "a: !env NAME default\nb: !secret one\nc: !include f.yaml\n<<: !include g.yaml\n? !env X\n: 1\n",
    "[!include f.yaml, !include f.yaml, !include g.yaml, !include f.yaml, !include g.yaml]",
    "{a: [1, {b: !!set {x, y}}], 'q': \"\\x41\\u00e9\", ? [c] : d}",
    "%YAML 1.1\n%TAG !e! tag:yaml.org,2002:\n--- !e!int 1\n...\n",
];

/// What mutations put in: each means something to a scanner.
const TOKENS: &[&str] = &[
    "\n",
    "\n  ",
    "\n- ",
    ": ",
    "? ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    ", ",
    "&a ",
    "*a",
    "<<: *a",
    "<<: [*a, *a]",
    "!env ",
    "!secret ",
    "!include f.yaml",
    "!include g.yaml",
    "!!int ",
    "!!float ",
    "!!binary ",
    "!!set ",
    "!!omap ",
    "!!pairs ",
    "!!timestamp ",
    "!!python/tuple ",
    "!!python/complex ",
    "!!python/name:x ",
    "!",
    "|",
    ">",
    "|+2",
    ">-",
    "'",
    "\"",
    "\\",
    "#",
    " #",
    "%",
    "@",
    "---\n",
    "...\n",
    "\t",
    "\u{feff}",
    "\u{2028}",
    "\u{85}",
    "\0",
    "\u{fffd}",
    "é",
    "😀",
    "0x_",
    "1:59:59.9",
    "2001-01-01t1:1:1z",
    ".inf",
    "1e+999999999",
    "99999999999999999999999999999",
    "~",
    "=",
    "0o7",
    "[[[[[[[[[[[[[[[[",
    "{a: {a: {a: {a: ",
    "\r\n",
    "\r",
];

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

fn mutated(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut text = random.choice(CORPUS).unwrap().as_bytes().to_vec();
    for _ in 0..random.usize(1..12) {
        let at = random.usize(0..=text.len());
        match random.u8(0..8) {
            0 => text.truncate(at.max(1)),
            1 if at < text.len() => text[at] = random.u8(..),
            2 if at < text.len() => text[at] ^= 1 << random.u8(0..8),
            3 => {
                let end = (at + random.usize(0..40)).min(text.len());
                text.drain(at..end);
            }
            4 => {
                // A piece of the text again, some times over: nesting and repetition.
                let end = (at + random.usize(0..60)).min(text.len());
                let piece = text[at..end].repeat(random.usize(1..8));
                text.splice(at..at, piece);
            }
            5 => {
                let other = random.choice(CORPUS).unwrap().as_bytes();
                let from = random.usize(0..other.len());
                let to = random.usize(from..other.len());
                text.splice(at..at, other[from..to].iter().copied());
            }
            _ => {
                let token = random.choice(TOKENS).unwrap().bytes();
                text.splice(at..at, token);
            }
        }
        text.truncate(1 << 14);
    }
    if random.u8(0..50) == 0 {
        let wide: Vec<u16> = String::from_utf8_lossy(&text).encode_utf16().collect();
        text = [0xff, 0xfe].into_iter().chain(wide.into_iter().flat_map(u16::to_le_bytes)).collect();
    }
    text
}

/// Bytes of memory that this process has had at most.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// What is tried with each input. Nothing may panic; what is read can be written, and is read again.
fn take(text: &[u8], trap: &Trap) {
    let limits = Limits::default();
    if let Ok(document) = load(text, "fuzz.yaml", &limits)
        && let Ok(written) = emit(&document, &limits)
        && let Err(error) = load(written.as_bytes(), "written.yaml", &limits)
    {
        panic!("what was written is not read: {error}\n{written}");
    }
    match load_with_tags(text, Path::new("conf/miqro.yml"), &limits, trap) {
        Ok((document, problems)) => {
            assert!(document.len() < 10_000_000);
            assert!(problems.iter().all(|problem| !problem.to_string().is_empty()));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

#[test]
fn no_text_makes_a_reader_panic_or_hang_or_take_more_than_bounded_memory() {
    const SLOWEST: Duration = Duration::from_secs(5);
    const MOST: u64 = 512 << 20;
    let inputs = number("MIQRO_FUZZ_INPUTS", 5_000);
    let seed = number("MIQRO_FUZZ_SEED", 1);
    let trap = Trap {
        files: HashMap::from([
            ("f.yaml", "x: &a [1, !include g.yaml, !env LANG]\ny: *a\n<<: {z: 1}\n"),
            ("g.yaml", "- !include f.yaml\n- !secret one\n- &a !include h.yaml\n"),
            ("h.yaml", "&a\nk: v\nself: *a\n"),
            ("secrets.yaml", "one: 1\ntwo: [2]\nthree: &b !!binary aGk=\n"),
        ]),
    };

    // A hang cannot be told from within: another thread looks, and ends the process with the number of the input.
    let current = Arc::new(AtomicU64::new(0));
    let watched = Arc::clone(&current);
    std::thread::spawn(move || {
        let mut last = (0, Instant::now());
        loop {
            std::thread::sleep(Duration::from_millis(200));
            let now = watched.load(Ordering::Relaxed);
            if now != last.0 {
                last = (now, Instant::now());
            } else if now == u64::MAX {
                return;
            } else if last.1.elapsed() > 4 * SLOWEST {
                let _ = writeln!(io::stderr(), "input {now} of seed {seed} hangs");
                std::process::abort();
            }
        }
    });
    let started = Instant::now();
    for input in 0..inputs {
        current.store(input, Ordering::Relaxed);
        // Each input has a seed of its own, so that one that fails can be made alone.
        let mut random = fastrand::Rng::with_seed(seed.wrapping_mul(1 << 40) + input);
        let text = mutated(&mut random);
        let before = Instant::now();
        let survived = std::panic::catch_unwind(|| take(&text, &trap)).is_ok();
        assert!(survived, "input {input} of seed {seed} panics:\n{}", String::from_utf8_lossy(&text));
        let taken = before.elapsed();
        assert!(
            taken < SLOWEST,
            "input {input} of seed {seed} takes {taken:?}:\n{}",
            String::from_utf8_lossy(&text)
        );
    }
    current.store(u64::MAX, Ordering::Relaxed);
    let peak = peak().unwrap_or(0);
    assert!(peak < MOST, "{} MiB of memory were taken", peak >> 20);
    let _ = writeln!(
        io::stderr(),
        "{inputs} inputs of seed {seed} in {:.0?}, at most {} MiB",
        started.elapsed(),
        peak >> 20
    );
}
