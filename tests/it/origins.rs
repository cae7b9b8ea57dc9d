//! Foreign pages open no editor sockets, whatever they call themselves.

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;

use crate::editor::{Editor, PATH};
use crate::rig::{Rig, Setup};

const POLL: &str = "/doc/demo/c/?EIO=4&transport=polling";

fn setup(origins: &str) -> Setup {
    let tables =
        "[[integrators]]\nname = \"rapidpm\"\nurl = \"https://files.rapidpm.uk:8443/app\"\n".to_owned();
    Setup { lines: vec![("sockets", format!("origins = {origins}"))], tables, ..Setup::default() }
}

/// Spellings that are not one of ours: a thousand of them.
fn foreign() -> Vec<Option<String>> {
    let mut all: Vec<Option<String>> = ["null", "NULL", "", "https://", "localhost", "*", "none", "file://"]
        .map(|origin| Some(origin.to_owned()))
        .to_vec();
    all.push(None);
    let alike = [
        "http://localhost",
        "https://LOCALHOST",
        "https://localhost.",
        "https://localhost:443",
        "https://localhost/",
        "https://localhost:8443",
        "https://user@localhost",
        "https://files.rapidpm.uk",
        "https://files.rapidpm.uk:8444",
        "https://files.rapidpm.uk:84430",
        "https://rapidpm.uk",
        "https://[::1]",
    ];
    all.extend(alike.map(|origin| Some(origin.to_owned())));
    let mut random = fastrand::Rng::with_seed(13);
    while all.len() < 1000 {
        let host = random.choice(["localhost", "files.rapidpm.uk:8443"]).unwrap();
        let noise: String = (0..random.usize(1..6)).map(|_| random.alphanumeric()).collect();
        all.push(Some(match random.u8(..5) {
            0 => format!("https://{host}.{noise}.example"),
            1 => format!("https://{noise}{host}"),
            2 => format!("https://{noise}.example/https://{host}"),
            3 => format!("https://{host} https://{noise}.example"),
            _ => format!("https://{host}%{noise}"),
        }));
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_foreign_upgrades_open_nothing() {
    let rig = Rig::with(setup("[]")).await;
    for origin in foreign() {
        let fields: Vec<(&'static str, &str)> =
            origin.iter().map(|origin| ("origin", origin.as_str())).collect();
        let (socket, status) = Editor::upgrade(rig.https, PATH, &fields).await;
        assert_eq!((socket.is_some(), status), (false, 403), "{origin:?}");
    }
    let twice = [("origin", "https://localhost"), ("origin", "https://localhost")];
    assert_eq!(Editor::upgrade(rig.https, PATH, &twice).await.1, 403);
    assert_eq!(rig.server.upgrades(), 0);
    for origin in ["https://localhost", "https://files.rapidpm.uk:8443"] {
        assert_eq!(Editor::upgrade(rig.https, PATH, &[("origin", origin)]).await.1, 101, "{origin}");
    }
}

#[tokio::test]
async fn what_is_listed_passes_and_nothing_else() {
    let rig = Rig::with(setup("[\"none\", \"null\", \"https://wiki.example:8443\"]")).await;
    for (origin, expected) in [
        (None, 101),
        (Some("null"), 101),
        (Some("https://wiki.example:8443"), 101),
        (Some("https://wiki.example"), 403),
        (Some("none"), 403),
    ] {
        let fields: Vec<(&'static str, &str)> = origin.iter().map(|origin| ("origin", *origin)).collect();
        assert_eq!(Editor::upgrade(rig.https, PATH, &fields).await.1, expected, "{origin:?}");
    }
}

#[tokio::test]
async fn polling_is_asked_where_it_says_it_comes_from() {
    let rig = Rig::start().await;
    for (origin, expected) in
        [(None, 200), (Some("https://localhost"), 200), (Some("https://evil.example"), 403)]
    {
        let mut request = Request::get(POLL).header("host", "localhost");
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        let got = rig.send(request.body(Full::<Bytes>::default()).unwrap()).await;
        assert_eq!(got.status, expected, "{origin:?}");
        if expected == 403 {
            assert_eq!(got.header("gateway-refusal"), Some("origin_not_allowed"));
            assert_eq!(got.text(), "{\"code\":4,\"message\":\"Forbidden\"}");
        }
    }
}
