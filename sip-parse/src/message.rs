use crate::class::TOKEN;
use crate::grammar;
use crate::index::{Field, Firsts};
use crate::reader::Reader;
use crate::{Auth, CSeq, Contact, Error, Mode, Name, NameAddr, Params, Result, StartLine, Uri, Values, Via};

/// A datagram and the [`Index`](crate::Index) of it.
///
/// Its start line and the form of its header lines are known to be right. A header is decoded each
/// time it is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub(crate) datagram: &'a [u8],
    /// The datagram from the start line on.
    pub(crate) text: &'a [u8],
    pub(crate) start_line: StartLine<'a>,
    pub(crate) fields: &'a [Field],
    pub(crate) firsts: &'a Firsts,
    pub(crate) body: &'a [u8],
    pub(crate) mode: Mode,
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

/// What tells transactions and dialogs apart, decoded together (RFC 3261 §8.1.1).
#[derive(Clone, Copy, Debug)]
pub struct Core<'a> {
    /// The Request-URI; `None` in a response.
    pub request_uri: Option<Uri<'a>>,
    /// The hop that this message came from.
    pub via: Via<'a>,
    /// Who the request claims to come from.
    pub from: NameAddr<'a>,
    /// Who the request is for.
    pub to: NameAddr<'a>,
    /// The whole value of `Call-ID`.
    pub call_id: &'a [u8],
    /// The sequence number and the method it belongs to.
    pub cseq: CSeq<'a>,
}

/// `type/subtype;parameters` (RFC 3261 §20.15)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaType<'a> {
    /// `application`; compares without case.
    pub kind: &'a [u8],
    /// `sdp`; compares without case.
    pub subtype: &'a [u8],
    /// `charset`, `boundary`, …
    pub params: Params<'a>,
}

/// A token and parameters, such as `presence;id=7` in `Event` (RFC 6665 §8.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The package; compares byte by byte (RFC 6665 §8.2.1).
    pub package: &'a [u8],
    /// `id` and others.
    pub params: Params<'a>,
}

impl<'a> Message<'a> {
    /// The request or status line (RFC 3261 §7.1, §7.2).
    pub fn start_line(&self) -> StartLine<'a> {
        self.start_line
    }

    /// Whose reading this is.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// All the bytes this was read from, those before the start line and behind the body included.
    pub fn datagram(&self) -> &'a [u8] {
        self.datagram
    }

    /// The Request-URI, decoded (§8.1.1.1).
    ///
    /// # Errors
    ///
    /// [`Error::NotARequest`], [`Error::RequestUri`]
    pub fn request_uri(&self) -> Result<Uri<'a>> {
        match self.start_line {
            StartLine::Request { uri, .. } => {
                let uri = Uri::parse(uri, self.mode).map_err(|_| Error::RequestUri)?;
                if self.mode.is_strict() && !uri.may_be_requested() { Err(Error::RequestUri) } else { Ok(uri) }
            }
            StartLine::Response { .. } => Err(Error::NotARequest),
        }
    }

    /// Every header, in the order they were sent.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = Header<'a>> + Clone + use<'a> {
        let text = self.text;
        self.fields.iter().map(move |field| Header {
            name: field.name,
            written: field.written.of(text),
            value: field.value.of(text),
        })
    }

    /// The value of the first header called `name`: of those that may appear once, the one that
    /// counts.
    pub fn header(&self, name: Name) -> Option<&'a [u8]> {
        let field = self.fields.get(self.firsts.of(name))?;
        Some(field.value.of(self.text))
    }

    /// The values of all headers called `name`, a line each.
    pub fn lines(&self, name: Name) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        let text = self.text;
        self.fields_from(name).iter().filter(move |field| field.name == name).map(move |field| field.value.of(text))
    }

    /// Where the body is: as long as `Content-Length` says, or else what is left of the datagram
    /// (§18.3).
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// What every message has, decoded together (§8.1.1). In [`Mode::Strict`] the method of `CSeq` is
    /// that of the request; servers do not compare them.
    ///
    /// # Errors
    ///
    /// Those of [`request_uri`](Self::request_uri), [`top_via`](Self::top_via),
    /// [`from`](Self::from), [`to`](Self::to), [`call_id`](Self::call_id), [`cseq`](Self::cseq),
    /// and [`Error::MethodMismatch`]
    pub fn core(&self) -> Result<Core<'a>> {
        let cseq = self.cseq()?;
        let request_uri = match self.start_line {
            StartLine::Request { method, .. } if self.mode.is_strict() && method != cseq.method => {
                return Err(Error::MethodMismatch);
            }
            StartLine::Request { .. } => Some(self.request_uri()?),
            StartLine::Response { .. } => None,
        };
        let (via, from, to, call_id) = (self.top_via()?, self.from()?, self.to()?, self.call_id()?);
        Ok(Core { request_uri, via, from, to, call_id, cseq })
    }

    /// The same, after checking what has not been checked yet: in [`Mode::Strict`] that every header
    /// follows its grammar and every number is in its range.
    ///
    /// # Errors
    ///
    /// [`Error`] says which rule the message breaks.
    pub fn validate(&self) -> Result<Core<'a>> {
        let core = self.core()?;
        if self.mode.is_strict() {
            let mut top_via = Some(core.via.written.len());
            self.fields.iter().try_for_each(|field| {
                let value = field.value.of(self.text);
                match field.name {
                    // What the core was decoded from is known to be right.
                    Name::From | Name::To | Name::CallId | Name::CSeq => Ok(()),
                    Name::Via if top_via.take() == Some(value.len()) => Ok(()),
                    name => self.check(name, value),
                }
            })?;
        }
        Ok(core)
    }

    fn check(&self, name: Name, value: &[u8]) -> Result<()> {
        match name {
            name if grammar::is_value(name, Reader::new(value, self.mode)) => Ok(()),
            Name::Other => Err(Error::ControlCharacter),
            name => Err(Error::Malformed(name)),
        }
    }

    /// The first value of the first `Via`: the hop that this message came from (§18.2.1).
    ///
    /// # Errors
    ///
    /// [`Error::Missing`], [`Error::Malformed`]
    pub fn top_via(&self) -> Result<Via<'a>> {
        let mut reader = Reader::new(self.header(Name::Via).ok_or(Error::Missing(Name::Via))?, self.mode);
        let via = Via::read(&mut reader).filter(|_| matches!(reader.peek(), None | Some(b',')));
        via.ok_or(Error::Malformed(Name::Via))
    }

    /// Every `Via`, the last hop first (§20.42).
    pub fn vias(&self) -> Values<'a, Via<'a>> {
        Values::new(self, Name::Via, Via::read)
    }

    /// Who the request claims to come from (§20.20).
    ///
    /// # Errors
    ///
    /// [`Error::Missing`], [`Error::Malformed`]
    pub fn from(&self) -> Result<NameAddr<'a>> {
        self.required(Name::From, NameAddr::read)
    }

    /// Who the request is for (§20.39).
    ///
    /// # Errors
    ///
    /// [`Error::Missing`], [`Error::Malformed`]
    pub fn to(&self) -> Result<NameAddr<'a>> {
        self.required(Name::To, NameAddr::read)
    }

    /// The whole value of `Call-ID`; it compares byte by byte (§20.8). For servers it may be anything,
    /// even empty, and blanks at its end belong to it; here they do not.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`], [`Error::Malformed`]
    pub fn call_id(&self) -> Result<&'a [u8]> {
        match self.mode {
            Mode::Strict => self.required(Name::CallId, grammar::call_id),
            Mode::Lenient => match self.header(Name::CallId).ok_or(Error::Missing(Name::CallId))? {
                [.., 0] => Err(Error::Malformed(Name::CallId)), // one server cuts it off, the other does not
                value => Ok(value),
            },
        }
    }

    /// The sequence number and the method it belongs to (§20.16).
    ///
    /// # Errors
    ///
    /// [`Error::Missing`], [`Error::Malformed`]
    pub fn cseq(&self) -> Result<CSeq<'a>> {
        self.required(Name::CSeq, CSeq::read)
    }

    /// Where the sender can be reached, or the bindings of a registration (§20.10).
    pub fn contacts(&self) -> Values<'a, Contact<'a>> {
        Values::new(self, Name::Contact, Contact::read)
    }

    /// The way the request is to take (§20.34).
    pub fn routes(&self) -> Values<'a, NameAddr<'a>> {
        Values::new(self, Name::Route, NameAddr::read_bracketed)
    }

    /// The proxies that want to see the rest of the dialog (§20.30).
    pub fn record_routes(&self) -> Values<'a, NameAddr<'a>> {
        Values::new(self, Name::RecordRoute, NameAddr::read_bracketed)
    }

    /// How many hops are left; 0 to 255 in strict mode (§20.22).
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`]
    pub fn max_forwards(&self) -> Result<Option<u32>> {
        self.optional(Name::MaxForwards, grammar::max_forwards)
    }

    /// For how long, in seconds (§20.19).
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`]
    pub fn expires(&self) -> Result<Option<u32>> {
        self.number(Name::Expires)
    }

    /// When to try again, in seconds; the comment and the parameters behind it are not looked at
    /// (§20.33).
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`]
    pub fn retry_after(&self) -> Result<Option<u32>> {
        let seconds = self.reader(Name::RetryAfter).map(|mut reader| grammar::number(&mut reader));
        seconds.map(|seconds| seconds.ok_or(Error::Malformed(Name::RetryAfter))).transpose()
    }

    /// What the body is (§20.15).
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`]
    pub fn content_type(&self) -> Result<Option<MediaType<'a>>> {
        self.optional(Name::ContentType, |reader| {
            let (kind, subtype) = grammar::media_type(reader)?;
            Some(MediaType { kind, subtype, params: Params::skip(reader)? })
        })
    }

    /// What is subscribed to or told of (RFC 6665 §8.2.1).
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`]
    pub fn event(&self) -> Result<Option<Event<'a>>> {
        self.optional(Name::Event, |reader| {
            let package = reader.take_some(TOKEN)?;
            Some(Event { package, params: Params::skip(reader)? })
        })
    }

    /// What the sender says it is: text, and as hostile as text from a stranger is (§20.41).
    pub fn user_agent(&self) -> Option<&'a [u8]> {
        self.header(Name::UserAgent)
    }

    /// `Authorization` (§20.7)
    pub fn authorizations(&self) -> Values<'a, Auth<'a>> {
        Values::new(self, Name::Authorization, Auth::read)
    }

    /// `Proxy-Authorization` (§20.28)
    pub fn proxy_authorizations(&self) -> Values<'a, Auth<'a>> {
        Values::new(self, Name::ProxyAuthorization, Auth::read)
    }

    /// The challenges of a 401 (§20.44).
    pub fn www_authenticates(&self) -> Values<'a, Auth<'a>> {
        Values::new(self, Name::WwwAuthenticate, Auth::read)
    }

    /// The challenges of a 407 (§20.27).
    pub fn proxy_authenticates(&self) -> Values<'a, Auth<'a>> {
        Values::new(self, Name::ProxyAuthenticate, Auth::read)
    }

    /// The methods the sender takes (§20.5).
    pub fn allow(&self) -> Values<'a, &'a [u8]> {
        Values::new(self, Name::Allow, token)
    }

    /// The extensions the sender knows (§20.37).
    pub fn supported(&self) -> Values<'a, &'a [u8]> {
        Values::new(self, Name::Supported, token)
    }

    /// The extensions without which the request is to be refused (§20.32).
    pub fn require(&self) -> Values<'a, &'a [u8]> {
        Values::new(self, Name::Require, token)
    }

    /// The headers from the first one called `name` on.
    pub(crate) fn fields_from(&self, name: Name) -> &'a [Field] {
        self.fields.get(self.firsts.of(name)..).unwrap_or_default()
    }

    fn reader(&self, name: Name) -> Option<Reader<'a>> {
        Some(Reader::lone(self.header(name)?, self.mode))
    }

    /// The value of a header, read to its end.
    fn optional<T>(&self, name: Name, read: impl FnOnce(&mut Reader<'a>) -> Option<T>) -> Result<Option<T>> {
        let Some(mut reader) = self.reader(name) else { return Ok(None) };
        let value = read(&mut reader).filter(|_| reader.is_at_end());
        value.map(Some).ok_or(Error::Malformed(name))
    }

    fn required<T>(&self, name: Name, read: impl FnOnce(&mut Reader<'a>) -> Option<T>) -> Result<T> {
        self.optional(name, read)?.ok_or(Error::Missing(name))
    }

    fn number(&self, name: Name) -> Result<Option<u32>> {
        self.optional(name, grammar::number)
    }
}

fn token<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    reader.take_some(TOKEN)
}
