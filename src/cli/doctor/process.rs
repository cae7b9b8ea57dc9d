//! The running gateway as a process: whose it is, how many files it may open, whether systemd watches it.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use super::house::here;
use super::question::{Finding, Question, Verdict};

/// Files besides connections: log, journal, timers, documents on their way.
const BESIDES: u64 = 200;

/// Who listens on the admin address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    /// The user.
    pub uid: u32,
    /// The process, where this user may see it.
    pub pid: Option<u32>,
}

/// Finds the process that listens on `admin`.
pub fn find(admin: SocketAddr) -> Option<Running> {
    let tables =
        ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let (uid, inode) = tables.iter().find_map(|table| listener(table, admin))?;
    Some(Running { uid, pid: holder(inode) })
}

/// User and inode of the socket that listens on `address`, or on every address.
fn listener(table: &str, address: SocketAddr) -> Option<(u32, u64)> {
    table.lines().skip(1).find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, local, _, "0A", _, _, _, uid, _, inode, ..] = *words else { return None };
        let (ip, port) = local.split_once(':')?;
        let fits = u16::from_str_radix(port, 16).ok()? == address.port()
            && (ip.bytes().all(|digit| digit == b'0') || ip == written(address.ip()));
        fits.then_some((uid.parse().ok()?, inode.parse().ok()?))
    })
}

/// An address as the kernel writes it: words of the machine's own byte order.
fn written(ip: IpAddr) -> String {
    let bytes = match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let words = bytes.chunks_exact(4).filter_map(|word| Some(u32::from_ne_bytes(word.try_into().ok()?)));
    words.map(|word| format!("{word:08X}")).collect()
}

fn holder(inode: u64) -> Option<u32> {
    let wanted = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files.filter_map(|file| fs::read_link(file.path()).ok()).any(|link| link == Path::new(&wanted))
    })
}

/// What the process may do, and who watches it.
pub fn questions(admin: SocketAddr, running: Option<&Running>, connections: usize) -> Vec<Finding> {
    let pid = running.and_then(|running| running.pid);
    let of = |pid: Option<u32>| pid.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
    let limits = fs::read_to_string(format!("/proc/{}/limits", of(pid))).unwrap_or_default();
    let whose = match pid {
        Some(pid) => format!("process {pid}"),
        None => "this command".to_owned(),
    };
    let environment = pid.and_then(|pid| fs::read(format!("/proc/{pid}/environ")).ok());
    vec![
        Question::Limits.is(whose, files(open_files(&limits), connections, pid.is_some())),
        Question::Watchdog.is(here(admin).to_string(), watched(running, environment.as_deref())),
    ]
}

/// The soft limit that counts.
fn open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

/// An editor holds two: one to its browser, one to the Document Server.
fn files(limit: Option<u64>, connections: usize, own: bool) -> Verdict {
    let Some(limit) = limit else { return Verdict::skipped("/proc does not tell its limits") };
    let connections = connections as u64;
    let need = 2 * connections + BESIDES;
    let cure = format!(
        "LimitNOFILE={need} in the unit (`systemctl edit rapidpm-gateway`), or lower limits.connections to {}.",
        limit.saturating_sub(BESIDES) / 2
    );
    if limit < need && !own {
        return Verdict::warning(
            format!(
                "may open {limit} files; a gateway that is started from here needs {need}, but its unit may allow more"
            ),
            cure,
        );
    }
    if limit < connections + BESIDES {
        return Verdict::failed(
            format!(
                "may open {limit} files, but limits.connections is {connections}: it runs out of them first"
            ),
            cure,
        );
    }
    if limit < need {
        return Verdict::warning(
            format!("may open {limit} files; with {connections} editors it needs {need}, two for each"),
            cure,
        );
    }
    Verdict::ok(format!("may open {limit} files, {need} are enough"))
}

fn watched(running: Option<&Running>, environment: Option<&[u8]>) -> Verdict {
    if running.is_none() {
        return Verdict::skipped("no gateway runs");
    }
    let Some(environment) = environment else {
        return Verdict::skipped("only its own user and root may see; run doctor as one of them");
    };
    let variable = |name: &str| {
        let all = environment.split(|byte| *byte == 0).filter_map(|one| std::str::from_utf8(one).ok());
        all.filter_map(|one| one.split_once('='))
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.to_owned())
    };
    if variable("NOTIFY_SOCKET").is_none() {
        return Verdict::skipped("it was not started by systemd with Type=notify");
    }
    match variable("WATCHDOG_USEC").and_then(|time| time.parse::<u64>().ok()) {
        Some(time) => {
            Verdict::ok(format!("restarted by systemd after {} s without a sign of life", time / 1_000_000))
        }
        None => Verdict::warning(
            "systemd starts it, but would not notice if it stood still",
            "WatchdogSec=30s in the unit, as in the one that comes with the gateway.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_found_by_its_address() {
        let (a, b) = (written("127.0.0.1".parse().unwrap()), written("127.0.0.2".parse().unwrap()));
        let line = |local: &str, state: &str, uid: u32, inode: u64| {
            format!(
                "   0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  {uid}        0 {inode} 1 0 100 0 0 10 0\n"
            )
        };
        let table = format!(
            "  sl  local_address …\n{}{}{}",
            line(&format!("{a}:1F90"), "01", 1, 11),
            line(&format!("{b}:1F90"), "0A", 2, 12),
            line("00000000:1F91", "0A", 3, 13)
        );
        let find = |address: &str| listener(&table, address.parse().unwrap());
        assert_eq!(find("127.0.0.1:8080"), None); // connected, not listening
        assert_eq!(find("127.0.0.2:8080"), Some((2, 12)));
        assert_eq!(find("127.0.0.1:8081"), Some((3, 13)));
    }

    #[test]
    fn our_own_listener_is_found_with_its_process() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let found = find(socket.local_addr().unwrap()).unwrap();
        assert_eq!(found.pid, Some(std::process::id()));
    }

    #[test]
    fn an_editor_needs_two_files() {
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 524288               files\n";
        assert_eq!(open_files(limits), Some(1024));
        assert_eq!(open_files(&limits.replace("1024  ", "unlimited")), Some(u64::MAX));
        for (limit, state) in
            [(Some(1024), "failed"), (Some(30_000), "warning"), (Some(524_288), "ok"), (None, "skipped")]
        {
            assert_eq!(files(limit, 20_000, true).state(), state);
        }
        assert_eq!(files(Some(1024), 20_000, false).state(), "warning"); // not the gateway's own limit
        assert!(files(Some(1024), 20_000, true).cure().unwrap().contains("LimitNOFILE=40200"));
    }

    #[test]
    fn the_watchdog_is_seen_in_the_environment() {
        let running = Some(&Running { uid: 1, pid: Some(1) });
        for (environment, state) in [
            (Some(&b"A=b\0NOTIFY_SOCKET=/run/x\0WATCHDOG_USEC=30000000\0"[..]), "ok"),
            (Some(b"NOTIFY_SOCKET=/run/x\0"), "warning"),
            (Some(b"A=b\0"), "skipped"),
            (None, "skipped"),
        ] {
            assert_eq!(watched(running, environment).state(), state);
        }
        assert_eq!(watched(None, None).state(), "skipped");
    }
}
