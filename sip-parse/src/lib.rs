//! A zero-copy SIP parser for the packet path: no allocation, no `unsafe`, no panic, linear time.
//!
//! [`Index::parse`] walks a datagram once and remembers where everything is. What a header means
//! is decoded when it is asked for, so a packet pays only for the questions put to it.
//!
//! ```
//! use sip_parse::{Index, Method, StartLine};
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
//! let message = index.parse(datagram)?; // once a packet
//!
//! let StartLine::Request { method, uri } = message.start_line() else { unreachable!() };
//! assert_eq!((method, uri), (Method::Options, &b"sip:carol@example.com"[..]));
//! assert_eq!(message.top_via()?.port, Some(5062));
//! assert_eq!(message.from()?.tag, Some(&b"1928301774"[..]));
//! assert_eq!(message.call_id()?, b"a84b4c76e66710");
//! assert_eq!(message.cseq()?.number, 63104);
//! # Ok::<(), sip_parse::Error>(())
//! ```
//!
//! # Whose reading
//!
//! A shield must read what the server behind it reads, or the two can be played against each
//! other. Where the servers it was written for (OpenSIPS, Kamailio) are wider than RFC 3261, so is
//! this crate:
//!
//! * line ends before the start line are skipped, however many (§7.5);
//! * a line may end in LF alone (§7 wants CRLF);
//! * methods and the version compare without case (§7.1 says methods are case-sensitive);
//! * of several headers that may appear once, the first counts; of several parameters of one name
//!   (which §7.3.1 forbids), the last.
//!
//! Where a message has two readings, such as two values of `Content-Length`, it is refused: every
//! refusal is an [`Error`] that names the rule.

#![no_std]
#![forbid(unsafe_code)]

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

/// `From` and `To`: a display name, a URI, a tag.
mod name_addr;

/// `CSeq`: a number and a method.
mod cseq;

/// `;name=value`, shared by the headers above.
mod params;

/// The alphabet of RFC 3261 and a reader that moves through it.
mod reader;

/// Why a message, or a header of it, was refused.
mod error;

pub use cseq::CSeq;
pub use error::{Error, Result};
pub use index::{Index, MAX_DATAGRAM, MAX_HEADERS};
pub use message::{Header, Message};
pub use method::Method;
pub use name::Name;
pub use name_addr::NameAddr;
pub use start_line::StartLine;
pub use via::{Rport, Transport, Via};
