//! 100,000 random and mutated first frames of a socket against the rules that read them: none opens. More of them:
//! `cargo run --release --example frames`; found by coverage: `tests/fuzz`.

#[path = "../fuzz/first.rs"]
mod first;
#[path = "../fuzz/random.rs"]
mod random;

use first::Outcome;

#[test]
fn a_hundred_thousand_first_frames_open_nothing() {
    let outcomes = random::play(100_000, 44);
    println!("{outcomes:?}");
    assert!(
        !outcomes.contains_key(&Outcome::Opened),
        "no mutation of this seed gives the good token back: {outcomes:?}"
    );
    for outcome in [Outcome::More, Outcome::Gone, Outcome::NoFrames, Outcome::NoConnect, Outcome::Refused] {
        assert!(outcomes[&outcome] > 100, "they do not come far: {outcomes:?}");
    }
}
