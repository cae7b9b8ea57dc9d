//! What systemd hears: ready once it is, reloads with their time, stopping, and a watchdog that is fed.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::process::Process;
use crate::rig::Setup;
use crate::wire;

/// Where systemd would listen.
struct Manager {
    socket: UnixDatagram,
    _folder: tempfile::TempDir,
}

impl Manager {
    async fn start(setup: Setup, watchdog: Option<u64>) -> (Self, Process) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(wire::LONG)).unwrap();
        let process = Process::adjusted(setup, None, |command| {
            command.env("NOTIFY_SOCKET", &path);
            if let Some(microseconds) = watchdog {
                command.env("WATCHDOG_USEC", microseconds.to_string());
            }
        });
        let process = process.await.reading();
        (Self { socket, _folder: folder }, process)
    }

    fn next(&self) -> Vec<String> {
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap().lines().map(str::to_owned).collect()
    }
}

fn has(message: &[String], line: &str) -> bool {
    message.iter().any(|one| one == line)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemd_hears_of_every_change() {
    let (manager, mut process) = Manager::start(Setup::default(), None).await;
    let ready = manager.next();
    assert!(
        has(&ready, "READY=1") && ready.iter().any(|line| line.starts_with("STATUS=serves")),
        "{ready:?}"
    );
    assert_eq!(wire::status(&wire::admin(process.admin, "/livez").await), 200, "ready means served");

    // The good one, and one with a fault: both end with READY=1, or `systemctl reload` would never return.
    for (addition, status) in [("", "STATUS=configuration"), ("nonsense = 1\n", "fault")] {
        let text = std::fs::read_to_string(process.file()).unwrap();
        std::fs::write(process.file(), format!("{addition}{text}")).unwrap();
        process.signal("HUP");
        let mut told = Vec::new();
        while !has(&told, "READY=1") {
            told.extend(manager.next());
        }
        let begun = told.iter().position(|line| line == "RELOADING=1").unwrap();
        let time = told[begun + 1].strip_prefix("MONOTONIC_USEC=").unwrap(); // in the same message
        assert!(time.parse::<u64>().unwrap() > 0, "{told:?}");
        assert!(told.iter().any(|line| line.starts_with("STATUS=") && line.contains(status)), "{told:?}");
    }
    process.signal("TERM");
    assert!(has(&manager.next(), "STOPPING=1"));
    assert_eq!(process.ended().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_watchdog_is_fed_and_a_stopped_process_feeds_it_no_more() {
    let (manager, process) = Manager::start(Setup::default(), Some(300_000)).await;
    let fed = || loop {
        if has(&manager.next(), "WATCHDOG=1") {
            return;
        }
    };
    for _ in 0..3 {
        fed();
    }
    process.signal("STOP");
    let stopped =
        || std::fs::read_to_string(format!("/proc/{}/stat", process.child.id())).unwrap().contains(") T ");
    while !stopped() {
        std::thread::yield_now();
    }
    manager.socket.set_nonblocking(true).unwrap();
    while manager.socket.recv(&mut [0; 4096]).is_ok() {}
    manager.socket.set_nonblocking(false).unwrap();
    manager.socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    assert!(manager.socket.recv(&mut [0; 4096]).is_err(), "a process that stands still said that it lives");
    process.signal("CONT");
    manager.socket.set_read_timeout(Some(wire::LONG)).unwrap();
    fed();
}

/// It once said that it was ready before it had taken its signals, and a `systemctl reload` of that moment ended it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_are_taken_before_anybody_hears_that_it_runs() {
    let (manager, mut process) = Manager::start(Setup::default(), None).await;
    assert!(has(&manager.next(), "READY=1"));
    let taken = std::fs::read_to_string(format!("/proc/{}/status", process.child.id())).unwrap();
    let taken = taken.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    let taken = u64::from_str_radix(taken.trim(), 16).unwrap();
    for (name, number) in [("HUP", 1), ("INT", 2), ("TERM", 15)] {
        assert!(taken >> (number - 1) & 1 == 1, "SIG{name} would end it: {taken:x}");
    }
    process.signal("TERM");
    assert_eq!(process.ended().await, 0);
}
