//! What holds whatever the bytes are. `cargo test` asks it of messages cut and changed at every
//! place, the fuzzer of everything else.
//!
//! Every question is asked, and each answer is written down: a piece by where it stands, a number, a
//! refusal. Two readings are alike if the same was written down.

#![allow(dead_code, reason = "each program that includes this uses its part")]

pub(crate) mod inputs;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{Ipv6Addr, SocketAddr};

use sip_parse::{
    Auth, Connection, Contact, Core, Error, Host, Index, Kind, MAX_DATAGRAM, Message, Method, Mode, Name, NameAddr,
    Param, Params, Reply, ReplyError, Result, Rport, Sdp, SipUri, StartLine, TelUri, Transport, Uri, UriParams, Via,
    classify,
};

/// Room for the headers of any datagram: the shortest is `X:` and a line feed.
type WideIndex = Index<{ MAX_DATAGRAM / 3 }>;

/// Read before, so that an index has something to forget.
const ANOTHER_MESSAGE: &[u8] = b"SUBSCRIBE sip:z SIP/2.0\r\nv: SIP/2.0/TCP z\r\nX: y\r\nf: z <sip:z>;tag=z\r\n\
    t: <sip:z>\r\ni: z\r\nCSeq: 9 SUBSCRIBE\r\nm: *\r\nRoute: <sip:z>\r\nExpires: 9\r\no: z\r\ns: z\r\n\r\n";

/// Everything that holds for a datagram.
pub(crate) fn message(datagram: &[u8]) {
    let strict = in_mode(datagram, Mode::Strict);
    let lenient = in_mode(datagram, Mode::Lenient);
    assert!(lenient.is_accepted || !strict.is_accepted, "accepted in strict mode only: {:?}", lenient.answers);
    assert!(lenient.is_valid || !strict.is_valid, "valid in strict mode only");
    if !strict.core.is_empty() {
        are_alike(&strict.core, &lenient.core);
    }
    if strict.is_valid {
        are_alike(&strict.answers, &lenient.answers);
    }
    if lenient.is_accepted {
        assert!(matches!(classify(datagram), Kind::Request | Kind::Response), "it is a message");
    }
}

fn are_alike(one: &[Answer], another: &[Answer]) {
    if let Some(at) = (0..one.len().max(another.len())).find(|&at| one.get(at) != another.get(at)) {
        panic!("answer {at} is not the same: {:?} and {:?}", one.get(at), another.get(at));
    }
}

/// Everything that holds for a URI, alone and beside what looks like it.
pub(crate) fn uri(bytes: &[u8]) {
    let strict = ask_uri(bytes, Mode::Strict);
    let lenient = ask_uri(bytes, Mode::Lenient);
    if strict.is_accepted {
        are_alike(&strict.answers, &lenient.answers);
    }
    for lookalike in [in_another_case(bytes), escaped(bytes)] {
        uris(bytes, &lookalike);
    }
}

/// Everything that holds for two URIs.
pub(crate) fn uris(one: &[u8], another: &[u8]) {
    for mode in [Mode::Strict, Mode::Lenient] {
        if let (Ok(one), Ok(another)) = (Uri::parse(one, mode), Uri::parse(another, mode)) {
            are_compared(one, another);
        }
    }
}

fn in_another_case(bytes: &[u8]) -> Vec<u8> {
    let other_case =
        |byte: &u8| if byte.is_ascii_uppercase() { byte.to_ascii_lowercase() } else { byte.to_ascii_uppercase() };
    bytes.iter().map(other_case).collect()
}

/// Letters and digits behind the scheme as their escapes.
fn escaped(bytes: &[u8]) -> Vec<u8> {
    let scheme = bytes.iter().position(|&byte| byte == b':').unwrap_or(0);
    let escape =
        |&byte: &u8| if byte.is_ascii_alphanumeric() { format!("%{byte:02x}").into_bytes() } else { vec![byte] };
    bytes[..scheme].iter().copied().chain(bytes[scheme..].iter().flat_map(escape)).collect()
}

/// Equality goes both ways, and equal URIs have one address-of-record: equal ones hash and read alike.
fn are_compared(one: Uri<'_>, another: Uri<'_>) {
    let (aor, other_aor) = (one.aor(), another.aor());
    let both = || format!("{aor} and {other_aor}");
    let is_equivalent = one.is_equivalent(another);
    assert_eq!(is_equivalent, another.is_equivalent(one), "{}", both());
    assert_eq!(aor.eq(&other_aor), other_aor.eq(&aor), "{}", both());
    assert_eq!(aor == other_aor, aor.to_string() == other_aor.to_string(), "{}", both());
    assert!(aor == other_aor || !is_equivalent, "{}", both());
    assert!(aor != other_aor || hash_of(one) == hash_of(another), "{}", both());
}

fn hash_of(uri: Uri<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    uri.aor().hash(&mut hasher);
    hasher.finish()
}

/// Reads a datagram, then a copy of it at another place with an index that has been used.
fn in_mode(datagram: &[u8], mode: Mode) -> Reading {
    let reading = ask_message(datagram, mode);
    let copy = datagram.to_vec();
    let mut index: Index = Index::new();
    index.parse(ANOTHER_MESSAGE, Mode::Lenient).unwrap();
    match index.parse(&copy, mode) {
        Err(Error::TooManyHeaders) => {}
        answer => {
            let again = Reading::of(&copy, &answer);
            are_alike(&reading.answers, &again.answers);
            are_alike(&reading.core, &again.core);
            assert_eq!(reading.is_valid, again.is_valid);
        }
    }
    reading
}

/// Asks a message all there is to ask, and answers it.
pub(crate) fn ask_message(datagram: &[u8], mode: Mode) -> Reading {
    with_index(datagram, mode, |answer| {
        if let Ok(message) = answer {
            is_answered(message);
        }
        Reading::of(datagram, answer)
    })
}

fn with_index<T>(datagram: &[u8], mode: Mode, read: impl FnOnce(&Result<Message<'_>>) -> T) -> T {
    match Index::<{ sip_parse::MAX_HEADERS }>::new().parse(datagram, mode) {
        Err(Error::TooManyHeaders) => read(&WideIndex::new().parse(datagram, mode)),
        answer => read(&answer),
    }
}

/// A request whose core can be read can be answered, and the response says what was asked to be said
/// and nothing else.
fn is_answered(request: &Message<'_>) {
    let sources = [None, Some(([192, 0, 2, 1], 7).into()), Some((Ipv6Addr::LOCALHOST, 7).into())];
    let source: Option<SocketAddr> = sources[request.datagram().len() % sources.len()];
    let reply = Reply::new(480, "No").to_tag(b"of-the-reply").headers(&[("Retry-After", "5")]);
    let reply = source.map_or(reply, |source| reply.source(source));
    // A `v:Z` becomes `Via: Z`.
    let mut buffer = vec![0; 3 * request.datagram().len() + 512];
    match reply.write(request, &mut buffer) {
        Ok(length) => {
            assert_eq!(reply.write(request, &mut buffer[..length - 1]), Err(ReplyError::NoRoom));
            assert_eq!(reply.write(request, &mut buffer[..length]), Ok(length));
            with_index(&buffer[..length], request.mode(), |response| match response {
                Ok(response) => is_reply_to(request, response, source),
                Err(error) => assert_eq!((*error, length > MAX_DATAGRAM), (Error::TooLong, true)),
            });
        }
        Err(ReplyError::Request(_)) => assert!(request.core().is_err()),
        Err(error) => {
            assert_eq!(error, ReplyError::NotAnswered);
            let asks = matches!(request.start_line(), StartLine::Request { method, .. } if method != Method::Ack);
            assert!(!asks, "not answered");
        }
    }
}

fn is_reply_to(request: &Message<'_>, response: &Message<'_>, source: Option<SocketAddr>) {
    assert_eq!(response.start_line(), StartLine::Response { code: 480, reason: b"No" });
    assert!(request.validate().is_err() || response.validate().is_ok(), "{:?}", response.validate().err());
    // Retry-After and Content-Length besides those that are copied.
    assert_eq!(response.headers().count(), request.lines(Name::Via).count() + 6);
    assert_eq!(response.body(), b"");
    assert_eq!(response.vias().count(), request.vias().count());
    assert_eq!(response.retry_after(), Ok(Some(5)));
    assert_eq!(response.call_id().map(unfolded), request.call_id().map(unfolded));
    assert_eq!(response.cseq().map(|cseq| cseq.number), request.cseq().map(|cseq| cseq.number));
    assert_eq!(response.cseq().unwrap().method.as_bytes(), request.cseq().unwrap().method.as_bytes());

    // A malformed From is copied as it is, and may be well formed without its folds.
    if let Ok(asked_from) = request.from() {
        let from = response.from().unwrap();
        assert_eq!((from.addr_spec, from.tag.map(unfolded)), (asked_from.addr_spec, asked_from.tag.map(unfolded)));
    }
    let (to, asked_to) = (response.to().unwrap(), request.to().unwrap());
    assert_eq!(to.addr_spec, asked_to.addr_spec);
    assert_eq!(to.tag.map(unfolded), asked_to.tag.or(Some(b"of-the-reply")).map(unfolded));

    let (via, asked_via) = (response.top_via().unwrap(), request.top_via().unwrap());
    assert_eq!((via.transport, via.host, via.port), (asked_via.transport, asked_via.host, asked_via.port));
    assert_eq!(via.branch.map(unfolded), asked_via.branch.map(unfolded));
    if let Some(source) = source
        && asked_via.rport != Rport::Absent
    {
        assert_eq!(via.rport, Rport::Port(source.port()));
        assert_eq!(via.received, Some(source.ip().to_string().as_bytes()));
    }
}

/// As on one line.
fn unfolded(text: &[u8]) -> Vec<u8> {
    text.iter().map(|byte| if b"\r\n".contains(byte) { b' ' } else { *byte }).collect()
}

/// Asks a URI all there is to ask. Its address-of-record is a URI again, and one that names the same;
/// in lenient mode it may hold what cannot be written in one.
pub(crate) fn ask_uri(bytes: &[u8], mode: Mode) -> Reading {
    let mut reading = Reading::new(bytes);
    let uri = Uri::parse(bytes, mode);
    reading.is_accepted = uri.is_ok();
    reading.uri(uri);
    if let Ok(uri) = uri {
        let (text, aor) = (bytes.escape_ascii(), uri.aor().to_string());
        assert!(uri.is_equivalent(uri), "{text} is not like itself");
        match Uri::parse(aor.as_bytes(), mode) {
            Ok(read) => {
                are_compared(uri, read);
                assert!(mode == Mode::Lenient || read.aor() == uri.aor(), "{text} is {aor}, which is another");
            }
            Err(_) => assert_eq!(mode, Mode::Lenient, "{text} is {aor}, which is no URI"),
        }
    }
    reading
}

/// What was read.
pub(crate) struct Reading {
    is_accepted: bool,
    is_valid: bool,
    answers: Vec<Answer>,
    /// Those of [`Message::core`]; empty if it was refused.
    core: Vec<Answer>,
    source: Source,
}

/// The bytes that are read.
struct Source {
    address: usize,
    length: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    Nothing,
    /// From here, so long.
    Piece(usize, usize),
    Number(u32),
    Refused(Error),
    /// So many there were.
    End(usize),
}

impl Reading {
    fn new(source: &[u8]) -> Self {
        let source = Source { address: source.as_ptr().addr(), length: source.len() };
        Self { is_accepted: false, is_valid: false, answers: Vec::new(), core: Vec::new(), source }
    }

    fn of(datagram: &[u8], answer: &Result<Message<'_>>) -> Self {
        let mut reading = Self::new(datagram);
        match answer {
            Ok(message) => {
                reading.is_accepted = true;
                reading.is_valid = message.validate().is_ok();
                reading.message(message);
                if let Ok(core) = message.core() {
                    let before = reading.answers.len();
                    reading.core(core);
                    reading.core = reading.answers.split_off(before);
                }
            }
            Err(error) => reading.refused(*error),
        }
        reading
    }

    fn message(&mut self, message: &Message<'_>) {
        self.start_line(message.start_line());
        self.outcome(message.request_uri(), Self::a_uri);
        assert_eq!(message.headers().len(), message.headers().count());
        self.each(message.headers(), |reading, header| {
            reading.number(header.name as u32);
            reading.piece(header.written);
            reading.piece(header.value);
            assert_eq!(Name::of(header.written), header.name);
            let ends = [header.value.first(), header.value.last()].into_iter().flatten();
            assert!(ends.copied().all(|byte| !b" \t\r\n".contains(&byte)), "{header:?}");
        });
        for name in NAMES {
            assert_eq!(message.header(name), message.lines(name).next());
            self.each(message.lines(name), Self::piece);
        }
        self.each(message.vias(), |reading, via| reading.outcome(via, Self::via));
        self.outcome(message.top_via(), Self::via);
        self.outcome(message.from(), Self::name_addr);
        self.outcome(message.to(), Self::name_addr);
        self.outcome(message.call_id(), Self::piece);
        self.outcome(message.cseq(), |reading, cseq| {
            reading.number(cseq.number);
            reading.method(cseq.method);
        });
        self.each(message.contacts(), |reading, contact| reading.outcome(contact, Self::contact));
        for addresses in [message.routes(), message.record_routes()] {
            self.each(addresses, |reading, address| reading.outcome(address, Self::name_addr));
        }
        for number in [message.max_forwards(), message.expires(), message.retry_after()] {
            self.outcome(number, |reading, number| reading.optional(number, Self::number));
        }
        self.outcome(message.content_type(), |reading, media| {
            reading.optional(media, |reading, media| {
                reading.piece(media.kind);
                reading.piece(media.subtype);
                reading.params(media.params);
            });
        });
        self.outcome(message.event(), |reading, event| {
            reading.optional(event, |reading, event| {
                reading.piece(event.package);
                reading.params(event.params);
            });
        });
        for all in [
            message.authorizations(),
            message.proxy_authorizations(),
            message.www_authenticates(),
            message.proxy_authenticates(),
        ] {
            self.each(all, |reading, auth| reading.outcome(auth, |reading, auth| reading.auth(&auth)));
        }
        for tokens in [message.allow(), message.supported(), message.require()] {
            self.each(tokens, |reading, token| reading.outcome(token, Self::piece));
        }
        self.optional(message.user_agent(), Self::piece);
        self.piece(message.body());
        self.outcome(Sdp::new(message.body()), Self::sdp);
        self.outcome(message.core().map(|_| ()), |_, ()| ());
        self.outcome(message.validate().map(|_| ()), |_, ()| ());
        assert_eq!(message.datagram().len(), self.source.length);
        self.piece(message.datagram());
    }

    /// Modes differ about blanks before the reason, on purpose.
    fn start_line(&mut self, line: StartLine<'_>) {
        match line {
            StartLine::Request { method, uri } => {
                self.method(method);
                self.piece(uri);
            }
            StartLine::Response { code, reason } => {
                self.number(code.into());
                self.piece(reason.trim_ascii_start());
            }
        }
    }

    fn core(&mut self, core: Core<'_>) {
        self.optional(core.request_uri, Self::a_uri);
        self.via(core.via);
        self.name_addr(core.from);
        self.name_addr(core.to);
        self.piece(core.call_id);
        self.number(core.cseq.number);
        self.method(core.cseq.method);
    }

    fn via(&mut self, via: Via<'_>) {
        match via.transport {
            Transport::Other(token) => self.piece(token),
            known => self.text(&format!("{known:?}")),
        }
        self.host(via.host);
        self.optional(via.port, |reading, port| reading.number(port.into()));
        self.optional(via.branch, Self::piece);
        self.optional(via.received, Self::piece);
        match via.rport {
            Rport::Absent => self.nothing(),
            Rport::Requested => self.number(u32::MAX),
            Rport::Port(port) => self.number(port.into()),
        }
        self.params(via.params);
    }

    fn name_addr(&mut self, address: NameAddr<'_>) {
        self.optional(address.display, Self::piece);
        self.piece(address.addr_spec);
        self.outcome(address.uri(), Self::a_uri);
        self.optional(address.tag, Self::piece);
        self.params(address.params);
    }

    fn contact(&mut self, contact: Contact<'_>) {
        match contact {
            Contact::Star => self.nothing(),
            Contact::Address { address, expires } => {
                self.name_addr(address);
                self.optional(expires, Self::number);
            }
        }
    }

    fn auth(&mut self, auth: &Auth<'_>) {
        self.piece(auth.scheme);
        self.piece(auth.rest());
        self.each(auth.params(), Self::param);
        for value in [auth.username(), auth.realm(), auth.nonce(), auth.uri(), auth.response()] {
            self.optional(value, Self::piece);
        }
        self.optional(auth.nonce_count(), Self::number);
        self.number(auth.is_stale().into());
        self.number(auth.is_digest().into());
    }

    fn params(&mut self, params: Params<'_>) {
        self.piece(params.as_bytes());
        self.each(params, Self::param);
        self.optional(params.get(b"tag").flatten(), Self::piece);
    }

    fn param(&mut self, param: Param<'_>) {
        self.piece(param.name);
        self.optional(param.value, Self::piece);
    }

    fn sdp(&mut self, sdp: Sdp<'_>) {
        self.each(sdp.lines(), |reading, (letter, value)| {
            reading.number(letter.into());
            reading.piece(value);
        });
        self.optional(sdp.name(), Self::piece);
        self.outcome(sdp.connection(), |reading, connection| reading.optional(connection, Self::connection));
        self.each(sdp.media(), |reading, media| {
            reading.outcome(media, |reading, media| {
                reading.piece(media.kind);
                reading.number(media.port.into());
                reading.piece(media.protocol);
                reading.piece(media.formats);
                reading.optional(media.connection, Self::connection);
            });
        });
    }

    fn connection(&mut self, connection: Connection<'_>) {
        self.piece(connection.address);
        self.text(&format!("{:?}", connection.ip()));
    }

    fn uri(&mut self, uri: Result<Uri<'_>>) {
        self.outcome(uri, Self::a_uri);
    }

    fn a_uri(&mut self, uri: Uri<'_>) {
        match uri {
            Uri::Sip(SipUri { secure, user, password, host, port, params, headers }) => {
                self.number(secure.into());
                self.optional(user, Self::piece);
                self.optional(password, Self::piece);
                self.host(host);
                self.optional(port, |reading, port| reading.number(port.into()));
                self.uri_params(params);
                self.optional(headers, Self::piece);
            }
            Uri::Tel(TelUri { number, params }) => {
                self.piece(number);
                self.uri_params(params);
            }
            Uri::Urn { nid, nss } => {
                self.piece(nid);
                self.piece(nss);
            }
            Uri::Other { scheme, rest } => {
                self.piece(scheme);
                self.piece(rest);
            }
        }
    }

    fn uri_params(&mut self, params: UriParams<'_>) {
        self.piece(params.as_bytes());
        self.each(params.into_iter(), |reading, (name, value)| {
            reading.piece(name);
            reading.optional(value, Self::piece);
        });
        self.optional(params.get(b"transport").flatten(), Self::piece);
    }

    fn host(&mut self, host: Host<'_>) {
        self.piece(host.as_bytes());
        self.text(&format!("{:?}", host.ip()));
    }

    /// Modes differ about the case of methods, on purpose.
    fn method(&mut self, method: Method<'_>) {
        self.text(&method.as_bytes().escape_ascii().to_string().to_ascii_uppercase());
    }

    /// Each item takes at least one byte of the source, and what has ended has ended.
    fn each<I: Iterator>(&mut self, mut items: I, item: impl Fn(&mut Self, I::Item)) {
        let mut count = 0;
        for found in items.by_ref() {
            item(self, found);
            count += 1;
            assert!(count <= self.source.length + 1, "this does not end");
        }
        assert!(items.next().is_none());
        self.answers.push(Answer::End(count));
    }

    fn outcome<T>(&mut self, answer: Result<T>, value: impl FnOnce(&mut Self, T)) {
        match answer {
            Ok(found) => value(self, found),
            Err(error) => self.refused(error),
        }
    }

    fn optional<T>(&mut self, answer: Option<T>, value: impl FnOnce(&mut Self, T)) {
        match answer {
            Some(found) => value(self, found),
            None => self.nothing(),
        }
    }

    /// A piece of the source, not of anything else.
    fn piece(&mut self, piece: &[u8]) {
        let start = match piece {
            [] => 0,
            _ => piece.as_ptr().addr().wrapping_sub(self.source.address),
        };
        assert!(
            start <= self.source.length && piece.len() <= self.source.length - start,
            "not of these bytes: {piece:?}"
        );
        self.answers.push(Answer::Piece(start, piece.len()));
    }

    fn refused(&mut self, error: Error) {
        assert!(!error.to_string().is_empty() && error.section().starts_with("RFC "));
        self.answers.push(Answer::Refused(error));
    }

    fn text(&mut self, text: &str) {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        self.number(hasher.finish() as u32);
    }

    fn number(&mut self, number: u32) {
        self.answers.push(Answer::Number(number));
    }

    fn nothing(&mut self) {
        self.answers.push(Answer::Nothing);
    }
}

const NAMES: [Name; 6] = [Name::Via, Name::Contact, Name::ContentLength, Name::MaxForwards, Name::Subject, Name::Other];
