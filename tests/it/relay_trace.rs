//! A save belongs to the trace of the callback that brought it: its first try, its later ones, and those after a restart.

use std::collections::HashSet;
use std::time::Duration;

use http_body_util::Full;
use hyper::Request;
use serde_json::json;
use standin::Integrator;
use standin::integrator::Reply;

use crate::process::Process;
use crate::relay::{Trio, application, posted, setup};
use crate::relay_crash::send;
use crate::wire::soon;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// A callback as a Document Server behind a tracing proxy would send it.
fn traced(mut request: Request<Full<hyper::body::Bytes>>) -> Request<Full<hyper::body::Bytes>> {
    let headers = request.headers_mut();
    headers.insert("traceparent", format!("00-{TRACE}-{PARENT}-01").parse().unwrap());
    headers.insert("tracestate", "rojo=1".parse().unwrap());
    request
}

/// Trace and parent of every callback that came, which must have both.
fn parents(app: &Integrator) -> Vec<(String, String)> {
    let callbacks = app.callbacks();
    let fields = callbacks.iter().map(|callback| callback.header("traceparent").expect("every try has it"));
    fields
        .map(|field| {
            let parts: Vec<&str> = field.split('-').collect();
            assert_eq!((parts.len(), parts[0], parts[3]), (4, "00", "01"), "{field}");
            (parts[1].to_owned(), parts[2].to_owned())
        })
        .collect()
}

async fn until(app: &Integrator, tries: usize) {
    let came = async {
        while app.callbacks().len() < tries {
            tokio::time::sleep(Duration::from_millis(5)).await; // there is no event for a try that is refused
        }
    };
    soon("a try", came).await;
}

#[tokio::test]
async fn every_try_of_a_save_is_in_its_trace() {
    let app = application().await;
    let mut process = Process::start(setup(&app, vec![])).await;
    app.set_reply(Reply::Status(503));
    let link = process.server.cache("k", "output.docx", b"words");
    let fields = json!({"key": "k", "status": 2, "url": format!("{}{link}", process.server.url()),
        "lastsave": "1", "filetype": "docx"});
    let request = traced(posted(process.https.port(), "callback?id=1", &fields));
    let got = send(process.https, request).await.unwrap();
    assert_eq!(got.text(), "{\"error\":0}", "taken over");
    until(&app, 2).await;
    process.signal("KILL");
    app.set_reply(Reply::Take);
    process.again().await;
    soon("the save", app.wait_for_save("k")).await;
    let parents = parents(&app);
    assert!(parents.len() >= 3, "{parents:?}");
    assert!(parents.iter().all(|(trace, _)| trace == TRACE), "{parents:?}");
    let own: HashSet<&String> = parents.iter().map(|(_, parent)| parent).collect();
    assert_eq!(own.len(), parents.len(), "each try is a hop of its own");
    assert!(!own.contains(&PARENT.to_owned()), "and none is the Document Server's");
    let callbacks = app.callbacks();
    // The first try is the request as it came: the gateway's line in the log is its parent, and names it.
    assert_eq!(callbacks[0].header("x-request-id"), Some(parents[0].1.as_str()));
    assert_eq!(callbacks[0].header("tracestate"), Some("rojo=1"));
    assert_eq!(got.header("x-request-id"), Some(parents[0].1.as_str()));
}

#[tokio::test]
async fn a_report_that_is_told_later_is_in_its_trace() {
    let trio = Trio::start(vec![]).await;
    trio.app.reply_times(1, Reply::Status(503), 1);
    let fields = json!({"key": "k", "status": 1, "users": ["u"]});
    let request = traced(posted(trio.rig.https.port(), "callback?id=1", &fields));
    assert_eq!(trio.rig.send(request).await.text(), "{\"error\":0}");
    until(&trio.app, 2).await;
    let parents = parents(&trio.app);
    assert!(parents.iter().all(|(trace, _)| trace == TRACE), "{parents:?}");
    assert_ne!(parents[0].1, parents[1].1);
}
