//! The README is true: every reason of a refusal stands in it, and so does every command it promises.

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
