//! Which Document Server a document belongs to: every request about a key must meet the one that holds its editing session.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;

use pingora_ketama::{Bucket, Continuum};

use super::path::{Canonical, is_document_key};
use super::query;
use super::route::{Matched, Route};

/// The Document Servers on a ring: a key keeps its server while others come and go.
pub struct Ring {
    continuum: Continuum,
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ring")
    }
}

impl Ring {
    /// A ring of these servers, all of the same weight.
    pub fn new(servers: &[SocketAddr]) -> Self {
        let buckets: Vec<_> = servers.iter().map(|&server| Bucket::new(server, 1)).collect();
        Self { continuum: Continuum::new(&buckets) }
    }

    /// The server that `key` belongs to; none if there is no server at all.
    pub fn owner(&self, key: &str) -> Option<SocketAddr> {
        self.continuum.node(key.as_bytes())
    }
}

/// The document key a request is about, if it is about one: in a link to a cached file the key in the path, since the
/// Document Server may put another document's `shardkey` there (storage-base.js:176-191); else the key in the path, which a client
/// cannot say differently than the Document Server hears it; else `shardkey`.
pub fn document_key<'r>(
    path: &'r Canonical<'_>,
    matched: &Matched<'r>,
    query: Option<&'r str>,
) -> Option<Cow<'r, str>> {
    let shard =
        query.and_then(|q| query::value(q, "shardkey").ok().flatten()).filter(|key| is_document_key(key));
    if matched.route() == Route::CacheFiles {
        return cached_key(path.matchable(), shard.as_deref()).map(Cow::Borrowed).or(shard);
    }
    matched.key.map(Cow::Borrowed).or(shard)
}

/// The key in `/cache/files/{store}/{folder}/{file}/…`.
///
/// `folder` is `{key}` while a document is edited (`Editor.bin`, media), `{key}_{n}` for what a save or download made, and
/// `conv_{key}_{n}` for conversions; `n` is random below 10001 or a format (S: Common/sources/constants.js RANDOM_KEY_MAX;
/// captures/callbacks). A key may itself end in `_123`, so `shardkey` decides where it fits, else the file's name.
fn cached_key<'p>(path: &'p str, shard: Option<&str>) -> Option<&'p str> {
    let mut segments = path.split('/').skip(4); // "", cache, files, store
    let folder = segments.next()?;
    let file = segments.next()?;
    if let Some(shard) = shard {
        for name in [Some(folder), folder.strip_prefix("conv_")].into_iter().flatten() {
            let rest = name.strip_prefix(shard);
            if rest.is_some_and(|rest| rest.is_empty() || rest.strip_prefix('_').is_some_and(is_number)) {
                return name.get(..shard.len());
            }
        }
    }
    let key = match folder.strip_prefix("conv_") {
        Some(converted) => without_number(converted),
        None if file.starts_with("Editor.") || file == "media" => folder,
        None => without_number(folder),
    };
    is_document_key(key).then_some(key)
}

fn without_number(folder: &str) -> &str {
    match folder.rsplit_once('_') {
        Some((key, number)) if is_number(number) && !key.is_empty() => key,
        _ => folder,
    }
}

fn is_number(text: &str) -> bool {
    matches!(text.len(), 1..=5) && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::path::canonical;
    use super::super::route::{Switches, find};
    use super::*;

    fn servers(count: u16) -> Vec<SocketAddr> {
        (0..count).map(|n| SocketAddr::from(([10, 0, 0, 1], 8000 + n))).collect()
    }

    #[test]
    fn a_key_keeps_its_server_while_others_come() {
        let (three, four) = (Ring::new(&servers(3)), Ring::new(&servers(4)));
        let mut share = HashMap::new();
        for n in 0..3000 {
            let key = format!("rapidpm-{n}");
            let before = three.owner(&key).unwrap();
            assert_eq!(three.owner(&key), Some(before));
            let after = four.owner(&key).unwrap();
            assert!(
                after == before || after == servers(4)[3],
                "{key} moved between servers that were there before"
            );
            *share.entry(before).or_insert(0) += 1;
        }
        assert!(share.len() == 3 && share.values().all(|n| (600..1500).contains(n)), "{share:?}");
        let mut reversed = servers(3);
        reversed.reverse();
        assert_eq!(
            Ring::new(&reversed).owner("k"),
            three.owner("k"),
            "the order in the file decides nothing"
        );
        assert_eq!(Ring::new(&servers(1)).owner("k"), Some(servers(1)[0]));
        assert_eq!(Ring::new(&[]).owner("k"), None);
    }

    #[test]
    fn keys() {
        let table = [
            ("/doc/k1/c", "", Some("k1")),
            ("/doc/k1/c", "shardkey=k2", Some("k1")),
            ("/doc/k1/c", "shardkey=%2F", Some("k1")),
            ("/doc/k1/c", "shardkey=k2&shardkey=k3", Some("k1")),
            ("/command", "shardkey=k2", Some("k2")),
            ("/command", "", None),
            ("/plugins.json", "", None),
            ("/cache/files/data/k1_3346/output.docx/a.docx", "", Some("k1")),
            ("/cache/files/data/k1_3346/output.docx/a.docx", "shardkey=other", Some("k1")),
            ("/cache/files/data/k1_3346/output.docx/a.docx", "shardkey=k1", Some("k1")),
            ("/cache/files/data/k1_33/changes.zip/changes.zip", "shardkey=k1", Some("k1")),
            ("/cache/files/data/k1/Editor.bin/Editor.bin", "", Some("k1")),
            ("/cache/files/data/k_2024/Editor.bin/Editor.bin", "", Some("k_2024")),
            ("/cache/files/data/k_2024/media/image1.png/image1.png", "", Some("k_2024")),
            ("/cache/files/data/k_2024_77/output.docx/a.docx", "", Some("k_2024")),
            ("/cache/files/data/k_2024/output.docx/a.docx", "shardkey=k_2024", Some("k_2024")),
            ("/cache/files/data/conv_k1_513/output.pdf/t.pdf", "shardkey=t1", Some("k1")),
            ("/cache/files/data/conv_k1_513/output.pdf/t.pdf", "shardkey=k1", Some("k1")),
            ("/cache/files/data/conv_k1/Editor.bin/t", "shardkey=conv_k1", Some("conv_k1")),
            ("/cache/files/forgotten/k1/output.docx/a.docx", "", Some("k1")),
            ("/cache/files/data/_12/output.docx/a.docx", "", Some("_12")),
            ("/cache/files/data/k1_3346", "shardkey=k9", Some("k9")),
            ("/cache/files/data/k1_1234567890123/output.docx/a", "", Some("k1_1234567890123")),
        ];
        for (path, query, expected) in table {
            let path = canonical(path).unwrap();
            let matched = find(&path, Switches::default());
            let key = document_key(&path, &matched, Some(query));
            assert_eq!(key.as_deref(), expected, "{path:?} {query}");
        }
    }
}
