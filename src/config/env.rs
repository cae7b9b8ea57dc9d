//! The environment as a value: read once by the caller and passed in, so that tests need not share the process's.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

/// Environment variables, some of which are secrets.
#[derive(Clone, Default)]
pub struct Env(HashMap<OsString, OsString>);

impl Env {
    /// The variable, if it is set.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// The variable as a path, if it is set to anything.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// The same with this variable, unless it has it.
    #[must_use]
    pub fn or(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.0.entry(name.into()).or_insert_with(|| value.into());
        self
    }

    /// Names of all variables that are readable as text: for suggestions.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().filter_map(|name| name.to_str())
    }
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Env {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl fmt::Debug for Env {
    /// How many there are: values are secrets, and names say what is installed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Env({} variables)", self.0.len())
    }
}
