//! What is kept, for how long, and in which codings it is found.

use std::io::Write as _;
use std::thread;

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::header::CONTENT_TYPE;

use super::*;

const MEGABYTE: usize = 1 << 20;
const X_OWN: HeaderName = HeaderName::from_static("x-own");

fn cache(memory: usize) -> Arc<Cache> {
    Cache::new(Settings { memory: memory as u64 }, Arc::new(Metrics::new())).unwrap()
}

fn fields(kind: &str, tag: &str) -> HeaderMap {
    let mut fields = HeaderMap::new();
    fields.insert("content-type", kind.parse().unwrap());
    fields.insert(ETAG, tag.parse().unwrap());
    fields.insert(DATE, "Sun, 22 Nov 2026 03:57:43 GMT".parse().unwrap());
    fields.insert("x-own", "1".parse().unwrap());
    fields
}

fn keep(cache: &Arc<Cache>, address: &str, coding: Coding, bytes: &[u8]) -> bool {
    let mut draft = cache.draft(address, &fields("text/css", "W/\"1\""), coding).unwrap();
    let fits = bytes.chunks(64 << 10).all(|piece| draft.take(&Bytes::copy_from_slice(piece)));
    if fits {
        draft.finish();
    }
    fits
}

fn codings(accept: &str) -> Codings {
    let mut headers = HeaderMap::new();
    headers.insert("accept-encoding", accept.parse().unwrap());
    Codings::of(&headers)
}

fn number(cache: &Cache, series: &str) -> f64 {
    let page = cache.metrics.render();
    page.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok()).unwrap()
}

#[test]
fn a_file_is_kept_once_it_is_whole_and_found_in_a_coding_that_the_client_takes() {
    let cache = cache(64 * MEGABYTE);
    let mut draft = cache.draft("/9-a/fonts/1", &fields("font", "\"1\""), Coding::Gzip).unwrap();
    assert!(draft.take(&Bytes::from_static(b"half")));
    assert!(cache.draft("/9-a/fonts/1", &HeaderMap::new(), Coding::Gzip).is_none(), "it is being fetched");
    drop(draft);
    assert!(cache.find("/9-a/fonts/1", codings("gzip")).is_none(), "half a file is none");
    assert!(keep(&cache, "/9-a/fonts/1", Coding::Gzip, b"whole"));
    let kept = cache.find("/9-a/fonts/1", codings("gzip")).unwrap();
    assert_eq!((&*kept.bytes, kept.coding), (&b"whole"[..], Coding::Gzip));
    let fields = kept.fields();
    assert_eq!(fields["content-encoding"], "gzip");
    assert_eq!(
        (fields["content-type"].as_bytes(), fields["x-own"].as_bytes()),
        (&b"text/css"[..], &b"1"[..])
    );
    assert!(!fields.contains_key(DATE), "the date is the answer's own");
    assert!(cache.find("/9-a/fonts/1", codings("identity")).is_none(), "it has no such copy");
    assert!(cache.find("/9-a/fonts/2", codings("gzip")).is_none());
    assert_eq!(number(&cache, "gateway_asset_bytes"), 5.0);
}

#[test]
fn a_new_hash_with_the_same_files_needs_no_second_copy() {
    let cache = cache(64 * MEGABYTE);
    assert!(keep(&cache, "/9-old/a.css", Coding::Gzip, b"same"));
    assert!(keep(&cache, "/9-new/a.css", Coding::Gzip, b"same"));
    assert!(keep(&cache, "/9-new/b.css", Coding::Gzip, b"other"));
    assert!(keep(&cache, "/9-new/c.css", Coding::Identity, b"same"), "another coding is another file");
    assert_eq!(number(&cache, "gateway_asset_bytes"), 13.0);
    let tag = |address| cache.find(address, codings("gzip")).unwrap().etag;
    assert_eq!(tag("/9-old/a.css"), tag("/9-new/a.css"));
    assert_ne!(tag("/9-new/a.css"), tag("/9-new/b.css"));
}

#[test]
fn what_is_too_large_is_not_kept_and_the_whole_stays_within_its_limit() {
    let cache = cache(16 * MEGABYTE);
    assert!(!keep(&cache, "/9-a/large", Coding::Identity, &vec![1; 4 * MEGABYTE + 1]));
    // Two halves of it in flight are enough; a third waits for another time.
    let large = Bytes::from(vec![2; 4 * MEGABYTE]);
    let mut drafts: Vec<Draft> = (0..3)
        .map(|n| cache.draft(&format!("/9-a/{n}"), &HeaderMap::new(), Coding::Identity).unwrap())
        .collect();
    assert_eq!(drafts.iter_mut().map(|draft| draft.take(&large)).collect::<Vec<_>>(), [true, true, false]);
    drop(drafts);
    for n in 0..100_u32 {
        let file = [&n.to_be_bytes()[..], &vec![3; MEGABYTE]].concat();
        assert!(keep(&cache, &format!("/9-a/{n}.js"), Coding::Identity, &file));
    }
    let all = (0..100).filter_map(|n| cache.find(&format!("/9-a/{n}.js"), codings("identity")));
    let held: usize = all.map(|kept| kept.bytes.len()).sum();
    assert!((8 * MEGABYTE..=16 * MEGABYTE).contains(&held), "{held}");
}

/// The queue for brotli held up to 256 files that had been pushed out, and the table of files what it had not freed yet: 100 MB
/// were held where 16 might be.
#[test]
fn what_is_pushed_out_is_gone() {
    let cache = cache(16 * MEGABYTE);
    for n in 0..100_u32 {
        let file = [&n.to_be_bytes()[..], &vec![3; MEGABYTE]].concat();
        assert!(keep(&cache, &format!("/9-a/{n}.js"), Coding::Identity, &file));
    }
    let held = number(&cache, "gateway_asset_bytes");
    assert!((8.0..=16.0).contains(&(held / MEGABYTE as f64)), "{held}");
}

#[test]
fn addresses_that_nobody_asks_for_leave() {
    let cache = cache(64 * MEGABYTE);
    assert!(keep(&cache, "/9-now/app.js", Coding::Gzip, b"app"));
    for n in 0..3 * MOST_ADDRESSES {
        assert!(cache.find("/9-now/app.js", codings("gzip")).is_some(), "{n}");
        assert!(keep(&cache, &format!("/9-{n}/app.js"), Coding::Gzip, b"app"));
    }
    let known =
        (0..3 * MOST_ADDRESSES).filter(|n| cache.find(&format!("/9-{n}/app.js"), codings("gzip")).is_some());
    assert!(known.count() <= MOST_ADDRESSES);
    assert_eq!(number(&cache, "gateway_asset_bytes"), 3.0, "all of them are one file");
}

#[test]
fn what_can_be_made_smaller_becomes_brotli() {
    let cache = cache(64 * MEGABYTE);
    let plain = "the editor's script, again and again. ".repeat(10_000);
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(plain.as_bytes()).unwrap();
    let gzip = packed.finish().unwrap();
    let work = cache.claim_worker().unwrap();
    assert!(cache.claim_worker().is_none(), "one thread is enough");
    assert!(keep(&cache, "/9-a/rubbish.js", Coding::Gzip, b"no gzip"), "it is served as it is");
    assert!(keep(&cache, "/9-a/app.js", Coding::Gzip, &gzip));
    assert!(keep(&cache, "/9-a/small.css", Coding::Identity, b"small"));
    let noise: Vec<u8> = (0..5_000).map(|_| fastrand::u8(..)).collect();
    assert!(keep(&cache, "/9-a/noise.css", Coding::Identity, &noise));
    assert!(
        keep(&cache, "/9-a/icons.svg", Coding::Identity, plain.as_bytes()),
        "the container sends it as it is"
    );
    let weak = Arc::downgrade(&cache);
    let worker = thread::spawn(move || compress(&weak, &work, || false));
    let file = |at: &str| cache.file(&cache.addresses.get(&Box::from(at)).unwrap().id).unwrap();
    file("/9-a/icons.svg").brotli.wait(); // the last: everything before it has been tried
    let icons = |accept| cache.find("/9-a/icons.svg", codings(accept)).unwrap();
    assert_eq!((icons("gzip, br").coding, icons("gzip").coding), (Coding::Brotli, Coding::Identity));
    assert!(icons("br").bytes.len() * 10 < plain.len() && icons("gzip").bytes == plain.as_bytes());
    let kept = cache.find("/9-a/app.js", codings("gzip, br")).unwrap();
    assert_eq!((kept.coding, kept.fields()["content-encoding"].as_bytes()), (Coding::Brotli, &b"br"[..]));
    let mut unpacked = Vec::new();
    ::brotli::BrotliDecompress(&mut &*kept.bytes, &mut unpacked).unwrap();
    assert_eq!(unpacked, plain.as_bytes());
    assert_ne!(kept.etag, cache.find("/9-a/app.js", codings("gzip")).unwrap().etag);
    assert_eq!(cache.find("/9-a/rubbish.js", codings("gzip, br")).unwrap().coding, Coding::Gzip);
    for at in ["/9-a/small.css", "/9-a/noise.css"] {
        assert_eq!(cache.find(at, codings("gzip, br")).unwrap().coding, Coding::Identity, "{at}");
    }
    drop((kept, cache));
    worker.join().unwrap(); // it ends with the cache
}

/// hyper's fields are slices of what a connection was read into, up to 400 KB at once: a hundred restarts of the container, or
/// anybody who asks for invented hashes, held 540 MB beside files of 18 MB, in a cache of 64 MiB.
#[test]
fn an_address_does_not_hold_what_its_head_was_read_from() {
    let cache = cache(64 * MEGABYTE);
    let read = Bytes::from("text/css\"1\"Sun, 22 Nov 2026 03:57:43 GMTown".repeat(1_000));
    let mut fields = HeaderMap::new();
    for (name, part) in [(CONTENT_TYPE, 0..8), (ETAG, 8..11), (LAST_MODIFIED, 11..40), (X_OWN, 40..43)] {
        fields.insert(name, HeaderValue::from_maybe_shared(read.slice(part)).unwrap());
    }
    let mut draft = cache.draft("/9-a/fonts/1", &fields, Coding::Identity).unwrap();
    assert!(draft.take(&read.slice(1_000..2_000)));
    draft.finish();
    let kept = cache.find("/9-a/fonts/1", codings("identity")).unwrap();
    assert_eq!(kept.fields()["content-type"], "text/css");
    assert_eq!(kept.fields()["x-own"], "own");
    assert_eq!(kept.validators().theirs, Some("\"1\""));
    assert_eq!(kept.validators().modified, Some("Sun, 22 Nov 2026 03:57:43 GMT"));
    drop(fields);
    assert!(read.is_unique());
}
