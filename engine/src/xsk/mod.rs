//! AF_XDP (`Documentation/networking/af_xdp.rst`): one UMEM and one socket per RX queue.
//!
//! Every frame of the UMEM is in one place at a time: free, with the kernel (fill ring, driver, RX ring), held as a
//! [`Frame`], or on its way out (TX ring, driver, completion ring). `free + kernel + held + sending = all`, at any time,
//! in any build.

/// A frame: moved, never copied.
mod frame;
/// All frames of a UMEM, and who has them.
mod frames;
/// UMEM and rings of one RX queue.
mod queue;

pub use frame::Frame;
pub use frames::Frames;
pub use queue::{BindError, Queue, Statistics, chunk_for};
