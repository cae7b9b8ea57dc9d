//! The whole decision about a request with a session token: path, route, carrier, signature, times, policy, permit.

#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up shall not run")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use micro::asked::{Asked, settings};
use micro::token::{SECRET, session, session_of, sign};
use rapidpm_gateway::rules::token::MAX_TOKEN;

/// `token` with a signature that does not hold.
fn altered(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let other = if signature.starts_with('A') { 'B' } else { 'A' };
    format!("{signed}.{other}{}", &signature[1..])
}

fn tokens(c: &mut Criterion) {
    let one = settings(&[SECRET]);
    let three =
        settings(&[b"one-0123456789abcdef0123456789abcdef", b"two-0123456789abcdef0123456789abcdef", SECRET]);
    let (session, long) = (sign(&session()), session_of(MAX_TOKEN));
    assert!(long.len() > MAX_TOKEN - 8 && long.len() <= MAX_TOKEN, "{} characters", long.len());
    let cmd = session_of(60 << 10); // the target of a request has no more than 64 KiB
    let crowded = format!("{}token={session}", "a=1&".repeat(900));
    let table = [
        ("header", &one, Asked::upload(&session), "admitted"),
        ("header, third secret", &three, Asked::upload(&session), "admitted"),
        ("cmd", &one, Asked::download_as(&session), "admitted"),
        ("hostile: 64 KiB that hold", &one, Asked::upload(&long), "admitted"),
        ("hostile: 64 KiB altered", &one, Asked::upload(&altered(&long)), "token_signature"),
        ("hostile: 64 KiB altered, three secrets", &three, Asked::upload(&altered(&long)), "token_signature"),
        ("hostile: a byte too long", &one, Asked::upload(&"a".repeat(MAX_TOKEN + 1)), "token_too_large"),
        ("hostile: 60 KiB in cmd", &one, Asked::download_as(&cmd), "admitted"),
        ("hostile: 64 KiB of dots", &one, Asked::upload(&".".repeat(MAX_TOKEN)), "token_malformed"),
        ("hostile: 900 parameters before it", &one, Asked::upload_by_query(&crowded), "admitted"),
    ];
    let mut group = c.benchmark_group("token");
    for (name, settings, asked, expected) in table {
        let got = asked.decide(settings).map_or_else(|refusal| refusal.reason(), |_| "admitted");
        assert_eq!(got, expected, "{name}");
        group.bench_function(name, |b| b.iter(|| black_box(&asked).decide(settings)));
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(50);
    targets = tokens
}
criterion_main!(benches);
