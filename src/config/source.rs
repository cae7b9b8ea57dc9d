//! The text of a configuration file and the places in it, with everything blotted out that might be a secret.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Keys whose values are secrets, or URLs that may carry one. A string below them is never quoted.
const SENSITIVE: [&str; 8] =
    ["secret", "previous", "key", "redis", "sftp", "password", "passphrase", "token"];

/// Where a value below a sensitive key may be quoted after all: it names a place, it is not the secret.
const NAMES_A_PLACE: [&str; 3] = ["env", "file", "credential"];

/// Longest piece of a line that is quoted; enough for a terminal, and a bound for files that are not TOML at all.
const QUOTED: usize = 120;

/// A line and a column, both from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Character in that line, from 1.
    pub column: usize,
}

/// A line as it may be shown, with the piece that is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// The line, without secrets and control characters.
    pub text: String,
    /// First character that is meant, from 0.
    pub from: usize,
    /// How many characters are meant; at least 1.
    pub length: usize,
}

/// The text of a file, and what of it nobody may see.
pub struct Source {
    path: PathBuf,
    text: String,
    hidden: Vec<Range<usize>>,
}

impl Source {
    /// Takes the text; hides every string below a key that may hold a secret, and passwords in URLs.
    pub fn new(path: &Path, text: String, table: &DeTable<'_>) -> Self {
        let mut hidden = passwords(&text);
        hide(table, "", false, &mut hidden);
        Self { path: path.to_owned(), text, hidden }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Blots out a line that the parser could not read, unless it is a `[section]` or begins with a key that
    /// holds no secret: there is no telling what else it was meant to be.
    pub fn hide_unread_line(&mut self, at: usize, is_key: impl FnOnce(&str) -> bool) {
        let line = self.line_around(at);
        let text = &self.text[line.clone()];
        let quoted = text.contains(['"', '\'']);
        let start = match text.split_once('=') {
            // Base64 ends with `=` too.
            Some((key, _)) if !is_key(key.trim()) => line.start,
            Some((key, _)) if is_sensitive(key) => line.start + key.len() + 1,
            Some(_) => return,
            None if !quoted && text.trim_start().starts_with('[') => return,
            None => line.start,
        };
        self.hidden.retain(|hidden| hidden.start < start || hidden.end > line.end);
        self.hidden.push(start..line.end);
    }

    /// What stands at a span, if it is a single word that may be shown.
    pub fn word(&self, span: &Range<usize>) -> Option<&str> {
        let word = self.text.get(span.clone())?;
        let plain = word.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
        let hidden = self.hidden.iter().any(|hidden| hidden.start < span.end && span.start < hidden.end);
        ((1..=40).contains(&word.len()) && plain && !hidden).then_some(word)
    }

    /// Line and column of a byte.
    pub fn place(&self, at: usize) -> Place {
        let at = self.boundary(at);
        let before = &self.text[..at];
        let start = before.rfind('\n').map_or(0, |n| n + 1);
        Place {
            line: before.matches('\n').count() + 1,
            column: self.text[start..at].trim_start_matches('\u{feff}').chars().count() + 1,
        }
    }

    /// Whether two bytes stand in the same line.
    pub fn same_line(&self, a: usize, b: usize) -> bool {
        self.line_around(a).start == self.line_around(b).start
    }

    /// Whether the line of a byte is a `[section]`.
    pub fn is_header(&self, at: usize) -> bool {
        self.text[self.line_around(at)].trim_start().starts_with('[')
    }

    /// The line of a span, fit to be shown.
    pub fn quote(&self, span: &Range<usize>) -> Quote {
        let line = self.line_around(span.start);
        let (mut text, mut from, mut upto) = (String::new(), None, None);
        let mut count = 0_usize;
        for (offset, c) in self.text[line.clone()].char_indices() {
            let at = line.start + offset;
            if at >= span.start && from.is_none() {
                from = Some(count);
            }
            if at >= span.end && upto.is_none() {
                upto = Some(count);
            }
            match self.hidden.iter().find(|hidden| hidden.contains(&at)) {
                Some(hidden) if hidden.start.max(line.start) != at => continue,
                Some(_) => text.push('…'),
                None if c == '\u{feff}' => continue,
                None if c.is_control() => text.push(' '),
                None => text.push(c),
            }
            count += 1;
        }
        let from = from.unwrap_or(count);
        let length = upto.unwrap_or(count).saturating_sub(from).max(1);
        cut(Quote { text: text.trim_end().to_owned(), from, length })
    }

    fn boundary(&self, at: usize) -> usize {
        (0..=at.min(self.text.len())).rev().find(|&i| self.text.is_char_boundary(i)).unwrap_or(0)
    }

    /// The line around a byte, without its end.
    fn line_around(&self, at: usize) -> Range<usize> {
        let at = self.boundary(at);
        let start = self.text[..at].rfind('\n').map_or(0, |n| n + 1);
        let end = self.text[at..].find('\n').map_or(self.text.len(), |n| at + n);
        start..end
    }
}

/// Keeps the middle of a line that is too long to be read.
fn cut(quote: Quote) -> Quote {
    let count = quote.text.chars().count();
    if count <= QUOTED {
        return quote;
    }
    let skip = quote.from.saturating_sub(QUOTED / 3).min(count - QUOTED);
    let text = quote.text.chars().skip(skip).take(QUOTED).collect();
    let from = quote.from - skip;
    Quote { text, from, length: quote.length.min(QUOTED.saturating_sub(from)).max(1) }
}

/// Whether values of a key are hidden. Written differently or not known at all, it may still be meant as a secret.
fn is_sensitive(key: &str) -> bool {
    let key = key.trim().trim_matches(['"', '\'']).to_ascii_lowercase();
    let last = key.rsplit('.').next().unwrap_or(&key).trim();
    last != "key_binding"
        && SENSITIVE.iter().any(|s| last.contains(s) || strsim::damerau_levenshtein(last, s) <= s.len() / 3)
}

fn hide(table: &DeTable<'_>, parent: &str, inherited: bool, hidden: &mut Vec<Range<usize>>) {
    for (key, value) in table {
        let name: &str = key.get_ref();
        let names_a_place = NAMES_A_PLACE.contains(&name)
            && (name != "env" || value.get_ref().as_str().is_some_and(is_variable));
        let below = (inherited && !names_a_place) || is_sensitive(name);
        // `key` of a certificate is a path, unless somebody put the key itself there.
        let is_path = parent == "certificates"
            && value.get_ref().as_str().is_some_and(|v| !v.contains("-----") && !v.contains('\n'));
        hide_value(value, name, below && !is_path, hidden);
    }
}

/// Whether text is the name of a variable; whoever writes something else may have written the secret itself.
pub fn is_variable(text: &str) -> bool {
    let letters = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    letters && !text.is_empty() && !text.starts_with(|c: char| c.is_ascii_digit())
}

fn hide_value(value: &Spanned<DeValue<'_>>, name: &str, sensitive: bool, hidden: &mut Vec<Range<usize>>) {
    match value.get_ref() {
        DeValue::Table(table) => hide(table, name, sensitive, hidden),
        DeValue::Array(list) => list.iter().for_each(|item| hide_value(item, name, sensitive, hidden)),
        DeValue::Boolean(_) => {}
        _ if sensitive => hidden.push(value.span()),
        _ => {}
    }
}

/// `user:password` of every URL in the text, wherever it stands.
fn passwords(text: &str) -> Vec<Range<usize>> {
    text.match_indices("://")
        .filter_map(|(at, _)| {
            let start = at + 3;
            let rest = &text[start..];
            let end = rest.find(['/', '"', '\'', '\n', ' ']).unwrap_or(rest.len());
            rest[..end].rfind('@').map(|end| start..start + end)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        let (table, _) = DeTable::parse_recoverable(text);
        Source::new(Path::new("x.toml"), text.to_owned(), table.get_ref())
    }

    #[test]
    fn places_count_characters() {
        let s = source("a = \"ü\"\r\nbé = 1\n");
        assert_eq!(s.place(0), Place { line: 1, column: 1 });
        assert_eq!(s.place(10), Place { line: 2, column: 1 });
        assert_eq!(s.place(14), Place { line: 2, column: 4 });
        assert_eq!(s.place(999), Place { line: 3, column: 1 });
    }

    #[test]
    fn what_may_be_a_secret_is_blotted_out() {
        for line in [
            "secret = \"MARK\"",
            "secert = 'MARK' # x",
            "previous = [\"MARK\"]",
            "secret = { value = \"MARK\" }",
            "jwt.secret = \"MARK\"",
            "key = \"MARK\"",
            "redis = \"MARK\"",
            "url = \"https://me:MARK@host/x\"",
            "jwt_secret = 4711",
        ] {
            let quote = source(line).quote(&(0..line.len()));
            assert!(!quote.text.contains("MARK") && !quote.text.contains("4711"), "{quote:?}");
        }
        let quote = source("secret = { env = \"NAME\" }").quote(&(17..23));
        assert_eq!(quote, Quote { text: "secret = { env = \"NAME\" }".into(), from: 17, length: 6 });
    }

    #[test]
    fn a_line_the_parser_could_not_read_is_hidden_when_it_may_hold_a_secret() {
        for (line, shown) in [
            ("secret = \"MARK", "secret =…"),
            ("unknown = \"MARK", "…"),
            ("MARKmarkMARK==", "…"),
            ("  \"MARK\",", "…"),
            ("\"MARK\" = 5", "…"),
            ("MARK", "…"),
            ("[\"MARK\"", "…"),
            ("mode = enforce", "mode = enforce"),
            ("[server", "[server"),
        ] {
            let mut s = source(line);
            s.hide_unread_line(2, |key| ["mode", "secret"].contains(&key));
            assert_eq!(s.quote(&(0..1)).text, shown);
        }
    }

    #[test]
    fn a_caret_behind_a_hidden_piece_stays_right() {
        let text = "secret = \"MARKMARK\" x = 5";
        let at = text.find("x =").unwrap();
        let mut s = source(text);
        s.hidden.clear();
        s.hidden.push(9..19);
        assert_eq!(s.quote(&(at..at + 1)), Quote { text: "secret = … x = 5".into(), from: 11, length: 1 });
    }

    #[test]
    fn endless_lines_are_cut() {
        let text = format!("a = \"{}\"", "x".repeat(5_000));
        let quote = source(&text).quote(&(3_000..3_001));
        assert_eq!(quote.text.chars().count(), QUOTED);
        assert_eq!(quote.from, QUOTED / 3);
    }
}
