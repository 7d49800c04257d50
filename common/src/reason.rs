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
                (self as u8) < Self::ForeignDomain as u8
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
    /// Passed: TCP or SCTP to a SIP port, from a source that may connect.
    OtherL4 = "other_l4",
    /// Passed: a later fragment that is none of the engine's business.
    Fragment = "fragment",
    // dropped, each by a rule that can be enforced, monitored or switched off
    /// Dropped: a rule blocks the source.
    Blocked = "blocked",
    /// Dropped: `xdp.mode = "closed"`, and the source is neither trusted nor allowed.
    Closed = "closed",
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
    /// Dropped: no line end within 2,048 bytes.
    LongLine = "long_line",
    /// Dropped: a method that no RFC of SIP's registry names, from an unknown source.
    UnknownMethod = "unknown_method",
    /// Dropped: a request that unknown sources get no answer to: OPTIONS, or what `xdp.stealth` says.
    Stealth = "stealth",
    /// Dropped: a scanner's signature in a request from an unknown source.
    Scanner = "scanner",
    /// Dropped: more REGISTERs than the source's tier may send.
    RateRegister = "rate_register",
    /// Dropped: more INVITEs than the source's tier may send.
    RateInvite = "rate_invite",
    /// Dropped: more OPTIONS than the source's tier may send.
    RateOptions = "rate_options",
    /// Dropped: more packets of all kinds than the source's tier may send.
    RateSource = "rate_source",
    /// Dropped: more than the unknown sources of one /24 or /48 may send together.
    RatePrefix = "rate_prefix",
    /// Dropped in attack mode: more than all unknown sources may send together.
    RateGlobal = "rate_global",
    // survived
    /// Survived every rule and went to the engine.
    Redirected = "redirected",
    /// Survived every rule and took the kernel's path: no live worker on the queue, or not for the engine.
    Kernel = "kernel",
    // counted by the engine, of what was redirected
    /// Dropped by the engine: a request from an unknown source to a domain that is not ours.
    ForeignDomain = "foreign_domain",
    /// Dropped by the engine: a REGISTER of an identity that is suspended, or with more credentials than are looked at.
    Suspended = "suspended",
    /// Dropped by the engine: overlapping fragments; the kernel would discard the datagram.
    Overlap = "fragment_overlap",
    /// Dropped by the engine: more datagrams in fragments, or larger ones, than it keeps in view.
    FragmentOverflow = "fragment_overflow",
    /// Dropped by the engine where it goes past the kernel: the IPv4 header checksum is wrong (RFC 1122 §3.2.1.2).
    HeaderChecksum = "header_checksum",
    /// Dropped by the engine where it goes past the kernel: that would not take this source on this interface
    /// (rp_filter).
    ReversePath = "reverse_path",
    /// Lost: the relay did not take it.
    RelayError = "relay_error",
    /// Dropped by the engine where it goes past the kernel: the UDP checksum is wrong (RFC 1122 §4.1.3.4).
    UdpChecksum = "udp_checksum",
    /// Dropped by the engine: nobody is there to take it, and `relay.fallback = "drop"`.
    RelayAbsent = "relay_absent",
    /// Given up by the engine: the relay is full, and what is there counts for more.
    GivenUp = "given_up",
    // answered by the engine
    /// Answered: an OPTIONS of an allowed or trusted source.
    Answered = "answered",
    /// Answered with 503: the softswitch is dead.
    Unavailable = "unavailable",
    /// Answered: 403 to a REGISTER of an identity that is suspended, 503 to a gateway's call beyond its limits, 200 to the
    /// CANCEL of such a call.
    Refused = "refused",
    // taken by the engine
    /// Taken: a keep-alive, which over UDP wants no answer (RFC 5626 §3.5.1).
    KeepAlive = "keep_alive",
    /// Taken: a retransmission of what the softswitch is still working on.
    Retransmission = "retransmission",
    /// Taken: a fragment of a datagram that is relayed as one.
    InFragments = "in_fragments",
    /// Taken: the ACK of an answer of the engine's own.
    Acknowledged = "acknowledged",
    // of gateways: calls beyond their limits
    /// Refused by the engine with 503, or dropped where that cannot leave: a gateway's call beyond its calls a second.
    GatewayCps = "gateway_cps",
    /// The same: beyond its calls at a time.
    GatewayCalls = "gateway_calls",
    // of sources that have asked for too much that is not there
    /// Dropped by the engine: a request that begins something, of an unknown source that is slowed and has sent its share.
    Slowed = "slowed",
    // of registrations and of who is asked whether it is there
    /// Dropped by the engine: a REGISTER or an INVITE of an unknown source that has as many without an answer as it may.
    Parallel = "parallel",
    /// Dropped by the engine: a REGISTER with more or longer Contacts than `[registration]` grants.
    Contacts = "contacts",
    /// Taken: the reply to an OPTIONS of the engine's own, which asked an endpoint whether it is there.
    OnlineReply = "online_reply",
}

impl Reason {
    /// This reason's bit in [`Config::enforce`](crate::state::Config::enforce) and
    /// [`Config::monitor`](crate::state::Config::monitor).
    #[inline(always)]
    pub const fn bit(self) -> u64 {
        1 << self as u8
    }

    /// Is it a rule that can be enforced, monitored or switched off? All that drop what the kernel would deliver are.
    pub const fn is_rule(self) -> bool {
        let slot = self as u8;
        (slot >= Self::Blocked as u8 && slot <= Self::RateGlobal as u8)
            || (slot >= Self::ForeignDomain as u8 && slot <= Self::Suspended as u8)
            || matches!(self, Self::GatewayCps | Self::GatewayCalls | Self::Slowed | Self::Parallel | Self::Contacts)
    }

    /// Was the packet answered by the engine?
    pub const fn is_answer(self) -> bool {
        matches!(self, Self::Answered | Self::Unavailable | Self::Refused)
    }

    /// Was it taken by the engine, and nothing is lost with it?
    pub const fn is_taken(self) -> bool {
        matches!(
            self,
            Self::KeepAlive | Self::Retransmission | Self::InFragments | Self::Acknowledged | Self::OnlineReply
        )
    }

    /// The reason with this label.
    pub fn of_label(label: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.label() == label)
    }
}

/// Slots of a counter array: more than there are reasons, so that a new one does not change the map. A bit each in
/// [`Config::enforce`](crate::state::Config::enforce).
pub const REASON_SLOTS: u32 = 64;

const _: () = assert!(Reason::ALL.len() <= REASON_SLOTS as usize);

/// Where in the array of what befalls sources that are trusted or allowed the slots of rules begin that would have dropped
/// their packets; below are those of rules that did.
pub const WATCHED: u32 = REASON_SLOTS / 2;

const _: () = assert!((Reason::ForeignDomain as u32) < WATCHED, "the slots of the program's rules overlap");
