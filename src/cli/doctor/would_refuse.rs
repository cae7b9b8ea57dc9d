//! `doctor --would-refuse`: what a stricter configuration would have refused, as the running gateway has counted it.

use std::fmt::Write;

use hyper::Method;
use hyper::header::HeaderValue;
use serde_json::Value;

use super::ask::ask;
use super::house::{House, request};

/// The list, from the admin listener.
///
/// # Errors
/// When no gateway answers there; in words.
pub async fn list(house: &House) -> Result<Value, String> {
    let admin = house.loaded.fixed.admin;
    let mut request = request(Method::GET, "/api/v1/would-refuse", Vec::new());
    request.headers_mut().insert("host", HeaderValue::from_static("admin"));
    let answer = ask(&house.admin(), request).await;
    let answer = answer.map_err(|missed| format!("{admin}: {missed}; is the gateway running?"))?;
    match serde_json::from_slice(&answer.body) {
        Ok(list) if answer.status == 200 => Ok(list),
        _ => Err(format!("{admin}: something answers with {} that is no gateway", answer.status)),
    }
}

/// Whether nothing is on it.
pub fn is_empty(list: &Value) -> bool {
    list["counted"].as_array().is_none_or(Vec::is_empty)
}

/// For people.
pub fn text(list: &Value) -> String {
    let word = |value: &Value| value.as_str().map_or_else(|| "-".to_owned(), crate::cli::token::shown);
    let (since, mode) = (word(&list["since"]), word(&list["mode"]));
    if is_empty(list) {
        return format!(
            "nothing since {since}: a stricter configuration would have refused none of it (mode {mode})"
        );
    }
    let mut text = format!("since {since}, in mode {mode}:\n");
    for counted in list["counted"].as_array().into_iter().flatten() {
        let (reason, setting) = (word(&counted["reason"]), word(&counted["refused_by"]));
        let count = counted["count"].as_u64().unwrap_or_default();
        writeln!(text, "{count:>8} {reason}, refused by {setting}").ok();
    }
    text.push_str("the latest:");
    for example in list["examples"].as_array().into_iter().flatten() {
        let [at, id, route, class, reason] =
            ["at", "id", "route", "class", "reason"].map(|name| word(&example[name]));
        write!(text, "\n{at} {id} {route} {reason} class {class}").ok();
        if example["host"].is_string() {
            write!(text, " host {}", word(&example["host"])).ok();
        }
        let why = example["why"].as_str().unwrap_or_default();
        write!(text, "\n  {}", why.replace(char::is_control, " ")).ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_and_something_read_well() {
        let empty =
            json!({ "since": "2026-11-25T00:00:00Z", "mode": "observe", "counted": [], "examples": [] });
        assert!(is_empty(&empty) && text(&empty).starts_with("nothing since 2026"));
        let some = json!({
            "since": "S", "mode": "observe",
            "counted": [{ "reason": "key_mismatch", "refused_by": "mode = \"enforce\"", "count": 3 }],
            "examples": [{ "at": "T", "id": "i", "route": "upload", "class": "session", "reason": "key_mismatch", "host": null, "refused_by": "x", "why": "because" }],
        });
        assert!(!is_empty(&some));
        let expected = "since S, in mode observe:\n       3 key_mismatch, refused by mode = \"enforce\"\nthe latest:\nT i upload key_mismatch class session\n  because";
        assert_eq!(text(&some), expected);
    }
}
