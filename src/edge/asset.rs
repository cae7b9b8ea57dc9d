//! Requests for the editor's unchanging files: answered from memory, or asked of the Document Server in a way that lets the
//! answer be kept.

use std::rc::Rc;
use std::sync::Arc;

use hyper::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};

use super::body::Reply;
use super::exchange::Exchange;
use super::handler::Way;
use crate::assets::{Cache, Draft, Kept};
use crate::rules::asset::{self, Coding, Codings, Part};

/// What is known of a request for a file.
pub enum Found {
    /// The answer.
    Here(Response<Reply>),
    /// The Document Server has to be asked; its answer may be kept.
    Elsewhere(Keep),
    /// It is not such a file, or nothing of it may be kept this time.
    Not,
}

/// An answer that may be kept.
pub struct Keep {
    cache: Arc<Cache>,
    address: Box<str>,
}

/// Looks a file up. Where it is not, the request is made one whose answer can be kept: gzip is what the container has on disk, and
/// a client that takes it is not told another way.
pub fn find(way: &Way<'_>, parts: &mut Parts, exchange: &Rc<Exchange>) -> Found {
    let Some(cache) = &way.running.assets else { return Found::Not };
    let route = way.matched.route();
    let Some(address) = asset::address(&parts.method, route, way.path, way.uri.query(), &parts.headers)
    else {
        return Found::Not;
    };
    let codings = Codings::of(&parts.headers);
    if let Some(kept) = cache.find(address, codings) {
        exchange.found_in_memory();
        return Found::Here(answer(parts, kept, exchange));
    }
    exchange.not_in_memory();
    if !asset::wants_all(&parts.method, &parts.headers) || !codings.take(Coding::Gzip) {
        return Found::Not;
    }
    parts.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    Found::Elsewhere(Keep { cache: cache.clone(), address: address.into() })
}

impl Keep {
    /// How an answer that may be kept is coded; `fields` still say how it is framed.
    pub fn coding(&self, status: StatusCode, fields: &HeaderMap) -> Option<Coding> {
        asset::storable(status, fields)
    }

    /// Begins to keep it; `fields` are those that the client gets.
    pub fn draft(&self, coding: Coding, fields: &HeaderMap) -> Option<Draft> {
        self.cache.draft(&self.address, fields, coding)
    }
}

fn answer(parts: &Parts, kept: Kept, exchange: &Rc<Exchange>) -> Response<Reply> {
    let length = kept.bytes.len();
    let part = asset::part(&parts.method, &parts.headers, kept.validators(), length);
    let mut fields = kept.fields();
    let (status, bytes) = match part {
        Part::Whole => (StatusCode::OK, kept.bytes),
        Part::Range(first, last) => {
            say(&mut fields, &format!("bytes {first}-{last}/{length}"));
            (StatusCode::PARTIAL_CONTENT, kept.bytes.slice(first..=last))
        }
        Part::Beyond => {
            say(&mut fields, &format!("bytes */{length}"));
            (StatusCode::RANGE_NOT_SATISFIABLE, kept.bytes.slice(..0))
        }
        Part::Known => (StatusCode::NOT_MODIFIED, kept.bytes.slice(..0)),
        Part::Other => (StatusCode::PRECONDITION_FAILED, kept.bytes.slice(..0)),
    };
    if !status.is_success() {
        // There is no body, and who gets a 304 may have another coding than this one.
        fields.remove(CONTENT_ENCODING);
        fields.remove(CONTENT_TYPE);
    }
    let mut response = Response::new(Reply::whole(bytes, exchange));
    *response.status_mut() = status;
    *response.headers_mut() = fields;
    response
}

fn say(fields: &mut HeaderMap, range: &str) {
    if let Ok(range) = HeaderValue::from_str(range) {
        fields.insert(CONTENT_RANGE, range);
    }
}
