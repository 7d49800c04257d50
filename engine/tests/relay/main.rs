//! Every way from the ring to the softswitch and back, end to end, between namespaces. Needs root.

/// To softswitches over UDP, with a PROXY protocol line in front of each datagram.
mod proxy;
