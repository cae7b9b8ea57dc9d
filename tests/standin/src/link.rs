//! Signed links to cached files, as nginx's secure_link checks them.

use crate::path;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use md5::{Digest as _, Md5};

/// What is wrong with a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Not signed, or signed for something else: 403.
    Bad,
    /// Rightly signed, and its time is over: 410.
    Expired,
}

/// The signature of a decoded path that is valid until `expires`.
fn signature(expires: &str, decoded_path: &str, secret: &str) -> String {
    URL_SAFE_NO_PAD.encode(Md5::digest(format!("{expires}{decoded_path}{secret}")))
}

/// Path and query for a cached file; `name` is what the browser will call it.
pub(crate) fn make(stored: &str, name: &str, shardkey: &str, expires: u64, secret: &str) -> String {
    let decoded = format!("/cache/files/{stored}/{name}");
    let encoded: Vec<String> = decoded.split('/').map(path::encode).collect();
    let md5 = signature(&expires.to_string(), &decoded, secret);
    let (shardkey, file) = (path::encode(shardkey), path::encode(name));
    format!("{}?md5={md5}&expires={expires}&shardkey={shardkey}&filename={file}", encoded.join("/"))
}

/// Judges a link at a time given in seconds.
pub(crate) fn check(target: &path::Target, secret: &str, now: u64) -> Result<(), Fault> {
    let md5 = target.field("md5").ok_or(Fault::Bad)?;
    let expires = target.field("expires").ok_or(Fault::Bad)?;
    if md5 != signature(&expires, &target.path, secret) {
        return Err(Fault::Bad);
    }
    match expires.parse::<u64>() {
        Ok(end) if end >= now => Ok(()),
        Ok(_) => Err(Fault::Expired),
        Err(_) => Err(Fault::Bad),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_good_until_it_expires_and_for_its_own_path_only() {
        let link = make("data/k_1/output.docx", "Bericht 50%.docx", "k", 100, "s");
        let target = path::target(&link).unwrap();
        assert_eq!(check(&target, "s", 100), Ok(()));
        assert_eq!(check(&target, "s", 101), Err(Fault::Expired));
        assert_eq!(check(&target, "t", 100), Err(Fault::Bad));
        let other = path::target(&link.replace("k_1", "k_2")).unwrap();
        assert_eq!(check(&other, "s", 100), Err(Fault::Bad));
    }
}
