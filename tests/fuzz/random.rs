//! First frames from a seed: noise, frames of noise, goodbyes, and messages that would open but for what was done to them.

use std::collections::BTreeMap;

use fastrand::Rng;
use rapidpm_gateway::rules::frame::{Kind, say_masked};

use super::first::{GOOD, Gate, Outcome};

/// Plays so many frames against the gate, which panics if any token opens but [`GOOD`]; what became of them. A few open, fewer
/// than one in 10,000: a mutation can undo what was altered in the token (seed 1, frame 48,774).
pub fn play(count: u64, seed: u64) -> BTreeMap<Outcome, u64> {
    let (gate, mut random, mut outcomes) = (Gate::default(), Rng::with_seed(seed), BTreeMap::new());
    for number in 0..count {
        // Now and then one that opens, or the rest would prove nothing.
        if number % 1_000 == 0 {
            let good = good(&mut random);
            assert_eq!(gate.hear(&good, random.usize(1..40)), Outcome::Opened);
        }
        let bytes = frames(&mut random);
        let outcome = gate.hear(&bytes, random.usize(1..40));
        *outcomes.entry(outcome).or_default() += 1;
    }
    let undone = outcomes.get(&Outcome::Opened).copied().unwrap_or_default();
    assert!(undone <= 1 + count / 10_000, "seed {seed}: {undone} of {count} open");
    outcomes
}

/// What a client might say first. The token in it, where there is one, is not the one that opens, unless a mutation restores it.
fn frames(random: &mut Rng) -> Vec<u8> {
    let mut bytes = match random.u8(..8) {
        0 => noise(random, 64),
        1 => {
            let (code, payload) = (random.u8(..), noise(random, 300));
            frame(code, &payload, [random.u8(..); 4])
        }
        2 => {
            let why = noise(random, 130); // 125 are allowed
            [frame(0x88, &why, [random.u8(..); 4]), frame(0x81, b"40", [0; 4])].concat()
        }
        _ => {
            let message = message(random);
            fragments(random, &message)
        }
    };
    if random.u8(..4) == 0 {
        mutate(random, &mut bytes);
    }
    bytes
}

/// A message that opens, whole or in fragments, with pings in between.
fn good(random: &mut Rng) -> Vec<u8> {
    let name = random.choice(["token", "session"]).unwrap();
    let namespace = random.choice(["", "/,"]).unwrap();
    let message = format!("40{namespace}{{\"{name}\":\"{GOOD}\"}}");
    fragments(random, message.as_bytes())
}

fn message(random: &mut Rng) -> Vec<u8> {
    let token = altered(random);
    let text = match random.u8(..6) {
        0 => format!(r#"40{{"token":"{token}","data":{{"jwtOpen":"{token}"}}}}"#),
        1 => format!(r#"40/,{{"session":"{token}","data":{{"mode":"view"}}}}"#),
        2 => format!(r#"40{{"session":false,"token":"{token}","token":"{}"}}"#, altered(random)),
        _ => format!(r#"40{{"token":"{token}"}}"#),
    };
    let mut bytes = text.into_bytes();
    if random.bool() {
        mutate(random, &mut bytes);
    }
    bytes
}

/// The good token with another letter. Not the last one, of which two bits mean nothing.
fn altered(random: &mut Rng) -> String {
    let at = random.usize(..GOOD.len() - 1);
    let other = loop {
        let letter = random.choice(*b"ABCXYZabcxyz0189-_.=").unwrap();
        if letter != GOOD.as_bytes()[at] {
            break char::from(letter);
        }
    };
    format!("{}{other}{}", &GOOD[..at], &GOOD[at + 1..])
}

fn mutate(random: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..random.usize(1..4) {
        let at = random.usize(..=bytes.len());
        match random.u8(..4) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
            1 if at < bytes.len() => drop(bytes.remove(at)),
            2 => bytes.insert(at, random.choice(*b"{}[]\",:\\04/ \x1e\x81\xff").unwrap()),
            _ => {
                let again = bytes[at..bytes.len().min(at + 16)].to_vec();
                bytes.splice(at..at, again);
            }
        }
    }
}

fn noise(random: &mut Rng, most: usize) -> Vec<u8> {
    (0..random.usize(..most)).map(|_| random.u8(..)).collect()
}

/// The message as up to four frames, with control frames in between.
fn fragments(random: &mut Rng, message: &[u8]) -> Vec<u8> {
    let (mut rest, mut code, mut bytes) = (message, 0x1, Vec::new());
    for _ in 0..random.usize(..4) {
        let (part, more) = rest.split_at(random.usize(..=rest.len()));
        bytes.extend(frame(code, part, random.u32(..).to_be_bytes()));
        bytes.extend(frame(0x80 | random.choice([0x9, 0xa]).unwrap(), b"?", [7; 4]));
        (rest, code) = (more, 0);
    }
    bytes.extend(frame(0x80 | code, rest, random.u32(..).to_be_bytes()));
    bytes
}

fn frame(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut frame = say_masked(Kind::Text, payload); // with a mask of zeros
    frame[0] = first;
    let from = frame.len() - payload.len();
    frame[from - 4..from].copy_from_slice(&mask);
    for (byte, key) in frame[from..].iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= key;
    }
    frame
}
