//! What monitors are told: the shape that dashboards rely on, and what is wrong while something is.

use std::time::Duration;

use http_body_util::Full;
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use standin::integrator::Reply;
use tokio::net::TcpStream;

use crate::process::{Process, command};
use crate::redis::{PASSWORD, Redis};
use crate::relay::{application, posted, setup};
use crate::rig::{Got, Rig, Setup};

pub async fn ask(rig: &Rig) -> (u16, Value) {
    let stream = TcpStream::connect(rig.admin).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("/api/v1/onlyoffice/health").header("host", "x");
    let got =
        sender.send_request(request.body(Full::<hyper::body::Bytes>::default()).unwrap()).await.unwrap();
    let got = Got::from(got).await;
    assert_eq!(got.header("content-type"), Some("application/json"));
    (got.status, serde_json::from_slice(&got.body).unwrap())
}

/// Until it says so: a probe or the journal may be behind by a moment.
pub async fn ask_for(rig: &Rig, status: &str) -> (u16, Value) {
    let asked = async {
        loop {
            let (code, told) = ask(rig).await;
            if told["status"] == status {
                return (code, told);
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asked).await.unwrap_or_else(|_| panic!("never {status}"))
}

#[tokio::test]
async fn health_has_the_shape_that_dashboards_rely_on() {
    let rig = Rig::start().await;
    let (code, told) = ask_for(&rig, "healthy").await;
    let disabled = json!({"status": "disabled"});
    let expected = json!({
        "status": "healthy",
        "components": {"redis": disabled, "onlyoffice": {"status": "healthy"}, "sftp": disabled},
        "metrics": {"active_editing_sessions": 0, "transition_locks_held": 0, "pending_callbacks": 0},
    });
    assert_eq!((code, &told), (200, &expected));
}

#[tokio::test]
async fn a_document_server_that_is_gone_is_unhealthy() {
    let lines = vec![("document_server", "health = \"1s\"".into())];
    let rig = Rig::with(Setup { lines, ..Setup::default() }).await;
    ask_for(&rig, "healthy").await;
    rig.server.stop().await;
    let (code, told) = ask_for(&rig, "unhealthy").await;
    assert_eq!((code, told["components"]["onlyoffice"]["status"].as_str()), (503, Some("unhealthy")));
    rig.server.start_again().await.unwrap();
    assert_eq!(ask_for(&rig, "healthy").await.0, 200);
}

/// It is asked in the background, and each gateway goes on by itself while it is away.
#[tokio::test]
async fn a_redis_that_is_gone_degrades_it_until_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let Some(redis) = Redis::start(folder.path()) else { return };
    let port = redis.port;
    let tables = format!("[state]\nredis = \"redis://:{}@127.0.0.1:{port}\"\n", PASSWORD.replace('@', "%40"));
    let rig = Rig::with(Setup { tables, ..Setup::default() }).await;
    let of_redis = |told: &Value| told["components"]["redis"].clone();
    loop {
        let told = ask_for(&rig, "healthy").await.1; // before it was asked, it counts as none
        if of_redis(&told)["status"] == "healthy" {
            break;
        }
    }
    drop(redis);
    let (code, told) = ask_for(&rig, "degraded").await;
    assert_eq!((code, &of_redis(&told)["status"]), (200, &json!("unhealthy")));
    assert!(of_redis(&told)["detail"].as_str().unwrap().starts_with("no connection"), "{told}");
    let _redis = Redis::start_on(port, folder.path());
    let (_, told) = ask_for(&rig, "healthy").await;
    assert_eq!(of_redis(&told)["status"], "healthy");
    rig.log.wait_for(|line| line["message"] == "Redis answers again").await;
}

#[tokio::test]
async fn saves_that_need_a_person_degrade_it() {
    let app = application().await;
    let rig = Rig::with(setup(&app, vec![("saves", "max_document = \"1KiB\"".into())])).await;
    let save = |key: &str, bytes: &[u8]| {
        let link = rig.server.cache(key, "output.txt", bytes);
        json!({"key": key, "status": 2, "url": format!("{}{link}", rig.server.url()), "filetype": "txt"})
    };
    let post = |key: &str, bytes: &[u8]| {
        rig.send(posted(rig.https.port(), &format!("callback?id={key}"), &save(key, bytes)))
    };
    app.set_reply(Reply::Error(0));
    assert_eq!(post("large", &[b'x'; 2_000]).await.text(), "{\"error\":0}");
    let (code, told) = ask_for(&rig, "degraded").await;
    assert_eq!(code, 200);
    assert!(told["detail"][0].as_str().unwrap().contains("saves.max_document"), "{told}");
    assert_eq!(post("small", b"x").await.text(), "{\"error\":0}");
    ask_for(&rig, "healthy").await;
    app.set_reply(Reply::Error(1));
    post("unwanted", b"x").await;
    let (_, told) = ask_for(&rig, "degraded").await;
    assert!(told["detail"][0].as_str().unwrap().contains("1 refused"), "{told}");
    // One that waits is held and pending.
    app.set_reply(Reply::Status(503));
    post("waiting", b"x").await;
    let (_, told) = ask(&rig).await;
    assert_eq!(
        told["metrics"],
        json!({"active_editing_sessions": 0, "transition_locks_held": 1, "pending_callbacks": 1})
    );
}

#[tokio::test]
async fn two_gateways_never_work_on_one_directory() {
    let app = application().await;
    let process = Process::start(Setup { port_in_url: false, ..setup(&app, vec![]) }).await;
    let file = process.file();
    let file = file.to_str().unwrap();
    let second = tokio::task::spawn_blocking({
        let mut second = command(&["run", "--config", file]);
        move || second.output().unwrap()
    });
    let second = second.await.unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(
        said.contains(&format!("process {}", process.child.id())) && said.contains("saves.directory"),
        "{said}"
    );
    let list = command(&["saves", "list", "--config", file]).output().unwrap();
    assert_eq!(
        (list.status.code(), list.stdout.as_slice()),
        (Some(0), &b"no saves wait\n"[..]),
        "a look is free"
    );
}
