//! Questions to what else is configured: Redis, which several gateways share, and the SFTP archive.

use tokio::time::timeout;

use super::ask::PATIENCE;
use super::question::{Finding, Question, Verdict};
use crate::relay::{Archive, sftp};
use crate::state;
use crate::state::redis::{self, Fault};

/// Whether Redis answers PING.
pub async fn redis(settings: &state::Settings) -> Finding {
    match (settings, settings.place()) {
        (state::Settings::Embedded, _) => {
            Question::Redis.is("", Verdict::skipped("not configured: one gateway needs none"))
        }
        (_, None) => Question::Redis.is("", Verdict::skipped("state.redis cannot be taken apart")),
        (_, Some(place)) => Question::Redis.is(place.to_string(), pong(redis::ping(&place).await)),
    }
}

fn pong(answer: Result<(), Fault>) -> Verdict {
    let Err(fault) = answer else { return Verdict::ok("answers PING") };
    let cure = match fault {
        Fault::Refused(_) => "Write user and password into state.redis: redis://user:password@host:port.",
        Fault::Strange(_) => "Is it Redis that listens there? `redis-cli -u URL ping` should say PONG.",
        Fault::Connection(_) | Fault::Late | Fault::Answer(_) => {
            "Start Redis (`systemctl status redis-server`), or correct state.redis; one gateway alone needs none."
        }
    };
    Verdict::failed(fault.to_string(), cure)
}

/// Whether the gateway can sign in at the archive: the way it goes with each copy, up to the first that it would write.
pub async fn archive(archive: Option<&Archive>) -> Finding {
    let Some(archive) = archive else {
        return Question::Archive.is("", Verdict::skipped("not configured"));
    };
    let signed_in = timeout(PATIENCE, sftp::connect(archive)).await;
    let said = match signed_in {
        Ok(Ok(_)) => return Question::Archive.is(place(archive), Verdict::ok("known, and lets us in")),
        Ok(Err(fault)) => fault.to_string(),
        Err(_) => format!("nothing within {} s", PATIENCE.as_secs()),
    };
    let cure = "Saves go on meanwhile, and what is accepted waits for its second copy. Is the SSH server up, does a firewall let this \
                machine through, are [archive] and its known_hosts right?";
    Question::Archive.is(place(archive), Verdict::failed(said, cure))
}

fn place(archive: &Archive) -> String {
    format!("{}:{}", archive.host, archive.port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_redis_says_is_judged() {
        let away = Fault::Connection(std::io::Error::other("x"));
        assert_eq!(pong(Ok(())).state(), "ok");
        assert!(pong(Err(Fault::Refused("-NOAUTH".into()))).cure().unwrap().contains("password"));
        assert!(pong(Err(Fault::Strange("HTTP/1.1 400".into()))).cure().unwrap().contains("redis-cli"));
        assert!(pong(Err(away)).cure().unwrap().contains("Start Redis"));
    }
}
