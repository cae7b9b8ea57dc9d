//! Both stand-ins without a gateway between them, to look at the pages: `cargo run -p standin --example pair [GATEWAY_URL]`.

use standin::{DocumentServer, Integrator, document_server, integrator};
use std::io::Write as _;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let server = DocumentServer::start(document_server::Options::default()).await?;
    let gateway = std::env::args().nth(1).unwrap_or_else(|| server.url());
    let options = integrator::Options { gateway, ..Default::default() };
    let integrator = Integrator::start(options).await?;
    integrator.put("letter", "docx", "Dear reader,\n\nthis one is a DOCX.");
    writeln!(std::io::stdout(), "open {}/ (Document Server at {})", integrator.url(), server.url())?;
    std::future::pending().await
}
