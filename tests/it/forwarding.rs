//! What the Document Server is asked is what the client asked, and who the client is comes from the gateway alone.

use http_body_util::Full;
use hyper::Request;

use crate::rig::{Got, Rig};

#[tokio::test]
async fn a_request_and_its_answer_pass_over_both_protocols() {
    let rig = Rig::start().await;
    let target = "/9.0.4-6c2544b8e86a3707c9cd6d6691fb2b5c/web-apps/size-1024?_dc=9.0.4-54";
    let got = rig.get(target).await;
    assert_eq!((got.status, got.body.len()), (200, 1024));
    let request = Request::get(format!("https://localhost{target}")).body(Full::default()).unwrap();
    let got = Got::from(rig.h2().await.send_request(request).await.unwrap()).await;
    assert_eq!((got.status, got.body.len()), (200, 1024));
    let seen: Vec<_> = rig.server.requests().into_iter().filter(|r| r.path() != "/healthcheck").collect();
    assert_eq!(seen.len(), 2);
    for request in seen {
        assert_eq!(request.target, target);
        assert_eq!(request.header("host"), Some("localhost"));
        assert_eq!(request.header("x-forwarded-proto"), Some("https"));
        assert_eq!(request.header("x-forwarded-host"), Some("localhost"));
        assert_eq!(request.header("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(request.header("via"), None);
    }
}

#[tokio::test]
async fn the_log_tells_of_each_request_and_never_its_query() {
    let rig = Rig::start().await;
    let got = rig.get("/web-apps/size-7?token=eyJhbGciOiJIUzI1NiJ9.e30.x&x=secret-query").await;
    let id = got.header("x-request-id").unwrap().to_owned();
    let line = rig.log.wait_for(move |line| line["id"] == id.as_str()).await;
    assert_eq!(
        (&line["status"], &line["route"], &line["bytes_out"]),
        (&200.into(), &"web_apps".into(), &7.into())
    );
    assert_eq!(line["path"], "/web-apps/size-7");
    assert!(!line.to_string().contains("secret-query"));
}
