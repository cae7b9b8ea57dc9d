//! Who is turned away at the admin listener's door, and what they hear; and what keeps answers from the pages of others.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Request, Response, StatusCode};

use super::text;
use crate::rules::visitor::{self, Stranger};

const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// The answer to who is turned away. `/reload` has a stricter rule for pages: none.
pub(super) fn turned_away<B>(request: &Request<B>, names: &[String]) -> Option<Response<Full<Bytes>>> {
    let named = visitor::check_name(request.uri(), request.headers(), names);
    let checked = named.and_then(|()| match request.uri().path() {
        "/reload" => Ok(()),
        _ => visitor::check_page(request.headers()),
    });
    checked.err().map(|stranger| match stranger {
        Stranger::Named(name) => text(
            StatusCode::MISDIRECTED_REQUEST,
            format!(
                "The admin listener does not answer to {name:?}: any page in a browser could have that name lead here. If it is \
                 yours, list it in gateway.toml:\n\n[server]\nadmin_names = [{name:?}]\n\nAddresses and names without a dot need \
                 no entry.\n"
            ),
        ),
        Stranger::NoHost => text(StatusCode::BAD_REQUEST, "what stands for the host is no host\n".into()),
        Stranger::Page => text(
            StatusCode::FORBIDDEN,
            "not for another page in a browser: open this address itself, or follow a link to it\n".into(),
        ),
    })
}

/// No page of others may use an answer as its picture, script or frame, nor take it for something else.
pub(super) fn closed<B>(mut response: Response<B>) -> Response<B> {
    let headers = response.headers_mut();
    headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
