//! A callback on its way to its integrator: sent once, never redirected, its answer judged and passed back.

use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::CONTENT_TYPE;
use hyper::{HeaderMap, Request};
use tokio::time::timeout;

use super::answer::{Answer, Post, remembered};
use super::house::{self, House};
use super::intake::REPORT;
use super::letter::{self, Envelope};
use super::spool::{Role, phase_name};
use super::worker::Relay;
use super::{Integrator, client};
use crate::ops::debug::Fact;
use crate::ops::log::Level;
use crate::rules::save::{self, Event, Id, Phase, Verdict};
use crate::rules::trace;

/// How long the Document Server waits for an answer (default.json:321-324).
pub(super) const PATIENCE: Duration = Duration::from_secs(600);
/// An answer is a line of JSON; a login page in its place has some kilobytes.
const LARGEST_ANSWER: usize = 256 << 10;

impl Relay {
    /// Tells it as it came. `None`: nobody was there to hear it.
    pub(super) async fn tell_once(&self, post: &Post, patience: Duration) -> Option<Answer> {
        let house = (self.current)();
        let envelope = first(post, None);
        heard(self.send(&*house, &post.integrator, &post.target, envelope, patience).await)
    }

    pub(super) async fn tell_again(&self, post: &Post) -> Option<Answer> {
        let house = (self.current)();
        let (body, token) =
            letter::signed_again(&post.callback.claims, Vec::new(), &house.relay().secret, SystemTime::now());
        let trace = next(trace::kept(&post.trace).as_deref());
        let envelope = Parcel { body, token: Some(token), idempotency: None, trace };
        heard(self.send(&*house, &post.integrator, &post.target, Some(envelope), REPORT).await)
    }

    pub(super) async fn send(
        &self,
        house: &dyn House,
        integrator: &str,
        target: &str,
        parcel: Option<Parcel>,
        patience: Duration,
    ) -> Result<Answer, Missed> {
        let gone = || Missed::Here(io::Error::other("no [[integrators]] entry has this name any more"));
        let to = house::integrator(house, integrator).ok_or_else(gone)?;
        let parcel =
            parcel.ok_or_else(|| Missed::Here(io::Error::other("the callback cannot be written")))?;
        let field = house::field(house, to);
        let Parcel { body, token, idempotency, trace } = parcel;
        let envelope = Envelope { token: token.as_deref(), field: &field, idempotency, trace, body };
        let request = letter::post(to, target, envelope)
            .ok_or_else(|| Missed::Here(io::Error::other("the callback's address cannot be written")))?;
        let silent = || io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
        let begun = Instant::now();
        let sent = timeout(patience, self.exchange(to, request)).await.map_err(|_| silent());
        let sent = sent.and_then(|answer| answer);
        self.heard.note(integrator, begun.elapsed(), sent.as_ref().map(|answer| answer.status));
        sent.map_err(Missed::There)
    }

    async fn exchange(&self, to: &Integrator, request: Request<Full<Bytes>>) -> io::Result<Answer> {
        let mut sender = self.trust.connect(to).await?;
        let (parts, body) = client::send(&mut sender, request, PATIENCE).await?.into_parts();
        let body = match client::whole(body, LARGEST_ANSWER, PATIENCE).await {
            // A long page is an answer, too, if not one that says anything.
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Bytes::new(),
            other => other?,
        };
        let content_type =
            parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok(Answer { status: parts.status.as_u16(), content_type, body })
    }
}

/// Why a callback has got no answer.
#[derive(Debug)]
pub(super) enum Missed {
    /// It could not be sent: that says nothing about the integrator.
    Here(io::Error),
    /// Nobody answered it.
    There(io::Error),
}

/// Body and token of a callback.
pub(super) struct Parcel {
    body: Bytes,
    token: Option<String>,
    idempotency: Option<String>,
    trace: HeaderMap,
}

/// As it came: the body's very bytes, the header's token under the integrator's name for it.
pub(super) fn first(post: &Post, idempotency: Option<String>) -> Option<Parcel> {
    Some(Parcel {
        body: post.body.clone(),
        token: post.token.clone(),
        idempotency,
        trace: post.trace.clone(),
    })
}

/// Somebody was there: neither a proxy that speaks for an application that is away, nor a redirect to a login.
fn heard(told: Result<Answer, Missed>) -> Option<Answer> {
    told.ok().filter(|answer| !matches!(answer.status, 300..400 | 429 | 502..=504))
}

/// What a Document Server may see of an answer: a redirect would lose the save (protocol.md 4.3), so it never sees one.
pub(super) fn shown(told: Result<Answer, Missed>) -> Answer {
    match told {
        Ok(answer) if (300..400).contains(&answer.status) => Answer::own(200, r#"{"error":1}"#),
        Ok(answer) => answer,
        Err(_) => Answer::own(503, r#"{"error":1}"#),
    }
}

/// The trace that was kept, as a later try goes on with it: a hop of its own.
fn next(kept: Option<&str>) -> HeaderMap {
    let mut parent = [0; 8];
    SystemRandom::new().fill(&mut parent).ok(); // without randomness two tries look like one in a trace, and nothing more
    trace::again(kept, u64::from_ne_bytes(parent))
}

/// One try of a save.
pub async fn deliver(relay: &Arc<Relay>, id: Id) {
    let house = (relay.current)();
    let parcel = match relay.first_post(id) {
        Some(post) => {
            let name = letter::idempotency(&post.callback.name());
            Ok((post.integrator.clone(), post.target.clone(), first(&post, Some(name))))
        }
        None => again(relay, &*house, id).await.map_err(Missed::Here),
    };
    let told = match parcel {
        Ok((integrator, target, parcel)) => {
            note(relay, id, &integrator, parcel.as_ref());
            relay.send(&*house, &integrator, &target, parcel, PATIENCE).await
        }
        Err(error) => Err(error),
    };
    let verdict = match &told {
        Ok(answer) => save::meaning(Some(answer.status), &answer.body),
        Err(Missed::There(error)) => {
            relay.say(Level::Warn, "an integrator cannot be reached", &error.to_string());
            save::meaning(None, &[])
        }
        Err(Missed::Here(error)) => {
            relay.say(Level::Error, "a kept save cannot be sent", &error.to_string());
            Verdict::Again { down: false }
        }
    };
    let status = told.as_ref().map_or(0, |answer| answer.status);
    relay.answered(id, remembered(&shown(told)));
    relay.happened(id, Event::Answered(verdict));
    note_next(relay, id, status);
}

/// A try begins, for whoever reads along.
fn note(relay: &Relay, id: Id, integrator: &str, parcel: Option<&Parcel>) {
    let log = &relay.ops.log;
    if log.is_debugging() {
        let tries = relay.look(|saves, _, _| saves.get(id).map_or(0, |save| save.tries));
        let trace = parcel.and_then(|parcel| trace::kept(&parcel.trace)).unwrap_or_default();
        let save = format!("{:016x}", id.0);
        let facts: [Fact<'_>; 4] =
            [("save", &save), ("integrator", &integrator), ("tries", &tries), ("traceparent", &trace)];
        log.debug("relay", "a save is tried", &facts);
    }
}

/// What came of a try, and when the next one is due.
fn note_next(relay: &Relay, id: Id, status: u16) {
    let log = &relay.ops.log;
    if log.is_debugging() {
        let state =
            relay.look(|saves, now, _| saves.get(id).map(|save| (save.phase, save.due.saturating_sub(now))));
        let save = format!("{:016x}", id.0);
        let status: &dyn Display = if status == 0 { &"none" } else { &status };
        match state {
            Some((Phase::Ready, pause)) => {
                let facts: [Fact<'_>; 3] = [("save", &save), ("status", status), ("next_in_ms", &pause)];
                log.debug("relay", "a save is to be tried again", &facts);
            }
            other => {
                let phase = other.map_or("settled", |(phase, _)| phase_name(phase));
                let facts: [Fact<'_>; 3] = [("save", &save), ("status", status), ("phase", &phase)];
                log.debug("relay", "a save's try is over", &facts);
            }
        }
    }
}

/// A later try: the same claims, signed anew, with links to what is kept here.
async fn again(
    relay: &Arc<Relay>,
    house: &dyn House,
    id: Id,
) -> io::Result<(String, String, Option<Parcel>)> {
    let spool = relay.spool.clone();
    let record = super::fetch::blocking(move || spool.whole(id)).await?;
    let (secret, now) = (&house.relay().secret, SystemTime::now());
    let public =
        house.public().first().and_then(|url| url.forwarded_host().to_str().ok()).unwrap_or_default();
    let claim = |role| Role::ALL.iter().find(|(known, _)| *known == role).map_or("url", |(_, claim)| claim);
    let links = record.documents.iter().map(|document| {
        (claim(document.role), letter::link(public, id, document.role, &document.name, secret, now))
    });
    let (body, token) = letter::signed_again(&record.claims, links.collect(), secret, now);
    let idempotency = Some(letter::idempotency(&record.name));
    let trace = next(record.trace.as_deref());
    Ok((record.integrator, record.target, Some(Parcel { body, token: Some(token), idempotency, trace })))
}
