//! The relay to somebody else than the softswitch on this host: what arrives there, and what callers get back.
//!
//! Nothing here looks into the engine: what happened is told by whoever takes the datagrams, by the callers' own sockets,
//! by Kamailio, which stands by on the same host, and by `vosctl`. Needs root; each test makes namespaces of its own and
//! removes them.

/// Programs that take datagrams.
mod consumer;
/// Datagrams in fragments.
mod fragments;
/// What the kernel would have checked.
mod hostile;
/// A telephone system's phones.
#[allow(dead_code, reason = "shared with the journey's tests, which use more of it")]
#[path = "../journey/registrar.rs"]
mod phones;
/// To softswitches over UDP, with a PROXY protocol line in front of each datagram.
mod proxy;
/// The set-up, with Kamailio as the softswitch on the same host.
#[allow(dead_code, reason = "shared with the journey's tests, which use more of it")]
#[path = "../journey/site/mod.rs"]
mod site;
/// Through a unix socket.
mod unix;
/// The example that operators begin with.
#[allow(dead_code, reason = "its main is for whoever runs it by itself")]
#[path = "../../examples/unix_consumer.rs"]
mod unix_consumer;
