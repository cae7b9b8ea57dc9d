//! The whole decision about a request with a session token: path, route, carrier, signature, times, policy, permit.

#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up shall not run")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use hyper::{Method, Uri};
use micro::{KEY, SECRET, now, session, session_of, sign};
use rapidpm_gateway::rules::carrier::Carried;
use rapidpm_gateway::rules::path::canonical;
use rapidpm_gateway::rules::policy::{Caller, Permit, Refusal, Rules, admit};
use rapidpm_gateway::rules::route::{Switches, find};
use rapidpm_gateway::rules::token::{Algorithm, MAX_TOKEN, Settings, VerifyingKey};
use rapidpm_gateway::secret::Secret;

/// A POST, as far as the decision looks at it.
struct Asked {
    target: Uri,
    headers: HeaderMap,
}

impl Asked {
    /// An image for a document: the token is in a header.
    fn upload(token: &str) -> Self {
        let value = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
        Self {
            target: format!("/upload/{KEY}").parse().unwrap(),
            headers: HeaderMap::from_iter([(AUTHORIZATION, value)]),
        }
    }

    /// The same, with whatever is in the query.
    fn upload_by_query(query: &str) -> Self {
        Self { target: format!("/upload/{KEY}?{query}").parse().unwrap(), headers: HeaderMap::new() }
    }

    /// Download as: the token is in JSON in the query.
    fn download_as(token: &str) -> Self {
        let cmd = format!(
            "%7B%22c%22%3A%22save%22%2C%22id%22%3A%22{KEY}%22%2C%22userid%22%3A%22u1%22%2C%22tokenSession%22%3A%22{token}%22%2C\
             %22outputformat%22%3A65%2C%22title%22%3A%22a.docx%22%2C%22savetype%22%3A3%2C%22saveindex%22%3A1%7D"
        );
        Self { target: format!("/downloadas/{KEY}?cmd={cmd}").parse().unwrap(), headers: HeaderMap::new() }
    }

    fn decide(&self, settings: &Settings) -> Result<Permit, Refusal> {
        let path = canonical(self.target.path()).map_err(Refusal::Path)?;
        let matched = find(&path, Switches::default());
        let carried = Carried { headers: &self.headers, query: self.target.query(), body: &[] };
        let caller = Caller { address: [192, 0, 2, 1].into(), now: now() };
        let admitted = admit(&matched, &Method::POST, &carried, settings, &Rules::default(), caller)?;
        Ok(admitted.permit)
    }
}

fn settings(secrets: &[&[u8]]) -> Settings {
    Settings {
        keys: secrets.iter().map(|secret| VerifyingKey::new(&Secret::new(secret.to_vec()))).collect(),
        algorithms: vec![Algorithm::Hs256],
        leeway: Duration::from_secs(60),
        header: AUTHORIZATION,
        prefix: "Bearer ".to_owned(),
    }
}

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
