//! Random inputs for whatever reads what others have written: no panic, no hang, bounded memory.
//!
//! A seeded mutation of a corpus. `cargo test` runs some thousand inputs each; `make soak` a million:
//! `MIQRO_FUZZ_INPUTS`, and another sequence with `MIQRO_FUZZ_SEED`. `make fuzz` gives the same targets to a fuzzer
//! that looks at what they do.

pub mod corpus;
mod packets;
mod sessions;
pub mod targets;
mod yaml;

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long an input may take at most, and how much memory all of them.
const SLOWEST: Duration = Duration::from_secs(5);
const MOST: u64 = 512 << 20;

/// Bytes of memory that this process has had at most.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

/// A number that the environment may set.
pub fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// A hang cannot be told from within: another thread looks, and ends the process with the number of the input. At the
/// largest number it stops looking.
fn watch(current: Arc<AtomicU64>, seed: u64) {
    std::thread::spawn(move || {
        let mut last = (0, Instant::now());
        loop {
            std::thread::sleep(Duration::from_millis(200));
            let now = current.load(Ordering::Relaxed);
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
}

/// Gives random inputs to `take`, `default` of them unless the environment says otherwise. How many there were.
fn run(
    what: &str,
    default: u64,
    random_input: impl Fn(&mut fastrand::Rng) -> Vec<u8>,
    take: impl Fn(&[u8]),
) -> u64 {
    let inputs = number("MIQRO_FUZZ_INPUTS", default);
    let seed = number("MIQRO_FUZZ_SEED", 1);
    let current = Arc::new(AtomicU64::new(0));
    watch(Arc::clone(&current), seed);
    let started = Instant::now();
    for number in 0..inputs {
        current.store(number, Ordering::Relaxed);
        // Each input has a seed of its own, so that one that fails can be made alone.
        let mut random = fastrand::Rng::with_seed(seed.wrapping_mul(1 << 40) + number);
        let input = random_input(&mut random);
        let before = Instant::now();
        let survived = catch_unwind(AssertUnwindSafe(|| take(&input))).is_ok();
        assert!(survived, "input {number} of seed {seed} panics:\n{}", input.escape_ascii());
        let taken = before.elapsed();
        assert!(taken < SLOWEST, "input {number} of seed {seed} takes {taken:?}:\n{}", input.escape_ascii());
    }
    current.store(u64::MAX, Ordering::Relaxed);
    let peak = peak().unwrap_or(0);
    assert!(peak < MOST, "{} MiB of memory were taken", peak >> 20);
    let taken = started.elapsed();
    let _ =
        writeln!(io::stderr(), "{inputs} {what} of seed {seed} in {taken:.0?}, at most {} MiB", peak >> 20);
    inputs
}
