//! The hot cases whose instructions are counted, each ready to be run again and again.

use std::hint::black_box;

use rapidpm_gateway::ops::latency::Latency;
use rapidpm_gateway::ops::requests::RequestMetrics;
use rapidpm_gateway::rules::follower::Follower;
use rapidpm_gateway::rules::headers::{Hop, to_upstream};

use crate::asked::{Asked, settings};
use crate::token::{SECRET, session, sign};
use crate::{editor, fields, line, numbers, path};

/// One run of a case.
pub type Run = Box<dyn FnMut()>;

/// Makes a case ready.
pub type Ready = fn() -> Run;

/// Names, and what makes each case ready. What a case decides is checked before it is run, so that no figure belongs to an early
/// refusal.
pub const CASES: [(&str, Ready); 8] = [
    ("path", one_path),
    ("token-header", || token(Asked::upload(&sign(&session())))),
    ("token-cmd", || token(Asked::download_as(&sign(&session())))),
    ("fields", browser),
    ("access-line", access_line),
    ("numbers", request),
    ("first-packet", first_packet),
    ("frame", frame),
];

fn one_path() -> Run {
    assert!(path::decide(path::VERSIONED).is_ok(), "a path that is refused");
    Box::new(|| {
        black_box(path::decide(black_box(path::VERSIONED))).ok();
    })
}

fn token(asked: Asked) -> Run {
    let settings = settings(&[SECRET]);
    assert!(asked.decide(&settings).is_ok(), "a token that is refused");
    Box::new(move || {
        black_box(black_box(&asked).decide(&settings)).ok();
    })
}

/// With the copy of the fields, which a run uses up.
fn browser() -> Run {
    let (sent, forwarded) = (fields::map(fields::BROWSER), fields::forwarded());
    let client = fields::client(&sent);
    Box::new(move || {
        let mut copy = sent.clone();
        to_upstream(&mut copy, &forwarded, black_box(&client), Hop::Ordinary);
        black_box(&copy);
    })
}

/// With what the writer's thread does for a batch, which is waited for: buffers that grow would be most of the figure, at random.
#[expect(clippy::expect_used, reason = "a bench that cannot be set up shall not run")]
fn access_line() -> Run {
    const BATCH: usize = 100; // 50 KB or so: a buffer that long is kept
    let (log, taken) = line::log().expect("a thread");
    log.access(&line::access());
    let length = taken.recv().expect("a writer"); // of every line: of the time, which alone differs, all digits are written
    let mut ahead = 0;
    let mut run = move || {
        log.access(black_box(&line::access()));
        ahead += length;
        while ahead >= BATCH * length {
            ahead -= taken.recv().expect("a writer").min(ahead);
        }
    };
    (0..4 * BATCH).for_each(|_| run()); // until the buffers have their size
    Box::new(run)
}

/// Without the count of tokens: the other series are made in an order that is random, and that is most of the work.
fn request() -> Run {
    let (core, server) = (RequestMetrics::default().tally(), Latency::default());
    Box::new(move || numbers::count(&core, &server))
}

fn first_packet() -> Run {
    let (knock, packet, settings) = (editor::at_door(), editor::connect(), settings(&[SECRET]));
    assert!(
        editor::judge(&knock, &packet, &settings).is_some_and(|pass| pass.edits),
        "an editor that is refused"
    );
    Box::new(move || {
        black_box(editor::judge(&knock, black_box(&packet), &settings));
    })
}

fn frame() -> Run {
    let (frame, mut follower) = (editor::cursor(), Follower::changed());
    Box::new(move || {
        black_box(follower.follow(black_box(&frame))).ok();
    })
}
