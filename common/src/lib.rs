//! What the XDP program and user space both hold, in the order of a packet's journey.
//!
//! Everything here is `no_std`, allocates nothing, and is compiled twice: for the kernel by `ebpf`, for user space
//! by the engine, the tests and the bench. One [`verdict::judge`] serves them all, so they cannot disagree.
#![no_std]
#![forbid(unsafe_op_in_unsafe_fn)]

#[cfg(feature = "cases")]
extern crate std;

/// The verdict table that every suite runs, and tables in plain memory to run it over.
#[cfg(feature = "cases")]
pub mod cases;
/// A frame as it arrives: the only Ethernet, VLAN, IP and UDP offsets in the project.
pub mod packet;
/// Rates: clocks, tiers, and where they are kept.
pub mod rate;
/// Why a packet went where it went: counter slot, metric label and JSON word in one list.
pub mod reason;
/// Source rules: who, what applies, until when, and what afterwards.
pub mod rule;
/// Scanner signatures.
pub mod signature;
/// What must be seen of SIP before anything else is done: keep-alive, start line, method.
pub mod sip;
/// The other maps: configuration, own addresses, ports, samples.
pub mod state;
/// The whole decision.
pub mod verdict;
