//! The README is true: every reason of a refusal stands in it, and the callback that it gives to developers does what it says.

use std::process::Command;

use rapidpm_gateway::rules::refusal::REASONS;

const README: &str = include_str!("../../README.md");

#[test]
fn every_reason_of_a_refusal_is_explained_once() {
    for reason in REASONS {
        let row = format!("| `{reason}` | ");
        assert_eq!(README.matches(&row).count(), 1, "{reason}");
    }
    let table = README.split("### `Gateway-Refusal`").nth(1).unwrap().split("\n## ").next().unwrap();
    assert_eq!(table.matches("\n| `").count(), REASONS.len(), "a reason that no longer exists");
}

#[test]
fn the_callback_for_developers_does_what_the_page_says() {
    let page = README.split("### Saves, for RapidPM's developers").nth(1).unwrap();
    let block = page.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    assert!(block.lines().count() <= 10, "ten lines");
    match Command::new("python3").args(["-c", include_str!("readme.py"), block]).output() {
        Ok(ran) => assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr)),
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "python3: {error}");
            println!("skipped: python3: {error}");
        }
    }
}
