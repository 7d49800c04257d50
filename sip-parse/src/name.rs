use core::fmt;

use crate::key::{self, Table};

/// Makes [`Name`] and the tables about it from one list.
macro_rules! names {
    ($($variant:ident $long:literal $(/ $compact:literal)? $count:ident $section:literal,)*) => {
        /// The headers this crate knows by name: those of RFC 3261 §20, and a few that came after.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Name {
            $(
                #[doc = concat!("`", $long, "`", $(", `", $compact, "`",)? " (", $section, ")")]
                $variant,
            )*
            /// Any other header.
            Other,
        }

        impl Name {
            /// The long form; `Other` for a header that has no name here.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $long,)*
                    Self::Other => "Other",
                }
            }

            /// The RFC and the section that define this header.
            pub const fn section(self) -> &'static str {
                match self {
                    $(Self::$variant => $section,)*
                    Self::Other => "RFC 3261 §7.3.1",
                }
            }

            /// Whether a message may have several of this header (§7.3.1).
            pub(crate) const fn may_repeat(self) -> bool {
                match self {
                    $(Self::$variant => Count::$count.may_repeat(),)*
                    Self::Other => true,
                }
            }
        }

        /// Every spelling of every name.
        const SPELLINGS: &[(&str, Name)] = &[$(($long, Name::$variant), $(($compact, Name::$variant),)?)*];
    };
}

enum Count {
    One,
    Many,
}

impl Count {
    const fn may_repeat(&self) -> bool {
        matches!(self, Self::Many)
    }
}

names! {
    Via "Via" / "v" Many "RFC 3261 §20.42",
    From "From" / "f" One "RFC 3261 §20.20",
    To "To" / "t" One "RFC 3261 §20.39",
    CallId "Call-ID" / "i" One "RFC 3261 §20.8",
    CSeq "CSeq" One "RFC 3261 §20.16",
    Contact "Contact" / "m" Many "RFC 3261 §20.10",
    MaxForwards "Max-Forwards" One "RFC 3261 §20.22",
    ContentLength "Content-Length" / "l" One "RFC 3261 §20.14",
    ContentType "Content-Type" / "c" One "RFC 3261 §20.15",
    UserAgent "User-Agent" One "RFC 3261 §20.41",
    Server "Server" One "RFC 3261 §20.35",
    Route "Route" Many "RFC 3261 §20.34",
    RecordRoute "Record-Route" Many "RFC 3261 §20.30",
    Expires "Expires" One "RFC 3261 §20.19",
    Authorization "Authorization" Many "RFC 3261 §20.7",
    ProxyAuthorization "Proxy-Authorization" Many "RFC 3261 §20.28",
    WwwAuthenticate "WWW-Authenticate" Many "RFC 3261 §20.44",
    ProxyAuthenticate "Proxy-Authenticate" Many "RFC 3261 §20.27",
    AuthenticationInfo "Authentication-Info" Many "RFC 3261 §20.6",
    Allow "Allow" Many "RFC 3261 §20.5",
    Supported "Supported" / "k" Many "RFC 3261 §20.37",
    Require "Require" Many "RFC 3261 §20.32",
    ProxyRequire "Proxy-Require" Many "RFC 3261 §20.29",
    Unsupported "Unsupported" Many "RFC 3261 §20.40",
    Subject "Subject" / "s" One "RFC 3261 §20.36",
    RetryAfter "Retry-After" One "RFC 3261 §20.33",
    MinExpires "Min-Expires" One "RFC 3261 §20.23",
    Date "Date" One "RFC 3261 §20.17",
    Timestamp "Timestamp" One "RFC 3261 §20.38",
    Warning "Warning" Many "RFC 3261 §20.43",
    ReplyTo "Reply-To" One "RFC 3261 §20.31",
    Organization "Organization" One "RFC 3261 §20.25",
    Priority "Priority" One "RFC 3261 §20.26",
    InReplyTo "In-Reply-To" Many "RFC 3261 §20.21",
    MimeVersion "MIME-Version" One "RFC 3261 §20.24",
    Accept "Accept" Many "RFC 3261 §20.1",
    AcceptEncoding "Accept-Encoding" Many "RFC 3261 §20.2",
    AcceptLanguage "Accept-Language" Many "RFC 3261 §20.3",
    AlertInfo "Alert-Info" Many "RFC 3261 §20.4",
    CallInfo "Call-Info" Many "RFC 3261 §20.9",
    ErrorInfo "Error-Info" Many "RFC 3261 §20.18",
    ContentDisposition "Content-Disposition" One "RFC 3261 §20.11",
    ContentEncoding "Content-Encoding" / "e" Many "RFC 3261 §20.12",
    ContentLanguage "Content-Language" Many "RFC 3261 §20.13",
    Event "Event" / "o" One "RFC 6665 §8.2.1",
    ReferTo "Refer-To" / "r" One "RFC 3515 §2.1",
}

impl Name {
    /// Whether a list without members is one (§25.1).
    pub(crate) const fn may_be_empty(self) -> bool {
        matches!(self, Self::Allow | Self::Supported | Self::Accept | Self::AcceptEncoding | Self::AcceptLanguage)
    }

    pub(crate) const COUNT: usize = Self::Other as usize + 1;

    /// The header that `token` names, in any case (§7.3.1, §7.3.3).
    pub fn of(token: &[u8]) -> Self {
        let found = TABLE.get(key::lower(key::of(token)), token.len());
        // Of longer names the beginning has been compared only.
        let is_whole = |name: &Self| token.len() <= 16 || name.as_str().as_bytes().eq_ignore_ascii_case(token);
        found.filter(is_whole).unwrap_or(Self::Other)
    }

    /// The header named by the first `length` bytes of `head`, fewer than 16.
    #[inline]
    pub(crate) fn of_head(head: &[u8; 16], length: usize) -> Option<Self> {
        TABLE.get(key::lower(key::of_head(head, length)), length)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

static TABLE: Table<Name, 256> = Table::new(SPELLINGS, 0x28fa_361a_6661_b877, Name::Other);
