//! `healthcheck`: asks the daemon of the same configuration on this machine how it is. For containers, whose images have
//! no other program to ask with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::output::Output;
use crate::cli::Healthcheck;
use crate::config::{Sources, load};
use crate::error::{CommandError, Exit};

/// Longer than the daemon takes to answer when its database does not.
const PATIENCE: Duration = Duration::from_secs(15);

pub(super) async fn run(
    sources: &Sources,
    arguments: &Healthcheck,
    output: Output,
) -> Result<Exit, CommandError> {
    let loaded = load(sources)?;
    let Ok(Some(address)) = loaded.first().http.address() else {
        let message = "http.listen is off, so there is nothing to ask";
        return Err(CommandError::new(Exit::Configuration, message));
    };
    let path = if arguments.ready {
        "/readyz"
    } else {
        "/healthz"
    };
    let asked = tokio::time::timeout(PATIENCE, ask(reachable(address), path)).await;
    let answer = match asked {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => format!("no daemon answers at {address}: {error}"),
        Err(_) => format!("no answer from {address} for {} s", PATIENCE.as_secs()),
    };
    let is_well = answer.starts_with("HTTP/1.1 200 ");
    let text = match answer.split_once("\r\n\r\n") {
        Some((_, body)) => body.trim().to_owned(),
        None => answer,
    };
    output.data(
        &serde_json::json!({ "well": is_well, "answer": text }),
        |_| text.clone(),
    )?;
    Ok(if is_well { Exit::Ok } else { Exit::Negative })
}

/// A daemon that listens everywhere is to be had here.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

async fn ask(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let question = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(question.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
