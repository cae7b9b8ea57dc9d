//! Which trace and which request this is: W3C's `traceparent`, and the `X-Request-Id` of a proxy in front.
//!
//! `traceparent` is taken from anybody, since it only joins lines of logs; it is read strictly (W3C Trace Context, 3.2). An
//! `X-Request-Id` becomes the name of the request in log and answer, so only a trusted proxy may choose it.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use super::shape::token_at;

/// Names the request in the log, in the answer, and towards the Document Server.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Longest `X-Request-Id` that is taken; UUIDs have 36 characters.
const LONGEST_ID: usize = 128;
/// `sampled` and `random` (Trace Context level 2); the other bits must go out as 0.
const KNOWN_FLAGS: u8 = 0b11;

/// A trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    id: [u8; 32],
    flags: u8,
    /// Whether it came with the request; what came beside it belongs to it.
    theirs: bool,
}

impl Trace {
    /// The trace that a request names; `None` when it names none, several, or none that can be.
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        Self::of(single(headers, &TRACEPARENT)?.as_bytes())
    }

    /// The trace in the text of a `traceparent`.
    fn of(text: &[u8]) -> Option<Self> {
        let (fields, rest) = text.split_at_checked(55)?;
        let [version, id, parent, flags] = [&fields[..2], &fields[3..35], &fields[36..52], &fields[53..]];
        let dashes = fields[2] == b'-' && fields[35] == b'-' && fields[52] == b'-';
        let hex = [version, id, parent, flags].iter().all(|field| field.iter().all(|b| is_lower_hex(*b)));
        // Later versions may say more behind another dash; ff is none, and 00 says no more.
        let ends = rest.is_empty() || (version != b"00" && rest[0] == b'-');
        if !dashes || !hex || !ends || version == b"ff" || all_zero(id) || all_zero(parent) {
            return None;
        }
        let flags = u8::from_str_radix(std::str::from_utf8(flags).ok()?, 16).ok()?;
        Some(Self { id: id.try_into().ok()?, flags: flags & KNOWN_FLAGS, theirs: true })
    }

    /// A trace that begins here. Nobody has asked for it to be recorded.
    pub fn begin(random: u128) -> Self {
        let mut id = [0; 32];
        let random = random.max(1); // all zero means none
        for (at, digit) in id.iter_mut().enumerate() {
            *digit = b"0123456789abcdef"[(random >> (124 - 4 * at)) as usize & 0xf];
        }
        Self { id, flags: 0b10, theirs: false }
    }

    /// Its id: 32 hexadecimal digits.
    pub fn id(&self) -> &str {
        std::str::from_utf8(&self.id).unwrap_or_default()
    }

    /// Writes it into a request on its way on, with the 16 digits of this hop as parent.
    pub fn write(&self, headers: &mut HeaderMap, parent: &str) {
        if !self.theirs {
            headers.remove(TRACESTATE);
        }
        let mut text = [b'-'; 55];
        text[..2].copy_from_slice(b"00");
        text[3..35].copy_from_slice(&self.id);
        for (place, digit) in text[36..52].iter_mut().zip(parent.bytes()) {
            *place = digit;
        }
        text[53..].copy_from_slice(&[b'0', b'0' + self.flags]);
        match HeaderValue::from_bytes(&text) {
            Ok(value) => drop(headers.insert(TRACEPARENT, value)),
            Err(_) => drop(headers.remove(TRACEPARENT)), // digits and dashes are a value
        }
    }
}

/// What a callback's request passes on to its application on the first try, as the gateway has [marked](Trace::write) it.
pub fn carried(headers: &HeaderMap) -> HeaderMap {
    let fields = [TRACEPARENT, TRACESTATE, X_REQUEST_ID];
    fields.into_iter().filter_map(|name| headers.get(&name).map(|value| (name, value.clone()))).collect()
}

/// Its `traceparent`, to be kept beside a save.
pub fn kept(carried: &HeaderMap) -> Option<String> {
    Some(carried.get(TRACEPARENT)?.to_str().ok()?.to_owned())
}

/// What a later try passes on: the trace of the first, whose `traceparent` was kept, and a parent of its own. Nothing where none
/// was kept.
pub fn again(kept: Option<&str>, parent: u64) -> HeaderMap {
    let mut fields = HeaderMap::new();
    if let Some(trace) = kept.and_then(|text| Trace::of(text.as_bytes())) {
        trace.write(&mut fields, &format!("{:016x}", parent.max(1))); // all zero means none
    }
    fields
}

/// The id that a trusted proxy has given a request.
pub fn outer_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let id = single(headers, &X_REQUEST_ID)?;
    let bytes = id.as_bytes();
    let fine = (1..=LONGEST_ID).contains(&bytes.len())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(b))
        // Whoever puts a token there would have it written down.
        && id.to_str().is_ok_and(|id| token_at(id).is_none());
    // A copy: the field is a slice of what its connection was read into, and a socket keeps its id for hours.
    fine.then(|| HeaderValue::from_bytes(bytes).ok()).flatten()
}

fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then_some(first)
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn all_zero(digits: &[u8]) -> bool {
    digits.iter().all(|digit| *digit == b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0af7651916cd43dd8448eb211c80319c";

    fn headers(name: &'static str, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn a_traceparent_is_read_strictly() {
        let good = format!("00-{ID}-b7ad6b7169203331-01");
        let accents = "é".repeat(28);
        let table: &[(&[&str], bool)] = &[
            (&[&good], true),
            (&[&good.replace("-01", "-ff")], true),
            (&[&good.replacen("00", "cc", 1)], true),
            (&[&format!("{}-what comes later", good.replacen("00", "cc", 1))], true),
            (&[], false),
            (&[""], false),
            (&[&good, &good], false),
            (&[&format!("{good}-x")], false), // 00 has no more
            (&[&format!("{good}x")], false),
            (&[&good.replacen("00", "cc", 1).replace("-01", "-01.")], false),
            (&[&good.replacen("00", "ff", 1)], false),
            (&[&good.to_uppercase()], false),
            (&[&good.replace(ID, &"0".repeat(32))], false),
            (&[&good.replace("b7ad6b7169203331", &"0".repeat(16))], false),
            (&[&good.replace('-', "_")], false),
            (&[&good[..54]], false),
            (&[&good.replace(ID, &format!("{}g", &ID[1..]))], false),
            (&[&format!(" {good}")], false),
            (&[&accents], false),
        ];
        for (values, taken) in table {
            let trace = Trace::read(&headers("traceparent", values));
            assert_eq!(trace.map(|trace| trace.id().to_owned()), taken.then(|| ID.into()), "{values:?}");
        }
    }

    #[test]
    fn what_goes_on_is_this_trace_with_this_hop_as_parent() {
        let mut fields = headers("traceparent", &[&format!("00-{ID}-b7ad6b7169203331-ff")]);
        fields.insert("tracestate", HeaderValue::from_static("a=b"));
        let trace = Trace::read(&fields).unwrap();
        trace.write(&mut fields, "00f067aa0ba902b7");
        assert_eq!(fields["traceparent"], format!("00-{ID}-00f067aa0ba902b7-03"));
        assert_eq!(fields["tracestate"], "a=b");
        // The state of a trace that is not ours goes with it.
        let mut fields = headers("traceparent", &["nonsense"]);
        fields.insert("tracestate", HeaderValue::from_static("a=b"));
        let trace = Trace::read(&fields).unwrap_or_else(|| Trace::begin(0xabc));
        trace.write(&mut fields, "00f067aa0ba902b7");
        assert_eq!(fields["traceparent"], "00-00000000000000000000000000000abc-00f067aa0ba902b7-02");
        assert!(!fields.contains_key("tracestate"));
        assert!(Trace::read(&fields).is_some());
        assert_eq!(Trace::begin(0).id(), format!("{}1", "0".repeat(31)));
    }

    #[test]
    fn later_tries_belong_to_the_trace_of_the_first() {
        let mut request = headers("traceparent", &[&format!("00-{ID}-b7ad6b7169203331-01")]);
        request.insert("tracestate", HeaderValue::from_static("a=b"));
        request.insert("x-request-id", HeaderValue::from_static("r1"));
        request.insert("authorization", HeaderValue::from_static("Bearer x"));
        let first = carried(&request);
        assert_eq!(first.len(), 3, "{first:?}");
        let kept = kept(&first).unwrap();
        let later = again(Some(&kept), 0xabc);
        assert_eq!(later["traceparent"], format!("00-{ID}-0000000000000abc-01"));
        assert_eq!(later.len(), 1);
        assert_eq!(again(Some(&kept), 0)["traceparent"], format!("00-{ID}-0000000000000001-01"));
        for nothing in [None, Some(""), Some("00-x"), Some(&kept[1..])] {
            assert!(again(nothing, 1).is_empty(), "{nothing:?}");
        }
        assert!(super::kept(&HeaderMap::new()).is_none());
    }

    /// It is kept for as long as an editor's socket is open, and with it hyper's 8 KB were.
    #[test]
    fn an_id_of_a_proxy_does_not_hold_what_its_head_was_read_from() {
        let read = hyper::body::Bytes::from("x-request-id: 0190a6b2".repeat(100));
        let mut fields = HeaderMap::new();
        fields.insert(X_REQUEST_ID, HeaderValue::from_maybe_shared(read.slice(14..22)).unwrap());
        let id = outer_id(&fields);
        drop(fields);
        assert!(read.is_unique());
        assert_eq!(id.unwrap(), "0190a6b2");
    }

    #[test]
    fn an_id_of_a_proxy_is_a_plain_word() {
        let long = "a".repeat(128);
        let longer = "a".repeat(129);
        let table: &[(&[&str], bool)] = &[
            (&["0190a6b2-7c1e-7000-8000-2f5b3c9d1e00"], true),
            (&["A.b_c-9"], true),
            (&[&long], true),
            (&[&longer], false),
            (&[""], false),
            (&["a b"], false),
            (&["a\"b"], false),
            (&["a,b"], false),
            (&["é"], false),
            (&["eyJhbGciOiJIUzI1NiJ9.e30.x"], false),
            (&["eyAiYWxnIjoiSFMyNTYifQ.e30.x"], false),
            (&["a", "b"], false),
            (&[], false),
        ];
        for (values, taken) in table {
            let id = outer_id(&headers("x-request-id", values));
            assert_eq!(id.is_some(), *taken, "{values:?}");
        }
    }
}
