//! `certs dev`: a self-signed pair, so that the gateway can be tried before anybody orders a certificate.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
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
    let pair = Written { chain: args.out.join("dev.pem"), key: args.out.join("dev.key") };
    if !args.force
        && let Some(there) = [&pair.chain, &pair.key].into_iter().find(|path| path.exists())
    {
        return Err(format!("{} is there already; --force replaces it", there.display()));
    }
    let (chain, key) = generate(&args.names)
        .map_err(|error| format!("no certificate can be made for these names: {error}"))?;
    fs::create_dir_all(&args.out).map_err(|error| format!("{}: {error}", args.out.display()))?;
    // The key first: a chain without its key is of no use, and a key without a chain does no harm.
    replace(&pair.key, key.as_bytes(), 0o600).map_err(|error| format!("{}: {error}", pair.key.display()))?;
    replace(&pair.chain, chain.as_bytes(), 0o644)
        .map_err(|error| format!("{}: {error}", pair.chain.display()))?;
    Ok(pair)
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
         in gateway.toml, beside these files' folder or with paths that fit:\n\n\
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
