//! Paths that the gateway answers itself.

use std::rc::Rc;

use hyper::header::{HeaderValue, LOCATION};
use hyper::{Response, StatusCode};

use super::body::Reply;
use super::exchange::Exchange;
use super::respond::own;
use crate::live::Running;
use crate::rules::table::Own;
use crate::upstream::Health;

/// The answer, for those paths that have one in this version.
pub fn answer(which: Own, running: &Running, exchange: &Rc<Exchange>) -> Option<Response<Reply>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    match which {
        // An editor is embedded by its integrator; nothing of it is at the root. Who comes here looks for a sign of life.
        Own::Root => {
            let mut response = own(StatusCode::FOUND, TEXT, "", exchange);
            response.headers_mut().insert(LOCATION, HeaderValue::from_static("/healthcheck"));
            Some(response)
        }
        Own::Robots => Some(own(StatusCode::OK, TEXT, "User-agent: *\nDisallow: /", exchange)),
        // Connectors and monitors ask for this; the status is 200 whatever the word is (protocol.md 1.2).
        Own::Healthcheck => {
            let well = running.servers.all().iter().any(|server| server.health() == Health::Up);
            Some(own(StatusCode::OK, TEXT, if well { "true" } else { "false" }, exchange))
        }
        Own::Relay | Own::Saved => None,
    }
}
