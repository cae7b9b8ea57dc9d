//! A callback as it is handed in, and the answer to it.

use hyper::HeaderMap;
use hyper::body::Bytes;

use crate::rules::callback::Callback;

/// Longest answer that is remembered word for word.
const LONGEST_ANSWER: usize = 1_024;

/// What an answer to a callback is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its type.
    pub content_type: Option<String>,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// The gateway's own.
    pub fn own(status: u16, body: &'static str) -> Self {
        Self {
            status,
            content_type: Some("application/json".into()),
            body: Bytes::from_static(body.as_bytes()),
        }
    }
}

/// A callback as it was handed in.
#[derive(Debug, Clone)]
pub struct Post {
    /// The integrator's name.
    pub integrator: String,
    /// Path and query below the integrator's URL, as raw bytes of the request.
    pub target: String,
    /// The body, byte for byte.
    pub body: Bytes,
    /// The token in the Document Server's header, if there was one.
    pub token: Option<String>,
    /// Which trace and which request it belongs to: [`crate::rules::trace::carried`].
    pub trace: HeaderMap,
    /// What it says.
    pub callback: Callback,
}

/// An answer short enough to be remembered: what is longer is cut to the word that counts.
pub fn remembered(answer: &Answer) -> Answer {
    if answer.body.len() <= LONGEST_ANSWER {
        return answer.clone();
    }
    let error =
        serde_json::from_slice::<serde_json::Value>(&answer.body).ok().and_then(|v| v.get("error").cloned());
    let body = serde_json::json!({"error": error.unwrap_or(1.into())}).to_string();
    Answer { status: answer.status, content_type: Some("application/json".into()), body: body.into() }
}
