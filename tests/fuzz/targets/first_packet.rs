//! An editor's first bytes: frames, the packet in them, and what is followed behind it. The first byte says in which pieces they
//! come.
#![no_main]
#![allow(clippy::unwrap_used)]

#[path = "../first.rs"]
mod first;

use std::cell::LazyCell;

use first::{GOOD, Gate, Outcome};
use libfuzzer_sys::fuzz_target;

thread_local! {
    static GATE: LazyCell<Gate> = LazyCell::new(Gate::default);
}

fuzz_target!(|input: &[u8]| {
    let Some((piece, bytes)) = input.split_first() else { return };
    GATE.with(|gate| {
        let outcome = gate.hear(bytes, usize::from(*piece));
        assert!(outcome != Outcome::Opened || bytes.len() > GOOD.len());
        if let Ok(text) = std::str::from_utf8(bytes) {
            gate.judge(text); // masks hide from a fuzzer what a packet is made of
        }
    });
});
