//! Malformed requests of HTTP/1, made from tables.

/// What must become of a case, besides being clean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Must {
    /// Not a byte of it reaches the Document Server.
    Stop,
    /// At most its first request does; what is hidden behind never.
    Alone,
    /// What reaches it is clean and answered.
    Clean,
    /// It is a good request in an odd shape, and served.
    Serve,
}

pub struct Case {
    pub about: String,
    pub bytes: Vec<u8>,
    pub must: Must,
}

/// Where a case's bytes carry its number: `n0017-` in the query, as long as this.
pub const NUMBER: &str = "<case>";
/// Where the token of a route goes.
pub const UPLOAD: &str = "<upload>";
pub const COMMAND: &str = "<command>";

fn case(about: impl Into<String>, bytes: impl Into<Vec<u8>>, must: Must) -> Case {
    Case { about: about.into(), bytes: bytes.into(), must }
}

fn get(lines: &str) -> String {
    format!("GET /web-apps/size-3?<case> HTTP/1.1\r\n{lines}\r\n")
}

/// A streamed and an inspected body.
fn posts(lines: &str, body: &str) -> [String; 2] {
    let rest = format!("Content-Type: image/png\r\n{lines}\r\n{body}");
    [
        format!(
            "POST /upload/k?<case> HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer <upload>\r\n{rest}"
        ),
        format!(
            "POST /command?<case> HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer <command>\r\n{rest}"
        ),
    ]
}

const HIDDEN: &str = "GET /web-apps/size-4?<case>hidden HTTP/1.1\r\nHost: localhost\r\n\r\n";

use Must::{Alone, Clean, Serve, Stop};

/// Lines that some server somewhere takes for `Transfer-Encoding: chunked`.
const CODINGS: [(&str, Must); 54] = [
    ("Transfer-Encoding: chunked", Serve),
    ("transfer-encoding:chunked", Serve),
    ("TRANSFER-ENCODING: \t chunked", Serve),
    ("Transfer-Encoding: chunked ", Serve),
    ("Transfer-Encoding: chunked\t", Serve),
    ("Transfer-Encoding: identity", Stop),
    ("Transfer-Encoding: identity, chunked", Stop),
    ("Transfer-Encoding: gzip, chunked", Stop),
    ("Transfer-Encoding: deflate,chunked", Stop),
    ("Transfer-Encoding: chunked, chunked", Stop),
    ("Transfer-Encoding: chunked,chunked", Stop),
    ("Transfer-Encoding: , chunked", Stop),
    ("Transfer-Encoding: ,chunked", Stop),
    ("Transfer-Encoding: chunked,", Stop),
    ("Transfer-Encoding: chunked, ", Stop),
    ("Transfer-Encoding: chunked, identity", Stop),
    ("Transfer-Encoding: chunked, gzip", Stop),
    ("Transfer-Encoding: chunked, x", Stop),
    ("Transfer-Encoding: Chunked", Stop),
    ("Transfer-Encoding: CHUNKED", Stop),
    ("Transfer-Encoding: chunKed", Stop),
    ("Transfer-Encoding: chun\u{212a}ed", Stop),
    ("Transfer-Encoding: \u{b}chunked", Stop),
    ("Transfer-Encoding: \u{c}chunked", Stop),
    ("Transfer-Encoding: chunked\u{b}", Stop),
    ("Transfer-Encoding: chunked\0", Stop),
    ("Transfer-Encoding: \u{7f}chunked", Stop),
    ("Transfer-Encoding: \u{a0}chunked", Stop),
    ("Transfer-Encoding: xchunked", Stop),
    ("Transfer-Encoding: chunkedx", Stop),
    ("Transfer-Encoding: chunk", Stop),
    ("Transfer-Encoding: chunked chunked", Stop),
    ("Transfer-Encoding: x chunked", Stop),
    ("Transfer-Encoding: chunked;q=1", Stop),
    ("Transfer-Encoding: \"chunked\"", Stop),
    ("Transfer-Encoding: 'chunked'", Stop),
    ("Transfer-Encoding: ", Stop),
    ("Transfer-Encoding:\r\nTransfer-Encoding: chunked", Stop),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", Stop),
    ("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", Stop),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", Stop),
    ("Transfer-Encoding: chunked\r\nTransfer-encoding: x", Stop),
    ("Transfer-Encoding: chunked\r\n , identity", Stop),
    ("Transfer-Encoding: identity\r\n chunked", Stop),
    ("Transfer-Encoding:\r\n chunked", Stop),
    ("Transfer-Encoding:\n chunked", Stop),
    ("Transfer-Encoding : chunked", Stop),
    ("Transfer-Encoding\t: chunked", Stop),
    (" Transfer-Encoding: chunked", Stop),
    ("Transfer_Encoding: chunked", Stop),
    ("Transfer-\r\n Encoding: chunked", Stop),
    ("X: y\rTransfer-Encoding: chunked", Stop),
    ("Transfer-Encoding: chunked\rX: y", Stop),
    ("X: y\nTransfer-Encoding: chunked", Serve), // a bare LF ends a line for hyper, and a CR LF goes on
];

fn codings(all: &mut Vec<Case>) {
    for (line, must) in CODINGS {
        let chunks = format!("5\r\nhello\r\n0\r\n\r\n{HIDDEN}");
        for bytes in posts(&format!("{line}\r\n"), "5\r\nhello\r\n0\r\n\r\n") {
            all.push(case(format!("coding {line:?}"), bytes, must));
        }
        let beside = if must == Serve { Alone } else { must };
        for (about, length) in [("6", "Content-Length: 6"), ("the whole", "Content-Length: 90")] {
            for bytes in posts(&format!("{length}\r\n{line}\r\n"), &chunks) {
                all.push(case(format!("length {about} before {line:?}"), bytes, beside));
            }
            for bytes in posts(&format!("{line}\r\n{length}\r\n"), &chunks).into_iter().take(1) {
                all.push(case(format!("length {about} after {line:?}"), bytes, beside));
            }
        }
        let old = get(&format!("Host: localhost\r\n{line}\r\n")).replace("HTTP/1.1", "HTTP/1.0");
        all.push(case(format!("HTTP/1.0 with {line:?}"), old + "0\r\n\r\n", Stop));
    }
}

const LENGTHS: [(&str, Must); 40] = [
    ("Content-Length: 5", Serve),
    ("Content-Length: 00005", Serve),
    ("content-length:5", Serve),
    ("Content-Length: \t5 ", Serve),
    ("Content-Length: +5", Stop),
    ("Content-Length: -5", Stop),
    ("Content-Length: -0", Stop),
    ("Content-Length: 0x5", Stop),
    ("Content-Length: 5h", Stop),
    ("Content-Length: 0o5", Stop),
    ("Content-Length: 5 5", Stop),
    ("Content-Length: 5,5", Stop),
    ("Content-Length: 5, 5", Stop),
    ("Content-Length: 5, 6", Stop),
    ("Content-Length: 5,", Stop),
    ("Content-Length: ,5", Stop),
    ("Content-Length: 5;", Stop),
    ("Content-Length: 5.0", Stop),
    ("Content-Length: 5e0", Stop),
    ("Content-Length: \u{665}", Stop),
    ("Content-Length: \"5\"", Stop),
    ("Content-Length: 5\0", Stop),
    ("Content-Length: \u{b}5", Stop),
    ("Content-Length: ", Stop),
    ("Content-Length: five", Stop),
    ("Content-Length: 18446744073709551615", Stop),
    ("Content-Length: 18446744073709551616", Stop),
    ("Content-Length: 18446744073709551621", Stop),
    ("Content-Length: 99999999999999999999999999", Stop),
    ("Content-Length: 9223372036854775808", Stop),
    ("Content-Length: 5\r\nContent-Length: 6", Stop),
    ("Content-Length: 6\r\nContent-Length: 5", Stop),
    ("Content-Length: 0\r\nContent-Length: 5", Stop),
    ("Content-Length: 5\r\nContent-Length: 5", Alone), // hyper keeps one; one is what goes on
    ("Content-Length: 5\r\nContent-Length: 05", Alone),
    ("Content-Length : 5", Stop),
    ("Content_Length: 5", Stop),
    (" Content-Length: 5", Stop),
    ("Content-Length: 5\r\n 0", Stop),
    ("Content-Length:\r\n 5", Stop),
];

fn lengths(all: &mut Vec<Case>) {
    for (line, must) in LENGTHS {
        for bytes in posts(&format!("{line}\r\n"), "hello") {
            all.push(case(format!("length {line:?}"), bytes, must));
        }
    }
}

const HOSTS: [(&str, Must); 42] = [
    ("Host: localhost\r\n", Serve),
    ("HOST:localhost\r\n", Serve),
    ("Host: LOCALHOST:443\r\n", Serve),
    ("Host: localhost.\r\n", Serve),
    ("", Stop),
    ("Host:\r\n", Stop),
    ("Host: \r\n", Stop),
    ("Host: localhost\r\nHost: localhost\r\n", Stop),
    ("Host: localhost\r\nHost: evil.example\r\n", Stop),
    ("Host: evil.example\r\nHost: localhost\r\n", Stop),
    ("Host: localhost\r\nX: y\r\nhost: localhost\r\n", Stop),
    ("Host:\r\nHost: localhost\r\n", Stop),
    ("Host: localhost, localhost\r\n", Stop),
    ("Host: localhost,evil.example\r\n", Stop),
    ("Host: localhost evil.example\r\n", Stop),
    ("Host: localhost\tevil.example\r\n", Stop),
    ("Host: localhost:\r\n", Stop),
    ("Host: localhost:0\r\n", Stop),
    ("Host: localhost:443:443\r\n", Stop),
    ("Host: localhost:65536\r\n", Stop),
    ("Host: localhost:+443\r\n", Stop),
    ("Host: localhost:443x\r\n", Stop),
    ("Host: localhost/\r\n", Stop),
    ("Host: localhost?x\r\n", Stop),
    ("Host: localhost#x\r\n", Stop),
    ("Host: localhost\\x\r\n", Stop),
    ("Host: user@localhost\r\n", Stop),
    ("Host: localhost@evil.example\r\n", Stop),
    ("Host: https://localhost\r\n", Stop),
    ("Host: .localhost\r\n", Stop),
    ("Host: localhost..\r\n", Stop),
    ("Host: loc\0alhost\r\n", Stop),
    ("Host: l\u{f6}calhost\r\n", Stop),
    ("Host: %6cocalhost\r\n", Stop),
    ("Host: [localhost]\r\n", Stop),
    ("Host: [::1\r\n", Stop),
    ("Host: evil.example\r\n", Stop),
    ("Host: localhost\r\n evil.example\r\n", Stop),
    ("Host : localhost\r\n", Stop),
    (" Host: localhost\r\n", Stop),
    ("X: y\r\n Host: localhost\r\n", Stop),
    ("Ho\0st: localhost\r\n", Stop),
];

const FIRST_LINES: [(&str, Must); 62] = [
    ("GET /web-apps/size-3?<case> HTTP/1.1", Serve),
    ("GET https://localhost/web-apps/size-3?<case> HTTP/1.1", Serve),
    ("GET https://LOCALHOST:443/web-apps/size-3?<case> HTTP/1.1", Serve),
    ("GET /web-apps/size-3?<case> HTTP/1.0", Serve),
    ("GET /web-apps/size-3?<case>#part HTTP/1.1", Serve), // the part never goes on
    ("GET https://evil.example/web-apps/size-3?<case> HTTP/1.1", Stop),
    ("GET https://localhost:8443/web-apps/size-3?<case> HTTP/1.1", Stop),
    ("GET https://user@localhost/web-apps/size-3?<case> HTTP/1.1", Stop),
    ("GET http://localhost/web-apps/size-3?<case> HTTP/1.1", Stop),
    ("GET ftp://localhost/web-apps/size-3?<case> HTTP/1.1", Stop),
    ("GET https:///web-apps/size-3?<case> HTTP/1.1", Stop),
    ("GET https:/web-apps/size-3?<case> HTTP/1.1", Stop),
    ("GET //evil.example/web-apps/size-3?<case> HTTP/1.1", Stop),
    ("GET localhost/web-apps/size-3?<case> HTTP/1.1", Stop),
    ("GET localhost:443 HTTP/1.1", Stop),
    ("GET web-apps/size-3?<case> HTTP/1.1", Stop),
    ("GET ?<case> HTTP/1.1", Stop),
    ("GET * HTTP/1.1", Stop),
    ("OPTIONS * HTTP/1.1", Stop),
    ("OPTIONS *?<case> HTTP/1.1", Stop),
    ("CONNECT localhost:443 HTTP/1.1", Stop),
    ("CONNECT /web-apps/size-3?<case> HTTP/1.1", Stop),
    ("CONNECT https://localhost/web-apps/size-3?<case> HTTP/1.1", Stop),
    ("TRACE /web-apps/size-3?<case> HTTP/1.1", Stop),
    ("TRACK /web-apps/size-3?<case> HTTP/1.1", Stop),
    ("DEBUG /web-apps/size-3?<case> HTTP/1.1", Stop),
    ("QUERY /web-apps/size-3?<case> HTTP/1.1", Stop),
    ("PROPFIND /web-apps/size-3?<case> HTTP/1.1", Stop),
    ("get /web-apps/size-3?<case> HTTP/1.1", Stop),
    ("Get /web-apps/size-3?<case> HTTP/1.1", Stop),
    ("GETT /web-apps/size-3?<case> HTTP/1.1", Stop),
    ("G\0T /web-apps/size-3?<case> HTTP/1.1", Stop),
    ("G@T /web-apps/size-3?<case> HTTP/1.1", Stop),
    ("\"GET\" /web-apps/size-3?<case> HTTP/1.1", Stop),
    (" GET /web-apps/size-3?<case> HTTP/1.1", Stop),
    ("\tGET /web-apps/size-3?<case> HTTP/1.1", Stop),
    ("GET\t/web-apps/size-3?<case>\tHTTP/1.1", Stop),
    ("GET  /web-apps/size-3?<case> HTTP/1.1", Stop),
    ("GET /web-apps/size-3?<case>  HTTP/1.1", Stop),
    ("GET /web-apps/size-3?<case> HTTP/1.1 ", Stop),
    ("GET /web-apps/size-3?<case> x HTTP/1.1", Stop),
    ("GET /web-apps/size-3?<case> HTTP/1.1 HTTP/1.1", Stop),
    ("GET /web-apps/size-3?<case>", Stop),
    ("GET /web-apps/size-3?<case> ", Stop),
    ("GET /web-apps/size-3?<case> HTTP/0.9", Stop),
    ("GET /web-apps/size-3?<case> HTTP/1.2", Stop),
    ("GET /web-apps/size-3?<case> HTTP/2.0", Stop),
    ("GET /web-apps/size-3?<case> HTTP/2", Stop),
    ("GET /web-apps/size-3?<case> HTTP/11", Stop),
    ("GET /web-apps/size-3?<case> HTTP/1.01", Stop),
    ("GET /web-apps/size-3?<case> HTTP/01.1", Stop),
    ("GET /web-apps/size-3?<case> http/1.1", Stop),
    ("GET /web-apps/size-3?<case> HTTPS/1.1", Stop),
    ("GET /web-apps/size-3?<case> HTTP /1.1", Stop),
    ("GET /web-apps/size-3?<case>\0 HTTP/1.1", Stop),
    ("GET /web-apps/size-3?<case>\u{1} HTTP/1.1", Stop),
    ("GET /web-apps/size-3?<case>\u{7f} HTTP/1.1", Stop),
    ("GET /web-apps/size-3?<case>\r HTTP/1.1", Stop),
    ("GET /web-apps/size-3?<case>\u{b} HTTP/1.1", Stop),
    ("GET /web-apps/\\size-3?<case> HTTP/1.1", Stop),
    ("GET /web-apps/%0d%0aHost:%20evil/size-3?<case> HTTP/1.1", Stop),
    ("GET /web-apps/%00/size-3?<case> HTTP/1.1", Stop),
];

const FIELDS: [(&str, Must); 44] = [
    ("X-A: b", Serve),
    ("X-A:", Serve),
    ("X-A: \u{416}\u{443}\u{43a}", Clean),
    ("Cookie: name=\u{e4}", Clean),
    ("X-A: a\tb", Clean),
    ("X_A: b", Stop),
    ("X_Forwarded_Host: evil.example", Stop),
    ("_: b", Stop),
    ("X-A_: b", Stop),
    ("Authorization_: b", Stop),
    ("X A: b", Stop),
    ("X-A : b", Stop),
    ("X-A\t: b", Stop),
    (": b", Stop),
    (":authority: localhost", Stop),
    (" X-A: b", Stop),
    ("\tX-A: b", Stop),
    ("X-A", Stop),
    ("X-A b", Stop),
    ("X-\0A: b", Stop),
    ("X-\u{1}A: b", Stop),
    ("X-\u{7f}A: b", Stop),
    ("X-\u{e4}: b", Stop),
    ("X(A): b", Stop),
    ("X\"A: b", Stop),
    ("X/A: b", Stop),
    ("X@A: b", Stop),
    ("X[A: b", Stop),
    ("X{A: b", Stop),
    ("X\\A: b", Stop),
    ("X,A: b", Stop),
    ("X;A: b", Stop),
    ("X=A: b", Stop),
    ("X-A: b\0", Stop),
    ("X-A: \u{1}b", Stop),
    ("X-A: b\u{8}", Stop),
    ("X-A: b\u{1b}[2J", Stop),
    ("X-A: b\u{7f}", Stop),
    ("X-A: b\rc", Stop),
    ("X-A: b\r\rc", Stop),
    ("X-A: b\r\n c", Stop),
    ("X-A: b\r\n\tc", Stop),
    ("X-A: b\r\n ", Stop),
    ("X-A: b\r\n\r Host: evil.example", Stop),
];

fn heads(all: &mut Vec<Case>) {
    for (lines, must) in HOSTS {
        all.push(case(format!("host {lines:?}"), get(lines), must));
    }
    for (first, must) in FIRST_LINES {
        all.push(case(format!("first line {first:?}"), format!("{first}\r\nHost: localhost\r\n\r\n"), must));
    }
    for (line, must) in FIELDS {
        all.push(case(format!("field {line:?}"), get(&format!("Host: localhost\r\n{line}\r\n")), must));
        all.push(case(format!("field first {line:?}"), get(&format!("{line}\r\nHost: localhost\r\n")), must));
    }
    let target = "GET https://localhost/web-apps/size-3?<case> HTTP/1.1\r\n";
    all.push(case("absolute form without Host", format!("{target}\r\n"), Stop));
    all.push(case("absolute form, Host elsewhere", format!("{target}Host: evil.example\r\n\r\n"), Stop));
    all.push(case(
        "absolute form, two Hosts",
        format!("{target}Host: localhost\r\nHost: localhost\r\n\r\n"),
        Stop,
    ));
    all.push(case("only line feeds", "GET /web-apps/size-3?<case> HTTP/1.1\nHost: localhost\n\n", Serve));
    all.push(case("line feed before", format!("\n{}", get("Host: localhost\r\n")), Clean));
    all.push(case("empty lines before", format!("\r\n\r\n{}", get("Host: localhost\r\n")), Clean));
    all.push(case(
        "only carriage returns",
        "GET /web-apps/size-3?<case> HTTP/1.1\rHost: localhost\r\r",
        Stop,
    ));
    all.push(case("HTTP/0.9", "GET /web-apps/size-3?<case>\r\n", Stop));
    all.push(case("HTTP/0.9 with an empty line", "GET /web-apps/size-3?<case>\r\n\r\n", Stop));
    all.push(case("HTTP/2 spoken here", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", Stop));
    all.push(case("the preface with a host", "PRI * HTTP/1.1\r\nHost: localhost\r\n\r\n", Stop));
    all.push(case(
        "a TLS hello inside",
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00\r\n\r\n".as_slice(),
        Stop,
    ));
    all.push(case("zeros", vec![0; 64], Stop));
    let many: String = (0..101).map(|n| format!("X-{n}: y\r\n")).collect();
    all.push(case("101 fields", get(&format!("Host: localhost\r\n{many}")), Stop));
    let long = "a".repeat(70 << 10);
    all.push(case("a head of 70 KiB", get(&format!("Host: localhost\r\nX: {long}\r\n")), Stop));
    all.push(case(
        "a target of 70 KiB",
        get("Host: localhost\r\n").replace("<case>", &format!("<case>{long}")),
        Stop,
    ));
}

/// Bodies in chunks that some server reads differently.
const CHUNKS: [(&str, Must); 44] = [
    ("5\r\nhello\r\n0\r\n\r\n", Serve),
    ("005\r\nhello\r\n000\r\n\r\n", Clean),
    ("5;ext=1\r\nhello\r\n0;x\r\n\r\n", Clean),
    ("5;ext=\"a;b\"\r\nhello\r\n0\r\n\r\n", Clean),
    ("5 ;ext\r\nhello\r\n0\r\n\r\n", Clean),
    ("5 \r\nhello\r\n0\r\n\r\n", Clean),
    ("5;ext\nhello\r\n0\r\n\r\n", Alone),
    ("5;e\rxt\r\nhello\r\n0\r\n\r\n", Alone),
    ("5;\0\r\nhello\r\n0\r\n\r\n", Alone),
    ("5\nhello\n0\n\n", Alone),
    ("5\r\nhello\n0\r\n\r\n", Alone),
    ("5\rhello\r\n0\r\n\r\n", Alone),
    ("0x5\r\nhello\r\n0\r\n\r\n", Alone),
    ("+5\r\nhello\r\n0\r\n\r\n", Alone),
    ("-5\r\nhello\r\n0\r\n\r\n", Alone),
    (" 5\r\nhello\r\n0\r\n\r\n", Alone),
    ("\t5\r\nhello\r\n0\r\n\r\n", Alone),
    ("5_\r\nhello\r\n0\r\n\r\n", Alone),
    ("5,\r\nhello\r\n0\r\n\r\n", Alone),
    ("5.\r\nhello\r\n0\r\n\r\n", Alone),
    ("5 5\r\nhello\r\n0\r\n\r\n", Alone),
    ("g\r\nhello\r\n0\r\n\r\n", Alone),
    ("\r\nhello\r\n0\r\n\r\n", Alone),
    (";x\r\nhello\r\n0\r\n\r\n", Alone),
    ("5\r\nhelloworld\r\n0\r\n\r\n", Alone),
    ("5\r\nhel\r\n0\r\n\r\n", Alone),
    ("5\r\nhello0\r\n\r\n", Alone),
    ("5\r\nhelloXX0\r\n\r\n", Alone),
    ("10000000000000005\r\nhello\r\n0\r\n\r\n", Alone),
    ("ffffffffffffffff\r\nhello\r\n0\r\n\r\n", Alone),
    ("fffffffffffffffff\r\nhello\r\n0\r\n\r\n", Alone),
    ("7fffffffffffffff\r\nhello\r\n0\r\n\r\n", Alone),
    ("5\r\nhello\r\n0\r\nX: y\r\n\r\n", Clean),
    ("5\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n", Clean),
    ("5\r\nhello\r\n0\r\nHost: evil.example\r\n\r\n", Clean),
    ("5\r\nhello\r\n0\r\nTransfer-Encoding: gzip\r\n\r\n", Clean),
    ("5\r\nhello\r\n0\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n", Clean),
    ("5\r\nhello\r\n0\r\nX_Y: z\r\n\r\n", Clean),
    ("5\r\nhello\r\n0\r\nX : y\r\n\r\n", Clean),
    ("5\r\nhello\r\n0\r\nno colon\r\n\r\n", Clean),
    ("5\r\nhello\r\n0\r\nX: y\nZ: z\r\n\r\n", Alone),
    ("5\r\nhello\r\n0\r\n\n", Alone),
    ("5\r\nhello\r\n0\r\n\r", Alone),
    ("5\r\nhello\r\n0\n\r\n", Alone),
];

fn bodies(all: &mut Vec<Case>) {
    for (chunks, must) in CHUNKS {
        for bytes in posts("Transfer-Encoding: chunked\r\n", chunks) {
            all.push(case(format!("chunks {chunks:?}"), bytes, must));
        }
    }
    // A request hidden in a body stays a body; one behind it is one of its own.
    for bytes in posts(&format!("Content-Length: {}\r\n", HIDDEN.len()), HIDDEN) {
        all.push(case("a request inside a body of known length", bytes, Alone));
    }
    for bytes in posts("Transfer-Encoding: chunked\r\n", &format!("400\r\n{HIDDEN:<1024}\r\n0\r\n\r\n")) {
        all.push(case("a request inside a chunk", bytes, Alone));
    }
    for bytes in posts("Content-Length: 5\r\n", &format!("hello{HIDDEN}")) {
        all.push(case("a good request behind a body", bytes, Serve));
    }
    for bytes in posts("Content-Length: 5\r\n", "hello\r\nGET /web-apps/size-4?<case>hidden HTTP/1.1\r\n\r\n")
    {
        all.push(case("a request without Host behind a body", bytes, Alone));
    }
    for bytes in posts("Content-Length: 5\r\nConnection: close\r\n", &format!("hello{HIDDEN}")) {
        all.push(case("a request behind the last one", bytes, Alone));
    }
    for bytes in posts("Content-Length: 50\r\n", "hello") {
        all.push(case("a body that never ends", bytes, Alone));
    }
    for line in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
        let body = if line.starts_with('C') { "hello" } else { "5\r\nhello\r\n0\r\n\r\n" };
        for method in ["GET", "DELETE", "OPTIONS"] {
            for path in ["/web-apps/size-3?<case>", "/doc/k/c/?<case>&EIO=4&transport=polling"] {
                let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{line}\r\n\r\n{body}");
                all.push(case(format!("{method} with {line} on {path}"), head + HIDDEN, Clean));
            }
        }
    }
}

fn hops(all: &mut Vec<Case>) {
    for expect in
        ["100-continue", "100-Continue", "100-continue, x", "200-ok", "", "100-continue\r\nExpect: x"]
    {
        for bytes in posts(&format!("Expect: {expect}\r\nContent-Length: 5\r\n"), "hello") {
            all.push(case(format!("expect {expect:?}"), bytes, Clean));
        }
        let bytes = get(&format!("Host: localhost\r\nExpect: {expect}\r\n"));
        all.push(case(format!("expect {expect:?} without a body"), bytes + HIDDEN, Clean));
    }
    for options in
        ["Host", "Content-Length", "Transfer-Encoding", "close, Host", "Authorization", "Upgrade", "x,,y"]
    {
        for bytes in posts(&format!("Connection: {options}\r\nContent-Length: 5\r\n"), "hello") {
            all.push(case(format!("connection {options:?} with a length"), bytes, Clean));
        }
        for bytes in posts(
            &format!("Connection: {options}\r\nTransfer-Encoding: chunked\r\n"),
            "5\r\nhello\r\n0\r\n\r\n",
        ) {
            all.push(case(format!("connection {options:?} in chunks"), bytes, Clean));
        }
    }
    let upgrade =
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
    let socket = |query: &str, lines: &str, rest: &str| {
        format!("GET /doc/k/c/?<case>&{query} HTTP/1.1\r\nHost: localhost\r\n{upgrade}{lines}\r\n{rest}")
    };
    let good = "EIO=4&transport=websocket";
    for (query, about) in [
        (good, "granted"),
        ("EIO=4&transport=websocket&sid=none", "refused by the server"),
        ("x", "of no transport"),
    ] {
        for (lines, body, must) in [
            ("Upgrade: websocket\r\n", "", Clean),
            ("Upgrade: websocket\r\n", HIDDEN, Clean),
            ("Upgrade: websocket\r\n", "\u{1}\u{2}not HTTP", Clean),
            ("Upgrade: websocket\r\nContent-Length: 5\r\n", "hello", Stop),
            ("Upgrade: websocket\r\nContent-Length: 0\r\n", HIDDEN, Clean),
            ("Upgrade: websocket\r\nTransfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n", Stop),
            ("Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n", HIDDEN, Clean),
            ("Upgrade: h2c, websocket\r\n", HIDDEN, Clean),
            ("Upgrade: websocket\r\nUpgrade: h2c\r\n", HIDDEN, Clean),
            ("Upgrade: WebSocket\0\r\n", HIDDEN, Stop),
        ] {
            all.push(case(
                format!("upgrade {about}, {lines:?} then {body:?}"),
                socket(query, lines, body),
                must,
            ));
        }
    }
    let elsewhere = get(&format!("Host: localhost\r\n{upgrade}Upgrade: websocket\r\n"));
    all.push(case("upgrade of a file", elsewhere.clone() + HIDDEN, Clean));
    all.push(case(
        "upgrade in HTTP/1.0",
        socket(good, "Upgrade: websocket\r\n", HIDDEN).replace("HTTP/1.1", "HTTP/1.0"),
        Clean,
    ));
    all.push(case("upgrade by POST", elsewhere.replace("GET", "POST"), Stop));
}

/// All of them.
pub fn all() -> Vec<Case> {
    let mut all = Vec::new();
    codings(&mut all);
    lengths(&mut all);
    heads(&mut all);
    bodies(&mut all);
    hops(&mut all);
    all
}
