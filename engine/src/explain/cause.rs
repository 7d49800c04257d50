use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use ipnet::IpNet;
use serde::Serialize;
use vos_common::packet::{self, FIRST, Flow, Frame as _, LATER, SCTP, TCP, TOO_DEEP, UDP};
use vos_common::rate::{Kind, Tier};
use vos_common::reason::Reason;
use vos_common::rule::RuleKind;
use vos_common::signature::SUSPECTS_MAX;
use vos_common::sip::{DATAGRAM_MIN, LINE_MAX};
use vos_common::state::Home;
use vos_common::verdict::Tables as _;

use super::{Trace, Whose, World, line};
use crate::control::address::show;
use crate::control::clock::Clock;
use crate::samples::text;
use crate::xdp::ip;

/// What decided. Its texts from packets are safe to show.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "by", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// A rule for the source.
    Source {
        /// The prefix it is for; `None`: only the kernel knows the rule, and it does not say.
        net: Option<String>,
        /// The source.
        source: String,
        /// `blocked`, `allowed`, `trusted`.
        is: &'static str,
        /// When that ends, unix seconds; `None`: for good.
        until: Option<u64>,
        /// Why, in the words of whoever decided.
        why: String,
        /// Through which door it came in.
        origin: String,
    },
    /// `xdp.mode = "closed"`.
    Closed {
        /// The source.
        source: String,
    },
    /// The source is one of our own addresses.
    OwnSource {
        /// It.
        source: String,
    },
    /// A length that does not fit.
    Length {
        /// Which.
        field: &'static str,
        /// What it says, bytes.
        says: u64,
        /// What there is, or must be, bytes.
        there: u64,
    },
    /// Too many IPv6 extension headers.
    ExtensionHeaders,
    /// The first fragment does not hold the start line.
    FragmentHead {
        /// Bytes of payload that it holds.
        bytes: usize,
    },
    /// Too few bytes.
    Short {
        /// How many.
        bytes: usize,
        /// How many it should be at least.
        least: usize,
    },
    /// No start line of SIP.
    StartLine {
        /// Bytes of the payload in front of what is wrong.
        at: usize,
        /// What stands there; `None`: the payload ends there.
        byte: Option<u8>,
        /// What should be.
        wrong: &'static str,
        /// The line.
        line: String,
    },
    /// A start line that does not end.
    LongLine {
        /// Bytes it may have.
        most: usize,
    },
    /// A method that no RFC names.
    Method {
        /// It.
        method: String,
    },
    /// A request that unknown sources get no answer to.
    Silent {
        /// Its method.
        method: String,
    },
    /// A scanner's signature.
    Signature {
        /// The pattern, in lower case; `None`: parts of patterns are strewn over the message.
        pattern: Option<String>,
        /// The line it stands in.
        line: Option<String>,
    },
    /// A limit that was exceeded.
    Limit {
        /// Whose: an address or prefix, or everybody.
        who: String,
        /// `unknown`, `verified`, `trusted`, or `gateway`: trusted, with a budget of its own.
        tier: &'static str,
        /// What is counted.
        of: &'static str,
        /// How many a second.
        per_second: f64,
        /// How many at once.
        at_once: u64,
    },
    /// Nothing dropped it.
    Passed {
        /// What it is.
        what: String,
    },
}

const fn tier_word(tier: Tier) -> &'static str {
    match tier {
        Tier::Unknown => "unknown",
        Tier::Verified => "verified",
        Tier::Trusted => "trusted",
    }
}

impl Cause {
    pub(super) fn of(reason: Reason, world: &World, trace: &Trace, frame: &[u8]) -> Self {
        let Some(flow) = packet::flow(&frame) else {
            return Self::passed("no IP packet, or cut off within its headers");
        };
        let source = || ip(flow.src).to_string();
        let payload = payload(frame, &flow);
        match reason {
            Reason::Blocked => Self::source(trace, source()),
            Reason::Closed => Self::Closed { source: source() },
            Reason::OwnSource => Self::OwnSource { source: source() },
            Reason::BadLength => length(frame, &flow),
            Reason::TooDeep => Self::ExtensionHeaders,
            Reason::FragmentHead => Self::FragmentHead { bytes: payload.len() },
            Reason::Short => Self::Short { bytes: payload.len() - line::start(payload), least: DATAGRAM_MIN },
            Reason::Malformed => {
                let line::Fault { at, byte, wrong } = line::fault(payload);
                Self::StartLine { at, byte, wrong, line: text(line::start_line(payload)) }
            }
            Reason::LongLine => Self::LongLine { most: LINE_MAX },
            Reason::UnknownMethod => Self::Method { method: method(payload) },
            Reason::Stealth => Self::Silent { method: method(payload) },
            Reason::Scanner => signature(world, trace, frame, &flow),
            Reason::RateRegister
            | Reason::RateInvite
            | Reason::RateOptions
            | Reason::RateSource
            | Reason::RatePrefix
            | Reason::RateGlobal => limit(reason, trace, &flow),
            Reason::NotOurs => Self::passed(not_ours(world, frame, &flow)),
            Reason::Martian => Self::passed(format!("{} is for the kernel to refuse or to handle", source())),
            Reason::OtherL4 => {
                let proto = if flow.proto == TCP { "TCP" } else { "SCTP" };
                Self::passed(format!("{proto}: only rules for its source apply"))
            }
            Reason::Fragment => Self::passed("a later fragment of something else than UDP"),
            _ => survived(reason, world, trace, frame),
        }
    }

    fn passed(what: impl Into<String>) -> Self {
        Self::Passed { what: what.into() }
    }

    fn source(trace: &Trace, source: String) -> Self {
        let is = match trace.rule {
            rule if rule == RuleKind::Blocked as u32 => "blocked",
            rule if rule == RuleKind::Trusted as u32 => "trusted",
            _ => "allowed",
        };
        match &trace.decision {
            Some(decision) => Self::Source {
                net: Some(show(decision.net)),
                source,
                is,
                until: decision.until,
                why: text(decision.reason.as_bytes()),
                origin: text(format!("{} {}", decision.origin, decision.who).trim_end().as_bytes()),
            },
            None => {
                let until = (trace.until != 0).then(|| Clock::now().wall_ns_of(trace.until) / 1_000_000_000);
                Self::Source { net: None, source, is, until, why: String::new(), origin: String::new() }
            }
        }
    }
}

/// The payload of a datagram, as far as it is there.
fn payload<'a>(frame: &'a [u8], flow: &Flow) -> &'a [u8] {
    let from = flow.l4 as usize + 8;
    let udp = frame.be16(flow.l4 as usize + 4).map_or(0, usize::from);
    let ip_end = (flow.end as usize).min(frame.len());
    let whole = flow.fragment != FIRST && udp >= 8;
    let end = if whole { (flow.l4 as usize + udp).min(ip_end) } else { ip_end };
    if flow.fragment == LATER { &[] } else { frame.get(from..end).unwrap_or_default() }
}

/// Which length is wrong: in the order in which the kernel looks.
fn length(frame: &[u8], flow: &Flow) -> Cause {
    let (l4, end) = (flow.l4, flow.end);
    let field = if flow.src.is_v4() { "the IPv4 total length" } else { "the IPv6 payload length" };
    let header = if flow.src.is_v4() { flow.l3 } else { flow.l3 + 40 };
    if end > frame.len() as u64 {
        return Cause::Length { field, says: end - header, there: (frame.len() as u64).saturating_sub(header) };
    }
    if end < l4 + 8 {
        return Cause::Length { field, says: end.saturating_sub(header), there: l4 + 8 - header };
    }
    let says = frame.be16(l4 as usize + 4).map_or(0, u64::from);
    Cause::Length { field: "the UDP length", says, there: end - l4 }
}

fn method(payload: &[u8]) -> String {
    let line = line::start_line(payload);
    text(line.split(|byte| matches!(byte, b' ' | b'\t')).next().unwrap_or_default())
}

fn signature(world: &World, trace: &Trace, frame: &[u8], flow: &Flow) -> Cause {
    let Some((number, block)) = trace.signature else { return Cause::Signature { pattern: None, line: None } };
    let length = (world.signatures.lengths[number] as usize).min(world.signatures.texts[number].len());
    let pattern = &world.signatures.texts[number][..length];
    let is_here =
        |window: &[u8]| window.iter().map(|byte| vos_common::signature::fold(*byte)).eq(pattern.iter().copied());
    // It stands at a 4-gram of the block, so it begins in it, or less than its length before.
    let from = block.saturating_sub(length).max(flow.l4 as usize + 8);
    let at = frame.get(from..).unwrap_or_default().windows(length.max(1)).position(is_here).map(|at| from + at);
    let line = at.map(|at| {
        let start = frame[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |feed| feed + 1);
        let end = frame[at..].iter().position(|byte| matches!(byte, b'\r' | b'\n')).map_or(frame.len(), |end| at + end);
        text(&frame[start..end])
    });
    Cause::Signature { pattern: Some(text(pattern)), line }
}

fn limit(reason: Reason, trace: &Trace, flow: &Flow) -> Cause {
    let whose = match reason {
        Reason::RateGlobal => Whose::Everybody,
        Reason::RatePrefix => Whose::Prefix,
        _ => Whose::Source,
    };
    let kind = match reason {
        Reason::RateRegister => Some(Kind::Register),
        Reason::RateInvite => Some(Kind::Invite),
        Reason::RateOptions => Some(Kind::Options),
        Reason::RateSource => Some(Kind::All),
        _ => None,
    };
    let mut refused =
        trace.refused.iter().filter(|(of, what, _)| *of == whose && kind.is_none_or(|kind| kind == *what));
    let (kind, limit) = refused.next().map_or((Kind::All, Default::default()), |(_, kind, limit)| (*kind, *limit));
    let address = ip(flow.src);
    let wide = |v4: u8, v6: u8| IpNet::new_assert(address, if address.is_ipv4() { v4 } else { v6 }).trunc();
    let who = match whose {
        Whose::Source => show(wide(32, 64)),
        Whose::Prefix => show(wide(24, 48)),
        Whose::Everybody => "all unknown sources together".to_owned(),
    };
    Cause::Limit {
        who,
        tier: if trace.budget { "gateway" } else { tier_word(trace.tier()) },
        of: match kind {
            Kind::All => "packets",
            Kind::Register => "REGISTERs",
            Kind::Invite => "INVITEs",
            Kind::Options => "OPTIONS",
        },
        per_second: 1e9 / limit.every.max(1) as f64,
        at_once: limit.ahead / limit.every.max(1) + 1,
    }
}

/// The first question that was answered with no.
fn not_ours(world: &World, frame: &[u8], flow: &Flow) -> String {
    let (l4, destination) = (flow.l4 as usize, ip(flow.dst));
    if flow.proto != TOO_DEEP && !matches!(flow.proto, UDP | TCP | SCTP) {
        return format!("IP protocol {}: neither UDP nor TCP nor SCTP", flow.proto);
    }
    if flow.proto != TOO_DEEP && flow.fragment != LATER {
        let Some(port) = frame.be16(l4 + 2) else { return "cut off within its ports".to_owned() };
        if !world.sip_port(port) {
            return format!("port {port} is no SIP port (xdp.sip_ports)");
        }
    }
    if world.home(&flow.dst) == Home::Foreign {
        return format!("{destination} is neither this host's nor protected (xdp.protect)");
    }
    "its destination MAC address is another interface's".to_owned()
}

fn survived(reason: Reason, world: &World, trace: &Trace, frame: &[u8]) -> Cause {
    let tier = tier_word(trace.tier());
    let known = match trace.tier() {
        Tier::Unknown => format!("of an {tier} source"),
        _ => format!("of a {tier} source"),
    };
    if reason == Reason::Redirected {
        return Cause::passed(format!("{known}, survived every rule: to the engine"));
    }
    let why = if frame.len() as u64 > world.config.chunk {
        "it is longer than what the engine takes"
    } else if !world.live {
        "no worker is there"
    } else {
        "the engine has nothing to decide about it"
    };
    Cause::passed(format!("{known}, survived every rule: the kernel's path, because {why}"))
}

fn time(unix: u64) -> String {
    // what a clock cannot show is for good
    let time = UNIX_EPOCH.checked_add(Duration::from_secs(unix.min(253_402_300_799)));
    time.map_or_else(|| unix.to_string(), |time| humantime::format_rfc3339_seconds(time).to_string())
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source { net, source, is, until, why, origin } => {
                match net {
                    Some(net) => write!(f, "{net} is {is}")?,
                    None => write!(f, "{source} is {is} by a rule in the kernel")?,
                }
                match until {
                    Some(until) => write!(f, " until {}", time(*until))?,
                    None => f.write_str(" for good")?,
                }
                let mut told = [origin, why].into_iter().filter(|text| !text.is_empty());
                told.try_for_each(|text| write!(f, ", {text}"))
            }
            Self::Closed { source } => write!(f, "xdp.mode is \"closed\", and {source} is neither trusted nor allowed"),
            Self::OwnSource { source } => {
                write!(f, "{source} is an address of this host: nobody else may send from it")
            }
            Self::Length { field, says, there } if says < there => {
                write!(f, "{field} says {says} bytes, too few for the {there} that are there or must be")
            }
            Self::Length { field, says, there } => write!(f, "{field} says {says} bytes, there are {there}"),
            Self::ExtensionHeaders => f.write_str("more IPv6 extension headers than are walked: nobody needs so many"),
            Self::FragmentHead { bytes } => {
                write!(f, "the first fragment holds {bytes} bytes of payload, and the start line does not end in them")
            }
            Self::Short { bytes, least } => {
                write!(f, "{bytes} bytes are no SIP message (at least {least}) and no keep-alive")
            }
            Self::StartLine { at, byte, wrong, line } => {
                match byte {
                    Some(byte) if byte.is_ascii_graphic() => {
                        write!(f, "byte {at} of the payload is `{}`", *byte as char)?;
                    }
                    Some(byte) => write!(f, "byte {at} of the payload is {byte:#04x}")?,
                    None => write!(f, "the payload has {at} bytes")?,
                }
                write!(f, ": {wrong}; the line is `{line}`")
            }
            Self::LongLine { most } => write!(f, "the start line does not end within {most} bytes"),
            Self::Method { method } => {
                write!(f, "no RFC of SIP's registry names the method {method}, and the source is unknown")
            }
            Self::Silent { method } => write!(f, "unknown sources get no answer to {method} (xdp.stealth)"),
            Self::Signature { pattern: Some(pattern), line: Some(line) } => {
                write!(f, "the scanner's signature `{pattern}` stands in `{line}`")
            }
            Self::Signature { pattern: Some(pattern), line: None } => write!(f, "the scanner's signature `{pattern}`"),
            Self::Signature { .. } => {
                write!(f, "parts of scanners' signatures stand in more than {SUSPECTS_MAX} places")
            }
            Self::Limit { who, tier, of, per_second, at_once } => {
                write!(f, "{who} ({tier}): more {of} than {} a second, {at_once} at once", rate(*per_second))
            }
            Self::Passed { what } => f.write_str(what),
        }
    }
}

/// A rate as people write it: 50, 0.33.
fn rate(per_second: f64) -> String {
    let text = format!("{per_second:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
