//! Documents for the Document Server: they stream, in ranges too, and a redirect is the Document Server's own to follow.

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use standin::{clock, token};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::rig::{Got, Rig, SECRET, Setup};
use crate::stub::{Asked, read};

/// One request is answered: a head and a first piece at once, the rest when the test says so.
async fn application(
    first: &'static str,
    rest: &'static str,
) -> (u16, oneshot::Sender<()>, oneshot::Receiver<Asked>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (go, gone) = oneshot::channel();
    let (tell, told) = oneshot::channel();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        tell.send(read(&mut stream).await.unwrap()).ok();
        stream.write_all(first.as_bytes()).await.unwrap();
        gone.await.ok();
        stream.write_all(rest.as_bytes()).await.unwrap();
    });
    (port, go, told)
}

async fn rig(port: u16, field: &str) -> Rig {
    let tables =
        format!("[[integrators]]\nname = \"rapidpm\"\nurl = \"http://127.0.0.1:{port}/base\"\n{field}");
    Rig::with(Setup { port_in_url: true, tables, ..Setup::default() }).await
}

fn ask(rig: &Rig, range: Option<&str>) -> Request<Full<Bytes>> {
    let port = rig.https.port();
    let url = format!("https://localhost:{port}/relay/rapidpm/files/a.docx?v=1");
    let token = token::sign(SECRET, &token::download(&url, &clock::system()));
    let request = Request::get("/relay/rapidpm/files/a.docx?v=1").header("host", format!("localhost:{port}"));
    let request = request.header("authorization", format!("Bearer {token}"));
    match range {
        Some(range) => request.header("range", range),
        None => request,
    }
    .body(Full::default())
    .unwrap()
}

#[tokio::test]
async fn a_document_streams_and_its_token_is_the_integrators() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst";
    let (port, go, told) = application(head, " rest").await;
    let rig = rig(port, "header = \"AuthorizationJWT\"\nprefix = \"Token \"\n").await;
    let mut response = rig.h1().await.send_request(ask(&rig, None)).await.unwrap();
    let piece = response.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(&piece[..], b"first", "the first bytes are here before the last have left");
    go.send(()).unwrap();
    assert_eq!(&response.collect().await.unwrap().to_bytes()[..], b" rest");
    let asked = told.await.unwrap();
    assert_eq!(asked.line(), "GET /base/files/a.docx?v=1 HTTP/1.1");
    assert_eq!(asked.field("authorization"), None);
    let shown = asked.field("authorizationjwt").unwrap();
    let claims = token::verify(shown.strip_prefix("Token "), SECRET, &clock::system()).unwrap();
    assert_eq!(claims["payload"]["url"], format!("http://127.0.0.1:{port}/base/files/a.docx?v=1"));
    assert_eq!(asked.field("host"), Some(format!("127.0.0.1:{port}")));
}

#[tokio::test]
async fn ranges_and_redirects_pass_as_they_are() {
    for (answer, range, status, name, value) in [
        (
            "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 2-4/9\r\ncontent-length: 3\r\n\r\nabc",
            Some("bytes=2-4"),
            206,
            "content-range",
            "bytes 2-4/9",
        ),
        (
            "HTTP/1.1 302 Found\r\nlocation: https://files.rapidpm.uk/x?y=1\r\ncontent-length: 0\r\n\r\n",
            None,
            302,
            "location",
            "https://files.rapidpm.uk/x?y=1",
        ),
        ("HTTP/1.1 404 Not Found\r\nx-why: gone\r\ncontent-length: 0\r\n\r\n", None, 404, "x-why", "gone"),
    ] {
        let (port, go, told) = application(answer, "").await;
        go.send(()).unwrap();
        let rig = rig(port, "").await;
        let got = Got::from(rig.h1().await.send_request(ask(&rig, range)).await.unwrap()).await;
        assert_eq!((got.status, got.header(name)), (status, Some(value)));
        assert_eq!(told.await.unwrap().field("range").as_deref(), range);
    }
}
