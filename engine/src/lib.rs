//! The engine of vos-fastpath, in the order of a packet's journey: what is dropped at the NIC, what the workers
//! take from the rings, what they decide, how it gets to the softswitch, and who says what is to be done.

/// The Internet checksum.
pub mod checksum;
/// What is configured.
pub mod config;
/// What the operator says, checked, on disk, in the kernel.
pub mod control;
/// All of it together, from start to stop.
pub mod daemon;
/// What the softswitch answers.
pub mod egress;
/// What happens, for whoever wants to watch.
pub mod events;
/// Why a packet goes where it goes, in words.
pub mod explain;
/// Where decisions come from without an operator.
pub mod feed;
/// Is the softswitch alive?
pub mod health;
/// What is in force, and the ways to change it while packets flow.
pub mod live;
/// What is counted, for Prometheus.
pub mod metrics;
/// Interfaces, addresses and routes, asked of the kernel.
pub mod netlink;
/// Files of packets.
pub mod pcap;
/// Bytes in, action out.
pub mod pipeline;
/// What has memory: proven sources, our domains.
pub mod policy;
/// How far behind the softswitch on this host is.
pub mod pressure;
/// A view of datagrams that arrive in fragments.
pub mod reassembly;
/// From the ring to the softswitch.
pub mod relay;
/// What of the configuration the workers decide by.
pub mod ruleset;
/// Dropped packets, as they arrived.
pub mod samples;
/// Copies of requests that are kept back.
pub mod shield;
/// Kernel calls without a safe wrapper.
pub mod sys;
/// From the relay to the caller.
pub mod transmit;
/// The verdict over a datagram that came in fragments.
mod whole;
/// The pinned loop of one queue.
pub mod worker;
/// The XDP program and its maps: load, pin, attach, count.
pub mod xdp;
/// AF_XDP: UMEM, move-only frame, socket.
pub mod xsk;
