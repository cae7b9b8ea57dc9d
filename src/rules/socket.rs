//! What a request to the editor's socket wants, as Engine.IO has it (protocol.md 3.1), and everything that can be wrong with a
//! socket before it is an editor's.

use std::fmt;

use hyper::{Method, StatusCode};

use super::frame::FrameFault;
use super::origin::OriginFault;
use super::packet::PacketFault;
use super::query;

/// What a request to the editor's socket wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish<'q> {
    /// A WebSocket.
    WebSocket,
    /// To begin polling.
    Poll,
    /// To go on with a session that polls, by its id.
    Again(&'q str),
    /// To change a session that polls to WebSocket.
    Change(&'q str),
}

/// Longest id of a session; the gateway's own have 20 characters.
const LONGEST_SID: usize = 64;

impl<'q> Wish<'q> {
    /// Reads method, query, and whether the head asks for an upgrade, in the order of engine.io 6 (`verify`).
    ///
    /// # Errors
    /// When Engine.IO would refuse as well, or would read the query differently.
    pub fn of(method: &Method, query: Option<&'q str>, upgrade: bool) -> Result<Self, SocketFault> {
        let query = query.unwrap_or_default();
        let one = |name| query::value(query, name).map_err(|_| SocketFault::Handshake);
        let websocket = match one("transport")?.as_deref() {
            Some("websocket") => true,
            Some("polling") => false,
            _ => return Err(SocketFault::Transport),
        };
        if websocket != upgrade {
            return Err(SocketFault::Handshake);
        }
        // JSONP: bodies that are forms, in which packets are spelled otherwise. No client of today asks for it.
        if query::has(query, "j") {
            return Err(SocketFault::Transport);
        }
        if let Some(sid) = one("sid")? {
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
            if sid.len() > LONGEST_SID || !sid.bytes().all(plain) {
                return Err(SocketFault::Unknown);
            }
            // As it stands in the query, so that exactly its value can be replaced.
            let raw =
                query.split('&').find_map(|pair| pair.strip_prefix("sid=")).ok_or(SocketFault::Handshake)?;
            // The revision decides how the packets of a change are read, also in the middle of a session.
            if one("EIO")?.as_deref() != Some("4") {
                return Err(SocketFault::Version);
            }
            return match (websocket, raw == sid) {
                (_, false) => Err(SocketFault::Handshake),
                (true, true) => Ok(Self::Change(raw)),
                (false, true) => Ok(Self::Again(raw)),
            };
        }
        if *method != Method::GET {
            return Err(SocketFault::Method);
        }
        match one("EIO")?.as_deref() {
            Some("4") if websocket => Ok(Self::WebSocket),
            Some("4") => Ok(Self::Poll),
            _ => Err(SocketFault::Version),
        }
    }
}

/// The query with another value of `sid`; no other byte changes.
pub fn with_sid(query: &str, sid: &str) -> String {
    let pairs = query.split('&').map(|pair| match pair.strip_prefix("sid=") {
        Some(_) => format!("sid={sid}"),
        None => pair.to_owned(),
    });
    pairs.collect::<Vec<_>>().join("&")
}

/// The query without `sid`, as that of an open; no other byte changes.
pub fn without_sid(query: &str) -> String {
    query.split('&').filter(|pair| !pair.starts_with("sid=")).collect::<Vec<_>>().join("&")
}

/// Why a socket is not opened, besides its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketFault {
    /// It may not be asked for from there.
    Origin(OriginFault),
    /// `sockets.polling = false`.
    PollingOff,
    /// `transport` is neither websocket nor polling.
    Transport,
    /// Another version of Engine.IO than 4.
    Version,
    /// Not what begins a session.
    Method,
    /// What is asked for and how does not go together.
    Handshake,
    /// No session has this id.
    Unknown,
    /// A limit on sockets is reached.
    Limit,
    /// Nothing came in time.
    Late,
    /// What came are no frames.
    Frame(FrameFault),
    /// What came is no CONNECT.
    Packet(PacketFault),
    /// The client says CONNECT once more.
    Again,
    /// The document has been saved while its editor waited: it has another version now.
    Saved,
    /// A save of the document still waits.
    Unsaved {
        /// Whether its editor has it open, and only comes back.
        returns: bool,
    },
    /// The token is for another document.
    Key(&'static str),
}

impl SocketFault {
    /// One of each name.
    pub const ALL: [Self; 17] = [
        Self::Origin(OriginFault::Foreign),
        Self::Origin(OriginFault::Missing),
        Self::PollingOff,
        Self::Transport,
        Self::Version,
        Self::Method,
        Self::Handshake,
        Self::Unknown,
        Self::Limit,
        Self::Late,
        Self::Frame(FrameFault::Protocol),
        Self::Packet(PacketFault::NotConnect),
        Self::Packet(PacketFault::Malformed),
        Self::Again,
        Self::Saved,
        Self::Unsaved { returns: false },
        Self::Key(""),
    ];

    /// The name in `Gateway-Refusal`, log and metric.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Origin(OriginFault::Foreign) => "origin_not_allowed",
            Self::Origin(OriginFault::Missing) => "origin_missing",
            Self::PollingOff => "polling_off",
            Self::Transport => "socket_transport",
            Self::Version => "socket_version",
            Self::Method => "socket_method",
            Self::Handshake => "socket_handshake",
            Self::Unknown => "socket_unknown",
            Self::Limit => "socket_limit",
            Self::Late => "packet_late",
            Self::Frame(_) => "packet_frame",
            Self::Packet(fault) => fault.reason(),
            Self::Again => "packet_connect_again",
            Self::Saved => "document_saved",
            Self::Unsaved { .. } => "document_unsaved",
            Self::Key(_) => "key_mismatch",
        }
    }

    /// The status of an HTTP answer.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Origin(_) | Self::Key(_) => StatusCode::FORBIDDEN,
            Self::Limit | Self::Saved | Self::Unsaved { .. } => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The body of an HTTP answer: Engine.IO's own numbers and words, which its client shows.
    pub fn body(self) -> String {
        let (code, message) = match self {
            Self::Transport | Self::PollingOff => (0, "Transport unknown"),
            Self::Unknown => (1, "Session ID unknown"),
            Self::Method => (2, "Bad handshake method"),
            Self::Origin(_) | Self::Limit | Self::Key(_) | Self::Saved | Self::Unsaved { .. } => {
                (4, "Forbidden")
            }
            Self::Version => (5, "Unsupported protocol version"),
            Self::Handshake | Self::Late | Self::Frame(_) | Self::Packet(_) | Self::Again => {
                (3, "Bad request")
            }
        };
        format!("{{\"code\":{code},\"message\":\"{message}\"}}")
    }
}

impl fmt::Display for SocketFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Origin(OriginFault::Foreign) => {
                "a page of this origin may not open sockets; sockets.origins lists those that may"
            }
            Self::Origin(OriginFault::Missing) => {
                "an upgrade without an Origin; sockets.origins = [\"none\"] lets clients in that are no browsers"
            }
            Self::PollingOff => "polling is switched off; sockets.polling = true serves it",
            Self::Transport => "the socket's transport is neither websocket nor polling",
            Self::Version => "the socket speaks another version of Engine.IO than 4",
            Self::Method => "a session of the socket begins with a GET",
            Self::Handshake => "what the request for the socket wants and how it asks do not go together",
            Self::Unknown => "no session of the socket has this id (any more)",
            Self::Limit => "limits.sockets_per_document or a cap on connections is reached",
            Self::Late => "the socket's first packet did not come in time",
            Self::Frame(fault) => return fault.fmt(f),
            Self::Packet(fault) => return fault.fmt(f),
            Self::Again => "the socket says CONNECT a second time; each token needs a socket of its own",
            Self::Saved => "the document was saved while its editor waited; the page fetches a new configuration",
            Self::Unsaved { .. } => {
                "a save of the document waits for its application; new editors are let in once it is delivered, or after saves.hold_editors"
            }
            Self::Key(which) => {
                return write!(f, "{which} is not the key in the socket's path (sockets.key_binding)");
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_read_as_engine_io_reads_them() {
        fn get(query: &str, upgrade: bool) -> Result<Wish<'_>, SocketFault> {
            Wish::of(&Method::GET, Some(query), upgrade)
        }
        let post = |query| Wish::of(&Method::POST, Some(query), false);
        assert_eq!(get("EIO=4&transport=websocket&shardkey=k", true), Ok(Wish::WebSocket));
        assert_eq!(get("shardkey=k&EIO=4&transport=polling&t=x", false), Ok(Wish::Poll));
        assert_eq!(get("EIO=4&transport=polling&sid=a-_1", false), Ok(Wish::Again("a-_1")));
        assert_eq!(post("EIO=4&transport=polling&sid=a"), Ok(Wish::Again("a")));
        for query in ["transport=polling&sid=a", "EIO=3&transport=polling&sid=a"] {
            assert_eq!(post(query), Err(SocketFault::Version), "{query}");
        }
        assert_eq!(get("transport=websocket&sid=a", true), Err(SocketFault::Version));
        for query in [
            "EIO=4&transport=polling&j=0",
            "EIO=4&transport=polling&sid=a&j=",
            "EIO=4&transport=polling&sid=a&%6a=1",
        ] {
            assert_eq!(get(query, false), Err(SocketFault::Transport), "{query}");
        }
        assert_eq!(get("EIO=4&transport=websocket&sid=a", true), Ok(Wish::Change("a")));
        assert_eq!(get("EIO=4&transport=websocket&sid=", true), Ok(Wish::WebSocket));
        assert_eq!(post("EIO=4&transport=polling"), Err(SocketFault::Method));
        for query in ["", "EIO=4", "EIO=4&transport=flash", "EIO=4&transport="] {
            assert_eq!(get(query, true), Err(SocketFault::Transport), "{query}");
        }
        for query in ["EIO=3&transport=websocket", "transport=websocket"] {
            assert_eq!(get(query, true), Err(SocketFault::Version), "{query}");
        }
        for (query, upgrade) in [
            ("EIO=4&transport=websocket", false),
            ("EIO=4&transport=polling", true),
            ("EIO=4&transport=polling&transport=websocket", true),
            ("EIO=4&transport=polling&sid=a&sid=b", false),
            ("EIO=4&transport=polling&sid=a&sid[]=b", false),
            ("EIO=4&transport=polling&%73id=a", false),
            ("EIO=4&transport=polling&sid=%61", false),
        ] {
            assert_eq!(get(query, upgrade), Err(SocketFault::Handshake), "{query}");
        }
        for sid in ["a.b", "a%20b", "..%2f", &"a".repeat(65)] {
            let query = format!("EIO=4&transport=polling&sid={sid}");
            assert_eq!(get(&query, false), Err(SocketFault::Unknown), "{query}");
        }
    }

    #[test]
    fn an_open_has_no_sid() {
        assert_eq!(without_sid("a=1&sid=own&xsid=2"), "a=1&xsid=2");
        assert_eq!(without_sid("sid=own"), "");
    }

    #[test]
    fn only_the_value_of_sid_changes() {
        let query = "shardkey=k%20&EIO=4&transport=polling&t=Q81VMXC&sid=own&xsid=own";
        assert_eq!(
            with_sid(query, "theirs"),
            "shardkey=k%20&EIO=4&transport=polling&t=Q81VMXC&sid=theirs&xsid=own"
        );
    }
}
