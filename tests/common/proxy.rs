//! A network that fails in every way that networks do.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

/// Passes connections on to a port of 127.0.0.1, as well as its link is.
#[derive(Debug)]
pub(crate) struct Proxy {
    port: u16,
    state: watch::Sender<State>,
}

/// How the link is, for connections old and new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Up,
    /// Whatever is sent arrives that much later.
    Slow(Duration),
    /// A black hole: nothing arrives until it is up again. Connections stay open, new ones seem to open.
    Stalled,
    /// Every connection is reset at once.
    Refusing,
}

/// What happens to the connections that are open now, and not to later ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Break {
    /// They lead nowhere from now on, and neither side is told.
    Swallow,
    /// Both sides are told by a reset.
    Reset,
    /// The client is told, the server is not.
    TellClient,
    /// The server is told, the client is not.
    TellServer,
}

#[derive(Clone, Copy, Debug)]
struct State {
    link: Link,
    breaks: u64,
    how: Break,
}

impl Proxy {
    /// Listens at a free port of 127.0.0.1.
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let own_port = listener.local_addr().unwrap().port();
        let state = watch::Sender::new(State {
            link: Link::Up,
            breaks: 0,
            how: Break::Swallow,
        });
        let states = state.subscribe();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass_on(client, port, states.clone()));
            }
        });
        Self {
            port: own_port,
            state,
        }
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A URL of the server, as one that leads through here.
    pub(crate) fn through(&self, url: &str, server_port: u16) -> String {
        url.replace(&format!(":{server_port}/"), &format!(":{}/", self.port))
    }

    /// Changes the link.
    pub(crate) fn set(&self, link: Link) {
        self.state.send_modify(|state| state.link = link);
    }

    /// Breaks what is open.
    pub(crate) fn break_all(&self, how: Break) {
        self.state.send_modify(|state| {
            state.breaks += 1;
            state.how = how;
        });
    }

    /// Swallows all open connections; new ones work.
    pub(crate) fn swallow(&self) {
        self.break_all(Break::Swallow);
    }
}

/// Passes on until a side closes or the connection is broken.
async fn pass_on(mut client: TcpStream, port: u16, mut states: watch::Receiver<State>) {
    let breaks = states.borrow().breaks;
    let up = |state: &State| state.link != Link::Stalled || state.breaks > breaks;
    if states.wait_for(up).await.is_err() {
        return;
    }
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else {
        return;
    };
    let (mut to_server, mut to_client) = (vec![0; 8192], vec![0; 8192]);
    loop {
        let state = *states.borrow_and_update();
        if state.breaks > breaks {
            return broken(client, server, state.how).await;
        }
        let delay = match state.link {
            Link::Up => Duration::ZERO,
            Link::Slow(delay) => delay,
            Link::Refusing => return broken(client, server, Break::Reset).await,
            Link::Stalled => {
                if states.changed().await.is_err() {
                    return;
                }
                continue;
            }
        };
        let (bytes, receiver) = tokio::select! {
            changed = states.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            read = client.read(&mut to_server) => (read.map(|n| &to_server[..n]), &mut server),
            read = server.read(&mut to_client) => (read.map(|n| &to_client[..n]), &mut client),
        };
        let Some(bytes) = bytes.ok().filter(|bytes| !bytes.is_empty()) else {
            return;
        };
        if !delay.is_zero() {
            sleep(delay).await;
        }
        if receiver.write_all(bytes).await.is_err() {
            return;
        }
    }
}

async fn broken(client: TcpStream, server: TcpStream, how: Break) {
    let (told, untold) = match how {
        Break::Swallow => (vec![], vec![client, server]),
        Break::Reset => (vec![client, server], vec![]),
        Break::TellClient => (vec![client], vec![server]),
        Break::TellServer => (vec![server], vec![client]),
    };
    for stream in told {
        // closed by this, and by a reset
        stream.set_zero_linger().unwrap();
    }
    if !untold.is_empty() {
        std::future::pending::<()>().await;
    }
}
