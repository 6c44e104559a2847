//! Random texts for everything that reads YAML: no panic, no hang, bounded memory (contract C57).

use super::{run, targets};

pub const CORPUS: &[&str] = &[
    include_str!("../../golden/fuzz/config.yml"),
    include_str!("../../golden/fuzz/kinds.yml"),
    include_str!("../../golden/fuzz/graph.yml"),
    include_str!("../../golden/fuzz/blocks.yml"),
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

#[test]
fn no_text_makes_a_reader_panic_or_hang_or_take_more_than_bounded_memory() {
    run("texts", 5_000, mutated, targets::yaml::take);
}
