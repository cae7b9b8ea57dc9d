//! `certs dev`: a self-signed pair, so that the gateway can be tried before anybody orders a certificate.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};

use super::{FAILED, out};

/// What can be done with certificates.
#[derive(Debug, Clone, Subcommand)]
pub enum CertsCommand {
    /// Write a self-signed pair for trying (ECDSA P-256)
    Dev(DevArgs),
}

/// What `certs dev` is told.
#[derive(Debug, Clone, Args)]
pub struct DevArgs {
    /// Folder to write to
    #[arg(long, value_name = "DIR", default_value = "certs")]
    out: PathBuf,
    /// Host name or IP address the certificate is for; may be repeated
    #[arg(long = "name", value_name = "NAME", default_values = ["localhost", "127.0.0.1", "::1"])]
    names: Vec<String>,
    /// Replace a pair that is already there
    #[arg(long)]
    force: bool,
}

/// Writes the pair and says what to put into gateway.toml.
pub fn dev(args: &DevArgs) -> ExitCode {
    match write_pair(args) {
        Ok(pair) => {
            out::say(&what_to_write(&pair, &args.names));
            ExitCode::SUCCESS
        }
        Err(why) => {
            out::complain(&why);
            ExitCode::from(FAILED)
        }
    }
}

struct Written {
    chain: PathBuf,
    key: PathBuf,
}

fn write_pair(args: &DevArgs) -> Result<Written, String> {
    let stem = stem(&args.names);
    let pair =
        Written { chain: args.out.join(format!("{stem}.pem")), key: args.out.join(format!("{stem}.key")) };
    if !args.force
        && let Some(there) = [&pair.chain, &pair.key].into_iter().find(|path| path.exists())
    {
        return Err(format!("{} is there already; --force replaces it", there.display()));
    }
    let (chain, key) = generate(&args.names)
        .map_err(|error| format!("no certificate can be made for these names: {error}"))?;
    fs::create_dir_all(&args.out).map_err(|error| format!("{}: {error}", args.out.display()))?;
    // The key first: a chain without its key is of no use, and a key without a chain does no harm.
    replace(&pair.key, key.as_bytes(), 0o600)
        .and_then(|()| share(&pair.key, &args.out))
        .map_err(|error| format!("{}: {error}", pair.key.display()))?;
    replace(&pair.chain, chain.as_bytes(), 0o644)
        .map_err(|error| format!("{}: {error}", pair.chain.display()))?;
    Ok(pair)
}

/// The first name, as gateway.toml usually calls its files; whatever no file should be called is a dash.
fn stem(names: &[String]) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' || c == '-' { c } else { '-' };
    names.first().map_or_else(|| "dev".to_owned(), |name| name.chars().map(plain).collect())
}

/// Writes a new file, never into one whose rights somebody else chose.
fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Lets the folder's group read a key that root writes there: /etc/rapidpm-gateway/certs is `root:rapidpm-gateway`, and a gateway
/// that cannot read its key does not start.
fn share(key: &Path, folder: &Path) -> io::Result<()> {
    let (own, theirs) = (fs::metadata(key)?.gid(), fs::metadata(folder)?.gid());
    if own == theirs || chown(key, None, Some(theirs)).is_err() {
        return Ok(()); // whoever may not give it away keeps it
    }
    fs::set_permissions(key, fs::Permissions::from_mode(0o640))
}

/// PEM of a chain and of its key.
fn generate(names: &[String]) -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new(names.to_vec())?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, "rapidpm-gateway, for trying");
    params.distinguished_name = subject;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

fn what_to_write(pair: &Written, names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| toml_string(name)).collect();
    format!(
        "wrote {chain} and {key}; browsers will warn about them, since nobody vouches for them\n\
         gateway.toml takes them so (relative paths start at its own folder):\n\n\
         [[tls.certificates]]\nnames = [{names}]\nchain = {chain_toml}\nkey   = {key_toml}",
        chain = pair.chain.display(),
        key = pair.key.display(),
        names = quoted.join(", "),
        chain_toml = toml_string(&pair.chain.to_string_lossy()),
        key_toml = toml_string(&pair.key.to_string_lossy()),
    )
}

/// A basic string of TOML, whose escapes are JSON's.
fn toml_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Env};
    use crate::tls::Tickets;

    fn args(folder: &Path, force: bool) -> DevArgs {
        DevArgs {
            out: folder.join("certs"),
            names: vec!["localhost".into(), "127.0.0.1".into(), "::1".into()],
            force,
        }
    }

    #[test]
    fn the_pair_and_the_lines_that_are_printed_make_a_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let args = args(folder.path(), false);
        let pair = write_pair(&args).unwrap();
        assert_eq!(fs::metadata(&pair.key).unwrap().permissions().mode() & 0o777, 0o600);
        let printed = what_to_write(&pair, &args.names);
        let block = &printed[printed.find("[[tls").unwrap()..];
        let path = folder.path().join("gateway.toml");
        fs::write(&path, format!("public_url = \"https://localhost:8443\"\n{block}\n")).unwrap();
        let env: Env = [("ONLY_OFFICE_SECRET", "0123456789abcdef-0123456789-zyxwvu")].into_iter().collect();
        let loaded =
            config::load(&path, &env, &Tickets::new().unwrap()).unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!(loaded.warnings, []);
    }

    /// README's "Production" as root follows it: the pair is made in the gateway's folder, and its user could not read the key.
    #[test]
    fn a_key_in_the_gateways_folder_is_the_gateways_to_read() {
        let folder = tempfile::tempdir().unwrap();
        let args = args(folder.path(), false);
        fs::create_dir(&args.out).unwrap();
        let root = chown(&args.out, None, Some(4711)).is_ok();
        let pair = write_pair(&args).unwrap();
        let about = fs::metadata(&pair.key).unwrap();
        assert_eq!(about.mode() & 0o777, if root { 0o640 } else { 0o600 });
        assert_eq!(about.gid() == 4711, root);
    }

    #[test]
    fn nothing_is_replaced_without_being_asked() {
        let folder = tempfile::tempdir().unwrap();
        write_pair(&args(folder.path(), false)).unwrap();
        let key = folder.path().join("certs/localhost.key");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        let first = fs::read(&key).unwrap();
        assert!(write_pair(&args(folder.path(), false)).err().unwrap().contains("--force"));
        assert_eq!(fs::read(&key).unwrap(), first);
        write_pair(&args(folder.path(), true)).unwrap();
        assert_ne!(fs::read(&key).unwrap(), first);
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
