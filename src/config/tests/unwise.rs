//! Warnings that depend on the time or on rights of the file system; those that do not stand in `tests/config/valid`.

use std::os::unix::fs::PermissionsExt;

use super::*;

impl Bench {
    /// `certs/<name>.pem` for `<name>.example`, with its times, and without its issuer's where another signed it.
    pub(super) fn pair_from(
        &self,
        name: &str,
        from: impl Into<time::OffsetDateTime>,
        until: impl Into<time::OffsetDateTime>,
        by_another: bool,
    ) {
        let mut params = rcgen::CertificateParams::new(vec![format!("{name}.example")]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        (params.not_before, params.not_after) = (from.into(), until.into());
        let key = rcgen::KeyPair::generate().unwrap();
        let made = if by_another {
            let issuer =
                rcgen::Issuer::new(rcgen::CertificateParams::default(), rcgen::KeyPair::generate().unwrap());
            params.signed_by(&key, &issuer).unwrap()
        } else {
            params.self_signed(&key).unwrap()
        };
        self.put(&format!("certs/{name}.pem"), &made.pem(), 0o644);
        self.put(&format!("certs/{name}.key"), &key.serialize_pem(), 0o600);
    }
}

#[test]
fn a_certificate_is_warned_about_when_its_renewal_is_overdue() {
    let bench = Bench::new();
    let text = fs::read_to_string(folder("valid").join("minimal.toml")).unwrap();
    let day = std::time::Duration::from_secs(24 * 3600);
    let now = SystemTime::now();
    for (life, left, expected) in [
        (90, 30, false),
        (90, 15, false),
        (90, 13, true),
        (6, 4, false), // Let's Encrypt's short ones
        (6, 1, true),
        (365, 1, true),
    ] {
        let until = now + left * day;
        bench.pair_from("onlyoffice.rapidpm.uk", until - life * day, until, false);
        let loaded = bench.load(&text).unwrap();
        let said = bench.lines(&loaded.warnings);
        assert_eq!(said.contains("is its renewal still running?"), expected, "{life} {left}: {said}");
    }
}

#[test]
fn a_key_in_a_folder_that_everybody_can_write_is_warned_about() {
    let bench = Bench::new();
    let text = fs::read_to_string(folder("valid").join("minimal.toml")).unwrap();
    for (mode, expected) in [(0o755, false), (0o777, true), (0o1777, false)] {
        let certs = bench.folder.path().join("certs");
        fs::set_permissions(certs, fs::Permissions::from_mode(mode)).unwrap();
        let said = bench.lines(&bench.load(&text).unwrap().warnings);
        assert_eq!(said.contains("every user of this machine can replace"), expected, "{mode:o}: {said}");
    }
}

#[test]
fn a_configuration_that_everybody_can_change_is_warned_about() {
    let bench = Bench::new();
    let text = fs::read_to_string(folder("valid").join("minimal.toml")).unwrap();
    for (mode, expected) in [
        (0o644, ""),
        (0o664, ""),
        (0o666, "1:1: every user of this machine can change gateway.toml (chmod o-w it)\n"),
    ] {
        bench.put("gateway.toml", &text, mode);
        let loaded = load(&bench.folder.path().join("gateway.toml"), &bench.env(), &bench.tickets).unwrap();
        assert_eq!(bench.lines(&loaded.warnings), expected);
    }
}
