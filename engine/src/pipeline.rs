//! Bytes in, action out. No sockets, no clock, no memory but the view of fragments that it is given: what the fuzzer
//! drives and the worker calls for every packet.

use sip_parse::{Error, Index, Method, Mode, StartLine, classify};
use vos_common::packet::{self, Flow, LATER, UDP, WHOLE};
use vos_common::reason::Reason;
use vos_common::rule::Addr;
use vos_common::verdict;

use crate::policy::{Ack, Secret, Sources};
use crate::reassembly::{Fragment, Reassembly};
use crate::ruleset::Ruleset;
use crate::whole::judge_whole;

/// What is to be done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// On to the softswitch.
    Relay(Checksum),
    /// Gone.
    Drop(Reason),
}

/// Where a packet's UDP checksum stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// As it should be, or the kernel will see to it.
    Whole,
    /// Only the pseudo-header's sum: a sender on this machine left the rest to offload. `start` is the offset of the
    /// UDP header in the frame.
    Partial {
        /// Offset of the UDP header from the destination MAC, bytes.
        start: u16,
    },
}

/// What a packet turned out to be, for the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Kind {
    /// A SIP request.
    Request,
    /// A SIP response.
    Response,
    /// Line ends, NULs, `jaK`, nothing.
    KeepAlive,
    /// STUN.
    Stun,
    /// A fragment of something not yet whole.
    Fragment,
    /// On a SIP port, but the parser cannot read it. It is relayed: the softswitch may be more lenient.
    Unparsed,
}

impl Kind {
    /// All kinds; the position of each is its counter's.
    pub const ALL: [Self; 6] =
        [Self::Request, Self::Response, Self::KeepAlive, Self::Stun, Self::Fragment, Self::Unparsed];

    /// The word for it in JSON.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Response => "response",
            Self::KeepAlive => "keep_alive",
            Self::Stun => "stun",
            Self::Fragment => "fragment",
            Self::Unparsed => "unparsed",
        }
    }
}

/// What a worker decides by, beside the packet.
#[derive(Debug)]
pub struct Context<'a, S> {
    /// The rules in force.
    pub rules: &'a Ruleset,
    /// Who is known.
    pub sources: &'a S,
    /// Datagrams in fragments.
    pub fragments: &'a Reassembly,
    /// What observations are hashed with.
    pub secret: &'a Secret,
}

/// What is done with a packet, and what is to be noted of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What is done.
    pub action: Action,
    /// What it is.
    pub kind: Kind,
    /// The monitored rule that would have dropped it.
    pub would: Option<Reason>,
    /// What it acknowledges.
    pub ack: Option<Ack>,
}

/// Bytes of a UDP header (RFC 768).
const UDP_HEADER: usize = 8;

/// Decides on one frame. `now` is `CLOCK_MONOTONIC` in ns, asked only for fragments.
pub fn handle<S: Sources>(
    frame: &mut [u8],
    index: &mut Index,
    context: &Context<'_, S>,
    now: impl FnOnce() -> u64,
) -> Outcome {
    let frame = &*frame;
    // XDP has walked these headers already; a frame that cannot be read here was changed on the way.
    let Some(flow) = packet::flow(&frame) else { return Reading::of(Kind::Unparsed).outcome(Checksum::Whole) };
    let (l4, end) = (flow.l4 as usize, flow.end as usize);
    let Some(l4_bytes) = frame.get(l4..end.min(frame.len())) else {
        return Reading::of(Kind::Unparsed).outcome(Checksum::Whole);
    };
    if flow.fragment == WHOLE {
        let payload = udp_payload(l4_bytes, flow.src.is_v4());
        return read(payload, &flow.src, index, context).outcome(checksum(frame, &flow));
    }
    let mut reading = Reading::of(Kind::Fragment);
    // The kernel refuses what claims to be longer than it is.
    let Some(fragment) = fragment(frame, &flow) else { return reading.outcome(Checksum::Whole) };
    let exempt = || context.rules.enforce == 0 || context.sources.is_known(&flow.src);
    let verdict = context.fragments.add(&fragment, now(), exempt, |whole| {
        reading = read_whole(whole, &flow, index, context);
        reading.refused.map_or(Ok(()), Err)
    });
    reading.refused = verdict.err();
    reading.outcome(Checksum::Whole)
}

/// What a datagram says, and what the rules say to it.
struct Reading {
    kind: Kind,
    refused: Option<Reason>,
    would: Option<Reason>,
    ack: Option<Ack>,
}

impl Reading {
    const fn of(kind: Kind) -> Self {
        Self { kind, refused: None, would: None, ack: None }
    }

    fn outcome(self, checksum: Checksum) -> Outcome {
        let action = self.refused.map_or(Action::Relay(checksum), Action::Drop);
        Outcome { action, kind: self.kind, would: self.would, ack: self.ack }
    }
}

/// A datagram that came in fragments: first what XDP would say to the whole, which it has not seen.
fn read_whole<S: Sources>(frame: &[u8], flow: &Flow, index: &mut Index, context: &Context<'_, S>) -> Reading {
    let judged = judge_whole(frame, flow, context.rules, context.sources);
    let l4_bytes = packet::flow(&frame).and_then(|flow| frame.get(flow.l4 as usize..));
    let mut reading = read(udp_payload(l4_bytes.unwrap_or_default(), flow.src.is_v4()), &flow.src, index, context);
    if judged.verdict.action == verdict::Action::Drop {
        reading.refused = Some(judged.verdict.reason);
    }
    reading.would = judged.would().or(reading.would);
    reading
}

/// What stands behind the UDP header, as far as its length says; 0 over IPv6 means all (RFC 2675 §4).
fn udp_payload(datagram: &[u8], v4: bool) -> &[u8] {
    let Some(header) = datagram.first_chunk::<UDP_HEADER>() else { return &[] };
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let length = if length == 0 && !v4 { datagram.len() } else { length };
    datagram.get(UDP_HEADER..length.min(datagram.len())).unwrap_or_default()
}

fn read<S: Sources>(payload: &[u8], src: &Addr, index: &mut Index, context: &Context<'_, S>) -> Reading {
    let message = match index.parse(payload, Mode::Lenient) {
        Ok(message) => message,
        Err(Error::Empty) => return Reading::of(Kind::KeepAlive),
        Err(_) => {
            return Reading::of(match classify(payload) {
                sip_parse::Kind::Nul | sip_parse::Kind::Jak => Kind::KeepAlive,
                sip_parse::Kind::Stun => Kind::Stun,
                _ => Kind::Unparsed,
            });
        }
    };
    let StartLine::Request { method, .. } = message.start_line() else { return Reading::of(Kind::Response) };
    let mut reading = Reading::of(Kind::Request);
    if method == Method::Ack {
        reading.ack = Ack::of(&message, src, context.secret);
    }
    let rules = context.rules;
    // What is cheap first: the source is asked for only if the domain is foreign.
    if rules.watches(Reason::ForeignDomain) && rules.domains.refuse(&message) && !context.sources.is_known(src) {
        if rules.enforce & Reason::ForeignDomain.bit() != 0 {
            reading.refused = Some(Reason::ForeignDomain);
        } else {
            reading.would = Some(Reason::ForeignDomain);
        }
    }
    reading
}

/// A fragment taken apart; `None` if it is cut short.
fn fragment<'a>(frame: &'a [u8], flow: &'a Flow) -> Option<Fragment<'a>> {
    let from = if flow.src.is_v4() || flow.fragment == LATER {
        flow.l4 as usize
    } else {
        behind_fragment_header(frame, flow)?
    };
    let (head, rest) = frame.split_at_checked(from)?;
    let bytes = rest.get(..(flow.end as usize).checked_sub(from)?)?;
    Some(Fragment { flow, head, bytes, last: is_last(frame, flow) })
}

/// Where the first fragment of an IPv6 datagram begins: behind its fragment header, which need not be the last of the
/// extension headers (RFC 8200 §4.5).
fn behind_fragment_header(frame: &[u8], flow: &Flow) -> Option<usize> {
    const FRAGMENT: u8 = 44;
    const AUTHENTICATION: u8 = 51;
    let l3 = flow.l3 as usize;
    let (mut next, mut at) = (*frame.get(l3 + 6)?, l3 + 40);
    // As far as XDP walks.
    while at < flow.l4 as usize {
        let header = frame.get(at..at + 8)?;
        at += match next {
            FRAGMENT => 8,
            AUTHENTICATION => (usize::from(header[1]) + 2) * 4,
            _ => (usize::from(header[1]) + 1) * 8,
        };
        if next == FRAGMENT && header[3] & 1 != 0 {
            return Some(at);
        }
        next = header[0];
    }
    None
}

/// Is no fragment to follow this one? IPv4: the MF bit (RFC 791 §3.1); IPv6: the M bit (RFC 8200 §4.5).
fn is_last(frame: &[u8], flow: &Flow) -> bool {
    if flow.fragment != LATER {
        false
    } else if flow.src.is_v4() {
        frame.get(flow.l3 as usize + 6).is_some_and(|flags| flags & 0x20 == 0)
    } else {
        // What stands in front of a later fragment is its fragment header.
        (flow.l4 as usize).checked_sub(5).and_then(|at| frame.get(at)).is_some_and(|flags| flags & 1 == 0)
    }
}

/// Is the UDP checksum only the sum over the pseudo-header (RFC 768, RFC 8200 §8.1), not complemented? That is what
/// Linux leaves for offload to complete (`Documentation/networking/checksum-offloads.rst`), and what a local veth or
/// VM hands over. A full checksum that happens to look so is completed again, to the same value.
fn checksum(frame: &[u8], flow: &Flow) -> Checksum {
    let l4 = flow.l4 as usize;
    let Some(header) = frame.get(l4..l4 + UDP_HEADER) else { return Checksum::Whole };
    let found = u16::from_be_bytes([header[6], header[7]]);
    if flow.proto != UDP || found == 0 || found != pseudo_header_sum(flow, u16::from_be_bytes([header[4], header[5]])) {
        return Checksum::Whole;
    }
    Checksum::Partial { start: flow.l4 as u16 }
}

/// One's complement sum over the pseudo-header, in host order, not complemented.
pub fn pseudo_header_sum(flow: &Flow, length: u16) -> u16 {
    let words = |addr: Addr| {
        let from = if addr.is_v4() { 12 } else { 0 };
        let bytes = addr.to_bytes();
        bytes[from..].chunks_exact(2).map(|w| u64::from(u16::from_be_bytes([w[0], w[1]]))).sum::<u64>()
    };
    fold(words(flow.src) + words(flow.dst) + flow.proto + u64::from(length))
}

/// Folds a sum of 16-bit words with end-around carry (RFC 1071).
pub fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// One's complement sum of bytes as 16-bit words in network order, folded, not complemented.
pub fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|w| u64::from(u16::from_be_bytes([w[0], w.get(1).copied().unwrap_or(0)])));
    fold(words.sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use vos_common::cases::{self, CALLER_V4, CALLER_V6, Packet};

    /// Only these are known.
    struct Known(&'static [[u8; 4]]);

    impl Sources for Known {
        fn is_known(&self, src: &Addr) -> bool {
            self.0.iter().any(|known| Addr::v4(*known) == *src)
        }
    }

    fn outcome(frame: &[u8], rules: &Ruleset, known: &Known) -> Outcome {
        let (fragments, secret) = (Reassembly::default(), Secret::default());
        let context = Context { rules, sources: known, fragments: &fragments, secret: &secret };
        handle(&mut frame.to_vec(), &mut Index::new(), &context, || 1)
    }

    fn handled(frame: &[u8]) -> (Action, Kind) {
        let Outcome { action, kind, .. } = outcome(frame, &Ruleset::default(), &Known(&[]));
        (action, kind)
    }

    #[test]
    fn what_arrives_is_told_apart() {
        let caller = || Packet::v4(CALLER_V4);
        for (payload, kind) in [
            (&cases::request("INVITE")[..], Kind::Request),
            (&[b"\r\n", &cases::request("REGISTER")[..]].concat(), Kind::Request),
            (b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\r\n\r\n", Kind::Response),
            (b"\r\n\r\n", Kind::KeepAlive),
            (b"\r\n\r\n\r\n", Kind::KeepAlive),
            (b"\0", Kind::KeepAlive),
            (b"jaK", Kind::KeepAlive),
            (b"", Kind::KeepAlive),
            (b"\0\x01\0\0\x21\x12\xa4\x42abcdefghijkl", Kind::Stun),
            (b"INVITE sip:a@b SIP/2.0\r\nno colon here\r\n\r\n", Kind::Unparsed),
        ] {
            let expect = (Action::Relay(Checksum::Whole), kind);
            assert_eq!(handled(&caller().sip(payload).build()), expect, "{}", String::from_utf8_lossy(payload));
            assert_eq!(handled(&Packet::v6(CALLER_V6).sip(payload).build()), expect);
        }
    }

    #[test]
    fn a_request_in_two_fragments_is_known_once_it_is_whole() {
        let request = cases::request("INVITE");
        let whole = Packet::v4(CALLER_V4).sip(&request).build();
        let datagram = &whole[34..];
        let first = Packet::v4(CALLER_V4).raw(17, &datagram[..64]).udp_length(datagram.len() as u16);
        let first = first.fragment(0, true, 7).build();
        let rest = Packet::v4(CALLER_V4).raw(17, &datagram[64..]).fragment(64, false, 7).build();
        let (mut index, fragments, secret) = (Index::new(), Reassembly::default(), Secret::default());
        let context =
            Context { rules: &Ruleset::default(), sources: &Known(&[]), fragments: &fragments, secret: &secret };
        let mut handled = |frame: &[u8]| {
            let Outcome { action, kind, .. } = handle(&mut frame.to_vec(), &mut index, &context, || 1);
            assert_eq!(action, Action::Relay(Checksum::Whole));
            kind
        };
        assert_eq!((handled(&first), handled(&rest)), (Kind::Fragment, Kind::Request));
        // and a second datagram of which the rest comes first
        assert_eq!((handled(&rest), handled(&first)), (Kind::Fragment, Kind::Request));
    }

    #[test]
    fn strangers_who_ask_for_another_domain_hear_nothing() {
        let bit = Reason::ForeignDomain.bit();
        let domains = || ["other.example"].iter().collect();
        let enforced = Ruleset { enforce: bit, domains: domains(), ..Ruleset::default() };
        let monitored = Ruleset { monitor: bit, domains: domains(), ..Ruleset::default() };
        let off = Ruleset { domains: domains(), ..Ruleset::default() };
        let (nobody, caller) = (&Known(&[]), &Known(&[CALLER_V4]));
        let invite = Packet::v4(CALLER_V4).sip(&cases::request("INVITE")).build();
        let says = |rules, known| {
            let Outcome { action, would, .. } = outcome(&invite, rules, known);
            (action, would)
        };
        let relayed = Action::Relay(Checksum::Whole);
        assert_eq!(says(&enforced, nobody), (Action::Drop(Reason::ForeignDomain), None));
        assert_eq!(says(&enforced, caller), (relayed, None));
        assert_eq!(says(&monitored, nobody), (relayed, Some(Reason::ForeignDomain)));
        assert_eq!(says(&monitored, caller), (relayed, None));
        assert_eq!(says(&off, nobody), (relayed, None));
        // responses, keep-alives and what cannot be read ask for nothing
        for payload in [
            &b"SIP/2.0 200 OK\r\nTo: <sip:1@192.0.2.1>\r\n\r\n"[..],
            b"\r\n\r\n",
            b"INVITE sip:a@b SIP/2.0\r\nno colon here\r\nTo: <sip:1@192.0.2.1>\r\n\r\n",
        ] {
            let frame = Packet::v4(CALLER_V4).sip(payload).build();
            assert_eq!(outcome(&frame, &enforced, nobody).action, relayed);
        }
    }

    #[test]
    fn an_ack_is_observed_by_its_tag_and_call() {
        let frame = |text: &str| Packet::v4(CALLER_V4).sip(text.as_bytes()).build();
        let ack = |method: &str, call: &str, tag: &str| {
            frame(&format!(
                "{method} sip:1@x SIP/2.0\r\nFrom: <sip:1@x>;tag=1\r\nTo: <sip:2@x>{tag}\r\nCall-ID: {call}\r\n\
                 CSeq: 1 {method}\r\n\r\n"
            ))
        };
        let (fragments, secret, rules) = (Reassembly::default(), Secret::default(), Ruleset::default());
        let context = Context { rules: &rules, sources: &Known(&[]), fragments: &fragments, secret: &secret };
        let observed = |frame: &[u8]| handle(&mut frame.to_vec(), &mut Index::new(), &context, || 1).ack;
        let seen = observed(&ack("ACK", "a", ";tag=t"));
        assert_eq!(seen, Some(Ack { src: Addr::v4(CALLER_V4), call: secret.call(b"a", b"t") }));
        assert_ne!(seen, observed(&ack("ACK", "b", ";tag=t")));
        assert_ne!(seen, observed(&ack("ACK", "a", ";tag=u")));
        assert_eq!(observed(&ack("ACK", "a", "")), None);
        assert_eq!(observed(&ack("BYE", "a", ";tag=t")), None);
    }

    /// The sum over the pseudo-header, as Linux leaves it for offload: worked out by hand.
    #[test]
    fn a_checksum_of_the_pseudo_header_alone_is_partial() {
        let mut frame = Packet::v4([192, 0, 2, 10]).sip(b"\r\n").build();
        // c000 + 020a + c000 + 0201 + 0011 + 000a = 1_8426, folded 8427
        frame[40..42].copy_from_slice(&0x8426u16.to_be_bytes());
        assert_eq!(handled(&frame).0, Action::Relay(Checksum::Whole));
        frame[40..42].copy_from_slice(&0x8427u16.to_be_bytes());
        assert_eq!(handled(&frame).0, Action::Relay(Checksum::Partial { start: 34 }));
    }

    proptest! {
        #[test]
        fn no_frame_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            handled(&bytes);
        }

        #[test]
        fn no_mutation_makes_it_panic(case in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), to: u8) {
            let table = cases::all();
            let mut frame = case.get(&table).frame.clone();
            let at = at.index(frame.len());
            frame[at] = to;
            handled(&frame);
        }
    }
}
