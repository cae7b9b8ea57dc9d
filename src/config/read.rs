//! From parsed TOML to values with a meaning. serde stops at the first thing it does not like; an operator wants to
//! see everything at once, so each key is read by itself and what is wrong with it is noted.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::Report;
use super::schema;

/// What a key may hold.
pub trait Read: Sized {
    /// Finishes the sentence "`key` must be …".
    const ONE: &'static str;
    /// The same for a list of them.
    const MANY: &'static str;

    /// The value, or `None` after a fault has been reported. `key` is the dotted name for messages.
    fn read(key: &str, value: &Spanned<DeValue<'_>>, report: &mut Report) -> Option<Self>;
}

/// A table of the file with a fixed set of keys.
pub trait Section: Default {
    /// Its name as in `[title]`; empty for the top of the file.
    const TITLE: &'static str;
    /// Every key it knows.
    const KEYS: &'static [&'static str];

    /// Keys that stand in the file, also those whose value is wrong or whose name is misspelled: they are not missing.
    fn written(&mut self) -> &mut Vec<&'static str>;

    /// Reads one key; `false` when it is not one of `KEYS`.
    fn take(&mut self, key: &str, value: &Spanned<DeValue<'_>>, report: &mut Report) -> bool;
}

/// Reads every key of a table and reports those that do not exist.
pub fn section<S: Section>(table: &DeTable<'_>, report: &mut Report) -> S {
    let mut section = S::default();
    for (key, value) in table {
        if !section.take(key.get_ref(), value, report) {
            section.written().extend(schema::report_unknown(S::TITLE, key.get_ref(), key.span(), report));
        }
    }
    section
}

/// Reports a value of the wrong type. `wanted` finishes the sentence "`key` must be …".
pub fn wrong_type(key: &str, wanted: &str, value: &Spanned<DeValue<'_>>, report: &mut Report) {
    let found = match value.get_ref() {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    report.fault(value.span(), format!("`{key}` must be {wanted}, not {found}"));
}

/// Why a string is not what its key needs.
pub struct Wrong {
    /// Finishes the sentence `"<text>" …`.
    pub why: String,
    /// What was probably meant.
    pub meant: Option<String>,
}

impl Wrong {
    /// Without an idea what was meant.
    pub fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), meant: None }
    }

    /// With the spelling that was probably meant.
    pub fn meaning(why: impl Into<String>, meant: Option<impl Into<String>>) -> Self {
        Self { why: why.into(), meant: meant.map(Into::into) }
    }
}

/// Reads a string and makes something of it.
pub fn text<T: Read>(
    key: &str,
    value: &Spanned<DeValue<'_>>,
    report: &mut Report,
    parse: impl FnOnce(&str) -> Result<T, Wrong>,
) -> Option<T> {
    let Some(text) = value.get_ref().as_str() else {
        wrong_type(key, T::ONE, value, report);
        return None;
    };
    parse(text).map_err(|wrong| report_wrong(key, text, wrong, value.span(), report)).ok()
}

/// Reports a string that is not what its key needs.
pub fn report_wrong(key: &str, text: &str, wrong: Wrong, span: Range<usize>, report: &mut Report) {
    report.misspelled(span, format!("`{key}`: {} {}", shown(text), wrong.why), wrong.meant);
}

/// A string of the file in a message: short, and without anything that moves a terminal's cursor.
pub fn shown(text: &str) -> String {
    let text = &without_user(text);
    let clean: String = text.chars().map(|c| if c.is_control() { '·' } else { c }).collect();
    match clean.char_indices().nth(80) {
        Some((end, _)) => format!("\"{}…\"", &clean[..end]),
        None => format!("\"{clean}\""),
    }
}

/// A URL without `user:password`.
fn without_user(text: &str) -> String {
    let cut = || {
        let (scheme, rest) = text.split_once("://")?;
        let (_, host) = rest.rsplit_once('@')?;
        Some(format!("{scheme}://…@{host}"))
    };
    cut().unwrap_or_else(|| text.to_owned())
}

impl<T: Read> Read for Spanned<T> {
    const ONE: &'static str = T::ONE;
    const MANY: &'static str = T::MANY;

    fn read(key: &str, value: &Spanned<DeValue<'_>>, report: &mut Report) -> Option<Self> {
        T::read(key, value, report).map(|read| Self::new(value.span(), read))
    }
}

impl<T: Read> Read for Vec<T> {
    const ONE: &'static str = T::MANY;
    const MANY: &'static str = T::MANY;

    fn read(key: &str, value: &Spanned<DeValue<'_>>, report: &mut Report) -> Option<Self> {
        let Some(items) = value.get_ref().as_array() else {
            wrong_type(key, Self::ONE, value, report);
            return None;
        };
        // Every item is read, so that every fault in the list is seen, before the list as a whole fails.
        let read: Vec<Option<T>> = items.iter().map(|item| T::read(key, item, report)).collect();
        read.into_iter().collect()
    }
}

/// A value, or a list of them.
pub struct OneOrMore<T>(pub Vec<Spanned<T>>);

impl<T: Read> Read for OneOrMore<T> {
    const ONE: &'static str = T::ONE;
    const MANY: &'static str = T::MANY;

    fn read(key: &str, value: &Spanned<DeValue<'_>>, report: &mut Report) -> Option<Self> {
        match value.get_ref() {
            DeValue::Array(_) => Vec::read(key, value, report).map(Self),
            _ => Spanned::read(key, value, report).map(|one| Self(vec![one])),
        }
    }
}

impl Read for bool {
    const ONE: &'static str = "true or false, without quotes";
    const MANY: &'static str = "a list of true and false";

    fn read(key: &str, value: &Spanned<DeValue<'_>>, report: &mut Report) -> Option<Self> {
        value.get_ref().as_bool().or_else(|| {
            wrong_type(key, Self::ONE, value, report);
            None
        })
    }
}

impl Read for u64 {
    const ONE: &'static str = "a whole number, without quotes";
    const MANY: &'static str = "a list of whole numbers";

    fn read(key: &str, value: &Spanned<DeValue<'_>>, report: &mut Report) -> Option<Self> {
        let Some(number) = value.get_ref().as_integer() else {
            wrong_type(key, Self::ONE, value, report);
            return None;
        };
        Self::from_str_radix(number.as_str(), number.radix())
            .map_err(|_| report.fault(value.span(), format!("`{key}`: {number} is out of range")))
            .ok()
    }
}
