//! The softswitches behind `relay.to = "proxy…"` follow the configuration together with the kernel's maps.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use tracing::warn;
use vos_common::state::Config as KernelConfig;

use crate::config::Config;
use crate::live::{Kernel, Reader};
use crate::relay::Switchboard;
use crate::xdp::{LoadError, Settings};

/// What a change of the configuration changes: the kernel's maps and, where there is one, the switchboard.
pub(super) struct Followers {
    pub(super) settings: Arc<Mutex<Settings>>,
    pub(super) board: Option<Arc<Switchboard>>,
    pub(super) config: Config,
}

impl Kernel for Followers {
    fn reload(&mut self, config: &Config, own: &[IpAddr]) -> Result<KernelConfig, LoadError> {
        let done = self.settings.reload(config, own)?;
        self.config = config.clone();
        if let Some(board) = &self.board {
            board.follow(config);
            board.follow_own(own, config);
        }
        Ok(done)
    }

    fn homes(&mut self, own: &[IpAddr], protect: &[IpAddr]) -> Result<(), LoadError> {
        self.settings.homes(own, protect)?;
        if let Some(board) = &self.board {
            board.follow_own(own, &self.config);
        }
        Ok(())
    }

    fn attack(&mut self, until: u64) -> Result<KernelConfig, LoadError> {
        self.settings.attack(until)
    }

    fn config(&self) -> KernelConfig {
        self.settings.config()
    }
}

/// Reads a configuration and looks up names again. One that is not found keeps its address: a resolver that is away must
/// not keep an operator from changing a rule.
pub(super) fn resolving(read: Reader, board: Option<Arc<Switchboard>>) -> Reader {
    Box::new(move || {
        let new = read()?;
        // relay.to itself changes at a start only: it is the name in force that is looked up again.
        if let Some(Err(error)) = board.as_ref().map(|board| board.resolve_again()) {
            warn!("{error}; it keeps its address");
        }
        Ok(new)
    })
}
