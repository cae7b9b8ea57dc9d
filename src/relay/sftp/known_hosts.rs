//! Whether the archive's server is the one it should be: `known_hosts`, read as OpenSSH reads it, and nothing believed that is
//! not in it.

use aws_lc_rs::hmac;
use russh::keys::ssh_key::known_hosts::{Entry, HostPatterns, KnownHosts, Marker};
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, EcdsaCurve, PublicKey};

/// Kinds of host keys that are verified here, the best first. RSA is not: see `key`.
pub const KINDS: [Algorithm; 4] = [
    Algorithm::Ed25519,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
];

/// What `known_hosts` says of a server's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the server's.
    Known,
    /// The server has no key of this kind there.
    Unknown,
    /// The server has another key of this kind there.
    Changed,
    /// The key is marked `@revoked`.
    Revoked,
}

/// Lines of a server.
pub struct Host<'t> {
    text: &'t str,
    /// As it is written there: `[host]:port` unless the port is SSH's own.
    pub name: String,
}

impl<'t> Host<'t> {
    /// The server at that place, in the file's text.
    pub fn new(text: &'t str, host: &str, port: u16) -> Self {
        let host = host.to_ascii_lowercase();
        Self { text, name: if port == 22 { host } else { format!("[{host}]:{port}") } }
    }

    /// Lines that name the server. A line that cannot be read names nobody.
    fn lines(&self) -> impl Iterator<Item = Entry> {
        // Blanks may be tabs and several: OpenSSH takes them.
        let lines = self.text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        lines
            .filter_map(|line| KnownHosts::new(&line).next()?.ok())
            .filter(|line| self.is_in(line.host_patterns()))
    }

    fn is_in(&self, patterns: &HostPatterns) -> bool {
        match patterns {
            HostPatterns::HashedName { salt, hash } => {
                let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt);
                hmac::verify(&key, self.name.as_bytes(), hash).is_ok()
            }
            HostPatterns::Patterns(patterns) => {
                let fits =
                    |pattern: &str| fits(pattern.to_ascii_lowercase().as_bytes(), self.name.as_bytes());
                let (mut named, mut denied) = (false, false);
                for pattern in patterns {
                    match pattern.strip_prefix('!') {
                        Some(pattern) => denied |= fits(pattern),
                        None => named |= fits(pattern),
                    }
                }
                named && !denied
            }
        }
    }

    /// Judges the key that the server showed.
    pub fn judge(&self, key: &PublicKey) -> Verdict {
        let (mut known, mut changed) = (false, false);
        for line in self.lines() {
            let same = line.public_key().key_data() == key.key_data();
            match line.marker() {
                Some(Marker::Revoked) if same => return Verdict::Revoked,
                Some(_) => {} // certificates are not asked for, so authorities vouch for nothing
                None => {
                    known |= same;
                    changed |= !same && line.public_key().algorithm() == key.algorithm();
                }
            }
        }
        match (known, changed) {
            (true, _) => Verdict::Known,
            (false, true) => Verdict::Changed,
            (false, false) => Verdict::Unknown,
        }
    }

    /// The kinds of keys the server is known by: it must show one of these.
    pub fn kinds(&self) -> Vec<Algorithm> {
        let keys: Vec<Entry> = self.lines().filter(|line| line.marker().is_none()).collect();
        KINDS
            .into_iter()
            .filter(|kind| keys.iter().any(|line| line.public_key().algorithm() == *kind))
            .collect()
    }

    /// Whether it is known by an RSA key.
    pub fn has_rsa(&self) -> bool {
        self.lines().any(|line| matches!(line.public_key().key_data(), KeyData::Rsa(_)))
    }
}

/// `*` and `?` as in OpenSSH's patterns. Not recursive: the file may be anybody's.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t, mut back) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                back = Some((p + 1, t));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match back {
                Some((star, from)) => {
                    back = Some((star, from + 1));
                    (p, t) = (star, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const B: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILIG2T/B0l0gaqj3puu510tu9N1OkQ4znY3LYuEm5zCF";
    const E: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7opKgwFB9nkt5YRrYMjNuG5N87uRgg6CLrbo5wAdT/y6v0mKV0U2w0WZ2YB/++Tpockg=";

    fn key(text: &str) -> PublicKey {
        PublicKey::from_openssh(text).unwrap()
    }

    #[test]
    fn known_unknown_changed_revoked() {
        let hashed = "|1|O33ESRMWPVkMYIwJ1Uw+n877jTo=|nuuC5vEqXlEZ/8BXQR7m619W6Ak="; // example.com
        let table: &[(String, &str, u16, &str, Verdict)] = &[
            (format!("h {A}"), "h", 22, A, Verdict::Known),
            (format!("h {A}"), "H", 22, A, Verdict::Known),
            (format!("x,h,10.0.0.1 {A} comment"), "10.0.0.1", 22, A, Verdict::Known),
            (format!("h\t {A}"), "h", 22, A, Verdict::Known),
            (format!("h {A}"), "h", 2222, A, Verdict::Unknown),
            (format!("[h]:2222 {A}"), "h", 2222, A, Verdict::Known),
            (format!("[h]:2222 {A}"), "h", 22, A, Verdict::Unknown),
            (format!("[::1]:2222 {A}"), "::1", 2222, A, Verdict::Known),
            (format!("h {A}"), "h", 22, B, Verdict::Changed),
            (format!("h {B}\nh {A}"), "h", 22, A, Verdict::Known),
            (format!("h {E}"), "h", 22, A, Verdict::Unknown),
            (format!("h {E}\nh {A}"), "h", 22, A, Verdict::Known),
            (format!("{hashed} {B}"), "example.com", 22, B, Verdict::Known),
            (format!("{hashed} {B}"), "example.com", 22, A, Verdict::Changed),
            (format!("{hashed} {B}"), "example.net", 22, B, Verdict::Unknown),
            (format!("@revoked h {A}\nh {A}"), "h", 22, A, Verdict::Revoked),
            (format!("h {A}\n@revoked * {A}"), "h", 22, A, Verdict::Revoked),
            (format!("@revoked {hashed} {B}\nexample.com {B}"), "example.com", 22, B, Verdict::Revoked),
            (format!("@revoked h {B}\nh {A}"), "h", 22, A, Verdict::Known),
            (format!("@cert-authority h {A}"), "h", 22, A, Verdict::Unknown),
            (format!("*.example,!bad.example {A}"), "good.example", 22, A, Verdict::Known),
            (format!("*.example,!bad.example {A}"), "bad.example", 22, A, Verdict::Unknown),
            (format!("h? {A}"), "h1", 22, A, Verdict::Known),
            (format!("# h {A}"), "h", 22, A, Verdict::Unknown),
            (format!("h ssh-ed25519 AAAA\nrubbish\n\n@what h {A}\nh {A}"), "h", 22, A, Verdict::Known),
            (String::new(), "h", 22, A, Verdict::Unknown),
        ];
        for (text, host, port, shown, verdict) in table {
            assert_eq!(Host::new(text, host, *port).judge(&key(shown)), *verdict, "{text:?} {host}:{port}");
        }
    }

    #[test]
    fn only_kinds_that_are_known_are_asked_for() {
        let text = format!("h {E}\nother {A}\n@revoked h {A}\n");
        assert_eq!(Host::new(&text, "h", 22).kinds(), [Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 }]);
        assert_eq!(Host::new(&text, "other", 22).kinds(), [Algorithm::Ed25519]);
        assert!(Host::new(&text, "third", 22).kinds().is_empty());
    }

    #[test]
    fn patterns_end() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("**a", "bbba", true),
            ("", "", true),
            ("", "a", false),
            ("?", "", false),
        ] {
            assert_eq!(fits(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
        let (pattern, text) = ("*a".repeat(200), "a".repeat(199) + "b");
        assert!(!fits(pattern.as_bytes(), text.as_bytes()));
    }
}
