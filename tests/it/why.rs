//! Why was I refused: the log and `token verify` say it in the same words, and name the places and fields that it is about.

use serde_json::{Value, json};
use standin::{clock, token};

use crate::raw::Client;
use crate::relay::{application, setup};
use crate::rig::{Rig, SECRET, Setup};
use crate::token_cli::run;

const OWN: &str = "the field authorization behind \"Bearer \"";

/// What the log says of the request that was refused last.
async fn logged(rig: &Rig, path: &'static str) -> (Value, String) {
    let line = rig.log.wait_for(move |line| line["path"] == path).await;
    (line["refusal"].clone(), line["why"].as_str().unwrap_or_default().to_owned())
}

/// What `token verify` says, with the running configuration.
fn verified(rig: &Rig, text: &str) -> Value {
    let file = rig.file();
    let done = run(
        rig.folder.path(),
        &["verify", "--json", "--config", file.to_str().unwrap(), "-"],
        text,
        Some(SECRET),
    );
    serde_json::from_str(&done.out).unwrap_or_else(|e| panic!("{e}: {}{}", done.out, done.err))
}

#[tokio::test]
async fn a_missing_token_was_looked_for_in_these_places() {
    let own =
        "[[integrators]]\nname = \"chat\"\nurl = \"https://chat.example\"\nheader = \"AuthorizationJwt\"\n";
    let rig = Rig::with(Setup { tables: own.to_owned(), ..Setup::default() }).await;
    let mut client = Client::of(&rig);
    let fields = format!("{OWN}, the field authorizationjwt behind \"Bearer \"");
    let in_body = "`token` in the body (in the query, if the body is not JSON)";
    let in_query = "`token` in the query";
    let table = [
        ("/command", format!("{in_body}, {fields}")),
        ("/upload/k", format!("{OWN}, {in_query}")),
        ("/downloadas/k", "`tokenDownload` or `tokenSession` in the query's `cmd`".to_owned()),
        ("/savefile/k", "`tokenSession` in the query's `cmd`".to_owned()),
        // The Document Server alone speaks to the relay, and has no integrator's field.
        (
            "/relay/chat/callback",
            format!("`token` in the body (in the query, if the body is not JSON), {OWN}"),
        ),
    ];
    for (path, places) in table {
        client.post(path, "", "{}").await;
        let expected = format!("the request carries no token; looked at: {places}");
        assert_eq!(logged(&rig, path).await, (json!("token_missing"), expected), "{path}");
    }
    client.get("/relay/chat/document", "").await;
    let expected = format!("the request carries no token; looked at: {OWN}");
    assert_eq!(logged(&rig, "/relay/chat/document").await.1, expected);
    // The same words, for what somebody has copied.
    let table = [
        ("{\"x\":1}", in_body.to_owned()),
        ("Authorization:", fields.clone()),
        (
            "https://office.example/upload/k?x=1",
            format!("{in_query}, `tokenDownload` or `tokenSession` in the query's `cmd`"),
        ),
    ];
    for (text, places) in table {
        let said = verified(&rig, text);
        let expected = format!("the request carries no token; looked at: {places}");
        assert_eq!((&said["reason"], &said["detail"]), (&json!("token_missing"), &json!(expected)), "{text}");
    }
    let token = token::sign(SECRET, &token::command("version", None));
    let said = verified(&rig, &format!("X-Token: Bearer {token}"));
    assert_eq!(said["note"], json!(format!("the gateway does not look here, but at {fields}")));
}

#[tokio::test]
async fn a_callback_that_says_two_things_names_the_field() {
    let app = application().await;
    let rig = Rig::with(setup(&app, vec![])).await;
    let mut client = Client::of(&rig);
    let fields = json!({"key": "k", "status": 2, "url": "http://ds.example/cache/files/data/k/output.docx"});
    let signed = token::sign(SECRET, &token::expiring(fields.clone(), &clock::system(), 300));
    let table = [
        ("/relay/rapidpm/1", "url", json!("http://169.254.169.254/")),
        ("/relay/rapidpm/2", "status", json!(6)),
        ("/relay/rapidpm/3", "key", json!(signed)),
    ];
    for (path, name, other) in table {
        let mut body = fields.clone();
        body["token"] = json!(signed);
        body[name] = other;
        let body = body.to_string();
        let answer = client.post(path, "", &body).await;
        let expected = format!("`{name}` in the callback's body is not what its token says");
        assert_eq!(logged(&rig, path).await, (json!("callback_mismatch"), expected.clone()), "{path}");
        let problem: Value = serde_json::from_str(answer.text()).unwrap();
        assert_eq!(problem["detail"], expected);
        let said = verified(&rig, &body);
        let note = format!("the callback would be refused, callback_mismatch: {expected}");
        assert_eq!((&said["valid"], &said["note"]), (&json!(true), &json!(note)));
        assert!(!said.to_string().contains(&signed));
    }
    assert!(app.callbacks().is_empty(), "nobody heard of them");
}
