//! Why a packet went where it went. One list for all: the per-CPU counter's slot, the metric's label, the word in
//! JSON and in `vosctl stats`.

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $label:literal),+ $(,)?) => {
        /// Every packet that XDP sees is counted under exactly one of these.
        #[repr(u8)]
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Reason { $($(#[$doc])* $variant),+ }

        impl Reason {
            /// All reasons; the position of each is its counter's slot.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word for it in metrics and JSON.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label),+ }
            }

            /// Does the XDP program count it? If not, the engine does.
            pub const fn in_kernel(self) -> bool {
                (self as u8) < Self::Overlap as u8
            }
        }
    };
}

reasons! {
    // passed untouched
    /// Passed: not IP, not a SIP port, or not addressed to this host.
    NotOurs = "not_ours",
    /// Passed: a source that the kernel refuses or handles itself (loopback, multicast, link-local, own IPv4).
    Martian = "martian",
    /// Passed: TCP or SCTP to a SIP port from a source that is not blocked.
    OtherL4 = "other_l4",
    /// Passed: a later fragment of something that did not go to the engine.
    Fragment = "fragment",
    // dropped
    /// Dropped: a rule blocks the source.
    Blocked = "blocked",
    /// Dropped: an IPv6 source that is one of this host's own addresses; the kernel would deliver it.
    OwnSource = "own_source",
    /// Dropped: the UDP or IP length does not fit the frame; the kernel drops these too.
    BadLength = "bad_length",
    /// Dropped: more IPv6 extension headers than are walked (RFC 8504 §5.3 permits), so nobody hides behind them.
    TooDeep = "too_deep",
    /// Dropped: a first fragment too small to hold the start line.
    FragmentHead = "fragment_head",
    /// Dropped: under 20 bytes and no keep-alive; SIP servers ignore these.
    Short = "short",
    /// Dropped: no start line that begins or ends with `SIP/2.0` (RFC 3261 §7.1, §7.2).
    Malformed = "malformed",
    /// Dropped: OPTIONS from a source that is not allowed.
    Stealth = "stealth",
    // survived
    /// Survived every rule and went to the engine.
    Redirected = "redirected",
    /// Survived every rule and took the kernel's path: no live worker on the queue, or not for the engine.
    Kernel = "kernel",
    /// Monitor mode: a rule would have dropped it. Which one is counted in the second array.
    Monitored = "monitored",
    // counted by the engine, of what was redirected
    /// Dropped by the engine: overlapping fragments; the kernel would discard the datagram.
    Overlap = "fragment_overlap",
    /// Dropped by the engine in raw mode: the IPv4 header checksum is wrong (RFC 1122 §3.2.1.2).
    HeaderChecksum = "header_checksum",
    /// Dropped by the engine in raw mode: the kernel would not take this source on this interface (rp_filter).
    ReversePath = "reverse_path",
    /// Lost: the relay did not take it.
    RelayError = "relay_error",
}

/// Slots of a counter array: more than there are reasons, so that a new one does not change the map.
pub const REASON_SLOTS: u32 = 32;

const _: () = assert!(Reason::ALL.len() <= REASON_SLOTS as usize);
