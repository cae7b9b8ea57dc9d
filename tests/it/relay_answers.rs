//! The decision table: what the Document Server hears, and what becomes of the callback, for each answer of an application and
//! each status. One day of patience is two seconds here; reports have their own five.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rapidpm_gateway::relay::spool::RealDisk;
use serde_json::{Value, json};

use crate::desk::Desk;
use crate::rig::Setup;
use crate::stub::{Says, Stub, answer};
use crate::wire::soon;

/// `answer_within`.
const PATIENCE: Duration = Duration::from_secs(2);
/// Eight seconds of ten.
const WITHIN: Duration = Duration::from_millis(50);
/// Longer than the patience with saves and with reports.
const BEYOND: Duration = Duration::from_secs(7);

/// What the Document Server hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hears {
    /// The application's own answer.
    Theirs,
    /// `{"error":0}`: it is safe here, or will be told later.
    Zero,
    /// `{"error":1}` instead of a redirect, which would lose the save.
    One,
    /// 503: nobody answered.
    Away,
    /// Nothing yet: the truth is waited for.
    Silence,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The application has it.
    Delivered,
    /// It is kept and comes again until it is delivered.
    Again,
    /// It is on its way, and kept.
    Flying,
    /// It waits for a person.
    Parked,
    /// A force-save that is kept until the session ends.
    Reserve,
    /// It was told, and that was all.
    Told,
    /// It is told later.
    Later,
}

/// An answer by name; `None`: nobody listens.
type Row = (&'static str, Option<Says>, [(Hears, Fate); 3]);

/// The answers of an application, each with what follows for final saves and submissions (2, 3, form), force-saves (6, 7), and
/// reports (1, 4).
fn table() -> Vec<Row> {
    use Fate::{Again, Delivered, Flying, Later, Parked, Reserve, Told};
    use Hears::{Away, One, Silence, Theirs, Zero};
    let taken = [(Theirs, Delivered), (Theirs, Delivered), (Theirs, Told)];
    let refused = [(Theirs, Parked), (Theirs, Reserve), (Theirs, Told)];
    let odd = [(Zero, Again), (Theirs, Reserve), (Theirs, Told)];
    let busy = [(Zero, Again), (Theirs, Reserve), (Zero, Later)];
    let moved = [(Zero, Again), (One, Reserve), (Zero, Later)];
    let away = [(Zero, Again), (Away, Reserve), (Zero, Later)];
    let zero = "{\"error\":0}";
    let json = |status| Some(Says::json(status, zero));
    let to = |status| {
        let text = format!(
            "HTTP/1.1 {status}\r\nlocation: /elsewhere\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        Some(Says::Bytes(text))
    };
    vec![
        ("200 error 0", json("200 OK"), taken),
        ("200 error \"0\"", Some(Says::json("200 OK", "{\"error\":\"0\"}")), taken),
        ("200 error 1", Some(Says::json("200 OK", "{\"error\":1}")), refused),
        ("200 empty", Some(Says::json("200 OK", "")), odd),
        ("200 HTML", Some(Says::Bytes(answer("200 OK", "text/html", "<!doctype html>Log in"))), odd),
        ("204", Some(Says::Bytes("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n".into())), odd),
        ("201", json("201 Created"), odd),
        ("404", json("404 Not Found"), odd),
        ("403", json("403 Forbidden"), odd),
        ("410", json("410 Gone"), refused),
        ("413", json("413 Content Too Large"), refused),
        ("429", json("429 Too Many Requests"), busy),
        ("500", json("500 Internal Server Error"), odd),
        ("503", json("503 Service Unavailable"), busy),
        ("301", to("301 Moved Permanently"), moved),
        ("302", to("302 Found"), moved),
        ("307", to("307 Temporary Redirect"), moved),
        ("reset", Some(Says::Reset), away),
        ("slow, in time", Some(Says::After(WITHIN, answer("200 OK", "application/json", zero))), taken),
        (
            "slow, too late",
            Some(Says::After(BEYOND, answer("200 OK", "application/json", zero))),
            [(Zero, Delivered), (Theirs, Delivered), (Zero, Later)],
        ),
        ("stall", Some(Says::Nothing), [(Zero, Flying), (Silence, Flying), (Zero, Later)]),
        ("no listener", None, away),
    ]
}

const STATUSES: [(&str, u32, usize); 7] =
    [("1", 1, 2), ("2", 2, 0), ("3", 3, 0), ("4", 4, 2), ("6", 6, 1), ("7", 7, 1), ("form", 6, 0)];

fn fields(name: &str, status: u32) -> Value {
    let mut fields = json!({"key": "k", "status": status, "users": ["u"]});
    if !matches!(status, 1 | 4) {
        fields["url"] = json!("http://anywhere/cache/files/data/k_1/output.docx/output.docx?md5=x&expires=1");
        fields["filetype"] = json!("docx");
    }
    if status == 6 {
        fields["forcesavetype"] = json!(if name == "form" { 3 } else { 1 });
    }
    fields
}

async fn play(row: &str, says: Option<Says>, name: &str, status: u32, expected: (Hears, Fate)) {
    let what = format!("{row} to {name}");
    let stub = Stub::start(b"words", says.clone().unwrap_or(Says::Reset)).await;
    let address = match says {
        Some(_) => stub.address,
        None => std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap(),
    };
    let setup = Setup {
        tables: format!("[[integrators]]\nname = \"rapidpm\"\nurl = \"http://{address}\"\n"),
        lines: vec![("saves", format!("answer_within = \"{}s\"", PATIENCE.as_secs()))],
        ..Setup::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let desk = Desk::start(&setup, stub.address, folder.path(), Arc::new(RealDisk)).unwrap();
    let waiting = desk.post("callback?id=1", &fields(name, status));
    let (hears, fate) = expected;
    if hears == Hears::Silence {
        let still = tokio::time::timeout(BEYOND, waiting).await;
        assert!(still.is_err(), "{what}: {still:?}");
    } else {
        let answer = soon("an answer", waiting).await.unwrap();
        let body = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(!(300..400).contains(&answer.status), "{what}: a redirect");
        match hears {
            Hears::Zero => assert_eq!((answer.status, body.as_str()), (200, "{\"error\":0}"), "{what}"),
            Hears::One => assert_eq!((answer.status, body.as_str()), (200, "{\"error\":1}"), "{what}"),
            Hears::Away => assert_eq!(answer.status, 503, "{what}"),
            Hears::Theirs | Hears::Silence => {
                let (Some(Says::Bytes(text)) | Some(Says::After(_, text))) = &says else { panic!("{what}") };
                let theirs = text.split("\r\n\r\n").nth(1).unwrap();
                let line = format!("HTTP/1.1 {} ", answer.status);
                assert!(text.starts_with(&line) && body == theirs, "{what}: {answer:?}");
            }
        }
    }
    check(&what, &desk, &stub, fate, status).await;
    assert!(
        stub.all().iter().all(|asked| !asked.line().contains("elsewhere")),
        "{what}: a redirect was followed"
    );
}

async fn check(what: &str, desk: &Desk, stub: &Stub, fate: Fate, status: u32) {
    let until = |is: fn(&rapidpm_gateway::rules::save::Survey) -> bool| async move {
        while !is(&desk.relay.status().saves) {
            tokio::time::sleep(Duration::from_millis(5)).await; // the machine has no event for this
        }
    };
    let zero = || Says::json("200 OK", "{\"error\":0}");
    let survey = || desk.relay.status().saves;
    match fate {
        Fate::Delivered => {
            soon(what, until(|saves| saves.open == 0)).await;
            assert_eq!((survey().parked(), survey().reserve), (0, 0), "{what}");
            assert!(desk.counts("onlyoffice_save_total{status=\"success\"} 1"), "{what}");
            assert_eq!(stub.posts().len(), 1, "{what}: one request");
        }
        Fate::Again => {
            assert_eq!(survey().waiting, 1, "{what}");
            let locked = usize::from(matches!(status, 2 | 3));
            assert_eq!(survey().locked, locked, "{what}");
            let before = stub.posts().len();
            stub.say(zero());
            if before > 0 {
                soon(what, until(|saves| saves.open == 0)).await;
                let posts = stub.posts();
                let keys: Vec<_> =
                    posts.iter().map(|asked| asked.field("idempotency-key").unwrap()).collect();
                assert!(keys.len() > 1 && keys.iter().all(|key| *key == keys[0]), "{what}: {keys:?}");
                assert!(String::from_utf8_lossy(&posts.last().unwrap().body).contains("/saved/"), "{what}");
                assert!(desk.counts("onlyoffice_save_total{status=\"success\"} 1"), "{what}");
            }
        }
        Fate::Flying => assert_eq!((survey().open, stub.posts().len()), (1, 1), "{what}"),
        Fate::Parked => {
            soon(what, until(|saves| saves.refused == 1)).await;
            assert_eq!(survey().open, 0, "{what}");
            assert!(desk.counts("onlyoffice_save_total{status=\"failure\"} 1"), "{what}");
        }
        Fate::Reserve => {
            soon(what, until(|saves| saves.reserve == 1)).await;
            assert_eq!(survey().open, 0, "{what}");
        }
        Fate::Told => assert_eq!((survey().open, stub.posts().len()), (0, 1), "{what}"),
        Fate::Later => {
            // A 4 is kept on disk, since it is sent only once.
            assert_eq!(survey().open, usize::from(status == 4), "{what}");
            let before = stub.posts().len();
            stub.say(zero());
            if before > 0 {
                soon(what, stub.wait_for_posts(before + 1)).await;
            }
        }
    }
}

#[tokio::test]
async fn every_answer_to_every_status() {
    let table = table();
    let plays = table.iter().flat_map(|(row, says, cells)| {
        STATUSES.iter().map(|(name, status, column)| play(row, says.clone(), name, *status, cells[*column]))
    });
    join_all(plays).await;
}
