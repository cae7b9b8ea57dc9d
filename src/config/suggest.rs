//! What somebody probably meant who wrote something that does not exist.

/// The nearest of the candidates, if it is near enough to be a slip of the pen.
pub fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = plain(written);
    candidates
        .into_iter()
        .filter_map(|candidate| distance(&written, &plain(candidate)).map(|distance| (distance, candidate)))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// A third of the longer word may be wrong: two letters of six, one of three.
fn allowed(written: &str, candidate: &str) -> usize {
    written.chars().count().max(candidate.chars().count()).div_ceil(3).min(4)
}

/// Case and `-` for `_` are no difference at all.
fn plain(word: &str) -> String {
    word.trim().to_lowercase().replace(['-', ' '], "_")
}

/// How far apart two words are, if that is near. Swapped letters count once; a word that only lacks its end
/// (`max_doc`) is near however much is missing.
fn distance(written: &str, candidate: &str) -> Option<usize> {
    let distance = strsim::damerau_levenshtein(written, candidate);
    let begins = written.len() >= 3 && (candidate.starts_with(written) || written.starts_with(candidate));
    (begins || distance <= allowed(written, candidate)).then_some(distance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let keys = ["https", "http", "admin", "relay", "workers", "trusted_proxies", "drain"];
        for (written, expected) in [
            ("htps", Some("https")),
            ("htpps", Some("https")),
            ("HTTP", Some("http")),
            ("trusted-proxies", Some("trusted_proxies")),
            ("trusted_proxy", Some("trusted_proxies")),
            ("worker", Some("workers")),
            ("amdin", Some("admin")),
            ("drian", Some("drain")),
            ("upstream", None),
            ("listen", None),
            ("x", None),
        ] {
            assert_eq!(nearest(written, keys), expected, "{written}");
        }
    }
}
