//! The whole decision, in the order of a packet's journey. Pure: bytes and tables in, verdict out.

use crate::{
    packet::{self, FIRST, Flow, Frame, LATER, SCTP, TCP, TOO_DEEP, UDP},
    reason::Reason,
    rule::{Addr, Rule, RuleKind},
    sip::{self, Class, Payload},
    state::{Config, FRAGMENT_LIFE, Home, MONITOR, STEALTH},
};

/// What happens to the packet.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// On to the kernel.
    Pass,
    /// Gone.
    Drop,
    /// Into the AF_XDP socket of its queue.
    Redirect,
}

/// What happens, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// What happens to the packet.
    pub action: Action,
    /// The one reason it is counted under.
    pub reason: Reason,
}

/// What a verdict is made from besides the packet: maps in the kernel, plain memory in user space.
pub trait Tables {
    /// The configuration.
    fn config(&self) -> &Config;
    /// `CLOCK_MONOTONIC`, ns, to the tick.
    fn now(&self) -> u64;
    /// Is this a SIP port?
    fn sip_port(&self, port: u16) -> bool;
    /// What this address is to the host.
    fn home(&self, addr: &Addr) -> Home;
    /// The rule for this source.
    fn rule(&self, src: &Addr) -> Rule;
    /// Has the packet's queue a live worker?
    fn live(&self, now: u64) -> bool;
    /// Remembers that the later fragments of `key` follow the first.
    fn follow(&self, key: u64, now: u64);
    /// When the first fragment of `key` was remembered; 0 if it was not.
    fn followed(&self, key: u64) -> u64;

    /// Where the headers are. In the kernel the paths through it are merged behind it.
    #[inline(always)]
    fn flow(&self, f: &impl Frame) -> Option<Flow> {
        packet::flow(f)
    }

    /// What the payload is. In the kernel the paths through it are merged behind it.
    #[inline(always)]
    fn classify(&self, f: &impl Frame, start: usize, end: usize) -> Payload {
        sip::classify(f, start, end, |at, end| sip::line_feed(f, at, end))
    }
}

#[inline(always)]
const fn pass(reason: Reason) -> Verdict {
    Verdict { action: Action::Pass, reason }
}

#[inline(always)]
const fn drop(reason: Reason) -> Verdict {
    Verdict { action: Action::Drop, reason }
}

/// The verdict on one frame.
#[inline(always)]
pub fn judge(f: &impl Frame, t: &impl Tables) -> Verdict {
    // 1. Is it ours? The cheapest question first: most packets are no SIP.
    let Some(flow) = t.flow(f) else { return pass(Reason::NotOurs) };
    let l4 = flow.l4 as usize;
    let known = matches!(flow.proto, UDP | TCP | SCTP);
    if flow.proto != TOO_DEEP && !known {
        return pass(Reason::NotOurs);
    }
    if known && flow.fragment != LATER {
        let Some(port) = f.be16(l4 + 2) else { return pass(Reason::NotOurs) };
        if !t.sip_port(port) {
            return pass(Reason::NotOurs);
        }
    }
    let home = t.home(&flow.dst);
    // Linux delivers a unicast packet in a broadcast frame, so it is judged; re-entry is for our own MAC only.
    let (own_mac, group_mac) = (flow.mac == t.config().mac, flow.mac & 1 != 0);
    if home == Home::Foreign || !(own_mac | group_mac) {
        return pass(Reason::NotOurs);
    }
    // One path from here on.
    let own = f.settle(usize::from(own_mac & (home == Home::Own))) != 0;
    if packet::martian(&flow.src) {
        return pass(Reason::Martian);
    }
    if t.home(&flow.src) == Home::Own {
        return if flow.src.is_v4() { pass(Reason::Martian) } else { drop(Reason::OwnSource) };
    }

    // 2. Who sends it?
    let now = t.now();
    let rule = t.rule(&flow.src).at(now);
    if rule == RuleKind::Blocked as u32 {
        return drop(Reason::Blocked);
    }
    if flow.proto == TOO_DEEP {
        return drop(Reason::TooDeep);
    }
    if flow.fragment == LATER {
        let since = t.followed(flow.fragment_key(t.config().seed));
        let follows = since != 0 && now.wrapping_sub(since) < FRAGMENT_LIFE;
        return if follows { survivor(f, t, own, now) } else { pass(Reason::Fragment) };
    }
    if flow.proto != UDP {
        return pass(Reason::OtherL4);
    }

    // 4. What is it?
    let Some(end) = payload_end(f, &flow) else { return drop(Reason::BadLength) };
    let payload = t.classify(f, l4 + 8, end);
    if flow.fragment == FIRST && !matches!(payload, Payload::Request(_) | Payload::Response | Payload::Malformed) {
        // Who cuts a datagram before its start line ends has something to hide.
        return drop(Reason::FragmentHead);
    }
    match payload {
        Payload::Short => return drop(Reason::Short),
        Payload::Unfinished | Payload::Malformed => return drop(Reason::Malformed),
        // 5. Stealth: who asks without being expected learns nothing.
        Payload::Request(Class::Options) if rule != RuleKind::Allowed as u32 && t.config().flags & STEALTH != 0 => {
            return drop(Reason::Stealth);
        }
        Payload::KeepAlive | Payload::Stun | Payload::Request(_) | Payload::Response => {}
    }

    // 8. It survived.
    if flow.fragment == FIRST {
        t.follow(flow.fragment_key(t.config().seed), now);
    }
    survivor(f, t, own, now)
}

/// The end of the UDP payload, as the kernel would take it; `None` where the kernel would drop the packet.
#[inline(always)]
fn payload_end(f: &impl Frame, flow: &Flow) -> Option<usize> {
    const HEADER: usize = 8;
    let (l4, end) = (flow.l4 as usize, flow.end as usize);
    let length = f.be16(l4 + 4)? as usize;
    if end > f.len() || end < l4 + HEADER {
        return None;
    }
    if flow.fragment == FIRST {
        return if length < HEADER { None } else { Some(end) };
    }
    // RFC 2675 §4: length 0 over IPv6 means "what the IP header says", and Linux takes it so.
    if length == 0 && !flow.src.is_v4() {
        return Some(end);
    }
    if length < HEADER || l4 + length > end { None } else { Some(l4 + length) }
}

#[inline(always)]
fn survivor(f: &impl Frame, t: &impl Tables, own: bool, now: u64) -> Verdict {
    if own && f.len() as u64 <= t.config().chunk && t.live(now) {
        return Verdict { action: Action::Redirect, reason: Reason::Redirected };
    }
    pass(Reason::Kernel)
}

/// What is really done: in monitor mode a drop becomes a pass, counted as such, and what it would have been is the
/// second value, counted apart.
#[inline(always)]
pub const fn enforce(verdict: Verdict, flags: u64) -> (Verdict, Option<Reason>) {
    match verdict.action {
        Action::Drop if flags & MONITOR != 0 => (pass(Reason::Monitored), Some(verdict.reason)),
        _ => (verdict, None),
    }
}
