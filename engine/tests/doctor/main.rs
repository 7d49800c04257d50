//! `vosctl doctor` on hosts with something wrong: namespaces of the tests' own, real devices, firewalls, softswitches.
//! What it calls an error is held against the engine, which must then refuse to start, and its fixes are carried out.
//!
//! Needs root. This kernel's kinds of devices are used; bonds and VLANs, which not every kernel has, are recorded in the
//! library's own tests.

/// What is on the wire and below it.
mod device;
/// nftables, iptables, connection tracking.
mod firewall;
/// Hosts, and what is said of them.
mod host;
/// Who is asked, and how it ends.
mod outcome;
/// Who listens at the SIP port.
mod softswitch;
