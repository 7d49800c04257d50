//! Why the engine does not start, or does not go on.

use std::io;

use thiserror::Error;

use crate::config::ConfigError;
use crate::control::ask::Refusal;
use crate::control::socket::SocketError;
use crate::relay::ResolveError;
use crate::xdp::{AttachError, LoadError};
use crate::xsk::BindError;

/// The engine does not start, or does not go on. Every message names the fix.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No such interface.
    #[error("there is no interface {0}: `ip -br link` lists those that there are")]
    NoInterface(String),
    /// Not as many queues as asked for.
    #[error(
        "{iface} has {has} RX queues; --queues {asked} would {effect}: run `ethtool -L {iface} combined {asked}`{or}, or start with --queues {has}",
        effect = if has > asked { format!("miss {} of them", has - asked) } else { "ask for more than there are".to_owned() },
        or = " (where RX and TX queues are apart: `rx` and `tx` in place of `combined`)"
    )]
    Queues {
        /// The interface.
        iface: String,
        /// RX queues it has.
        has: u32,
        /// RX queues that were asked for.
        asked: u32,
    },
    /// Raw injection beside firewall rules.
    #[error(
        "raw injection goes around the firewall, and {0}: use native XDP with re-entry, or set relay.accept_firewall_bypass = true if that is meant"
    )]
    Firewall(String),
    /// Re-entry under generic XDP.
    #[error(
        "re-entry would run generic XDP again on every packet, for ever: use --inject raw or auto with generic XDP"
    )]
    ReentryLoop,
    /// A softswitch's name.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// Asking the kernel.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// Program or maps.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Attaching.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// Sockets.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Decisions.
    #[error(transparent)]
    Decisions(#[from] Refusal),
    /// The API's socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// A thread ended that should not.
    #[error("a worker or an observer ended unexpectedly; the filter stays in force, survivors take the kernel's path")]
    WorkerDied,
    /// The interface went away.
    #[error("interface {0} is gone; start again when it is back")]
    InterfaceGone(String),
}

impl StartError {
    /// The exit status, for service managers: a start in vain that somebody has to see to is `EX_CONFIG` (78, sysexits.h),
    /// and another try is no use. All else may mend itself, and is 1.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Config(_)
            | Self::Queues { .. }
            | Self::Firewall(_)
            | Self::ReentryLoop
            | Self::Attach(AttachError::Foreign { .. } | AttachError::Native { .. })
            | Self::Bind(BindError::NoZeroCopy { .. })
            | Self::Socket(SocketError::NoGroup { .. }) => EX_CONFIG,
            _ => 1,
        }
    }
}

/// `EX_CONFIG` of sysexits.h. The unit's `RestartPreventExitStatus` names it.
const EX_CONFIG: u8 = 78;

pub(super) fn io(what: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::Io { what, source }
}
