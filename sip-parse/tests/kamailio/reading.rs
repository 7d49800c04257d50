//! What is compared: each field as Kamailio calls it and as this crate does.

use std::collections::BTreeMap;

use sip_parse::{Auth, Contact, Index, Message, Mode, Name, NameAddr, Result, Rport, StartLine, Transport, Uri};

/// A part of a message.
pub(crate) struct Field {
    pub(crate) name: &'static str,
    /// The variable of Kamailio's script.
    pub(crate) variable: &'static str,
    ours: fn(&Message<'_>) -> Result<Vec<u8>>,
    /// What makes two spellings of one thing alike.
    plain: fn(&[u8]) -> Vec<u8>,
}

/// The fields of a message and its headers, escaped; what is absent is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) fields: BTreeMap<&'static str, String>,
    /// Each as `name: value`.
    pub(crate) headers: Vec<String>,
    all_headers: bool,
}

#[rustfmt::skip]
pub(crate) const FIELDS: &[Field] = &[
    field("method", "$rm", |message| Ok(method(message)), uppercase),
    field("request-uri", "$ru", |message| Ok(request_uri(message).to_vec()), unchanged),
    field("request-uri.user", "$rU", |message| Ok(message.request_uri().map_or(Vec::new(), user)), unchanged),
    field("request-uri.host", "$rd", |message| Ok(message.request_uri().map_or(Vec::new(), host)), unchanged),
    field("status", "$rs", |message| Ok(status(message)), unchanged),
    field("reason", "$rr", |message| Ok(reason(message).to_vec()), trimmed),
    field("from.display", "$fn", |message| Ok(display(&message.from()?)), unquoted),
    field("from.uri", "$fu", |message| Ok(message.from()?.addr_spec.to_vec()), unchanged),
    field("from.user", "$fU", |message| Ok(message.from()?.uri().map_or(Vec::new(), user)), unchanged),
    field("from.host", "$fd", |message| Ok(message.from()?.uri().map_or(Vec::new(), host)), unchanged),
    field("from.tag", "$ft", |message| Ok(or_empty(message.from()?.tag)), unchanged),
    field("to.display", "$tn", |message| Ok(display(&message.to()?)), unquoted),
    field("to.uri", "$tu", |message| Ok(message.to()?.addr_spec.to_vec()), unchanged),
    field("to.user", "$tU", |message| Ok(message.to()?.uri().map_or(Vec::new(), user)), unchanged),
    field("to.host", "$td", |message| Ok(message.to()?.uri().map_or(Vec::new(), host)), unchanged),
    field("to.tag", "$tt", |message| Ok(or_empty(message.to()?.tag)), unchanged),
    field("call-id", "$ci", |message| Ok(message.call_id()?.to_vec()), trimmed),
    field("cseq.number", "$cs", |message| Ok(message.cseq()?.number.to_string().into()), number),
    field("cseq.method", "$sel(cseq.method)", |message| Ok(message.cseq()?.method.as_bytes().to_vec()), uppercase),
    field("via.transport", "$sel(via.transport)", |message| Ok(transport(message.top_via()?.transport).to_vec()), uppercase),
    field("via.host", "$sel(via.host)", |message| Ok(message.top_via()?.host.as_bytes().to_vec()), unchanged),
    field("via.port", "$sel(via.port)", |message| Ok(decimal(message.top_via()?.port)), number),
    field("via.branch", "$sel(via.branch)", |message| Ok(or_empty(message.top_via()?.branch)), unchanged),
    field("via.received", "$sel(via.received)", |message| Ok(or_empty(message.top_via()?.received)), unchanged),
    field("via.rport", "$sel(via.rport)", |message| Ok(rport(message.top_via()?.rport)), number),
    field("contact", "$sel(contact.uri)", |message| Ok(last_contact(message).to_vec()), unchanged),
    field("username", "$au", |message| Ok(credential(message, b"username").to_vec()), unchanged),
    field("realm", "$ar", |message| Ok(credential(message, b"realm").to_vec()), unchanged),
    field("body", "$rb", |message| Ok(message.body().to_vec()), unchanged),
];

const fn field(
    name: &'static str,
    variable: &'static str,
    ours: fn(&Message<'_>) -> Result<Vec<u8>>,
    plain: fn(&[u8]) -> Vec<u8>,
) -> Field {
    Field { name, variable, ours, plain }
}

impl Reading {
    /// What this crate reads in lenient mode.
    pub(crate) fn ours(datagram: &[u8]) -> Result<Self> {
        let mut index: Index = Index::new();
        let message = index.parse(datagram, Mode::Lenient)?;
        message.validate()?;
        let value = |field: &Field| Ok((field.name, escaped(&(field.plain)(&(field.ours)(&message)?))));
        let headers = message.headers().map(|header| header_line(header.written, header.value));
        Ok(Self {
            fields: FIELDS.iter().map(value).collect::<Result<_>>()?,
            headers: headers.collect(),
            all_headers: true,
        })
    }

    /// What is in a field, or else in the first header of that name.
    pub(crate) fn get(&self, name: &str) -> &str {
        let of_header = || self.headers.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        self.fields.get(name).map(String::as_str).or_else(of_header).unwrap_or_default()
    }

    /// A line of Kamailio's script: a word, and perhaps values in hexadecimal.
    pub(crate) fn note(&mut self, fact: &str) {
        let mut words = fact.split(' ');
        let word = words.next().unwrap();
        let mut value = || unhex(words.next().unwrap_or_default());
        match FIELDS.iter().find(|field| field.name == word) {
            Some(field) => {
                self.fields.insert(field.name, escaped(&(field.plain)(&value())));
            }
            None if word == "header" => self.headers.push(header_line(&value(), &value())),
            None if word == "whole" => self.all_headers = true,
            None => panic!("what is {fact:?}?"),
        }
    }

    pub(crate) fn cut_body(&mut self, length: usize) {
        self.fields.entry("body").and_modify(|body| body.truncate(length));
    }

    /// Nothing was left out that a server needs.
    pub(crate) fn is_whole(&self) -> bool {
        let is_there = |name: &str| !self.get(name).is_empty();
        let has_target = is_there("request-uri") || is_there("status");
        self.all_headers && has_target && is_there("from.uri") && is_there("to.uri")
    }
}

/// That of the request, which a response names in its `CSeq`.
fn method(message: &Message<'_>) -> Vec<u8> {
    match message.start_line() {
        StartLine::Request { method, .. } => method.as_bytes().to_vec(),
        StartLine::Response { .. } => message.cseq().map_or(Vec::new(), |cseq| cseq.method.as_bytes().to_vec()),
    }
}

fn request_uri<'a>(message: &Message<'a>) -> &'a [u8] {
    match message.start_line() {
        StartLine::Request { uri, .. } => uri,
        StartLine::Response { .. } => b"",
    }
}

fn status(message: &Message<'_>) -> Vec<u8> {
    match message.start_line() {
        StartLine::Request { .. } => Vec::new(),
        StartLine::Response { code, .. } => format!("{code:03}").into(),
    }
}

fn reason<'a>(message: &Message<'a>) -> &'a [u8] {
    match message.start_line() {
        StartLine::Request { .. } => b"",
        StartLine::Response { reason, .. } => reason,
    }
}

fn display(address: &NameAddr<'_>) -> Vec<u8> {
    or_empty(address.display)
}

/// Kamailio has two names for the parts of any URI.
fn user(uri: Uri<'_>) -> Vec<u8> {
    match uri {
        Uri::Sip(sip) => or_empty(sip.user),
        Uri::Tel(tel) => tel.number.to_vec(),
        Uri::Urn { nid, .. } => nid.to_vec(),
        Uri::Other { .. } => Vec::new(),
    }
}

fn host(uri: Uri<'_>) -> Vec<u8> {
    match uri {
        Uri::Sip(sip) => sip.host.as_bytes().to_vec(),
        Uri::Urn { nss, .. } => nss.to_vec(),
        Uri::Tel(_) | Uri::Other { .. } => Vec::new(),
    }
}

/// Of the first line, whose list begins with its last value in Kamailio. It has none if one is malformed.
fn last_contact<'a>(message: &Message<'a>) -> &'a [u8] {
    let line = message.header(Name::Contact).unwrap_or_default().as_ptr_range();
    let contacts = message.contacts().collect::<Result<Vec<_>>>().unwrap_or_default();
    let mut addresses = contacts.into_iter().filter_map(|contact| match contact {
        Contact::Address { address, .. } => Some(address.addr_spec),
        Contact::Star => None,
    });
    addresses.rfind(|address| line.contains(&address.as_ptr())).unwrap_or_default()
}

fn credential<'a>(message: &Message<'a>, name: &[u8]) -> &'a [u8] {
    let credentials = message.authorizations().next().and_then(Result::ok).filter(Auth::is_digest);
    credentials.and_then(|credentials| credentials.get(name)).unwrap_or_default()
}

fn transport<'a>(transport: Transport<'a>) -> &'a [u8] {
    match transport {
        Transport::Udp => b"UDP",
        Transport::Tcp => b"TCP",
        Transport::Tls => b"TLS",
        Transport::Sctp => b"SCTP",
        Transport::Ws => b"WS",
        Transport::Wss => b"WSS",
        Transport::Other(token) => token,
    }
}

fn rport(rport: Rport) -> Vec<u8> {
    match rport {
        Rport::Absent | Rport::Requested => Vec::new(),
        Rport::Port(port) => decimal(Some(port)),
    }
}

fn decimal(number: Option<u16>) -> Vec<u8> {
    number.map_or(Vec::new(), |number| number.to_string().into())
}

fn or_empty(bytes: Option<&[u8]>) -> Vec<u8> {
    bytes.unwrap_or_default().to_vec()
}

fn unchanged(bytes: &[u8]) -> Vec<u8> {
    bytes.to_vec()
}

/// Methods and transports compare without case.
fn uppercase(bytes: &[u8]) -> Vec<u8> {
    bytes.to_ascii_uppercase()
}

/// Kamailio keeps the white space at the end of a value.
fn trimmed(bytes: &[u8]) -> Vec<u8> {
    bytes.trim_ascii().to_vec()
}

/// Kamailio keeps the quotes of a display name.
fn unquoted(bytes: &[u8]) -> Vec<u8> {
    let inside = bytes.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    inside.unwrap_or(bytes).to_vec()
}

/// Kamailio keeps leading zeros.
fn number(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|&&digit| digit == b'0').count();
    bytes[zeros.min(bytes.len().saturating_sub(1))..].to_vec()
}

/// Kamailio keeps the white space at the end of a value, and drops NULs.
fn header_line(name: &[u8], value: &[u8]) -> String {
    let end = value.iter().rposition(|&byte| byte != 0 && !byte.is_ascii_whitespace()).map_or(0, |last| last + 1);
    escaped(&[name, b": ", &value[..end]].concat())
}

pub(crate) fn escaped(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn unhex(digits: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(byte).collect()
}
