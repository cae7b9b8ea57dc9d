//! What happens to a request between the gateway and a Document Server, for whoever reads along.

use std::fmt::Display;

use hyper::Request;
use hyper::header::HeaderValue;

use super::body::Outgoing;
use super::server::Server;
use crate::ops::debug::Fact;
use crate::ops::log::Log;
use crate::rules::trace::X_REQUEST_ID;

/// Tells it with the request's id. Nothing is kept where nobody reads along.
pub(super) struct Note(Option<Told>);

struct Told {
    log: Log,
    server: String,
    id: Option<HeaderValue>,
}

impl Note {
    /// For a request on its way to a server.
    pub fn of(log: &Log, server: &Server, request: &Request<Outgoing>) -> Self {
        let told = || Told {
            log: log.clone(),
            server: server.name().to_owned(),
            id: request.headers().get(X_REQUEST_ID).cloned(),
        };
        Self(log.is_debugging().then(told))
    }

    /// Something happened to it.
    pub fn say(&self, message: &str, why: &dyn Display) {
        let Some(Told { log, server, id }) = &self.0 else { return };
        let id = id.as_ref().and_then(|id| id.to_str().ok()).unwrap_or_default();
        let why = why.to_string();
        let facts: [Fact<'_>; 3] = [("id", &id), ("server", server), ("why", &why)];
        let facts = if why.is_empty() { facts.get(..2).unwrap_or_default() } else { &facts[..] };
        log.debug("upstream", message, facts);
    }
}
