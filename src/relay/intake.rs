//! What becomes of a callback that comes in: told at once, or kept first. Its documents are fetched and looked at here.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::answer::{Answer, Post};
use super::deliver::{PATIENCE, first, shown};
use super::spool::{Record, Role, kind_name};
use super::status::Trouble;
use super::worker::{Relay, millis};
use super::{Validate, fetch};
use crate::ops::log::Level;
use crate::rules::callback::Plan;
use crate::rules::retry;
use crate::rules::save::{Event, Id, Kind, Verdict, Welcome, meaning};
use crate::rules::trace;

/// Reports are small and must not keep an editor waiting.
pub(super) const REPORT: Duration = Duration::from_secs(5);

impl Relay {
    /// Does what the plan of a callback says.
    pub(super) async fn take_in(self: &Arc<Self>, post: Post, answer: oneshot::Sender<Answer>) {
        self.remember(&post);
        let kind = match (post.callback.plan(), post.callback.status.number()) {
            (Plan::Report, _) => return self.report(post, answer).await,
            (Plan::Farewell, _) => return self.farewell(post, answer).await,
            (Plan::Once, _) => return self.once(&post, answer).await,
            (Plan::Spare, _) => Kind::Spare,
            (Plan::Keep, 2 | 3) => Kind::Final,
            (Plan::Keep, _) => Kind::Form,
        };
        self.outdate(&post.callback.key, None);
        let record = record(&post, kind, post.callback.name());
        self.save(self.number(), post, record, answer).await;
    }

    /// Told at once; where nobody hears it, editors are not bothered, and the latest is told later.
    async fn report(self: &Arc<Self>, post: Post, answer: oneshot::Sender<Answer>) {
        let id = self.number();
        self.heard(id, &post);
        let key = post.callback.key.clone();
        self.outdate(&key, None);
        let Some(theirs) = self.tell_once(&post, REPORT).await else {
            answer.send(Answer::own(200, r#"{"error":0}"#)).ok();
            self.outdate(&key, Some(id));
            return self.report_later(post, id);
        };
        answer.send(theirs).ok();
    }

    fn report_later(self: &Arc<Self>, post: Post, id: Id) {
        let relay = Arc::downgrade(self);
        tokio::spawn(async move {
            let begun = Instant::now();
            for failed in 1.. {
                sleep(Duration::from_millis(retry::pause(failed, id.0))).await;
                let Some(relay) = relay.upgrade() else { return };
                let Ok(_turn) = relay.reports.acquire().await else { return };
                if !relay.is_latest(&post.callback.key, id) {
                    return;
                }
                let late = begun.elapsed() > (relay.current)().relay().saves.keep_trying;
                // While saves find nobody there, a report would not either.
                let told = !relay.is_down(&post.integrator) && relay.tell_again(&post).await.is_some();
                if late || told {
                    return relay.settle_report(&post.callback.key, id);
                }
            }
        });
    }

    /// As a report, but sent only once by the Document Server: kept on disk when nobody hears it.
    async fn farewell(self: &Arc<Self>, post: Post, answer: oneshot::Sender<Answer>) {
        let id = self.number();
        self.outdate(&post.callback.key, None);
        match self.tell_once(&post, REPORT).await {
            Some(theirs) => {
                self.heard(id, &post);
                answer.send(theirs).ok();
            }
            None => {
                // Not "the same as" another: a document may be closed without changes many times.
                let name = format!("{}\n{}", post.callback.name(), id.0);
                let record = record(&post, Kind::Farewell, name);
                self.save(id, post, record, answer).await;
            }
        }
    }

    /// Told once, whatever comes of it. It carries no name: two of these are never "the same".
    async fn once(self: &Arc<Self>, post: &Post, answer: oneshot::Sender<Answer>) {
        self.heard(self.number(), post);
        let house = (self.current)();
        let told = self.send(&*house, &post.integrator, &post.target, first(post, None), PATIENCE).await;
        let taken = told.as_ref().is_ok_and(|a| meaning(Some(a.status), &a.body) == Verdict::Taken);
        // A failed conversion without a document is a save that failed, whoever hears of it.
        let well = taken && matches!(post.callback.status.number(), 2 | 6);
        self.ops.metrics.saves.settled(well);
        answer.send(shown(told)).ok();
    }

    /// A save: joined, answered, or brought to disk.
    async fn save(self: &Arc<Self>, id: Id, post: Post, record: Record, answer: oneshot::Sender<Answer>) {
        let welcome = self.arrive(record.fresh(id), post, answer);
        if welcome != Welcome::New {
            return;
        }
        let begun = Instant::now();
        match self.keep(id, record).await {
            Ok(record) => {
                if !record.documents.is_empty() {
                    self.ops.metrics.saves.download.record(begun.elapsed());
                }
                self.troubles.over(Trouble::Keeping);
                let fine = self.is_fine(id, &record).await;
                self.happened(id, if fine { Event::Kept } else { Event::Invalid });
            }
            Err(error) => {
                let error = error.to_string();
                self.troubles.stand(Trouble::Keeping, &error);
                self.ops.metrics.saves.not_kept.increment(1);
                self.say(Level::Error, "a save could not be kept and is passed through", &error);
                self.happened(id, Event::NotKept);
            }
        }
    }

    /// Brings a save to disk. Where there is no room, copies for the archive make some.
    async fn keep(&self, id: Id, record: Record) -> io::Result<Record> {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        let kept = fetch::keep((self.current)(), self.spool.clone(), id, record.clone()).await;
        let archiver = self.archiver.clone();
        match &kept {
            Err(error) if matches!(error.kind(), StorageFull | QuotaExceeded) => {}
            _ => return kept,
        }
        match fetch::blocking(move || Ok(archiver.give_way())).await {
            Ok(true) => fetch::keep((self.current)(), self.spool.clone(), id, record).await,
            _ => kept,
        }
    }

    /// Whether a kept document may go on. Not looked at: failed conversions and what is encrypted.
    async fn is_fine(&self, id: Id, record: &Record) -> bool {
        let validate = (self.current)().relay().saves.validate;
        let encrypted = record.claims.get("encrypted").and_then(serde_json::Value::as_bool).unwrap_or(false);
        if validate == Validate::Off
            || encrypted
            || !matches!(record.status, 2 | 6)
            || record.documents.is_empty()
        {
            return true;
        }
        let (check, path) = (self.check, self.spool.document(id, Role::Document));
        let kind = record.claims.get("filetype").and_then(|kind| kind.as_str()).map(str::to_owned);
        let Ok(_turn) = self.checks.acquire().await else { return true };
        let checked = fetch::blocking(move || Ok(check(&path, kind.as_deref()))).await;
        // A check that could not be made says nothing against a document.
        let Ok(Err(reason)) = checked else { return true };
        self.ops.metrics.saves.rejected(reason);
        self.say(Level::Warn, "a saved document has failed its check", reason);
        validate != Validate::Reject
    }
}

fn record(post: &Post, kind: Kind, name: String) -> Record {
    Record {
        name,
        key: post.callback.key.clone(),
        integrator: post.integrator.clone(),
        target: post.target.clone(),
        kind: kind_name(kind).into(),
        status: post.callback.status.number(),
        since: millis(SystemTime::now()),
        claims: post.callback.claims.clone(),
        documents: Vec::new(),
        trace: trace::kept(&post.trace),
    }
}
