//! The control plane from outside: real engines with a wire each, `vosctl`, feeds, brokers, and a packet that tells whether
//! its source is dropped.
//!
//! Needs root. Each test makes namespaces of its own and removes them.

/// A RabbitMQ of the test's own.
mod broker;
/// The page in a browser.
mod browser;
/// `vos-engine check`.
mod check;
/// Nodes that agree.
mod cluster;
/// Decoys, and who falls for them.
mod decoy;
/// What every other test here stands on.
mod drops;
/// Watched files.
mod files;
/// An operator's day.
mod operator;
/// README.md and docs/, as somebody would follow them.
mod pages;
/// Lists for many hosts, by ssh.
mod push;
/// The queue of blocks and unblocks.
mod queue;
/// What is written down, at the broker.
mod records;
/// What Prometheus reads.
mod scrape;
/// Hosts, wires, engines.
mod site;
/// The softswitches' side of feeds, as configs/ has it.
mod softswitch;
/// The API over TCP.
mod tcp;
/// `vosctl top` on a terminal.
mod terminal;
/// What `vosctl` refuses by itself.
mod usage;
/// Prometheus, with the rules and the dashboard.
mod watching;
