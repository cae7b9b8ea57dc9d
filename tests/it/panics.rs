//! A panic is a fault of the gateway; what it tells of it holds nothing that was sent to it.

use std::process::Command;

use crate::rig::SECRET;

/// In the environment of the process that panics: what it has in hand.
const IN_HAND: &str = "PANIC_WITH";
/// The test below, for the process that panics.
const THIS: &str = "panics::nothing_that_was_sent_is_in_what_a_panic_tells";

/// What the program does first, and then faults as they happen: in threads, on text that came from outside.
fn panic_with(sent: &str) {
    rapidpm_gateway::cli::enter(["rapidpm-gateway", "completions", "bash"]);
    for fault in [
        |text: String| drop(text[1..].to_owned()), // in the middle of a character
        |text: String| assert!(text.parse::<u8>().map_err(|_| text).unwrap() > 0),
        |text: String| assert_eq!(text, ""),
        |text: String| std::panic::panic_any(text),
        |_| panic!("words of the program"),
    ] {
        let text = format!("ä{sent}");
        std::thread::spawn(move || fault(text)).join().unwrap_err();
    }
}

#[test]
fn nothing_that_was_sent_is_in_what_a_panic_tells() {
    if let Ok(sent) = std::env::var(IN_HAND) {
        return panic_with(&sent);
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([THIS, "--exact", "--nocapture"]).env(IN_HAND, SECRET).env("RUST_BACKTRACE", "full");
    let output = child.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr);
    let panics: Vec<&str> = told.lines().filter(|line| line.contains("panicked at")).collect();
    assert_eq!(panics.len(), 5, "{told}");
    assert!(panics.iter().all(|line| line.contains("/panics.rs:")), "where: {panics:?}");
    assert!(panics[4].ends_with(": words of the program"), "{panics:?}");
    assert!(told.contains("panic_with"), "with the way there, where that is asked for: {told}");
    assert!(!told.contains(SECRET), "{told}");
}
