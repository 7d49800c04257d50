//! Network namespaces, SIP load and a SIP responder: what benches, the demo and the engine's tests stand on.
//!
//! ```no_run
//! use vos_bench::{LoadOptions, NetNs, Responder, Stop, VethPair};
//!
//! # fn main() -> vos_bench::Result<()> {
//! let (server, client) = (NetNs::new("server")?, NetNs::new("client")?);
//! let _wire = VethPair::new(&server, "sip0", &client, "lan0", 4)?;
//! server.ip("addr add 192.0.2.1/24 dev sip0")?;
//! client.ip("addr add 192.0.2.10/24 dev lan0")?;
//!
//! let responder = server.enter(|| Responder::start(&["192.0.2.1:5060".parse().unwrap()]))??;
//! let options = LoadOptions::new("192.0.2.1:5060".parse().unwrap());
//! let report = client.enter(|| vos_bench::load::run(&options, &Stop::never()))??;
//! assert_eq!(report.lost, 0);
//! assert_eq!(responder.stop().method("OPTIONS"), report.sent);
//! # Ok(())
//! # }
//! ```

#![deny(unsafe_code)]

/// Many of those at a steady rate.
pub mod call;
/// One phone's registration and call, as a pure state machine with RFC 3261's timers.
mod dialog;
/// Credentials that answer a challenge.
pub mod digest;
/// What can go wrong, said together with the remedy.
pub mod error;
/// Many connected UDP sockets, so that traffic spreads over the receive queues.
mod flows;
/// Floods from any number of addresses, in whole frames.
pub mod junk;
/// Round-trip times, kept in histograms.
pub mod latency;
/// Open-loop load: what was sent, answered, lost, and how long it took.
pub mod load;
/// The verdict table's world in the maps of the loaded programs.
pub mod maps;
/// Tables, and their place in a file.
pub mod markdown;
/// A network namespace that is gone when its guard is.
pub mod netns;
/// BPF objects written instruction by instruction.
pub mod object;
/// Configuration under which a machine that stands still for a moment changes nothing.
pub mod patient;
/// Programs run to their end or until their guard is dropped.
pub mod process;
/// What a test needs of the machine.
pub mod ready;
/// Replies written by the rules of RFC 3261 §8.2.6, §18.2 and RFC 3581.
mod reply;
/// Requests written: whole ones for calls, templates with patched numbers for load.
mod request;
/// The SIP server at the other end.
pub mod responder;
/// A schedule that never waits for anyone: message n is due at n / rate.
pub mod schedule;
/// A disk that is soon full.
pub mod small_disk;
/// SIGINT, SIGTERM and SIGHUP as a flag that every loop looks at.
pub mod stop;
/// Children start with no signal blocked.
mod unmask;
/// What a verdict costs, in the kernel.
pub mod verdict;
/// Two interfaces with a wire between them, several queues each.
pub mod veth;

pub use call::{CallOptions, CallReport};
pub use error::{Error, Result};
pub use junk::{JunkOptions, JunkReport};
pub use load::{Kind, LoadOptions, LoadReport};
pub use netns::NetNs;
pub use patient::{QUIET, patient};
pub use process::Program;
pub use ready::ready;
pub use responder::{Listen, Responder, ServerStats};
pub use small_disk::SmallDisk;
pub use stop::Stop;
pub use veth::VethPair;
