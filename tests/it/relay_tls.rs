//! The way to integrators: verified TLS with the system's roots and `ca`, at `connect` where it is given; nobody else is spoken to.

use std::sync::Arc;

use rapidpm_gateway::relay::client::Trust;
use rapidpm_gateway::relay::spool::RealDisk;
use rapidpm_gateway::relay::{Connect, Integrator, Scheme};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::CertificateDer;
use serde_json::json;
use standin::integrator;

use crate::desk::Desk;
use crate::rig::{SECRET, Setup};
use crate::stub::{Says, Stub};

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn issuer() -> Issuer {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Chain and key of a server of that name.
fn pair(name: &str, issuer: Option<&Issuer>, expired: bool) -> (Vec<u8>, Vec<u8>) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    if expired {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    }
    let key = KeyPair::generate().unwrap();
    let made = match issuer {
        Some(issuer) => params.signed_by(&key, issuer).unwrap(),
        None => params.self_signed(&key).unwrap(),
    };
    (made.pem().into_bytes(), key.serialize_pem().into_bytes())
}

async fn application(tls: (Vec<u8>, Vec<u8>)) -> standin::Integrator {
    let options =
        integrator::Options { secret: SECRET.into(), tls: Some(tls), ..integrator::Options::default() };
    standin::Integrator::start(options).await.unwrap()
}

#[tokio::test]
async fn only_a_certificate_that_holds_is_spoken_to() {
    let (ca, other) = (issuer(), issuer());
    let roots = vec![CertificateDer::from(ca.as_ref().der().to_vec())];
    let own = pair("rapidpm.test", None, false);
    for (what, tls, roots, good) in [
        ("signed by `ca`", pair("rapidpm.test", Some(&ca), false), roots.clone(), true),
        ("the system's roots alone", pair("rapidpm.test", Some(&ca), false), Vec::new(), false),
        ("signed by another", pair("rapidpm.test", Some(&other), false), roots.clone(), false),
        ("another name", pair("rapidpm.example", Some(&ca), false), roots.clone(), false),
        ("expired", pair("rapidpm.test", Some(&ca), true), roots.clone(), false),
        ("self-signed", own, roots.clone(), false),
    ] {
        let app = application(tls).await;
        let to = Integrator {
            name: "rapidpm".into(),
            scheme: Scheme::Https,
            host: "rapidpm.test".into(),
            port: 443,
            path: String::new(),
            header: None,
            prefix: None,
            // The name leads nowhere: `connect` alone decides where.
            connect: Some(Connect::Address(app.address().ip(), app.address().port())),
            roots,
            hosts: Vec::new(),
        };
        let connected = Trust::default().connect(&to).await;
        assert_eq!(connected.is_ok(), good, "{what}: {:?}", connected.err());
        assert!(app.requests().is_empty(), "{what}");
    }
}

#[tokio::test]
async fn a_save_waits_for_a_certificate_that_holds_and_every_other_with_it() {
    let ca = issuer();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), ca.as_ref().pem()).unwrap();
    let app = application(pair("rapidpm.example", Some(&ca), false)).await;
    let stub = Stub::start(b"words", Says::Nothing).await;
    let table = |port: u16, host: &str| {
        format!(
            "[[integrators]]\nname = \"rapidpm\"\nurl = \"https://{host}\"\nconnect = \"127.0.0.1:{port}\"\nca = \"ca.pem\"\n"
        )
    };
    let setup = |host: &str| Setup { tables: table(app.address().port(), host), ..Setup::default() };
    let fields = |key: &str| json!({"key": key, "status": 2, "url": format!("http://x/cache/files/data/{key}/output.docx/output.docx"), "filetype": "docx"});
    let desk = Desk::start(&setup("rapidpm.test"), stub.address, folder.path(), Arc::new(RealDisk)).unwrap();
    for key in ["a", "b"] {
        let answer = desk.post(&format!("callback?id={key}"), &fields(key)).await.unwrap();
        assert_eq!(&answer.body[..], b"{\"error\":0}", "taken over");
    }
    let line = desk.log.wait_for(|line| line["message"] == "an integrator cannot be reached").await;
    assert!(line["error"].as_str().unwrap().contains("certificate"), "{line}");
    assert!(app.requests().is_empty(), "nothing is said to who cannot show who he is");
    assert_eq!(desk.relay.status().saves.waiting, 2);
    drop(desk);
    // The same directory, and the name that the certificate holds.
    let desk =
        Desk::start(&setup("rapidpm.example"), stub.address, folder.path(), Arc::new(RealDisk)).unwrap();
    for key in ["a", "b"] {
        let callback = app.wait_for_callback(|callback| callback.key == key).await;
        assert_eq!(callback.header("host"), Some("rapidpm.example"));
        assert!(callback.token.is_ok());
    }
    drop(desk);
}
