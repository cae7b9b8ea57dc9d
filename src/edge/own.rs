//! Paths that the gateway answers itself.

use std::rc::Rc;

use hyper::{Response, StatusCode};

use super::body::Reply;
use super::exchange::Exchange;
use super::respond::own;
use crate::live::Running;
use crate::rules::table::Own;
use crate::upstream::Health;

const ROOT: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
    content=\"width=device-width\"><title>Document editing</title><style>:root{color-scheme:light dark}\
    body{font:1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:15vh auto;padding:0 1rem}</style>\
    <h1>Document editing</h1><p>Documents are edited here, together. They are opened from the application that \
    keeps them; there is nothing to do at this address itself.</p></html>\n";

/// The answer, for those paths that have one in this version.
pub fn answer(which: Own, running: &Running, exchange: &Rc<Exchange>) -> Option<Response<Reply>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    match which {
        // An editor is embedded by its application; a person who comes here typed the address.
        Own::Root => Some(own(StatusCode::OK, "text/html; charset=utf-8", ROOT, exchange)),
        Own::Robots => Some(own(StatusCode::OK, TEXT, "User-agent: *\nDisallow: /", exchange)),
        // Connectors and monitors ask for this; the status is 200 whatever the word is (protocol.md 1.2).
        Own::Healthcheck => {
            let well = running.servers.all().iter().any(|server| server.health() == Health::Up);
            Some(own(StatusCode::OK, TEXT, if well { "true" } else { "false" }, exchange))
        }
        Own::Relay | Own::Saved => None,
    }
}
