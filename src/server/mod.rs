//! HTTP, read-only: the status page, its data, metrics and health. It shows what the daemon's memory holds, and what
//! a handful of statements has read for everybody who asks within a few seconds; it changes nothing.

mod detail;
mod exposition;
mod guard;
pub mod metrics;
mod page;
mod routes;
mod source;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tracing::{info, warn};

pub use source::Source;

/// When to try again to listen at an address that is taken: by the daemon that this one takes over from, say.
const PAUSE: Duration = Duration::from_secs(5);

/// Serves what these databases (at least one) have to show until it is dropped. That nobody can listen at the address
/// stops nothing else.
pub async fn run(address: SocketAddr, databases: Vec<Source>) {
    let databases = Arc::new(databases);
    let mut is_said = false;
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(error) if !is_said => {
                warn!(%address, %error, "no status page and no metrics for now: trying again until there are");
                is_said = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(PAUSE).await;
    };
    if let Err(error) = serve(listener, databases).await {
        warn!(%address, %error, "status page and metrics have ended");
    }
}

async fn serve(listener: TcpListener, databases: Arc<Vec<Source>>) -> io::Result<()> {
    let address = listener.local_addr()?;
    // for people, who want to click it
    let shown = if address.ip().is_unspecified() {
        SocketAddr::from(([127, 0, 0, 1], address.port()))
    } else {
        address
    };
    info!(url = %format_args!("http://{shown}/"), "status page, metrics and health");
    let is_local = address.ip().is_loopback();
    axum::serve(listener, routes::router(databases, is_local)).await
}
