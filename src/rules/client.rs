//! Whose request it is: the address of the person behind it, seen through proxies only where an operator trusts them.

use std::net::{IpAddr, Ipv6Addr};

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// How many entries of a chain are read. Real chains have one to three; a long one is an attempt.
const MOST_HOPS: usize = 16;

/// Whom an address is counted as by every cap: of IPv6 the network that one household has (RFC 6177), or one client would be 2^64.
pub fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 64 << 64).into(),
        v4 => v4,
    }
}

/// Who is at the other end of a connection, written down once for all its requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    address: IpAddr,
    field: HeaderValue,
}

impl Peer {
    /// An IPv4 address that came as IPv6 becomes what it is.
    pub fn new(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { address, field: field(address.to_string()) }
    }

    /// Its address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The same as text.
    pub fn text(&self) -> &str {
        self.field.to_str().unwrap_or_default()
    }
}

/// Where a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    address: IpAddr,
    field: HeaderValue,
    proxies: Vec<IpAddr>,
    known: bool,
}

impl Client {
    /// Reads the chain from its near end: the first address that is not a trusted proxy is the client. What stands left of
    /// it was written by the client and is not believed; the Document Server's own filter reads the leftmost (utils.js:988-1003).
    pub fn of(peer: &Peer, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        let Peer { mut address, field: direct } = peer.clone();
        let (mut proxies, mut known) = (Vec::new(), true);
        if trusted.is_empty() {
            return Self { address, field: direct, proxies, known };
        }
        let lines: Vec<_> = headers.get_all(X_FORWARDED_FOR).iter().map(HeaderValue::as_bytes).collect();
        // Entry by entry: what a client wrote to the left of the proxy's word must not make that unreadable.
        let hops = lines.iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b','));
        for hop in hops.take(MOST_HOPS) {
            if !trusted.iter().any(|net| net.contains(&address)) {
                break;
            }
            let Some(next) = std::str::from_utf8(hop).ok().and_then(|hop| parse(hop.trim())) else {
                known = false;
                break;
            };
            proxies.insert(0, address);
            address = next;
        }
        let field = if proxies.is_empty() { direct } else { field(address.to_string()) };
        Self { address, field, proxies, known }
    }

    /// Whether it is one of these, for sure: whom a proxy hides ("unknown") has that proxy's address, and is not it.
    pub fn is_within(&self, networks: &[IpNet]) -> bool {
        self.known && networks.iter().any(|network| network.contains(&self.address))
    }

    /// The client's address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The same as a field of a head.
    pub fn field(&self) -> &HeaderValue {
        &self.field
    }

    /// The trusted proxies between client and gateway, the client's neighbour first.
    pub fn proxies(&self) -> &[IpAddr] {
        &self.proxies
    }
}

pub(super) fn field(addresses: String) -> HeaderValue {
    HeaderValue::try_from(addresses).unwrap_or(HeaderValue::from_static("unknown")) // addresses are a value
}

/// An entry of the chain: an address, maybe with a port, IPv6 maybe in brackets.
fn parse(hop: &str) -> Option<IpAddr> {
    let bare = hop.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(hop, |(inner, _)| inner);
    let address = match bare.parse() {
        Ok(address) => address,
        Err(_) => bare.rsplit_once(':')?.0.parse().ok()?,
    };
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_household_is_one_address_and_one_network() {
        let of = |address: &str| household(address.parse().unwrap()).to_string();
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7", "not all of IPv4");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
    }

    #[test]
    fn is_the_nearest_address_that_is_no_trusted_proxy() {
        type Row =
            (&'static str, &'static [&'static str], &'static [&'static str], &'static str, &'static str);
        let table: &[Row] = &[
            ("203.0.113.9", &[], &[], "203.0.113.9", ""),
            ("203.0.113.9", &[], &["198.51.100.1"], "203.0.113.9", ""),
            ("203.0.113.9", &["10.0.0.0/8"], &["198.51.100.1"], "203.0.113.9", ""),
            ("10.0.0.1", &["10.0.0.0/8"], &[], "10.0.0.1", ""),
            ("10.0.0.1", &["10.0.0.0/8"], &["198.51.100.1"], "198.51.100.1", "10.0.0.1"),
            ("10.0.0.1", &["10.0.0.0/8"], &["1.1.1.1, 198.51.100.1"], "198.51.100.1", "10.0.0.1"),
            ("10.0.0.1", &["10.0.0.0/8"], &["1.1.1.1", "198.51.100.1"], "198.51.100.1", "10.0.0.1"),
            ("10.0.0.1", &["10.0.0.0/8"], &["198.51.100.1, 10.0.0.2"], "198.51.100.1", "10.0.0.2 10.0.0.1"),
            ("10.0.0.1", &["10.0.0.0/8"], &["unknown"], "10.0.0.1", ""),
            ("10.0.0.1", &["10.0.0.0/8"], &["198.51.100.1:4711"], "198.51.100.1", "10.0.0.1"),
            ("10.0.0.1", &["10.0.0.0/8"], &["[2001:db8::1]:443"], "2001:db8::1", "10.0.0.1"),
            ("::ffff:10.0.0.1", &["10.0.0.0/8"], &["2001:db8::1"], "2001:db8::1", "10.0.0.1"),
            ("::ffff:203.0.113.9", &[], &[], "203.0.113.9", ""),
            // nginx writes behind what came, on the same line.
            ("10.0.0.1", &["10.0.0.0/8"], &["\u{e9}, 198.51.100.1"], "198.51.100.1", "10.0.0.1"),
        ];
        for (peer, trusted, lines, address, proxies) in table {
            let trusted: Vec<IpNet> = trusted.iter().map(|n| n.parse().unwrap()).collect();
            let mut headers = HeaderMap::new();
            for line in *lines {
                headers.append(X_FORWARDED_FOR, HeaderValue::from_bytes(line.as_bytes()).unwrap());
            }
            let client = Client::of(&Peer::new(peer.parse().unwrap()), &headers, &trusted);
            assert_eq!(client.address().to_string(), *address, "{peer} {lines:?}");
            let seen: Vec<_> = client.proxies().iter().map(ToString::to_string).collect();
            assert_eq!(seen.join(" "), *proxies, "{peer} {lines:?}");
        }
    }

    #[test]
    fn is_within_a_network_only_where_it_is_known() {
        let nets = |list: &[&str]| list.iter().map(|net| net.parse().unwrap()).collect::<Vec<IpNet>>();
        let ours = nets(&["10.0.0.0/8", "fd00::/8"]);
        for (peer, trusted, line, expected) in [
            ("10.0.0.1", &[][..], "", true),
            ("::ffff:10.0.0.1", &[], "", true),
            ("fd00::1", &[], "", true),
            ("203.0.113.9", &[], "", false),
            ("203.0.113.9", &[], "10.0.0.1", false),
            ("203.0.113.9", &["10.0.0.0/8"], "10.0.0.1", false),
            ("10.0.0.1", &["10.0.0.0/8"], "", true), // the balancer's own check
            ("10.0.0.1", &["10.0.0.0/8"], "203.0.113.9", false),
            ("10.0.0.1", &["10.0.0.0/8"], "10.0.0.7, 203.0.113.9", false),
            ("10.0.0.1", &["10.0.0.0/8"], "10.0.0.7", true),
            ("10.0.0.1", &["10.0.0.0/8"], "unknown", false),
            ("10.0.0.1", &["10.0.0.0/8"], "10.0.0.7, ", false),
            ("10.0.0.1", &["10.0.0.0/8"], "\u{e9}", false),
            ("10.0.0.1", &["10.0.0.0/8"], "\u{e9}, 203.0.113.9", false),
        ] {
            let mut headers = HeaderMap::new();
            if !line.is_empty() {
                headers.append(X_FORWARDED_FOR, HeaderValue::from_bytes(line.as_bytes()).unwrap());
            }
            let client = Client::of(&Peer::new(peer.parse().unwrap()), &headers, &nets(trusted));
            assert_eq!(client.is_within(&ours), expected, "{peer} {trusted:?} {line}");
        }
    }
}
