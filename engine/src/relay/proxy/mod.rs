//! To softswitches over UDP, with a PROXY protocol line in front of each datagram.

/// What stands in front.
mod line;

pub use line::{Line, line_of};
