//! Stand-ins for the two programs around the gateway, so that demo and tests need neither a container nor a RapidPM.
//!
//! - [`DocumentServer`] is an ONLYOFFICE Document Server 9.0.4: its routes, its refusals, its sockets by hand (WebSocket and
//!   polling), shared documents of text, and the callbacks and retries of its saves.
//! - [`Integrator`] is an application that embeds editors: it signs configurations, serves documents, takes callbacks, fetches
//!   and keeps what was saved, and fails in every way that a test asks for.
//! - [`token`] makes tokens of every class, right and wrong ones.
//!
//! ```no_run
//! # async fn demo() -> std::io::Result<()> {
//! use standin::{DocumentServer, Integrator, document_server, integrator};
//!
//! let server = DocumentServer::start(document_server::Options::default()).await?;
//! let options = integrator::Options { gateway: server.url(), ..Default::default() };
//! let integrator = Integrator::start(options).await?;
//! println!("open {}", integrator.url());
//! let save = integrator.wait_for_save("demo").await;
//! assert_eq!(save.status, 2);
//! # Ok(()) }
//! ```
//!
//! Both listen on a free port of 127.0.0.1 unless told otherwise, record what they receive, and wait on events, never on time.
//! Both can be stopped like a killed process and started again on the same port. Where the stand-in Document Server differs from
//! the real one, it does so on purpose: conversions only carry text over, `/info/config` gives secrets that open nothing, and a
//! change is `{"p":position,"d":deleted,"i":"inserted"}` in UTF-16 units instead of the editor's binary form.

// A stand-in that cannot go on shall fail its test loudly; the gateway itself never may.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod answer;
pub mod clock;
pub mod document_server;
mod fault;
pub mod integrator;
mod link;
mod network;
mod path;
mod record;
mod server;
pub mod token;
pub mod zip;

pub use document_server::DocumentServer;
pub use fault::Fault;
pub use integrator::Integrator;
pub use network::Network;
pub use record::Received;
