//! The gateway between a stand-in Document Server and a stand-in RapidPM: something to click on, in one command.
//!
//! `cargo run --release --example demo` needs no other program, no port below 1024 and no network. It ends with Ctrl-C.

use std::error::Error;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Write, stdout};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use rapidpm_gateway::app::{Bound, Gateway};
use rapidpm_gateway::config::{self, Env};
use rapidpm_gateway::reload;
use rapidpm_gateway::tls::Tickets;
use standin::{DocumentServer, Integrator, Network, document_server, integrator};
use tokio::signal::unix::{SignalKind, signal};

/// As long as a real one has to be; it opens nothing but this demo.
const SECRET: &str = "b4e07d5a19c2f863e1d94a70b8c3526f4d1e";
/// Where the gateway and RapidPM stand when nobody else does; else the system chooses.
const USUAL: [u16; 3] = [8443, 8090, 8081];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let [https, application, admin] = USUAL.map(free_or_any);
    let server = DocumentServer::start(document_server::Options {
        secret: SECRET.into(),
        save_delay: std::time::Duration::from_secs(2), // the real one waits 5 s; a demo should not
        ..Default::default()
    })
    .await?;
    let rapidpm = Integrator::start(integrator::Options {
        listen: application,
        secret: SECRET.into(),
        network: Network::default().insecure(), // the certificate signs itself
        ..Default::default()
    })
    .await?;

    let folder = tempfile::tempdir()?;
    certificate(folder.path())?;
    let file = folder.path().join("gateway.toml");
    fs::write(&file, gateway_toml([https, admin], server.address(), rapidpm.address()))?;
    let env: Env = [(OsString::from("ONLY_OFFICE_SECRET"), OsString::from(SECRET))].into_iter().collect();
    let tickets = Tickets::new()?;
    let loaded = config::load(&file, &env, &tickets)?;
    let bound = Bound::new(&loaded.fixed)?;
    let port = bound.https[0].port();
    let log = folder.path().join("gateway.log");
    let followed = reload::File::new(file, env, tickets, &loaded);
    let mut gateway = Gateway::start(loaded.snapshot, &loaded.fixed, bound, File::create(&log)?)?;
    gateway.follow(followed);
    rapidpm.set_gateway(&format!("https://localhost:{port}"));
    rapidpm.set_public_url(&format!("http://localhost:{}", rapidpm.address().port()));

    say_what_to_try(port, rapidpm.address().port(), gateway.admin.port(), folder.path())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
        failed = tell_of_saves(&rapidpm) => failed?,
    }
    writeln!(stdout(), "\nbye")?;
    tokio::task::spawn_blocking(move || gateway.stop()).await?;
    Ok(())
}

/// The usual port, unless somebody has it.
fn free_or_any(port: u16) -> SocketAddr {
    let usual = SocketAddr::from(([127, 0, 0, 1], port));
    match TcpListener::bind(usual) {
        Ok(_) => usual,
        Err(_) => SocketAddr::from(([127, 0, 0, 1], 0)),
    }
}

fn certificate(folder: &Path) -> Result<(), Box<dyn Error>> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    fs::write(folder.join("demo.pem"), made.cert.pem())?;
    fs::write(folder.join("demo.key"), made.signing_key.serialize_pem())?;
    Ok(())
}

fn gateway_toml([https, admin]: [SocketAddr; 2], server: SocketAddr, rapidpm: SocketAddr) -> String {
    // `public_url` decides the links that the Document Server makes, so it has to name the port that browsers use.
    let port = if https.port() == 0 { free_port() } else { https.port() };
    format!(
        r#"public_url = "https://localhost:{port}"

[server]
https = ["127.0.0.1:{port}"]
http  = []
admin = "{admin}"

[[tls.certificates]]
names = ["localhost"]
chain = "demo.pem"
key   = "demo.key"

[jwt]
secret = {{ env = "ONLY_OFFICE_SECRET" }}

[document_server]
servers = ["http://{server}"]

[[integrators]]
name = "rapidpm"
url  = "http://localhost:{}"

[saves]
directory = "saves"

[log]
format = "text"
"#,
        rapidpm.port()
    )
}

/// A port that was free a moment ago: good enough where the usual one is taken.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|socket| socket.local_addr())
        .map_or(18443, |address| address.port())
}

fn say_what_to_try(https: u16, application: u16, admin: u16, folder: &Path) -> std::io::Result<()> {
    writeln!(
        stdout(),
        "
  RapidPM (a stand-in)   http://localhost:{application}/
  the gateway            https://localhost:{https}/
  its status page        http://localhost:{admin}/
  configuration and log  {folder}

  What to try
  1. Open https://localhost:{https}/ once and accept the certificate: it was made for this demo and signs itself.
  2. Open http://localhost:{application}/ in two tabs, open the same document in both, and type.
  3. Close both: two seconds later the Document Server saves, and the text arrives in RapidPM.
  4. curl -k https://localhost:{https}/info/config     (refused: it would give the secret away)
     curl -k https://localhost:{https}/healthcheck     (true)
     tail -f {folder}/gateway.log

  Ctrl-C ends it.
",
        folder = folder.display()
    )
}

/// A line for each save that arrives.
async fn tell_of_saves(rapidpm: &Integrator) -> std::io::Result<()> {
    for count in 1.. {
        let saves = rapidpm.wait_for_saves(count).await;
        if let Some(save) = saves.get(count - 1) {
            let bytes = save.bytes.len();
            writeln!(stdout(), "  saved: document {:?} with {bytes} bytes has arrived in RapidPM", save.key)?;
        }
    }
    Ok(())
}
