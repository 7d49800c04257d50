use core::net::IpAddr;

use crate::host;
use crate::reader::{find, port_number};
use crate::{Error, Result};

/// A session description (RFC 8866), as far as a shield reads it: its name, and where media is to
/// go.
#[derive(Clone, Copy, Debug)]
pub struct Sdp<'a>(&'a [u8]);

/// One `m=` and the lines up to the next (RFC 8866 §5.14).
#[derive(Clone, Copy, Debug)]
pub struct Media<'a> {
    /// `audio`, `video`, `image`, …
    pub kind: &'a [u8],
    /// The port that media is to be sent to; 0 refuses it (RFC 3264 §6).
    pub port: u16,
    /// `RTP/AVP`, `RTP/SAVP`, `udptl`, …
    pub protocol: &'a [u8],
    /// Payload types or the like, parted by blanks.
    pub formats: &'a [u8],
    /// Its own `c=`; without one that of the session holds.
    pub connection: Option<Connection<'a>>,
}

/// One `c=` (RFC 8866 §5.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection<'a> {
    /// The address or name, without time to live and count.
    pub address: &'a [u8],
}

impl<'a> Sdp<'a> {
    /// Looks at the first line of a body: a session description begins with `v=0`. Lines end in
    /// CRLF or LF (§5).
    ///
    /// # Errors
    ///
    /// [`Error::Sdp`]
    pub fn new(body: &'a [u8]) -> Result<Self> {
        match body {
            b"v=0" | [b'v', b'=', b'0', b'\n', ..] | [b'v', b'=', b'0', b'\r', b'\n', ..] => Ok(Self(body)),
            _ => Err(Error::Sdp),
        }
    }

    /// Every line, as its letter and its value; lines that have neither are passed over.
    pub fn lines(self) -> Lines<'a> {
        Lines(self.0)
    }

    /// The name of the session, `s=`: scanners give themselves away here (§5.3).
    pub fn name(self) -> Option<&'a [u8]> {
        self.lines().find(|&(letter, _)| letter == b's').map(|(_, value)| value)
    }

    /// Where the media of the session goes, unless its own description says otherwise: the `c=`
    /// before the first `m=` (§5.7).
    ///
    /// # Errors
    ///
    /// [`Error::Sdp`] if it is malformed.
    pub fn connection(self) -> Result<Option<Connection<'a>>> {
        let mut session = self.lines().take_while(|&(letter, _)| letter != b'm');
        let connection = session.find(|&(letter, _)| letter == b'c');
        connection.map(|(_, value)| Connection::read(value)).transpose()
    }

    /// The media descriptions, in their order (§5.14).
    pub fn media(self) -> MediaLines<'a> {
        MediaLines(self.lines())
    }
}

/// The lines of [`Sdp`].
#[derive(Clone, Debug)]
pub struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        while !self.0.is_empty() {
            let end = find(b'\n', self.0).unwrap_or(self.0.len());
            let line = &self.0[..end];
            self.0 = self.0.get(end + 1..).unwrap_or_default();
            if let [letter, b'=', value @ ..] = line {
                return Some((*letter, value.strip_suffix(b"\r").unwrap_or(value)));
            }
        }
        None
    }
}

/// The media descriptions of [`Sdp`].
#[derive(Clone, Debug)]
pub struct MediaLines<'a>(Lines<'a>);

impl<'a> Iterator for MediaLines<'a> {
    type Item = Result<Media<'a>>;

    fn next(&mut self) -> Option<Result<Media<'a>>> {
        let (_, value) = self.0.find(|&(letter, _)| letter == b'm')?;
        let mut own = self.0.clone().take_while(|&(letter, _)| letter != b'm');
        let connection = own.find(|&(letter, _)| letter == b'c');
        let connection = connection.map(|(_, value)| Connection::read(value)).transpose();
        Some(connection.and_then(|connection| Media::read(value, connection)))
    }
}

impl<'a> Media<'a> {
    /// `media SP port [ "/" integer ] SP proto 1*( SP fmt )`
    fn read(value: &'a [u8], connection: Option<Connection<'a>>) -> Result<Self> {
        let mut words = value.splitn(4, |&byte| byte == b' ');
        let mut word = || words.next().filter(|word| !word.is_empty()).ok_or(Error::Sdp);
        let (kind, port, protocol, formats) = (word()?, word()?, word()?, word()?);
        let port = port.split(|&byte| byte == b'/').next().and_then(port_number).ok_or(Error::Sdp)?;
        Ok(Self { kind, port, protocol, formats, connection })
    }
}

impl<'a> Connection<'a> {
    /// The address, unless it is a name.
    pub fn ip(&self) -> Option<IpAddr> {
        host::ipv4(self.address).map(IpAddr::V4).or_else(|| host::ipv6(self.address).map(IpAddr::V6))
    }

    /// `nettype SP addrtype SP connection-address`
    fn read(value: &'a [u8]) -> Result<Self> {
        let mut words = value.split(|&byte| byte == b' ');
        let is_internet = words.next() == Some(b"IN") && matches!(words.next(), Some(b"IP4" | b"IP6"));
        let address = words.next().and_then(|address| address.split(|&byte| byte == b'/').next());
        address.filter(|address| is_internet && !address.is_empty()).map(|address| Self { address }).ok_or(Error::Sdp)
    }
}
