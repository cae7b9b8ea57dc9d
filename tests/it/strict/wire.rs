//! What a Document Server may receive, read without mercy: one framing, one host, no byte that two servers could see differently.

/// A request as it stood on the wire.
#[derive(Debug)]
pub struct Sent {
    pub method: String,
    pub target: String,
    /// It arrived to its last byte.
    pub whole: bool,
    pub body: Vec<u8>,
}

/// An answer as a client got it.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// `Gateway-Refusal`.
    pub refusal: Option<String>,
    /// hyper answers some heads itself; those have no request id.
    pub ours: bool,
}

/// Splits what came on one connection into requests. `switched` says of a target that it was answered with 101, so that
/// what follows is a socket's.
pub fn requests(mut wire: &[u8], switched: impl Fn(&str) -> bool) -> Result<Vec<Sent>, String> {
    let mut all = Vec::new();
    while !wire.is_empty() {
        let Some(end) = find(wire, b"\r\n\r\n") else {
            return Err(format!("a head without end: {:?}", String::from_utf8_lossy(wire)));
        };
        let (head, rest) = (&wire[..end], &wire[end + 4..]);
        let shown = || format!("in {:?}", String::from_utf8_lossy(head));
        let (method, target, framing, upgrade) =
            request_head(head).map_err(|e| format!("{e} {}", shown()))?;
        let (body, taken) = match framing {
            Framing::Length(length) => {
                (rest[..length.min(rest.len())].to_vec(), (rest.len() >= length).then_some(length))
            }
            Framing::Chunked => chunked(rest).map_err(|e| format!("{e} {}", shown()))?,
        };
        let whole = taken.is_some();
        wire = &rest[taken.unwrap_or(rest.len())..];
        if upgrade && switched(&target) {
            wire = &[];
        }
        all.push(Sent { method, target, whole, body });
    }
    Ok(all)
}

enum Framing {
    Length(usize),
    Chunked,
}

fn request_head(head: &[u8]) -> Result<(String, String, Framing, bool), String> {
    let head = std::str::from_utf8(head).map_err(|_| "not UTF-8")?;
    if head.replace("\r\n", "").contains(|c: char| c.is_control() && c != '\t') {
        return Err("a control byte".into());
    }
    let mut lines = head.split("\r\n");
    let first: Vec<_> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, target, "HTTP/1.1"] = first[..] else { return Err("no request line".into()) };
    if !["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"].contains(&method)
        || !target.starts_with('/')
    {
        return Err("an odd request line".into());
    }
    let (mut hosts, mut length, mut chunked, mut upgrade) = (0, None, false, false);
    for line in lines {
        let (name, value) = line.split_once(": ").or(line.split_once(':')).ok_or("a line without colon")?;
        let good = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(good) {
            return Err(format!("the name {name:?}"));
        }
        match name.to_ascii_lowercase().as_str() {
            // The gateway's own probe and its question for forgotten files name the server; no case has such a bare path.
            "host" if value != "localhost" && !["/healthcheck", "/command"].contains(&target) => {
                return Err("another host".into());
            }
            "host" => hosts += 1,
            "content-length" if length.is_some() => return Err("two lengths".into()),
            "content-length" if !value.bytes().all(|b| b.is_ascii_digit()) => {
                return Err("a strange length".into());
            }
            "content-length" => length = Some(value.parse().map_err(|_| "a strange length")?),
            "transfer-encoding" if value != "chunked" || chunked => return Err("a strange coding".into()),
            "transfer-encoding" => chunked = true,
            "te" | "trailer" | "expect" | "keep-alive" | "proxy-connection" => {
                return Err(format!("{name} went on"));
            }
            "upgrade" => upgrade = true,
            _ => {}
        }
    }
    match (hosts, chunked, length) {
        (1, true, None) => Ok((method.into(), target.into(), Framing::Chunked, upgrade)),
        (1, false, length) => {
            Ok((method.into(), target.into(), Framing::Length(length.unwrap_or(0)), upgrade))
        }
        (1, true, Some(_)) => Err("two framings".into()),
        (hosts, ..) => Err(format!("{hosts} hosts")),
    }
}

/// A body, and how many bytes it took; `None` when the connection ended within it.
fn chunked(mut rest: &[u8]) -> Result<(Vec<u8>, Option<usize>), String> {
    let (mut body, all) = (Vec::new(), rest.len());
    loop {
        let Some(line) = find(rest, b"\r\n") else { return Ok((body, None)) };
        let size = std::str::from_utf8(&rest[..line]).map_err(|_| "a strange chunk")?;
        if size.is_empty() || !size.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!("the chunk size {size:?}"));
        }
        let size = usize::from_str_radix(size, 16).map_err(|_| "a huge chunk")?;
        rest = &rest[line + 2..];
        if rest.len() < size + 2 {
            return Ok((body, None));
        }
        body.extend_from_slice(&rest[..size]);
        if &rest[size..size + 2] != b"\r\n" {
            return Err(if size == 0 { "a trailer" } else { "a chunk of another size" }.into());
        }
        rest = &rest[size + 2..];
        if size == 0 {
            return Ok((body, Some(all - rest.len())));
        }
    }
}

/// Splits what a client got into answers; the rest is unfinished.
pub fn answers(mut bytes: &[u8]) -> Vec<Answer> {
    let mut all = Vec::new();
    while let Some(end) = find(bytes, b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let rest = &bytes[end + 4..];
        let field = |name: &str| {
            head.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
        };
        let status: u16 = head.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or(0);
        let taken = match field("content-length").map(|length| length.parse::<usize>().unwrap()) {
            Some(length) => (rest.len() >= length).then_some(length),
            None if field("transfer-encoding").is_some() => chunked(rest).unwrap().1,
            None => Some(if status == 101 { rest.len() } else { 0 }),
        };
        let Some(taken) = taken else { return all };
        if status != 100 {
            all.push(Answer {
                status,
                refusal: field("gateway-refusal"),
                ours: field("x-request-id").is_some(),
            });
        }
        bytes = &rest[taken..];
    }
    all
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// The judge must see what it is there to see.
#[test]
fn the_judge_condemns_what_it_must() {
    let good = "POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi\
                POST /b HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n\
                GET /c HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhalf";
    let all = requests(good.as_bytes(), |_| false).unwrap();
    let seen: Vec<_> = all.iter().map(|r| (r.target.as_str(), r.whole, r.body.len())).collect();
    assert_eq!(seen, [("/a", true, 2), ("/b", true, 2), ("/c", false, 4)]);
    for bad in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: evil\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: localhost\r\n\r\n",
        "GET / x HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nA_b: c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nA : c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nA: c\nB: d\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nA: c\rB: d\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nA: c\r\n d\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n1",
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: +1\r\n\r\n1",
        "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1;a\r\n1\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nHost: evil\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n12\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\nhidden",
    ] {
        assert!(requests(bad.as_bytes(), |_| false).is_err(), "{bad:?}");
    }
}
