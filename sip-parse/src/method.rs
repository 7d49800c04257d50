use core::fmt;

use crate::Mode;
use crate::key::{self, Table};

/// The method of a request (RFC 3261 §7.1), or the one that a `CSeq` names.
///
/// RFC 3261 §7.1 makes methods case-sensitive, but OpenSIPS and Kamailio recognise theirs without
/// case and answer `options`. A shield must read what the server behind it reads, or writing in
/// lower case would be enough to pass it: [`Mode::Lenient`] recognises known methods in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method<'a> {
    /// RFC 3261 §13
    Invite,
    /// RFC 3261 §13.2.2.4
    Ack,
    /// RFC 3261 §15
    Bye,
    /// RFC 3261 §9
    Cancel,
    /// RFC 3261 §11
    Options,
    /// RFC 3261 §10
    Register,
    /// RFC 3262
    Prack,
    /// RFC 6665
    Subscribe,
    /// RFC 6665
    Notify,
    /// RFC 3903
    Publish,
    /// RFC 6086
    Info,
    /// RFC 3515
    Refer,
    /// RFC 3428
    Message,
    /// RFC 3311
    Update,
    /// A method that is none of the above, as it was written.
    Other(&'a [u8]),
}

impl<'a> Method<'a> {
    /// The method that `token` names; one in another case is another method in [`Mode::Strict`].
    pub fn of(token: &'a [u8], mode: Mode) -> Self {
        let known = KNOWN.get(key::lower(key::of(token)), token.len());
        let is_same = |method: &Self| mode == Mode::Lenient || method.as_bytes() == token;
        known.filter(is_same).unwrap_or(Self::Other(token))
    }

    /// The method as RFC 3261 spells it; an unknown one as it was written.
    pub const fn as_bytes(self) -> &'a [u8] {
        match self {
            Self::Invite => b"INVITE",
            Self::Ack => b"ACK",
            Self::Bye => b"BYE",
            Self::Cancel => b"CANCEL",
            Self::Options => b"OPTIONS",
            Self::Register => b"REGISTER",
            Self::Prack => b"PRACK",
            Self::Subscribe => b"SUBSCRIBE",
            Self::Notify => b"NOTIFY",
            Self::Publish => b"PUBLISH",
            Self::Info => b"INFO",
            Self::Refer => b"REFER",
            Self::Message => b"MESSAGE",
            Self::Update => b"UPDATE",
            Self::Other(token) => token,
        }
    }
}

impl fmt::Display for Method<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_bytes().escape_ascii())
    }
}

static KNOWN: Table<Method<'static>, 16> = Table::new(
    &[
        ("INVITE", Method::Invite),
        ("ACK", Method::Ack),
        ("BYE", Method::Bye),
        ("CANCEL", Method::Cancel),
        ("OPTIONS", Method::Options),
        ("REGISTER", Method::Register),
        ("PRACK", Method::Prack),
        ("SUBSCRIBE", Method::Subscribe),
        ("NOTIFY", Method::Notify),
        ("PUBLISH", Method::Publish),
        ("INFO", Method::Info),
        ("REFER", Method::Refer),
        ("MESSAGE", Method::Message),
        ("UPDATE", Method::Update),
    ],
    0x264d_3c06_a388_c609,
    Method::Other(b""),
);
