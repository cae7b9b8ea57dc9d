//! Where a request carries its token: read as the Document Server reads it, so that both look at the same one.

use std::borrow::Cow;

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::Value;

use super::query::{self, QueryFault};
use super::table::{Access, Carrier};
use super::token::{Settings, TokenFault};

/// The prefix of [`Carrier::Bearer`], fixed by the Document Server (S: DocService/sources/fileuploaderservice.js:95-111).
const BEARER: &str = "Bearer ";

/// The parts of a request in which a token may be.
#[derive(Debug, Clone, Copy)]
pub struct Carried<'r> {
    /// Its header fields.
    pub headers: &'r HeaderMap,
    /// Its query, without the question mark.
    pub query: Option<&'r str>,
    /// Its body, where the route has it inspected; else empty.
    pub body: &'r [u8],
}

impl<'r> Carried<'r> {
    /// The token that the Document Server would look at, and where it was: the first carrier that holds one decides, and a bad
    /// one there is not rescued by a good one further on (protocol.md 2.3).
    pub fn find(
        &self,
        carriers: &[Carrier],
        settings: &Settings,
    ) -> Result<(Cow<'r, str>, Carrier), (TokenFault, Option<Carrier>)> {
        for &carrier in carriers {
            match self.look(carrier, settings) {
                Ok(Some(token)) => return Ok((token, carrier)),
                Ok(None) => {}
                Err(fault) => return Err((fault, Some(carrier))),
            }
        }
        Err((TokenFault::Missing, None))
    }

    fn look(&self, carrier: Carrier, settings: &Settings) -> Result<Option<Cow<'r, str>>, TokenFault> {
        match carrier {
            Carrier::Header => {
                find_header(self.headers, &settings.header, &settings.prefix).map(|t| t.map(Cow::Borrowed))
            }
            Carrier::Bearer => {
                find_header(self.headers, &AUTHORIZATION, BEARER).map(|t| t.map(Cow::Borrowed))
            }
            Carrier::Query => find_query(self.query),
            Carrier::Body => match find_body(self.body)? {
                InBody::Token(token) => Ok(Some(Cow::Owned(token))),
                InBody::None => Ok(None),
                InBody::NotJson => find_query(self.query),
            },
            Carrier::CmdDownload => find_cmd(self.query, CmdToken::Any),
            Carrier::CmdSession => find_cmd(self.query, CmdToken::Session),
            Carrier::Packet => Ok(None), // comes after the request: policy::Knock
        }
    }
}

/// The token in the field `name` behind `prefix`. Another prefix is no token, as for the Document Server; two fields of the
/// name are refused, because Node would take the first or join them.
pub fn find_header<'r>(
    headers: &'r HeaderMap,
    name: &HeaderName,
    prefix: &str,
) -> Result<Option<&'r str>, TokenFault> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(TokenFault::Ambiguous);
    }
    match value.as_bytes().strip_prefix(prefix.as_bytes()) {
        None | Some([]) => Ok(None),
        Some(token) => std::str::from_utf8(token).map(Some).map_err(|_| TokenFault::Malformed),
    }
}

fn find_query(query: Option<&str>) -> Result<Option<Cow<'_, str>>, TokenFault> {
    parameter(query, "token")
}

fn parameter<'q>(query: Option<&'q str>, name: &str) -> Result<Option<Cow<'q, str>>, TokenFault> {
    query::value(query.unwrap_or_default(), name).map_err(|fault| match fault {
        QueryFault::Repeated | QueryFault::Crowded => TokenFault::Ambiguous,
        QueryFault::Undecodable => TokenFault::Malformed,
    })
}

enum InBody {
    Token(String),
    None,
    NotJson,
}

/// The body's `token`, as `JSON.parse(body.toString('utf8')).token` finds it (S: DocsCoServer.js:1504-1550). What JavaScript
/// might parse and serde does not (lone surrogates, 1e999, deep nesting) is refused rather than taken for "not JSON": else the
/// Document Server would check a token that was never looked at here.
fn find_body(body: &[u8]) -> Result<InBody, TokenFault> {
    #[derive(Deserialize)]
    struct Fields {
        token: Option<Value>,
    }
    let text = String::from_utf8_lossy(body);
    let start = text.trim_start_matches([' ', '\t', '\r', '\n']);
    if start.starts_with('{') {
        let fields: Fields = serde_json::from_str(start).map_err(|fault| match fault.is_data() {
            true => TokenFault::Ambiguous, // `token` twice
            false => TokenFault::Malformed,
        })?;
        return Ok(truthy_token(fields.token)?.map_or(InBody::None, InBody::Token));
    }
    match serde_json::from_str::<Value>(start) {
        // JavaScript's falsy values are no parameters; the query is asked instead.
        Ok(value) if !is_truthy(&value) => Ok(InBody::NotJson),
        Ok(_) => Ok(InBody::None),
        Err(_) if start.starts_with(|c: char| matches!(c, '[' | '"' | '-' | '0'..='9')) => {
            Err(TokenFault::Malformed)
        }
        Err(_) => Ok(InBody::NotJson),
    }
}

enum CmdToken {
    Any,
    Session,
}

fn find_cmd(query: Option<&str>, which: CmdToken) -> Result<Option<Cow<'_, str>>, TokenFault> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Cmd {
        token_download: Option<Value>,
        token_session: Option<Value>,
    }
    let Some(cmd) = parameter(query, "cmd")? else { return Ok(None) };
    if !cmd.trim_start().starts_with('{') {
        return Err(TokenFault::Malformed); // serde would also take a list for a struct
    }
    let cmd: Cmd = serde_json::from_str(&cmd).map_err(|_| TokenFault::Malformed)?;
    let download = match which {
        CmdToken::Any => truthy_token(cmd.token_download)?,
        CmdToken::Session => None,
    };
    match download {
        Some(token) => Ok(Some(Cow::Owned(token))),
        None => Ok(truthy_token(cmd.token_session)?.map(Cow::Owned)),
    }
}

/// The token in a JSON field: a falsy value is none, a truthy one that is no text is a bad one.
fn truthy_token(value: Option<Value>) -> Result<Option<String>, TokenFault> {
    match value {
        Some(Value::String(token)) if !token.is_empty() => Ok(Some(token)),
        Some(value) if is_truthy(&value) => Err(TokenFault::Malformed),
        _ => Ok(None),
    }
}

fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

/// A field that carries tokens, and what stands before them there: `[jwt]`'s or an integrator's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenField {
    /// The field's name.
    pub name: HeaderName,
    /// What stands before the token.
    pub prefix: String,
}

/// The fields that may carry a token on routes of [`Carrier::Header`]: `[jwt]`'s first, then the integrators' own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFields {
    own: TokenField,
    others: Vec<TokenField>,
}

impl TokenFields {
    /// `[jwt]`'s field and those of the integrators, in their order; equal ones are looked at once.
    pub fn new(own: TokenField, integrators: impl IntoIterator<Item = TokenField>) -> Self {
        let mut others = Vec::new();
        for field in integrators {
            if field != own && !others.contains(&field) {
                others.push(field);
            }
        }
        Self { own, others }
    }

    /// All of them, `[jwt]`'s first.
    pub fn all(&self) -> impl Iterator<Item = &TokenField> {
        std::iter::once(&self.own).chain(&self.others)
    }

    /// Leaves at most one token in `headers`, in the field and behind the prefix that the Document Server knows, and says which
    /// field it came in. To be called before a permit is asked for. The first field that holds one decides, as everywhere: a bad
    /// one there is not rescued by a good one further on. Where the route has no [`Carrier::Header`], nothing is touched: an
    /// editor's `Authorization` is not an application's. The work is one look-up for each field; only one token is copied.
    pub fn settle(&self, headers: &mut HeaderMap, access: Access) -> Result<Option<&TokenField>, TokenFault> {
        let Access::Token(carriers) = access else { return Ok(None) };
        if !carriers.contains(&Carrier::Header) {
            return Ok(None);
        }
        let mut found: Option<&TokenField> = None;
        let mut surplus = Vec::new();
        for field in self.all() {
            if find_header(headers, &field.name, &field.prefix)?.is_none() {
                continue;
            }
            match found {
                None => found = Some(field),
                Some(first) if first.name != field.name => surplus.push(&field.name),
                // One field and two prefixes, one of which begins with the other: the longer one, since no token holds a space.
                Some(first) if first.prefix.len() < field.prefix.len() => found = Some(field),
                Some(_) => {}
            }
        }
        for name in surplus {
            headers.remove(name);
        }
        if let Some(field) = found {
            translate(headers, field, &self.own)?;
        }
        Ok(found)
    }
}

/// Moves the token of the field `from` to the field `to`: an application's own name for it to the Document Server's, or back.
/// A token that `to` already holds stays; a field without the prefix is no token and stays, too.
pub fn translate(headers: &mut HeaderMap, from: &TokenField, to: &TokenField) -> Result<(), TokenFault> {
    if from == to || find_header(headers, &to.name, &to.prefix)?.is_some_and(|_| from.name != to.name) {
        return Ok(());
    }
    let Some(token) = find_header(headers, &from.name, &from.prefix)? else { return Ok(()) };
    let value = format!("{}{token}", to.prefix);
    let mut value = HeaderValue::try_from(value).map_err(|_| TokenFault::Malformed)?;
    value.set_sensitive(true); // kept out of HPACK tables and debug output
    headers.remove(&from.name);
    headers.insert(&to.name, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::token::tests::{SECRET, settings};
    use super::*;

    type Found = Result<Option<&'static str>, &'static str>;

    fn found(
        carriers: &[Carrier],
        header: &[(&str, &str)],
        query: &str,
        body: &[u8],
    ) -> Result<Option<String>, &'static str> {
        let mut headers = HeaderMap::new();
        for (name, value) in header {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let mut settings = settings(&[SECRET]);
        settings.header = HeaderName::from_static("authorizationjwt");
        let carried = Carried { headers: &headers, query: Some(query), body };
        match carried.find(carriers, &settings) {
            Ok((token, _)) => Ok(Some(token.into_owned())),
            Err((TokenFault::Missing, None)) => Ok(None),
            Err((fault, carrier)) => Err(carrier.map_or("no carrier", |_| fault.reason())),
        }
    }

    #[test]
    fn fields() {
        let table: &[(&[(&str, &str)], Found)] = &[
            (&[], Ok(None)),
            (&[("AuthorizationJwt", "Bearer a.b.c")], Ok(Some("a.b.c"))),
            (&[("authorizationjwt", "bearer a.b.c")], Ok(None)),
            (&[("authorizationjwt", "a.b.c")], Ok(None)),
            (&[("authorizationjwt", "Bearer ")], Ok(None)),
            (&[("authorizationjwt", "Bearer  a")], Ok(Some(" a"))),
            (&[("authorization", "Bearer a.b.c")], Ok(None)),
            (&[("authorizationjwt", "Bearer a"), ("authorizationjwt", "Bearer a")], Err("token_ambiguous")),
            (&[("authorizationjwt", "Basic a"), ("authorizationjwt", "Bearer a")], Err("token_ambiguous")),
        ];
        for (header, expected) in table {
            let got = found(&[Carrier::Header], header, "token=q", b"");
            assert_eq!(got.as_ref().map(Option::as_deref), expected.as_ref().map(|o| *o), "{header:?}");
        }
    }

    #[test]
    fn bearer_is_hard_coded_and_the_query_follows() {
        let look = |header: &[(&str, &str)], query| {
            found(&[Carrier::Bearer, Carrier::Query], header, query, b"").ok().flatten()
        };
        assert_eq!(look(&[("authorization", "Bearer h")], "token=q").as_deref(), Some("h"));
        assert_eq!(look(&[("authorization", "Basic h")], "token=q").as_deref(), Some("q"));
        assert_eq!(look(&[("authorizationjwt", "Bearer h")], "token=q%2Er").as_deref(), Some("q.r"));
        assert_eq!(look(&[("authorizationjwt", "Bearer h")], ""), None);
    }

    #[test]
    fn bodies() {
        let table: &[(&[u8], &str, Found)] = &[
            (br#"{"c":"info","token":"b"}"#, "", Ok(Some("b"))),
            (br#"{"c":"info","token":"b"}"#, "token=q", Ok(Some("b"))),
            (b" \r\n\t{\"token\":\"b\"} ", "", Ok(Some("b"))),
            (br#"{"\u0074oken":"b"}"#, "", Ok(Some("b"))),
            // No token in the body: the header, never the query.
            (br#"{"c":"info"}"#, "token=q", Ok(Some("h"))),
            (br#"{"token":""}"#, "token=q", Ok(Some("h"))),
            (br#"{"token":null}"#, "token=q", Ok(Some("h"))),
            (br#"{"token":0}"#, "", Ok(Some("h"))),
            (br#"{"token":false}"#, "", Ok(Some("h"))),
            (br#"{"Token":"b"}"#, "", Ok(Some("h"))),
            (br#"{"a":{"token":"b"}}"#, "", Ok(Some("h"))),
            (br#"[{"token":"b"}]"#, "token=q", Ok(Some("h"))),
            (b"true", "token=q", Ok(Some("h"))),
            (b"1", "token=q", Ok(Some("h"))),
            (br#""token""#, "token=q", Ok(Some("h"))),
            // A bad one is not rescued.
            (br#"{"token":1}"#, "token=q", Err("token_malformed")),
            (br#"{"token":true}"#, "", Err("token_malformed")),
            (br#"{"token":["b"]}"#, "", Err("token_malformed")),
            (br#"{"token":{}}"#, "", Err("token_malformed")),
            (br#"{"token":"a","token":"b"}"#, "", Err("token_ambiguous")),
            // Not JSON: the query, then the header.
            (b"", "token=q", Ok(Some("q"))),
            (b"", "", Ok(Some("h"))),
            (b"c=version&token=b", "token=q", Ok(Some("q"))),
            (b"token=b", "", Ok(Some("h"))),
            (b"builder.CreateFile(\"docx\");", "token=q", Ok(Some("q"))),
            (b"null", "token=q", Ok(Some("q"))),
            (b"false", "token=q", Ok(Some("q"))),
            (b"0", "token=q", Ok(Some("q"))),
            (br#""""#, "token=q", Ok(Some("q"))),
            ("\u{feff}{\"token\":\"b\"}".as_bytes(), "token=q", Ok(Some("q"))),
            (b"\xff\xfe{", "token=q", Ok(Some("q"))),
            (b"", "token=q&token=r", Err("token_ambiguous")),
            // What JavaScript may read and we might not: never taken for "not JSON".
            (b"{\"token\":\"b\",\"x\":\"\xff\"}", "token=q", Ok(Some("b"))),
            (br#"{"token":"b","x":"\ud800"}"#, "token=q", Ok(Some("b"))),
            (br#"{"token":"b","x":1e999}"#, "token=q", Ok(Some("b"))),
            (br#"{"token":"b\ud800"}"#, "token=q", Err("token_malformed")),
            (br#"{"token":"b""#, "token=q", Err("token_malformed")),
            (br#"{"token":"b"}x"#, "token=q", Err("token_malformed")),
            (b"[1e999]", "token=q", Err("token_malformed")),
            (b"-1e999", "token=q", Err("token_malformed")),
            (br#""\ud800""#, "token=q", Err("token_malformed")),
        ];
        for (body, query, expected) in table {
            let got =
                found(&[Carrier::Body, Carrier::Header], &[("authorizationjwt", "Bearer h")], query, body);
            let body = String::from_utf8_lossy(body);
            assert_eq!(got.as_ref().map(Option::as_deref), expected.as_ref().map(|o| *o), "{body} {query}");
        }
        let deep = format!(r#"{{"x":{}{},"token":"b"}}"#, "[".repeat(5000), "]".repeat(5000));
        let got = found(&[Carrier::Body], &[], "token=q", deep.as_bytes());
        assert!(got != Ok(Some("q".to_owned())), "{got:?}");
    }

    #[test]
    fn cmd() {
        let table: &[(&str, Found, Found)] = &[
            ("", Ok(None), Ok(None)),
            ("cmd=%7B%7D", Ok(None), Ok(None)),
            ("cmd=%7B%22tokenSession%22%3A%22s%22%7D", Ok(Some("s")), Ok(Some("s"))),
            ("cmd=%7B%22tokenDownload%22:%22d%22%7D", Ok(Some("d")), Ok(None)),
            ("cmd={\"tokenDownload\":\"d\",\"tokenSession\":\"s\"}", Ok(Some("d")), Ok(Some("s"))),
            ("cmd={\"tokenDownload\":\"\",\"tokenSession\":\"s\"}", Ok(Some("s")), Ok(Some("s"))),
            ("cmd={\"tokenDownload\":7,\"tokenSession\":\"s\"}", Err("token_malformed"), Ok(Some("s"))),
            (
                "cmd={\"tokenSession\":\"s\",\"tokenSession\":\"t\"}",
                Err("token_malformed"),
                Err("token_malformed"),
            ),
            ("cmd=x", Err("token_malformed"), Err("token_malformed")),
            ("cmd=[]", Err("token_malformed"), Err("token_malformed")),
            ("cmd=[\"d\",\"s\"]", Err("token_malformed"), Err("token_malformed")),
            ("cmd={}&cmd={}", Err("token_ambiguous"), Err("token_ambiguous")),
            ("cmd=%ff", Err("token_malformed"), Err("token_malformed")),
            ("token=q", Ok(None), Ok(None)),
        ];
        for (query, download, session) in table {
            let got = found(&[Carrier::CmdDownload], &[("authorizationjwt", "Bearer h")], query, b"");
            assert_eq!(got.as_ref().map(Option::as_deref), download.as_ref().map(|o| *o), "{query}");
            let got = found(&[Carrier::CmdSession], &[], query, b"");
            assert_eq!(got.as_ref().map(Option::as_deref), session.as_ref().map(|o| *o), "{query}");
        }
    }

    #[test]
    fn an_integrators_field_becomes_the_document_servers_and_back() {
        let field = |name: &'static str, prefix: &str| TokenField {
            name: HeaderName::from_static(name),
            prefix: prefix.to_owned(),
        };
        let (ours, theirs, bare) = (
            field("authorization", "Bearer "),
            field("authorizationjwt", "Bearer "),
            field("authorization", "JWT "),
        );
        let table = [
            ("authorizationjwt: Bearer a", &theirs, &ours, "authorization: Bearer a"),
            ("authorization: Bearer a", &ours, &theirs, "authorizationjwt: Bearer a"),
            ("authorization: JWT a", &bare, &ours, "authorization: Bearer a"),
            ("authorization: Bearer a", &ours, &ours, "authorization: Bearer a"),
            ("authorization: Basic a", &ours, &theirs, "authorization: Basic a"),
            (
                "authorization: Bearer a|authorizationjwt: Bearer b",
                &theirs,
                &ours,
                "authorization: Bearer a|authorizationjwt: Bearer b",
            ),
            ("authorization: Basic a|authorizationjwt: Bearer b", &theirs, &ours, "authorization: Bearer b"),
            ("accept: a", &theirs, &ours, "accept: a"),
        ];
        for (before, from, to, after) in table {
            let read = |text: &str| {
                let pairs = text.split('|').filter_map(|line| line.split_once(": "));
                pairs
                    .map(|(n, v)| (n.parse::<HeaderName>().unwrap(), v.parse().unwrap()))
                    .collect::<HeaderMap>()
            };
            let mut headers = read(before);
            assert_eq!(translate(&mut headers, from, to), Ok(()), "{before}");
            assert_eq!(headers, read(after), "{before}");
        }
        let mut twice = HeaderMap::new();
        twice.append("authorizationjwt", "Bearer a".parse().unwrap());
        twice.append("authorizationjwt", "Bearer b".parse().unwrap());
        assert_eq!(translate(&mut twice, &theirs, &ours), Err(TokenFault::Ambiguous));
    }

    #[test]
    fn whatever_field_it_came_in_one_token_goes_on() {
        let field = |name: &'static str, prefix: &str| TokenField {
            name: HeaderName::from_static(name),
            prefix: prefix.to_owned(),
        };
        let fields = TokenFields::new(
            field("authorization", "Bearer "),
            [
                field("authorizationjwt", "Bearer "),
                field("authorization", "Bearer "),
                field("authorization", "JWT "),
                field("x-token", ""),
                field("authorizationjwt", "Bearer "),
            ],
        );
        assert_eq!(fields.others.len(), 3, "equal ones are looked at once");
        // Before, which field carried it (0 is [jwt]'s), after.
        let table = [
            ("accept: a", None, "accept: a"),
            ("authorization: Bearer a", Some(0), "authorization: Bearer a"),
            ("authorizationjwt: Bearer a", Some(1), "authorization: Bearer a"),
            ("authorization: JWT a", Some(2), "authorization: Bearer a"),
            ("x-token: a", Some(3), "authorization: Bearer a"),
            ("authorization: Basic a", None, "authorization: Basic a"),
            ("authorization: Basic a|authorizationjwt: Bearer b", Some(1), "authorization: Bearer b"),
            // The first decides, and no second token goes on.
            ("authorization: Bearer a|authorizationjwt: Bearer b", Some(0), "authorization: Bearer a"),
            ("authorizationjwt: Bearer b|x-token: c", Some(1), "authorization: Bearer b"),
            (
                "authorization: JWT a|authorizationjwt: Bearer b|x-token: c",
                Some(1),
                "authorization: Bearer b",
            ),
            ("x-token: c|authorization: Bearer a", Some(0), "authorization: Bearer a"),
            // What is no token there stays; nobody reads it as one.
            (
                "authorization: Bearer a|authorizationjwt: JWT b",
                Some(0),
                "authorization: Bearer a|authorizationjwt: JWT b",
            ),
            ("authorization: Bearer |x-token: c", Some(3), "authorization: Bearer c"),
        ];
        let read = |text: &str| {
            let pairs = text.split('|').filter_map(|line| line.split_once(": "));
            pairs.map(|(n, v)| (n.parse::<HeaderName>().unwrap(), v.parse().unwrap())).collect::<HeaderMap>()
        };
        let access = Access::Token(&[Carrier::Body, Carrier::Header]);
        for (before, carried, after) in table {
            let mut headers = read(before);
            let all = [&fields.own].into_iter().chain(&fields.others).collect::<Vec<_>>();
            let found = fields.settle(&mut headers, access);
            assert_eq!(found, Ok(carried.map(|at: usize| all[at])), "{before}");
            assert_eq!(headers, read(after), "{before}");
            let again = fields.settle(&mut headers, access).unwrap().cloned();
            assert_eq!(
                (again, headers),
                (carried.map(|_| fields.own.clone()), read(after)),
                "twice: {before}"
            );
        }
        for twice in ["authorization", "authorizationjwt", "x-token"] {
            let mut headers = read("authorization: Bearer a");
            headers.append(twice, "Bearer a".parse().unwrap());
            headers.append(twice, "Bearer b".parse().unwrap());
            let fault = fields.settle(&mut headers, access);
            assert_eq!(fault, Err(TokenFault::Ambiguous), "{twice}");
        }
    }

    #[test]
    fn an_editors_own_fields_are_left_alone() {
        let field =
            |name: &'static str| TokenField { name: HeaderName::from_static(name), prefix: "Bearer ".into() };
        let fields = TokenFields::new(field("authorizationjwt"), [field("authorization")]);
        for access in [
            Access::Token(&[Carrier::Bearer, Carrier::Query]),
            Access::Token(&[Carrier::CmdDownload]),
            Access::Open,
            Access::Socket,
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("authorization", "Bearer a".parse().unwrap());
            let before = headers.clone();
            assert_eq!(fields.settle(&mut headers, access), Ok(None));
            assert_eq!(headers, before);
        }
    }

    #[test]
    fn of_two_prefixes_on_one_field_the_longer_is_meant() {
        let field =
            |prefix: &str| TokenField { name: HeaderName::from_static("x-token"), prefix: prefix.to_owned() };
        for (own, other) in [("", "Bearer "), ("Bearer ", "")] {
            let fields = TokenFields::new(field(own), [field(other)]);
            for sent in ["a.b.c", "Bearer a.b.c"] {
                let mut headers = HeaderMap::new();
                headers.insert("x-token", sent.parse().unwrap());
                assert!(fields.settle(&mut headers, Access::Token(&[Carrier::Header])).unwrap().is_some());
                assert_eq!(headers["x-token"], format!("{own}a.b.c"), "{own:?} {sent}");
            }
        }
    }
}
