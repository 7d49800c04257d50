//! A zero-copy SIP parser for the packet path: no allocation, no `unsafe`, no panic, linear time.
//!
//! [`Index::parse`] walks a datagram once and remembers where everything is. What a header means
//! is decoded when it is asked for, so a packet pays only for the questions put to it.
//!
//! ```
//! use sip_parse::{Index, Method, Mode, StartLine, Uri};
//!
//! let datagram = b"OPTIONS sip:carol@example.com SIP/2.0\r\n\
//!     Via: SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bKhjhs8ass877\r\n\
//!     f: Alice <sip:alice@example.org>;tag=1928301774\r\n\
//!     t: <sip:carol@example.com>\r\n\
//!     i: a84b4c76e66710\r\n\
//!     CSeq: 63104 OPTIONS\r\n\
//!     \r\n";
//!
//! let mut index: Index = Index::new(); // once a thread
//! let message = index.parse(datagram, Mode::Lenient)?; // once a packet
//!
//! assert!(matches!(message.start_line(), StartLine::Request { method: Method::Options, .. }));
//! assert_eq!(message.top_via()?.port, Some(5062));
//! assert_eq!(message.from()?.tag, Some(&b"1928301774"[..]));
//! assert_eq!(message.call_id()?, b"a84b4c76e66710");
//! assert_eq!(message.cseq()?.number, 63104);
//!
//! let Uri::Sip(uri) = message.request_uri()? else { unreachable!() };
//! assert_eq!((uri.user, uri.host.as_bytes()), (Some(&b"carol"[..]), &b"example.com"[..]));
//! assert_eq!(message.to()?.uri()?.aor().to_string(), "sip:carol@example.com");
//! # Ok::<(), sip_parse::Error>(())
//! ```
//!
//! # Whose reading
//!
//! A shield must read what the server behind it reads, or the two can be played against each
//! other; a conformance test must read what the standard says. [`Mode`] chooses, and lists the
//! difference rule by rule.

#![no_std]
#![forbid(unsafe_code)]

/// Strict and lenient: whose reading is wanted.
mod mode;

/// One pass over a datagram: where its headers and its body are.
mod index;

/// What an indexed datagram says.
mod message;

/// The first line: a request's or a response's.
mod start_line;

/// The method of a request.
mod method;

/// Header names, long and compact.
mod name;

/// `Via`: the hop a message came from, and the way back.
mod via;

/// `From`, `To`, `Route`: a display name, a URI, parameters.
mod name_addr;

/// `Contact`: an address and for how long it is good.
mod contact;

/// `CSeq`: a number and a method.
mod cseq;

/// Credentials and challenges.
mod auth;

/// Values parted by commas, over one line or several.
mod list;

/// URIs: `sip`, `sips`, `tel`, `urn` and others.
mod uri;

/// Which URIs name the same thing.
mod equivalence;

/// The one a registrar keys its bindings by.
mod aor;

/// A name or an address.
mod host;

/// `;name=value`, shared by the headers above.
mod params;

/// A response to a request.
mod reply;

/// Where media goes, and what a session is called.
mod sdp;

/// Requests, responses, keep-alives and strangers.
mod classify;

/// The grammar of all other headers, for strict mode.
mod grammar;

/// Where lines end.
mod lines;

/// Short words in one register.
mod key;

/// A reader that moves through a value.
mod reader;

/// The alphabet of RFC 3261.
mod class;

/// Why a message, or a part of it, was refused.
mod error;

pub use aor::Aor;
pub use auth::{Auth, AuthParams};
pub use classify::{Kind, classify};
pub use contact::Contact;
pub use cseq::CSeq;
pub use equivalence::{MAX_COMPARED, MAX_COMPARED_LENGTH};
pub use error::{Error, Result};
pub use host::Host;
pub use index::{Index, MAX_DATAGRAM, MAX_HEADERS};
pub use list::Values;
pub use message::{Core, Event, Header, MediaType, Message};
pub use method::Method;
pub use mode::Mode;
pub use name::Name;
pub use name_addr::NameAddr;
pub use params::{Param, Params};
pub use reply::{Reply, ReplyError};
pub use sdp::{Connection, Lines as SdpLines, Media, MediaLines, Sdp};
pub use start_line::StartLine;
pub use uri::{SipUri, TelUri, Uri, UriParamIter, UriParams};
pub use via::{Rport, Transport, Via};
