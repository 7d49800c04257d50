use core::fmt;

/// The headers this crate knows by name (RFC 3261 §7.3.3, §20), long and compact forms alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Name {
    /// `Via`, `v` (§20.42)
    Via,
    /// `From`, `f` (§20.20)
    From,
    /// `To`, `t` (§20.39)
    To,
    /// `Call-ID`, `i` (§20.8)
    CallId,
    /// `CSeq` (§20.16)
    CSeq,
    /// `Contact`, `m` (§20.10)
    Contact,
    /// `Max-Forwards` (§20.22)
    MaxForwards,
    /// `Content-Length`, `l` (§20.14)
    ContentLength,
    /// `Content-Type`, `c` (§20.15)
    ContentType,
    /// `User-Agent` (§20.41)
    UserAgent,
    /// `Server` (§20.35)
    Server,
    /// `Route` (§20.34)
    Route,
    /// `Record-Route` (§20.30)
    RecordRoute,
    /// `Expires` (§20.19)
    Expires,
    /// `Authorization` (§20.7)
    Authorization,
    /// `Proxy-Authorization` (§20.28)
    ProxyAuthorization,
    /// `WWW-Authenticate` (§20.44)
    WwwAuthenticate,
    /// `Proxy-Authenticate` (§20.27)
    ProxyAuthenticate,
    /// `Allow` (§20.5)
    Allow,
    /// `Supported`, `k` (§20.37)
    Supported,
    /// `Require` (§20.32)
    Require,
    /// `Subject`, `s` (§20.36)
    Subject,
    /// `Event`, `o` (RFC 6665 §8.2.1)
    Event,
    /// `Refer-To`, `r` (RFC 3515 §2.1)
    ReferTo,
    /// Any other header.
    Other,
}

impl Name {
    pub(crate) const COUNT: usize = Self::Other as usize + 1;

    /// The header that `token` names, in any case.
    pub(crate) fn of(token: &[u8]) -> Self {
        let key = Key::of(token);
        let entry = &TABLE[key.slot()];
        // A key holds the first and last eight bytes: of longer names the middle is yet to be seen.
        let is_known = key == entry.key && (token.len() <= 16 || entry.spelling.eq_ignore_ascii_case(token));
        if is_known { entry.name } else { Self::Other }
    }

    /// The long form; `Other` for a header that has no name here.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Via => "Via",
            Self::From => "From",
            Self::To => "To",
            Self::CallId => "Call-ID",
            Self::CSeq => "CSeq",
            Self::Contact => "Contact",
            Self::MaxForwards => "Max-Forwards",
            Self::ContentLength => "Content-Length",
            Self::ContentType => "Content-Type",
            Self::UserAgent => "User-Agent",
            Self::Server => "Server",
            Self::Route => "Route",
            Self::RecordRoute => "Record-Route",
            Self::Expires => "Expires",
            Self::Authorization => "Authorization",
            Self::ProxyAuthorization => "Proxy-Authorization",
            Self::WwwAuthenticate => "WWW-Authenticate",
            Self::ProxyAuthenticate => "Proxy-Authenticate",
            Self::Allow => "Allow",
            Self::Supported => "Supported",
            Self::Require => "Require",
            Self::Subject => "Subject",
            Self::Event => "Event",
            Self::ReferTo => "Refer-To",
            Self::Other => "Other",
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Every spelling of every name, where [`Key::slot`] finds it.
static TABLE: [Entry; 64] = {
    let mut table = [Entry::NONE; 64];
    let mut i = 0;
    while i < SPELLINGS.len() {
        let (spelling, name) = SPELLINGS[i];
        let key = Key::of(spelling);
        assert!(table[key.slot()].spelling.is_empty(), "two names share a slot: change Key::FACTOR");
        table[key.slot()] = Entry { key, spelling, name };
        i += 1;
    }
    table
};

const SPELLINGS: &[(&[u8], Name)] = &[
    (b"via", Name::Via),
    (b"v", Name::Via),
    (b"from", Name::From),
    (b"f", Name::From),
    (b"to", Name::To),
    (b"t", Name::To),
    (b"call-id", Name::CallId),
    (b"i", Name::CallId),
    (b"cseq", Name::CSeq),
    (b"contact", Name::Contact),
    (b"m", Name::Contact),
    (b"max-forwards", Name::MaxForwards),
    (b"content-length", Name::ContentLength),
    (b"l", Name::ContentLength),
    (b"content-type", Name::ContentType),
    (b"c", Name::ContentType),
    (b"user-agent", Name::UserAgent),
    (b"server", Name::Server),
    (b"route", Name::Route),
    (b"record-route", Name::RecordRoute),
    (b"expires", Name::Expires),
    (b"authorization", Name::Authorization),
    (b"proxy-authorization", Name::ProxyAuthorization),
    (b"www-authenticate", Name::WwwAuthenticate),
    (b"proxy-authenticate", Name::ProxyAuthenticate),
    (b"allow", Name::Allow),
    (b"supported", Name::Supported),
    (b"k", Name::Supported),
    (b"require", Name::Require),
    (b"subject", Name::Subject),
    (b"s", Name::Subject),
    (b"event", Name::Event),
    (b"o", Name::Event),
    (b"refer-to", Name::ReferTo),
    (b"r", Name::ReferTo),
];

#[derive(Clone, Copy)]
struct Entry {
    key: Key,
    spelling: &'static [u8],
    name: Name,
}

impl Entry {
    const NONE: Self = Self { key: Key::of(b""), spelling: b"", name: Name::Other };
}

/// A name in registers: its length, and its first and last eight bytes (which overlap) without
/// case. Two names of at most 16 bytes that differ in more than case have different keys.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    first: u64,
    last: u64,
    len: usize,
}

impl Key {
    /// Found by trial, some thousands of them: no two spellings share one of 64 slots.
    const FACTOR: u64 = 0x6b84_317b_f2a6_6d03;

    const fn of(token: &[u8]) -> Self {
        let (first, last) = match (token.first_chunk(), token.last_chunk()) {
            (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
            _ => (short(token), 0),
        };
        Self { first: fold(first), last: fold(last), len: token.len() }
    }

    const fn slot(self) -> usize {
        let mixed = self.first ^ self.last.rotate_left(29) ^ self.len as u64;
        (mixed.wrapping_mul(Self::FACTOR) >> 58) as usize
    }
}

/// Fewer than eight bytes as one number.
const fn short(token: &[u8]) -> u64 {
    if let (Some(first), Some(last)) = (token.first_chunk(), token.last_chunk()) {
        u32::from_le_bytes(*first) as u64 | (u32::from_le_bytes(*last) as u64) << 32
    } else if let (Some(first), Some(last)) = (token.first_chunk(), token.last_chunk()) {
        u16::from_le_bytes(*first) as u64 | (u16::from_le_bytes(*last) as u64) << 16
    } else if let [byte] = token {
        *byte as u64
    } else {
        0
    }
}

/// Eight bytes in lower case: what has bit 6 set gets bit 5. Among the letters and `-` of the known
/// names this confuses nothing; `-`, having no bit 6, stays apart from CR.
const fn fold(bytes: u64) -> u64 {
    bytes | (bytes & 0x4040_4040_4040_4040) >> 1
}
