//! Section `[http]`.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration;

/// Section `[http]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Address and port, or `off`.
    pub listen: String,
    /// For how many views there are metrics of their own.
    pub top_views: u32,
    /// For how long what was read from the database is shown before it is read again.
    #[serde(with = "duration")]
    pub cache: Duration,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:9841".to_owned(),
            top_views: 50,
            cache: Duration::from_secs(3),
        }
    }
}

impl HttpConfig {
    /// What stands for no HTTP at all.
    pub const OFF: &'static str = "off";

    /// Where to listen; `None`: nowhere. An error says what is wrong with the text.
    pub fn address(&self) -> Result<Option<SocketAddr>, String> {
        if self.listen.is_empty() || self.listen == Self::OFF {
            return Ok(None);
        }
        self.listen.parse().map(Some).map_err(|_| {
            "must be an address with a port, such as 127.0.0.1:9841 or [::]:9841, or off".to_owned()
        })
    }
}
