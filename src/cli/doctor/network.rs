//! The addresses of this machine, and whether the Document Server's own port is open on those that others can reach.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hyper::Method;
use tokio::task::JoinSet;

use super::ask::{Answer, Peer, ask};
use super::house::House;
use super::question::{Finding, Question, Verdict};
use crate::upstream::Address;

/// More addresses than this are a router's.
const MOST: usize = 32;

/// Addresses of this machine, as Linux shows them to everybody; loopback left out.
pub fn addresses() -> Vec<IpAddr> {
    let v4 = fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let v6 = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let mut all: Vec<IpAddr> = of_trie(&v4).into_iter().map(IpAddr::V4).collect();
    all.extend(of_interfaces(&v6).into_iter().map(IpAddr::V6));
    all.sort_unstable();
    all.dedup();
    all
}

/// In the routing table an own address is a leaf of 32 bits, of type local.
fn of_trie(table: &str) -> Vec<Ipv4Addr> {
    let lines: Vec<&str> = table.lines().collect();
    let own = lines.windows(2).filter_map(|pair| {
        let [leaf, kind] = pair else { return None };
        let address = leaf.trim().strip_prefix("|-- ")?.parse::<Ipv4Addr>().ok()?;
        (kind.trim() == "/32 host LOCAL" && !address.is_loopback()).then_some(address)
    });
    own.collect()
}

/// Thirty-two digits, then index, length and scope; scope `20` is one cable's own.
fn of_interfaces(list: &str) -> Vec<Ipv6Addr> {
    let own = list.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let address = Ipv6Addr::from(u128::from_str_radix(words.next()?, 16).ok()?);
        (words.nth(2)? != "20" && !address.is_loopback()).then_some(address)
    });
    own.collect()
}

/// Whether the Document Server answers to others than the gateway.
pub async fn exposed(house: &House, server: &Address) -> Finding {
    let of = server.to_string();
    let loopback =
        server.host == "localhost" || server.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if !loopback {
        let why =
            "the Document Server is not on loopback; see that a firewall lets only the gateway reach it";
        return Question::Exposed.is(of, Verdict::skipped(why));
    }
    let own = Peer::plain(server.host.clone(), server.port);
    if let Err(missed) = ask(&own, house.to_server(Method::GET, "/healthcheck", Vec::new())).await {
        let why = format!("the Document Server does not answer: {missed}");
        return Question::Exposed.is(of, Verdict::skipped(why));
    }
    let mut asked = JoinSet::new();
    for ip in addresses().into_iter().take(MOST) {
        let peer = Peer::plain(ip.to_string(), server.port);
        let request = house.to_server(Method::GET, "/healthcheck", Vec::new());
        asked.spawn(async move { (ip, ask(&peer, request).await) });
    }
    let answers = asked.join_all().await.into_iter();
    let says = |answer: &Answer| matches!(answer.text().as_str(), "true" | "false");
    let open = answers.filter(|(_, answer)| answer.as_ref().is_ok_and(says));
    let mut open: Vec<String> = open.map(|(ip, _)| ip.to_string()).collect();
    open.sort_unstable();
    Question::Exposed.is(of, judge(server, &open))
}

fn judge(server: &Address, open: &[String]) -> Verdict {
    if open.is_empty() {
        return Verdict::ok("only on loopback");
    }
    Verdict::failed(
        format!(
            "the Document Server answers on port {} of {}: past the gateway, unchecked",
            server.port,
            open.join(", ")
        ),
        format!(
            "Publish the container's port on loopback alone: `docker run -p 127.0.0.1:{}:80 …` (docker opens its ports past\n\
             most firewalls). /info/config may have been open to others: change JWT_SECRET and SECURE_LINK_SECRET.",
            server.port
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses_are_found() {
        let trie = "\
           |-- 127.0.0.1
              /32 host LOCAL
        |-- 192.168.7.0
           /24 link UNICAST
        |-- 192.168.7.9
           /32 host LOCAL
        |-- 192.168.7.255
           /32 link BROADCAST";
        assert_eq!(of_trie(trie), [Ipv4Addr::new(192, 168, 7, 9)]);
        let list = "\
00000000000000000000000000000001 01 80 10 80       lo
fe80000000000000024211fffe000001 02 40 20 80     eth0
20010db8000000000000000000000005 02 40 00 80     eth0";
        assert_eq!(of_interfaces(list), ["2001:db8::5".parse::<Ipv6Addr>().unwrap()]);
        assert_eq!((of_trie("x"), of_interfaces("x")), (Vec::new(), Vec::new()));
    }

    #[test]
    fn a_port_that_others_reach_is_a_failure() {
        let server = Address { host: "127.0.0.1".into(), port: 8088 };
        assert_eq!(judge(&server, &[]).state(), "ok");
        let verdict = judge(&server, &["192.0.2.1".to_owned()]);
        assert!(
            verdict.seen().contains("192.0.2.1") && verdict.cure().unwrap().contains("-p 127.0.0.1:8088:80")
        );
    }
}
