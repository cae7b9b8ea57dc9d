//! Malformed requests of HTTP/2 as raw frames: no client library would send them.

use super::cases::{Case, Must};
use super::wire::Answer;

use Must::{Clean, Serve, Stop};

const HEADERS: u8 = 1;
const DATA: u8 = 0;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

type Fields<'a> = Vec<(&'a str, &'a str)>;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// RFC 7541 6.2.2: literals without indexing, without Huffman codes; so every byte can stand anywhere.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            // What stands for a longer text is as long as it is only for `<case>`; tokens go into no frame.
            bytes.push(u8::try_from(text.len()).ok().filter(|length| *length < 127).unwrap());
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

fn opening() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    bytes
}

fn request(fields: &[(&str, &str)], data: Option<&str>) -> Vec<u8> {
    let mut bytes = opening();
    let end = if data.is_none() { END_STREAM } else { 0 };
    bytes.extend(frame(HEADERS, END_HEADERS | end, 1, &block(fields)));
    if let Some(data) = data {
        bytes.extend(frame(DATA, END_STREAM, 1, data.as_bytes()));
    }
    bytes
}

const PATH: &str = "/web-apps/size-3?<case>";
const SOCKET: &str = "/doc/k/c/?<case>&EIO=4&transport=polling";

fn usual() -> Fields<'static> {
    vec![(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", PATH)]
}

/// The usual request with other pseudo fields, `""` for none, and more fields.
fn with(other: &[(&'static str, &'static str)], more: &[(&'static str, &'static str)]) -> Fields<'static> {
    let replaced = |(name, value)| {
        let value = other.iter().find(|(n, _)| *n == name).map_or(value, |(_, value)| *value);
        (name, value)
    };
    let mut fields: Fields<'_> =
        usual().into_iter().map(replaced).filter(|(_, value)| !value.is_empty()).collect();
    fields.extend(more);
    fields
}

const PSEUDO: [(&str, &str, Must); 40] = [
    (":method", "GET", Serve),
    (":authority", "LOCALHOST:443", Serve),
    (":method", "", Stop),
    (":method", "get", Stop),
    (":method", "CONNECT", Stop),
    (":method", "TRACE", Stop),
    (":method", "PRI", Stop),
    (":method", "GET / HTTP/1.1\r\nHost: evil.example\r\nX: y", Stop),
    (":method", "GET ", Stop),
    (":scheme", "", Stop),
    (":scheme", "http", Stop),
    (":scheme", "ftp", Stop),
    (":scheme", "https://evil.example/?", Stop),
    (":scheme", "https ", Stop),
    (":authority", "", Stop),
    (":authority", "evil.example", Stop),
    (":authority", "user@localhost", Stop),
    (":authority", "localhost, evil.example", Stop),
    (":authority", "localhost evil.example", Stop),
    (":authority", "localhost/x", Stop),
    (":authority", "localhost:", Stop),
    (":authority", "localhost:0", Stop),
    (":authority", "localhost\r\nX: y", Stop),
    (":authority", "localhost\0", Stop),
    (":authority", "l\u{f6}calhost", Stop),
    (":path", "", Stop),
    (":path", " ", Stop),
    (":path", "*", Stop),
    (":path", "web-apps/size-3?<case>", Stop),
    (":path", "https://localhost/web-apps/size-3?<case>", Stop),
    (":path", "/web-apps/size-3?<case> HTTP/1.1", Stop),
    (":path", "/web-apps/size-3?<case> x", Stop),
    (":path", "/web-apps/size-3?<case>\r\nHost: evil.example", Stop),
    (":path", "/web-apps/size-3?<case>\nX: y", Stop),
    (":path", "/web-apps/size-3?<case>\0", Stop),
    (":path", "/web-apps/size-3?<case>\u{7f}", Stop),
    (":path", "/web-apps/size-3?<case>\t", Stop),
    (":path", "/web-apps/size-3?<case>#part", Serve),
    (":path", "//evil.example/size-3?<case>", Stop),
    (":path", "/web-apps/%0d%0a/size-3?<case>", Stop),
];

const FIELDS: [(&str, &str, Must); 40] = [
    ("te", "trailers", Serve),
    ("host", "localhost", Serve),
    ("x-a", "b", Serve),
    ("cookie", "name=\u{e4}", Clean),
    ("host", "localhost:443", Serve),
    ("host", "evil.example", Stop),
    ("host", "localhost:8443", Stop),
    ("host", "", Stop),
    ("host", "localhost, localhost", Stop),
    ("host", "localhost\r\nX: y", Stop),
    ("connection", "close", Stop),
    ("connection", "host", Stop),
    ("connection", "upgrade", Stop),
    ("upgrade", "websocket", Stop),
    ("upgrade", "h2c", Stop),
    ("keep-alive", "timeout=5", Stop),
    ("proxy-connection", "keep-alive", Stop),
    ("transfer-encoding", "chunked", Stop),
    ("transfer-encoding", "identity", Stop),
    ("transfer-encoding", "", Stop),
    ("te", "chunked", Stop),
    ("te", "trailers, chunked", Stop),
    ("content-length", "-1", Stop),
    ("content-length", "+0", Stop),
    ("content-length", "x", Stop),
    ("content-length", "", Stop),
    ("content-length", "5", Stop),
    ("content-length", "0, 0", Stop),
    ("content-length", "18446744073709551616", Stop),
    ("X-A", "b", Stop),
    ("Host", "localhost", Stop),
    ("x_a", "b", Stop),
    ("x_forwarded_host", "evil.example", Stop),
    ("x a", "b", Stop),
    ("x-a:", "b", Stop),
    ("x-a\r\nx-b", "c", Stop),
    ("x-a", "b\r\nHost: evil.example", Stop),
    ("x-a", "b\nc", Stop),
    ("x-a", "b\0c", Stop),
    ("", "b", Stop),
];

/// All of them.
pub fn all() -> Vec<Case> {
    let case = |about: String, bytes, must| Case { about, bytes, must };
    let mut all = Vec::new();
    for (name, value, must) in PSEUDO {
        all.push(case(format!("{name} {value:?}"), request(&with(&[(name, value)], &[]), None), must));
    }
    for (name, value, must) in FIELDS {
        all.push(case(format!("{name:?} {value:?}"), request(&with(&[], &[(name, value)]), None), must));
    }
    for (name, value) in usual() {
        all.push(case(format!("{name} twice"), request(&with(&[], &[(name, value)]), None), Stop));
        let mut late = with(&[(name, "")], &[("x-a", "b")]);
        late.push((name, value));
        all.push(case(format!("{name} behind a field"), request(&late, None), Stop));
        let mut double = usual();
        double.insert(0, (name, value));
        all.push(case(format!("{name} twice in front"), request(&double, None), Stop));
    }
    let host = |lines: &[(&'static str, &'static str)]| request(&with(&[(":authority", "")], lines), None);
    all.push(case("host instead of :authority".into(), host(&[("host", "localhost")]), Serve));
    all.push(case("two hosts".into(), host(&[("host", "localhost"), ("host", "localhost")]), Stop));
    all.push(case("another host".into(), host(&[("host", "evil.example")]), Stop));
    for (name, value) in [(":status", "200"), (":protocol", "websocket"), (":x", "y"), (":", "y")] {
        let mut fields = usual();
        fields.push((name, value));
        all.push(case(format!("the pseudo field {name}"), request(&fields, None), Stop));
    }
    let lengths = [("content-length", "5"), ("content-length", "5")];
    all.push(case("two lengths".into(), request(&with(&[], &lengths), Some("hello")), Stop));
    let lengths = [("content-length", "5"), ("content-length", "6")];
    all.push(case("two different lengths".into(), request(&with(&[], &lengths), Some("hello")), Stop));
    for (length, data, must) in
        [("5", "hello", Clean), ("4", "hello", Clean), ("6", "hello", Clean), ("0", "hello", Clean)]
    {
        for (path, method) in [(SOCKET, "POST"), (SOCKET, "GET"), (PATH, "GET")] {
            let fields = with(&[(":path", path), (":method", method)], &[("content-length", length)]);
            all.push(case(format!("length {length} of 5, {method}"), request(&fields, Some(data)), must));
        }
    }
    let post = || with(&[(":path", SOCKET), (":method", "POST")], &[]);
    for trailer in [
        ("x-a", "b"),
        ("content-length", "9"),
        ("host", "evil.example"),
        (":path", "/"),
        ("transfer-encoding", "x"),
    ] {
        let mut bytes = opening();
        bytes.extend(frame(HEADERS, END_HEADERS, 1, &block(&post())));
        bytes.extend(frame(DATA, 0, 1, b"hello"));
        bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[trailer])));
        all.push(case(format!("a trailer {trailer:?}"), bytes, Clean));
    }
    let hidden = "0\r\n\r\nGET /web-apps/size-4?<case>hidden HTTP/1.1\r\nHost: localhost\r\n\r\n";
    all.push(case("a request inside DATA".into(), request(&post(), Some(hidden)), Must::Alone));
    all.push(case(
        "HTTP/1.1 spoken here".into(),
        b"GET /web-apps/size-3?<case> HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        Stop,
    ));
    all
}

/// Answers, resets and farewells, in the order they came; what is not 200 stays packed, and counts as 400.
pub fn answers(mut bytes: &[u8]) -> Vec<Answer> {
    let mut all: Vec<(u32, Answer)> = Vec::new();
    while bytes.len() >= 9 {
        let number = |bytes: &[u8]| bytes.iter().fold(0_u32, |n, b| n << 8 | u32::from(*b));
        let (length, kind, stream) = (number(&bytes[..3]) as usize, bytes[3], number(&bytes[5..9]));
        let Some(payload) = bytes.get(9..9 + length) else { break };
        let answer = match (kind, payload.first()) {
            (HEADERS, Some(0x88)) => Some(Answer { status: 200, refusal: None, ours: true }),
            (HEADERS, _) => Some(Answer { status: 400, refusal: None, ours: true }),
            (RST_STREAM | GOAWAY, _) => Some(Answer { status: kind.into(), refusal: None, ours: false }),
            _ => None,
        };
        all.extend(
            answer.filter(|_| !all.iter().any(|(known, _)| *known == stream)).map(|answer| (stream, answer)),
        );
        bytes = &bytes[9 + length..];
    }
    all.into_iter().map(|(_, answer)| answer).collect()
}
