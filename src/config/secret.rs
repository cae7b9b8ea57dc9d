//! Where a secret comes from: a variable, a file, or a systemd credential; never the configuration itself.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::build::Context;
use super::fault::Report;
use super::read::{Read, shown, wrong_type};
use super::source::is_variable;
use super::suggest::nearest;
use super::weak;
use crate::secret::Secret;

/// Where a secret comes from.
pub enum SecretFrom {
    /// `{ env = "NAME" }`
    Env(Spanned<String>),
    /// `{ file = "PATH" }`
    File(Spanned<String>),
    /// `{ credential = "NAME" }`: a file in `$CREDENTIALS_DIRECTORY`.
    Credential(Spanned<String>),
}

/// The keys, of which exactly one is written.
const SOURCES: [&str; 3] = ["env", "file", "credential"];

impl Read for SecretFrom {
    const ONE: &'static str = "{ env = \"NAME\" }, { file = \"PATH\" } or { credential = \"NAME\" }";
    const MANY: &'static str =
        "a list of { env = \"NAME\" }, { file = \"PATH\" } or { credential = \"NAME\" }";

    fn read(key: &str, value: &Spanned<DeValue<'_>>, report: &mut Report) -> Option<Self> {
        match value.get_ref() {
            DeValue::Table(table) => from_table(key, value.span(), table, report),
            DeValue::String(_) => {
                let message = format!(
                    "`{key}` must be {}; the secret itself does not belong into this file",
                    Self::ONE
                );
                report.fault(value.span(), message);
                None
            }
            _ => {
                wrong_type(key, Self::ONE, value, report);
                None
            }
        }
    }
}

fn from_table(key: &str, span: Range<usize>, table: &DeTable<'_>, report: &mut Report) -> Option<SecretFrom> {
    let mut found = Vec::new();
    let mut unknown = false;
    for (source, value) in table {
        let name: &str = source.get_ref();
        if !SOURCES.contains(&name) {
            unknown = true;
            let message = format!("`{key}` has no `{name}`; it is {}", SecretFrom::ONE);
            report.misspelled(source.span(), message, nearest(name, SOURCES).map(str::to_owned));
        } else if let Some(text) = Spanned::<String>::read(&format!("{key}.{name}"), value, report) {
            found.push((name.to_owned(), text));
        } else {
            unknown = true;
        }
    }
    let from = found.pop();
    if !found.is_empty() || (from.is_none() && !unknown) {
        report.fault(span, format!("`{key}` must be exactly one of {}", SecretFrom::ONE));
        return None;
    }
    from.map(|(source, text)| match source.as_str() {
        "env" => SecretFrom::Env(text),
        "file" => SecretFrom::File(text),
        _ => SecretFrom::Credential(text),
    })
}

impl SecretFrom {
    /// The place of the name or path.
    pub fn span(&self) -> Range<usize> {
        match self {
            Self::Env(text) | Self::File(text) | Self::Credential(text) => text.span(),
        }
    }

    /// Fetches it. `None` after a fault has been reported.
    pub fn fetch(&self, key: &str, context: &mut Context<'_>) -> Option<Secret> {
        match self {
            Self::Env(name) => from_env(key, name.get_ref(), self.span(), context),
            Self::File(path) => {
                let path = context.path(path.get_ref());
                let bytes = context.read_private(key, &path, self.span())?;
                not_empty(key, Secret::new(without_newline(bytes)), self.span(), context)
            }
            Self::Credential(name) => {
                let path = credential(key, name.get_ref(), self.span(), context)?;
                let bytes = context.read(key, &path, self.span())?;
                not_empty(key, Secret::new(without_newline(bytes)), self.span(), context)
            }
        }
    }
}

/// A secret out of the environment.
pub fn from_env(key: &str, name: &str, span: Range<usize>, context: &mut Context<'_>) -> Option<Secret> {
    if !is_variable(name) {
        // Not repeated: whoever got this wrong may have written the secret itself.
        context
            .report
            .fault(span, format!("`{key}`: `env` takes the name of a variable (letters, digits and _)"));
        return None;
    }
    let Some(value) = context.env.get(name) else {
        let meant =
            nearest(name, context.env.names().filter(|set| set.to_ascii_lowercase().contains("secret")));
        let message = format!(
            "`{key}`: the environment has no {}; it must hold the container's JWT_SECRET",
            shown(name)
        );
        let meant = meant.map(str::to_owned);
        context.report.misspelled(span, message, meant);
        return None;
    };
    not_empty(key, Secret::new(value.as_encoded_bytes().to_vec()), span, context)
}

fn not_empty(key: &str, secret: Secret, span: Range<usize>, context: &mut Context<'_>) -> Option<Secret> {
    if secret.expose().iter().all(u8::is_ascii_whitespace) {
        context
            .report
            .fault(span, format!("`{key}` is empty there; with an empty secret everybody could sign tokens"));
        return None;
    }
    Some(secret)
}

/// Path of a credential; systemd says where they are.
fn credential(
    key: &str,
    name: &str,
    span: Range<usize>,
    context: &mut Context<'_>,
) -> Option<std::path::PathBuf> {
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        context
            .report
            .fault(span, format!("`{key}`: `credential` takes a name as in LoadCredential=, not a path"));
        return None;
    }
    let Some(directory) = context.env.path("CREDENTIALS_DIRECTORY") else {
        let message = format!(
            "`{key}`: there are no credentials; systemd sets CREDENTIALS_DIRECTORY when the unit has LoadCredential={name}:…; \
             by hand, set it to the folder of the file {name}"
        );
        context.report.fault(span, message);
        return None;
    };
    Some(directory.join(name))
}

/// Editors and `echo` end a file with a newline that is no part of the secret.
pub fn without_newline(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    bytes
}

/// Refuses signing secrets that anybody would try, and warns about short ones.
pub fn judge(key: &str, secret: &Secret, span: Range<usize>, report: &mut Report) -> bool {
    /// RFC 7518 3.2: a key for HS256 has at least the size of the hash.
    const ENOUGH: usize = 32;
    if weak::is_well_known(secret.expose()) {
        let message =
            format!("`{key}` is one that everybody tries first; make one with `openssl rand -hex 32`");
        report.fault(span, message);
        return false;
    }
    if secret.expose().iter().any(|b| matches!(b, b'\n' | b'\r')) {
        report.warn(
            span.clone(),
            format!("`{key}` has a line break in it; the Document Server must have the same"),
        );
    }
    if secret.len() < ENOUGH {
        report.warn(
            span,
            format!(
                "`{key}` has {} bytes; RFC 7518 3.2 asks for {ENOUGH} or more (`openssl rand -hex 32` makes one), here and in the Document Server",
                secret.len()
            ),
        );
    }
    true
}
