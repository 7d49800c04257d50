//! The engine of vos-fastpath, in the order of a packet's journey: what is dropped at the NIC, what the workers
//! take from the rings, what they decide, how it gets to the softswitch and what comes back, and who says what is to be
//! done.
//!
//! Blank lines keep the order: without them rustfmt sorts by name.

// At the NIC.

/// The XDP program and its maps: load, pin, attach, count.
pub mod xdp;

/// AF_XDP: UMEM, move-only frame, socket.
pub mod xsk;

// On a worker's thread.

/// The pinned loop of one queue.
pub mod worker;

/// Bytes in, action out.
pub mod pipeline;

/// A UDP datagram in a frame, and the Internet checksum.
pub mod datagram;

/// A view of datagrams that arrive in fragments.
pub mod reassembly;

/// The verdict over a datagram that came in fragments.
mod whole;

/// Copies of requests that are kept back.
pub mod shield;

/// How far behind the softswitch on this host is.
pub mod pressure;

/// From the ring to the softswitch.
pub mod relay;

/// From the relay to the caller.
pub mod transmit;

// What is learnt from it.

/// What the softswitch answers.
pub mod egress;

/// What has memory: proven sources, guessed passwords, trunks and their calls.
pub mod policy;

/// The policy's thread.
pub mod observer;

/// Whom the policy suspends.
pub mod warden;

/// Is this an attack?
pub mod detector;

/// Whom the policy slows and blocks.
pub mod offenders;

/// Who is registered from elsewhere.
pub mod moves;

/// What is written down.
pub mod records;

/// Is the softswitch alive?
pub mod health;

/// Are they there who are registered?
pub mod asker;

/// Dropped packets, as they arrived.
pub mod samples;

/// What happens, for whoever wants to watch.
pub mod events;

// Who says what is to be done.

/// What is configured.
pub mod config;

/// What of the configuration the workers decide by.
pub mod ruleset;

/// What is in force, and the ways to change it while packets flow.
pub mod live;

/// What the operator says, checked, on disk, in the kernel.
pub mod control;

/// Where decisions come from without an operator.
pub mod feed;

/// The way to the message broker.
pub mod amqp;

/// Nodes that agree.
pub mod cluster;

/// Why a packet goes where it goes, in words.
pub mod explain;

/// All of it together, from start to stop.
pub mod daemon;

/// What a thread may still do after its set-up.
pub mod privileges;

/// What threads of the API cannot do.
mod confinement;

/// What on this host keeps the engine from starting, protecting or being fast.
pub mod doctor;

// What all of them stand on.

/// Timers and port, as RFC 3261 has them.
pub mod sip;

/// What was seen lately, in a table that does not grow.
mod recent;

/// Log lines that do not fill the log.
mod seldom;

/// Small files that outlive the engine.
mod kept;

/// Events that do not crowd out others.
mod told;

/// Counters with one writer.
pub mod counter;

/// What is counted, for Prometheus.
pub mod metrics;

/// Interfaces, addresses and routes, asked of the kernel.
pub mod netlink;

/// What a network card can be asked and told.
pub mod ethtool;

/// The machine around the engine, set up by a profile and put back as it was.
pub mod tune;

/// Files of packets.
pub mod pcap;

/// Programs of this host, wherever they are.
mod programs;

/// Kernel calls without a safe wrapper.
pub mod sys;
