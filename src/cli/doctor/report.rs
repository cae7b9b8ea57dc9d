//! What `doctor` prints: a line for each question and what to do, or one JSON object.

use std::fmt;

use serde_json::{Value, json};

use super::question::{Finding, Verdict};

/// Everything that was found, in the order of the questions.
pub struct Report(pub Vec<Finding>);

impl Report {
    /// How many answers have this state.
    fn count(&self, state: &str) -> usize {
        self.0.iter().filter(|finding| finding.verdict.state() == state).count()
    }

    /// Whether anything fails.
    pub fn fails(&self) -> bool {
        self.count("failed") > 0
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let findings = self.0.iter().map(|finding| {
            let bad = matches!(finding.verdict, Verdict::Failed(..) | Verdict::Warning(..));
            let trouble = finding.question.trouble().filter(|_| bad).map(super::question::Trouble::words);
            json!({
                "id": finding.question.id(), "question": finding.question.asks(), "of": finding.of,
                "state": finding.verdict.state(), "seen": finding.verdict.seen(), "cure": finding.verdict.cure(),
                "users_see": trouble,
            })
        });
        json!({ "fine": !self.fails(), "findings": findings.collect::<Vec<_>>() })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { question, of, verdict } in &self.0 {
            let state = match verdict {
                Verdict::Failed(..) => "FAILED",
                other => other.state(),
            };
            let of = if of.is_empty() { String::new() } else { format!("{of}: ") };
            writeln!(f, "{state:8} {:18} {of}{}", question.id(), verdict.seen())?;
            if let (Verdict::Failed(..), Some(trouble)) = (verdict, question.trouble()) {
                writeln!(f, "{:28}users see: {}", "", trouble.words())?;
            }
            if let Some(cure) = verdict.cure() {
                for (at, line) in cure.lines().enumerate() {
                    writeln!(f, "{:26}{} {line}", "", if at == 0 { "→" } else { " " })?;
                }
            }
        }
        let [ok, warnings, failed, skipped] =
            ["ok", "warning", "failed", "skipped"].map(|state| self.count(state));
        let all = self.0.len();
        write!(f, "{all} answers: {ok} ok, {warnings} to look at, {failed} failed, {skipped} not asked")
    }
}

#[cfg(test)]
mod tests {
    use super::super::question::Question;
    use super::*;

    #[test]
    fn a_line_for_each_question_and_what_to_do() {
        let report = Report(vec![
            Question::Server.is("127.0.0.1:8088", Verdict::ok("says true")),
            Question::Secret.is("127.0.0.1:8088", Verdict::failed("refuses us", "first\nsecond")),
            Question::Redis.is("", Verdict::skipped("not configured")),
        ]);
        let text = "\
ok       document_server    127.0.0.1:8088: says true
FAILED   secret             127.0.0.1:8088: refuses us
                            users see: JWT validation failed
                          → first
                            second
skipped  redis              not configured
3 answers: 1 ok, 0 to look at, 1 failed, 1 not asked";
        assert_eq!(report.to_string(), text);
        let json = report.to_json();
        assert_eq!(json["fine"], false);
        assert_eq!(json["findings"][1]["users_see"], "JWT validation failed");
        assert_eq!(json["findings"][0]["users_see"], Value::Null);
        assert!(report.fails());
    }
}
