//! What stands beside nginx when nginx itself cannot read a token: `auth_request` asks here, 204 is yes and 401 is no.
//!
//! As cheap as its friends would make it: threads that share nothing, keep-alive over a socket file, no log (nginx has one),
//! of the claims only `exp` is read. `jwt-service SOCKET SECRET-FILE THREADS`

use std::convert::Infallible;
use std::os::unix::net::UnixListener as StdListener;
use std::process::ExitCode;
use std::rc::Rc;
use std::{env, error, fs, io, thread};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;
use tokio::net::UnixListener;
use tokio::task::LocalSet;

/// The only claim that HAProxy is told to look at, too.
#[derive(Deserialize)]
struct Claims {
    #[serde(rename = "exp")]
    _exp: f64,
}

struct Judge {
    key: DecodingKey,
    validation: Validation,
}

impl Judge {
    fn new(secret: &[u8]) -> Self {
        // HS256 only, exp demanded, 60 s of leeway: the defaults of the library.
        Self { key: DecodingKey::from_secret(secret), validation: Validation::new(Algorithm::HS256) }
    }

    fn verdict(&self, request: &Request<Incoming>) -> StatusCode {
        let token =
            request.headers().get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        match token.map(|token| decode::<Claims>(token, &self.key, &self.validation)) {
            Some(Ok(_)) => StatusCode::NO_CONTENT,
            Some(Err(_)) | None => StatusCode::UNAUTHORIZED,
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [socket, secret, threads] = arguments.as_slice() else {
        eprintln!("usage: jwt-service SOCKET SECRET-FILE THREADS");
        return ExitCode::from(2);
    };
    match serve(socket, secret, threads) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("jwt-service: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn serve(socket: &str, secret: &str, threads: &str) -> Result<(), Box<dyn error::Error>> {
    let secret = fs::read_to_string(secret)?;
    let listener = StdListener::bind(socket)?;
    listener.set_nonblocking(true)?;
    let mut running = Vec::new();
    for _ in 0..threads.parse::<usize>()? {
        let (listener, secret) = (listener.try_clone()?, secret.clone());
        running.push(thread::spawn(move || answer(listener, secret.trim_end().as_bytes())));
    }
    for one in running {
        one.join().map_err(|_| "a thread panicked")??;
    }
    Ok(())
}

/// One thread's work: accept from the shared listener, and keep what was accepted.
fn answer(listener: StdListener, secret: &[u8]) -> io::Result<()> {
    let judge = Rc::new(Judge::new(secret));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    LocalSet::new().block_on(&runtime, async move {
        let listener = UnixListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            let judge = Rc::clone(&judge);
            tokio::task::spawn_local(async move {
                let service = service_fn(|request: Request<Incoming>| {
                    let mut response = Response::new(Empty::<Bytes>::new());
                    *response.status_mut() = judge.verdict(&request);
                    async { Ok::<_, Infallible>(response) }
                });
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await; // nginx left
            });
        }
    })
}
