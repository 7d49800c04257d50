//! The journey of a packet, end to end: from another host through XDP, AF_XDP and the relay to an unmodified Kamailio
//! and back.
//!
//! Nothing here looks into the engine: what happened is told by Kamailio's log, by the replies, by tcpdump behind XDP
//! and by `vosctl stats --json`. Needs root; each test makes namespaces of its own and removes them.

/// What the engine answers itself.
mod answers;
/// Blocked sources, and how a block ends.
mod blocked;
/// Calls and registrations over both families and all queues.
mod calls;
/// The configuration that operators begin with.
mod configured;
/// What the kernel and the site refuse stays refused.
mod hostile;
/// Monitor and filter mode.
mod modes;
/// What goes through the engine, and what need not.
mod needed;
/// A softswitch that is behind.
mod overload;
/// What passes: other protocols, other ports, unusual SIP.
mod passes;
/// A recorded session of real phones, packet for packet.
mod recorded;
/// What `vosctl` refuses.
mod refusals;
/// A telephone system and its phones.
mod registrar;
/// Scanners, and those who may ask.
mod scans;
/// The set-up that all share.
mod site;
/// Scanners and password guessers as they are, and disguised.
mod tools;
/// Samples, captures, and why.
mod watching;
