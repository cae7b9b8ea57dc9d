//! Who may pass. The answer is a [`Permit`], which only this file can make and which forwarding takes by value: what was not
//! asked for here does not compile there.

use std::time::SystemTime;

use hyper::Method;

use super::route::{Matched, Route};
use super::table::{Access, Carrier, Closed, RefusalShape};
use super::token::{Carried, Settings, TokenFault, Verified};

pub use super::refusal::{Answer, Refusal, Whose};

/// Leave to pass one request to the Document Server.
#[derive(Debug)]
#[must_use = "a permit that is not used forwards nothing"]
pub struct Permit {
    route: Route,
    key: Option<Box<str>>,
    proof: Proof,
}

/// What a permit was given for.
#[derive(Debug)]
enum Proof {
    /// The route is open.
    Open,
    /// A token that holds.
    Token(Verified, Carrier),
}

impl Permit {
    /// The route it is good for.
    pub fn route(&self) -> Route {
        self.route
    }

    /// The document key in the path.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// The token's claims and the secret that signed it, where there was a token.
    pub fn verified(&self) -> Option<&Verified> {
        match &self.proof {
            Proof::Open => None,
            Proof::Token(verified, _) => Some(verified),
        }
    }

    /// Where the token was.
    pub fn carrier(&self) -> Option<Carrier> {
        match &self.proof {
            Proof::Open => None,
            Proof::Token(_, carrier) => Some(*carrier),
        }
    }
}

/// Admits a request to an open route.
pub fn admit_open(matched: &Matched<'_>, method: &Method) -> Result<Permit, Refusal> {
    check(matched, method)?;
    match matched.access {
        Access::Open => Ok(permit(matched, Proof::Open)),
        Access::Token(_) => Err(Refusal::Token { fault: TokenFault::Missing, carrier: None }),
        Access::Socket | Access::Own(_) | Access::Closed(_) => Err(Refusal::WrongDoor),
    }
}

/// Admits a request to the editor's socket. Its token comes later, in the first packet (protocol.md 3): until the gate looks
/// there, the Document Server alone does.
pub fn admit_socket(matched: &Matched<'_>, method: &Method) -> Result<Permit, Refusal> {
    check(matched, method)?;
    match matched.access {
        Access::Socket => Ok(permit(matched, Proof::Open)),
        Access::Open | Access::Token(_) | Access::Own(_) | Access::Closed(_) => Err(Refusal::WrongDoor),
    }
}

/// Admits a request whose token holds, to a route that asks for one.
pub fn admit_token(
    matched: &Matched<'_>,
    method: &Method,
    carried: &Carried<'_>,
    settings: &Settings,
    now: SystemTime,
) -> Result<Permit, Refusal> {
    check(matched, method)?;
    let Access::Token(carriers) = matched.access else { return Err(Refusal::WrongDoor) };
    let (token, carrier) =
        carried.find(carriers, settings).map_err(|(fault, carrier)| Refusal::Token { fault, carrier })?;
    let verified =
        settings.verify(&token, now).map_err(|fault| Refusal::Token { fault, carrier: Some(carrier) })?;
    // A token of the wrong class is turned away here, between signature and permit.
    Ok(permit(matched, Proof::Token(verified, carrier)))
}

/// What holds whoever asks: the path is served at all, and with this method. For the gateway's own paths and sockets, too.
pub fn check(matched: &Matched<'_>, method: &Method) -> Result<(), Refusal> {
    match matched.access {
        Access::Closed(Closed::Unknown) => Err(Refusal::UnknownPath),
        Access::Closed(Closed::Always) => Err(Refusal::ClosedPath),
        Access::Closed(Closed::Until(switch)) => Err(Refusal::SwitchedOff(switch)),
        Access::Closed(Closed::KeyInvalid) => Err(Refusal::KeyInvalid),
        _ if !matched.rule.methods.allow(method) => Err(Refusal::Method(matched.rule.methods)),
        _ => Ok(()),
    }
}

/// The face a refusal has on this route.
pub fn shape(matched: Option<&Matched<'_>>) -> RefusalShape {
    matched.map_or(RefusalShape::Gateway, |m| m.rule.refusal)
}

fn permit(matched: &Matched<'_>, proof: Proof) -> Permit {
    Permit { route: matched.route(), key: matched.key.map(Box::from), proof }
}
