use crate::reader::{DIGIT, HOST, IPV6, Reader, TOKEN, decimal};

/// One `Via` value: the hop that sent the message and where its response goes (RFC 3261 §20.42).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via<'a> {
    /// What the message was sent over, as the sender says.
    pub transport: Transport<'a>,
    /// The host of `sent-by`; an IPv6 address keeps its brackets.
    pub host: &'a [u8],
    /// The port of `sent-by`, if it was written (§18.1.1: 5060, for TLS 5061, if not).
    pub port: Option<u16>,
    /// The transaction (§8.1.1.7); RFC 2543 had none.
    pub branch: Option<&'a [u8]>,
    /// The source address the next hop saw, where it differs from `host` (§18.2.1). An IPv6
    /// address comes with brackets or without (RFC 5118 §4.5).
    pub received: Option<&'a [u8]>,
    /// The source port the next hop saw, if the sender asked (RFC 3581).
    pub rport: Rport,
}

/// The transport that a [`Via`] names (RFC 3261 §20.42), in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport<'a> {
    /// UDP
    Udp,
    /// TCP
    Tcp,
    /// TLS over TCP
    Tls,
    /// SCTP
    Sctp,
    /// WebSocket (RFC 7118)
    Ws,
    /// WebSocket over TLS (RFC 7118)
    Wss,
    /// A transport that is none of the above, as it was written.
    Other(&'a [u8]),
}

/// The `rport` parameter of a [`Via`] (RFC 3581 §3, §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rport {
    /// Not there: the response goes to the port of `sent-by`.
    Absent,
    /// There without a value: the sender asks for the port its request came from.
    Requested,
    /// Filled in by the next hop.
    Port(u16),
}

impl<'a> Via<'a> {
    /// Reads the first of the values in a `Via` header; `None` if it is malformed.
    pub(crate) fn first(value: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(value);
        let transport = sent_protocol(&mut reader)?;
        reader.skip_lws();
        let host = host(&mut reader)?;
        let port = if reader.eat_separator(b':') { Some(port_number(reader.take(DIGIT))?) } else { None };

        let mut via = Self { transport, host, port, branch: None, received: None, rport: Rport::Absent };
        reader.params(|param| {
            if param.name.eq_ignore_ascii_case(b"branch") {
                via.branch = Some(param.value?);
            } else if param.name.eq_ignore_ascii_case(b"received") {
                via.received = Some(param.value?);
            } else if param.name.eq_ignore_ascii_case(b"rport") {
                via.rport = match param.value {
                    Some(digits) => Rport::Port(port_number(digits)?),
                    None => Rport::Requested,
                };
            }
            Some(())
        })?;
        matches!(reader.peek(), None | Some(b',')).then_some(via)
    }
}

impl<'a> Transport<'a> {
    fn of(token: &'a [u8]) -> Self {
        let is = |name: &[u8]| token.eq_ignore_ascii_case(name);
        match token.len() {
            2 if is(b"WS") => Self::Ws,
            3 if is(b"UDP") => Self::Udp,
            3 if is(b"TCP") => Self::Tcp,
            3 if is(b"TLS") => Self::Tls,
            3 if is(b"WSS") => Self::Wss,
            4 if is(b"SCTP") => Self::Sctp,
            _ => Self::Other(token),
        }
    }
}

/// `SIP SLASH 2.0 SLASH transport`
fn sent_protocol<'a>(reader: &mut Reader<'a>) -> Option<Transport<'a>> {
    let is_sip = reader.take(TOKEN).eq_ignore_ascii_case(b"SIP")
        && reader.eat_separator(b'/')
        && reader.take(TOKEN) == b"2.0"
        && reader.eat_separator(b'/');
    is_sip.then_some(())?;
    let transport = reader.take_some(TOKEN)?;
    Some(Transport::of(transport))
}

/// `hostname / IPv4address / IPv6reference`
fn host<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    if reader.peek() == Some(b'[') { reader.take_bracketed(IPV6) } else { reader.take_some(HOST) }
}

fn port_number(digits: &[u8]) -> Option<u16> {
    decimal(digits)?.try_into().ok()
}
