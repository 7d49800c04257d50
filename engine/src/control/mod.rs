//! Control plane: what the operator says, checked, on disk before it is acknowledged, and in the kernel's maps.

/// What an operator types as an address, read strictly.
pub mod address;

/// Where the operator's session comes from.
pub mod session;

/// What is decided about a source.
pub mod decision;

/// When it was decided, on a clock that a cluster shares.
pub mod stamp;

/// Two clocks at one instant: the operator's and the kernel's.
pub mod clock;

/// The kernel's side of the rules.
pub mod maps;

/// The IPv4 gate as user space holds it.
pub mod gate;

/// Which decisions there are, and what the kernel must hold for them.
pub mod rules;

/// A list of a million, a page at a time.
pub mod page;

/// Decisions on disk.
pub mod store;

/// What is asked, by whom, and what comes of it.
pub mod ask;

/// What nobody may do by mistake.
pub mod guard;

/// Taking decisions and taking them back.
pub mod decide;

/// How what many ask at once is carried out.
mod carry;

/// Many decisions at once.
pub mod bulk;

/// What ends goes.
mod sweep;

/// Which decisions there are.
mod list;

/// What is decided and not in force here.
mod hold;

/// Do disk, book and kernel agree?
pub mod verify;

/// What was done, so that it can be undone.
pub mod history;

/// What nodes of a cluster tell each other.
pub mod log;

/// What this node is and was called.
mod name;

/// What the control plane counts of itself.
pub mod figures;

/// What it shows on the page of metrics.
pub(crate) mod metrics;

/// What others told, brought into force here.
pub mod merge;

/// What all nodes share.
pub mod share;

/// What API and client say to each other.
pub mod wire;

/// The unix socket of the API.
pub mod socket;

/// The HTTP API.
pub mod api;

/// Connections over TCP: who gets a place, and how long anything may take.
mod connections;

/// The API over TCP.
pub(crate) mod tcp;

/// The page for who would rather look.
pub(crate) mod web;

/// What is shown to be let in there.
pub mod token;

/// What happens, as the API tells it.
mod stream;

/// The other end of the API.
pub mod client;

/// The other end of the stream of events.
pub mod follow;

/// Text of unknown origin on a terminal.
pub mod terminal;

#[cfg(test)]
pub(crate) mod fake_kernel;
#[cfg(test)]
mod tests;

pub use api::Engine;
pub use decide::Control;
pub use maps::{MapError, RuleMaps};
