//! Timers (RFC 3261, table 4) and port, as SIP has them. Times are ns.

/// A round trip, as SIP estimates it: the first retransmission comes after it (§17.1.1.1).
pub const T1: u64 = 500_000_000;
/// The longest time between two retransmissions (§17.1.2.2).
pub const T2: u64 = 4_000_000_000;
/// 64·T1: how long a transaction is tried (timers B, F, H, J).
pub const TRANSACTION: u64 = 64 * T1;
/// The port where none is written (§18.1.1, §18.2.2, §19.1.2).
pub const PORT: u16 = 5060;
