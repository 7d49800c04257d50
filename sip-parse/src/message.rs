use crate::index::{Field, Firsts};
use crate::{CSeq, Error, Name, NameAddr, Result, StartLine, Via};

/// A datagram and the [`Index`](crate::Index) of it.
///
/// Its start line and the form of its header lines are known to be right. A header is decoded each
/// time it is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub(crate) datagram: &'a [u8],
    pub(crate) start_line: StartLine<'a>,
    pub(crate) fields: &'a [Field],
    pub(crate) firsts: &'a Firsts,
    pub(crate) body: &'a [u8],
}

/// One header as it stands in the datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Which header this is.
    pub name: Name,
    /// The name as it was written.
    pub written: &'a [u8],
    /// The value without the white space around it; folds inside are as they were sent.
    pub value: &'a [u8],
}

impl<'a> Message<'a> {
    /// The request or status line (RFC 3261 §7.1, §7.2).
    pub fn start_line(&self) -> StartLine<'a> {
        self.start_line
    }

    /// Every header, in the order they were sent.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = Header<'a>> + use<'a> {
        let datagram = self.datagram;
        self.fields.iter().map(move |field| Header {
            name: field.name,
            written: field.written.of(datagram),
            value: field.value.of(datagram),
        })
    }

    /// The value of the first header called `name`.
    pub fn header(&self, name: Name) -> Option<&'a [u8]> {
        let field = self.fields.get(self.firsts.of(name))?;
        Some(field.value.of(self.datagram))
    }

    /// The first value of the first `Via`: the hop that this message came from (§18.2.1).
    ///
    /// # Errors
    ///
    /// [`Error::Missing`], [`Error::Via`]
    pub fn top_via(&self) -> Result<Via<'a>> {
        Via::first(self.required(Name::Via)?).ok_or(Error::Via)
    }

    /// Who the request claims to come from (§20.20).
    ///
    /// # Errors
    ///
    /// [`Error::Missing`], [`Error::Address`]
    pub fn from(&self) -> Result<NameAddr<'a>> {
        self.address(Name::From)
    }

    /// Who the request is for (§20.39).
    ///
    /// # Errors
    ///
    /// [`Error::Missing`], [`Error::Address`]
    pub fn to(&self) -> Result<NameAddr<'a>> {
        self.address(Name::To)
    }

    /// The whole value of `Call-ID`, as servers compare it: byte by byte (§20.8).
    ///
    /// # Errors
    ///
    /// [`Error::Missing`], [`Error::CallId`]
    pub fn call_id(&self) -> Result<&'a [u8]> {
        let value = self.required(Name::CallId)?;
        if value.is_empty() { Err(Error::CallId) } else { Ok(value) }
    }

    /// The sequence number and the method it belongs to (§20.16).
    ///
    /// # Errors
    ///
    /// [`Error::Missing`], [`Error::CSeq`]
    pub fn cseq(&self) -> Result<CSeq<'a>> {
        CSeq::parse(self.required(Name::CSeq)?).ok_or(Error::CSeq)
    }

    /// The body: as long as `Content-Length` says, or else what is left of the datagram (§18.3).
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    fn address(&self, name: Name) -> Result<NameAddr<'a>> {
        NameAddr::parse(self.required(name)?).ok_or(Error::Address(name))
    }

    fn required(&self, name: Name) -> Result<&'a [u8]> {
        self.header(name).ok_or(Error::Missing(name))
    }
}
