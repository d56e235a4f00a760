//! The service manager's end of the notification protocol.

use std::time::Duration;

use tempfile::TempDir;
use tokio::net::UnixDatagram;
use tokio::time::timeout;

/// How long anything that must happen may take before the test fails: far longer than it ever should.
const LIMIT: Duration = Duration::from_secs(60);

/// The socket that a service is told to send its notifications to.
#[derive(Debug)]
pub(crate) struct NotifySocket {
    socket: UnixDatagram,
    path: String,
    _directory: TempDir,
    messages: Vec<String>,
}

impl NotifySocket {
    /// A socket of its own.
    pub(crate) fn open() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        Self {
            socket: UnixDatagram::bind(&path).unwrap(),
            path: path.to_str().unwrap().to_owned(),
            _directory: directory,
            messages: Vec::new(),
        }
    }

    /// For `NOTIFY_SOCKET`.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Waits for the next message that contains the text, and returns it.
    pub(crate) async fn wait_for(&mut self, text: &str) -> String {
        let waiting = async {
            let mut buffer = [0; 4096];
            loop {
                let length = self.socket.recv(&mut buffer).await.unwrap();
                let message = String::from_utf8(buffer[..length].to_vec()).unwrap();
                self.messages.push(message.clone());
                if message.contains(text) {
                    return message;
                }
            }
        };
        let found = timeout(LIMIT, waiting).await.ok();
        found.unwrap_or_else(|| panic!("{text:?} was not told in: {:#?}", self.messages))
    }

    /// Everything told so far.
    pub(crate) fn messages(&mut self) -> &[String] {
        let mut buffer = [0; 4096];
        while let Ok(length) = self.socket.try_recv(&mut buffer) {
            let message = String::from_utf8(buffer[..length].to_vec()).unwrap();
            self.messages.push(message);
        }
        &self.messages
    }
}
