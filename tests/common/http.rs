//! What the daemon serves, asked for by hand.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Daemon;

/// How long any answer may take before the test fails: far longer than it ever should.
const LIMIT: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The body, which is JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.body))
    }
}

/// `host:port` of a daemon that was told to listen at a free port (`127.0.0.1:0`).
pub(crate) async fn url_of(daemon: &mut Daemon) -> String {
    let line = daemon
        .wait_for_line("status page, metrics and health")
        .await;
    let (_, rest) = line.split_once("http://").unwrap();
    rest.split('/').next().unwrap().to_owned()
}

/// Asks for a path.
pub(crate) async fn get(address: &str, path: &str) -> Answer {
    request(address, "GET", path, address).await
}

/// Asks by any method, and by any name of the host.
pub(crate) async fn request(address: &str, method: &str, path: &str, host: &str) -> Answer {
    let asking = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let question = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        );
        stream.write_all(question.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    };
    let text = timeout(LIMIT, asking).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer {
        status,
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}
