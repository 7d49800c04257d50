//! What is measured: frames, the world each is met in, and what is to come of it.

use vos_common::cases::{self, Packet};
use vos_common::reason::Reason;
use vos_common::verdict::{Action, Verdict};

use super::place::{MILLION, Scatter, THOUSAND};

/// A frame, where it is met, and the verdict it must get before it is timed.
#[derive(Clone, Debug)]
pub struct Row {
    /// What it shows; how goals refer to it.
    pub name: &'static str,
    /// From the destination MAC on.
    pub frame: Vec<u8>,
    /// The world.
    pub place: Place,
    /// Who sends it.
    pub senders: Senders,
    /// What comes of it.
    pub expect: Expect,
}

/// The worlds: the rules in force, and the hook the frame passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// The verdict table's rules and a thousand blocked addresses. Other people's programs run these rows, too.
    Usual,
    /// Two to this power blocked addresses, no two in one /24; 20 at most, which is as many as the map takes.
    Listed(u32),
    /// The verdict table's rules and ten thousand prefixes.
    Prefixes,
    /// As usual, with a socket and a live worker on the queue.
    Live,
    /// As usual, with budgets of gateways.
    Gateways,
    /// On its way out, where the calls of gateways are counted: TCX.
    Egress,
}

impl Place {
    /// Where the program is that runs here, too.
    pub fn shares(self) -> Self {
        match self {
            Self::Usual | Self::Prefixes | Self::Live | Self::Gateways => Self::Usual,
            // 2²⁰ entries are not written anew in each round.
            Self::Listed(_) | Self::Egress => self,
        }
    }
}

/// Who sends the packets of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Senders {
    /// The one in the frame.
    One,
    /// A new one of these for each packet.
    Many(Scatter),
}

/// What is to come of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Ingress: this, counted under this reason. Other programs must agree in the action.
    Verdict(Verdict),
    /// Egress: it goes on, and is copied to user space or not.
    Egress {
        /// Is it?
        copied: bool,
    },
}

/// No rule lies in the /24 of this source.
pub const NEWCOMER: [u8; 4] = [198, 18, 0, 20];
/// In a /24 that holds a /28 of [`Place::Prefixes`], outside of it: the gate lets it through to the trie.
pub const NEIGHBOUR: [u8; 4] = [198, 19, 5, 200];
/// Trusted by a rule of its own: the table's. Where there are budgets it has one.
pub const TRUSTED: [u8; 4] = cases::TRUSTED_V4;
/// Verified; no rule lies in its /24.
pub const VERIFIED: [u8; 4] = [198, 18, 1, 30];
/// Blocked by a rule of its own.
pub const BLOCKED: [u8; 4] = [198, 51, 100, 9];

const INVITE: &[u8] = include_bytes!("messages/invite.sip");
const OK: &[u8] = include_bytes!("messages/ok200.sip");
const OPTIONS: &[u8] = include_bytes!("messages/options.sip");
const REGISTER: &[u8] = include_bytes!("messages/register.sip");

/// Sources over half of the unicast space, none of them martian.
const ANYBODY: Scatter = Scatter { mask: [0x9f, 0xff, 0xff, 0xff], base: [0x40, 0, 0, 0] };

/// All rows, in the order of the table.
pub fn rows() -> Vec<Row> {
    let dropped = |reason| Expect::Verdict(Verdict { action: Action::Drop, reason });
    let passed = |reason| Expect::Verdict(Verdict { action: Action::Pass, reason });
    let survives = passed(Reason::Kernel);
    let from = |source: [u8; 4], payload: &[u8]| Packet::v4(source).sip(payload);
    let row = |name, packet: &Packet, expect| Row {
        name,
        frame: packet.build(),
        place: Place::Usual,
        senders: Senders::One,
        expect,
    };
    let many = |scatter, row: Row| Row { senders: Senders::Many(scatter), ..row };
    let at = |place, row: Row| Row { place, ..row };
    let out = |name, packet: &Packet, copied| at(Place::Egress, row(name, packet, Expect::Egress { copied }));
    vec![
        row("not SIP: RTP", &Packet::v4(NEWCOMER).udp(16_384, &rtp()), passed(Reason::NotOurs)),
        row("not SIP: HTTP over TCP", &Packet::v4(NEWCOMER).raw(6, &http()), passed(Reason::NotOurs)),
        row("blocked, exact address", &from(BLOCKED, INVITE), dropped(Reason::Blocked)),
        many(THOUSAND, row("blocked, each time another", &from(BLOCKED, INVITE), dropped(Reason::Blocked))),
        at(Place::Listed(20), row("blocked, 1 M entries", &from(BLOCKED, INVITE), dropped(Reason::Blocked))),
        at(
            Place::Listed(20),
            many(
                MILLION,
                row("blocked, 1 M entries, each time another", &from(BLOCKED, INVITE), dropped(Reason::Blocked)),
            ),
        ),
        row("OPTIONS", &from(NEWCOMER, OPTIONS), dropped(Reason::Stealth)),
        row("garbage: a line of something else", &from(NEWCOMER, GARBAGE), dropped(Reason::Malformed)),
        row("garbage: 400 bytes without a line end", &from(NEWCOMER, &[b'x'; 400]), dropped(Reason::Malformed)),
        row("response", &from(NEWCOMER, OK), survives),
        row("REGISTER, trusted", &from(TRUSTED, REGISTER), survives),
        row("INVITE, trusted", &from(TRUSTED, INVITE), survives),
        at(Place::Gateways, row("INVITE, trusted, with a budget", &from(TRUSTED, INVITE), survives)),
        row("REGISTER, verified", &from(VERIFIED, REGISTER), survives),
        row("INVITE, verified", &from(VERIFIED, INVITE), survives),
        row("REGISTER, unknown", &from(NEWCOMER, REGISTER), survives),
        row("INVITE, unknown", &from(NEWCOMER, INVITE), survives),
        many(ANYBODY, row("REGISTER, each time another unknown", &from(NEWCOMER, REGISTER), survives)),
        many(ANYBODY, row("INVITE, each time another unknown", &from(NEWCOMER, INVITE), survives)),
        at(Place::Prefixes, row("INVITE, 10 k prefixes, none in its /24", &from(NEWCOMER, INVITE), survives)),
        at(Place::Prefixes, row("INVITE, 10 k prefixes, one in its /24", &from(NEIGHBOUR, INVITE), survives)),
        at(
            Place::Live,
            row("INVITE, unknown, to its AF_XDP socket", &from(NEWCOMER, INVITE), Expect::Verdict(cases::SURVIVES)),
        ),
        row("worst packet", &worst(), survives),
        row("worst packet that is dropped", &from(NEWCOMER, &strewn()), dropped(Reason::Scanner)),
        out("egress: RTP", &outbound(20_000, &rtp()), false),
        out("egress: request", &outbound(5060, OPTIONS), false),
        out("egress: final response", &outbound(5060, OK), true),
        out("egress: BYE, where calls are counted", &outbound(5060, &cases::request("BYE")), true),
    ]
}

/// A phone's REGISTER from this address.
pub fn register(source: [u8; 4]) -> Vec<u8> {
    Packet::v4(source).sip(REGISTER).build()
}

/// An RTP packet of 20 ms of G.711.
fn rtp() -> Vec<u8> {
    [&[0x80, 0, 0, 1, 0, 0, 0, 160, 1, 2, 3, 4][..], &[0xd5; 160]].concat()
}

fn http() -> Vec<u8> {
    let header = [0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 1, 0, 0, 0, 0, 0];
    [&header[..], b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"].concat()
}

/// Something that is no SIP and has lines, as most of what comes to port 5060 by mistake.
const GARBAGE: &[u8] = b"GET /config/getuser?index=0 HTTP/1.1\r\nHost: 192.0.2.1:5060\r\nUser-Agent: Mozilla/5.0\r\n\
    Accept: */*\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n";

/// Everything that takes a step at a time, all of it as long as it may be: two VLAN tags, six IPv6 extension headers,
/// sixteen CRs and LFs, a start line of 2,000 bytes with blanks at its end.
fn worst() -> Packet {
    let mut packet = Packet::v6(cases::CALLER_V6).vlan(0x88a8, 5).vlan(0x8100, 6);
    for _ in 0..6 {
        packet = packet.extension(60, &[0, 1, 4, 0, 0, 0, 0]);
    }
    let [head, tail] = ["INVITE sip:", "@example.com SIP/2.0   \r\n"];
    let user = "a".repeat(2_000 - head.len() - tail.len());
    let headers = cases::request("INVITE");
    let headers = &headers[headers.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1)..];
    packet.sip(&[&b"\r\n".repeat(8)[..], head.as_bytes(), user.as_bytes(), tail.as_bytes(), headers].concat())
}

/// A request strewn with parts of signatures, the last of them at its end.
fn strewn() -> Vec<u8> {
    let part = "Subject: nothing of a scanner here: sipvicious, friendly-scanner\r\n";
    let mut request = cases::request("MESSAGE");
    request.truncate(request.len() - 2);
    for _ in 0..20 {
        request.extend_from_slice(part.as_bytes());
    }
    request
}

/// UDP from the guarded host's port `port`.
fn outbound(port: u16, payload: &[u8]) -> Packet {
    let length = 8 + payload.len() as u16;
    let header = [port.to_be_bytes(), 5062u16.to_be_bytes(), length.to_be_bytes(), [0; 2]].concat();
    Packet::v4(cases::OWN_V4).to(&NEWCOMER).raw(17, &[&header[..], payload].concat()).udp_length(length)
}
