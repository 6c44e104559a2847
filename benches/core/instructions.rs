//! The rows of [`work`], once each, for callgrind: `scripts/instructions.py` runs it and counts what happens inside
//! `counted`. Prints a line for each: its name, and what a turn of it does.
#![allow(clippy::print_stdout, reason = "a program")]

mod work;

/// Counted by its name; each call of it becomes a part of callgrind's output.
#[inline(never)]
fn counted(turn: &mut dyn FnMut()) {
    turn();
}

fn main() {
    for mut row in work::rows() {
        counted(&mut row.turn);
        println!("{} {}", row.name, row.count);
    }
}
