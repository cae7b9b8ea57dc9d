//! Query strings as the Document Server's Express reads them, so that both see the same parameter.

use std::borrow::Cow;

/// Why a parameter cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryFault {
    /// Twice or more: Express would make a list of it.
    Repeated,
    /// Its value is not percent-encoded UTF-8.
    Undecodable,
    /// More parameters than Express reads; it would not see what stands behind them.
    Crowded,
}

/// How many parameters Express' `qs` reads (`parameterLimit`).
const MOST_PARAMETERS: usize = 1000;

/// The one value of `name` in `query`, decoded (`+` is a space). Empty counts as absent, as in JavaScript's truth.
pub fn value<'q>(query: &'q str, name: &str) -> Result<Option<Cow<'q, str>>, QueryFault> {
    let mut found = None;
    for (at, pair) in query.split('&').enumerate() {
        if at >= MOST_PARAMETERS {
            return Err(QueryFault::Crowded);
        }
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if !is_named(key, name) {
            continue;
        }
        if found.replace(value).is_some() {
            return Err(QueryFault::Repeated);
        }
    }
    match found {
        None | Some("") => Ok(None),
        Some(value) => decode(value).map(Some).ok_or(QueryFault::Undecodable),
    }
}

/// Whether `query` says `name` at all, if only with nothing behind it.
pub fn has(query: &str, name: &str) -> bool {
    query.split('&').any(|pair| is_named(pair.split_once('=').map_or(pair, |(key, _)| key), name))
}

/// Whether `key` says `name`: as it is, encoded, or in a spelling that Express' `qs` folds into it (`name[]`, `name[0]`, `[name]`).
fn is_named(key: &str, name: &str) -> bool {
    if key == name {
        return true;
    }
    if !key.contains(['%', '[', '+']) {
        return false;
    }
    decode(key).is_some_and(|key| key.trim_start_matches('[').split(['[', ']']).next() == Some(name))
}

/// Percent-decodes a form value; `None` if it is not UTF-8 or an escape is broken.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains(['%', '+']) {
        return Some(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                u8::try_from(high << 4 | low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_as_express_reads_it() {
        let one = |s: &'static str| Ok(Some(Cow::Borrowed(s)));
        let table = [
            ("", Ok(None)),
            ("a=1", Ok(None)),
            ("token", Ok(None)),
            ("token=", Ok(None)),
            ("token=x", one("x")),
            ("a=1&token=x&b", one("x")),
            ("token=x%2Ey", one("x.y")),
            ("token=a+b", one("a b")),
            ("token=a=b", one("a=b")),
            ("%74oken=x", one("x")),
            ("xtoken=x&tokens=y&Token=z", Ok(None)),
            ("token=x&token=y", Err(QueryFault::Repeated)),
            ("token=x&%74oken=y", Err(QueryFault::Repeated)),
            ("token=x&token[]=y", Err(QueryFault::Repeated)),
            ("token=x&token%5B0%5D=y", Err(QueryFault::Repeated)),
            ("[token]=x", one("x")),
            ("token=x&%5Btoken%5D=y", Err(QueryFault::Repeated)),
            ("token=%zz", Err(QueryFault::Undecodable)),
            ("token=%f", Err(QueryFault::Undecodable)),
            ("token=%ff", Err(QueryFault::Undecodable)),
        ];
        for (query, expected) in table {
            assert_eq!(value(query, "token"), expected, "{query}");
        }
    }

    #[test]
    fn does_not_look_behind_what_express_reads() {
        assert_eq!(value(&format!("{}token=x", "a&".repeat(999)), "token"), Ok(Some(Cow::Borrowed("x"))));
        assert_eq!(value(&format!("{}token=x", "a&".repeat(1000)), "token"), Err(QueryFault::Crowded));
    }
}
