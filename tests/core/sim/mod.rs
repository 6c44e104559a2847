//! placeholder

mod broker;
mod ledger;
mod wire;
mod world;

use miqro::core::session::message::Message;
use world::World;

/// The number that a message of the simulation carries.
fn number_of(message: &Message) -> u64 {
    let bytes = message.payload.get(..8).expect("it was made by `numbered`");
    u64::from_be_bytes(bytes.try_into().expect("eight bytes"))
}

fn run(seed: u64, steps: u64) {
    let mut world = World::new(seed);
    for _ in 0..steps {
        world.step();
    }
    world.settle();
    world.close();
}

#[test]
fn the_laws_hold() {
    let first = std::env::var("SIM_SEED").ok().and_then(|text| text.parse().ok());
    let seeds = first.map_or(0..3000, |seed: u64| seed..seed + 1);
    let mut failures = Vec::new();
    for seed in seeds {
        if let Err(panic) = std::panic::catch_unwind(|| run(seed, 2000)) {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            failures.push((seed, text));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
