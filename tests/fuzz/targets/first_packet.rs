//! An editor's first bytes: frames, the packet in them, and what is followed behind it. The first byte says where they are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rapidpm_gateway::rules::follower::Follower;
use rapidpm_gateway::rules::frame::{First, Step};
use rapidpm_gateway::rules::packet::{Connect, Opened};

/// Beyond it nothing is held; real limits are 64 KiB and 1 MiB.
const LIMIT: usize = 4 << 10;

fuzz_target!(|input: &[u8]| {
    let Some((cut, bytes)) = input.split_first() else { return };
    let (front, rest) = bytes.split_at(usize::from(*cut).min(bytes.len()));
    // Whole or in pieces, the second CONNECT is seen in the same place.
    let whole = Follower::granted().follow(bytes).map_err(|again| again.0);
    let mut follower = Follower::granted();
    let pieces = follower.follow(front).map_err(|again| again.0);
    let pieces = pieces.and_then(|()| follower.follow(rest).map_err(|again| front.len() + again.0));
    assert_eq!(whole, pieces);

    let mut first = First::default();
    for piece in [front, rest] {
        first.buffer().extend_from_slice(piece);
        loop {
            match first.step(LIMIT) {
                Ok(Step::More) => break,
                Ok(Step::Ping(_)) => {}
                Ok(Step::Complete) => return judge(&first),
                Ok(Step::Close) | Err(_) => return,
            }
        }
        assert!(first.held() < LIMIT + bytes.len());
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        Opened::parse(text);
        look(text);
    }
});

fn judge(first: &First) {
    if let Ok(text) = first.text() {
        look(&text);
    }
}

/// A token that is found stands in the packet, unless it was written with escapes.
fn look(text: &str) {
    if let Ok(connect) = Connect::parse(text) {
        connect.also().ok();
        if let Ok(token) = connect.chosen() {
            assert!(text.contains('\\') || text.contains(token));
        }
    }
}
