use crate::class::TOKEN;
use crate::reader::{Reader, decimal, port_number};
use crate::{Host, Params, key};

const BRANCH: u128 = key::of(b"branch");
const RECEIVED: u128 = key::of(b"received");
const RPORT: u128 = key::of(b"rport");
const TTL: u128 = key::of(b"ttl");
const MADDR: u128 = key::of(b"maddr");

/// One `Via` value: the hop that sent the message and where its response goes (RFC 3261 §20.42).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via<'a> {
    /// What the message was sent over, as the sender says.
    pub transport: Transport<'a>,
    /// The host of `sent-by`.
    pub host: Host<'a>,
    /// The port of `sent-by`, if it was written (§18.1.1: 5060, for TLS 5061, if not).
    pub port: Option<u16>,
    /// The transaction (§8.1.1.7); RFC 2543 had none.
    pub branch: Option<&'a [u8]>,
    /// The source address the next hop saw, where it differs from `host` (§18.2.1). An IPv6
    /// address comes with brackets or without (RFC 5118 §4.5).
    pub received: Option<&'a [u8]>,
    /// The source port the next hop saw, if the sender asked (RFC 3581).
    pub rport: Rport,
    /// All parameters, those above included.
    pub params: Params<'a>,
    /// All of it, and the part before the parameters, as they were written.
    pub(crate) written: &'a [u8],
    pub(crate) sent: &'a [u8],
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
    /// Reads the value that comes next.
    pub(crate) fn read(reader: &mut Reader<'a>) -> Option<Self> {
        reader.enter_via();
        let before = *reader;
        let transport = sent_protocol(reader)?;
        reader.eat_lws().then_some(())?;
        let (host, port) = Host::read_with_port(reader, true)?;
        let sent = reader.since(&before);
        let (mut branch, mut received, mut rport) = (None, None, Rport::Absent);
        let is_strict = reader.is_strict();
        let params = Params::read(reader, |param| {
            let name = key::lower(key::of(param.name));
            if is_strict && param.is_quoted && [BRANCH, RECEIVED, RPORT, TTL, MADDR].contains(&name) {
                return None;
            }
            match name {
                BRANCH => branch = Some(param.value?),
                RECEIVED if !is_strict || param.value.is_some() => {
                    received = param.value.filter(|text| !text.is_empty());
                }
                RPORT => rport = Rport::read(param.value, is_strict)?,
                TTL if is_strict => {
                    let _up_to_255: u8 = decimal(param.value?)?.try_into().ok()?;
                }
                RECEIVED => return None,
                MADDR if is_strict && param.value.is_none() => return None,
                _ => {}
            }
            Some(())
        })?;
        // RFC 2543 had comments here, and servers pass over one at the end.
        if !is_strict && reader.after_lws() == Some(b'(') {
            reader.skip_lws();
            reader.take_comment()?;
            reader.skip_lws();
        }
        let written = reader.since(&before);
        Some(Self { transport, host, port, branch, received, rport, params, written, sent })
    }
}

impl Rport {
    /// `None` is a value that strict mode refuses: more than a port number. Servers take it for a
    /// request.
    fn read(value: Option<&[u8]>, is_strict: bool) -> Option<Self> {
        match (value, value.and_then(port_number)) {
            (_, Some(port)) => Some(Self::Port(port)),
            (None, _) => Some(Self::Requested),
            (Some(_), None) => (!is_strict).then_some(Self::Requested),
        }
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

/// `SIP SLASH 2.0 SLASH transport`: the grammar leaves protocol and version open, §8.1.1.7 does not.
fn sent_protocol<'a>(reader: &mut Reader<'a>) -> Option<Transport<'a>> {
    // As most write it: without white space.
    if reader.eat_exactly(b"SIP/2.0/") {
        reader.skip_lws();
    } else {
        let is_sip = reader.take(TOKEN).eq_ignore_ascii_case(b"SIP")
            && reader.eat_separator(b'/')
            && reader.take(TOKEN) == b"2.0"
            && reader.eat_separator(b'/');
        is_sip.then_some(())?;
    }
    let transport = reader.take_some(TOKEN)?;
    Some(Transport::of(transport))
}
