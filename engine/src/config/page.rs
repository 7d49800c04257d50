//! `[page]`: the page for who would rather look.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::relay::maybe;
use super::validate::check;
use super::{Config, ConfigError};

/// `[page]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Page {
    /// Where the page is served, on loopback; `None`: nowhere.
    #[serde(with = "maybe")]
    pub listen: Option<SocketAddr>,
}

impl Config {
    /// The keys of `[page]`, and the token by which an undo is asked for there.
    pub(super) fn validate_page(&self) -> Result<(), ConfigError> {
        let Some(listen) = self.page.listen else { return Ok(()) };
        check("page.listen", listen.port() != 0, || "0 is no port".to_owned())?;
        check("page.listen", listen.ip().is_loopback(), || {
            let port = listen.port();
            format!(
                "the page asks nobody who they are, and {} is not loopback: listen at 127.0.0.1:{port}, and reach it from \
                 elsewhere by `ssh -L {port}:127.0.0.1:{port} HOST`",
                listen.ip()
            )
        })?;
        check("page.listen", self.api.listen != self.page.listen, || format!("{listen} is api.listen as well"))?;
        let token_file = &self.api.token_file;
        let none = token_file.as_os_str().is_empty();
        check("api.token_file", none || token_file.is_absolute(), || {
            format!("{token_file:?} is relative to wherever the engine is started")
        })
    }
}
