//! The machine of saves against seeds; `cargo run --release --example simulate` plays a hundred times as many, and longer.

#[path = "../saves/world.rs"]
mod world;

#[test]
fn no_seed_loses_a_save() {
    (0..100).for_each(|seed| world::World::play(seed, 300));
}
