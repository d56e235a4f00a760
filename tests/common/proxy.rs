//! A network that fails in silence.

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes connections on to a port of 127.0.0.1, until those open are swallowed: then their bytes go nowhere, and
/// neither side is told.
#[derive(Debug)]
pub(crate) struct Proxy {
    port: u16,
    swallowed: watch::Sender<()>,
}

impl Proxy {
    /// Listens at a free port of 127.0.0.1.
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let own_port = listener.local_addr().unwrap().port();
        let swallowed = watch::Sender::new(());
        let receiver = swallowed.subscribe();
        tokio::spawn(async move {
            while let Ok((inner, _)) = listener.accept().await {
                tokio::spawn(pass_on(inner, port, receiver.clone()));
            }
        });
        Self {
            port: own_port,
            swallowed,
        }
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Swallows all open connections; new ones work.
    pub(crate) fn swallow(&self) {
        self.swallowed.send_replace(());
    }
}

async fn pass_on(mut inner: TcpStream, port: u16, mut swallowed: watch::Receiver<()>) {
    swallowed.mark_unchanged();
    let mut outer = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    tokio::select! {
        _ = copy_bidirectional(&mut inner, &mut outer) => {}
        _ = swallowed.changed() => {
            // both stay open
            std::future::pending::<()>().await;
        }
    }
}
