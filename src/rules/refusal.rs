//! Refusals: the name each has for operators, and the face it has for the client of its route.

use std::borrow::Cow;
use std::fmt;

use hyper::StatusCode;

use super::callback::CallbackFault;
use super::carrier::TokenFields;
use super::looked::{Looked, Place};
use super::objection::Objection;
use super::path::PathFault;
use super::socket::SocketFault;
use super::strict::Strict;
use super::table::{Carrier, Methods, RefusalShape, Switch};
use super::token::TokenFault;

/// Why a request is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The head could be read in two ways.
    Strict(Strict),
    /// The path has no spelling that may be forwarded.
    Path(PathFault),
    /// No route has this path.
    UnknownPath,
    /// The route is never served from outside.
    ClosedPath,
    /// The route is closed until an operator opens it.
    SwitchedOff(Switch),
    /// The path holds something else where a document key belongs.
    KeyInvalid,
    /// The route does not take this method.
    Method(Methods),
    /// The token does not count.
    Token {
        /// Why.
        fault: TokenFault,
        /// Where it was, or was looked for.
        place: Place,
    },
    /// The token holds, and is not for this.
    Objected(Objection),
    /// The callback is not what its token says.
    Callback(CallbackFault),
    /// No integrator has the name in this path.
    UnknownIntegrator,
    /// The token names another document than the path.
    OtherDocument,
    /// The link to a kept document is not ours, or its time is over.
    SavedLink,
    /// It is about an editor's socket.
    Socket(SocketFault),
    /// The request names a host that is not ours (or not this connection's).
    Misdirected,
    /// The body is larger than what is read for a token.
    BodyTooLarge,
    /// The head has more fields than the Document Server would take.
    HeadTooLarge,
    /// A permit was asked for in the wrong way; a fault of the gateway, closed rather than open.
    WrongDoor,
}

/// Every name that [`Refusal::reason`] can give: label values that exist from the start.
pub const REASONS: &[&str] = &[
    "strict_method",
    "strict_target",
    "strict_no_host",
    "strict_two_hosts",
    "strict_bad_host",
    "strict_other_host",
    "strict_transfer_encoding",
    "strict_content_length",
    "strict_two_framings",
    "strict_upgrade_body",
    "strict_underscore",
    "strict_http1_field",
    "path_not_absolute",
    "path_broken_escape",
    "path_forbidden_escape",
    "path_control_byte",
    "path_backslash",
    "path_delimiter",
    "path_not_utf8",
    "path_double_encoded",
    "path_above_root",
    "path_title_dots",
    "unknown_path",
    "closed_path",
    "switched_off",
    "key_invalid",
    "method_not_allowed",
    "token_missing",
    "token_ambiguous",
    "token_malformed",
    "token_too_large",
    "token_algorithm",
    "token_critical",
    "token_signature",
    "token_bad_time",
    "token_expired",
    "token_not_yet",
    "class_not_allowed",
    "key_mismatch",
    "host_not_allowed",
    "backend_address",
    "callback_malformed",
    "callback_mismatch",
    "callback_status",
    "unknown_integrator",
    "other_document",
    "saved_link",
    "origin_not_allowed",
    "origin_missing",
    "polling_off",
    "socket_transport",
    "socket_version",
    "socket_method",
    "socket_handshake",
    "socket_unknown",
    "socket_limit",
    "packet_late",
    "packet_frame",
    "packet_not_connect",
    "packet_malformed",
    "packet_connect_again",
    "document_saved",
    "document_unsaved",
    "misdirected_host",
    "body_too_large",
    "head_too_large",
    "wrong_door",
];

/// A refusal as it goes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The `Content-Type`.
    pub content_type: &'static str,
    /// The body.
    pub body: Cow<'static, str>,
}

impl Refusal {
    /// No token was where it was looked for.
    pub const fn no_token(looked: Looked) -> Self {
        Self::Token { fault: TokenFault::Missing, place: Place::Nowhere(looked) }
    }

    /// What [`Carried::find`](super::carrier::Carried::find) says, where it has looked in these places.
    pub fn of_token((fault, carrier): (TokenFault, Option<Carrier>), looked: Looked) -> Self {
        Self::Token { fault, place: carrier.map_or(Place::Nowhere(looked), Place::In) }
    }

    /// In words for those who know the configuration, and in which fields it has tokens looked for.
    pub fn words(self, fields: &TokenFields) -> String {
        match self {
            Self::Token { place: Place::Nowhere(looked), .. } => looked.missing(fields),
            other => other.to_string(),
        }
    }

    /// The name in `Gateway-Refusal`, log and metric.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Strict(strict) => strict.reason(),
            Self::Path(fault) => fault.reason(),
            Self::UnknownPath => "unknown_path",
            Self::ClosedPath => "closed_path",
            Self::SwitchedOff(_) => "switched_off",
            Self::KeyInvalid => "key_invalid",
            Self::Method(_) => "method_not_allowed",
            Self::Token { fault, .. } => fault.reason(),
            Self::Objected(objection) => objection.reason(),
            Self::Callback(fault) => fault.reason(),
            Self::UnknownIntegrator => "unknown_integrator",
            Self::OtherDocument => "other_document",
            Self::SavedLink => "saved_link",
            Self::Socket(fault) => fault.reason(),
            Self::Misdirected => "misdirected_host",
            Self::BodyTooLarge => "body_too_large",
            Self::HeadTooLarge => "head_too_large",
            Self::WrongDoor => "wrong_door",
        }
    }

    /// Where the token was that it is about.
    pub const fn carrier(self) -> Option<Carrier> {
        match self {
            Self::Token { place, .. } => place.carrier(),
            Self::Objected(objection) => Some(objection.carrier),
            Self::Socket(SocketFault::Key(_)) => Some(Carrier::Packet),
            _ => None,
        }
    }

    /// The status of the gateway's own answer. Shapes that speak for the Document Server have theirs: [`Refusal::answer`].
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Strict(Strict::Method) => StatusCode::NOT_IMPLEMENTED,
            Self::Strict(_) | Self::Path(_) => StatusCode::BAD_REQUEST,
            Self::UnknownPath | Self::ClosedPath | Self::SwitchedOff(_) | Self::UnknownIntegrator => {
                StatusCode::NOT_FOUND
            }
            Self::Callback(CallbackFault::Malformed) => StatusCode::BAD_REQUEST,
            Self::KeyInvalid
            | Self::Token { .. }
            | Self::Objected(_)
            | Self::Callback(_)
            | Self::OtherDocument
            | Self::SavedLink => StatusCode::FORBIDDEN,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Socket(fault) => fault.status(),
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::WrongDoor => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What the client of a route gets. Only what is about tokens or keys speaks as the Document Server would (protocol.md 2.4);
    /// everything else is the gateway's own. `accept` is the request's `Accept`.
    pub fn answer(self, shape: RefusalShape, accept: Option<&str>) -> Answer {
        let ok =
            |content_type, body| Answer { status: StatusCode::OK, content_type, body: Cow::Borrowed(body) };
        match (self, shape) {
            (Self::Token { fault: TokenFault::Expired { .. }, .. }, RefusalShape::Command) => {
                ok("application/json", r#"{"error":7}"#)
            }
            (Self::Token { .. } | Self::Objected(_), RefusalShape::Command) => {
                ok("application/json", r#"{"error":6}"#)
            }
            (Self::Token { .. } | Self::Objected(_), RefusalShape::ConvertXml)
                if !accept.is_some_and(accepts_json) =>
            {
                ok("text/xml; charset=UTF-8", CONVERT_XML)
            }
            (Self::Token { .. } | Self::Objected(_), RefusalShape::Convert | RefusalShape::ConvertXml) => {
                ok("application/json; charset=UTF-8", r#"{"error":-8}"#)
            }
            (Self::Token { .. } | Self::Objected(_) | Self::KeyInvalid, RefusalShape::Forbidden) => Answer {
                status: StatusCode::FORBIDDEN,
                content_type: "text/plain; charset=utf-8",
                body: Cow::Borrowed("Forbidden"),
            },
            (Self::Socket(fault), _) => Answer {
                status: fault.status(),
                content_type: "application/json",
                body: Cow::Owned(fault.body()),
            },
            _ => self.problem(),
        }
    }

    /// RFC 9457.
    fn problem(self) -> Answer {
        let status = self.status();
        let title = status.canonical_reason().unwrap_or("Refused");
        let problem = serde_json::json!({
            "type": "about:blank",
            "title": title,
            "status": status.as_u16(),
            "detail": self.to_string(),
            "reason": self.reason(),
        });
        Answer { status, content_type: "application/problem+json", body: Cow::Owned(problem.to_string()) }
    }
}

/// What an old conversion service answers (S: Common/sources/utils.js:582-643).
const CONVERT_XML: &str =
    r#"<?xml version="1.0" encoding="utf-8"?><FileResult><Error>-8</Error></FileResult>"#;

fn accepts_json(accept: &str) -> bool {
    accept.to_ascii_lowercase().contains("application/json")
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Strict(strict) => f.write_str(strict.sentence()),
            Self::Path(fault) => f.write_str(fault.sentence()),
            Self::UnknownPath => f.write_str("no route has this path"),
            Self::ClosedPath => f.write_str("this path is not served from outside"),
            Self::SwitchedOff(switch) => {
                write!(f, "this path is closed; document_server.{} = true opens it", switch.key())
            }
            Self::KeyInvalid => f.write_str("the path holds no document key where one belongs"),
            Self::Method(methods) => write!(f, "this path takes {}", methods.allow_value()),
            Self::Token { fault, place: Place::In(carrier) } => {
                write!(f, "{fault} (looked in: {})", carrier.name())
            }
            Self::Token { place: Place::Nowhere(looked), .. } => looked.fmt(f),
            Self::Objected(objection) => objection.fmt(f),
            Self::Callback(fault) => fault.fmt(f),
            Self::UnknownIntegrator => f.write_str("no [[integrators]] entry has the name in this path"),
            Self::OtherDocument => f.write_str("the token names another document than the path"),
            Self::SavedLink => f.write_str("the link to this document is not ours, or its time is over"),
            Self::Socket(fault) => fault.fmt(f),
            Self::Misdirected => f.write_str("this host is not served here"),
            Self::BodyTooLarge => f.write_str("the body is larger than a request of this kind may be"),
            Self::HeadTooLarge => f.write_str("the head of the request has too many fields"),
            Self::WrongDoor => f.write_str("the gateway asked its own rules in the wrong way"),
        }
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::callback::Differs;
    use super::super::class::Class;
    use super::super::objection::Ground;
    use super::super::urlhost::ShownHost;
    use super::*;

    fn token(fault: TokenFault) -> Refusal {
        Refusal::Token { fault, place: Place::In(Carrier::Header) }
    }

    fn objection(ground: Ground) -> Objection {
        Objection { class: Class::Session, carrier: Carrier::Body, ground }
    }

    fn grounds() -> [Ground; 4] {
        let host = Some(ShownHost::new("evil.example"));
        [
            Ground::Class { takes: &[Class::Command, Class::Convert] },
            Ground::Key,
            Ground::Host { claim: "document.url", host },
            Ground::Address("192.0.2.7".parse().unwrap()),
        ]
    }

    #[test]
    fn objections_look_like_a_bad_token_and_say_what_is_wrong() {
        let table = [
            "a token of class session (found in: body) is not for this path, which takes command or convert",
            "the session token (found in: body) is for another document: its document.key is not the key in the path",
            "document.url of the session token (found in: body) names the host evil.example, which no integrator has in url or hosts",
            "192.0.2.7 is in none of document_server.backend_networks (session token, found in: body)",
        ];
        for (ground, sentence) in grounds().into_iter().zip(table) {
            let refusal = Refusal::Objected(objection(ground));
            assert_eq!(refusal.to_string(), sentence);
            for (shape, accept) in [
                (RefusalShape::Command, None),
                (RefusalShape::Convert, None),
                (RefusalShape::ConvertXml, None),
                (RefusalShape::ConvertXml, Some("application/json")),
                (RefusalShape::Forbidden, None),
            ] {
                assert_eq!(refusal.answer(shape, accept), token(TokenFault::Signature).answer(shape, accept));
            }
        }
        let nowhere = objection(Ground::Host { claim: "url", host: None }).to_string();
        assert_eq!(
            nowhere,
            "url of the session token (found in: body) is not a plain http or https URL with a host"
        );
    }

    #[test]
    fn every_reason_is_on_the_list_and_none_twice() {
        let by = Duration::ZERO;
        let faults = [
            TokenFault::Missing,
            TokenFault::Ambiguous,
            TokenFault::Malformed,
            TokenFault::TooLarge,
            TokenFault::Algorithm,
            TokenFault::Critical,
            TokenFault::Signature,
            TokenFault::BadTime,
            TokenFault::Expired { by },
            TokenFault::NotYet { by },
        ];
        let objected = grounds().map(|ground| Refusal::Objected(objection(ground)));
        let others = [
            Refusal::UnknownPath,
            Refusal::ClosedPath,
            Refusal::SwitchedOff(Switch::Wopi),
            Refusal::KeyInvalid,
            Refusal::Method(Methods::Read),
            Refusal::Callback(CallbackFault::Malformed),
            Refusal::Callback(CallbackFault::Mismatch(Differs::in_body("url"))),
            Refusal::Callback(CallbackFault::Status),
            Refusal::UnknownIntegrator,
            Refusal::OtherDocument,
            Refusal::SavedLink,
            Refusal::Misdirected,
            Refusal::BodyTooLarge,
            Refusal::HeadTooLarge,
            Refusal::WrongDoor,
        ];
        let paths = PathFault::ALL.map(Refusal::Path);
        // `Key` has the name of the objection to a token of another document.
        let sockets =
            SocketFault::ALL.into_iter().filter(|f| !matches!(f, SocketFault::Key(_))).map(Refusal::Socket);
        let mut all: Vec<_> = paths
            .into_iter()
            .chain(Strict::ALL.map(Refusal::Strict))
            .chain(faults.map(token))
            .chain(objected)
            .chain(sockets)
            .chain(others)
            .map(Refusal::reason)
            .collect();
        let mut listed = REASONS.to_vec();
        all.sort_unstable();
        listed.sort_unstable();
        assert_eq!(all, listed);
        all.dedup();
        assert_eq!(all, listed);
    }

    #[test]
    fn speaks_as_the_document_server_would() {
        let expired = token(TokenFault::Expired { by: Duration::from_secs(61) });
        let bad = token(TokenFault::Signature);
        let (none, json, xml) = (None, Some("application/json"), Some("text/xml, */*"));
        let table = [
            // captures/http 17-25, 45-47, 50, 52-57; protocol.md 2.4
            (bad, RefusalShape::Command, json, 200, "application/json", r#"{"error":6}"#),
            (
                token(TokenFault::Missing),
                RefusalShape::Command,
                none,
                200,
                "application/json",
                r#"{"error":6}"#,
            ),
            (expired, RefusalShape::Command, none, 200, "application/json", r#"{"error":7}"#),
            (
                token(TokenFault::NotYet { by: Duration::ZERO }),
                RefusalShape::Command,
                none,
                200,
                "application/json",
                r#"{"error":6}"#,
            ),
            (bad, RefusalShape::Convert, none, 200, "application/json; charset=UTF-8", r#"{"error":-8}"#),
            (expired, RefusalShape::Convert, xml, 200, "application/json; charset=UTF-8", r#"{"error":-8}"#),
            (bad, RefusalShape::ConvertXml, none, 200, "text/xml; charset=UTF-8", CONVERT_XML),
            (expired, RefusalShape::ConvertXml, xml, 200, "text/xml; charset=UTF-8", CONVERT_XML),
            (
                bad,
                RefusalShape::ConvertXml,
                Some("text/html, Application/JSON;q=1"),
                200,
                "application/json; charset=UTF-8",
                r#"{"error":-8}"#,
            ),
            (bad, RefusalShape::Forbidden, json, 403, "text/plain; charset=utf-8", "Forbidden"),
            (expired, RefusalShape::Forbidden, json, 403, "text/plain; charset=utf-8", "Forbidden"),
            (
                Refusal::KeyInvalid,
                RefusalShape::Forbidden,
                none,
                403,
                "text/plain; charset=utf-8",
                "Forbidden",
            ),
        ];
        for (refusal, shape, accept, status, content_type, body) in table {
            let answer = refusal.answer(shape, accept);
            assert_eq!(
                (answer.status.as_u16(), answer.content_type, &*answer.body),
                (status, content_type, body),
                "{refusal:?} {shape:?}"
            );
        }
    }

    #[test]
    fn everything_else_is_a_problem_of_the_gateways_own() {
        let table = [
            (Refusal::Path(PathFault::TitleDots), 400, "path_title_dots"),
            (Refusal::Strict(Strict::TwoHosts), 400, "strict_two_hosts"),
            (Refusal::Strict(Strict::Method), 501, "strict_method"),
            (Refusal::UnknownPath, 404, "unknown_path"),
            (Refusal::ClosedPath, 404, "closed_path"),
            (Refusal::SwitchedOff(Switch::DocBuilder), 404, "switched_off"),
            (Refusal::Method(Methods::Write), 405, "method_not_allowed"),
            (Refusal::Misdirected, 421, "misdirected_host"),
            (Refusal::BodyTooLarge, 413, "body_too_large"),
            (Refusal::WrongDoor, 500, "wrong_door"),
        ];
        for (refusal, status, reason) in table {
            for shape in [RefusalShape::Command, RefusalShape::Forbidden, RefusalShape::Gateway] {
                let answer = refusal.answer(shape, None);
                assert_eq!(
                    (answer.status.as_u16(), answer.content_type),
                    (status, "application/problem+json"),
                    "{refusal:?}"
                );
                let problem: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
                assert_eq!(
                    (problem["reason"].as_str(), problem["status"].as_u64()),
                    (Some(reason), Some(u64::from(status)))
                );
                assert!(problem["detail"].as_str().is_some_and(|d| d.len() > 10), "{refusal:?}");
            }
        }
    }
}
